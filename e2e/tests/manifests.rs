//! What users really put into a workload: the federation does with it what one cluster would do. One fleet of three
//! members of one owner; each story has a namespace of its own.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Result, ensure};
use hanse_e2e::{
    Fleet, MemberPlan, await_condition, hold_condition,
    yaml::{definition, deployment, workload},
};

/// Several times what any step takes on a loaded machine. Only a failure takes that long.
const SOON: Duration = Duration::from_mins(1);

/// The home of every workload here.
const HOME: &str = "lubeck";
const MEMBERS: [&str; 3] = ["lubeck", "bergen", "riga"];

#[tokio::test(flavor = "multi_thread")]
async fn real_manifests_are_realized_as_kubectl_would() -> Result<()> {
    let plans = MEMBERS.map(|name| MemberPlan::new(name).owner("amber").label("site", name));
    let fleet = Fleet::federated("manifests", plans).await?;
    let namespaces = [
        "counts",
        "zero",
        "bundle",
        "secrets",
        "broken",
        "immutable",
        "held",
        "moved",
        "handed",
        "gated",
    ];
    fleet.create_namespaces(HOME, &namespaces).await?;
    each_deployment_keeps_its_own_count(&fleet).await?;
    zero_replicas_keep_every_object(&fleet).await?;
    a_definition_and_its_instance_come_in_one_workload(&fleet).await?;
    a_key_taken_out_of_string_data_goes(&fleet).await?;
    unusable_input_is_named_and_heals_by_an_edit(&fleet).await?;
    an_immutable_field_does_not_hold_up_the_rest(&fleet).await?;
    what_holds_up_a_deletion_is_named(&fleet).await?;
    later_waves_wait_for_an_object_with_a_wave_of_its_own(&fleet).await?;
    an_object_moves_between_workloads_without_a_gap(&fleet).await?;
    an_existing_object_is_taken_over_only_if_told(&fleet).await?;
    a_namespace_with_other_things_in_it_outlives_its_workload(&fleet).await?;
    fleet.end().await
}

async fn each_deployment_keeps_its_own_count(fleet: &Fleet) -> Result<()> {
    let (front, worker) = (deployment("front", 3), deployment("worker", 1));
    let replicas = "{.spec.replicas}";
    let divided = workload("shop", "counts", "{}", &[&front, &worker]);
    fleet.apply_yaml(HOME, &divided).await?;
    fleet.await_ready(HOME, "shop", "counts").await?;
    ensure!(fleet.sum("deploy/front", "counts", replicas).await? == 3);
    ensure!(fleet.sum("deploy/worker", "counts", replicas).await? == 1);
    let ready = fleet
        .value(
            HOME,
            "fwl/shop",
            "counts",
            "{.status.ready}/{.status.desired}",
        )
        .await?;
    ensure!(ready == "4/4", "{ready} replicas are ready");

    let named = "{replicas: 6, scales: {kind: Deployment, name: front}}";
    fleet
        .apply_yaml(HOME, &workload("shop", "counts", named, &[&front, &worker]))
        .await?;
    await_condition(
        "there are six of one and one of the other",
        SOON,
        async || {
            let fronts = fleet.sum("deploy/front", "counts", replicas).await?;
            let workers = fleet.sum("deploy/worker", "counts", replicas).await?;
            ensure!((fronts, workers) == (6, 1), "{fronts} and {workers}");
            Ok(())
        },
    )
    .await?;
    fleet
        .kubectl(HOME, &["delete", "fwl", "shop", "-n", "counts"])
        .await?;
    Ok(())
}

