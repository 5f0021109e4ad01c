//! The order in which the members that may host a workload are considered.

use std::collections::{BTreeMap, BTreeSet};

use crate::{id::MemberName, state::State};

/// All members by how many placements they have, then by name, so that the order is total and the same everywhere.
///
/// What a plan places counts at once, so that many workloads that come together do not all go to the member that had the
/// fewest before.
#[derive(Debug, Default)]
pub(super) struct Order {
    load: BTreeMap<MemberName, usize>,
    by_load: BTreeSet<(usize, MemberName)>,
    /// The members that the current plan has placed something on or taken something from.
    planned: BTreeSet<MemberName>,
}

impl Order {
    /// Takes over how many placements `member` has.
    pub(super) fn sync(&mut self, state: &State, member: &MemberName) {
        self.set(member, state.placements.count_at(member));
    }

    fn set(&mut self, member: &MemberName, load: usize) {
        if let Some(before) = self.load.insert(member.clone(), load) {
            if before == load {
                return;
            }
            self.by_load.remove(&(before, member.clone()));
        }
        self.by_load.insert((load, member.clone()));
    }

    /// A plan places something on `member`, or takes it away.
    pub(super) fn plan(&mut self, member: &MemberName, places: bool) {
        let load = self.load(member);
        let load = if places {
            load + 1
        } else {
            load.saturating_sub(1)
        };
        self.set(member, load);
        self.planned.insert(member.clone());
    }

    /// Forgets what the plan placed: from now on it is in the ledger, or it is not.
    pub(super) fn end_plan(&mut self, state: &State) {
        for member in std::mem::take(&mut self.planned) {
            self.sync(state, &member);
        }
    }

    pub(super) fn load(&self, member: &MemberName) -> usize {
        self.load.get(member).copied().unwrap_or(0)
    }

    /// The first `count` of `members` that are not in `without`, in order.
    ///
    /// Costs about what it returns where most members are among `members`, and what these are where few are.
    pub(super) fn first(
        &self,
        count: usize,
        members: &BTreeSet<MemberName>,
        without: impl Fn(&MemberName) -> bool,
    ) -> Vec<MemberName> {
        /// So many lookups cost as much as sorting one row.
        const LOOKUPS: usize = 8;
        let wanted = |name: &&MemberName| !without(name);
        if count.saturating_mul(LOOKUPS) >= members.len() {
            let mut all: Vec<_> = members.iter().filter(wanted).cloned().collect();
            all.sort_by_cached_key(|name| (self.load(name), name.clone()));
            all.truncate(count);
            return all;
        }
        let all = self.by_load.iter().map(|(_, name)| name);
        let among = all.filter(|name| members.contains(*name));
        among.filter(wanted).take(count).cloned().collect()
    }
}
