//! Problems: an object, as it is written, is not what the ledger has. `report` writes them into the object's status.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

/// Why an object, as it is written, is not what the ledger has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The `metadata.generation` at which the problem was found.
    pub generation: Option<i64>,
    /// In CamelCase.
    pub reason: &'static str,
    /// A text for people, with what to do about the problem.
    pub message: String,
}

/// The problems of the objects of one kind, by their names in the ledger. Bounded by the number of objects.
#[derive(Debug)]
pub struct Problems<K>(Arc<watch::Sender<BTreeMap<K, Problem>>>);

impl<K> Clone for Problems<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K> Default for Problems<K> {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeMap::new())))
    }
}

impl<K: Ord + Clone> Problems<K> {
    /// The problem of `key`.
    pub(crate) fn of(&self, key: &K) -> Option<Problem> {
        self.0.borrow().get(key).cloned()
    }

    /// Notified when any of the problems changes.
    pub(crate) fn changes(&self) -> watch::Receiver<BTreeMap<K, Problem>> {
        self.0.subscribe()
    }

    pub(crate) fn set(&self, key: &K, problem: Option<Problem>) {
        self.0.send_if_modified(|problems| match problem {
            Some(problem) if problems.get(key) == Some(&problem) => false,
            Some(problem) => {
                problems.insert(key.clone(), problem);
                true
            }
            None => problems.remove(key).is_some(),
        });
    }
}
