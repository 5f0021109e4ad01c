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

/// The problems of the objects of one kind, by their names in the ledger.
pub type Problems<K> = Notes<K, Problem>;

/// The `metadata.generation` of each workload's object that the ledger has.
pub type Accepted<K> = Notes<K, i64>;

/// What is known of the objects of one kind. Bounded by the number of objects.
#[derive(Debug)]
pub struct Notes<K, V>(Arc<watch::Sender<BTreeMap<K, V>>>);

impl<K, V> Clone for Notes<K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<K, V> Default for Notes<K, V> {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(BTreeMap::new())))
    }
}

impl<K: Ord + Clone, V: PartialEq + Clone> Notes<K, V> {
    /// What is known of `key`.
    pub(crate) fn of(&self, key: &K) -> Option<V> {
        self.0.borrow().get(key).cloned()
    }

    /// Notified when anything changes.
    pub(crate) fn changes(&self) -> watch::Receiver<BTreeMap<K, V>> {
        self.0.subscribe()
    }

    pub(crate) fn set(&self, key: &K, value: Option<V>) {
        self.0.send_if_modified(|known| match value {
            Some(value) if known.get(key) == Some(&value) => false,
            Some(value) => {
                known.insert(key.clone(), value);
                true
            }
            None => known.remove(key).is_some(),
        });
    }
}
