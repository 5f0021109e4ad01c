//! The status of the `Federation`. Pure.

use hanse_core::{id::MemberName, slice::Slice};
use hanse_crds::{
    Condition, FederationRole, FederationStatus, Fencing, Quorum,
    condition::{ATTACHED, QUORATE, READY, set_condition},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::number::{count, length};

const QUORUM_LOST: &str = "no leader with a quorum answers this member: everything keeps running as last decided, nothing is moved or deleted";

/// What it says after `before`, so that conditions keep the times of their last change.
pub(super) fn status(
    before: &FederationStatus,
    slice: Option<&Slice>,
    own: &MemberName,
    attached: bool,
    quorate: bool,
    now: &Time,
) -> FederationStatus {
    let mut status = before.clone();
    status.member = Some(own.to_string());
    status.fencing = Some(Fencing::Cooperative);
    status.quorum = Some(if quorate {
        Quorum::Healthy
    } else {
        Quorum::Lost
    });
    if let Some(slice) = slice {
        let federation = &slice.federation;
        status.id = Some(federation.id.to_string());
        status.voters = federation.voters.iter().map(ToString::to_string).collect();
        status.voter_count = length(federation.voters.len());
        status.term = Some(count(federation.term));
        status.height = Some(count(federation.index));
        status.head = Some(federation.head.to_string());
        status.leader = attached.then(|| federation.leader.to_string());
        status.role = Some(role(slice, own, attached));
    } else {
        status.leader = None;
    }
    for condition in conditions(slice.is_some(), attached, quorate, now) {
        set_condition(&mut status.conditions, condition);
    }
    status
}

/// `Attached` is about this member's stream, `Quorate` about the voters, `Ready` about both.
fn conditions(known: bool, attached: bool, quorate: bool, now: &Time) -> [Condition; 3] {
    let new = |kind, holds: bool, (reason, message): (&str, &str)| {
        Condition::new(kind, holds, reason, message, now.clone())
    };
    let attachment = if attached {
        ("StreamStands", "this member's stream to the leader stands")
    } else {
        (
            "NoStream",
            "no voter takes this member's stream; the operator tries them one after the other",
        )
    };
    let quorum = if quorate {
        (
            "QuorumAnswers",
            "a leader that hears a majority of voters answered this member within its lease",
        )
    } else {
        ("QuorumLost", QUORUM_LOST)
    };
    let ready = match (known, attached, quorate) {
        (true, true, true) => (
            "AttachedAndQuorate",
            "this member takes part in the federation",
        ),
        (_, _, false) => quorum,
        (_, false, true) => attachment,
        (false, true, true) => (
            "Joining",
            "the federation has not told this member its part yet",
        ),
    };
    let is_ready = known && attached && quorate;
    [
        new(READY, is_ready, ready),
        new(QUORATE, quorate, quorum),
        new(ATTACHED, attached, attachment),
    ]
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
