//! Autoscalers among the objects of a workload: their limits are divided over the hosts like replicas.

use serde_json::Value;

use super::{Manifest, ManifestId, WorkloadSpec};

/// A `HorizontalPodAutoscaler` and the object of the same workload that it scales.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Autoscaler {
    /// The autoscaler.
    pub id: ManifestId,
    /// What it scales.
    pub target: ManifestId,
    /// The fewest replicas in all.
    pub min: u32,
    /// The most replicas in all; never fewer than `min`.
    pub max: u32,
}

impl WorkloadSpec {
    /// The autoscalers of objects of this workload.
    #[must_use]
    pub fn autoscalers(&self) -> Vec<Autoscaler> {
        let manifests = self.manifests.iter();
        manifests.filter_map(|it| self.autoscaler(it)).collect()
    }

    /// The autoscaler of this object, if there is one among the manifests.
    #[must_use]
    pub fn autoscaler_of(&self, target: &ManifestId) -> Option<Autoscaler> {
        let mut autoscalers = self.autoscalers().into_iter();
        autoscalers.find(|autoscaler| autoscaler.target == *target)
    }

    fn autoscaler(&self, manifest: &Manifest) -> Option<Autoscaler> {
        let id = manifest.id();
        let of = &id.group_kind;
        if (of.group.as_str(), of.kind.as_str()) != ("autoscaling", "HorizontalPodAutoscaler") {
            return None;
        }
        let object = manifest.object();
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
        let number = |pointer: &str| {
            let found = object.pointer(pointer).and_then(Value::as_u64);
            found.and_then(|found| u32::try_from(found).ok())
        };
        let (kind, name) = (
            text("/spec/scaleTargetRef/kind")?,
            text("/spec/scaleTargetRef/name")?,
        );
        let mut scalable = self.manifests.iter().filter(|it| it.is_scalable());
        let target = scalable.find(|it| it.kind == kind && it.name == name)?.id();
        let min = number("/spec/minReplicas").unwrap_or(1).max(1);
        let max = number("/spec/maxReplicas")?.max(min);
        Some(Autoscaler {
            id,
            target,
            min,
            max,
        })
    }
}
