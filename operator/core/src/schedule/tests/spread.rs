//! In how many domains a workload runs, and how evenly.

use super::*;
use crate::{
    domain::FailureDomain,
    workload::{Spread, WorkloadSpec},
};

fn by_provider(min: Option<u32>, max: Option<u32>, max_skew: Option<u32>) -> Spread {
    Spread {
        by: Some(FailureDomain::Provider),
        min,
        max,
        max_skew,
        label: None,
    }
}

impl Federation {
    /// Members, each with the provider that its name begins with.
    fn at_providers(names: &[&str]) -> Self {
        let mut federation = Self::of(names);
        for name in names {
            federation.settle(name);
        }
        federation
    }

    fn settle(&mut self, name: &str) {
        let (provider, _) = name.split_once('-').unwrap();
        self.change(name, |row| row.attributes.provider = provider.to_owned());
    }

    fn put_spread(&mut self, mode: Mode, replicas: u32, spread: &[Spread]) -> &mut Self {
        self.put(mode, Some(replicas), |rules| rules.spread = spread.to_vec());
        self
    }

    /// What runs where, after everything is done.
    fn settled(&mut self) -> String {
        while !self.step().is_empty() {}
        let shares = self.shares().into_iter();
        let words = shares.map(|(name, replicas)| format!("{name} {replicas}"));
        words.collect::<Vec<_>>().join(", ")
    }
}

#[test]
fn replicas_are_as_even_over_domains_as_asked_whatever_the_number_of_members_in_each() {
    let mut federation = Federation::at_providers(&["big-1", "big-2", "big-3", "small-1"]);
    federation.put_spread(Mode::Divided, 8, &[]);
    assert_eq!(federation.settled(), "big-1 2, big-2 2, big-3 2, small-1 2");
    federation.put_spread(Mode::Divided, 8, &[by_provider(None, None, Some(1))]);
    assert_eq!(federation.settled(), "big-1 2, big-2 1, big-3 1, small-1 4");
    assert_eq!(federation.unplaced(), None);
}

#[test]
fn it_runs_in_no_more_domains_than_allowed_also_after_a_loss() {
    let mut federation = Federation::at_providers(&["a-1", "b-1", "c-1"]);
    federation.put_spread(Mode::Divided, 6, &[by_provider(None, Some(2), None)]);
    assert_eq!(federation.settled(), "a-1 3, b-1 3");
    federation.lose("a-1");
    assert_eq!(federation.settled(), "b-1 3, c-1 3");
    federation.put_spread(Mode::Divided, 6, &[by_provider(None, Some(1), None)]);
    assert_eq!(federation.settled(), "b-1 6");
    federation.put_spread(Mode::Duplicated, 2, &[by_provider(None, Some(1), None)]);
    assert_eq!(federation.settled(), "b-1 2");
}

#[test]
fn it_moves_into_as_many_domains_as_it_has_to_be_in_and_says_when_there_are_too_few() {
    let mut federation = Federation::at_providers(&["a-1", "a-2"]);
    let rule = by_provider(Some(2), None, None);
    federation.put_spread(Mode::Divided, 4, std::slice::from_ref(&rule));
    assert_eq!(federation.settled(), "a-1 2, a-2 2");
    assert_eq!(
        federation.unplaced().unwrap(),
        "it runs in 1 provider, and `placement.spread` asks for at least 2"
    );
    federation
        .state
        .members
        .insert("b-1".parse().unwrap(), member_row("b-1", 3));
    federation.settle("b-1");
    assert_eq!(federation.settled(), "a-1 2, a-2 1, b-1 1");
    assert_eq!(federation.unplaced(), None);
}

#[test]
fn a_domain_that_is_new_moves_nothing() {
    let mut federation = Federation::at_providers(&["a-1", "b-1"]);
    federation.put_spread(Mode::Divided, 6, &[by_provider(None, None, Some(1))]);
    assert_eq!(federation.settled(), "a-1 3, b-1 3");
    federation
        .state
        .members
        .insert("c-1".parse().unwrap(), member_row("c-1", 3));
    federation.settle("c-1");
    assert_eq!(federation.step(), "");
}

#[test]
fn what_would_break_a_rule_is_not_placed_and_says_so() {
    let mut federation = Federation::at_providers(&["a-1", "b-1"]);
    federation.report("a-1", 1, true);
    let placement = PlacementRules {
        replicas: Some(6),
        spread: vec![by_provider(None, None, Some(2))],
        ..PlacementRules::new(Mode::Divided)
    };
    federation.put_named(WEB, vec![capacity::web(1)], placement);
    assert_eq!(federation.settled(), "a-1 1, b-1 3");
    assert_eq!(
        federation.unplaced().unwrap(),
        "2 of 6 replicas would break `placement.spread`; each asks for cpu 1"
    );
    federation.report("a-1", 1, true);
    assert_eq!(federation.settled(), "a-1 2, b-1 4");
}

#[test]
fn each_object_is_spread_by_itself() {
    let mut federation = Federation::at_providers(&["a-1", "b-1"]);
    let placement = PlacementRules {
        spread: vec![by_provider(None, None, Some(1))],
        ..PlacementRules::new(Mode::Divided)
    };
    federation.put_manifests(&[("web", 3), ("worker", 3)], placement);
    assert_eq!(federation.settled(), "a-1 4, b-1 2");
    assert_eq!(federation.unplaced(), None);
}

#[test]
fn a_rule_that_cannot_hold_is_refused() {
    let placement = PlacementRules {
        spread: vec![by_provider(Some(3), Some(2), None)],
        ..PlacementRules::new(Mode::Divided)
    };
    let web = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
    let refused = WorkloadSpec::new(vec![web], placement, &"shop".parse().unwrap());
    assert_eq!(
        refused.unwrap_err().to_string(),
        "`placement.spread[0]` must not have a `min` above its `max`"
    );
}
