//! What holds for every command: signature, number, who asks.

use super::*;

fn volunteer() -> Command {
    Command::Volunteer {
        address: "one.example:7443".into(),
        level: Level::FIRST,
    }
}

#[test]
fn nothing_is_decided_before_the_federation_is_founded() {
    let mut ledger = Ledger {
        state: State::default(),
    };
    assert_eq!(
        ledger.refused(1, &volunteer()),
        "there is no such federation"
    );
}

#[test]
fn a_federation_is_founded_once_by_the_founders_own_key_with_timings_that_keep_their_rules() {
    let found = |number, timings| Command::Found {
        federation: FEDERATION,
        founder: newcomer("one", "acme", number),
        timings,
        level: Level::FIRST,
    };
    let hasty = Timings {
        lease_ms: 299,
        heartbeat_ms: 50,
    };
    let mut ledger = Ledger {
        state: State::default(),
    };
    assert_eq!(
        [
            ledger.refused(1, &found(2, Timings::default())),
            ledger.refused(1, &found(1, hasty)),
            Ledger::founded().refused(1, &found(1, Timings::default())),
        ],
        [
            "an admission may be asked only by the newcomer's own key",
            "the lease must be 300 ms to 3600000 ms, not 299 ms",
            "a federation is founded once",
        ]
    );
}

#[test]
fn a_founder_enters_with_a_seat_and_without_a_sponsor() {
    let founder = Member {
        owner: "acme".parse().unwrap(),
        key: key(1).public(),
        sponsor: None,
        attributes: Attributes::default(),
        version: String::new(),
        level: Level::FIRST,

        grants: Vec::new(),
        kinds: None,
        seat: Some(Seat {
            node: FOUNDER_NODE,
            address: String::new(),
        }),
        lease: Lease::Held { epoch: Epoch(1) },
        generation: Generation(1),
    };
    assert_eq!(
        Ledger::founded().state.members,
        OrdMap::unit(member("one"), founder)
    );
}

#[test]
fn a_strangers_command_is_refused_and_leaves_no_trace() {
    let mut ledger = Ledger::founded();
    let before = ledger.state.issuers.clone();
    assert_eq!(
        ledger.refused(42, &volunteer()),
        format!(
            "the issuer with key {} is not a member of this federation",
            key(42).public().short()
        )
    );
    assert_eq!(ledger.state.issuers, before);
}

#[test]
fn a_command_of_another_federation_is_refused_and_does_not_count() {
    let mut ledger = Ledger::founded();
    let before = ledger.state.issuers.clone();
    let signed = SignedCommand::sign(&FederationId([8; 16]), &key(1), 2, &volunteer());
    assert_eq!(
        rejection(ledger.apply(&signed)),
        format!(
            "the command is not acceptable: the signature does not hold for issuer {} in this federation",
            key(1).public().short()
        )
    );
    assert_eq!(ledger.state.issuers, before);
}

#[test]
fn a_retry_gets_the_first_answer_and_changes_nothing() {
    let mut ledger = Ledger::founded();
    let signed = ledger.sign(1, &volunteer());
    assert_eq!(ledger.apply(&signed), Outcome::Accepted { index: 2 });
    let before = (ledger.decided(), ledger.state.issuers.clone());
    assert_eq!(ledger.apply(&signed), Outcome::Accepted { index: 2 });
    assert_eq!((ledger.decided(), ledger.state.issuers.clone()), before);
}

#[test]
fn another_command_under_a_number_that_was_used_is_no_retry() {
    let mut ledger = Ledger::founded();
    accepted(ledger.ask(1, &volunteer()));
    let other = SignedCommand::sign(&FEDERATION, &key(1), 2, &remove(WEB));
    assert_eq!(
        rejection(ledger.apply(&other)),
        "number 2 is not the next: the issuer is at 2"
    );
}

#[test]
fn a_number_that_is_not_the_next_is_refused() {
    let mut ledger = Ledger::founded();
    let signed = SignedCommand::sign(&FEDERATION, &key(1), 5, &volunteer());
    assert_eq!(
        rejection(ledger.apply(&signed)),
        "number 5 is not the next: the issuer is at 1"
    );
}

#[test]
fn each_lane_counts_for_itself() {
    let mut ledger = Ledger::of(1);
    let renew = Command::RenewLeases {
        leases: BTreeSet::new(),
    };
    let signed = SignedCommand::sign(&FEDERATION, &key(1), 1, &renew);
    assert_eq!(ledger.apply(&signed), Outcome::Accepted { index: 3 });
    let signed = SignedCommand::sign(&FEDERATION, &key(1), 2, &volunteer());
    assert_eq!(ledger.apply(&signed), Outcome::Accepted { index: 4 });
}

#[test]
fn leaders_decisions_are_for_voters() {
    let leases = BTreeSet::new;
    let decisions = [
        Command::ExpireLeases { leases: leases() },
        Command::RenewLeases { leases: leases() },
        Command::Fence { leases: leases() },
        Command::Assign {
            changes: Vec::new(),
        },
    ];
    let mut ledger = Ledger::of(2);
    for decision in decisions {
        accepted(ledger.ask(1, &decision));
        assert_eq!(
            ledger.refused(2, &decision),
            "a leader's decision may be asked only by voters"
        );
    }
}

#[test]
fn the_wall_clock_never_goes_back() {
    let mut ledger = Ledger::founded();
    for (time_ms, expected) in [(3_000, 3_000), (2_000, 3_000)] {
        let signed = ledger.sign(1, &volunteer());
        let entry = Entry::Command {
            time_ms,
            command: &signed,
        };
        ledger.state.apply(ledger.next(), entry);
        assert_eq!(ledger.state.time_ms, expected);
    }
}

#[test]
fn a_snapshot_restores_the_very_same_state() {
    let mut ledger = Ledger::of(4);
    ledger.put(spec(Mode::Divided, 1));
    ledger.place(&["one", "two", "three"]);
    ledger.take_away(&["two"]);
    ledger.invite(3, "gamma", NOW_MS + 1);
    ledger.expire(&["three"]);
    let bytes = serde_json::to_vec(&ledger.state).unwrap();
    assert_eq!(
        serde_json::from_slice::<State>(&bytes).unwrap(),
        ledger.state
    );
}
