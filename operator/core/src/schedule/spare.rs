//! The room of each member while one workload is divided.

use std::{cell::RefCell, collections::BTreeMap};

use super::case::Case;
use crate::{capacity::Room, id::MemberName, workload::ScaleTarget};

/// The room that is left while the objects of one workload are divided, one after the other.
#[derive(Default)]
pub(super) struct Spare(RefCell<BTreeMap<MemberName, Room>>);

impl Spare {
    fn with<T>(
        &self,
        case: &Case<'_>,
        name: &MemberName,
        action: impl FnOnce(&mut Room) -> T,
    ) -> Option<T> {
        let room = case.rooms.of(name)?;
        let mut spare = self.0.borrow_mut();
        let room = spare.entry(name.clone()).or_insert_with(|| {
            let mut room = room.clone();
            if !case.placed.contains_key(name) {
                for (pod, count) in case.pods.fixed() {
                    room.take(pod, *count);
                }
            }
            room
        });
        Some(action(room))
    }

    /// How many more replicas of `target` a member can run.
    pub(super) fn holds(&self, case: &Case<'_>, name: &MemberName, target: &ScaleTarget) -> u32 {
        let Some(pod) = case.pods.replica(target) else {
            return u32::MAX;
        };
        // A room is copied only to take something out of it.
        let holds = if self.is_untouched(case, name) {
            case.rooms.of(name).map(|room| room.holds(pod))
        } else {
            self.with(case, name, |room| room.holds(pod))
        };
        holds.unwrap_or(u32::MAX)
    }

    fn is_untouched(&self, case: &Case<'_>, name: &MemberName) -> bool {
        let starts = !case.placed.contains_key(name) && !case.pods.fixed().is_empty();
        !starts && !self.0.borrow().contains_key(name)
    }

    pub(super) fn take(
        &self,
        case: &Case<'_>,
        name: &MemberName,
        target: &ScaleTarget,
        replicas: u32,
    ) {
        // Nothing else looks at it where only one object scales.
        let matters = replicas > 0 && case.counts.len() > 1;
        if let Some(pod) = case.pods.replica(target).filter(|_| matters) {
            self.with(case, name, |room| room.take(pod, replicas));
        }
    }
}
