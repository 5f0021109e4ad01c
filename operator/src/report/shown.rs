//! What the statuses that are up to date were computed from, so that only the others are computed again.

use std::{collections::BTreeMap, sync::Arc};

use hanse_core::{
    id::WorkloadKey,
    schedule::Findings,
    slice::{OwnedWorkload, PlacementReport},
};
use hanse_crds::FederatedWorkload;
use parking_lot::Mutex;

use crate::observe::Problem;

/// Everything that the status of a workload depends on, besides the clock and the owners of members. A member's owner never
/// changes.
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
    /// Whether nothing changed from one to the other. What changes becomes another allocation, so pointers are compared.
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

    /// Forgets the workloads that are no longer there, once most are not.
    pub(super) fn forget_gone(&self, there: usize, is_there: impl Fn(&WorkloadKey) -> bool) {
        let mut shown = self.0.lock();
        if shown.len() > there.saturating_mul(2) {
            shown.retain(|key, _| is_there(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use hanse_crds::FederatedWorkloadSpec;

    use super::*;
    use crate::observe::fixture::owned;

    fn inputs() -> Inputs {
        let spec = FederatedWorkloadSpec::default();
        Inputs {
            object: Arc::new(FederatedWorkload::new("web", spec)),
            owned: Some(Arc::new(owned([].into()))),
            findings: Some(Arc::default()),
            problem: None,
            accepted: true,
            quorate: true,
            seen_here: None,
        }
    }

    #[test]
    fn a_status_is_computed_again_when_any_of_its_inputs_changes() {
        let (shown, key, inputs) = (Shown::default(), "acme/shop/web".parse().unwrap(), inputs());
        assert!(!shown.is_of(&key, &inputs));
        shown.note(&key, inputs.clone());
        assert!(shown.is_of(&key, &inputs.clone()));
        let changes: [fn(&mut Inputs); 7] = [
            |it| it.object = it.object.as_ref().clone().into(),
            |it| it.owned = None,
            |it| it.findings = Some(Arc::default()),
            |it| it.accepted = false,
            |it| it.quorate = false,
            |it| {
                it.problem = Some(Problem {
                    generation: Some(1),
                    reason: "Invalid",
                    message: String::new(),
                });
            },
            |it| it.owned = Some(Arc::new(owned([].into()))),
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut changed = inputs.clone();
            change(&mut changed);
            assert!(!shown.is_of(&key, &changed), "change {number}");
        }
        shown.forget_gone(0, |_| false);
        assert!(!shown.is_of(&key, &inputs));
    }
}
