//! What the planner keeps from one plan to the next, so that a plan costs what changed.
//!
//! ```text
//!  State ─ difference ─► workloads with other rows ───────────────────────────┐
//!                 └────► members ─► Candidates of each need ─► watchful ones ─┼─► plan anew
//!  Hearsay ─ difference ─► those observed, those whose hosts are away ────────┤
//!                     what the last plan wanted changed, and is not yet so ───┘
//! ```
//!
//! Guarantee: the plan is the one that a new planner makes of the same state. So it rests on nothing that is not in the ledger
//! or in [`Hearsay`].

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use imbl::OrdMap;

use super::{
    Diagnosis, Findings, Observations,
    candidates::Candidates,
    case::Case,
    hearsay::{Heard, Hearsay},
    needs::Needs,
    rooms::Rooms,
    score::Order,
    select,
    surge::{Budget, Surges},
    survival::Survival,
};
use crate::{
    command::PlacementChange,
    id::{MemberName, NodeId, WorkloadKey},
    per_host::changed_keys,
    state::State,
    workload::Mode,
};

/// Plans what should run where, one state after the other.
#[derive(Debug, Default)]
pub struct Planner {
    /// The state of the last plan.
    state: State,
    observations: Observations,
    heard: Heard,
    /// The seats that do not count for the quorum though their members hold their leases.
    silent_voters: BTreeSet<NodeId>,
    order: Order,
    rooms: Rooms,
    surges: Surges,
    /// What the quorum survives.
    quorum: Arc<Survival>,
    candidates: BTreeMap<u64, Candidates>,
    numbers: BTreeMap<Needs, u64>,
    last_number: u64,
    /// The number of each workload's candidates.
    known: BTreeMap<WorkloadKey, u64>,
    /// The workloads of which the last plan wanted something changed.
    pending: BTreeSet<WorkloadKey>,
    /// Those that get no replicas in addition because there would be too many.
    over_budget: BTreeSet<WorkloadKey>,
    /// Those whose plan may be another when any member has more or less room.
    crowded: BTreeSet<WorkloadKey>,
    diagnoses: OrdMap<WorkloadKey, Diagnosis>,
    findings: OrdMap<u64, Arc<Findings>>,
}

impl Planner {
    /// The plan for `state`: the rows for one or more `Assign`, in the order in which they should be committed, what is lost first.
    pub fn plan(&mut self, state: &State, hearsay: Hearsay<'_>) -> Vec<PlacementChange> {
        let mut due = self.take_over(state, hearsay);
        due.extend(std::mem::take(&mut self.pending));
        let mut budget = self.surges.budget();
        let silent = !self.heard.silent.is_empty();
        let mut waiting = BTreeSet::new();
        if !budget.is_spent(silent) {
            waiting = &self.over_budget - &due;
            due.extend(waiting.iter().cloned());
        }
        let mut changes = Vec::new();
        let mut filled = false;
        while let Some(key) = due.pop_first() {
            // Nothing changed about it, and what it waits for is used up by those before it.
            if budget.is_spent(silent) && waiting.contains(&key) {
                continue;
            }
            changes.extend(self.plan_workload(&key, &mut budget).unwrap_or_default());
            // What this takes of a room is missing for those that come after it.
            if !filled && self.rooms.is_filled() {
                filled = true;
                let after = (Bound::Excluded(&key), Bound::Unbounded);
                due.extend(self.crowded.range::<WorkloadKey, _>(after).cloned());
            }
        }
        self.order.end_plan(&self.state);
        // What lost its place is more urgent than what grows; the sort is stable, so a workload's rows stay in order.
        changes.sort_by_key(|row| row.reason.urgency());
        changes
    }

    /// What the last plan found about each workload.
    #[must_use]
    pub fn diagnoses(&self) -> &OrdMap<WorkloadKey, Diagnosis> {
        &self.diagnoses
    }

    /// What it found for all workloads of the same needs, by the numbers in their diagnoses.
    #[must_use]
    pub fn findings(&self) -> &OrdMap<u64, Arc<Findings>> {
        &self.findings
    }

