//! The planner's specification: a federation in a line, a plan in a line.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    capacity::Capacities,
    command::{Attributes, Command, PlacementChange, Scheduling, SignedCommand},
    domain::FailureDomain,
    grant::{Grant, GrantedNamespaces, Grantee, PodSecurity},
    id::{
        Digest, Epoch, FederationId, Generation, MemberName, NodeId, PrivateKey, PublicKey,
        WorkloadKey,
    },
    level::Level,
    per_host::PerHost,
    slice::{PlacementPhase, PlacementReport},
    state::{Completion, Lease, Member, Placement, State, Workload},
    workload::{GroupKind, HealthRule, Mode, PlacementRules, WorkloadSpec},
};

mod capacity;
mod drain;
mod failback;
mod increments;
mod refusals;
mod requirements;
mod simulate;
mod spread;
mod surge;
mod survival;
mod tasks;
mod unready;

const WEB: &str = "acme/shop/web";

/// Members are owned by the part of their name before the hyphen and grant everything unless told otherwise.
struct Federation {
    state: State,
    index: u64,
    /// What hosts object to by now.
    observations: Observations,
    /// Who is silent by now.
    silent: BTreeSet<MemberName>,
    /// Who is not heard yet.
    unheard: BTreeSet<MemberName>,
    /// What members report of their capacity.
    capacities: Capacities,
    /// Whose API servers are down by now.
    control_planes_down: BTreeSet<MemberName>,
    /// Whose ledgers answer nothing by now.
    silent_voters: BTreeSet<NodeId>,
    /// How far hosts have come.
    reports: PerHost<Arc<PlacementReport>>,
    /// Has seen all moments.
    observer: Observer,
    /// Has made all plans of this federation.
    planner: Planner,
}

impl Federation {
    fn of(members: &[&str]) -> Self {
        let mut federation = Self {
            state: State::default(),
            index: 10,
            observations: Observations::default(),
            silent: BTreeSet::new(),
            unheard: BTreeSet::new(),
            capacities: Capacities::new(),
            reports: PerHost::default(),
            control_planes_down: BTreeSet::new(),
            silent_voters: BTreeSet::new(),
            observer: Observer::default(),
            planner: Planner::default(),
        };
        for (seed, name) in (1..).zip(members) {
            federation
                .state
                .members
                .insert(name.parse().unwrap(), member_row(name, seed));
        }
        federation
    }

    fn with(mut self, mode: Mode, replicas: Option<u32>) -> Self {
        self.put(mode, replicas, |_| {});
        self
    }

    fn put(&mut self, mode: Mode, replicas: Option<u32>, rules: impl Fn(&mut PlacementRules)) {
        let mut placement = PlacementRules {
            replicas,
            ..PlacementRules::new(mode)
        };
        rules(&mut placement);
        self.put_manifests(&[("web", 1)], placement);
    }

    /// The workload with these Deployments.
    fn put_manifests(&mut self, deployments: &[(&str, u32)], placement: PlacementRules) {
        let manifests = deployments.iter().map(|(name, replicas)| {
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": replicas}})
        });
        self.put_objects(manifests.collect(), placement);
    }

    fn put_objects(&mut self, manifests: Vec<serde_json::Value>, placement: PlacementRules) {
        self.put_named(WEB, manifests, placement);
    }

    fn put_named(
        &mut self,
        name: &str,
        manifests: Vec<serde_json::Value>,
        placement: PlacementRules,
    ) {
        let key: WorkloadKey = name.parse().unwrap();
        let spec = WorkloadSpec::new(manifests, placement, &key.namespace).unwrap();
        let command = Command::PutWorkload {
            key: key.clone(),
            base: Generation(0),
            spec: spec.clone(),
        };
        let proof = SignedCommand::sign(
            &FederationId([0; 16]),
            &PrivateKey::from_seed(&[9; 32]),
            1,
            &command,
        );
        self.index += 1;
        let workload = Workload {
            proof: proof.into(),
            longest_grace: spec.grace_seconds(),
            spec: spec.into(),
            home: "acme-1".parse().unwrap(),
            generation: Generation(self.index),
            born: Generation(1),
            removed: false,
            completed: BTreeMap::new(),
            avoided: BTreeMap::new(),
        };
        self.state.workloads.insert(key, workload);
    }

    fn change(&mut self, name: &str, change: impl FnOnce(&mut Member)) -> &mut Self {
        self.index += 1;
        let row = self
            .state
            .members
            .get_mut(&name.parse::<MemberName>().unwrap())
            .unwrap();
        change(row);
        row.generation = Generation(self.index);
        self
    }

