//! Ten shapes that charts usually have go through their whole life: applied, edited, failed over, rolled back, deleted. Each is made a
//! workload by `kubectl hanse wrap` as it is, and at each step every host has what `kubectl apply --server-side` makes of it there.
//!
//! The cluster that is lost is the home of all of them, and the member that decides. Meanwhile the owner works in another cluster.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use hanse_e2e::{Fleet, MemberPlan, await_condition};
use serde_json::{Value, json};

/// Several times what any step takes on a loaded machine. Only a failure takes that long.
const SOON: Duration = Duration::from_mins(3);

const MEMBERS: [&str; 3] = ["lubeck", "bergen", "riga"];
/// Where the workloads are applied first.
const HOME: &str = "lubeck";
/// Where their owner works while the home is lost.
const REFUGE: &str = "bergen";

/// A chart: its file in `shapes`, which is also the name of its namespace and its workload.
struct Shape {
    name: &'static str,
    mode: &'static str,
    /// How many pods run in all, of each object that has some; of a `DaemonSet`, in each member.
    runs: &'static [(&'static str, u64)],
}

const fn shape(
    name: &'static str,
    mode: &'static str,
    runs: &'static [(&'static str, u64)],
) -> Shape {
    Shape { name, mode, runs }
}

const SHAPES: [Shape; 10] = [
    shape(
        "web-worker-redis",
        "Divided",
        &[
            ("Deployment/shop-web", 4),
            ("Deployment/shop-worker", 2),
            ("StatefulSet/shop-redis", 1),
        ],
    ),
    shape(
        "operator-and-definition",
        "Divided",
        &[("Deployment/cache-operator", 3)],
    ),
    shape(
        "stateful-set-with-claims",
        "Single",
        &[("StatefulSet/pg", 1)],
    ),
    shape("cron-and-config", "Single", &[]),
    shape(
        "ingress-and-certificate",
        "Divided",
        &[("Deployment/site", 3)],
    ),
    shape("autoscaler-and-budget", "Divided", &[("Deployment/api", 3)]),
    shape("roles-and-account", "Divided", &[("Deployment/reader", 2)]),
    shape("agent", "Duplicated", &[("DaemonSet/agent", 3)]),
    shape(
        "migration-before-deployment",
        "Divided",
        &[("Deployment/app", 3)],
    ),
    shape("namespace-per-app", "Divided", &[("Deployment/app", 3)]),
];

/// What the platform's team prepares in each cluster: volumes.
const VOLUMES: &str = "
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: manual}
provisioner: kubernetes.io/no-provisioner
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: volume}
spec:
  accessModes: [ReadWriteOnce]
  capacity: {storage: 1Gi}
  storageClassName: manual
  persistentVolumeReclaimPolicy: Retain
  hostPath: {path: /volumes/1}
";

#[tokio::test(flavor = "multi_thread")]
async fn usual_charts_live_and_move_as_in_one_cluster() -> Result<()> {
    let plans = MEMBERS.map(|name| MemberPlan::new(name).owner("amber"));
    let mut fleet = Fleet::federated("shapes", plans).await?;
    for member in MEMBERS {
        fleet.apply_yaml(member, VOLUMES).await?;
    }
    fleet
        .create_namespaces(HOME, &SHAPES.map(|shape| shape.name))
        .await?;
    let mut charts = Charts {
        directory: fleet.kubeconfig(HOME)?.with_file_name("shapes"),
        migrations: BTreeSet::new(),
    };
    fs::create_dir_all(&charts.directory)?;

    charts.release(&fleet, HOME, "1.0").await?;
    charts.await_right(&fleet, HOME, "1.0").await?;
    ensure!(charts.migrations.len() == 1, "{:?}", charts.migrations);

    charts.release(&fleet, HOME, "2.0").await?;
    charts.await_right(&fleet, HOME, "2.0").await?;
    ensure!(charts.migrations.len() == 2, "{:?}", charts.migrations);

    fleet.kill(HOME).await?;
    charts.await_right(&fleet, REFUGE, "2.0").await?;
    ensure!(charts.migrations.len() == 2, "{:?}", charts.migrations);

    charts.release(&fleet, REFUGE, "1.0").await?;
    charts.await_right(&fleet, REFUGE, "1.0").await?;
    ensure!(charts.migrations.len() == 3, "{:?}", charts.migrations);

    fleet.restart(HOME).await?;
    fleet.await_quorum().await?;
    charts.await_right(&fleet, HOME, "1.0").await?;
    ensure!(charts.migrations.len() == 3, "{:?}", charts.migrations);
    let seen = charts.seen(&fleet).await?;

    charts.delete(&fleet).await?;
    charts.compare_with_kubectl(&fleet, &seen).await?;
    fleet.end().await
}

