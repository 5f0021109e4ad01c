//! Runs the steps of the demo and measures how long each effect takes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join;
use hanse_crds::Lease;
use hanse_e2e::{Fleet, MemberPlan, await_condition};
use tokio::time::Instant;

use crate::{
    event::{Event, Events, Summary},
    stage::{Scene, Stage},
};

/// Replicas of `examples/web.yaml`.
const REPLICAS: i32 = 6;
/// Several times what each step takes on two cores.
const PATIENCE: Duration = Duration::from_mins(2);

/// Three owners, three providers, three regions: the loss of one of any kind affects one member.
pub(crate) fn plans() -> [MemberPlan; 3] {
    [
        MemberPlan::new("lubeck")
            .owner("amber")
            .located("metal", "lubeck-1"),
        MemberPlan::new("bergen")
            .owner("fjord")
            .located("nordic", "bergen-1")
            .jurisdiction("NO"),
        MemberPlan::new("riga")
            .owner("daugava")
            .located("baltic", "riga-1"),
    ]
}

/// Runs the whole demo, from the first operator to the healed federation, and reports each step.
pub(crate) async fn run(fleet: &mut Fleet, stage: &Stage, events: &Events) -> Result<Summary> {
    federate(fleet, stage, events).await?;
    start_workload(fleet, stage, events).await?;

    let victim = fleet.leader().await?;
    events.say(&format!(
        "killing all processes of {victim}, the leader, with SIGKILL: operator, API server, etcd and the rest"
    ));
    let killed = Stopwatch::start(stage, events);
    fleet.kill(&victim).await?;
    stage.leave(&victim);
    let replaced = killed
        .until(
            "replaced",
            "the Deployments of the others request all replicas",
            has_moved,
        )
        .await?;
    let ready = killed
        .until("ready", "all replicas are ready again", all_ready)
        .await?;
    // Until then they run in addition, because the leader is only silent.
    let lost = format!("the others show the lease of {victim} as Lost");
    let detected = killed
        .until("detected", &lost, |scene| is_lost(scene, &victim))
        .await?;

    events.say(&format!(
        "starting {victim} again with the data on its disk"
    ));
    stage.enter(fleet, &victim)?;
    let restarted = Stopwatch::start(stage, events);
    let back = format!("{victim} holds its lease, and each member runs what is placed there");
    let has_healed = restarted.until("healed", &back, |scene| has_healed(scene, &victim));
    let (healed, ()) = try_join(has_healed, fleet.restart(&victim)).await?;
    Ok(Summary {
        detected,
        replaced,
        ready,
        healed,
    })
}

async fn federate(fleet: &mut Fleet, stage: &Stage, events: &Events) -> Result<()> {
    events.say("forming a federation: the first member founds it and invites the others");
    fleet.federate().await?;
    fleet
        .members()
        .try_for_each(|member| stage.enter(fleet, member))?;

    events.say("each owner permits the others to run workloads: kubectl apply -f examples/hosting-policy.yaml");
    for member in fleet.members() {
        fleet.apply_example(member, "hosting-policy.yaml").await?;
    }
    Ok(())
}

async fn start_workload(fleet: &Fleet, stage: &Stage, events: &Events) -> Result<()> {
    let leader = fleet.leader().await?;
    // Only the owner's cluster has the workload's status. It must be readable while the leader's cluster does not run.
    let home = fleet
        .members()
        .find(|member| *member != leader)
        .context("there are three members")?;
    events.say(&format!("in {home}: kubectl apply -f examples/web.yaml"));
    let applied = Stopwatch::start(stage, events);
    fleet.apply_example(home, "web.yaml").await?;
    applied
        .until(
            "running",
            &format!("all {REPLICAS} replicas are ready"),
            all_ready,
        )
        .await
        .map(drop)
}

/// Measures the time from one cause to its effects.
struct Stopwatch<'a> {
    started: Instant,
    stage: &'a Stage,
    events: &'a Events,
}

impl<'a> Stopwatch<'a> {
    fn start(stage: &'a Stage, events: &'a Events) -> Self {
        Self {
            started: Instant::now(),
            stage,
            events,
        }
    }

    /// Waits until `is_so` returns `Ok`, reports this as `name`, and returns the time since the cause.
    async fn until(
        &self,
        name: &'static str,
        text: &str,
        is_so: impl Fn(&Scene) -> Result<()>,
    ) -> Result<Duration> {
        await_condition(text, PATIENCE, async || is_so(&self.stage.look())).await?;
        let took = self.started.elapsed();
        self.events.send(Event::Measured {
            name,
            took,
            text: text.to_owned(),
        });
        Ok(took)
    }
}

fn is_lost(scene: &Scene, victim: &str) -> Result<()> {
    let lease = scene
        .member(victim)
        .context("no cluster shows the member")?
        .lease;
    ensure!(lease == Some(Lease::Lost), "its lease is {lease:?}");
    Ok(())
}

fn has_moved(scene: &Scene) -> Result<()> {
    ensure!(
        scene.deployed() == REPLICAS,
        "the Deployments request {} of {REPLICAS} replicas",
        scene.deployed()
    );
    Ok(())
}

fn all_ready(scene: &Scene) -> Result<()> {
    has_moved(scene)?;
    ensure!(
        scene.ready() == REPLICAS,
        "{} of {REPLICAS} replicas are ready",
        scene.ready()
    );
    Ok(())
}

fn has_healed(scene: &Scene, victim: &str) -> Result<()> {
    let member = scene
        .member(victim)
        .context("no cluster shows the member")?;
    ensure!(
        member.lease == Some(Lease::Held),
        "its lease is {:?}",
        member.lease
    );
    for member in &scene.members {
        ensure!(
            member.runs_what_it_was_given(),
            "{} has the placement {:?} and runs {:?}",
            member.name,
            member.placement,
            member.deployment
        );
    }
    all_ready(scene)
}
