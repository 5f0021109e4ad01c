//! The way of a workload: applied in one cluster, the home; an object in another, the host.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Result};
use futures::StreamExt;
use hanse_crds::{
    FederatedWorkload, FederatedWorkloadSpec, Placement, PlacementMode, Requirements,
};
use hanse_e2e::{Fleet, Links, MemberPlan, workspace};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
    runtime::{WatchStreamExt, watcher},
};
use tokio::{
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    time::{Instant, timeout},
};

/// The member in which workloads are applied.
pub(super) const HOME: &str = "home";
/// The member that hosts them.
const HOST: &str = "host";
/// Longer than any object has taken. One that takes longer is an error and not a sample.
const PATIENCE: Duration = Duration::from_secs(30);
/// Where the workloads are, in the home.
const NAMESPACE: &str = "bench";
/// Label of the host.
const HOST_LABEL: (&str, &str) = ("bench", "host");

/// A federation of these many members: the home, the host, and others that host nothing.
pub(super) async fn start(name: &str, members: usize) -> Result<Fleet> {
    let (key, value) = HOST_LABEL;
    let mut plans = vec![
        MemberPlan::new(HOME).owner("north"),
        MemberPlan::new(HOST).owner("east").label(key, value),
    ];
    plans.extend(
        (plans.len()..members)
            .map(|number| MemberPlan::new(&format!("other-{number}")).owner("south")),
    );
    // Direct links, because a proxy would add to what is measured.
    let mut fleet = Fleet::start(name, plans, Links::Direct).await?;
    fleet.federate().await?;
    let policy = workspace::root()
        .join("examples")
        .join("hosting-policy.yaml");
    let policy = fs::read_to_string(&policy)
        .with_context(|| format!("failed to read {}", policy.display()))?;
    fleet.apply_yaml(HOST, &policy).await?;
    fleet
        .kubectl(HOME, &["create", "namespace", NAMESPACE])
        .await?;
    Ok(fleet)
}

/// What is applied in the home, and what arrives in the host.
pub(super) struct Path {
    home: Home,
    arrivals: Arrivals,
}

/// Where workloads are applied.
pub(super) struct Home(Api<FederatedWorkload>);

/// The objects of the host, each once, in the order in which a watch returns them.
pub(super) struct Arrivals(UnboundedReceiver<(String, Instant)>);

impl Path {
    /// Applies a first workload and waits for its object: only that one creates the namespace in the host, so it is not a sample.
    pub(super) async fn open(fleet: &Fleet) -> Result<Self> {
        let mut path = Self {
            home: Home(Api::namespaced(fleet.client(HOME)?, NAMESPACE)),
            arrivals: Arrivals(watch_objects(fleet.client(HOST)?)),
        };
        path.propagate("warm-up").await?;
        Ok(path)
    }

    /// Both ends.
    pub(super) fn ends(&mut self) -> (&Home, &mut Arrivals) {
        (&self.home, &mut self.arrivals)
    }

    /// From the answer of the home's API server until a watch returns the object in the host.
    pub(super) async fn propagate(&mut self, name: &str) -> Result<Duration> {
        self.home.apply(name).await?;
        let answered = Instant::now();
        loop {
            let (object, at) = self
                .arrivals
                .next()
                .await
                .with_context(|| format!("{name} did not arrive"))?;
            if object == name {
                // The watch may return the object before the answer has been read here.
                return Ok(at.saturating_duration_since(answered));
            }
        }
    }
}

impl Home {
    pub(super) async fn apply(&self, name: &str) -> Result<()> {
        self.0
            .create(&PostParams::default(), &workload(name))
            .await?;
        Ok(())
    }

    /// A page of at most 500, and where the next begins.
    pub(super) async fn list(
        &self,
        from: Option<&str>,
    ) -> Result<(Vec<FederatedWorkload>, Option<String>)> {
        let mut page = ListParams::default().limit(500);
        page.continue_token = from.map(str::to_owned);
        let list = self.0.list(&page).await?;
        let next = list.metadata.continue_.filter(|next| !next.is_empty());
        Ok((list.items, next))
    }
}

impl Arrivals {
    /// An error if nothing arrives for too long.
    pub(super) async fn next(&mut self) -> Result<(String, Instant)> {
        let arrival = timeout(PATIENCE, self.0.recv()).await;
        arrival
            .with_context(|| format!("nothing arrived for {PATIENCE:?}"))?
            .context("the watch has ended")
    }
}

fn workload(name: &str) -> FederatedWorkload {
    let (key, value) = HOST_LABEL;
    let mut workload = FederatedWorkload::new(
        name,
        FederatedWorkloadSpec {
            manifests: vec![serde_json::json!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name},
                "data": {"sample": name},
            })],
            placement: Placement {
                mode: PlacementMode::Duplicated,
                require: Requirements {
                    match_labels: BTreeMap::from([(key.to_owned(), value.to_owned())]),
                    ..Requirements::default()
                },
                ..Placement::default()
            },
            ..FederatedWorkloadSpec::default()
        },
    );
    workload.metadata.namespace = Some(NAMESPACE.to_owned());
    workload
}

/// The `ConfigMap`s that Hanse has applied in a cluster, each with the time at which the watch returned it.
fn watch_objects(client: Client) -> UnboundedReceiver<(String, Instant)> {
    use hanse_crds::names::WORKLOAD_LABEL;
    let (sender, receiver) = unbounded_channel();
    let objects: Api<ConfigMap> = Api::all(client);
    let changes = watcher(objects, watcher::Config::default().labels(WORKLOAD_LABEL));
    tokio::spawn(
        changes
            .default_backoff()
            .applied_objects()
            .for_each(move |object| {
                let seen = object
                    .ok()
                    .and_then(|object| object.metadata.name)
                    .map(|name| (name, Instant::now()));
                // Sending fails after the last sample, when the receiver has been dropped.
                seen.map(|seen| sender.send(seen).ok());
                async {}
            }),
    );
    receiver
}