    /// What the last plan found about a workload.
    pub(super) fn found(&self, key: &WorkloadKey) -> Option<(&Diagnosis, &Findings)> {
        let diagnosis = self.diagnoses.get(key)?;
        let shared = self.findings.get(&diagnosis.findings)?;
        Some((diagnosis, diagnosis.own.as_ref().unwrap_or(shared)))
    }

    /// Takes over a state and what is heard. Returns the workloads that have to be planned because of it.
    fn take_over(&mut self, state: &State, hearsay: Hearsay<'_>) -> BTreeSet<WorkloadKey> {
        let before = std::mem::replace(&mut self.state, state.clone());
        let mut due: BTreeSet<WorkloadKey> = BTreeSet::new();
        self.rooms.report(state, hearsay.capacities);
        // Before workloads with new needs are known: their candidates are found among the new members.
        let members: Vec<_> = changed_keys(&before.members, &state.members).collect();
        for name in &members {
            self.order.sync(state, name);
            let concerned = state.placements.at(name).chain(state.removals.at(name));
            due.extend(concerned.cloned());
        }
        self.update_quorum((&members, &before), hearsay.silent_voters, &mut due);
        self.update_candidates(&members, &before, &mut due);
        for key in state.placements.changed_since(&before.placements) {
            let hosts = before.placements.of(key).chain(state.placements.of(key));
            for (host, _) in hosts {
                self.order.sync(state, host);
                self.rooms.sync(state, key, host);
            }
            self.surges.sync(state, key);
            due.insert(key.clone());
        }
        due.extend(state.removals.changed_since(&before.removals).cloned());
        for key in changed_keys(&before.workloads, &state.workloads) {
            for (host, _) in state.placements.of(key) {
                self.rooms.sync(state, key, host);
            }
            self.know(key);
            due.insert(key.clone());
        }
        self.hear(&members, hearsay, &mut due);
        if self.rooms.begin_plan() {
            due.extend(self.crowded.iter().cloned());
        }
        due
    }

    /// Takes over who refused something, who is silent, who has not been heard and how far hosts have come.
    fn hear(
        &mut self,
        members: &[&MemberName],
        hearsay: Hearsay<'_>,
        due: &mut BTreeSet<WorkloadKey>,
    ) {
        let observations = hearsay.observations;
        if self.observations != *observations {
            due.extend(self.observations.difference(observations).cloned());
            self.observations = observations.clone();
        }
        let (heard, changed) = (&mut self.heard, (&self.state, members));
        if heard.update(changed, hearsay, &self.surges, due) {
            // Who was heard may be a host for the others' surge.
            for candidates in self.candidates.values() {
                due.extend(candidates.watchful.iter().cloned());
            }
        }
    }

    /// Finds the candidates of a workload that is new or changed, or forgets one that is removed.
    fn know(&mut self, key: &WorkloadKey) {
        let workload = self.state.workloads.get(key).filter(|it| !it.removed);
        let needs = workload.map(|workload| Needs::of(key, workload));
        let known = self.known.get(key).copied();
        let has = known.and_then(|number| self.candidates.get(&number));
        if has.map(Candidates::needs) == needs.as_ref() {
            return;
        }
        if let Some(number) = known {
            self.forget(key, number);
        }
        let Some(needs) = needs else { return };
        let number = match self.numbers.get(&needs) {
            Some(number) => *number,
            None => self.number(needs, key),
        };
        if let Some(candidates) = self.candidates.get_mut(&number) {
            candidates.workloads += 1;
        }
        self.known.insert(key.clone(), number);
    }

