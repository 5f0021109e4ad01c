//! The order in which the members that may host a workload are considered.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    id::{MemberName, OwnerName},
    state::State,
};

/// Members by how many placements they have, then by name, so that the order is total and the same everywhere.
type ByLoad = BTreeSet<(usize, MemberName)>;

/// All members by load, and those of each owner.
///
/// What a plan places counts at once, so that many workloads that come together do not all go to the member that had the
/// fewest before.
#[derive(Debug, Default)]
pub(super) struct Order {
    load: BTreeMap<MemberName, (OwnerName, usize)>,
    all: ByLoad,
    owned: BTreeMap<OwnerName, ByLoad>,
    /// The members that the current plan has placed something on or taken something from.
    planned: BTreeSet<MemberName>,
}

impl Order {
    /// Takes over how many placements `member` has.
    pub(super) fn sync(&mut self, state: &State, member: &MemberName) {
        let Some(row) = state.members.get(member) else {
            return;
        };
        let (_, load) = self.load.entry(member.clone()).or_insert_with(|| {
            let first = (0, member.clone());
            self.all.insert(first.clone());
            self.owned
                .entry(row.owner.clone())
                .or_default()
                .insert(first);
            (row.owner.clone(), 0)
        });
        let load = *load;
        self.change(member, load, state.placements.count_at(member));
    }

    fn change(&mut self, member: &MemberName, from: usize, to: usize) {
        let Some((owner, load)) = self.load.get_mut(member).filter(|_| from != to) else {
            return;
        };
        *load = to;
        for order in [Some(&mut self.all), self.owned.get_mut(owner)]
            .into_iter()
            .flatten()
        {
            order.remove(&(from, member.clone()));
            order.insert((to, member.clone()));
        }
    }

    /// A plan places something on `member`, or takes it away.
    pub(super) fn plan(&mut self, member: &MemberName, places: bool) {
        let load = self.load(member);
        let planned = if places {
            load + 1
        } else {
            load.saturating_sub(1)
        };
        self.change(member, load, planned);
        self.planned.insert(member.clone());
    }

    /// Forgets what the plan placed: from now on it is in the ledger, or it is not.
    pub(super) fn end_plan(&mut self, state: &State) {
        for member in std::mem::take(&mut self.planned) {
            self.sync(state, &member);
        }
    }

    pub(super) fn load(&self, member: &MemberName) -> usize {
        self.load.get(member).map_or(0, |(_, load)| *load)
    }

    /// The first `count` of `members` that `wanted` accepts, in order. With an owner, all of `members` are of that owner.
    pub(super) fn first(
        &self,
        count: usize,
        owner: Option<&OwnerName>,
        members: &BTreeSet<MemberName>,
        wanted: impl Fn(&MemberName) -> bool,
    ) -> Vec<MemberName> {
        let order = owner.map_or(Some(&self.all), |owner| self.owned.get(owner));
        let mut first = Vec::new();
        // Where few members are among `members`, or those with a high load, it costs less to sort these.
        for (_, name) in order.into_iter().flatten().take(members.len()) {
            if first.len() >= count {
                return first;
            }
            if members.contains(name) && wanted(name) {
                first.push(name.clone());
            }
        }
        let mut all: Vec<_> = members
            .iter()
            .filter(|name| wanted(name))
            .cloned()
            .collect();
        all.sort_by_cached_key(|name| (self.load(name), name.clone()));
        all.truncate(count);
        all
    }
}
