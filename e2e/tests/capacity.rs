//! Nothing is placed where it has no room: by the shape of nodes, on real nodes and pods. One fleet of three members of one owner;
//! each has three nodes, none of which holds two pods of ten cores.

use std::{fs, time::Duration};

use anyhow::{Result, ensure};
use hanse_e2e::{
    Fleet, MemberPlan, Workload, await_condition, hold_condition, workspace::WorkDir, yaml,
};

/// Several times what a host takes to measure, and the leader to hear of it.
const SOON: Duration = Duration::from_secs(30);
/// Several times what the leader takes to decide, and a host to act.
const STAYS: Duration = Duration::from_secs(10);
const OWNER: &str = "amber";
const NAMESPACE: &str = "shop";
const PLACED: &str = "{.status.conditions[?(@.type=='Placed')].message}";
const EXCLUDED: &str = "{.status.excluded[*].message}";

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_goes_where_nodes_have_room_for_its_pods() -> Result<()> {
    let plans = [
        MemberPlan::new("lubeck").owner(OWNER),
        MemberPlan::new("bergen").owner(OWNER),
        MemberPlan::new("riga").owner(OWNER),
    ];
    let mut fleet = Fleet::federated("capacity", plans).await?;
    for member in ["lubeck", "bergen", "riga"] {
        fleet.create_namespaces(member, &[NAMESPACE]).await?;
    }
    only_nodes_with_graphics_cards_hold_what_asks_for_them(&fleet).await?;
    a_full_member_gets_no_more(&fleet).await?;
    what_fits_nowhere_after_a_loss_is_said_and_runs_as_soon_as_it_fits(&mut fleet).await?;
    an_elastic_member_is_never_full(&mut fleet).await?;
    fleet.end().await
}

fn named(name: &'static str) -> Workload {
    Workload {
        owner: OWNER,
        namespace: NAMESPACE,
        name,
    }
}

/// A Deployment whose pods each ask for `requests`.
fn requesting(name: &str, replicas: u32, requests: &str) -> String {
    let requested = format!("name: app, resources: {{requests: {requests}, limits: {requests}}}");
    yaml::deployment(name, replicas).replace("name: app", &requested)
}

/// A workload of a Deployment whose pods each ask for `requests`.
fn workload(name: &str, replicas: u32, requests: &str) -> String {
    let deployment = requesting(name, replicas, requests);
    yaml::workload(name, NAMESPACE, "{mode: Divided}", &[&deployment])
}

async fn apply(fleet: &Fleet, name: &str, replicas: u32, requests: &str) -> Result<()> {
    let workload = workload(name, replicas, requests);
    fleet.apply_yaml("bergen", &workload).await.map(drop)
}

