//! What runs where, and what still has to be removed where.

use super::*;

#[test]
fn a_plan_places_and_takes_away() {
    let mut ledger = Ledger::of(2);
    ledger.put(spec(Mode::Divided, 1));
    let placed = ledger.place(&["one", "two"]);
    assert_eq!(
        ledger.hosts(),
        format!("one runs 1 since {placed}; two runs 1 since {placed}")
    );
    let taken = ledger.take_away(&["two"]);
    assert_eq!(
        ledger.hosts(),
        format!("one runs 1 since {placed}; two removes since {taken}")
    );
}

#[test]
fn a_placement_keeps_its_reason_no_longer_than_the_ledger_does() {
    let mut ledger = Ledger::of(1);
    ledger.put(spec(Mode::Divided, 1));
    let excluded = |characters| Reason::MemberExcluded {
        member: member("two"),
        message: "x".repeat(characters),
    };
    let row = PlacementChange {
        reason: excluded(201),
        ..ledger.row("one", Some(3))
    };
    let epoch = Epoch(ledger.assign(vec![row]));
    let placement = Placement {
        surge: None,
        share: share(3),
        epoch,
        reason: excluded(200),
    };
    assert_eq!(
        ledger.state.placements,
        [(workload(WEB), member("one"), Arc::new(placement))]
            .into_iter()
            .collect()
    );
}

#[test]
fn rows_decided_on_what_no_longer_holds_are_skipped_and_the_others_taken() {
    // What happens between the plan and its entry, to the rows of `two`.
    let cases: [fn(&mut PlacementChange); 4] = [
        |row| row.workload_generation.0 -= 1,
        |row| row.member_generation.0 -= 1,
        |row| row.workload = workload("acme/shop/gone"),
        |row| row.member = member("gone"),
    ];
    for outdate in cases {
        let mut ledger = Ledger::of(2);
        ledger.put(spec(Mode::Divided, 1));
        let mut stale = ledger.row("two", Some(1));
        outdate(&mut stale);
        let current = ledger.row("one", Some(2));
        let index = ledger.assign(vec![stale, current]);
        assert_eq!(ledger.hosts(), format!("one runs 2 since {index}"));
    }
}

#[test]
fn an_outdated_row_takes_nothing_away() {
    let mut ledger = Ledger::of(2);
    ledger.put(spec(Mode::Divided, 1));
    let placed = ledger.place(&["two"]);
    let rows = vec![ledger.row("two", None)];
    ledger.put(spec(Mode::Divided, 2));
    ledger.assign(rows);
    assert_eq!(ledger.hosts(), format!("two runs 1 since {placed}"));
}

#[test]
fn nothing_is_placed_for_a_workload_that_is_being_removed() {
    let mut ledger = Ledger::of(2);
    ledger.put(spec(Mode::Divided, 1));
    ledger.place(&["two"]);
    let removed = accepted(ledger.ask(1, &remove(WEB)));
    ledger.place(&["one", "two"]);
    assert_eq!(ledger.hosts(), format!("two removes since {removed}"));
}

#[test]
fn nothing_is_placed_on_a_member_without_a_lease() {
    // How a member loses its lease, and whether anything is placed there afterwards.
    let cases: [(fn(&mut Ledger), bool); 4] = [
        (
            |ledger| {
                ledger.expire(&["two"]);
            },
            false,
        ),
        (
            |ledger| {
                ledger.expire(&["two"]);
                ledger.fence(&["two"]);
            },
            false,
        ),
        (
            |ledger| {
                accepted(ledger.ask(1, &revoke("two")));
            },
            false,
        ),
        (
            |ledger| {
                ledger.expire(&["two"]);
                ledger.renew(&["two"]);
            },
            true,
        ),
    ];
    for (history, placed) in cases {
        let mut ledger = Ledger::of(2);
        ledger.put(spec(Mode::Divided, 1));
        history(&mut ledger);
        let index = ledger.place(&["two"]);
        let expected = if placed {
            format!("two runs 1 since {index}")
        } else {
            String::new()
        };
        assert_eq!(ledger.hosts(), expected);
    }
}

