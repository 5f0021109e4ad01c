//! The rules of the ledger, each by what comes of a command.
//!
//! This file is the vocabulary: a few members, one workload, and how they ask. The rules are in `tests/`.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::{
    command::{Attributes, Newcomer, PlacementChange, SignedCommand, admission_message},
    grant::Grant,
    id::{Generation, PrivateKey, WorkloadKey},
    level::Level,
    reason::Reason,
    workload::{Manifest, Mode, PlacementRules, ScaleTarget, Share, WorkloadSpec},
};

mod commands;
mod invariants;
mod leases;
mod levels;
mod membership;
mod placements;
mod properties;
mod slices;
mod terms;
mod workloads;

const FEDERATION: FederationId = FederationId([7; 16]);

/// The wall clock of every entry here.
const NOW_MS: u64 = 1_000;

/// The members in the order in which they enter: name, owner and the number of the sponsor. A member's number is its
/// place in this list, from 1, and the seed of its key.
const MEMBERS: [(&str, &str, u8); 4] = [
    ("one", "acme", 0),
    ("two", "beta", 1),
    ("three", "beta", 2),
    ("four", "acme", 1),
];

/// The workload of these tests.
const WEB: &str = "acme/shop/web";

/// A ledger and those who write to it.
struct Ledger {
    state: State,
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

fn newcomer(name: &str, owner: &str, seed: u8) -> Newcomer {
    Newcomer {
        name: name.parse().unwrap(),
        owner: owner.parse().unwrap(),
        key: key(seed).public(),
    }
}

fn member(name: &str) -> MemberName {
    name.parse().unwrap()
}

fn workload(key: &str) -> WorkloadKey {
    key.parse().unwrap()
}

/// A Deployment in this mode. `version` tells one specification from another.
fn spec(mode: Mode, version: u32) -> WorkloadSpec {
    let manifest = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"version": version.to_string()}},
    });
    let rules = PlacementRules::new(mode);
    WorkloadSpec::new(vec![manifest], rules, &"shop".parse().unwrap()).unwrap()
}

/// So many replicas of the Deployment of [`spec`].
fn share(replicas: u32) -> Share {
    let web = ScaleTarget::Object("Deployment.apps/web".parse().unwrap());
    [(web, replicas)].into_iter().collect()
}

fn revoke(name: &str) -> Command {
    Command::Revoke {
        member: member(name),
    }
}

fn remove(key: &str) -> Command {
    Command::RemoveWorkload {
        key: workload(key),
        seen: Generation(0),
        orphan: false,
    }
}

fn confirm(epoch: u64) -> Command {
    Command::ConfirmRemoval {
        workload: workload(WEB),
        epoch: Epoch(epoch),
    }
}

impl Ledger {
    /// A federation of one member that does not vote yet.
    fn founded() -> Self {
        let mut ledger = Self {
            state: State::default(),
        };
        let found = Command::Found {
            federation: FEDERATION,
            founder: newcomer("one", "acme", 1),
            timings: Timings::default(),
            level: Level::FIRST,
        };
        assert_eq!(ledger.ask(1, &found), Outcome::Accepted { index: 1 });
        ledger
    }

    /// A federation of the first `count` of [`MEMBERS`], of which the founder votes.
    fn of(count: usize) -> Self {
        let mut ledger = Self::founded();
        ledger.elect(&[FOUNDER_NODE]);
        for (number, (name, owner, sponsor)) in (1..).zip(MEMBERS).take(count).skip(1) {
            accepted(ledger.invite(sponsor, owner, NOW_MS + 1));
            accepted(ledger.admit(newcomer(name, owner, number), number));
        }
        ledger
    }

    fn elect(&mut self, nodes: &[NodeId]) {
        let configurations = [nodes.to_vec()];
        let entry = Entry::Membership(&configurations);
        self.state.apply(self.next(), entry);
    }

    /// Where the next entry stands. The founder leads.
    fn next(&self) -> LogId {
        LogId {
            index: self.state.index + 1,
            term: 1,
            leader: FOUNDER_NODE,
        }
    }

    /// The command as the next of this member.
    fn sign(&self, number: u8, command: &Command) -> SignedCommand {
        let key = key(number);
        let issuer = self.state.issuers.get(&key.public());
        let last = issuer.map_or(0, |issuer| issuer.lane(command.lane()).sequence);
        let is_decision = command.lane() == Lane::Leader;
        let has_term = self.state.level >= Level::DECISIONS_OF_THE_LEADER;
        let term = u64::from(is_decision && has_term);
        SignedCommand::sign_in(term, &FEDERATION, &key, last + 1, command)
    }

    fn apply(&mut self, signed: &SignedCommand) -> Outcome {
        let entry = Entry::Command {
            time_ms: NOW_MS,
            command: signed,
        };
        self.state.apply(self.next(), entry).unwrap()
    }

