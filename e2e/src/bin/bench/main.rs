//! Measures the costs of a federation on this machine with real API servers.
//!
//! `propagate` applies workloads one after the other in one cluster, the home. For each it measures the time from the
//! answer of the API server until a watch in another cluster, the host, returns the object. It also measures the mean
//! time from the home's operator into the ledger and back, which is part of that, and what idle operators use.
//!
//! `failover` takes a cluster away again and again and measures when its replicas run in the others ([`failover`]).
//!
//! `planner` measures plans alone, in memory ([`planner`]).

mod failover;
mod planner;

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use futures::StreamExt;
use hanse_crds::{
    FederatedWorkload, FederatedWorkloadSpec, Placement, PlacementMode, Requirements,
};
use hanse_e2e::{Fleet, Links, MemberPlan, hold_condition, workspace};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::PostParams,
    runtime::{WatchStreamExt, watcher},
};
use rustix::param::clock_ticks_per_second;
use serde::Serialize;
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{Instant, timeout},
};

/// Longer than any object has taken. One that takes longer is an error and not a sample.
const PATIENCE: Duration = Duration::from_secs(30);
/// For how long the use of idle operators is measured.
const REST: Duration = Duration::from_secs(10);
/// Where the workloads are, in the cluster of their owner.
const NAMESPACE: &str = "bench";
/// Label of the member that hosts them.
const HOST_LABEL: (&str, &str) = ("bench", "host");

/// Measures Hanse with real control planes on this machine.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// From a workload in one cluster to its object in another.
    Propagate {
        /// How many workloads.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        samples: u32,
        /// Print the result as one line of JSON.
        #[arg(long)]
        json: bool,
    },
    /// From the loss of a cluster to its replicas in the others.
    Failover(failover::Arguments),
    /// What a plan costs.
    Planner(planner::Arguments),
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

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().bench {
        Bench::Propagate { samples, json } => {
            let mut fleet = start().await?;
            let result = propagate(&mut fleet, samples).await?;
            fleet.end().await?;
            print(&result, json)
        }
        Bench::Failover(arguments) => failover::run(arguments).await,
        Bench::Planner(arguments) => planner::run(&arguments),
    }
}

async fn start() -> Result<Fleet> {
    let (key, value) = HOST_LABEL;
    let plans = [
        MemberPlan::new("home").owner("north"),
        MemberPlan::new("host").owner("east").label(key, value),
        MemberPlan::new("third").owner("south"),
    ];
    // Direct links, because a proxy would add to what is measured.
    let mut fleet = Fleet::start("bench", plans, Links::Direct).await?;
    fleet.federate().await?;
    let policy = workspace::root()
        .join("examples")
        .join("hosting-policy.yaml");
    let policy = fs::read_to_string(&policy)
        .with_context(|| format!("failed to read {}", policy.display()))?;
    fleet.apply_yaml("host", &policy).await?;
    fleet
        .kubectl("home", &["create", "namespace", NAMESPACE])
        .await?;
    Ok(fleet)
}

async fn propagate(fleet: &mut Fleet, samples: u32) -> Result<Propagation> {
    let workloads = Api::namespaced(fleet.client("home")?, NAMESPACE);
    let mut seen = watch_objects(fleet.client("host")?);
    // Only the first workload of a tenant creates the namespace in the host, so it is not a sample.
    propagate_one(&workloads, &mut seen, "warm-up").await?;
    let commits = Commits::so_far(fleet).await?;
    let mut took = Vec::new();
    for sample in 0..samples {
        took.push(propagate_one(&workloads, &mut seen, &format!("sample-{sample}")).await?);
    }
    took.sort_unstable();
    let commit_mean_s = Commits::so_far(fleet).await?.mean_since(&commits);

    let before = used(fleet)?;
    let rested = Instant::now();
    hold_condition("all operators run", REST, async || running(fleet)).await?;
    let after = used(fleet)?;
    let rested = rested.elapsed();
    Ok(Propagation {
        bench: "propagate",
        samples: took.len(),
        p50_s: rounded(percentile(&took, 50).as_secs_f64()),
        p99_s: rounded(percentile(&took, 99).as_secs_f64()),
        max_s: rounded(percentile(&took, 100).as_secs_f64()),
        commit_mean_s: rounded(commit_mean_s),
        operator_rss_mb: after
            .iter()
            .map(|used| rounded(used.anonymous_mb))
            .collect(),
        operator_idle_millicores: before
            .iter()
            .zip(&after)
            .map(|(before, after)| {
                rounded(
                    after.cpu.saturating_sub(before.cpu).as_secs_f64() / rested.as_secs_f64()
                        * 1000.0,
                )
            })
            .collect(),
    })
}