#[test]
fn a_lost_member_keeps_its_placement_until_a_plan_takes_it_away() {
    let mut ledger = Ledger::of(2);
    ledger.put(spec(Mode::Divided, 1));
    let placed = ledger.place(&["two"]);
    ledger.expire(&["two"]);
    assert_eq!(ledger.hosts(), format!("two runs 1 since {placed}"));
    let taken = ledger.take_away(&["two"]);
    assert_eq!(ledger.hosts(), format!("two removes since {taken}"));
}

#[test]
fn removals_come_before_placements_in_whatever_order_the_plan_has_them() {
    let mut ledger = Ledger::of(2);
    ledger.put(spec(Mode::Single, 1));
    ledger.place(&["two"]);
    ledger.expire(&["two"]);
    ledger.fence(&["two"]);
    let rows = vec![ledger.row("one", Some(1)), ledger.row("two", None)];
    let index = ledger.assign(rows);
    assert_eq!(
        ledger.hosts(),
        format!("one runs 1 since {index}; two removes since {index}")
    );
}

#[test]
fn a_single_is_placed_once_even_if_a_plan_says_twice() {
    let mut ledger = Ledger::of(2);
    ledger.put(spec(Mode::Single, 1));
    let index = ledger.place(&["two", "one"]);
    assert_eq!(ledger.hosts(), format!("two runs 1 since {index}"));
}

#[test]
fn a_single_is_not_placed_before_its_stop_elsewhere_is_certain() {
    // What happens to the removal on `two`, and whether the workload is placed on `one` afterwards.
    let cases: [(fn(&mut Ledger, u64), bool); 6] = [
        (|_, _| {}, false),
        (
            |ledger, _| {
                ledger.expire(&["two"]);
            },
            false,
        ),
        (
            |ledger, _| {
                accepted(ledger.ask(1, &revoke("two")));
            },
            false,
        ),
        (
            |ledger, taken| {
                accepted(ledger.ask(2, &confirm(taken)));
            },
            true,
        ),
        (
            |ledger, _| {
                ledger.expire(&["two"]);
                ledger.fence(&["two"]);
            },
            true,
        ),
        (
            |ledger, _| {
                accepted(ledger.ask(1, &revoke("two")));
                ledger.fence(&["two"]);
            },
            true,
        ),
    ];
    for (number, (history, placed)) in cases.into_iter().enumerate() {
        let mut ledger = Ledger::of(2);
        ledger.put(spec(Mode::Single, 1));
        ledger.place(&["two"]);
        let taken = ledger.take_away(&["two"]);
        history(&mut ledger, taken);
        ledger.place(&["one"]);
        let runs = ledger.hosts().starts_with("one runs 1");
        assert_eq!((number, runs), (number, placed));
    }
}

#[test]
fn a_workload_that_becomes_single_waits_until_every_host_has_removed_its_copies() {
    let mut ledger = Ledger::of(3);
    ledger.put(spec(Mode::Divided, 1));
    ledger.place(&["one", "two"]);
    ledger.expire(&["two"]);
    ledger.fence(&["two"]);
    let edited = ledger.put(spec(Mode::Single, 1));
    let both = format!("one removes since {edited}; two removes since {edited}");
    assert_eq!(ledger.hosts(), both);
    // Not even where it ran: its host may not hear of the edit before it is lost.
    ledger.place(&["one"]);
    assert_eq!(ledger.hosts(), both);
    accepted(ledger.ask(1, &confirm(edited)));
    // The lease of `two` is over, which does not stop what is not `Single`.
    ledger.place(&["one"]);
    assert_eq!(ledger.hosts(), format!("two removes since {edited}"));
    accepted(ledger.ask(2, &confirm(edited)));
    let placed = ledger.place(&["one"]);
    assert_eq!(ledger.hosts(), format!("one runs 1 since {placed}"));
}

#[test]
fn a_single_of_a_removed_and_recreated_workload_still_waits_for_a_revoked_host() {
    let mut ledger = Ledger::of(2);
    ledger.put(spec(Mode::Single, 1));
    ledger.place(&["two"]);
    accepted(ledger.ask(1, &revoke("two")));
    let removed = accepted(ledger.ask(1, &remove(WEB)));
    assert!(ledger.state.workloads.is_empty());
    ledger.put(spec(Mode::Single, 2));
    ledger.place(&["one"]);
    assert_eq!(ledger.hosts(), format!("two removes since {removed}"));
    ledger.fence(&["two"]);
    let placed = ledger.place(&["one"]);
    assert_eq!(ledger.hosts(), format!("one runs 1 since {placed}"));
}

