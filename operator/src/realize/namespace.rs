//! The namespace of a workload's objects: made for a guest, and deleted when the last of its workloads is removed.

use std::{collections::BTreeMap, time::Duration};

use hanse_core::id::OwnerName;
use hanse_crds::names;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch},
};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Instant,
};

use super::{inventory, verify::Verified};
use crate::cluster::{CallError, Cluster, applying, bounded, optional};

/// For how long a namespace that was just made or found is not looked at again. Somebody who changes its labels meanwhile is corrected
/// when something is placed there later; one that is deleted shows when an object cannot be made in it.
const FRESH: Duration = Duration::from_secs(30);

/// The namespaces of placements, as far as this process has just seen them: with many placements at once, each namespace is asked for
/// and made once.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    /// Read while a placement gets its inventory and its namespace; written while a namespace that is no longer used is removed.
    usage: RwLock<()>,
    fresh: Mutex<BTreeMap<String, Fresh>>,
}

/// A namespace that is as it should be.
#[derive(Debug)]
struct Fresh {
    applied: Value,
    ours: bool,
    since: Instant,
}

impl Namespaces {
    /// No namespace is removed until this is dropped.
    pub(super) async fn keep(&self) -> RwLockReadGuard<'_, ()> {
        self.usage.read().await
    }

    /// No namespace is made until this is dropped.
    pub(super) async fn remove(&self) -> RwLockWriteGuard<'_, ()> {
        let guard = self.usage.write().await;
        self.fresh.lock().clear();
        guard
    }

    /// It is to be looked at again.
    pub(super) fn forget(&self, name: &str) {
        self.fresh.lock().remove(name);
    }

    /// Whether it does not exist yet or was made by Hanse.
    pub(super) async fn is_ours(&self, client: &Client, name: &str) -> Result<bool, CallError> {
        if let Some(ours) = self.fresh(name, |fresh| fresh.ours) {
            return Ok(ours);
        }
        let found = optional(api(client).get(name)).await?;
        Ok(found.is_none_or(|found| is_marked(&found)))
    }

    /// Makes the namespace of a placement. The namespace of the host's own owner only has to exist. The namespace of a
    /// guest, if it is `ours`, is labelled with the pod security level of its grant. A namespace that somebody else made
    /// keeps its labels.
    pub(super) async fn make(
        &self,
        client: &Client,
        owner: &OwnerName,
        verified: &Verified<'_>,
        ours: bool,
    ) -> Result<(), CallError> {
        let name = &verified.consent().namespace;
        let mut namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        if let Some(level) = verified.consent().pod_security.filter(|_| ours) {
            namespace["metadata"]["labels"] = json!({
                names::GUEST_LABEL: owner.as_str(),
                "pod-security.kubernetes.io/enforce": level.label(),
            });
        }
        if self.fresh(name, |fresh| fresh.applied == namespace) == Some(true) {
            return Ok(());
        }
        bounded(api(client).patch(name, &applying(), &Patch::Apply(&namespace))).await?;
        self.note(name, namespace, ours);
        Ok(())
    }

    fn fresh<T>(&self, name: &str, look: impl FnOnce(&Fresh) -> T) -> Option<T> {
        let fresh = self.fresh.lock();
        let known = fresh.get(name).filter(|it| it.since.elapsed() < FRESH);
        known.map(look)
    }

    fn note(&self, name: &str, applied: Value, ours: bool) {
        let since = Instant::now();
        let mut fresh = self.fresh.lock();
        fresh.retain(|_, known| known.since.elapsed() < FRESH);
        let known = Fresh {
            applied,
            ours,
            since,
        };
        fresh.insert(name.to_owned(), known);
    }
}

/// Deletes a namespace made for a guest if no inventory names it any more.
pub(super) async fn remove_unused(cluster: &Cluster, name: &str) -> Result<(), CallError> {
    let others = inventory::list(cluster).await?;
    let named = |other: &inventory::Inventory| other.made_namespace.as_deref() == Some(name);
    if others.values().any(named) {
        return Ok(());
    }
    let api = api(&cluster.client);
    if optional(api.get(name))
        .await?
        .is_some_and(|found| is_marked(&found))
    {
        optional(api.delete(name, &DeleteParams::default())).await?;
    }
    Ok(())
}

fn is_marked(namespace: &Namespace) -> bool {
    let labels = namespace.metadata.labels.as_ref();
    labels.is_some_and(|labels| labels.contains_key(names::GUEST_LABEL))
}

fn api(client: &Client) -> Api<Namespace> {
    Api::all(client.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_namespace_is_known_until_it_is_forgotten_removed_or_older_than_half_a_minute() {
        let namespaces = Namespaces::default();
        let known = || namespaces.fresh("acme--shop", |fresh| fresh.ours);
        let note = || namespaces.note("acme--shop", json!({}), true);
        assert_eq!(known(), None);
        note();
        assert_eq!(known(), Some(true));
        tokio::time::advance(FRESH).await;
        assert_eq!(known(), None);
        note();
        namespaces.forget("acme--shop");
        assert_eq!(known(), None);
        note();
        drop(namespaces.remove().await);
        assert_eq!(known(), None);
    }
}
