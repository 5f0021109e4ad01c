//! What happens, and how long it takes.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use futures::future::try_join;
use hanse_crds::Lease;
use hanse_e2e::{Fleet, MemberPlan, await_condition, workspace};
use tokio::time::Instant;

use crate::{screen::Screen, stage::Scene};

/// Replicas of `examples/web.yaml`.
const REPLICAS: i32 = 6;
/// Several times what each step takes on two cores.
const PATIENCE: Duration = Duration::from_mins(2);

/// Three owners, three providers, three regions: whichever is lost, the others are not.
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

/// How long it took, each from the moment its cause was complete.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    /// From the kill until a surviving cluster says that the member is lost.
    pub(crate) detected: Duration,
    /// From the kill until the surviving clusters have been asked for all replicas.
    pub(crate) replaced: Duration,
    /// From the kill until all of them are ready there.
    pub(crate) ready: Duration,
    /// From the restart until the member holds its lease again and every cluster runs what it was given, nothing else.
    pub(crate) healed: Duration,
}

/// Tells it from the first operator to the healed federation.
pub(crate) async fn tell(fleet: &mut Fleet, screen: &Screen) -> Result<Summary> {
    federate(fleet, screen).await?;
    start_workload(fleet, screen).await?;

    let victim = fleet.leader().await?;
    screen.say(&format!(
        "killing {victim}, which leads: its operator, API server, etcd, everything, with SIGKILL"
    ));
    let killed = Stopwatch::start(screen);
    fleet.kill(&victim).await?;
    screen.stage().leave(&victim);
    let lost = format!("{victim} is lost, say the others");
    let detected = killed
        .until("detected", &lost, |scene| is_lost(scene, &victim))
        .await?;
    let replaced = killed
        .until(
            "replaced",
            "the others have been asked for its share",
            has_moved,
        )
        .await?;
    let ready = killed
        .until("ready", "all replicas are ready again", all_ready)
        .await?;

    screen.say(&format!(
        "starting {victim} again, with what it has on disk"
    ));
    screen.stage().enter(fleet, &victim)?;
    let restarted = Stopwatch::start(screen);
    let back = format!("{victim} is back and runs nothing that is not its own");
    let has_healed = restarted.until("healed", &back, |scene| has_healed(scene, &victim));
    let (healed, ()) = try_join(has_healed, fleet.restart(&victim)).await?;
    Ok(Summary {
        detected,
        replaced,
        ready,
        healed,
    })
}

async fn federate(fleet: &mut Fleet, screen: &Screen) -> Result<()> {
    screen.say("federating them: the first founds, invites the others, and they join");
    fleet.federate().await?;
    fleet
        .members()
        .try_for_each(|member| screen.stage().enter(fleet, member))?;

    screen.say("every owner lets the others in: kubectl apply -f examples/hosting-policy.yaml");
    let policy = example("hosting-policy.yaml")?;
    for member in fleet.members() {
        fleet.apply_yaml(member, &policy).await?;
    }
    Ok(())
}

async fn start_workload(fleet: &Fleet, screen: &Screen) -> Result<()> {
    let leader = fleet.leader().await?;
    // So that its status, which is kept where its owner is, is there to be read while the leader is not.
    let home = fleet
        .members()
        .find(|member| *member != leader)
        .context("there are three members")?;
    screen.say(&format!("in {home}: kubectl apply -f examples/web.yaml"));
    let applied = Stopwatch::start(screen);
    fleet.apply_yaml(home, &example("web.yaml")?).await?;
    applied
        .until(
            "running",
            &format!("all {REPLICAS} replicas are ready"),
            all_ready,
        )
        .await
        .map(drop)
}

/// Measures from one cause to its effects.
struct Stopwatch<'a> {
    started: Instant,
    screen: &'a Screen,
}

impl<'a> Stopwatch<'a> {
    fn start(screen: &'a Screen) -> Self {
        Self {
            started: Instant::now(),
            screen,
        }
    }

    /// Waits until `is_so` of what is seen, tells it as `event`, and returns how long after the cause that was.
    async fn until(
        &self,
        event: &'static str,
        text: &str,
        is_so: impl Fn(&Scene) -> Result<()>,
    ) -> Result<Duration> {
        await_condition(text, PATIENCE, async || is_so(&self.screen.stage().look())).await?;
        let took = self.started.elapsed();
        self.screen.measured(event, took, text);
        Ok(took)
    }
}

fn is_lost(scene: &Scene, victim: &str) -> Result<()> {
    let lease = scene
        .member(victim)
        .context("the member is not seen")?
        .lease;
    ensure!(lease == Some(Lease::Lost), "its lease is {lease:?}");
    Ok(())
}

fn has_moved(scene: &Scene) -> Result<()> {
    ensure!(
        scene.deployed() == REPLICAS,
        "deployments ask for {} of {REPLICAS} replicas",
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
    let member = scene.member(victim).context("the member is not seen")?;
    ensure!(
        member.lease == Some(Lease::Held),
        "its lease is {:?}",
        member.lease
    );
    for member in &scene.members {
        ensure!(
            member.runs_what_it_was_given(),
            "{} was given {:?} and runs {:?}",
            member.name,
            member.placement,
            member.deployment
        );
    }
    all_ready(scene)
}

fn example(name: &str) -> Result<String> {
    let path = workspace::root().join("examples").join(name);
    fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
}
