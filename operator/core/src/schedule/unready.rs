//! Replicas that a member does not keep ready although others do: its nodes died, or others filled them first.
//!
//! ```text
//!  reports ─► Unready::note (what was ready, and is not) ─► judge ─► Objections ─► the rest runs elsewhere
//! capacities ─► (pods that wait for a node) ──────────────────┘
//! ```
//!
//! - Lacking are replicas that were ready at this generation and are not, those whose pods find no node, and, if an object has
//!   failed for good, all that are not ready. What is still starting is not lacking.
//! - What lacks for `failover.unhealthyAfter` without a break runs elsewhere, if another host is ready with the same generation or
//!   there is no other host: what fails everywhere stays where it is.
//! - For as long as a member that refused something, that member gets no more of the workload than it had ready.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{
    objections::{Objections, Why},
    refusals::AVOIDED_FOR,
};
use crate::{
    capacity::{Capacities, Capacity},
    id::{Generation, MemberName, WorkloadKey},
    per_host::PerHost,
    slice::{PlacementPhase, PlacementReport},
    state::{Placement, State, Workload},
    workload::{Mode, ScaleTarget},
};

/// Since when what lacks, on the monotonic clock of the leader.
#[derive(Debug, Default)]
pub(super) struct Unready {
    short: BTreeMap<WorkloadKey, BTreeMap<MemberName, Short>>,
    limits: BTreeMap<WorkloadKey, BTreeMap<MemberName, Limit>>,
}

/// A host that has fewer replicas ready than it should run.
#[derive(Debug, Clone, Copy)]
struct Short {
    generation: Generation,
    /// The most that were ready.
    most: u32,
    /// Since when some lack.
    since: Option<Duration>,
}

/// A host that gets no more than it had ready.
#[derive(Debug, Clone)]
struct Limit {
    generation: Generation,
    since: Duration,
    replicas: u32,
    words: String,
}

/// One row with what its host says about it.
struct Row<'a> {
    workload: &'a Workload,
    share: u32,
    report: &'a PlacementReport,
    capacity: Option<&'a Capacity>,
}

impl Unready {
    /// Takes over what hosts report of one workload, and reported before.
    pub(super) fn note(
        &mut self,
        state: &State,
        (before, now): (
            &PerHost<Arc<PlacementReport>>,
            &PerHost<Arc<PlacementReport>>,
        ),
        key: &WorkloadKey,
    ) {
        let known = self.short.remove(key).unwrap_or_default();
        let Some(workload) = state.workloads.get(key) else {
            self.limits.remove(key);
            return;
        };
        let generation = workload.generation;
        if workload.spec.placement.mode == Mode::Duplicated {
            return;
        }
        let rows = state.placements.of(key).filter_map(|(name, row)| {
            let known = known.get(name).filter(|it| it.generation == generation);
            let Some(report) = now.get(key, name).filter(|it| it.generation == generation) else {
                return Some((name.clone(), *known?));
            };
            let before = before.get(key, name);
            let before = before.filter(|it| it.generation == generation);
            // What is being replaced was ready, and what replaces it still starts.
            let known = known.filter(|_| !report.rolls_out);
            let before = before.filter(|before| !report.rolls_out && !before.rolls_out);
            let most = known.map_or(0, |it| it.most).max(report.ready);
            let most = most.max(before.map_or(0, |it| it.ready));
            let short = Short {
                generation,
                most: most.min(row.share.total()),
                since: known.and_then(|it| it.since),
            };
            (report.ready < row.share.total()).then(|| (name.clone(), short))
        });
        let short: BTreeMap<_, _> = rows.collect();
        if !short.is_empty() {
            self.short.insert(key.clone(), short);
        }
    }

