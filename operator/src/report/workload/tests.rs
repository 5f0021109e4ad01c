use std::sync::Arc;

use hanse_core::{
    id::{Epoch, Generation},
    reason::Reason,
    schedule::{Diagnosis, Excluded, Exclusions, Findings, Gap},
    slice::PlacementReport,
    workload::WorkloadSpec,
};
use hanse_crds::{Condition, ConditionStatus};
use k8s_openapi::jiff::Timestamp;

use super::*;
use crate::observe::fixture::{owned, slice};

/// A host: its name, its share, whether its lease is held, what it reported.
type Host = (&'static str, u32, bool, Option<(u32, PlacementPhase)>);

/// Six replicas, divided over `hosts`. A host with a share of zero is being removed.
fn workload(hosts: &[Host], diagnosis: Diagnosis) -> OwnedWorkload {
    let row = |(name, replicas, lease_held, report): &Host| {
        let report = report.map(|(ready, phase)| PlacementReport {
            epoch: Epoch(9),
            generation: Generation(5),
            phase,
            ready,
            runs: true,
            rolls_out: false,
            desired: None,
            scaled_by: None,
            message: String::new(),
        });
        let standing = HostStanding {
            replicas: *replicas,
            surge: 0,
            host: HostState::Well,
            epoch: Epoch(9),
            reason: (*replicas > 0).then_some(Reason::FirstPlacement),
            removing: *replicas == 0,
            lease_held: *lease_held,
            report,
        };
        (name.parse().unwrap(), standing)
    };
    OwnedWorkload {
        diagnosis,
        ..owned(hosts.iter().map(row).collect())
    }
}

fn status_of(
    owned: &OwnedWorkload,
    problem: Option<&Problem>,
    quorate: bool,
) -> FederatedWorkloadStatus {
    let question = Question {
        slice: &slice("acme", "acme-1", 20),
        owned: Some(owned),
        problem,
        generation: Some(3),
        accepted: true,
        quorate,
        seen_here: None,
    };
    let now = Time(Timestamp::from_second(1).unwrap());
    status(&FederatedWorkloadStatus::default(), &question, &now)
}

fn condition<'a>(status: &'a FederatedWorkloadStatus, kind: &str) -> &'a Condition {
    let mut conditions = status.conditions.iter();
    conditions.find(|it| it.type_ == kind).unwrap()
}

fn condition_text(status: &FederatedWorkloadStatus, kind: &str) -> String {
    let Condition {
        status,
        reason,
        message,
        ..
    } = condition(status, kind);
    format!("{status:?} {reason}: {message}")
}

const READY: Option<(u32, PlacementPhase)> = Some((3, PlacementPhase::Ready));

#[test]
fn where_an_autoscaler_decides_its_count_is_shown_and_who_decides() {
    let hosts = [("a", 3, true, READY), ("b", 3, true, READY)];
    let mut owned = workload(&hosts, Diagnosis::default());
    let scaled = owned.hosts.get_mut(&"b".parse().unwrap()).unwrap();
    let report = scaled.report.as_mut().unwrap();
    report.ready = 5;
    report.desired = Some(5);
    report.scaled_by = Some("kube-controller-manager".into());
    let status = status_of(&owned, None, true);
    assert_eq!((status.ready, status.desired), (8, 8));
    assert_eq!(
        condition_text(&status, "Ready"),
        "True AllReplicasReady: 8 of 8 replicas are ready: a 3/3, b 5/5 (decided by 'kube-controller-manager')"
    );
}

#[test]
fn what_runs_where_it_may_not_any_more_is_named_with_the_rule() {
    let hosts = [("acme-1", 3, true, READY), ("b", 3, true, READY)];
    let within = "True WithinRules: no placement is known to be outside its grants or its domicile";
    let mut owned = workload(&hosts, Diagnosis::default());
    let compliant = |owned: &OwnedWorkload| {
        let status = status_of(owned, None, true);
        condition_text(&status, "Compliant")
    };
    assert_eq!(compliant(&owned), within);
    let mut spec = (*owned.spec).clone();
    spec.placement.domicile = ["EU".to_owned()].into();
    owned.spec = Arc::new(spec);
    let outside = "acme-1: it names no jurisdiction, and the workload must stay in EU";
    assert_eq!(
        compliant(&owned),
        format!("False OutsideDomicile: {outside}")
    );

    let not_granted = Excluded {
        members: 2,
        named: [("b", "no HostingPolicy there"), ("c", "nor there")]
            .map(|(name, message)| (name.parse().unwrap(), message.to_owned()))
            .into(),
    };
    let excluded = Exclusions([("NotGranted".to_owned(), not_granted)].into());
    let found = Diagnosis {
        own: Some(Findings {
            excluded,
            ..Findings::default()
        }),
        ..Diagnosis::default()
    };
    let owned = workload(&hosts, found);
    assert_eq!(
        compliant(&owned),
        "False NotGranted: b: no HostingPolicy there"
    );
}

