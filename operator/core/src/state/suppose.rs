//! The rules without the envelope of a command, on a copy of the state that no ledger has: for simulations, and for the planner's tests.
//!
//! Each function is as one entry or more with the command that it names, asked by who may ask it.

use std::collections::BTreeSet;

use super::{MAX_PLAN_ROWS, Rejection, State};
use crate::{
    command::{Command, PlacementChange, SignedCommand},
    id::{Epoch, FederationId, Generation, MemberName, PrivateKey, WorkloadKey},
    workload::WorkloadSpec,
};

impl State {
    /// The index of an entry that nobody wrote.
    pub(crate) fn next_index(&mut self) -> u64 {
        self.index += 1;
        self.index
    }

    /// `Assign`, for a plan of any size.
    pub(crate) fn apply_plan(&mut self, index: u64, changes: &[PlacementChange]) {
        for rows in changes.chunks(MAX_PLAN_ROWS) {
            // Only a plan with more rows is refused.
            let _ = self.assign(index, rows.to_vec());
        }
    }

    /// `ExpireLeases`, and `Fence` as if enough time had passed.
    pub(crate) fn suppose_lost(&mut self, members: &BTreeSet<MemberName>) {
        let index = self.next_index();
        let epochs = |state: &Self| -> BTreeSet<(MemberName, Epoch)> {
            let rows = members.iter();
            let rows = rows.filter_map(|name| Some((name.clone(), state.members.get(name)?)));
            rows.map(|(name, row)| (name, row.lease.epoch())).collect()
        };
        let held = epochs(self);
        // Neither is ever refused.
        let _ = self.expire_leases(index, &held);
        let lost = epochs(self);
        let _ = self.fence(index, &lost);
    }

    /// `PutWorkload`, on top of what is there.
    pub(crate) fn suppose_put(
        &mut self,
        home: MemberName,
        key: &WorkloadKey,
        spec: &WorkloadSpec,
    ) -> Result<(), Rejection> {
        let index = self.next_index();
        let current = self.workloads.get(key).filter(|row| !row.removed);
        let base = current.map_or(Generation(0), |row| row.generation);
        let command = Command::PutWorkload {
            key: key.clone(),
            base,
            spec: spec.clone(),
        };
        // Nobody's signature: a host would refuse the row, and none gets it.
        let nobody = PrivateKey::from_seed(&[0; 32]);
        let signed = SignedCommand::sign(&FederationId([0; 16]), &nobody, 0, &command);
        self.put_workload(index, home, &signed, key.clone(), base, spec.clone())
            .map(drop)
    }

    /// `ConfirmRemoval` of everything, by every member that holds its lease.
    pub(crate) fn suppose_removed(&mut self) {
        let mut owed = Vec::new();
        for (name, _) in self.members.iter().filter(|(_, row)| row.lease.is_held()) {
            let keys = self.removals.at(name);
            owed.extend(keys.map(|key| (name.clone(), key.clone())));
        }
        for (name, key) in owed {
            if let Some(epoch) = self.removals.get(&key, &name).map(|it| it.epoch) {
                // Never refused.
                let _ = self.confirm_removal(&name, &key, epoch);
            }
        }
    }
}
