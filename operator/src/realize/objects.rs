//! Access to objects of any kind in this cluster: the kinds it serves, and the calls that read and write.

use std::{collections::BTreeMap, ops::ControlFlow};

use hanse_core::{
    id::WorkloadKey,
    workload::{GroupKind, ScalePath},
};
use hanse_crds::names;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, Client,
    api::{
        ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PropagationPolicy,
    },
    core::{GroupVersionKind, ObjectMeta},
    discovery::{self, Scope},
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::object_id::ObjectId;
use crate::cluster::{CallError, applying, bounded, merging, optional};

/// A kind as this API server serves it.
#[derive(Clone)]
pub(super) struct Kind {
    pub(super) resource: ApiResource,
    pub(super) namespaced: bool,
}

/// The objects of one page of a list.
const PAGE: u32 = 500;

/// A kind in one version.
type KindVersion = (GroupKind, String);

/// The kind in this version, as the API server serves it now; `NotFound` if it does not.
pub(super) async fn served(
    client: &Client,
    of: &GroupKind,
    version: &str,
) -> Result<Kind, CallError> {
    let wanted = GroupVersionKind::gvk(&of.group, version, &of.kind);
    match bounded(discovery::pinned_kind(client, &wanted)).await {
        Ok((resource, capabilities)) => Ok(Kind {
            resource,
            namespaced: capabilities.scope == Scope::Namespaced,
        }),
        Err(CallError::NotFound { .. }) => Err(CallError::NotFound {
            message: format!("this cluster does not serve {of} in version {version}"),
        }),
        Err(error) => Err(error),
    }
}

/// The objects of this cluster, of any kind.
pub(super) struct Objects {
    pub(super) client: Client,
    /// The kinds found so far.
    kinds: Mutex<BTreeMap<KindVersion, Kind>>,
}

