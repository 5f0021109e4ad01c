//! What runs where, and what still has to be removed where.

use std::{collections::BTreeSet, sync::Arc};

use super::{Keep, Placement, Rejection, Removal, State};
use crate::{
    command::PlacementChange,
    id::{Epoch, Generation, MemberName, WorkloadKey},
    mutation::{Mutation, is_on},
    reason::Reason,
    workload::Mode,
};

/// The most rows one plan may carry; a larger one is committed in several.
pub const MAX_PLAN_ROWS: usize = 1_000;

impl State {
    pub(super) fn assign(
        &mut self,
        index: u64,
        changes: Vec<PlacementChange>,
    ) -> Result<(), Rejection> {
        if changes.len() > MAX_PLAN_ROWS {
            return Err(Rejection::TooMany {
                what: "rows of a plan".into(),
                most: MAX_PLAN_ROWS,
            });
        }
        // Removals first: a `Single` that moves is removed from one member before it is placed on another.
        let (removals, placements): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|row| row.share.is_none());
        for row in removals {
            if self.is_current(&row) {
                self.avoid(&row);
                self.take_away(index, &row.workload, row.member);
            }
        }
        for row in placements {
            if self.is_current(&row) && self.may_place(&row) {
                self.place(index, row);
            }
        }
        Ok(())
    }

    /// Whether what the row was decided on still holds.
    fn is_current(&self, row: &PlacementChange) -> bool {
        if is_on(Mutation::CheckGeneration) {
            return self.workloads.contains_key(&row.workload);
        }
        let workload = self.workloads.get(&row.workload);
        let member = self.members.get(&row.member);
        workload.is_some_and(|workload| {
            !workload.removed && workload.generation == row.workload_generation
        }) && member.is_some_and(|member| member.generation == row.member_generation)
    }

    /// The rules that hold whatever a planner thinks: only members with a lease get work, and a `Single` is never
    /// placed while it may still run elsewhere.
    fn may_place(&self, row: &PlacementChange) -> bool {
        let holds_lease = self
            .members
            .get(&row.member)
            .is_some_and(|member| member.lease.is_held());
        let single = self.is_single(&row.workload);
        let clean = !self.owes_another(&row.workload, &row.member);
        holds_lease
            && clean
            && (!single || row.surge.is_none())
            && (!single || self.may_run_elsewhere(&row.workload, &row.member).is_none())
    }

    fn is_single(&self, workload: &WorkloadKey) -> bool {
        let row = self.workloads.get(workload);
        row.is_some_and(|row| row.spec.placement.mode == Mode::Single)
    }

    /// Whether `member` still has to remove an earlier workload of this name.
    #[must_use]
    pub fn owes_another(&self, workload: &WorkloadKey, member: &MemberName) -> bool {
        let pending = self.removals.get(workload, member);
        let row = self.workloads.get(workload);
        pending
            .zip(row)
            .is_some_and(|(pending, row)| pending.born != row.born)
    }

    /// The member on which another copy than that placed on `member` may run: it is placed there, or not certain to have
    /// stopped there.
    #[must_use]
    pub fn may_run_elsewhere(
        &self,
        workload: &WorkloadKey,
        member: &MemberName,
    ) -> Option<&MemberName> {
        let mut placed = self.placements.of(workload).map(|(host, _)| host);
        let placed = placed.find(|host| *host != member);
        placed.or_else(|| {
            self.removals.of(workload).find_map(|(host, _)| {
                if self.runs_until_removed(workload, host) {
                    return Some(host);
                }
                let lease = self.members.get(host).map(|row| row.lease);
                let stopped =
                    lease.is_none_or(super::Lease::is_fenced) || is_on(Mutation::WaitForStop);
                (host != member && !stopped).then_some(host)
            })
        })
    }

    /// Whether `host` has still to remove copies of this workload that the end of its lease does not stop: they were placed
    /// there when it was no `Single`.
    #[must_use]
    pub fn runs_until_removed(&self, workload: &WorkloadKey, host: &MemberName) -> bool {
        let pending = self.removals.get(workload, host);
        let born = self.workloads.get(workload).map(|row| row.born);
        // The copies of another workload that had this name are no second copy of this one.
        pending.is_some_and(|pending| !pending.stops && Some(pending.born) == born)
    }

    /// The silent members whose shares are placed elsewhere in addition.
    #[must_use]
    pub fn covered(&self) -> BTreeSet<&MemberName> {
        let rows = self.placements.iter().flat_map(|(_, rows)| rows.values());
        let surges = rows.filter_map(|row| row.surge.as_ref());
        surges.flat_map(|surge| &surge.covers).collect()
    }

    /// Takes every copy away: a host that does not hear of it keeps running them.
    pub(super) fn take_all_away(&mut self, index: u64, workload: &WorkloadKey) {
        let hosts = self.placements.of(workload);
        let hosts: Vec<_> = hosts.map(|(host, _)| host.clone()).collect();
        for host in hosts {
            self.take_away(index, workload, host);
        }
    }

    /// The longest grace period of what this member has to stop when its lease ends: the `Single` workloads that are placed
    /// there or not yet removed, in seconds.
    #[must_use]
    pub fn longest_grace_in(&self, member: &MemberName) -> u32 {
        let workloads = self.placements.at(member).chain(self.removals.at(member));
        let rows = workloads.filter_map(|key| self.workloads.get(key));
        let singles = rows.filter(|row| row.spec.placement.mode == Mode::Single);
        singles.map(|row| row.longest_grace).max().unwrap_or(0)
    }

    fn place(
        &mut self,
        index: u64,
        PlacementChange {
            workload,
            member,
            share,
            surge,
            reason,
            ..
        }: PlacementChange,
    ) {
        // What is placed again is no longer to be removed: the host keeps its objects and takes the new epoch.
        self.removals.remove(&workload, &member);
        if let Some(workload) = self.workloads.get_mut(&workload) {
            workload.avoided.remove(&member);
        }
        let row = Placement {
            share: share.unwrap_or_default(),
            surge,
            epoch: Epoch(index),
            reason: reason.bounded(),
        };
        self.placements.insert(workload, member, Arc::new(row));
    }

    /// Remembers the member of a row that takes a share away because it was refused there or not kept ready.
    fn avoid(&mut self, row: &PlacementChange) {
        let workload = self.workloads.get_mut(&row.workload);
        if let (
            Some(workload),
            Reason::MemberRefused { message, .. } | Reason::MemberUnready { message, .. },
        ) = (workload, row.reason.clone().bounded())
        {
            workload.avoided.insert(row.member.clone(), message);
        }
    }

    fn take_away(&mut self, index: u64, workload: &WorkloadKey, member: MemberName) {
        if self.placements.remove(workload, &member).is_none() {
            return;
        }
        let volumes = self.workloads.get(workload).map(|row| row.spec.volumes);
        let keep = volumes.unwrap_or_default().on_move.into();
        self.require_removal(index, member, workload, keep);
    }

    pub(super) fn require_removal(
        &mut self,
        index: u64,
        member: MemberName,
        workload: &WorkloadKey,
        keep: Keep,
    ) {
        let lease = self.members.get(&member).map(|row| row.lease);
        if lease.is_none_or(|lease| lease.is_revoked() && lease.is_fenced()) {
            return;
        }
        if lease.is_some_and(|lease| !lease.is_held()) && is_on(Mutation::RequireRemoval) {
            return;
        }
        // What a host that returns after an outage has in its volumes may be the newest copy.
        let returns_later = lease.is_some_and(|lease| !lease.is_held());
        let keep = match keep {
            Keep::Nothing if returns_later => Keep::Volumes,
            keep => keep,
        };
        let removal = Removal {
            epoch: Epoch(index),
            born: self
                .workloads
                .get(workload)
                .map_or(Generation(0), |row| row.born),
            keep,
            stops: self.is_single(workload),
        };
        self.removals.insert(workload.clone(), member, removal);
    }

    pub(super) fn confirm_removal(
        &mut self,
        host: &MemberName,
        workload: &WorkloadKey,
        epoch: Epoch,
    ) -> Result<(), Rejection> {
        let pending = self.removals.get(workload, host);
        // The confirmation of an older removal is not about the objects placed since.
        if pending.is_some_and(|removal| removal.epoch == epoch) {
            self.removals.remove(workload, host);
        }
        self.drop_if_removed(workload);
        Ok(())
    }

    /// A revoked member's pending removals no longer block the deletion of workloads. They are dropped once it is fenced;
    /// until then a `Single` must still wait for them.
    pub(super) fn release_revoked(&mut self, member: &MemberName) {
        let Some(row) = self
            .members
            .get(member)
            .filter(|row| row.lease.is_revoked())
        else {
            return;
        };
        let pending: Vec<WorkloadKey> = if row.lease.is_fenced() {
            let pending = self.removals.remove_all_at(member);
            pending.into_iter().collect()
        } else {
            self.removals.at(member).cloned().collect()
        };
        for workload in &pending {
            self.drop_if_removed(workload);
        }
    }

    /// Drops the row of a removed workload once no removal of it is pending. A revoked host never confirms, so what is
    /// pending there does not keep the row.
    pub(super) fn drop_if_removed(&mut self, workload: &WorkloadKey) {
        let removed = self.workloads.get(workload).is_some_and(|row| row.removed);
        let pending = self.removals.of(workload).any(|(host, _)| {
            let row = self.members.get(host);
            !row.is_some_and(|row| row.lease.is_revoked())
        });
        if removed && !pending {
            self.workloads.remove(workload);
        }
    }
}
