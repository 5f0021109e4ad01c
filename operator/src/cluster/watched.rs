//! The objects of one kind in the local API server, kept up to date by one watch.
//!
//! Input: a watch. Output: [`Watched::get`] returns an object, and each change marks the object on the agendas that
//! were registered with [`Watched::tell`]. An object that this version cannot read does not stop the watch: it is kept
//! as unreadable, with the reason. While the API server cannot be reached the last known objects stay.
//!
//! Absent is not deleted: until [`Watched::completed`], an object that is missing here may exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Arc,
};

use futures::{StreamExt, pin_mut};
use kube::{
    Api, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{WatchStreamExt, watcher},
};
use parking_lot::{Mutex, MutexGuard};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::agenda::Agenda;

/// The namespace (empty for cluster-scoped kinds) and name of an object.
pub(crate) type ObjectKey = (String, String);

/// An object, or why it cannot be read.
pub(crate) type Readable<K> = Result<Arc<K>, String>;

/// The objects of one kind. Cheap to clone; all clones share them.
#[derive(Debug)]
pub(crate) struct Watched<K> {
    inner: Arc<Inner<K>>,
}

#[derive(Debug)]
struct Inner<K> {
    objects: Mutex<BTreeMap<ObjectKey, Readable<K>>>,
    listeners: Mutex<Vec<Agenda<ObjectKey>>>,
    complete: watch::Sender<bool>,
    /// Counts changes, for readers of all objects.
    version: watch::Sender<u64>,
}

impl<K> Clone for Watched<K> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<K> Default for Watched<K> {
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                objects: Mutex::default(),
                listeners: Mutex::default(),
                complete: watch::Sender::new(false),
                version: watch::Sender::new(0),
            }),
        }
    }
}

impl<K> Watched<K> {
    /// The object of that name, if it is there.
    pub(crate) fn get(&self, key: &ObjectKey) -> Option<Readable<K>> {
        self.objects().get(key).cloned()
    }

    /// All objects, in the order of their keys.
    pub(crate) fn all(&self) -> Vec<(ObjectKey, Readable<K>)> {
        let objects = self.objects();
        objects
            .iter()
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect()
    }

    /// The names of all objects.
    pub(crate) fn keys(&self) -> BTreeSet<ObjectKey> {
        self.objects().keys().cloned().collect()
    }

    /// Whether the first list is complete.
    #[cfg(test)]
    pub(crate) fn is_complete(&self) -> bool {
        *self.inner.complete.borrow()
    }

    /// Waits until the first list is complete.
    pub(crate) async fn completed(&self) {
        let mut complete = self.inner.complete.subscribe();
        // The sender is in `self`, so the channel does not close: this returns when the value is true.
        let _ = complete.wait_for(|complete| *complete).await;
    }

    /// Changes whenever any object changes.
    pub(crate) fn version(&self) -> watch::Receiver<u64> {
        self.inner.version.subscribe()
    }

