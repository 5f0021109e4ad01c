//! The objects that carry Hanse's marks, as this cluster's API server has them: one watch per kind, started on demand.
//!
//! A change marks the workload of the object. A deletion also drops the record of what was applied for the workload, so
//! that the next round applies it again. While the API server cannot be reached the last known objects stay.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{StreamExt, pin_mut};
use hanse_core::id::WorkloadKey;
use hanse_crds::names;
use kube::{
    Api, Client,
    api::DynamicObject,
    core::GroupVersionKind,
    discovery,
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    apply::{Record, fingerprint},
    marks::workload_of,
    object_id::ObjectId,
};
use crate::cluster::{
    agenda::{Agenda, backoff},
    bounded,
};

/// Cheap to clone; all clones share one state.
#[derive(Clone)]
pub(super) struct Live {
    client: Client,
    agenda: Agenda<WorkloadKey>,
    applied: Arc<Mutex<BTreeMap<WorkloadKey, Record>>>,
    objects: Arc<Mutex<BTreeMap<ObjectId, (WorkloadKey, Arc<Value>)>>>,
    watched: Arc<Mutex<BTreeSet<(String, String)>>>,
    stop: CancellationToken,
}

impl Live {
    pub(super) fn new(
        client: Client,
        agenda: Agenda<WorkloadKey>,
        applied: Arc<Mutex<BTreeMap<WorkloadKey, Record>>>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            client,
            agenda,
            applied,
            objects: Arc::default(),
            watched: Arc::default(),
            stop,
        }
    }

    pub(super) fn get(&self, id: &ObjectId) -> Option<Arc<Value>> {
        self.objects
            .lock()
            .get(id)
            .map(|(_, object)| object.clone())
    }

    /// Whether this process applied `wanted` and the watches show no change of its objects since.
    pub(super) fn is_as_applied(
        &self,
        key: &WorkloadKey,
        wanted: &Record,
        objects: &[Value],
    ) -> bool {
        let applied = self.applied.lock();
        let Some(applied) = applied.get(key) else {
            return false;
        };
        let untouched = applied.objects.iter().all(|(id, applied)| {
            // An object that the watch has not shown yet counts as unchanged. A deletion drops the whole record.
            self.get(id)
                .is_none_or(|object| fingerprint(&object) == *applied)
        });
        applied.is_for(wanted) && applied.objects.len() == objects.len() && untouched
    }

    /// Starts a watch for each kind that is not watched yet.
    pub(super) fn watch(&self, kinds: BTreeSet<(String, String)>) {
        for kind in kinds {
            if self.watched.lock().insert(kind.clone()) {
                let live = self.clone();
                tokio::spawn(async move {
                    let stop = live.stop.clone();
                    stop.run_until_cancelled(live.keep(kind)).await;
                });
            }
        }
    }

    async fn keep(&self, (api_version, kind): (String, String)) {
        let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
        let wanted = GroupVersionKind::gvk(group, version, &kind);
        let mut failures = 0;
        let resource = loop {
            match bounded(discovery::pinned_kind(&self.client, &wanted)).await {
                Ok((resource, _)) => break resource,
                Err(error) => {
                    warn!(kind, %error, "cannot watch, trying again");
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
                    listed.extend(self.changed(&api_version, &kind, object));
                }
                Ok(watcher::Event::InitDone) => self.forget_unlisted(&api_version, &kind, &listed),
                Ok(watcher::Event::Apply(object)) => {
                    drop(self.changed(&api_version, &kind, object));
                }
                Ok(watcher::Event::Delete(object)) => {
                    self.deleted(&id_of(&api_version, &kind, &object));
                }
                Err(error) => warn!(kind, %error, "the watch was interrupted"),
            }
        }
    }

    fn changed(&self, api_version: &str, kind: &str, object: DynamicObject) -> Option<ObjectId> {
        let id = id_of(api_version, kind, &object);
        let key = workload_of(&object.metadata)?;
        let value = Arc::new(serde_json::to_value(object).unwrap_or_default());
        self.objects.lock().insert(id.clone(), (key.clone(), value));
        self.agenda.mark(key);
        Some(id)
    }

    fn deleted(&self, id: &ObjectId) {
        let Some((key, _)) = self.objects.lock().remove(id) else {
            return;
        };
        self.applied.lock().remove(&key);
        self.agenda.mark(key);
    }

    fn forget_unlisted(&self, api_version: &str, kind: &str, listed: &BTreeSet<ObjectId>) {
        let known: Vec<ObjectId> = self.objects.lock().keys().cloned().collect();
        let of_kind = known
            .iter()
            .filter(|id| id.api_version == api_version && id.kind == kind);
        of_kind
            .filter(|id| !listed.contains(id))
            .for_each(|id| self.deleted(id));
    }
}

fn id_of(api_version: &str, kind: &str, object: &DynamicObject) -> ObjectId {
    ObjectId {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
    }
}
