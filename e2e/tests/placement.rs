//! Where a workload may run, by what members are: labels, taints, whose law holds there; and what it survives. One fleet of three
//! members of one owner, each with its own law and provider.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hanse_crds::Lease;
use hanse_e2e::{Fleet, MemberPlan, Workload, await_condition, hold_condition, yaml};
use serde_json::json;

/// Several times what a failover takes.
const SOON: Duration = Duration::from_mins(1);
/// Several times what the leader takes to decide, and a host to act.
const STAYS: Duration = Duration::from_secs(10);
const OWNER: &str = "amber";
const WEB: Workload = Workload {
    owner: OWNER,
    namespace: "shop",
    name: "web",
};
const SURVIVABLE: &str = "{.status.conditions[?(@.type=='Survivable')].message}";
const READY: &str = "{.status.conditions[?(@.type=='Ready')].message}";

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_runs_where_labels_taints_and_law_allow_and_nowhere_else() -> Result<()> {
    let plans = [
        MemberPlan::new("lubeck").owner(OWNER).jurisdiction("DE-SH"),
        MemberPlan::new("bergen").owner(OWNER).jurisdiction("NO"),
        MemberPlan::new("riga").owner(OWNER).jurisdiction("LV"),
    ];
    let mut fleet = Fleet::federated("placement", plans).await?;
    for member in ["lubeck", "bergen", "riga"] {
        fleet.create_namespaces(member, &[WEB.namespace]).await?;
    }
    let web = yaml::workload(
        WEB.name,
        WEB.namespace,
        "{mode: Duplicated}",
        &[&yaml::deployment(WEB.name, 1)],
    );
    fleet.apply_yaml("bergen", &web).await?;
    let all = [("lubeck", 1), ("bergen", 1), ("riga", 1)];
    fleet
        .await_shares("every member runs it", &WEB, &all)
        .await?;

    what_it_survives_includes_the_quorum(&fleet).await?;
    what_would_happen_is_what_a_failover_does(&fleet).await?;
    overrides_change_objects_in_some_members(&fleet).await?;
    replicas_are_spread_over_sites(&fleet).await?;
    expressions_choose_by_name_and_owner(&fleet).await?;
    impossible_requirements_move_nothing(&fleet).await?;
    a_taint_drives_out_what_does_not_tolerate_it(&fleet).await?;
    a_domicile_holds_when_all_inside_are_lost(&mut fleet).await?;
    fleet.end().await
}

/// Three clusters of one owner: the loss of any provider is survived, that of the owner takes two of three voters and every host.
async fn what_it_survives_includes_the_quorum(fleet: &Fleet) -> Result<()> {
    fleet
        .await_field("bergen", &WEB, "{.status.survives}", "Provider")
        .await?;
    let survive = json!({"spec": {"placement": {"survive": "Owner"}}});
    fleet.patch_workload("bergen", &WEB, &survive).await?;
    let why = "would not survive the loss of any one owner, only of any one provider: without owner 'amber'";
    fleet.await_field("bergen", &WEB, SURVIVABLE, why).await?;
    let survive = json!({"spec": {"placement": {"survive": "Provider"}}});
    fleet.patch_workload("bergen", &WEB, &survive).await?;
    let holds = "survives the loss of any one provider";
    fleet.await_field("bergen", &WEB, SURVIVABLE, holds).await
}

