//! The objects of one cluster, kept up to date by watches.
//!
//! Reading a view sends no request, so a test can read it twenty times a second without load on the API server. A view
//! of a cluster that was killed keeps the last objects that it received.

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt};
use hanse_crds::{FederatedWorkload, Federation, Member};
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api, Client, Resource,
    runtime::{WatchStreamExt, reflector, reflector::Store, utils::Backoff, watcher},
};
use serde::de::DeserializeOwned;
use tokio::task::JoinSet;

/// Short, so that a restarted cluster is seen at once. Retries of one watcher on the loopback cost almost nothing.
const RETRY: Duration = Duration::from_millis(200);

/// The objects of one cluster that show what the federation does.
pub struct View {
    members: Store<Member>,
    federations: Store<Federation>,
    workloads: Store<FederatedWorkload>,
    deployments: Store<Deployment>,
    /// Aborted when this is dropped.
    _watches: JoinSet<()>,
}

impl View {
    /// Starts the watches. Until the first lists have arrived, everything is empty.
    #[must_use]
    pub fn of(client: &Client) -> Self {
        let mut watches = JoinSet::new();
        Self {
            members: watch(client, watcher::Config::default(), &mut watches),
            federations: watch(client, watcher::Config::default(), &mut watches),
            workloads: watch(client, watcher::Config::default(), &mut watches),
            deployments: watch(client, ours(), &mut watches),
            _watches: watches,
        }
    }

    /// Whether the first list of every watch has arrived.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        is_ready(&self.members)
            && is_ready(&self.federations)
            && is_ready(&self.workloads)
            && is_ready(&self.deployments)
    }

    /// The members of the federation.
    #[must_use]
    pub fn members(&self) -> Vec<Arc<Member>> {
        self.members.state()
    }

    /// The federation, if there is one yet.
    #[must_use]
    pub fn federation(&self) -> Option<Arc<Federation>> {
        self.federations.state().pop()
    }

    /// A workload by its name. Expects the name in one namespace only.
    #[must_use]
    pub fn workload(&self, name: &str) -> Option<Arc<FederatedWorkload>> {
        self.workloads
            .find(|workload| workload.metadata.name.as_deref() == Some(name))
    }

    /// A Deployment that Hanse has applied, by its name.
    #[must_use]
    pub fn deployment(&self, name: &str) -> Option<Arc<Deployment>> {
        self.deployments
            .find(|deployment| deployment.metadata.name.as_deref() == Some(name))
    }
}

/// Only what Hanse has applied.
fn ours() -> watcher::Config {
    use hanse_crds::names::WORKLOAD_LABEL;
    watcher::Config::default().labels(WORKLOAD_LABEL)
}

fn watch<K>(client: &Client, config: watcher::Config, watches: &mut JoinSet<()>) -> Store<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let (reader, writer) = reflector::store();
    let changes = watcher(Api::all(client.clone()), config).backoff(Always(RETRY));
    watches.spawn(reflector(writer, changes).for_each(|_change| async {}));
    reader
}

fn is_ready<K>(store: &Store<K>) -> bool
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store
        .wait_until_ready()
        .now_or_never()
        .is_some_and(|ready| ready.is_ok())
}

/// The same pause after every failure.
struct Always(Duration);

impl Iterator for Always {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.0)
    }
}

impl Backoff for Always {
    fn reset(&mut self) {}
}
