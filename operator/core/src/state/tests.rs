//! The rules of the ledger, each by what comes of a command.

use super::*;
use crate::{
    command::{Newcomer, admission_message},
    id::PrivateKey,
};

const FEDERATION: FederationId = FederationId([7; 16]);

/// A ledger and the keys of those who write to it.
struct Ledger {
    state: State,
    sequences: BTreeMap<PublicKey, u64>,
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

impl Ledger {
    fn founded() -> Self {
        let mut ledger = Self {
            state: State::default(),
            sequences: BTreeMap::new(),
        };
        let founder = newcomer("one", "acme", 1);
        let outcome = ledger.ask(
            1,
            &Command::Found {
                federation: FEDERATION,
                founder,
            },
        );
        assert_eq!(outcome, Outcome::Accepted { index: 1 });
        ledger
    }

    fn ask(&mut self, seed: u8, command: &Command) -> Outcome {
        let key = key(seed);
        let sequence = self.sequences.entry(key.public()).or_default();
        *sequence += 1;
        let signed = SignedCommand::sign(&FEDERATION, &key, *sequence, command);
        self.apply(&signed)
    }

    fn apply(&mut self, signed: &SignedCommand) -> Outcome {
        let entry = Entry::Command {
            time_ms: 1_000,
            command: signed,
        };
        self.state.apply(self.state.index + 1, 1, entry).unwrap()
    }

    fn invite(&mut self, seed: u8, owner: &str, expires_ms: u64) -> Outcome {
        let (invitation, owner) = (key(99).public(), owner.parse().unwrap());
        self.ask(
            seed,
            &Command::Invite {
                invitation,
                owner,
                expires_ms,
            },
        )
    }

    fn admit(&mut self, newcomer: Newcomer, seed: u8) -> Outcome {
        let proof = key(99).sign(&admission_message(&FEDERATION, &newcomer));
        let command = Command::Admit {
            invitation: key(99).public(),
            newcomer,
            proof,
        };
        self.ask(seed, &command)
    }
}

fn rejection(outcome: Outcome) -> String {
    match outcome {
        Outcome::Rejected { rejection } => rejection.to_string(),
        Outcome::Accepted { index } => panic!("accepted at {index}"),
    }
}

#[test]
fn an_invitation_admits_one_newcomer_of_its_owner_once() {
    let mut ledger = Ledger::founded();
    assert!(matches!(
        ledger.invite(1, "beta", 2_000),
        Outcome::Accepted { .. }
    ));
    assert_eq!(
        rejection(ledger.admit(newcomer("two", "gamma", 2), 2)),
        "the invitation is for owner 'beta', not 'gamma'"
    );
    ledger.sequences.clear();
    assert!(matches!(
        ledger.admit(newcomer("two", "beta", 2), 2),
        Outcome::Accepted { .. }
    ));
    assert_eq!(
        rejection(ledger.admit(newcomer("three", "beta", 3), 3)),
        "the invitation is unknown or was used before; ask a member for a new one"
    );
}

#[test]
fn an_expired_invitation_admits_nobody() {
    let mut ledger = Ledger::founded();
    ledger.invite(1, "beta", 1_000);
    assert_eq!(
        rejection(ledger.admit(newcomer("two", "beta", 2), 2)),
        "the invitation has expired; ask a member for a new one"
    );
}

#[test]
fn only_members_of_an_owner_bring_in_more_of_it() {
    let mut ledger = Ledger::founded();
    ledger.invite(1, "beta", 2_000);
    ledger.admit(newcomer("two", "beta", 2), 2);
    assert_eq!(
        rejection(ledger.invite(2, "acme", 2_000)),
        "an invitation for owner 'acme' may be asked only by members of owner 'acme', because it is in the federation already"
    );
}

#[test]
fn a_strangers_command_is_refused_and_leaves_no_trace() {
    let mut ledger = Ledger::founded();
    let before = ledger.state.issuers.clone();
    let outcome = ledger.ask(
        42,
        &Command::Volunteer {
            address: "x:1".into(),
        },
    );
    assert!(rejection(outcome).contains("is not a member of this federation"));
    assert_eq!(ledger.state.issuers, before);
}

#[test]
fn a_retry_gets_the_first_answer_and_changes_nothing() {
    let mut ledger = Ledger::founded();
    let command = Command::Volunteer {
        address: "one.example:7443".into(),
    };
    let signed = SignedCommand::sign(&FEDERATION, &key(1), 2, &command);
    assert_eq!(ledger.apply(&signed), Outcome::Accepted { index: 2 });
    let members = ledger.state.members.clone();
    assert_eq!(ledger.apply(&signed), Outcome::Accepted { index: 2 });
    assert_eq!(ledger.state.members, members);
}

#[test]
fn a_number_that_is_not_the_next_is_refused() {
    let mut ledger = Ledger::founded();
    let command = Command::Volunteer {
        address: "one.example:7443".into(),
    };
    let signed = SignedCommand::sign(&FEDERATION, &key(1), 5, &command);
    assert_eq!(
        rejection(ledger.apply(&signed)),
        "number 5 is not the next: the issuer is at 1"
    );
}

#[test]
fn leaders_decisions_are_for_voters() {
    let mut ledger = Ledger::founded();
    ledger.invite(1, "beta", 2_000);
    ledger.admit(newcomer("two", "beta", 2), 2);
    let signed = SignedCommand::sign(
        &FEDERATION,
        &key(2),
        1,
        &Command::Assign {
            changes: Vec::new(),
        },
    );
    assert_eq!(
        rejection(ledger.apply(&signed)),
        "a leader's decision may be asked only by voters"
    );
}

#[test]
fn a_founder_keeps_its_node_and_everyone_else_gets_the_index_of_its_offer() {
    let mut ledger = Ledger::founded();
    ledger.ask(
        1,
        &Command::Volunteer {
            address: "one.example:7443".into(),
        },
    );
    ledger.invite(1, "beta", 2_000);
    ledger.admit(newcomer("two", "beta", 2), 2);
    let Outcome::Accepted { index } = ledger.ask(
        2,
        &Command::Volunteer {
            address: "two.example:7443".into(),
        },
    ) else {
        panic!("refused")
    };
    let node = |name: &str| {
        ledger.state.members[&name.parse::<MemberName>().unwrap()]
            .seat
            .clone()
            .unwrap()
            .node
    };
    assert_eq!((node("one"), node("two")), (FOUNDER_NODE, NodeId(index)));
}

#[test]
fn a_snapshot_restores_the_very_same_state() {
    let mut ledger = Ledger::founded();
    ledger.invite(1, "beta", 2_000);
    ledger.admit(newcomer("two", "beta", 2), 2);
    let bytes = serde_json::to_vec(&ledger.state).unwrap();
    assert_eq!(
        serde_json::from_slice::<State>(&bytes).unwrap(),
        ledger.state
    );
}
