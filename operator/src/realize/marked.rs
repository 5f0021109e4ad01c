//! The objects in this cluster that carry Hanse's marks and that no inventory names: somebody deleted the inventory.
//!
//! A removal must not be confirmed before they are gone. They are looked for once per process, the first time that
//! something is to be removed of which no inventory is known: what this process applies itself it knows.

use std::collections::BTreeMap;

use hanse_core::{id::WorkloadKey, workload::GroupKind};
use hanse_crds::names;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, ObjectMeta, PartialObjectMeta},
    discovery::{Discovery, verbs},
};
use tracing::warn;

use super::{
    inventory::{Entry, Inventory},
    marks::workload_of,
    object_id::ObjectId,
};
use crate::cluster::{CallError, bounded};

/// The objects of one page of a list.
const PAGE: u32 = 500;

/// An inventory for each workload that has marked objects here and for which `is_unknown`. Its waves are those of the kinds.
///
/// One list per kind. A kind that the operator may not list is left out: it may not have applied one either.
pub(super) async fn find(
    client: &Client,
    is_unknown: impl Fn(&WorkloadKey) -> bool,
) -> Result<BTreeMap<WorkloadKey, Inventory>, CallError> {
    let discovery = bounded(Discovery::new(client.clone()).run_aggregated()).await?;
    let mut found: BTreeMap<WorkloadKey, Inventory> = BTreeMap::new();
    for group in discovery.groups() {
        for (resource, capabilities) in group.recommended_resources() {
            let usable = [verbs::LIST, verbs::DELETE];
            if !usable
                .iter()
                .all(|verb| capabilities.supports_operation(verb))
            {
                continue;
            }
            for object in list(client, &resource).await? {
                let key = workload_of(&object.metadata).filter(&is_unknown);
                let Some(key) = key.filter(|_| !has_owner(&object.metadata)) else {
                    continue;
                };
                let id = id_of(&resource, object.metadata.clone());
                warn!(workload = %key, object = %id, namespace = id.namespace, "no inventory names it");
                add(
                    found.entry(key).or_default(),
                    id,
                    &resource,
                    &object.metadata,
                );
            }
        }
    }
    Ok(found)
}

async fn list(
    client: &Client,
    resource: &ApiResource,
) -> Result<Vec<PartialObjectMeta<DynamicObject>>, CallError> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), resource);
    let mut page = ListParams::default()
        .labels(names::WORKLOAD_LABEL)
        .limit(PAGE);
    let mut found = Vec::new();
    loop {
        let listed = match bounded(api.list_metadata(&page)).await {
            Ok(listed) => listed,
            Err(error) if error.is_transient() => return Err(error),
            Err(_) => return Ok(found),
        };
        found.extend(listed.items);
        match listed.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(found),
        }
    }
}

/// What another object owns goes with that. A controller may have copied the marks to it.
fn has_owner(metadata: &ObjectMeta) -> bool {
    metadata
        .owner_references
        .as_ref()
        .is_some_and(|it| !it.is_empty())
}

fn id_of(resource: &ApiResource, metadata: ObjectMeta) -> ObjectId {
    ObjectId {
        group: resource.group.clone(),
        kind: resource.kind.clone(),
        namespace: metadata.namespace.unwrap_or_default(),
        name: metadata.name.unwrap_or_default(),
    }
}

fn add(inventory: &mut Inventory, id: ObjectId, resource: &ApiResource, metadata: &ObjectMeta) {
    let annotations = metadata.annotations.as_ref();
    let is_adopted = annotations.is_some_and(|it| it.contains_key(names::ADOPTED_ANNOTATION));
    let kind = GroupKind {
        group: resource.group.clone(),
        kind: resource.kind.clone(),
    };
    if !id.namespace.is_empty() {
        // Only one that was made for a guest is removed with its last workload.
        inventory.made_namespace = Some(id.namespace.clone());
    }
    let entry = Entry {
        version: resource.version.clone(),
        wave: kind.wave(),
        made: !is_adopted,
        stop: None,
    };
    inventory.objects.insert(id, entry);
}
