//! Which failures a workload survives: of which kind of domain any one may be lost, and somebody is left who may host it and a quorum
//! that can decide so.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{Deserialize, Serialize};

use crate::{
    domain::FailureDomain,
    id::MemberName,
    state::{Member, State},
};

/// The domain of a kind that a member is in. A region or provider that is not given is a domain of its own.
fn place<'a>(kind: FailureDomain, name: &'a MemberName, member: &'a Member) -> Place<'a> {
    let provider = member.attributes.provider.as_str();
    let region = member.attributes.region.as_str();
    match kind {
        FailureDomain::Region if !region.is_empty() => Place::Region(provider, region),
        FailureDomain::Provider if !provider.is_empty() => Place::Provider(provider),
        FailureDomain::Owner => Place::Owner(member.owner.as_str()),
        FailureDomain::Cluster | FailureDomain::Region | FailureDomain::Provider => {
            Place::Member(name.as_str())
        }
    }
}

/// Whether a member is in the domain of this kind and name. Regions of all providers count.
pub(super) fn is_in(kind: FailureDomain, domain: &str, name: &MemberName, member: &Member) -> bool {
    domain
        == match kind {
            FailureDomain::Cluster => name.as_str(),
            FailureDomain::Region => &member.attributes.region,
            FailureDomain::Provider => &member.attributes.provider,
            FailureDomain::Owner => member.owner.as_str(),
        }
}

/// The voters that hold their leases, and how many there are in all.
fn voters(state: &State) -> (Vec<(&MemberName, &Member)>, usize) {
    let members = state.members.iter();
    let heard = members.filter(|(_, member)| member.lease.is_held() && state.is_voter(member));
    (heard.collect(), state.voters.len())
}

/// That there are too few voters already.
pub(super) fn too_few_voters(state: &State) -> Option<Gap> {
    let (heard, all) = voters(state);
    (all > 0 && heard.len() < majority(all)).then_some(Gap::NoQuorum {
        without: None,
        left: heard.len(),
        voters: all,
    })
}

/// One failure domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place<'a> {
    Member(&'a str),
    /// Of a provider.
    Region(&'a str, &'a str),
    Provider(&'a str),
    Owner(&'a str),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(name) => write!(f, "member '{name}'"),
            Self::Region("", region) => write!(f, "region '{region}'"),
            Self::Region(provider, region) => write!(f, "region '{region}' of '{provider}'"),
            Self::Provider(name) => write!(f, "provider '{name}'"),
            Self::Owner(name) => write!(f, "owner '{name}'"),
        }
    }
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

    /// Of a quorum: the voters that are left can decide.
    pub(super) fn of_quorum(state: &State) -> Self {
        let (voters, all) = voters(state);
        Self::find(|kind| {
            let mut lost: BTreeMap<Place<'_>, usize> = BTreeMap::new();
            for (name, member) in &voters {
                *lost.entry(place(kind, name, member)).or_default() += 1;
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
                places.insert(place(kind, name, member));
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