/// Asked in a cluster that does not lead as well as in the one that does.
async fn what_would_happen_is_what_a_failover_does(fleet: &Fleet) -> Result<()> {
    for member in ["lubeck", "bergen", "riga"] {
        let (code, answer) = hanse(fleet, member, &["explain", "shop/web"]).await?;
        ensure!(code == 0, "{answer}");
        for line in [
            "shop/web: runs in 3 members",
            "survives the loss of any one provider, and of nothing larger: without owner 'amber'",
        ] {
            ensure!(answer.contains(line), "no '{line}' in {answer}");
        }
        let (code, answer) = hanse(fleet, member, &["simulate", "--lose", "member=riga"]).await?;
        ensure!(
            code == 0 && answer.contains("riga 1→-"),
            "exit code {code}: {answer}"
        );
        let (code, answer) = hanse(fleet, member, &["simulate", "--lose", "owner=amber"]).await?;
        ensure!(
            code == 1 && answer.contains("FAILS: the federation has 0 of 3 voters"),
            "exit code {code}: {answer}"
        );
    }
    let (code, answer) = hanse(fleet, "riga", &["simulate", "--lose", "member=nobody"]).await?;
    ensure!(
        code == 1 && answer.contains("no member that holds its lease belongs to cluster 'nobody'"),
        "exit code {code}: {answer}"
    );
    let left = fleet
        .kubectl(
            "riga",
            &["get", "cm", "-A", "-l", "hanse.dev/question", "-o", "name"],
        )
        .await?;
    ensure!(left.is_empty(), "questions were left behind: {left}");
    Ok(())
}

/// The exit code of the plugin, and all that it wrote.
async fn hanse(fleet: &Fleet, member: &str, arguments: &[&str]) -> Result<(i32, String)> {
    let output = fleet.cli(member, arguments)?.output().await?;
    let code = output.status.code().context("it was killed")?;
    let text = [output.stdout, output.stderr].concat();
    Ok((code, String::from_utf8_lossy(&text).into_owned()))
}

async fn overrides_change_objects_in_some_members(fleet: &Fleet) -> Result<()> {
    let overrides = json!({"spec": {"overrides": [
        {"members": {"matchLabels": {"hanse.dev/member": "riga"}}, "imageRegistry": "mirror.example/hub"},
        {"manifests": {"kind": "Deployment"}, "merge": {"metadata": {"labels": {"law": "$(member:hanse.dev/jurisdiction)"}}}},
    ]}});
    fleet.patch_workload("bergen", &WEB, &overrides).await?;
    let changed = [
        ("bergen", "registry.k8s.io/pause:3.10 NO"),
        ("lubeck", "registry.k8s.io/pause:3.10 DE-SH"),
        ("riga", "mirror.example/hub/pause:3.10 LV"),
    ];
    looks_like(fleet, &changed).await?;
    let (code, answer) = hanse(fleet, "lubeck", &["diff", "shop/web"]).await?;
    ensure!(
        code == 0 && answer.contains("+      - image: mirror.example/hub/pause:3.10"),
        "exit code {code}: {answer}"
    );

    // The objects follow the label.
    let law = |law: &str| json!({"spec": {"jurisdiction": law}});
    fleet.patch_member("riga", &law("EE")).await?;
    looks_like(fleet, &[("riga", "mirror.example/hub/pause:3.10 EE")]).await?;
    fleet.patch_member("riga", &law("LV")).await?;
    looks_like(fleet, &changed).await?;

    // A mistake is told and changes nothing.
    let path = "/spec/template/spec/contaners/0/image";
    let patch = json!([{"op": "replace", "path": path, "value": "nginx"}]);
    let wrong = json!({"spec": {"overrides": [{"patch": patch}]}});
    fleet.patch_workload("bergen", &WEB, &wrong).await?;
    let why = format!(
        "`overrides[0]` cannot be applied to Deployment 'web': operation '/0' failed at path '{path}'"
    );
    fleet.await_field("bergen", &WEB, READY, &why).await?;
    looks_like(fleet, &changed).await?;

    let none = json!({"spec": {"overrides": null}});
    fleet.patch_workload("bergen", &WEB, &none).await?;
    let written = "registry.k8s.io/pause:3.10 ";
    looks_like(
        fleet,
        &["bergen", "lubeck", "riga"].map(|member| (member, written)),
    )
    .await
}

