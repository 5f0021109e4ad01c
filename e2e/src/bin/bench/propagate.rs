//! What one workload takes from its home to its host.
//!
//! Workloads are applied one after the other in the home. For each it measures the time from the answer of the API server until a
//! watch in the host returns the object. It also measures the mean time from the home's operator into the ledger and back, which
//! is part of that, and what idle operators use.

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Args;
use hanse_e2e::Fleet;
use serde::Serialize;

use super::{
    path::{self, HOME, Path},
    percentile, rounded,
    usage::AtRest,
};

/// For how long the use of idle operators is measured.
const REST: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How many workloads.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    samples: u32,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// The result. Anonymous memory and processor time are per operator, in the order of the members.
#[derive(Debug, Serialize)]
struct Propagation {
    bench: &'static str,
    samples: usize,
    p50_s: f64,
    p99_s: f64,
    max_s: f64,
    /// The mean over the commands of the home while the samples were taken. It includes the commit and both ways of
    /// the network.
    commit_mean_s: f64,
    operator_rss_mb: Vec<f64>,
    operator_idle_millicores: Vec<f64>,
}

pub(super) async fn run(Arguments { samples, json }: Arguments) -> Result<()> {
    let mut fleet = path::start("bench", 3).await?;
    let result = propagate(&mut fleet, samples).await?;
    fleet.end().await?;
    print(&result, json)
}

async fn propagate(fleet: &mut Fleet, samples: u32) -> Result<Propagation> {
    let mut path = Path::open(fleet).await?;
    let commits = Commits::so_far(fleet).await?;
    let mut took = Vec::new();
    for sample in 0..samples {
        took.push(path.propagate(&format!("sample-{sample}")).await?);
    }
    took.sort_unstable();
    let commit_mean_s = Commits::so_far(fleet).await?.mean_since(&commits);
    let rest = AtRest::measure(fleet, REST).await?;
    Ok(Propagation {
        bench: "propagate",
        samples: took.len(),
        p50_s: rounded(percentile(&took, 50).as_secs_f64()),
        p99_s: rounded(percentile(&took, 99).as_secs_f64()),
        max_s: rounded(percentile(&took, 100).as_secs_f64()),
        commit_mean_s: rounded(commit_mean_s),
        operator_rss_mb: rest.rss_mb,
        operator_idle_millicores: rest.millicores,
    })
}

/// The commands of the home's operator so far, from its metrics.
struct Commits {
    count: f64,
    seconds: f64,
}

impl Commits {
    async fn so_far(fleet: &Fleet) -> Result<Self> {
        let text = fleet.operator_of(HOME)?.metrics().await?;
        let sample = |name: &str| {
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            let value = value.with_context(|| format!("the operator has no metric {name}"))?;
            anyhow::Ok(value.parse::<f64>()?)
        };
        Ok(Self {
            count: sample("hanse_command_duration_seconds_count")?,
            seconds: sample("hanse_command_duration_seconds_sum")?,
        })
    }

    fn mean_since(&self, before: &Self) -> f64 {
        (self.seconds - before.seconds) / (self.count - before.count).max(1.0)
    }
}

fn print(result: &Propagation, json: bool) -> Result<()> {
    let mut stdout = io::stdout().lock();
    if json {
        writeln!(stdout, "{}", serde_json::to_string(result)?)?;
        return Ok(());
    }
    let Propagation {
        bench,
        samples,
        p50_s,
        p99_s,
        max_s,
        commit_mean_s,
        operator_rss_mb,
        operator_idle_millicores,
    } = result;
    writeln!(
        stdout,
        "{bench}, {samples} samples: p50 {p50_s} s, p99 {p99_s} s, max {max_s} s; commit, mean {commit_mean_s} s"
    )?;
    writeln!(
        stdout,
        "operators: {operator_rss_mb:?} MB anonymous, {operator_idle_millicores:?} millicores at rest"
    )?;
    Ok(())
}
