use hanse_core::{
    id::{Epoch, Generation},
    slice::{HostState, PlacementReport},
};

use super::*;
use crate::observe::fixture::{owned, slice};

fn host(epoch: u64, replicas: u32) -> HostStanding {
    HostStanding {
        replicas,
        surge: 0,
        host: HostState::Well,
        epoch: Epoch(epoch),
        reason: Some(Reason::FirstPlacement),
        removing: false,
        lease_held: true,
        report: None,
    }
}

fn removing(epoch: u64) -> HostStanding {
    HostStanding {
        replicas: 0,
        surge: 0,
        host: HostState::Well,
        reason: None,
        removing: true,
        ..host(epoch, 0)
    }
}

fn reported(host: HostStanding, phase: PlacementPhase, message: &str) -> HostStanding {
    let report = PlacementReport {
        epoch: host.epoch,
        generation: Generation(5),
        phase,
        ready: 0,
        runs: true,
        rolls_out: false,
        desired: None,
        scaled_by: None,
        message: message.to_owned(),
    };
    HostStanding {
        report: Some(report),
        ..host
    }
}

/// A workload of home `acme-1` on these hosts.
fn seen(hosts: &[(&str, HostStanding)], unplaced: Option<&str>) -> Slice {
    let mut slice = slice("acme", "acme-1", 20);
    let key: WorkloadKey = "acme/shop/web".parse().unwrap();
    let hosts = hosts
        .iter()
        .map(|(name, host)| (name.parse().unwrap(), host.clone()));
    let mut workload = owned(hosts.collect());
    workload.diagnosis.unplaced = unplaced.map(str::to_owned);
    slice.workloads.insert(key, workload.into());
    slice
}

fn nothing_yet() -> Slice {
    slice("acme", "acme-1", 19)
}

/// Reason and note of each Event that the home publishes.
fn told(before: &Slice, after: &Slice) -> Vec<String> {
    let (own, owner) = ("acme-1".parse().unwrap(), "acme".parse().unwrap());
    let news = news(before, after, &own, &owner);
    news.iter()
        .map(|it| format!("{}: {}", it.reason, it.note))
        .collect()
}

#[test]
fn what_is_placed_and_what_moves_is_told_with_the_reason_and_where_it_runs_since() {
    let first = seen(&[("a", host(3, 2)), ("b", host(3, 1))], None);
    assert_eq!(
        told(&nothing_yet(), &first),
        ["Placed: placed for the first time: runs on a 2, b 1 since"]
    );
    assert_eq!(told(&first, &first), Vec::<String>::new());
    let refused = Reason::MemberRefused {
        member: "b".parse().unwrap(),
        message: "no quota".to_owned(),
    };
    let instead = HostStanding {
        reason: Some(refused),
        ..host(7, 1)
    };
    let moved = seen(
        &[("a", host(3, 2)), ("b", removing(7)), ("c", instead)],
        None,
    );
    assert_eq!(
        told(&first, &moved),
        ["Moved: b refused it: no quota: runs on a 2, c 1 since"]
    );
    let more = HostStanding {
        reason: Some(Reason::MemberExcluded {
            member: "b".parse().unwrap(),
            message: "no grant".to_owned(),
        }),
        ..host(7, 3)
    };
    let fewer = seen(&[("a", more), ("b", removing(7))], None);
    assert_eq!(
        told(&first, &fewer),
        ["Moved: b may no longer host it: no grant: runs on a 3 since"]
    );
    let gone = seen(
        &[("a", removing(9)), ("b", removing(7))],
        Some("no member may host it"),
    );
    assert_eq!(
        told(&first, &gone),
        ["Moved: runs nowhere since", "HeldUp: no member may host it"]
    );
}

#[test]
fn what_runs_in_addition_while_a_member_is_silent_is_told_and_that_it_ended() {
    let silent = Reason::MemberSilent {
        member: "b".parse().unwrap(),
    };
    let first = seen(&[("a", host(3, 1)), ("b", host(3, 1))], None);
    let surge = HostStanding {
        surge: 1,
        reason: Some(silent),
        ..host(7, 2)
    };
    let surged = seen(&[("a", surge), ("b", host(3, 1))], None);
    assert_eq!(
        told(&first, &surged),
        ["Surged: b is silent: runs on a 2 (1 more), b 1 since"]
    );
    let heard = Reason::MemberHeardAgain {
        member: "b".parse().unwrap(),
    };
    let less = HostStanding {
        reason: Some(heard),
        ..host(9, 1)
    };
    let ended = seen(&[("a", less), ("b", host(3, 1))], None);
    assert_eq!(
        told(&surged, &ended),
        ["SurgeEnded: b is heard again: runs on a 1, b 1 since"]
    );
}

#[test]
fn another_count_in_the_same_members_and_a_failover_are_not_told_here() {
    let first = seen(&[("a", host(3, 2))], None);
    let scaled = seen(&[("a", host(7, 9))], None);
    assert_eq!(told(&first, &scaled), Vec::<String>::new());
    let lost = Reason::MemberLost {
        member: "a".parse().unwrap(),
    };
    let instead = HostStanding {
        reason: Some(lost),
        ..host(7, 2)
    };
    let failed_over = seen(&[("a", removing(7)), ("b", instead)], None);
    assert_eq!(told(&first, &failed_over), Vec::<String>::new());
}

#[test]
fn a_refusal_is_told_once_and_again_after_it_was_over() {
    let at = |phase, message| seen(&[("a", reported(host(3, 2), phase, message))], None);
    let fine = at(PlacementPhase::Ready, "");
    let refused = at(PlacementPhase::Refused, "Service 'web': the port is taken");
    let refused_still = at(
        PlacementPhase::Refused,
        "Service 'web': the port is taken by another",
    );
    let failed = at(
        PlacementPhase::Failed,
        "Deployment 'web': its image does not exist",
    );
    let refusal = "Refused: a: Service 'web': the port is taken";
    assert_eq!(told(&fine, &refused), [refusal]);
    assert_eq!(told(&refused, &refused_still), Vec::<String>::new());
    assert_eq!(told(&refused, &fine), Vec::<String>::new());
    assert_eq!(
        told(&refused, &failed),
        ["Failed: a: Deployment 'web': its image does not exist"]
    );
}

#[test]
fn a_removal_is_told_when_it_is_done_and_when_a_finalizer_holds_it_up() {
    let going = |message| {
        seen(
            &[(
                "a",
                reported(removing(7), PlacementPhase::Removing, message),
            )],
            None,
        )
    };
    let usual = going("Deployment 'web' is being deleted");
    let hangs =
        going("Deployment 'web' is being deleted and waits for its finalizers: acme.com/backup");
    assert_eq!(
        told(&usual, &hangs),
        [
            "HeldUp: a: Deployment 'web' is being deleted and waits for its finalizers: acme.com/backup"
        ]
    );
    assert_eq!(told(&hangs, &hangs), Vec::<String>::new());
    assert_eq!(
        told(&hangs, &seen(&[], None)),
        ["Removed: a: has removed its objects"]
    );
}

#[test]
fn only_one_member_of_an_owner_publishes() {
    let first = seen(&[("a", host(3, 2))], None);
    let (other, owner) = ("acme-2".parse().unwrap(), "acme".parse().unwrap());
    assert_eq!(news(&nothing_yet(), &first, &other, &owner), vec![]);
}
