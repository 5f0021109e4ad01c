//! When a federation has grown, when it is at rest, and whether what it answered holds. Each says what is missing.

use std::collections::{BTreeMap, BTreeSet};

use hanse_core::{
    id::{MemberName, WorkloadKey},
    jurisdiction::allows,
    level,
    state::{Lease, State},
};

use crate::{cluster::Cluster, scene::Scene};

/// What is missing until all `members` are in and as many vote as may.
#[must_use]
pub fn not_grown(scene: &Scene, members: &[String]) -> Option<String> {
    let states = scene.states();
    let Some(newest) = states.values().max_by_key(|state| state.index) else {
        return Some("no replica runs".to_owned());
    };
    let voters = if members.len() < 5 { 3 } else { 5 };
    let known = (newest.members.len(), newest.voters.len());
    (known != (members.len(), voters))
        .then(|| format!("the ledger has {} members and {} voters", known.0, known.1))
}

/// What is missing until every member has what the ledger has, and the ledger has nothing left to do.
#[must_use]
pub fn not_at_rest(scene: &Scene, members: &[String]) -> Option<String> {
    let states = scene.states();
    let Some(newest) = states.values().max_by_key(|state| state.index) else {
        return Some("no replica runs".to_owned());
    };
    let behind = members.iter().find_map(|name| behind(scene, name, newest));
    behind
        .or_else(|| {
            let mut members = newest.members.iter();
            members.find_map(|(name, member)| {
                let held = matches!(member.lease, Lease::Held { .. });
                (!held).then(|| format!("the lease of {name} is {:?}", member.lease))
            })
        })
        .or_else(|| {
            let mut owed = newest.removals.iter();
            owed.next()
                .map(|(key, _)| format!("{key} is not removed everywhere"))
        })
        .or_else(|| unplaced(newest))
        .or_else(|| {
            let next = level::next(newest)?;
            Some(format!("the federation is not raised to level {next}"))
        })
        .or_else(|| members.iter().find_map(|name| differs(scene, name)))
}

/// How the cluster of a member differs from what the member was told: by what runs, by what is left of what ran, or by what its
/// owner sees there.
fn differs(scene: &Scene, name: &str) -> Option<String> {
    let member: MemberName = name.parse().ok()?;
    scene.with(|seen| {
        let slice = seen.running.get(name)?.uplink.slice().borrow().clone()?;
        let cluster = seen.clusters.get(name)?;
        let placed = slice.placements.iter();
        let placed = placed.map(|(key, placement)| (key.clone(), placement.share.total()));
        let wanted: BTreeMap<_, _> = placed.filter(|(_, count)| *count > 0).collect();
        let placed: BTreeSet<_> = slice.placements.keys().cloned().collect();
        let mut ready: BTreeMap<WorkloadKey, u64> = BTreeMap::new();
        for (key, count) in seen.clusters.values().flat_map(Cluster::running) {
            *ready.entry(key).or_default() += u64::from(count);
        }
        let owned = slice.workloads.keys();
        let owned = owned.map(|key| (key.clone(), ready.get(key).copied().unwrap_or_default()));
        unequal(name, "runs", &cluster.running(), &wanted)
            .or_else(|| unequal(name, "has objects of", &cluster.hosted(), &placed))
            .or_else(|| unequal(name, "has inventories of", &cluster.inventories(), &placed))
            .or_else(|| {
                let shown = cluster.shown(&slice.members.get(&member)?.owner);
                unequal(name, "shows as ready", &shown, &owned.collect())
            })
    })
}

fn unequal<T: PartialEq + std::fmt::Debug>(
    name: &str,
    what: &str,
    is: &T,
    should: &T,
) -> Option<String> {
    (is != should).then(|| format!("{name} {what} {is:?} instead of {should:?}"))
}

/// Whether a member has not received what the ledger has: as a member, and as a voter if it is one.
fn behind(scene: &Scene, name: &str, newest: &State) -> Option<String> {
    let slice = scene.with(|seen| {
        let running = seen.running.get(name)?;
        let slice = running.uplink.slice().borrow().clone();
        slice.map(|slice| slice.federation.clone())
    });
    let Some(slice) = slice else {
        return Some(format!("{name} has no slice"));
    };
    let end = newest.index;
    if slice.head != newest.head {
        return Some(format!(
            "the slice of {name} is of {}, not of {end}",
            slice.index
        ));
    }
    let row = newest.members.iter().find(|(it, _)| it.as_str() == name);
    let Some((_, member)) = row else {
        return Some(format!("{name} is no member"));
    };
    let index = scene.states().get(name).map_or(0, |state| state.index);
    (newest.is_voter(member) && index != end)
        .then(|| format!("the replica of {name} is at {index}, not at {end}"))
}

/// A workload that could run and does not.
fn unplaced(state: &State) -> Option<String> {
    state.workloads.iter().find_map(|(key, workload)| {
        let domicile = &workload.spec.placement.domicile;
        let mut members = state.members.values();
        let may_run = members.any(|member| allows(domicile, &member.attributes.jurisdiction));
        let is_wanted = !workload.removed && workload.spec.counts().total() > 0;
        let is_missing = may_run && is_wanted && !state.placements.has(key);
        is_missing.then(|| format!("{key} is not placed"))
    })
}

/// Whether what clients were answered holds in the ledger.
pub fn answers_hold(scene: &Scene) -> Result<(), String> {
    let states = scene.states();
    let newest = states.values().max_by_key(|state| state.index);
    let state = newest.ok_or("no replica runs")?;
    scene.with(|seen| {
        seen.history.is_linearizable()?;
        seen.history.is_kept_by(state)
    })
}
