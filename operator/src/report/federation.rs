//! The status of the `Federation`. Pure.

use hanse_core::{id::MemberName, slice::Slice};
use hanse_crds::{
    Condition, FederationRole, FederationStatus, Fencing, Quorum,
    condition::{ATTACHED, CONFIGURED, QUORATE, READY, set_condition},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    number::{count, length},
    standing::Standing,
};
use crate::{observe::Problem, settings::AskedTimings};

const QUORUM_LOST: &str = "no leader with a quorum answers this member: everything keeps running as last decided, nothing is moved or deleted";

/// What the status depends on.
pub(super) struct Question<'a> {
    pub(super) slice: Option<&'a Slice>,
    /// This member.
    pub(super) own: &'a MemberName,
    pub(super) standing: Standing,
    pub(super) generation: Option<i64>,
    /// The timings that this operator's flags ask for.
    pub(super) asked: AskedTimings,
    /// Why a request to change the timings was not carried out.
    pub(super) problem: Option<Problem>,
}

/// What it says after `before`, so that conditions keep the times of their last change.
pub(super) fn status(
    before: &FederationStatus,
    question: &Question<'_>,
    now: &Time,
) -> FederationStatus {
    let Question {
        slice,
        own,
        standing,
        generation,
        ..
    } = question;
    let mut status = before.clone();
    status.observed_generation = *generation;
    status.member = Some(own.to_string());
    status.fencing = Some(Fencing::Cooperative);
    status.quorum = Some(if standing.quorate {
        Quorum::Healthy
    } else {
        Quorum::Lost
    });
    status.leader = None;
    if let Some(slice) = slice {
        let federation = &slice.federation;
        status.id = Some(federation.id.to_string());
        status.voters = federation.voters.iter().map(ToString::to_string).collect();
        status.voter_count = length(federation.voters.len());
        status.term = Some(count(federation.term));
        status.height = Some(count(federation.index));
        status.head = Some(federation.head.to_string());
        status.lease_milliseconds = Some(count(federation.timings.lease_ms));
        status.heartbeat_milliseconds = Some(count(federation.timings.heartbeat_ms));
        status.leader = standing.attached.then(|| federation.leader.to_string());
        status.role = Some(role(slice, own, standing.quorate));
    }
    let Standing { attached, quorate } = *standing;
    let three = conditions(slice.is_some(), attached, quorate, now);
    for condition in three.into_iter().chain([configured(question, now)]) {
        let condition = condition.observed_at(*generation);
        set_condition(&mut status.conditions, condition);
    }
    status
}

fn configured(question: &Question<'_>, now: &Time) -> Condition {
    let timings = question.slice.map(|slice| slice.federation.timings);
    let differences = timings.and_then(|timings| question.asked.differences(timings));
    let (holds, reason, message) = match (&question.problem, differences) {
        (Some(problem), _) => (false, problem.reason, problem.message.clone()),
        (None, Some(differences)) => (false, "FlagsDiffer", differences),
        (None, None) => (
            true,
            "AsTheFederation",
            "this operator's flags say the same as the federation".to_owned(),
        ),
    };
    Condition::new(CONFIGURED, holds, reason, message, now.clone())
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

fn role(slice: &Slice, own: &MemberName, quorate: bool) -> FederationRole {
    let votes = slice.federation.voters.contains(own);
    match (votes, quorate) {
        (true, true) if slice.federation.leader == *own => FederationRole::Leader,
        (true, true) => FederationRole::Follower,
        (true, false) => FederationRole::Candidate,
        (false, _) => FederationRole::Attached,
    }
}
