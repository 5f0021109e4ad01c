//! What should run where.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::MemberName;

/// The largest failure domain a workload would outlive as things stand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Survives {
    /// Not even the loss of one cluster.
    #[default]
    Nothing,
    /// The loss of any one cluster.
    Cluster,
    /// The loss of any one region.
    Region,
    /// The loss of any one provider.
    Provider,
    /// The loss of any one owner.
    Owner,
}

/// Why a workload cannot run on a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exclusion {
    /// The filter that ruled the member out, in CamelCase, for example `NotGranted`.
    pub reason: String,
    /// In words a person can act on.
    pub message: String,
}

/// What the planner found out about one workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnosis {
    /// The members ruled out, each with the first filter that did.
    pub excluded: BTreeMap<MemberName, Exclusion>,
    /// What the workload would outlive.
    pub survives: Survives,
    /// Why it is not (wholly) placed; `None` when it is.
    pub unplaced: Option<String>,
}
