//! What other controllers do to the objects of a workload: jobs end, autoscalers scale, a namespace is deleted, a rollout
//! takes its time. One fleet of three members of one owner; each story has a namespace of its own.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};
use hanse_e2e::{
    Fleet, MemberPlan, await_condition, hold_condition,
    yaml::{deployment, workload},
};

/// Several times what any step takes on a loaded machine. Only a failure takes that long.
const SOON: Duration = Duration::from_mins(1);

/// The home of every workload here.
const HOME: &str = "lubeck";

#[tokio::test(flavor = "multi_thread")]
async fn what_other_controllers_decide_is_left_to_them() -> Result<()> {
    let plans = ["lubeck", "bergen", "riga"]
        .map(|name| MemberPlan::new(name).owner("amber").label("site", name));
    let mut fleet = Fleet::federated("controllers", plans).await?;
    let namespaces = ["autoscaled", "divided", "evicted", "jobs", "rollout"];
    fleet.create_namespaces(HOME, &namespaces).await?;
    an_autoscaler_decides_the_count(&fleet).await?;
    an_autoscaler_in_the_workload_is_divided(&fleet).await?;
    a_namespace_deleted_in_one_cluster_deletes_no_workload(&fleet).await?;
    a_workload_is_not_ready_in_the_middle_of_a_rollout(&fleet).await?;
    a_job_that_succeeded_never_runs_again(&mut fleet).await?;
    a_name_is_free_although_a_dead_member_still_owes_its_removal(&fleet).await?;
    fleet.end().await
}

/// No metrics are needed: below its minimum an autoscaler scales at once.
async fn an_autoscaler_decides_the_count(fleet: &Fleet) -> Result<()> {
    let web = deployment("web", 3);
    let placement = "{mode: Duplicated}";
    fleet
        .apply_yaml(HOME, &workload("web", "autoscaled", placement, &[&web]))
        .await?;
    fleet.await_ready(HOME, "web", "autoscaled").await?;
    let autoscaler = "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: web, namespace: \
                      autoscaled}, spec: {minReplicas: 5, maxReplicas: 9, scaleTargetRef: {apiVersion: apps/v1, kind: \
                      Deployment, name: web}, metrics: [{type: Resource, resource: {name: cpu, target: {type: \
                      Utilization, averageUtilization: 50}}}]}}";
    fleet.apply_yaml("bergen", autoscaler).await?;
    let replicas = async || {
        fleet
            .value("bergen", "deploy/web", "autoscaled", "{.spec.replicas}")
            .await
    };
    fleet
        .await_value(
            "bergen",
            "deploy/web",
            "autoscaled",
            "{.spec.replicas}",
            "5",
        )
        .await?;
    // Twice the period of the autoscaler's controller.
    hold_condition(
        "the count is the autoscaler's",
        Duration::from_secs(31),
        async || {
            let found = replicas().await?;
            ensure!(found == "5", "there are {found}");
            Ok(())
        },
    )
    .await?;
    fleet
        .await_words(HOME, "web", "autoscaled", "11 of 11 replicas are ready")
        .await?;
    fleet
        .await_words(
            HOME,
            "web",
            "autoscaled",
            "(decided by 'kube-controller-manager')",
        )
        .await?;
    let others = fleet
        .value("riga", "deploy/web", "autoscaled", "{.spec.replicas}")
        .await?;
    ensure!(others == "3", "without an autoscaler there are {others}");
    fleet
        .kubectl(HOME, &["delete", "fwl", "web", "-n", "autoscaled"])
        .await?;
    Ok(())
}