#[test]
fn what_hosts_refuse_is_said_once_with_all_of_them_before_what_fails() {
    let refused = Some((1, PlacementPhase::Refused));
    let failed = Some((0, PlacementPhase::Failed));
    let hosts = [
        ("a", 2, true, refused),
        ("b", 2, true, refused),
        ("c", 2, true, failed),
    ];
    let mut owned = workload(&hosts, Diagnosis::default());
    for standing in owned.hosts.values_mut() {
        let report = standing.report.as_mut().unwrap();
        report.message = "Service 'web': port 30080 is taken".into();
    }
    let refused = status_of(&owned, None, true);
    let said = "PlacementRefused: a, b: Service 'web': port 30080 is taken";
    assert_eq!(condition_text(&refused, "Ready"), format!("False {said}"));
    assert_eq!(
        condition_text(&refused, "Progressing"),
        format!("False {said}")
    );
    assert_eq!(condition_text(&refused, "Stalled"), format!("True {said}"));
    owned.hosts.retain(|name, _| name.as_str() == "c");
    let failed = status_of(&owned, None, true);
    let said = "PlacementFailed: c: Service 'web': port 30080 is taken";
    assert_eq!(condition_text(&failed, "Stalled"), format!("True {said}"));
}

#[test]
fn nothing_is_ready_before_the_ledger_and_the_planner_have_the_edit() {
    let hosts = [("a", 6, true, Some((6, PlacementPhase::Ready)))];
    let stale = Diagnosis {
        generation: Generation(4),
        ..Diagnosis::default()
    };
    let owned = workload(&hosts, stale);
    let slice = slice("acme", "acme-1", 20);
    let mut question = Question {
        slice: &slice,
        owned: Some(&owned),
        problem: None,
        generation: Some(4),
        accepted: false,
        quorate: true,
        seen_here: None,
    };
    let now = Time(Timestamp::from_second(1).unwrap());
    let before = FederatedWorkloadStatus {
        observed_generation: Some(3),
        ..FederatedWorkloadStatus::default()
    };
    let edited = status(&before, &question, &now);
    let ready = condition(&edited, "Ready");
    assert_eq!(
        (edited.observed_generation, ready.observed_generation),
        (Some(3), Some(3))
    );
    question.accepted = true;
    let accepted = status(&before, &question, &now);
    assert_eq!(accepted.observed_generation, Some(4));
    assert_eq!(
        condition_text(&accepted, "Ready"),
        "False Planning: the planner has not decided yet"
    );
}

#[test]
fn what_is_not_asked_to_run_is_ready_and_says_so() {
    let idle = [("a", 0, true, Some((0, PlacementPhase::Ready)))];
    let words = |change: fn(&mut WorkloadSpec)| {
        let mut owned = workload(&idle, Diagnosis::default());
        owned.hosts.values_mut().for_each(|host| {
            host.removing = false;
            host.reason = Some(Reason::WorkloadChanged);
        });
        change(Arc::make_mut(&mut owned.spec));
        let status = status_of(&owned, None, true);
        let placed = condition_text(&status, "Placed");
        (status.desired, condition_text(&status, "Ready"), placed)
    };
    assert_eq!(
        words(|spec| spec.placement.replicas = Some(0)),
        (
            0,
            "True ScaledToZero: 0 replicas are asked for, and its objects exist: a 0/0".into(),
            "True Placed: on a 0/0".into()
        )
    );
    assert_eq!(
        words(|spec| spec.suspend = true),
        (
            0,
            "True Suspended: suspended: nothing runs, and its objects stay where they are: a 0/0"
                .into(),
            "True Placed: on a 0/0".into()
        )
    );
}

