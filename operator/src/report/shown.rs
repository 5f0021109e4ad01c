//! What the statuses that are up to date were computed from, so that only the others are computed again.

use std::{collections::BTreeMap, sync::Arc};

use hanse_core::{
    id::WorkloadKey,
    schedule::Findings,
    slice::{OwnedWorkload, PlacementReport, Slice},
};
use hanse_crds::FederatedWorkload;
use parking_lot::Mutex;

use crate::observe::Problem;

/// Everything that the status of a workload depends on, but for the clock and the names of members, which do not change.
#[derive(Clone)]
pub(super) struct Inputs {
    pub(super) object: Arc<FederatedWorkload>,
    pub(super) owned: Option<Arc<OwnedWorkload>>,
    pub(super) findings: Option<Arc<Findings>>,
    pub(super) problem: Option<Problem>,
    pub(super) accepted: bool,
    pub(super) quorate: bool,
    /// What this member sees of its own placement while no quorum answers.
    pub(super) seen_here: Option<Arc<PlacementReport>>,
}

impl Inputs {
    pub(super) fn new(slice: &Slice, key: &WorkloadKey, object: Arc<FederatedWorkload>) -> Self {
        let owned = slice.workloads.get(key).cloned();
        let number = owned.as_ref().map(|owned| owned.diagnosis.findings);
        Self {
            object,
            findings: number.and_then(|number| slice.findings.get(&number).cloned()),
            owned,
            problem: None,
            accepted: false,
            quorate: true,
            seen_here: None,
        }
    }

    /// Whether both are the same objects in memory: what changes is another object there.
    fn is(&self, other: &Self) -> bool {
        fn same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
            one.map(Arc::as_ptr) == other.map(Arc::as_ptr)
        }
        Arc::ptr_eq(&self.object, &other.object)
            && same(self.owned.as_ref(), other.owned.as_ref())
            && same(self.findings.as_ref(), other.findings.as_ref())
            && same(self.seen_here.as_ref(), other.seen_here.as_ref())
            && self.problem == other.problem
            && (self.accepted, self.quorate) == (other.accepted, other.quorate)
    }
}

/// The workloads whose statuses are up to date.
#[derive(Default)]
pub(super) struct Shown(Mutex<BTreeMap<WorkloadKey, Inputs>>);

impl Shown {
    /// Whether the status that `key` has was computed from these inputs.
    pub(super) fn is_of(&self, key: &WorkloadKey, inputs: &Inputs) -> bool {
        let shown = self.0.lock();
        shown.get(key).is_some_and(|shown| shown.is(inputs))
    }

    /// The status that `key` has is the one that follows from these inputs.
    pub(super) fn note(&self, key: &WorkloadKey, inputs: Inputs) {
        self.0.lock().insert(key.clone(), inputs);
    }

    /// Forgets the workloads that are no longer there, once they are more than those that are.
    pub(super) fn forget_gone(&self, there: usize, is_there: impl Fn(&WorkloadKey) -> bool) {
        let mut shown = self.0.lock();
        if shown.len() > there.saturating_mul(2) {
            shown.retain(|key, _| is_there(key));
        }
    }
}
