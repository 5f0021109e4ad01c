//! The state that rounds keep between two runs, for all workloads.

use std::collections::{BTreeMap, BTreeSet};

use hanse_crds::FederatedWorkload;
use parking_lot::Mutex;

use super::edit::Memory;
use crate::cluster::watched::ObjectKey;

/// The memory of one object. It ends with the object, except for what concerns the name: `decided` and `evicted`.
#[derive(Debug, Clone, Default)]
struct Remembered {
    uid: Option<String>,
    memory: Memory,
}

/// The memories, by object.
#[derive(Debug, Default)]
pub(super) struct Memories {
    objects: Mutex<BTreeMap<ObjectKey, Remembered>>,
    /// The objects that wait for a newer slice.
    waiting: Mutex<BTreeSet<ObjectKey>>,
}

impl Memories {
    /// Lets this object wait for a newer slice.
    pub(super) fn wait(&self, at: &ObjectKey) {
        self.waiting.lock().insert(at.clone());
    }

    /// Removes and returns the waiting objects.
    pub(super) fn take_waiting(&self) -> BTreeSet<ObjectKey> {
        std::mem::take(&mut *self.waiting.lock())
    }

    /// The memory of this object. The memory of an earlier object of the same name is dropped, except for what concerns
    /// the name.
    pub(super) fn recall(&self, at: &ObjectKey, object: Option<&FederatedWorkload>) -> Memory {
        let uid = object.and_then(|object| object.metadata.uid.clone());
        let mut memories = self.objects.lock();
        let Some(remembered) = memories.get_mut(at) else {
            return Memory::default();
        };
        if remembered.uid != uid {
            let Memory {
                evicted, decided, ..
            } = remembered.memory;
            remembered.uid = uid;
            remembered.memory = Memory {
                evicted,
                decided,
                ..Memory::default()
            };
        }
        remembered.memory.clone()
    }

    /// Whether the copy of this name went with its namespace; forgotten by asking.
    pub(super) fn take_evicted(&self, at: &ObjectKey) -> bool {
        let mut memories = self.objects.lock();
        memories
            .get_mut(at)
            .is_some_and(|remembered| std::mem::take(&mut remembered.memory.evicted))
    }

    /// Changes the memory of this object.
    pub(super) fn remember(
        &self,
        at: &ObjectKey,
        object: Option<&FederatedWorkload>,
        change: impl FnOnce(&mut Memory),
    ) {
        let mut memories = self.objects.lock();
        let remembered = memories.entry(at.clone()).or_default();
        if let Some(object) = object {
            remembered.uid.clone_from(&object.metadata.uid);
        }
        change(&mut remembered.memory);
    }
}