    fn lose(&mut self, name: &str) -> &mut Self {
        let epoch = Epoch(self.index + 1);
        self.change(name, |row| {
            row.lease = Lease::Lost {
                epoch,
                fenced: false,
            }
        })
    }

    fn schedule(&mut self, name: &str, scheduling: Scheduling) -> &mut Self {
        self.change(name, |row| row.attributes.scheduling = scheduling)
    }

    /// `name` reports how far it has come with what it has of a workload by now.
    fn come(&mut self, key: &WorkloadKey, name: &str, phase: PlacementPhase) {
        let member: MemberName = name.parse().unwrap();
        let Some(row) = self.state.placements.get(key, &member) else {
            return;
        };
        let report = PlacementReport {
            epoch: row.epoch,
            generation: self.state.workloads[key].generation,
            phase,
            ready: row.share.total(),
            runs: true,
            rolls_out: false,
            desired: None,
            scaled_by: None,
            message: String::new(),
        };
        self.reports.insert(key.clone(), member, report.into());
    }

    /// The ledger learns that an object has done what it is for.
    fn complete(&mut self, key: &WorkloadKey, object: &str) {
        let completion = Completion {
            manifest: Digest([0; 32]),
            members: BTreeSet::new(),
        };
        if let Some(row) = self.state.workloads.get_mut(key) {
            row.completed.insert(object.parse().unwrap(), completion);
        }
    }

    fn hearsay(&self) -> Hearsay<'_> {
        Hearsay {
            observations: &self.observations,
            silent: &self.silent,
            unheard: &self.unheard,
            capacities: &self.capacities,
            reports: Some(&self.reports),
            control_planes_down: &self.control_planes_down,
            silent_voters: &self.silent_voters,
        }
    }

    /// The plan of a planner that knows nothing yet.
    fn fresh(&self) -> (Vec<PlacementChange>, Planner) {
        let mut planner = Planner::default();
        (planner.plan(&self.state, self.hearsay()), planner)
    }

    /// The plan of the planner that knows all states so far, which is the same.
    fn plan(&mut self) -> Vec<PlacementChange> {
        let mut planner = std::mem::take(&mut self.planner);
        let changes = planner.plan(&self.state, self.hearsay());
        self.planner = planner;
        let (expected, fresh) = self.fresh();
        assert_eq!(changes, expected);
        assert_eq!(found(&self.planner), found(&fresh));
        changes
    }

    /// What was found about [`WEB`].
    fn found(&mut self) -> (Option<String>, Findings) {
        self.plan();
        found(&self.planner).remove(&WEB.parse().unwrap()).unwrap()
    }

    /// The plan at this second of the leader's clock, in words, then applied; a host confirms at once what it has to remove.
    fn at(&mut self, second: u64) -> String {
        self.observations = self.observer.observe(Seen {
            now: Duration::from_secs(second),
            state: &self.state,
            reports: &self.reports,
            capacities: &self.capacities,
            unsure: &(&self.silent | &self.control_planes_down),
        });
        let words = self.step();
        self.state.removals = PerHost::default();
        words
    }

    /// The plan in words, then applied as the ledger would.
    fn step(&mut self) -> String {
        let changes = self.plan();
        let words = changes.iter().map(|row| match &row.share {
            Some(share) => {
                let surge = row.surge.as_ref();
                let surge = surge.map_or_else(String::new, |it| format!(", {} more", it.share));
                format!("{} {share}{surge} ({})", row.member, row.reason)
            }
            None => format!("{} - ({})", row.member, row.reason),
        });
        let words = words.collect::<Vec<_>>().join("; ");
        self.index += 1;
        self.state.apply_plan(self.index, &changes);
        words
    }

    fn unplaced(&mut self) -> Option<String> {
        self.found().0
    }

    fn shares(&self) -> BTreeMap<String, u32> {
        let key = WEB.parse().unwrap();
        let rows = self.state.placements.of(&key);
        rows.map(|(name, row)| (name.to_string(), row.share.total()))
            .collect()
    }
}

/// What a planner found about each workload, whatever it numbers it by.
fn found(planner: &Planner) -> BTreeMap<WorkloadKey, (Option<String>, Findings)> {
    let diagnoses = planner.diagnoses().iter();
    let found = diagnoses.map(|(key, diagnosis)| {
        let shared = &planner.findings()[&diagnosis.findings];
        let findings = diagnosis.own.as_ref().unwrap_or(shared).clone();
        (key.clone(), (diagnosis.unplaced.clone(), findings))
    });
    found.collect()
}

