//! Who is in, and who votes.

use super::*;

fn volunteer(address: &str) -> Command {
    Command::Volunteer {
        address: address.into(),
        level: Level::FIRST,
    }
}

#[test]
fn an_invitation_admits_one_newcomer_of_its_owner_once() {
    let mut ledger = Ledger::founded();
    accepted(ledger.invite(1, "beta", NOW_MS + 1));
    assert_eq!(
        rejection(ledger.admit(newcomer("two", "gamma", 2), 2)),
        "the invitation is for owner 'beta', not 'gamma'"
    );
    accepted(ledger.admit(newcomer("two", "beta", 2), 2));
    assert_eq!(
        rejection(ledger.admit(newcomer("three", "beta", 3), 3)),
        "the invitation is unknown or was used before; ask a member for a new one"
    );
}

#[test]
fn a_newcomer_enters_with_a_lease_and_no_seat() {
    let ledger = Ledger::of(2);
    let two = Member {
        owner: "beta".parse().unwrap(),
        key: key(2).public(),
        sponsor: Some(member("one")),
        attributes: Attributes::default(),
        version: String::new(),
        level: Level::FIRST,

        grants: Vec::new(),
        kinds: None,
        seat: None,
        lease: Lease::Held { epoch: Epoch(4) },
        generation: Generation(4),
    };
    assert_eq!(*ledger.member("two"), two);
    assert!(ledger.state.invitations.is_empty());
}

#[test]
fn an_expired_invitation_admits_nobody() {
    let mut ledger = Ledger::founded();
    accepted(ledger.invite(1, "beta", NOW_MS));
    assert_eq!(
        rejection(ledger.admit(newcomer("two", "beta", 2), 2)),
        "the invitation has expired; ask a member for a new one"
    );
}

#[test]
fn an_invitation_covers_the_newcomer_it_was_used_for_and_no_other() {
    let mut ledger = Ledger::founded();
    accepted(ledger.invite(1, "beta", NOW_MS + 1));
    let admit = |newcomer, covered: Newcomer| Command::Admit {
        invitation: key(99).public(),
        newcomer,
        proof: key(99).sign(&admission_message(&FEDERATION, &covered)),
    };
    let two = || newcomer("two", "beta", 2);
    let thief = || newcomer("two", "beta", 3);
    assert_eq!(
        [
            ledger.refused(3, &admit(thief(), two())),
            ledger.refused(3, &admit(two(), two())),
        ],
        [
            "the command is not acceptable: the invitation does not cover this newcomer",
            "an admission may be asked only by the newcomer's own key",
        ]
    );
    accepted(ledger.ask(2, &admit(two(), two())));
}

#[test]
fn only_members_of_an_owner_bring_in_more_of_it() {
    let mut ledger = Ledger::of(2);
    assert_eq!(
        rejection(ledger.invite(2, "acme", NOW_MS + 1)),
        "an invitation for owner 'acme' may be asked only by members of owner 'acme', because it is in the federation already"
    );
    accepted(ledger.invite(1, "acme", NOW_MS + 1));
}

#[test]
fn the_first_invitation_used_for_a_new_owner_voids_those_of_others() {
    let mut ledger = Ledger::of(2);
    let invite = |invitation: u8| Command::Invite {
        invitation: key(invitation).public(),
        owner: "gamma".parse().unwrap(),
        expires_ms: NOW_MS + 1,
    };
    accepted(ledger.ask(1, &invite(98)));
    accepted(ledger.ask(2, &invite(99)));
    let five = newcomer("five", "gamma", 5);
    let admit = Command::Admit {
        invitation: key(98).public(),
        proof: key(98).sign(&admission_message(&FEDERATION, &five)),
        newcomer: five,
    };
    accepted(ledger.ask(5, &admit));
    assert_eq!(
        rejection(ledger.admit(newcomer("six", "gamma", 6), 6)),
        "an admission for owner 'gamma' may be asked only by invitation of its own members, because it is in the federation already"
    );
}

#[test]
fn an_invitation_that_is_open_is_not_made_a_second_time() {
    let mut ledger = Ledger::of(2);
    accepted(ledger.invite(1, "gamma", NOW_MS + 1));
    assert_eq!(
        rejection(ledger.invite(2, "gamma", NOW_MS + 1)),
        "`invitation` must be a new key: this one is open already"
    );
}

#[test]
fn open_invitations_are_bounded_and_expired_ones_make_room() {
    let mut ledger = Ledger::founded();
    let open = |expires_ms| {
        (0..1_000_u16).map(move |n| {
            let invitation = Invitation {
                sponsor: member("one"),
                owner: "beta".parse().unwrap(),
                expires_ms,
            };
            let mut key = [0; 32];
            key[..2].copy_from_slice(&n.to_be_bytes());
            (PublicKey(key), invitation)
        })
    };
    ledger.state.invitations = open(NOW_MS + 1).collect();
    assert_eq!(
        rejection(ledger.invite(1, "beta", NOW_MS + 1)),
        "open invitations: at most 1000 are kept; remove some first"
    );
    ledger.state.invitations = open(NOW_MS).collect();
    accepted(ledger.invite(1, "beta", NOW_MS + 1));
    assert_eq!(ledger.state.invitations.len(), 1);
}

