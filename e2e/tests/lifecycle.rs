//! What becomes of a workload's objects when it moves, is stopped, is written in another version, or is deleted. One fleet of three
//! members of one owner; each story has a namespace of its own.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use hanse_e2e::{
    Fleet, MemberPlan, await_condition, hold_condition,
    yaml::{definition, deployment, workload},
};

/// Several times what any step takes on a loaded machine. Only a failure takes that long.
const SOON: Duration = Duration::from_mins(1);

/// How long something must stay as it is.
const STAYS: Duration = Duration::from_secs(5);

/// The home of every workload here.
const HOME: &str = "lubeck";
const MEMBERS: [&str; 3] = ["lubeck", "bergen", "riga"];

#[tokio::test(flavor = "multi_thread")]
async fn objects_go_stay_and_change_with_their_workload() -> Result<()> {
    let plans = MEMBERS.map(|name| MemberPlan::new(name).owner("amber").label("site", name));
    let fleet = Fleet::federated("lifecycle", plans).await?;
    let namespaces = ["claims", "stopped", "versions", "orphans", "pods", "stuck"];
    fleet.create_namespaces(HOME, &namespaces).await?;
    a_claim_stays_when_its_workload_moves_and_goes_with_it(&fleet).await?;
    a_suspended_workload_keeps_its_objects_and_runs_nothing(&fleet).await?;
    another_version_of_an_object_is_the_same_object(&fleet).await?;
    orphaned_objects_stay_without_marks(&fleet).await?;
    a_single_pod_ends_before_it_starts_elsewhere(&fleet).await?;
    what_its_pods_say_is_shown(&fleet).await?;
    fleet.end().await
}

fn at(site: &str) -> String {
    format!("{{require: {{matchLabels: {{site: {site}}}}}}}")
}

const NAME: &str = "{.metadata.name}";

async fn is_in(fleet: &Fleet, object: &str, namespace: &str, members: &[&str]) -> Result<()> {
    let description = format!("{object} is in {members:?}");
    await_condition(description, SOON, async || {
        let found = fleet.values(object, namespace, NAME).await?;
        let found: Vec<_> = found.keys().map(String::as_str).collect();
        ensure!(found == members, "it is in {found:?}");
        Ok(())
    })
    .await?;
    Ok(())
}

async fn delete(fleet: &Fleet, workload: &str, namespace: &str) -> Result<()> {
    let delete = ["delete", "fwl", workload, "-n", namespace, "--timeout=60s"];
    fleet.kubectl(HOME, &delete).await.map(drop)
}

async fn a_claim_stays_when_its_workload_moves_and_goes_with_it(fleet: &Fleet) -> Result<()> {
    let claim = "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {name: data}, spec: {accessModes: [ReadWriteOnce], \
                 resources: {requests: {storage: 1Gi}}}}";
    let config = "{apiVersion: v1, kind: ConfigMap, metadata: {name: data}}";
    let store = |site: &str| workload("store", "claims", &at(site), &[claim, config]);
    fleet.apply_yaml(HOME, &store("bergen")).await?;
    is_in(fleet, "cm/data", "claims", &["bergen"]).await?;
    is_in(fleet, "pvc/data", "claims", &["bergen"]).await?;
    let uid = fleet
        .value("bergen", "pvc/data", "claims", "{.metadata.uid}")
        .await?;

    fleet.apply_yaml(HOME, &store("riga")).await?;
    is_in(fleet, "cm/data", "claims", &["riga"]).await?;
    is_in(fleet, "pvc/data", "claims", &["bergen", "riga"]).await?;

    // It is used again when the workload comes back.
    fleet.apply_yaml(HOME, &store("bergen")).await?;
    is_in(fleet, "cm/data", "claims", &["bergen"]).await?;
    let same = fleet
        .value("bergen", "pvc/data", "claims", "{.metadata.uid}")
        .await?;
    ensure!(same == uid, "the claim was made anew: {uid}, {same}");

    delete(fleet, "store", "claims").await?;
    is_in(fleet, "pvc/data", "claims", &["riga"]).await?;
    hold_condition("what it left in riga stays", STAYS, async || {
        let left = fleet.value("riga", "pvc/data", "claims", NAME).await?;
        ensure!(left == "data", "it is gone");
        Ok(())
    })
    .await
}

