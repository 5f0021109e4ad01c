//! What should run where: filter → score → select → divide, for one workload after the other.
//!
//! ```text
//!  State ─► filter (first reason against a member) ─► score (order) ─► select and divide ─► Plan
//!                     └──────► diagnosis (exclusions, failures that are survived) ───────────┘
//! ```
//!
//! Guarantees: deterministic (same state, same plan); a plan for a state that already is as planned is empty; only what
//! must move moves; nothing is placed on an excluded member. Where no member can take a workload, its placements stay
//! unchanged and the diagnosis says why, member by member.
//!
//! A member that could not apply its share is set aside between filter and score (`refusals`). While a member is silent, as
//! much as it has of a divided workload is placed elsewhere in addition (`surge`).
//!
//! Absent: clocks, liveness beyond the ledger's leases, capacity.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    command::PlacementChange,
    id::{MemberName, WorkloadKey},
    per_host::Rows,
    reason::Reason,
    state::{Member, Placement, State, Surge, Workload},
    workload::{Mode, Share},
};

mod diagnosis;
mod divide;
mod filter;
mod proposed;
mod refusals;
mod score;
mod select;
mod surge;
#[cfg(test)]
mod tests;

use filter::Question;

pub use diagnosis::{Diagnosis, Exclusion, Survives};
pub use proposed::Proposed;
pub use refusals::{AVOIDED_FOR, Objections, Refusals};

/// What the planner wants changed, and what it found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Rows for one or more `Assign`, in the order in which they should be committed: what is lost first.
    pub changes: Vec<PlacementChange>,
    /// By workload.
    pub diagnoses: BTreeMap<WorkloadKey, Diagnosis>,
}

/// What a plan wants a member to run of a workload, and why; `None` takes it away.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wish {
    share: Option<Share>,
    /// What of the share is in addition.
    surge: Option<Surge>,
    reason: Reason,
}

/// Everything the steps of one workload look at.
struct Case<'a> {
    state: &'a State,
    key: &'a WorkloadKey,
    workload: &'a Workload,
    /// What is placed now.
    placed: Rows<Arc<Placement>>,
    /// The members that may run it, best first for ties.
    eligible: Vec<&'a MemberName>,
    /// The others, with the first reason against each.
    excluded: BTreeMap<MemberName, Exclusion>,
    /// Those of them that refused it, with their words.
    refusing: BTreeMap<MemberName, String>,
    /// The members whose shares are to be placed elsewhere in addition.
    silent: &'a BTreeSet<MemberName>,
}

/// What the planner knows besides the ledger: soft state of the leader.
#[derive(Debug, Clone, Copy)]
pub struct Hearsay<'a> {
    /// What hosts object to.
    pub objections: &'a Objections,
    /// The members that are silent though their leases run, and whose shares are to be placed elsewhere in addition.
    pub silent: &'a BTreeSet<MemberName>,
}

/// The plan for the whole federation.
#[must_use]
pub fn schedule(state: &State, hearsay: Hearsay<'_>) -> Plan {
    let load = score::load(state);
    let mut plan = Plan::default();
    let mut budget = surge::Budget::of(state);
    for (key, workload) in state
        .workloads
        .iter()
        .filter(|(_, workload)| !workload.removed)
    {
        let (changes, diagnosis) =
            schedule_workload(state, key, workload, hearsay, &load, &mut budget);
        plan.changes.extend(changes);
        plan.diagnoses.insert(key.clone(), diagnosis);
    }
    // What lost its place is more urgent than what grows; the sort is stable, so a workload's rows stay in order.
    plan.changes.sort_by_key(|row| row.reason.urgency());
    plan
}

/// The plan for one workload. `load` counts the placements of each member.
fn schedule_workload(
    state: &State,
    key: &WorkloadKey,
    workload: &Workload,
    Hearsay { objections, silent }: Hearsay<'_>,
    load: &BTreeMap<MemberName, usize>,
    budget: &mut surge::Budget,
) -> (Vec<PlacementChange>, Diagnosis) {
    let placed = state.placements.rows(key);
    let (mut eligible, mut excluded) = (Vec::new(), BTreeMap::new());
    let (kinds, needed) = (workload.spec.kinds(), workload.spec.kinds_needed());
    for (name, member) in &state.members {
        let question = Question {
            key,
            workload,
            kinds: &kinds,
            needed: &needed,
            member,
            placed: placed.contains_key(name),
            owes: state.owes_another(key, name),
            refused: objections.leaves(key, name),
        };
        match filter::first_objection(&question) {
            None => eligible.push(name),
            Some(exclusion) => {
                excluded.insert(name.clone(), exclusion);
            }
        }
    }
    let refusing = refusals::set_aside(&mut eligible, objections, (key, workload), |name| {
        placed.contains_key(name)
    });
    let refused = refusing
        .iter()
        .map(|(name, message)| (name.clone(), refusals::exclusion(message)));
    excluded.extend(refused);
    score::order(&mut eligible, state, key, load);
    let case = Case {
        state,
        key,
        workload,
        placed,
        eligible,
        excluded,
        refusing,
        silent,
    };
    let (wishes, unplaced) = match workload.spec.placement.mode {
        Mode::Divided => select::divided(&case, budget),
        Mode::Duplicated => select::duplicated(&case),
        Mode::Single => select::single(&case),
    };
    let changes = case.changes(wishes);
    let diagnosis = diagnosis::diagnose(&case, unplaced);
    (changes, diagnosis)
}

impl Case<'_> {
    fn member(&self, name: &MemberName) -> Option<&Member> {
        self.state.members.get(name)
    }

    fn may_host(&self, name: &MemberName) -> bool {
        self.eligible.contains(&name)
    }

    /// The wishes that are not already so, removals first, as rows decided on the current generations.
    fn changes(&self, wishes: BTreeMap<MemberName, Wish>) -> Vec<PlacementChange> {
        let news = wishes.into_iter().filter(|(name, wish)| {
            let placed = self.placed.get(name);
            let now = placed.map(|row| (&row.share, row.surge.as_ref()));
            now != wish
                .share
                .as_ref()
                .map(|share| (share, wish.surge.as_ref()))
        });
        let row = |(name, wish): (MemberName, Wish)| {
            Some(PlacementChange {
                workload: self.key.clone(),
                workload_generation: self.workload.generation,
                member_generation: self.member(&name)?.generation,
                member: name,
                share: wish.share,
                surge: wish.surge,
                reason: wish.reason,
            })
        };
        let mut rows: Vec<_> = news.filter_map(row).collect();
        rows.sort_by_key(|row| row.share.is_some());
        rows
    }
}
