//! What would happen, in words.

use super::*;
use crate::workload::Share;

impl Federation {
    fn simulate(&self, changes: &[Change]) -> Result<Simulation, SimulateError> {
        let (name, owner) = ("acme-1".parse().unwrap(), "acme".parse().unwrap());
        simulate(&self.state, self.hearsay(), (&name, &owner), changes)
    }

    /// What would change for [`WEB`], in words.
    fn would(&self, change: Change) -> String {
        let mut simulation = self.simulate(&[change]).unwrap();
        let Some(difference) = simulation.workloads.remove(&WEB.parse().unwrap()) else {
            return "nothing".to_owned();
        };
        let share = |share: &Option<Share>| share.as_ref().map_or(0, Share::total);
        let moves = difference.moves.iter();
        let moves = moves.map(|(name, it)| format!("{name} {}>{}", share(&it.from), share(&it.to)));
        let mut words: Vec<_> = moves.collect();
        words.extend((difference.missing > 0).then(|| format!("{} missing", difference.missing)));
        words.extend(difference.unplaced);
        words.extend(simulation.no_quorum.map(|gap| gap.to_string()));
        words.join(", ")
    }
}

fn lose(domain: FailureDomain, name: &str) -> Change {
    let name = name.to_owned();
    Change::Lose { domain, name }
}

#[test]
fn the_loss_of_a_member_moves_its_share_as_the_failover_would_and_changes_nothing() {
    let mut federation =
        Federation::of(&["acme-1", "beta-1", "gamma-1"]).with(Mode::Divided, Some(6));
    federation.step();
    let before = federation.state.clone();
    assert_eq!(
        federation.would(lose(FailureDomain::Cluster, "acme-1")),
        "acme-1 2>0, beta-1 2>3, gamma-1 2>3"
    );
    assert_eq!(federation.state, before);
    federation.lose("acme-1").step();
    let shares = federation.shares();
    assert_eq!(
        shares,
        BTreeMap::from([("beta-1".into(), 3), ("gamma-1".into(), 3)])
    );
}

#[test]
fn a_single_ends_where_it_would_start_again() {
    let mut federation = Federation::of(&["acme-1", "acme-2"]).with(Mode::Single, None);
    federation.step();
    assert_eq!(
        federation.would(lose(FailureDomain::Cluster, "acme-1")),
        "acme-1 1>0, acme-2 0>1"
    );
}

#[test]
fn what_nobody_could_take_over_is_missing_and_says_why() {
    let mut federation = Federation::of(&["acme-1", "acme-2", "beta-1"]);
    federation.change("beta-1", |row| row.grants.clear());
    federation.put(Mode::Divided, Some(4), |_| {});
    federation.step();
    assert_eq!(
        federation.would(lose(FailureDomain::Owner, "acme")),
        "acme-1 2>0, acme-2 2>0, 4 missing, none of the 3 members may host it \
         (acme-1: its lease ended: no heartbeat arrived in time; acme-2: its lease ended: no heartbeat arrived in time; \
         beta-1: no HostingPolicy there grants owner 'acme' namespace 'shop')"
    );
    let simulation = federation.simulate(&[lose(FailureDomain::Owner, "acme")]);
    assert_eq!(simulation.unwrap().failing, 1);
    let simulation = federation.simulate(&[lose(FailureDomain::Cluster, "acme-1")]);
    assert_eq!(simulation.unwrap().failing, 0);
}

#[test]
fn without_a_quorum_nothing_moves() {
    let mut federation =
        Federation::of(&["acme-1", "beta-1", "gamma-1"]).with(Mode::Divided, Some(3));
    federation.elect(&["acme-1", "beta-1", "gamma-1"]);
    federation.step();
    let changes = ["acme-1", "beta-1"].map(|name| lose(FailureDomain::Cluster, name));
    let simulation = federation.simulate(&changes).unwrap();
    let key: WorkloadKey = WEB.parse().unwrap();
    assert_eq!(simulation.workloads[&key].missing, 2);
    assert_eq!(
        simulation.workloads[&key].survives,
        (Some(FailureDomain::Owner), None)
    );
    assert_eq!(
        simulation.no_quorum.unwrap().to_string(),
        "the federation has 1 of 3 voters, and nothing is decided with less than 2"
    );
}