#[test]
fn placing_again_cancels_the_removal_and_its_confirmation() {
    let mut ledger = Ledger::of(2);
    ledger.put(spec(Mode::Single, 1));
    ledger.place(&["two"]);
    let taken = ledger.take_away(&["two"]);
    let placed = ledger.place(&["two"]);
    assert_eq!(ledger.hosts(), format!("two runs 1 since {placed}"));
    accepted(ledger.ask(2, &confirm(taken)));
    assert_eq!(ledger.hosts(), format!("two runs 1 since {placed}"));
    assert!(ledger.state.removals.is_empty());
}

#[test]
fn taking_away_what_is_not_there_asks_nobody_to_remove_it() {
    let mut ledger = Ledger::of(2);
    ledger.put(spec(Mode::Divided, 1));
    let before = ledger.decided();
    ledger.take_away(&["one", "two"]);
    assert_eq!(ledger.decided(), before);
}

#[test]
fn a_plan_has_a_bounded_number_of_rows() {
    let mut ledger = Ledger::of(1);
    ledger.put(spec(Mode::Divided, 1));
    let plan = |ledger: &Ledger, rows| Command::Assign {
        changes: vec![ledger.row("one", Some(1)); rows],
    };
    let (most, more) = (
        plan(&ledger, MAX_PLAN_ROWS),
        plan(&ledger, MAX_PLAN_ROWS + 1),
    );
    assert_eq!(
        ledger.refused(1, &more),
        "rows of a plan: at most 1000 are kept; remove some first"
    );
    accepted(ledger.ask(1, &most));
}

#[test]
fn only_the_hosts_own_confirmation_of_the_current_removal_counts() {
    let mut ledger = Ledger::of(2);
    ledger.put(spec(Mode::Divided, 1));
    ledger.place(&["two"]);
    let old = ledger.take_away(&["two"]);
    ledger.place(&["two"]);
    let current = accepted(ledger.ask(1, &remove(WEB)));
    let before = ledger.decided();
    // (who confirms, which removal)
    for (number, epoch) in [(2, old), (2, current + 1), (1, current)] {
        accepted(ledger.ask(number, &confirm(epoch)));
        assert_eq!(ledger.decided(), before);
    }
    accepted(ledger.ask(2, &confirm(current)));
    assert_eq!(
        (&ledger.state.workloads, &ledger.state.removals),
        (&Workloads::default(), &PerHost::default())
    );
}

#[test]
fn a_lost_host_holds_a_removed_workload_and_a_revoked_one_does_not() {
    let mut ledger = Ledger::of(2);
    ledger.put(spec(Mode::Divided, 1));
    ledger.place(&["two"]);
    ledger.expire(&["two"]);
    ledger.fence(&["two"]);
    let removed = accepted(ledger.ask(1, &remove(WEB)));
    assert!(ledger.state.workloads.contains_key(&workload(WEB)));
    assert_eq!(ledger.hosts(), format!("two removes since {removed}"));
    accepted(ledger.ask(1, &revoke("two")));
    assert_eq!(
        (&ledger.state.workloads, &ledger.state.removals),
        (&Workloads::default(), &PerHost::default())
    );
}

#[test]
fn a_revoked_host_that_is_not_fenced_lets_the_row_go_and_keeps_its_removal() {
    let mut ledger = Ledger::of(2);
    ledger.put(spec(Mode::Divided, 1));
    ledger.place(&["two"]);
    let removed = accepted(ledger.ask(1, &remove(WEB)));
    accepted(ledger.ask(1, &revoke("two")));
    assert!(ledger.state.workloads.is_empty());
    assert_eq!(ledger.hosts(), format!("two removes since {removed}"));
    ledger.fence(&["two"]);
    assert!(ledger.state.removals.is_empty());
}

#[test]
fn a_placement_on_a_revoked_and_fenced_host_is_taken_away_without_its_word() {
    let mut ledger = Ledger::of(2);
    ledger.put(spec(Mode::Single, 1));
    ledger.place(&["two"]);
    accepted(ledger.ask(1, &revoke("two")));
    ledger.fence(&["two"]);
    let rows = vec![ledger.row("two", None), ledger.row("one", Some(1))];
    let index = ledger.assign(rows);
    assert_eq!(ledger.hosts(), format!("one runs 1 since {index}"));
}