/// Two sites: one with two members, one with one.
async fn replicas_are_spread_over_sites(fleet: &Fleet) -> Result<()> {
    for (member, site) in [("lubeck", "north"), ("bergen", "north"), ("riga", "south")] {
        let labels = json!({"spec": {"labels": {"site": site}}});
        fleet.patch_member(member, &labels).await?;
    }
    let spread = |rules: serde_json::Value| json!({"spec": {"placement": {"mode": "Divided", "replicas": 4, "spread": rules}}});
    let even = spread(json!([{"label": "site", "maxSkew": 1}]));
    fleet.patch_workload("bergen", &WEB, &even).await?;
    let shares = [("lubeck", 1), ("bergen", 1), ("riga", 2)];
    fleet
        .await_shares("each site runs half of it", &WEB, &shares)
        .await?;
    let together = spread(json!([{"label": "site", "max": 1}]));
    fleet.patch_workload("bergen", &WEB, &together).await?;
    let shares = [("lubeck", 2), ("bergen", 2)];
    fleet
        .await_shares("one site runs all of it", &WEB, &shares)
        .await?;
    let apart = spread(json!([{"label": "site", "min": 3}]));
    fleet.patch_workload("bergen", &WEB, &apart).await?;
    let why = "it runs in 2 values of label 'site', and `placement.spread` asks for at least 3";
    let placed = "{.status.conditions[?(@.type=='Placed')].message}";
    fleet.await_field("bergen", &WEB, placed, why).await?;
    let everywhere =
        json!({"spec": {"placement": {"mode": "Duplicated", "replicas": null, "spread": null}}});
    fleet.patch_workload("bergen", &WEB, &everywhere).await?;
    let all = [("lubeck", 1), ("bergen", 1), ("riga", 1)];
    fleet
        .await_shares("every member runs it again", &WEB, &all)
        .await
}

/// The image of the Deployment in each member, and its label `law`.
async fn looks_like(fleet: &Fleet, expected: &[(&str, &str)]) -> Result<()> {
    let path = "{.spec.template.spec.containers[0].image} {.metadata.labels.law}";
    for (member, expected) in expected {
        fleet
            .await_value(member, "deploy/web", WEB.namespace, path, expected)
            .await?;
    }
    Ok(())
}

async fn expressions_choose_by_name_and_owner(fleet: &Fleet) -> Result<()> {
    let require = json!([
        {"key": "hanse.dev/owner", "operator": "In", "values": [OWNER]},
        {"key": "hanse.dev/member", "operator": "NotIn", "values": ["riga"]},
    ]);
    let require = json!({"spec": {"placement": {"require": {"matchExpressions": require}}}});
    fleet.patch_workload("bergen", &WEB, &require).await?;
    let others = [("lubeck", 1), ("bergen", 1)];
    fleet
        .await_shares("it leaves the member that is named", &WEB, &others)
        .await?;
    let why = "its label 'hanse.dev/member' is 'riga'";
    let excluded = "{.status.excluded[*].message}";
    fleet.await_field("bergen", &WEB, excluded, why).await?;

    let own = json!({"spec": {"labels": {"hanse.dev/owner": "somebody"}}});
    let refused = fleet.patch_member("riga", &own).await;
    let refused = refused.err().context("a label of the federation was set")?;
    let message = format!("{refused:#}");
    ensure!(
        message.contains("must not start with 'hanse.dev/'"),
        "{message}"
    );
    Ok(())
}

async fn impossible_requirements_move_nothing(fleet: &Fleet) -> Result<()> {
    let require =
        json!({"spec": {"placement": {"require": {"matchLabels": {"hanse.dev/member": "riga"}}}}});
    fleet.patch_workload("bergen", &WEB, &require).await?;
    let why = "no member can have what `placement.require` asks of label 'hanse.dev/member'";
    fleet.await_field("bergen", &WEB, READY, why).await?;
    stays(fleet, &[("lubeck", 1), ("bergen", 1)]).await?;
    let nothing = json!({"spec": {"placement": {"require": null}}});
    fleet.patch_workload("bergen", &WEB, &nothing).await?;
    let all = [("lubeck", 1), ("bergen", 1), ("riga", 1)];
    fleet
        .await_shares("without them every member runs it", &WEB, &all)
        .await
}

