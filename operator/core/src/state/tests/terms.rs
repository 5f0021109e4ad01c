//! What members say about themselves, and the timings they share.

use super::*;
use crate::command::Scheduling;
use crate::{
    grant::{GrantedNamespaces, Grantee, MAX_GRANTS, PodSecurity},
    workload::GroupKind,
};

fn grant(owner: &str) -> Grant {
    Grant {
        grantee: Grantee::Owner(owner.parse().unwrap()),
        namespaces: GrantedNamespaces::Any,
        kinds: BTreeSet::new(),
        host_namespace: None,
        pod_security: PodSecurity::Restricted,
    }
}

#[test]
fn a_member_is_described_by_itself_and_the_same_again_changes_nothing() {
    let mut ledger = Ledger::of(2);
    let attributes = Attributes {
        region: "fsn1".into(),
        scheduling: Scheduling::Cordoned,
        ..Attributes::default()
    };
    let describe = Command::Describe {
        attributes: attributes.clone(),
        version: "0.1.0".into(),
        level: Level::FIRST,
    };
    let mut expected = ledger.decided();
    let index = accepted(ledger.ask(2, &describe));
    let row = expected.members.get_mut(&member("two")).unwrap();
    row.attributes = attributes;
    row.version = "0.1.0".into();
    row.generation = Generation(index);
    assert_eq!(ledger.decided(), expected);
    accepted(ledger.ask(2, &describe));
    assert_eq!(ledger.decided(), expected);
}

#[test]
fn a_description_that_no_other_cluster_could_show_is_refused() {
    let mut ledger = Ledger::of(2);
    let before = ledger.decided();
    let labels = (0..65).map(|at| (at.to_string(), String::new()));
    let describe = Command::Describe {
        attributes: Attributes {
            labels: labels.collect(),
            ..Attributes::default()
        },
        version: String::new(),
        level: Level::FIRST,
    };
    assert_eq!(
        ledger.refused(2, &describe),
        "`labels` must have at most 64 items, not 65"
    );
    assert_eq!(ledger.decided(), before);
}

#[test]
fn another_version_of_its_operator_is_no_reason_to_plan_again() {
    let mut ledger = Ledger::of(2);
    let describe = |version: &str| Command::Describe {
        attributes: Attributes::default(),
        version: version.into(),
        level: Level::FIRST,
    };
    let mut expected = ledger.decided();
    accepted(ledger.ask(2, &describe("0.2.0")));
    expected.members.get_mut(&member("two")).unwrap().version = "0.2.0".into();
    assert_eq!(ledger.decided(), expected);
    assert_eq!(
        ledger.refused(2, &describe(&"x".repeat(65))),
        "`version` must have at most 64 characters"
    );
    accepted(ledger.ask(2, &describe(&"x".repeat(64))));
}

#[test]
fn grants_replace_those_before_and_the_same_again_change_nothing() {
    let mut ledger = Ledger::of(2);
    let publish = |owners: &[&str]| Command::PublishGrants {
        grants: owners.iter().map(|owner| grant(owner)).collect(),
    };
    accepted(ledger.ask(2, &publish(&["acme", "gamma"])));
    let mut expected = ledger.decided();
    let index = accepted(ledger.ask(2, &publish(&["delta"])));
    let row = expected.members.get_mut(&member("two")).unwrap();
    row.grants = vec![grant("delta")];
    row.generation = Generation(index);
    assert_eq!(ledger.decided(), expected);
    accepted(ledger.ask(2, &publish(&["delta"])));
    assert_eq!(ledger.decided(), expected);
}

#[test]
fn more_grants_than_are_kept_are_refused_as_a_whole() {
    let mut ledger = Ledger::of(2);
    let publish = |count| Command::PublishGrants {
        grants: vec![grant("acme"); count],
    };
    assert_eq!(
        ledger.refused(2, &publish(MAX_GRANTS + 1)),
        "grants: at most 256 are kept; remove some first"
    );
    accepted(ledger.ask(2, &publish(MAX_GRANTS)));
}

#[test]
fn kinds_replace_those_before_and_the_same_again_change_nothing() {
    let mut ledger = Ledger::of(2);
    let kinds = |count: usize| -> BTreeSet<GroupKind> {
        let kind = |number| GroupKind {
            group: "shop.example".into(),
            kind: format!("Kind{number}"),
        };
        (0..count).map(kind).collect()
    };
    let publish = |count| Command::PublishKinds {
        kinds: kinds(count),
    };
    accepted(ledger.ask(2, &publish(3)));
    let mut expected = ledger.decided();
    let index = accepted(ledger.ask(2, &publish(2)));
    let row = expected.members.get_mut(&member("two")).unwrap();
    row.kinds = Some(kinds(2).into());
    row.generation = Generation(index);
    assert_eq!(ledger.decided(), expected);
    accepted(ledger.ask(2, &publish(2)));
    assert_eq!(ledger.decided(), expected);
    assert_eq!(
        ledger.refused(2, &publish(4_097)),
        "kinds: at most 4096 are kept; remove some first"
    );
}

#[test]
fn only_the_founders_owner_changes_the_timings() {
    let mut ledger = Ledger::of(4);
    let timings = Timings {
        lease_ms: 9_000,
        heartbeat_ms: 3_000,
    };
    let change = Command::SetTimings { timings };
    for stranger in [2, 3] {
        assert_eq!(
            ledger.refused(stranger, &change),
            "a change of the federation's timings may be asked only by members of the owner that founded it"
        );
    }
    accepted(ledger.ask(4, &change));
    assert_eq!(ledger.state.timings, timings);
}

#[test]
fn timings_that_break_their_rules_are_refused() {
    let mut ledger = Ledger::of(1);
    let mut refusal = |lease_ms, heartbeat_ms| {
        let timings = Timings {
            lease_ms,
            heartbeat_ms,
        };
        ledger.refused(1, &Command::SetTimings { timings })
    };
    assert_eq!(
        [refusal(3_600_001, 1_000), refusal(3_000, 1_001)],
        [
            "the lease must be 300 ms to 3600000 ms, not 3600001 ms",
            "the heartbeat must be at least 50 ms and at most a third of the lease (3000 ms), because one lost heartbeat \
             must not lose a member; it is 1001 ms",
        ]
    );
}

#[test]
fn the_longest_lease_is_remembered_until_a_leader_settles_the_timings_that_stand() {
    let mut ledger = Ledger::of(1);
    let longest = [2_000, 60_000, 2_000].map(|lease_ms| {
        let timings = Timings {
            lease_ms,
            heartbeat_ms: 500,
        };
        let since = Epoch(accepted(ledger.ask(1, &Command::SetTimings { timings })));
        (since, ledger.state.longest_lease())
    });
    let seconds = Duration::from_secs;
    assert_eq!(
        longest.map(|(_, lease)| lease),
        [seconds(5), seconds(60), seconds(60)]
    );
    let mut settled = |since| {
        accepted(ledger.ask(1, &Command::SettleTimings { since }));
        ledger.state.longest_lease()
    };
    // What was set before the timings that stand settles nothing.
    assert_eq!(
        [settled(longest[0].0), settled(longest[2].0)],
        [seconds(60), seconds(2)]
    );
}