#[test]
fn a_founder_keeps_its_node_and_everyone_else_gets_the_index_of_its_offer() {
    let mut ledger = Ledger::of(2);
    accepted(ledger.ask(1, &volunteer("one.example:7443")));
    let index = accepted(ledger.ask(2, &volunteer("two.example:7443")));
    let seat = |node, address: &str| {
        Some(Seat {
            node,
            address: address.into(),
        })
    };
    assert_eq!(
        [
            ledger.member("one").seat.clone(),
            ledger.member("two").seat.clone()
        ],
        [
            seat(FOUNDER_NODE, "one.example:7443"),
            seat(NodeId(index), "two.example:7443")
        ]
    );
}

#[test]
fn whoever_offers_to_vote_again_gets_a_new_node() {
    let mut ledger = Ledger::of(2);
    for (number, name) in [(1, "one"), (2, "two")] {
        accepted(ledger.ask(number, &volunteer("old.example:7443")));
        let index = accepted(ledger.ask(number, &volunteer("new.example:7443")));
        let seat = Seat {
            node: NodeId(index),
            address: "new.example:7443".into(),
        };
        assert_eq!(ledger.member(name).seat, Some(seat));
    }
}

#[test]
fn an_offer_to_vote_has_an_address_of_a_bounded_length() {
    let mut ledger = Ledger::of(2);
    for address in [String::new(), "x".repeat(261)] {
        assert_eq!(
            ledger.refused(2, &volunteer(&address)),
            "`address` must be HOST:PORT, at most 260 characters"
        );
    }
    accepted(ledger.ask(2, &volunteer(&"x".repeat(260))));
}

#[test]
fn a_member_is_revoked_by_itself_its_owner_or_its_sponsor() {
    // (who asks, whom it revokes, whether it may)
    let cases = [
        (2, "two", true),
        (3, "two", true),
        (1, "two", true),
        (2, "three", true),
        (1, "three", false),
        (4, "two", false),
        (2, "one", false),
        (1, "nobody", false),
    ];
    for (number, name, may) in cases {
        let mut ledger = Ledger::of(4);
        if may {
            let index = accepted(ledger.ask(number, &revoke(name)));
            let epoch = Epoch(index);
            let fenced = false;
            let row = ledger.member(name);
            assert_eq!(
                (row.lease, row.generation),
                (Lease::Revoked { epoch, fenced }, Generation(index))
            );
        } else {
            assert_eq!(
                ledger.refused(number, &revoke(name)),
                format!(
                    "the removal of '{name}' may be asked only by its owner's members or its sponsor"
                )
            );
        }
    }
}

#[test]
fn the_last_voter_is_not_revoked() {
    let mut ledger = Ledger::of(2);
    let two = NodeId(accepted(ledger.ask(2, &volunteer("two.example:7443"))));
    assert_eq!(
        ledger.refused(1, &revoke("one")),
        "'one' is the last voter, and without one nothing can be decided any more: let another member vote first"
    );
    ledger.elect(&[FOUNDER_NODE, two]);
    accepted(ledger.ask(1, &revoke("one")));
    assert_eq!(
        ledger.refused(2, &revoke("two")),
        "'two' is the last voter, and without one nothing can be decided any more: let another member vote first"
    );
}

#[test]
fn a_revoked_member_may_ask_for_nothing() {
    let mut ledger = Ledger::of(2);
    accepted(ledger.ask(1, &revoke("two")));
    let commands = [
        volunteer("two.example:7443"),
        revoke("two"),
        remove("beta/shop/web"),
        confirm(1),
    ];
    for command in commands {
        assert_eq!(ledger.refused(2, &command), "member 'two' was revoked");
    }
}

#[test]
fn revoking_twice_is_accepted_and_changes_nothing() {
    let mut ledger = Ledger::of(2);
    accepted(ledger.ask(1, &revoke("two")));
    let before = ledger.decided();
    accepted(ledger.ask(1, &revoke("two")));
    assert_eq!(ledger.decided(), before);
}

#[test]
fn the_name_and_the_key_of_a_revoked_member_do_not_come_back() {
    let mut ledger = Ledger::of(3);
    accepted(ledger.ask(3, &revoke("two")));
    accepted(ledger.invite(3, "beta", NOW_MS + 1));
    assert_eq!(
        [
            rejection(ledger.admit(newcomer("two", "beta", 5), 5)),
            rejection(ledger.admit(newcomer("five", "beta", 2), 2)),
        ],
        [
            "the name 'two' is taken; choose another",
            "the newcomer's key is that of member 'two'; start it with an empty data directory",
        ]
    );
    accepted(ledger.admit(newcomer("five", "beta", 5), 5));
}

#[test]
fn the_invitations_of_a_revoked_member_are_void_and_those_of_others_are_not() {
    let mut ledger = Ledger::of(2);
    accepted(ledger.invite(2, "gamma", NOW_MS + 1));
    let other = Command::Invite {
        invitation: key(98).public(),
        owner: "delta".parse().unwrap(),
        expires_ms: NOW_MS + 1,
    };
    accepted(ledger.ask(1, &other));
    accepted(ledger.ask(1, &revoke("two")));
    assert_eq!(
        rejection(ledger.admit(newcomer("five", "gamma", 5), 5)),
        "the invitation is unknown or was used before; ask a member for a new one"
    );
    let open: Vec<_> = ledger.state.invitations.keys().copied().collect();
    assert_eq!(open, [key(98).public()]);
}
