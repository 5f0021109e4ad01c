//! The modes of placement, and edits of one workload in two clusters of its owner: one fleet of three members, of which
//! two belong to the same owner.

use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use hanse_crds::{FederatedWorkloadSpec, Scheduling};
use hanse_e2e::{Fleet, MemberPlan, Workload, await_condition};
use serde_json::json;
use tokio::try_join;

/// Several times what any step takes on a loaded machine. Only a failure takes that long.
const SOON: Duration = Duration::from_mins(2);

/// The owner of both workloads and of two clusters.
const OWNER: &str = "amber";
/// The workload of `examples/duplicated.yaml`.
const RESOLVER: Workload = Workload {
    owner: OWNER,
    namespace: "edge",
    name: "resolver",
};
/// The workload of `examples/single.yaml`.
const COLLECTOR: Workload = Workload {
    owner: OWNER,
    namespace: "billing",
    name: "collector",
};

#[tokio::test(flavor = "multi_thread")]
async fn each_mode_is_placed_by_its_rule_and_one_of_two_simultaneous_edits_is_kept() -> Result<()> {
    let plans = [
        MemberPlan::new("lubeck")
            .owner(OWNER)
            .label("collects", "yes"),
        MemberPlan::new("bergen")
            .owner(OWNER)
            .label("collects", "yes"),
        MemberPlan::new("riga").owner("daugava"),
    ];
    let fleet = Fleet::federated("modes", plans).await?;

    duplicated_runs_in_every_member_that_consents(&fleet).await?;
    a_cordoned_member_keeps_its_copy_and_takes_no_new_one(&fleet).await?;
    single_moves_and_never_runs_twice(&fleet).await?;
    the_later_of_two_edits_is_undone_with_an_event(&fleet).await?;
    fleet.end().await
}

async fn duplicated_runs_in_every_member_that_consents(fleet: &Fleet) -> Result<()> {
    fleet.apply_example("lubeck", "duplicated.yaml").await?;
    let own = [("lubeck", 2), ("bergen", 2)];
    fleet
        .await_shares(
            "both clusters of the owner run all replicas",
            &RESOLVER,
            &own,
        )
        .await?;
    fleet.apply_example("riga", "hosting-policy.yaml").await?;
    let all = [("lubeck", 2), ("bergen", 2), ("riga", 2)];
    fleet
        .await_shares(
            "riga runs all replicas because it consents",
            &RESOLVER,
            &all,
        )
        .await
}

/// Afterwards `bergen` is still cordoned and `lubeck` runs the `Single` workload.
async fn a_cordoned_member_keeps_its_copy_and_takes_no_new_one(fleet: &Fleet) -> Result<()> {
    schedule(fleet, "bergen", Scheduling::Cordoned).await?;
    // An update makes the leader place the workload again.
    let three = json!({"spec": {"placement": {"replicas": 3}}});
    fleet.patch_workload("lubeck", &RESOLVER, &three).await?;
    let threes = [("lubeck", 3), ("bergen", 3), ("riga", 3)];
    fleet
        .await_shares("the cordoned member is updated as well", &RESOLVER, &threes)
        .await?;

    fleet.apply_example("lubeck", "single.yaml").await?;
    fleet
        .await_shares(
            "the only member of the owner that is not cordoned runs it",
            &COLLECTOR,
            &[("lubeck", 1)],
        )
        .await
}

/// From `lubeck` to `bergen`, when `lubeck` loses a label that the workload requires.
async fn single_moves_and_never_runs_twice(fleet: &Fleet) -> Result<()> {
    schedule(fleet, "bergen", Scheduling::Enabled).await?;
    let require = json!({"spec": {"placement": {"require": {"matchLabels": {"collects": "yes"}}}}});
    fleet.patch_workload("lubeck", &COLLECTOR, &require).await?;
    let reasons = "{.status.excluded[*].reason}";
    fleet
        .await_field("lubeck", &COLLECTOR, reasons, "LabelsDoNotMatch")
        .await?;
    let before = await_host(fleet, "lubeck").await?;

    let unlabel = json!({"spec": {"labels": {"collects": "no"}}});
    fleet.patch_member("lubeck", &unlabel).await?;
    let after = await_host(fleet, "bergen").await?;
    ensure!(
        after > before,
        "the copy in bergen has epoch {after}, the one in lubeck had {before}"
    );
    Ok(())
}

