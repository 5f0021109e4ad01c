//! One federation of three owners, as users see it: consent, division, updates, drift, errors, removal, lost quorum.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hanse_e2e::{Fleet, MemberPlan, Shares, Workload, await_condition, hold_condition};
use serde_json::json;

/// Longer than any step takes on a loaded machine. Only a failure takes that long.
const SOON: Duration = Duration::from_mins(1);
/// Longer than a lease of 5 s, after which a change for the loss of a member would begin.
const LONGER_THAN_A_LEASE: Duration = Duration::from_secs(6);

/// The cluster of the workloads' owner.
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
async fn workloads_run_only_in_clusters_whose_owners_consent() -> Result<()> {
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

    // The killed members are restarted. Deleting the workloads removes their objects everywhere.
    fleet.restart("lubeck").await?;
    fleet.restart("riga").await?;
    fleet.await_quorum().await?;
    fleet.delete_workload(HOME, &WEB).await?;
    fleet.delete_workload(HOME, &BAD).await?;
    fleet.await_shares("nothing is left", &WEB, &[]).await?;
    fleet.end().await
}

/// The status contains the reasons why the others do not.
async fn without_a_grant_only_the_owner_hosts(fleet: &Fleet) -> Result<()> {
    fleet.apply_example(HOME, "web.yaml").await?;
    fleet
        .await_shares("only the owner's cluster runs it", &WEB, &[("bergen", 6)])
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

/// The status contains the object and the API server's message.
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

/// Both other members are killed. No replica moves, no object is deleted, and the status has the reason.
async fn without_a_quorum_nothing_changes(fleet: &mut Fleet) -> Result<()> {
    let before: Shares = fleet.shares(&WEB).await?;
    fleet.kill_all(&["lubeck", "riga"]).await?;
    fleet
        .await_field(HOME, &WEB, READY_REASON, "QuorumLost")
        .await?;
    let fleet = &*fleet;
    hold_condition(
        "the survivor's replicas are unchanged",
        LONGER_THAN_A_LEASE,
        async || {
            let left = fleet.replicas(HOME, &WEB).await?;
            let left = left.context("the survivor has no Deployment any more")?;
            ensure!(
                before.get(HOME) == Some(&left),
                "the survivor runs {left}, and {before:?} ran before"
            );
            Ok(())
        },
    )
    .await
}