/// The charts, and what has been seen of them.
struct Charts {
    /// Where the manifests of a release are while it is applied.
    directory: PathBuf,
    /// The UIDs of all Jobs that have ever run.
    migrations: BTreeSet<String>,
}

/// What a member has of a chart, by kind and name.
type Objects = BTreeMap<String, Value>;

impl Charts {
    /// Applies all charts in one version, in one cluster of their owner.
    async fn release(&self, fleet: &Fleet, member: &str, version: &str) -> Result<()> {
        for shape in &SHAPES {
            let file = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("shapes")
                .join(format!("{}.yaml", shape.name));
            let text = fs::read_to_string(file)?.replace("1.0", version);
            let file = self.file(shape);
            fs::write(&file, &text)?;
            let file = file.to_str().context("the path is text")?;
            let wrap = [
                "wrap", shape.name, "-n", shape.name, "--mode", shape.mode, "-f", file,
            ];
            let wrapped = fleet.cli(member, &wrap)?.output().await?;
            let words = String::from_utf8_lossy(&wrapped.stderr);
            ensure!(wrapped.status.success(), "{}: {words}", shape.name);
            let workload = String::from_utf8(wrapped.stdout)?;
            fleet.apply_yaml(member, &workload).await?;
        }
        Ok(())
    }

    fn file(&self, shape: &Shape) -> PathBuf {
        self.directory.join(format!("{}.yaml", shape.name))
    }

    /// Waits until every chart is ready and right, as it is seen in one cluster of its owner.
    async fn await_right(&mut self, fleet: &Fleet, member: &str, version: &str) -> Result<()> {
        for shape in &SHAPES {
            let name = shape.name;
            // A member that is lost still has its own copy to run.
            if shape.mode == "Duplicated" && fleet.running().count() < MEMBERS.len() {
                let words = "bergen 1/1, lubeck 0/1, riga 1/1";
                fleet.await_words(member, name, name, words).await?;
            } else {
                fleet.await_ready(member, name, name).await?;
            }
            let description = format!("{name} is right in version {version}");
            await_condition(description, SOON, async || {
                let found = self.found(fleet, shape).await?;
                is_right(shape, &found, version)
            })
            .await?;
            // What a job has left may be gone soon, so its UID is noted as soon as the workload is ready.
            let found = self.found(fleet, shape).await?;
            let jobs = found
                .values()
                .filter_map(|objects| objects.get("Job/migrate"));
            let uids = jobs.filter_map(|job| job["metadata"]["uid"].as_str());
            self.migrations.extend(uids.map(ToOwned::to_owned));
        }
        Ok(())
    }

    /// What the members that run have of a chart.
    async fn found(&self, fleet: &Fleet, shape: &Shape) -> Result<BTreeMap<String, Objects>> {
        let members = fleet.running().map(async |member| {
            let objects = self.in_member(fleet, member, shape).await?;
            Ok::<_, anyhow::Error>((member.to_owned(), objects))
        });
        let found = try_join_all(members).await?.into_iter();
        Ok(found.filter(|(_, objects)| !objects.is_empty()).collect())
    }

