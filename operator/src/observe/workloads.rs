//! Carries out what [`edit::decide`](super::edit::decide) says about every `FederatedWorkload` of this owner.
//!
//! One round per workload: read the object and the slice, decide, do it, decide again until nothing is left. Rounds
//! of one workload never overlap, so what a round wrote (kept in [`Memory`]) is known to the next one even before the
//! watch shows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hanse_core::{
    command::Command,
    id::{FederationId, Generation, WorkloadKey},
    slice::{OwnedWorkload, Slice},
    state::{Outcome, Rejection},
    workload::WorkloadSpec,
};
use hanse_crds::{FederatedWorkload, names};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    core::ObjectMeta,
    runtime::events::{Event, EventType},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    edit::{
        Decision, FEDERATION_ANNOTATION, Fault, Faults, Memory, Synced, View, Written, decide,
        object_of, spec_of,
    },
    object_key,
};
use crate::{
    agenda::{Agenda, Next},
    cluster::{CallError, Cluster, bounded, optional},
    replicate::uplink::UplinkGone,
    watched::{ObjectKey, Watched},
};

/// Workloads worked on at once. Each waits for the API server or the ledger most of its time.
const ROUNDS_AT_ONCE: usize = 64;
/// Steps of one round: guard, put, follow and a conflict in between make four. More is a loop that time must break.
const STEPS_PER_ROUND: usize = 8;
/// How long until something is proposed again that the ledger refused for a reason that passes only by someone's
/// doing elsewhere, such as a full table.
pub(super) const REFUSED_RETRY: Duration = Duration::from_mins(1);

/// Observes until `stop`.
pub(super) async fn run(
    cluster: &Cluster,
    objects: &Watched<FederatedWorkload>,
    faults: &Faults,
    stop: &CancellationToken,
) {
    let agenda = Agenda::new();
    objects.completed().await;
    objects.tell(&agenda);
    let observer = Observer {
        cluster,
        objects,
        faults,
        memories: Mutex::default(),
        waiting: Mutex::default(),
    };
    tokio::join!(
        agenda.work(ROUNDS_AT_ONCE, stop, |key| observer.round(key)),
        observer.mark_changes(&agenda, stop),
    );
}

fn changed(
    old: Option<&BTreeMap<WorkloadKey, OwnedWorkload>>,
    new: &BTreeMap<WorkloadKey, OwnedWorkload>,
) -> Vec<ObjectKey> {
    let gone = old.into_iter().flat_map(|old| {
        old.keys()
            .filter(|key| !new.contains_key(key))
            .map(object_key)
    });
    let different = new
        .iter()
        .filter(|(key, row)| old.and_then(|old| old.get(key)) != Some(row))
        .map(|(key, _)| object_key(key));
    gone.chain(different).collect()
}

struct Observer<'a> {
    cluster: &'a Cluster,
    objects: &'a Watched<FederatedWorkload>,
    faults: &'a Faults,
    memories: Mutex<BTreeMap<ObjectKey, Remembered>>,
    /// Those that wait for any newer slice.
    waiting: Mutex<BTreeSet<ObjectKey>>,
}

/// What is remembered of one object; it ends with the object, except for what concerns its name.
#[derive(Debug, Clone, Default)]
struct Remembered {
    uid: Option<String>,
    memory: Memory,
}