    /// Marks every object on `agenda`, now and whenever it changes.
    pub(crate) fn tell(&self, agenda: &Agenda<ObjectKey>) {
        agenda.mark_all(self.keys());
        self.listeners().push(agenda.clone());
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<ObjectKey, Readable<K>>> {
        self.inner.objects.lock()
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Agenda<ObjectKey>>> {
        self.inner.listeners.lock()
    }

    fn changed(&self, keys: &BTreeSet<ObjectKey>) {
        for listener in self.listeners().iter() {
            listener.mark_all(keys.iter().cloned());
        }
        self.inner.version.send_modify(|version| *version += 1);
    }
}

impl<K: Resource> Watched<K> {
    /// Stores the API server's answer to a write before the watch delivers it, so that no reader acts on the older
    /// object.
    pub(crate) fn put(&self, object: K) {
        let key = key_of(&object);
        let mut objects = self.objects();
        let known = objects.get(&key).and_then(|known| known.as_ref().ok());
        let newer = known.is_none_or(|known| revision(&object) > revision(known.as_ref()));
        if newer {
            objects.insert(key, Ok(Arc::new(object)));
        }
    }
}

/// The order in which the API server wrote objects. Since 1.35 Kubernetes guarantees that resource versions of one kind
/// can be compared as numbers; with etcd that has always been so.
pub(crate) fn revision(object: &impl Resource) -> u64 {
    let revision = object.meta().resource_version.as_deref();
    revision
        .and_then(|revision| revision.parse().ok())
        .unwrap_or(u64::MAX)
}

pub(crate) fn key_of(object: &impl ResourceExt) -> ObjectKey {
    (object.namespace().unwrap_or_default(), object.name_any())
}

impl<K> Watched<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    /// Watches until `stop`. `api` also returns objects that cannot be read, see [`DeserializeGuard`].
    pub(crate) async fn keep(
        &self,
        api: Api<DeserializeGuard<K>>,
        config: watcher::Config,
        stop: &CancellationToken,
    ) {
        let kind = K::kind(&());
        let events = watcher(api, config).default_backoff();
        pin_mut!(events);
        let mut listing = BTreeMap::new();
        while let Some(event) = stop.run_until_cancelled(events.next()).await.flatten() {
            match event {
                Ok(event) => self.take_in(event, &mut listing),
                Err(error) => {
                    tracing::warn!(%kind, error = %error, "failed to watch; retrying, the last known objects stay");
                }
            }
        }
    }

    fn take_in(
        &self,
        event: watcher::Event<DeserializeGuard<K>>,
        listing: &mut BTreeMap<ObjectKey, Readable<K>>,
    ) {
        match event {
            watcher::Event::Init => listing.clear(),
            watcher::Event::InitApply(object) => {
                listing.insert(key_of(&object), readable(object));
            }
            watcher::Event::InitDone => {
                let new = std::mem::take(listing);
                let mut keys: BTreeSet<ObjectKey> = new.keys().cloned().collect();
                let old = std::mem::replace(&mut *self.objects(), new);
                keys.extend(old.into_keys());
                self.inner.complete.send_replace(true);
                self.changed(&keys);
            }
            watcher::Event::Apply(object) => {
                let key = key_of(&object);
                self.objects().insert(key.clone(), readable(object));
                self.changed(&BTreeSet::from([key]));
            }
            watcher::Event::Delete(object) => {
                let key = key_of(&object);
                self.objects().remove(&key);
                self.changed(&BTreeSet::from([key]));
            }
        }
    }
}

fn readable<K: Resource>(DeserializeGuard(object): DeserializeGuard<K>) -> Readable<K> {
    match object {
        Ok(mut object) => {
            // Managed fields take half the memory of an object, and nothing here reads them.
            object.meta_mut().managed_fields = None;
            Ok(Arc::new(object))
        }
        Err(error) => Err(error.error),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::ObjectMeta;
    use kube::runtime::watcher::Event;

    use super::*;

    fn named(name: &str, revision: &str) -> ConfigMap {
        let metadata = ObjectMeta {
            name: Some(name.into()),
            namespace: Some("shop".into()),
            resource_version: Some(revision.into()),
            ..ObjectMeta::default()
        };
        ConfigMap {
            metadata,
            ..ConfigMap::default()
        }
    }

    fn watched(events: Vec<Event<DeserializeGuard<ConfigMap>>>) -> Watched<ConfigMap> {
        let (watched, mut listing) = (Watched::default(), BTreeMap::new());
        for event in events {
            watched.take_in(event, &mut listing);
        }
        watched
    }

    fn names(watched: &Watched<ConfigMap>) -> Vec<String> {
        watched.keys().into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn a_list_replaces_the_objects_when_it_is_complete() {
        let one = |name| Event::InitApply(DeserializeGuard(Ok(named(name, "1"))));
        let partly = watched(vec![Event::Init, one("a")]);
        assert_eq!((names(&partly), partly.is_complete()), (vec![], false));
        let wholly = watched(vec![
            Event::Init,
            one("a"),
            one("b"),
            Event::InitDone,
            Event::Init,
            one("b"),
            Event::InitDone,
        ]);
        assert_eq!(
            (names(&wholly), wholly.is_complete()),
            (vec!["b".to_owned()], true)
        );
    }

    #[test]
    fn the_answer_to_a_write_is_stored_unless_the_watch_delivered_a_newer_object() {
        let watched = watched(vec![Event::Apply(DeserializeGuard(Ok(named("a", "5"))))]);
        let key = ("shop".to_owned(), "a".to_owned());
        let seen =
            |watched: &Watched<ConfigMap>| revision(watched.get(&key).unwrap().unwrap().as_ref());
        watched.put(named("a", "4"));
        assert_eq!(seen(&watched), 5);
        watched.put(named("a", "6"));
        assert_eq!(seen(&watched), 6);
    }
}