    /// Finds the candidates for needs that no other workload has, and numbers them.
    fn number(&mut self, needs: Needs, example: &WorkloadKey) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        self.numbers.insert(needs.clone(), number);
        let candidates = Candidates::new(needs, example.clone(), &self.state, &self.quorum);
        self.findings.insert(number, candidates.findings.clone());
        self.candidates.insert(number, candidates);
        number
    }

    fn forget(&mut self, key: &WorkloadKey, number: u64) {
        self.known.remove(key);
        self.over_budget.remove(key);
        self.crowded.remove(key);
        self.pending.remove(key);
        self.diagnoses.remove(key);
        let Some(candidates) = self.candidates.get_mut(&number) else {
            return;
        };
        candidates.watchful.remove(key);
        candidates.workloads -= 1;
        if candidates.workloads == 0 {
            self.numbers.remove(candidates.needs());
            self.candidates.remove(&number);
            self.findings.remove(&number);
        }
    }

    /// What the quorum survives is part of what every workload survives.
    fn update_quorum(
        &mut self,
        (members, before): (&[&MemberName], &State),
        silent_voters: &BTreeSet<NodeId>,
        due: &mut BTreeSet<WorkloadKey>,
    ) {
        let votes = |state: &State, name| {
            let member = state.members.get(name);
            member.is_some_and(|member| state.is_voter(member))
        };
        let mut members = members.iter();
        let concerned = before.voters != self.state.voters
            || self.silent_voters != *silent_voters
            || members.any(|name| votes(before, *name) || votes(&self.state, *name));
        if !concerned {
            return;
        }
        self.silent_voters.clone_from(silent_voters);
        let quorum = Survival::of_quorum(&self.state, silent_voters);
        if *self.quorum == quorum {
            return;
        }
        self.quorum = Arc::new(quorum);
        for (number, candidates) in &mut self.candidates {
            candidates.conclude(&self.state, &self.quorum);
            self.findings.insert(*number, candidates.findings.clone());
            due.extend(candidates.watchful.iter().cloned());
        }
    }

    fn update_candidates(
        &mut self,
        members: &[&MemberName],
        before: &State,
        due: &mut BTreeSet<WorkloadKey>,
    ) {
        for (number, candidates) in &mut self.candidates {
            let mut changed = false;
            for name in members {
                if let Some(member) = self.state.members.get(*name) {
                    changed |= candidates.update(name, before.members.get(*name), member);
                }
            }
            if changed {
                candidates.conclude(&self.state, &self.quorum);
                self.findings.insert(*number, candidates.findings.clone());
                due.extend(candidates.watchful.iter().cloned());
            }
        }
    }

    /// The plan for one workload; none if there is none, or it is removed.
    fn plan_workload(
        &mut self,
        key: &WorkloadKey,
        budget: &mut Budget,
    ) -> Option<Vec<PlacementChange>> {
        let number = *self.known.get(key)?;
        let candidates = self.candidates.get_mut(&number)?;
        let workload = self.state.workloads.get(key)?;
        let mut case = Case::new(
            &self.state,
            (key, workload),
            candidates,
            &self.observations,
            &self.heard,
            (&self.order, &self.rooms),
        );
        let (wishes, unplaced) = match workload.spec.placement.mode {
            Mode::Divided => select::divided(&case, budget),
            Mode::Duplicated => select::duplicated(&case),
            Mode::Single => select::single(&case),
        };
        let is_everywhere = workload.spec.placement.mode == Mode::Duplicated;
        if unplaced.is_some() || is_everywhere {
            case.note_full();
        }
        let is_crowded = unplaced.is_some() || case.is_crowded() || budget.crowded();
        keep(&mut self.crowded, key, is_crowded);
        let changes = case.changes(wishes);
        let placed = changes.iter().filter_map(|row| {
            let before = case.placed.get(&row.member).map(|row| &row.share);
            let added = case.pods.added(before, row.share.as_ref()?);
            Some((row.member.clone(), added))
        });
        let placed: Vec<_> = placed.collect();
        for row in &changes {
            let is_placed = case.placed.contains_key(&row.member);
            if is_placed != row.share.is_some() {
                self.order.plan(&row.member, row.share.is_some());
            }
        }
        let is_watchful = unplaced.is_some() || case.is_watchful() || self.observations.has(key);
        let diagnosis = Diagnosis {
            findings: number,
            own: case.findings(),
            unplaced,
            generation: workload.generation,
        };
        if self.diagnoses.get(key) != Some(&diagnosis) {
            self.diagnoses.insert(key.clone(), diagnosis);
        }
        for (member, demands) in placed {
            self.rooms.plan(&member, &demands);
        }
        keep(&mut candidates.watchful, key, is_watchful);
        keep(&mut self.over_budget, key, budget.refused());
        keep(&mut self.pending, key, !changes.is_empty());
        Some(changes)
    }
}

/// Makes `set` have `key`, or not.
fn keep(set: &mut BTreeSet<WorkloadKey>, key: &WorkloadKey, has: bool) {
    if has {
        set.insert(key.clone());
    } else {
        set.remove(key);
    }
}
