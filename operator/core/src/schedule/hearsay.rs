//! What a plan rests on besides the ledger.

use std::{collections::BTreeSet, sync::Arc};

use super::{observations::Observations, surge::Surges};
use crate::{
    capacity::Capacities,
    command::Scheduling,
    id::{MemberName, NodeId, WorkloadKey},
    per_host::PerHost,
    slice::PlacementReport,
    state::State,
};

static NOBODY: BTreeSet<MemberName> = BTreeSet::new();

static NO_SEATS: BTreeSet<NodeId> = BTreeSet::new();

/// What the planner knows besides the ledger: soft state of the leader.
#[derive(Debug, Clone, Copy)]
pub struct Hearsay<'a> {
    /// What was seen of hosts over time.
    pub observations: &'a Observations,
    /// The members that are silent though their leases run, and whose shares are to be placed elsewhere in addition.
    pub silent: &'a BTreeSet<MemberName>,
    /// The members that have not been heard in this term: none of these shares goes there.
    pub unheard: &'a BTreeSet<MemberName>,
    /// How much they can still run.
    pub capacities: &'a Capacities,
    /// How far hosts have come. `None`: all that is placed is taken to be ready.
    pub reports: Option<&'a PerHost<Arc<PlacementReport>>>,
    /// The members whose API servers are down: what they reported is out of date.
    pub control_planes_down: &'a BTreeSet<MemberName>,
    /// The seats whose ledgers answer nothing, though their members may be heard: they do not count for the quorum.
    pub silent_voters: &'a BTreeSet<NodeId>,
}

impl<'a> Hearsay<'a> {
    /// Where every member has been heard, none is silent, and all that is placed is ready.
    #[must_use]
    pub fn of_all_heard(observations: &'a Observations, capacities: &'a Capacities) -> Self {
        Self {
            observations,
            silent: &NOBODY,
            unheard: &NOBODY,
            capacities,
            reports: None,
            control_planes_down: &NOBODY,
            silent_voters: &NO_SEATS,
        }
    }

    /// What will be heard in the end, with these capacities: who is silent is heard again, and all that is placed is ready.
    pub(super) fn settled(self, capacities: &'a Capacities) -> Self {
        Self {
            silent_voters: self.silent_voters,
            ..Self::of_all_heard(self.observations, capacities)
        }
    }
}

/// Who is away, and what hosts report, by the last plan.
#[derive(Debug, Default)]
pub(super) struct Heard {
    pub(super) silent: BTreeSet<MemberName>,
    pub(super) unheard: BTreeSet<MemberName>,
    /// The members that their owners drain.
    pub(super) drained: BTreeSet<MemberName>,
    pub(super) reports: Option<PerHost<Arc<PlacementReport>>>,
    pub(super) control_planes_down: BTreeSet<MemberName>,
}

impl Heard {
    /// Whether what a member has is to be placed elsewhere in addition: it is silent or drained.
    pub(super) fn is_away(&self, name: &MemberName) -> bool {
        self.silent.contains(name) || self.drained.contains(name)
    }

    /// Takes over what is heard, and which of `members`, that changed, are drained. Adds the workloads to `due` that have to be
    /// planned because of it; returns whether others are away or unheard than before.
    pub(super) fn update(
        &mut self,
        (state, members): (&State, &[&MemberName]),
        hearsay: Hearsay<'_>,
        surges: &Surges,
        due: &mut BTreeSet<WorkloadKey>,
    ) -> bool {
        let mut others = self.update_drained(state, members);
        let silent = self.silent.symmetric_difference(hearsay.silent);
        let down = &self.control_planes_down;
        let down = down.symmetric_difference(hearsay.control_planes_down);
        for name in silent.chain(down) {
            due.extend(state.placements.at(name).cloned());
        }
        if let (Some(before), Some(now)) = (&self.reports, hearsay.reports)
            && !(self.drained.is_empty() && surges.is_empty())
        {
            // Nothing else follows readiness.
            let waits = |key: &&WorkloadKey| {
                let mut drained = self.drained.iter();
                surges.has(key) || drained.any(|name| state.placements.get(key, name).is_some())
            };
            due.extend(now.changed_since(before).filter(waits).cloned());
        }
        self.reports = hearsay.reports.cloned();
        others |= (&self.silent, &self.unheard) != (hearsay.silent, hearsay.unheard);
        self.silent.clone_from(hearsay.silent);
        self.unheard.clone_from(hearsay.unheard);
        self.control_planes_down
            .clone_from(hearsay.control_planes_down);
        others
    }

    fn update_drained(&mut self, state: &State, members: &[&MemberName]) -> bool {
        let mut changed = false;
        for name in members {
            let member = state.members.get(*name);
            let scheduling = member.map(|member| member.attributes.scheduling);
            changed |= if scheduling == Some(Scheduling::Drained) {
                self.drained.insert((*name).clone())
            } else {
                self.drained.remove(*name)
            };
        }
        changed
    }
}
