//! What hosts refuse: a share that its host cannot apply moves to a member that can.
//!
//! - A share leaves a member that has refused it without a break for `failover.unplaceableAfter`, if nothing that runs is
//!   lost by that: nothing of it runs there, or another host is ready with the same generation. The row that takes it away has
//!   the reason `MemberRefused`.
//! - That member is avoided (`Workload::avoided`, in the ledger) until the workload is edited or [`AVOIDED_FOR`] is over.
//! - A share that no member takes stays where it is.

use std::{collections::BTreeMap, time::Duration};

use super::{
    observations::{Observations, Why},
    observer::{PerRow, Seen, rows},
};
use crate::{
    id::{Generation, MemberName, WorkloadKey},
    slice::{PlacementPhase, PlacementReport},
    state::Workload,
};

/// How long a member that refused a share of a workload gets no other of it: long enough that a port or a quota is
/// likely to have changed, short enough that nobody has to intervene when it has.
pub const AVOIDED_FOR: Duration = Duration::from_mins(10);

/// Since when hosts refuse what they were given, on the monotonic clock of the leader.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    refused: PerRow<(Generation, Duration)>,
    avoided: PerRow<Duration>,
}

impl Refusals {
    /// Takes over who refuses a workload, and who is avoided.
    pub(super) fn note(&mut self, seen: &Seen<'_>, key: &WorkloadKey) {
        let refused = self.refused.remove(key).unwrap_or_default();
        let avoided = self.avoided.remove(key).unwrap_or_default();
        let Some(workload) = seen.state.workloads.get(key) else {
            return;
        };
        let reports = seen.reports.of(key).filter(|(member, _)| {
            let report = seen.report((key, workload), member);
            report.is_some_and(|report| report.phase == PlacementPhase::Refused)
        });
        let since = |(member, _): (&MemberName, _)| {
            let known = refused.get(member);
            let known = known.filter(|(generation, _)| *generation == workload.generation);
            let since = known.map_or(seen.now, |(_, since)| *since);
            (member.clone(), (workload.generation, since))
        };
        let refused: BTreeMap<_, _> = reports.map(since).collect();
        if !refused.is_empty() {
            self.refused.insert(key.clone(), refused);
        }
        let since = |member: &MemberName| {
            let since = avoided.get(member).copied().unwrap_or(seen.now);
            (member.clone(), since)
        };
        let avoided: BTreeMap<_, _> = workload.avoided.keys().map(since).collect();
        if !avoided.is_empty() {
            self.avoided.insert(key.clone(), avoided);
        }
    }

    /// Adds what follows by now.
    pub(super) fn judge(&self, seen: &Seen<'_>, observations: &mut Observations) {
        for (key, member, (_, since)) in rows(&self.refused) {
            let workload = seen.state.workloads.get(key);
            let report = seen.reports.get(key, member);
            let (Some(workload), Some(report)) = (workload, report) else {
                continue;
            };
            let patience = workload.spec.failover.unplaceable_after();
            let ends = seen.now.saturating_sub(*since) >= patience;
            if ends && loses_nothing(seen, (key, workload), report) {
                let about = observations.of_mut(key);
                about.leave(member, &report.message, Why::Refused);
            }
        }
        for (key, member, since) in rows(&self.avoided) {
            if seen.now.saturating_sub(*since) >= AVOIDED_FOR {
                observations.of_mut(key).forgive(member);
            }
        }
    }
}

/// Whether the share can leave its host without the loss of something that runs. An edit that every host would refuse
/// must not take away what runs of the generation before.
fn loses_nothing(
    seen: &Seen<'_>,
    (key, workload): (&WorkloadKey, &Workload),
    refused: &PlacementReport,
) -> bool {
    let mut members = seen.reports.of(key).map(|(member, _)| member);
    !refused.runs || members.any(|member| seen.is_ready((key, workload), member))
}
