//! How long a failover takes, with default timings.
//!
//! Three clusters, each of its own provider, run one replica each. One is killed with all its processes, or cut off; when the others
//! run its replica, it comes back, and the next run begins when every cluster runs one replica again. The times count from just
//! before the fault, and end when a watch on an API server of the others returns what they name:
//!
//! | time | what is seen |
//! |---|---|
//! | `suspect_s` | the `Member` of the victim is not `Ready` any more |
//! | `decide_s` | the status of the workload has replicas in addition, or its share is lost |
//! | `asked_s` | the Deployments of the others ask for all replicas |
//! | `ready_s` | as many are ready |

use std::{
    collections::BTreeMap,
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use futures::StreamExt;
use hanse_crds::{ConditionStatus, FederatedWorkload, Lease, Member, PlacementState};
use hanse_e2e::{Fleet, Links, MemberPlan, Workload, await_condition, yaml};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Resource,
    runtime::{WatchStreamExt, watcher},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    time::{Instant, timeout},
};

use super::{percentile, rounded};

const MEMBERS: [&str; 3] = ["one", "two", "three"];
/// One for each member.
const REPLICAS: i32 = 3;
/// A failover that takes longer is an error and not a sample.
const PATIENCE: Duration = Duration::from_mins(1);
/// What any other step may take.
const SOON: Duration = Duration::from_mins(3);

