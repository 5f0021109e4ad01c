//! Clusters are killed and restarted. Their replicas are started elsewhere, and those in other clusters keep running.
//!
//! Each of three owners has a cluster that votes. The owner of the workload has a second cluster, the home of the
//! workload, which never votes and so never leads. First a follower is killed, then the leader. The tests read the
//! state from the home's API server.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Error, Result, ensure};
use hanse_crds::Lease;
use hanse_e2e::{Fleet, MemberPlan, Shares, Workload, await_condition};
use k8s_openapi::api::core::v1::Event;
use serde_json::json;

/// Several times what any step takes on a loaded machine. Only a failure takes that long.
const SOON: Duration = Duration::from_mins(2);

/// Where the workload is applied. Never killed.
const HOME: &str = "bergen";
/// The other cluster of the same owner.
const SIBLING: &str = "oslo";

const WEB: Workload = Workload {
    owner: "fjord",
    namespace: "shop",
    name: "web",
};

const FAILED_OVER: &str = "FailedOver";

#[tokio::test(flavor = "multi_thread")]
async fn a_share_moves_when_its_cluster_is_lost_and_no_replica_is_lost_when_it_returns()
-> Result<()> {
    let plans = [
        MemberPlan::new("lubeck").owner("amber"),
        MemberPlan::new("riga").owner("daugava"),
        MemberPlan::new(SIBLING).owner(WEB.owner),
        MemberPlan::new(HOME).owner(WEB.owner).dials_out_only(),
    ];
    let mut fleet = Fleet::federated("failover", plans).await?;
    fleet.await_consent_of_all(HOME).await?;
    fleet.apply_example(HOME, "web.yaml").await?;
    await_a_share_of_all(&fleet, 6).await?;

    // Not the owner's other cluster, which must run so that an Event there would be found.
    let leader = fleet.leader().await?;
    let follower = ["lubeck", "riga"]
        .into_iter()
        .find(|member| *member != leader)
        .context("one of the two does not lead")?;
    others_take_over(&mut fleet, follower).await?;
    await_event_in_home(&fleet, follower).await?;
    it_returns(&mut fleet, follower).await?;
    // A second Event about the same loss would exist by now.
    the_home_alone_has_one_event(&fleet, follower).await?;

    // Two more replicas go to the member that has none, so that every member has a share again.
    let eight = json!({"spec": {"placement": {"replicas": 8}}});
    fleet.patch_workload(HOME, &WEB, &eight).await?;
    await_a_share_of_all(&fleet, 8).await?;

    let leader = fleet.leader().await?;
    others_take_over(&mut fleet, &leader).await?;
    await_condition("another member leads", SOON, async || {
        let next = fleet.leader().await?;
        ensure!(next != leader, "{next} still leads");
        Ok(())
    })
    .await?;
    it_returns(&mut fleet, &leader).await?;
    fleet.end().await
}

async fn await_a_share_of_all(fleet: &Fleet, replicas: i32) -> Result<()> {
    let members = fleet.members().count();
    let description = format!("{replicas} replicas are ready and every member has some");
    await_condition(description, SOON, async || {
        let shares = fleet.settled_shares(HOME, &WEB).await?;
        ensure!(
            total(&shares) == replicas && shares.len() == members,
            "the replicas are {shares:?}"
        );
        Ok(())
    })
    .await?;
    Ok(())
}

/// Kills a member. Waits until its lease is `Lost` in the home and the others run all replicas. Until then no other
/// member loses a replica. Afterwards every pod that existed before in the others still exists.
async fn others_take_over(fleet: &mut Fleet, victim: &str) -> Result<()> {
    let all = fleet.shares(&WEB).await?;
    let mut others = all.clone();
    others.remove(victim);
    let pods = pods_in(fleet, &others).await?;

    fleet.kill(victim).await?;
    let fleet = &*fleet;
    let description = format!("{victim} is lost and the others run all replicas");
    await_condition(description, SOON, async || {
        let reduced = reduced(fleet, &others).await?;
        if !reduced.is_empty() {
            return Ok(Err(Error::msg(reduced)));
        }
        let lease = fleet.lease(HOME, victim).await?;
        ensure!(lease == Some(Lease::Lost), "its lease is {lease:?}");
        let now = fleet.settled_shares(HOME, &WEB).await?;
        ensure!(total(&now) == total(&all), "the replicas are {now:?}");
        Ok(Ok(()))
    })
    .await??;

    for (member, before) in pods {
        let now = fleet.pods(&member, &WEB).await?;
        ensure!(
            now.is_superset(&before),
            "{member} had the pods {before:?} and has {now:?}"
        );
    }
    Ok(())
}