fn member_row(name: &str, seed: u8) -> Member {
    Member {
        owner: name.split('-').next().unwrap().parse().unwrap(),
        key: PublicKey([seed; 32]),
        sponsor: None,
        attributes: Attributes::default(),
        version: String::new(),
        level: Level::FIRST,
        grants: vec![Grant {
            grantee: Grantee::Any,
            namespaces: GrantedNamespaces::Any,
            kinds: BTreeSet::from([GroupKind {
                group: "apps".into(),
                kind: "Deployment".into(),
            }]),
            host_namespace: None,
            pod_security: PodSecurity::Restricted,
        }],
        kinds: None,
        seat: None,
        lease: Lease::Held { epoch: Epoch(1) },
        generation: Generation(1),
    }
}

#[test]
fn each_object_is_divided_by_its_own_count() {
    let mut federation = Federation::of(&["acme-1", "acme-2", "acme-3"]);
    let divided = || PlacementRules::new(Mode::Divided);
    federation.put_manifests(&[("front", 3), ("worker", 1)], divided());
    assert_eq!(
        federation.step(),
        "acme-1 Deployment.apps/front 1, Deployment.apps/worker 1 (placed for the first time); \
         acme-2 Deployment.apps/front 1, Deployment.apps/worker 0 (placed for the first time); \
         acme-3 Deployment.apps/front 1, Deployment.apps/worker 0 (placed for the first time)"
    );
    assert_eq!(federation.step(), "");
    assert_eq!(
        federation.lose("acme-1").step(),
        "acme-1 - (acme-1 was lost); \
         acme-2 Deployment.apps/front 2, Deployment.apps/worker 1 (acme-1 was lost)"
    );
}

#[test]
fn the_limits_of_an_autoscaler_are_divided_over_the_members_that_have_a_part_of_its_minimum() {
    let mut federation = Federation::of(&["acme-1", "acme-2", "acme-3"]);
    let scaled = |min: u32, max: u32| {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        vec![
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}),
            json!({
                "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
                "spec": {"minReplicas": min, "maxReplicas": max, "scaleTargetRef": target},
            }),
        ]
    };
    for name in ["acme-1", "acme-2", "acme-3"] {
        federation.change(name, |row| row.owner = "acme".parse().unwrap());
    }
    let mut limits = |min, max| {
        federation.put_objects(scaled(min, max), PlacementRules::new(Mode::Divided));
        federation.step();
        let rows = federation.state.placements.rows(&WEB.parse().unwrap());
        let (web, most) = (
            "Deployment.apps/web".parse().unwrap(),
            "HorizontalPodAutoscaler.autoscaling/web:max"
                .parse()
                .unwrap(),
        );
        let limits = rows
            .values()
            .map(|row| (row.share.of(&web), row.share.of(&most)));
        limits.collect::<Vec<_>>()
    };
    assert_eq!(limits(4, 10), [(2, 4), (1, 3), (1, 3)]);
    assert_eq!(limits(4, 13), [(2, 5), (1, 4), (1, 4)]);
    assert_eq!(limits(2, 7), [(1, 4), (1, 3)]);
}

#[test]
fn at_zero_a_workload_stays_where_it_is_and_starts_there_again() {
    let mut federation = Federation::of(&["acme-1", "acme-2"]).with(Mode::Divided, Some(2));
    federation.step();
    federation.put(Mode::Divided, Some(0), |_| {});
    assert_eq!(
        federation.step(),
        "acme-1 0 (the workload changed); acme-2 0 (the workload changed)"
    );
    assert_eq!(federation.step(), "");
    federation.put(Mode::Divided, Some(2), |_| {});
    assert_eq!(
        federation.step(),
        "acme-1 1 (the workload changed); acme-2 1 (the workload changed)"
    );
}

#[test]
fn a_workload_that_starts_at_zero_exists_in_one_place() {
    let mut federation = Federation::of(&["acme-1", "acme-2"]).with(Mode::Divided, Some(0));
    assert_eq!(federation.step(), "acme-1 0 (placed for the first time)");
    assert_eq!(federation.step(), "");
    assert_eq!(
        federation.lose("acme-1").step(),
        "acme-1 - (acme-1 was lost); acme-2 0 (acme-1 was lost)"
    );
}

