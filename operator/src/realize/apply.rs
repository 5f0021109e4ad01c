//! The fourth and fifth step: apply the built objects, then prune the objects of an earlier specification.
//!
//! The inventory is written before the first object is applied and trimmed after the last is pruned, so that at any
//! moment it names at least every object that may exist.

use std::collections::{BTreeMap, BTreeSet};

use hanse_core::{
    id::{Digest, Epoch, Generation, WorkloadKey},
    slice::AssignedPlacement,
    workload::Share,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{
    build::Built,
    inventory::{self, Inventory},
    marks::workload_of,
    namespace,
    object_id::ObjectId,
    objects::Objects,
    verify::Verified,
};
use crate::cluster::{CallError, Cluster};

/// The applied objects, and what the API server stored for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) epoch: Epoch,
    pub(super) generation: Generation,
    pub(super) share: Share,
    pub(super) stopped: bool,
    /// Each object with the fingerprint of the API server's answer.
    pub(super) objects: BTreeMap<ObjectId, Digest>,
}

impl Record {
    /// The record of `placement` before any of its objects was applied.
    pub(super) fn of(placement: &AssignedPlacement, stopped: bool) -> Self {
        Self {
            epoch: placement.epoch,
            generation: placement.generation,
            share: placement.share.clone(),
            stopped,
            objects: BTreeMap::new(),
        }
    }

    /// Whether this record is of the same placement, stopped or running alike.
    pub(super) fn is_for(&self, wanted: &Self) -> bool {
        let same_decision = (self.epoch, self.generation) == (wanted.epoch, wanted.generation);
        same_decision && self.share == wanted.share && self.stopped == wanted.stopped
    }

    /// The kinds to watch, as `apiVersion` and `kind`.
    pub(super) fn kinds(&self) -> BTreeSet<(String, String)> {
        self.objects
            .keys()
            .map(|id| (id.api_version.clone(), id.kind.clone()))
            .collect()
    }
}

/// All objects are applied; those of an earlier specification still exist.
pub(super) struct Applied<'a> {
    key: &'a WorkloadKey,
    record: Record,
    inventory: Inventory,
    left_behind: BTreeSet<ObjectId>,
}

/// All objects are applied, and those of an earlier specification are pruned.
pub(super) struct Pruned {
    pub(super) record: Record,
    pub(super) inventory: Inventory,
}

/// Why a placement was not applied or pruned, and which objects may exist nevertheless.
pub(super) struct ApplyError {
    pub(super) transient: bool,
    pub(super) message: String,
    /// `None` if nothing was changed.
    pub(super) inventory: Option<Inventory>,
}

impl ApplyError {
    fn new(subject: impl std::fmt::Display, error: &CallError) -> Self {
        Self {
            transient: error.is_transient(),
            message: format!("{subject}: {error}"),
            inventory: None,
        }
    }

    fn leaving(self, inventory: &Inventory) -> Self {
        Self {
            inventory: Some(inventory.clone()),
            ..self
        }
    }
}

/// Applies the objects in the order of the manifests.
pub(super) async fn apply<'a>(
    cluster: &Cluster,
    objects: &Objects,
    built: Built<'a>,
) -> Result<Applied<'a>, ApplyError> {
    let Built {
        mut verified,
        stopped,
        objects: built,
    } = built;
    let (key, placement) = (verified.key(), verified.placement());
    let resolved = resolve(objects, built, &verified).await?;
    let wanted: BTreeSet<ObjectId> = resolved.iter().map(|(id, _)| id.clone()).collect();
    let mut inventory = verified.take_inventory();
    let new: Vec<&ObjectId> = wanted.difference(&inventory.objects).collect();
    none_is_foreign(objects, key, &new).await?;
    let left_behind = inventory.objects.difference(&wanted).cloned().collect();
    inventory.objects.extend(wanted);
    inventory.epoch = placement.epoch;
    prepare_namespace(cluster, &verified, &mut inventory).await?;
    let mut record = Record::of(placement, stopped);
    for (id, object) in resolved {
        let answer = objects.apply(&id, &object).await;
        let answer = answer.map_err(|error| ApplyError::new(&id, &error).leaving(&inventory))?;
        record.objects.insert(id, fingerprint(&answer));
    }
    Ok(Applied {
        key,
        record,
        inventory,
        left_behind,
    })
}

