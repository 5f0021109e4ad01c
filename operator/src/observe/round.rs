//! Executes one decision about one `FederatedWorkload`: writes the object, or proposes to the ledger.

use std::collections::BTreeMap;

use hanse_core::{
    command::Command,
    id::{FederationId, Generation, WorkloadKey},
    slice::OwnedWorkload,
    state::{Outcome, Rejection},
    workload::WorkloadSpec,
};
use hanse_crds::{FederatedWorkload, names};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, Patch, Preconditions},
    core::ObjectMeta,
    runtime::events::{Event, EventType},
};
use serde_json::json;

use super::{
    answered::PROPOSE_AGAIN,
    edit::{Decision, FEDERATION_ANNOTATION, Memory, Synced, object_of, spec_of},
    memory::Memories,
    problems::{Problem, Problems},
};
use crate::{
    cluster::{
        CallError, Cluster,
        agenda::Next,
        bounded, creating, merging, optional,
        watched::{ObjectKey, Watched},
    },
    uplink::{Uplink, UplinkGone},
};

/// Why a round could not execute its decision.
#[derive(Debug, thiserror::Error)]
pub(super) enum RoundError {
    #[error("failed to write the workload: {0}")]
    Write(#[from] CallError),
    #[error("failed to propose the workload: {0}")]
    Propose(#[from] UplinkGone),
}

/// How a round continues after a step.
pub(super) enum Step {
    Again,
    Finished(Next),
}

fn problem(generation: Option<i64>, reason: &'static str, message: String) -> Problem {
    Problem {
        generation,
        reason,
        message,
    }
}

/// The execution of one decision.
pub(super) struct Round<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) uplink: &'a Uplink,
    pub(super) objects: &'a Watched<FederatedWorkload>,
    pub(super) problems: &'a Problems<WorkloadKey>,
    pub(super) memories: &'a Memories,
    pub(super) at: &'a ObjectKey,
    pub(super) key: &'a WorkloadKey,
    pub(super) federation: FederationId,
    /// The index of the slice that the decision is based on.
    pub(super) index: u64,
    pub(super) owned: Option<&'a OwnedWorkload>,
    pub(super) object: Option<&'a FederatedWorkload>,
}

