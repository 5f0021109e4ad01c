//! Replicas that a member does not keep ready while its API server is well: its nodes die, or a pod finds no node.

use std::time::Duration;

use anyhow::{Result, ensure};
use hanse_e2e::{Component, Fleet, Workload, await_condition, yaml};

/// Several times what any step takes on a loaded machine. Only a failure takes that long.
const SOON: Duration = Duration::from_mins(2);

const MEMBERS: [&str; 3] = ["bergen", "lubeck", "riga"];

const WEB: Workload = Workload {
    owner: "amber",
    namespace: "shop",
    name: "web",
};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_does_not_keep_ready_runs_elsewhere_and_what_is_ready_stays() -> Result<()> {
    let mut fleet = Fleet::of_one_owner("unready", "amber", MEMBERS, "shop").await?;
    let web = yaml::workload("web", "shop", "{}", &[&yaml::deployment("web", 6)]);
    let web = yaml::with_failover(&web, "{unhealthyAfter: 3s}");
    fleet.apply_yaml("lubeck", &web).await?;
    let even = MEMBERS.map(|member| (member, 2));
    fleet.await_shares("two replicas each", &WEB, &even).await?;
    fleet.await_ready("lubeck", "web", "shop").await?;

    a_pod_that_finds_no_node_runs_elsewhere(&fleet).await?;
    the_replicas_of_nodes_that_died_run_elsewhere(&mut fleet).await?;
    fleet.end().await
}

async fn a_pod_that_finds_no_node_runs_elsewhere(fleet: &Fleet) -> Result<()> {
    let before = fleet.pods("bergen", &WEB).await?;
    let nodes = ["bergen-0", "bergen-1", "bergen-2"];
    for node in nodes {
        fleet.kubectl("bergen", &["cordon", node]).await?;
    }
    let name = "jsonpath={.items[0].metadata.name}";
    let pods = ["get", "pods", "-n", "shop", "-l", "app=web", "-o", name];
    let pod = fleet.kubectl("bergen", &pods).await?;
    fleet
        .kubectl("bergen", &["delete", "pod", "-n", "shop", &pod])
        .await?;
    let moved = [("bergen", 1), ("lubeck", 3), ("riga", 2)];
    fleet
        .await_shares("the pod that waits runs in lubeck", &WEB, &moved)
        .await?;
    fleet.await_ready("lubeck", "web", "shop").await?;
    let after = fleet.pods("bergen", &WEB).await?;
    ensure!(
        after.len() == 1 && after.is_subset(&before),
        "the pod that was ready stays: {before:?} then {after:?}"
    );
    await_moved(
        fleet,
        "bergen does not keep it ready: only 1 of 2 are ready",
    )
    .await?;
    for node in nodes {
        fleet.kubectl("bergen", &["uncordon", node]).await?;
    }
    Ok(())
}

async fn the_replicas_of_nodes_that_died_run_elsewhere(fleet: &mut Fleet) -> Result<()> {
    if let Some(nodes) = fleet.cluster("riga")?.component(Component::Kwok) {
        nodes.pause();
    }
    await_condition("lubeck runs what died in riga", SOON, async || {
        let shares = fleet.ready_shares(&WEB).await?;
        ensure!(
            shares.get("lubeck") == Some(&5) && shares.get("bergen") == Some(&1),
            "the ready replicas are {shares:?}"
        );
        Ok(())
    })
    .await?;
    fleet.await_ready("lubeck", "web", "shop").await?;
    await_moved(fleet, "riga does not keep it ready: only 0 of 2 are ready").await?;
    let lease = fleet.lease("lubeck", "riga").await?;
    ensure!(
        lease == Some(hanse_crds::Lease::Held),
        "its API server is well, and the lease of riga is {lease:?}"
    );
    // Its pods cannot end before their nodes are back, and so its part is not removed.
    if let Some(nodes) = fleet.cluster("riga")?.component(Component::Kwok) {
        nodes.resume();
    }
    await_condition("riga has removed its part", SOON, async || {
        let status = fleet.workload_status("lubeck", &WEB).await?;
        ensure!(
            status.placements.len() == 2,
            "the placements are {:?}",
            status.placements
        );
        Ok(())
    })
    .await?;
    let shares = fleet.settled_shares("lubeck", &WEB).await?;
    ensure!(!shares.contains_key("riga"), "it came back: {shares:?}");
    Ok(())
}

/// Waits for the Event that says why replicas moved.
async fn await_moved(fleet: &Fleet, why: &str) -> Result<()> {
    await_condition(format!("an Event says: {why}"), SOON, async || {
        let events = fleet.events("lubeck", &WEB, "Moved").await?;
        let mut messages = events.iter().filter_map(|it| it.message.as_deref());
        ensure!(
            messages.any(|message| message.contains(why)),
            "the Events are {events:?}"
        );
        Ok(())
    })
    .await?;
    Ok(())
}
