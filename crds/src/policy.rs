//! [`HostingPolicy`]: what the owner of a cluster lets other owners run there. It never leaves that cluster.

use std::collections::BTreeSet;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    condition::Condition,
    schema::{DNS_LABEL, DNS_LABEL_OR_ALL, MAX_SAFE_INTEGER},
};

/// What other owners may run in this cluster.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema,
)]
#[kube(
    group = "hanse.dev",
    version = "v1alpha1",
    kind = "HostingPolicy",
    status = "HostingPolicyStatus",
    shortname = "hpol",
    category = "hanse",
    derive = "PartialEq",
    doc = "What other owners may run in this cluster. Without a grant nothing of theirs runs here; the owner's own \
           workloads need none. Several policies add up. Deleting one moves away what only it had granted.",
    printcolumn(
        name = "Published",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Published\")].status",
        description = "Whether the federation plans with it."
    ),
    printcolumn(
        name = "Hosting",
        type_ = "integer",
        json_path = ".status.hosting",
        description = "Workloads of other owners that run here under it."
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    ),
    printcolumn(
        name = "Owners",
        type_ = "string",
        json_path = ".spec.grants[*].owner",
        description = "The owners it lets in.",
        priority = "1"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Published\")].message",
        description = "Why it is published, or is not.",
        priority = "1"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct HostingPolicySpec {
    /// The grants, 1 to 256, and no more than 256 in all policies of a cluster together. A workload may run here if a
    /// single grant covers its owner, its namespace and the kind of every one of its objects; the first that does counts.
    #[schemars(length(min = 1, max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub grants: Vec<Grant>,
}

/// What one owner, or every owner, may run here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
// `namespace` is a reserved word of CEL, so the rule has to write it between underscores.
#[x_kube(validation = Rule::new("!has(self.__namespace__) || (self.owner != '*' && size(self.namespaces) == 1 && !('*' in self.namespaces))")
    .message("`namespace` must not be set unless the grant names exactly one owner and one namespace, neither of them '*'")
    .field_path(".namespace"))]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// The name of this grant, unique in its policy; its line in the status has the same.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub name: String,
    /// The owner that is let in, or `*` for every owner of the federation.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL_OR_ALL))]
    pub owner: String,
    /// The namespaces, as named in that owner's clusters, whose workloads are let in, 1 to 64; or `*` for all of them.
    #[schemars(length(min = 1, max = 64), inner(length(min = 1, max = 63), regex(pattern = DNS_LABEL_OR_ALL)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub namespaces: BTreeSet<String>,
    /// The kinds of objects that may be created here, 1 to 64.
    #[schemars(length(min = 1, max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["group".into(), "kind".into()]))]
    pub kinds: Vec<GrantedKind>,
    /// The namespace of this cluster the objects go to. Defaults to `<owner>--<namespace>`, cut and ended with a hash where
    /// that is longer than 63 characters. Only for a grant that names exactly one owner and one namespace, so that two
    /// tenants never share one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub namespace: Option<String>,
    /// The pod security level enforced in the namespace that is made for the guest: `Restricted` (default), `Baseline` or
    /// `Privileged`. Where `namespace` is set, that namespace keeps the level you gave it.
    #[serde(default)]
    pub pod_security: PodSecurity,
}

/// One kind of Kubernetes object, in all its versions.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, KubeSchema,
)]
#[serde(rename_all = "camelCase")]
pub struct GrantedKind {
    /// The API group, such as `apps`. Defaults to the core group, which has no name: that of `Service` and `ConfigMap`.
    #[serde(default)]
    #[schemars(
        length(max = 253),
        regex(pattern = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?$")
    )]
    pub group: String,
    /// The kind, such as `Deployment`.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[A-Z][A-Za-z0-9]*$"))]
    pub kind: String,
}

/// A level of the Pod Security Standards.
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
pub enum PodSecurity {
    /// Hardened pods only.
    #[default]
    Restricted,
    /// No known way to gain privileges.
    Baseline,
    /// Everything is allowed.
    Privileged,
}

/// Who uses one grant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GrantStatus {
    /// The name of the grant.
    #[schemars(length(min = 1, max = 63), regex(pattern = DNS_LABEL))]
    pub name: String,
    /// Workloads that run here under it.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub hosting: i32,
    /// Those workloads, as `OWNER/NAMESPACE/NAME`, in alphabetical order: the first 32.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 382)))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub workloads: BTreeSet<String>,
}

/// What became of the policy.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HostingPolicyStatus {
    /// The `metadata.generation` this status is about. If it is older than the object's, the status is out of date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_SAFE_INTEGER))]
    pub observed_generation: Option<i64>,
    /// Workloads of other owners that run here under this policy.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub hosting: i32,
    /// Who uses which grant: one entry for each grant of the policy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub grants: Vec<GrantStatus>,
    /// `Published`: the ledger has what is granted, and the federation plans with it. What is granted is enforced here
    /// whether or not it is published.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
}
