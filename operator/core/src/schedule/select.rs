//! Which of the members that may host a workload do, for each mode.
//!
//! Each function returns what it wishes of the members it has an opinion on, and why the workload is not wholly placed,
//! if it is not. A member without a wish keeps what it has.

use std::collections::BTreeMap;

use super::{
    case::{Case, Wish},
    divide::divide,
    failback,
    spare::Spare,
    spread::{self, Zones},
    surge::{self, Budget},
};
use crate::{
    id::MemberName,
    reason::Reason,
    state::Lease,
    workload::{Autoscaler, ScaleTarget, Share},
};

pub(super) type Wishes = BTreeMap<MemberName, Wish>;

impl Wish {
    fn run(share: Share, reason: Reason) -> Self {
        Self {
            share: Some(share),
            surge: None,
            reason,
        }
    }

    fn stop(reason: Reason) -> Self {
        Self {
            share: None,
            surge: None,
            reason,
        }
    }
}

/// Replicas shared out. What a lost member had goes to the others; what the others have stays.
pub(super) fn divided(case: &Case<'_>, budget: &mut Budget) -> (Wishes, Option<String>) {
    let Some(best) = case.eligible.first() else {
        // When no member can take over, placements stay unchanged.
        return (Wishes::new(), Some(case.nobody()));
    };
    let reason = case.why_here();
    let stop = |name: &MemberName| {
        let why = if case.may_host(name) {
            case.why_less(name)
        } else {
            case.why_not(name)
        };
        (name.clone(), Wish::stop(why))
    };
    let mut wishes: Wishes = case.placed.keys().map(stop).collect();
    let (hosts, held) = (&case.eligible, surge::held(case));
    let parts = |zones: &[Zones]| shares(case, hosts, &held, |_| true, zones);
    let zones = case.zones(hosts);
    let shares = parts(&zones);
    let missing = missing(case, &shares);
    for name in keep(case, &missing) {
        wishes.remove(name);
    }
    // Zero is a number: the objects stay where they were, or exist in one place.
    let idle = case.counts.total() == 0;
    let stays = |name: &MemberName| case.placed.contains_key(name);
    let anywhere = case.eligible.iter().any(stays);
    let hosts = |name: &MemberName, share: &Share| {
        if idle {
            stays(name) || (!anywhere && name == best)
        } else {
            share.total() > 0
        }
    };
    for (name, share) in &shares {
        if hosts(name, share) {
            let reason = match case.placed.get(name) {
                Some(row) if row.surge.is_some() && row.base() == *share => case.why_less(name),
                Some(_) | None => reason.clone(),
            };
            wishes.insert(name.clone(), Wish::run(share.clone(), reason));
        }
    }
    surge::add(case, &shares, budget, &mut wishes);
    if missing.is_empty() {
        failback::add(case, &shares, budget, &mut wishes);
    }
    let fits = || self::missing(case, &parts(&[])).total() < missing.total();
    let why = if !zones.is_empty() && !missing.is_empty() && fits() {
        "would break `placement.spread`"
    } else {
        "have room nowhere"
    };
    let lacks = no_room(case, &missing, why).or_else(|| case.broken_rule(&shares));
    (wishes, lacks)
}

/// What nobody has a part of, because it fits nowhere.
pub(super) fn missing(case: &Case<'_>, shares: &BTreeMap<MemberName, Share>) -> Share {
    let objects = case.counts.iter();
    let objects = objects.filter(|(target, _)| target.has_replicas());
    let missing = objects.filter_map(|(target, total)| {
        let placed = shares.values().map(|share| share.of(target));
        let missing = placed.fold(total, u32::saturating_sub);
        (missing > 0).then(|| (target.clone(), missing))
    });
    missing.collect()
}

/// The members that should give up their part and keep it, because it fits nowhere else: as many as are needed.
fn keep<'a>(case: &'a Case<'_>, missing: &Share) -> Vec<&'a MemberName> {
    let mut missing = missing.clone();
    let leaving = case.placed.iter().filter(|(name, _)| !case.may_host(name));
    let needed = leaving.filter(|(_, row)| {
        let is_needed = missing
            .iter()
            .any(|(target, left)| left.min(row.share.of(target)) > 0);
        missing = missing.without(&row.share);
        is_needed
    });
    needed.map(|(name, _)| name).collect()
}