async fn a_suspended_workload_keeps_its_objects_and_runs_nothing(fleet: &Fleet) -> Result<()> {
    let web = deployment("web", 3);
    let pod = "{restartPolicy: Never, containers: [{name: app, image: app}]}";
    let report = format!(
        "{{apiVersion: batch/v1, kind: CronJob, metadata: {{name: report}}, spec: {{schedule: '0 0 1 1 *', jobTemplate: {{spec: \
         {{template: {{spec: {pod}}}}}}}}}}}"
    );
    let once = format!("{{apiVersion: v1, kind: Pod, metadata: {{name: once}}, spec: {pod}}}");
    let running = workload("web", "stopped", "{}", &[&web, &report, &once]);
    fleet.apply_yaml(HOME, &running).await?;
    fleet.await_ready(HOME, "web", "stopped").await?;
    // What is not divided is in one of them.
    let hosts = fleet.values("pod/once", "stopped", NAME).await?;
    let [host] = hosts.keys().map(String::as_str).collect::<Vec<_>>()[..] else {
        bail!("the pod is in {hosts:?}");
    };
    is_in(fleet, "cronjob/report", "stopped", &[host]).await?;
    let uids = fleet
        .values("deploy/web", "stopped", "{.metadata.uid}")
        .await?;

    let suspended = format!("{running}  suspend: true\n");
    fleet.apply_yaml(HOME, &suspended).await?;
    await_condition("nothing runs", SOON, async || {
        let replicas = fleet
            .sum("deploy/web", "stopped", "{.spec.replicas}")
            .await?;
        let jobs = fleet
            .values("cronjob/report", "stopped", "{.spec.suspend}")
            .await?;
        let pods = fleet.values("pod/once", "stopped", NAME).await?;
        let suspended: Vec<_> = jobs.values().map(String::as_str).collect();
        ensure!(
            (replicas, &suspended[..], pods.len()) == (0, &["true"], 0),
            "{replicas} replicas, suspended: {suspended:?}, pods in {pods:?}"
        );
        Ok(())
    })
    .await?;
    let why = "suspended: nothing runs, and its objects stay where they are";
    fleet.await_words(HOME, "web", "stopped", why).await?;

    fleet
        .apply_yaml(HOME, &format!("{running}  suspend: false\n"))
        .await?;
    fleet.await_ready(HOME, "web", "stopped").await?;
    is_in(fleet, "pod/once", "stopped", &[host]).await?;
    let same = fleet
        .values("deploy/web", "stopped", "{.metadata.uid}")
        .await?;
    ensure!(same == uids, "objects were made again: {uids:?}, {same:?}");
    delete(fleet, "web", "stopped").await
}

async fn another_version_of_an_object_is_the_same_object(fleet: &Fleet) -> Result<()> {
    let versions = ["name: v1, storage: false", "name: v2, storage: true"];
    let ships = definition("Ship", "ships", &versions);
    for member in MEMBERS {
        fleet.apply_yaml(member, &ships).await?;
    }
    let ship = |version: &str, sails: u32| {
        let ship = format!(
            "{{apiVersion: hanse.example/{version}, kind: Ship, metadata: {{name: cog}}, spec: {{sails: {sails}}}}}"
        );
        workload("fleet", "versions", "{mode: Duplicated}", &[&ship])
    };
    fleet.apply_yaml(HOME, &ship("v1", 1)).await?;
    let cog = "ships.hanse.example/cog";
    is_in(fleet, cog, "versions", &["bergen", "lubeck", "riga"]).await?;
    let uids = fleet.values(cog, "versions", "{.metadata.uid}").await?;
    fleet.apply_yaml(HOME, &ship("v2", 2)).await?;
    for member in MEMBERS {
        fleet
            .await_value(member, cog, "versions", "{.spec.sails}", "2")
            .await?;
    }
    fleet.await_ready(HOME, "fleet", "versions").await?;
    hold_condition("it is the same object everywhere", STAYS, async || {
        let same = fleet.values(cog, "versions", "{.metadata.uid}").await?;
        ensure!(same == uids, "it was {uids:?} and is {same:?}");
        Ok(())
    })
    .await?;
    delete(fleet, "fleet", "versions").await
}

