//! What a workload needs of its hosts. Workloads with the same needs have the same candidates, and are filtered once.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    id::{Namespace, OwnerName, WorkloadKey},
    level::Level,
    selector::{Expression, Toleration},
    state::Workload,
    workload::GroupKind,
};

/// Everything about a workload that the filters look at, besides what hosts have or owe of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Needs {
    pub(super) owner: OwnerName,
    pub(super) namespace: Namespace,
    /// The kinds among the manifests.
    pub(super) kinds: BTreeSet<GroupKind>,
    /// Those that the workload does not define itself.
    pub(super) needed: BTreeSet<GroupKind>,
    /// The placement's rules, without mode and counts: what a member must be.
    pub(super) labels: BTreeMap<String, String>,
    pub(super) expressions: Vec<Expression>,
    pub(super) tolerations: Vec<Toleration>,
    pub(super) domicile: BTreeSet<String>,
    /// What its operator must know.
    pub(super) level: Level,
}

impl Needs {
    pub(super) fn of(key: &WorkloadKey, workload: &Workload) -> Self {
        let rules = &workload.spec.placement;
        Self {
            owner: key.owner.clone(),
            namespace: key.namespace.clone(),
            kinds: workload.spec.kinds(),
            needed: workload.spec.kinds_needed(),
            labels: rules.match_labels.clone(),
            expressions: rules.match_expressions.clone(),
            tolerations: rules.tolerations.clone(),
            domicile: rules.domicile.clone(),
            level: workload.spec.level(),
        }
    }
}
