//! How much room each member has: what it reported, less what was placed there since.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    capacity::{Capacities, Capacity, Room},
    id::{Epoch, MemberName, WorkloadKey},
    per_host::changed_keys,
    state::State,
    workload::Demands,
};

/// The rooms of the members that report their capacity.
///
/// A placement takes room from when it is planned: otherwise many workloads that come together would all go where there was
/// room for one. It is in the member's own measure once the member says that this covers it.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    reported: Capacities,
    /// What was placed since, by member.
    recent: BTreeMap<MemberName, BTreeMap<WorkloadKey, (Epoch, Demands)>>,
    /// What is left of each.
    left: BTreeMap<MemberName, Room>,
    /// The members whose room is to be computed again.
    stale: BTreeSet<MemberName>,
    /// The rooms that the current plan makes smaller.
    planned: BTreeMap<MemberName, Room>,
}

impl Rooms {
    /// Takes over what members report.
    pub(super) fn report(&mut self, state: &State, capacities: &Capacities) {
        let before = std::mem::replace(&mut self.reported, capacities.clone());
        for name in changed_keys(&before, capacities) {
            self.stale.insert(name.clone());
            let covers = |capacities: &Capacities| capacities.get(name).map(|it| it.covers);
            match (covers(&before), covers(capacities)) {
                (_, None) => drop(self.recent.remove(name)),
                (Some(before), Some(now)) if before <= now => {
                    let recent = self.recent.entry(name.clone()).or_default();
                    recent.retain(|_, (epoch, _)| epoch.0 > now);
                }
                // Another process measures there, which may not know all that the one before knew.
                (_, Some(_)) => {
                    for key in state.placements.at(name) {
                        self.sync(state, key, name);
                    }
                }
            }
        }
    }

    /// Takes over what `host` has of a workload.
    pub(super) fn sync(&mut self, state: &State, key: &WorkloadKey, host: &MemberName) {
        let Some(covers) = self.reported.get(host).map(|it| it.covers) else {
            return;
        };
        let row = state.placements.get(key, host);
        let row = row.filter(|row| row.epoch.0 > covers);
        let workload = state.workloads.get(key);
        let now = row.zip(workload).map(|(row, workload)| {
            let demands = workload.spec.pods().added(None, &row.share);
            (row.epoch, demands)
        });
        let recent = self.recent.entry(host.clone()).or_default();
        if recent.get(key) == now.as_ref() {
            return;
        }
        self.stale.insert(host.clone());
        match now {
            Some(now) => drop(recent.insert(key.clone(), now)),
            None => drop(recent.remove(key)),
        }
    }

    /// Begins a plan. Returns whether any room is another than at the end of the last one, or in the course of it.
    pub(super) fn begin_plan(&mut self) -> bool {
        let mut changed = !std::mem::take(&mut self.planned).is_empty();
        for name in std::mem::take(&mut self.stale) {
            let room = self.reported.get(&name).map(|capacity| {
                let mut room = Room::of(capacity);
                let recent = self.recent.get(&name).into_iter().flatten();
                for (pod, count) in recent.flat_map(|(_, (_, demands))| demands) {
                    room.take(pod, *count);
                }
                room
            });
            changed |= self.left.get(&name) != room.as_ref();
            match room {
                Some(room) => drop(self.left.insert(name, room)),
                None => drop(self.left.remove(&name)),
            }
        }
        changed
    }

    /// The current plan places these on `member`.
    pub(super) fn plan(&mut self, member: &MemberName, demands: &Demands) {
        let Some(room) = self.left.get(member) else {
            return;
        };
        let planned = self.planned.entry(member.clone());
        let room = planned.or_insert_with(|| room.clone());
        for (pod, count) in demands {
            room.take(pod, *count);
        }
    }

    /// Whether the current plan has made any room smaller.
    pub(super) fn is_filled(&self) -> bool {
        !self.planned.is_empty()
    }

    /// Whether no member reports any.
    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// The room of `member`; `None` if it is never full.
    pub(super) fn of(&self, member: &MemberName) -> Option<&Room> {
        self.planned.get(member).or_else(|| self.left.get(member))
    }

    /// The capacities of which everything in `state` is part.
    pub(super) fn settled(state: &State, capacities: &Capacities) -> Capacities {
        let mut rooms = Self::default();
        rooms.report(state, capacities);
        rooms.begin_plan();
        let rooms = rooms.left.into_iter();
        let settled = |room: Room| Capacity {
            covers: u64::MAX,
            shapes: room.into_shapes(),
            waiting: Vec::new(),
        };
        rooms
            .map(|(name, room)| (name, Arc::new(settled(room))))
            .collect()
    }
}

/// The reason of the filter against members without room.
pub(super) const NO_ROOM: &str = "NoRoom";

/// Why a member with `room` cannot run `demands`.
pub(super) fn objection(room: &Room, demands: &Demands) -> String {
    let why = match demands.iter().find(|(pod, _)| room.holds(pod) == 0) {
        Some((pod, _)) => room.objection(pod),
        None => "its nodes do not hold all pods of it at once".to_owned(),
    };
    format!(
        "it has no room: {why}. If its nodes are added on demand, install it with `capacity: Elastic`"
    )
}

/// Whether `room` holds all of `demands` at once.
pub(super) fn holds(room: &Room, demands: &Demands) -> bool {
    match demands.as_slice() {
        [] => true,
        [(pod, count)] => room.holds(pod) >= *count,
        many => {
            let mut room = room.clone();
            many.iter().all(|(pod, count)| room.take(pod, *count) == 0)
        }
    }
}
