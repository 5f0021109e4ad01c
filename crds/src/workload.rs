//! [`FederatedWorkload`]: what to run, how many and where; and in its status where it runs, why, and what it would survive.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod overrides;
mod placement;
mod status;

pub use overrides::{OverriddenManifests, Override, PatchOperation, PatchOperator};
pub use placement::{
    FailureDomain, LabelExpression, LabelOperator, Placement, PlacementMode, Requirements,
    ScaledObject, Spread, Toleration,
};
pub use status::{
    Exclusion, FederatedWorkloadStatus, Fencing, PlacementState, PlacementStatus, Survives,
};

use crate::schema::{self, DURATION, DURATION_OR_NEVER};

/// `placement.replicas` is a number for one manifest with replicas, unless `placement.scales` names it. Zero is for all.
const ONE_SCALES: &str = "!has(self.placement) || !has(self.placement.replicas) || self.placement.replicas == 0 \
    || has(self.placement.scales) \
    || self.manifests.filter(it, (it.kind in ['Deployment', 'ReplicaSet', 'StatefulSet'] && it.apiVersion == 'apps/v1') \
    || (it.kind == 'ReplicationController' && it.apiVersion == 'v1')).size() <= 1";

/// What to run and where. Kubernetes objects as they are, plus a placement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "hanse.dev",
    version = "v1alpha1",
    kind = "FederatedWorkload",
    namespaced,
    status = "FederatedWorkloadStatus",
    shortname = "fwl",
    scale(
        spec_replicas_path = ".spec.placement.replicas",
        status_replicas_path = ".status.ready"
    ),
    category = "hanse",
    derive = "PartialEq",
    doc = "A workload that runs in the clusters of a federation and moves when one of them is lost. It can be read and \
           changed in every cluster of its owner.",
    printcolumn(
        name = "Ready",
        type_ = "integer",
        json_path = ".status.ready",
        description = "Replicas that are ready, over all members."
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".status.desired",
        description = "Replicas asked for, over all members."
    ),
    printcolumn(
        name = "Members",
        type_ = "string",
        json_path = ".status.hosts",
        description = "The members it runs in."
    ),
    printcolumn(
        name = "Survives",
        type_ = "string",
        json_path = ".status.survives",
        description = "The largest failure domain whose loss it survives."
    ),
    printcolumn(
        name = "Epoch",
        type_ = "integer",
        json_path = ".status.epoch",
        description = "Grows with every move."
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Home",
        type_ = "string",
        json_path = ".status.home",
        description = "The member its last change came from.",
        priority = "1"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why it is ready, or is not.",
        priority = "1"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        description = "The same as a sentence.",
        priority = "1"
    )
)]
#[x_kube(validation = Rule::new(ONE_SCALES)
    .message("`scales` must name the manifest that `replicas` is about: several have replicas")
    .field_path(".placement.scales"))]
#[serde(rename_all = "camelCase")]
pub struct FederatedWorkloadSpec {
    /// The Kubernetes objects to create in every host, 1 to 64. They are applied in waves by their kind, and within a wave in
    /// this order; the annotation `hanse.dev/wave` puts one into another wave. Only the replicas that a host runs, and what
    /// `overrides` says, are changed on the way.
    #[schemars(schema_with = "schema::manifests")]
    pub manifests: Vec<serde_json::Value>,
    /// How many replicas to run and in which members. Without it the workload's own replicas are divided over all
    /// members that may host it.
    #[serde(default)]
    pub placement: Placement,
    /// What of the manifests is different in some members, applied in this order, each to the result of those before it. At
    /// most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub overrides: Vec<Override>,
    /// Stops everything that runs, in every host: nothing has replicas and no job starts. All objects stay where they are,
    /// and `false` starts everything again in the same hosts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub suspend: bool,
    /// When a part of it leaves a member.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failover: FailoverRules,
    /// What becomes of the `PersistentVolumeClaim`s among the manifests. What a `StatefulSet` makes by its templates follows
    /// its own `persistentVolumeClaimRetentionPolicy`. A host that returns after an outage never deletes a claim.
    #[serde(default, skip_serializing_if = "is_default")]
    pub volumes: Volumes,
    /// What becomes of an object that exists already in a host and was not made for this workload: `Never` (default) leaves
    /// it alone and says so, `IfUnchanged` takes it over if applying the manifest changes nothing that anybody set, `Always`
    /// takes it over. An object that was taken over is never deleted with the workload.
    #[serde(default, skip_serializing_if = "is_default")]
    pub adopt: Adopt,
    /// What becomes of a field that another field manager has set to another value in a host: `Refuse` (default) leaves it
    /// alone and names the field and its manager, `Force` takes it over. What somebody set there with kubectl is corrected in
    /// any case.
    #[serde(default, skip_serializing_if = "is_default")]
    pub conflicts: Conflicts,
    /// How edits are carried out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub update: UpdateRules,
    /// When its objects are healthy, where their kinds do not say it: the first rule about an object is the one that counts. At
    /// most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub health: Vec<HealthRule>,
}