#[test]
fn divided_replicas_spread_evenly_and_then_stay() {
    let mut federation =
        Federation::of(&["acme-1", "beta-1", "gamma-1"]).with(Mode::Divided, Some(6));
    let first = "placed for the first time";
    assert_eq!(
        federation.step(),
        format!("acme-1 2 ({first}); beta-1 2 ({first}); gamma-1 2 ({first})")
    );
    assert_eq!(federation.step(), "");
}

#[test]
fn a_lost_members_share_moves_and_nothing_else() {
    let mut federation =
        Federation::of(&["acme-1", "beta-1", "gamma-1"]).with(Mode::Divided, Some(6));
    federation.step();
    federation.lose("beta-1");
    let why = "beta-1 was lost";
    assert_eq!(
        federation.step(),
        format!("beta-1 - ({why}); acme-1 3 ({why}); gamma-1 3 ({why})")
    );
    assert_eq!(federation.step(), "");
}

#[test]
fn a_member_that_returns_gets_nothing_back_by_itself() {
    let mut federation = Federation::of(&["acme-1", "beta-1"]).with(Mode::Divided, Some(4));
    federation.step();
    federation.lose("beta-1").step();
    federation.change("beta-1", |row| row.lease = Lease::Held { epoch: Epoch(99) });
    assert_eq!(federation.step(), "");
    assert_eq!(federation.shares(), BTreeMap::from([("acme-1".into(), 4)]));
}

#[test]
fn what_nobody_may_host_stays_where_it_is_and_says_why() {
    let mut federation = Federation::of(&["acme-1", "beta-1"]).with(Mode::Divided, Some(4));
    federation.step();
    federation.lose("acme-1").lose("beta-1");
    assert_eq!(federation.step(), "");
    assert_eq!(
        federation.unplaced().as_deref(),
        Some("none of the 2 members may host it")
    );
}

#[test]
fn a_duplicated_workload_runs_everywhere_and_keeps_its_row_on_a_lost_member() {
    let mut federation = Federation::of(&["acme-1", "beta-1"]).with(Mode::Duplicated, Some(3));
    assert_eq!(
        federation.step(),
        "acme-1 3 (every member that may host it runs it); beta-1 3 (every member that may host it runs it)"
    );
    federation.lose("beta-1");
    assert_eq!(federation.step(), "");
    federation.change("beta-1", |row| row.lease = Lease::Held { epoch: Epoch(99) });
    assert_eq!(federation.step(), "");
}

#[test]
fn a_revoked_grant_moves_the_workload_away() {
    let mut federation = Federation::of(&["acme-1", "beta-1"]).with(Mode::Divided, Some(4));
    federation.step();
    federation.change("beta-1", |row| row.grants.clear());
    let why =
        "beta-1 may no longer host it: no HostingPolicy there grants owner 'acme' namespace 'shop'";
    assert_eq!(
        federation.step(),
        format!("beta-1 - ({why}); acme-1 4 ({why})")
    );
}

#[test]
fn a_cordoned_member_keeps_what_it_runs_and_gets_nothing_new() {
    let mut federation = Federation::of(&["acme-1", "beta-1"]).with(Mode::Divided, Some(2));
    federation.step();
    federation.schedule("beta-1", Scheduling::Cordoned);
    assert_eq!(federation.step(), "");
    let mut fresh = Federation::of(&["acme-1", "beta-1"]).with(Mode::Divided, Some(2));
    fresh.schedule("beta-1", Scheduling::Cordoned).step();
    assert_eq!(fresh.shares(), BTreeMap::from([("acme-1".into(), 2)]));
}

#[test]
fn a_single_prefers_its_owners_member_and_never_starts_again_before_the_stop_is_certain() {
    let mut federation = Federation::of(&["acme-1", "beta-1"]).with(Mode::Single, None);
    assert_eq!(federation.step(), "acme-1 1 (placed for the first time)");
    federation.lose("acme-1");
    assert_eq!(federation.step(), "acme-1 - (acme-1 was lost)");
    assert_eq!(federation.step(), "");
    assert!(
        federation
            .unplaced()
            .unwrap()
            .starts_with("waiting to be certain that its copy on acme-1 has stopped")
    );
    federation.change("acme-1", |row| {
        row.lease = Lease::Lost {
            epoch: Epoch(3),
            fenced: true,
        }
    });
    assert_eq!(federation.step(), "beta-1 1 (acme-1 was lost)");
    assert_eq!(federation.unplaced(), None);
}

