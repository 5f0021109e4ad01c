//! What users of Hanse write and read: the Kubernetes API of group `hanse.dev`, version `v1alpha1`.
//!
//! | module | kind | scope | written by |
//! |---|---|---|---|
//! | [`workload`] | [`FederatedWorkload`] | namespaced | the tenant |
//! | [`member`] | [`Member`] | cluster | own row: the cluster's owner; other rows are mirrored |
//! | [`policy`] | [`HostingPolicy`] | cluster | the owner of the cluster that hosts |
//! | [`federation`] | [`Federation`] | cluster, one | the operator |
//!
//! Beside the kinds: [`condition`] (what every status has in common), [`names`] (labels, annotations and other fixed names
//! the operator and the CLI agree on) and [`manifest`] (the definitions as YAML, as committed in `manifests/`).
//!
//! Types only. No client, no clock, no decision: whether a value makes sense for a given federation is decided by the
//! operator and said in a condition; what an API server can refuse on its own is in the schema.
//!
//! Definitions come from [`all`], never from a type's own `crd()`: only `all` gives them the form that is installed (see
//! [`manifest`]).
#![warn(missing_docs)]
#![allow(
    unreachable_pub,
    reason = "KubeSchema copies each struct, with its `pub`, into the body of a function"
)]
#![allow(
    clippy::duplicated_attributes,
    reason = "two printer columns may well have the same type"
)]

pub mod condition;
pub mod federation;
pub mod manifest;
pub mod member;
pub mod names;
pub mod policy;
pub mod question;
mod schema;
pub mod workload;

pub use condition::{Condition, ConditionStatus, set_condition};
pub use federation::{Federation, FederationRole, FederationSpec, FederationStatus, Quorum};
pub use manifest::{Manifest, all, manifest_yaml, manifests};
pub use member::{
    Lease, Member, MemberRole, MemberSpec, MemberStatus, Scheduling, Taint, TaintEffect,
};
pub use policy::{
    Grant, GrantStatus, GrantedKind, HostingPolicy, HostingPolicySpec, HostingPolicyStatus,
    PodSecurity,
};
pub use question::{Loss, Question};
pub use workload::{
    Adopt, Conflicts, Exclusion, FailbackRules, FailoverRules, FailureDomain, FederatedWorkload,
    FederatedWorkloadSpec, FederatedWorkloadStatus, Fencing, HealthRule, LabelExpression,
    LabelOperator, NEVER, OnImmutable, OverriddenManifests, Override, PatchOperation,
    PatchOperator, Placement, PlacementMode, PlacementState, PlacementStatus, Requirements,
    ScaledObject, Spread, SurgeWhen, Survives, Toleration, UpdateRules, VolumePolicy, Volumes,
};
