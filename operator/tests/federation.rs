//! Three operators in one process, over real sockets, real TLS and real disks, without any API server.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::match_wild_err_arm,
    reason = "a test fails by panicking"
)]

mod full_disk;
mod loopback;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hanse_core::{
    capacity::{Capacity, MAX_SHAPES, Resources, Shape},
    command::{Attributes, Command},
    grant::{Grant, GrantedNamespaces, Grantee, PodSecurity},
    id::{Generation, MemberName, PrivateKey, WorkloadKey},
    level::Level,
    slice::Slice,
    state::{Lease, Outcome, Rejection},
    workload::{GroupKind, Mode, PlacementRules, WorkloadSpec},
};
use hanse_operator::{
    environment::{Build, Environment},
    identity::Membership,
    invitation::Invitation,
    peer::{Peer, TcpNetwork},
    run::Operator,
    settings::{AskedTimings, CapacityPolicy, Entry, RaftTimings, Settings},
    uplink::OwnCapacity,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

use full_disk::FullDisk;
use loopback::free_address;

/// Longer than any of these steps takes on a loaded machine. Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

struct Member {
    operator: Operator,
    settings: Settings,
    address: String,
    _directory: TempDir,
}

fn environment() -> Environment {
    Environment::of_this_machine(TcpNetwork::default(), None)
}

/// The environment of this machine, with this disk.
fn on(disk: &FullDisk) -> Environment {
    Environment {
        disk: Arc::new(disk.clone()),
        ..environment()
    }
}

async fn start(name: &str, owner: &str, entry: Entry) -> Member {
    start_on(environment(), name, owner, entry).await
}

async fn start_on(environment: Environment, name: &str, owner: &str, entry: Entry) -> Member {
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let mut settings = template(name, owner, &directory);
    settings.peer_listen.clone_from(&address);
    settings.peer_address = Some(address.clone());
    settings.entry = entry;
    let operator = timeout(PATIENCE, Operator::start(settings.clone(), environment))
        .await
        .unwrap()
        .unwrap();
    Member {
        operator,
        settings,
        address,
        _directory: directory,
    }
}

impl Member {
    async fn until(&self, what: &str, mut holds: impl FnMut(&Slice) -> bool) -> Arc<Slice> {
        let mut slices = self.operator.uplink.slice();
        let found = timeout(
            PATIENCE,
            slices.wait_for(|slice| slice.as_deref().is_some_and(&mut holds)),
        )
        .await;
        match found {
            Ok(slice) => slice.unwrap().clone().unwrap(),
            Err(_) => panic!(
                "{} never saw that {what}: {:#?}",
                self.settings.name,
                self.operator.uplink.slice().borrow()
            ),
        }
    }

    async fn propose(&self, command: Command) -> Outcome {
        timeout(PATIENCE, self.operator.uplink.propose(command))
            .await
            .unwrap()
            .unwrap()
    }

    async fn accepted(&self, command: Command) -> u64 {
        match self.propose(command).await {
            Outcome::Accepted { index } => index,
            Outcome::Rejected { rejection } => panic!("rejected: {rejection}"),
        }
    }

    fn peer(&self) -> Peer {
        Peer {
            address: self.address.clone(),
            key: self.operator.credentials.public(),
        }
    }

    async fn invite(&self, owner: &str) -> Invitation {
        let slice = self.until("there is a federation", |_| true).await;
        let invitation = Invitation {
            federation: slice.federation.id,
            owner: owner.parse().unwrap(),
            key: PrivateKey::from_seed(&rand::random()),
            expires_ms: u64::MAX,
            voters: vec![self.peer()],
        };
        let owner = invitation.owner.clone();
        self.accepted(Command::Invite {
            invitation: invitation.key.public(),
            owner,
            expires_ms: u64::MAX,
        })
        .await;
        invitation
    }
}

async fn three() -> [Member; 3] {
    three_with(environment()).await
}

/// The second of them has this environment.
async fn three_with(environment: Environment) -> [Member; 3] {
    let one = start("one", "acme", Entry::Found).await;
    let entry = Entry::Join(one.invite("beta").await);
    let two = start_on(environment, "two", "beta", entry).await;
    let three = start("three", "gamma", Entry::Join(one.invite("gamma").await)).await;
    for member in [&one, &two, &three] {
        member
            .until("three vote", |slice| slice.federation.voters.len() == 3)
            .await;
    }
    [one, two, three]
}

fn web() -> (WorkloadKey, WorkloadSpec) {
    let key: WorkloadKey = "acme/shop/web".parse().unwrap();
    let manifest = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {}});
    let rules = PlacementRules {
        replicas: Some(6),
        ..PlacementRules::new(Mode::Divided)
    };
    let spec = WorkloadSpec::new(vec![manifest], rules, &key.namespace).unwrap();
    (key, spec)
}

