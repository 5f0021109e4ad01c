//! How a host's objects are doing, by the rules of kstatus: an object is ready when its controller has seen its newest
//! generation and reports it as ready; an object without a controller is ready once it exists.
//!
//! Source of the rules: the kstatus library of sigs.k8s.io/cli-utils and the status fields of the kinds themselves, where
//! kstatus leaves something out: minimum ready time, partitions, `OnDelete`, the words of a container that does not start.
//!
//! In `health/`: `kinds` (the rule of each kind), `rules` (those of a workload's author), `pods` (what pods say), `fields` (reading a status).

use serde_json::Value;

use self::fields::{holds, number, text};
use crate::{
    id::{Epoch, Generation},
    slice::{PlacementPhase, PlacementReport},
    workload::{GroupKind, ManifestId, ScalePath, ScaleTarget, Share},
};

mod fields;
mod kinds;
mod pods;
mod rules;
#[cfg(test)]
mod tests;

pub use pods::{labels_of_pods, pods_say};
pub use rules::Rules;

/// The longest message of a report, in characters; the CRD states the same bound.
pub const MAX_MESSAGE_CHARACTERS: usize = 1_024;

/// How one object is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// As it should be.
    Ready,
    /// Not ready yet, and nothing indicates that it will not be.
    Progressing {
        /// What is still missing.
        message: String,
    },
    /// Its pods may not be created: a quota is used up, or admission refuses them.
    Refused {
        /// What was said.
        message: String,
    },
    /// It will not become ready without a change.
    Failed {
        /// What is wrong.
        message: String,
    },
}

impl Health {
    fn progressing(message: impl Into<String>) -> Self {
        Self::Progressing {
            message: message.into(),
        }
    }

    fn failed(message: impl Into<String>) -> Self {
        Self::Failed {
            message: message.into(),
        }
    }

    /// The phase of a placement with this object, and the message about it.
    fn phase(self) -> (PlacementPhase, String) {
        match self {
            Self::Ready => (PlacementPhase::Ready, String::new()),
            Self::Progressing { message } => (PlacementPhase::Applied, message),
            Self::Failed { message } => (PlacementPhase::Failed, message),
            Self::Refused { message } => (PlacementPhase::Refused, message),
        }
    }

    fn ready_if(ready: bool, message: impl FnOnce() -> String) -> Self {
        if ready {
            Self::Ready
        } else {
            Self::Progressing { message: message() }
        }
    }
}

/// How `object` is doing, by the rule of its kind.
#[must_use]
pub fn assess(object: &Value) -> Health {
    unsettled(object).unwrap_or_else(|| kinds::assess(object))
}

/// Why the status of `object` says nothing: it is being deleted, or its controller has not seen its newest generation.
fn unsettled(object: &Value) -> Option<Health> {
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return Some(Health::progressing("is being deleted"));
    }
    let generation = number(object, "/metadata/generation")?;
    let observed = number(object, "/status/observedGeneration")?;
    let words = "its controller has not seen the newest change";
    (observed < generation).then(|| Health::progressing(words))
}

/// Whether what waits for `object` may go on: as [`Rules::assess`], and a Job must have succeeded.
#[must_use]
pub fn assess_awaited(object: &Value, rules: &Rules) -> Health {
    match rules.assess(object) {
        Health::Ready if text(object, "/kind") == "Job" && !is_complete(object) => {
            Health::progressing("has not succeeded yet")
        }
        health => health,
    }
}

/// Whether an object has done what it is for: a Job that succeeded, a Pod that ended well and is not started again.
#[must_use]
pub fn is_complete(object: &Value) -> bool {
    match (text(object, "/apiVersion"), text(object, "/kind")) {
        ("batch/v1", "Job") => holds(object, "Complete"),
        ("v1", "Pod") => text(object, "/status/phase") == "Succeeded",
        _ => false,
    }
}

/// The message of a report, cut at [`MAX_MESSAGE_CHARACTERS`].
#[must_use]
pub fn bounded(message: &str) -> String {
    message.chars().take(MAX_MESSAGE_CHARACTERS).collect()
}

