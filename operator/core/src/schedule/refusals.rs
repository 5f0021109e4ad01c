//! What hosts refuse: a share that its host cannot apply moves to a member that can.
//!
//! ```text
//!  reports ─► Refusals::observe (refused since when) ─► Objections ─► schedule ─► a row with Reason::MemberRefused
//!                     ▲                                                                       │
//!                     └──────────── Workload::avoided, in the ledger ◄────────────────────────┘
//! ```
//!
//! - A share leaves a member that has refused it without a break for `failover.unplaceableAfter`, if nothing that runs is
//!   lost by that: nothing of it runs there, or another host is ready with the same generation.
//! - That member is avoided until the workload is edited or [`AVOIDED_FOR`] is over.
//! - A share that no member takes stays where it is.
//!
//! What a host does not keep ready is in `unready`. The times are soft state of the leader, counted afresh in each term: a share never moves too early by that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use imbl::OrdMap;

use super::{
    objections::{Objections, Why},
    unready::Unready,
};
use crate::{
    capacity::Capacities,
    id::{Generation, MemberName, WorkloadKey},
    per_host::{PerHost, changed_keys},
    slice::{PlacementPhase, PlacementReport},
    state::{Placement, State, Workload},
};

/// How long a member that refused a share of a workload gets no other of it: long enough that a port or a quota is
/// likely to have changed, short enough that nobody has to intervene when it has.
pub const AVOIDED_FOR: Duration = Duration::from_mins(10);

type PerRow<T> = BTreeMap<WorkloadKey, BTreeMap<MemberName, T>>;

/// Since when hosts refuse what they were given, on the monotonic clock of the leader.
#[derive(Debug, Default)]
pub struct Refusals {
    refused: PerRow<(Generation, Duration)>,
    avoided: PerRow<Duration>,
    unready: Unready,
    /// What was seen last, to look only at what changed since.
    workloads: OrdMap<WorkloadKey, Workload>,
    placements: PerHost<Arc<Placement>>,
    reports: PerHost<Arc<PlacementReport>>,
}

impl Refusals {
    /// Takes note of the newest reports, and of pods that find no node. Returns what follows from all of them by `now`.
    pub fn observe(
        &mut self,
        now: Duration,
        state: &State,
        reports: &PerHost<Arc<PlacementReport>>,
        capacities: &Capacities,
    ) -> Objections {
        let before = self.reports.clone();
        for key in self.take_over(state, reports) {
            self.note(now, state, &key);
            self.unready.note(state, (&before, reports), &key);
        }
        let mut objections = Objections::default();
        self.unready
            .judge(now, state, reports, capacities, &mut objections);
        for (key, member, (_, since)) in rows(&self.refused) {
            let (workload, report) = (state.workloads.get(key), reports.get(key, member));
            let (Some(workload), Some(report)) = (workload, report) else {
                continue;
            };
            let patience = workload.spec.failover.unplaceable_after();
            let ends = now.saturating_sub(*since) >= patience;
            if ends && loses_nothing(state, reports, (key, workload), report) {
                let about = objections.of_mut(key);
                about.leave(member, &report.message, Why::Refused);
            }
        }
        for (key, member, since) in rows(&self.avoided) {
            if now.saturating_sub(*since) >= AVOIDED_FOR {
                objections.of_mut(key).forgive(member);
            }
        }
        objections
    }

    /// The workloads of which anything changed since the last time.
    fn take_over(
        &mut self,
        state: &State,
        reports: &PerHost<Arc<PlacementReport>>,
    ) -> BTreeSet<WorkloadKey> {
        let mut changed: BTreeSet<WorkloadKey> = BTreeSet::new();
        changed.extend(changed_keys(&self.workloads, &state.workloads).cloned());
        changed.extend(state.placements.changed_since(&self.placements).cloned());
        changed.extend(reports.changed_since(&self.reports).cloned());
        self.workloads = state.workloads.clone();
        self.placements = state.placements.clone();
        self.reports = reports.clone();
        changed
    }

    /// Takes over who refuses a workload, and who is avoided.
    fn note(&mut self, now: Duration, state: &State, key: &WorkloadKey) {
        let refused = self.refused.remove(key).unwrap_or_default();
        let avoided = self.avoided.remove(key).unwrap_or_default();
        let Some(workload) = state.workloads.get(key) else {
            return;
        };
        let reports = self.reports.of(key).filter(|(member, report)| {
            report.phase == PlacementPhase::Refused
                && is_current(state, (key, workload), member, report)
        });
        let since = |(member, _): (&MemberName, _)| {
            let known = refused.get(member);
            let known = known.filter(|(generation, _)| *generation == workload.generation);
            let since = known.map_or(now, |(_, since)| *since);
            (member.clone(), (workload.generation, since))
        };
        let refused: BTreeMap<_, _> = reports.map(since).collect();
        if !refused.is_empty() {
            self.refused.insert(key.clone(), refused);
        }
        let since = |member: &MemberName| {
            let since = avoided.get(member).copied().unwrap_or(now);
            (member.clone(), since)
        };
        let avoided: BTreeMap<_, _> = workload.avoided.keys().map(since).collect();
        if !avoided.is_empty() {
            self.avoided.insert(key.clone(), avoided);
        }
    }
}

fn rows<T>(table: &PerRow<T>) -> impl Iterator<Item = (&WorkloadKey, &MemberName, &T)> {
    table.iter().flat_map(|(key, rows)| {
        let rows = rows.iter();
        rows.map(move |(member, value)| (key, member, value))
    })
}

/// Whether the report is about what is placed now.
fn is_current(
    state: &State,
    (key, workload): (&WorkloadKey, &Workload),
    member: &MemberName,
    report: &PlacementReport,
) -> bool {
    let placement = state.placements.get(key, member);
    placement.is_some_and(|placement| placement.epoch == report.epoch)
        && report.generation == workload.generation
}

/// Whether the share can leave its host without the loss of something that runs. An edit that every host would refuse
/// must not take away what runs of the generation before.
fn loses_nothing(
    state: &State,
    reports: &PerHost<Arc<PlacementReport>>,
    (key, workload): (&WorkloadKey, &Workload),
    refused: &PlacementReport,
) -> bool {
    let is_ready = |(member, report): (&MemberName, &Arc<PlacementReport>)| {
        report.phase == PlacementPhase::Ready && is_current(state, (key, workload), member, report)
    };
    !refused.runs || reports.of(key).any(is_ready)
}
