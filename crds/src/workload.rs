//! [`FederatedWorkload`]: what to run, how many and where; and in its status where it runs, why, and what it would survive.

use std::collections::{BTreeMap, BTreeSet};

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    condition::Condition,
    schema::{self, DNS_LABEL, JURISDICTION, MAX_SAFE_INTEGER, REASON},
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
    /// The Kubernetes objects to create in every host, 1 to 64, applied in this order. Only the replicas that a host runs
    /// are changed on the way.
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
    /// What becomes of the `PersistentVolumeClaim`s among the manifests. What a `StatefulSet` makes by its templates follows
    /// its own `persistentVolumeClaimRetentionPolicy`. A host that returns after an outage never deletes a claim.
    #[serde(default, skip_serializing_if = "is_default")]
    pub volumes: Volumes,
    /// What becomes of an object that exists already in a host and was not made for this workload: `Never` (default) leaves
    /// it alone and says so, `IfUnchanged` takes it over if applying the manifest changes nothing that anybody set, `Always`
    /// takes it over. An object that was taken over is never deleted with the workload.
    #[serde(default, skip_serializing_if = "is_default")]
    pub adopt: Adopt,
    /// How edits are carried out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub update: UpdateRules,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
    /// The jurisdictions this workload may be in, such as `EU` or `CH`; a member in another one, or in none, never hosts
    /// it, not even when all others are lost. Absent: anywhere.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 32), regex(pattern = JURISDICTION)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub domicile: BTreeSet<String>,
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Requirements {
    /// Labels the member must have in its `spec.labels`, every one with exactly this value. At most 64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    pub match_labels: BTreeMap<String, String>,
}

impl Requirements {
    /// Whether any member meets them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty()
    }
}

/// Where the workload runs, as the federation last decided and the hosts last reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FederatedWorkloadStatus {
    /// The `metadata.generation` this status is about. If it is older than the object's, the status is out of date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_SAFE_INTEGER))]
    pub observed_generation: Option<i64>,
    /// The generation of the workload in the ledger: the same in every cluster of its owner, and one more with every
    /// accepted change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_SAFE_INTEGER))]
    pub ledger_generation: Option<i64>,
    /// The member whose API server received the last change of the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub home: Option<String>,
    /// Replicas asked for, over all members.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100_000_000))]
    pub desired: i32,
    /// Replicas that are ready, over all members whose lease holds.
    #[serde(default)]
    #[schemars(range(min = 0, max = 100_000_000))]
    pub ready: i32,
    /// The members it runs in, for reading: up to three names, then how many more, such as `eu-1, us-1, ap-1 +2`.
    /// Programs read `placements`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub hosts: Option<String>,
    /// The largest failure domain of which any one can be lost with everything that was asked for still having a place
    /// to run: `Nothing`, `Cluster`, `Region`, `Provider` or `Owner`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Survives")]
    pub survives: Option<Survives>,
    /// The highest epoch of its placements. Grows with every move; what a host applied under a lower one is out of date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_SAFE_INTEGER))]
    pub epoch: Option<i64>,
    /// What the promise "never two" of mode `Single` rests on. `Cooperative`: the old host stops its copy itself when its
    /// lease ends, before another starts. `None`: no such promise, as in the other modes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Fencing")]
    pub fencing: Option<Fencing>,
    /// Where it runs: one entry for each member that was given a part of it and has not finished removing it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["member".into()]))]
    pub placements: Vec<PlacementStatus>,
    /// Where it does not run and why: one entry for each member that was ruled out when hosts were last chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["member".into()]))]
    pub excluded: Vec<Exclusion>,
    /// `Ready`: every replica is. `Placed`: every replica has a host. `Compliant`: every host is within the domicile and
    /// granted. `Survivable`: any one member can be lost. `Progressing`: hosts are being changed. `Stalled`: nothing will
    /// change unless someone acts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// The largest failure domain of which any one can be lost with everything still having a place to run.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Survives {
    /// Losing a single member already leaves too few places.
    Nothing,
    /// Any one member.
    Cluster,
    /// All members of any one region.
    Region,
    /// All members of any one provider.
    Provider,
    /// All members of any one owner.
    Owner,
}

/// What the promise "never two copies" rests on.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Fencing {
    /// There is no such promise.
    None,
    /// The old host stops its copy itself when its lease ends.
    Cooperative,
}

/// The part of a workload that one member runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacementStatus {
    /// The member that hosts this part.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub member: String,
    /// The owner of that member.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub owner: String,
    /// Replicas this member was given.
    #[schemars(range(min = 0, max = 100_000))]
    pub replicas: i32,
    /// Replicas that are ready there.
    #[schemars(range(min = 0, max = 100_000))]
    pub ready: i32,
    /// The epoch of this placement: its fencing token. Only grows.
    #[schemars(range(min = 0, max = MAX_SAFE_INTEGER))]
    pub epoch: i64,
    /// `Pending`: decided, not applied yet. `Applied`: the objects exist. `Ready`: and are healthy. `Failed`: the host
    /// could not apply them. `Stopped`: the host has stopped its copy because its lease ended. `Lost`: the member's lease
    /// has ended. `Removing`: the objects are being deleted.
    pub state: PlacementState,
    /// Why it is in this state, as the host reports it. At most 1024 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub message: String,
}

/// How far a placement is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum PlacementState {
    /// Decided, not applied yet.
    Pending,
    /// The objects exist.
    Applied,
    /// The objects are healthy.
    Ready,
    /// The host could not apply them.
    Failed,
    /// The host has stopped its copy because its lease ended.
    Stopped,
    /// The member's lease has ended.
    Lost,
    /// The objects are being deleted.
    Removing,
}

/// A member that does not host the workload, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exclusion {
    /// The member that was ruled out.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub member: String,
    /// What ruled it out, as one CamelCase word for programs.
    #[schemars(length(min = 1, max = 128), regex(pattern = REASON))]
    pub reason: String,
    /// What ruled it out, as a sentence for people. At most 512 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub message: String,
}