/// One object of a placement as its host sees it.
#[derive(Debug, Clone)]
pub struct Observed<'a> {
    /// Which manifest it is of.
    pub id: ManifestId,
    /// The object; `None` where it is missing.
    pub object: Option<&'a Value>,
    /// Where it has its replicas, if it scales.
    pub scale: ScalePath,
    /// The controller that decides its replicas instead of the federation.
    pub scaled_by: Option<&'a str>,
}

/// The report of a placement of this share with these objects.
///
/// Ready replicas are those of the objects that the share counts, none of them above its count; where nothing is
/// counted, the whole share if everything is ready. Where another controller decides, its count is the one that counts.
/// The message is the one of the object that is furthest from ready.
#[must_use]
pub fn report(
    epoch: Epoch,
    generation: Generation,
    share: &Share,
    objects: &[Observed<'_>],
    rules: &Rules,
) -> PlacementReport {
    let mut worst = (PlacementPhase::Ready, String::new());
    for Observed { id, object, .. } in objects {
        let health = match object {
            Some(object) => rules.assess(object),
            None => Health::progressing("is not there yet"),
        };
        let (phase, message) = health.phase();
        if badness(phase) > badness(worst.0) {
            let ManifestId { group_kind, name } = id;
            worst = (phase, format!("{} '{name}' {message}", group_kind.kind));
        }
    }
    let (mut ready, mut desired, mut scaled_by) = (0_u32, 0_u32, None);
    for (target, count) in share.iter() {
        let found = match target {
            ScaleTarget::Object(id) => objects.iter().find(|it| it.id == *id),
            ScaleTarget::Workload | ScaleTarget::Limit(_) | ScaleTarget::Task(_) => None,
        };
        let live = found.and_then(|it| it.object);
        let decided = found.and_then(|it| Some((it.scaled_by?, it.scale.of(live?)?)));
        let wanted = decided.map_or(count, |(_, count)| whole(count.as_u64()));
        scaled_by = scaled_by.or_else(|| decided.map(|(controller, _)| controller.to_owned()));
        let (wanted, runs) = match target {
            ScaleTarget::Limit(_) | ScaleTarget::Task(_) => (0, 0),
            ScaleTarget::Workload if worst.0 == PlacementPhase::Ready => (wanted, wanted),
            ScaleTarget::Workload => (wanted, 0),
            ScaleTarget::Object(_) => (
                wanted,
                live.map_or(0, |object| ready_of(object, wanted, rules)),
            ),
        };
        ready = ready.saturating_add(runs);
        desired = desired.saturating_add(wanted);
    }
    PlacementReport {
        epoch,
        generation,
        phase: worst.0,
        ready,
        runs: objects.iter().filter_map(|it| it.object).any(kinds::runs),
        rolls_out: objects
            .iter()
            .filter_map(|it| it.object)
            .any(kinds::rolls_out),
        desired: scaled_by.is_some().then_some(desired),
        scaled_by,
        message: bounded(&worst.1),
    }
}

/// How far a phase is from ready: the worst object speaks for the placement.
fn badness(phase: PlacementPhase) -> u8 {
    match phase {
        PlacementPhase::Ready => 0,
        PlacementPhase::Applied | PlacementPhase::Removing => 1,
        PlacementPhase::Failed | PlacementPhase::Stopped => 2,
        PlacementPhase::Refused => 3,
    }
}

/// How many of its replicas are ready, at most `wanted`. A custom kind without a count of them has all of them ready when it
/// is ready itself.
fn ready_of(object: &Value, wanted: u32, rules: &Rules) -> u32 {
    let counted = number(object, "/status/readyReplicas");
    let is_custom = GroupKind::of(object).is_custom();
    let all_or_none = || match rules.assess(object) {
        Health::Ready if is_custom => wanted,
        _ => 0,
    };
    counted.map_or_else(all_or_none, |count| whole(Some(count)).min(wanted))
}

fn whole(count: Option<u64>) -> u32 {
    u32::try_from(count.unwrap_or(0)).unwrap_or(u32::MAX)
}
