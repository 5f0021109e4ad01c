//! Removes a placement: the objects that the inventory names, then the inventory, then the namespace made for a guest.

use hanse_core::id::WorkloadKey;

use super::{
    inventory::{self, Inventory},
    namespace,
    objects::Objects,
};
use crate::cluster::{CallError, Cluster};

/// Deletes the objects of the inventory. Returns whether none is left; otherwise the caller must call again.
pub(super) async fn remove(
    cluster: &Cluster,
    objects: &Objects,
    key: &WorkloadKey,
    inventory: &Inventory,
) -> Result<bool, CallError> {
    let mut gone = true;
    // In reverse order of applying: an object stays until the objects that depend on it are deleted.
    for id in inventory.objects.iter().rev() {
        gone &= objects.delete(key, id).await?;
    }
    if gone {
        inventory::delete(cluster, key).await?;
        if let Some(made) = &inventory.made_namespace {
            namespace::remove_unused(cluster, made).await?;
        }
    }
    Ok(gone)
}