/// Its limits are divided like replicas, and a Deployment starts with its part of the minimum.
async fn an_autoscaler_in_the_workload_is_divided(fleet: &Fleet) -> Result<()> {
    let web = deployment("web", 1);
    let autoscaler = "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {name: web}, spec: \
                      {minReplicas: 6, maxReplicas: 9, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: \
                      web}, metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, \
                      averageUtilization: 50}}}]}}";
    fleet
        .apply_yaml(HOME, &workload("web", "divided", "{}", &[autoscaler, &web]))
        .await?;
    fleet.await_ready(HOME, "web", "divided").await?;
    let limits = fleet
        .values(
            "hpa/web",
            "divided",
            "{.spec.minReplicas}-{.spec.maxReplicas}",
        )
        .await?;
    ensure!(
        limits.len() == 3 && limits.values().all(|limits| limits == "2-3"),
        "the limits are {limits:?}"
    );
    let generations = "{.metadata.generation} {.spec.replicas}";
    let before = fleet.values("deploy/web", "divided", generations).await?;
    ensure!(
        before.values().all(|it| it.ends_with(" 2")),
        "they are {before:?}"
    );
    hold_condition(
        "nobody changes the count",
        Duration::from_secs(16),
        async || {
            let now = fleet.values("deploy/web", "divided", generations).await?;
            ensure!(now == before, "they were {before:?} and are {now:?}");
            Ok(())
        },
    )
    .await?;
    fleet
        .kubectl(HOME, &["delete", "fwl", "web", "-n", "divided"])
        .await?;
    Ok(())
}

async fn a_namespace_deleted_in_one_cluster_deletes_no_workload(fleet: &Fleet) -> Result<()> {
    fleet
        .apply_yaml(
            HOME,
            &workload("web", "evicted", "{}", &[&deployment("web", 6)]),
        )
        .await?;
    fleet.await_ready(HOME, "web", "evicted").await?;
    fleet
        .kubectl("riga", &["delete", "namespace", "evicted", "--timeout=60s"])
        .await?;
    await_condition("its share and its copy are back", SOON, async || {
        let copy = fleet
            .value("riga", "fwl/web", "evicted", "{.metadata.name}")
            .await?;
        let share = fleet
            .value("riga", "deploy/web", "evicted", "{.spec.replicas}")
            .await?;
        ensure!(
            (copy.as_str(), share.as_str()) == ("web", "2"),
            "there are '{copy}' and '{share}'"
        );
        Ok(())
    })
    .await?;
    fleet.await_ready(HOME, "web", "evicted").await?;
    await_condition("an Event says what happened", SOON, async || {
        let events = fleet
            .kubectl(
                "riga",
                &[
                    "get",
                    "events",
                    "-n",
                    "evicted",
                    "-o",
                    "jsonpath={.items[*].reason}",
                ],
            )
            .await?;
        ensure!(events.contains("NamespaceDeleted"), "there are {events}");
        Ok(())
    })
    .await?;
    fleet
        .kubectl(
            "riga",
            &["delete", "fwl", "web", "-n", "evicted", "--timeout=60s"],
        )
        .await?;
    await_condition(
        "an explicit deletion is for the whole federation",
        SOON,
        async || {
            let left = fleet
                .values("deploy/web", "evicted", "{.metadata.name}")
                .await?;
            ensure!(left.is_empty(), "it is left in {left:?}");
            Ok(())
        },
    )
    .await?;
    Ok(())
}

async fn a_workload_is_not_ready_in_the_middle_of_a_rollout(fleet: &Fleet) -> Result<()> {
    let set = |image: &str| {
        let set = format!(
            "{{apiVersion: apps/v1, kind: StatefulSet, metadata: {{name: db}}, spec: {{replicas: 3, serviceName: db, \
             minReadySeconds: 1, selector: {{matchLabels: {{app: db}}}}, template: {{metadata: {{labels: {{app: db}}}}, \
             spec: {{terminationGracePeriodSeconds: 1, containers: [{{name: c, image: 'example/{image}'}}]}}}}}}}}"
        );
        let at = "{require: {matchLabels: {site: bergen}}}";
        workload("db", "rollout", at, &[&set])
    };
    fleet.apply_yaml(HOME, &set("db:1")).await?;
    fleet.await_ready(HOME, "db", "rollout").await?;
    fleet.apply_yaml(HOME, &set("db:2")).await?;
    // What a script does: it must not return before the rollout is over.
    fleet
        .kubectl(
            HOME,
            &[
                "wait",
                "--for=condition=Ready",
                "fwl/db",
                "-n",
                "rollout",
                "--timeout=60s",
            ],
        )
        .await?;
    let revisions = "{.status.updatedReplicas} {.status.availableReplicas} {.spec.template.spec.containers[0].image}";
    let found = fleet
        .value("bergen", "sts/db", "rollout", revisions)
        .await?;
    ensure!(
        found == "3 3 example/db:2",
        "kubectl wait returned at {found}"
    );
    fleet
        .kubectl(HOME, &["delete", "fwl", "db", "-n", "rollout"])
        .await?;
    Ok(())
}

