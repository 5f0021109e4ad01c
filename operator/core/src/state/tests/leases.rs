//! Who is alive: leases end, come back and are fenced, each only by its current epoch.

use super::*;

type Decision = fn(BTreeSet<(MemberName, Epoch)>) -> Command;

const EXPIRE: Decision = |leases| Command::ExpireLeases { leases };
const RENEW: Decision = |leases| Command::RenewLeases { leases };
const FENCE: Decision = |leases| Command::Fence { leases };

#[test]
fn a_lease_ends_is_fenced_and_comes_back() {
    let mut ledger = Ledger::of(2);
    let row = |ledger: &Ledger| {
        let row = ledger.member("two");
        (row.lease, row.generation)
    };
    let lost = ledger.expire(&["two"]);
    let epoch = Epoch(lost);
    let fenced = false;
    assert_eq!(
        row(&ledger),
        (Lease::Lost { epoch, fenced }, Generation(lost))
    );
    // The epoch stays: fencing neither gives nor takes a right.
    let fence = ledger.fence(&["two"]);
    let fenced = true;
    assert_eq!(
        row(&ledger),
        (Lease::Lost { epoch, fenced }, Generation(fence))
    );
    let back = ledger.renew(&["two"]);
    let epoch = Epoch(back);
    assert_eq!(row(&ledger), (Lease::Held { epoch }, Generation(back)));
}

#[test]
fn one_decision_is_about_any_number_of_members() {
    let mut ledger = Ledger::of(4);
    let index = ledger.expire(&["two", "four"]);
    let lost = Lease::Lost {
        epoch: Epoch(index),
        fenced: false,
    };
    let leases = MEMBERS.map(|(name, ..)| ledger.member(name).lease);
    let held = |epoch| Lease::Held {
        epoch: Epoch(epoch),
    };
    assert_eq!(leases, [held(1), lost, held(6), lost]);
}

#[test]
fn a_decision_about_a_lease_that_is_no_longer_the_current_one_changes_nothing() {
    // (how the member's lease came to be what it is, what is decided about the lease before)
    let cases: [(fn(&mut Ledger), Decision); 3] = [
        (
            |ledger| {
                ledger.expire(&["two"]);
                ledger.renew(&["two"]);
            },
            EXPIRE,
        ),
        (
            |ledger| {
                ledger.expire(&["two"]);
            },
            RENEW,
        ),
        (
            |ledger| {
                ledger.expire(&["two"]);
            },
            FENCE,
        ),
    ];
    for (history, decision) in cases {
        let mut ledger = Ledger::of(2);
        let stale = ledger.leases(&["two"]);
        history(&mut ledger);
        let before = ledger.decided();
        accepted(ledger.ask(1, &decision(stale)));
        assert_eq!(ledger.decided(), before);
    }
}

#[test]
fn a_stale_pair_does_not_keep_the_others_from_taking_effect() {
    let mut ledger = Ledger::of(3);
    let mut leases = ledger.leases(&["two", "three"]);
    leases.insert((member("nobody"), Epoch(1)));
    ledger.expire(&["two"]);
    let two = ledger.member("two").clone();
    let index = accepted(ledger.ask(1, &EXPIRE(leases)));
    let three = Lease::Lost {
        epoch: Epoch(index),
        fenced: false,
    };
    assert_eq!(*ledger.member("two"), two);
    assert_eq!(ledger.member("three").lease, three);
}

#[test]
fn what_a_lease_is_already_it_does_not_become_again() {
    fn unchanged(ledger: &mut Ledger, decision: Decision) {
        let (leases, before) = (ledger.leases(&["two"]), ledger.decided());
        accepted(ledger.ask(1, &decision(leases)));
        assert_eq!(ledger.decided(), before);
    }
    let mut ledger = Ledger::of(2);
    unchanged(&mut ledger, RENEW);
    unchanged(&mut ledger, FENCE);
    ledger.expire(&["two"]);
    unchanged(&mut ledger, EXPIRE);
    ledger.fence(&["two"]);
    unchanged(&mut ledger, FENCE);
}

#[test]
fn a_revoked_member_stays_revoked_and_can_be_fenced() {
    let mut ledger = Ledger::of(2);
    let epoch = Epoch(accepted(ledger.ask(1, &revoke("two"))));
    ledger.expire(&["two"]);
    ledger.renew(&["two"]);
    let fenced = false;
    assert_eq!(ledger.member("two").lease, Lease::Revoked { epoch, fenced });
    ledger.fence(&["two"]);
    let fenced = true;
    assert_eq!(ledger.member("two").lease, Lease::Revoked { epoch, fenced });
}

#[test]
fn a_member_that_was_fenced_when_it_was_revoked_still_is() {
    let mut ledger = Ledger::of(2);
    ledger.expire(&["two"]);
    ledger.fence(&["two"]);
    let epoch = Epoch(accepted(ledger.ask(1, &revoke("two"))));
    let fenced = true;
    assert_eq!(ledger.member("two").lease, Lease::Revoked { epoch, fenced });
}
