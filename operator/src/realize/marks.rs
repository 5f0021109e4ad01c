//! The marks that show for which workload an object in this cluster was applied. Pure.
//!
//! The annotation carries the whole key and identifies the workload of the object. The label carries a short id,
//! because a label's value holds 63 characters and a name may have 253.

use hanse_core::id::{Epoch, WorkloadKey};
use hanse_crds::names;
use kube::core::ObjectMeta;

/// The labels and annotations that Hanse adds to an object applied for `key` at `epoch`.
pub(super) struct Marks {
    pub(super) labels: [(&'static str, String); 1],
    pub(super) annotations: [(&'static str, String); 2],
}

impl Marks {
    pub(super) fn of(key: &WorkloadKey, epoch: Epoch) -> Self {
        Self {
            labels: [(names::WORKLOAD_LABEL, key.id())],
            annotations: [
                (names::WORKLOAD_ANNOTATION, key.to_string()),
                (names::EPOCH_ANNOTATION, epoch.to_string()),
            ],
        }
    }
}

/// The workload an object was applied for; `None` if Hanse did not apply it.
pub(super) fn workload_of(metadata: &ObjectMeta) -> Option<WorkloadKey> {
    let key: WorkloadKey = metadata
        .annotations
        .as_ref()?
        .get(names::WORKLOAD_ANNOTATION)?
        .parse()
        .ok()?;
    // The annotation alone is no proof: a copy of the object under another name keeps its annotations. An object
    // without the label is no longer managed by Hanse.
    let label = metadata.labels.as_ref()?.get(names::WORKLOAD_LABEL)?;
    (*label == key.id()).then_some(key)
}
