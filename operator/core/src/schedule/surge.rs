//! Replicas in addition while a member is away: silent, or drained by its owner.
//!
//! It keeps its row: a silent one may be fine, and a drained one serves until the others do. The others are planned as if it
//! were lost, and what that gives them more than they have is their surge. When the lease of the silent member ends, or the
//! surge for the drained one is ready, the ordinary plan finds everything in place; when it is heard again, or no longer
//! drained, the surge goes.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    case::{Case, Wish},
    select,
};
use crate::{
    id::{MemberName, WorkloadKey},
    reason::Reason,
    state::{State, Surge},
    workload::Share,
};

/// The most replicas in addition in the whole federation. A workload whose surge would exceed it is placed elsewhere when the
/// lease ends, as if there were no suspicion; one that leaves a drained member waits.
const MOST_REPLICAS: u32 = 2_000;

/// How many of these are kept for silent members: a drain begins nothing when no more than these are left.
const KEPT_FOR_SILENT: u32 = MOST_REPLICAS / 2;

/// The replicas in addition that are placed, by workload.
#[derive(Debug, Default)]
pub(super) struct Surges {
    placed: BTreeMap<WorkloadKey, u32>,
    total: u32,
}

impl Surges {
    /// Takes over the rows of one workload.
    pub(super) fn sync(&mut self, state: &State, key: &WorkloadKey) {
        let rows = state.placements.of(key);
        let surges = rows.filter_map(|(_, row)| row.surge.as_ref());
        let placed = surges.fold(0_u32, |sum, surge| sum.saturating_add(surge.share.total()));
        let before = if placed > 0 {
            self.placed.insert(key.clone(), placed)
        } else {
            self.placed.remove(key)
        };
        let others = self.total.saturating_sub(before.unwrap_or(0));
        self.total = others.saturating_add(placed);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.placed.is_empty()
    }

    /// Whether this workload has any.
    pub(super) fn has(&self, key: &WorkloadKey) -> bool {
        self.placed.contains_key(key)
    }

    /// What they leave for a plan.
    pub(super) fn budget(&self) -> Budget {
        Budget {
            left: MOST_REPLICAS.saturating_sub(self.total),
            refused: false,
            crowded: false,
        }
    }
}

/// What may still be placed in addition.
#[derive(Debug)]
pub(super) struct Budget {
    left: u32,
    refused: bool,
    crowded: bool,
}

impl Budget {
    /// Whether nothing is left for those who stand in for silent members, or, if nobody is silent, for drained ones.
    pub(super) fn is_spent(&self, silent: bool) -> bool {
        self.left <= kept(silent)
    }

    /// Whether anything was refused since this was last asked.
    pub(super) fn refused(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }

    /// Notes whether something has no room that should be placed in addition.
    pub(super) fn note_crowded(&mut self, crowded: bool) {
        self.crowded |= crowded;
    }

    /// Whether that was noted since this was last asked.
    pub(super) fn crowded(&mut self) -> bool {
        std::mem::take(&mut self.crowded)
    }

    /// Takes `replicas`, if that many are left.
    pub(super) fn take(&mut self, replicas: u32, silent: bool) -> bool {
        if replicas == 0 {
            return true;
        }
        let left = self.left.checked_sub(replicas);
        let left = left.filter(|_| !self.is_spent(silent));
        self.left = left.unwrap_or(self.left);
        self.refused |= left.is_none();
        left.is_some()
    }
}

fn kept(silent: bool) -> u32 {
    if silent { 0 } else { KEPT_FOR_SILENT }
}

/// What each member has of the workload, as the basis of its next division: without what it has in addition, unless replicas
/// are missing, which a surge then makes good.
pub(super) fn held(case: &Case<'_>) -> BTreeMap<MemberName, Share> {
    let rows = case.placed.iter();
    let base: BTreeMap<MemberName, Share> =
        rows.map(|(name, row)| (name.clone(), row.base())).collect();
    let mut objects = case
        .counts
        .iter()
        .filter(|(target, _)| target.has_replicas());
    let is_short = objects.any(|(target, total)| {
        let held = base.iter().filter(|(name, _)| case.may_host(name));
        held.fold(0_u32, |sum, (_, share)| {
            sum.saturating_add(share.of(target))
        }) < total
    });
    if is_short { all_held(case) } else { base }
}

/// Adds to the wishes what the others should run while members with a part of `shares` are away.
pub(super) fn add(
    case: &Case<'_>,
    shares: &BTreeMap<MemberName, Share>,
    budget: &mut Budget,
    wishes: &mut select::Wishes,
) {
    let covers: BTreeSet<MemberName> = shares
        .iter()
        .filter(|(name, share)| case.heard.is_away(name) && share.total() > 0)
        .map(|(name, _)| name.clone())
        .collect();
    let Some(first) = covers.first().filter(|_| case.workload.may_surge()) else {
        return;
    };
    let silent = covers.iter().find(|name| case.heard.silent.contains(*name));
    let why = match silent.cloned() {
        Some(member) => Reason::MemberSilent { member },
        None => Reason::MemberDrained {
            member: first.clone(),
        },
    };
    let (surges, is_short) = surges(case, shares);
    budget.note_crowded(is_short);
    let more = surges.iter().map(|(name, (_, surge))| {
        let row = case.placed.get(name).and_then(|row| row.surge.as_ref());
        let now = row.map_or(0, |row| row.share.total());
        surge.total().saturating_sub(now)
    });
    if !budget.take(more.sum(), silent.is_some()) {
        return;
    }
    for (name, (share, surge)) in surges {
        let wish = wishes.get(&name).filter(|wish| wish.share.is_some());
        let reason = match wish.map(|wish| &wish.reason) {
            // Replicas are missing for certain, besides those that may be.
            Some(reason) if reason.is_failover() => reason.clone(),
            Some(_) | None => why.clone(),
        };
        let surge = Surge {
            share: surge,
            covers: covers.clone(),
        };
        let wish = Wish {
            share: Some(share),
            surge: Some(surge),
            reason,
        };
        wishes.insert(name, wish);
    }
}

/// What each member that is there would run if those away were lost, and what of it is more than its part of `shares`.
/// Also whether some of it fits nowhere.
fn surges(
    case: &Case<'_>,
    shares: &BTreeMap<MemberName, Share>,
) -> (BTreeMap<MemberName, (Share, Share)>, bool) {
    let there = case.eligible.iter();
    let there = there.filter(|name| !case.heard.is_away(name));
    let there: Vec<MemberName> = there.cloned().collect();
    // Who has not been heard keeps its part and gets no more.
    let takes = |name: &MemberName| !case.heard.unheard.contains(name);
    let alone = select::shares(case, &there, &all_held(case), takes, &case.zones(&there));
    let is_short = !select::missing(case, &alone).is_empty() || case.broken_rule(&alone).is_some();
    let surges = alone.into_iter().filter_map(|(name, share)| {
        let base = shares.get(&name).cloned().unwrap_or_default();
        let mut share = share.at_least(&base);
        share.keep_tasks(&base);
        let surge = share.without(&base);
        (surge.total() > 0).then_some((name, (share, surge)))
    });
    (surges.collect(), is_short)
}

/// What each member has of the workload, also in addition.
fn all_held(case: &Case<'_>) -> BTreeMap<MemberName, Share> {
    let rows = case.placed.iter();
    rows.map(|(name, row)| (name.clone(), row.share.clone()))
        .collect()
}
