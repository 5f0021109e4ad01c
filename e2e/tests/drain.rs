//! A member's owner takes it out of use: `kubectl hanse drain`, `uncordon` and `cordon` on three real control planes.

use std::{process::Stdio, time::Duration};

use anyhow::{Result, anyhow, ensure};
use hanse_crds::PlacementState;
use hanse_e2e::{Fleet, Workload, await_condition, yaml};
use tokio::time::{MissedTickBehavior, interval};

/// Several times what any step takes on a loaded machine. Only a failure takes that long.
const SOON: Duration = Duration::from_mins(2);

const MEMBERS: [&str; 3] = ["bergen", "lubeck", "riga"];

const fn of_amber(name: &'static str) -> Workload {
    Workload {
        owner: "amber",
        namespace: "shop",
        name,
    }
}

const WEB: Workload = of_amber("web");
const ONE: Workload = of_amber("one");
const EACH: Workload = of_amber("each");
const HERE: Workload = of_amber("here");

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_in_a_drained_member_is_ready_elsewhere_before_it_leaves() -> Result<()> {
    let fleet = Fleet::of_one_owner("drain", "amber", MEMBERS, "shop").await?;
    for (name, replicas, placement) in [
        ("web", 6, "{}"),
        (
            "one",
            1,
            "{mode: Single, require: {matchLabels: {hanse.dev/member: bergen}}}",
        ),
        ("each", 1, "{mode: Duplicated}"),
    ] {
        let deployment = yaml::deployment(name, replicas);
        let workload = yaml::workload(name, "shop", placement, &[&deployment]);
        fleet.apply_yaml("lubeck", &workload).await?;
        fleet.await_ready("lubeck", name, "shop").await?;
    }
    // From now on it may run anywhere; until it has to, it stays.
    let anywhere = serde_json::json!({"spec": {"placement": {"require": null}}});
    fleet.patch_workload("lubeck", &ONE, &anywhere).await?;
    fleet.await_ready("lubeck", "one", "shop").await?;

    a_drain_takes_nothing_that_is_not_ready_elsewhere(&fleet).await?;
    another_members_owner_decides_about_it(&fleet).await?;
    what_nobody_else_may_host_stays_and_is_named(&fleet).await?;
    an_uncordoned_member_takes_placements_again(&fleet).await?;
    what_left_moves_back_after_a_while(&fleet).await?;
    fleet.end().await
}

async fn a_drain_takes_nothing_that_is_not_ready_elsewhere(fleet: &Fleet) -> Result<()> {
    let mut drain = fleet
        .cli("bergen", &["drain", "bergen", "--wait", "--timeout=2m"])?
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut ticks = interval(Duration::from_millis(50));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // The members are read in the order of their names: what leaves bergen is seen there or elsewhere.
        let shares = fleet.ready_shares(&WEB).await?;
        ensure!(
            shares.values().sum::<i32>() >= 6,
            "in the course of the drain the ready replicas are {shares:?}"
        );
        let status = fleet.workload_status("lubeck", &WEB).await?;
        let mut placements = status.placements.iter();
        ensure!(
            placements.all(|it| it.state != PlacementState::Silent),
            "nobody is silent, and the placements are {:?}",
            status.placements
        );
        let copies = fleet.ready_shares(&ONE).await?;
        ensure!(
            copies.values().sum::<i32>() <= 1,
            "the single copy runs as {copies:?}"
        );
        if drain.try_wait()?.is_some() {
            break;
        }
    }
    let output = drain.wait_with_output().await?;
    let (answer, explained) = (text(&output.stdout), text(&output.stderr));
    ensure!(output.status.success(), "{answer}{explained}");
    ensure!(
        answer == "member bergen is drained: nothing is left on it\n",
        "{answer}"
    );
    ensure!(
        explained.contains("amber/shop/web waits for"),
        "it did not say what it waits for: {explained}"
    );
    for workload in [&WEB, &ONE, &EACH] {
        let left = fleet.replicas("bergen", workload).await?;
        ensure!(left.is_none(), "{} is left in bergen", workload.name);
        fleet.await_ready("lubeck", workload.name, "shop").await?;
    }
    let shares = fleet.shares(&WEB).await?;
    ensure!(
        shares.len() == 2 && shares.values().all(|share| *share == 3),
        "the replicas are {shares:?}"
    );
    let listed = run(fleet, "lubeck", &["members"]).await?;
    ensure!(listed.contains("Held,Drained"), "{listed}");
    Ok(())
}