#[test]
fn a_workload_is_ready_when_every_replica_is() {
    let hosts = [("a", 3, true, READY), ("b", 3, true, READY)];
    let status = status_of(&workload(&hosts, Diagnosis::default()), None, true);
    assert_eq!(
        (
            status.ready,
            status.desired,
            status.epoch,
            status.hosts.as_deref()
        ),
        (6, 6, Some(9), Some("a, b"))
    );
    assert_eq!(
        condition_text(&status, "Ready"),
        "True AllReplicasReady: 6 of 6 replicas are ready: a 3/3, b 3/3"
    );
}

#[test]
fn replicas_on_a_lost_member_do_not_count_and_the_status_shows_where_they_were() {
    let hosts = [("a", 3, true, READY), ("b", 3, false, READY)];
    let status = status_of(&workload(&hosts, Diagnosis::default()), None, true);
    assert_eq!(
        (status.ready, status.placements[1].state),
        (3, PlacementState::Lost)
    );
    assert_eq!(
        condition_text(&status, "Ready"),
        "False ReplicasNotReady: 3 of 6 replicas are ready: a 3/3, b 3/3"
    );
}

#[test]
fn a_host_that_has_not_reported_yet_shows_why_it_was_chosen() {
    let hosts = [("a", 6, true, None)];
    let status = status_of(&workload(&hosts, Diagnosis::default()), None, true);
    assert_eq!(
        (
            status.placements[0].state,
            status.placements[0].message.as_str()
        ),
        (PlacementState::Pending, "placed for the first time")
    );
}

#[test]
fn a_workload_that_no_member_may_host_lists_the_reason_of_each_member() {
    let excluded = Excluded {
        members: 1,
        named: [("b".parse().unwrap(), "no grant".into())].into(),
    };
    let findings = Findings {
        excluded: Exclusions([("NotGranted".into(), excluded)].into()),
        survives: None,
        gap: Some(Gap::NoHost { without: None }),
    };
    let diagnosis = Diagnosis {
        findings: 0,
        own: Some(findings),
        unplaced: Some("the only member may not host it".into()),
        generation: Generation(5),
    };
    let status = status_of(&workload(&[], diagnosis), None, true);
    assert_eq!(
        condition_text(&status, "Ready"),
        "False NotPlaced: the only member may not host it (b: no grant)"
    );
    assert_eq!(
        condition_text(&status, "Stalled"),
        "True NoEligibleMember: "
    );
}

#[test]
fn survivable_says_whether_it_survives_what_it_must_and_which_domain_breaks_it() {
    let text = |must: Option<FailureDomain>, survives, gap: Option<Gap>| {
        let diagnosis = Diagnosis {
            own: Some(Findings {
                excluded: Exclusions::default(),
                survives,
                gap,
            }),
            ..Diagnosis::default()
        };
        let mut owned = workload(&[("a", 6, true, READY)], diagnosis);
        let mut spec = (*owned.spec).clone();
        spec.placement.survive = must;
        owned.spec = spec.into();
        condition_text(&status_of(&owned, None, true), "Survivable")
    };
    let (region, owner) = (Some(FailureDomain::Region), Some(FailureDomain::Owner));
    let no_host = Gap::NoHost {
        without: Some("provider 'p'".to_owned()),
    };
    let no_quorum = Gap::NoQuorum {
        without: Some("owner 'acme'".to_owned()),
        left: 1,
        voters: 3,
    };
    assert_eq!(
        [
            text(None, region, Some(no_host.clone())),
            text(owner, region, Some(no_host)),
            text(owner, region, Some(no_quorum)),
            text(None, None, Some(Gap::NoHost { without: None })),
            text(None, None, None),
        ],
        [
            "True AnotherHost: survives the loss of any one region",
            "False NoOtherHost: would not survive the loss of any one owner, only of any one region: without provider 'p' no \
             other member may host it",
            "False NoQuorum: would not survive the loss of any one owner, only of any one region: without owner 'acme' the \
             federation has 1 of 3 voters, and nothing is decided with less than 2",
            "False NoOtherHost: would not survive the loss of any one cluster: no other member may host it",
            "False NotPlanned: would not survive the loss of any one cluster: the planner has not decided yet",
        ]
    );
}

