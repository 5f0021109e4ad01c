//! The status of the `Federation`. Pure.

use hanse_core::{id::MemberName, slice::Slice};
use hanse_crds::{
    Condition, FederationRole, FederationStatus, Fencing, Quorum,
    condition::{ATTACHED, BRAKED, CONFIGURED, QUORATE, READY, set_condition},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    number::{count, length, small},
    standing::Standing,
};
use crate::{observe::Problem, settings::AskedTimings};

const QUORUM_LOST: &str = "no leader with a quorum answers this member: everything but `Single` workloads keeps running as last decided, nothing is moved or deleted";

/// The inputs of the status.
pub(super) struct Question<'a> {
    pub(super) slice: Option<&'a Slice>,
    /// This member.
    pub(super) own: &'a MemberName,
    pub(super) standing: Standing,
    pub(super) generation: Option<i64>,
    /// The timings in this operator's flags.
    pub(super) asked: AskedTimings,
    /// Why a request to change the timings was rejected.
    pub(super) problem: Option<Problem>,
}

/// The new status. `before` is the old one, from which conditions keep the times of their last change.
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
    let silent = slice.map(|slice| &slice.federation.silent_voters);
    status.quorum = Some(match (standing.quorate, silent) {
        (false, _) => Quorum::Lost,
        (true, Some(silent)) if !silent.is_empty() => Quorum::Degraded,
        (true, _) => Quorum::Healthy,
    });
    status.leader = None;
    if let Some(slice) = slice {
        let federation = &slice.federation;
        status.id = Some(federation.id.to_string());
        status.voters = federation.voters.iter().map(ToString::to_string).collect();
        let silent = federation.silent_voters.iter();
        status.silent_voters = silent.map(ToString::to_string).collect();
        status.voter_count = length(federation.voters.len());
        status.term = Some(count(federation.term));
        status.level = Some(small(federation.level.0));
        status.height = Some(count(federation.index));
        status.head = Some(federation.head.to_string());
        status.lease_milliseconds = Some(count(federation.timings.lease_ms));
        status.heartbeat_milliseconds = Some(count(federation.timings.heartbeat_ms));
        status.leader = standing.attached.then(|| federation.leader.to_string());
        status.role = Some(role(slice, own, standing.quorate));
    }
    let Standing { attached, quorate } = *standing;
    let three = conditions(slice.is_some(), attached, quorate, now);
    for condition in three
        .into_iter()
        .chain([configured(question, now), braked(*slice, now)])
    {
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
            "this operator's flags equal the federation's timings".to_owned(),
        ),
    };
    Condition::new(CONFIGURED, holds, reason, message, now.clone())
}

/// Whether the leader acts on the silence of members.
fn braked(slice: Option<&Slice>, now: &Time) -> Condition {
    let held_back = slice.map(|slice| &slice.federation.held_back);
    let names = held_back.into_iter().flatten().map(MemberName::as_str);
    let names: Vec<&str> = names.collect();
    let (reason, message) = if names.is_empty() {
        ("NotBraked", "nobody's silence is ignored".to_owned())
    } else {
        (
            "ManySilent",
            format!(
                "more than a third of the members are silent at once: the replicas of {} are placed elsewhere only when their \
                 leases end",
                names.join(", ")
            ),
        )
    };
    Condition::new(BRAKED, !names.is_empty(), reason, message, now.clone())
}

