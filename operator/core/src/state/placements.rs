//! What runs where, and what still has to be removed where.

use super::{Keep, Placement, Rejection, Removal, State};
use crate::{
    command::PlacementChange,
    id::{Epoch, Generation, MemberName, WorkloadKey},
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

    /// Applies a plan without the envelope of a command, for the planner's own tests.
    #[cfg(test)]
    pub(crate) fn apply_plan(&mut self, index: u64, changes: Vec<PlacementChange>) {
        self.assign(index, changes).unwrap();
    }

    /// Whether what the row was decided on still holds.
    fn is_current(&self, row: &PlacementChange) -> bool {
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
        let single = self
            .workloads
            .get(&row.workload)
            .is_some_and(|workload| workload.spec.placement.mode == Mode::Single);
        let clean = !self.owes_another(&row.workload, &row.member);
        holds_lease
            && clean
            && (!single || self.may_run_elsewhere(&row.workload, &row.member).is_none())
    }

    /// Whether `member` still has to remove an earlier workload of this name.
    #[must_use]
    pub fn owes_another(&self, workload: &WorkloadKey, member: &MemberName) -> bool {
        let pending = self.removals.get(member).and_then(|it| it.get(workload));
        let row = self.workloads.get(workload);
        pending
            .zip(row)
            .is_some_and(|(pending, row)| pending.born != row.born)
    }

    /// The member other than `member` on which the workload is placed or may not have stopped yet.
    #[must_use]
    pub fn may_run_elsewhere(
        &self,
        workload: &WorkloadKey,
        member: &MemberName,
    ) -> Option<&MemberName> {
        let placed = self
            .placements
            .get(workload)
            .into_iter()
            .flat_map(|rows| rows.keys());
        let placed = placed.into_iter().find(|host| *host != member);
        placed.or_else(|| {
            self.removals.iter().find_map(|(host, pending)| {
                let stopped = self
                    .members
                    .get(host)
                    .is_none_or(|row| row.lease.is_fenced());
                (host != member && pending.contains_key(workload) && !stopped).then_some(host)
            })
        })
    }

    /// The longest grace period of what this member has to stop when its lease ends: the `Single` workloads that are placed
    /// there or not yet removed, in seconds.
    #[must_use]
    pub fn longest_grace_in(&self, member: &MemberName) -> u32 {
        let placed = self.placements.iter();
        let placed = placed.filter(|(_, rows)| rows.contains_key(member));
        let pending = self.removals.get(member).into_iter().flatten();
        let workloads = placed
            .map(|(key, _)| key)
            .chain(pending.map(|(key, _)| key));
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
            reason,
            ..
        }: PlacementChange,
    ) {
        // What is placed again is no longer to be removed: the host keeps its objects and takes the new epoch.
        if let Some(pending) = self.removals.get_mut(&member) {
            pending.remove(&workload);
            if pending.is_empty() {
                self.removals.remove(&member);
            }
        }
        if let Some(workload) = self.workloads.get_mut(&workload) {
            workload.avoided.remove(&member);
        }
        let row = Placement {
            share: share.unwrap_or_default(),
            epoch: Epoch(index),
            reason: reason.bounded(),
        };
        self.placements
            .entry(workload)
            .or_default()
            .insert(member, row);
    }

    /// Remembers the member of a row that takes a share away because it was refused there.
    fn avoid(&mut self, row: &PlacementChange) {
        let workload = self.workloads.get_mut(&row.workload);
        if let (Some(workload), Reason::MemberRefused { message, .. }) =
            (workload, row.reason.clone().bounded())
        {
            workload.avoided.insert(row.member.clone(), message);
        }
    }

    fn take_away(&mut self, index: u64, workload: &WorkloadKey, member: MemberName) {
        let Some(rows) = self.placements.get_mut(workload) else {
            return;
        };
        if rows.remove(&member).is_none() {
            return;
        }
        if rows.is_empty() {
            self.placements.remove(workload);
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
        };
        let pending = self.removals.entry(member).or_default();
        pending.insert(workload.clone(), removal);
    }

    pub(super) fn confirm_removal(
        &mut self,
        host: &MemberName,
        workload: &WorkloadKey,
        epoch: Epoch,
    ) -> Result<(), Rejection> {
        if let Some(pending) = self.removals.get_mut(host) {
            // The confirmation of an older removal is not about the objects placed since.
            if pending.get(workload).map(|removal| removal.epoch) == Some(epoch) {
                pending.remove(workload);
            }
            if pending.is_empty() {
                self.removals.remove(host);
            }
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
        let pending = if row.lease.is_fenced() {
            self.removals.remove(member).unwrap_or_default()
        } else {
            self.removals.get(member).cloned().unwrap_or_default()
        };
        for workload in pending.keys() {
            self.drop_if_removed(workload);
        }
    }

    /// Drops the row of a removed workload once no removal of it is pending. A revoked host never confirms, so what is
    /// pending there does not keep the row.
    pub(super) fn drop_if_removed(&mut self, workload: &WorkloadKey) {
        let removed = self.workloads.get(workload).is_some_and(|row| row.removed);
        let pending = self.removals.iter().any(|(host, pending)| {
            let revoked = self
                .members
                .get(host)
                .is_some_and(|row| row.lease.is_revoked());
            pending.contains_key(workload) && !revoked
        });
        if removed && !pending {
            self.workloads.remove(workload);
        }
    }
}