/// The workload `kept` was in `bergen`, which is dead.
async fn a_name_is_free_although_a_dead_member_still_owes_its_removal(fleet: &Fleet) -> Result<()> {
    fleet
        .kubectl(
            HOME,
            &["delete", "fwl", "kept", "-n", "jobs", "--timeout=60s"],
        )
        .await?;
    fleet
        .apply_yaml(
            HOME,
            &workload("kept", "jobs", "{}", &[&deployment("web", 2)]),
        )
        .await?;
    fleet.await_ready(HOME, "kept", "jobs").await?;
    let shares = fleet
        .values("deploy/web", "jobs", "{.spec.replicas}")
        .await?;
    ensure!(shares.len() == 2, "it runs in {shares:?}");
    Ok(())
}

/// Kills a member.
async fn a_job_that_succeeded_never_runs_again(fleet: &mut Fleet) -> Result<()> {
    let job = |name: &str, ttl: &str| {
        let job = format!(
            "{{apiVersion: batch/v1, kind: Job, metadata: {{name: {name}}}, spec: {{{ttl} template: {{spec: \
             {{restartPolicy: Never, containers: [{{name: c, image: registry.k8s.io/pause:3.10}}]}}}}}}}}"
        );
        workload(
            name,
            "jobs",
            "{require: {matchLabels: {site: bergen}}}",
            &[&job],
        )
    };
    fleet
        .apply_yaml(HOME, &job("once", "ttlSecondsAfterFinished: 1,"))
        .await?;
    let mut runs = BTreeSet::new();
    await_condition("the job has run and is gone", SOON, async || {
        let uid = fleet
            .value("bergen", "job/once", "jobs", "{.metadata.uid}")
            .await?;
        if !uid.is_empty() {
            runs.insert(uid);
            anyhow::bail!("it is still there");
        }
        ensure!(!runs.is_empty(), "it was not there yet");
        Ok(())
    })
    .await?;
    fleet.operator("bergen")?.kill().await?;
    fleet.operator("bergen")?.restart()?;
    fleet.apply_yaml(HOME, &job("kept", "")).await?;
    fleet.await_ready(HOME, "kept", "jobs").await?;
    fleet
        .await_value("bergen", "job/kept", "jobs", "{.status.succeeded}", "1")
        .await?;
    ensure!(runs.len() == 1, "the first job ran as {runs:?}");
    let again = fleet
        .value("bergen", "job/once", "jobs", "{.metadata.uid}")
        .await?;
    ensure!(again.is_empty(), "the first job ran again after a restart");
    fleet.await_ready(HOME, "once", "jobs").await?;

    let anywhere = r#"{"spec":{"placement":{"require":{"matchLabels":null}}}}"#;
    fleet
        .kubectl(
            HOME,
            &[
                "patch",
                "fwl",
                "kept",
                "-n",
                "jobs",
                "--type=merge",
                "-p",
                anywhere,
            ],
        )
        .await?;
    fleet.kill("bergen").await?;
    await_condition("another member has the workload", SOON, async || {
        let hosts = fleet
            .value(HOME, "fwl/kept", "jobs", "{.status.hosts}")
            .await?;
        ensure!(
            !hosts.is_empty() && !hosts.contains("bergen"),
            "it is in '{hosts}'"
        );
        Ok(())
    })
    .await?;
    fleet.await_ready(HOME, "kept", "jobs").await?;
    hold_condition(
        "no other member runs the job again",
        Duration::from_secs(3),
        async || {
            let found = fleet.values("job/kept", "jobs", "{.metadata.uid}").await?;
            ensure!(found.is_empty(), "it runs in {found:?}");
            Ok(())
        },
    )
    .await
}