fn no_room(case: &Case<'_>, missing: &Share, why: &str) -> Option<String> {
    let (target, left) = missing.iter().next()?;
    let total = case.counts.of(target);
    let of = match target {
        ScaleTarget::Object(id) if missing.len() > 1 || case.counts.len() > 1 => {
            format!(" of {id}")
        }
        _ => String::new(),
    };
    let asked = case
        .pods
        .replica(target)
        .map(|pod| pod.resources.to_string());
    let asked = asked.filter(|it| !it.is_empty());
    let asked = asked.map_or_else(String::new, |it| format!("; each asks for {it}"));
    Some(format!("{left} of {total} replicas{of} {why}{asked}"))
}

/// The part of each member that may host the workload. Each object is divided by itself.
/// `held` is what each has of it now; only those that it `takes` get more.
pub(super) fn shares(
    case: &Case<'_>,
    hosts: &[MemberName],
    held: &BTreeMap<MemberName, Share>,
    takes: impl Fn(&MemberName) -> bool,
    zones: &[Zones],
) -> BTreeMap<MemberName, Share> {
    let mut shares: BTreeMap<MemberName, Share> = BTreeMap::new();
    let rooms = Spare::default();
    let limit = |name: &MemberName| {
        let about = case.observations.and_then(|about| about.limit_of(name));
        about.map_or(u32::MAX, |(most, _)| most)
    };
    let objects = case
        .counts
        .iter()
        .filter(|(target, _)| target.has_replicas());
    for (target, total) in objects {
        let had = |name: &MemberName| held.get(name).map_or(0, |share| share.of(target));
        let keeps = |name: &MemberName| had(name).min(limit(name));
        let current = hosts
            .iter()
            .map(|name| (name.clone(), keeps(name)))
            .collect();
        let most = |name: &MemberName| {
            let more = if takes(name) {
                rooms.holds(case, name, target)
            } else {
                0
            };
            let most = had(name).saturating_add(more);
            most.min(limit(name))
        };
        let mut divided = match zones {
            [] => divide(total, hosts, &current, most),
            zones => spread::divide(total, hosts, &current, most, zones),
        };
        // What fits nowhere else stays where it is, ready or not.
        let mut missing = divided
            .values()
            .fold(total, |left, part| left.saturating_sub(*part));
        for (name, replicas) in &mut divided {
            let more = had(name).saturating_sub(*replicas).min(missing);
            *replicas += more;
            missing -= more;
        }
        for (name, replicas) in divided {
            rooms.take(case, &name, target, replicas.saturating_sub(had(&name)));
            let share = shares.entry(name).or_default();
            share.set(target.clone(), replicas);
        }
    }
    divide_limits(case, hosts, held, &mut shares);
    give_tasks(case, held, &mut shares);
    shares
}

/// Gives each object that runs and cannot be divided to one of the hosts: the one that has it, or else the first that is there.
pub(super) fn give_tasks(
    case: &Case<'_>,
    held: &BTreeMap<MemberName, Share>,
    shares: &mut BTreeMap<MemberName, Share>,
) {
    let tasks = case.counts.iter().map(|(target, _)| target);
    for task in tasks.filter(|target| matches!(target, ScaleTarget::Task(_))) {
        let is_idle = case.counts.total() == 0;
        let hosts = case.eligible.iter().filter(|name| {
            let share = shares.get(*name);
            share.is_some_and(|share| share.total() > 0 || is_idle)
        });
        let has = |name: &MemberName| held.get(name).is_some_and(|share| share.of(task) > 0);
        let rank = |name: &&MemberName| {
            let is_new = is_idle && !case.placed.contains_key(*name);
            (!has(name), case.heard.is_away(name), is_new)
        };
        let chosen = hosts.min_by_key(rank).cloned();
        for (name, share) in &mut *shares {
            let runs = chosen.as_ref() == Some(name);
            share.set(task.clone(), u32::from(runs));
        }
    }
}

/// Divides what autoscalers may scale to.
pub(super) fn divide_limits(
    case: &Case<'_>,
    hosts: &[MemberName],
    held: &BTreeMap<MemberName, Share>,
    shares: &mut BTreeMap<MemberName, Share>,
) {
    for autoscaler in case.workload.spec.autoscalers() {
        divide_limit(hosts, &autoscaler, held, shares);
    }
}

