//! What the leader sees of hosts over time: soft state, counted afresh in each term, so that nothing moves too early by it.
//!
//! ```text
//!  reports, rows ─ difference ─► Refusals, Unready, Returns (since when) ─► judge (by now) ─► Observations ─► planner
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use imbl::OrdMap;

use super::{observations::Observations, refusals::Refusals, returns::Returns, unready::Unready};
use crate::{
    capacity::Capacities,
    id::{MemberName, WorkloadKey},
    per_host::{PerHost, changed_keys},
    slice::{PlacementPhase, PlacementReport},
    state::{Placement, State, Workload},
};

/// A value for some rows.
pub(super) type PerRow<T> = BTreeMap<WorkloadKey, BTreeMap<MemberName, T>>;

/// Each value of a table.
pub(super) fn rows<T>(table: &PerRow<T>) -> impl Iterator<Item = (&WorkloadKey, &MemberName, &T)> {
    table.iter().flat_map(|(key, rows)| {
        let rows = rows.iter();
        rows.map(move |(member, value)| (key, member, value))
    })
}

/// The inputs at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// On the monotonic clock of the leader.
    pub now: Duration,
    /// What is placed.
    pub state: &'a State,
    /// How far hosts have come.
    pub reports: &'a PerHost<Arc<PlacementReport>>,
    /// How much they can still run, and what waits there.
    pub capacities: &'a Capacities,
    /// The members of which what was reported is out of date: those that are silent, and those whose API servers are down.
    pub unsure: &'a BTreeSet<MemberName>,
}

impl<'a> Seen<'a> {
    /// The report of a member about what is placed there now.
    pub(super) fn report(
        &self,
        (key, workload): (&WorkloadKey, &Workload),
        member: &MemberName,
    ) -> Option<&'a PlacementReport> {
        let row = self.state.placements.get(key, member)?;
        let report = self.reports.get(key, member)?;
        report
            .is_about(row.epoch, workload.generation)
            .then_some(report)
    }

    /// Whether a member says that all of what is placed there now is ready.
    pub(super) fn is_ready(
        &self,
        workload: (&WorkloadKey, &Workload),
        member: &MemberName,
    ) -> bool {
        let report = self.report(workload, member);
        let report = report.filter(|_| !self.unsure.contains(member));
        report.is_some_and(|report| report.phase == PlacementPhase::Ready)
    }
}

/// Compares each moment with those before.
#[derive(Debug, Default)]
pub struct Observer {
    refusals: Refusals,
    unready: Unready,
    returns: Returns,
    /// What was seen last, to look only at what changed since.
    workloads: OrdMap<WorkloadKey, Workload>,
    placements: PerHost<Arc<Placement>>,
    reports: PerHost<Arc<PlacementReport>>,
}

impl Observer {
    /// Takes over the inputs of this moment. Returns what follows from all moments so far.
    pub fn observe(&mut self, seen: Seen<'_>) -> Observations {
        let before = self.reports.clone();
        for key in self.take_over(&seen) {
            self.refusals.note(&seen, &key);
            self.unready.note(&seen, &before, &key);
            self.returns.note(&seen, &key);
        }
        let mut observations = Observations::default();
        self.refusals.judge(&seen, &mut observations);
        self.unready.judge(&seen, &mut observations);
        self.returns.judge(&seen, &mut observations);
        observations
    }

    /// The workloads of which anything changed since the last time.
    fn take_over(&mut self, seen: &Seen<'_>) -> BTreeSet<WorkloadKey> {
        let Seen { state, reports, .. } = seen;
        let mut changed: BTreeSet<WorkloadKey> = BTreeSet::new();
        changed.extend(changed_keys(&self.workloads, &state.workloads).cloned());
        changed.extend(state.placements.changed_since(&self.placements).cloned());
        changed.extend(reports.changed_since(&self.reports).cloned());
        self.workloads.clone_from(&state.workloads);
        self.placements = state.placements.clone();
        self.reports.clone_from(reports);
        changed
    }
}
