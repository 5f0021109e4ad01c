//! Which failures a workload survives: somebody else may host it, and a quorum is left that can decide so.

use super::*;
use crate::{id::NodeId, state::Seat};

impl Federation {
    /// Makes these members the voters.
    pub(super) fn elect(&mut self, names: &[&str]) -> &mut Self {
        self.state.voters.clear();
        for (node, name) in (100..).zip(names) {
            self.change(name, |row| {
                row.seat = Some(Seat {
                    node: NodeId(node),
                    address: String::new(),
                });
            });
            self.state.voters.insert(NodeId(node));
        }
        self
    }

    fn survival(&mut self) -> (Option<FailureDomain>, String) {
        let findings = self.found().1;
        let gap = findings.gap.as_ref().map(ToString::to_string);
        (findings.survives, gap.unwrap_or_default())
    }
}

#[test]
fn an_owner_with_most_of_the_voters_takes_the_quorum_along() {
    let mut federation =
        Federation::of(&["acme-1", "acme-2", "beta-1"]).with(Mode::Divided, Some(2));
    assert_eq!(
        federation.survival(),
        (Some(FailureDomain::Owner), String::new())
    );
    federation.elect(&["acme-1", "acme-2", "beta-1"]);
    let gap = "without owner 'acme' the federation has 1 of 3 voters, and nothing is decided with less than 2";
    assert_eq!(
        federation.survival(),
        (Some(FailureDomain::Provider), gap.to_owned())
    );
    federation.change("acme-1", |row| row.attributes.provider = "hetzner".into());
    federation.change("acme-2", |row| row.attributes.provider = "hetzner".into());
    let gap = "without provider 'hetzner' the federation has 1 of 3 voters, and nothing is decided with less than 2";
    assert_eq!(
        federation.survival(),
        (Some(FailureDomain::Region), gap.to_owned())
    );
}

#[test]
fn with_one_voter_or_with_one_lost_nothing_is_survived() {
    let mut federation =
        Federation::of(&["acme-1", "beta-1", "gamma-1"]).with(Mode::Divided, Some(3));
    federation.elect(&["acme-1"]);
    let gap = "without member 'acme-1' the federation has 0 of 1 voters, and nothing is decided with less than 1";
    assert_eq!(federation.survival(), (None, gap.to_owned()));
    federation.elect(&["acme-1", "beta-1", "gamma-1"]);
    assert_eq!(
        federation.survival(),
        (Some(FailureDomain::Owner), String::new())
    );
    let gap = "without member 'gamma-1' the federation has 1 of 3 voters, and nothing is decided with less than 2";
    assert_eq!(federation.lose("acme-1").survival(), (None, gap.to_owned()));
}

#[test]
fn a_voter_whose_ledger_answers_nothing_is_one_less_though_its_member_holds_its_lease() {
    let mut federation =
        Federation::of(&["acme-1", "beta-1", "gamma-1"]).with(Mode::Divided, Some(3));
    federation.elect(&["acme-1", "beta-1", "gamma-1"]);
    federation.plan();
    federation.silent_voters.insert(NodeId(100));
    let gap = "without member 'gamma-1' the federation has 1 of 3 voters, and nothing is decided with less than 2";
    assert_eq!(federation.survival(), (None, gap.to_owned()));
    federation.silent_voters.clear();
    assert_eq!(
        federation.survival(),
        (Some(FailureDomain::Owner), String::new())
    );
}

#[test]
fn who_has_no_second_host_is_told_which_domain_has_them_all() {
    let mut federation =
        Federation::of(&["acme-1", "acme-2", "beta-1"]).with(Mode::Divided, Some(2));
    federation.change("beta-1", |row| row.grants.clear());
    assert_eq!(
        federation.survival(),
        (
            Some(FailureDomain::Provider),
            "without owner 'acme' no other member may host it".to_owned()
        )
    );
    federation.change("acme-1", |row| row.grants.clear());
    federation.change("acme-2", |row| row.grants.clear());
    federation.lose("acme-1").lose("acme-2");
    assert_eq!(
        federation.survival(),
        (None, "no other member may host it".to_owned())
    );
}
