//! A `Member` row. Pure.

use hanse_core::{id::MemberName, slice::Slice, state};
use hanse_crds::{
    Condition, Lease, MemberRole, MemberSpec, MemberStatus, Scheduling,
    condition::{READY, SYNCED, set_condition},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::number::{count, length};
use crate::observe::Problem;

/// The spec of a mirrored row: its owner's description, as the ledger has it.
pub(super) fn spec(slice: &Slice, name: &MemberName) -> MemberSpec {
    let Some(row) = slice.members.get(name) else {
        return MemberSpec::default();
    };
    let told = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    MemberSpec {
        provider: told(&row.attributes.provider),
        region: told(&row.attributes.region),
        jurisdiction: told(&row.attributes.jurisdiction),
        labels: row.attributes.labels.clone(),
        scheduling: if row.attributes.cordoned {
            Scheduling::Cordoned
        } else {
            Scheduling::Enabled
        },
    }
}

/// The status of a row after `before`.
pub(super) fn status(
    before: &MemberStatus,
    slice: &Slice,
    name: &MemberName,
    generation: Option<i64>,
    problem: Option<&Problem>,
    now: &Time,
) -> MemberStatus {
    let mut status = before.clone();
    let Some(row) = slice.members.get(name) else {
        return status;
    };
    let (lease, reason, message) = match row.lease {
        state::Lease::Held { .. } => (Lease::Held, "LeaseHeld", "it is heard from"),
        state::Lease::Lost { .. } => (
            Lease::Lost,
            "LeaseLost",
            "its lease ended: it has not been heard from",
        ),
        state::Lease::Revoked { .. } => (Lease::Revoked, "Revoked", "it was revoked"),
    };
    if status.lease != Some(lease) {
        status.lease_transition_time = Some(now.clone());
    }
    status.observed_generation = generation;
    status.owner = Some(row.owner.to_string());
    status.key = Some(row.key.to_string());
    status.lease = Some(lease);
    status.lease_epoch = Some(count(row.lease.epoch().0));
    status.role = Some(role(slice, name));
    status.version = Some(row.version.clone()).filter(|version| !version.is_empty());
    status.address = row
        .seat
        .as_ref()
        .map(|seat| seat.address.clone())
        .filter(|address| !address.is_empty());
    status.workloads = length(row.placements);
    let held = lease == Lease::Held;
    let ready = Condition::new(READY, held, reason, message, now.clone()).observed_at(generation);
    set_condition(&mut status.conditions, ready);
    let synced = match problem {
        None => Condition::new(
            SYNCED,
            true,
            "InLedger",
            "this row says the same as the ledger",
            now.clone(),
        ),
        Some(problem) => Condition::new(
            SYNCED,
            false,
            problem.reason,
            &*problem.message,
            now.clone(),
        ),
    };
    set_condition(&mut status.conditions, synced.observed_at(generation));
    status
}

fn role(slice: &Slice, name: &MemberName) -> MemberRole {
    let seated = slice
        .members
        .get(name)
        .is_some_and(|row| row.seat.is_some());
    match (slice.federation.voters.contains(name), seated) {
        (true, _) if slice.federation.leader == *name => MemberRole::Leader,
        (true, _) => MemberRole::Voter,
        (false, true) => MemberRole::Candidate,
        (false, false) => MemberRole::None,
    }
}
