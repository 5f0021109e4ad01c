//! Which failures a workload survives: of which kind of domain any one may be lost, so that a member is left that may host it, and a
//! quorum that can decide so.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use crate::{
    domain::FailureDomain,
    id::{MemberName, NodeId},
    quorum::votes,
    state::{Member, State},
};

/// One failure domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place<'a> {
    kind: FailureDomain,
    name: &'a str,
    /// Of a region: two providers may call theirs the same.
    provider: &'a str,
}

impl<'a> Place<'a> {
    /// The domain of a kind that a member is in. A region or provider that is not given is a domain of its own.
    pub(super) fn of(kind: FailureDomain, name: &'a MemberName, member: &'a Member) -> Self {
        let label = member.label(name, kind.label());
        let kind = label.map_or(FailureDomain::Cluster, |_| kind);
        Self {
            kind,
            name: label.unwrap_or(name.as_str()),
            provider: match kind {
                FailureDomain::Region => &member.attributes.provider,
                FailureDomain::Cluster | FailureDomain::Provider | FailureDomain::Owner => "",
            },
        }
    }
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            name,
            provider,
        } = self;
        match kind {
            FailureDomain::Cluster => write!(f, "member '{name}'"),
            _ if provider.is_empty() => write!(f, "{kind} '{name}'"),
            _ => write!(f, "{kind} '{name}' of '{provider}'"),
        }
    }
}

/// The voters that vote, and how many there are in all.
fn voters<'a>(
    state: &'a State,
    silent: &BTreeSet<NodeId>,
) -> (Vec<(&'a MemberName, &'a Member)>, usize) {
    let members = state.members.iter();
    let voting = members.filter(|(_, member)| state.is_voter(member) && votes(member, silent));
    (voting.collect(), state.voters.len())
}

/// That there are too few voters already, without those in `silent`.
pub(super) fn too_few_voters(state: &State, silent: &BTreeSet<NodeId>) -> Option<Gap> {
    let (voting, all) = voters(state, silent);
    (all > 0 && voting.len() < majority(all)).then_some(Gap::NoQuorum {
        without: None,
        left: voting.len(),
        voters: all,
    })
}

/// What the loss of a domain would leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Gap {
    /// No member that may host the workload.
    NoHost {
        /// The domain, in words; `None`: there is none in any case.
        without: Option<String>,
    },
    /// Too few voters to decide anything.
    NoQuorum {
        /// The domain, in words; `None`: too few are heard in any case.
        without: Option<String>,
        /// How many.
        left: usize,
        /// Of how many.
        voters: usize,
    },
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let without = |without: &Option<String>| match without {
            Some(domain) => format!("without {domain} "),
            None => String::new(),
        };
        match self {
            Self::NoHost { without: domain } => {
                write!(f, "{}no other member may host it", without(domain))
            }
            Self::NoQuorum {
                without: domain,
                left,
                voters,
            } => {
                let needed = majority(*voters);
                write!(
                    f,
                    "{}the federation has {left} of {voters} voters, and nothing is decided with less than {needed}",
                    without(domain)
                )
            }
        }
    }
}

fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// What survives the loss of any one domain up to a kind, and what stops it from surviving more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Survival {
    /// `None`: not even the loss of one cluster.
    pub(super) survives: Option<FailureDomain>,
    /// About the next larger kind; `None` if there is none.
    pub(super) gap: Option<Gap>,
}

/// Everything.
impl Default for Survival {
    fn default() -> Self {
        Self {
            survives: FailureDomain::ALL.last().copied(),
            gap: None,
        }
    }
}

impl Survival {
    /// The smaller kinds must hold too, so that the answer means "this and everything less".
    fn find(gap: impl Fn(FailureDomain) -> Option<Gap>) -> Self {
        let mut survives = None;
        for kind in FailureDomain::ALL {
            let gap = gap(kind);
            if gap.is_some() {
                return Self { survives, gap };
            }
            survives = Some(kind);
        }
        Self::default()
    }

    /// Of a quorum: the voters that are left can decide. Those in `silent` are gone already.
    pub(super) fn of_quorum(state: &State, silent: &BTreeSet<NodeId>) -> Self {
        let (voters, all) = voters(state, silent);
        Self::find(|kind| {
            let mut lost: BTreeMap<Place<'_>, usize> = BTreeMap::new();
            for (name, member) in &voters {
                *lost.entry(Place::of(kind, name, member)).or_default() += 1;
            }
            let worst = lost.into_iter().max_by_key(|(_, lost)| *lost);
            let left = voters.len() - worst.map_or(0, |(_, lost)| lost);
            (all > 0 && left < majority(all)).then(|| Gap::NoQuorum {
                without: worst.map(|(place, _)| place.to_string()),
                left,
                voters: all,
            })
        })
    }

    /// Of what these members may host, while there is a quorum: one of them is left.
    pub(super) fn of_hosts(hosts: &[(&MemberName, &Member)], quorum: &Self) -> Self {
        let hosted = Self::find(|kind| {
            let mut places = BTreeSet::new();
            let two = hosts.iter().any(|(name, member)| {
                places.insert(Place::of(kind, name, member));
                places.len() > 1
            });
            (!two).then(|| Gap::NoHost {
                without: places.first().map(ToString::to_string),
            })
        });
        if hosted.survives <= quorum.survives {
            hosted
        } else {
            quorum.clone()
        }
    }
}
