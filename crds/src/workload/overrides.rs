//! What is different about a workload's objects in some of the members.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Requirements;
use crate::schema::{self, IMAGE_REGISTRY};

/// A change of some manifests in some members. `imageRegistry` comes first, then `merge`, then `patch`; at least one is needed.
///
/// None of them changes which object it is, its namespace, how many replicas it has, or annotations of `hanse.dev/`. In values of
/// `merge` and `patch`, `$(member:KEY)` stands for the value of a label of the member, those like `hanse.dev/region` included; a member
/// without that label refuses its part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.imageRegistry) || has(self.merge) || has(self.patch)")
    .message("an override must have `imageRegistry`, `merge` or `patch`"))]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// What a member must be for it to be changed there. Absent: it is in every member.
    #[serde(default, skip_serializing_if = "Requirements::is_empty")]
    pub members: Requirements,
    /// Which manifests are changed. Absent: all.
    #[serde(default, skip_serializing_if = "OverriddenManifests::is_empty")]
    pub manifests: OverriddenManifests,
    /// Where the images of containers and init containers come from instead of their own registry: `HOST`, `HOST:PORT` or
    /// either with a path. `ghcr.io/acme/web:1` becomes `HOST/acme/web:1`, and `nginx` becomes `HOST/nginx`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = IMAGE_REGISTRY))]
    pub image_registry: Option<String>,
    /// Fields with their values, laid over the manifest as a JSON merge patch does: objects are merged, anything else is
    /// replaced, lists too. Remove fields with `patch`: a `null` in here is dropped when the object is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::object")]
    pub merge: Option<serde_json::Value>,
    /// Operations of a JSON patch, at most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub patch: Vec<PatchOperation>,
}

/// Some of the manifests. All parts given must be theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct OverriddenManifests {
    /// Their kind, for example `Deployment`. Absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: Option<String>,
    /// Their `metadata.name`. Absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
}

impl OverriddenManifests {
    /// Whether it is all of them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kind.is_none() && self.name.is_none()
    }
}

/// One operation of a JSON patch (RFC 6902).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("(self.op == 'move') == has(self.from)")
    .message("`from` must be there for 'move', and only there")
    .field_path(".from"))]
#[serde(rename_all = "camelCase")]
pub struct PatchOperation {
    /// What is done. A `test` that fails makes the whole override fail.
    pub op: PatchOperator,
    /// Which field, as a JSON pointer, for example `/spec/template/spec/containers/0/image`; `~1` stands for `/` in a name.
    #[schemars(length(max = 1024))]
    pub path: String,
    /// For `move`: where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub from: Option<String>,
    /// For `add`, `replace` and `test`: the value. Not `null`, which is dropped when the object is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::anything")]
    pub value: Option<serde_json::Value>,
}

/// What an operation of a JSON patch does.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum PatchOperator {
    /// Sets a field, or inserts into a list.
    Add,
    /// Takes a field away.
    Remove,
    /// Replaces a field that is there.
    Replace,
    /// Moves a field.
    Move,
    /// Changes nothing, and fails if the field has another value.
    Test,
}