    async fn in_member(&self, fleet: &Fleet, member: &str, shape: &Shape) -> Result<Objects> {
        let file = self.file(shape);
        let file = file.to_str().context("the path is text")?;
        let get = [
            "get",
            "-f",
            file,
            "-n",
            shape.name,
            "--ignore-not-found",
            "-o",
            "json",
        ];
        let text = match fleet.kubectl(member, &get).await {
            // Its own definition is not there.
            Err(error) if format!("{error:#}").contains("no matches for kind") => String::new(),
            found => found?,
        };
        if text.trim().is_empty() {
            return Ok(Objects::new());
        }
        let found: Value = serde_json::from_str(&text)?;
        let objects = match found["items"].as_array() {
            Some(items) => items.clone(),
            None => vec![found],
        };
        // The namespace of a workload is there in any case.
        let objects = objects.into_iter().filter(|it| it["kind"] != "Namespace");
        Ok(objects.map(|object| (title(&object), object)).collect())
    }

    /// One host of each chart with all that it has there.
    async fn seen(&self, fleet: &Fleet) -> Result<BTreeMap<&'static str, Objects>> {
        let mut seen = BTreeMap::new();
        for shape in &SHAPES {
            let found = self.found(fleet, shape).await?;
            let most = found.into_values().max_by_key(BTreeMap::len);
            seen.insert(shape.name, most.context(shape.name)?);
        }
        Ok(seen)
    }

    /// Deletes all charts in their home. Nothing with Hanse's marks is left anywhere.
    async fn delete(&self, fleet: &Fleet) -> Result<()> {
        for shape in &SHAPES {
            let delete = [
                "delete",
                "fwl",
                shape.name,
                "-n",
                shape.name,
                "--timeout=120s",
            ];
            fleet.kubectl(HOME, &delete).await?;
        }
        for member in MEMBERS {
            for shape in &SHAPES {
                let left = self.in_member(fleet, member, shape).await?;
                let left: Vec<_> = left.keys().collect();
                ensure!(
                    left.is_empty(),
                    "{member} still has {left:?} of {}",
                    shape.name
                );
            }
        }
        Ok(())
    }

    /// Applies the charts without Hanse, and compares what that makes with what was there.
    async fn compare_with_kubectl(
        &self,
        fleet: &Fleet,
        seen: &BTreeMap<&'static str, Objects>,
    ) -> Result<()> {
        for shape in &SHAPES {
            let file = self.file(shape);
            let file = file.to_str().context("the path is text")?;
            let apply = ["apply", "--server-side", "-n", shape.name, "-f", file];
            await_condition(format!("{} is applied", shape.name), SOON, async || {
                // An instance needs its definition, and kubectl does not wait for it.
                fleet.kubectl(HOME, &apply).await.map(drop)
            })
            .await?;
            let plain = self.in_member(fleet, HOME, shape).await?;
            for (title, plain) in &plain {
                let seen = seen[shape.name].get(title).with_context(|| title.clone())?;
                let (plain, seen) = (as_written(plain), as_written(seen));
                ensure!(
                    plain == seen,
                    "{}: {title} is\n{seen:#}\nand not\n{plain:#}",
                    shape.name
                );
            }
        }
        Ok(())
    }
}

fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!(
        "{}/{}",
        text(&object["kind"]),
        text(&object["metadata"]["name"])
    )
}

