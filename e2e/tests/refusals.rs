//! What one member cannot take goes to those that can. One fleet of three members of one owner; each story has a namespace
//! of its own.

use std::time::Duration;

use anyhow::{Result, ensure};
use hanse_e2e::{
    Fleet, MemberPlan, Workload, await_condition,
    yaml::{deployment, workload},
};

/// Several times what any step takes on a loaded machine. Only a failure takes that long.
const SOON: Duration = Duration::from_mins(1);

/// The field manager of a person.
const BY_HAND: &str = "kubectl-edit";

/// The home of every workload here.
const HOME: &str = "lubeck";
const MEMBERS: [&str; 3] = ["lubeck", "bergen", "riga"];

#[tokio::test(flavor = "multi_thread")]
async fn what_one_member_cannot_take_goes_to_those_that_can() -> Result<()> {
    let plans = MEMBERS.map(|name| MemberPlan::new(name).owner("amber").label("site", name));
    let fleet = Fleet::federated("refusals", plans).await?;
    let namespaces = ["ports", "quotas", "kinds", "fields"];
    fleet.create_namespaces(HOME, &namespaces).await?;
    a_share_leaves_a_member_whose_port_is_taken(&fleet).await?;
    a_share_leaves_a_member_whose_quota_is_used_up(&fleet).await?;
    a_member_without_the_kind_gets_no_part_until_it_has_it(&fleet).await?;
    a_field_of_another_manager_is_left_alone_unless_forced(&fleet).await?;
    fleet.end().await
}

async fn a_share_leaves_a_member_whose_port_is_taken(fleet: &Fleet) -> Result<()> {
    let service = |name: &str| {
        format!(
            "{{apiVersion: v1, kind: Service, metadata: {{name: {name}}}, spec: {{type: NodePort, selector: {{app: {name}}}, \
             ports: [{{port: 80, nodePort: 30481}}]}}}}"
        )
    };
    fleet
        .kubectl("riga", &["create", "namespace", "squatter"])
        .await?;
    let taken = service("taken").replacen("{name: taken}", "{name: taken, namespace: squatter}", 1);
    fleet.apply_yaml("riga", &taken).await?;
    let web = workload(
        "web",
        "ports",
        "{}",
        &[&service("web"), &deployment("web", 6)],
    );
    let web = impatient(&web);
    fleet.apply_yaml(HOME, &web).await?;
    fleet
        .await_words(HOME, "web", "ports", "riga: Service 'web': ")
        .await?;
    fleet.await_ready(HOME, "web", "ports").await?;
    let hosts = fleet
        .value(HOME, "fwl/web", "ports", "{.status.placements[*].member}")
        .await?;
    ensure!(hosts == "bergen lubeck", "it runs on {hosts}");
    let why = fleet
        .value(
            HOME,
            "fwl/web",
            "ports",
            "{.status.excluded[0].member} {.status.excluded[0].reason} {.status.excluded[0].message}",
        )
        .await?;
    ensure!(
        why.starts_with("riga Refused it could not take its part")
            && why.contains("port is already allocated"),
        "{why}"
    );
    for (reason, words) in [
        ("Placed", "placed for the first time: runs on "),
        ("Refused", "riga: Service 'web': "),
        ("Moved", "riga refused it: Service 'web': "),
    ] {
        await_event(fleet, reason, words).await?;
    }
    // The port is free and the workload edited: riga may take a part again.
    fleet
        .kubectl("riga", &["delete", "service", "taken", "-n", "squatter"])
        .await?;
    fleet
        .apply_yaml(HOME, &web.replace("replicas: 6", "replicas: 7"))
        .await?;
    await_condition("riga has a part again", SOON, async || {
        let hosts = fleet
            .value(HOME, "fwl/web", "ports", "{.status.placements[*].member}")
            .await?;
        ensure!(hosts == "bergen lubeck riga", "it runs on {hosts}");
        Ok(())
    })
    .await?;
    fleet.await_ready(HOME, "web", "ports").await
}