    fn ask(&mut self, number: u8, command: &Command) -> Outcome {
        let signed = self.sign(number, command);
        self.apply(&signed)
    }

    /// Asks for what is refused: why it is, once it is certain that it changed nothing.
    fn refused(&mut self, number: u8, command: &Command) -> String {
        let before = self.decided();
        let why = rejection(self.ask(number, command));
        assert_eq!(self.decided(), before);
        why
    }

    /// The state without what every entry changes: its index, the chain's head, the clock and the issuer's numbering.
    fn decided(&self) -> State {
        let State {
            index,
            head,
            time_ms,
            issuers,
            ..
        } = State::default();
        State {
            index,
            head,
            time_ms,
            issuers,
            ..self.state.clone()
        }
    }

    fn invite(&mut self, number: u8, owner: &str, expires_ms: u64) -> Outcome {
        let invite = Command::Invite {
            invitation: key(99).public(),
            owner: owner.parse().unwrap(),
            expires_ms,
        };
        self.ask(number, &invite)
    }

    fn admit(&mut self, newcomer: Newcomer, number: u8) -> Outcome {
        let proof = key(99).sign(&admission_message(&FEDERATION, &newcomer));
        let admit = Command::Admit {
            invitation: key(99).public(),
            newcomer,
            proof,
        };
        self.ask(number, &admit)
    }

    fn member(&self, name: &str) -> &Member {
        &self.state.members[&member(name)]
    }

    /// The members with the epochs of the leases they have.
    fn leases(&self, names: &[&str]) -> BTreeSet<(MemberName, Epoch)> {
        let pair = |name: &&str| (member(name), self.member(name).lease.epoch());
        names.iter().map(pair).collect()
    }

    fn expire(&mut self, names: &[&str]) -> u64 {
        let leases = self.leases(names);
        accepted(self.ask(1, &Command::ExpireLeases { leases }))
    }

    fn renew(&mut self, names: &[&str]) -> u64 {
        let leases = self.leases(names);
        accepted(self.ask(1, &Command::RenewLeases { leases }))
    }

    fn fence(&mut self, names: &[&str]) -> u64 {
        let leases = self.leases(names);
        accepted(self.ask(1, &Command::Fence { leases }))
    }

    fn generation(&self, key: &str) -> Generation {
        let row = self.state.workloads.get(&workload(key));
        row.map_or(Generation(0), |row| row.generation)
    }

    /// Puts [`WEB`] on the generation it has.
    fn put(&mut self, spec: WorkloadSpec) -> u64 {
        let put = Command::PutWorkload {
            key: workload(WEB),
            base: self.generation(WEB),
            spec,
        };
        accepted(self.ask(1, &put))
    }

    /// A row of a plan for [`WEB`], decided on what holds now.
    fn row(&self, host: &str, replicas: Option<u32>) -> PlacementChange {
        PlacementChange {
            workload: workload(WEB),
            workload_generation: self.generation(WEB),
            member: member(host),
            member_generation: self.member(host).generation,
            share: replicas.map(share),
            surge: None,
            reason: Reason::FirstPlacement,
        }
    }

    fn assign(&mut self, changes: Vec<PlacementChange>) -> u64 {
        accepted(self.ask(1, &Command::Assign { changes }))
    }

    /// Plans one replica of [`WEB`] on each of these hosts.
    fn place(&mut self, hosts: &[&str]) -> u64 {
        let rows = hosts.iter().map(|host| self.row(host, Some(1))).collect();
        self.assign(rows)
    }

    /// Plans [`WEB`] away from these hosts.
    fn take_away(&mut self, hosts: &[&str]) -> u64 {
        let rows = hosts.iter().map(|host| self.row(host, None)).collect();
        self.assign(rows)
    }

    /// Where [`WEB`] runs and where it has to be removed, by epoch: `one runs 1 since 5; two removes since 7`.
    fn hosts(&self) -> String {
        let key = workload(WEB);
        let runs = self.state.placements.of(&key);
        let runs = runs.map(|(host, row)| format!("{host} runs {} since {}", row.share, row.epoch));
        let removes = self.state.removals.of(&key);
        let removes = removes.map(|(host, row)| format!("{host} removes since {}", row.epoch));
        runs.chain(removes).collect::<Vec<_>>().join("; ")
    }
}

fn accepted(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Accepted { index } => index,
        Outcome::Rejected { rejection } => panic!("refused: {rejection}"),
    }
}

fn rejection(outcome: Outcome) -> String {
    match outcome {
        Outcome::Rejected { rejection } => rejection.to_string(),
        Outcome::Accepted { index } => panic!("accepted at {index}"),
    }
}
