//! What simulated federations go through, and that a broken promise would be noticed.
//!
//! Each test runs the binary, because a panic in an operator ends its process; the binary tells the seed first.

use std::process::{Command, Output};

use hanse_core::mutation::Mutation;
use hanse_sim::simulation;

fn simulate(arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hanse-sim"));
    let Output { status, stdout, .. } = command
        .args(arguments)
        .output()
        .expect("the binary was built");
    (
        status.success(),
        String::from_utf8_lossy(&stdout).into_owned(),
    )
}

/// More: `cargo run --release -p hanse-sim -- --seeds 0..10000`.
#[test]
fn no_promise_is_broken_whatever_fails() {
    let (passed, said) = simulate(&["--seeds", "0..30"]);
    assert!(passed, "{said}");
}

#[test]
fn a_seed_repeats_itself() {
    let first = simulation::run(7).unwrap();
    assert_eq!(simulation::run(7), Ok(first.clone()));
    assert_ne!(simulation::run(8).unwrap().trace, first.trace);
}

#[test]
fn a_fault_in_the_code_is_found_within_a_thousand_seeds() {
    for mutation in Mutation::ALL.map(|mutation| format!("{mutation:?}")) {
        let arguments = ["--seeds", "0..1000", "--first", "--mutation", &mutation];
        let (passed, said) = simulate(&arguments);
        assert!(!passed, "no simulation fails without {mutation}");
        eprintln!("{mutation}: {said}");
    }
}
