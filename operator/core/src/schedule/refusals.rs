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
//! The times are soft state of the leader, counted afresh in each term: a share never moves too early by that.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::Exclusion;
use crate::{
    id::{Generation, MemberName, WorkloadKey},
    slice::{PlacementPhase, PlacementReport, Reports},
    state::{State, Workload},
    workload::Mode,
};

/// How long a member that refused a share of a workload gets no other of it: long enough that a port or a quota is
/// likely to have changed, short enough that nobody has to intervene when it has.
pub const AVOIDED_FOR: Duration = Duration::from_mins(10);

type Row = (WorkloadKey, MemberName);

/// Since when hosts refuse what they were given, on the monotonic clock of the leader.
#[derive(Debug, Default)]
pub struct Refusals {
    refused: BTreeMap<Row, (Generation, Duration)>,
    avoided: BTreeMap<Row, Duration>,
}

/// What the planner must know of refusals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Objections {
    /// The members that a share has to leave, each with what it said.
    leaving: BTreeMap<Row, String>,
    /// The members avoided for long enough.
    forgiven: BTreeSet<Row>,
}

impl Refusals {
    /// Takes note of the newest reports. Returns what follows from all of them by `now`.
    pub fn observe(
        &mut self,
        now: Duration,
        state: &State,
        reports: &BTreeMap<MemberName, Reports>,
    ) -> Objections {
        let mut objections = Objections::default();
        let mut refused = BTreeMap::new();
        for (member, report, key, workload) in refusals(state, reports) {
            let row = (key.clone(), member.clone());
            let known = self.refused.get(&row);
            let known = known.filter(|(generation, _)| *generation == workload.generation);
            let since = known.map_or(now, |(_, since)| *since);
            let patience = workload.spec.failover.unplaceable_after();
            let ends = now.saturating_sub(since) >= patience;
            if ends && loses_nothing(state, reports, key, workload, report) {
                let message = report.message.clone();
                objections.leaving.insert(row.clone(), message);
            }
            refused.insert(row, (workload.generation, since));
        }
        self.refused = refused;
        let avoided = state.workloads.iter().flat_map(|(key, workload)| {
            let members = workload.avoided.keys();
            members.map(|member| (key.clone(), member.clone()))
        });
        let since = |row: &Row| self.avoided.get(row).copied().unwrap_or(now);
        self.avoided = avoided.map(|row| (row.clone(), since(&row))).collect();
        let forgiven = self.avoided.iter();
        let forgiven = forgiven.filter(|(_, since)| now.saturating_sub(**since) >= AVOIDED_FOR);
        objections.forgiven = forgiven.map(|(row, _)| row.clone()).collect();
        objections
    }
}

impl Objections {
    /// Whether the share of `member` should leave it.
    pub(super) fn leaves(&self, key: &WorkloadKey, member: &MemberName) -> bool {
        let row = (key.clone(), member.clone());
        self.leaving.contains_key(&row)
    }

    /// What speaks against `member`, if it refuses the workload or did so not long ago.
    fn against<'a>(
        &'a self,
        key: &WorkloadKey,
        workload: &'a Workload,
        member: &MemberName,
    ) -> Option<&'a str> {
        if workload.spec.placement.mode == Mode::Duplicated {
            return None;
        }
        let row = (key.clone(), member.clone());
        if let Some(message) = self.leaving.get(&row) {
            return Some(message);
        }
        let avoided = workload.avoided.get(member)?;
        (!self.forgiven.contains(&row)).then_some(avoided)
    }
}

/// The placements that their hosts currently refuse.
fn refusals<'a>(
    state: &'a State,
    reports: &'a BTreeMap<MemberName, Reports>,
) -> impl Iterator<
    Item = (
        &'a MemberName,
        &'a PlacementReport,
        &'a WorkloadKey,
        &'a Workload,
    ),
> {
    reports.iter().flat_map(move |(member, reports)| {
        reports.placements.iter().filter_map(move |(key, report)| {
            let workload = state.workloads.get(key)?;
            let refused = report.phase == PlacementPhase::Refused
                && is_current(state, key, workload, member, report);
            refused.then_some((member, report, key, workload))
        })
    })
}

/// Whether the report is about what is placed now.
fn is_current(
    state: &State,
    key: &WorkloadKey,
    workload: &Workload,
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
    reports: &BTreeMap<MemberName, Reports>,
    key: &WorkloadKey,
    workload: &Workload,
    refused: &PlacementReport,
) -> bool {
    let is_ready = |(member, reports): (&MemberName, &Reports)| {
        let report = reports.placements.get(key);
        report.is_some_and(|report| {
            report.phase == PlacementPhase::Ready
                && is_current(state, key, workload, member, report)
        })
    };
    !refused.runs || reports.iter().any(is_ready)
}

/// Takes the members that refuse the workload out of `eligible`, as long as others remain, and returns what they said. If
/// all refuse it, those that have it keep it.
pub(super) fn set_aside(
    eligible: &mut Vec<&MemberName>,
    objections: &Objections,
    (key, workload): (&WorkloadKey, &Workload),
    is_placed: impl Fn(&MemberName) -> bool,
) -> BTreeMap<MemberName, String> {
    let against = |name: &MemberName| objections.against(key, workload, name);
    let all_refuse = eligible.iter().all(|name| against(name).is_some());
    let somewhere = eligible.iter().any(|name| is_placed(name));
    let mut refusing = BTreeMap::new();
    eligible.retain(|name| {
        let stays = all_refuse && (is_placed(name) || !somewhere);
        let Some(message) = against(name).filter(|_| !stays) else {
            return true;
        };
        refusing.insert((*name).clone(), message.to_owned());
        false
    });
    refusing
}

/// Why such a member does not host the workload.
pub(super) fn exclusion(message: &str) -> Exclusion {
    let again = AVOIDED_FOR.as_secs() / 60;
    let message = format!(
        "it could not take its part, and gets none before an edit or for {again} min: {message}"
    );
    Exclusion::new("Refused", &message)
}
