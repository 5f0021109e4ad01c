//! One federation of three owners, seen by its users: consent, division, updates, drift, refusals, removal, lost quorum.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hanse_e2e::{Fleet, MemberPlan, await_condition, workspace};

/// Longer than any step takes on a loaded machine; reached only by a failure.
const SOON: Duration = Duration::from_mins(1);

const MEMBERS: [&str; 3] = ["lubeck", "bergen", "riga"];

async fn example(fleet: &Fleet, member: &str, file: &str) -> Result<()> {
    let text = std::fs::read_to_string(workspace::root().join("examples").join(file))?;
    fleet.apply_yaml(member, &text).await.map(drop)
}

/// The replicas of the Deployment `web` in each member; `-` where there is none.
async fn shares(fleet: &Fleet, owner: &str) -> Result<Vec<String>> {
    let mut shares = Vec::new();
    for member in MEMBERS {
        let namespace = fleet.namespace_in(member, owner, "shop")?;
        let arguments = [
            "get",
            "deployment",
            "web",
            "--ignore-not-found",
            "-o",
            "jsonpath={.spec.replicas}",
            "-n",
            &namespace,
        ];
        let replicas = fleet.kubectl(member, &arguments).await?;
        shares.push(if replicas.is_empty() {
            "-".to_owned()
        } else {
            replicas
        });
    }
    Ok(shares)
}

async fn await_shares(fleet: &Fleet, what: &str, expected: [&str; 3]) -> Result<()> {
    await_condition(what, SOON, async || {
        let shares = shares(fleet, "fjord").await?;
        ensure!(
            shares == expected,
            "the replicas in {MEMBERS:?} are {shares:?}"
        );
        Ok(())
    })
    .await?;
    Ok(())
}

async fn field(fleet: &Fleet, member: &str, name: &str, path: &str) -> Result<String> {
    let path = format!("jsonpath={path}");
    fleet
        .kubectl(member, &["get", "fwl", name, "-n", "shop", "-o", &path])
        .await
}

async fn await_field(
    fleet: &Fleet,
    member: &str,
    name: &str,
    path: &str,
    part: &str,
) -> Result<()> {
    await_condition(format!("{name}: {path} has '{part}'"), SOON, async || {
        let found = field(fleet, member, name, path).await?;
        ensure!(found.contains(part), "it is '{found}'");
        Ok(())
    })
    .await?;
    Ok(())
}