/// Starts a killed member. Waits until its lease is held, it runs only what is placed there, and all replicas are
/// ready. Until then no other member loses a replica.
async fn it_returns(fleet: &mut Fleet, member: &str) -> Result<()> {
    let others = fleet.shares(&WEB).await?;
    fleet.restart(member).await?;
    let fleet = &*fleet;
    let description = format!("{member} is back and runs what is placed there");
    await_condition(description, SOON, async || {
        let reduced = reduced(fleet, &others).await?;
        if !reduced.is_empty() {
            return Ok(Err(Error::msg(reduced)));
        }
        let lease = fleet.lease(HOME, member).await?;
        ensure!(lease == Some(Lease::Held), "its lease is {lease:?}");
        let now = fleet.settled_shares(HOME, &WEB).await?;
        ensure!(total(&now) == total(&others), "the replicas are {now:?}");
        Ok(Ok(()))
    })
    .await??;
    fleet.await_quorum().await
}

/// The members that have fewer replicas, or fewer ready ones, than before; empty if none.
async fn reduced(fleet: &Fleet, before: &Shares) -> Result<String> {
    let (replicas, ready) = (fleet.shares(&WEB).await?, fleet.ready_shares(&WEB).await?);
    let reduced = before
        .iter()
        .filter(|(member, share)| of(&replicas, member).min(of(&ready, member)) < **share)
        .map(|(member, share)| {
            let (replicas, ready) = (of(&replicas, member), of(&ready, member));
            format!("{member} had {share} replicas and has {replicas}, {ready} of them ready")
        });
    Ok(reduced.collect::<Vec<_>>().join("; "))
}

/// The replicas of one member; 0 if it has none.
fn of(shares: &Shares, member: &str) -> i32 {
    shares.get(member).copied().unwrap_or_default()
}

async fn pods_in(fleet: &Fleet, shares: &Shares) -> Result<BTreeMap<String, BTreeSet<String>>> {
    let mut pods = BTreeMap::new();
    for (member, share) in shares {
        let found = fleet.pods(member, &WEB).await?;
        ensure!(
            i32::try_from(found.len()) == Ok(*share),
            "{member} runs {share} replicas and has the pods {found:?}"
        );
        pods.insert(member.clone(), found);
    }
    Ok(pods)
}

fn total(shares: &Shares) -> i32 {
    shares.values().sum()
}

/// Waits until the home has an Event about the failover, found by the UID of the workload.
async fn await_event_in_home(fleet: &Fleet, victim: &str) -> Result<()> {
    let description = format!("{HOME} has an Event that the workload failed over");
    await_condition(description, SOON, async || {
        let events = fleet.events(HOME, &WEB, FAILED_OVER).await?;
        let messages: Vec<_> = events.iter().map(|event| &event.message).collect();
        ensure!(
            events.iter().any(|event| is_about(event, victim)),
            "its Events are {messages:?}"
        );
        Ok(())
    })
    .await?;
    Ok(())
}

/// There is exactly one Event about the loss of `victim` in the clusters of the owner, and it has not been repeated.
async fn the_home_alone_has_one_event(fleet: &Fleet, victim: &str) -> Result<()> {
    let by_uid = fleet.events(HOME, &WEB, FAILED_OVER).await?;
    let of_victim: Vec<_> = by_uid
        .iter()
        .filter(|event| is_about(event, victim))
        .collect();
    ensure!(of_victim.len() == 1, "the Events in {HOME} are {by_uid:?}");
    ensure!(
        of_victim.iter().all(|event| event.series.is_none()),
        "an Event was repeated: {by_uid:?}"
    );
    // By name, so that an Event without the UID is counted as well.
    let selector = format!("involvedObject.name={},reason={FAILED_OVER}", WEB.name);
    let arguments = [
        "get",
        "events",
        "-n",
        WEB.namespace,
        "--field-selector",
        &selector,
        "-o",
        "jsonpath={range .items[*]}{.message}{\"\\n\"}{end}",
    ];
    let mut messages = Vec::new();
    for member in [HOME, SIBLING] {
        let printed = fleet.kubectl(member, &arguments).await?;
        messages.extend(printed.lines().map(|line| format!("{member}: {line}")));
    }
    let loss = format!(": {}", opening(victim));
    let count = messages.iter().filter(|line| line.contains(&loss)).count();
    ensure!(
        count == 1,
        "{count} Events are about {victim}: {messages:?}"
    );
    Ok(())
}

fn is_about(event: &Event, victim: &str) -> bool {
    let message = event.message.as_deref().unwrap_or_default();
    message.starts_with(&opening(victim))
}

/// The start of the message of an Event about the loss of `victim`.
fn opening(victim: &str) -> String {
    format!("{victim} was lost")
}
