//! The objects of Hanse's own kinds in the local API server, each kind kept up to date by one shared watch.

use hanse_crds::{FederatedWorkload, Federation, HostingPolicy, Member};
use kube::{Api, core::DeserializeGuard, runtime::watcher};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::{access::Cluster, watched::Watched};

/// The objects of Hanse's own kinds in this cluster. Cheap to clone; all clones share them.
#[derive(Debug, Clone, Default)]
pub struct Local {
    pub(crate) workloads: Watched<FederatedWorkload>,
    pub(crate) members: Watched<Member>,
    pub(crate) policies: Watched<HostingPolicy>,
    pub(crate) federations: Watched<Federation>,
}

impl Local {
    /// Keeps them up to date until `stop`.
    pub async fn keep(&self, cluster: &Cluster, stop: &CancellationToken) {
        let client = || cluster.client.clone();
        tokio::join!(
            keep(&self.workloads, Api::all(client()), stop),
            keep(&self.members, Api::all(client()), stop),
            keep(&self.policies, Api::all(client()), stop),
            keep(&self.federations, Api::all(client()), stop),
        );
    }
}

async fn keep<K>(watched: &Watched<K>, api: Api<DeserializeGuard<K>>, stop: &CancellationToken)
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    watched.keep(api, watcher::Config::default(), stop).await;
}
