//! A real API server accepts the definitions and the examples.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use hanse_core::{
    command::Attributes,
    selector::{Effect, Taint},
};
use hanse_e2e::{Fleet, Links, MemberPlan, View, await_condition, workspace};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);

/// A number of replicas, and two Deployments it could be about.
const UNCLEAR_COUNT: &str = "
apiVersion: hanse.dev/v1alpha1
kind: FederatedWorkload
metadata: {name: unclear, namespace: shop}
spec:
  placement: {replicas: 6}
  manifests:
    - {apiVersion: apps/v1, kind: Deployment, metadata: {name: front}}
    - {apiVersion: apps/v1, kind: Deployment, metadata: {name: worker}}
";

fn yaml_in(folder: &str) -> Result<Vec<String>> {
    let folder = workspace::root().join(folder);
    let mut paths = fs::read_dir(&folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read_to_string(path).with_context(|| path.display().to_string()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_server_accepts_definitions_and_examples_and_keeps_running_when_left_running()
-> Result<()> {
    let mut fleet = Fleet::start("definitions", [MemberPlan::new("lubeck")], Links::Direct).await?;
    for definition in yaml_in("crds/manifests")? {
        fleet.apply_yaml("lubeck", &definition).await?;
    }
    fleet
        .kubectl(
            "lubeck",
            &[
                "wait",
                "--for=condition=Established",
                "crd",
                "--all",
                "--timeout=30s",
            ],
        )
        .await?;

    for example in yaml_in("examples")? {
        fleet.apply_yaml("lubeck", &example).await?;
    }
    let workloads = fleet
        .kubectl("lubeck", &["get", "fwl", "-A", "-o", "name"])
        .await?;
    ensure!(
        workloads.lines().count() == 3,
        "the examples hold {workloads}"
    );

    let refused = fleet.apply_yaml("lubeck", UNCLEAR_COUNT).await;
    let words = refused.err().map(|error| format!("{error:#}"));
    ensure!(
        words
            .as_ref()
            .is_some_and(|words| words.contains("`scales` must name the manifest")),
        "a count of one of two Deployments was answered with {words:?}"
    );
    fleet
        .kubectl(
            "lubeck",
            &["scale", "fwl/web", "-n", "shop", "--replicas=0"],
        )
        .await?;

    agree_on_descriptions(&fleet).await?;
    what_the_plugin_wraps_is_what_kubectl_reads(&fleet).await?;

    let view = View::of(&fleet.client("lubeck")?);
    await_condition("the view shows the workload", SOON, async || {
        ensure!(view.is_complete(), "a first list is still missing");
        view.workload("web")
            .context("it is not in the view")
            .map(drop)
    })
    .await?;
    fleet.kill("lubeck").await?;
    fleet.restart("lubeck").await?;
    fleet
        .kubectl("lubeck", &["delete", "fwl", "-n", "shop", "web"])
        .await?;
    await_condition("the view shows changes after a restart", SOON, async || {
        ensure!(
            view.workload("web").is_none(),
            "the workload is still there"
        );
        Ok(())
    })
    .await?;

    let client = fleet.client("lubeck")?;
    fleet.leave_running()?;
    client
        .apiserver_version()
        .await
        .context("the API server that was left running does not answer")?;
    let ended = workspace::end_kept("definitions")?;
    assert_eq!(ended, 5, "etcd and four components");
    await_condition("no process is left", SOON, async || {
        ensure!(
            client.apiserver_version().await.is_err(),
            "the API server still answers"
        );
        Ok(())
    })
    .await?;
    Ok(())
}

/// Words without quotes, as charts write them. YAML 1.1 and 1.2 differ in half of them.
const WORDS: &str = "
apiVersion: example.com/v1
kind: Thing
metadata: {name: words}
spec:
  words: [0644, 0o17, 0x1F, -0b11, 1_000, 09, +7, 1e3, .5, 1., 1.2.3, 500m, 12:30:45, 2024-01-01, yes, Off, y, nO, 1e400, 0_7,
    _1, 0x, 08.5, 0b2, 18446744073709551616, '-', --, 0.0.0.0, 1E5, -.5, +.5, 'yes', \"on\", '0644', '', ' x ', !!str 1]
  merged: &merged {a: 1, b: 2}
  taken: {<<: *merged, b: 3}
  y: 1
  1: 2
  text: |
    yes: 0644
      indented
";

/// The plugin reads files as kubectl does, and what it writes means the same to kubectl and to the API server.
async fn what_the_plugin_wraps_is_what_kubectl_reads(fleet: &Fleet) -> Result<()> {
    let path = workspace::root().join("target/e2e/words.yaml");
    fs::write(&path, WORDS)?;
    let path = path.to_string_lossy();
    let read = [
        "label",
        "--local",
        "-f",
        &path,
        "read=by-kubectl",
        "-o",
        "json",
    ];
    let read: Value = serde_json::from_str(&fleet.kubectl("lubeck", &read).await?)?;

    let wrap = ["wrap", "words", "-n", "shop", "-f", &path];
    let wrapped = fleet.cli("lubeck", &wrap)?.output().await?;
    let told = String::from_utf8_lossy(&wrapped.stderr);
    ensure!(wrapped.status.success(), "{told}");
    fleet
        .apply_yaml("lubeck", &String::from_utf8(wrapped.stdout)?)
        .await?;
    let stored = [
        "get",
        "fwl",
        "words",
        "-n",
        "shop",
        "-o",
        "jsonpath={.spec.manifests[0].spec}",
    ];
    let stored: Value = serde_json::from_str(&fleet.kubectl("lubeck", &stored).await?)?;
    ensure!(
        stored == read["spec"],
        "kubectl reads {}, and stored is {stored}",
        read["spec"]
    );
    fleet
        .kubectl("lubeck", &["delete", "fwl", "words", "-n", "shop"])
        .await?;
    Ok(())
}

/// The ledger takes exactly those descriptions of a member that an API server can hold: any other would be refused in every
/// other cluster.
async fn agree_on_descriptions(fleet: &Fleet) -> Result<()> {
    for (at, attributes) in descriptions().iter().enumerate() {
        let mut spec = serde_json::to_value(attributes)?;
        let fields = spec
            .as_object_mut()
            .context("the description is an object")?;
        fields.retain(|_, value| value.as_str() != Some(""));
        let member = json!({
            "apiVersion": "hanse.dev/v1alpha1", "kind": "Member", "metadata": {"name": format!("limit-{at}")}, "spec": spec,
        });
        let stored = fleet.apply_yaml("lubeck", &member.to_string()).await;
        let taken = attributes.check();
        ensure!(
            stored.is_ok() == taken.is_ok(),
            "the ledger says {taken:?} to {attributes:?}, the API server {stored:?}"
        );
    }
    Ok(())
}

/// What is just allowed, and what is just not.
fn descriptions() -> Vec<Attributes> {
    let described = |change: &dyn Fn(&mut Attributes)| {
        let mut attributes = Attributes::default();
        change(&mut attributes);
        attributes
    };
    let value = |value: &str| described(&|it| value.clone_into(&mut it.provider));
    let jurisdiction = |value: &str| described(&|it| value.clone_into(&mut it.jurisdiction));
    let label = |key: &str, value: &str| {
        described(&|it| it.labels = [(key.to_owned(), value.to_owned())].into())
    };
    let labels = |count: usize| {
        described(&|it| {
            it.labels = (0..count)
                .map(|at| (format!("l{at}"), String::new()))
                .collect();
        })
    };
    let taint = |key: &str, value: &str, effect| Taint {
        key: key.to_owned(),
        value: value.to_owned(),
        effect,
    };
    let tainted = |taints: &[Taint]| described(&|it| it.taints = taints.iter().cloned().collect());
    let taints: Vec<Taint> = (0..17)
        .map(|at| taint(&format!("t{at}"), "", Effect::NoSchedule))
        .collect();
    let (no_schedule, no_execute) = (Effect::NoSchedule, Effect::NoExecute);
    vec![
        value(&"a".repeat(63)),
        value(&"a".repeat(64)),
        value("a_b.c-d"),
        value("a_"),
        value(".a"),
        value("\u{fc}ber"),
        jurisdiction(&"E".repeat(32)),
        jurisdiction(&"E".repeat(33)),
        jurisdiction("US-CA"),
        jurisdiction("9"),
        jurisdiction("eu"),
        labels(64),
        labels(65),
        label(&"k".repeat(317), "v"),
        label(&"k".repeat(318), "v"),
        label(&"\u{fc}".repeat(317), "v"),
        label("hanse.dev/region", "v"),
        label("tier", "not a value"),
        tainted(&taints[..16]),
        tainted(&taints),
        tainted(&[
            taint("gpu", "a", no_schedule),
            taint("gpu", "b", no_execute),
        ]),
        tainted(&[
            taint("gpu", "a", no_schedule),
            taint("gpu", "b", no_schedule),
        ]),
        tainted(&[taint("gpu", &"\u{fc} ".repeat(31), no_schedule)]),
        tainted(&[taint("gpu", &"v".repeat(64), no_schedule)]),
        tainted(&[taint("", "v", no_schedule)]),
    ]
}