async fn a_member_without_the_kind_gets_no_part_until_it_has_it(fleet: &Fleet) -> Result<()> {
    const DEFINITION: &str = "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: \
        sales.shop.example}, spec: {group: shop.example, scope: Namespaced, names: {kind: Sale, plural: sales}, versions: \
        [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, \
        x-kubernetes-preserve-unknown-fields: true}}}]}}";
    for member in ["lubeck", "bergen"] {
        fleet.apply_yaml(member, DEFINITION).await?;
    }
    let served = "{.status.placements[*].member} {.status.excluded[*].reason}";
    let apply = async |name: &str| {
        let sale = "{apiVersion: shop.example/v1, kind: Sale, metadata: {name: NAME}}"
            .replace("NAME", name);
        let everywhere = workload(name, "kinds", "{mode: Duplicated}", &[&sale]);
        fleet.apply_yaml(HOME, &everywhere).await?;
        fleet.await_ready(HOME, name, "kinds").await?;
        fleet
            .value(HOME, &format!("fwl/{name}"), "kinds", served)
            .await
    };
    // The members tell the federation of a definition within a second or so.
    await_condition("a sale goes where sales are served", SOON, async || {
        let hosts = apply("sale").await?;
        ensure!(hosts == "bergen lubeck KindNotServed", "it is at {hosts}");
        Ok(())
    })
    .await?;
    fleet.apply_yaml("riga", DEFINITION).await?;
    fleet
        .await_value(HOME, "fwl/sale", "kinds", served, "bergen lubeck riga ")
        .await?;
    fleet.await_ready(HOME, "sale", "kinds").await?;
    // Once the kind is gone, its host refuses its part, and the part ends there.
    let impatient = r#"{"spec":{"failover":{"unplaceableAfter":"2s"}}}"#;
    fleet
        .merge(HOME, "fwl/sale", "kinds", BY_HAND, impatient)
        .await?;
    fleet
        .kubectl("riga", &["delete", "crd", "sales.shop.example"])
        .await?;
    fleet
        .await_value(
            HOME,
            "fwl/sale",
            "kinds",
            served,
            "bergen lubeck KindNotServed",
        )
        .await?;
    fleet.await_ready(HOME, "sale", "kinds").await
}

async fn a_field_of_another_manager_is_left_alone_unless_forced(fleet: &Fleet) -> Result<()> {
    let config = |value: &str| {
        format!(
            "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: c, namespace: fields}}, data: {{a: {value}}}}}"
        )
    };
    let everywhere = workload("c", "fields", "{mode: Duplicated}", &[&config("hanse")]);
    fleet.apply_yaml(HOME, &everywhere).await?;
    fleet.await_ready(HOME, "c", "fields").await?;
    let a = async || fleet.value("riga", "cm/c", "fields", "{.data.a}").await;
    // By hand: drift.
    fleet
        .merge(
            "riga",
            "cm/c",
            "fields",
            BY_HAND,
            r#"{"data":{"a":"hand"}}"#,
        )
        .await?;
    fleet
        .await_value("riga", "cm/c", "fields", "{.data.a}", "hanse")
        .await?;
    // By another controller: its own.
    fleet
        .merge(
            "riga",
            "cm/c",
            "fields",
            "tuner",
            r#"{"data":{"a":"tuned"}}"#,
        )
        .await?;
    let words = "riga: ConfigMap 'c': data.a is owned by 'tuner'; set `spec.conflicts: Force` to take it over";
    fleet.await_words(HOME, "c", "fields", words).await?;
    let found = a().await?;
    ensure!(found == "tuned", "it is '{found}'");
    fleet
        .merge(
            HOME,
            "fwl/c",
            "fields",
            BY_HAND,
            r#"{"spec":{"conflicts":"Force"}}"#,
        )
        .await?;
    fleet.await_ready(HOME, "c", "fields").await?;
    let found = a().await?;
    ensure!(found == "hanse", "it is '{found}'");
    Ok(())
}

/// Waits for an Event about the workload `ports/web` that begins with these words.
async fn await_event(fleet: &Fleet, reason: &str, words: &str) -> Result<()> {
    let web = Workload {
        owner: "amber",
        namespace: "ports",
        name: "web",
    };
    await_condition(format!("an Event {reason}"), SOON, async || {
        let events = fleet.events(HOME, &web, reason).await?;
        let notes: Vec<_> = events
            .iter()
            .filter_map(|it| it.message.as_deref())
            .collect();
        ensure!(
            notes.iter().any(|it| it.starts_with(words)),
            "there are {notes:?}"
        );
        Ok(())
    })
    .await?;
    Ok(())
}

async fn a_share_leaves_a_member_whose_quota_is_used_up(fleet: &Fleet) -> Result<()> {
    // The namespace comes to the other members with the workload; here it exists before.
    fleet.create_namespaces("riga", &["quotas"]).await?;
    let quota = "{apiVersion: v1, kind: ResourceQuota, metadata: {name: none, namespace: quotas}, spec: {hard: {pods: 0}}}";
    fleet.apply_yaml("riga", quota).await?;
    let web = workload("web", "quotas", "{}", &[&deployment("web", 6)]);
    fleet.apply_yaml(HOME, &impatient(&web)).await?;
    fleet
        .await_words(
            HOME,
            "web",
            "quotas",
            "riga: Deployment 'web' cannot create its pods: ",
        )
        .await?;
    fleet.await_ready(HOME, "web", "quotas").await?;
    let hosts = fleet
        .value(HOME, "fwl/web", "quotas", "{.status.placements[*].member}")
        .await?;
    ensure!(hosts == "bergen lubeck", "it runs on {hosts}");
    Ok(())
}

/// The workload with little patience for refusals.
fn impatient(workload: &str) -> String {
    let patience = "spec:\n  failover: {unplaceableAfter: 3s}\n  placement";
    workload.replace("spec:\n  placement", patience)
}