/// Changes what a node has of a resource.
async fn equip(fleet: &Fleet, node: &str, resource: &str, amount: &str) -> Result<()> {
    let (member, _) = node.rsplit_once('-').unwrap_or((node, ""));
    let amounts = format!(r#"{{"{resource}": "{amount}"}}"#);
    let patch = format!(r#"{{"status": {{"capacity": {amounts}, "allocatable": {amounts}}}}}"#);
    let arguments = [
        "patch",
        "node",
        node,
        "--subresource=status",
        "--type=merge",
        "-p",
        &patch,
    ];
    fleet.kubectl(member, &arguments).await.map(drop)
}

async fn only_nodes_with_graphics_cards_hold_what_asks_for_them(fleet: &Fleet) -> Result<()> {
    let train = named("train");
    apply(fleet, train.name, 2, "{nvidia.com/gpu: 2}").await?;
    let why = "no member that may host it has room for it";
    fleet.await_field("bergen", &train, PLACED, why).await?;
    let why = "a pod asks for nvidia.com/gpu 2, and no node has more than 0 left";
    fleet.await_field("bergen", &train, EXCLUDED, why).await?;

    // Four in all, but three on one node: room for one pod.
    equip(fleet, "riga-0", "nvidia.com/gpu", "3").await?;
    equip(fleet, "riga-1", "nvidia.com/gpu", "1").await?;
    let one = [("riga", 1)];
    fleet
        .await_shares("one pod fits one node", &train, &one)
        .await?;
    let why = "1 of 2 replicas have room nowhere; each asks for nvidia.com/gpu 2";
    fleet.await_field("bergen", &train, PLACED, why).await?;
    equip(fleet, "lubeck-2", "nvidia.com/gpu", "2").await?;
    let both = [("riga", 1), ("lubeck", 1)];
    fleet
        .await_shares("the other fits elsewhere", &train, &both)
        .await
}

async fn a_full_member_gets_no_more(fleet: &Fleet) -> Result<()> {
    // Somebody's own pods on two of the three nodes.
    let deployment = requesting("local", 2, "{cpu: 10}")
        .replace("{name: local}", "{name: local, namespace: shop}");
    fleet.apply_yaml("lubeck", &deployment).await?;
    fleet
        .await_value(
            "lubeck",
            "deploy/local",
            NAMESPACE,
            "{.status.readyReplicas}",
            "2",
        )
        .await?;
    what_would_come_of_it_is_known_before(fleet).await?;
    apply(fleet, "web", 7, "{cpu: 10}").await?;
    let shares = [("lubeck", 1), ("bergen", 3), ("riga", 3)];
    fleet
        .await_shares(
            "each member gets what its nodes hold",
            &named("web"),
            &shares,
        )
        .await?;
    apply(fleet, "more", 1, "{cpu: 10}").await?;
    let why = "a pod asks for cpu 10, and no node has more than";
    fleet
        .await_field("bergen", &named("more"), EXCLUDED, why)
        .await?;
    stays(fleet, &named("more"), &[]).await
}

/// A measure is a second old at most: then a simulation says what each member has room for.
async fn what_would_come_of_it_is_known_before(fleet: &Fleet) -> Result<()> {
    let directory = WorkDir::create("capacity-simulated")?;
    let file = directory.path().join("web.yaml");
    fs::write(&file, workload("web", 7, "{cpu: 10}"))?;
    let file = file.to_string_lossy();
    let simulate = ["simulate", "--change", &file];
    await_condition("a simulation shows what fits", SOON, async || {
        let output = fleet.cli("bergen", &simulate)?.output().await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let moves = "bergen -→3, lubeck -→1, riga -→3";
        ensure!(text.contains(moves), "no '{moves}' in {text}");
        Ok(())
    })
    .await?;
    Ok(())
}

async fn what_fits_nowhere_after_a_loss_is_said_and_runs_as_soon_as_it_fits(
    fleet: &mut Fleet,
) -> Result<()> {
    fleet.kill("riga").await?;
    let web = named("web");
    let why = "3 of 7 replicas have room nowhere; each asks for cpu 10";
    fleet.await_field("bergen", &web, PLACED, why).await?;
    let reason = "{.status.conditions[?(@.type=='Placed')].reason}";
    fleet
        .await_field("bergen", &web, reason, "NotAllPlaced")
        .await?;
    let shares = [("lubeck", 1), ("bergen", 3)];
    stays(fleet, &web, &shares).await?;
    equip(fleet, "bergen-1", "cpu", "40").await?;
    let shares = [("lubeck", 1), ("bergen", 5)];
    fleet
        .await_shares("a larger node takes two over", &web, &shares)
        .await?;
    let why = "1 of 7 replicas have room nowhere; each asks for cpu 10";
    fleet.await_field("bergen", &web, PLACED, why).await
}

async fn an_elastic_member_is_never_full(fleet: &mut Fleet) -> Result<()> {
    let operator = fleet.operator("lubeck")?;
    operator.restart_with("--capacity=Elastic").await?;
    let web = named("web");
    let shares = [("lubeck", 2), ("bergen", 5)];
    fleet.await_shares("it takes the rest", &web, &shares).await
}

async fn stays(fleet: &Fleet, workload: &Workload, expected: &[(&str, i32)]) -> Result<()> {
    let expected = expected.iter();
    let expected = expected
        .map(|(member, replicas)| ((*member).to_owned(), *replicas))
        .collect();
    hold_condition("nothing moves", STAYS, async || {
        let shares = fleet.shares(workload).await?;
        ensure!(shares == expected, "the replicas are {shares:?}");
        Ok(())
    })
    .await
}
