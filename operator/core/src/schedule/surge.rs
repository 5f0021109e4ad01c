//! Replicas in addition while a member is silent.
//!
//! A silent member keeps its row: it may be fine. The others are planned as if it were lost, and what that gives them more than
//! they have is their surge. When the lease of the silent member ends, the ordinary plan finds everything in place; when it is
//! heard again, the surge goes.

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
/// lease ends, as if there were no suspicion.
const MOST_REPLICAS: u32 = 2_000;

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
    /// Whether nothing is left.
    pub(super) fn is_spent(&self) -> bool {
        self.left == 0
    }

    /// Whether anything was refused since this was last asked.
    pub(super) fn refused(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }

    /// Notes whether something has no room that should be placed in addition.
    fn note_crowded(&mut self, crowded: bool) {
        self.crowded |= crowded;
    }

    /// Whether that was noted since this was last asked.
    pub(super) fn crowded(&mut self) -> bool {
        std::mem::take(&mut self.crowded)
    }

    /// Takes `replicas`, if that many are left.
    fn take(&mut self, replicas: u32) -> bool {
        let left = self.left.checked_sub(replicas);
        self.left = left.unwrap_or(self.left);
        self.refused |= left.is_none();
        left.is_some()
    }
}

/// What each member has of the workload, as the basis of its next division: without what it has in addition, unless replicas
/// are missing, which a surge then makes good.
pub(super) fn held(case: &Case<'_>) -> BTreeMap<MemberName, Share> {
    let rows = case.placed.iter();
    let base: BTreeMap<MemberName, Share> =
        rows.map(|(name, row)| (name.clone(), row.base())).collect();
    let is_short = case.counts.iter().any(|(target, total)| {
        let held = base.iter().filter(|(name, _)| case.may_host(name));
        held.fold(0_u32, |sum, (_, share)| {
            sum.saturating_add(share.of(target))
        }) < total
    });
    if is_short { all_held(case) } else { base }
}

/// Adds to the wishes what the others should run while members with a part of `shares` are silent.
pub(super) fn add(
    case: &Case<'_>,
    shares: &BTreeMap<MemberName, Share>,
    budget: &mut Budget,
    wishes: &mut select::Wishes,
) {
    let covers: BTreeSet<MemberName> = shares
        .iter()
        .filter(|(name, share)| case.silent.contains(*name) && share.total() > 0)
        .map(|(name, _)| name.clone())
        .collect();
    let Some(silent) = covers.first().filter(|_| case.workload.spec.may_surge()) else {
        return;
    };
    let (surges, is_short) = surges(case, shares);
    budget.note_crowded(is_short);
    let more = surges.iter().map(|(name, (_, surge))| {
        let row = case.placed.get(name).and_then(|row| row.surge.as_ref());
        let now = row.map_or(0, |row| row.share.total());
        surge.total().saturating_sub(now)
    });
    if !budget.take(more.sum()) {
        return;
    }
    for (name, (share, surge)) in surges {
        let wish = wishes.get(&name).filter(|wish| wish.share.is_some());
        let reason = match wish.map(|wish| &wish.reason) {
            // Replicas are missing for certain, besides those that may be.
            Some(reason) if reason.is_failover() => reason.clone(),
            Some(_) | None => Reason::MemberSilent {
                member: silent.clone(),
            },
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

/// What each member that is heard would run if the silent ones were lost, and what of it is more than its part of `shares`.
/// Also whether some of it fits nowhere.
fn surges(
    case: &Case<'_>,
    shares: &BTreeMap<MemberName, Share>,
) -> (BTreeMap<MemberName, (Share, Share)>, bool) {
    let heard = case.eligible.iter();
    let heard = heard.filter(|name| !case.silent.contains(*name));
    let heard: Vec<MemberName> = heard.cloned().collect();
    // Who has not been heard keeps its part and gets no more.
    let takes = |name: &MemberName| !case.unheard.contains(name);
    let alone = select::shares(case, &heard, &all_held(case), takes, &case.zones(&heard));
    let is_short = !select::missing(case, &alone).is_empty() || case.broken_rule(&alone).is_some();
    let surges = alone.into_iter().filter_map(|(name, share)| {
        let base = shares.get(&name).cloned().unwrap_or_default();
        let share = share.at_least(&base);
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