/// Writes the inventory, then makes the namespace, so that the inventory always names a namespace made for a guest.
async fn prepare_namespace(
    cluster: &Cluster,
    verified: &Verified<'_>,
    inventory: &mut Inventory,
) -> Result<(), ApplyError> {
    let (key, consent) = (verified.key(), verified.consent());
    let subject = format!("Namespace '{}'", consent.namespace);
    let ours = namespace::is_ours(&cluster.client, &consent.namespace)
        .await
        .map_err(|error| ApplyError::new(&subject, &error))?;
    if ours && consent.pod_security.is_some() && inventory.made_namespace.is_none() {
        inventory.made_namespace = Some(consent.namespace.clone());
    }
    inventory::write(cluster, key, inventory)
        .await
        .map_err(|error| ApplyError::new("inventory", &error))?;
    namespace::make(&cluster.client, &key.owner, verified, ours)
        .await
        .map_err(|error| ApplyError::new(&subject, &error).leaving(inventory))
}

/// Deletes the objects that the inventory names and the placement no longer contains.
pub(super) async fn prune(
    cluster: &Cluster,
    objects: &Objects,
    applied: Applied<'_>,
) -> Result<Pruned, ApplyError> {
    let Applied {
        key,
        record,
        mut inventory,
        left_behind,
    } = applied;
    for id in &left_behind {
        let deleted = objects.delete(key, id).await;
        deleted.map_err(|error| ApplyError::new(id, &error).leaving(&inventory))?;
    }
    if !left_behind.is_empty() {
        inventory.objects = record.objects.keys().cloned().collect();
        let trimmed = inventory::write(cluster, key, &inventory).await;
        trimmed.map_err(|error| ApplyError::new("inventory", &error).leaving(&inventory))?;
    }
    Ok(Pruned { record, inventory })
}

/// Gives each object its id, and removes the namespace from cluster-scoped objects.
async fn resolve(
    objects: &Objects,
    built: Vec<Value>,
    verified: &Verified<'_>,
) -> Result<Vec<(ObjectId, Value)>, ApplyError> {
    let mut resolved = Vec::new();
    for mut object in built {
        let mut id = ObjectId::of(&object, &verified.consent().namespace);
        let namespaced = objects
            .is_namespaced(&id.api_version, &id.kind)
            .await
            .map_err(|error| ApplyError::new(&id, &error))?;
        if !namespaced && verified.is_guest() {
            let message = "a guest must not place a cluster-scoped object".to_owned();
            let error = CallError::Refused { code: 403, message };
            return Err(ApplyError::new(&id, &error));
        }
        if !namespaced {
            id.namespace.clear();
            if let Some(metadata) = object["metadata"].as_object_mut() {
                metadata.remove("namespace");
            }
        }
        resolved.push((id, object));
    }
    Ok(resolved)
}

/// Refuses to take over an existing object that does not carry this workload's marks: somebody else made it.
async fn none_is_foreign(
    objects: &Objects,
    key: &WorkloadKey,
    new: &[&ObjectId],
) -> Result<(), ApplyError> {
    for id in new {
        let found = objects.get(id).await;
        let found = found.map_err(|error| ApplyError::new(id, &error))?;
        if found.is_some_and(|it| workload_of(&it.metadata).as_ref() != Some(key)) {
            let message = "an object of this name exists already and was not made for this workload; delete it or \
                choose another name"
                .to_owned();
            let error = CallError::Refused { code: 409, message };
            return Err(ApplyError::new(id, &error));
        }
    }
    Ok(())
}

/// The digest of an object, for detecting changes by hand: without its status and the metadata that the API server
/// sets.
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
