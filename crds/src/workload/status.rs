//! The status of a `FederatedWorkload`: where it runs, why, and what it would survive.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    condition::Condition,
    schema::{DNS_LABEL, MAX_SAFE_INTEGER, REASON},
};

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
    /// How many members were ruled out when hosts were last chosen.
    #[serde(default)]
    #[schemars(range(min = 0, max = 2_147_483_647))]
    pub excluded_members: i32,
    /// Why it does not run there: the first three members, by name, that were ruled out for each reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["member".into()]))]
    pub excluded: Vec<Exclusion>,
    /// `Ready`: every replica is. `Placed`: every replica has a host. `Compliant`: every host is within the domicile and
    /// granted. `Survivable`: it survives the loss of any one member, or of what `placement.survive` says. `Progressing`: hosts are being changed. `Stalled`: nothing will
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
    /// How many of these are in addition to what was asked for, because another member is silent. They go when it is heard
    /// again, and stay when it is lost.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 100_000))]
    pub surge: i32,
    /// Replicas that are ready there.
    #[schemars(range(min = 0, max = 100_000))]
    pub ready: i32,
    /// The epoch of this placement: its fencing token. Only grows.
    #[schemars(range(min = 0, max = MAX_SAFE_INTEGER))]
    pub epoch: i64,
    /// `Pending`: decided, not applied yet. `Applied`: the objects exist. `Ready`: and are healthy. `Refused`: the host
    /// could not apply one of them. `Failed`: one of them cannot become healthy. `Stopped`: the host has stopped its copy because
    /// its lease ended. `Silent`: the member is silent, so that nothing is known of its replicas, and others run as many in
    /// addition. `Lost`: the member's lease has ended. `Removing`: the objects are being deleted.
    pub state: PlacementState,
    /// Why it is in this state, as the host reports it. At most 1024 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub message: String,
}

#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &i32) -> bool {
    *number == 0
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
    /// The host could not apply one of them.
    Refused,
    /// One of them cannot become healthy.
    Failed,
    /// The host has stopped its copy because its lease ended.
    Stopped,
    /// The member is silent, and others run its replicas in addition.
    Silent,
    /// The member is heard, and its API server answers nothing: what was reported is old.
    Unknown,
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
