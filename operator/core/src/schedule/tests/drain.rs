//! What leaves a member that its owner drains.

use super::{capacity::web, *};
use crate::schedule::drain as progress;

fn six_on_three() -> Federation {
    let mut federation =
        Federation::of(&["acme-1", "beta-1", "gamma-1"]).with(Mode::Divided, Some(6));
    federation.step();
    federation
}

impl Federation {
    fn drain(&mut self, name: &str) -> &mut Self {
        self.schedule(name, Scheduling::Drained)
    }

    fn ready(&mut self, names: &[&str]) -> &mut Self {
        for name in names {
            self.come(&WEB.parse().unwrap(), name, PlacementPhase::Ready);
        }
        self
    }

    /// What is left on a member, in words.
    fn left(&self, name: &str) -> String {
        let drain = progress(&self.state, self.hearsay(), &name.parse().unwrap()).unwrap();
        let left = drain.left.iter().map(|(key, why)| format!("{key} {why}"));
        left.collect::<Vec<_>>().join("; ")
    }
}

#[test]
fn a_drained_members_share_stays_until_the_others_are_ready_with_it() {
    let mut federation = six_on_three();
    federation.ready(&["acme-1", "beta-1", "gamma-1"]);
    let why = "beta-1 is drained";
    assert_eq!(
        federation.drain("beta-1").step(),
        format!("acme-1 3, 1 more ({why}); gamma-1 3, 1 more ({why})")
    );
    assert_eq!(federation.step(), "");
    assert_eq!(
        federation.left("beta-1"),
        "acme/shop/web waits for acme-1 to be ready with its part"
    );
    assert_eq!(federation.ready(&["acme-1"]).step(), "");
    assert_eq!(
        federation.left("beta-1"),
        "acme/shop/web waits for gamma-1 to be ready with its part"
    );
    assert_eq!(
        federation.ready(&["gamma-1"]).step(),
        format!("beta-1 - ({why}); acme-1 3 ({why}); gamma-1 3 ({why})")
    );
    assert_eq!(federation.left("beta-1"), "acme/shop/web stopping");
    assert_eq!(federation.step(), "");
}

#[test]
fn a_drain_that_is_given_up_takes_away_what_was_placed_in_addition() {
    let mut federation = six_on_three();
    federation.drain("beta-1").step();
    federation.schedule("beta-1", Scheduling::Enabled);
    let why = "beta-1 is no longer drained";
    assert_eq!(
        federation.step(),
        format!("acme-1 2 ({why}); gamma-1 2 ({why})")
    );
    assert_eq!(federation.step(), "");
}

#[test]
fn a_silent_member_covers_for_nobody_and_a_drained_one_that_is_lost_is_a_failover() {
    let mut federation = six_on_three();
    federation.drain("beta-1").step();
    federation.ready(&["acme-1", "gamma-1"]);
    federation.silent.insert("gamma-1".parse().unwrap());
    assert_eq!(
        federation.step(),
        "acme-1 6, 4 more (gamma-1 is silent); gamma-1 2 (gamma-1 is silent)"
    );
    federation.silent.clear();
    federation.lose("beta-1");
    let rows = federation.step();
    assert!(rows.contains("beta-1 - (beta-1 was lost)"), "{rows}");
    assert_eq!(federation.shares().values().sum::<u32>(), 6);
}

#[test]
fn what_may_not_run_in_addition_leaves_at_once() {
    let mut federation = Federation::of(&["acme-1", "beta-1"]).with(Mode::Duplicated, None);
    federation.step();
    assert_eq!(
        federation.drain("beta-1").step(),
        "beta-1 - (beta-1 is drained)"
    );
    assert_eq!(federation.step(), "");

    let mut federation = Federation::of(&["acme-1", "beta-1"]).with(Mode::Single, None);
    federation.step();
    assert_eq!(
        federation.drain("acme-1").step(),
        "acme-1 - (acme-1 is drained)"
    );
    assert_eq!(federation.step(), "");
    let host = "acme-1".parse().unwrap();
    federation.state.removals.remove_all_at(&host);
    assert_eq!(federation.step(), "beta-1 1 (placed for the first time)");
}

#[test]
fn nothing_new_comes_to_a_drained_member_and_what_nobody_else_may_host_stays() {
    for mode in [Mode::Divided, Mode::Duplicated, Mode::Single] {
        let mut federation = Federation::of(&["acme-1"]).with(mode, None);
        federation.step();
        assert_eq!(federation.drain("acme-1").step(), "", "{mode:?}");
        assert_eq!(
            federation.left("acme-1"),
            "acme/shop/web stays: the only member may not host it"
        );
    }
    let mut federation = Federation::of(&["acme-1"]);
    federation.drain("acme-1").put(Mode::Divided, None, |_| {});
    assert_eq!(federation.step(), "");
    let (unplaced, findings) = federation.found();
    assert_eq!(unplaced.unwrap(), "the only member may not host it");
    let named = findings.excluded.named();
    let (reason, words) = &named[&"acme-1".parse::<MemberName>().unwrap()];
    assert_eq!(
        format!("{reason}: {words}"),
        "Drained: its owner drains it: what runs there goes to other members"
    );
}

