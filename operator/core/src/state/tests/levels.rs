//! What builds of different age have in common.

use serde_json::Value;

use super::*;
use crate::{
    command::Scheduling,
    grant::{GrantedNamespaces, Grantee, PodSecurity},
    level,
    selector::{Effect, Expression, Operator, Taint},
    state::Surge,
    workload::{Override, Spread},
};

impl Ledger {
    /// The member says that its operator knows levels up to this one.
    fn knows(&mut self, number: u8, level: u32) {
        let describe = Command::Describe {
            attributes: Attributes::default(),
            version: String::new(),
            level: Level(level),
        };
        accepted(self.ask(number, &describe));
    }

    /// The first two members vote.
    fn of_two_voters() -> Self {
        let mut ledger = Self::of(3);
        let volunteer = Command::Volunteer {
            address: "two.example:7443".into(),
            level: Level::FIRST,
        };
        let node = NodeId(accepted(ledger.ask(2, &volunteer)));
        ledger.elect(&[FOUNDER_NODE, node]);
        ledger
    }
}

fn raise(to: u32) -> Command {
    Command::RaiseLevel { to: Level(to) }
}

#[test]
fn a_level_is_raised_when_all_voters_know_it_and_never_lowered() {
    let mut ledger = Ledger::of_two_voters();
    assert_eq!(level::next(&ledger.state), None);
    ledger.knows(1, 3);
    assert_eq!(level::next(&ledger.state), None);
    assert_eq!(
        ledger.refused(1, &raise(2)),
        "`to` must be a level that all voters know, and 'two' knows up to 1, not 2"
    );

    // The third member does not vote.
    ledger.knows(2, 2);
    assert_eq!(level::next(&ledger.state), Some(Level(2)));
    accepted(ledger.ask(1, &raise(2)));
    assert_eq!(ledger.state.level, Level(2));

    ledger.knows(2, 1);
    assert_eq!(level::next(&ledger.state), None);
    assert_eq!(ledger.state.level, Level(2));
    ledger.knows(2, 2);
    assert_eq!(
        ledger.refused(1, &raise(1)),
        "`to` must be higher than 2, not 1"
    );
}

#[test]
fn only_a_leader_raises_a_level() {
    let mut ledger = Ledger::of(2);
    assert_eq!(
        ledger.refused(2, &raise(2)),
        "a leader's decision may be asked only by voters"
    );
}

#[test]
fn a_federation_starts_at_the_level_of_its_founder() {
    let mut ledger = Ledger {
        state: State::default(),
    };
    let found = Command::Found {
        federation: FEDERATION,
        founder: newcomer("one", "acme", 1),
        timings: Timings::default(),
        level: Level(7),
    };
    accepted(ledger.ask(1, &found));
    assert_eq!(ledger.state.level, Level(7));
}

#[test]
fn from_the_second_level_on_only_the_leader_of_a_term_decides_and_only_in_it() {
    let mut ledger = Ledger::of_two_voters();
    ledger.knows(1, 2);
    ledger.knows(2, 2);
    let fence = Command::Fence {
        leases: BTreeSet::new(),
    };
    let decide = |ledger: &mut Ledger, number: u8, term: u64| {
        let signed = ledger.sign(number, &fence);
        let sequence = signed.sequence;
        let signed = SignedCommand::sign_in(term, &FEDERATION, &key(number), sequence, &fence);
        ledger.apply(&signed)
    };
    // Any voter decides, and no term is named.
    accepted(decide(&mut ledger, 2, 0));
    let issuers = ledger.state.issuers.clone();
    let not_so = "a decision of term 1 may be asked only by its leader, in that term";
    assert_eq!(rejection(decide(&mut ledger, 1, 1)), not_so);

    accepted(ledger.ask(1, &raise(2)));
    assert_eq!(ledger.state.issuers.len(), issuers.len());
    let issuers = ledger.state.issuers.clone();
    for (number, term) in [(2, 1), (1, 0), (1, 2)] {
        assert_eq!(rejection(decide(&mut ledger, number, term)), not_so);
        assert_eq!(ledger.state.issuers, issuers);
    }
    accepted(decide(&mut ledger, 1, 1));
}

#[test]
fn the_term_of_a_decision_is_signed_and_other_commands_have_none() {
    let decision = SignedCommand::sign_in(7, &FEDERATION, &key(1), 1, &raise(2));
    assert_eq!(decision.verify(&FEDERATION), Ok(raise(2)));
    let altered = |term, signed: &SignedCommand| SignedCommand {
        term,
        ..signed.clone()
    };
    for term in [0, 6, 8] {
        assert!(altered(term, &decision).verify(&FEDERATION).is_err());
    }
    let revoke = SignedCommand::sign(&FEDERATION, &key(1), 1, &revoke("two"));
    assert!(revoke.verify(&FEDERATION).is_ok());
    assert!(altered(7, &revoke).verify(&FEDERATION).is_err());
}