/// The same, each pod of which asks for so many cores.
fn requesting(cores: u32) -> (WorkloadKey, WorkloadSpec) {
    let (key, spec) = web();
    let containers = json!([{"resources": {"requests": {"cpu": cores}}}]);
    let template = json!({"spec": {"containers": containers}});
    let manifest = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"template": template}});
    let spec = WorkloadSpec::new(vec![manifest], spec.placement, &key.namespace).unwrap();
    (key, spec)
}

/// One node with so many cores, of which nothing placed so far is taken off.
fn cores(cores: u32) -> OwnCapacity {
    let shape = Shape {
        nodes: 1,
        free: Resources::of(&json!({"cpu": cores, "pods": 100})),
        taints: Vec::new(),
    };
    OwnCapacity::Measured(Arc::new(Capacity {
        shapes: vec![shape],
        ..Capacity::default()
    }))
}

fn grant_deployments() -> Command {
    let kinds = BTreeSet::from([GroupKind {
        group: "apps".into(),
        kind: "Deployment".into(),
    }]);
    Command::PublishGrants {
        grants: vec![Grant {
            grantee: Grantee::Any,
            namespaces: GrantedNamespaces::Any,
            kinds,
            host_namespace: None,
            pod_security: PodSecurity::Restricted,
        }],
    }
}

