//! A `Single` workload whose host is cut off: it stops there, whatever else is wrong, before it starts anywhere else.

use std::time::Duration;

use anyhow::{Result, ensure};
use hanse_crds::Lease;
use hanse_e2e::{Fleet, MemberPlan, Workload, await_condition, yaml};
use serde_json::json;

/// Several times what any step takes on a loaded machine. Only a failure takes that long.
const SOON: Duration = Duration::from_mins(2);

const LEDGER: Workload = Workload {
    owner: "amber",
    namespace: "billing",
    name: "ledger",
};

/// What riga lets others run.
const POLICY: &str = "
apiVersion: hanse.dev/v1alpha1
kind: HostingPolicy
metadata: {name: guests}
spec:
  grants:
    - name: everyone
      owner: '*'
      namespaces: ['*']
      podSecurity: Privileged
      kinds:
        - {group: apps, kind: Deployment}
        - {group: apps, kind: DaemonSet}
        - {group: batch, kind: CronJob}
        - {group: batch, kind: Job}
        - {kind: ConfigMap}
";

/// One object for each way to stop: by its count, by deletion, by suspension. Their pods end quickly, so that the workload need
/// not be waited for long. The pod of the Job finds no node, so that the Job does not end.
fn manifests() -> [String; 4] {
    let pod = "terminationGracePeriodSeconds: 1, containers: [{name: app, image: app}]";
    let of = |kind: &str, name: &str| {
        format!(
            "{{apiVersion: apps/v1, kind: {kind}, metadata: {{name: {name}}}, spec: {{selector: {{matchLabels: {{app: {name}}}}}, \
             template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{{pod}}}}}}}}}"
        )
    };
    let report = format!(
        "{{apiVersion: batch/v1, kind: CronJob, metadata: {{name: report}}, spec: {{schedule: '0 0 1 1 *', jobTemplate: {{spec: \
         {{template: {{spec: {{restartPolicy: Never, {pod}}}}}}}}}}}}}"
    );
    let audit = format!(
        "{{apiVersion: batch/v1, kind: Job, metadata: {{name: audit}}, spec: {{template: {{spec: {{restartPolicy: Never, \
         nodeSelector: {{none: 'yes'}}, {pod}}}}}}}}}"
    );
    [
        of("Deployment", "ledger"),
        of("DaemonSet", "agent"),
        report,
        audit,
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_stops_in_a_host_that_is_cut_off_before_it_starts_elsewhere() -> Result<()> {
    let plans = [
        MemberPlan::new("lubeck").owner("amber"),
        MemberPlan::new("bergen").owner("amber"),
        MemberPlan::new("riga")
            .owner("daugava")
            .label("keeps", "yes"),
    ];
    let mut fleet = Fleet::federated("single", plans).await?;
    fleet.apply_yaml("riga", POLICY).await?;
    fleet.create_namespaces("lubeck", &["billing"]).await?;
    let placement = "{mode: Single, require: {matchLabels: {keeps: 'yes'}}}";
    let manifests = manifests();
    let manifests: Vec<&str> = manifests.iter().map(String::as_str).collect();
    let ledger = yaml::workload("ledger", "billing", placement, &manifests);
    fleet.apply_yaml("lubeck", &ledger).await?;
    await_runs(&fleet, "riga").await?;

    an_operator_restarted_in_a_partition_stops_what_it_left_running(&mut fleet).await?;
    a_host_that_withdraws_its_consent_while_it_is_cut_off_stops_all_the_same(&fleet).await?;
    what_was_stopped_without_a_quorum_is_shown_as_stopped(&fleet).await?;
    a_removal_is_confirmed_only_when_nothing_marked_is_left(&mut fleet).await?;
    fleet.end().await
}

/// Afterwards the workload runs in riga again.
async fn an_operator_restarted_in_a_partition_stops_what_it_left_running(
    fleet: &mut Fleet,
) -> Result<()> {
    fleet.isolate("riga")?;
    // At once, so that it is not this process that stops what runs.
    fleet.operator("riga")?.kill().await?;
    await_condition("riga's lease is over", SOON, async || {
        let lease = fleet.lease("lubeck", "riga").await?;
        ensure!(lease == Some(Lease::Lost), "it is {lease:?}");
        Ok(())
    })
    .await?;
    ensure!(!stopped_in_riga(fleet).await?, "something else stopped it");
    fleet.operator("riga")?.restart()?;
    await_stopped(fleet, "riga stops without having heard of any other member").await?;

    fleet.heal_all();
    await_runs(fleet, "riga").await
}

/// The withdrawal makes riga refuse the placement. Only the end of its lease says that it has to stop.
async fn a_host_that_withdraws_its_consent_while_it_is_cut_off_stops_all_the_same(
    fleet: &Fleet,
) -> Result<()> {
    fleet.isolate("riga")?;
    fleet
        .kubectl("riga", &["delete", "hostingpolicy", "guests"])
        .await?;
    await_stopped(fleet, "riga stops what it refuses").await?;
    let label = json!({"spec": {"labels": {"keeps": "yes"}}});
    fleet.patch_member("bergen", &label).await?;
    let both = [("bergen", 1), ("riga", 0)];
    fleet
        .await_shares("bergen runs it, riga cannot remove it", &LEDGER, &both)
        .await?;
    ensure!(stopped_in_riga(fleet).await?, "it runs in both");

    fleet.heal_all();
    await_runs(fleet, "bergen").await
}

/// Nobody but its own operator can tell. Afterwards the workload runs in bergen again.
async fn what_was_stopped_without_a_quorum_is_shown_as_stopped(fleet: &Fleet) -> Result<()> {
    fleet.isolate("bergen")?;
    let state = "{.status.placements[?(@.member=='bergen')].state}";
    fleet
        .await_field("bergen", &LEDGER, state, "Stopped")
        .await?;
    fleet.heal_all();
    await_runs(fleet, "bergen").await
}

/// Somebody deletes the record of what bergen runs, while no operator is there to know it.
async fn a_removal_is_confirmed_only_when_nothing_marked_is_left(fleet: &mut Fleet) -> Result<()> {
    fleet.operator("bergen")?.kill().await?;
    let records = [
        "delete",
        "configmap",
        "-n",
        "hanse-system",
        "-l",
        "hanse.dev/inventory=true",
    ];
    let deleted = fleet.kubectl("bergen", &records).await?;
    ensure!(deleted.contains("deleted"), "there was none: {deleted}");
    let removed = ["delete", "fwl/ledger", "-n", "billing", "--wait=false"];
    fleet.kubectl("lubeck", &removed).await?;
    fleet.operator("bergen")?.restart()?;
    await_condition("the workload is gone in its home", SOON, async || {
        let left = fleet
            .value("lubeck", "fwl/ledger", "billing", "{.metadata.name}")
            .await?;
        ensure!(left.is_empty(), "it is there");
        Ok(())
    })
    .await?;
    let objects = [
        "deployment/ledger",
        "daemonset/agent",
        "cronjob/report",
        "job/audit",
    ];
    for object in objects {
        let left = fleet
            .value("bergen", object, "billing", "{.metadata.name}")
            .await?;
        ensure!(
            left.is_empty(),
            "the removal was confirmed, and {object} is there"
        );
    }
    Ok(())
}

async fn await_stopped(fleet: &Fleet, what: &str) -> Result<()> {
    await_condition(what, SOON, async || {
        ensure!(stopped_in_riga(fleet).await?, "it runs");
        Ok(())
    })
    .await?;
    Ok(())
}

/// Whether none of the objects in riga runs anything.
async fn stopped_in_riga(fleet: &Fleet) -> Result<bool> {
    let namespace = fleet.namespace_in("riga", "amber", "billing")?;
    let get = async |object: &str, path: &str| fleet.value("riga", object, &namespace, path).await;
    let replicas = get("deployment/ledger", "{.spec.replicas}").await?;
    let suspended = get("cronjob/report", "{.spec.suspend}").await?;
    let audit = get("job/audit", "{.spec.suspend}").await?;
    let agent = get("daemonset/agent", "{.metadata.name}").await?;
    Ok(["0", ""].contains(&replicas.trim())
        && ["true", ""].contains(&suspended.trim())
        && ["true", ""].contains(&audit.trim())
        && agent.trim().is_empty())
}

/// Waits until all of it runs in `member`.
async fn await_runs(fleet: &Fleet, member: &str) -> Result<()> {
    let description = format!("{member} runs the only copy");
    fleet
        .await_shares(&description, &LEDGER, &[(member, 1)])
        .await?;
    let namespace = fleet.namespace_in(member, "amber", "billing")?;
    await_condition(description, SOON, async || {
        let agent = fleet
            .value(member, "daemonset/agent", &namespace, "{.metadata.name}")
            .await?;
        let suspended = fleet
            .value(member, "cronjob/report", &namespace, "{.spec.suspend}")
            .await?;
        let audit = "{.spec.suspend} {.status.active}";
        let audit = fleet.value(member, "job/audit", &namespace, audit).await?;
        ensure!(
            (agent.as_str(), suspended.as_str(), audit.as_str()) == ("agent", "false", "false 1"),
            "agent '{agent}', report suspended: {suspended}, audit suspended and pods: {audit}"
        );
        Ok(())
    })
    .await?;
    Ok(())
}
