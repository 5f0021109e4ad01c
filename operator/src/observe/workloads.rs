//! Decides about all `FederatedWorkload`s of this owner and executes the decisions.
//!
//! One round per workload: read the object and the slice, decide ([`edit::decide`](super::edit::decide)), execute
//! ([`round`](super::round)), decide again until nothing is left to do. Rounds of one workload never overlap, so the
//! next round finds in [`Memories`] what a round wrote even before the watch shows it.

use std::sync::Arc;

use hanse_core::{id::WorkloadKey, slice::Slice};
use hanse_crds::FederatedWorkload;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use tokio_util::sync::CancellationToken;

use super::{
    AllProblems,
    definitions::Definitions,
    edit::{View, Written, decide},
    memory::Memories,
    problems::{Accepted, Problem, Problems},
    round::{Round, RoundError, Step},
};
use crate::{
    cluster::{
        CallError, Cluster,
        agenda::{Agenda, Next},
        optional,
        watched::{ObjectKey, Watched},
    },
    uplink::{Uplink, UplinkGone},
};

/// Workloads processed at once. Each waits most of the time for the API server or the ledger.
const ROUNDS_AT_ONCE: usize = 64;
/// Steps of one round: guard, put, follow and a conflict in between make four. A round with more is in a loop; it ends
/// and is retried later.
const STEPS_PER_ROUND: usize = 8;

/// Observes until `stop`.
pub(super) async fn run(
    cluster: &Cluster,
    uplink: &Uplink,
    objects: &Watched<FederatedWorkload>,
    definitions: &Definitions,
    problems: &AllProblems,
    stop: &CancellationToken,
) {
    let agenda = Agenda::new();
    tokio::join!(objects.completed(), definitions.known());
    objects.tell(&agenda);
    let observer = Observer {
        cluster,
        uplink,
        objects,
        definitions,
        problems: &problems.workloads,
        accepted: &problems.accepted,
        memories: Memories::default(),
    };
    tokio::join!(
        agenda.work(ROUNDS_AT_ONCE, stop, |key| observer.round(key)),
        observer.mark_changes(&agenda, stop),
        stop.run_until_cancelled(observer.mark_definitions(&agenda)),
    );
}

/// Whether the namespace of a workload is being deleted in this cluster.
async fn namespace_ends(cluster: &Cluster, key: &WorkloadKey) -> Result<bool, CallError> {
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let found = optional(namespaces.get(key.namespace.as_str())).await?;
    Ok(found.is_none_or(|found| found.metadata.deletion_timestamp.is_some()))
}

/// The object of a workload in the local API server.
pub(crate) fn object_key(workload: &WorkloadKey) -> ObjectKey {
    (workload.namespace.to_string(), workload.name.to_string())
}

struct Observer<'a> {
    cluster: &'a Cluster,
    uplink: &'a Uplink,
    objects: &'a Watched<FederatedWorkload>,
    definitions: &'a Definitions,
    problems: &'a Problems<WorkloadKey>,
    accepted: &'a Accepted<WorkloadKey>,
    memories: Memories,
}

impl Observer<'_> {
    /// Marks the workloads whose rows differ from the slice before, and the workloads that wait for a newer slice.
    async fn mark_changes(&self, agenda: &Agenda<ObjectKey>, stop: &CancellationToken) {
        let mut slices = self.uplink.slice();
        let mut seen: Option<Arc<Slice>> = slices.borrow_and_update().clone();
        let all = seen.iter().flat_map(|slice| slice.workloads.keys());
        agenda.mark_all(all.map(object_key));
        while let Some(Ok(())) = stop.run_until_cancelled(slices.changed()).await {
            let newest = slices.borrow_and_update().clone();
            match (&seen, &newest) {
                (Some(seen), Some(newest)) => {
                    agenda.mark_all(newest.changed_workloads(seen).map(object_key));
                    if newest.federation.level != seen.federation.level {
                        // What was refused or left out for the level before may be asked for now.
                        agenda.mark_all(self.objects.keys());
                    }
                }
                (None, Some(newest)) => agenda.mark_all(newest.workloads.keys().map(object_key)),
                (_, None) => {}
            }
            agenda.mark_all(self.memories.take_waiting());
            seen = newest;
        }
    }

    /// Marks all workloads when custom kinds scale otherwise than before.
    async fn mark_definitions(&self, agenda: &Agenda<ObjectKey>) {
        let mut changes = self.definitions.changes();
        while changes.changed().await.is_ok() {
            if self.definitions.look() {
                agenda.mark_all(self.objects.keys());
            }
        }
    }

    async fn round(&self, at: ObjectKey) -> Next {
        let Some(key) = self.workload_key(&at) else {
            return Next::Done;
        };
        for _ in 0..STEPS_PER_ROUND {
            match self.step(&at, &key).await {
                Ok(Step::Again) => {}
                Ok(Step::Finished(next)) => return next,
                Err(RoundError::Propose(UplinkGone)) => return Next::Done,
                Err(RoundError::Write(error)) => {
                    tracing::debug!(workload = %key, %error, "cannot write the workload, trying again");
                    return Next::Retry;
                }
            }
        }
        Next::Retry
    }

    /// The workload of an object. The API server has checked the names; an object whose name the ledger does not allow
    /// is not federated.
    fn workload_key(&self, (namespace, name): &ObjectKey) -> Option<WorkloadKey> {
        Some(WorkloadKey {
            owner: self.cluster.owner.clone(),
            namespace: namespace.parse().ok()?,
            name: name.parse().ok()?,
        })
    }

    async fn step(&self, at: &ObjectKey, key: &WorkloadKey) -> Result<Step, RoundError> {
        let Some(slice) = self.uplink.slice().borrow().clone() else {
            self.memories.wait(at);
            // The first slice may have arrived since, and with it the end of what waited before.
            let arrived = self.uplink.slice().borrow().is_some();
            return Ok(if arrived {
                Step::Again
            } else {
                Step::Finished(Next::Done)
            });
        };
        let object = match self.objects.get(at) {
            Some(Err(error)) => {
                let problem = Problem {
                    generation: None,
                    reason: "Unreadable",
                    message: format!("the object cannot be read: {error}"),
                };
                self.problems.set(key, Some(problem));
                return Ok(Step::Finished(Next::Done));
            }
            Some(Ok(object)) => Some(object),
            None => None,
        };
        let (federation, level) = (slice.federation.id, slice.federation.level);
        let memory = self.memories.recall(at, object.as_deref());
        let owned = slice.workload(key);
        let before = owned.map(|owned| &*owned.spec);
        let mut written = object.as_deref().map(|object| {
            let definitions = self.definitions;
            let spec = definitions.spec_of(&object.spec, &key.namespace, before, level);
            Written::read(object, &federation, spec)
        });
        if let (Some(written), Some(owned)) = (&mut written, owned)
            && written.deleting
            && written.guarded
            && owned.home != self.cluster.member
        {
            written.evicted = namespace_ends(self.cluster, key).await?;
        }
        let decision = decide(written.as_ref(), &memory, View::of(&slice, key));
        tracing::trace!(workload = %key, ?decision, "decided");
        let round = Round {
            cluster: self.cluster,
            uplink: self.uplink,
            objects: self.objects,
            problems: self.problems,
            accepted: self.accepted,
            memories: &self.memories,
            at,
            key,
            federation,
            index: slice.federation.index,
            owned,
            object: object.as_deref(),
        };
        round.execute(decision).await
    }
}
