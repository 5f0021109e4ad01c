//! The calls that change this cluster: apply, prune, remove.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
};

use hanse_core::{
    id::{Digest, Epoch, Generation, WorkloadKey},
    slice::AssignedPlacement,
};
use hanse_crds::names;
use kube::{
    Api, Client,
    api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PropagationPolicy},
    core::GroupVersionKind,
    discovery::{self, Scope},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{
    build::marks,
    inventory::{self, Inventory, ObjectId},
    is_transient, locked,
    verify::Verified,
};
use crate::cluster::{CallError, Cluster, bounded, optional};

/// What was applied, and how the API server wrote it down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) epoch: Epoch,
    pub(super) generation: Generation,
    pub(super) replicas: u32,
    pub(super) stopped: bool,
    /// Each object with the fingerprint of the API server's answer.
    pub(super) objects: BTreeMap<ObjectId, Digest>,
}

impl Applied {
    /// What should be applied, before anything was.
    pub(super) fn wanted(placement: &AssignedPlacement, stopped: bool) -> Self {
        Self {
            epoch: placement.epoch,
            generation: placement.generation,
            replicas: placement.replicas,
            stopped,
            objects: BTreeMap::new(),
        }
    }

    /// Whether this was applied for the same placement in the same way.
    pub(super) fn is_for(&self, wanted: &Self) -> bool {
        let of = |applied: &Self| {
            (
                applied.epoch,
                applied.generation,
                applied.replicas,
                applied.stopped,
            )
        };
        of(self) == of(wanted)
    }

    /// The kinds to watch.
    pub(super) fn kinds(&self) -> BTreeSet<(String, String)> {
        self.objects
            .keys()
            .map(|id| (id.api_version.clone(), id.kind.clone()))
            .collect()
    }
}

/// Why a placement was not applied, and what may exist all the same.
pub(super) struct ApplyError {
    pub(super) transient: bool,
    pub(super) message: String,
    pub(super) inventory: Option<Inventory>,
}

/// A kind as this API server serves it.
#[derive(Clone)]
struct Kind {
    resource: ApiResource,
    namespaced: bool,
}

/// What the calls go through: the client and the kinds found so far.
pub(super) struct Hands {
    client: Client,
    kinds: Mutex<BTreeMap<(String, String), Kind>>,
}