async fn a_taint_drives_out_what_does_not_tolerate_it(fleet: &Fleet) -> Result<()> {
    let taints = json!({"spec": {"taints": [{"key": "maintenance", "effect": "NoExecute"}]}});
    fleet.patch_member("riga", &taints).await?;
    let others = [("lubeck", 1), ("bergen", 1)];
    fleet
        .await_shares("it leaves the tainted member", &WEB, &others)
        .await?;
    let why = "the workload does not tolerate its taint 'maintenance:NoExecute'";
    let excluded = "{.status.excluded[*].message}";
    fleet.await_field("bergen", &WEB, excluded, why).await?;

    let tolerate = json!({"spec": {"placement": {"tolerations": [{"key": "maintenance"}]}}});
    fleet.patch_workload("bergen", &WEB, &tolerate).await?;
    let all = [("lubeck", 1), ("bergen", 1), ("riga", 1)];
    fleet
        .await_shares("it comes where it tolerates the taint", &WEB, &all)
        .await
}

/// `DE-SH` is in `DE` and so in the EU; Norway is not in it, and takes nothing over when the EU is lost.
async fn a_domicile_holds_when_all_inside_are_lost(fleet: &mut Fleet) -> Result<()> {
    let inside =
        json!({"spec": {"placement": {"mode": "Divided", "replicas": 2, "domicile": ["EU"]}}});
    fleet.patch_workload("bergen", &WEB, &inside).await?;
    let eu = [("lubeck", 1), ("riga", 1)];
    fleet.await_shares("it is in the EU", &WEB, &eu).await?;
    let inside = json!({"spec": {"placement": {"domicile": ["DE"]}}});
    fleet.patch_workload("bergen", &WEB, &inside).await?;
    fleet
        .await_shares("it is in Germany", &WEB, &[("lubeck", 2)])
        .await?;

    // It stays where it runs when that is outside and nobody inside is left, and says so.
    let law = |law: &str| json!({"spec": {"jurisdiction": law}});
    let compliant = r#"{.status.conditions[?(@.type=="Compliant")].message}"#;
    fleet.patch_member("lubeck", &law("CH")).await?;
    let outside = "lubeck: it is in CH, and the workload must stay in DE";
    fleet
        .await_field("bergen", &WEB, compliant, outside)
        .await?;
    stays(fleet, &[("lubeck", 2)]).await?;
    fleet.patch_member("lubeck", &law("DE-SH")).await?;
    let within = "no placement is known to be outside its grants or its domicile";
    fleet.await_field("bergen", &WEB, compliant, within).await?;

    fleet.kill("lubeck").await?;
    await_condition("lubeck is lost", SOON, async || {
        let lease = fleet.lease("bergen", "lubeck").await?;
        ensure!(lease == Some(Lease::Lost), "its lease is {lease:?}");
        Ok(())
    })
    .await?;
    let why = "it is in NO, and the workload must stay in DE";
    let excluded = "{.status.excluded[*].message}";
    fleet.await_field("bergen", &WEB, excluded, why).await?;
    stays(fleet, &[]).await
}

async fn stays(fleet: &Fleet, expected: &[(&str, i32)]) -> Result<()> {
    let expected = expected.iter();
    let expected = expected
        .map(|(member, replicas)| ((*member).to_owned(), *replicas))
        .collect();
    hold_condition("nothing moves", STAYS, async || {
        let shares = fleet.shares(&WEB).await?;
        ensure!(shares == expected, "the replicas are {shares:?}");
        Ok(())
    })
    .await
}
