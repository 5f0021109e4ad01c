//! [`Federation`]: the quorum as seen from this cluster. One object, written by the operator.

use std::collections::BTreeSet;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    condition::Condition,
    schema::{DNS_LABEL, HEX_32_BYTES, MAX_SAFE_INTEGER},
    workload::Fencing,
};

/// Nothing: the object only reports.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema,
)]
#[kube(
    group = "hanse.dev",
    version = "v1alpha1",
    kind = "Federation",
    no_spec,
    status = "FederationStatus",
    shortname = "fed",
    category = "hanse",
    derive = "PartialEq",
    doc = "The federation as seen from this cluster. There is one, named `hanse`; the operator creates and updates it. It \
           has nothing to set.",
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.leader", description = "The member that plans."),
    printcolumn(name = "Quorum", type_ = "string", json_path = ".status.quorum", description = "Whether decisions can be made."),
    printcolumn(name = "Voters", type_ = "integer", json_path = ".status.voterCount", description = "Members that vote."),
    printcolumn(name = "Height", type_ = "integer", json_path = ".status.height", description = "Entries of the ledger seen here."),
    printcolumn(name = "Role", type_ = "string", json_path = ".status.role", description = "This member's part."),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Member", type_ = "string", json_path = ".status.member", description = "This member.", priority = "1"),
    printcolumn(name = "Term", type_ = "integer", json_path = ".status.term", description = "Grows with every election.", priority = "1"),
    printcolumn(name = "Lease", type_ = "integer", json_path = ".status.leaseMilliseconds", description = "Milliseconds a member may be silent.", priority = "1"),
    printcolumn(name = "Head", type_ = "string", json_path = ".status.head", description = "Hash of the newest entry.", priority = "1"),
    validation = Rule::new("self.metadata.name == 'hanse'").message("the name must be 'hanse': a cluster has one federation")
)]
#[serde(rename_all = "camelCase")]
pub struct FederationSpec {}

/// The quorum as seen from this cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FederationStatus {
    /// The `metadata.generation` this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_SAFE_INTEGER))]
    pub observed_generation: Option<i64>,
    /// The federation's identity, made when it was founded. Never changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = "^[0-9a-z-]+$"))]
    pub id: Option<String>,
    /// The name of this member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub member: Option<String>,
    /// This operator's part in the quorum. `Leader`: it plans. `Follower`: it votes. `Candidate`: it hears no leader and
    /// asks for votes. `Attached`: it does not vote and keeps a stream to a member that does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "FederationRole")]
    pub role: Option<FederationRole>,
    /// The member that leads, as far as this one knows. Absent: none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub leader: Option<String>,
    /// `Healthy`: all voters vote. `Degraded`: a majority does, the others are in `silentVoters`. `Lost`: no majority is in
    /// contact, so that nothing can be decided; everything keeps running as last decided, except `Single` workloads, which
    /// stop when their host's lease ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Quorum")]
    pub quorum: Option<Quorum>,
    /// The members that vote.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63), regex(pattern = DNS_LABEL)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub voters: BTreeSet<String>,
    /// How many they are.
    #[serde(default)]
    #[schemars(range(min = 0, max = 16))]
    pub voter_count: i32,
    /// Those of them that do not vote now, as the leader sees it: their members are lost, or their ledgers do not answer.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63), regex(pattern = DNS_LABEL)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub silent_voters: BTreeSet<String>,
    /// The Raft term: grows with every election.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_SAFE_INTEGER))]
    pub term: Option<i64>,
    /// What builds of the operator of different age have in common. Grows some time after all voters run a newer one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub level: Option<i32>,
    /// The index of the newest ledger entry this member has seen applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_SAFE_INTEGER))]
    pub height: Option<i64>,
    /// The hash of the ledger up to and including `height`, in hexadecimal. The same in every cluster at the same height.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), regex(pattern = HEX_32_BYTES))]
    pub head: Option<String>,
    /// What the promise of `Single` workloads rests on. `Cooperative`: a host stops its copy itself when its lease ends.
    /// `None`: there is no such promise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Fencing")]
    pub fencing: Option<Fencing>,
    /// How long a member may be silent before it is lost, in milliseconds: the same for all members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_SAFE_INTEGER))]
    pub lease_milliseconds: Option<i64>,
    /// How often a member renews its lease, in milliseconds: the same for all members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_SAFE_INTEGER))]
    pub heartbeat_milliseconds: Option<i64>,
    /// `Ready`: attached and quorate. `Quorate`: a majority of voters is in contact. `Attached`: this member's stream to
    /// the leader is open. `Configured`: this operator's flags equal the federation's timings, and the ledger accepted what
    /// was requested here. `Braked`: so many members are silent at once that their replicas are not placed elsewhere before
    /// their leases end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}

/// An operator's part in the quorum, at this moment.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum FederationRole {
    /// It plans.
    Leader,
    /// It votes.
    Follower,
    /// It hears no leader and asks for votes.
    Candidate,
    /// It does not vote and keeps a stream to a member that does.
    Attached,
}

/// Whether decisions can be made.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Quorum {
    /// All voters vote.
    Healthy,
    /// A majority does.
    Degraded,
    /// No majority is in contact.
    Lost,
}
