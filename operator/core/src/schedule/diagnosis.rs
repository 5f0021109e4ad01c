//! What the planner found: which members are excluded and why, and which failures a workload survives.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Gap;
use crate::{
    domain::FailureDomain,
    id::{Generation, MemberName},
};

/// The members named for one reason; the others are counted.
const NAMED: usize = 3;

/// Why a workload cannot run on a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusion {
    /// The filter that ruled the member out, in CamelCase, for example `NotGranted`.
    pub reason: &'static str,
    /// A sentence that a person can act on.
    pub message: String,
}

impl Exclusion {
    pub(super) fn new(reason: &'static str, message: &str) -> Self {
        Self {
            reason,
            message: message.to_owned(),
        }
    }
}

/// The members that were ruled out for the same reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Excluded {
    /// How many.
    pub members: usize,
    /// The first three by name, each with a sentence that a person can act on.
    pub named: BTreeMap<MemberName, String>,
}

/// The members that were ruled out, by the reason of the first filter that did, in CamelCase.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Exclusions(pub BTreeMap<String, Excluded>);

impl Exclusions {
    /// Adds `names`, which come in order.
    pub(super) fn add<'a>(
        &mut self,
        reason: &'static str,
        names: impl IntoIterator<Item = &'a MemberName>,
        message: impl Fn(&MemberName) -> String,
    ) {
        let excluded = self.0.entry(reason.to_owned()).or_default();
        for name in names {
            excluded.members += 1;
            if excluded.named.len() < NAMED {
                excluded.named.insert(name.clone(), message(name));
            }
        }
    }

    /// How many members were ruled out.
    #[must_use]
    pub fn members(&self) -> usize {
        self.0.values().map(|excluded| excluded.members).sum()
    }

    /// Those that are named, each with reason and message, by name.
    #[must_use]
    pub fn named(&self) -> BTreeMap<&MemberName, (&str, &str)> {
        let reasons = self.0.iter();
        let named = reasons.flat_map(|(reason, excluded)| {
            let named = excluded.named.iter();
            named.map(move |(name, message)| (name, (reason.as_str(), message.as_str())))
        });
        named.collect()
    }
}

/// What the planner found about where workloads with the same needs can run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Findings {
    /// The members ruled out.
    pub excluded: Exclusions,
    /// The largest kind of failure domain of which a workload survives the loss of any one; `None` if not even that of a cluster.
    pub survives: Option<FailureDomain>,
    /// What stops it from surviving the loss of a larger one; `None` if nothing does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<Gap>,
}

/// What the planner found about one workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// The number under which the findings are that it shares with all workloads of the same needs.
    #[serde(default)]
    pub findings: u64,
    /// Its own findings, where they are others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<Findings>,
    /// Why it is not (wholly) placed; `None` when it is.
    pub unplaced: Option<String>,
    /// The generation of the workload that this is about; 0 before the first plan.
    #[serde(default)]
    pub generation: Generation,
}