async fn zero_replicas_keep_every_object(fleet: &Fleet) -> Result<()> {
    let web = deployment("web", 3);
    let config = "{apiVersion: v1, kind: ConfigMap, metadata: {name: web}, data: {a: b}}";
    fleet
        .apply_yaml(HOME, &workload("web", "zero", "{}", &[config, &web]))
        .await?;
    fleet.await_ready(HOME, "web", "zero").await?;
    let before = fleet.values("cm/web", "zero", "{.metadata.uid}").await?;
    ensure!(before.len() == 3, "it runs in {before:?}");

    fleet
        .kubectl(HOME, &["scale", "fwl/web", "-n", "zero", "--replicas=0"])
        .await?;
    await_condition("nothing runs and the workload is ready", SOON, async || {
        let running = fleet.sum("deploy/web", "zero", "{.spec.replicas}").await?;
        let ready = fleet
            .value(
                HOME,
                "fwl/web",
                "zero",
                r#"{.status.conditions[?(@.type=="Ready")].status} {.status.desired}"#,
            )
            .await?;
        ensure!(
            running == 0 && ready == "True 0",
            "{running} run, ready is {ready}"
        );
        Ok(())
    })
    .await?;
    fleet
        .kubectl(HOME, &["scale", "fwl/web", "-n", "zero", "--replicas=3"])
        .await?;
    await_condition("three run again", SOON, async || {
        let running = fleet.sum("deploy/web", "zero", "{.spec.replicas}").await?;
        ensure!(running == 3, "{running} run");
        Ok(())
    })
    .await?;
    let after = fleet.values("cm/web", "zero", "{.metadata.uid}").await?;
    ensure!(
        before == after,
        "objects were made again: {before:?}, {after:?}"
    );
    fleet
        .kubectl(HOME, &["delete", "fwl", "web", "-n", "zero"])
        .await?;
    Ok(())
}

const PORT: &str =
    "{apiVersion: hanse.example/v1, kind: Port, metadata: {name: lubeck}, spec: {depth: 9}}";

async fn a_definition_and_its_instance_come_in_one_workload(fleet: &Fleet) -> Result<()> {
    // The instance is first in the list, as it often is.
    let ports = definition("Port", "ports", &["name: v1, storage: true"]);
    let bundle = workload("ports", "bundle", "{mode: Duplicated}", &[PORT, &ports]);
    fleet.apply_yaml(HOME, &bundle).await?;
    fleet.await_ready(HOME, "ports", "bundle").await?;
    let depths = fleet
        .values("ports.hanse.example/lubeck", "bundle", "{.spec.depth}")
        .await?;
    ensure!(depths.len() == 3, "there are instances in {depths:?}");

    let visby =
        "{apiVersion: hanse.example/v1, kind: Port, metadata: {name: visby, namespace: default}}";
    fleet.apply_yaml("bergen", visby).await?;
    fleet
        .kubectl(
            HOME,
            &["delete", "fwl", "ports", "-n", "bundle", "--timeout=60s"],
        )
        .await?;
    let left = fleet
        .values("crd/ports.hanse.example", "bundle", "{.metadata.name}")
        .await?;
    ensure!(
        left.keys().eq(["bergen"]),
        "the definition is left in {left:?}, and somebody else uses it in bergen"
    );
    let visby = fleet
        .value(
            "bergen",
            "ports.hanse.example/visby",
            "default",
            "{.metadata.name}",
        )
        .await?;
    ensure!(visby == "visby", "the instance of somebody else is gone");
    Ok(())
}

async fn a_key_taken_out_of_string_data_goes(fleet: &Fleet) -> Result<()> {
    let secret = |keys: &str| {
        let secret = format!(
            "{{apiVersion: v1, kind: Secret, metadata: {{name: login}}, stringData: {keys}}}"
        );
        workload("login", "secrets", "{mode: Duplicated}", &[&secret])
    };
    fleet
        .apply_yaml(HOME, &secret("{user: a, leaked: b}"))
        .await?;
    fleet.await_ready(HOME, "login", "secrets").await?;
    fleet
        .apply_yaml(HOME, &secret("{user: a, password: c}"))
        .await?;
    let settled = r#"{"password":"Yw==","user":"YQ=="}"#;
    let put_right = async || {
        let found = fleet.values("secret/login", "secrets", "{.data}").await?;
        ensure!(
            found.len() == 3 && found.values().all(|data| data == settled),
            "the keys are {found:?}"
        );
        Ok(())
    };
    await_condition("the key is gone everywhere", SOON, put_right).await?;
    let by_hand = r#"{"data":{"user":"eA=="}}"#;
    fleet
        .kubectl(
            "bergen",
            &[
                "patch",
                "secret",
                "login",
                "-n",
                "secrets",
                "--type=merge",
                "-p",
                by_hand,
            ],
        )
        .await?;
    await_condition("a change by hand is put right", SOON, put_right).await?;
    fleet
        .kubectl(HOME, &["delete", "fwl", "login", "-n", "secrets"])
        .await?;
    Ok(())
}

