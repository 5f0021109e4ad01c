//! Metrics, probes and conditions of an operator, and the timings that all members share.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hanse_crds::{Federation, HostingPolicy, Member, names};
use hanse_e2e::{Fleet, MemberPlan, Workload, await_condition, hold_condition};
use kube::{Api, ResourceExt};

/// Longer than any step takes on a loaded machine. Only a failure takes that long.
const SOON: Duration = Duration::from_mins(1);

const MEMBERS: [&str; 3] = ["lubeck", "bergen", "riga"];

/// Long enough for many repetitions if a status caused a proposal and the proposal changed the status.
const A_MOMENT: Duration = Duration::from_secs(3);

/// The cluster of the workloads' owner, who founds the federation.
const HOME: &str = "lubeck";

const WEB: Workload = Workload {
    owner: "amber",
    namespace: "shop",
    name: "web",
};

/// The commands of a member that the ledger rejected.
const REJECTED: &str = r#"hanse_commands_total{outcome="rejected"}"#;

/// 127 characters: a label's value can have at most 63.
const LONG_NAME: &str = "a-workload-with-a-name-that-fills-a-dns-label-to-its-last-place.and-another-label-of-the-same-length-that-makes-it-longer-still";

#[tokio::test(flavor = "multi_thread")]
async fn metrics_probes_and_conditions_follow_the_state_of_the_federation() -> Result<()> {
    let plans = [
        MemberPlan::new("lubeck").owner("amber"),
        MemberPlan::new("bergen").owner("fjord"),
        MemberPlan::new("riga").owner("daugava"),
    ];
    let mut fleet = Fleet::federated("meters", plans).await?;
    every_member_has_a_version(&fleet).await?;
    a_policy_lists_the_workloads_that_use_each_grant(&fleet).await?;
    commands_heartbeats_and_realizing_are_measured(&fleet).await?;
    a_name_longer_than_a_label_is_placed(&fleet).await?;
    only_the_founders_owner_changes_the_timings_for_all(&fleet).await?;
    readiness_is_lost_with_the_api_server(&fleet).await?;
    readiness_is_lost_with_the_quorum(&fleet).await?;
    a_failover_is_counted_by_the_leader(&mut fleet).await?;
    fleet.end().await
}

async fn every_member_has_a_version(fleet: &Fleet) -> Result<()> {
    await_condition(
        "every Member object in riga has a version",
        SOON,
        async || {
            let rows: Api<Member> = Api::all(fleet.client("riga")?);
            for name in MEMBERS {
                let status = rows.get(name).await?.status.context("it has no status")?;
                ensure!(
                    status.version.as_deref() == Some(env!("CARGO_PKG_VERSION")),
                    "{name} has version {:?}",
                    status.version
                );
            }
            Ok(())
        },
    )
    .await?;
    Ok(())
}

async fn a_policy_lists_the_workloads_that_use_each_grant(fleet: &Fleet) -> Result<()> {
    fleet.await_consent_of_all(HOME).await?;
    fleet.apply_example(HOME, "web.yaml").await?;
    let twos = [("lubeck", 2), ("bergen", 2), ("riga", 2)];
    fleet.await_shares("six are divided", &WEB, &twos).await?;
    await_condition("the policy in riga lists the workload", SOON, async || {
        let policies: Api<HostingPolicy> = Api::all(fleet.client("riga")?);
        let status = policies.get("guests").await?.status.unwrap_or_default();
        let published = status.conditions.iter().find(|it| it.type_ == "Published");
        let reason = published.map(|it| it.reason.as_str());
        ensure!(
            reason == Some("InLedger"),
            "the reason of Published is {reason:?}"
        );
        let grant = status.grants.first().context("no grant is in the status")?;
        ensure!(
            grant.name == "everyone" && grant.workloads.contains("amber/shop/web"),
            "the grant is {grant:?}"
        );
        Ok(())
    })
    .await?;
    Ok(())
}

/// The value of the sample whose name and labels are `series`.
async fn sample(fleet: &Fleet, member: &str, series: &str) -> Result<f64> {
    let text = fleet.operator_of(member)?.metrics().await?;
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let value = value.with_context(|| format!("/metrics of {member} has no {series}"))?;
    Ok(value.parse()?)
}

async fn commands_heartbeats_and_realizing_are_measured(fleet: &Fleet) -> Result<()> {
    // An object exists before the operator has counted that it applied it.
    await_condition("riga has counted each of them", SOON, async || {
        for series in [
            r#"hanse_commands_total{outcome="accepted"}"#,
            "hanse_heartbeat_round_trip_seconds_count",
            r#"hanse_realize_duration_seconds_count{outcome="applied"}"#,
        ] {
            let value = sample(fleet, "riga", series).await?;
            ensure!(value >= 1.0, "{series} is {value}");
        }
        Ok(())
    })
    .await?;
    Ok(())
}

async fn a_name_longer_than_a_label_is_placed(fleet: &Fleet) -> Result<()> {
    let workload = serde_json::json!({
        "apiVersion": names::API_VERSION, "kind": "FederatedWorkload",
        "metadata": {"name": LONG_NAME, "namespace": "shop"},
        "spec": {"manifests": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "long"}, "data": {"a": "b"}}]},
    });
    fleet.apply_yaml(HOME, &workload.to_string()).await?;
    let long = Workload {
        name: LONG_NAME,
        ..WEB
    };
    let ready = "{.status.conditions[?(@.type==\"Ready\")].reason}";
    fleet
        .await_field(HOME, &long, ready, "AllReplicasReady")
        .await?;
    fleet.delete_workload(HOME, &long).await
}

