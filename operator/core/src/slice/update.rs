//! How a slice is kept up to date: the difference of two slices, and the slice after it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imbl::{OrdMap, ordmap::DiffItem};
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
    pub fn between(from: &OrdMap<K, V>, to: &OrdMap<K, V>) -> Self {
        let mut difference = Self::default();
        for item in from.diff(to) {
            match item {
                DiffItem::Add(key, value)
                | DiffItem::Update {
                    new: (key, value), ..
                } => drop(difference.set.insert(key.clone(), value.clone())),
                DiffItem::Remove(key, _) => drop(difference.gone.insert(key.clone())),
            }
        }
        difference
    }

    /// Turns `table` from the old into the new.
    pub fn apply(self, table: &mut OrdMap<K, V>) {
        for key in &self.gone {
            table.remove(key);
        }
        for (key, value) in self.set {
            table.insert(key, value);
        }
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
    Difference(Difference),
}

/// What turns one slice into a later one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The ledger and its voters, whole.
    pub federation: FederationView,
    /// Changes of the member list.
    pub members: TableDifference<MemberName, MemberView>,
    /// Changes of what this member runs.
    pub placements: TableDifference<WorkloadKey, Arc<AssignedPlacement>>,
    /// Changes of what it has to remove.
    pub removals: TableDifference<WorkloadKey, Removal>,
    /// Changes of its owner's workloads.
    pub workloads: TableDifference<WorkloadKey, Arc<OwnedWorkload>>,
    /// Changes of what the planner found.
    #[serde(default)]
    pub findings: TableDifference<u64, Arc<Findings>>,
}

impl Difference {
    /// A difference in which no table changes.
    #[must_use]
    pub fn of(federation: FederationView) -> Self {
        Self {
            federation,
            members: TableDifference::default(),
            placements: TableDifference::default(),
            removals: TableDifference::default(),
            workloads: TableDifference::default(),
            findings: TableDifference::default(),
        }
    }

    /// Whether any table changes.
    #[must_use]
    pub fn changes_a_table(&self) -> bool {
        !(self.members.is_empty()
            && self.placements.is_empty()
            && self.removals.is_empty()
            && self.workloads.is_empty()
            && self.findings.is_empty())
    }
}

impl Slice {
    /// The slice after `update`. `None` where a difference arrives before any whole slice.
    #[must_use]
    pub fn update(slice: Option<&Self>, update: SliceUpdate) -> Option<Self> {
        match update {
            SliceUpdate::Whole { slice } => Some(*slice),
            SliceUpdate::Difference(difference) => {
                let mut slice = slice?.clone();
                slice.federation = difference.federation;
                difference.members.apply(&mut slice.members);
                difference.placements.apply(&mut slice.placements);
                difference.removals.apply(&mut slice.removals);
                difference.workloads.apply(&mut slice.workloads);
                difference.findings.apply(&mut slice.findings);
                Some(slice)
            }
        }
    }
}