async fn unusable_input_is_named_and_heals_by_an_edit(fleet: &Fleet) -> Result<()> {
    let quoted = |value: &str| {
        let config = format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: flags}}, data: {{debug: {value}}}}}"
        );
        workload("flags", "broken", "{}", &[&config])
    };
    fleet.apply_yaml(HOME, &quoted("true")).await?;
    fleet
        .await_words(
            HOME,
            "flags",
            "broken",
            "ConfigMap 'flags': data.debug: must be a string, not true (quote it)",
        )
        .await?;
    fleet.apply_yaml(HOME, &quoted("'true'")).await?;
    fleet.await_ready(HOME, "flags", "broken").await?;

    let misspelt = deployment("web", 1).replace("selector:", "selectr: {}, selector:");
    fleet
        .apply_yaml(HOME, &workload("web", "broken", "{}", &[&misspelt]))
        .await?;
    fleet
        .await_words(
            HOME,
            "web",
            "broken",
            "Deployment 'web': spec.selectr: there is no such field; is it misspelt?",
        )
        .await?;
    let list = "{apiVersion: v1, kind: ConfigMapList, metadata: {name: l}, items: []}";
    fleet
        .apply_yaml(HOME, &workload("list", "broken", "{}", &[list]))
        .await?;
    fleet
        .await_words(HOME, "list", "broken", "put its items into `manifests`")
        .await?;
    fleet
        .kubectl(HOME, &["delete", "fwl", "--all", "-n", "broken"])
        .await?;
    Ok(())
}

async fn an_immutable_field_does_not_hold_up_the_rest(fleet: &Fleet) -> Result<()> {
    let version = |image: &str| {
        let config = |name: &str| {
            format!(
                "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}, data: {{v: '{image}'}}}}"
            )
        };
        let job = format!(
            "{{apiVersion: batch/v1, kind: Job, metadata: {{name: migrate}}, spec: {{template: {{spec: {{restartPolicy: \
             Never, containers: [{{name: c, image: 'example/{image}'}}]}}}}}}}}"
        );
        let app = deployment("app", 2).replace("pause:3.10", image);
        let manifests = [config("before"), job, config("after"), app];
        let manifests: Vec<&str> = manifests.iter().map(String::as_str).collect();
        workload(
            "app",
            "immutable",
            "{require: {matchLabels: {site: bergen}}}",
            &manifests,
        )
    };
    fleet.apply_yaml(HOME, &version("pause:3.9")).await?;
    fleet.await_ready(HOME, "app", "immutable").await?;
    fleet.apply_yaml(HOME, &version("pause:3.8")).await?;
    fleet
        .await_words(
            HOME,
            "app",
            "immutable",
            "bergen: Job 'migrate': spec.template: field is immutable",
        )
        .await?;
    let settings = async || {
        let before = fleet
            .value("bergen", "cm/before", "immutable", "{.data.v}")
            .await?;
        let after = fleet
            .value("bergen", "cm/after", "immutable", "{.data.v}")
            .await?;
        let image = "{.spec.template.spec.containers[0].image}";
        let app = fleet
            .value("bergen", "deploy/app", "immutable", image)
            .await?;
        Ok::<_, anyhow::Error>(format!("{before} {after} {app}"))
    };
    let found = settings().await?;
    ensure!(
        found == "pause:3.8 pause:3.8 registry.k8s.io/pause:3.8",
        "the other objects are at {found}"
    );
    fleet
        .kubectl(
            HOME,
            &["scale", "fwl/app", "-n", "immutable", "--replicas=4"],
        )
        .await?;
    // The count changes while the Job is refused.
    fleet
        .await_value("bergen", "deploy/app", "immutable", "{.spec.replicas}", "4")
        .await?;
    let recreating = format!(
        "{}  update: {{onImmutable: Recreate}}\n",
        version("pause:3.8")
    );
    fleet.apply_yaml(HOME, &recreating).await?;
    fleet.await_ready(HOME, "app", "immutable").await?;
    let image = "{.spec.template.spec.containers[0].image}";
    let job = fleet
        .value("bergen", "job/migrate", "immutable", image)
        .await?;
    ensure!(
        job == "example/pause:3.8",
        "the Job was not made again: {job}"
    );
    fleet.apply_yaml(HOME, &version("pause:3.8")).await?;
    fleet.await_ready(HOME, "app", "immutable").await?;
    fleet
        .kubectl(HOME, &["delete", "fwl", "app", "-n", "immutable"])
        .await?;
    Ok(())
}

