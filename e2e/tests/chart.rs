//! Tests the Helm chart with the real Helm and a real API server.
//!
//! The image of the operator does not exist here. So no test waits for a pod; the tests check the objects.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use hanse_e2e::{
    Cluster, Fleet, Links, MemberPlan, Testbed, await_condition,
    workspace::{self, WorkDir},
};
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{Container, Probe},
};
use kube::Api;

const SOON: Duration = Duration::from_secs(30);

const RELEASE: &str = "hanse";
const NAMESPACE: &str = "hanse-system";

/// The API servers of the testbed do not have the kinds of the Prometheus operator. So requests to them disable these.
const WITHOUT_MONITORING: [&str; 2] = [
    "--set=metrics.serviceMonitor.enabled=false",
    "--set=metrics.prometheusRule.enabled=false",
];

/// The kinds of all objects of a release, except the definitions.
const KINDS_OF_A_RELEASE: &str = "statefulset,service,serviceaccount,role,rolebinding,networkpolicy,secret,clusterrole,\
                                  clusterrolebinding";

const OBJECTS_OF_A_FOUNDER: [&str; 9] = [
    "statefulset.apps/hanse",
    "service/hanse-headless",
    "service/hanse-peer",
    "serviceaccount/hanse",
    "role.rbac.authorization.k8s.io/hanse",
    "rolebinding.rbac.authorization.k8s.io/hanse",
    "networkpolicy.networking.k8s.io/hanse",
    "clusterrole.rbac.authorization.k8s.io/hanse-system:hanse",
    "clusterrolebinding.rbac.authorization.k8s.io/hanse-system:hanse",
];

/// The environment of a founder's container with `ci/found-values.yaml`, without variables that have `valueFrom`.
const SETTINGS_OF_A_FOUNDER: [(&str, &str); 19] = [
    ("HANSE_ADMIN_LISTEN", "0.0.0.0:7444"),
    ("HANSE_CAPACITY", "Measured"),
    ("HANSE_DATA_DIR", "/var/lib/hanse"),
    ("HANSE_ELECTION_MAX", "1500ms"),
    ("HANSE_ELECTION_MIN", "1s"),
    ("HANSE_FOUND", "true"),
    ("HANSE_HEARTBEAT", "2s"),
    ("HANSE_JURISDICTION", "EU"),
    ("HANSE_LABELS", "gpu=none,tier=1"),
    ("HANSE_LEASE", "6s"),
    ("HANSE_LOG_FORMAT", "json"),
    ("HANSE_NAME", "acme-eu-1"),
    ("HANSE_OWNER", "acme"),
    ("HANSE_PEER_ADDRESS", "hanse.acme.example:7443"),
    ("HANSE_PEER_LISTEN", "0.0.0.0:7443"),
    ("HANSE_PROVIDER", "hetzner"),
    ("HANSE_RAFT_HEARTBEAT", "300ms"),
    ("HANSE_REGION", "fsn1"),
    ("RUST_LOG", "info,openraft=warn"),
];

fn chart() -> PathBuf {
    workspace::root().join("charts/hanse")
}

