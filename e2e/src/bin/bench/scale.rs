//! What many workloads cost: the first of them, all of them, operators at rest, and one more.
//!
//! Each workload is a `ConfigMap` that another member hosts. First some are applied one after the other; then the rest, many at a
//! time; and when all report that they are ready and the operators have been measured at rest, some more one after the other. If
//! each step costs what changed, the last take as long as the first.

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::{Result, ensure};
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use hanse_crds::{ConditionStatus, FederatedWorkload};
use hanse_e2e::await_condition;
use serde::Serialize;
use tokio::time::Instant;

use super::{
    path::{self, Home, Path},
    percentile, rounded,
    usage::AtRest,
};

/// How many are applied one after the other, before and after the rest.
const SAMPLES: u32 = 50;
/// How many are applied at a time, as `kubectl apply` does with a folder in a few terminals.
const AT_ONCE: usize = 16;
/// After the last object has arrived, until the home shows every workload as ready and operators have calmed down.
const SETTLE: Duration = Duration::from_mins(5);
/// For how long the use of operators at rest is measured.
const REST: Duration = Duration::from_secs(30);

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How many workloads.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(200..=100_000))]
    workloads: u32,
    /// How many members.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(3..=7))]
    members: u8,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// The result. Memory and processor time are per operator, in the order of the members.
#[derive(Debug, Serialize)]
struct Outcome {
    bench: &'static str,
    workloads: u32,
    members: u8,
    /// One workload after the other, from the answer in the home to the object in the host: the first.
    first_p50_s: f64,
    /// The last.
    last_p50_s: f64,
    /// From the first answer in the home until all the others were in the host.
    bulk_s: f64,
    bulk_per_s: f64,
    /// From then until the home showed every workload as ready.
    ready_s: f64,
    /// The index of the leader.
    leader: usize,
    rss_mb: Vec<f64>,
    millicores: Vec<f64>,
}

pub(super) async fn run(arguments: Arguments) -> Result<()> {
    let Arguments {
        workloads,
        members,
        json,
    } = arguments;
    let mut fleet = path::start("bench-scale", usize::from(members)).await?;
    let mut path = Path::open(&fleet).await?;
    let first = one_by_one(&mut path, "first").await?;
    let began = Instant::now();
    apply_many(&mut path, workloads - 2 * SAMPLES, json).await?;
    let bulk = began.elapsed();
    await_ready(path.ends().0).await?;
    let ready = began.elapsed().saturating_sub(bulk);
    let rest = AtRest::measure(&mut fleet, REST).await?;
    let last = one_by_one(&mut path, "last").await?;
    let leader = fleet.leader().await?;
    let leader = fleet.members().position(|name| name == leader);
    let outcome = Outcome {
        bench: "scale",
        workloads,
        members,
        first_p50_s: rounded(first.as_secs_f64()),
        last_p50_s: rounded(last.as_secs_f64()),
        bulk_s: rounded(bulk.as_secs_f64()),
        bulk_per_s: rounded(f64::from(workloads - 2 * SAMPLES) / bulk.as_secs_f64()),
        ready_s: rounded(ready.as_secs_f64()),
        leader: leader.unwrap_or_default(),
        rss_mb: rest.rss_mb,
        millicores: rest.millicores,
    };
    fleet.end().await?;
    if json {
        writeln!(io::stdout(), "{}", serde_json::to_string(&outcome)?)?;
    } else {
        writeln!(io::stdout(), "{outcome:#?}")?;
    }
    Ok(())
}

/// The median.
async fn one_by_one(path: &mut Path, name: &str) -> Result<Duration> {
    let mut took = Vec::new();
    for number in 0..SAMPLES {
        took.push(path.propagate(&format!("{name}-{number}")).await?);
    }
    took.sort_unstable();
    Ok(percentile(&took, 50))
}

/// Until all have arrived. They are counted, because each arrives once.
async fn apply_many(path: &mut Path, workloads: u32, quiet: bool) -> Result<()> {
    let names = stream::iter(0..workloads).map(|number| format!("many-{number}"));
    let (home, arrivals) = path.ends();
    let apply = names
        .map(Ok)
        .try_for_each_concurrent(AT_ONCE, async |name| home.apply(&name).await);
    let began = Instant::now();
    let count = async {
        for number in 1..=workloads {
            arrivals.next().await?;
            if number % 1000 == 0 && !quiet {
                writeln!(io::stdout(), "{number} after {:.1?}", began.elapsed())?;
            }
        }
        Ok(())
    };
    tokio::try_join!(apply, count).map(drop)
}

async fn await_ready(home: &Home) -> Result<()> {
    await_condition("every workload is ready", SETTLE, async || {
        let mut from = None;
        loop {
            let (page, next) = home.list(from.as_deref()).await?;
            let waiting = page.iter().filter(|it| !is_ready(it)).count();
            ensure!(waiting == 0, "{waiting} of {} are not", page.len());
            match next {
                Some(_) => from = next,
                None => return Ok(()),
            }
        }
    })
    .await?;
    Ok(())
}

fn is_ready(workload: &FederatedWorkload) -> bool {
    let status = workload.status.as_ref();
    let mut conditions = status.into_iter().flat_map(|status| &status.conditions);
    conditions.any(|it| it.type_ == "Ready" && it.status == ConditionStatus::True)
}
