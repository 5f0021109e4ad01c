//! The record of what was applied in this cluster for a workload. It outlives this process and its volume.
//!
//! One `ConfigMap` per placement in the operator's namespace. It is written *before* objects are applied, with the
//! union of old and new, and trimmed after the objects that are no longer wanted are gone: at any moment it names at
//! least every object that may exist. The epoch in it is the fence against an older plan.

use std::collections::BTreeMap;

use hanse_core::{
    id::{Epoch, WorkloadKey},
    workload::{GroupKind, ScalePath, Stop},
};
use hanse_crds::names;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, ListParams, ObjectMeta, Patch},
};
use serde::{Deserialize, Serialize};

use super::object_id::ObjectId;
use crate::cluster::{CallError, Cluster, applying, bounded, optional};

/// What was applied for a workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Inventory {
    /// The last epoch applied.
    pub(super) epoch: Epoch,
    /// Every object that may exist.
    #[serde(with = "listed")]
    pub(super) objects: BTreeMap<ObjectId, Entry>,
    /// The namespace that Hanse made for a guest, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) made_namespace: Option<String>,
}

impl Inventory {
    /// The kinds to watch, each with the version to watch it in.
    pub(super) fn kinds(&self) -> Vec<(GroupKind, String)> {
        let kinds = self.objects.iter();
        let kinds = kinds.map(|(id, entry)| (id.group_kind(), entry.version.clone()));
        kinds.collect::<BTreeMap<_, _>>().into_iter().collect()
    }

    /// The objects that must not run while this member's lease is over, and how each is stopped.
    pub(super) fn to_stop(&self) -> impl Iterator<Item = (&ObjectId, &Entry, Stop)> {
        let objects = self.objects.iter();
        objects.filter_map(|(id, entry)| Some((id, entry, entry.stop?)))
    }

    /// Whether anything here must not run while this member's lease is over.
    pub(super) fn is_single(&self) -> bool {
        self.to_stop().next().is_some()
    }

    /// The objects with Hanse's marks, each with where it has its replicas if it scales.
    pub(super) fn marked(&self) -> Vec<(ObjectId, ScalePath)> {
        let made = self.objects.iter().filter(|(id, entry)| {
            // A Namespace that existed before has none.
            entry.made || !id.is("", "Namespace")
        });
        made.map(|(id, entry)| (id.clone(), entry.scale.clone()))
            .collect()
    }
}

/// What is known of an object that was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry {
    /// The version it was written in, such as `v1`.
    pub(super) version: String,
    /// The wave it was applied in; the last is removed first.
    pub(super) wave: u8,
    /// Whether Hanse made it. What existed before is never deleted, except to stop a `Single`.
    pub(super) made: bool,
    /// How it is stopped when this member's lease ends; `None` if it may run on or runs nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) stop: Option<Stop>,
    /// Where it has its replicas, if it scales.
    #[serde(default, skip_serializing_if = "ScalePath::is_usual")]
    pub(super) scale: ScalePath,
}

/// A map by [`ObjectId`] as a list, because a key of JSON is a string.
mod listed {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{Entry, ObjectId};

    #[derive(Serialize, Deserialize)]
    struct Item {
        #[serde(flatten)]
        id: ObjectId,
        #[serde(flatten)]
        entry: Entry,
    }

    pub(super) fn serialize<S: Serializer>(
        objects: &BTreeMap<ObjectId, Entry>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(objects.iter().map(|(id, entry)| Item {
            id: id.clone(),
            entry: entry.clone(),
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<ObjectId, Entry>, D::Error> {
        let items = Vec::<Item>::deserialize(deserializer)?;
        Ok(items
            .into_iter()
            .map(|Item { id, entry }| (id, entry))
            .collect())
    }
}

const WORKLOAD: &str = "workload";
const INVENTORY: &str = "inventory";

/// Every inventory in this cluster. An unreadable one is an error, because its objects would never be removed.
pub(super) async fn list(cluster: &Cluster) -> Result<BTreeMap<WorkloadKey, Inventory>, CallError> {
    let selector = format!("{}={}", names::INVENTORY_LABEL, names::TRUE);
    let found = bounded(api(cluster).list(&ListParams::default().labels(&selector))).await?;
    let read = |map: ConfigMap| {
        let name = map.metadata.name.clone().unwrap_or_default();
        let data = map.data.unwrap_or_default();
        let parsed = data.get(WORKLOAD).and_then(|key| key.parse().ok()).zip(
            data.get(INVENTORY)
                .and_then(|text| serde_json::from_str(text).ok()),
        );
        parsed.ok_or_else(|| {
            CallError::Unavailable(format!(
                "the inventory in ConfigMap '{name}' is not readable"
            ))
        })
    };
    found.items.into_iter().map(read).collect()
}

/// Writes the inventory of `key`. The API server has stored it when this returns.
pub(super) async fn write(
    cluster: &Cluster,
    key: &WorkloadKey,
    inventory: &Inventory,
) -> Result<(), CallError> {
    let text = serde_json::to_string(inventory).unwrap_or_default();
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(name(key)),
            labels: Some(BTreeMap::from([(
                names::INVENTORY_LABEL.into(),
                names::TRUE.into(),
            )])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([
            (WORKLOAD.into(), key.to_string()),
            (INVENTORY.into(), text),
        ])),
        ..ConfigMap::default()
    };
    let parameters = applying();
    bounded(api(cluster).patch(&name(key), &parameters, &Patch::Apply(&map)))
        .await
        .map(drop)
}

/// Deletes the inventory of `key`.
pub(super) async fn delete(cluster: &Cluster, key: &WorkloadKey) -> Result<(), CallError> {
    optional(api(cluster).delete(&name(key), &DeleteParams::default()))
        .await
        .map(drop)
}

fn api(cluster: &Cluster) -> Api<ConfigMap> {
    Api::namespaced(cluster.client.clone(), &cluster.namespace)
}

/// The name contains the id of the key, because a key can be longer than a name.
fn name(key: &WorkloadKey) -> String {
    format!("hanse-{}", key.id())
}
