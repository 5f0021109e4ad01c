//! The rest of a simulated cluster: the controllers and kubelets that act on what its API server stores, whether or not an
//! operator runs.
//!
//! A Deployment's pods start some time after it asks for them, and end within their grace period after it does not any more. One
//! thing is easier than with real machines: after a power cut the operator is faster than the kubelets (docs/robustness.md).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use hanse_core::id::{OwnerName, WorkloadKey};
use hanse_crds::names;
use serde_json::{Value, json};
use tracing::info;

use crate::{
    api::{
        ApiServer,
        store::{Author, Deletion, Id, Store},
    },
    clients::GRACE_MS,
    seeded::Seeded,
};

/// The namespaces of every cluster.
const NAMESPACES: [&str; 3] = ["default", "hanse-system", "shop"];

/// How long after a power cut nothing but the operator runs: longer than its API server may be down meanwhile.
const KUBELETS_WAIT: Duration = Duration::from_secs(6);

/// The pods of one Deployment.
#[derive(Debug, Clone, Default)]
struct Pods {
    /// Whose they are.
    workload: Option<WorkloadKey>,
    /// How many run, those included that are to end.
    running: u32,
    /// When they start.
    starts: Option<Duration>,
    /// When the last of them has ended.
    ends: Option<Duration>,
}

/// One cluster without its operator.
pub struct Cluster {
    api: ApiServer,
    delays: Seeded,
    pods: BTreeMap<Id, Pods>,
    /// Until when nothing acts: its machines are off, or have just been switched on.
    idle_until: Duration,
    /// The revision it has acted on, and when there is more to do without another.
    seen: u64,
    due: Option<Duration>,
}

impl Cluster {
    /// An empty cluster with an API server, whose controllers take as long as `delays` says.
    #[must_use]
    pub fn new(api: ApiServer, delays: Seeded) -> Self {
        api.with(fill);
        Self {
            api,
            delays,
            pods: BTreeMap::new(),
            idle_until: Duration::ZERO,
            seen: 0,
            due: None,
        }
    }

    /// The workloads of which pods run.
    pub fn runs(&self) -> impl Iterator<Item = &WorkloadKey> {
        let running = self.pods.values().filter(|pods| pods.running > 0);
        running.filter_map(|pods| pods.workload.as_ref())
    }

    /// How many pods run of each workload, those included that are to end.
    #[must_use]
    pub fn running(&self) -> BTreeMap<WorkloadKey, u32> {
        let running = self.pods.values().filter(|pods| pods.running > 0);
        let counts = running.filter_map(|pods| Some((pods.workload.clone()?, pods.running)));
        counts.collect()
    }

    /// The workloads of which there are objects.
    #[must_use]
    pub fn hosted(&self) -> BTreeSet<WorkloadKey> {
        self.objects("apps", "Deployment", |object| {
            key_of(&object["metadata"]["annotations"][names::WORKLOAD_ANNOTATION])
        })
    }

    /// The workloads that have an inventory.
    #[must_use]
    pub fn inventories(&self) -> BTreeSet<WorkloadKey> {
        self.objects("", "ConfigMap", |object| {
            let marked = &object["metadata"]["labels"][names::INVENTORY_LABEL];
            marked
                .as_str()
                .and_then(|_| key_of(&object["data"]["workload"]))
        })
    }

    /// The workloads that its owner sees there, with the replicas that are said to be ready.
    #[must_use]
    pub fn shown(&self, owner: &OwnerName) -> BTreeMap<WorkloadKey, u64> {
        self.objects(names::GROUP, "FederatedWorkload", |object| {
            let text = |field: &str| object["metadata"][field].as_str();
            let key = WorkloadKey {
                owner: owner.clone(),
                namespace: text("namespace")?.parse().ok()?,
                name: text("name")?.parse().ok()?,
            };
            Some((key, object["status"]["ready"].as_u64().unwrap_or_default()))
        })
    }

    fn objects<T, C: FromIterator<T>>(
        &self,
        group: &str,
        kind: &str,
        look: impl Fn(&Value) -> Option<T>,
    ) -> C {
        self.api.with(|store| {
            let all = store.list(store.kind(group, kind), "");
            all.filter_map(|(_, object)| look(object)).collect()
        })
    }

    /// All its machines are off. What the API server has stored is there when they are on again.
    pub fn lose_power(&mut self) {
        self.pods.clear();
        self.idle_until = Duration::MAX;
    }

    /// Its machines are switched on.
    pub fn power_on(&mut self, now: Duration) {
        if self.idle_until == Duration::MAX {
            self.idle_until = now + KUBELETS_WAIT;
            self.due = Some(self.idle_until);
        }
    }

