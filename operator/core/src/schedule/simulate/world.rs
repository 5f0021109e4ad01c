//! A copy of the state in which something happens.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{Hearsay, Planner},
    Change, SimulateError,
};
use crate::{
    command::PlacementChange,
    domain::FailureDomain,
    id::{Epoch, Generation, MemberName, PublicKey, WorkloadKey},
    level::Level,
    state::{Lease, Member, State},
    workload::Share,
};

/// The plans after one another that a change may take. A move takes two: one takes away, one places.
const MAX_PLANS: usize = 8;

/// The members that are named as ruled out.
const NAMED: usize = 5;

/// A copy of the state, and the planner that looks at it.
pub(super) struct World {
    pub(super) state: State,
    planner: Planner,
}

impl World {
    pub(super) fn of(state: State) -> Self {
        Self {
            state,
            planner: Planner::default(),
        }
    }

    /// Confirms, plans and applies until nothing is left to plan.
    pub(super) fn settle(&mut self, hearsay: Hearsay<'_>) {
        for _ in 0..MAX_PLANS {
            self.state.suppose_removed();
            let rows = self.plan(hearsay);
            if rows.is_empty() {
                break;
            }
            let index = self.state.next_index();
            self.state.apply_plan(index, &rows);
        }
    }

    pub(super) fn plan(&mut self, hearsay: Hearsay<'_>) -> Vec<PlacementChange> {
        self.planner.plan(&self.state, hearsay)
    }

    /// `home` is where a workload is put.
    pub(super) fn happen(
        &mut self,
        home: &MemberName,
        change: &Change,
    ) -> Result<(), SimulateError> {
        match change {
            Change::Lose { domain, name } => self.lose(*domain, name),
            Change::Add { name, .. } if self.state.members.contains_key(name) => {
                Err(SimulateError::MemberExists(name.clone()))
            }
            Change::Add {
                name,
                owner,
                attributes,
                grants,
            } => {
                let index = self.state.next_index();
                let member = Member {
                    owner: owner.clone(),
                    key: PublicKey([0; 32]),
                    sponsor: None,
                    attributes: attributes.clone(),
                    version: String::new(),
                    level: Level::NEWEST,
                    grants: grants.clone(),
                    kinds: None,
                    seat: None,
                    lease: Lease::Held {
                        epoch: Epoch(index),
                    },
                    generation: Generation(index),
                };
                self.state.members.insert(name.clone(), member);
                Ok(())
            }
            Change::Put { key, spec } => {
                let put = self.state.suppose_put(home.clone(), key, spec);
                put.map_err(|reason| SimulateError::Refused {
                    key: key.clone(),
                    reason,
                })
            }
        }
    }

    fn lose(&mut self, domain: FailureDomain, name: &str) -> Result<(), SimulateError> {
        let lost = self.holders().filter(|member| {
            let row = &self.state.members[*member];
            row.label(member, domain.label()) == Some(name)
        });
        let lost: BTreeSet<_> = lost.cloned().collect();
        if lost.is_empty() {
            let name = name.to_owned();
            return Err(SimulateError::NobodyLost { domain, name });
        }
        self.state.suppose_lost(&lost);
        Ok(())
    }

    /// The members that hold their leases.
    pub(super) fn holders(&self) -> impl Iterator<Item = &MemberName> {
        let members = self.state.members.keys();
        members.filter(|name| self.holds_lease(name))
    }

    pub(super) fn holds_lease(&self, name: &MemberName) -> bool {
        let member = self.state.members.get(name);
        member.is_some_and(|member| member.lease.is_held())
    }

    /// What runs of a workload, on members that hold their leases.
    pub(super) fn runs(&self, key: &WorkloadKey) -> BTreeMap<MemberName, Share> {
        let rows = self.state.placements.of(key);
        rows.filter(|(name, _)| self.holds_lease(name))
            .map(|(name, row)| (name.clone(), row.share.clone()))
            .collect()
    }

    pub(super) fn survives(&self, key: &WorkloadKey) -> Option<FailureDomain> {
        self.planner.found(key)?.1.survives
    }

    /// Why it is not wholly placed.
    pub(super) fn unplaced(&self, key: &WorkloadKey) -> Option<String> {
        let (diagnosis, findings) = self.planner.found(key)?;
        let unplaced = diagnosis.unplaced.as_ref()?;
        let named = findings.excluded.named().into_iter();
        let named = named.map(|(name, (_, message))| format!("{name}: {message}"));
        let named: Vec<_> = named.take(NAMED).collect();
        Some(match named.as_slice() {
            [] => unplaced.clone(),
            named => format!("{unplaced} ({})", named.join("; ")),
        })
    }
}