impl Objects {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            kinds: Mutex::default(),
        }
    }

    /// The kind in this version; `NotFound` if this cluster does not serve it. Unknown kinds are looked up each time,
    /// because a CRD may be installed at any moment.
    pub(super) async fn kind(&self, of: &GroupKind, version: &str) -> Result<Kind, CallError> {
        let key = (of.clone(), version.to_owned());
        if let Some(found) = self.kinds.lock().get(&key) {
            return Ok(found.clone());
        }
        let found = served(&self.client, of, version).await?;
        self.kinds.lock().insert(key, found.clone());
        Ok(found)
    }

    /// The kind in this version or, if that is no longer served, in the one that its group recommends. `None` if it is
    /// not served at all.
    pub(super) async fn any_version(
        &self,
        of: &GroupKind,
        version: &str,
    ) -> Result<Option<Kind>, CallError> {
        match self.kind(of, version).await {
            Ok(kind) => return Ok(Some(kind)),
            Err(CallError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
        let group = bounded(discovery::group(&self.client, &of.group)).await;
        let group = match group {
            Ok(group) => group,
            Err(CallError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let found = group.recommended_kind(&of.kind);
        Ok(found.map(|(resource, capabilities)| Kind {
            resource,
            namespaced: capabilities.scope == Scope::Namespaced,
        }))
    }

    /// Forgets what is known of the kinds of this group: a CRD changed.
    pub(super) fn forget_group(&self, group: &str) {
        self.kinds.lock().retain(|(of, _), _| of.group != group);
    }

    fn of_kind(&self, kind: &Kind, namespace: &str) -> Api<DynamicObject> {
        if namespace.is_empty() {
            Api::all_with(self.client.clone(), &kind.resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &kind.resource)
        }
    }

    async fn api(&self, id: &ObjectId, version: &str) -> Result<Api<DynamicObject>, CallError> {
        let kind = self.kind(&id.group_kind(), version).await?;
        Ok(self.of_kind(&kind, &id.namespace))
    }

    /// The object, if it exists. A kind that is not served has no objects.
    pub(super) async fn get(
        &self,
        id: &ObjectId,
        version: &str,
    ) -> Result<Option<DynamicObject>, CallError> {
        match self.any_version(&id.group_kind(), version).await? {
            Some(kind) => optional(self.of_kind(&kind, &id.namespace).get(&id.name)).await,
            None => Ok(None),
        }
    }

    /// The first object of a kind that `is_sought`, in one namespace or, if it is empty, in all. Reads only metadata, in
    /// pages.
    pub(super) async fn find(
        &self,
        kind: &Kind,
        namespace: &str,
        is_sought: impl Fn(&ObjectMeta) -> bool,
    ) -> Result<Option<String>, CallError> {
        let visit = |found: ObjectMeta| {
            if is_sought(&found) {
                ControlFlow::Break(found.name.unwrap_or_default())
            } else {
                ControlFlow::Continue(())
            }
        };
        let any = ListParams::default();
        self.visit(kind, namespace, any, visit).await
    }

    /// Some pods.
    pub(super) async fn pods(
        &self,
        namespace: &str,
        which: &ListParams,
    ) -> Result<Vec<Value>, CallError> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let found = bounded(api.list(which)).await?;
        let pods = found.items.iter().map(serde_json::to_value);
        Ok(pods.flatten().collect())
    }

    /// Visits the metadata of the objects of a kind that `which` selects, in one namespace or, if it is empty, in all, until
    /// `visit` breaks. Reads in pages.
    pub(super) async fn visit<T>(
        &self,
        kind: &Kind,
        namespace: &str,
        which: ListParams,
        mut visit: impl FnMut(ObjectMeta) -> ControlFlow<T>,
    ) -> Result<Option<T>, CallError> {
        let api = self.of_kind(kind, namespace);
        let mut page = which.limit(PAGE);
        loop {
            let found = bounded(api.list_metadata(&page)).await?;
            for object in found.items {
                if let ControlFlow::Break(end) = visit(object.metadata) {
                    return Ok(Some(end));
                }
            }
            match found.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(None),
            }
        }
    }

    /// Server-side apply. Returns the object as the API server stored it. Unless `force`, it changes no field of another
    /// manager.
    pub(super) async fn apply(
        &self,
        id: &ObjectId,
        version: &str,
        object: &Value,
        force: bool,
    ) -> Result<Value, CallError> {
        let parameters = PatchParams {
            force,
            ..applying()
        };
        self.apply_with(id, version, object, &parameters).await
    }

    /// What a server-side apply would store, if it changes no field of another manager.
    pub(super) async fn try_out(
        &self,
        id: &ObjectId,
        version: &str,
        object: &Value,
    ) -> Result<Value, CallError> {
        let parameters = PatchParams {
            force: false,
            dry_run: true,
            ..applying()
        };
        self.apply_with(id, version, object, &parameters).await
    }

    async fn apply_with(
        &self,
        id: &ObjectId,
        version: &str,
        object: &Value,
        parameters: &PatchParams,
    ) -> Result<Value, CallError> {
        let api = self.api(id, version).await?;
        let answer = bounded(api.patch(&id.name, parameters, &Patch::Apply(object))).await?;
        Ok(serde_json::to_value(answer).unwrap_or_default())
    }

    /// Gives an object to another workload, without any change of what it is.
    pub(super) async fn hand_over(
        &self,
        id: &ObjectId,
        version: &str,
        heir: &WorkloadKey,
    ) -> Result<(), CallError> {
        let marks = json!({"metadata": {
            "labels": {names::WORKLOAD_LABEL: heir.id()},
            "annotations": {names::WORKLOAD_ANNOTATION: heir.to_string()},
        }});
        self.merge(id, version, &marks).await
    }

    /// Sets the replicas of an object, which it has at `path`, and nothing else: what has to happen at once, whatever else is wrong with it.
    pub(super) async fn scale(
        &self,
        id: &ObjectId,
        version: &str,
        path: &ScalePath,
        replicas: u32,
    ) -> Result<(), CallError> {
        let mut patch = json!({});
        path.set(&mut patch, json!(replicas));
        self.merge(id, version, &patch).await
    }

    /// Suspends an object, and changes nothing else.
    pub(super) async fn suspend(&self, id: &ObjectId, version: &str) -> Result<(), CallError> {
        self.merge(id, version, &json!({"spec": {"suspend": true}}))
            .await
    }

    /// Takes Hanse's marks off an object, which stays.
    pub(super) async fn unmark(&self, id: &ObjectId, version: &str) -> Result<(), CallError> {
        let marks = json!({"metadata": {
            "labels": {names::WORKLOAD_LABEL: null},
            "annotations": {
                names::WORKLOAD_ANNOTATION: null,
                names::EPOCH_ANNOTATION: null,
                names::ADOPTED_ANNOTATION: null,
            },
        }});
        self.merge(id, version, &marks).await
    }

    async fn merge(&self, id: &ObjectId, version: &str, patch: &Value) -> Result<(), CallError> {
        let Some(kind) = self.any_version(&id.group_kind(), version).await? else {
            return Ok(());
        };
        let api = self.of_kind(&kind, &id.namespace);
        optional(api.patch(&id.name, &merging(), &Patch::Merge(patch)))
            .await
            .map(drop)
    }

    /// Asks for the deletion of exactly this object and its dependents. Foreground: it is gone only after its pods are.
    pub(super) async fn delete(
        &self,
        id: &ObjectId,
        version: &str,
        object: &DynamicObject,
    ) -> Result<(), CallError> {
        let Some(kind) = self.any_version(&id.group_kind(), version).await? else {
            return Ok(());
        };
        let parameters = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Foreground),
            preconditions: Some(kube::api::Preconditions {
                uid: object.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let api = self.of_kind(&kind, &id.namespace);
        optional(api.delete(&id.name, &parameters)).await.map(drop)
    }
}
