//! Nothing is placed where it has no room, and what fits nowhere says so and stays where it is.

use super::*;
use crate::capacity::{Capacity, Resources, Shape};

/// A Deployment each of whose pods asks for so many cores; with none, for nothing.
pub(super) fn web(cores: u8) -> serde_json::Value {
    let requests = match cores {
        0 => json!({}),
        cores => json!({"cpu": cores}),
    };
    let containers = json!([{"resources": {"requests": requests}}]);
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"template": {"spec": {"containers": containers}}},
    })
}

impl Federation {
    /// One node with so many cores is free at a member. All that is placed by now is part of this, or nothing is.
    pub(super) fn report(&mut self, name: &str, cores: u32, covers: bool) {
        let shape = Shape {
            nodes: 1,
            free: Resources::of(&json!({"cpu": cores, "pods": 100})),
            taints: Vec::new(),
        };
        let capacity = Capacity {
            covers: if covers { self.index } else { 0 },
            shapes: vec![shape],
            waiting: Vec::new(),
        };
        self.capacities
            .insert(name.parse().unwrap(), capacity.into());
    }

    fn with_room(members: &[(&str, u32)]) -> Self {
        let names: Vec<_> = members.iter().map(|(name, _)| *name).collect();
        let mut federation = Self::of(&names);
        for (name, cores) in members {
            federation.report(name, *cores, true);
        }
        federation
    }

    fn put_web(&mut self, name: &str, mode: Mode, replicas: u32) {
        let placement = PlacementRules {
            replicas: Some(replicas),
            ..PlacementRules::new(mode)
        };
        self.put_named(name, vec![web(1)], placement);
    }

    /// The members without room, with the words about each.
    fn full(&mut self) -> String {
        let excluded = self.found().1.excluded.0;
        let full = excluded.get("NoRoom").into_iter().flat_map(|it| &it.named);
        let words = full.map(|(name, words)| format!("{name}: {words}"));
        words.collect::<Vec<_>>().join("; ")
    }
}

#[test]
fn a_member_gets_no_more_replicas_than_it_has_room_for() {
    let mut federation = Federation::with_room(&[("acme-1", 1), ("acme-2", 0), ("acme-3", 8)]);
    federation.put_web(WEB, Mode::Divided, 4);
    let first = "placed for the first time";
    assert_eq!(
        federation.step(),
        format!("acme-1 1 ({first}); acme-3 3 ({first})")
    );
    assert_eq!(federation.unplaced(), None);
}

#[test]
fn what_has_no_room_anywhere_is_said_and_placed_as_soon_as_it_fits() {
    let mut federation = Federation::with_room(&[("acme-1", 1), ("acme-2", 2)]);
    federation.put_web(WEB, Mode::Divided, 5);
    federation.step();
    assert_eq!(
        federation.shares(),
        BTreeMap::from([("acme-1".into(), 1), ("acme-2".into(), 2)])
    );
    assert_eq!(
        federation.unplaced().unwrap(),
        "2 of 5 replicas have room nowhere; each asks for cpu 1"
    );
    federation.report("acme-1", 4, true);
    assert_eq!(federation.step(), "acme-1 3 (the workload changed)");
    assert_eq!(federation.unplaced(), None);
}

#[test]
fn a_burst_does_not_pile_up_where_there_was_room_for_one() {
    let mut federation = Federation::with_room(&[("acme-1", 1), ("acme-2", 1), ("acme-3", 1)]);
    let names = ["acme/shop/a", "acme/shop/b", "acme/shop/c", "acme/shop/d"];
    for name in names {
        federation.put_web(name, Mode::Single, 1);
    }
    let placed = federation.plan();
    let hosts: BTreeSet<_> = placed.iter().map(|row| row.member.to_string()).collect();
    assert_eq!((placed.len(), hosts.len()), (3, 3));
    federation.step();
    // The reports still show the room from before.
    assert_eq!(federation.step(), "");
    let found = found(&federation.planner);
    let last = &found[&names[3].parse().unwrap()];
    assert_eq!(
        last.0.as_deref(),
        Some("no member that may host it has room for it")
    );
}

#[test]
fn what_is_placed_counts_until_the_member_says_that_it_counted_it() {
    let mut federation = Federation::with_room(&[("acme-1", 2)]);
    federation.put_web("acme/shop/a", Mode::Divided, 2);
    federation.step();
    federation.put_web(WEB, Mode::Divided, 1);
    assert_eq!(federation.step(), "");
    assert_eq!(
        federation.full(),
        "acme-1: it has no room: a pod asks for cpu 1, and no node has more than 0 left. If its nodes are added on demand, \
         install it with `capacity: Elastic`"
    );
    federation.report("acme-1", 1, true);
    assert_eq!(federation.step(), "acme-1 1 (placed for the first time)");
}