async fn orphaned_objects_stay_without_marks(fleet: &Fleet) -> Result<()> {
    let web = deployment("web", 3);
    let config = "{apiVersion: v1, kind: ConfigMap, metadata: {name: web, labels: {team: a}}}";
    let orphan = workload("web", "orphans", "{}", &[config, &web]);
    fleet.apply_yaml(HOME, &orphan).await?;
    fleet.await_ready(HOME, "web", "orphans").await?;
    let annotate = [
        "annotate",
        "fwl",
        "web",
        "-n",
        "orphans",
        "hanse.dev/on-delete=Orphan",
    ];
    fleet.kubectl(HOME, &annotate).await?;
    delete(fleet, "web", "orphans").await?;
    hold_condition("its objects stay", STAYS, async || {
        let replicas = fleet
            .sum("deploy/web", "orphans", "{.spec.replicas}")
            .await?;
        ensure!(replicas == 3, "there are {replicas} replicas");
        Ok(())
    })
    .await?;
    let metadata = "{.metadata.labels} {.metadata.annotations}";
    for object in ["cm/web", "deploy/web"] {
        let left = fleet.values(object, "orphans", metadata).await?;
        let marked = left.values().find(|left| left.contains("hanse.dev/"));
        ensure!(
            left.len() == 3 && marked.is_none(),
            "{object} is left as {left:?}"
        );
    }
    // Nobody's objects: a workload that is allowed to takes them over as they are.
    fleet
        .apply_yaml(HOME, &format!("{orphan}  adopt: IfUnchanged\n"))
        .await?;
    fleet.await_ready(HOME, "web", "orphans").await?;
    delete(fleet, "web", "orphans").await
}

/// No node is as the pods ask for; then the story writes what a kubelet would.
async fn what_its_pods_say_is_shown(fleet: &Fleet) -> Result<()> {
    let stuck =
        deployment("stuck", 1).replace("containers:", "nodeSelector: {is: nowhere}, containers:");
    fleet
        .apply_yaml(HOME, &workload("stuck", "stuck", &at("riga"), &[&stuck]))
        .await?;
    fleet
        .await_words(HOME, "stuck", "stuck", "has no node: 0/")
        .await?;
    let name = "jsonpath={.items[0].metadata.name}";
    let pod = fleet
        .kubectl("riga", &["get", "pods", "-n", "stuck", "-o", name])
        .await?;
    let waiting = r#"{"reason": "ImagePullBackOff", "message": "no such image"}"#;
    let container = format!(
        r#"{{"name": "app", "image": "app", "imageID": "", "ready": false, "restartCount": 0, "state": {{"waiting": {waiting}}}}}"#
    );
    let status = format!(r#"{{"status": {{"containerStatuses": [{container}]}}}}"#);
    let patch = [
        "patch",
        "pod",
        &pod,
        "-n",
        "stuck",
        "--subresource=status",
        "--type=merge",
        "-p",
        &status,
    ];
    fleet.kubectl("riga", &patch).await?;
    let words = format!("pod '{pod}' has container 'app' in ImagePullBackOff: no such image");
    fleet.await_words(HOME, "stuck", "stuck", &words).await?;
    delete(fleet, "stuck", "stuck").await
}

async fn a_single_pod_ends_before_it_starts_elsewhere(fleet: &Fleet) -> Result<()> {
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: solo}, spec: {terminationGracePeriodSeconds: 2, containers: [{name: \
               app, image: app}]}}";
    let at = |site: &str| {
        let rules = format!("{{mode: Single, require: {{matchLabels: {{site: {site}}}}}}}");
        workload("solo", "pods", &rules, &[pod])
    };
    fleet.apply_yaml(HOME, &at("bergen")).await?;
    is_in(fleet, "pod/solo", "pods", &["bergen"]).await?;
    fleet.apply_yaml(HOME, &at("riga")).await?;
    await_condition("it is in riga, and never in two", SOON, async || {
        // The new host first: the old one is never begun again, so if it is still there, both were.
        let new = fleet.value("riga", "pod/solo", "pods", NAME).await?;
        let old = fleet.value("bergen", "pod/solo", "pods", NAME).await?;
        assert!(
            old.is_empty() || new.is_empty(),
            "it runs in bergen and in riga"
        );
        ensure!(new == "solo", "it is in bergen: '{old}'");
        Ok(())
    })
    .await?;
    delete(fleet, "solo", "pods").await
}
