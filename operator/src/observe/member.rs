//! This cluster's own `Member` object: its owner's description of it.
//!
//! If the object is missing it is created once: from the ledger if the ledger has a description of this member,
//! otherwise from the operator's settings. From then on the object is authoritative, and its description is proposed to
//! the ledger.

use std::sync::Arc;

use hanse_core::{
    command::{Attributes, Command, Scheduling},
    id::MemberName,
    level::Level,
    selector::{Effect, Taint},
    slice::Slice,
    state::Outcome,
};
use hanse_crds::{Member, MemberSpec, TaintEffect};
use kube::Api;
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use super::problems::{Problem, Problems};
use crate::{
    cluster::{CallError, Cluster, agenda::backoff, bounded, creating, watched::Watched},
    uplink::Uplink,
};

/// The version that this member publishes.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The decision from this member's object and the slice.
#[derive(Debug, Clone, PartialEq)]
enum Decision {
    Nothing,
    Create(MemberSpec),
    Describe(Attributes),
}

/// The last proposed description and the index at which the ledger accepted it: an older slice does not show it yet. A
/// rejected description has the largest index, because only a change can make it acceptable.
type LastProposal = Option<(Attributes, u64)>;

/// The observer of this cluster's own `Member` object.
pub(super) struct Own<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) uplink: &'a Uplink,
    pub(super) members: &'a Watched<Member>,
    /// Publishes the description in the object.
    pub(super) published: &'a watch::Sender<Option<Arc<Attributes>>>,
    pub(super) problems: &'a Problems<MemberName>,
    /// Describes this member if its object does not exist yet.
    pub(super) first: &'a Attributes,
    /// The newest level that this build knows.
    pub(super) level: Level,
}