/// A migration before the deployment. The claim is never bound: there is no provisioner.
async fn later_waves_wait_for_an_object_with_a_wave_of_its_own(fleet: &Fleet) -> Result<()> {
    let job = |suspend: bool| {
        format!(
            "{{apiVersion: batch/v1, kind: Job, metadata: {{name: migrate, annotations: {{hanse.dev/wave: '45'}}}}, spec: \
             {{suspend: {suspend}, template: {{spec: {{restartPolicy: Never, containers: [{{name: c, image: x}}]}}}}}}}}"
        )
    };
    let claim = "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, spec: {accessModes: \
                 [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}";
    let app = deployment("app", 1);
    let pinned = "{require: {matchLabels: {site: riga}}}";
    let with = |suspend| workload("app", "gated", pinned, &[&app, claim, &job(suspend)]);
    fleet.apply_yaml(HOME, &with(true)).await?;
    fleet
        .await_words(
            HOME,
            "app",
            "gated",
            "riga: waiting: Job 'migrate' has not succeeded yet",
        )
        .await?;
    let early = fleet
        .value("riga", "deploy/app", "gated", "{.metadata.name}")
        .await?;
    ensure!(early.is_empty(), "the Deployment did not wait");

    fleet.apply_yaml(HOME, &with(false)).await?;
    fleet
        .await_value(
            "riga",
            "deploy/app",
            "gated",
            "{.status.readyReplicas}",
            "1",
        )
        .await?;
    fleet
        .await_words(
            HOME,
            "app",
            "gated",
            "PersistentVolumeClaim 'data' is not bound to a volume",
        )
        .await?;
    fleet
        .kubectl(
            HOME,
            &["delete", "fwl", "app", "-n", "gated", "--timeout=60s"],
        )
        .await?;
    Ok(())
}

/// Its uid tells whether it was ever away.
async fn an_object_moves_between_workloads_without_a_gap(fleet: &Fleet) -> Result<()> {
    let shared = |by: &str| {
        format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: shared}}, data: {{by: {by}}}}}"
        )
    };
    let own =
        |name: &str| format!("{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}}}}}");
    let everywhere = "{mode: Duplicated}";
    let with = |name: &str, other: &str| {
        workload(name, "handed", everywhere, &[&own(other), &shared(name)])
    };
    let expect = async |by: &str, before: &BTreeMap<String, String>| {
        let after = fleet
            .values("cm/shared", "handed", "{.metadata.uid} {.data.by}")
            .await?;
        let uid = |value: &String| value.split(' ').next().map(str::to_owned);
        ensure!(
            after.values().map(uid).eq(before.values().map(uid))
                && after.values().all(|value| value.ends_with(by)),
            "the objects were {before:?} and are {after:?}"
        );
        Ok(())
    };
    fleet.apply_yaml(HOME, &with("one", "one")).await?;
    fleet.await_ready(HOME, "one", "handed").await?;
    fleet.apply_yaml(HOME, &with("two", "two")).await?;
    fleet
        .await_words(
            HOME,
            "two",
            "handed",
            "ConfigMap 'shared': workload 'amber/handed/one' has an object of this name here",
        )
        .await?;
    let before = fleet
        .values("cm/shared", "handed", "{.metadata.uid} {.data.by}")
        .await?;
    expect("one", &before).await?;

    let without = workload("one", "handed", everywhere, &[&own("one")]);
    fleet.apply_yaml(HOME, &without).await?;
    fleet.await_ready(HOME, "two", "handed").await?;
    expect("two", &before).await?;

    // A workload is renamed: the new one first, then the old one is deleted.
    fleet.apply_yaml(HOME, &with("three", "two")).await?;
    fleet
        .await_words(
            HOME,
            "three",
            "handed",
            "workload 'amber/handed/two' has an object",
        )
        .await?;
    fleet
        .kubectl(
            HOME,
            &["delete", "fwl", "two", "-n", "handed", "--timeout=60s"],
        )
        .await?;
    fleet.await_ready(HOME, "three", "handed").await?;
    expect("three", &before).await?;
    fleet
        .kubectl(
            HOME,
            &["delete", "fwl", "--all", "-n", "handed", "--timeout=60s"],
        )
        .await?;
    Ok(())
}

