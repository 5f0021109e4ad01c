//! What others took over moves back, in seconds of the leader's clock.

use super::{capacity::web, *};
use crate::workload::SurgeWhen;

/// A federation whose hosts are ready with what they have, except those that are slow.
struct Hosts {
    federation: Federation,
    slow: BTreeSet<&'static str>,
}

impl Hosts {
    fn of(federation: Federation) -> Self {
        let mut hosts = Self {
            federation,
            slow: BTreeSet::new(),
        };
        hosts.at(0);
        assert_eq!(hosts.at(1), "");
        hosts
    }

    fn six_on_three() -> Self {
        Self::of(Federation::of(&["acme-1", "beta-1", "gamma-1"]).with(Mode::Divided, Some(6)))
    }

    fn lose(&mut self, name: &str) -> &mut Self {
        self.federation.lose(name);
        self
    }

    fn heal(&mut self, name: &str) -> &mut Self {
        let epoch = Epoch(self.federation.index + 1);
        self.federation
            .change(name, |row| row.lease = Lease::Held { epoch });
        self
    }

    /// What [`Federation::at`] says, after all have reported.
    fn at(&mut self, second: u64) -> String {
        let keys: Vec<_> = self.federation.state.workloads.keys().cloned().collect();
        for key in keys {
            for (name, _) in &self.federation.state.placements.rows(&key) {
                let phase = if self.slow.contains(name.as_str()) {
                    PlacementPhase::Applied
                } else {
                    PlacementPhase::Ready
                };
                self.federation.come(&key, name.as_str(), phase);
            }
        }
        self.federation.at(second)
    }
}

#[test]
fn ten_minutes_after_a_lost_member_is_back_it_gets_its_part_and_is_ready_before_others_give_it_up()
{
    let mut hosts = Hosts::six_on_three();
    assert!(hosts.lose("beta-1").at(10).starts_with("beta-1 -"));
    assert_eq!(hosts.heal("beta-1").at(100), "");
    assert_eq!(hosts.at(699), "");
    hosts.slow.insert("beta-1");
    let why = "beta-1 is back";
    assert_eq!(hosts.at(700), format!("beta-1 2, 2 more ({why})"));
    assert_eq!(hosts.at(701), "");
    hosts.slow.clear();
    assert_eq!(
        hosts.at(720),
        format!("acme-1 2 ({why}); beta-1 2 ({why}); gamma-1 2 ({why})")
    );
    assert_eq!(hosts.at(721), "");
    assert_eq!(hosts.at(5_000), "");
}

#[test]
fn a_member_that_is_lost_again_meanwhile_waits_anew_and_one_that_is_lost_on_the_way_back_costs_nothing()
 {
    let mut hosts = Hosts::six_on_three();
    hosts.lose("beta-1").at(10);
    assert_eq!(hosts.heal("beta-1").at(100), "");
    assert_eq!(hosts.lose("beta-1").at(500), "");
    assert_eq!(hosts.heal("beta-1").at(600), "");
    assert_eq!(hosts.at(1_199), "");
    hosts.slow.insert("beta-1");
    assert_eq!(hosts.at(1_200), "beta-1 2, 2 more (beta-1 is back)");
    assert_eq!(hosts.lose("beta-1").at(1_210), "beta-1 - (beta-1 was lost)");
    assert_eq!(
        hosts.federation.shares(),
        [("acme-1".into(), 3), ("gamma-1".into(), 3)].into()
    );
}

#[test]
fn what_left_a_drained_member_moves_back_once_it_is_uncordoned() {
    let mut hosts = Hosts::six_on_three();
    hosts.federation.schedule("beta-1", Scheduling::Drained);
    hosts.at(10);
    hosts.at(11);
    assert!(!hosts.federation.shares().contains_key("beta-1"));
    assert_eq!(hosts.at(1_000), "");
    hosts.federation.schedule("beta-1", Scheduling::Enabled);
    assert_eq!(hosts.at(1_001), "");
    assert_eq!(hosts.at(1_601), "beta-1 2, 2 more (beta-1 is back)");
    assert!(hosts.at(1_602).contains("gamma-1 2"));
}