    /// Does what is due.
    pub fn step(&mut self, now: Duration) {
        let is_due = self.due.is_some_and(|due| due <= now);
        let revision = self.api.with(|store| store.revision());
        if now < self.idle_until || (revision == self.seen && !is_due) {
            return;
        }
        let api = self.api.clone();
        api.with(|store| {
            end_namespaces(store);
            let all = store.list(store.kind("apps", "Deployment"), "");
            let all: BTreeMap<Id, Arc<Value>> = all
                .map(|(id, object)| (id.clone(), object.clone()))
                .collect();
            for (id, object) in &all {
                self.follow(store, id, object, now);
            }
            for (id, pods) in &mut self.pods {
                if !all.contains_key(id) {
                    pods.want(0, now, &self.delays, id);
                }
            }
            self.pods
                .retain(|id, pods| pods.running > 0 || all.contains_key(id));
            self.seen = store.revision();
        });
        let times = self.pods.values();
        self.due = times
            .flat_map(|pods| [pods.starts, pods.ends])
            .flatten()
            .min();
    }

    /// Does what a Deployment asks for, and writes its status.
    fn follow(&mut self, store: &mut Store, id: &Id, object: &Value, now: Duration) {
        let pods = self.pods.entry(id.clone()).or_default();
        if pods.workload.is_none() {
            pods.workload = key_of(&object["metadata"]["annotations"][names::WORKLOAD_ANNOTATION]);
        }
        let ends = object["metadata"]["deletionTimestamp"].is_string();
        let asked = object["spec"]["replicas"].as_u64().unwrap_or(1);
        let wanted = if ends { 0 } else { asked };
        pods.want(
            u32::try_from(wanted).unwrap_or(u32::MAX),
            now,
            &self.delays,
            id,
        );
        if ends && pods.running == 0 {
            store.let_go(id);
            return;
        }
        let ready = if pods.ends.is_some() { 0 } else { pods.running };
        let status = json!({
            "observedGeneration": object["metadata"]["generation"], "replicas": ready, "updatedReplicas": ready,
            "readyReplicas": ready, "availableReplicas": ready,
        });
        if object["status"] != status {
            // Nothing refuses it: the object is there and the revision is not named.
            let _ = store.merge(id, &json!({"status": status}), &author(true));
        }
    }
}

impl Pods {
    /// `wanted` pods are to run.
    fn want(&mut self, wanted: u32, now: Duration, delays: &Seeded, id: &Id) {
        if self.ends.is_some_and(|ends| ends <= now) {
            info!(
                name = id.name,
                namespace = id.namespace,
                "its pods have ended"
            );
            (self.running, self.ends) = (0, None);
        }
        if wanted == 0 {
            self.starts = None;
            if self.running > 0 && self.ends.is_none() {
                info!(
                    name = id.name,
                    namespace = id.namespace,
                    "its pods are to end"
                );
                self.ends = Some(now + delays.millis(0, 1_000) + delays.millis(0, GRACE_MS));
            }
        } else if self.ends.is_none() {
            if self.running > 0 {
                self.running = wanted;
                return;
            }
            let starts = self
                .starts
                .get_or_insert_with(|| now + delays.millis(50, 1_000));
            if *starts <= now {
                info!(
                    name = id.name,
                    namespace = id.namespace,
                    wanted,
                    "its pods run"
                );
                (self.running, self.starts) = (wanted, None);
            }
        }
    }
}

/// What is there before the operator is.
fn fill(store: &mut Store) {
    let id = |kind: usize, name: &str| Id {
        kind,
        namespace: String::new(),
        name: name.to_owned(),
    };
    let namespace = store.kind("", "Namespace");
    for name in NAMESPACES {
        create(store, &id(namespace, name), json!({}));
    }
    let room = json!({"cpu": "64", "memory": "256Gi", "pods": "1000"});
    let node = json!({
        "status": {"allocatable": room, "conditions": [{"type": "Ready", "status": "True"}]},
    });
    let node_id = id(store.kind("", "Node"), "node-1");
    create(store, &node_id, json!({}));
    store
        .merge(&node_id, &node, &author(true))
        .expect("the node is there");
}

fn key_of(written: &Value) -> Option<WorkloadKey> {
    written.as_str().and_then(|key| key.parse().ok())
}

fn create(store: &mut Store, id: &Id, object: Value) {
    store
        .create(id, object, &author(false))
        .expect("the cluster is empty");
}

/// Deletes what is in namespaces that are being deleted, and then these.
fn end_namespaces(store: &mut Store) {
    let all = store.list(store.kind("", "Namespace"), "");
    let ending = all.filter(|(_, object)| object["metadata"]["deletionTimestamp"].is_string());
    for id in ending.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
        let within = store.within(&id.name);
        if within.is_empty() {
            store.let_go(&id);
        }
        for inner in within {
            let marked = store.get(&inner);
            if marked.is_ok_and(|it| it["metadata"]["deletionTimestamp"].is_null()) {
                // It was there a moment ago.
                let _ = store.delete(&inner, &Deletion::default());
            }
        }
    }
}

fn author(status: bool) -> Author {
    Author {
        manager: "kube-controller-manager".to_owned(),
        status,
        dry_run: false,
    }
}
