//! What the planner must know of what hosts did over time.

use std::collections::{BTreeMap, BTreeSet};

use super::refusals::AVOIDED_FOR;
use crate::{
    id::{MemberName, WorkloadKey},
    reason::Reason,
    state::Workload,
    workload::Mode,
};

/// What was seen of hosts, by workload.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observations(BTreeMap<WorkloadKey, About>);

/// What was seen about one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct About {
    /// The members that a share has to leave, each with why and the words about it.
    leaving: BTreeMap<MemberName, (Why, String)>,
    /// The members that get no more than so many replicas, with the words about each.
    limits: BTreeMap<MemberName, (u32, String)>,
    /// The members avoided for long enough.
    forgiven: BTreeSet<MemberName>,
    /// The members that are back and due to get their part again.
    back: BTreeSet<MemberName>,
}

/// Why a share leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The host refuses it.
    Refused,
    /// Nothing of it is ready there any more.
    Unready,
}

impl Observations {
    /// What was seen about one workload, for the planner's own tests.
    #[cfg(test)]
    pub(super) fn of(key: &WorkloadKey, object: impl FnOnce(&mut About)) -> Self {
        let mut observations = Self::default();
        object(observations.of_mut(key));
        observations
    }

    pub(super) fn of_mut(&mut self, key: &WorkloadKey) -> &mut About {
        self.0.entry(key.clone()).or_default()
    }

    pub(super) fn get(&self, key: &WorkloadKey) -> Option<&About> {
        self.0.get(key)
    }

    /// Whether the share of `member` should leave it.
    pub(super) fn leaves(&self, key: &WorkloadKey, member: &MemberName) -> bool {
        let about = self.get(key);
        about.is_some_and(|about| about.leaving.contains_key(member))
    }

    /// The members that a share of this workload has to leave.
    pub(super) fn leaving(&self, key: &WorkloadKey) -> impl Iterator<Item = &MemberName> {
        let about = self.get(key).into_iter();
        about.flat_map(|about| about.leaving.keys())
    }

    /// Whether there is any about this workload.
    pub(super) fn has(&self, key: &WorkloadKey) -> bool {
        self.0.contains_key(key)
    }

    /// The workloads about which `other` says something else.
    pub(super) fn difference<'a>(
        &'a self,
        other: &'a Self,
    ) -> impl Iterator<Item = &'a WorkloadKey> {
        let all = self.0.keys().chain(other.0.keys());
        all.filter(move |key| self.get(key) != other.get(key))
    }

    /// What speaks against `member`, if it refuses the workload or did so not long ago.
    pub(super) fn against<'a>(
        &'a self,
        (key, workload): (&WorkloadKey, &'a Workload),
        member: &MemberName,
    ) -> Option<&'a str> {
        if workload.spec.placement.mode == Mode::Duplicated {
            return None;
        }
        let about = self.get(key);
        if let Some((_, words)) = about.and_then(|about| about.leaving.get(member)) {
            return Some(words);
        }
        let avoided = workload.avoided.get(member)?;
        (!about.is_some_and(|it| it.forgiven.contains(member))).then_some(avoided)
    }
}

impl About {
    pub(super) fn leave(&mut self, member: &MemberName, words: &str, why: Why) {
        let leaving = (why, words.to_owned());
        self.leaving.insert(member.clone(), leaving);
    }

    pub(super) fn limit(&mut self, member: &MemberName, replicas: u32, words: &str) {
        let limit = (replicas, words.to_owned());
        self.limits.insert(member.clone(), limit);
    }

    pub(super) fn forgive(&mut self, member: &MemberName) {
        self.forgiven.insert(member.clone());
    }

    /// The most that `member` gets, with the words about that.
    pub(super) fn limit_of(&self, member: &MemberName) -> Option<(u32, &str)> {
        let (replicas, words) = self.limits.get(member)?;
        Some((*replicas, words))
    }

    pub(super) fn give_back(&mut self, member: &MemberName) {
        self.back.insert(member.clone());
    }

    /// The members that are back and due to get their part again.
    pub(super) fn back(&self) -> impl Iterator<Item = &MemberName> {
        self.back.iter()
    }

    pub(super) fn has_limits(&self) -> bool {
        !self.limits.is_empty()
    }

    /// Why a share leaves `member`, if it does.
    pub(super) fn reason(&self, member: &MemberName) -> Option<Reason> {
        let (why, message) = self.leaving.get(member).cloned()?;
        let member = member.clone();
        let reason = match why {
            Why::Refused => Reason::MemberRefused { member, message },
            Why::Unready => Reason::MemberUnready { member, message },
        };
        Some(reason.bounded())
    }
}

/// The reason against a member that refused a workload, or did not keep it ready.
pub(super) const REFUSED: &str = "Refused";

/// Why such a member does not host the workload.
pub(super) fn exclusion(message: &str) -> String {
    let again = AVOIDED_FOR.as_secs() / 60;
    format!(
        "it could not take its part, and gets none before an edit or for {again} min: {message}"
    )
}