const WEB: Workload = Workload {
    owner: "north",
    namespace: "bench",
    name: "web",
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// How many failovers.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    runs: u32,
    /// Which cluster is lost.
    #[arg(long, value_enum, default_value_t = Victim::Other)]
    victim: Victim,
    /// How.
    #[arg(long, value_enum, default_value_t = Fault::Kill)]
    fault: Fault,
    /// Print the result as one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Victim {
    /// One whose operator does not lead.
    Other,
    /// The one whose operator leads.
    Leader,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Fault {
    /// All its processes get SIGKILL.
    Kill,
    /// No byte passes between it and the others.
    Blackhole,
}

/// One step of a failover, over all runs.
#[derive(Debug, Serialize)]
struct Figures {
    p50: f64,
    p90: f64,
    p99: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct Outcome {
    bench: &'static str,
    victim: Victim,
    fault: Fault,
    runs: usize,
    suspect_s: Figures,
    decide_s: Figures,
    asked_s: Figures,
    ready_s: Figures,
}

pub(super) async fn run(arguments: Arguments) -> Result<()> {
    let Arguments {
        runs,
        victim,
        fault,
        json,
    } = arguments;
    let plans = MEMBERS.map(|name| MemberPlan::new(name).owner("north"));
    let mut fleet = Fleet::start("bench-failover", plans, Links::Proxied).await?;
    fleet.federate().await?;
    for member in MEMBERS {
        fleet.create_namespaces(member, &[WEB.namespace]).await?;
    }
    let deployment = yaml::deployment(WEB.name, 1);
    let placement = format!("{{replicas: {REPLICAS}}}");
    let web = yaml::workload(WEB.name, WEB.namespace, &placement, &[&deployment]);
    fleet.apply_yaml(MEMBERS[0], &web).await?;
    let mut samples = Vec::new();
    for _ in 0..runs {
        await_even(&fleet).await?;
        let sample = fail_over(&mut fleet, victim, fault).await?;
        if !json {
            writeln!(io::stdout(), "{sample:?}")?;
        }
        samples.push(sample);
    }
    fleet.end().await?;
    let outcome = Outcome {
        bench: "failover",
        victim,
        fault,
        runs: samples.len(),
        suspect_s: figures(&samples, |it| it.suspect),
        decide_s: figures(&samples, |it| it.decide),
        asked_s: figures(&samples, |it| it.asked),
        ready_s: figures(&samples, |it| it.ready),
    };
    writeln!(io::stdout(), "{}", serde_json::to_string(&outcome)?)?;
    Ok(())
}

/// Waits until every member holds its lease, is not suspected, and runs one replica.
///
/// A member that was lost gets nothing back by itself, so the workload is first spread again: with more replicas, then fewer.
async fn await_even(fleet: &Fleet) -> Result<()> {
    await_condition("every lease is held", SOON, async || {
        for member in MEMBERS {
            let row = fleet.row(MEMBERS[0], member).await?;
            let status = row.status.unwrap_or_default();
            ensure!(
                status.lease == Some(Lease::Held) && is_ready(&status.conditions),
                "{member} is {:?}",
                status.conditions
            );
        }
        Ok(())
    })
    .await?;
    fleet.await_quorum().await?;
    // As many replicas for the one that has none as the others may have, then down to one each.
    for replicas in [REPLICAS * REPLICAS, REPLICAS] {
        let patch = serde_json::json!({"spec": {"placement": {"replicas": replicas}}});
        fleet.patch_workload(MEMBERS[0], &WEB, &patch).await?;
        let even = MEMBERS.map(|member| (member, replicas / REPLICAS));
        fleet
            .await_shares("an even share each", &WEB, &even)
            .await?;
    }
    fleet.await_ready(MEMBERS[0], WEB.name, WEB.namespace).await
}

fn is_ready(conditions: &[hanse_crds::Condition]) -> bool {
    let mut conditions = conditions.iter();
    conditions.any(|it| it.type_ == "Ready" && it.status == ConditionStatus::True)
}

/// The steps of one failover, since the fault.
#[derive(Debug)]
struct Sample {
    suspect: Duration,
    decide: Duration,
    asked: Duration,
    ready: Duration,
}

async fn fail_over(fleet: &mut Fleet, victim: Victim, fault: Fault) -> Result<Sample> {
    let leader = fleet.leader().await?;
    let mut names = MEMBERS.into_iter();
    let lost = match victim {
        Victim::Leader => names.find(|name| *name == leader),
        Victim::Other => names.find(|name| *name != leader),
    };
    let lost = lost.context("three members")?;
    let others: Vec<&str> = MEMBERS.into_iter().filter(|name| *name != lost).collect();
    let mut seen = watch_all(fleet, &others, lost)?;
    let mut scene = Scene::default();
    let at_rest = async {
        while !scene.is_at_rest(others.len()) {
            let (news, _) = seen.recv().await.context("the watches have ended")?;
            scene.take(news);
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, at_rest).await??;

    let began = Instant::now();
    match fault {
        Fault::Kill => fleet.kill(lost).await?,
        Fault::Blackhole => fleet.isolate(lost)?,
    }
    let mut steps: [Option<Duration>; 4] = [None; 4];
    let all_steps = async {
        while steps.iter().any(Option::is_none) {
            let (news, at) = seen.recv().await.context("the watches have ended")?;
            scene.take(news);
            for (step, holds) in steps.iter_mut().zip(scene.holds()) {
                if holds {
                    step.get_or_insert(at.saturating_duration_since(began));
                }
            }
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, all_steps)
        .await
        .with_context(|| format!("no failover: {scene:?}"))??;
    // The next run begins with a member that was really lost: what is measured is not its return from suspicion.
    await_condition("the lease is lost", SOON, async || {
        let lease = fleet.lease(others[0], lost).await?;
        ensure!(lease == Some(Lease::Lost), "its lease is {lease:?}");
        Ok(())
    })
    .await?;
    match fault {
        Fault::Kill => fleet.restart(lost).await?,
        Fault::Blackhole => fleet.heal_all(),
    }
    let [suspect, decide, asked, ready] = steps.map(Option::unwrap_or_default);
    Ok(Sample {
        suspect,
        decide,
        asked,
        ready,
    })
}

/// What a watch returned.
enum News {
    Silent(bool),
    Decided(bool),
    /// The replicas that a member's Deployment asks for, and the ready ones.
    Runs(String, i32, i32),
}

/// What the watches returned last.
#[derive(Debug, Default)]
struct Scene {
    silent: Option<bool>,
    decided: Option<bool>,
    runs: BTreeMap<String, (i32, i32)>,
}

impl Scene {
    fn take(&mut self, news: News) {
        match news {
            News::Silent(silent) => self.silent = Some(silent),
            News::Decided(decided) => self.decided = Some(decided),
            News::Runs(member, asked, ready) => {
                self.runs.insert(member, (asked, ready));
            }
        }
    }

    fn is_at_rest(&self, others: usize) -> bool {
        let known = self.silent == Some(false) && self.decided == Some(false);
        known && self.runs.len() == others && self.runs.values().all(|runs| *runs == (1, 1))
    }

    fn holds(&self) -> [bool; 4] {
        let asked: i32 = self.runs.values().map(|(asked, _)| asked).sum();
        let ready: i32 = self.runs.values().map(|(_, ready)| ready).sum();
        [
            self.silent == Some(true),
            self.decided == Some(true),
            asked >= REPLICAS,
            ready >= REPLICAS,
        ]
    }
}

fn watch_all(
    fleet: &Fleet,
    others: &[&str],
    lost: &str,
) -> Result<UnboundedReceiver<(News, Instant)>> {
    let (sender, receiver) = unbounded_channel();
    for other in others {
        let client = || fleet.client(other);
        let (name, field) = (other.to_string(), |name: &str| {
            watcher::Config::default().fields(&format!("metadata.name={name}"))
        });
        let members: Api<Member> = Api::all(client()?);
        watch(members, field(lost), sender.clone(), |member: Member| {
            let status = member.status.unwrap_or_default();
            News::Silent(!is_ready(&status.conditions))
        });
        let workloads: Api<FederatedWorkload> = Api::namespaced(client()?, WEB.namespace);
        watch(
            workloads,
            field(WEB.name),
            sender.clone(),
            |workload: FederatedWorkload| {
                let placements = workload.status.unwrap_or_default().placements;
                let mut placements = placements.iter();
                News::Decided(placements.any(|it| it.surge > 0 || it.state == PlacementState::Lost))
            },
        );
        let deployments: Api<Deployment> = Api::namespaced(client()?, WEB.namespace);
        watch(
            deployments,
            field(WEB.name),
            sender.clone(),
            move |it: Deployment| {
                let asked = it.spec.and_then(|spec| spec.replicas).unwrap_or_default();
                let ready = it.status.and_then(|status| status.ready_replicas);
                News::Runs(name.clone(), asked, ready.unwrap_or_default())
            },
        );
    }
    Ok(receiver)
}

fn watch<K>(
    objects: Api<K>,
    config: watcher::Config,
    sender: UnboundedSender<(News, Instant)>,
    news: impl Fn(K) -> News + Send + 'static,
) where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let changes = watcher(objects, config).default_backoff().applied_objects();
    tokio::spawn(changes.for_each(move |object| {
        if let Ok(object) = object {
            // Sending fails after the run, when the receiver has been dropped.
            let _ = sender.send((news(object), Instant::now()));
        }
        async {}
    }));
}

fn figures(samples: &[Sample], step: impl Fn(&Sample) -> Duration) -> Figures {
    let mut times: Vec<Duration> = samples.iter().map(step).collect();
    times.sort_unstable();
    let at = |percent| rounded(percentile(&times, percent).as_secs_f64());
    Figures {
        p50: at(50),
        p90: at(90),
        p99: at(99),
        max: at(100),
    }
}
