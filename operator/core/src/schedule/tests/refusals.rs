//! Shares that a host refuses, in seconds of the leader's clock.

use super::*;
use crate::{
    schedule::AVOIDED_FOR,
    slice::{PlacementPhase, PlacementReport},
};

/// A federation whose hosts answer: those in `refusing` refuse everything, the others take it.
struct Hosts {
    federation: Federation,
    refusing: BTreeSet<&'static str>,
    /// Whether an earlier version runs on whoever refuses the newest.
    still_runs: bool,
}

impl Hosts {
    fn new(members: &[&str], mode: Mode, refusing: &[&'static str]) -> Self {
        let replicas = (mode != Mode::Single).then_some(6);
        let mut federation = Federation::of(members).with(mode, replicas);
        federation.step();
        Self {
            federation,
            refusing: refusing.iter().copied().collect(),
            still_runs: false,
        }
    }

    fn reports(&self) -> PerHost<Arc<PlacementReport>> {
        let key: WorkloadKey = WEB.parse().unwrap();
        let state = &self.federation.state;
        let report = |(member, row): (&MemberName, &Arc<Placement>)| {
            let refuses = self.refusing.contains(member.as_str());
            let report = PlacementReport {
                epoch: row.epoch,
                generation: state.workloads[&key].generation,
                phase: if refuses {
                    PlacementPhase::Refused
                } else {
                    PlacementPhase::Ready
                },
                ready: u32::from(!refuses),
                runs: !refuses || self.still_runs,
                rolls_out: false,
                desired: None,
                scaled_by: None,
                message: "port 30080 is taken".into(),
            };
            (key.clone(), member.clone(), Arc::new(report))
        };
        state.placements.of(&key).map(report).collect()
    }

    /// What [`Federation::at`] says, after all have reported.
    fn at(&mut self, second: u64) -> String {
        self.federation.reports = self.reports();
        self.federation.at(second)
    }
}

#[test]
fn a_refused_share_moves_after_a_minute_to_the_members_that_take_theirs() {
    let mut hosts = Hosts::new(&["acme-1", "beta-1", "gamma-1"], Mode::Divided, &["beta-1"]);
    assert_eq!(hosts.at(0), "");
    assert_eq!(hosts.at(59), "");
    let why = "beta-1 refused it: port 30080 is taken";
    assert_eq!(
        hosts.at(60),
        format!("beta-1 - ({why}); acme-1 3 ({why}); gamma-1 3 ({why})")
    );
    assert_eq!(hosts.at(61), "");
}

#[test]
fn a_refusal_that_ends_in_time_moves_nothing() {
    let mut hosts = Hosts::new(&["acme-1", "beta-1"], Mode::Divided, &["beta-1"]);
    assert_eq!(hosts.at(0), "");
    hosts.refusing.clear();
    assert_eq!(hosts.at(30), "");
    hosts.refusing.insert("beta-1");
    assert_eq!(hosts.at(31), "");
    assert_eq!(hosts.at(90), "");
    assert_ne!(hosts.at(91), "");
}

#[test]
fn a_single_goes_from_member_to_member_and_stays_where_it_is_when_all_refuse() {
    let mut hosts = Hosts::new(&["acme-1", "beta-1"], Mode::Single, &["acme-1", "beta-1"]);
    hosts.at(0);
    assert!(hosts.at(60).starts_with("acme-1 - (acme-1 refused it"));
    assert!(hosts.at(61).starts_with("beta-1 1 "));
    hosts.at(62);
    for second in [122, 300, 600] {
        assert_eq!(hosts.at(second), "", "at {second} s");
    }
    let excluded = hosts.federation.found().1.excluded;
    let named = excluded.named().into_iter();
    let excluded: Vec<_> = named
        .map(|(name, (reason, _))| (name.as_str(), reason))
        .collect();
    assert_eq!(excluded, [("acme-1", "Refused")]);
    let again = 61 + AVOIDED_FOR.as_secs();
    assert!(hosts.at(again).starts_with("beta-1 - (beta-1 refused it"));
}

#[test]
fn an_edit_lets_an_avoided_member_take_part_again() {
    let mut hosts = Hosts::new(&["acme-1", "beta-1"], Mode::Single, &["acme-1"]);
    hosts.at(0);
    hosts.at(60);
    assert!(hosts.at(61).starts_with("beta-1 1 "));
    let avoids = |hosts: &Hosts| {
        let row = &hosts.federation.state.workloads[&WEB.parse::<WorkloadKey>().unwrap()];
        row.avoided
            .keys()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(avoids(&hosts), ["acme-1"]);
    hosts.federation.put(Mode::Single, None, |_| {});
    assert_eq!(avoids(&hosts), Vec::<String>::new());
}

#[test]
fn an_edit_that_hosts_refuse_takes_away_nothing_that_still_runs() {
    let mut hosts = Hosts::new(&["acme-1", "beta-1", "gamma-1"], Mode::Divided, &[]);
    hosts
        .federation
        .state
        .placements
        .remove(&WEB.parse().unwrap(), &"gamma-1".parse().unwrap());
    hosts.federation.put(Mode::Divided, Some(4), |_| {});
    hosts.still_runs = true;
    hosts.refusing = BTreeSet::from(["acme-1", "beta-1"]);
    for second in [0, 60, 600] {
        assert_eq!(hosts.at(second), "", "at {second} s");
    }
    // Once one of them takes the edit, it is the other's own fault.
    hosts.refusing.remove("acme-1");
    assert!(hosts.at(601).starts_with("beta-1 - (beta-1 refused it"));
}

#[test]
fn mode_duplicated_moves_nothing() {
    let mut hosts = Hosts::new(&["acme-1", "beta-1"], Mode::Duplicated, &["beta-1"]);
    for second in [0, 60, 600] {
        assert_eq!(hosts.at(second), "", "at {second} s");
    }
}
