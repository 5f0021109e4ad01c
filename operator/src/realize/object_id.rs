//! The identity of an object of this cluster.

use std::fmt;

use hanse_core::workload::{GroupKind, ManifestId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One object in this cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ObjectId {
    pub(super) api_version: String,
    pub(super) kind: String,
    /// Empty for cluster-scoped objects.
    pub(super) namespace: String,
    pub(super) name: String,
}

impl ObjectId {
    /// The id of a manifest in `namespace`.
    pub(super) fn of(manifest: &Value, namespace: &str) -> Self {
        let text = |pointer: &str| {
            let value = manifest.pointer(pointer).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        Self {
            api_version: text("/apiVersion"),
            kind: text("/kind"),
            namespace: namespace.to_owned(),
            name: text("/metadata/name"),
        }
    }

    /// The manifest that this object is of.
    pub(super) fn manifest(&self) -> ManifestId {
        let group = self.api_version.split_once('/').map_or("", |it| it.0);
        ManifestId {
            group_kind: GroupKind {
                group: group.to_owned(),
                kind: self.kind.clone(),
            },
            name: self.name.clone(),
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}'", self.kind, self.name)
    }
}
