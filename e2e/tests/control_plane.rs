//! A member's API server hangs while its nodes run on: nothing moves, and what was reported does not count as news.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hanse_crds::{Lease, PlacementState};
use hanse_e2e::{Component, Fleet, Process, Workload, await_condition, hold_condition, yaml};

/// Several times what any step takes on a loaded machine. Only a failure takes that long.
const SOON: Duration = Duration::from_mins(2);

const MEMBERS: [&str; 3] = ["bergen", "lubeck", "riga"];

const WEB: Workload = Workload {
    owner: "amber",
    namespace: "shop",
    name: "web",
};

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_that_hangs_is_shown_and_moves_nothing() -> Result<()> {
    let mut fleet = Fleet::of_one_owner("control-plane", "amber", MEMBERS, "shop").await?;
    let web = yaml::workload("web", "shop", "{}", &[&yaml::deployment("web", 6)]);
    // The controllers of Kubernetes take the nodes for dead when they come back before these have said that they live, and the
    // simulated kubelets do not set the pods right afterwards, as real ones do.
    let web = yaml::with_failover(&web, "{unhealthyAfter: Never}");
    fleet.apply_yaml("lubeck", &web).await?;
    let even = MEMBERS.map(|member| (member, 2));
    fleet.await_shares("two replicas each", &WEB, &even).await?;
    fleet.await_ready("lubeck", "web", "shop").await?;
    let epochs = epochs(&fleet).await?;

    for component in [Component::ApiServer, Component::Etcd] {
        process(&mut fleet, component)?.pause();
        await_condition("riga is shown as it is", SOON, async || {
            let reason = ready_reason(&fleet).await?;
            ensure!(reason == "ControlPlaneDown", "the reason is '{reason}'");
            let state = state_in_riga(&fleet).await?;
            ensure!(state == Some(PlacementState::Unknown), "it is {state:?}");
            let status = fleet.workload_status("lubeck", &WEB).await?;
            ensure!(status.ready == 4, "{} count as ready", status.ready);
            Ok(())
        })
        .await?;
        let reason = "{.status.conditions[?(@.type==\"Ready\")].reason}";
        fleet
            .await_field("lubeck", &WEB, reason, "ControlPlaneDown")
            .await?;
        hold_condition("nothing moves", Duration::from_secs(10), async || {
            let lease = fleet.lease("lubeck", "riga").await?;
            ensure!(lease == Some(Lease::Held), "the lease of riga is {lease:?}");
            let now = self::epochs(&fleet).await?;
            ensure!(now == epochs, "{epochs:?} became {now:?}");
            Ok(())
        })
        .await?;
        process(&mut fleet, component)?.resume();
        await_condition("riga is well again", SOON, async || {
            let reason = ready_reason(&fleet).await?;
            ensure!(reason == "LeaseHeld", "the reason is '{reason}'");
            Ok(())
        })
        .await?;
        await_condition("what riga reports counts again", SOON, async || {
            let state = state_in_riga(&fleet).await?;
            ensure!(state != Some(PlacementState::Unknown), "it is {state:?}");
            Ok(())
        })
        .await?;
    }
    ensure!(self::epochs(&fleet).await? == epochs, "something moved");
    fleet.end().await
}

fn process(fleet: &mut Fleet, component: Component) -> Result<&mut Process> {
    let process = fleet.cluster("riga")?.component(component);
    process.context("it runs")
}

/// Why riga is ready or not, as lubeck shows it.
async fn ready_reason(fleet: &Fleet) -> Result<String> {
    let status = fleet.row("lubeck", "riga").await?.status;
    let conditions = status.context("it has no status")?.conditions;
    let ready = conditions.into_iter().find(|it| it.type_ == "Ready");
    Ok(ready.context("it has no condition Ready")?.reason)
}

/// How its placement in riga is.
async fn state_in_riga(fleet: &Fleet) -> Result<Option<PlacementState>> {
    let status = fleet.workload_status("lubeck", &WEB).await?;
    let mut placements = status.placements.iter();
    let riga = placements.find(|it| it.member == "riga");
    Ok(riga.map(|it| it.state))
}

/// Where the workload is placed, with the epoch of each placement.
async fn epochs(fleet: &Fleet) -> Result<Vec<(String, i64)>> {
    let status = fleet.workload_status("lubeck", &WEB).await?;
    let placements = status.placements.into_iter();
    Ok(placements.map(|it| (it.member, it.epoch)).collect())
}
