//! What a change of the slice means for the people who own a workload: the Events on its object. Pure.
//!
//! | reason | when |
//! |---|---|
//! | `Placed` | members run it that did not before |
//! | `Moved` | members no longer run it, others may do instead |
//! | `Surged` | a member is silent, and others run its replicas in addition |
//! | `SurgeEnded` | it is heard again, and nothing runs in addition |
//! | `Removed` | a member has removed its objects |
//! | `Refused` | a member could not apply one of its objects |
//! | `Failed` | one of its objects cannot become healthy |
//! | `HeldUp` | not all of it has a place, or an object cannot be removed |
//!
//! A failover is [`notify`](super::notify)'s. An Event says that something changed; how it stands now is in the status.

use hanse_core::{
    id::{MemberName, OwnerName, WorkloadKey},
    reason::Reason,
    slice::{HostStanding, OwnedWorkload, PlacementPhase, Slice},
    state::Lease,
};

/// The most Events of one change of the slice: a loss of many workloads at once must not fill an API server with Events.
pub(super) const MOST: usize = 64;

/// One Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct News {
    pub(super) workload: WorkloadKey,
    pub(super) reason: &'static str,
    pub(super) is_warning: bool,
    pub(super) note: String,
    /// Whether another one of the same reason is another Event, not another occurrence of this one: each decision of the
    /// ledger is.
    pub(super) is_decision: bool,
    /// The member that it is about, if it is about one.
    pub(super) member: Option<MemberName>,
}

/// The Events of a change of the slice that member `own` publishes: one member of each owner does.
pub(super) fn news(
    before: &Slice,
    after: &Slice,
    own: &MemberName,
    owner: &OwnerName,
) -> Vec<News> {
    let publishes = |workload: &OwnedWorkload| {
        publisher(after, &workload.home, owner, Lease::is_held) == Some(own)
    };
    let changed = after.changed_workloads(before);
    let changed = changed.filter_map(|key| Some((key, after.workload(key)?)));
    let mut news = Vec::new();
    for (key, workload) in changed.filter(|(_, workload)| publishes(workload)) {
        let old = before.workload(key);
        news.extend(placing(key, old, workload));
        news.extend(of_hosts(key, old, workload));
        news.extend(held_up(key, old, workload));
    }
    news
}

/// The member of the owner that publishes Events about a workload: its home or, if the lease of that is none that counts, the
/// first one whose lease does.
pub(super) fn publisher<'a>(
    slice: &'a Slice,
    home: &'a MemberName,
    owner: &OwnerName,
    counts: impl Fn(Lease) -> bool,
) -> Option<&'a MemberName> {
    let publishes = |name: &&MemberName| {
        let row = slice.members.get(*name).filter(|row| row.owner == *owner);
        row.is_some_and(|row| counts(row.lease))
    };
    let mut members = std::iter::once(home).chain(slice.members.keys());
    members.find(publishes)
}

fn placed(workload: &OwnedWorkload) -> impl Iterator<Item = (&MemberName, &HostStanding)> {
    workload.hosts.iter().filter(|(_, host)| !host.removing)
}

