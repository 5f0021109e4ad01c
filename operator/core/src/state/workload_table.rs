//! The workloads of a federation, with how much each owner has.

use std::ops::Deref;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use super::Workload;
use crate::id::{OwnerName, WorkloadKey};

/// The most bytes that the specifications of one owner may have, as they were signed. Every voter of the federation has them in
/// memory and on its disk, whoever they belong to.
pub const MAX_OWNER_BYTES: usize = 256 * 1024 * 1024;

/// Workloads by key. Reads like the map that it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(
    from = "OrdMap<WorkloadKey, Workload>",
    into = "OrdMap<WorkloadKey, Workload>"
)]
pub struct Workloads {
    rows: OrdMap<WorkloadKey, Workload>,
    /// The bytes of each owner that has some. Follows from the rows.
    bytes: OrdMap<OwnerName, usize>,
}

impl Workloads {
    /// Puts a workload in the place of the one with this key, if there is one.
    pub fn insert(&mut self, key: WorkloadKey, workload: Workload) {
        let bytes = bytes_of(&workload);
        self.remove(&key);
        *self.bytes.entry(key.owner.clone()).or_default() += bytes;
        self.rows.insert(key, workload);
    }

    /// Takes a workload out.
    pub fn remove(&mut self, key: &WorkloadKey) {
        let Some(workload) = self.rows.remove(key) else {
            return;
        };
        let left = self.bytes_of(&key.owner) - bytes_of(&workload);
        if left == 0 {
            self.bytes.remove(&key.owner);
        } else {
            self.bytes.insert(key.owner.clone(), left);
        }
    }

    /// A workload to change; what was signed stays.
    pub fn get_mut(&mut self, key: &WorkloadKey) -> Option<&mut Workload> {
        self.rows.get_mut(key)
    }

    /// How many bytes the specifications of an owner have, as they were signed.
    #[must_use]
    pub fn bytes_of(&self, owner: &OwnerName) -> usize {
        self.bytes.get(owner).copied().unwrap_or(0)
    }
}

fn bytes_of(workload: &Workload) -> usize {
    workload.proof.body.len()
}

impl Deref for Workloads {
    type Target = OrdMap<WorkloadKey, Workload>;
    fn deref(&self) -> &Self::Target {
        &self.rows
    }
}

impl From<OrdMap<WorkloadKey, Workload>> for Workloads {
    fn from(rows: OrdMap<WorkloadKey, Workload>) -> Self {
        let mut bytes = OrdMap::<OwnerName, usize>::new();
        for (key, workload) in &rows {
            *bytes.entry(key.owner.clone()).or_default() += bytes_of(workload);
        }
        Self { rows, bytes }
    }
}

impl From<Workloads> for OrdMap<WorkloadKey, Workload> {
    fn from(workloads: Workloads) -> Self {
        workloads.rows
    }
}