async fn an_existing_object_is_taken_over_only_if_told(fleet: &Fleet) -> Result<()> {
    let by_hand = "{apiVersion: v1, kind: ConfigMap, metadata: {name: found, namespace: handed}, data: {by: hand}}";
    fleet.apply_yaml("riga", by_hand).await?;
    let found = |by: &str, adopt: &str| {
        let found = format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: found}}, data: {{by: {by}}}}}"
        );
        let rules = "{require: {matchLabels: {site: riga}}}";
        let workload = workload("found", "handed", rules, &[&found]);
        format!("{workload}  adopt: {adopt}\n")
    };
    let refused = "an object of this name exists already and was not made for this workload";
    for (by, adopt) in [("hanse", "Never"), ("hanse", "IfUnchanged")] {
        fleet.apply_yaml(HOME, &found(by, adopt)).await?;
        fleet.await_words(HOME, "found", "handed", refused).await?;
    }
    fleet
        .apply_yaml(HOME, &found("hand", "IfUnchanged"))
        .await?;
    fleet.await_ready(HOME, "found", "handed").await?;
    fleet
        .apply_yaml(HOME, &found("hanse", "IfUnchanged"))
        .await?;
    fleet.await_ready(HOME, "found", "handed").await?;
    fleet
        .kubectl(
            HOME,
            &["delete", "fwl", "found", "-n", "handed", "--timeout=60s"],
        )
        .await?;
    let left = fleet
        .value(
            "riga",
            "cm/found",
            "handed",
            "{.data.by} {.metadata.labels}",
        )
        .await?;
    ensure!(
        left.starts_with("hanse") && !left.contains("hanse.dev"),
        "it is now '{left}'"
    );
    Ok(())
}

async fn what_holds_up_a_deletion_is_named(fleet: &Fleet) -> Result<()> {
    let held = "{apiVersion: v1, kind: ConfigMap, metadata: {name: held, finalizers: [hanse.example/nobody]}}";
    let app = deployment("app", 1);
    let pinned = "{require: {matchLabels: {site: riga}}}";
    fleet
        .apply_yaml(HOME, &workload("app", "held", pinned, &[held, &app]))
        .await?;
    fleet.await_ready(HOME, "app", "held").await?;
    fleet
        .kubectl(
            HOME,
            &["delete", "fwl", "app", "-n", "held", "--wait=false"],
        )
        .await?;
    fleet.await_words(HOME, "app",
        "held",
        "riga: ConfigMap 'held' is being deleted and waits for its finalizers: hanse.example/nobody",
    )
    .await?;
    let app = fleet
        .value("riga", "deploy/app", "held", "{.metadata.name}")
        .await?;
    ensure!(app.is_empty(), "the Deployment is still there");
    let release = r#"{"metadata":{"finalizers":null}}"#;
    fleet
        .kubectl(
            "riga",
            &[
                "patch",
                "cm",
                "held",
                "-n",
                "held",
                "--type=merge",
                "-p",
                release,
            ],
        )
        .await?;
    fleet
        .await_value(HOME, "fwl/app", "held", "{.metadata.name}", "")
        .await?;
    Ok(())
}

async fn a_namespace_with_other_things_in_it_outlives_its_workload(fleet: &Fleet) -> Result<()> {
    let namespace = "{apiVersion: v1, kind: Namespace, metadata: {name: moved, labels: {team: a}}}";
    let web = deployment("web", 2);
    let at = |site: &str| {
        let rules = format!("{{require: {{matchLabels: {{site: {site}}}}}}}");
        workload("web", "moved", &rules, &[namespace, &web])
    };
    fleet.apply_yaml(HOME, &at("bergen")).await?;
    fleet.await_ready(HOME, "web", "moved").await?;
    let team = fleet
        .value("bergen", "ns/moved", "moved", "{.metadata.labels.team}")
        .await?;
    ensure!(team == "a", "the label of the namespace is '{team}'");
    fleet
        .kubectl("bergen", &["create", "configmap", "by-hand", "-n", "moved"])
        .await?;

    fleet.apply_yaml(HOME, &at("riga")).await?;
    fleet.await_ready(HOME, "web", "moved").await?;
    fleet
        .kubectl(
            HOME,
            &["delete", "fwl", "web", "-n", "moved", "--timeout=60s"],
        )
        .await?;
    let by_hand = async || {
        let found = fleet
            .value(
                "bergen",
                "cm/by-hand",
                "moved",
                "{.metadata.name}{.metadata.deletionTimestamp}",
            )
            .await?;
        ensure!(found == "by-hand", "it is '{found}'");
        Ok(())
    };
    hold_condition(
        "what was made by hand stays",
        Duration::from_secs(2),
        by_hand,
    )
    .await?;
    let deleted = fleet
        .values("ns/moved", "moved", "{.metadata.deletionTimestamp}")
        .await?;
    ensure!(
        deleted.is_empty(),
        "the namespace is being deleted in {deleted:?}"
    );
    Ok(())
}