#[test]
fn a_new_member_takes_nothing_from_others_and_makes_more_survivable() {
    let mut federation = Federation::of(&["acme-1", "acme-2"]).with(Mode::Divided, Some(4));
    federation.step();
    let row = member_row("beta-1", 1);
    let simulation = federation.simulate(&[Change::Add {
        name: "beta-1".parse().unwrap(),
        owner: row.owner,
        attributes: row.attributes,
        grants: row.grants,
    }]);
    let simulation = simulation.unwrap();
    let difference = &simulation.workloads[&WEB.parse().unwrap()];
    assert_eq!(difference.moves, BTreeMap::new());
    assert_eq!(
        difference.survives,
        (Some(FailureDomain::Provider), Some(FailureDomain::Owner))
    );
}

#[test]
fn an_edit_shows_what_would_move() {
    let mut federation = Federation::of(&["acme-1", "acme-2"]).with(Mode::Divided, Some(4));
    federation.step();
    let workload = &federation.state.workloads[&WEB.parse::<WorkloadKey>().unwrap()];
    let mut spec = (*workload.spec).clone();
    let only = BTreeMap::from([("hanse.dev/member".to_owned(), "acme-2".to_owned())]);
    spec.placement.match_labels = only;
    let key = WEB.parse().unwrap();
    assert_eq!(
        federation.would(Change::Put { key, spec }),
        "acme-1 2>0, acme-2 2>4"
    );
}

#[test]
fn an_edit_to_single_ends_with_one_copy_and_one_that_breaks_a_rule_is_refused() {
    let mut federation = Federation::of(&["acme-1", "acme-2"]).with(Mode::Divided, Some(2));
    federation.step();
    let key: WorkloadKey = WEB.parse().unwrap();
    let mut spec = (*federation.state.workloads[&key].spec).clone();
    spec.placement.mode = Mode::Single;
    let put = |spec: &WorkloadSpec| Change::Put {
        key: key.clone(),
        spec: spec.clone(),
    };
    let error = federation.simulate(&[put(&spec)]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "workload 'acme/shop/web' would be refused: `placement.replicas` must be 0, 1 or absent with mode 'Single', not 2"
    );
    spec.placement.replicas = Some(1);
    assert_eq!(federation.would(put(&spec)), "acme-2 1>0");
}

#[test]
fn others_workloads_are_counted_and_not_shown() {
    let mut federation = Federation::of(&["acme-1", "acme-2"]);
    let web = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
    let rules = PlacementRules::new(Mode::Single);
    federation.put_named("beta/shop/web", vec![web], rules);
    federation.step();
    let simulation = federation.simulate(&[lose(FailureDomain::Cluster, "acme-1")]);
    let simulation = simulation.unwrap();
    assert_eq!(simulation.workloads, BTreeMap::new());
    assert_eq!((simulation.others, simulation.failing), (1, 0));
}

#[test]
fn what_is_lost_must_be_there_and_what_is_added_must_not() {
    let federation = Federation::of(&["acme-1"]);
    let error = federation.simulate(&[lose(FailureDomain::Provider, "hetzner")]);
    assert_eq!(
        error.unwrap_err().to_string(),
        "no member that holds its lease belongs to provider 'hetzner'"
    );
    let row = member_row("acme-1", 1);
    let error = federation.simulate(&[Change::Add {
        name: "acme-1".parse().unwrap(),
        owner: row.owner,
        attributes: row.attributes,
        grants: row.grants,
    }]);
    assert_eq!(
        error.unwrap_err().to_string(),
        "a member is called 'acme-1' already"
    );
}