#[test]
fn a_single_goes_back_at_once_to_a_member_that_returns_before_its_stop_is_certain() {
    let mut federation = Federation::of(&["acme-1", "acme-2"]).with(Mode::Single, None);
    federation.schedule("acme-1", Scheduling::Cordoned);
    assert_eq!(federation.step(), "acme-2 1 (placed for the first time)");
    // From now on acme-1 comes first, and would have to wait.
    federation.schedule("acme-1", Scheduling::Enabled);
    assert_eq!(
        federation.lose("acme-2").step(),
        "acme-2 - (acme-2 was lost)"
    );
    federation.change("acme-2", |row| row.lease = Lease::Held { epoch: Epoch(99) });
    assert!(federation.step().starts_with("acme-2 1 "));
    assert_eq!(federation.unplaced(), None);
}

#[test]
fn every_member_ruled_out_has_the_first_reason_against_it() {
    let mut federation = Federation::of(&["acme-1", "beta-1", "gamma-1", "delta-1", "eta-1"]);
    federation.put(Mode::Divided, None, |rules| {
        rules.domicile = BTreeSet::from(["CH".into(), "EU".into()]);
        rules.match_labels = BTreeMap::from([("gpu".into(), "h200".into())]);
    });
    let gpu =
        |row: &mut Member| row.attributes.labels = BTreeMap::from([("gpu".into(), "h200".into())]);
    federation
        .lose("acme-1")
        .change("beta-1", |row| row.grants.clear());
    federation.change("delta-1", gpu).change("eta-1", |row| {
        gpu(row);
        row.attributes.jurisdiction = "US".into();
    });
    let excluded = federation.found().1.excluded;
    let named = excluded.named().into_iter();
    let reasons: Vec<_> = named
        .map(|(name, (reason, message))| format!("{name} {reason}: {message}"))
        .collect();
    assert_eq!(
        reasons,
        [
            "acme-1 LeaseNotHeld: its lease ended: no heartbeat arrived in time",
            "beta-1 NotGranted: no HostingPolicy there grants owner 'acme' namespace 'shop'",
            "delta-1 OutsideDomicile: it names no jurisdiction, and the workload must stay in CH, EU",
            "eta-1 OutsideDomicile: it is in US, and the workload must stay in CH, EU",
            "gamma-1 LabelsDoNotMatch: its label 'gpu' is not 'h200'",
        ]
    );
}

#[test]
fn a_member_that_does_not_serve_a_kind_gets_no_part_and_keeps_one_until_it_refuses_it() {
    let mut federation = Federation::of(&["acme-1", "acme-2"]);
    let kinds = |names: &[&str]| {
        let kind = |name: &&str| GroupKind {
            group: "shop.example".into(),
            kind: (*name).into(),
        };
        Some(Arc::new(names.iter().map(kind).collect()))
    };
    for name in ["acme-1", "acme-2"] {
        federation.change(name, |row| row.kinds = kinds(&["Sale"]));
    }
    federation.change("acme-2", |row| row.kinds = kinds(&[]));
    let sale = json!({"apiVersion": "shop.example/v1", "kind": "Sale", "metadata": {"name": "s"}});
    federation.put_objects(vec![sale.clone()], PlacementRules::new(Mode::Duplicated));
    let every = "every member that may host it runs it";
    assert_eq!(federation.step(), format!("acme-1 1 ({every})"));
    let excluded = federation.found().1.excluded;
    let message = "it does not serve shop.example/Sale: its definition is not installed there";
    let name: MemberName = "acme-2".parse().unwrap();
    assert_eq!(excluded.named()[&name], ("KindNotServed", message));
    federation.change("acme-2", |row| row.kinds = kinds(&["Sale"]));
    assert_eq!(federation.step(), format!("acme-2 1 ({every})"));
    federation.change("acme-1", |row| row.kinds = kinds(&[]));
    assert_eq!(federation.step(), "");
    // A workload that brings the definition needs no member that has it.
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "sales.shop.example"},
        "spec": {"group": "shop.example", "names": {"kind": "Sale", "plural": "sales"}},
    });
    let spec = WorkloadSpec::new(
        vec![definition, sale],
        PlacementRules::new(Mode::Divided),
        &"shop".parse().unwrap(),
    );
    let needed = spec.unwrap().kinds_needed();
    let needed: Vec<_> = needed.iter().map(ToString::to_string).collect();
    assert_eq!(needed, ["apiextensions.k8s.io/CustomResourceDefinition"]);
}