impl Own<'_> {
    /// Observes until `stop`.
    pub(super) async fn run(&self, stop: &CancellationToken) {
        stop.run_until_cancelled(self.keep()).await;
    }

    async fn keep(&self) {
        self.members.completed().await;
        let (mut objects, mut slices) = (self.members.version(), self.uplink.slice());
        let (mut last, mut failures) = (None, 0);
        loop {
            objects.borrow_and_update();
            slices.borrow_and_update();
            match self.round(&mut last).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    tracing::warn!(%error, "cannot create this member's own row, trying again");
                    sleep(backoff(failures)).await;
                    failures += 1;
                    continue;
                }
            }
            tokio::select! {
                _ = objects.changed() => {}
                changed = slices.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn round(&self, last: &mut LastProposal) -> Result<(), CallError> {
        let name = &self.cluster.member;
        let own = match self.members.get(&(String::new(), name.to_string())) {
            Some(Ok(object)) => Some((attributes_of(&object.spec), object.metadata.generation)),
            // An unreadable object changes nothing: its last readable description stays in force.
            Some(Err(_)) => return Ok(()),
            None => None,
        };
        let generation = own.as_ref().and_then(|(_, generation)| *generation);
        let own = own.map(|(attributes, _)| attributes);
        if let Some(own) = &own {
            publish(self.published, own);
        }
        let slice = self.uplink.slice().borrow().clone();
        let slice = slice.as_deref();
        match decide(
            name,
            own.as_ref(),
            slice,
            (self.first, self.level),
            last.as_ref(),
        ) {
            Decision::Nothing => {
                let row = slice.and_then(|slice| slice.members.get(name));
                if row.map(|row| &row.attributes) == own.as_ref() {
                    self.problems.set(name, None);
                }
                Ok(())
            }
            Decision::Create(spec) => self.create(spec).await,
            Decision::Describe(attributes) => {
                self.describe(attributes, generation, last).await;
                Ok(())
            }
        }
    }

    async fn create(&self, spec: MemberSpec) -> Result<(), CallError> {
        let api: Api<Member> = Api::all(self.cluster.client.clone());
        let own = Member::new(self.cluster.member.as_str(), spec);
        match bounded(api.create(&creating(), &own)).await {
            // The watch will show the object.
            Ok(_) | Err(CallError::Conflict) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn describe(
        &self,
        attributes: Attributes,
        generation: Option<i64>,
        last: &mut LastProposal,
    ) {
        let command = Command::Describe {
            attributes: attributes.clone(),
            version: VERSION.to_owned(),
            level: self.level,
        };
        let problem = match self.uplink.propose(command).await {
            Ok(Outcome::Accepted { index }) => {
                *last = Some((attributes, index));
                None
            }
            Ok(Outcome::Rejected { rejection }) => {
                tracing::warn!(%rejection, "the ledger rejected this member's description");
                *last = Some((attributes, u64::MAX));
                Some(Problem {
                    generation,
                    reason: "DescriptionRejected",
                    message: format!("the ledger rejected this description: {rejection}"),
                })
            }
            Err(gone) => {
                tracing::debug!(%gone, "not described");
                return;
            }
        };
        self.problems.set(&self.cluster.member, problem);
    }
}

fn publish(published: &watch::Sender<Option<Arc<Attributes>>>, own: &Attributes) {
    published.send_if_modified(|known| {
        let changed = known.as_deref() != Some(own);
        if changed {
            *known = Some(Arc::new(own.clone()));
        }
        changed
    });
}

fn decide(
    name: &MemberName,
    own: Option<&Attributes>,
    slice: Option<&Slice>,
    (first, level): (&Attributes, Level),
    last: Option<&(Attributes, u64)>,
) -> Decision {
    let Some(slice) = slice else {
        return Decision::Nothing;
    };
    let Some(row) = slice.members.get(name) else {
        return Decision::Nothing;
    };
    let Some(own) = own else {
        let known = row.attributes != Attributes::default();
        let attributes = if known { &row.attributes } else { first };
        return Decision::Create(spec_of(attributes));
    };
    let on_the_way = last
        .is_some_and(|(attributes, index)| attributes == own && slice.federation.index < *index);
    if (row.attributes == *own && row.version == VERSION && row.level == level) || on_the_way {
        Decision::Nothing
    } else {
        Decision::Describe(own.clone())
    }
}

/// The description in an object, in the ledger's types.
pub(crate) fn attributes_of(spec: &MemberSpec) -> Attributes {
    let MemberSpec {
        provider,
        region,
        jurisdiction,
        labels,
        taints,
        scheduling,
    } = spec.clone();
    Attributes {
        provider: provider.unwrap_or_default(),
        region: region.unwrap_or_default(),
        jurisdiction: jurisdiction.unwrap_or_default(),
        labels,
        scheduling: scheduling_of(scheduling),
        taints: taints.into_iter().map(taint).collect(),
    }
}

/// A description of the ledger, in the object's types.
pub(crate) fn spec_of(attributes: &Attributes) -> MemberSpec {
    let Attributes {
        provider,
        region,
        jurisdiction,
        labels,
        scheduling,
        taints,
    } = attributes.clone();
    let given = |value: String| Some(value).filter(|value| !value.is_empty());
    MemberSpec {
        provider: given(provider),
        region: given(region),
        jurisdiction: given(jurisdiction),
        labels,
        taints: taints.into_iter().map(written_taint).collect(),
        scheduling: written_scheduling(scheduling),
    }
}

fn scheduling_of(scheduling: hanse_crds::Scheduling) -> Scheduling {
    match scheduling {
        hanse_crds::Scheduling::Enabled => Scheduling::Enabled,
        hanse_crds::Scheduling::Cordoned => Scheduling::Cordoned,
        hanse_crds::Scheduling::Drained => Scheduling::Drained,
    }
}

fn written_scheduling(scheduling: Scheduling) -> hanse_crds::Scheduling {
    match scheduling {
        Scheduling::Enabled => hanse_crds::Scheduling::Enabled,
        Scheduling::Cordoned => hanse_crds::Scheduling::Cordoned,
        Scheduling::Drained => hanse_crds::Scheduling::Drained,
    }
}

fn taint(hanse_crds::Taint { key, value, effect }: hanse_crds::Taint) -> Taint {
    let effect = effect_of(effect);
    Taint { key, value, effect }
}

fn written_taint(Taint { key, value, effect }: Taint) -> hanse_crds::Taint {
    let effect = written_effect(effect);
    hanse_crds::Taint { key, value, effect }
}

pub(super) fn effect_of(effect: TaintEffect) -> Effect {
    match effect {
        TaintEffect::NoSchedule => Effect::NoSchedule,
        TaintEffect::NoExecute => Effect::NoExecute,
    }
}

pub(super) fn written_effect(effect: Effect) -> TaintEffect {
    match effect {
        Effect::NoSchedule => TaintEffect::NoSchedule,
        Effect::NoExecute => TaintEffect::NoExecute,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::fixture::slice;

    fn attributes(region: &str) -> Attributes {
        Attributes {
            region: region.into(),
            scheduling: Scheduling::Cordoned,
            ..Attributes::default()
        }
    }

    fn decided(own: Option<&str>, ledger: Option<&str>, last: Option<(&str, u64)>) -> Decision {
        let slice = ledger.map(|region| {
            let mut slice = slice("acme", "acme-1", 20);
            let row = slice
                .members
                .get_mut(&"acme-1".parse::<MemberName>().unwrap())
                .unwrap();
            row.version = VERSION.to_owned();
            row.attributes = if region.is_empty() {
                Attributes::default()
            } else {
                attributes(region)
            };
            slice
        });
        let last = last.map(|(region, index)| (attributes(region), index));
        decide(
            &"acme-1".parse().unwrap(),
            own.map(attributes).as_ref(),
            slice.as_ref(),
            (&attributes("first"), Level::FIRST),
            last.as_ref(),
        )
    }

    #[test]
    fn a_missing_row_is_written_from_the_ledger_or_from_the_settings() {
        let created = |region| Decision::Create(spec_of(&attributes(region)));
        assert_eq!(decided(None, None, None), Decision::Nothing);
        assert_eq!(decided(None, Some(""), None), created("first"));
        assert_eq!(decided(None, Some("fsn1"), None), created("fsn1"));
    }

    #[test]
    fn a_changed_description_is_proposed_once() {
        let describe = Decision::Describe(attributes("fsn1"));
        assert_eq!(decided(Some("fsn1"), Some("hel1"), None), describe);
        assert_eq!(decided(Some("fsn1"), Some("fsn1"), None), Decision::Nothing);
        assert_eq!(
            decided(Some("fsn1"), Some("hel1"), Some(("fsn1", 21))),
            Decision::Nothing
        );
        assert_eq!(
            decided(Some("fsn1"), Some("hel1"), Some(("fsn1", 20))),
            describe
        );
    }

    #[test]
    fn an_operator_proposes_its_version_and_level_if_the_ledger_has_others() {
        let mut slice = slice("acme", "acme-1", 20);
        let name: MemberName = "acme-1".parse().unwrap();
        slice.members.get_mut(&name).unwrap().version = "0.0.1".into();
        let own = Attributes::default();
        let decided = |slice: &Slice, level| {
            decide(&name, Some(&own), Some(slice), (&own, Level(level)), None)
        };
        assert_eq!(decided(&slice, 1), Decision::Describe(own.clone()));
        slice.members.get_mut(&name).unwrap().version = VERSION.into();
        assert_eq!(decided(&slice, 1), Decision::Nothing);
        assert_eq!(decided(&slice, 2), Decision::Describe(own.clone()));
    }

    #[test]
    fn a_description_converted_to_an_object_and_back_is_unchanged() {
        let taint = |value: &str, effect| Taint {
            key: "gpu".to_owned(),
            value: value.to_owned(),
            effect,
        };
        let tainted = Attributes {
            taints: [
                taint("", Effect::NoSchedule),
                taint("h200", Effect::NoExecute),
            ]
            .into(),
            ..Attributes::default()
        };
        let drained = Attributes {
            scheduling: Scheduling::Drained,
            ..Attributes::default()
        };
        for attributes in [attributes("fsn1"), Attributes::default(), tainted, drained] {
            assert_eq!(attributes_of(&spec_of(&attributes)), attributes);
        }
    }
}