impl Hands {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            kinds: Mutex::default(),
        }
    }

    /// Applies `objects` in order, then deletes what the inventory names and `objects` no longer do.
    pub(super) async fn apply(
        &self,
        cluster: &Cluster,
        key: &WorkloadKey,
        verified: &Verified,
        objects: Vec<Value>,
        before: Option<Inventory>,
        mut applied: Applied,
    ) -> Result<(Applied, Inventory), ApplyError> {
        let resolved = self
            .resolve(objects, verified)
            .await
            .map_err(|error| refused(error, None))?;
        let wanted: BTreeSet<ObjectId> = resolved.iter().map(|(id, _)| id.clone()).collect();
        let mut inventory = before.unwrap_or_default();
        let stale: BTreeSet<ObjectId> = inventory.objects.difference(&wanted).cloned().collect();
        let namespace = &verified.consent.namespace;
        self.none_is_foreign(key, wanted.difference(&inventory.objects))
            .await
            .map_err(|error| refused(error, None))?;
        let ours = self.namespace_is_ours(namespace).await;
        let ours =
            ours.map_err(|error| refused((format!("Namespace '{namespace}'"), error), None))?;
        let made = verified
            .consent
            .pod_security
            .filter(|_| ours)
            .map(|_| namespace.clone());
        inventory.epoch = applied.epoch;
        inventory.made_namespace = inventory.made_namespace.or(made);
        inventory.objects.extend(wanted.iter().cloned());
        let written = inventory::write(cluster, key, &inventory).await;
        written.map_err(|error| refused(("inventory".into(), error), None))?;
        let result = async {
            self.namespace(key, verified, ours)
                .await
                .map_err(|error| (format!("Namespace '{namespace}'"), error))?;
            for (id, object) in resolved {
                let answer = self
                    .patch(&id, &object)
                    .await
                    .map_err(|error| (id.to_string(), error))?;
                applied.objects.insert(id, fingerprint(&answer));
            }
            for id in &stale {
                self.delete(key, id)
                    .await
                    .map_err(|error| (id.to_string(), error))?;
            }
            Ok::<(), (String, CallError)>(())
        };
        result
            .await
            .map_err(|error| refused(error, Some(inventory.clone())))?;
        if !stale.is_empty() {
            inventory.objects = wanted;
            let trimmed = inventory::write(cluster, key, &inventory).await;
            trimmed
                .map_err(|error| refused(("inventory".into(), error), Some(inventory.clone())))?;
        }
        Ok((applied, inventory))
    }

    /// Gives each object its id, and takes the namespace away from those of the whole cluster.
    async fn resolve(
        &self,
        objects: Vec<Value>,
        verified: &Verified,
    ) -> Result<Vec<(ObjectId, Value)>, (String, CallError)> {
        let mut resolved = Vec::new();
        for mut object in objects {
            let text = |pointer: &str| {
                object
                    .pointer(pointer)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let (api_version, kind, name) =
                (text("/apiVersion"), text("/kind"), text("/metadata/name"));
            let subject = format!("{kind} '{name}'");
            let served = self
                .kind(&api_version, &kind)
                .await
                .map_err(|error| (subject.clone(), error))?;
            let namespace = if served.namespaced {
                verified.consent.namespace.clone()
            } else {
                String::new()
            };
            if !served.namespaced && verified.guest {
                let message =
                    "an object of the whole cluster is not for a guest to place".to_owned();
                return Err((subject, CallError::Refused { code: 403, message }));
            }
            if let (false, Some(metadata)) = (served.namespaced, object["metadata"].as_object_mut())
            {
                metadata.remove("namespace");
            }
            resolved.push((
                ObjectId {
                    api_version,
                    kind,
                    namespace,
                    name,
                },
                object,
            ));
        }
        Ok(resolved)
    }

    async fn kind(&self, api_version: &str, kind: &str) -> Result<Kind, CallError> {
        let key = (api_version.to_owned(), kind.to_owned());
        if let Some(found) = locked(&self.kinds).get(&key) {
            return Ok(found.clone());
        }
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let wanted = GroupVersionKind::gvk(group, version, kind);
        let (resource, capabilities) =
            match bounded(discovery::pinned_kind(&self.client, &wanted)).await {
                Ok(found) => found,
                // Unknown kinds are looked up again each time: a CRD may be installed at any moment.
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
        locked(&self.kinds).insert(key, found.clone());
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

    async fn patch(&self, id: &ObjectId, object: &Value) -> Result<Value, CallError> {
        let parameters = PatchParams::apply(names::FIELD_MANAGER).force();
        let api = self.api(id).await?;
        let answer = bounded(api.patch(&id.name, &parameters, &Patch::Apply(object))).await?;
        Ok(serde_json::to_value(answer).unwrap_or_default())
    }

    /// Refuses to take over an object that somebody else made: what is there already and not marked is not ours.
    async fn none_is_foreign(
        &self,
        key: &WorkloadKey,
        new: impl Iterator<Item = &ObjectId>,
    ) -> Result<(), (String, CallError)> {
        for id in new {
            let found = async { optional(self.api(id).await?.get(&id.name)).await };
            let Some(object) = found.await.map_err(|error| (id.to_string(), error))? else {
                continue;
            };
            let labels = object.metadata.labels.unwrap_or_default();
            if marks(key)
                .iter()
                .any(|(name, value)| labels.get(*name) != Some(value))
            {
                let message = "an object of this name is there already and was not made for this workload; delete it or \
                    choose another name"
                    .to_owned();
                return Err((id.to_string(), CallError::Refused { code: 409, message }));
            }
        }
        Ok(())
    }

    /// Whether a namespace is not there yet, or was made by Hanse.
    async fn namespace_is_ours(&self, name: &str) -> Result<bool, CallError> {
        let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client.clone());
        let found = optional(api.get(name)).await?;
        Ok(found.is_none_or(|found| {
            let labels = found.metadata.labels.unwrap_or_default();
            labels.get(names::MANAGED_BY_LABEL).map(String::as_str) == Some(names::FIELD_MANAGER)
        }))
    }

    /// A namespace of the same owner only has to exist; that of a guest is made for it, at the level its grant says. One
    /// that somebody else made keeps its labels.
    async fn namespace(
        &self,
        key: &WorkloadKey,
        verified: &Verified,
        ours: bool,
    ) -> Result<(), CallError> {
        let name = &verified.consent.namespace;
        let mut namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        if let Some(level) = verified.consent.pod_security.filter(|_| ours) {
            namespace["metadata"]["labels"] = json!({
                names::MANAGED_BY_LABEL: names::FIELD_MANAGER,
                names::OWNER_LABEL: key.owner.as_str(),
                "pod-security.kubernetes.io/enforce": level.label(),
            });
        }
        let id = ObjectId {
            api_version: "v1".into(),
            kind: "Namespace".into(),
            namespace: String::new(),
            name: name.clone(),
        };
        self.patch(&id, &namespace).await.map(drop)
    }

    /// Deletes everything in the inventory that is there. Whether nothing is left.
    pub(super) async fn remove(
        &self,
        cluster: &Cluster,
        key: &WorkloadKey,
        inventory: &Inventory,
    ) -> Result<bool, CallError> {
        let mut gone = true;
        // The last applied is the first to go: what others depend on stays until they have stopped.
        for id in inventory.objects.iter().rev() {
            gone &= self.delete(key, id).await?;
        }
        if gone {
            inventory::delete(cluster, key).await?;
            if let Some(namespace) = &inventory.made_namespace {
                self.remove_namespace(cluster, namespace).await?;
            }
        }
        Ok(gone)
    }

    /// Deletes one object, if it is marked as this workload's, with everything that belongs to it. Whether it is gone.
    async fn delete(&self, key: &WorkloadKey, id: &ObjectId) -> Result<bool, CallError> {
        let api = match self.api(id).await {
            Ok(api) => api,
            // A kind that is no longer served has no objects.
            Err(CallError::Refused { code: 404, .. }) => return Ok(true),
            Err(error) => return Err(error),
        };
        let Some(object) = optional(api.get(&id.name)).await? else {
            return Ok(true);
        };
        let labels = object.metadata.labels.unwrap_or_default();
        if marks(key)
            .iter()
            .any(|(name, value)| labels.get(*name) != Some(value))
        {
            // Somebody made it their own.
            return Ok(true);
        }
        if object.metadata.deletion_timestamp.is_none() {
            // In the foreground: it is gone only when its pods are, which is what a removal promises.
            let parameters = DeleteParams {
                propagation_policy: Some(PropagationPolicy::Foreground),
                ..DeleteParams::default()
            };
            optional(api.delete(&id.name, &parameters)).await?;
        }
        Ok(false)
    }

    /// Deletes a namespace made for a guest once no inventory speaks of it any more.
    async fn remove_namespace(&self, cluster: &Cluster, namespace: &str) -> Result<(), CallError> {
        let others = inventory::list(cluster).await?;
        if others
            .values()
            .any(|other| other.made_namespace.as_deref() == Some(namespace))
        {
            return Ok(());
        }
        let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client.clone());
        let Some(found) = optional(api.get(namespace)).await? else {
            return Ok(());
        };
        let labels = found.metadata.labels.unwrap_or_default();
        if labels.get(names::MANAGED_BY_LABEL).map(String::as_str) == Some(names::FIELD_MANAGER) {
            optional(api.delete(namespace, &DeleteParams::default())).await?;
        }
        Ok(())
    }
}

fn refused((subject, error): (String, CallError), inventory: Option<Inventory>) -> ApplyError {
    ApplyError {
        transient: is_transient(&error),
        message: format!("{subject}: {error}"),
        inventory,
    }
}

/// What of an object somebody may have changed by hand: all of it but its status and what the API server counts.
pub(super) fn fingerprint(object: &Value) -> Digest {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for counted in [
            "managedFields",
            "resourceVersion",
            "generation",
            "uid",
            "creationTimestamp",
        ] {
            metadata.remove(counted);
        }
    }
    Digest(Sha256::digest(object.to_string()).into())
}
