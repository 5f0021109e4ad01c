//! Fake nodes with the capacity of real ones.

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{ListParams, PostParams},
};

use super::{Cluster, ClusterError};

/// The nodes of a cluster: machines of 16 cores and 64 GiB, each in a zone of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nodes {
    /// How many.
    pub count: u32,
    /// Label `topology.kubernetes.io/region` of each.
    pub region: String,
}

impl Default for Nodes {
    fn default() -> Self {
        Self {
            count: 3,
            region: "local".to_owned(),
        }
    }
}

impl Nodes {
    fn all(&self, cluster: &str) -> Vec<serde_json::Value> {
        (0..self.count)
            .map(|index| self.one(cluster, index))
            .collect()
    }

    fn one(&self, cluster: &str, index: u32) -> serde_json::Value {
        let name = format!("{cluster}-{index}");
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "node.kubernetes.io/instance-type": "16-64",
                "topology.kubernetes.io/region": self.region,
                "topology.kubernetes.io/zone": format!("{}-{index}", self.region),
            }},
            "status": {
                "capacity": {"cpu": "16", "memory": "64Gi", "ephemeral-storage": "200Gi", "pods": "110"},
                // The capacity without what the kubelet and the system of such a machine reserve.
                "allocatable": {"cpu": "15890m", "memory": "61Gi", "ephemeral-storage": "180Gi", "pods": "110"},
            },
        })
    }
}

impl Cluster {
    /// Creates the nodes that do not exist.
    pub(super) async fn create_nodes(&self) -> Result<(), ClusterError> {
        let nodes: Api<Node> = Api::all(self.client());
        for node in self.nodes.all(&self.name) {
            let created = match serde_json::from_value(node) {
                Ok(node) => nodes.create(&PostParams::default(), &node).await.map(drop),
                Err(error) => Err(kube::Error::SerdeError(error)),
            };
            match created {
                Err(kube::Error::Api(answer)) if answer.is_already_exists() => {}
                created => created.map_err(|source| ClusterError::Client {
                    cluster: self.name.clone(),
                    source,
                })?,
            }
        }
        Ok(())
    }

    pub(super) async fn nodes_ready(&self) -> anyhow::Result<()> {
        let nodes: Api<Node> = Api::all(self.client());
        let nodes = nodes
            .list(&ListParams::default())
            .await
            .context("failed to list nodes")?;
        let ready = nodes.items.iter().filter(|node| is_ready(node)).count();
        ensure!(
            ready == self.nodes.count as usize,
            "{ready} of {} nodes are ready",
            self.nodes.count
        );
        Ok(())
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions = node
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .into_iter()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
