//! The objects that carry Hanse's marks, as this cluster's API server has them: one watch per kind, started on demand.
//!
//! A change marks the workload of the object. An object that was deleted is remembered as gone, so that the next round
//! applies it again. While the API server cannot be reached the last known objects stay.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{StreamExt, pin_mut};
use hanse_core::{health, id::WorkloadKey, workload::GroupKind};
use hanse_crds::names;
use kube::{
    Api, Client,
    api::DynamicObject,
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{marks::workload_of, object_id::ObjectId, objects::served, owned::light};
use crate::cluster::agenda::{Agenda, backoff};

/// Cheap to clone; all clones share one state.
#[derive(Clone)]
pub(super) struct Live {
    client: Client,
    agenda: Agenda<WorkloadKey>,
    /// `None` for an object that was there and is gone.
    objects: Arc<Mutex<BTreeMap<ObjectId, (WorkloadKey, Option<Arc<Value>>)>>>,
    watched: Arc<Mutex<BTreeSet<GroupKind>>>,
    /// The objects that were seen to have completed. A Job can be deleted by its time to live before a round sees it.
    completed: Arc<Mutex<BTreeSet<ObjectId>>>,
    stop: CancellationToken,
}

impl Live {
    pub(super) fn new(
        client: Client,
        agenda: Agenda<WorkloadKey>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            client,
            agenda,
            objects: Arc::default(),
            watched: Arc::default(),
            completed: Arc::default(),
            stop,
        }
    }

    pub(super) fn get(&self, id: &ObjectId) -> Option<Arc<Value>> {
        let objects = self.objects.lock();
        objects.get(id).and_then(|(_, object)| object.clone())
    }

    /// Whether the object was deleted, other than after it had completed.
    pub(super) fn is_gone(&self, id: &ObjectId) -> bool {
        let gone = self
            .objects
            .lock()
            .get(id)
            .is_some_and(|(_, object)| object.is_none());
        gone && !self.has_completed(id)
    }

    /// Whether the newest object of this id was seen to have completed, even if it is gone.
    pub(super) fn has_completed(&self, id: &ObjectId) -> bool {
        self.completed.lock().contains(id)
    }

    /// Forgets that these objects have completed: they are no longer wanted.
    pub(super) fn forget_completed(&self, ids: &BTreeSet<ObjectId>) {
        self.completed.lock().retain(|id| !ids.contains(id));
    }

    /// Forgets what is gone of workloads that are not placed here.
    pub(super) fn forget_gone(&self, is_placed: impl Fn(&WorkloadKey) -> bool) {
        let mut objects = self.objects.lock();
        objects.retain(|_, (key, object)| object.is_some() || is_placed(key));
    }

    /// Starts a watch for each kind that is not watched yet. The version is the one to watch it in.
    pub(super) fn watch(&self, kinds: Vec<(GroupKind, String)>) {
        for (kind, version) in kinds {
            if self.watched.lock().insert(kind.clone()) {
                let live = self.clone();
                tokio::spawn(async move {
                    let stop = live.stop.clone();
                    stop.run_until_cancelled(live.keep(kind, version)).await;
                });
            }
        }
    }

    async fn keep(&self, kind: GroupKind, version: String) {
        let mut failures = 0;
        let resource = loop {
            match served(&self.client, &kind, &version).await {
                Ok(kind) => break kind.resource,
                Err(error) => {
                    warn!(%kind, %error, "cannot watch, trying again");
                    tokio::time::sleep(backoff(failures)).await;
                    failures += 1;
                }
            }
        };
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        let marked = watcher::Config::default().labels(names::WORKLOAD_LABEL);
        let events = watcher(api, marked).default_backoff();
        pin_mut!(events);
        let mut listed = BTreeSet::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(watcher::Event::Init) => listed.clear(),
                Ok(watcher::Event::InitApply(object)) => {
                    listed.extend(self.changed(&kind, &version, &object));
                }
                Ok(watcher::Event::InitDone) => self.forget_unlisted(&kind, &listed),
                Ok(watcher::Event::Apply(object)) => {
                    drop(self.changed(&kind, &version, &object));
                }
                Ok(watcher::Event::Delete(object)) => {
                    self.deleted(&id_of(&kind, &object));
                }
                Err(error) => warn!(%kind, %error, "the watch was interrupted"),
            }
        }
    }

    fn changed(&self, kind: &GroupKind, version: &str, object: &DynamicObject) -> Option<ObjectId> {
        let id = id_of(kind, object);
        let key = workload_of(&object.metadata)?;
        let value = Arc::new(light(typed(kind, version, object)));
        if health::is_complete(&value) {
            self.completed.lock().insert(id.clone());
        } else {
            self.completed.lock().remove(&id);
        }
        let known = (key.clone(), Some(value));
        self.objects.lock().insert(id.clone(), known);
        self.agenda.mark(key);
        Some(id)
    }

    fn deleted(&self, id: &ObjectId) {
        let mut objects = self.objects.lock();
        let Some((key, object)) = objects.get_mut(id) else {
            return;
        };
        if object.take().is_some() {
            self.agenda.mark(key.clone());
        }
    }

    fn forget_unlisted(&self, kind: &GroupKind, listed: &BTreeSet<ObjectId>) {
        let known: Vec<ObjectId> = self.objects.lock().keys().cloned().collect();
        let of_kind = known.iter().filter(|id| id.group_kind() == *kind);
        of_kind
            .filter(|id| !listed.contains(id))
            .for_each(|id| self.deleted(id));
    }
}

/// The object with its version and kind, which the items of a list do not carry.
fn typed(GroupKind { group, kind }: &GroupKind, version: &str, object: &DynamicObject) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    value["apiVersion"] = if group.is_empty() {
        json!(version)
    } else {
        json!(format!("{group}/{version}"))
    };
    value["kind"] = json!(kind);
    value
}

fn id_of(kind: &GroupKind, object: &DynamicObject) -> ObjectId {
    ObjectId {
        group: kind.group.clone(),
        kind: kind.kind.clone(),
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_of_a_list_gets_its_version_and_kind() {
        let item: DynamicObject =
            serde_json::from_value(json!({"metadata": {"name": "data"}})).unwrap();
        let kind = |group: &str, kind: &str| GroupKind {
            group: group.to_owned(),
            kind: kind.to_owned(),
        };
        assert_eq!(
            typed(&kind("", "PersistentVolumeClaim"), "v1", &item),
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "data"}})
        );
        let job = typed(&kind("batch", "Job"), "v1", &item);
        assert_eq!(job["apiVersion"], "batch/v1");
    }
}