#[allow(
    clippy::too_many_lines,
    reason = "one story on one fleet, told in order"
)]
#[tokio::test(flavor = "multi_thread")]
async fn three_owners_share_their_clusters_as_far_as_each_consents() -> Result<()> {
    let plans = [
        MemberPlan::new("lubeck").owner("amber"),
        MemberPlan::new("bergen").owner("fjord"),
        MemberPlan::new("riga").owner("daugava"),
    ];
    let mut fleet = Fleet::federated("federation", plans).await?;

    // Without a grant only the owner's own cluster hosts, and the status says why the others do not.
    example(&fleet, "bergen", "web.yaml").await?;
    await_shares(&fleet, "the owner's cluster runs it alone", ["-", "6", "-"]).await?;
    await_field(
        &fleet,
        "bergen",
        "web",
        "{.status.excluded[*].reason}",
        "NotGranted NotGranted",
    )
    .await?;
    fleet
        .kubectl(
            "bergen",
            &["delete", "fwl", "web", "-n", "shop", "--timeout=60s"],
        )
        .await?;
    await_shares(&fleet, "nothing is left", ["-", "-", "-"]).await?;

    // With grants it is divided, and every replica becomes ready.
    for member in MEMBERS {
        example(&fleet, member, "hosting-policy.yaml").await?;
    }
    // A first placement stays, so it is made anew until it was made with every grant in the ledger.
    await_condition("the grants allow a division by three", SOON, async || {
        example(&fleet, "bergen", "web.yaml").await?;
        let known = field(&fleet, "bergen", "web", "{.status.survives}").await?;
        let excluded = field(&fleet, "bergen", "web", "{.status.excluded[*].reason}").await?;
        let shares = shares(&fleet, "fjord").await?;
        if known.is_empty() || shares.contains(&"-".to_owned()) {
            if !known.is_empty() && excluded.is_empty() {
                fleet
                    .kubectl(
                        "bergen",
                        &["delete", "fwl", "web", "-n", "shop", "--timeout=60s"],
                    )
                    .await?;
            }
            anyhow::bail!("excluded '{excluded}', shares {shares:?}");
        }
        Ok(())
    })
    .await?;
    await_shares(&fleet, "it is divided by three", ["2", "2", "2"]).await?;
    await_field(
        &fleet,
        "bergen",
        "web",
        "{.status.conditions[?(@.type==\"Ready\")].reason}",
        "AllReplicasReady",
    )
    .await?;

    // An update rolls through.
    let nine = r#"{"spec": {"placement": {"replicas": 9}}}"#;
    fleet
        .kubectl(
            "bergen",
            &[
                "patch",
                "fwl",
                "web",
                "-n",
                "shop",
                "--type=merge",
                "-p",
                nine,
            ],
        )
        .await?;
    await_shares(&fleet, "nine are divided by three", ["3", "3", "3"]).await?;

    // A host that drifts is corrected.
    let guest = fleet.namespace_in("riga", "fjord", "shop")?;
    fleet
        .kubectl(
            "riga",
            &["scale", "deployment", "web", "--replicas=7", "-n", &guest],
        )
        .await?;
    await_shares(&fleet, "the drift is corrected", ["3", "3", "3"]).await?;
    fleet
        .kubectl("riga", &["delete", "deployment", "web", "-n", &guest])
        .await?;
    await_shares(&fleet, "the deleted object is back", ["3", "3", "3"]).await?;

    // A revoked grant moves the workload away.
    fleet.kubectl("riga", &["delete", "hpol", "--all"]).await?;
    await_condition("riga's share moved away", SOON, async || {
        let shares = shares(&fleet, "fjord").await?;
        let total: u32 = shares
            .iter()
            .filter_map(|share| share.parse::<u32>().ok())
            .sum();
        ensure!(
            shares[2] == "-" && total == 9,
            "the replicas in {MEMBERS:?} are {shares:?}"
        );
        Ok(())
    })
    .await?;

    // A bad manifest is told with the object and the API server's words.
    let bad = r#"{"apiVersion": "hanse.dev/v1alpha1", "kind": "FederatedWorkload", "metadata": {"name": "bad", "namespace": "shop"},
        "spec": {"manifests": [{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "bad"}, "spec": {"replicas": 1}}]}}"#;
    fleet.apply_yaml("bergen", bad).await?;
    let reason = "{.status.conditions[?(@.type==\"Ready\")].message}";
    await_field(&fleet, "bergen", "bad", reason, "Deployment 'bad'").await?;
    await_field(&fleet, "bergen", "bad", reason, "spec.selector").await?;

    // Without a quorum nothing moves and nothing is deleted, and the status says why.
    let before = shares(&fleet, "fjord").await?;
    fleet.kill_all(&["lubeck", "riga"]).await?;
    await_field(
        &fleet,
        "bergen",
        "web",
        "{.status.conditions[?(@.type==\"Ready\")].reason}",
        "QuorumLost",
    )
    .await?;
    let namespace = "shop";
    let left = fleet
        .kubectl(
            "bergen",
            &[
                "get",
                "deployment",
                "web",
                "-o",
                "jsonpath={.spec.replicas}",
                "-n",
                namespace,
            ],
        )
        .await
        .context("the survivor's copy is there")?;
    ensure!(
        left == before[1],
        "the survivor runs {left} instead of {}",
        before[1]
    );

    // They come back, and deleting removes everything everywhere.
    fleet.restart("lubeck").await?;
    fleet.restart("riga").await?;
    fleet.await_quorum().await?;
    fleet
        .kubectl(
            "bergen",
            &["delete", "fwl", "--all", "-n", "shop", "--timeout=90s"],
        )
        .await?;
    await_shares(&fleet, "nothing is left", ["-", "-", "-"]).await?;
    fleet.end().await
}