/// Whether what the members have is what one cluster would have.
fn is_right(shape: &Shape, found: &BTreeMap<String, Objects>, version: &str) -> Result<()> {
    let hosts: Vec<_> = found.keys().collect();
    match shape.mode {
        "Single" => ensure!(hosts.len() == 1, "it is in {hosts:?}"),
        _ => ensure!(hosts.len() > 1, "it is in {hosts:?}"),
    }
    let other = if version == "1.0" { "2.0" } else { "1.0" };
    for (member, objects) in found {
        for (title, object) in objects {
            let written = as_written(object).to_string();
            ensure!(
                !written.contains(other),
                "{member} has an old {title}: {written}"
            );
        }
    }
    for (title, runs) in shape.runs {
        let copies = if shape.mode == "Duplicated" {
            hosts.len() as u64
        } else {
            1
        };
        let all = found.values().filter_map(|objects| objects.get(*title));
        let counts: Vec<_> = all.map(ready).collect();
        let ready: u64 = counts.iter().sum();
        ensure!(
            ready == runs * copies,
            "{counts:?} of {title} are ready, and not {runs}"
        );
    }
    let jobs = found
        .values()
        .filter_map(|objects| objects.get("Job/migrate"));
    let jobs = jobs.count();
    let wanted = usize::from(shape.name == "migration-before-deployment");
    // After it has succeeded, its host may be lost with it.
    ensure!(jobs <= wanted, "{jobs} members have the migration");
    // The parts of the limits are those of the whole.
    let sum = |path: &str| -> u64 {
        let all = found.values().flat_map(BTreeMap::values);
        all.filter_map(|object| object.pointer(path)?.as_u64())
            .sum()
    };
    if shape.name == "autoscaler-and-budget" {
        let limits = (sum("/spec/minReplicas"), sum("/spec/maxReplicas"));
        ensure!(limits == (3, 12), "the autoscalers have {limits:?}");
        // One of three may be missing, and one in each host.
        let kept = sum("/spec/minAvailable");
        ensure!(
            kept + hosts.len() as u64 == 3,
            "the budgets keep {kept} of 3 in {hosts:?}"
        );
    }
    Ok(())
}

fn ready(object: &Value) -> u64 {
    let status = &object["status"];
    let current = status["observedGeneration"] == object["metadata"]["generation"];
    let number = |name: &str| status[name].as_u64();
    let ready = number("readyReplicas").or_else(|| number("numberReady"));
    ready.filter(|_| current).unwrap_or(0)
}

/// An object without what its cluster, its controllers and Hanse write, and without what is divided.
fn as_written(object: &Value) -> Value {
    const METADATA: [&str; 6] = [
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "managedFields",
        "finalizers",
    ];
    const FIELDS: [&str; 6] = [
        "/spec/clusterIP",
        "/spec/clusterIPs",
        "/spec/replicas",
        "/spec/minReplicas",
        "/spec/maxReplicas",
        "/spec/minAvailable",
    ];
    let mut object = object.clone();
    let fields = object.as_object_mut();
    fields.into_iter().for_each(|it| drop(it.remove("status")));
    for field in FIELDS {
        let (parent, name) = field.rsplit_once('/').unwrap_or_default();
        let parent = object.pointer_mut(parent).and_then(Value::as_object_mut);
        // The address of a headless Service is written by its author.
        if let Some(parent) = parent.filter(|it| it.get("clusterIP") != Some(&json!("None"))) {
            parent.remove(name);
        }
    }
    let is_own = |name: &str| {
        let of_tools = [
            "hanse.dev/",
            "helm.sh/",
            "deployment.kubernetes.io/",
            "deprecated.",
        ];
        of_tools.iter().any(|it| name.starts_with(it))
            || ["controller-uid", "job-name"]
                .iter()
                .any(|it| name.ends_with(it))
    };
    let marked = [
        "/metadata/annotations",
        "/metadata/labels",
        "/spec/selector/matchLabels",
        "/spec/template/metadata/labels",
    ];
    for place in marked {
        let (parent, name) = place.rsplit_once('/').unwrap_or_default();
        let parent = object.pointer_mut(parent).and_then(Value::as_object_mut);
        let Some(parent) = parent else { continue };
        if let Some(names) = parent.get_mut(name).and_then(Value::as_object_mut) {
            names.retain(|name, _| !is_own(name));
            if names.is_empty() {
                parent.remove(name);
            }
        }
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|name, _| !METADATA.contains(&name.as_str()));
    }
    object
}
