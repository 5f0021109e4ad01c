//! How a slice is kept up to date: the difference of two slices, and the slice after it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{AssignedPlacement, FederationView, MemberView, OwnedWorkload, Slice};
use crate::{
    id::{MemberName, WorkloadKey},
    schedule::Findings,
    state::Removal,
};

/// The differences of one table: rows set, and rows gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    bound(deserialize = "K: Ord + Deserialize<'de>, V: Deserialize<'de>")
)]
pub struct TableDifference<K: Ord, V> {
    /// New and changed rows.
    #[serde(default = "BTreeMap::new", skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<K, V>,
    /// Rows that are no longer in view.
    #[serde(default = "BTreeSet::new", skip_serializing_if = "BTreeSet::is_empty")]
    pub gone: BTreeSet<K>,
}

impl<K: Ord, V> Default for TableDifference<K, V> {
    fn default() -> Self {
        Self {
            set: BTreeMap::new(),
            gone: BTreeSet::new(),
        }
    }
}

impl<K: Ord + Clone, V: PartialEq + Clone> TableDifference<K, V> {
    /// What turns `from` into `to`.
    #[must_use]
    pub fn between(from: &BTreeMap<K, V>, to: &BTreeMap<K, V>) -> Self {
        let changed = to
            .iter()
            .filter(|(key, value)| from.get(key) != Some(value));
        let gone = from.keys().filter(|key| !to.contains_key(key));
        Self {
            set: changed
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            gone: gone.cloned().collect(),
        }
    }

    /// Turns `table` from the old into the new.
    pub fn apply(self, table: &mut BTreeMap<K, V>) {
        for key in &self.gone {
            table.remove(key);
        }
        table.extend(self.set);
    }

    /// Whether there is no difference.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.gone.is_empty()
    }
}

/// What a leader sends a member to keep its slice up to date.
#[allow(
    clippy::large_enum_variant,
    reason = "made, sent and dropped one at a time"
)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum SliceUpdate {
    /// The whole slice: always the first update of a stream.
    Whole {
        /// The slice.
        slice: Box<Slice>,
    },
    /// What changed since the last update of the same stream.
    Difference {
        /// The ledger and its voters, whole.
        federation: FederationView,
        /// Changes of the member list.
        members: TableDifference<MemberName, MemberView>,
        /// Changes of what this member runs.
        placements: TableDifference<WorkloadKey, AssignedPlacement>,
        /// Changes of what it has to remove.
        removals: TableDifference<WorkloadKey, Removal>,
        /// Changes of its owner's workloads.
        workloads: TableDifference<WorkloadKey, OwnedWorkload>,
        /// Changes of what the planner found.
        #[serde(default)]
        findings: TableDifference<u64, Arc<Findings>>,
    },
}

impl Slice {
    /// What turns `self` into `newer`; `None` where nothing does.
    #[must_use]
    pub fn difference(&self, newer: &Self) -> Option<SliceUpdate> {
        if self == newer {
            return None;
        }
        Some(SliceUpdate::Difference {
            federation: newer.federation.clone(),
            members: TableDifference::between(&self.members, &newer.members),
            placements: TableDifference::between(&self.placements, &newer.placements),
            removals: TableDifference::between(&self.removals, &newer.removals),
            workloads: TableDifference::between(&self.workloads, &newer.workloads),
            findings: TableDifference::between(&self.findings, &newer.findings),
        })
    }

    /// The slice after `update`. `None` where a difference arrives before any whole slice.
    #[must_use]
    pub fn update(slice: Option<&Self>, update: SliceUpdate) -> Option<Self> {
        match update {
            SliceUpdate::Whole { slice } => Some(*slice),
            SliceUpdate::Difference {
                federation,
                members,
                placements,
                removals,
                workloads,
                findings,
            } => {
                let mut slice = slice?.clone();
                slice.federation = federation;
                members.apply(&mut slice.members);
                placements.apply(&mut slice.placements);
                removals.apply(&mut slice.removals);
                workloads.apply(&mut slice.workloads);
                findings.apply(&mut slice.findings);
                Some(slice)
            }
        }
    }
}
