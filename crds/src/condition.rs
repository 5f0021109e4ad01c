//! Conditions: what every status of this group has in common.
//!
//! The shape is that of `metav1.Condition`. It is a type of its own because the schema derived from the original has lost
//! its limits: here the API server refuses a status other than `True`, `False` or `Unknown`, an empty reason and a
//! message that would not fit.
//!
//! All conditions of a kind are set on the first visit, `Unknown` if need be, so that a missing one never reads as good.
//! `Ready`, `Progressing` and `Stalled` let `kubectl wait`, Helm and Flux tell "not yet" from "never".

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::MAX_SAFE_INTEGER;

/// Everything that was asked for is there and healthy. Of every kind that has one summary.
pub const READY: &str = "Ready";
/// Workload: every replica has a host.
pub const PLACED: &str = "Placed";
/// Workload: every host is within the domicile and granted.
pub const COMPLIANT: &str = "Compliant";
/// Workload: hosts are still being changed towards what was asked for.
pub const PROGRESSING: &str = "Progressing";
/// Workload: nothing will change unless someone changes the workload, a grant or a member.
pub const STALLED: &str = "Stalled";
/// Workload: it survives the loss that its placement says it must.
pub const SURVIVABLE: &str = "Survivable";
/// Member: this row equals the ledger's description.
pub const SYNCED: &str = "Synced";
/// Hosting policy: the ledger has what is granted.
pub const PUBLISHED: &str = "Published";
/// Federation: a majority of voters is in contact, so decisions can be made.
pub const QUORATE: &str = "Quorate";
/// Federation: this member's stream to the leader is open.
pub const ATTACHED: &str = "Attached";
/// Federation: this operator's flags equal the federation's timings.
pub const CONFIGURED: &str = "Configured";
/// Federation: too many members are silent at once for their replicas to be placed elsewhere in addition.
pub const BRAKED: &str = "Braked";

/// One aspect of the state of an object, as last observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// What the condition is about, in CamelCase. An object has at most one condition of a type.
    #[serde(rename = "type")]
    #[schemars(
        length(min = 1, max = 316),
        regex(
            pattern = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
        )
    )]
    pub type_: String,
    /// Whether it holds: `True`, `False` or `Unknown`.
    pub status: ConditionStatus,
    /// The `metadata.generation` this was observed at. If it is older than the object's, the condition is out of date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_SAFE_INTEGER))]
    pub observed_generation: Option<i64>,
    /// When `status` last changed.
    pub last_transition_time: Time,
    /// Why, as one CamelCase word for programs.
    #[schemars(
        length(min = 1, max = 1024),
        regex(pattern = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")
    )]
    pub reason: String,
    /// Why, as a sentence for people. May be empty.
    #[schemars(length(max = 32768))]
    pub message: String,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold.
    False,
    /// It is not known.
    Unknown,
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

impl Condition {
    /// The most characters of a message the API server takes.
    pub const MAX_MESSAGE_CHARS: usize = 32768;

    /// A condition that has just come to this status. [`set_condition`] puts back the older time if it has not.
    ///
    /// A message that is too long is cut: losing its end is better than the API server refusing the whole status.
    #[must_use]
    pub fn new(
        type_: &str,
        status: impl Into<ConditionStatus>,
        reason: &str,
        message: impl Into<String>,
        now: Time,
    ) -> Self {
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(Self::MAX_MESSAGE_CHARS) {
            message.truncate(end);
        }
        Self {
            type_: type_.to_owned(),
            status: status.into(),
            observed_generation: None,
            last_transition_time: now,
            reason: reason.to_owned(),
            message,
        }
    }

    /// The same condition, observed at this generation of its object.
    #[must_use]
    pub fn observed_at(mut self, generation: Option<i64>) -> Self {
        self.observed_generation = generation;
        self
    }
}

/// Puts `new` in the place of the condition of its type, or at the end if there is none.
///
/// `lastTransitionTime` stays what it was while the status stays what it was: it says since when, not when it was last
/// looked at, and a status that only differs in it would be written for nothing. Returns whether anything has changed.
pub fn set_condition(conditions: &mut Vec<Condition>, mut new: Condition) -> bool {
    let Some(old) = conditions.iter_mut().find(|old| old.type_ == new.type_) else {
        conditions.push(new);
        return true;
    };
    if old.status == new.status {
        new.last_transition_time = old.last_transition_time.clone();
    }
    let changed = *old != new;
    *old = new;
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        Time(k8s_openapi::jiff::Timestamp::from_second(second).unwrap())
    }

    fn ready(status: bool, reason: &str, second: i64) -> Condition {
        Condition::new(READY, status, reason, "", at(second)).observed_at(Some(1))
    }

    #[test]
    fn a_condition_of_a_new_type_is_added_at_the_end() {
        let placed = Condition::new(PLACED, true, "AllReplicasPlaced", "", at(1));
        let mut conditions = vec![placed.clone()];
        assert!(set_condition(&mut conditions, ready(true, "AllReady", 2)));
        assert_eq!(conditions, [placed, ready(true, "AllReady", 2)]);
    }

    #[test]
    fn the_transition_time_is_kept_while_the_status_is() {
        let mut conditions = vec![ready(false, "NoHost", 1)];
        assert!(set_condition(&mut conditions, ready(false, "Starting", 2)));
        assert_eq!(conditions, [ready(false, "Starting", 1)]);
    }

    #[test]
    fn the_transition_time_moves_with_the_status() {
        let mut conditions = vec![ready(false, "NoHost", 1)];
        assert!(set_condition(&mut conditions, ready(true, "AllReady", 2)));
        assert_eq!(conditions, [ready(true, "AllReady", 2)]);
    }

    #[test]
    fn saying_the_same_again_changes_nothing() {
        let mut conditions = vec![ready(true, "AllReady", 1)];
        assert!(!set_condition(&mut conditions, ready(true, "AllReady", 2)));
        assert_eq!(conditions, [ready(true, "AllReady", 1)]);
    }

    #[test]
    fn a_message_is_cut_at_the_limit_of_the_schema_in_characters() {
        let condition = Condition::new(READY, false, "Failed", "ü".repeat(40_000), at(1));
        assert_eq!(condition.message, "ü".repeat(Condition::MAX_MESSAGE_CHARS));
    }
}
