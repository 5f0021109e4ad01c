//! Replicas that a host does not keep ready, in seconds of the leader's clock.

use super::{capacity::web, *};
use crate::capacity::PodDemand;

/// A federation whose hosts report this many ready replicas, or all that they should run.
struct Hosts {
    federation: Federation,
    ready: BTreeMap<&'static str, u32>,
    /// It replaces its pods.
    rolls_out: BTreeSet<&'static str>,
    /// An object there cannot become ready.
    failed: BTreeSet<&'static str>,
}

impl Hosts {
    fn new(members: &[&str], mode: Mode) -> Self {
        let replicas = (mode != Mode::Single).then_some(6);
        let mut hosts = Self {
            federation: Federation::of(members).with(mode, replicas),
            ready: BTreeMap::new(),
            rolls_out: BTreeSet::new(),
            failed: BTreeSet::new(),
        };
        hosts.at(0);
        assert_eq!(hosts.at(1), "");
        hosts
    }

    fn change(&mut self, change: impl FnOnce(&mut WorkloadSpec)) {
        let workload = self.federation.state.workloads.get_mut(&key()).unwrap();
        let mut spec = (*workload.spec).clone();
        change(&mut spec);
        workload.spec = spec.into();
    }

    fn report(&mut self) {
        let rows = self.federation.state.placements.rows(&key());
        for (member, row) in &rows {
            let name = member.as_str();
            let share = row.share.total();
            let ready = self.ready.get(name).copied().unwrap_or(share).min(share);
            let phase = match (ready == share, self.failed.contains(name)) {
                (true, _) => PlacementPhase::Ready,
                (false, true) => PlacementPhase::Failed,
                (false, false) => PlacementPhase::Applied,
            };
            self.federation.come(&key(), name, phase);
            let mut report = (**self.federation.reports.get(&key(), member).unwrap()).clone();
            report.ready = ready;
            report.rolls_out = self.rolls_out.contains(name);
            report.message = "web".into();
            let reports = &mut self.federation.reports;
            reports.insert(key(), member.clone(), report.into());
        }
    }

    /// What [`Federation::at`] says, after all have reported.
    fn at(&mut self, second: u64) -> String {
        self.report();
        self.federation.at(second)
    }
}

fn key() -> WorkloadKey {
    WEB.parse().unwrap()
}

const THREE: [&str; 3] = ["acme-1", "beta-1", "gamma-1"];

#[test]
fn replicas_that_were_ready_and_are_not_for_a_minute_run_elsewhere() {
    let mut hosts = Hosts::new(&THREE, Mode::Divided);
    hosts.ready.insert("beta-1", 1);
    assert_eq!(hosts.at(10), "");
    assert_eq!(hosts.at(69), "");
    let why = "beta-1 does not keep it ready: only 1 of 2 are ready there after 60 s: web";
    assert_eq!(hosts.at(70), format!("acme-1 3 ({why}); beta-1 1 ({why})"));
    assert_eq!(hosts.at(71), "");
    // It gets no more for ten minutes, whatever it says.
    hosts.ready.clear();
    hosts.federation.put(Mode::Divided, Some(6), |_| {});
    hosts
        .federation
        .state
        .workloads
        .get_mut(&key())
        .unwrap()
        .generation = Generation(1);
    assert_eq!(hosts.at(72), "");
}

#[test]
fn nodes_that_are_back_in_time_move_nothing() {
    let mut hosts = Hosts::new(&THREE, Mode::Divided);
    hosts.ready.insert("beta-1", 0);
    assert_eq!(hosts.at(10), "");
    hosts.ready.clear();
    assert_eq!(hosts.at(69), "");
    hosts.ready.insert("beta-1", 0);
    assert_eq!(hosts.at(70), "");
    assert_eq!(hosts.at(129), "");
}

#[test]
fn a_member_where_nothing_is_ready_any_more_is_left_and_avoided() {
    let mut hosts = Hosts::new(&THREE, Mode::Divided);
    hosts.ready.insert("beta-1", 0);
    assert_eq!(hosts.at(10), "");
    let why = "beta-1 does not keep it ready: only 0 of 2 are ready there after 60 s: web";
    assert_eq!(
        hosts.at(70),
        format!("beta-1 - ({why}); acme-1 3 ({why}); gamma-1 3 ({why})")
    );
    assert_eq!(hosts.at(71), "");
    let avoided = &hosts.federation.state.workloads[&key()].avoided;
    let names: Vec<_> = avoided.keys().map(MemberName::as_str).collect();
    assert_eq!(names, ["beta-1"]);
}