#[test]
fn without_a_quorum_the_conditions_are_unknown_and_the_last_rows_stay() {
    let hosts = [("a", 6, true, Some((6, PlacementPhase::Ready)))];
    let status = status_of(&workload(&hosts, Diagnosis::default()), None, false);
    assert_eq!(status.placements[0].ready, 6);
    let unknown =
        |it: &Condition| it.status == ConditionStatus::Unknown && it.reason == "QuorumLost";
    assert!(status.conditions.iter().all(unknown));
    assert_eq!(status.conditions.len(), 6);
}

#[test]
fn an_object_with_a_problem_is_not_ready_even_while_its_workload_runs() {
    let hosts = [("a", 6, true, Some((6, PlacementPhase::Ready)))];
    let problem = Problem {
        generation: Some(3),
        reason: "InvalidSpec",
        message: "no manifests".into(),
    };
    let status = status_of(
        &workload(&hosts, Diagnosis::default()),
        Some(&problem),
        true,
    );
    assert_eq!(
        ["Ready", "Progressing", "Stalled", "Placed"].map(|kind| condition_text(&status, kind)),
        [
            "False InvalidSpec: no manifests",
            "False InvalidSpec: no manifests",
            "True InvalidSpec: no manifests",
            "True Placed: on a 6/6"
        ]
    );
}

#[test]
fn without_a_quorum_what_this_member_stopped_is_shown_as_stopped() {
    let hosts = [("acme-1", 6, true, READY)];
    let mut owned = workload(&hosts, Diagnosis::default());
    let mut spec = (*owned.spec).clone();
    spec.placement.mode = Mode::Single;
    owned.spec = Arc::new(spec);
    let own = "acme-1".parse().unwrap();
    let mut stopped = owned.hosts[&own].report.clone().unwrap();
    stopped.phase = PlacementPhase::Stopped;
    stopped.ready = 0;
    stopped.message = "stopped: this member's lease ended".to_owned();
    let question = Question {
        slice: &slice("acme", "acme-1", 20),
        owned: Some(&owned),
        problem: None,
        generation: Some(3),
        accepted: true,
        quorate: false,
        seen_here: Some((&own, &stopped)),
    };
    let now = Time(Timestamp::from_second(1).unwrap());
    let status = status(&FederatedWorkloadStatus::default(), &question, &now);
    let placement = &status.placements[0];
    assert_eq!(
        (placement.state, placement.ready, &*placement.message),
        (
            PlacementState::Stopped,
            0,
            "stopped: this member's lease ended"
        )
    );
    assert_eq!(
        condition_text(&status, "Ready"),
        "Unknown QuorumLost: no leader with a quorum answers this member: a `Single` workload stops in every member that no \
         quorum answers, nothing is moved or deleted"
    );
}

#[test]
fn what_a_member_reported_before_its_api_server_hung_does_not_count() {
    let ready = Some((2, PlacementPhase::Ready));
    let hosts = [("acme-1", 2, true, ready), ("beta-1", 2, true, ready)];
    let mut owned = workload(&hosts, Diagnosis::default());
    let beta = owned
        .hosts
        .get_mut(&"beta-1".parse::<MemberName>().unwrap());
    beta.unwrap().host = HostState::ControlPlaneDown;
    let status = status_of(&owned, None, true);
    assert_eq!(status.ready, 2);
    assert_eq!(status.placements[1].state, PlacementState::Unknown);
    let mut conditions = status.conditions.iter();
    let condition = conditions.find(|it| it.type_ == "Ready").unwrap();
    assert_eq!(
        format!(
            "{:?} {}: {}",
            condition.status, condition.reason, condition.message
        ),
        "False ControlPlaneDown: beta-1: the API server there answers nothing: what runs goes on, and how it is, is not known"
    );
    let beta = owned
        .hosts
        .get_mut(&"beta-1".parse::<MemberName>().unwrap());
    beta.unwrap().host = HostState::Drained;
    let status = status_of(&owned, None, true);
    assert_eq!(
        (status.ready, status.placements[1].state),
        (4, PlacementState::Ready)
    );
    assert!(
        status.placements[1]
            .message
            .starts_with("its owner drains this member")
    );
}
