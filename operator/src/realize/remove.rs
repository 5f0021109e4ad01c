//! Removes objects from this cluster: in the reverse order of their application, a wave gone before the next is touched.
//!
//! What Hanse did not make, what others still use and what the removal keeps stays.

use std::collections::{BTreeMap, BTreeSet};

use hanse_core::{id::WorkloadKey, state::Keep, workload::ManifestId};
use kube::api::DynamicObject;

use super::{
    inventory::{Entry, Inventory},
    marks::workload_of,
    object_id::ObjectId,
    objects::Objects,
    used::users_of,
};
use crate::cluster::CallError;

/// What Kubernetes itself removes when the dependents of an object are gone.
const FOREGROUND: &str = "foregroundDeletion";

/// What came of removing objects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Removal {
    /// What is still there, and what it waits for.
    pub(super) pending: Vec<String>,
    /// What stays although it is no longer part of the workload, and why.
    pub(super) left: Vec<String>,
}

/// What became of one object.
enum Fate {
    Gone,
    Going(String),
    Left(String),
}

/// What is removed, and how.
pub(super) struct Removing<'a> {
    pub(super) key: &'a WorkloadKey,
    pub(super) keep: Keep,
    /// The objects that another workload of the same tenant wants here: it gets them as they are.
    pub(super) heirs: BTreeMap<ManifestId, WorkloadKey>,
}

/// Removes `ids`, and takes those that are gone or left behind out of `inventory`.
pub(super) async fn remove(
    objects: &Objects,
    removing: &Removing<'_>,
    inventory: &mut Inventory,
    ids: &BTreeSet<ObjectId>,
) -> Result<Removal, CallError> {
    let mut waves: BTreeMap<u8, Vec<(ObjectId, Entry)>> = BTreeMap::new();
    for (id, entry) in inventory.objects.iter().filter(|(id, _)| ids.contains(id)) {
        let wave = waves.entry(entry.wave).or_default();
        wave.push((id.clone(), entry.clone()));
    }
    let mut removal = Removal::default();
    for wave in waves.into_values().rev() {
        for (id, entry) in wave {
            match remove_one(objects, removing, &id, &entry).await? {
                Fate::Going(why) => {
                    removal.pending.push(format!("{id} {why}"));
                    continue;
                }
                Fate::Left(why) => removal.left.push(format!("{id} stays: {why}")),
                Fate::Gone => {}
            }
            inventory.objects.remove(&id);
        }
        if !removal.pending.is_empty() {
            break;
        }
    }
    Ok(removal)
}

async fn remove_one(
    objects: &Objects,
    removing: &Removing<'_>,
    id: &ObjectId,
    entry: &Entry,
) -> Result<Fate, CallError> {
    let Removing { key, keep, heirs } = removing;
    let (key, keep) = (*key, *keep);
    let version = &entry.version;
    let found = objects.get(id, version).await?;
    let Some(object) = found.filter(|it| workload_of(&it.metadata).as_ref() == Some(key)) else {
        return Ok(Fate::Gone);
    };
    if let Some(heir) = heirs.get(&id.manifest()) {
        objects.hand_over(id, version, heir).await?;
        return Ok(Fate::Gone);
    }
    let is_volume = id.is("", "PersistentVolumeClaim");
    if keep == Keep::Everything || !entry.made {
        objects.unmark(id, version).await?;
        let why = if entry.made {
            "its workload was deleted with 'hanse.dev/on-delete: Orphan'"
        } else {
            "it existed before its workload"
        };
        return Ok(Fate::Left(why.to_owned()));
    }
    // The marks stay: if the workload comes back, it finds its data.
    if keep == Keep::Volumes && is_volume {
        return Ok(Fate::Left(
            "volumes are kept when a placement moves".to_owned(),
        ));
    }
    if object.metadata.deletion_timestamp.is_some() {
        return Ok(Fate::Going(waits_for(&object)));
    }
    if let Some(users) = users_of(objects, key, id, &object).await? {
        objects.unmark(id, version).await?;
        return Ok(Fate::Left(users));
    }
    objects.delete(id, version, &object).await?;
    Ok(Fate::Going("is being deleted".to_owned()))
}

/// What an object whose deletion was asked for waits for.
fn waits_for(object: &DynamicObject) -> String {
    let finalizers = object.metadata.finalizers.iter().flatten();
    let others: Vec<_> = finalizers
        .filter(|name| *name != FOREGROUND)
        .map(String::as_str)
        .collect();
    if others.is_empty() {
        "is being deleted".to_owned()
    } else {
        format!(
            "is being deleted and waits for its finalizers: {}",
            others.join(", ")
        )
    }
}
