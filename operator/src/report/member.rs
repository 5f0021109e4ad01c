//! The status of a `Member` object. Pure.

use hanse_core::{
    id::MemberName,
    slice::{MemberView, Slice},
    state,
};
use hanse_crds::{
    Condition, Lease, MemberRole, MemberSpec, MemberStatus,
    condition::{READY, SYNCED, set_condition},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::number::{count, length, small};
use crate::observe::{Problem, member::attributes_of};

/// The inputs of the status.
pub(super) struct Question<'a> {
    pub(super) slice: &'a Slice,
    pub(super) name: &'a MemberName,
    /// The member's row in the slice.
    pub(super) row: &'a MemberView,
    /// The description in the object.
    pub(super) spec: &'a MemberSpec,
    pub(super) generation: Option<i64>,
    /// The description or revocation that was proposed here and that the ledger rejected.
    pub(super) problem: Option<&'a Problem>,
}

/// The new status of a row. `before` is the old one, from which conditions keep the times of their last change.
pub(super) fn status(before: &MemberStatus, question: &Question<'_>, now: &Time) -> MemberStatus {
    let Question {
        slice,
        name,
        row,
        generation,
        ..
    } = question;
    let mut status = before.clone();
    let (lease, reason, message) = match row.lease {
        state::Lease::Held { .. } if row.silent => (
            Lease::Held,
            "Silent",
            "no heartbeat arrived for longer than usual; divided workloads run its replicas elsewhere in addition",
        ),
        state::Lease::Held { .. } if row.control_plane_down => (
            Lease::Held,
            "ControlPlaneDown",
            "its heartbeats arrive, and its API server answers nothing: what runs there goes on, and nothing new is applied",
        ),
        state::Lease::Held { .. } => (Lease::Held, "LeaseHeld", "its heartbeats arrive"),
        state::Lease::Lost { .. } => (
            Lease::Lost,
            "LeaseLost",
            "its lease ended: no heartbeat arrived in time",
        ),
        state::Lease::Revoked { .. } => (Lease::Revoked, "Revoked", "it was revoked"),
    };
    if status.lease != Some(lease) {
        status.lease_transition_time = Some(now.clone());
    }
    status.observed_generation = *generation;
    status.owner = Some(row.owner.to_string());
    status.key = Some(row.key.to_string());
    status.lease = Some(lease);
    status.lease_epoch = Some(count(row.lease.epoch().0));
    status.role = Some(role(slice, name));
    status.version = given(&row.version);
    status.level = Some(small(row.level.0));
    status.address = row.seat.as_ref().and_then(|seat| given(&seat.address));
    status.workloads = length(row.placements);
    let held = lease == Lease::Held && !row.silent && !row.control_plane_down;
    let ready = Condition::new(READY, held, reason, message, now.clone());
    for condition in [ready, synced(question, now)] {
        let condition = condition.observed_at(*generation);
        set_condition(&mut status.conditions, condition);
    }
    status
}

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Whether the row equals the ledger's description, or else what the ledger rejected.
fn synced(question: &Question<'_>, now: &Time) -> Condition {
    let same = attributes_of(question.spec) == question.row.attributes;
    let (holds, reason, message) = match (question.problem, same) {
        (Some(problem), _) => (false, problem.reason, &*problem.message),
        (None, true) => (true, "InLedger", "this row equals the ledger's description"),
        (None, false) => (
            false,
            "Replicating",
            "the ledger does not have this description yet",
        ),
    };
    Condition::new(SYNCED, holds, reason, message, now.clone())
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

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::observe::fixture::slice;

    fn status_of(spec: &MemberSpec, problem: Option<&Problem>) -> MemberStatus {
        let mut slice = slice("acme", "acme-1", 20);
        let name: MemberName = "acme-1".parse().unwrap();
        slice.members.get_mut(&name).unwrap().version = "1.2.3".into();
        let question = Question {
            slice: &slice,
            name: &name,
            row: &slice.members[&name],
            spec,
            generation: Some(4),
            problem,
        };
        let now = Time(Timestamp::from_second(1).unwrap());
        status(&MemberStatus::default(), &question, &now)
    }

    fn condition_of(status: &MemberStatus, kind: &str) -> String {
        let mut conditions = status.conditions.iter();
        let condition = conditions.find(|it| it.type_ == kind).unwrap();
        format!(
            "{:?} {}: {}",
            condition.status, condition.reason, condition.message
        )
    }

    #[test]
    fn a_row_shows_what_the_ledger_has_of_the_member() {
        let status = status_of(&MemberSpec::default(), None);
        assert_eq!(
            (
                status.lease,
                status.role,
                status.version.as_deref(),
                status.address.as_deref()
            ),
            (
                Some(Lease::Held),
                Some(MemberRole::Leader),
                Some("1.2.3"),
                Some("acme-1.example:7443")
            )
        );
        assert_eq!(
            condition_of(&status, READY),
            "True LeaseHeld: its heartbeats arrive"
        );
    }

    #[test]
    fn a_row_is_synced_once_the_ledger_has_it_and_reports_what_was_rejected() {
        let edited = MemberSpec {
            region: Some("fsn1".into()),
            ..MemberSpec::default()
        };
        let problem = Problem {
            generation: Some(4),
            reason: "DescriptionRejected",
            message: "too long".into(),
        };
        assert_eq!(
            [
                status_of(&MemberSpec::default(), None),
                status_of(&edited, None),
                status_of(&edited, Some(&problem))
            ]
            .map(|status| condition_of(&status, SYNCED)),
            [
                "True InLedger: this row equals the ledger's description",
                "False Replicating: the ledger does not have this description yet",
                "False DescriptionRejected: too long"
            ]
        );
    }
}
