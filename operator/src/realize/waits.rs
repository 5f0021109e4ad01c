//! What refused objects wait for, watched, so that a placement heals soon after the reason is gone.
//!
//! One watch of metadata per kind, only while a placement waits for that kind. Changes are collected for [`COLLECT`], so a
//! busy kind costs each waiting placement at most one attempt in that time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, pin_mut};
use hanse_core::{id::WorkloadKey, workload::GroupKind};
use kube::Client;
use parking_lot::Mutex;
use tokio::{task::AbortHandle, time::sleep};

use super::{object_id::ObjectId, objects::served};
use crate::cluster::{
    CallError,
    agenda::{Agenda, backoff},
    changes,
};

/// How long changes are collected before the placements that wait for them are tried again.
const COLLECT: Duration = Duration::from_secs(1);

/// A kind and the version to watch it in.
pub(super) type Watch = (GroupKind, String);

/// Cheap to clone; all clones share one state.
#[derive(Clone)]
pub(super) struct Waits {
    client: Client,
    agenda: Agenda<WorkloadKey>,
    waiting: Arc<Mutex<BTreeMap<Watch, Waiting>>>,
}

struct Waiting {
    workloads: BTreeSet<WorkloadKey>,
    watch: AbortHandle,
}

impl Waits {
    pub(super) fn new(client: Client, agenda: Agenda<WorkloadKey>) -> Self {
        Self {
            client,
            agenda,
            waiting: Arc::default(),
        }
    }

    /// From now on `workload` waits for these kinds and for no others.
    pub(super) fn set(&self, workload: &WorkloadKey, kinds: &BTreeSet<Watch>) {
        let mut waiting = self.waiting.lock();
        waiting.retain(|kind, wait| {
            if !kinds.contains(kind) {
                wait.workloads.remove(workload);
            }
            let needed = !wait.workloads.is_empty();
            if !needed {
                wait.watch.abort();
            }
            needed
        });
        for kind in kinds {
            let wait = waiting.entry(kind.clone()).or_insert_with(|| {
                let (waits, kind) = (self.clone(), kind.clone());
                Waiting {
                    workloads: BTreeSet::new(),
                    watch: tokio::spawn(async move { waits.watch(&kind).await }).abort_handle(),
                }
            });
            wait.workloads.insert(workload.clone());
        }
    }

    async fn watch(&self, watched: &Watch) {
        let (kind, version) = watched;
        let mut failures = 0;
        let resource = loop {
            match served(&self.client, kind, version).await {
                Ok(kind) => break kind.resource,
                // Its definition is waited for as well.
                Err(CallError::NotFound { .. }) => return,
                Err(_) => sleep(backoff(failures)).await,
            }
            failures += 1;
        };
        // What changed before the watch began is in its first list.
        let changes = changes(&self.client, &resource);
        pin_mut!(changes);
        while changes.next().await.is_some() {
            sleep(COLLECT).await;
            let workloads = match self.waiting.lock().get(watched) {
                Some(wait) => wait.workloads.clone(),
                None => return,
            };
            self.agenda.mark_all(workloads);
        }
    }
}

/// What has to change before an object that was refused can be applied.
pub(super) fn reasons(id: &ObjectId, version: &str, error: &CallError) -> Vec<Watch> {
    let kind = |group: &str, kind: &str, version: &str| {
        let (group, kind) = (group.to_owned(), kind.to_owned());
        (GroupKind { group, kind }, version.to_owned())
    };
    let own = || (id.group_kind(), version.to_owned());
    match error {
        CallError::NotFound { .. } => vec![
            kind("apiextensions.k8s.io", "CustomResourceDefinition", "v1"),
            kind("", "Namespace", "v1"),
        ],
        CallError::Terminating { .. } => vec![kind("", "Namespace", "v1")],
        CallError::Refused { message, .. } if message.contains("quota") => {
            vec![kind("", "ResourceQuota", "v1")]
        }
        CallError::Refused { message, .. } if message.contains("denied") => {
            let admission = "admissionregistration.k8s.io";
            vec![
                own(),
                kind(admission, "ValidatingWebhookConfiguration", "v1"),
                kind(admission, "ValidatingAdmissionPolicy", "v1"),
                kind(admission, "ValidatingAdmissionPolicyBinding", "v1"),
            ]
        }
        CallError::Refused { .. } | CallError::Immutable { .. } | CallError::Owned { .. } => {
            vec![own()]
        }
        CallError::Conflict | CallError::Unavailable(_) => Vec::new(),
    }
}
