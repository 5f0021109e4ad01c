//! What the definitions of this cluster say of custom kinds: which of them scale, and where they have their replicas.
//!
//! The definitions are watched without their schemas, which nothing here reads. A workload is read only after they are known,
//! and read again when they change ([`super::workloads`]); what they say becomes part of what its author wants.

use std::{sync::Arc, time::Duration};

use hanse_core::{
    id::Namespace,
    level::Level,
    workload::{ScalePaths, SpecError, WorkloadSpec, has_custom_kind},
};
use hanse_crds::FederatedWorkloadSpec;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, api::ObjectMeta, core::DeserializeGuard, runtime::watcher};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::{sync::watch, time::timeout};
use tokio_util::sync::CancellationToken;

use super::spec::spec_of;
use crate::cluster::watched::Watched;

/// Definitions per page of a list: each may have a schema of a megabyte.
const PAGE: u32 = 20;

/// How long workloads wait for the first list. After that a custom kind scales once its definition is seen.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);

/// A `CustomResourceDefinition` without its schemas.
#[derive(Debug, Clone, Serialize, Deserialize, kube::Resource)]
#[resource(inherit = CustomResourceDefinition)]
struct Definition {
    metadata: ObjectMeta,
    spec: DefinitionSpec,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct DefinitionSpec {
    group: String,
    names: DefinitionNames,
    versions: Vec<DefinitionVersion>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct DefinitionNames {
    kind: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct DefinitionVersion {
    name: String,
    #[serde(default)]
    subresources: Value,
}

/// The definitions of this cluster. Cheap to clone; all clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Definitions {
    watched: Watched<Definition>,
    known: Arc<Mutex<Arc<ScalePaths>>>,
}

impl Definitions {
    /// Keeps them up to date until `stop`.
    pub(super) async fn keep(&self, client: &Client, stop: &CancellationToken) {
        let api: Api<DeserializeGuard<Definition>> = Api::all(client.clone());
        let config = watcher::Config::default().page_size(PAGE);
        self.watched.keep(api, config, stop).await;
    }

    /// Waits until they are known, for a bounded time.
    pub(super) async fn known(&self) {
        if timeout(KNOWN_WITHIN, self.watched.completed())
            .await
            .is_err()
        {
            tracing::warn!(
                "cannot read the definitions of this cluster yet: until then no new custom object is scaled by the federation"
            );
        }
        self.look();
    }

    /// Changes whenever any definition changes.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.watched.version()
    }

    /// Takes in what has changed. Returns whether anything is scaled otherwise than before.
    pub(super) fn look(&self) -> bool {
        let mut known = ScalePaths::default();
        let definitions = self.watched.all();
        for definition in definitions.iter().filter_map(|(_, it)| it.as_ref().ok()) {
            known.define(&json!({
                "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": definition.spec,
            }));
        }
        let known = Arc::new(known);
        let before = std::mem::replace(&mut *self.known.lock(), known.clone());
        before != known
    }

    /// The specification that an object asks for, in a federation of this level. `before` is what the ledger has of it.
    pub(super) fn spec_of(
        &self,
        spec: &FederatedWorkloadSpec,
        namespace: &Namespace,
        before: Option<&WorkloadSpec>,
        level: Level,
    ) -> Result<WorkloadSpec, SpecError> {
        let concerned = spec.manifests.iter().any(has_custom_kind);
        if level < Level::CUSTOM_KINDS_SCALE || !concerned {
            return spec_of(spec, namespace);
        }
        let mut spec = spec.clone();
        let known = self.known.lock().clone();
        known.write_into(&mut spec.manifests, before);
        spec_of(&spec, namespace)
    }
}
