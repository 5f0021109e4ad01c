//! Replicas that a member does not keep ready although others do: its nodes died, or others filled them first.
//!
//! ```text
//!  reports ─► Unready::note (what was ready, and is not) ─► judge ─► Observations ─► the rest runs elsewhere
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
    observations::{Observations, Why},
    observer::{PerRow, Seen},
    refusals::AVOIDED_FOR,
};
use crate::{
    capacity::Capacity,
    id::{Generation, MemberName, WorkloadKey},
    per_host::PerHost,
    slice::{PlacementPhase, PlacementReport},
    state::Workload,
    workload::Mode,
};

/// Since when what lacks, on the monotonic clock of the leader.
#[derive(Debug, Default)]
pub(super) struct Unready {
    short: PerRow<Short>,
    limits: PerRow<Limit>,
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
        seen: &Seen<'_>,
        before: &PerHost<Arc<PlacementReport>>,
        key: &WorkloadKey,
    ) {
        let known = self.short.remove(key).unwrap_or_default();
        let workload = seen.state.workloads.get(key);
        let Some(workload) = workload.filter(|it| it.spec.placement.mode != Mode::Duplicated)
        else {
            return;
        };
        let generation = workload.generation;
        let rows = seen.state.placements.of(key).filter_map(|(name, row)| {
            let known = known.get(name).filter(|it| it.generation == generation);
            let report = seen.reports.get(key, name);
            let Some(report) = report.filter(|it| it.generation == generation) else {
                return Some((name.clone(), *known?));
            };
            let before = before.get(key, name);
            let before = before.filter(|it| it.generation == generation && !it.rolls_out);
            let mut most = report.ready;
            // What is being replaced was ready, and what replaces it still starts.
            if !report.rolls_out {
                most = most.max(known.map_or(0, |it| it.most));
                most = most.max(before.map_or(0, |it| it.ready));
            }
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

    /// Adds what follows by now.
    pub(super) fn judge(&mut self, seen: &Seen<'_>, observations: &mut Observations) {
        for (key, hosts) in &mut self.short {
            let Some(workload) = seen.state.workloads.get(key) else {
                continue;
            };
            for (name, short) in hosts {
                let Some(row) = Row::of(seen, (key, workload), name) else {
                    continue;
                };
                let Some((lacking, words)) = row.overdue(seen.now, short) else {
                    continue;
                };
                if !others_are_well(seen, (key, workload), name) {
                    continue;
                }
                if lacking >= row.share {
                    observations.of_mut(key).leave(name, &words, Why::Unready);
                } else if row.is_divisible() {
                    let limit = Limit {
                        generation: workload.generation,
                        since: seen.now,
                        replicas: row.share - lacking,
                        words,
                    };
                    let limits = self.limits.entry(key.clone()).or_default();
                    limits.insert(name.clone(), limit);
                }
            }
        }
        self.judge_limits(seen, observations);
    }

    fn judge_limits(&mut self, seen: &Seen<'_>, observations: &mut Observations) {
        self.limits.retain(|key, limits| {
            let generation = seen.state.workloads.get(key).map(|it| it.generation);
            limits.retain(|_, limit| {
                Some(limit.generation) == generation
                    && seen.now.saturating_sub(limit.since) < AVOIDED_FOR
            });
            for (name, limit) in limits.iter_mut() {
                // What has become ready since, because it found no other place, stays.
                let ready = seen.reports.get(key, name);
                limit.replicas = limit.replicas.max(ready.map_or(0, |report| report.ready));
                let about = observations.of_mut(key);
                about.limit(name, limit.replicas, &limit.words);
            }
            !limits.is_empty()
        });
    }
}

impl<'a> Row<'a> {
    /// What its host says about what is placed there now; `None` while it says nothing.
    fn of(
        seen: &Seen<'a>,
        (key, workload): (&WorkloadKey, &'a Workload),
        name: &MemberName,
    ) -> Option<Self> {
        let is_held = seen.state.members.get(name)?.lease.is_held();
        Some(Self {
            workload,
            share: seen.state.placements.get(key, name)?.share.total(),
            report: seen.report((key, workload), name).filter(|_| is_held)?,
            capacity: seen.capacities.get(name).map(|it| &**it),
        })
    }

    /// How many replicas lack for longer than the workload bears, and the words about it.
    fn overdue(&self, now: Duration, short: &mut Short) -> Option<(u32, String)> {
        let lacking = self.lacking(short.most);
        short.since = short.since.or(Some(now)).filter(|_| lacking > 0);
        let waited = now.saturating_sub(short.since?);
        let patience = self.workload.spec.unhealthy_after()?;
        (waited >= patience).then(|| (lacking, self.words(patience)))
    }

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
        let objects = counts.filter(|(target, _)| target.has_replicas());
        objects.count() == 1
    }

    fn words(&self, patience: Duration) -> String {
        let PlacementReport { ready, message, .. } = self.report;
        let (share, seconds) = (self.share, patience.as_secs());
        format!("only {ready} of {share} are ready there after {seconds} s: {message}")
    }
}

/// Whether another host is ready with the same generation, or there is none.
fn others_are_well(
    seen: &Seen<'_>,
    workload: (&WorkloadKey, &Workload),
    name: &MemberName,
) -> bool {
    let hosts = seen.state.placements.of(workload.0).map(|(host, _)| host);
    let mut others = hosts.filter(|host| *host != name).peekable();
    others.peek().is_none() || others.any(|host| seen.is_ready(workload, host))
}
