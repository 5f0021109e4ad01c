//! One federation of three owners, seen by its users: consent, division, updates, drift, refusals, removal, lost quorum.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hanse_e2e::{Fleet, MemberPlan, Shares, Workload, await_condition};
use serde_json::json;

/// Longer than any step takes on a loaded machine; reached only by a failure.
const SOON: Duration = Duration::from_mins(1);

/// Where the owner of the workloads has its cluster.
const HOME: &str = "bergen";

const WEB: Workload = Workload {
    owner: "fjord",
    namespace: "shop",
    name: "web",
};
const BAD: Workload = Workload { name: "bad", ..WEB };

const READY_REASON: &str = "{.status.conditions[?(@.type==\"Ready\")].reason}";
const READY_MESSAGE: &str = "{.status.conditions[?(@.type==\"Ready\")].message}";

#[tokio::test(flavor = "multi_thread")]
async fn three_owners_share_their_clusters_as_far_as_each_consents() -> Result<()> {
    let plans = [
        MemberPlan::new("lubeck").owner("amber"),
        MemberPlan::new("bergen").owner("fjord"),
        MemberPlan::new("riga").owner("daugava"),
    ];
    let mut fleet = Fleet::federated("federation", plans).await?;

    without_a_grant_only_the_owner_hosts(&fleet).await?;
    with_grants_all_host_a_share(&fleet).await?;
    a_host_that_drifts_is_corrected(&fleet).await?;
    a_revoked_grant_moves_the_share_away(&fleet).await?;
    a_bad_manifest_is_reported(&fleet).await?;
    without_a_quorum_nothing_changes(&mut fleet).await?;

    // The killed members come back, and deleting removes everything everywhere.
    fleet.restart("lubeck").await?;
    fleet.restart("riga").await?;
    fleet.await_quorum().await?;
    fleet.delete_workload(HOME, &WEB).await?;
    fleet.delete_workload(HOME, &BAD).await?;
    fleet.await_shares("nothing is left", &WEB, &[]).await?;
    fleet.end().await
}

/// The status says why the others do not.
async fn without_a_grant_only_the_owner_hosts(fleet: &Fleet) -> Result<()> {
    fleet.apply_example(HOME, "web.yaml").await?;
    fleet
        .await_shares("the owner's cluster runs it alone", &WEB, &[("bergen", 6)])
        .await?;
    let reasons = "{.status.excluded[*].reason}";
    fleet
        .await_field(HOME, &WEB, reasons, "NotGranted NotGranted")
        .await?;
    fleet.delete_workload(HOME, &WEB).await?;
    fleet.await_shares("nothing is left", &WEB, &[]).await
}

/// Every replica becomes ready, and an update changes every share.
async fn with_grants_all_host_a_share(fleet: &Fleet) -> Result<()> {
    fleet.await_consent_of_all(HOME).await?;
    fleet.apply_example(HOME, "web.yaml").await?;
    let twos = [("lubeck", 2), ("bergen", 2), ("riga", 2)];
    fleet
        .await_shares("six are divided by three", &WEB, &twos)
        .await?;
    fleet
        .await_field(HOME, &WEB, READY_REASON, "AllReplicasReady")
        .await?;

    let nine = json!({"spec": {"placement": {"replicas": 9}}});
    fleet.patch_workload(HOME, &WEB, &nine).await?;
    let threes = [("lubeck", 3), ("bergen", 3), ("riga", 3)];
    fleet
        .await_shares("nine are divided by three", &WEB, &threes)
        .await
}

async fn a_host_that_drifts_is_corrected(fleet: &Fleet) -> Result<()> {
    let threes = [("lubeck", 3), ("bergen", 3), ("riga", 3)];
    let guest = fleet.namespace_in("riga", WEB.owner, WEB.namespace)?;
    let scale = ["scale", "deployment", "web", "--replicas=7", "-n", &guest];
    fleet.kubectl("riga", &scale).await?;
    fleet
        .await_shares("the replicas are corrected", &WEB, &threes)
        .await?;
    let delete = ["delete", "deployment", "web", "-n", &guest];
    fleet.kubectl("riga", &delete).await?;
    fleet
        .await_shares("the deleted object is back", &WEB, &threes)
        .await
}

async fn a_revoked_grant_moves_the_share_away(fleet: &Fleet) -> Result<()> {
    fleet.kubectl("riga", &["delete", "hpol", "--all"]).await?;
    await_condition("the share of riga has moved away", SOON, async || {
        let shares = fleet.shares(&WEB).await?;
        let total: i32 = shares.values().sum();
        ensure!(
            !shares.contains_key("riga") && total == 9,
            "the replicas are {shares:?}"
        );
        Ok(())
    })
    .await?;
    Ok(())
}

/// The status names the object and has the API server's words.
async fn a_bad_manifest_is_reported(fleet: &Fleet) -> Result<()> {
    let bad = r#"{"apiVersion": "hanse.dev/v1alpha1", "kind": "FederatedWorkload", "metadata": {"name": "bad", "namespace": "shop"},
        "spec": {"manifests": [{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "bad"}, "spec": {"replicas": 1}}]}}"#;
    fleet.apply_yaml(HOME, bad).await?;
    fleet
        .await_field(HOME, &BAD, READY_MESSAGE, "Deployment 'bad'")
        .await?;
    fleet
        .await_field(HOME, &BAD, READY_MESSAGE, "spec.selector")
        .await
}

/// Nothing moves, nothing is deleted, and the status says why. Both other members are killed.
async fn without_a_quorum_nothing_changes(fleet: &mut Fleet) -> Result<()> {
    let before: Shares = fleet.shares(&WEB).await?;
    fleet.kill_all(&["lubeck", "riga"]).await?;
    fleet
        .await_field(HOME, &WEB, READY_REASON, "QuorumLost")
        .await?;
    let left = fleet.replicas(HOME, &WEB).await?;
    let left = left.context("the survivor has no Deployment any more")?;
    ensure!(
        before.get(HOME) == Some(&left),
        "the survivor runs {left}, and {before:?} ran before"
    );
    Ok(())
}