/// Where it runs and did not, or the other way round.
fn placing(key: &WorkloadKey, old: Option<&OwnedWorkload>, new: &OwnedWorkload) -> Option<News> {
    let before = |member: &MemberName| {
        let mut hosts = old.into_iter().flat_map(placed);
        hosts
            .find(|(name, _)| *name == member)
            .map(|(_, host)| host)
    };
    let runs = |member: &MemberName| placed(new).any(|(name, _)| name == member);
    let came = placed(new).any(|(name, _)| before(name).is_none());
    let left = old
        .into_iter()
        .flat_map(placed)
        .any(|(name, _)| !runs(name));
    // Of a row that is new, or was decided anew because another one went.
    let mut decided = placed(new)
        .filter(|(name, host)| before(name).is_none_or(|before| before.epoch < host.epoch));
    let reason = decided.find_map(|(_, host)| host.reason.as_ref());
    let is_failover = reason.is_some_and(Reason::is_failover);
    let surge = |workload: &OwnedWorkload| placed(workload).map(|(_, host)| host.surge).sum();
    let (had, has): (u32, u32) = (old.map_or(0, surge), surge(new));
    let is_move = matches!(
        reason,
        Some(Reason::MemberUnready { .. } | Reason::MemberReturned { .. })
    );
    let kind = match (left, has > had, had > 0 && has == 0) {
        (_, true, _) => "Surged",
        _ if left || is_move => "Moved",
        (_, _, true) => "SurgeEnded",
        _ if came => "Placed",
        _ => return None,
    };
    if is_failover || new.removed {
        return None;
    }
    let shares = placed(new).map(|(name, host)| match host.surge {
        0 => format!("{name} {}", host.replicas),
        surge => format!("{name} {} ({surge} more)", host.replicas),
    });
    let shares = shares.collect::<Vec<_>>().join(", ");
    let runs = match shares.as_str() {
        "" => "runs nowhere since",
        shares => &format!("runs on {shares} since"),
    };
    Some(News {
        workload: key.clone(),
        reason: kind,
        is_warning: false,
        is_decision: true,
        note: reason.map_or_else(|| runs.to_owned(), |reason| format!("{reason}: {runs}")),
        member: None,
    })
}

/// What single hosts report and did not before.
fn of_hosts(key: &WorkloadKey, old: Option<&OwnedWorkload>, new: &OwnedWorkload) -> Vec<News> {
    let of = |member: &MemberName, reason, is_warning, what: &str| News {
        workload: key.clone(),
        reason,
        is_warning,
        is_decision: false,
        note: format!("{member}: {what}"),
        member: Some(member.clone()),
    };
    let mut news = Vec::new();
    for (member, host) in &new.hosts {
        let before = old.and_then(|old| old.hosts.get(member));
        let phase = phase_of(Some(host)).filter(|phase| phase_of(before) != Some(*phase));
        let message = host.report.as_ref().map_or("", |report| &report.message);
        let reason = match phase {
            Some(PlacementPhase::Refused) => "Refused",
            Some(PlacementPhase::Failed) => "Failed",
            Some(_) | None => continue,
        };
        news.push(of(member, reason, true, message));
    }
    let before = old.into_iter().flat_map(|old| &old.hosts);
    let removed = before.filter(|(member, host)| host.removing && !new.hosts.contains_key(*member));
    news.extend(removed.map(|(member, _)| of(member, "Removed", false, "has removed its objects")));
    news
}

/// The phase that a host reports of what it is to run now.
fn phase_of(host: Option<&HostStanding>) -> Option<PlacementPhase> {
    let host = host.filter(|host| !host.removing)?;
    let report = host
        .report
        .as_ref()
        .filter(|report| report.epoch == host.epoch)?;
    Some(report.phase)
}

/// What it waits for and did not before.
fn held_up(key: &WorkloadKey, old: Option<&OwnedWorkload>, new: &OwnedWorkload) -> Vec<News> {
    let of = |member: Option<&MemberName>, note: String| News {
        workload: key.clone(),
        reason: "HeldUp",
        is_warning: true,
        is_decision: false,
        note,
        member: member.cloned(),
    };
    let waited = old.is_some_and(|old| old.diagnosis.unplaced.is_some());
    let unplaced = new
        .diagnosis
        .unplaced
        .clone()
        .filter(|_| !waited && !new.removed);
    let mut news: Vec<_> = unplaced.map(|why| of(None, why)).into_iter().collect();
    for (member, host) in &new.hosts {
        let before = old.and_then(|old| old.hosts.get(member));
        if let (Some(what), None) = (hangs(host), before.and_then(hangs)) {
            news.push(of(Some(member), format!("{member}: {what}")));
        }
    }
    news
}

/// What a removal waits for, if that does not go by itself.
fn hangs(host: &HostStanding) -> Option<&str> {
    let report = host.report.as_ref().filter(|_| host.removing)?;
    // The host's words are all that the ledger has of it. They name the finalizers.
    let hangs = report.phase == PlacementPhase::Removing && report.message.contains("finalizer");
    hangs.then_some(&*report.message)
}

#[cfg(test)]
mod tests;
