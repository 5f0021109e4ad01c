//! What this process applied for a placement, so that what is unchanged needs no call.

use std::collections::BTreeMap;

use hanse_core::{
    id::{Digest, Epoch, Generation},
    slice::AssignedPlacement,
    workload::Share,
};

use super::object_id::ObjectId;

/// The objects applied for one decision, each with the digest of the fields that Hanse applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    epoch: Epoch,
    generation: Generation,
    share: Share,
    pub(super) objects: BTreeMap<ObjectId, Digest>,
    /// Whether the namespace and the inventory are as this decision needs them.
    pub(super) prepared: bool,
    /// Objects that are no longer part of the workload and stay, each with the reason.
    pub(super) left: Vec<String>,
}

impl Record {
    /// The record of `placement` before any of its objects was applied.
    pub(super) fn of(placement: &AssignedPlacement) -> Self {
        Self {
            epoch: placement.epoch,
            generation: placement.generation,
            share: placement.share.clone(),
            objects: BTreeMap::new(),
            prepared: false,
            left: Vec::new(),
        }
    }

    /// This record if it is of the same decision; otherwise `wanted`, which is empty.
    pub(super) fn or(self, wanted: Self) -> Self {
        let decision = |record: &Self| (record.epoch, record.generation);
        if decision(&self) == decision(&wanted) && self.share == wanted.share {
            self
        } else {
            wanted
        }
    }
}