/// When the objects of a kind are healthy, as expressions of CEL about `object`, which is such an object as its host has it.
///
/// A custom object is judged by these instead of by its conditions; a kind of Kubernetes itself must be ready by its own rule as well.
/// In a loop such as `object.status.nodes.all(it, it.ready)` only the variable of the loop may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthRule {
    /// Their kind, for example `Database`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Their `metadata.name`. Absent: all of that kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub name: Option<String>,
    /// True while such an object is ready: `object.status.phase == 'Running'`. What cannot be told yet, such as a field that is not
    /// there, is not true.
    #[schemars(length(min = 1, max = 1_024))]
    pub ready: String,
    /// True once it will not become ready without a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1_024))]
    pub failed: Option<String>,
    /// A text that says how it is doing while it is not ready: `object.status.reason`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1_024))]
    pub message: Option<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What stands for no time at all where a duration may stand.
pub const NEVER: &str = "Never";

/// When a part of a workload leaves a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!has(self.unplaceableAfter) || (duration(self.unplaceableAfter) >= duration('1s') \
    && duration(self.unplaceableAfter) <= duration('24h'))")
    .message("`unplaceableAfter` must be from 1s to 24h")
    .field_path(".unplaceableAfter"))]
#[x_kube(validation = Rule::new("!has(self.unhealthyAfter) || self.unhealthyAfter == 'Never' \
    || (duration(self.unhealthyAfter) >= duration('1s') && duration(self.unhealthyAfter) <= duration('24h'))")
    .message("`unhealthyAfter` must be `Never`, or from 1s to 24h")
    .field_path(".unhealthyAfter"))]
#[serde(rename_all = "camelCase")]
pub struct FailoverRules {
    /// How long a member may refuse its part (a port is taken, a quota is used up, its admission says no) before that part
    /// moves to a member that takes it: `1s` to `24h`, default `60s`. It stays if something of it runs there and no other
    /// member is ready with this version, and if no other member can host it. Mode `Duplicated` moves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 6), regex(pattern = DURATION))]
    pub unplaceable_after: Option<String>,
    /// How long replicas that were ready and no longer are, or whose pods find no node, stay with their member before they run
    /// elsewhere: `1s` to `24h`, or `Never`. Default: `60s`, and `Never` for mode `Single` and where a pod has a claim. They stay if
    /// no other member is ready with this version, so that what fails everywhere is not moved around. Mode `Duplicated` moves
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 6), regex(pattern = DURATION_OR_NEVER))]
    pub unhealthy_after: Option<String>,
    /// When what others took over from a member that was lost or drained moves back.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failback: FailbackRules,
    /// Whether replicas run elsewhere in addition while a member that has some is silent and not yet lost: `MemberSilent`
    /// (default) or `Never`. They go again when it is heard. Only mode `Divided`, and only if the workload consists of built-in
    /// kinds other than `StatefulSet`, `DaemonSet` and `PersistentVolumeClaim`, and its jobs and pods have succeeded.
    #[serde(default, skip_serializing_if = "is_default")]
    pub surge: SurgeWhen,
}

/// When what others took over from a member that was lost or drained moves back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!has(self.after) || self.after == 'Never' \
    || (duration(self.after) >= duration('1s') && duration(self.after) <= duration('24h'))")
    .message("`after` must be `Never`, or from 1s to 24h")
    .field_path(".after"))]
#[serde(rename_all = "camelCase")]
pub struct FailbackRules {
    /// How long that member must be back without a break: `1s` to `24h`, or `Never`; default `10m`. Its part is made ready there
    /// first. Only where replicas may run in addition, as for `surge`; nothing else moves back by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 6), regex(pattern = DURATION_OR_NEVER))]
    pub after: Option<String>,
}

/// When replicas run in addition to what was asked for.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum SurgeWhen {
    /// While a member that has some is silent.
    #[default]
    MemberSilent,
    /// Never.
    Never,
}

/// What becomes of an object that exists already.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum Adopt {
    /// It is left alone.
    #[default]
    Never,
    /// It is taken over if nothing in it changes.
    IfUnchanged,
    /// It is taken over.
    Always,
}

/// What becomes of a field that another field manager has set.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum Conflicts {
    /// It is left alone.
    #[default]
    Refuse,
    /// It is taken over.
    Force,
}

/// How edits are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct UpdateRules {
    /// What becomes of an object of which an edit changes a field that cannot be changed: `Fail` (default) leaves it as it is
    /// and says so, `Recreate` deletes it, with what it runs, and makes it again.
    #[serde(default)]
    pub on_immutable: OnImmutable,
}

/// What becomes of an object that an edit cannot change.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
pub enum OnImmutable {
    /// It stays as it is.
    #[default]
    Fail,
    /// It is deleted and made again.
    Recreate,
}

/// What becomes of the volume claims of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Volumes {
    /// When the workload no longer runs in a member: `Retain` (default) or `Delete`.
    #[serde(default = "retain")]
    pub on_move: VolumePolicy,
    /// When the workload is deleted: `Delete` (default, as Kubernetes does) or `Retain`.
    #[serde(default = "delete")]
    pub on_delete: VolumePolicy,
}

impl Default for Volumes {
    fn default() -> Self {
        Self {
            on_move: retain(),
            on_delete: delete(),
        }
    }
}

fn retain() -> VolumePolicy {
    VolumePolicy::Retain
}

fn delete() -> VolumePolicy {
    VolumePolicy::Delete
}

/// What becomes of a volume claim.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum VolumePolicy {
    /// It stays, with its data.
    Retain,
    /// It is deleted.
    Delete,
}