/// Waits until the `Single` workload is ready in `host` and in no other member. Returns the epoch of that placement.
/// Fails if any check until then finds more than one copy.
async fn await_host(fleet: &Fleet, host: &str) -> Result<i64> {
    let epoch = await_condition(format!("{host} runs the only copy"), SOON, async || {
        let running = copies(fleet).await?;
        if running.len() > 1 {
            return Ok(Err(anyhow!("it runs in {running:?} at once")));
        }
        let shares = fleet.settled_shares("lubeck", &COLLECTOR).await?;
        ensure!(
            running == [host] && shares.len() == 1,
            "the replicas are {shares:?}"
        );
        let status = fleet.workload_status("lubeck", &COLLECTOR).await?;
        let placement = status.placements.iter().find(|row| row.member == host);
        let placement = placement.with_context(|| format!("it is not placed in {host}"))?;
        Ok(Ok(placement.epoch))
    });
    epoch.await?
}

/// The members that run a copy of the `Single` workload.
///
/// The requests are not simultaneous. The copy moves only from `lubeck` to `bergen`, so `lubeck` is read last. If there
/// is a copy in `bergen` and afterwards still one in `lubeck`, two ran at the same time.
async fn copies(fleet: &Fleet) -> Result<Vec<&'static str>> {
    let mut running = Vec::new();
    for member in ["riga", "bergen", "lubeck"] {
        let replicas = fleet.replicas(member, &COLLECTOR).await?;
        if replicas.is_some_and(|replicas| replicas > 0) {
            running.push(member);
        }
    }
    Ok(running)
}

/// Changes whether a member takes new placements, and waits until another cluster shows it.
async fn schedule(fleet: &Fleet, member: &str, scheduling: Scheduling) -> Result<()> {
    let patch = json!({"spec": {"scheduling": scheduling}});
    fleet.patch_member(member, &patch).await?;
    let description = format!("{member} is {scheduling:?} in lubeck");
    await_condition(description, SOON, async || {
        let row = fleet.row("lubeck", member).await?;
        ensure!(
            row.spec.scheduling == scheduling,
            "it is {:?}",
            row.spec.scheduling
        );
        Ok(())
    })
    .await?;
    Ok(())
}

/// `bergen` is isolated while both edits are made, so that the one in `lubeck` is accepted first.
async fn the_later_of_two_edits_is_undone_with_an_event(fleet: &Fleet) -> Result<()> {
    let (_, before) = await_same_in_both(fleet, 3).await?;
    fleet.isolate("bergen")?;
    let (four, five) = (
        json!({"spec": {"placement": {"replicas": 4}}}),
        json!({"spec": {"placement": {"replicas": 5}}}),
    );
    try_join!(
        fleet.patch_workload("lubeck", &RESOLVER, &four),
        fleet.patch_workload("bergen", &RESOLVER, &five),
    )?;
    await_condition("the edit in lubeck is accepted", SOON, async || {
        let (_, generation) = seen_in(fleet, "lubeck").await?;
        ensure!(generation > before, "the generation is {generation}");
        Ok(())
    })
    .await?;
    let (cut_off, generation) = seen_in(fleet, "bergen").await?;
    ensure!(
        cut_off.placement.replicas == Some(5) && generation == before,
        "bergen has received the other edit: {:?} replicas at generation {generation}",
        cut_off.placement.replicas
    );

    fleet.heal_all();
    let (_, after) = await_same_in_both(fleet, 4).await?;
    ensure!(
        after > before,
        "the generation went from {before} to {after}"
    );
    await_condition("bergen has an Event about its edit", SOON, async || {
        let events = fleet.events("bergen", &RESOLVER, "EditConflict").await?;
        ensure!(!events.is_empty(), "there is none");
        Ok(())
    })
    .await?;
    fleet.await_quorum().await?;
    // Read last, so that a wrong Event has had time to appear.
    let events = fleet.events("lubeck", &RESOLVER, "EditConflict").await?;
    ensure!(
        events.is_empty(),
        "the edit in lubeck was kept, and yet there is {events:?}"
    );
    Ok(())
}

/// Waits until both clusters of the owner have the same workload, with this many replicas, at the same generation.
async fn await_same_in_both(fleet: &Fleet, replicas: i32) -> Result<(FederatedWorkloadSpec, i64)> {
    let description = format!("both clusters have the workload with {replicas} replicas");
    let same = await_condition(description, SOON, async || {
        let lubeck = seen_in(fleet, "lubeck").await?;
        let bergen = seen_in(fleet, "bergen").await?;
        ensure!(lubeck == bergen, "lubeck has {lubeck:?}, bergen {bergen:?}");
        let found = lubeck.0.placement.replicas;
        ensure!(found == Some(replicas), "both have {found:?} replicas");
        Ok(lubeck)
    });
    Ok(same.await?)
}

/// The `Duplicated` workload in one cluster, and its generation in the ledger from the status there.
async fn seen_in(fleet: &Fleet, member: &str) -> Result<(FederatedWorkloadSpec, i64)> {
    let object = fleet.workload(member, &RESOLVER).await?;
    let generation = object.status.and_then(|status| status.ledger_generation);
    let generation =
        generation.with_context(|| format!("the status in {member} has no generation yet"))?;
    Ok((object.spec, generation))
}