fn shares(slice: &Slice, key: &WorkloadKey) -> Vec<(MemberName, u32)> {
    let hosts = slice.workloads.get(key).map(|workload| &workload.hosts);
    let placed = hosts
        .into_iter()
        .flatten()
        .filter(|(_, host)| !host.removing);
    placed
        .map(|(member, host)| (member.clone(), host.replicas))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_leader_is_lost_the_others_run_its_replicas() {
    let [one, two, three] = three().await;
    two.accepted(grant_deployments()).await;
    three.accepted(grant_deployments()).await;
    let (key, spec) = web();
    one.accepted(Command::PutWorkload {
        key: key.clone(),
        base: Generation(0),
        spec,
    })
    .await;
    one.until("the replicas are divided by three", |slice| {
        shares(slice, &key)
            .iter()
            .map(|(_, replicas)| *replicas)
            .collect::<Vec<_>>()
            == [2, 2, 2]
    })
    .await;

    let (dead, alive) = ("one", [two, three]);
    one.operator.stop().await;
    for member in &alive {
        member
            .until("the leader's lease is lost and it is replaced", |slice| {
                let lost = slice
                    .members
                    .get(&dead.parse::<MemberName>().unwrap())
                    .map(|row| row.lease);
                matches!(lost, Some(Lease::Lost { .. })) && slice.federation.leader.as_str() != dead
            })
            .await;
        member
            .until("it runs half of the replicas", |slice| {
                slice
                    .placements
                    .get(&key)
                    .is_some_and(|placement| placement.share.total() == 3)
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_report_is_of_no_use_stays_attached_and_is_never_full() {
    let [one, two, _three] = three().await;
    let shape = Shape {
        nodes: 1,
        free: Resources::default(),
        taints: Vec::new(),
    };
    let too_many = Capacity {
        shapes: vec![shape; MAX_SHAPES + 1],
        ..Capacity::default()
    };
    let report = OwnCapacity::Measured(Arc::new(too_many));
    two.operator.uplink.report_capacity(report);
    // Sent after the report on the same stream, so a stream that ended for it would answer this on another only.
    two.accepted(grant_deployments()).await;
    let since = two.operator.uplink.standing().borrow().since;
    let (key, spec) = requesting(1);
    let base = Generation(0);
    let put = Command::PutWorkload {
        key: key.clone(),
        base,
        spec,
    };
    one.accepted(put).await;
    divided(&one, &key, &[("one", 3), ("two", 3)]).await;
    assert_eq!(two.operator.uplink.standing().borrow().since, since);
}

/// The replicas of each member, by name.
async fn divided(member: &Member, key: &WorkloadKey, expected: &[(&str, u32)]) {
    let expected = expected.iter();
    let expected: Vec<_> = expected
        .map(|(name, replicas)| (name.parse().unwrap(), *replicas))
        .collect();
    member
        .until(&format!("the replicas are {expected:?}"), |slice| {
            shares(slice, key) == expected
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_can_still_run_is_known_to_the_leader_and_to_the_next_one() {
    let [one, two, three] = three().await;
    two.operator.uplink.report_capacity(cores(1));
    three.operator.uplink.report_capacity(OwnCapacity::Elastic);
    two.accepted(grant_deployments()).await;
    three.accepted(grant_deployments()).await;
    let (key, spec) = requesting(1);
    one.accepted(Command::PutWorkload {
        key: key.clone(),
        base: Generation(0),
        spec,
    })
    .await;
    divided(&one, &key, &[("one", 3), ("three", 2), ("two", 1)]).await;
    one.operator.stop().await;
    three
        .until("it has what the other one cannot run", |slice| {
            let placed = slice.placements.get(&key);
            placed.is_some_and(|placement| placement.share.total() == 5)
        })
        .await;
    two.until("it has one", |slice| {
        let placed = slice.placements.get(&key);
        placed.is_some_and(|placement| placement.share.total() == 1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_is_used_once_and_by_its_owner_only() {
    let one = start("one", "acme", Entry::Found).await;
    let invitation = one.invite("beta").await;
    let _two = start("two", "beta", Entry::Join(invitation.clone())).await;

    let rejected = |name: &'static str, owner: &'static str, invitation: Invitation| async move {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = template(name, owner, &directory);
        settings.entry = Entry::Join(invitation);
        let result = timeout(PATIENCE, Operator::start(settings, environment()))
            .await
            .unwrap();
        result.err().expect("must be rejected").to_string()
    };
    assert_eq!(
        rejected("three", "beta", invitation).await,
        format!(
            "the federation rejected this member: {}",
            Rejection::UnknownInvitation
        )
    );
    assert_eq!(
        rejected("three", "delta", one.invite("gamma").await).await,
        "the federation rejected this member: the invitation is for owner 'gamma', not 'delta'"
    );
}

fn template(name: &str, owner: &str, directory: &TempDir) -> Settings {
    Settings {
        name: name.parse().unwrap(),
        owner: owner.parse().unwrap(),
        data_dir: directory.path().to_owned(),
        namespace: "hanse-system".into(),
        peer_listen: free_address(),
        peer_address: None,
        admin_listen: "127.0.0.1:0".into(),
        entry: Entry::Resume,
        attributes: Attributes::default(),
        timings: AskedTimings {
            lease: Some(Duration::from_secs(3)),
            heartbeat: Some(Duration::from_millis(300)),
        },
        raft: RaftTimings {
            heartbeat: Duration::from_millis(200),
            election_min: Duration::from_millis(800),
            election_max: Duration::from_millis(1_400),
        },
        capacity: CapacityPolicy::default(),
        notify_url: None,
    }
}

/// Four members, of which three vote, and the one that does not.
async fn three_voters_of_four() -> ([Member; 3], Member) {
    let voters = three().await;
    let invitation = voters[0].invite("delta").await;
    let four = start("four", "delta", Entry::Join(invitation)).await;
    four.until("it may become a voter and is none", |slice| {
        let seat = &slice.members[&four.settings.name].seat;
        seat.is_some() && slice.federation.voters.len() == 3
    })
    .await;
    four.operator
        .ledger
        .clone()
        .wait_for(Option::is_some)
        .await
        .unwrap();
    (voters, four)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_whose_invitation_names_nobody_who_votes_is_told_who_does() {
    let (voters, four) = three_voters_of_four().await;
    let mut invitation = voters[0].invite("epsilon").await;
    invitation.voters = vec![four.peer()];
    let five = start("five", "epsilon", Entry::Join(invitation)).await;
    five.until("it is a member", |slice| {
        slice.members.contains_key(&five.settings.name)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_knows_nobody_who_votes_is_told_who_does() {
    let (voters, four) = three_voters_of_four().await;
    let invitation = voters[0].invite("epsilon").await;
    let mut five = start("five", "epsilon", Entry::Join(invitation)).await;
    five.until("it is a member", |slice| {
        slice.members.contains_key(&five.settings.name)
    })
    .await;
    five.operator.stop().await;

    let directory = &five.settings.data_dir;
    let mut membership = Membership::read(directory).unwrap().unwrap();
    membership.voters = [four.peer()].into();
    membership.write(directory).unwrap();
    let resumed = Operator::start(five.settings.clone(), environment());
    five.operator = timeout(PATIENCE, resumed).await.unwrap().unwrap();
    five.until("it is attached again", |slice| {
        slice.members.contains_key(&five.settings.name)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_disk_is_full_hosts_and_asks_for_one_seat_only() {
    let one = start("one", "acme", Entry::Found).await;
    let invitation = one.invite("beta").await;
    let disk = FullDisk::new();
    let full = on(&disk);
    let two = start_on(full, "two", "beta", Entry::Join(invitation)).await;
    timeout(PATIENCE, disk.has_refused(4)).await.unwrap();
    assert!(two.operator.uplink.standing().borrow().attached);
    let seat = |slice: &Slice| {
        let seat = slice.members[&two.settings.name].seat.as_ref();
        seat.map(|seat| seat.node)
    };
    let slice = two
        .until("it has a seat", |slice| seat(slice).is_some())
        .await;
    let given = seat(&slice).unwrap();

    disk.make_room();
    let mut ledgers = two.operator.ledger.clone();
    let opened = timeout(PATIENCE, ledgers.wait_for(Option::is_some)).await;
    let opened = opened.unwrap().unwrap().clone().unwrap();
    assert_eq!(opened.node(), given);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_whose_ledger_does_not_open_is_no_voter_to_count_on_until_it_does() {
    let disk = FullDisk::new();
    disk.make_room();
    let [one, two, _three] = three_with(on(&disk)).await;
    // Whoever leads must find out: not the one that fails.
    disk.fill();
    let mut ledgers = two.operator.ledger.clone();
    let ledger = ledgers.borrow().clone().unwrap();
    ledger.close().await.unwrap();
    let name = &two.settings.name;
    let slice = one
        .until("two does not vote", |slice| {
            slice.federation.silent_voters.contains(name)
        })
        .await;
    assert!(slice.members[name].lease.is_held());
    assert_eq!(slice.federation.voters.len(), 3);

    disk.make_room();
    let opened = timeout(PATIENCE, ledgers.wait_for(Option::is_some)).await;
    drop(opened.unwrap().unwrap());
    one.until("all vote", |slice| {
        slice.federation.silent_voters.is_empty()
    })
    .await;
}

/// A build that knows this level, and raises a federation to one as soon as all voters know it.
fn knowing(level: u32) -> Environment {
    Environment {
        build: Build {
            level: Level(level),
            raises_after: Duration::ZERO,
        },
        ..environment()
    }
}

impl Member {
    /// Says what the observer of its cluster would say.
    async fn says_that_it_knows(&self, level: u32) {
        self.accepted(Command::Describe {
            attributes: Attributes::default(),
            version: String::new(),
            level: Level(level),
        })
        .await;
    }

    /// Runs from now on as a build that knows this level.
    async fn becomes(mut self, level: u32) -> Self {
        self.operator.stop().await;
        let started = Operator::start(self.settings.clone(), knowing(level));
        self.operator = timeout(PATIENCE, started).await.unwrap().unwrap();
        self.says_that_it_knows(level).await;
        self
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn builds_of_different_age_vote_only_at_a_level_that_they_know() {
    let mut one = start_on(knowing(2), "one", "acme", Entry::Found).await;
    let mut joined = Vec::new();
    for (name, owner, level) in [
        ("two", "beta", 1),
        ("three", "gamma", 3),
        ("four", "delta", 2),
    ] {
        let entry = Entry::Join(one.invite(owner).await);
        let member = start_on(knowing(level), name, owner, entry).await;
        member.says_that_it_knows(level).await;
        joined.push(member);
    }
    let [old, new, mut four] = joined.try_into().ok().unwrap();
    let vote = |slice: &Slice| slice.federation.voters.len() == 3;
    let slice = old.until("three vote", vote).await;
    assert!(!slice.federation.voters.contains(&old.settings.name));
    assert_eq!(slice.federation.level, Level(2));

    one = one.becomes(3).await;
    four = four.becomes(3).await;
    for member in [&one, &old, &new, &four] {
        member
            .until("all voters know a newer level", |slice| {
                slice.federation.level == Level(3)
            })
            .await;
    }

    // What is decided at this level is not for a build that knows less: its member goes on without a vote.
    four = four.becomes(2).await;
    let name = &four.settings.name;
    for member in [&one, &four] {
        member
            .until("four does not vote", |slice| {
                slice.federation.silent_voters.contains(name)
            })
            .await;
    }
    assert!(four.operator.ledger.borrow().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_on_an_old_generation_is_rejected_with_the_current_one() {
    let one = start("one", "acme", Entry::Found).await;
    let (key, spec) = web();
    let put = |base, spec| Command::PutWorkload {
        key: key.clone(),
        base,
        spec,
    };
    let first = one.accepted(put(Generation(0), spec.clone())).await;
    let mut other = spec;
    other.placement.replicas = Some(9);
    assert_eq!(
        one.propose(put(Generation(0), other)).await,
        Outcome::Rejected {
            rejection: Rejection::Conflict {
                base: Generation(0),
                current: Generation(first)
            }
        }
    );
}
