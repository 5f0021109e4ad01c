//! A kind that only its definition and its author know: it is divided by the subresource that the definition declares, judged by
//! the rules of its author, and stopped by its count. Nobody runs a controller here: the story writes the status.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use hanse_e2e::{
    Fleet, await_condition,
    yaml::{definition, workload},
};

/// Several times what any step takes on a loaded machine. Only a failure takes that long.
const SOON: Duration = Duration::from_mins(2);

const HOME: &str = "lubeck";
const MEMBERS: [&str; 3] = ["lubeck", "bergen", "riga"];
const MAIN: &str = "databases.hanse.example/main";
const INSTANCES: &str = "{.spec.instances}";

const VERSION: &str = "name: v1, storage: true, subresources: {status: {}, scale: {specReplicasPath: .spec.instances, \
                       statusReplicasPath: .status.instances}}";

const HEALTH: &str = "
  health:
    - kind: Database
      ready: object.status.phase == 'Running' && object.status.nodes.all(it, it.ready)
      failed: object.status.phase == 'Broken'
      message: '''is '' + object.status.phase'
";

fn database(instances: u32) -> String {
    format!(
        "{{apiVersion: hanse.example/v1, kind: Database, metadata: {{name: main}}, spec: {{instances: {instances}}}}}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_kind_is_divided_judged_and_stopped_as_its_definition_and_its_author_say()
-> Result<()> {
    let mut fleet = Fleet::of_one_owner("custom", "amber", MEMBERS, "data").await?;
    let databases = definition("Database", "databases", &[VERSION]);
    for member in MEMBERS {
        fleet.apply_yaml(member, &databases).await?;
    }
    a_null_is_applied_as_it_is(&fleet).await?;
    it_is_divided_and_ready_when_its_author_says_so(&fleet).await?;
    an_expression_that_is_not_usable_is_named_and_changes_nothing(&fleet).await?;
    who_scales_it_otherwise_is_left_to_decide(&fleet).await?;
    a_lost_members_part_moves(&mut fleet).await?;
    a_single_stops_by_its_count_where_it_is_cut_off(&fleet).await?;
    fleet.end().await
}

fn main_with(instances: u32, health: &str) -> String {
    workload("main", "data", "{}", &[&database(instances)]) + health
}

async fn a_null_is_applied_as_it_is(fleet: &Fleet) -> Result<()> {
    let database = "{apiVersion: hanse.example/v1, kind: Database, metadata: {name: empty}, spec: {instances: 1, backup: null}}";
    let empty = workload("empty", "data", "{mode: Duplicated}", &[database]);
    // Without `--server-side` kubectl itself leaves out every null, in a cluster of one as well.
    let file = fleet.kubeconfig(HOME)?.with_file_name("empty.yaml");
    fs::write(&file, empty)?;
    let file = file.to_str().context("the path is text")?;
    let apply = ["apply", "--server-side", "-f", file];
    fleet.kubectl(HOME, &apply).await?;
    let (object, spec) = (
        "databases.hanse.example/empty",
        r#"{"backup":null,"instances":1}"#,
    );
    for member in MEMBERS {
        fleet
            .await_value(member, object, "data", "{.spec}", spec)
            .await?;
    }
    let delete = ["delete", "fwl", "empty", "-n", "data", "--timeout=60s"];
    fleet.kubectl(HOME, &delete).await.map(drop)
}

async fn it_is_divided_and_ready_when_its_author_says_so(fleet: &Fleet) -> Result<()> {
    let everywhere = workload("main", "data", "{mode: Duplicated}", &[&database(1)]);
    fleet.apply_yaml(HOME, &everywhere).await?;
    for member in MEMBERS {
        fleet
            .await_value(member, MAIN, "data", INSTANCES, "1")
            .await?;
    }
    fleet.apply_yaml(HOME, &main_with(6, HEALTH)).await?;
    for member in MEMBERS {
        fleet
            .await_value(member, MAIN, "data", INSTANCES, "2")
            .await?;
    }
    let words = "Database 'main' is not ready";
    fleet.await_words(HOME, "main", "data", words).await?;
    for member in MEMBERS {
        set_status(fleet, member, "Running", false).await?;
    }
    fleet
        .await_words(HOME, "main", "data", "Database 'main' is Running")
        .await?;
    for member in MEMBERS {
        set_status(fleet, member, "Running", true).await?;
    }
    fleet.await_ready(HOME, "main", "data").await?;
    fleet
        .await_value(
            HOME,
            "fwl/main",
            "data",
            "{.status.ready}/{.status.desired}",
            "6/6",
        )
        .await?;

    set_status(fleet, "riga", "Broken", true).await?;
    fleet
        .await_words(HOME, "main", "data", "Database 'main' is Broken")
        .await?;
    set_status(fleet, "riga", "Running", true).await?;
    fleet.await_ready(HOME, "main", "data").await
}

async fn an_expression_that_is_not_usable_is_named_and_changes_nothing(
    fleet: &Fleet,
) -> Result<()> {
    let wrong = HEALTH.replace(
        "object.status.nodes.all(it, it.ready)",
        "object.status.nodes.all(it, object.ready)",
    );
    fleet.apply_yaml(HOME, &main_with(9, &wrong)).await?;
    let said =
        "`health[0]` has a `ready` that must not use `object` here, where only `it` may be used";
    fleet.await_words(HOME, "main", "data", said).await?;
    let instances = fleet.values(MAIN, "data", INSTANCES).await?;
    ensure!(
        instances.values().all(|count| count == "2"),
        "there are {instances:?}"
    );

    fleet.apply_yaml(HOME, &main_with(6, HEALTH)).await?;
    let scale = ["scale", "fwl/main", "-n", "data", "--replicas=9"];
    fleet.kubectl(HOME, &scale).await?;
    for member in MEMBERS {
        fleet
            .await_value(member, MAIN, "data", INSTANCES, "3")
            .await?;
    }
    fleet.await_ready(HOME, "main", "data").await
}

async fn who_scales_it_otherwise_is_left_to_decide(fleet: &Fleet) -> Result<()> {
    let patch = [
        "patch",
        MAIN,
        "-n",
        "data",
        "--subresource=scale",
        "--type=merge",
        "--field-manager=keda",
        "-p",
        r#"{"spec": {"replicas": 5}}"#,
    ];
    fleet.kubectl("bergen", &patch).await?;
    let said = "11 of 11 replicas are ready: bergen 5/5, lubeck 3/3, riga 3/3 (decided by 'keda')";
    fleet.await_words(HOME, "main", "data", said).await?;
    fleet
        .await_value("bergen", MAIN, "data", INSTANCES, "5")
        .await
}

async fn a_lost_members_part_moves(fleet: &mut Fleet) -> Result<()> {
    fleet.kill("bergen").await?;
    await_condition("the others have all nine instances", SOON, async || {
        let sum = fleet.sum(MAIN, "data", INSTANCES).await?;
        ensure!(sum == 9, "they have {sum}");
        Ok(())
    })
    .await?;
    fleet.restart("bergen").await?;
    fleet
        .kubectl(
            HOME,
            &["delete", "fwl", "main", "-n", "data", "--timeout=120s"],
        )
        .await?;
    Ok(())
}

async fn a_single_stops_by_its_count_where_it_is_cut_off(fleet: &Fleet) -> Result<()> {
    let solo = "{apiVersion: hanse.example/v1, kind: Database, metadata: {name: solo, annotations: {hanse.dev/stop: Scale}}, \
                spec: {instances: 1}}";
    let placement = "{mode: Single}";
    fleet
        .apply_yaml(HOME, &workload("solo", "data", placement, &[solo]))
        .await?;
    let solo = "databases.hanse.example/solo";
    let mut host = String::new();
    await_condition("it runs in one member", SOON, async || {
        let found = fleet.values(solo, "data", INSTANCES).await?;
        host = found.keys().next().cloned().unwrap_or_default();
        ensure!(found.values().eq(["1"]), "it runs in {found:?}");
        Ok(())
    })
    .await?;
    fleet.isolate(&host)?;
    fleet
        .await_value(&host, solo, "data", INSTANCES, "0")
        .await?;
    await_condition("it runs in another member", SOON, async || {
        let found = fleet.values(solo, "data", INSTANCES).await?;
        let runs = found.iter().filter(|(_, count)| *count == "1");
        ensure!(runs.count() == 1, "it runs in {found:?}");
        Ok(())
    })
    .await?;
    fleet.heal_all();
    Ok(())
}

/// Writes what a controller would write.
async fn set_status(fleet: &Fleet, member: &str, phase: &str, ready: bool) -> Result<()> {
    let status =
        format!(r#"{{"status": {{"phase": "{phase}", "nodes": [{{"ready": {ready}}}]}}}}"#);
    let patch = [
        "patch",
        MAIN,
        "-n",
        "data",
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ];
    fleet.kubectl(member, &patch).await.map(drop)
}