fn values(name: &str) -> PathBuf {
    chart().join("ci").join(name)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

/// All files of values in `ci`.
fn all_values() -> Result<Vec<PathBuf>> {
    let mut paths = fs::read_dir(chart().join("ci"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    for name in ["found-values.yaml", "join-values.yaml"] {
        ensure!(paths.contains(&values(name)), "{name} is not in {paths:?}");
    }
    Ok(paths)
}

/// Runs helm without a cluster and returns what it prints. An error contains the command and both outputs, because the
/// findings of `helm lint` are on standard output.
async fn helm_alone(testbed: &Testbed, home: &WorkDir, arguments: &[&str]) -> Result<String> {
    let output = testbed
        .command("helm")
        .args(arguments)
        .env("HOME", home.path())
        .output()
        .await
        .context("failed to start helm")?;
    let [stdout, stderr] =
        [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    ensure!(
        output.status.success(),
        "helm {arguments:?} ended with {}: {stderr}{stdout}",
        output.status
    );
    Ok(stdout)
}

#[tokio::test]
async fn the_chart_passes_a_strict_lint_and_renders_with_each_file_of_values() -> Result<()> {
    let testbed = Testbed::ready().await?;
    let home = WorkDir::create("chart-lint")?;
    let chart = text(&chart());
    for values in all_values()? {
        let values = text(&values);
        let lint = ["lint", "--strict", &chart, "--values", &values];
        helm_alone(&testbed, &home, &lint).await?;

        let template = ["template", RELEASE, &chart, "--values", &values];
        let rendered = helm_alone(&testbed, &home, &template).await?;
        let has = |kind: &str| {
            rendered
                .lines()
                .any(|line| line.strip_prefix("kind: ") == Some(kind))
        };
        ensure!(has("StatefulSet"), "{values} renders no StatefulSet");
        let is_founder = values.ends_with("found-values.yaml");
        for kind in ["ServiceMonitor", "PrometheusRule", "NetworkPolicy"] {
            ensure!(
                has(kind) == is_founder,
                "{values} renders a {kind}: {}",
                has(kind)
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn invalid_values_are_refused_with_the_reason() -> Result<()> {
    let testbed = Testbed::ready().await?;
    let home = WorkDir::create("chart-refusals")?;
    let chart = text(&chart());
    let member: &[&str] = &["--set=member.name=eu-1", "--set=member.owner=acme"];
    let founder: &[&str] = &["--set=federation.found=true"];
    let cases: [(&[&[&str]], &str); 6] = [
        (&[founder], "member.name is missing"),
        (&[member], "0 are set"),
        (
            &[member, founder, &["--set=federation.invitation=hanse1.x"]],
            "2 are set",
        ),
        (
            &[member, founder, &["--set=timings.lease=soon"]],
            "/timings/lease",
        ),
        (
            &[member, founder, &["--set=member.name=Acme"]],
            "/member/name",
        ),
        (
            &[member, founder, &["--set=replicas=2"]],
            "additional properties 'replicas' not allowed",
        ),
    ];
    for (sets, reason) in cases {
        let mut arguments = vec!["template", RELEASE, &chart];
        arguments.extend(sets.iter().copied().flatten());
        match helm_alone(&testbed, &home, &arguments).await {
            Ok(_) => anyhow::bail!("{sets:?} is accepted"),
            Err(refused) => ensure!(
                refused.to_string().contains(reason),
                "{sets:?} is refused without '{reason}': {refused}"
            ),
        }
    }
    Ok(())
}

/// `helm VERB hanse charts/hanse` with a file of values, in a cluster.
async fn helm(cluster: &Cluster, verb: &str, values: &Path, more: &[&str]) -> Result<String> {
    let (chart, values) = (text(&chart()), text(values));
    let mut arguments = vec![
        verb,
        RELEASE,
        &chart,
        "--namespace",
        NAMESPACE,
        "--values",
        &values,
    ];
    arguments.extend(WITHOUT_MONITORING);
    arguments.extend(more);
    cluster.helm(&arguments).await
}

async fn objects_of_the_release(cluster: &Cluster) -> Result<String> {
    let selector = format!("--selector=app.kubernetes.io/instance={RELEASE}");
    cluster
        .kubectl(&[
            "get",
            KINDS_OF_A_RELEASE,
            "--namespace",
            NAMESPACE,
            &selector,
            "--output=name",
        ])
        .await
}

/// The objects that must outlive the release, one line each: name, UID and, if it is being deleted, since when.
async fn what_must_be_kept(cluster: &Cluster) -> Result<String> {
    cluster
        .kubectl(&[
            "get",
            "customresourcedefinitions,federatedworkloads,persistentvolumeclaims",
            "--all-namespaces",
            "--output=jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.metadata.deletionTimestamp}{\"\\n\"}{end}",
        ])
        .await
}

fn first_words(lines: &str) -> Vec<&str> {
    lines
        .lines()
        .filter_map(|line| line.split(' ').next())
        .collect()
}

async fn container(cluster: &Cluster) -> Result<Container> {
    let sets: Api<StatefulSet> = Api::namespaced(cluster.client(), NAMESPACE);
    let set = sets
        .get(RELEASE)
        .await
        .context("failed to get the StatefulSet")?;
    set.spec
        .and_then(|spec| spec.template.spec)
        .and_then(|pod| pod.containers.into_iter().next())
        .context("the StatefulSet has no container")
}

fn settings(container: &Container) -> BTreeMap<&str, &str> {
    container
        .env
        .iter()
        .flatten()
        .filter_map(|variable| Some((variable.name.as_str(), variable.value.as_deref()?)))
        .collect()
}

fn path_of(probe: Option<&Probe>) -> Option<&str> {
    probe?.http_get.as_ref()?.path.as_deref()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_installed_upgraded_and_uninstalled_and_users_objects_are_kept() -> Result<()>
{
    let mut fleet = Fleet::start("chart", [MemberPlan::new("lubeck")], Links::Direct).await?;
    let cluster: &Cluster = fleet.cluster("lubeck")?;
    cluster.kubectl(&["create", "namespace", NAMESPACE]).await?;
    the_definitions_are_installed(cluster).await?;
    an_api_server_accepts_everything_with_each_file_of_values(cluster).await?;
    a_founder_is_installed(cluster).await?;

    let example = fs::read_to_string(workspace::root().join("examples/web.yaml"))?;
    cluster.apply(&example).await?;
    let before = await_condition("there is a volume for the ledger", SOON, async || {
        let kept = what_must_be_kept(cluster).await?;
        ensure!(first_words(&kept).contains(&"data-hanse-0"), "{kept}");
        Ok(kept)
    })
    .await?;
    assert_eq!(
        first_words(&before),
        [
            "federatedworkloads.hanse.dev",
            "federations.hanse.dev",
            "hostingpolicies.hanse.dev",
            "members.hanse.dev",
            "web",
            "data-hanse-0"
        ]
    );

    an_upgrade_changes_one_setting(cluster).await?;
    it_is_uninstalled(cluster).await?;
    assert_eq!(what_must_be_kept(cluster).await?, before);
    a_newcomer_is_installed_beside_what_was_kept(cluster).await?;
    assert_eq!(what_must_be_kept(cluster).await?, before);
    fleet.end().await
}

/// Without the release, as by an administrator who manages the definitions separately.
async fn the_definitions_are_installed(cluster: &Cluster) -> Result<()> {
    let only = ["--show-only=templates/crds/crds.yaml"];
    let definitions = helm(cluster, "template", &values("found-values.yaml"), &only).await?;
    cluster.apply(&definitions).await?;
    cluster
        .kubectl(&[
            "wait",
            "--for=condition=Established",
            "crd",
            "--all",
            "--timeout=30s",
        ])
        .await
        .map(drop)
}

/// Strict validation refuses unknown fields. Without it an API server drops them silently.
async fn an_api_server_accepts_everything_with_each_file_of_values(
    cluster: &Cluster,
) -> Result<()> {
    for values in all_values()? {
        let rendered = helm(cluster, "template", &values, &[]).await?;
        let name = values.file_name().context("a file has a name")?;
        // In the directory of the logs, which is kept when the test fails.
        let file = cluster.logs().join(name);
        fs::write(&file, rendered)?;
        let accepted = cluster
            .kubectl(&[
                "apply",
                "--dry-run=server",
                "--validate=strict",
                "--filename",
                &text(&file),
            ])
            .await?;
        for object in ["statefulset.apps/hanse", "service/hanse-peer"] {
            let line = format!("{object} created (server dry run)");
            ensure!(accepted.contains(&line), "{line:?} is not in {accepted}");
        }
    }
    assert_eq!(
        objects_of_the_release(cluster).await?,
        "",
        "a dry run creates nothing"
    );
    Ok(())
}

async fn a_founder_is_installed(cluster: &Cluster) -> Result<()> {
    // The definitions exist and belong to no release.
    let more = ["--take-ownership"];
    helm(cluster, "install", &values("found-values.yaml"), &more).await?;
    let objects = objects_of_the_release(cluster).await?;
    assert_eq!(objects.lines().collect::<Vec<_>>(), OBJECTS_OF_A_FOUNDER);

    let container = container(cluster).await?;
    assert_eq!(container.args, Some(vec!["run".to_owned()]));
    assert_eq!(settings(&container), SETTINGS_OF_A_FOUNDER.into());
    let probes = [
        &container.startup_probe,
        &container.liveness_probe,
        &container.readiness_probe,
    ];
    assert_eq!(
        probes.map(|probe| path_of(probe.as_ref())),
        [Some("/healthz"), Some("/healthz"), Some("/readyz")],
        "only readiness depends on other members"
    );
    Ok(())
}

async fn an_upgrade_changes_one_setting(cluster: &Cluster) -> Result<()> {
    let more = ["--set=log.filter=debug"];
    helm(cluster, "upgrade", &values("found-values.yaml"), &more).await?;
    let mut expected: BTreeMap<_, _> = SETTINGS_OF_A_FOUNDER.into();
    expected.insert("RUST_LOG", "debug");
    assert_eq!(settings(&container(cluster).await?), expected);
    Ok(())
}

async fn it_is_uninstalled(cluster: &Cluster) -> Result<()> {
    cluster
        .helm(&["uninstall", RELEASE, "--namespace", NAMESPACE])
        .await?;
    await_condition("the objects of the release are gone", SOON, async || {
        let left = objects_of_the_release(cluster).await?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })
    .await?;
    Ok(())
}

/// The kept definitions are still annotated with this release, so helm needs no `--take-ownership`.
async fn a_newcomer_is_installed_beside_what_was_kept(cluster: &Cluster) -> Result<()> {
    helm(cluster, "install", &values("join-values.yaml"), &[]).await?;
    let container = container(cluster).await?;
    let environment = settings(&container);
    assert_eq!(environment.get("HANSE_NAME"), Some(&"beta-us-1"));
    assert_eq!(
        environment.get("HANSE_INVITATION_FILE"),
        Some(&"/etc/hanse/invitation/invitation")
    );
    for absent in [
        "HANSE_FOUND",
        "HANSE_LEASE",
        "HANSE_HEARTBEAT",
        "HANSE_PEER_ADDRESS",
    ] {
        assert_eq!(environment.get(absent), None, "{absent}");
    }
    Ok(())
}
