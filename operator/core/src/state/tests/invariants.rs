//! States that no entry leads to, and what is said of them.

use super::*;
use crate::invariants::{check, check_plan, check_step};

/// Two members, and the workload placed on the first.
fn placed(mode: Mode) -> State {
    let mut ledger = Ledger::of(2);
    ledger.put(spec(mode, 1));
    ledger.place(&["one"]);
    assert_eq!(check(&ledger.state), Ok(()));
    ledger.state
}

/// What [`check`] says of a state that was changed by hand.
fn broken(mode: Mode, breaks: impl FnOnce(&mut State)) -> String {
    let mut state = placed(mode);
    breaks(&mut state);
    check(&state).unwrap_err().to_string()
}

fn row(state: &State, host: &str) -> Arc<Placement> {
    let row = state.placements.get(&workload(WEB), &member(host));
    row.unwrap().clone()
}

fn put_row(state: &mut State, host: &str, row: Arc<Placement>) {
    state.placements.insert(workload(WEB), member(host), row);
}

fn owe(state: &mut State, host: &str) {
    let removal = Removal {
        epoch: Epoch(1),
        born: state.workloads[&workload(WEB)].born,
        keep: Keep::Nothing,
        stops: true,
    };
    state.removals.insert(workload(WEB), member(host), removal);
}

#[test]
fn a_state_that_breaks_a_promise_is_told_by_the_number_of_the_promise() {
    let two_copies = broken(Mode::Single, |state| {
        put_row(state, "two", row(state, "one"));
    });
    assert_eq!(
        two_copies,
        "invariant 1: the single acme/shop/web is placed on one, two"
    );
    let too_early = broken(Mode::Single, |state| owe(state, "two"));
    assert_eq!(
        too_early,
        "invariant 1: the single acme/shop/web was placed on one while it may run on two"
    );
    let without_lease = broken(Mode::Divided, |state| {
        let (epoch, fenced) = (Epoch(1), false);
        state.members.get_mut(&member("one")).unwrap().lease = Lease::Lost { epoch, fenced };
    });
    assert_eq!(
        without_lease,
        "invariant 1: acme/shop/web was placed on one, which holds no lease"
    );
    let of_the_future = broken(Mode::Divided, |state| state.index -= 1);
    assert_eq!(
        of_the_future,
        "invariant 2: acme/shop/web on one has an epoch of the future"
    );
    let both = broken(Mode::Divided, |state| owe(state, "one"));
    assert_eq!(
        both,
        "invariant 7: acme/shop/web is placed on one and to be removed there"
    );
    let unwanted = broken(Mode::Divided, |state| {
        state.workloads.remove(&workload(WEB));
    });
    assert_eq!(
        unwanted,
        "invariant 7: acme/shop/web is placed and not wanted"
    );
}

#[test]
fn what_is_placed_without_consent_is_told() {
    // Of acme, which has no grant of beta's member.
    let mut ledger = Ledger::of(2);
    ledger.put(spec(Mode::Divided, 1));
    ledger.place(&["two"]);
    assert_eq!(
        check_plan(&ledger.state).unwrap_err().to_string(),
        "invariant 5: acme/shop/web was placed on two without consent"
    );
    assert_eq!(check_plan(&placed(Mode::Divided)), Ok(()));
}

#[test]
fn a_step_that_takes_something_back_is_told() {
    let before = placed(Mode::Divided);
    let one = member("one");
    let after = |breaks: &dyn Fn(&mut State)| {
        let mut after = State {
            index: before.index + 1,
            ..before.clone()
        };
        breaks(&mut after);
        check_step(&before, &after).unwrap_err().to_string()
    };
    assert_eq!(
        after(&|state| state.index -= 2),
        format!(
            "invariant 2: the ledger went from {} to {}",
            before.index,
            before.index - 1
        )
    );
    assert_eq!(
        after(&|state| (state.index, state.head) = (before.index, chain::GENESIS)),
        format!("invariant 4: two heads at {}", before.index)
    );
    assert_eq!(
        after(&|state| state.federation = None),
        "invariant 3: the federation became another"
    );
    assert_eq!(
        after(&|state| state.issuers = OrdMap::new()),
        format!(
            "invariant 3: the numbers of {} are free again",
            before.issuers.keys().next().unwrap().short()
        )
    );
    assert_eq!(
        after(&|state| {
            state.members.remove(&one);
        }),
        "invariant 3: one is no longer known"
    );
    assert_eq!(
        after(&|state| state.members.get_mut(&one).unwrap().key = key(9).public()),
        "invariant 3: one has another key or owner"
    );
    assert_eq!(
        after(&|state| state.members.get_mut(&one).unwrap().generation = Generation(0)),
        "invariant 2: a generation or epoch of one went back"
    );
    assert_eq!(
        after(&|state| {
            state.placements.remove(&workload(WEB), &one);
        }),
        "invariant 7: acme/shop/web is no longer on one and not to be removed there"
    );
}

#[test]
fn a_lease_that_was_revoked_or_is_fenced_stays_so() {
    let before = |lease| {
        let mut state = placed(Mode::Divided);
        state.members.get_mut(&member("two")).unwrap().lease = lease;
        state
    };
    let (epoch, later) = (Epoch(1_000), Epoch(1_001));
    let revoked = Lease::Revoked {
        epoch,
        fenced: true,
    };
    let fenced = Lease::Lost {
        epoch,
        fenced: true,
    };
    let unfenced = Lease::Lost {
        epoch,
        fenced: false,
    };
    let held = Lease::Held { epoch: later };
    let may = |from, to| check_step(&before(from), &before(to)).is_ok();
    assert!(may(fenced, held) && may(unfenced, fenced) && may(held, held));
    assert!(!may(revoked, held) && !may(fenced, unfenced));
    // The epoch of the entry that gave the lease is not that of the one that took it.
    assert!(!may(Lease::Held { epoch }, unfenced));
}
