//! A silent member: others run its replicas in addition before its lease ends, also the leader's, and nothing is taken from it.
//!
//! The lease is so long that it never ends here. Whatever moves is moved by suspicion.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context, Result, ensure};
use hanse_crds::{Lease, PlacementState};
use hanse_e2e::{Fleet, MemberPlan, Workload, await_condition, yaml};

/// Several times what any step takes on a loaded machine. Only a failure takes that long.
const SOON: Duration = Duration::from_mins(2);

const MEMBERS: [&str; 3] = ["lubeck", "bergen", "riga"];

const WEB: Workload = Workload {
    owner: "amber",
    namespace: "shop",
    name: "web",
};

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_members_replicas_run_elsewhere_in_addition_before_its_lease_ends() -> Result<()> {
    let mut plans = MEMBERS.map(|name| MemberPlan::new(name).owner("amber"));
    plans[0].operator_flags = ["--lease=10m", "--heartbeat=500ms"].map(Into::into).into();
    let mut fleet = Fleet::federated("surge", plans).await?;
    let leader = fleet.leader().await?;
    let mut others = MEMBERS.into_iter().filter(|name| *name != leader);
    let (home, quiet) = others.next().zip(others.next()).context("two others")?;
    for member in MEMBERS {
        fleet.create_namespaces(member, &["shop"]).await?;
    }
    let web = yaml::workload("web", "shop", "{}", &[&yaml::deployment("web", 3)]);
    fleet.apply_yaml(home, &web).await?;
    let even = MEMBERS.map(|member| (member, 1));
    fleet.await_shares("one replica each", &WEB, &even).await?;
    fleet.await_ready(home, "web", "shop").await?;
    let pods = fleet.pods(quiet, &WEB).await?;

    fleet.isolate(quiet)?;
    await_cover(&fleet, home, quiet).await?;
    ensure!(
        fleet.pods(quiet, &WEB).await? == pods,
        "{quiet} keeps its pod"
    );
    let ready = "jsonpath={.status.conditions[?(@.type==\"Ready\")].reason}";
    let row = fleet
        .kubectl(home, &["get", "mbr", quiet, "-o", ready])
        .await?;
    ensure!(row == "Silent", "the row of {quiet} says '{row}'");

    fleet.heal_all();
    fleet
        .await_shares("one replica each again", &WEB, &even)
        .await?;
    await_condition("nothing is in addition any more", SOON, async || {
        let status = fleet.workload_status(home, &WEB).await?;
        ensure!(
            status.placements.iter().all(|it| it.surge == 0),
            "{status:?}"
        );
        Ok(())
    })
    .await?;
    ensure!(
        fleet.pods(quiet, &WEB).await? == pods,
        "{quiet} keeps its pod"
    );
    for reason in ["Surged", "SurgeEnded"] {
        let events = fleet.events(home, &WEB, reason).await?;
        let messages: BTreeSet<_> = events.iter().filter_map(|it| it.message.clone()).collect();
        ensure!(
            messages.iter().any(|message| message.contains(quiet)),
            "the Events {reason} are {messages:?}"
        );
    }

    fleet.kill(&leader).await?;
    await_cover(&fleet, home, &leader).await?;
    fleet.end().await
}

/// Waits until the others run all three replicas although the lease of the silent member is held.
async fn await_cover(fleet: &Fleet, home: &str, silent: &str) -> Result<()> {
    let description = format!("the others run the replica of {silent}");
    await_condition(description, SOON, async || {
        let shares = fleet.ready_shares(&WEB).await?;
        let running = shares.iter().filter(|(member, _)| *member != silent);
        let running: i32 = running.map(|(_, share)| share).sum();
        ensure!(running == 3, "the ready replicas are {shares:?}");
        let status = fleet.workload_status(home, &WEB).await?;
        let mut placements = status.placements.iter();
        let of_silent = placements.find(|it| it.member == silent);
        ensure!(
            of_silent.is_some_and(|it| it.state == PlacementState::Silent),
            "the placements are {:?}",
            status.placements
        );
        ensure!(
            status.ready == 3,
            "{} replicas count as ready",
            status.ready
        );
        let mut conditions = status.conditions.iter();
        let ready = conditions.find(|it| it.type_ == "Ready");
        ensure!(
            ready.is_some_and(|it| it.reason == "AllReplicasReady"),
            "the condition is {ready:?}"
        );
        let lease = fleet.lease(home, silent).await?;
        ensure!(lease == Some(Lease::Held), "its lease is {lease:?}");
        Ok(())
    })
    .await?;
    Ok(())
}