#[test]
fn the_share_of_a_lost_member_goes_where_there_is_room_and_the_rest_stays_its_own() {
    let mut federation = Federation::with_room(&[("acme-1", 9), ("acme-2", 9), ("acme-3", 9)]);
    federation.put_web(WEB, Mode::Divided, 6);
    federation.step();
    federation.report("acme-2", 1, true);
    federation.report("acme-3", 0, true);
    assert_eq!(
        federation.lose("acme-1").step(),
        "acme-2 3 (acme-1 was lost)"
    );
    assert_eq!(
        federation.unplaced().unwrap(),
        "1 of 6 replicas have room nowhere; each asks for cpu 1"
    );
    assert_eq!(federation.step(), "");
    federation.report("acme-3", 1, true);
    assert_eq!(
        federation.step(),
        "acme-1 - (acme-1 was lost); acme-3 3 (acme-1 was lost)"
    );
}

#[test]
fn a_single_waits_for_room_and_stays_where_it_is_without_any() {
    let mut federation = Federation::with_room(&[("acme-1", 0), ("acme-2", 1)]);
    federation.put_web(WEB, Mode::Single, 1);
    assert_eq!(federation.step(), "acme-2 1 (placed for the first time)");
    federation.report("acme-2", 0, true);
    assert_eq!(federation.step(), "");
    assert_eq!(federation.unplaced(), None);
    federation.lose("acme-2");
    assert_eq!(federation.step(), "");
    assert_eq!(
        federation.unplaced().unwrap(),
        "no member that may host it has room for it"
    );
}

#[test]
fn a_duplicated_workload_is_on_every_member_with_room_for_all_of_it() {
    let mut federation = Federation::with_room(&[("acme-1", 3), ("acme-2", 1), ("acme-3", 2)]);
    federation.put_web(WEB, Mode::Duplicated, 2);
    federation.step();
    let names = |federation: &Federation| federation.shares().into_keys().collect::<Vec<_>>();
    assert_eq!(names(&federation), ["acme-1", "acme-3"]);
    assert!(federation.full().starts_with("acme-2: it has no room: "));
    federation.report("acme-2", 2, true);
    federation.step();
    assert_eq!(names(&federation), ["acme-1", "acme-2", "acme-3"]);
}

#[test]
fn a_member_that_reports_nothing_is_never_full() {
    let mut federation = Federation::with_room(&[("acme-1", 0)]);
    federation
        .state
        .members
        .insert("acme-2".parse().unwrap(), member_row("acme-2", 2));
    federation.put_web(WEB, Mode::Divided, 40);
    assert_eq!(federation.step(), "acme-2 40 (placed for the first time)");
}

#[test]
fn an_explanation_and_a_simulation_know_what_is_full() {
    let mut federation = Federation::with_room(&[("acme-1", 4), ("acme-2", 1)]);
    federation.put_web(WEB, Mode::Divided, 4);
    federation.step();
    let explanation = explain(
        &federation.state,
        federation.hearsay(),
        &WEB.parse().unwrap(),
    );
    assert!(
        explanation
            .unwrap()
            .members
            .values()
            .all(|it| it.excluded.is_none())
    );
    federation.put_web("acme/shop/other", Mode::Single, 1);
    let key: WorkloadKey = "acme/shop/other".parse().unwrap();
    let explanation = explain(&federation.state, federation.hearsay(), &key).unwrap();
    let full = explanation
        .members
        .iter()
        .filter(|(_, it)| it.excluded.is_some());
    let full: Vec<_> = full.map(|(name, _)| name.as_str()).collect();
    assert_eq!(full, ["acme-2"]);
    federation.step();
    let lose = Change::Lose {
        domain: FailureDomain::Cluster,
        name: "acme-1".to_owned(),
    };
    let asker = ("acme-1".parse().unwrap(), "acme".parse().unwrap());
    let simulation = simulate(
        &federation.state,
        federation.hearsay(),
        (&asker.0, &asker.1),
        &[lose],
    );
    let simulation = simulation.unwrap();
    let web = &simulation.workloads[&WEB.parse().unwrap()];
    assert_eq!((web.missing, web.fails), (3, true));
}