    /// Adds what follows by `now`.
    pub(super) fn judge(
        &mut self,
        now: Duration,
        state: &State,
        reports: &PerHost<Arc<PlacementReport>>,
        capacities: &Capacities,
        objections: &mut Objections,
    ) {
        for (key, hosts) in &mut self.short {
            let Some(workload) = state.workloads.get(key) else {
                continue;
            };
            for (name, short) in hosts {
                let Some(row) = state.placements.get(key, name) else {
                    continue;
                };
                let report = reports.get(key, name);
                let report = report.filter(|report| is_current(workload, row, report));
                let held = state.members.get(name).is_some_and(|it| it.lease.is_held());
                let Some(report) = report.filter(|_| held) else {
                    continue;
                };
                let row = Row {
                    workload,
                    share: row.share.total(),
                    report,
                    capacity: capacities.get(name).map(|it| &**it),
                };
                let lacking = row.lacking(short.most);
                short.since = short.since.or(Some(now)).filter(|_| lacking > 0);
                let Some(waited) = short.since.map(|since| now.saturating_sub(since)) else {
                    continue;
                };
                let patience = workload.spec.unhealthy_after();
                let patience = patience.filter(|patience| waited >= *patience);
                if let Some(patience) = patience
                    && others_are_well(state, reports, (key, workload), name)
                {
                    let words = row.words(patience);
                    if lacking >= row.share {
                        objections.of_mut(key).leave(name, &words, Why::Unready);
                    } else if row.is_divisible() {
                        let limit = Limit {
                            generation: workload.generation,
                            since: now,
                            replicas: row.share - lacking,
                            words,
                        };
                        let limits = self.limits.entry(key.clone()).or_default();
                        limits.insert(name.clone(), limit);
                    }
                }
            }
        }
        self.limits.retain(|key, limits| {
            let generation = state.workloads.get(key).map(|it| it.generation);
            limits.retain(|_, limit| {
                Some(limit.generation) == generation
                    && now.saturating_sub(limit.since) < AVOIDED_FOR
            });
            for (name, limit) in limits.iter_mut() {
                // What has become ready since, because it found no other place, stays.
                let ready = reports.get(key, name).map_or(0, |report| report.ready);
                limit.replicas = limit.replicas.max(ready);
                let about = objections.of_mut(key);
                about.limit(name, limit.replicas, &limit.words);
            }
            !limits.is_empty()
        });
    }
}

impl Row<'_> {
    /// How many replicas lack of which `most` were ready once.
    fn lacking(&self, most: u32) -> u32 {
        let missing = self.share.saturating_sub(self.report.ready);
        if self.report.phase == PlacementPhase::Failed {
            return missing;
        }
        let lost = most.saturating_sub(self.report.ready);
        let waiting = self.capacity.filter(|it| !it.waiting.is_empty());
        let waiting = waiting.map_or(0, |capacity| self.waiting(capacity));
        missing.min(lost.max(waiting))
    }

    /// How many of the pods that find no node may be its own.
    fn waiting(&self, capacity: &Capacity) -> u32 {
        let (pods, counts) = (self.workload.spec.pods(), self.workload.spec.counts());
        let own = counts.iter().filter_map(|(target, _)| pods.replica(target));
        let count = |own| {
            let mut waiting = capacity.waiting.iter();
            let found = waiting.find(|(demand, _)| demand == own);
            found.map_or(0, |(_, count)| *count)
        };
        own.map(count).fold(0, u32::saturating_add)
    }

    /// Whether it is known of what the replicas are that are not ready.
    fn is_divisible(&self) -> bool {
        let counts = self.workload.spec.counts();
        let counts = counts.iter();
        let objects = counts.filter(|(target, _)| !matches!(target, ScaleTarget::Limit(_)));
        objects.count() == 1
    }

    fn words(&self, patience: Duration) -> String {
        let PlacementReport { ready, message, .. } = self.report;
        let (share, seconds) = (self.share, patience.as_secs());
        format!("only {ready} of {share} are ready there after {seconds} s: {message}")
    }
}

/// Whether the report is about what is placed now.
fn is_current(workload: &Workload, row: &Placement, report: &PlacementReport) -> bool {
    row.epoch == report.epoch && report.generation == workload.generation
}

/// Whether another host is ready with the same generation, or there is none.
fn others_are_well(
    state: &State,
    reports: &PerHost<Arc<PlacementReport>>,
    (key, workload): (&WorkloadKey, &Workload),
    name: &MemberName,
) -> bool {
    let others = state.placements.of(key).filter(|(other, _)| *other != name);
    let mut others = others.peekable();
    let alone = others.peek().is_none();
    alone
        || others.any(|(other, row)| {
            let report = reports.get(key, other);
            report.is_some_and(|report| {
                report.phase == PlacementPhase::Ready && is_current(workload, row, report)
            })
        })
}