impl Round<'_> {
    pub(super) async fn execute(&self, decision: Decision) -> Result<Step, RoundError> {
        if !matches!(decision, Decision::Invalid { .. } | Decision::Wait) {
            self.problems.set(self.key, None);
        }
        match (decision, self.object, self.owned) {
            (Decision::Invalid { message }, object, _) => {
                let generation = object.and_then(|object| object.metadata.generation);
                self.set_problem(problem(generation, "InvalidSpec", message));
                Ok(Step::Finished(Next::Done))
            }
            (Decision::Wait, _, _) => Ok(self.wait_for_newer()),
            (Decision::Mirror, _, Some(owned)) => self.mirror(owned).await,
            (Decision::Guard, Some(object), _) => self.guard(object).await,
            (Decision::Put { base, spec }, Some(object), _) => self.put(object, base, spec).await,
            (Decision::Follow, Some(object), Some(owned)) => self.follow(object, owned).await,
            (Decision::Overrule { base }, Some(object), Some(owned)) => {
                let step = self.follow(object, owned).await?;
                self.publish_edit_conflict(object, base, owned).await;
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

    /// Postpones the round until there is a newer slice than the one the decision is based on.
    fn wait_for_newer(&self) -> Step {
        self.memories.wait(self.at);
        let slice = self.uplink.slice();
        let newer = slice.borrow().as_ref().map(|slice| slice.federation.index);
        if newer.is_some_and(|index| index > self.index) {
            Step::Again
        } else {
            Step::Finished(Next::Done)
        }
    }

    fn api(&self) -> Api<FederatedWorkload> {
        let client = self.cluster.client.clone();
        Api::namespaced(client, self.key.namespace.as_str())
    }

    fn set_problem(&self, problem: Problem) {
        self.problems.set(self.key, Some(problem));
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

    /// Replaces the whole list of finalizers, so the object must still have the version that the list was read from.
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
        let (api, params, patch) = (self.api(), merging(), Patch::Merge(patch));
        let call = api.patch(self.key.name.as_str(), &params, &patch);
        // If the object was deleted meanwhile, there is nothing to write.
        if let Some(answer) = optional(call).await? {
            self.objects.put(answer);
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
        match self.uplink.propose(command).await? {
            Outcome::Accepted { index } => {
                tracing::info!(workload = %self.key, generation = index, "the ledger accepted the workload");
                let generation = Generation(index);
                self.note_synced(object, Synced { generation, digest })
                    .await?;
                Ok(Step::Again)
            }
            Outcome::Rejected { rejection } => {
                tracing::info!(workload = %self.key, %rejection, "the ledger rejected the workload");
                Ok(self.rejected(object, digest, &rejection))
            }
        }
    }

    fn rejected(
        &self,
        object: &FederatedWorkload,
        digest: hanse_core::id::Digest,
        rejection: &Rejection,
    ) -> Step {
        let generation = object.metadata.generation;
        match rejection {
            // A newer slice will show the edit that was accepted before, or that the old workload is removed.
            Rejection::Conflict { .. } | Rejection::BeingRemoved => Step::Finished(Next::Retry),
            Rejection::Invalid { reason } => {
                self.remember(|memory| memory.rejected = Some((digest, reason.clone())));
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
                self.set_problem(problem(generation, "Rejected", rejection.to_string()));
                Step::Finished(Next::After(PROPOSE_AGAIN))
            }
        }
    }

    fn remember(&self, change: impl FnOnce(&mut Memory)) {
        self.memories.remember(self.at, self.object, change);
    }

    /// Writes the generation of the object's spec into the annotation, even if the object has changed meanwhile: an
    /// edit made since then is on top of this generation.
    async fn note_synced(
        &self,
        object: &FederatedWorkload,
        synced: Synced,
    ) -> Result<(), RoundError> {
        self.memories
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

    /// Writes the ledger's specification into the object, if the object still has the version that was read.
    async fn follow(
        &self,
        object: &FederatedWorkload,
        owned: &OwnedWorkload,
    ) -> Result<Step, RoundError> {
        let mut new = object.clone();
        new.spec = object_of(&owned.spec);
        new.status = None;
        self.stamp(&mut new, owned);
        let (api, params) = (self.api(), creating());
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
        let (api, params) = (self.api(), creating());
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

    /// Creates the namespace of a workload, which exists in all clusters of its owner. The operator never removes it.
    async fn create_namespace(&self) -> Result<(), RoundError> {
        let api: Api<Namespace> = Api::all(self.cluster.client.clone());
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(self.key.namespace.to_string()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        match bounded(api.create(&creating(), &namespace)).await {
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

    /// Remembers what was written. If the API server stored another spec than it was sent (it drops fields that its CRD
    /// version does not have), the stored spec counts as unedited. Otherwise two clusters would overwrite each other
    /// for ever.
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
        self.memories.remember(self.at, Some(&answer), |memory| {
            memory.synced = Some(synced);
        });
        self.objects.put(answer.clone());
        if stored != given {
            self.note_synced(&answer, synced).await?;
        }
        Ok(Step::Again)
    }

    async fn publish_edit_conflict(
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
        let recorder = &self.cluster.recorder;
        if let Err(error) = bounded(recorder.publish(&event, &reference)).await {
            tracing::warn!(workload = %self.key, %error, "cannot publish the Event about an edit that came too late");
        }
    }

    async fn remove(&self, object: &FederatedWorkload) -> Result<Step, RoundError> {
        let key = self.key.clone();
        let orphan = object
            .annotations()
            .get(names::ON_DELETE_ANNOTATION)
            .map(String::as_str)
            == Some("Orphan");
        let command = Command::RemoveWorkload { key, orphan };
        match self.uplink.propose(command).await? {
            Outcome::Accepted { index } => {
                tracing::info!(workload = %self.key, index, "the ledger accepted the removal");
                self.remember(|memory| memory.decided = index);
                Ok(Step::Again)
            }
            Outcome::Rejected { rejection } => {
                let generation = object.metadata.generation;
                self.set_problem(problem(generation, "Rejected", rejection.to_string()));
                Ok(Step::Finished(Next::After(PROPOSE_AGAIN)))
            }
        }
    }

    /// Deletes the copy of a workload that was removed in another cluster, if the object still has the version that was
    /// read.
    async fn drop_copy(&self, object: &FederatedWorkload) -> Result<Step, RoundError> {
        tracing::info!(workload = %self.key, "the workload was removed in another cluster, deleting its copy");
        let exactly = Preconditions {
            uid: object.metadata.uid.clone(),
            resource_version: object.metadata.resource_version.clone(),
        };
        let (api, params) = (self.api(), DeleteParams::default().preconditions(exactly));
        optional(api.delete(self.key.name.as_str(), &params)).await?;
        // The watch will show the deletion; the next round removes the finalizer.
        Ok(Step::Finished(Next::Done))
    }
}
