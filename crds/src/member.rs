//! [`Member`]: one cluster of the federation.
//!
//! Every cluster has a row for every member. Its own row is written by its owner; the others carry
//! [`names::MIRRORED_LABEL`](crate::names::MIRRORED_LABEL) and are put back when someone edits them.

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    condition::Condition,
    schema::{self, DNS_LABEL, HEX_32_BYTES, JURISDICTION, LABEL_VALUE, MAX_SAFE_INTEGER},
};

/// Where this cluster is and what it is called by those who choose hosts.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema,
)]
#[kube(
    group = "hanse.dev",
    version = "v1alpha1",
    kind = "Member",
    status = "MemberStatus",
    shortname = "mbr",
    category = "hanse",
    derive = "PartialEq",
    doc = "One cluster of the federation. The owner of a cluster writes the row of that cluster; all other rows (label \
           `hanse.dev/mirrored`) are copies and read-only.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.lease", description = "Whether its lease holds."),
    printcolumn(name = "Owner", type_ = "string", json_path = ".status.owner", description = "The organisation it belongs to."),
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.provider", description = "Who runs the machines."),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region", description = "Where the machines are."),
    printcolumn(name = "Jurisdiction", type_ = "string", json_path = ".spec.jurisdiction", description = "Whose law applies there."),
    printcolumn(name = "Role", type_ = "string", json_path = ".status.role", description = "Its part in the quorum."),
    printcolumn(name = "Workloads", type_ = "integer", json_path = ".status.workloads", description = "Placements it hosts."),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Scheduling", type_ = "string", json_path = ".spec.scheduling", description = "Whether it takes new placements.", priority = "1"),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.address", description = "Where its operator is reached by peers.", priority = "1"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version", description = "Version of its operator.", priority = "1"),
    validation = Rule::new("size(self.metadata.name) <= 63 && !self.metadata.name.contains('.')")
        .message("the name must be a DNS label: at most 63 characters and no dot")
)]
#[serde(rename_all = "camelCase")]
pub struct MemberSpec {
    /// Who runs the machines, such as `hetzner` or `on-prem`. Members with the same one are taken to fail together.
    /// Absent: a provider of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL_VALUE))]
    pub provider: Option<String>,
    /// Where the machines are, such as `fsn1`. Members of one provider with the same one are taken to fail together.
    /// Absent: a region of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = LABEL_VALUE))]
    pub region: Option<String>,
    /// Whose law applies there, such as `EU` or `CH`: what a workload's `domicile` is compared with. Absent: none, so
    /// that no workload with a domicile comes here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = JURISDICTION))]
    pub jurisdiction: Option<String>,
    /// Labels that a workload's `require` is compared with. At most 64. Those of `hanse.dev/` are set by the federation.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(schema_with = "schema::labels")]
    #[x_kube(validation = Rule::new("self.all(key, !key.startsWith('hanse.dev/'))")
        .message("a key must not start with 'hanse.dev/': every member has those labels by what it is"))]
    pub labels: BTreeMap<String, String>,
    /// Marks that keep away workloads without a toleration for them. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["key".into(), "effect".into()]))]
    pub taints: Vec<Taint>,
    /// `Enabled` (default): takes placements. `Cordoned`: keeps what it runs and takes nothing new. `Drained`: takes nothing
    /// new, and what it runs goes to other members; what no other may host stays.
    #[serde(default)]
    pub scheduling: Scheduling,
}

/// A mark that keeps away workloads without a toleration for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    /// Its name, such as `gpu`.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// More about it. Absent: nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub value: String,
    /// `NoSchedule`: workloads do not come, what runs stays. `NoExecute`: what runs leaves as well, if another member may host
    /// it.
    pub effect: TaintEffect,
}

/// What a taint does.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum TaintEffect {
    /// Workloads do not come; what runs stays.
    NoSchedule,
    /// Workloads do not come, and what runs leaves, if another member may host it.
    NoExecute,
}

/// Whether a member takes new placements.
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
pub enum Scheduling {
    /// It does.
    #[default]
    Enabled,
    /// It keeps what it runs and takes nothing new.
    Cordoned,
    /// It takes nothing new, and what it runs goes to other members.
    Drained,
}

/// What the ledger has of this member.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberStatus {
    /// The `metadata.generation` this status is about. If it is older than the object's, the status is out of date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_SAFE_INTEGER))]
    pub observed_generation: Option<i64>,
    /// The organisation the cluster belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub owner: Option<String>,
    /// The member's Ed25519 public key in hexadecimal: who it is to its peers. The private half never leaves the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = HEX_32_BYTES))]
    pub key: Option<String>,
    /// `Held`: it is heard and runs what it was given. `Lost`: it was not heard for too long and its share runs elsewhere.
    /// `Revoked`: it was removed from the federation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Lease")]
    pub lease: Option<Lease>,
    /// Grows by one each time the lease is granted anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_SAFE_INTEGER))]
    pub lease_epoch: Option<i64>,
    /// When `lease` last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_transition_time: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>,
    /// Its part in the quorum. `Leader` or `Voter`: it votes. `Candidate`: it copies the ledger and will vote once it has
    /// caught up. `None`: it does not vote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "MemberRole")]
    pub role: Option<MemberRole>,
    /// Where its operator is reached by peers, as `host:port`. Absent: it only dials out, and so never votes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 260))]
    pub address: Option<String>,
    /// Version of its operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,
    /// The newest level that its operator knows. While a voter's is lower than another's, the federation's stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub level: Option<i32>,
    /// Placements it hosts.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub workloads: i32,
    /// `Ready`: its lease holds. `Synced`: this row equals the ledger's description.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// Whether a member may run what it was given.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Lease {
    /// It is heard and runs what it was given.
    Held,
    /// It was not heard for too long; its share runs elsewhere.
    Lost,
    /// It was removed from the federation.
    Revoked,
}

/// A member's part in the quorum, as the ledger has it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum MemberRole {
    /// It votes and leads.
    Leader,
    /// It votes.
    Voter,
    /// It copies the ledger and will vote once it has caught up.
    Candidate,
    /// It does not vote.
    None,
}
