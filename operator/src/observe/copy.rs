//! The copy of a workload that a round writes into this cluster, and what it says about it in Events.

use hanse_core::{id::Generation, slice::OwnedWorkload};
use hanse_crds::{FederatedWorkload, names};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Resource, ResourceExt,
    api::{DeleteParams, ObjectMeta, Preconditions},
    runtime::events::{Event, EventType},
};

use super::{
    edit::Synced,
    round::{Round, RoundError, Step},
    spec::{object_of, spec_of},
};
use crate::cluster::{CallError, agenda::Next, bounded, creating, optional};

impl Round<'_> {
    /// Writes the ledger's specification into the object, if the object still has the version that was read.
    pub(super) async fn follow(
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

    pub(super) async fn mirror(&self, owned: &OwnedWorkload) -> Result<Step, RoundError> {
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
        if self.memories.take_evicted(self.at) {
            self.publish(&answer, self.return_event()).await;
        }
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

    pub(super) async fn publish_edit_conflict(
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
        self.publish(object, event).await;
    }

    async fn publish(&self, object: &FederatedWorkload, event: Event) {
        let reference = object.object_ref(&());
        let recorder = &self.cluster.recorder;
        if let Err(error) = bounded(recorder.publish(&event, &reference)).await {
            tracing::warn!(workload = %self.key, %error, "cannot publish an Event about a workload");
        }
    }

    /// What a copy says after its namespace was deleted under it.
    fn return_event(&self) -> Event {
        let note = format!(
            "namespace '{}' was deleted in this cluster; the workload was not deleted, so its copy and its share are back",
            self.key.namespace
        );
        Event {
            type_: EventType::Warning,
            reason: "NamespaceDeleted".into(),
            note: Some(note),
            action: "Mirror".into(),
            secondary: None,
        }
    }

    /// Deletes the copy of a workload that was removed in another cluster, if the object still has the version that was
    /// read.
    pub(super) async fn drop_copy(&self, object: &FederatedWorkload) -> Result<Step, RoundError> {
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
