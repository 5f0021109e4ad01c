//! What would happen: the planner on a copy of the state in which something else is true.
//!
//! ```text
//!  State ─► settled: what is due anyway ─┬─► change it ─► plan, apply, confirm, until nothing is left to plan ─┐
//!                                        └────────────────────── compare ◄────────────────────────────────────┘
//! ```
//!
//! A copy of the state costs nothing, and nothing here reaches the ledger. The end of a failover is shown, not the way to it: a member
//! that is lost has certainly stopped, and every other one has removed what it should.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use self::world::World;
use super::{Gap, Hearsay, survival};
use crate::{
    command::Attributes,
    domain::FailureDomain,
    grant::Grant,
    id::{MemberName, OwnerName, WorkloadKey},
    state::{Rejection, State, Workload},
    workload::{Mode, Share, WorkloadSpec},
};

mod world;

/// The workloads that an answer lists; the others are counted.
const MAX_LISTED: usize = 500;

/// Something that could happen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Change {
    /// All members of one failure domain are lost.
    Lose {
        /// Which kind.
        domain: FailureDomain,
        /// The member, the region (of any provider), the provider or the owner.
        name: String,
    },
    /// Another cluster is admitted.
    Add {
        /// Its name.
        name: MemberName,
        /// Whose it is.
        owner: OwnerName,
        /// What its owner writes about it.
        attributes: Attributes,
        /// What it lets others run there.
        grants: Vec<Grant>,
    },
    /// A workload is put or edited.
    Put {
        /// Which.
        key: WorkloadKey,
        /// What it asks for.
        spec: WorkloadSpec,
    },
}

/// Why there is no answer.
#[allow(
    missing_docs,
    reason = "the message of each variant is its documentation"
)]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SimulateError {
    #[error("no member that holds its lease belongs to {domain} '{name}'")]
    NobodyLost { domain: FailureDomain, name: String },
    #[error("a member is called '{0}' already")]
    MemberExists(MemberName),
    #[error("workload '{key}' would be refused: {reason}")]
    Refused { key: WorkloadKey, reason: Rejection },
}

/// What would change for the workloads of one owner.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Simulation {
    /// The members that are lost by it.
    pub lost: BTreeSet<MemberName>,
    /// Too few voters would be left: nothing moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_quorum: Option<Gap>,
    /// The workloads that run elsewhere, do not run, or survive something else than before, at most 500.
    pub workloads: BTreeMap<WorkloadKey, Difference>,
    /// How many others of this owner there are.
    pub more: usize,
    /// How many workloads of other owners run elsewhere.
    pub others: usize,
    /// How many workloads of this owner would not run as they should, and do now.
    pub failing: usize,
}

/// What would change for one workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The members that run another share of it: before, and then.
    pub moves: BTreeMap<MemberName, Move>,
    /// Replicas that nobody would run.
    pub missing: u32,
    /// Why it is not wholly placed, with the members that are ruled out as far as they are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unplaced: Option<String>,
    /// What it survives: before, and then.
    pub survives: (Option<FailureDomain>, Option<FailureDomain>),
    /// Whether it would not run as it should, and does now.
    pub fails: bool,
}

/// What a member runs of a workload.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Move {
    /// Before; `None` for nothing.
    pub from: Option<Share>,
    /// Then.
    pub to: Option<Share>,
}

/// The effect of these changes on the workloads of the owner of `asker`.
pub fn simulate(
    state: &State,
    hearsay: Hearsay<'_>,
    asker: (&MemberName, &OwnerName),
    changes: &[Change],
) -> Result<Simulation, SimulateError> {
    let hearsay = hearsay.settled(hearsay.capacities);
    let mut before = World::of(state.clone());
    before.settle(hearsay);
    let mut after = World::of(before.state.clone());
    for change in changes {
        after.happen(asker.0, change)?;
    }
    let no_quorum = survival::too_few_voters(&after.state, hearsay.silent_voters);
    if no_quorum.is_some() {
        // Nobody applies this plan; what it finds holds.
        after.plan(hearsay);
    } else {
        after.settle(hearsay);
    }
    let lost = before.holders().filter(|name| !after.holds_lease(name));
    let mut simulation = Simulation {
        lost: lost.cloned().collect(),
        no_quorum,
        ..Simulation::default()
    };
    for (key, workload) in &*after.state.workloads {
        if let Some(difference) = difference(&before, &after, key, workload) {
            simulation.add(asker.1, key, difference);
        }
    }
    Ok(simulation)
}

impl Simulation {
    fn add(&mut self, owner: &OwnerName, key: &WorkloadKey, difference: Difference) {
        if key.owner != *owner {
            self.others += usize::from(!difference.moves.is_empty());
            return;
        }
        self.failing += usize::from(difference.fails);
        if self.workloads.len() < MAX_LISTED {
            self.workloads.insert(key.clone(), difference);
        } else {
            self.more += 1;
        }
    }
}

/// The replicas of a workload that are asked for and that nobody runs.
fn missing(workload: &Workload, runs: &BTreeMap<MemberName, Share>) -> u32 {
    let asked = workload.spec.counts().total();
    match workload.spec.placement.mode {
        Mode::Duplicated if runs.is_empty() => asked,
        Mode::Duplicated => 0,
        Mode::Divided | Mode::Single => asked.saturating_sub(runs.values().map(Share::total).sum()),
    }
}

/// `None` if nothing changes.
fn difference(
    before: &World,
    after: &World,
    key: &WorkloadKey,
    workload: &Workload,
) -> Option<Difference> {
    let (was, is) = (before.runs(key), after.runs(key));
    let names: BTreeSet<_> = was.keys().chain(is.keys()).collect();
    let moves = names.into_iter().filter_map(|name| {
        let (from, to) = (was.get(name).cloned(), is.get(name).cloned());
        (from != to).then(|| (name.clone(), Move { from, to }))
    });
    let moves: BTreeMap<_, _> = moves.collect();
    let unplaced = after.unplaced(key);
    let survives = (before.survives(key), after.survives(key));
    let missed = missing(workload, &was);
    let missing = missing(workload, &is);
    let stops = is.is_empty() && !was.is_empty();
    let fails = missing > missed || stops || (unplaced.is_some() && before.unplaced(key).is_none());
    let same = moves.is_empty() && !fails && survives.0 == survives.1;
    (!same).then_some(Difference {
        moves,
        missing,
        unplaced,
        survives,
        fails,
    })
}