/// Why a round could not do what was decided.
#[derive(Debug, thiserror::Error)]
enum RoundError {
    #[error("failed to write the workload: {0}")]
    Write(#[from] CallError),
    #[error("failed to propose the workload: {0}")]
    Propose(#[from] UplinkGone),
}

/// How a round goes on after a step.
enum Step {
    Again,
    Finished(Next),
}

impl Observer<'_> {
    /// Marks the workloads whose rows differ from the slice before, and those that wait for a newer slice.
    async fn mark_changes(&self, agenda: &Agenda<ObjectKey>, stop: &CancellationToken) {
        let mut slices = self.cluster.uplink.slice();
        let mut seen: Option<Arc<Slice>> = slices.borrow_and_update().clone();
        agenda.mark_all(
            seen.iter()
                .flat_map(|slice| changed(None, &slice.workloads)),
        );
        while let Some(Ok(())) = stop.run_until_cancelled(slices.changed()).await {
            let newest = slices.borrow_and_update().clone();
            if let Some(newest) = &newest {
                let old = seen.as_deref().map(|slice| &slice.workloads);
                agenda.mark_all(changed(old, &newest.workloads));
            }
            agenda.mark_all(std::mem::take(&mut *self.waiting()));
            seen = newest;
        }
    }

    /// Puts a round off until the slice is another than the one it was decided on.
    fn wait_for_newer(&self, at: &ObjectKey, index: u64) -> Step {
        self.waiting().insert(at.clone());
        let slice = self.cluster.uplink.slice();
        let moved = slice
            .borrow()
            .as_ref()
            .is_some_and(|slice| slice.federation.index > index);
        if moved {
            Step::Again
        } else {
            Step::Finished(Next::Done)
        }
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, BTreeSet<ObjectKey>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// The API server has checked the names already; one it lets through and we do not is not ours to place.
    fn workload_key(&self, (namespace, name): &ObjectKey) -> Option<WorkloadKey> {
        Some(WorkloadKey {
            owner: self.cluster.owner.clone(),
            namespace: namespace.parse().ok()?,
            name: name.parse().ok()?,
        })
    }

    async fn step(&self, at: &ObjectKey, key: &WorkloadKey) -> Result<Step, RoundError> {
        let Some(slice) = self.cluster.uplink.slice().borrow().clone() else {
            return Ok(self.wait_for_newer(at, 0));
        };
        let object = match self.objects.get(at) {
            Some(Err(error)) => {
                let message = format!("the object cannot be read: {error}");
                self.faults
                    .set(key, Some(fault(None, "Unreadable", message)));
                return Ok(Step::Finished(Next::Done));
            }
            Some(Ok(object)) => Some(object),
            None => None,
        };
        let federation = slice.federation.id;
        let memory = self.memory_of(at, object.as_deref());
        let written = object
            .as_deref()
            .map(|object| Written::read(object, &key.namespace, &federation));
        let decision = decide(written.as_ref(), &memory, View::of(&slice, key));
        tracing::trace!(workload = %key, ?decision, "decided");
        let round = Round {
            observer: self,
            at,
            key,
            federation,
            index: slice.federation.index,
            owned: slice.workloads.get(key),
            object: object.as_deref(),
        };
        round.execute(decision).await
    }

    fn memory_of(&self, at: &ObjectKey, object: Option<&FederatedWorkload>) -> Memory {
        let uid = object.and_then(|object| object.metadata.uid.clone());
        let mut memories = self.lock();
        let Some(remembered) = memories.get_mut(at) else {
            return Memory::default();
        };
        if remembered.uid != uid {
            let decided = remembered.memory.decided;
            remembered.uid = uid;
            remembered.memory = Memory {
                decided,
                ..Memory::default()
            };
        }
        remembered.memory.clone()
    }

    fn remember(
        &self,
        at: &ObjectKey,
        object: Option<&FederatedWorkload>,
        change: impl FnOnce(&mut Memory),
    ) {
        let mut memories = self.lock();
        let remembered = memories.entry(at.clone()).or_default();
        if let Some(object) = object {
            remembered.uid.clone_from(&object.metadata.uid);
        }
        change(&mut remembered.memory);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<ObjectKey, Remembered>> {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn fault(generation: Option<i64>, reason: &'static str, message: String) -> Fault {
    Fault {
        generation,
        reason,
        message,
    }
}

/// One decision being carried out.
struct Round<'a> {
    observer: &'a Observer<'a>,
    at: &'a ObjectKey,
    key: &'a WorkloadKey,
    federation: FederationId,
    /// Of the slice it was decided on.
    index: u64,
    owned: Option<&'a OwnedWorkload>,
    object: Option<&'a FederatedWorkload>,
}

impl Round<'_> {
    async fn execute(&self, decision: Decision) -> Result<Step, RoundError> {
        if !matches!(decision, Decision::Invalid { .. } | Decision::Wait) {
            self.observer.faults.set(self.key, None);
        }
        match (decision, self.object, self.owned) {
            (Decision::Invalid { message }, object, _) => {
                let generation = object.and_then(|object| object.metadata.generation);
                self.set_fault(fault(generation, "InvalidSpec", message));
                Ok(Step::Finished(Next::Done))
            }
            (Decision::Wait, _, _) => Ok(self.observer.wait_for_newer(self.at, self.index)),
            (Decision::Mirror, _, Some(owned)) => self.mirror(owned).await,
            (Decision::Guard, Some(object), _) => self.guard(object).await,
            (Decision::Put { base, spec }, Some(object), _) => self.put(object, base, spec).await,
            (Decision::Follow, Some(object), Some(owned)) => self.follow(object, owned).await,
            (Decision::Overrule { base }, Some(object), Some(owned)) => {
                let step = self.follow(object, owned).await?;
                self.tell_loser(object, base, owned).await;
                Ok(step)
            }
            (Decision::Remove, Some(object), _) => self.remove(object).await,
            (Decision::Drop, Some(object), _) => self.drop_copy(object).await,
            (Decision::Release, Some(object), _) => self.release(object).await,
            (
                Decision::Settled
                | Decision::Mirror
                | Decision::Guard
                | Decision::Put { .. }
                | Decision::Follow
                | Decision::Overrule { .. }
                | Decision::Remove
                | Decision::Drop
                | Decision::Release,
                _,
                _,
            ) => Ok(Step::Finished(Next::Done)),
        }
    }

    fn api(&self) -> Api<FederatedWorkload> {
        let client = self.observer.cluster.client.clone();
        Api::namespaced(client, self.key.namespace.as_str())
    }

    fn set_fault(&self, fault: Fault) {
        self.observer.faults.set(self.key, Some(fault));
    }

    async fn guard(&self, object: &FederatedWorkload) -> Result<Step, RoundError> {
        let mut finalizers = object.finalizers().to_vec();
        finalizers.push(names::PLACEMENTS_FINALIZER.to_owned());
        self.patch_finalizers(object, &finalizers).await?;
        Ok(Step::Again)
    }

    async fn release(&self, object: &FederatedWorkload) -> Result<Step, RoundError> {
        let mut finalizers = object.finalizers().to_vec();
        finalizers.retain(|name| name != names::PLACEMENTS_FINALIZER);
        self.patch_finalizers(object, &finalizers).await?;
        Ok(Step::Finished(Next::Done))
    }

    /// The whole list is replaced, so the object must still be the one it was read from.
    async fn patch_finalizers(
        &self,
        object: &FederatedWorkload,
        finalizers: &[String],
    ) -> Result<(), RoundError> {
        let patch = json!({"metadata": {
            "finalizers": finalizers,
            "resourceVersion": object.metadata.resource_version,
        }});
        self.patch(&patch).await
    }

    async fn patch(&self, patch: &serde_json::Value) -> Result<(), RoundError> {
        let (api, params, patch) = (self.api(), manager(), Patch::Merge(patch));
        let call = api.patch(self.key.name.as_str(), &params, &patch);
        // An object that went meanwhile leaves nothing to write.
        if let Some(answer) = optional(call).await? {
            self.observer.objects.put(answer);
        }
        Ok(())
    }

    async fn put(
        &self,
        object: &FederatedWorkload,
        base: Generation,
        spec: WorkloadSpec,
    ) -> Result<Step, RoundError> {
        let digest = spec.digest();
        let command = Command::PutWorkload {
            key: self.key.clone(),
            base,
            spec,
        };
        match self.observer.cluster.uplink.propose(command).await? {
            Outcome::Accepted { index } => {
                tracing::info!(workload = %self.key, generation = index, "the ledger took the workload in");
                let generation = Generation(index);
                self.note_synced(object, Synced { generation, digest })
                    .await?;
                Ok(Step::Again)
            }
            Outcome::Rejected { rejection } => {
                tracing::info!(workload = %self.key, %rejection, "the ledger refused the workload");
                Ok(self.refused(object, digest, &rejection))
            }
        }
    }

    fn refused(
        &self,
        object: &FederatedWorkload,
        digest: hanse_core::id::Digest,
        rejection: &Rejection,
    ) -> Step {
        let generation = object.metadata.generation;
        match rejection {
            // The slice will show who was faster, or that the old one is gone.
            Rejection::Conflict { .. } | Rejection::BeingRemoved => Step::Finished(Next::Retry),
            Rejection::Invalid { reason } => {
                self.remember(|memory| memory.refused = Some((digest, reason.clone())));
                Step::Again
            }
            Rejection::Unverified { .. }
            | Rejection::OutOfSequence { .. }
            | Rejection::NotAMember { .. }
            | Rejection::Revoked { .. }
            | Rejection::NotPermitted { .. }
            | Rejection::AlreadyFounded
            | Rejection::UnknownInvitation
            | Rejection::ExpiredInvitation
            | Rejection::InvitedAnother { .. }
            | Rejection::NameTaken { .. }
            | Rejection::NotFound { .. }
            | Rejection::TooMany { .. } => {
                self.set_fault(fault(generation, "Refused", rejection.to_string()));
                Step::Finished(Next::After(REFUSED_RETRY))
            }
        }
    }

    fn remember(&self, change: impl FnOnce(&mut Memory)) {
        self.observer.remember(self.at, self.object, change);
    }

    /// Writes down which generation the object's spec is, whatever else has changed in the object meanwhile: an edit
    /// made since is one of this generation.
    async fn note_synced(
        &self,
        object: &FederatedWorkload,
        synced: Synced,
    ) -> Result<(), RoundError> {
        self.observer
            .remember(self.at, Some(object), |memory| memory.synced = Some(synced));
        let patch = json!({"metadata": {
            "uid": object.metadata.uid,
            "annotations": self.annotations(synced),
        }});
        self.patch(&patch).await
    }

    fn annotations(&self, synced: Synced) -> BTreeMap<String, String> {
        BTreeMap::from([
            (names::SYNCED_ANNOTATION.to_owned(), synced.to_string()),
            (
                FEDERATION_ANNOTATION.to_owned(),
                self.federation.to_string(),
            ),
        ])
    }

    /// Writes what the ledger has into the object, provided that the object is still the one that was looked at.
    async fn follow(
        &self,
        object: &FederatedWorkload,
        owned: &OwnedWorkload,
    ) -> Result<Step, RoundError> {
        let mut new = object.clone();
        new.spec = object_of(&owned.spec);
        new.status = None;
        self.stamp(&mut new, owned);
        let (api, params) = (self.api(), post());
        let call = api.replace(self.key.name.as_str(), &params, &new);
        let Some(answer) = optional(call).await? else {
            return Ok(Step::Finished(Next::Retry));
        };
        self.settle(answer, owned).await
    }

    async fn mirror(&self, owned: &OwnedWorkload) -> Result<Step, RoundError> {
        let mut new = FederatedWorkload::new(self.key.name.as_str(), object_of(&owned.spec));
        new.metadata.namespace = Some(self.key.namespace.to_string());
        self.stamp(&mut new, owned);
        let (api, params) = (self.api(), post());
        let answer = match bounded(api.create(&params, &new)).await {
            Ok(answer) => answer,
            Err(CallError::NotFound { .. }) => {
                self.create_namespace().await?;
                return Ok(Step::Again);
            }
            Err(error) => return Err(error.into()),
        };
        tracing::info!(workload = %self.key, generation = %owned.generation, "mirrored a workload of another cluster");
        self.settle(answer, owned).await
    }

    /// The namespace of a workload exists in all clusters of its owner. It is the owner's from then on: never removed.
    async fn create_namespace(&self) -> Result<(), RoundError> {
        let api: Api<Namespace> = Api::all(self.observer.cluster.client.clone());
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(self.key.namespace.to_string()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        match bounded(api.create(&post(), &namespace)).await {
            Ok(_) | Err(CallError::Conflict) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn stamp(&self, object: &mut FederatedWorkload, owned: &OwnedWorkload) {
        let synced = Synced {
            generation: owned.generation,
            digest: owned.spec.digest(),
        };
        let annotations = object.annotations_mut();
        annotations.extend(self.annotations(synced));
        let guard = names::PLACEMENTS_FINALIZER.to_owned();
        let finalizers = object.finalizers_mut();
        if !finalizers.contains(&guard) {
            finalizers.push(guard);
        }
    }

    /// Remembers what was written. Where the API server stored other words than it was given (it drops what its
    /// version does not know), it is those that count as unedited; otherwise two clusters would correct each other for
    /// ever.
    async fn settle(
        &self,
        answer: FederatedWorkload,
        owned: &OwnedWorkload,
    ) -> Result<Step, RoundError> {
        let given = owned.spec.digest();
        let stored = spec_of(&answer.spec, &self.key.namespace).map_or(given, |spec| spec.digest());
        let synced = Synced {
            generation: owned.generation,
            digest: stored,
        };
        self.observer.remember(self.at, Some(&answer), |memory| {
            memory.synced = Some(synced);
        });
        self.observer.objects.put(answer.clone());
        if stored != given {
            self.note_synced(&answer, synced).await?;
        }
        Ok(Step::Again)
    }

    async fn tell_loser(
        &self,
        object: &FederatedWorkload,
        base: Generation,
        owned: &OwnedWorkload,
    ) {
        let note = format!(
            "this edit was made on generation {base}, but generation {} of member '{}' was accepted before and is \
             kept; look at it and edit again",
            owned.generation, owned.home
        );
        tracing::info!(workload = %self.key, %base, winner = %owned.home, "an edit came too late");
        let event = Event {
            type_: EventType::Warning,
            reason: "EditConflict".into(),
            note: Some(note),
            action: "Overrule".into(),
            secondary: None,
        };
        let reference = object.object_ref(&());
        let recorder = &self.observer.cluster.recorder;
        if let Err(error) = bounded(recorder.publish(&event, &reference)).await {
            tracing::warn!(workload = %self.key, %error, "cannot publish the event that an edit came too late");
        }
    }

    async fn remove(&self, object: &FederatedWorkload) -> Result<Step, RoundError> {
        let key = self.key.clone();
        let command = Command::RemoveWorkload { key };
        match self.observer.cluster.uplink.propose(command).await? {
            Outcome::Accepted { index } => {
                tracing::info!(workload = %self.key, index, "the ledger took the removal in");
                self.remember(|memory| memory.decided = index);
                Ok(Step::Again)
            }
            Outcome::Rejected { rejection } => {
                let generation = object.metadata.generation;
                self.set_fault(fault(generation, "Refused", rejection.to_string()));
                Ok(Step::Finished(Next::After(REFUSED_RETRY)))
            }
        }
    }

    /// Deletes the copy of a workload that was removed in another cluster, and only the object that was looked at.
    async fn drop_copy(&self, object: &FederatedWorkload) -> Result<Step, RoundError> {
        tracing::info!(workload = %self.key, "the workload was removed in another cluster, deleting its copy");
        let exactly = Preconditions {
            uid: object.metadata.uid.clone(),
            resource_version: object.metadata.resource_version.clone(),
        };
        let (api, params) = (self.api(), DeleteParams::default().preconditions(exactly));
        optional(api.delete(self.key.name.as_str(), &params)).await?;
        // The watch shows the deletion, and the finalizer goes in the next round.
        Ok(Step::Finished(Next::Done))
    }
}

fn manager() -> PatchParams {
    PatchParams {
        field_manager: Some(names::FIELD_MANAGER.into()),
        ..PatchParams::default()
    }
}

fn post() -> PostParams {
    PostParams {
        field_manager: Some(names::FIELD_MANAGER.into()),
        ..PostParams::default()
    }
}
