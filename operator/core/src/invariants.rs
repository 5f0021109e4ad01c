//! What holds of the ledger's state after every entry, and of every step from one state to a later one. Pure.
//!
//! The rules of [`crate::state`] decide what an entry may change; this says what must be true afterwards, whichever
//! entries there were, and knows nothing of how it comes about. The simulator asks after every step of every replica.
//! The numbers are those of the invariants that the design lists.

use std::fmt;

use crate::{
    grant::consent,
    id::{Epoch, MemberName, WorkloadKey},
    jurisdiction::allows,
    state::{Lease, Placement, State, Workload},
    workload::Mode,
};

/// What does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invariant {number}: {what}")]
pub struct Violation {
    /// The invariant's number in the design.
    pub number: u8,
    /// What was found.
    pub what: String,
}

type Checked = Result<(), Violation>;

fn ensure(number: u8, holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds {
        return Ok(());
    }
    let what = what();
    Err(Violation { number, what })
}

/// Whether what the rules of the ledger promise of every state holds of this one.
pub fn check(state: &State) -> Result<(), Violation> {
    for (key, rows) in state.placements.iter() {
        let workload = state.workloads.get(key).filter(|row| !row.removed);
        let Some(workload) = workload else {
            return ensure(7, false, || format!("{key} is placed and not wanted"));
        };
        let is_single = workload.spec.placement.mode == Mode::Single;
        ensure(1, !is_single || rows.len() == 1, || {
            format!("the single {key} is placed on {}", listed(rows.keys()))
        })?;
        for (host, placement) in rows {
            check_placement(state, key, (host, placement))?;
            if is_single && placement.epoch == Epoch(state.index) {
                nothing_runs_elsewhere(state, (key, workload), host)?;
            }
        }
    }
    for (key, rows) in state.removals.iter() {
        for (host, removal) in rows {
            ensure(2, removal.epoch.0 <= state.index, || {
                format!("the removal of {key} from {host} has an epoch of the future")
            })?;
        }
    }
    removed_workloads_wait_for_hosts(state)
}

fn check_placement(
    state: &State,
    key: &WorkloadKey,
    (host, placement): (&MemberName, &Placement),
) -> Checked {
    ensure(2, placement.epoch.0 <= state.index, || {
        format!("{key} on {host} has an epoch of the future")
    })?;
    ensure(7, state.removals.get(key, host).is_none(), || {
        format!("{key} is placed on {host} and to be removed there")
    })?;
    let placed_now = placement.epoch == Epoch(state.index);
    let lease = state.members.get(host).map(|member| member.lease);
    ensure(1, !placed_now || lease.is_some_and(Lease::is_held), || {
        format!("{key} was placed on {host}, which holds no lease")
    })
}

/// That no copy of a `Single` that was just placed may still run elsewhere: what another member has still to remove has
/// ended with its lease, for certain, or is of another workload that had the name.
fn nothing_runs_elsewhere(
    state: &State,
    (key, workload): (&WorkloadKey, &Workload),
    host: &MemberName,
) -> Checked {
    let running = state.removals.of(key).find(|(other, owed)| {
        let lease = state.members.get(*other).map(|member| member.lease);
        let ended = lease.is_none_or(Lease::is_fenced);
        *other != host && !(ended && (owed.stops || owed.born != workload.born))
    });
    ensure(1, running.is_none(), || {
        let other = running.map_or_else(String::new, |(other, _)| other.to_string());
        format!("the single {key} was placed on {host} while it may run on {other}")
    })
}

/// A removed workload is kept for as long as a host that can still confirm has not, and no longer.
fn removed_workloads_wait_for_hosts(state: &State) -> Checked {
    for (key, _) in state.workloads.iter().filter(|(_, row)| row.removed) {
        let can_confirm = |host| {
            let member = state.members.get(host);
            member.is_some_and(|member| !member.lease.is_revoked())
        };
        let waits = state.removals.of(key).any(|(host, _)| can_confirm(host));
        ensure(7, waits, || {
            format!("nobody has to confirm the removal of {key}")
        })?;
    }
    Ok(())
}

/// Whether what the newest entry placed is where its author and its host allow it. The leader's planner sees to that and
/// each host checks it again; the rules of the ledger do not.
pub fn check_plan(state: &State) -> Result<(), Violation> {
    for (key, rows) in state.placements.iter() {
        let Some(workload) = state.workloads.get(key) else {
            continue;
        };
        let placed_now = rows
            .iter()
            .filter(|(_, row)| row.epoch == Epoch(state.index));
        for (host, member) in placed_now.filter_map(|(host, _)| state.members.get_key_value(host)) {
            let domicile = &workload.spec.placement.domicile;
            ensure(5, allows(domicile, &member.attributes.jurisdiction), || {
                format!("{key} was placed on {host}, outside its domicile")
            })?;
            let kinds = workload.spec.kinds();
            let consents = consent(&member.owner, &member.grants, key, &kinds).is_ok();
            ensure(5, consents, || {
                format!("{key} was placed on {host} without consent")
            })?;
        }
    }
    Ok(())
}