#[test]
fn the_only_replica_moves_back_and_what_may_not_run_twice_or_is_told_not_to_stays() {
    let one = || Federation::of(&["acme-1", "beta-1"]).with(Mode::Divided, Some(1));
    let mut hosts = Hosts::of(one());
    hosts.lose("acme-1").at(10);
    assert_eq!(hosts.heal("acme-1").at(20), "");
    assert_eq!(hosts.at(620), "acme-1 1, 1 more (acme-1 is back)");
    let why = "acme-1 is back";
    assert_eq!(hosts.at(621), format!("beta-1 - ({why}); acme-1 1 ({why})"));

    let stays = |hosts: &mut Hosts| {
        hosts.lose("acme-1").at(10);
        hosts.heal("acme-1").at(20);
        assert_eq!(hosts.at(9_000), "");
    };
    let single = Federation::of(&["acme-1", "beta-1"]).with(Mode::Single, None);
    stays(&mut Hosts::of(single));
    let mut never = Hosts::of(one());
    let workload = never
        .federation
        .state
        .workloads
        .get_mut(&WEB.parse::<WorkloadKey>().unwrap());
    let workload = workload.unwrap();
    let mut spec = (*workload.spec).clone();
    spec.failover.failback_after_seconds = Some(0);
    workload.spec = spec.clone().into();
    stays(&mut never);
    spec.failover.failback_after_seconds = None;
    spec.failover.surge = SurgeWhen::Never;
    let mut once = Hosts::of(one());
    let workloads = &mut once.federation.state.workloads;
    workloads
        .get_mut(&WEB.parse::<WorkloadKey>().unwrap())
        .unwrap()
        .spec = spec.into();
    stays(&mut once);
}

#[test]
fn a_member_with_less_room_than_before_gets_what_fits() {
    let names = ["acme-1", "beta-1"];
    let mut federation = Federation::of(&names);
    for name in names {
        federation.report(name, 9, true);
    }
    let mut placement = PlacementRules::new(Mode::Divided);
    placement.replicas = Some(6);
    federation.put_objects(vec![web(1)], placement);
    let mut hosts = Hosts::of(federation);
    hosts.lose("beta-1").at(10);
    hosts.heal("beta-1").at(20);
    hosts.federation.report("beta-1", 1, true);
    assert_eq!(hosts.at(620), "beta-1 1, 1 more (beta-1 is back)");
    let why = "beta-1 is back";
    assert_eq!(hosts.at(621), format!("acme-1 5 ({why}); beta-1 1 ({why})"));
    assert_eq!(hosts.at(622), "");
}

proptest! {
    /// Whoever is lost, back or slow, and when: nothing that is ready goes but what is in addition, and it ends.
    #[test]
    fn moving_back_takes_nothing_that_is_not_ready_there(
        replicas in 1_u32..9,
        events in prop::collection::vec((0_usize..4, 0_u8..4, 1_u64..700), 1..24),
    ) {
        let names = ["acme-1", "acme-2", "beta-1", "gamma-1"];
        let mut hosts = Hosts::of(Federation::of(&names).with(Mode::Divided, Some(replicas)));
        let (mut second, mut serving) = (2, hosts.federation.shares());
        for (member, event, later) in events {
            second += later;
            let name = names[member];
            match event {
                0 => drop(hosts.lose(name)),
                1 => drop(hosts.heal(name)),
                2 => drop(hosts.slow.insert(name)),
                _ => drop(hosts.slow.remove(name)),
            }
            // Those that are not slow report all that they have.
            for (name, share) in hosts.federation.shares() {
                if !hosts.slow.contains(name.as_str()) {
                    serving.insert(name, share);
                }
            }
            // Nothing is known of a member that is lost.
            let members = &hosts.federation.state.members;
            serving.retain(|name, _| members[&name.parse::<MemberName>().unwrap()].lease.is_held());
            let rows = hosts.federation.state.placements.rows(&WEB.parse().unwrap());
            let surges = rows.values().filter_map(|row| row.surge.as_ref());
            let extra: u32 = surges.map(|surge| surge.share.total()).sum();
            let before = serving.values().sum::<u32>().saturating_sub(extra);
            hosts.at(second);
            let shares = hosts.federation.shares();
            serving.retain(|name, _| shares.contains_key(name));
            for (name, runs) in &mut serving {
                *runs = (*runs).min(shares[name]);
            }
            let after: u32 = serving.values().sum();
            prop_assert!(after >= replicas.min(before), "{shares:?}, of which {serving:?} serve");
        }
        hosts.slow.clear();
        for round in 1..6 {
            hosts.at(second + round * 700);
        }
        prop_assert_eq!(hosts.at(second + 5_000), "");
        let shares = hosts.federation.shares();
        prop_assert!(shares.values().sum::<u32>() >= replicas);
    }
}
