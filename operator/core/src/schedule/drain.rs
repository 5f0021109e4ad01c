//! What leaves a member that its owner drains, and what is left there.
//!
//! A divided workload leaves once the others run all of it: until then they get its share in addition (`surge`). Everything else
//! leaves at once: a `Single` copy must have stopped before the next one starts, and of a `Duplicated` workload the others have
//! a copy each. What no other member can take stays.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Hearsay, Planner, case::Case, explain::alone, rooms::Rooms};
use crate::{
    command::{PlacementChange, Scheduling},
    id::{MemberName, WorkloadKey},
    slice::{PlacementPhase, PlacementReport},
    state::State,
};

/// The workloads that an answer lists; the others are counted.
const MAX_LISTED: usize = 100;

/// How far the drain of a member has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// What the ledger has of it: it is drained only if this says so.
    pub scheduling: Scheduling,
    /// What is left there, each with what it waits for. At most 100.
    pub left: BTreeMap<WorkloadKey, String>,
    /// How many others there are.
    pub more: usize,
}

impl Case<'_> {
    /// Whether it may leave the drained members at once that have a part of it.
    pub(super) fn is_relieved(&self) -> bool {
        let is_drained = |name: &MemberName| self.heard.drained.contains(name);
        if !self.placed.keys().any(is_drained)
            || self.heard.reports.is_none()
            || !self.workload.may_surge()
        {
            return true;
        }
        let others = self.placed.iter().filter(|(name, _)| {
            let is_held = self.member(name).is_some_and(|it| it.lease.is_held());
            is_held && !self.heard.is_away(name)
        });
        let others: Vec<_> = others.collect();
        // If somebody has too much, it is not known beforehand who keeps how much of it.
        let all_ready = others
            .iter()
            .all(|(name, row)| self.is_reported_ready(name, row));
        // What cannot be divided is never run in addition, and a limit follows its object.
        let mut counts = self
            .counts
            .iter()
            .filter(|(target, _)| target.has_replicas());
        all_ready
            && counts.all(|(target, total)| {
                let run = others.iter().map(|(_, row)| row.share.of(target));
                run.fold(0_u32, u32::saturating_add) >= total
            })
    }
}

/// How far the drain of `member` has come; `None` if there is no such member.
#[must_use]
pub fn drain(state: &State, hearsay: Hearsay<'_>, member: &MemberName) -> Option<Drain> {
    let scheduling = state.members.get(member)?.attributes.scheduling;
    let capacities = Rooms::settled(state, hearsay.capacities);
    let settled = hearsay.settled(&capacities);
    let (runs, stops) = (state.placements.at(member), state.removals.at(member));
    let all: BTreeSet<_> = runs.chain(stops).collect();
    let report = |key: &WorkloadKey, host: &MemberName| Some(&**hearsay.reports?.get(key, host)?);
    let left = all.iter().take(MAX_LISTED).map(|key| {
        let waits = if state.placements.get(key, member).is_some() {
            waits_for(state, (key, member), |host| report(key, host))
                .unwrap_or_else(|| stays(state, settled, (key, member)))
        } else {
            stopping(report(key, member))
        };
        ((*key).clone(), waits)
    });
    Some(Drain {
        scheduling,
        left: left.collect(),
        more: all.len().saturating_sub(MAX_LISTED),
    })
}

fn stopping(report: Option<&PlacementReport>) -> String {
    match report.map(|report| report.message.as_str()) {
        Some(message) if !message.is_empty() => format!("stopping: {message}"),
        Some(_) | None => "stopping".to_owned(),
    }
}

/// The first host that is not ready with what it has in addition while `member` is drained.
fn waits_for<'a>(
    state: &State,
    (key, member): (&WorkloadKey, &MemberName),
    report: impl Fn(&MemberName) -> Option<&'a PlacementReport>,
) -> Option<String> {
    let generation = state.workloads.get(key)?.generation;
    let mut hosts = state.placements.of(key).filter(|(_, row)| {
        let surge = row.surge.as_ref();
        surge.is_some_and(|surge| surge.covers.contains(member))
    });
    hosts.find_map(|(host, row)| {
        let report = report(host).filter(|report| report.is_about(row.epoch, generation));
        match report {
            Some(report) if report.phase == PlacementPhase::Ready => None,
            Some(report) if !report.message.is_empty() => {
                Some(format!("waits for {host}: {}", report.message))
            }
            Some(_) | None => Some(format!("waits for {host} to be ready with its part")),
        }
    })
}

/// What keeps a workload on `member` where nothing is under way.
fn stays(
    state: &State,
    settled: Hearsay<'_>,
    (key, member): (&WorkloadKey, &MemberName),
) -> String {
    let mut planner = Planner::default();
    let plan = planner.plan(&alone(state, key), settled);
    let leaves = |row: &PlacementChange| row.member == *member && row.share.is_none();
    if plan.iter().any(leaves) {
        return "waits for its turn".to_owned();
    }
    let found = planner.found(key);
    let unplaced = found.and_then(|(diagnosis, _)| diagnosis.unplaced.clone());
    let why = unplaced.unwrap_or_else(|| "no other member can take it".to_owned());
    format!("stays: {why}")
}