/// `Attached` is about this member's stream, `Quorate` about the voters, `Ready` about both.
fn conditions(known: bool, attached: bool, quorate: bool, now: &Time) -> [Condition; 3] {
    let new = |kind, holds: bool, (reason, message): (&str, &str)| {
        Condition::new(kind, holds, reason, message, now.clone())
    };
    let attachment = if attached {
        ("StreamStands", "this member's stream to the leader is open")
    } else {
        (
            "NoStream",
            "no voter accepts this member's stream; the operator tries them one after the other",
        )
    };
    let quorum = if quorate {
        (
            "QuorumAnswers",
            "a leader with a majority of voters answered this member within its lease",
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
            "this member has not received its slice of the ledger yet",
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hanse_crds::ConditionStatus;
    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::observe::fixture::slice;

    fn status_of(slice: Option<&Slice>, attached: bool, quorate: bool) -> FederationStatus {
        let question = Question {
            slice,
            own: &"acme-1".parse().unwrap(),
            standing: Standing { attached, quorate },
            generation: Some(1),
            asked: AskedTimings::default(),
            problem: None,
        };
        let now = Time(Timestamp::from_second(1).unwrap());
        status(&FederationStatus::default(), &question, &now)
    }

    fn condition_of(status: &FederationStatus, kind: &str) -> (bool, String) {
        let mut conditions = status.conditions.iter();
        let condition = conditions.find(|it| it.type_ == kind).unwrap();
        (
            condition.status == ConditionStatus::True,
            condition.reason.clone(),
        )
    }

    #[test]
    fn attached_quorate_and_ready_are_three_conditions() {
        let slice = slice("acme", "acme-1", 20);
        let row = |attached, quorate| {
            let status = status_of(Some(&slice), attached, quorate);
            [ATTACHED, QUORATE, READY].map(|kind| condition_of(&status, kind).1)
        };
        assert_eq!(
            [
                row(true, true),
                row(true, false),
                row(false, true),
                row(false, false)
            ],
            [
                ["StreamStands", "QuorumAnswers", "AttachedAndQuorate"],
                ["StreamStands", "QuorumLost", "QuorumLost"],
                ["NoStream", "QuorumAnswers", "NoStream"],
                ["NoStream", "QuorumLost", "QuorumLost"]
            ]
        );
        assert_eq!(
            condition_of(&status_of(None, true, true), READY),
            (false, "Joining".into())
        );
    }

    #[test]
    fn a_brake_names_the_members_that_it_holds_back() {
        let mut slice = slice("acme", "acme-1", 20);
        let text = |slice: &Slice| {
            let condition = braked(Some(slice), &Time(Timestamp::from_second(1).unwrap()));
            format!(
                "{:?} {}: {}",
                condition.status, condition.reason, condition.message
            )
        };
        assert_eq!(text(&slice), "False NotBraked: nobody's silence is ignored");
        slice.federation.held_back = ["b-1", "c-1"].map(|name| name.parse().unwrap()).into();
        assert_eq!(
            text(&slice),
            "True ManySilent: more than a third of the members are silent at once: the replicas of b-1, c-1 are placed \
             elsewhere only when their leases end"
        );
    }

    #[test]
    fn a_member_that_is_not_attached_names_no_leader() {
        let slice = slice("acme", "acme-1", 20);
        let (healthy, lost) = (
            status_of(Some(&slice), true, true),
            status_of(Some(&slice), false, false),
        );
        assert_eq!(
            (healthy.leader.as_deref(), healthy.role, healthy.quorum),
            (
                Some("acme-1"),
                Some(FederationRole::Leader),
                Some(Quorum::Healthy)
            )
        );
        assert_eq!(
            (lost.leader, lost.role, lost.quorum),
            (None, Some(FederationRole::Candidate), Some(Quorum::Lost))
        );
    }

    #[test]
    fn a_quorum_with_a_voter_that_does_not_vote_is_degraded_and_names_it() {
        let mut slice = slice("acme", "acme-1", 20);
        slice.federation.silent_voters = ["b-1".parse().unwrap()].into();
        let degraded = status_of(Some(&slice), true, true);
        assert_eq!(degraded.quorum, Some(Quorum::Degraded));
        assert_eq!(degraded.silent_voters, ["b-1".to_owned()].into());
        let lost = status_of(Some(&slice), true, false);
        assert_eq!(lost.quorum, Some(Quorum::Lost));
    }

    #[test]
    fn flags_that_differ_from_the_federation_and_rejected_requests_are_reported() {
        let slice = slice("acme", "acme-1", 20);
        let configured_text = |asked, problem| {
            let question = Question {
                slice: Some(&slice),
                own: &"acme-1".parse().unwrap(),
                standing: Standing {
                    attached: true,
                    quorate: true,
                },
                generation: Some(1),
                asked,
                problem,
            };
            let now = Time(Timestamp::from_second(1).unwrap());
            let condition = configured(&question, &now);
            format!(
                "{:?} {}: {}",
                condition.status, condition.reason, condition.message
            )
        };
        let longer = AskedTimings {
            lease: Some(Duration::from_secs(8)),
            heartbeat: None,
        };
        let problem = Problem {
            generation: Some(1),
            reason: "TimingsRejected",
            message: "not permitted".into(),
        };
        assert_eq!(
            [
                configured_text(AskedTimings::default(), None),
                configured_text(longer, None),
                configured_text(longer, Some(problem))
            ],
            [
                "True AsTheFederation: this operator's flags equal the federation's timings",
                "False FlagsDiffer: --lease is 8s, the federation uses 5s",
                "False TimingsRejected: not permitted"
            ]
        );
    }
}
