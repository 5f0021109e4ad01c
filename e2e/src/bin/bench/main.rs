//! Measures the costs of a federation on this machine with real API servers.
//!
//! | bench | what it measures |
//! |---|---|
//! | [`propagate`] | one workload after the other, from its home to its host |
//! | [`scale`] | many workloads: the first, all of them, operators at rest, one more |
//! | [`failover`] | from the loss of a cluster to its replicas in the others |
//! | [`planner`] | plans alone, in memory |
//!
//! [`path`] is what `propagate` and `scale` have in common, [`usage`] what a process uses.

mod failover;
mod path;
mod planner;
mod propagate;
mod scale;
mod usage;

use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measures Hanse with real control planes on this machine.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// From a workload in one cluster to its object in another.
    Propagate(propagate::Arguments),
    /// Many workloads.
    Scale(scale::Arguments),
    /// From the loss of a cluster to its replicas in the others.
    Failover(failover::Arguments),
    /// What a plan costs.
    Planner(planner::Arguments),
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().bench {
        Bench::Propagate(arguments) => propagate::run(arguments).await,
        Bench::Scale(arguments) => scale::run(arguments).await,
        Bench::Failover(arguments) => failover::run(arguments).await,
        Bench::Planner(arguments) => planner::run(&arguments),
    }
}

/// The smallest sample that at least `percent` of all samples do not exceed. They are sorted, and at least one.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
