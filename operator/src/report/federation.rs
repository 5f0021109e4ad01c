//! The status of the `Federation`. Pure.

use hanse_core::{id::MemberName, slice::Slice};
use hanse_crds::{
    Condition, FederationRole, FederationStatus, Fencing, Quorum,
    condition::{ATTACHED, QUORATE, READY, set_condition},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::workload::count;

const QUORUM_LOST: &str = "no leader with a quorum answers this member: everything keeps running as last decided, nothing is moved or deleted";

/// What it says after `before`, so that conditions keep the times of their last change.
pub(super) fn status(
    before: &FederationStatus,
    slice: Option<&Slice>,
    own: &MemberName,
    attached: bool,
    now: &Time,
) -> FederationStatus {
    let mut status = before.clone();
    status.member = Some(own.to_string());
    status.fencing = Some(Fencing::Cooperative);
    status.quorum = Some(if attached {
        Quorum::Healthy
    } else {
        Quorum::Lost
    });
    if let Some(slice) = slice {
        let federation = &slice.federation;
        status.id = Some(federation.id.to_string());
        status.voters = federation.voters.iter().map(ToString::to_string).collect();
        status.voter_count = i32::try_from(federation.voters.len()).unwrap_or(i32::MAX);
        status.term = Some(count(federation.term));
        status.height = Some(count(federation.index));
        status.head = Some(federation.head.to_string());
        status.leader = attached.then(|| federation.leader.to_string());
        status.role = Some(role(slice, own, attached));
    } else {
        status.leader = None;
    }
    let said = if attached {
        (
            "QuorumAnswers",
            "a leader with a quorum answers this member",
        )
    } else {
        ("QuorumLost", QUORUM_LOST)
    };
    for kind in [READY, QUORATE, ATTACHED] {
        set_condition(
            &mut status.conditions,
            Condition::new(kind, attached, said.0, said.1, now.clone()),
        );
    }
    status
}

fn role(slice: &Slice, own: &MemberName, attached: bool) -> FederationRole {
    let votes = slice.federation.voters.contains(own);
    match (votes, attached) {
        (true, true) if slice.federation.leader == *own => FederationRole::Leader,
        (true, true) => FederationRole::Follower,
        (true, false) => FederationRole::Candidate,
        (false, _) => FederationRole::Attached,
    }
}