async fn another_members_owner_decides_about_it(fleet: &Fleet) -> Result<()> {
    let output = fleet.cli("lubeck", &["drain", "riga"])?.output().await?;
    let refused = text(&output.stderr);
    ensure!(
        output.status.code() == Some(1) && refused.contains("member 'riga' is another cluster"),
        "{refused}"
    );
    Ok(())
}

async fn what_nobody_else_may_host_stays_and_is_named(fleet: &Fleet) -> Result<()> {
    run(fleet, "bergen", &["uncordon", "bergen"]).await?;
    let only = "{require: {matchLabels: {hanse.dev/member: bergen}}}";
    let here = yaml::workload("here", "shop", only, &[&yaml::deployment("here", 1)]);
    fleet.apply_yaml("lubeck", &here).await?;
    fleet.await_ready("lubeck", "here", "shop").await?;
    let arguments = ["drain", "bergen", "--wait", "--timeout=5s"];
    let output = fleet.cli("bergen", &arguments)?.output().await?;
    let told = text(&output.stderr);
    ensure!(
        output.status.code() == Some(124)
            && told.contains("amber/shop/here stays: none of the 3 members may host it"),
        "{told}"
    );
    let shares = fleet.ready_shares(&HERE).await?;
    ensure!(shares.get("bergen") == Some(&1), "it runs as {shares:?}");
    let message = "{.status.placements[0].message}";
    fleet
        .await_field("lubeck", &HERE, message, "its owner drains this member")
        .await?;
    Ok(())
}

async fn an_uncordoned_member_takes_placements_again(fleet: &Fleet) -> Result<()> {
    let told = run(fleet, "bergen", &["cordon", "bergen"]).await?;
    ensure!(told.contains("takes nothing new"), "{told}");
    let message = "{.status.placements[0].message}";
    fleet
        .await_field("lubeck", &HERE, message, "placed for the first time")
        .await?;
    let each = fleet.shares(&EACH).await?;
    ensure!(!each.contains_key("bergen"), "it came to {each:?}");
    run(fleet, "bergen", &["uncordon", "bergen"]).await?;
    let all = MEMBERS.map(|member| (member, 1));
    fleet
        .await_shares("it is everywhere again", &EACH, &all)
        .await?;
    // What runs well elsewhere does not come back by itself.
    let web = fleet.shares(&WEB).await?;
    ensure!(!web.contains_key("bergen"), "it came back: {web:?}");
    Ok(())
}

async fn what_left_moves_back_after_a_while(fleet: &Fleet) -> Result<()> {
    let soon = serde_json::json!({"spec": {"failover": {"failback": {"after": "2s"}}}});
    fleet.patch_workload("lubeck", &WEB, &soon).await?;
    await_condition("bergen has its part again", SOON, async || {
        // What leaves another member is ready in bergen before, so bergen is read last.
        let mut ready = fleet.ready_shares(&WEB).await?;
        let last = fleet.ready_shares(&WEB).await?;
        ready.extend(last.into_iter().filter(|(member, _)| member == "bergen"));
        if ready.values().sum::<i32>() < 6 {
            return Ok(Err(anyhow!("on the way back {ready:?} are ready")));
        }
        let shares = fleet.shares(&WEB).await?;
        ensure!(
            shares.len() == 3 && shares.values().all(|share| *share == 2),
            "the replicas are {shares:?}"
        );
        Ok(Ok(()))
    })
    .await??;
    fleet.await_ready("lubeck", "web", "shop").await?;
    await_condition("an Event says so", SOON, async || {
        let events = fleet.events("lubeck", &WEB, "Moved").await?;
        let mut messages = events.iter().filter_map(|it| it.message.as_deref());
        ensure!(
            messages
                .any(|message| message
                    .contains("bergen is back: runs on bergen 2, lubeck 2, riga 2")),
            "the Events are {events:?}"
        );
        Ok(())
    })
    .await?;
    Ok(())
}

/// What a command of the CLI answers. It has to succeed.
async fn run(fleet: &Fleet, member: &str, arguments: &[&str]) -> Result<String> {
    let output = fleet.cli(member, arguments)?.output().await?;
    ensure!(
        output.status.success(),
        "{arguments:?} failed: {}",
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
