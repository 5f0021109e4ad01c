//! Replicas in addition while members are silent.

use super::*;
use crate::workload::SurgeWhen;

fn six_on_three() -> Federation {
    let mut federation =
        Federation::of(&["acme-1", "beta-1", "gamma-1"]).with(Mode::Divided, Some(6));
    federation.step();
    federation
}

impl Federation {
    fn silent(&mut self, names: &[&str]) -> &mut Self {
        self.silent = names.iter().map(|name| name.parse().unwrap()).collect();
        self
    }
}

#[test]
fn a_silent_members_share_runs_elsewhere_in_addition_and_goes_when_it_is_heard_again() {
    let mut federation = six_on_three();
    let why = "beta-1 is silent";
    assert_eq!(
        federation.silent(&["beta-1"]).step(),
        format!("acme-1 3, 1 more ({why}); gamma-1 3, 1 more ({why})")
    );
    assert_eq!(federation.step(), "");
    let why = "beta-1 is heard again";
    assert_eq!(
        federation.silent(&[]).step(),
        format!("acme-1 2 ({why}); gamma-1 2 ({why})")
    );
    assert_eq!(federation.step(), "");
}

#[test]
fn a_member_that_has_not_been_heard_yet_keeps_its_share_and_gets_nothing_in_addition() {
    let mut federation = six_on_three();
    federation.unheard.insert("gamma-1".parse().unwrap());
    let why = "beta-1 is silent";
    assert_eq!(
        federation.silent(&["beta-1"]).step(),
        format!("acme-1 4, 2 more ({why})")
    );
    // It is heard. What runs by now stays where it is.
    federation.unheard.clear();
    assert_eq!(federation.step(), "");
}

#[test]
fn when_the_silent_member_is_lost_everything_is_already_in_place() {
    let mut federation = six_on_three();
    federation.silent(&["beta-1"]).step();
    let before = federation.shares();
    federation.lose("beta-1").silent(&[]);
    let why = "beta-1 was lost";
    assert_eq!(
        federation.step(),
        format!("beta-1 - ({why}); acme-1 3 ({why}); gamma-1 3 ({why})")
    );
    let after = federation.shares();
    assert_eq!(after["acme-1"], before["acme-1"]);
    assert_eq!(after["gamma-1"], before["gamma-1"]);
    assert_eq!(federation.step(), "");
}

#[test]
fn a_member_that_ran_nothing_before_keeps_the_surge_of_a_lost_one_whatever_it_counts_for() {
    let mut federation =
        Federation::of(&["acme-1", "acme-2", "acme-3"]).with(Mode::Divided, Some(1));
    federation.step();
    assert_eq!(
        federation.silent(&["acme-1"]).step(),
        "acme-2 1, 1 more (acme-1 is silent)"
    );
    // Now acme-3 has fewer placements, and would be preferred.
    assert_eq!(federation.step(), "");
    federation.lose("acme-1").silent(&[]);
    let why = "acme-1 was lost";
    assert_eq!(
        federation.step(),
        format!("acme-1 - ({why}); acme-2 1 ({why})")
    );
    assert_eq!(federation.step(), "");
}

#[test]
fn one_is_lost_while_another_is_silent_and_then_heard_again() {
    let mut federation = Federation::of(&["a-1", "b-1", "c-1", "d-1"]).with(Mode::Divided, Some(4));
    federation.step();
    federation.silent(&["c-1", "d-1"]).step();
    let running = |federation: &Federation| {
        let shares = federation.shares();
        shares["a-1"] + shares["b-1"]
    };
    assert_eq!(running(&federation), 4);
    federation.lose("c-1").silent(&["d-1"]).step();
    assert_eq!(running(&federation), 4);
    federation.silent(&[]).step();
    let shares = federation.shares();
    assert_eq!(shares.values().sum::<u32>(), 4);
    assert_eq!(shares["d-1"], 1);
    assert_eq!(federation.step(), "");
}

#[test]
fn nothing_is_added_for_a_single_for_what_may_not_run_twice_and_where_nobody_else_is() {
    for mode in [Mode::Single, Mode::Duplicated] {
        let mut federation = Federation::of(&["acme-1", "beta-1"]).with(mode, None);
        federation.step();
        assert_eq!(federation.silent(&["acme-1"]).step(), "", "{mode:?}");
    }
    let mut federation = six_on_three();
    let all = ["acme-1", "beta-1", "gamma-1"];
    assert_eq!(federation.silent(&all).step(), "");
    let key: WorkloadKey = WEB.parse().unwrap();
    let workload = federation.state.workloads.get_mut(&key).unwrap();
    let mut spec = (*workload.spec).clone();
    spec.failover.surge = SurgeWhen::Never;
    workload.spec = spec.into();
    assert_eq!(federation.silent(&["beta-1"]).step(), "");
}

#[test]
fn the_whole_federation_adds_no_more_replicas_than_its_budget() {
    let mut federation = Federation::of(&["acme-1", "beta-1"]).with(Mode::Divided, Some(4_002));
    federation.step();
    assert_eq!(federation.silent(&["beta-1"]).step(), "");
    federation.put(Mode::Divided, Some(4_000), |_| {});
    let rows = federation.step();
    assert!(
        rows.contains("acme-1 4000, 2000 more (beta-1 is silent)"),
        "{rows}"
    );
    // What is there stays, also with the budget used up.
    assert_eq!(federation.step(), "");
}

proptest! {
    /// Whoever is silent, heard again, lost or back, in whatever order: after each step those that are heard run as many as are
    /// asked for, once nobody is silent nothing is too much, and no replica of a member that is heard is ever taken
    /// away because another one fell silent.
    #[test]
    fn those_that_are_heard_run_everything_and_silence_takes_nothing_away(
        replicas in 1_u32..20,
        events in prop::collection::vec((0_usize..4, 0_u8..4), 0..24),
    ) {
        let names = ["acme-1", "acme-2", "beta-1", "gamma-1"];
        let mut federation = Federation::of(&names).with(Mode::Divided, Some(replicas));
        federation.step();
        for (member, event) in events {
            let name: MemberName = names[member].parse().unwrap();
            let (epoch, before) = (Epoch(federation.index + 1), federation.shares());
            match event {
                0 => { federation.silent.insert(name.clone()); }
                1 => { federation.silent.remove(&name); }
                2 => { federation.change(names[member], |row| row.lease = Lease::Lost { epoch, fenced: false }); }
                _ => { federation.change(names[member], |row| row.lease = Lease::Held { epoch }); }
            }
            let holds = |federation: &Federation, name: &MemberName| federation.state.members[name].lease.is_held();
            if !holds(&federation, &name) {
                federation.silent.remove(&name);
            }
            federation.step();
            prop_assert_eq!(federation.step(), "");
            let shares = federation.shares();
            let heard = |name: &str| {
                let name: MemberName = name.parse().unwrap();
                holds(&federation, &name) && !federation.silent.contains(&name)
            };
            let running: u32 = shares.iter().filter(|(name, _)| heard(name)).map(|(_, share)| share).sum();
            if names.iter().any(|name| heard(name)) {
                prop_assert!(running >= replicas, "{shares:?}, silent {:?}", federation.silent);
            }
            if federation.silent.is_empty() && names.iter().any(|name| heard(name)) {
                prop_assert_eq!(shares.values().sum::<u32>(), replicas);
            }
            if event == 0 {
                for (name, share) in before.iter().filter(|(name, _)| heard(name)) {
                    prop_assert!(shares.get(name) >= Some(share), "{before:?} then {shares:?}");
                }
            }
        }
    }
}
