//! What owners want.

use std::sync::Arc;

use super::{Keep, Rejection, State, Workload};
use crate::{
    command::SignedCommand,
    id::{Generation, MemberName, WorkloadKey},
    workload::WorkloadSpec,
};

/// The most workloads of a federation: what one planner is measured for.
const MAX_WORKLOADS: usize = 100_000;

impl State {
    pub(super) fn put_workload(
        &mut self,
        index: u64,
        home: MemberName,
        signed: &SignedCommand,
        key: WorkloadKey,
        base: Generation,
        spec: WorkloadSpec,
    ) -> Result<u64, Rejection> {
        spec.check(&key.namespace)
            .map_err(|error| Rejection::Invalid {
                reason: error.to_string(),
            })?;
        let existing = self.workloads.get(&key);
        if existing.is_some_and(|workload| workload.removed) {
            return Err(Rejection::BeingRemoved);
        }
        if let Some(workload) = existing.filter(|workload| *workload.spec == spec) {
            // The same specification by another author: nothing to decide.
            return Ok(workload.generation.0);
        }
        let current = existing.map_or(Generation(0), |workload| workload.generation);
        if base != current {
            return Err(Rejection::Conflict { base, current });
        }
        if existing.is_none() && self.workloads.len() >= MAX_WORKLOADS {
            return Err(Rejection::TooMany {
                what: "workloads".into(),
                most: MAX_WORKLOADS,
            });
        }
        let workload = Workload {
            proof: Arc::new(signed.clone()),
            spec: Arc::new(spec),
            home,
            generation: Generation(index),
            removed: false,
        };
        self.workloads.insert(key, workload);
        Ok(index)
    }

    pub(super) fn remove_workload(
        &mut self,
        index: u64,
        key: &WorkloadKey,
        orphan: bool,
    ) -> Result<(), Rejection> {
        let Some(workload) = self.workloads.get_mut(key) else {
            // Gone already is what was asked for.
            return Ok(());
        };
        if workload.removed {
            return Ok(());
        }
        workload.removed = true;
        workload.generation = Generation(index);
        let keep = if orphan {
            Keep::Everything
        } else {
            workload.spec.volumes.on_delete.into()
        };
        for member in self.placements.remove(key).unwrap_or_default().into_keys() {
            self.require_removal(index, member, key, keep);
        }
        self.drop_if_removed(key);
        Ok(())
    }
}
