//! Removing a placement: everything that the inventory names, then the inventory, then the namespace made for a guest.

use hanse_core::id::WorkloadKey;

use super::{
    inventory::{self, Inventory},
    namespace,
    objects::Objects,
};
use crate::cluster::{CallError, Cluster};

/// Deletes everything in the inventory that is there. Whether nothing is left; otherwise look again.
pub(super) async fn remove(
    cluster: &Cluster,
    objects: &Objects,
    key: &WorkloadKey,
    inventory: &Inventory,
) -> Result<bool, CallError> {
    let mut gone = true;
    // The last applied is the first to go: what others depend on stays until they have stopped.
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
