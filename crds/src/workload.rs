//! [`FederatedWorkload`]: what to run, how many and where; and in its status where it runs, why, and what it would survive.

use std::collections::{BTreeMap, BTreeSet};

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod status;

pub use status::{
    Exclusion, FederatedWorkloadStatus, Fencing, PlacementState, PlacementStatus, Survives,
};

use crate::{
    member::TaintEffect,
    schema::{self, DURATION, JURISDICTION},
};

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
    /// this order; the annotation `hanse.dev/wave` puts one into another wave. Only the replicas that a host runs are changed on
    /// the way.
    #[schemars(schema_with = "schema::manifests")]
    pub manifests: Vec<serde_json::Value>,
    /// How many replicas to run and in which members. Without it the workload's own replicas are divided over all
    /// members that may host it.
    #[serde(default)]
    pub placement: Placement,
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
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// When a part of a workload leaves a member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("!has(self.unplaceableAfter) || (duration(self.unplaceableAfter) >= duration('1s') \
    && duration(self.unplaceableAfter) <= duration('24h'))")
    .message("`unplaceableAfter` must be from 1s to 24h")
    .field_path(".unplaceableAfter"))]
#[serde(rename_all = "camelCase")]
pub struct FailoverRules {
    /// How long a member may refuse its part (a port is taken, a quota is used up, its admission says no) before that part
    /// moves to a member that takes it: `1s` to `24h`, default `60s`. It stays if something of it runs there and no other
    /// member is ready with this version, and if no other member can host it. Mode `Duplicated` moves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 6), regex(pattern = DURATION))]
    pub unplaceable_after: Option<String>,
    /// Whether replicas run elsewhere in addition while a member that has some is silent and not yet lost: `MemberSilent`
    /// (default) or `Never`. They go again when it is heard. Only mode `Divided`, and only if the workload consists of built-in
    /// kinds other than `Pod`, `Job`, `CronJob`, `StatefulSet`, `DaemonSet` and `PersistentVolumeClaim`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub surge: SurgeWhen,
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

/// One of the manifests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaledObject {
    /// Its kind, for example `Deployment`.
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Its `metadata.name`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// How many replicas to run and in which members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("self.mode != 'Single' || !has(self.replicas) || self.replicas <= 1")
    .message("`replicas` must be 0, 1 or absent when `mode` is 'Single'")
    .field_path(".replicas"))]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// `Divided` (default): the replicas are shared out over the hosts. `Duplicated`: every host runs all of them.
    /// `Single`: one copy in one host, and never two at the same time.
    #[serde(default)]
    pub mode: PlacementMode,
    /// How many replicas to run, 0 to 100000: in total for `Divided`, in each host for `Duplicated`; at most 1 for
    /// `Single`. Absent: every manifest has its own number in `spec.replicas`. With 0 all objects exist and nothing runs.
    /// Where several manifests have replicas, any other number needs `scales`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub replicas: Option<i32>,
    /// The manifest that `replicas` is about. Needed where several have replicas; the others keep their own number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scales: Option<ScaledObject>,
    /// What a member must be to host this workload. Absent: any member will do.
    #[serde(default, skip_serializing_if = "Requirements::is_empty")]
    pub require: Requirements,
    /// What it must survive the loss of any one of, and of everything smaller: `Cluster` (default), `Region`, `Provider` or
    /// `Owner`. Whether it does is the condition `Survivable`: somebody else may host it then, and enough voters are left to
    /// decide so. It moves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "FailureDomain")]
    pub survive: Option<FailureDomain>,
    /// Taints of members that do not keep it away. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub tolerations: Vec<Toleration>,
    /// The jurisdictions this workload may be in, such as `EU` or `CH`, with all that is part of them: `DE` is in `EU`,
    /// `US-CA` in `US`. A member in another one, or in none, never hosts it, not even when all others are lost. Absent: anywhere.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 32), regex(pattern = JURISDICTION)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub domicile: BTreeSet<String>,
}

/// What can be lost at once.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum FailureDomain {
    /// One member.
    Cluster,
    /// The members of one provider in one region.
    Region,
    /// The members of one provider.
    Provider,
    /// The members of one owner.
    Owner,
}

/// Taints of members that do not keep a workload away. All parts given must be those of the taint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// The taint's key. Absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub key: Option<String>,
    /// Its value. Absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// Its effect. Absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TaintEffect")]
    pub effect: Option<TaintEffect>,
}

/// How replicas spread over hosts.
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
pub enum PlacementMode {
    /// Shared out over the hosts.
    #[default]
    Divided,
    /// All of them in every host.
    Duplicated,
    /// One copy in one host, never two at the same time.
    Single,
}

/// What a member must be to host a workload. All of it must hold.
///
/// Every member has, besides those in its `spec.labels`, the labels `hanse.dev/member`, `hanse.dev/owner`, `hanse.dev/provider`,
/// `hanse.dev/region` and `hanse.dev/jurisdiction`, as far as they are known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Requirements {
    /// Labels the member must have, every one with exactly this value. At most 64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub match_labels: BTreeMap<String, String>,
    /// What else must hold of its labels. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub match_expressions: Vec<LabelExpression>,
}

impl Requirements {
    /// Whether any member meets them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }
}

/// A condition on one label of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)")
    .message("`values` must have a value for 'In' and 'NotIn', and none for 'Exists' and 'DoesNotExist'")
    .field_path(".values"))]
#[serde(rename_all = "camelCase")]
pub struct LabelExpression {
    /// The label.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// `In`: it is there with one of `values`. `NotIn`: it is absent or has another value. `Exists`: it is there.
    /// `DoesNotExist`: it is absent.
    pub operator: LabelOperator,
    /// At most 64.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 63)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub values: BTreeSet<String>,
}

/// How a label is compared.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum LabelOperator {
    /// It is there with one of the values.
    In,
    /// It is absent or has another value.
    NotIn,
    /// It is there.
    Exists,
    /// It is absent.
    DoesNotExist,
}
