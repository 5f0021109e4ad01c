//! What the leader remembers of the slice that a member has, so that an update costs what changed.

use std::{collections::BTreeSet, sync::Arc};

use imbl::OrdMap;

use super::{Difference, FederationView, Slice, Standing, TableDifference, rows};
use crate::{
    id::{MemberName, OwnerName, WorkloadKey},
    per_host::changed_keys,
    state::State,
};

/// The slice of one member, as of a state and a standing.
#[derive(Debug)]
pub struct View {
    member: MemberName,
    owner: OwnerName,
    leader: MemberName,
    term: u64,
    state: Arc<State>,
    standing: Arc<Standing>,
    slice: Slice,
}

impl View {
    /// The whole slice of `member`. `None` where it is no member, was revoked, or the ledger is empty.
    #[must_use]
    pub fn new(
        state: Arc<State>,
        standing: Arc<Standing>,
        member: &MemberName,
        leader: &MemberName,
        term: u64,
    ) -> Option<Self> {
        Some(Self {
            slice: Slice::of(&state, &standing, member, leader, term)?,
            member: member.clone(),
            owner: state.members.get(member)?.owner.clone(),
            leader: leader.clone(),
            term,
            state,
            standing,
        })
    }

    /// The slice.
    #[must_use]
    pub fn slice(&self) -> &Slice {
        &self.slice
    }

    /// Takes over a later state and standing. Returns what turns the slice before into the one by now, and whether that is more
    /// than a new height of the ledger; `None` where nothing is new.
    pub fn advance(
        &mut self,
        state: Arc<State>,
        standing: Arc<Standing>,
    ) -> Option<(Difference, bool)> {
        let state_before = std::mem::replace(&mut self.state, state);
        let standing_before = std::mem::replace(&mut self.standing, standing);
        let workloads = self.concerned(&state_before, &standing_before);
        let numbers = self.findings(&standing_before);
        let names = self.members(&state_before, &standing_before);
        let (state, standing) = (&self.state, &self.standing);
        let federation = rows::federation(state, standing, &self.leader, self.term)?;
        let mut difference = Difference::of(federation.clone());
        let (slice, new) = (&mut self.slice, &mut difference);
        for key in &workloads {
            let row = rows::placement(state, key, &self.member);
            set(&mut slice.placements, &mut new.placements, key, row);
            let row = state.removals.get(key, &self.member).copied();
            set(&mut slice.removals, &mut new.removals, key, row);
            if key.owner == self.owner {
                let row = rows::workload(state, standing, key);
                set(&mut slice.workloads, &mut new.workloads, key, row);
            }
        }
        for number in &numbers {
            let row = standing.findings.get(number).cloned();
            set(&mut slice.findings, &mut new.findings, number, row);
        }
        for name in &names {
            let row = rows::member(state, standing, name);
            set(&mut slice.members, &mut new.members, name, row);
        }
        let before = std::mem::replace(&mut self.slice.federation, federation);
        let now = &self.slice.federation;
        let at_its_height = FederationView {
            index: now.index,
            head: now.head,
            ..before.clone()
        };
        let is_more = difference.changes_a_table() || at_its_height != *now;
        (is_more || before != *now).then_some((difference, is_more))
    }

    /// The workloads of which any row may be another than before.
    fn concerned(&self, state: &State, standing: &Standing) -> BTreeSet<WorkloadKey> {
        let now = &self.state;
        let mut concerned: BTreeSet<WorkloadKey> = BTreeSet::new();
        concerned.extend(changed_keys(&state.workloads, &now.workloads).cloned());
        concerned.extend(now.placements.changed_since(&state.placements).cloned());
        concerned.extend(now.removals.changed_since(&state.removals).cloned());
        concerned.extend(
            self.standing
                .reports
                .changed_since(&standing.reports)
                .cloned(),
        );
        concerned.extend(changed_keys(&standing.diagnoses, &self.standing.diagnoses).cloned());
        for name in changed_keys(&state.members, &now.members) {
            // Whether the lease of a host is held is in the row of the workload.
            let of_host = now.placements.at(name).chain(now.removals.at(name));
            concerned.extend(of_host.filter(|key| key.owner == self.owner).cloned());
        }
        // So is how it is.
        for name in self.other_hosts(standing) {
            let of_host = now.placements.at(name);
            concerned.extend(of_host.filter(|key| key.owner == self.owner).cloned());
        }
        concerned
    }

    /// The members that are silent or whose API servers answer nothing, and were not so before, or the other way round.
    fn other_hosts<'a>(&'a self, before: &'a Standing) -> impl Iterator<Item = &'a MemberName> {
        let now = &self.standing;
        let silent = &before.suspects.silent;
        let other = silent.symmetric_difference(&now.suspects.silent);
        let (before, now) = (&before.control_planes_down, &now.control_planes_down);
        other.chain(before.symmetric_difference(now))
    }

    /// The members of which anything in the list may be another than before.
    fn members(&self, state: &State, standing: &Standing) -> BTreeSet<MemberName> {
        let now = &self.state;
        let mut members: BTreeSet<MemberName> = BTreeSet::new();
        members.extend(changed_keys(&state.members, &now.members).cloned());
        for key in now.placements.changed_since(&state.placements) {
            let hosts = state.placements.of(key).chain(now.placements.of(key));
            members.extend(hosts.map(|(host, _)| host.clone()));
        }
        members.extend(self.other_hosts(standing).cloned());
        members
    }

    /// The findings that may be others than before, or are new to this member.
    fn findings(&self, standing: &Standing) -> BTreeSet<u64> {
        let changed = changed_keys(&standing.findings, &self.standing.findings);
        let known = changed.filter(|number| self.slice.findings.contains_key(*number));
        let diagnosed = changed_keys(&standing.diagnoses, &self.standing.diagnoses);
        let owned = diagnosed.filter(|key| key.owner == self.owner);
        let named = owned.filter_map(|key| self.standing.diagnoses.get(key));
        known.copied().chain(named.map(|it| it.findings)).collect()
    }
}

/// Sets a row, and notes it where it is another than before.
fn set<K: Ord + Clone, V: Clone + PartialEq>(
    table: &mut OrdMap<K, V>,
    difference: &mut TableDifference<K, V>,
    key: &K,
    row: Option<V>,
) {
    if table.get(key) == row.as_ref() {
        return;
    }
    if let Some(row) = row {
        table.insert(key.clone(), row.clone());
        difference.set.insert(key.clone(), row);
    } else {
        table.remove(key);
        difference.gone.insert(key.clone());
    }
}