#[test]
fn with_too_little_room_elsewhere_what_runs_stays_and_says_why() {
    let mut federation = Federation::of(&["acme-1", "beta-1"]);
    for name in ["acme-1", "beta-1"] {
        federation.report(name, 3, true);
    }
    let mut placement = PlacementRules::new(Mode::Divided);
    placement.replicas = Some(4);
    federation.put_objects(vec![web(1)], placement);
    federation.step();
    assert_eq!(
        federation.drain("beta-1").step(),
        "acme-1 3, 1 more (beta-1 is drained)"
    );
    assert_eq!(federation.ready(&["acme-1"]).step(), "");
    assert_eq!(
        federation.left("beta-1"),
        "acme/shop/web stays: 1 of 4 replicas have room nowhere; each asks for cpu 1"
    );
}

#[test]
fn a_drain_leaves_half_of_what_may_run_in_addition_to_silent_members() {
    let mut federation = Federation::of(&["acme-1", "beta-1"]);
    for number in 0..4 {
        let mut placement = PlacementRules::new(Mode::Divided);
        placement.replicas = Some(1_200);
        let web =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
        federation.put_named(&format!("acme/shop/w{number}"), vec![web], placement);
    }
    federation.step();
    let begun = |rows: &str| rows.matches("600 more").count();
    let rows = federation.drain("beta-1").step();
    assert_eq!(begun(&rows), 2, "{rows}");
    assert_eq!(federation.step(), "");
    assert_eq!(
        federation
            .left("beta-1")
            .matches("waits for its turn")
            .count(),
        2
    );
    // The first is ready, and what it used is free again.
    let first: WorkloadKey = "acme/shop/w0".parse().unwrap();
    federation.come(&first, "acme-1", PlacementPhase::Ready);
    let rows = federation.step();
    assert!(rows.starts_with("beta-1 - (beta-1 is drained)"), "{rows}");
    assert_eq!(begun(&federation.step()), 1);
}

/// Three run one each, two of them were silent for a while, and one of these is drained meanwhile.
#[test]
fn a_drained_member_waits_for_everybody_who_runs_something_in_addition() {
    let mut federation =
        Federation::of(&["acme-1", "acme-2", "beta-1", "gamma-1"]).with(Mode::Divided, Some(3));
    federation.step();
    for name in ["acme-2", "beta-1"] {
        federation.silent.insert(name.parse().unwrap());
    }
    federation.step();
    federation.ready(&["acme-1", "acme-2"]);
    federation.drain("beta-1").step();
    federation
        .silent
        .remove(&"acme-2".parse::<MemberName>().unwrap());
    federation.step();
    assert_eq!(federation.shares().get("beta-1"), Some(&1));
    federation.ready(&["acme-1", "acme-2", "gamma-1"]).step();
    assert_eq!(federation.shares().get("beta-1"), None);
}

proptest! {
    /// Whoever is drained, silent or lost in whatever order: while anybody is there, those that serve, the drained among
    /// them, never run less than what is asked for, and in the end nothing is left where it can go.
    #[test]
    fn a_drain_never_takes_a_replica_that_is_not_ready_elsewhere(
        replicas in 1_u32..20,
        events in prop::collection::vec((0_usize..4, 0_u8..5), 0..24),
    ) {
        let names = ["acme-1", "acme-2", "beta-1", "gamma-1"];
        let key: WorkloadKey = WEB.parse().unwrap();
        let mut federation = Federation::of(&names).with(Mode::Divided, Some(replicas));
        federation.step();
        // What each runs and has reported ready.
        let mut serving = federation.shares();
        for (member, event) in events {
            let name = names[member];
            match event {
                0 => drop(federation.drain(name)),
                1 => drop(federation.schedule(name, Scheduling::Enabled)),
                2 => drop(federation.silent.insert(name.parse().unwrap())),
                3 => drop(federation.silent.remove(&name.parse::<MemberName>().unwrap())),
                _ => {
                    federation.come(&key, name, PlacementPhase::Ready);
                    if let Some(share) = federation.shares().get(name) {
                        serving.insert(name.to_owned(), *share);
                    }
                }
            }
            federation.step();
            // A host runs at most what it has, and what it gets in addition only once it says so.
            let shares = federation.shares();
            serving.retain(|name, _| shares.contains_key(name));
            for (name, runs) in &mut serving {
                *runs = (*runs).min(shares[name]);
            }
            prop_assert!(
                serving.values().sum::<u32>() >= replicas,
                "{shares:?}, of which {serving:?} serve",
            );
        }
        federation.silent.clear();
        for _ in 0..3 {
            for name in names {
                federation.come(&key, name, PlacementPhase::Ready);
            }
            federation.step();
        }
        let drained = |name: &str| {
            let member = &federation.state.members[&name.parse::<MemberName>().unwrap()];
            member.attributes.scheduling == Scheduling::Drained
        };
        let shares = federation.shares();
        let left = shares.keys().filter(|name| drained(name)).count();
        let all_drained = names.iter().all(|name| drained(name));
        prop_assert_eq!(left == 0, !all_drained);
        prop_assert_eq!(shares.values().sum::<u32>(), replicas);
    }
}
