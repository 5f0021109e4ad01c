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
use kube::{Api, ResourceExt, api::Patch};
use serde_json::json;

use super::{
    answered::PROPOSE_AGAIN,
    edit::{Decision, FEDERATION_ANNOTATION, Memory, Synced},
    memory::Memories,
    problems::{Accepted, Problem, Problems},
};
use crate::{
    cluster::{
        CallError, Cluster,
        agenda::Next,
        merging, optional,
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
    pub(super) accepted: &'a Accepted<WorkloadKey>,
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
        if decision == Decision::Settled {
            let generation = self.object.and_then(|object| object.metadata.generation);
            self.accepted.set(self.key, generation);
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
            (Decision::Put { base, spec }, Some(object), _) => self.put(object, base, *spec).await,
            (Decision::Follow, Some(object), Some(owned)) => self.follow(object, owned).await,
            (Decision::Overrule { base }, Some(object), Some(owned)) => {
                let step = self.follow(object, owned).await?;
                self.publish_edit_conflict(object, base, owned).await;
                Ok(step)
            }
            (Decision::Remove { seen }, Some(object), _) => self.remove(object, seen).await,
            (Decision::Drop, Some(object), _) => self.drop_copy(object).await,
            (Decision::Release, Some(object), _) => self.release(object).await,
            (Decision::Evict, Some(object), _) => {
                self.remember(|memory| memory.evicted = true);
                self.release(object).await
            }
            (
                Decision::Settled
                | Decision::Mirror
                | Decision::Guard
                | Decision::Put { .. }
                | Decision::Follow
                | Decision::Overrule { .. }
                | Decision::Remove { .. }
                | Decision::Drop
                | Decision::Evict
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

    pub(super) fn api(&self) -> Api<FederatedWorkload> {
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
            // Without its last finalizer an object that is being deleted is gone, and the watch may have said so already.
            let gone =
                answer.metadata.deletion_timestamp.is_some() && answer.finalizers().is_empty();
            if !gone {
                self.objects.put(answer);
            }
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
            | Rejection::AboveLevel { .. }
            | Rejection::NotFound { .. }
            | Rejection::TooMany { .. } => {
                self.set_problem(problem(generation, "Rejected", rejection.to_string()));
                Step::Finished(Next::After(PROPOSE_AGAIN))
            }
        }
    }

    pub(super) fn remember(&self, change: impl FnOnce(&mut Memory)) {
        self.memories.remember(self.at, self.object, change);
    }

    /// Writes the generation of the object's spec into the annotation, even if the object has changed meanwhile: an
    /// edit made since then is on top of this generation.
    pub(super) async fn note_synced(
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

    pub(super) fn annotations(&self, synced: Synced) -> BTreeMap<String, String> {
        BTreeMap::from([
            (names::SYNCED_ANNOTATION.to_owned(), synced.to_string()),
            (
                FEDERATION_ANNOTATION.to_owned(),
                self.federation.to_string(),
            ),
        ])
    }

    async fn remove(
        &self,
        object: &FederatedWorkload,
        seen: Generation,
    ) -> Result<Step, RoundError> {
        let key = self.key.clone();
        let orphan = object
            .annotations()
            .get(names::ON_DELETE_ANNOTATION)
            .map(String::as_str)
            == Some("Orphan");
        let command = Command::RemoveWorkload { key, seen, orphan };
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
}
