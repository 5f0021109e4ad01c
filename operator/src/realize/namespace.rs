//! The namespace of a workload's objects: made for a guest, and deleted when the last of its workloads is removed.

use hanse_core::id::OwnerName;
use hanse_crds::names;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{DeleteParams, Patch},
};
use serde_json::json;

use super::{inventory, verify::Verified};
use crate::cluster::{CallError, Cluster, applying, bounded, optional};

/// Whether a namespace does not exist yet or was made by Hanse.
pub(super) async fn is_ours(client: &Client, name: &str) -> Result<bool, CallError> {
    let found = optional(api(client).get(name)).await?;
    Ok(found.is_none_or(|found| is_marked(&found)))
}

/// Makes the namespace of a placement. The namespace of the host's own owner only has to exist. The namespace of a
/// guest, if it is `ours`, is labelled with the pod security level of its grant. A namespace that somebody else made
/// keeps its labels.
pub(super) async fn make(
    client: &Client,
    owner: &OwnerName,
    verified: &Verified<'_>,
    ours: bool,
) -> Result<(), CallError> {
    let name = &verified.consent().namespace;
    let mut namespace =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    if let Some(level) = verified.consent().pod_security.filter(|_| ours) {
        namespace["metadata"]["labels"] = json!({
            names::GUEST_LABEL: owner.as_str(),
            "pod-security.kubernetes.io/enforce": level.label(),
        });
    }
    let parameters = applying();
    bounded(api(client).patch(name, &parameters, &Patch::Apply(&namespace)))
        .await
        .map(drop)
}

/// Deletes a namespace made for a guest if no inventory names it any more.
pub(super) async fn remove_unused(cluster: &Cluster, name: &str) -> Result<(), CallError> {
    let others = inventory::list(cluster).await?;
    let named = |other: &inventory::Inventory| other.made_namespace.as_deref() == Some(name);
    if others.values().any(named) {
        return Ok(());
    }
    let api = api(&cluster.client);
    if optional(api.get(name))
        .await?
        .is_some_and(|found| is_marked(&found))
    {
        optional(api.delete(name, &DeleteParams::default())).await?;
    }
    Ok(())
}

fn is_marked(namespace: &Namespace) -> bool {
    let labels = namespace.metadata.labels.as_ref();
    labels.is_some_and(|labels| labels.contains_key(names::GUEST_LABEL))
}

fn api(client: &Client) -> Api<Namespace> {
    Api::all(client.clone())
}
