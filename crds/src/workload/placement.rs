//! Where a `FederatedWorkload` may run, how many replicas of it, and what it must survive.

use std::collections::{BTreeMap, BTreeSet};

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    member::TaintEffect,
    schema::{self, JURISDICTION},
};

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
#[x_kube(validation = Rule::new("self.mode == 'Divided' || !has(self.spread) || self.spread.all(it, !has(it.maxSkew))")
    .message("`maxSkew` must be used with mode 'Divided' only")
    .field_path(".spread"))]
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
    /// In how many failure domains it runs, and how evenly. At most 4 rules. They hold for what runs: replicas move if they have
    /// to. What would break a rule is not placed, and `Placed` says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    pub spread: Vec<Spread>,
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

/// A rule about the failure domains of one kind in which a workload runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[x_kube(validation = Rule::new("has(self.by) != has(self.label)")
    .message("a rule must have either `by` or `label`"))]
#[x_kube(validation = Rule::new("has(self.min) || has(self.max) || has(self.maxSkew)")
    .message("a rule must have `min`, `max` or `maxSkew`"))]
#[x_kube(validation = Rule::new("!has(self.min) || !has(self.max) || self.min <= self.max")
    .message("`min` must not be above `max`")
    .field_path(".min"))]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// The kind of domains: `Cluster`, `Region` (of one provider), `Provider` or `Owner`. A member whose provider or region is not
    /// given is a domain of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "FailureDomain")]
    pub by: Option<FailureDomain>,
    /// Instead of `by`: a label of members; those with the same value are one domain. A member without it is a domain of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub label: Option<String>,
    /// The fewest domains it runs in, 1 to 100. Replicas move into a domain without any if it runs in fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub min: Option<i32>,
    /// The most domains it runs in, 1 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max: Option<i32>,
    /// By how many replicas the domains it runs in differ at most, 1 to 100000. Only with mode `Divided`. A domain in which none runs
    /// does not count: one that is new, or returns, moves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_skew: Option<i32>,
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