/// Older builds cannot read it: they refuse it before they look at its number, and so must those that can.
#[test]
fn what_this_build_does_not_know_is_refused_and_uses_no_number() {
    let mut ledger = Ledger::of(1);
    let mut signed = ledger.sign(1, &raise(2));
    for body in [
        r#"{"fly":{}}"#,
        r#"{"volunteer":{"address":"a:1","wings":2}}"#,
    ] {
        signed.body = body.to_owned();
        let signed = SignedCommand::sign_body(&FEDERATION, &key(1), &signed);
        let before = ledger.state.issuers.clone();
        let why = rejection(ledger.apply(&signed));
        assert!(
            why.contains("the command is not one this version knows"),
            "{why}"
        );
        assert_eq!(ledger.state.issuers, before);
    }
}

/// The first level is not written, so that a build that has levels writes the state as one that has none.
#[test]
fn a_state_of_the_first_level_is_written_as_before_there_were_levels() {
    let json = serde_json::to_string(&Ledger::of(2).state).unwrap();
    assert!(!json.contains("level"), "{json}");
}

/// Commands in which every optional part is used.
fn full() -> Vec<Command> {
    let taint = Taint {
        key: "gpu".into(),
        value: "yes".into(),
        effect: Effect::NoSchedule,
    };
    let attributes = Attributes {
        provider: "hetzner".into(),
        scheduling: Scheduling::Cordoned,
        taints: BTreeSet::from([taint]),
        ..Attributes::default()
    };
    let expression = Expression {
        key: "tier".into(),
        operator: Operator::Exists,
        values: BTreeSet::new(),
    };
    let mut spec = spec(Mode::Divided, 1);
    spec.placement.match_expressions = vec![expression.clone()];
    spec.placement.spread = vec![Spread::default()];
    let mut different = Override {
        image_registry: Some("registry.example".into()),
        ..Override::default()
    };
    different.members.match_expressions = vec![expression];
    different.manifests.kind = Some("Deployment".into());
    spec.overrides = vec![different];
    let grant = Grant {
        grantee: Grantee::Owner("acme".parse().unwrap()),
        namespaces: GrantedNamespaces::Named(BTreeSet::from(["shop".parse().unwrap()])),
        kinds: BTreeSet::from([crate::workload::GroupKind {
            group: "apps".into(),
            kind: "Deployment".into(),
        }]),
        host_namespace: None,
        pod_security: PodSecurity::Restricted,
    };
    let row = PlacementChange {
        workload: workload(WEB),
        workload_generation: Generation(1),
        member: member("one"),
        member_generation: Generation(1),
        share: Some(share(2)),
        surge: Some(Surge {
            share: share(1),
            covers: BTreeSet::from([member("two")]),
        }),
        reason: Reason::MemberSilent {
            member: member("two"),
        },
    };
    vec![
        Command::Found {
            federation: FEDERATION,
            founder: newcomer("one", "acme", 1),
            timings: Timings::default(),
            level: Level(2),
        },
        Command::Describe {
            attributes,
            version: "1.0.0".into(),
            level: Level(2),
        },
        Command::PublishGrants {
            grants: vec![grant],
        },
        Command::PutWorkload {
            key: workload(WEB),
            base: Generation(0),
            spec,
        },
        confirm(3),
        raise(2),
        Command::Assign { changes: vec![row] },
    ]
}

/// Every copy of `value` in which one object has a member more. What users write into a manifest is theirs.
fn with_one_more(value: &Value) -> Vec<Value> {
    let mut copies = Vec::new();
    match value {
        Value::Object(members) => {
            let mut more = members.clone();
            more.insert("wings".to_owned(), json!(2));
            copies.push(Value::Object(more));
            let ours =
                |(name, member): &(&String, &Value)| *name != "manifests" || !member.is_array();
            for (name, member) in members.iter().filter(ours) {
                for copy in with_one_more(member) {
                    let mut members = members.clone();
                    members.insert(name.clone(), copy);
                    copies.push(Value::Object(members));
                }
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                for copy in with_one_more(item) {
                    let mut items = items.clone();
                    items[at] = copy;
                    copies.push(Value::Array(items));
                }
            }
        }
        _ => {}
    }
    copies
}

#[test]
fn a_command_with_anything_unknown_in_it_is_not_read() {
    let signed = Ledger::of(1).sign(1, &raise(2));
    let read = |body: String| SignedCommand {
        body,
        ..signed.clone()
    };
    for command in full() {
        let json = serde_json::to_value(&command).unwrap();
        assert_eq!(read(json.to_string()).read(), Ok(command));
        for copy in with_one_more(&json) {
            assert!(read(copy.to_string()).read().is_err(), "{copy}");
        }
    }
}