#[test]
fn what_starts_slowly_stays_and_what_cannot_become_ready_goes_to_those_where_it_did() {
    let mut federation = Federation::of(&THREE).with(Mode::Divided, Some(6));
    federation.step();
    let mut hosts = Hosts {
        federation,
        ready: [("beta-1", 0)].into(),
        rolls_out: BTreeSet::new(),
        failed: BTreeSet::new(),
    };
    assert_eq!(hosts.at(0), "");
    assert_eq!(hosts.at(500), "");
    hosts.failed.insert("beta-1");
    assert_eq!(hosts.at(600), "");
    let rows = hosts.at(660);
    assert!(
        rows.starts_with("beta-1 - (beta-1 does not keep it ready"),
        "{rows}"
    );
}

#[test]
fn a_slow_rollout_moves_nothing() {
    let mut hosts = Hosts::new(&THREE, Mode::Divided);
    hosts.ready.insert("beta-1", 1);
    hosts.rolls_out.insert("beta-1");
    assert_eq!(hosts.at(10), "");
    assert_eq!(hosts.at(200), "");
    // The last of the new pods still starts.
    hosts.rolls_out.clear();
    assert_eq!(hosts.at(201), "");
    assert_eq!(hosts.at(400), "");
    hosts.ready.insert("beta-1", 0);
    assert_eq!(hosts.at(401), "");
    assert!(hosts.at(461).contains("beta-1 1"));
}

#[test]
fn what_fails_everywhere_is_not_moved_around() {
    let mut hosts = Hosts::new(&THREE, Mode::Divided);
    hosts.ready = THREE.map(|name| (name, 0)).into();
    for second in [10, 69, 70, 200, 2_000] {
        assert_eq!(hosts.at(second), "", "{second}");
    }
}

#[test]
fn one_copy_and_copies_everywhere_stay_unless_the_author_says() {
    for mode in [Mode::Single, Mode::Duplicated] {
        let mut hosts = Hosts::new(&THREE, mode);
        hosts.ready.insert("acme-1", 0);
        assert_eq!(hosts.at(10), "");
        assert_eq!(hosts.at(600), "", "{mode:?}");
    }
    let mut hosts = Hosts::new(&THREE, Mode::Single);
    hosts.change(|spec| spec.failover.unhealthy_after_seconds = Some(30));
    hosts.ready.insert("acme-1", 0);
    assert_eq!(hosts.at(10), "");
    let why = "acme-1 does not keep it ready: only 0 of 1 are ready there after 30 s: web";
    assert_eq!(hosts.at(40), format!("acme-1 - ({why})"));
    assert_eq!(hosts.at(41), "beta-1 1 (placed for the first time)");
}

#[test]
fn pods_that_find_no_node_go_where_there_is_room() {
    let mut hosts = Hosts {
        federation: Federation::of(&THREE[..2]),
        ready: BTreeMap::new(),
        rolls_out: BTreeSet::new(),
        failed: BTreeSet::new(),
    };
    hosts.federation.report("acme-1", 3, true);
    hosts.federation.report("beta-1", 4, true);
    let mut placement = PlacementRules::new(Mode::Divided);
    placement.replicas = Some(6);
    hosts.federation.put_objects(vec![web(1)], placement);
    assert!(hosts.at(0).starts_with("acme-1 3"));
    // Others filled a node of acme-1 before its pods came.
    let demand = PodDemand::of(&web(1)["spec"]["template"]["spec"]);
    let acme: MemberName = "acme-1".parse().unwrap();
    let mut full = (*hosts.federation.capacities[&acme]).clone();
    full.waiting = vec![(demand, 2)];
    full.covers = u64::MAX;
    hosts.federation.capacities.insert(acme, full.into());
    hosts.ready.insert("acme-1", 1);
    assert_eq!(hosts.at(10), "");
    assert_eq!(hosts.at(69), "");
    let why = "acme-1 does not keep it ready: only 1 of 3 are ready there after 60 s: web";
    // One fits there, and the other stays where it waits.
    assert_eq!(hosts.at(70), format!("acme-1 2 ({why}); beta-1 4 ({why})"));
    assert_eq!(hosts.at(71), "");
}

proptest! {
    /// Whatever becomes unready, when, and where: what is ready is not taken away, and nothing is too much or too little.
    #[test]
    fn what_is_ready_is_never_taken_away(
        events in prop::collection::vec((0_usize..3, 0_u32..7, 1_u64..90), 1..20),
    ) {
        let mut hosts = Hosts::new(&THREE, Mode::Divided);
        let mut second = 2;
        for (member, ready, later) in events {
            second += later;
            hosts.ready.insert(THREE[member], ready);
            let before = hosts.federation.shares();
            hosts.at(second);
            let after = hosts.federation.shares();
            for (name, share) in &before {
                let ready = hosts.ready.get(name.as_str()).copied().unwrap_or(*share);
                let kept = after.get(name).copied().unwrap_or(0);
                prop_assert!(kept >= ready.min(*share), "{before:?} then {after:?}");
            }
            prop_assert_eq!(after.values().sum::<u32>(), 6);
            prop_assert_eq!(hosts.federation.step(), "");
        }
    }
}
