//! Members that are back: what others took over from them moves back after a while.
//!
//! A row says why it was made. While one says that a member was lost or drained, and that member has nothing of the workload,
//! its part is with others. Once that member was well without a break for `failover.failback.after`, it is due to get it back; the
//! planner does the rest (`failback`).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{observations::Observations, observer::Seen};
use crate::{
    command::Scheduling,
    id::{MemberName, WorkloadKey},
    state::Workload,
};

/// Whose parts are with others, and since when those members are well, on the monotonic clock of the leader.
#[derive(Debug, Default)]
pub(super) struct Returns {
    away: BTreeMap<WorkloadKey, BTreeSet<MemberName>>,
    well: BTreeMap<MemberName, Duration>,
}

impl Returns {
    /// Takes over whose parts of one workload are with others.
    pub(super) fn note(&mut self, seen: &Seen<'_>, key: &WorkloadKey) {
        self.away.remove(key);
        let Some(workload) = seen.state.workloads.get(key) else {
            return;
        };
        let rows = seen.state.placements.of(key);
        let gone = rows.filter_map(|(_, row)| row.reason.gone());
        let away = gone.filter(|member| seen.state.placements.get(key, member).is_none());
        let away: BTreeSet<_> = away.cloned().collect();
        if !away.is_empty() && workload.failback_after().is_some() {
            self.away.insert(key.clone(), away);
        }
    }

    /// Adds what follows by now.
    pub(super) fn judge(&mut self, seen: &Seen<'_>, observations: &mut Observations) {
        let awaited: BTreeSet<_> = self.away.values().flatten().collect();
        self.well.retain(|name, _| awaited.contains(name));
        for name in awaited {
            if is_well(seen, name) {
                self.well.entry(name.clone()).or_insert(seen.now);
            } else {
                self.well.remove(name);
            }
        }
        for (key, members) in &self.away {
            let workload = seen.state.workloads.get(key);
            let Some(after) = workload.and_then(Workload::failback_after) else {
                continue;
            };
            let is_due = |name: &&MemberName| {
                let since = self.well.get(*name);
                since.is_some_and(|since| seen.now.saturating_sub(*since) >= after)
            };
            for name in members.iter().filter(is_due) {
                observations.of_mut(key).give_back(name);
            }
        }
    }
}

fn is_well(seen: &Seen<'_>, name: &MemberName) -> bool {
    let member = seen.state.members.get(name);
    let takes = member.is_some_and(|member| {
        member.lease.is_held() && member.attributes.scheduling == Scheduling::Enabled
    });
    takes && !seen.unsure.contains(name)
}
