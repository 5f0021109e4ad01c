//! Replicas in addition while a member is silent.
//!
//! A silent member keeps its row: it may be fine. The others are planned as if it were lost, and what that gives them more than
//! they have is their surge. When the lease of the silent member ends, the ordinary plan finds everything in place; when it is
//! heard again, the surge goes.

use std::collections::BTreeMap;

use super::{Case, Wish, select};
use crate::{
    id::MemberName,
    reason::Reason,
    state::{State, Surge},
    workload::Share,
};

/// The most replicas in addition in the whole federation. A workload whose surge would exceed it is placed elsewhere when the
/// lease ends, as if there were no suspicion.
const MOST_REPLICAS: u32 = 2_000;

/// What may still be placed in addition.
#[derive(Debug)]
pub(super) struct Budget(u32);

impl Budget {
    /// What the surges of `state` leave.
    pub(super) fn of(state: &State) -> Self {
        let rows = state.placements.iter().flat_map(|(_, rows)| rows.values());
        let surges = rows.filter_map(|row| row.surge.as_ref());
        let used = surges.fold(0_u32, |sum, surge| sum.saturating_add(surge.share.total()));
        Self(MOST_REPLICAS.saturating_sub(used))
    }

    /// Takes `replicas`, if that many are left.
    fn take(&mut self, replicas: u32) -> bool {
        let left = self.0.checked_sub(replicas);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

/// What each member has of the workload, as the basis of its next division: without what it has in addition, unless replicas
/// are missing, which a surge then makes good.
pub(super) fn held(case: &Case<'_>, counts: &Share) -> BTreeMap<MemberName, Share> {
    let rows = || case.placed.iter();
    let base: BTreeMap<MemberName, Share> = rows()
        .map(|(name, row)| (name.clone(), row.base()))
        .collect();
    let is_short = counts.iter().any(|(target, total)| {
        let held = base.iter().filter(|(name, _)| case.may_host(name));
        held.fold(0_u32, |sum, (_, share)| {
            sum.saturating_add(share.of(target))
        }) < total
    });
    if is_short {
        rows()
            .map(|(name, row)| (name.clone(), row.share.clone()))
            .collect()
    } else {
        base
    }
}

/// Adds to the wishes what the others should run while members with a part of `shares` are silent.
pub(super) fn add(
    case: &Case<'_>,
    counts: &Share,
    shares: &BTreeMap<MemberName, Share>,
    budget: &mut Budget,
    wishes: &mut select::Wishes,
) {
    let is_covered = |name: &&MemberName| {
        case.silent.contains(*name) && shares.get(*name).is_some_and(|share| share.total() > 0)
    };
    let covers: std::collections::BTreeSet<MemberName> =
        shares.keys().filter(is_covered).cloned().collect();
    let hosts = case.eligible.iter().copied();
    let hosts: Vec<&MemberName> = hosts.filter(|name| !case.silent.contains(*name)).collect();
    let Some(silent) = covers.first().cloned() else {
        return;
    };
    if hosts.is_empty() || !case.workload.spec.may_surge() {
        return;
    }
    let held = case.placed.iter();
    let held = held
        .map(|(name, row)| (name.clone(), row.share.clone()))
        .collect();
    let alone = select::shares(case, counts, &hosts, &held);
    let surges: Vec<(MemberName, Share, Share)> = alone
        .into_iter()
        .filter_map(|(name, share)| {
            let base = shares.get(&name).cloned().unwrap_or_default();
            let share = share.at_least(&base);
            let surge = share.without(&base);
            (surge.total() > 0).then_some((name, share, surge))
        })
        .collect();
    let more = surges.iter().map(|(name, _, surge)| {
        let row = case.placed.get(name).and_then(|row| row.surge.as_ref());
        surge
            .total()
            .saturating_sub(row.map_or(0, |row| row.share.total()))
    });
    if !budget.take(more.sum()) {
        return;
    }
    for (name, share, surge) in surges {
        let wish = wishes.get(&name).filter(|wish| wish.share.is_some());
        let reason = match wish.map(|wish| &wish.reason) {
            // Replicas are missing for certain, besides those that may be.
            Some(reason) if reason.is_failover() => reason.clone(),
            Some(_) | None => Reason::MemberSilent {
                member: silent.clone(),
            },
        };
        let wish = Wish {
            share: Some(share),
            surge: Some(Surge {
                share: surge,
                covers: covers.clone(),
            }),
            reason,
        };
        wishes.insert(name, wish);
    }
}