#[test]
fn a_member_whose_operator_does_not_know_what_a_workload_uses_gets_no_part_and_gives_up_one() {
    let mut federation = Federation::of(&["acme-1", "acme-2"]).with(Mode::Divided, Some(2));
    federation.step();
    federation.change("acme-2", |row| row.level = Level::NEWEST);
    let rule = HealthRule {
        kind: "Deployment".into(),
        ready: "true".into(),
        ..HealthRule::default()
    };
    federation.put(Mode::Divided, Some(3), |_| {});
    let row = federation
        .state
        .workloads
        .get_mut(&WEB.parse::<WorkloadKey>().unwrap());
    Arc::make_mut(&mut row.unwrap().spec).health = vec![rule];
    federation.step();
    assert_eq!(
        federation.shares(),
        BTreeMap::from([("acme-2".to_owned(), 3)])
    );
    let excluded = federation.found().1.excluded;
    let name: MemberName = "acme-1".parse().unwrap();
    let message = "its operator knows level 1, and the workload uses level 2: upgrade it";
    assert_eq!(excluded.named()[&name], ("OperatorTooOld", message));
}

#[test]
fn survives_names_the_largest_domain_whose_loss_leaves_a_host() {
    let survives = |members: &[(&str, &str, &str)]| {
        let names: Vec<_> = members.iter().map(|(name, _, _)| *name).collect();
        let mut federation = Federation::of(&names).with(Mode::Divided, Some(2));
        for (name, provider, region) in members {
            federation.change(name, |row| {
                row.attributes.provider = (*provider).into();
                row.attributes.region = (*region).into();
            });
        }
        federation.found().1.survives
    };
    assert_eq!(survives(&[("acme-1", "p", "r")]), None);
    assert_eq!(
        survives(&[("acme-1", "p", "r"), ("acme-2", "p", "r")]),
        Some(FailureDomain::Cluster)
    );
    assert_eq!(
        survives(&[("acme-1", "p", "r"), ("acme-2", "p", "s")]),
        Some(FailureDomain::Region)
    );
    assert_eq!(
        survives(&[("acme-1", "p", "r"), ("acme-2", "q", "r")]),
        Some(FailureDomain::Provider)
    );
    assert_eq!(
        survives(&[("acme-1", "p", "r"), ("beta-1", "q", "r")]),
        Some(FailureDomain::Owner)
    );
    assert_eq!(
        survives(&[("acme-1", "p", "r"), ("beta-1", "p", "r")]),
        Some(FailureDomain::Cluster)
    );
}

fn mode() -> impl Strategy<Value = Mode> {
    prop_oneof![
        Just(Mode::Divided),
        Just(Mode::Duplicated),
        Just(Mode::Single)
    ]
}

proptest! {
    /// Whatever happens to members, in whatever order: a plan applied leaves nothing to plan, nothing is placed where a
    /// filter objects, and what somebody may host is placed.
    #[test]
    fn every_plan_is_valid_and_settles(
        mode in mode(),
        replicas in 1_u32..20,
        events in prop::collection::vec((0_usize..4, 0_u8..5), 0..24),
    ) {
        let names = ["acme-1", "acme-2", "beta-1", "gamma-1"];
        let replicas = if mode == Mode::Single { None } else { Some(replicas) };
        let mut federation = Federation::of(&names).with(mode, replicas);
        federation.step();
        for (member, event) in events {
            let epoch = Epoch(federation.index + 1);
            let grants = member_row("x-1", 0).grants;
            federation.change(names[member], |row| match event {
                0 => row.lease = Lease::Lost { epoch, fenced: false },
                1 => row.lease = Lease::Held { epoch },
                2 => row.grants.clear(),
                3 => row.grants = grants,
                _ => row.lease = match row.lease {
                    Lease::Lost { epoch, .. } => Lease::Lost { epoch, fenced: true },
                    lease => lease,
                },
            });
            let plan = federation.plan();
            prop_assert_eq!(&plan, &federation.plan());
            let excluded = federation.found().1.excluded;
            for row in plan.iter().filter(|row| row.share.is_some()) {
                prop_assert!(!excluded.named().contains_key(&row.member), "{row:?}");
            }
            federation.step();
            // A `Single` that moves needs one more step once its old host is certain to have stopped.
            federation.step();
            prop_assert_eq!(federation.step(), "");
            let unplaced = federation.unplaced();
            let total: u32 = federation.shares().values().sum();
            if mode == Mode::Divided && unplaced.is_none() {
                prop_assert_eq!(Some(total), replicas);
            }
            if mode == Mode::Single {
                prop_assert!(total <= 1);
            }
        }
    }
}