/// From the answer of the home's API server until a watch returns the object in the host.
async fn propagate_one(
    workloads: &Api<FederatedWorkload>,
    seen: &mut UnboundedReceiver<(String, Instant)>,
    name: &str,
) -> Result<Duration> {
    let workload = workload(name);
    workloads.create(&PostParams::default(), &workload).await?;
    let answered = Instant::now();
    let arrival = async {
        loop {
            let (object, at) = seen.recv().await.context("the watch has ended")?;
            if object == name {
                return anyhow::Ok(at);
            }
        }
    };
    let arrived = timeout(PATIENCE, arrival)
        .await
        .with_context(|| format!("{name} did not arrive"))??;
    // The watch may return the object before the answer has been read here.
    Ok(arrived.saturating_duration_since(answered))
}

fn workload(name: &str) -> FederatedWorkload {
    let (key, value) = HOST_LABEL;
    let mut workload = FederatedWorkload::new(
        name,
        FederatedWorkloadSpec {
            manifests: vec![serde_json::json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name},
                "data": {"sample": name},
            })],
            placement: Placement {
                mode: PlacementMode::Duplicated,
                require: Requirements {
                    match_labels: BTreeMap::from([(key.to_owned(), value.to_owned())]),
                },
                ..Placement::default()
            },
            ..FederatedWorkloadSpec::default()
        },
    );
    workload.metadata.namespace = Some(NAMESPACE.to_owned());
    workload
}

/// The `ConfigMap`s that Hanse has applied in a cluster, each with the time at which the watch returned it.
fn watch_objects(client: Client) -> UnboundedReceiver<(String, Instant)> {
    use hanse_crds::names::WORKLOAD_LABEL;
    let (sender, receiver) = unbounded_channel();
    let objects: Api<ConfigMap> = Api::all(client);
    let changes = watcher(objects, watcher::Config::default().labels(WORKLOAD_LABEL));
    tokio::spawn(
        changes
            .default_backoff()
            .applied_objects()
            .for_each(move |object| {
                let seen = object
                    .ok()
                    .and_then(|object| object.metadata.name)
                    .map(|name| (name, Instant::now()));
                // Sending fails after the last sample, when the receiver has been dropped.
                seen.map(|seen| sender.send(seen).ok());
                async {}
            }),
    );
    receiver
}

/// The commands of the home's operator so far, from its metrics.
struct Commits {
    count: f64,
    seconds: f64,
}

impl Commits {
    async fn so_far(fleet: &Fleet) -> Result<Self> {
        let text = fleet.operator_of("home")?.metrics().await?;
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

/// What a process has used.
struct Used {
    /// Anonymous resident memory: without the pages of the program's file.
    anonymous_mb: f64,
    /// Processor time since it started.
    cpu: Duration,
}

fn used(fleet: &mut Fleet) -> Result<Vec<Used>> {
    let members: Vec<_> = fleet.members().map(str::to_owned).collect();
    members
        .iter()
        .map(|member| {
            let process = fleet.operator(member)?.process();
            used_by(
                process
                    .with_context(|| format!("the operator of {member} does not run"))?
                    .id(),
            )
        })
        .collect()
}

fn used_by(process: u32) -> Result<Used> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let anonymous_kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix("kB"))
        .context("no RssAnon in /proc/PID/status")?
        .trim()
        .parse()?;
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Field 3 follows the name, which may contain spaces and brackets. Fields 14 and 15 are user and system time.
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u64>)
        .sum::<Result<u64, _>>()?;
    Ok(Used {
        anonymous_mb: anonymous_kib / 1024.0,
        cpu: Duration::from_millis(ticks * 1000 / clock_ticks_per_second()),
    })
}

fn running(fleet: &mut Fleet) -> Result<()> {
    let members: Vec<_> = fleet.members().map(str::to_owned).collect();
    for member in &members {
        fleet.operator(member)?.ensure_running()?;
    }
    Ok(())
}

/// The smallest sample that at least `percent` of all samples do not exceed. They are sorted, and at least one.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
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
