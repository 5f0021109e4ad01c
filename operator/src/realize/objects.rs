//! Access to objects of any kind in this cluster: the kinds it serves, and the calls that read, write and delete.

use std::collections::BTreeMap;

use hanse_core::id::WorkloadKey;
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PropagationPolicy},
    core::GroupVersionKind,
    discovery::{self, Scope},
};
use parking_lot::Mutex;
use serde_json::Value;

use super::{marks::workload_of, object_id::ObjectId};
use crate::cluster::{CallError, applying, bounded, optional};

/// A kind as this API server serves it.
#[derive(Clone)]
struct Kind {
    resource: ApiResource,
    namespaced: bool,
}

/// The objects of this cluster, of any kind.
pub(super) struct Objects {
    pub(super) client: Client,
    /// The kinds found so far, by `apiVersion` and `kind`.
    kinds: Mutex<BTreeMap<(String, String), Kind>>,
}

impl Objects {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            kinds: Mutex::default(),
        }
    }

    /// Whether this kind is namespaced.
    pub(super) async fn is_namespaced(
        &self,
        api_version: &str,
        kind: &str,
    ) -> Result<bool, CallError> {
        Ok(self.kind(api_version, kind).await?.namespaced)
    }

    async fn kind(&self, api_version: &str, kind: &str) -> Result<Kind, CallError> {
        let key = (api_version.to_owned(), kind.to_owned());
        if let Some(found) = self.kinds.lock().get(&key) {
            return Ok(found.clone());
        }
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let wanted = GroupVersionKind::gvk(group, version, kind);
        let (resource, capabilities) =
            match bounded(discovery::pinned_kind(&self.client, &wanted)).await {
                Ok(found) => found,
                // Unknown kinds are looked up each time, because a CRD may be installed at any moment.
                Err(CallError::NotFound { .. }) => {
                    let message = format!("this cluster does not serve {api_version} {kind}");
                    return Err(CallError::Refused { code: 404, message });
                }
                Err(error) => return Err(error),
            };
        let found = Kind {
            resource,
            namespaced: capabilities.scope == Scope::Namespaced,
        };
        self.kinds.lock().insert(key, found.clone());
        Ok(found)
    }

    async fn api(&self, id: &ObjectId) -> Result<Api<DynamicObject>, CallError> {
        let kind = self.kind(&id.api_version, &id.kind).await?;
        Ok(if id.namespace.is_empty() {
            Api::all_with(self.client.clone(), &kind.resource)
        } else {
            Api::namespaced_with(self.client.clone(), &id.namespace, &kind.resource)
        })
    }

    /// The object, if it exists.
    pub(super) async fn get(&self, id: &ObjectId) -> Result<Option<DynamicObject>, CallError> {
        optional(self.api(id).await?.get(&id.name)).await
    }

    /// Server-side apply. Returns the object as the API server stored it.
    pub(super) async fn apply(&self, id: &ObjectId, object: &Value) -> Result<Value, CallError> {
        let parameters = applying();
        let api = self.api(id).await?;
        let answer = bounded(api.patch(&id.name, &parameters, &Patch::Apply(object))).await?;
        Ok(serde_json::to_value(answer).unwrap_or_default())
    }

    /// Deletes the object and its dependents, if it was applied for `key`. Returns whether it is gone or was not
    /// applied for `key`.
    pub(super) async fn delete(&self, key: &WorkloadKey, id: &ObjectId) -> Result<bool, CallError> {
        let object = match self.get(id).await {
            Ok(object) => object,
            // A kind that is no longer served has no objects.
            Err(CallError::Refused { code: 404, .. }) => return Ok(true),
            Err(error) => return Err(error),
        };
        let Some(object) = object.filter(|it| workload_of(&it.metadata).as_ref() == Some(key))
        else {
            return Ok(true);
        };
        if object.metadata.deletion_timestamp.is_none() {
            // Foreground deletion: the object is gone only after its pods are, as a removal guarantees.
            let parameters = DeleteParams {
                propagation_policy: Some(PropagationPolicy::Foreground),
                ..DeleteParams::default()
            };
            optional(self.api(id).await?.delete(&id.name, &parameters)).await?;
        }
        Ok(false)
    }
}
