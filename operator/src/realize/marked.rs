//! The objects in this cluster that carry Hanse's marks and that no inventory names: somebody deleted the inventory.
//!
//! A removal must not be confirmed before they are gone. They are looked for once per process, the first time that
//! something is to be removed of which no inventory is known: what this process applies itself it knows.

use std::{collections::BTreeMap, ops::ControlFlow};

use hanse_core::{id::WorkloadKey, workload::ScalePath};
use hanse_crds::names;
use kube::{
    api::{ListParams, ObjectMeta},
    discovery::{ApiGroup, Discovery, Scope, verbs},
};
use tracing::warn;

use super::{
    inventory::{Entry, Inventory},
    marks::workload_of,
    object_id::ObjectId,
    objects::{Kind, Objects},
};
use crate::cluster::{CallError, bounded};

/// An inventory for each workload that has marked objects here and for which `is_unknown`. Its waves are those of the kinds.
///
/// One list per kind. A kind that the operator may not list is left out: it may not have applied one either.
pub(super) async fn find(
    objects: &Objects,
    is_unknown: impl Fn(&WorkloadKey) -> bool,
) -> Result<BTreeMap<WorkloadKey, Inventory>, CallError> {
    let discovery = Discovery::new(objects.client.clone()).run_aggregated();
    let discovery = bounded(discovery).await?;
    let resources = discovery.groups().flat_map(ApiGroup::recommended_resources);
    let mut found: BTreeMap<WorkloadKey, Inventory> = BTreeMap::new();
    for (resource, capabilities) in resources {
        let mut needed = [verbs::LIST, verbs::DELETE].iter();
        if !needed.all(|verb| capabilities.supports_operation(verb)) {
            continue;
        }
        let kind = Kind {
            resource,
            namespaced: capabilities.scope == Scope::Namespaced,
        };
        let marked = ListParams::default().labels(names::WORKLOAD_LABEL);
        let add = |metadata: ObjectMeta| {
            let key = workload_of(&metadata).filter(&is_unknown);
            if let Some(key) = key.filter(|_| !has_owner(&metadata)) {
                warn!(workload = %key, kind = kind.resource.kind, name = metadata.name, "no inventory names an object");
                add(found.entry(key).or_default(), &kind, metadata);
            }
            ControlFlow::<()>::Continue(())
        };
        match objects.visit(&kind, "", marked, add).await {
            Err(error) if error.is_transient() => return Err(error),
            Ok(_) | Err(_) => {}
        }
    }
    Ok(found)
}

/// What another object owns goes with that. A controller may have copied the marks to it.
fn has_owner(metadata: &ObjectMeta) -> bool {
    let owners = metadata.owner_references.as_ref();
    owners.is_some_and(|owners| !owners.is_empty())
}

fn add(inventory: &mut Inventory, kind: &Kind, metadata: ObjectMeta) {
    let annotations = metadata.annotations.unwrap_or_default();
    let id = ObjectId {
        group: kind.resource.group.clone(),
        kind: kind.resource.kind.clone(),
        namespace: metadata.namespace.unwrap_or_default(),
        name: metadata.name.unwrap_or_default(),
    };
    if kind.namespaced {
        // Only one that was made for a guest is removed with its last workload.
        inventory.made_namespace = Some(id.namespace.clone());
    }
    let entry = Entry {
        version: kind.resource.version.clone(),
        wave: id.group_kind().wave(),
        made: !annotations.contains_key(names::ADOPTED_ANNOTATION),
        stop: None,
        scale: ScalePath::default(),
    };
    inventory.objects.insert(id, entry);
}
