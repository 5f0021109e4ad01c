//! What would be deleted together with a Namespace or a `CustomResourceDefinition`.

use hanse_core::{id::WorkloadKey, workload::GroupKind};
use kube::{
    api::{ApiResource, DynamicObject},
    core::ObjectMeta,
    discovery::{Discovery, Scope, verbs},
};
use serde_json::Value;

use super::{
    marks::workload_of,
    object_id::ObjectId,
    objects::{Kind, Objects},
};
use crate::cluster::{CallError, bounded};

/// Why this object must stay: something that others made would be deleted with it. `None` if nothing would.
pub(super) async fn users_of(
    objects: &Objects,
    key: &WorkloadKey,
    id: &ObjectId,
    object: &DynamicObject,
) -> Result<Option<String>, CallError> {
    if id.is("", "Namespace") {
        return inhabitant(objects, key, &id.name).await;
    }
    if id.is("apiextensions.k8s.io", "CustomResourceDefinition") {
        return instance(objects, key, &object.data).await;
    }
    Ok(None)
}

/// An instance of the kind that a definition defines.
async fn instance(
    objects: &Objects,
    key: &WorkloadKey,
    definition: &Value,
) -> Result<Option<String>, CallError> {
    let text = |pointer: &str| {
        let found = definition.pointer(pointer).and_then(Value::as_str);
        found.unwrap_or_default().to_owned()
    };
    let of = GroupKind {
        group: text("/spec/group"),
        kind: text("/spec/names/kind"),
    };
    let Some(kind) = objects
        .any_version(&of, &text("/spec/versions/0/name"))
        .await?
    else {
        return Ok(None);
    };
    let found = foreign(objects, key, &kind, "").await?;
    Ok(found.map(|what| format!("{what} and would be deleted with it")))
}

/// An object in a namespace that was not made by Kubernetes or by this workload.
async fn inhabitant(
    objects: &Objects,
    key: &WorkloadKey,
    namespace: &str,
) -> Result<Option<String>, CallError> {
    let discovery = Discovery::new(objects.client.clone()).run();
    let discovery = bounded(discovery).await?;
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let listed = capabilities.supports_operation(verbs::LIST)
                && capabilities.supports_operation(verbs::DELETE);
            if capabilities.scope != Scope::Namespaced
                || !listed
                || is_made_by_kubernetes(&resource)
            {
                continue;
            }
            let kind = Kind {
                resource,
                namespaced: true,
            };
            if let Some(what) = foreign(objects, key, &kind, namespace).await? {
                return Ok(Some(format!("in it {what} and would be deleted with it")));
            }
        }
    }
    Ok(None)
}

/// Kinds of which every object is made by a controller or is of no value of its own.
fn is_made_by_kubernetes(resource: &ApiResource) -> bool {
    matches!(
        resource.kind.as_str(),
        "Event" | "Endpoints" | "EndpointSlice" | "ControllerRevision" | "Lease"
    )
}

/// Which object of this kind somebody else than this workload or Kubernetes made, in words.
async fn foreign(
    objects: &Objects,
    key: &WorkloadKey,
    kind: &Kind,
    namespace: &str,
) -> Result<Option<String>, CallError> {
    let is_foreign = |metadata: &ObjectMeta| {
        let owned = metadata.owner_references.iter().flatten().next().is_some();
        let name = metadata.name.as_deref().unwrap_or_default();
        !owned
            && !is_standard(&kind.resource.kind, name)
            && workload_of(metadata).as_ref() != Some(key)
    };
    let plural = &kind.resource.plural;
    match objects.find(kind, namespace, is_foreign).await {
        Ok(found) => {
            Ok(found.map(|name| format!("{plural} '{name}' was not made by this workload")))
        }
        // What may not be read may be anything.
        Err(CallError::Refused { code: 403, .. }) => Ok(Some(format!(
            "there may be {plural}, which Hanse may not read"
        ))),
        Err(error) => Err(error),
    }
}

/// What Kubernetes makes in every namespace.
pub(super) fn is_standard(kind: &str, name: &str) -> bool {
    matches!(
        (kind, name),
        ("ConfigMap", "kube-root-ca.crt") | ("ServiceAccount", "default")
    )
}
