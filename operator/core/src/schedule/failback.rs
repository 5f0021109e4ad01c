//! What members get again that are back: it becomes ready there first, and then leaves those that took it over.
//!
//! Those that took it over and those that are back divide among them what the former have. As long as the latter are not ready with
//! their part, that is in addition, within the budget for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    case::{Case, Wish},
    divide::divide,
    observations::About,
    select::{self, Wishes},
    spare::Spare,
    surge::Budget,
};
use crate::{
    id::MemberName,
    reason::Reason,
    state::{Placement, Surge},
    workload::Share,
};

/// Adds to the wishes what members that are back should run, and what those should that run it by `shares`.
pub(super) fn add(
    case: &Case<'_>,
    shares: &BTreeMap<MemberName, Share>,
    budget: &mut Budget,
    wishes: &mut Wishes,
) {
    let back = back(case, shares);
    // What stands in for somebody who is away comes first.
    if back.is_empty() || shares.keys().any(|name| case.heard.is_away(name)) {
        return;
    }
    budget.note_crowded(true);
    let Some(after) = after(case, shares, &back) else {
        return;
    };
    let part = |name: &MemberName| after.get(name).cloned().unwrap_or_default();
    let returning: Vec<_> = back.iter().filter(|name| part(name).total() > 0).collect();
    let Some(first) = returning.first() else {
        return;
    };
    let wish = |why: &MemberName, share: Share, surge: Option<Surge>| Wish {
        share: Some(share).filter(|share| share.total() > 0),
        surge,
        reason: Reason::MemberReturned {
            member: why.clone(),
        },
    };
    let changed = after.iter();
    let changed = changed.filter(|(name, share)| shares.get(*name) != Some(share));
    let is_ready = |name: &&MemberName| {
        let row = case.placed.get(*name);
        row.is_some_and(|row| row.share == part(name) && case.is_reported_ready(name, row))
    };
    let held = |name: &MemberName| case.placed.get(name).map_or(0, |row| row.share.total());
    let more = |name: &&MemberName| part(name).total().saturating_sub(held(name));
    if returning.iter().all(is_ready) {
        for (name, share) in changed {
            let why = if back.contains(name) { name } else { *first };
            wishes.insert(name.clone(), wish(why, share.clone(), None));
        }
    } else if budget.take(returning.iter().map(more).sum(), false) {
        let covers = changed.map(|(name, _)| name.clone());
        let covers: BTreeSet<_> = covers.filter(|name| !back.contains(name)).collect();
        for name in returning {
            // What cannot be divided stays where it is until then.
            let mut share = part(name);
            share.keep_tasks(&Share::default());
            let surge = Surge {
                share: share.clone(),
                covers: covers.clone(),
            };
            wishes.insert(name.clone(), wish(name, share, Some(surge)));
        }
    }
}

/// The members that are due to get their part back, and those that are about to. One that has a part anyway, because something
/// else changed, is none of them.
fn back(case: &Case<'_>, shares: &BTreeMap<MemberName, Share>) -> BTreeSet<MemberName> {
    let is_begun = |(name, row): &(&MemberName, &Arc<Placement>)| {
        let is_own = matches!(&row.reason, Reason::MemberReturned { member } if member == *name);
        is_own && row.surge.is_some()
    };
    let begun = case.placed.iter().filter(is_begun).map(|(name, _)| name);
    let due = case.observations.into_iter().flat_map(About::back);
    let due = due.filter(|name| !case.placed.contains_key(*name));
    let takes = |name: &&MemberName| {
        let is_there = !case.heard.is_away(name) && !case.heard.unheard.contains(*name);
        let has_part = shares.get(*name).is_some_and(|share| share.total() > 0);
        is_there && !has_part && case.may_host(name)
    };
    begun.chain(due).filter(takes).cloned().collect()
}

/// What all of them run in the end; `None` if that would break a rule that holds now.
fn after(
    case: &Case<'_>,
    shares: &BTreeMap<MemberName, Share>,
    back: &BTreeSet<MemberName>,
) -> Option<BTreeMap<MemberName, Share>> {
    let gives = |name: &&MemberName| {
        let row = case.placed.get(*name);
        let gone = row.and_then(|row| row.reason.gone());
        gone.is_some_and(|gone| back.contains(gone))
    };
    let givers: Vec<_> = shares.keys().filter(gives).cloned().collect();
    let hosts: Vec<MemberName> = back.iter().cloned().chain(givers).collect();
    let mut after = shares.clone();
    let rooms = Spare::default();
    let objects = case.counts.iter().map(|(target, _)| target);
    for target in objects.filter(|target| target.has_replicas()) {
        let has = |name: &MemberName| shares.get(name).map_or(0, |share| share.of(target));
        let pool = hosts.iter().map(has).sum();
        let held = |name: &MemberName| case.placed.get(name).map_or(0, |row| row.share.of(target));
        let most = |name: &MemberName| {
            if back.contains(name) {
                held(name).saturating_add(rooms.holds(case, name, target))
            } else {
                has(name)
            }
        };
        for (name, replicas) in divide(pool, &hosts, &BTreeMap::new(), most) {
            rooms.take(case, &name, target, replicas.saturating_sub(held(&name)));
            let share = after.entry(name).or_default();
            share.set(target.clone(), replicas);
        }
    }
    let all: Vec<MemberName> = after.keys().cloned().collect();
    select::divide_limits(case, &all, shares, &mut after);
    select::give_tasks(case, shares, &mut after);
    let breaks = case.broken_rule(&after).is_some() && case.broken_rule(shares).is_none();
    (!breaks).then_some(after)
}