async fn ask_for_timings(fleet: &Fleet, member: &str, timings: &str) -> Result<()> {
    let request = format!("{}={timings}", names::TIMINGS_ANNOTATION);
    let annotate = ["annotate", "--overwrite", "fed", "hanse", &request];
    fleet.kubectl(member, &annotate).await.map(drop)
}

async fn only_the_founders_owner_changes_the_timings_for_all(fleet: &Fleet) -> Result<()> {
    ask_for_timings(fleet, "riga", "9s/1s").await?;
    await_condition("the request of riga is rejected", SOON, async || {
        let federations: Api<Federation> = Api::all(fleet.client("riga")?);
        let federation = federations.get(names::FEDERATION_NAME).await?;
        let status = federation.status.unwrap_or_default();
        let mut conditions = status.conditions.iter();
        let configured = conditions.find(|it| it.type_ == "Configured");
        let message = configured.map(|it| it.message.as_str()).unwrap_or_default();
        ensure!(
            message.contains("only by members of the owner that founded it"),
            "the message of Configured is '{message}'"
        );
        ensure!(
            status.lease_milliseconds == Some(5_000),
            "the lease was changed"
        );
        Ok(())
    })
    .await?;
    let proposed = sample(fleet, "riga", REJECTED).await?;
    hold_condition(
        "a rejected request is not proposed again",
        A_MOMENT,
        async || {
            let now = sample(fleet, "riga", REJECTED).await?;
            ensure!(
                now <= proposed,
                "{now} commands of riga were rejected, and {proposed} before"
            );
            Ok(())
        },
    )
    .await?;
    ask_for_timings(fleet, HOME, "4s/800ms").await?;
    await_condition("all members have the new timings", SOON, async || {
        for member in MEMBERS {
            let status = fleet.federation(member).await?;
            let timings = (status.lease_milliseconds, status.heartbeat_milliseconds);
            ensure!(
                timings == (Some(4_000), Some(800)),
                "{member} has {timings:?}"
            );
        }
        let federations: Api<Federation> = Api::all(fleet.client(HOME)?);
        let federation = federations.get(names::FEDERATION_NAME).await?;
        ensure!(
            !federation
                .annotations()
                .contains_key(names::TIMINGS_ANNOTATION),
            "the annotation was not removed"
        );
        Ok(())
    })
    .await?;
    Ok(())
}

/// Waits until the readiness probe of a member fails with these words.
async fn await_unready(fleet: &Fleet, member: &str, words: &str) -> Result<()> {
    let operator = fleet.operator_of(member)?;
    await_condition(
        format!("{member} is not ready because of {words}"),
        SOON,
        async || {
            let answer = operator.ready().await;
            let refusal = answer.err().context("it is ready")?.to_string();
            ensure!(
                refusal.contains("503") && refusal.contains(words),
                "the answer is '{refusal}'"
            );
            Ok(())
        },
    )
    .await?;
    Ok(())
}

async fn await_ready(fleet: &Fleet, member: &str) -> Result<()> {
    let operator = fleet.operator_of(member)?;
    await_condition(format!("{member} is ready"), SOON, async || {
        operator.ready().await
    })
    .await?;
    Ok(())
}

async fn readiness_is_lost_with_the_api_server(fleet: &Fleet) -> Result<()> {
    await_ready(fleet, "riga").await?;
    fleet.api_link("riga")?.refuse();
    await_unready(fleet, "riga", "this cluster's API server").await?;
    fleet.api_link("riga")?.heal();
    await_ready(fleet, "riga").await
}

async fn readiness_is_lost_with_the_quorum(fleet: &Fleet) -> Result<()> {
    fleet.isolate("riga")?;
    await_unready(fleet, "riga", "a leader with a quorum").await?;
    await_condition("the conditions of riga are False", SOON, async || {
        let status = fleet.federation("riga").await?;
        let holds: Vec<_> = ["Ready", "Quorate", "Attached"]
            .iter()
            .filter_map(|kind| status.conditions.iter().find(|it| it.type_ == *kind))
            .map(|it| format!("{:?}", it.status))
            .collect();
        ensure!(holds == ["False"; 3], "its conditions are {holds:?}");
        Ok(())
    })
    .await?;
    fleet.heal_all();
    await_ready(fleet, "riga").await
}

/// The leader's cluster is killed. The next leader places its share elsewhere and counts that.
async fn a_failover_is_counted_by_the_leader(fleet: &mut Fleet) -> Result<()> {
    fleet.await_quorum().await?;
    // A member that returned gets a share with the next change, so that each has one to lose.
    let nine = serde_json::json!({"spec": {"placement": {"replicas": 9}}});
    fleet.patch_workload(HOME, &WEB, &nine).await?;
    let threes = [("lubeck", 3), ("bergen", 3), ("riga", 3)];
    fleet
        .await_shares("nine are divided", &WEB, &threes)
        .await?;
    let victim = fleet.leader().await?;
    let alive: Vec<_> = MEMBERS.into_iter().filter(|name| *name != victim).collect();
    // The survivors may have counted a failover while riga was isolated.
    let before = failovers(fleet, &alive).await?;
    fleet.kill(&victim).await?;
    let fleet = &*fleet;
    await_condition("a failover is counted", SOON, async || {
        let counted = failovers(fleet, &alive).await?;
        ensure!(
            counted > before,
            "{counted} are counted, {before} before the kill"
        );
        Ok(())
    })
    .await?;
    Ok(())
}

/// The sum of the failovers that these members have counted.
async fn failovers(fleet: &Fleet, members: &[&str]) -> Result<f64> {
    let mut counted = 0.0;
    for member in members {
        counted += sample(fleet, member, "hanse_failovers_total").await?;
    }
    Ok(counted)
}