/// Whether `after` can follow `before`, which is an earlier state of the same ledger.
pub fn check_step(before: &State, after: &State) -> Result<(), Violation> {
    ensure(2, before.index <= after.index, || {
        format!("the ledger went from {} to {}", before.index, after.index)
    })?;
    ensure(
        4,
        before.index != after.index || before.head == after.head,
        || format!("two heads at {}", after.index),
    )?;
    ensure(2, before.time_ms <= after.time_ms, || {
        "the ledger's time went back".to_owned()
    })?;
    ensure(
        3,
        before.federation.is_none() || before.federation == after.federation,
        || "the federation became another".to_owned(),
    )?;
    ensure(2, before.level <= after.level, || {
        "the federation's level went down".to_owned()
    })?;
    issuers_only_count(before, after)?;
    members_only_change(before, after)?;
    workloads_only_grow(before, after)?;
    placements_end_in_removals(before, after)
}

fn issuers_only_count(before: &State, after: &State) -> Checked {
    for (key, issuer) in &before.issuers {
        let counts = after.issuers.get(key).is_some_and(|later| {
            issuer.member.sequence <= later.member.sequence
                && issuer.leader.sequence <= later.leader.sequence
        });
        ensure(3, counts, || {
            format!("the numbers of {} are free again", key.short())
        })?;
    }
    Ok(())
}

fn members_only_change(before: &State, after: &State) -> Checked {
    for (name, member) in &before.members {
        let Some(later) = after.members.get(name) else {
            return ensure(3, false, || format!("{name} is no longer known"));
        };
        ensure(
            3,
            (&member.key, &member.owner) == (&later.key, &later.owner),
            || format!("{name} has another key or owner"),
        )?;
        let grows =
            member.generation <= later.generation && member.lease.epoch() <= later.lease.epoch();
        ensure(2, grows, || {
            format!("a generation or epoch of {name} went back")
        })?;
        ensure(2, may_follow(member.lease, later.lease), || {
            format!(
                "the lease of {name} went from {:?} to {:?}",
                member.lease, later.lease
            )
        })?;
    }
    Ok(())
}

fn may_follow(before: Lease, after: Lease) -> bool {
    let same = before.epoch() == after.epoch();
    match (before, after) {
        (Lease::Revoked { .. }, Lease::Held { .. } | Lease::Lost { .. }) => false,
        (Lease::Held { .. }, Lease::Held { .. }) => true,
        // An epoch is that of the entry that gave or took the lease.
        (Lease::Held { .. }, _) | (Lease::Lost { .. }, Lease::Held { .. }) => !same,
        _ => !same || !before.is_fenced() || after.is_fenced(),
    }
}

fn workloads_only_grow(before: &State, after: &State) -> Checked {
    for (key, workload) in &*before.workloads {
        let Some(later) = after.workloads.get(key) else {
            continue;
        };
        ensure(2, workload.generation <= later.generation, || {
            format!("the generation of {key} went back")
        })?;
        let same = workload.born == later.born;
        ensure(3, !same || !workload.removed || later.removed, || {
            format!("{key} was removed and is wanted again without being put")
        })?;
    }
    Ok(())
}

/// What is placed no longer is to be removed by its host, which alone says that it is gone.
fn placements_end_in_removals(before: &State, after: &State) -> Checked {
    for (key, rows) in before.placements.iter() {
        for (host, placement) in rows {
            if let Some(later) = after.placements.get(key, host) {
                ensure(2, placement.epoch <= later.epoch, || {
                    format!("the epoch of {key} on {host} went back")
                })?;
                continue;
            }
            // Later entries may have carried the host's confirmation.
            let one_step = after.index == before.index + 1;
            let released = after.members.get(host).is_none_or(|member| {
                let lease = member.lease;
                lease.is_revoked() && lease.is_fenced()
            });
            let pending = after.removals.get(key, host).is_some();
            ensure(7, !one_step || pending || released, || {
                format!("{key} is no longer on {host} and not to be removed there")
            })?;
        }
    }
    Ok(())
}

fn listed<T: fmt::Display>(names: impl Iterator<Item = T>) -> String {
    let names: Vec<_> = names.map(|name| name.to_string()).collect();
    names.join(", ")
}
