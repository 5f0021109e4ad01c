//! What hundreds of simulated federations go through, and that a broken promise would be noticed.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use hanse_core::mutation::Mutation;
use hanse_sim::simulation::{self, Failure};

/// Seeds that run in every test. More: `cargo run --release -p hanse-sim -- --seeds 0..10000`.
const SEEDS: u64 = 100;

/// The most seeds that are tried until a fault in the code is found.
const SEEDS_TO_FIND: u64 = 1_000;

/// Simulations at once.
const JOBS: usize = 2;

/// Runs `simulate` for seeds from 0 until one fails; returns its failure, or `None` if none of `seeds` does.
fn first_failure(
    seeds: u64,
    simulate: impl Fn(u64) -> Result<simulation::Report, Failure> + Sync,
) -> Option<Failure> {
    let (next, end) = (AtomicU64::new(0), AtomicU64::new(seeds));
    thread::scope(|scope| {
        let job = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end.load(Ordering::Relaxed) {
                    return None;
                }
                if let Err(failure) = simulate(seed) {
                    end.store(0, Ordering::Relaxed);
                    return Some(failure);
                }
            }
        };
        let jobs: Vec<_> = (0..JOBS).map(|_| scope.spawn(job)).collect();
        let failures = jobs.into_iter().filter_map(|job| {
            let ended = job.join();
            ended.expect("a simulation reports what goes wrong")
        });
        failures.min_by_key(|failure| failure.seed)
    })
}

#[test]
fn no_promise_is_broken_whatever_fails() {
    let failure = first_failure(SEEDS, simulation::run);
    assert_eq!(failure, None);
}

#[test]
fn a_seed_repeats_itself() {
    assert_eq!(simulation::run(7), simulation::run(7));
    assert_ne!(
        simulation::run(7).unwrap().trace,
        simulation::run(8).unwrap().trace
    );
}

#[test]
fn what_the_code_must_not_leave_out_is_missed_by_some_seed() {
    let mut found = Vec::new();
    for mutation in Mutation::ALL {
        let failure = first_failure(SEEDS_TO_FIND, |seed| {
            simulation::run_mutated(seed, mutation)
        });
        let failure = failure.unwrap_or_else(|| panic!("no seed misses {mutation:?}"));
        found.push(format!("{mutation:?}: {failure}"));
    }
    // Shown with `--nocapture`, and by a test that fails.
    eprintln!("{}", found.join("\n"));
}