/// Divides what an autoscaler may scale to over the members that have a part of its minimum: each at least that part.
fn divide_limit(
    hosts: &[MemberName],
    autoscaler: &Autoscaler,
    held: &BTreeMap<MemberName, Share>,
    shares: &mut BTreeMap<MemberName, Share>,
) {
    let target = ScaleTarget::Object(autoscaler.target.clone());
    let limit = ScaleTarget::Limit(autoscaler.id.clone());
    let hosts: Vec<MemberName> = hosts
        .iter()
        .filter(|name| shares.get(*name).is_some_and(|share| share.of(&target) > 0))
        .cloned()
        .collect();
    let above = |share: &Share| share.of(&limit).saturating_sub(share.of(&target));
    let current = held.iter();
    let current = current
        .map(|(name, share)| (name.clone(), above(share)))
        .collect();
    let all = autoscaler.max - autoscaler.min;
    for (name, above) in divide(all, &hosts, &current, |_| u32::MAX) {
        if let Some(share) = shares.get_mut(&name) {
            let least = share.of(&target);
            share.set(limit.clone(), least.saturating_add(above));
        }
    }
}

/// All replicas on every member that may. One that is merely lost has nothing to hand over, so its row stays.
pub(super) fn duplicated(case: &Case<'_>) -> (Wishes, Option<String>) {
    let mut wishes = Wishes::new();
    for name in case.placed.keys().filter(|name| !case.may_host(name)) {
        let lost = case
            .member(name)
            .is_some_and(|member| matches!(member.lease, Lease::Lost { .. }));
        if !lost && !case.eligible.is_empty() {
            wishes.insert(name.clone(), Wish::stop(case.why_not(name)));
        }
    }
    let hosts = case.in_few_domains();
    let surplus = case.eligible.iter().filter(|name| !hosts.contains(*name));
    for name in surplus.filter(|name| case.placed.contains_key(*name)) {
        wishes.insert(name.clone(), Wish::stop(Reason::WorkloadChanged));
    }
    for name in &hosts {
        let reason = if case.placed.contains_key(name) {
            Reason::WorkloadChanged
        } else {
            Reason::EveryMember
        };
        wishes.insert(name.clone(), Wish::run(case.counts.clone(), reason));
    }
    let shares = hosts.iter().map(|name| (name.clone(), case.counts.clone()));
    let unplaced = if hosts.is_empty() {
        Some(case.nobody())
    } else {
        case.broken_rule(&shares.collect())
    };
    (wishes, unplaced)
}

/// One copy. It stays where it is while it may; it moves in two steps, and the second waits until the first is certain.
pub(super) fn single(case: &Case<'_>) -> (Wishes, Option<String>) {
    let Some(best) = case.eligible.first() else {
        return (Wishes::new(), Some(case.nobody()));
    };
    let stays = case.placed.keys().find(|name| case.may_host(name));
    // Where it may still run, it can start at once; everywhere else it has to wait for that member.
    let returns = || {
        let mut owing = case.state.removals.of(case.key).map(|(name, _)| name);
        owing.find(|name| {
            case.may_host(name) && case.state.may_run_elsewhere(case.key, name).is_none()
        })
    };
    let chosen = stays.or_else(returns).unwrap_or(best);
    let mut wishes: Wishes = case
        .placed
        .keys()
        .filter(|name| *name != chosen)
        .map(|name| (name.clone(), Wish::stop(case.why_not(name))))
        .collect();
    // Rows of one plan are applied removals first, but a removal only asks the host to stop.
    match case.state.may_run_elsewhere(case.key, chosen) {
        Some(elsewhere) => {
            let waits = if case.state.runs_until_removed(case.key, elsewhere) {
                format!(
                    "waiting until {elsewhere} has removed the copies from before the workload was `Single`"
                )
            } else {
                format!(
                    "waiting to be certain that its copy on {elsewhere} has stopped: {elsewhere} confirms it, or its lease has \
                     been over for long enough"
                )
            };
            (wishes, Some(waits))
        }
        None => {
            let reason = case
                .last_host()
                .map_or_else(|| case.why_here(), |host| case.why_not(host));
            wishes.insert(chosen.clone(), Wish::run(case.counts.clone(), reason));
            (wishes, None)
        }
    }
}

impl Case<'_> {
    /// The member with a pending removal of this workload: where a `Single` comes from.
    fn last_host(&self) -> Option<&MemberName> {
        self.state
            .removals
            .of(self.key)
            .next()
            .map(|(name, _)| name)
    }
}
