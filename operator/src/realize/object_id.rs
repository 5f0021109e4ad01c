//! The identity of an object of this cluster.

use std::fmt;

use hanse_core::workload::{GroupKind, Manifest, ManifestId};
use serde::{Deserialize, Serialize};

/// One object in this cluster. Its version is only a way to write it, and not part of its identity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectId {
    /// Empty for the core group.
    pub(super) group: String,
    pub(super) kind: String,
    /// Empty for cluster-scoped objects.
    pub(super) namespace: String,
    pub(super) name: String,
}

impl ObjectId {
    /// The id of a manifest in `namespace`.
    pub(super) fn of(manifest: &Manifest, namespace: &str) -> Self {
        let GroupKind { group, kind } = manifest.group_kind();
        Self {
            group,
            kind,
            namespace: namespace.to_owned(),
            name: manifest.name.clone(),
        }
    }

    /// The manifest that this object is of.
    pub(super) fn manifest(&self) -> ManifestId {
        ManifestId {
            group_kind: self.group_kind(),
            name: self.name.clone(),
        }
    }

    pub(super) fn group_kind(&self) -> GroupKind {
        GroupKind {
            group: self.group.clone(),
            kind: self.kind.clone(),
        }
    }

    /// Whether it is of this kind of Kubernetes itself.
    pub(super) fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}'", self.kind, self.name)
    }
}
