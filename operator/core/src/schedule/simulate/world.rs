//! A copy of the state in which something happens.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    super::{Hearsay, Objections, Planner, survival},
    Change, SimulateError,
};
use crate::{
    command::{Command, PlacementChange, SignedCommand},
    domain::FailureDomain,
    id::{Epoch, FederationId, Generation, MemberName, PrivateKey, PublicKey, WorkloadKey},
    state::{Lease, Member, State, Workload},
    workload::{Share, WorkloadSpec},
};

/// The plans after one another that a change may take. A move takes two: one takes away, one places.
const MAX_PLANS: usize = 8;

/// The members that are named as ruled out.
const NAMED: usize = 5;

/// A copy of the state, and the planner that looks at it.
pub(super) struct World {
    pub(super) state: State,
    planner: Planner,
    /// Who was lost by the changes.
    pub(super) lost: BTreeSet<MemberName>,
}

impl World {
    pub(super) fn of(state: State) -> Self {
        Self {
            state,
            planner: Planner::default(),
            lost: BTreeSet::new(),
        }
    }

    /// Plans and applies until nothing is left to plan.
    pub(super) fn settle(&mut self, objections: &Objections) {
        for _ in 0..MAX_PLANS {
            let rows = self.plan(objections);
            if rows.is_empty() {
                break;
            }
            let index = self.next_index();
            self.state.apply_plan(index, &rows);
            self.confirm_removals();
        }
    }

    pub(super) fn plan(&mut self, objections: &Objections) -> Vec<PlacementChange> {
        let silent = BTreeSet::new();
        let hearsay = Hearsay {
            objections,
            silent: &silent,
        };
        self.planner.plan(&self.state, hearsay)
    }

    /// Who is heard has removed what it should.
    fn confirm_removals(&mut self) {
        let heard = self.state.members.iter();
        let heard = heard.filter(|(_, member)| member.lease.is_held());
        let heard: Vec<_> = heard.map(|(name, _)| name.clone()).collect();
        for name in heard {
            self.state.removals.remove_all_at(&name);
        }
    }

    fn next_index(&mut self) -> u64 {
        self.state.index += 1;
        self.state.index
    }

    pub(super) fn happen(&mut self, change: &Change) -> Result<(), SimulateError> {
        match change {
            Change::Lose { domain, name } => self.lose(*domain, name),
            Change::Add {
                name,
                owner,
                attributes,
                grants,
            } => {
                if self.state.members.contains_key(name) {
                    return Err(SimulateError::MemberExists(name.clone()));
                }
                let index = self.next_index();
                let member = Member {
                    owner: owner.clone(),
                    key: PublicKey([0; 32]),
                    sponsor: None,
                    attributes: attributes.clone(),
                    version: String::new(),
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
                self.put(key, spec);
                Ok(())
            }
        }
    }

    fn lose(&mut self, domain: FailureDomain, name: &str) -> Result<(), SimulateError> {
        let index = self.next_index();
        let lost: Vec<_> = self
            .state
            .members
            .iter()
            .filter(|(member, row)| {
                row.lease.is_held() && survival::is_in(domain, name, member, row)
            })
            .map(|(member, _)| member.clone())
            .collect();
        if lost.is_empty() {
            let name = name.to_owned();
            return Err(SimulateError::NobodyLost { domain, name });
        }
        for name in lost {
            if let Some(row) = self.state.members.get_mut(&name) {
                row.lease = Lease::Lost {
                    epoch: Epoch(index),
                    fenced: true,
                };
                row.generation = Generation(index);
            }
            self.lost.insert(name);
        }
        Ok(())
    }

    fn put(&mut self, key: &WorkloadKey, spec: &WorkloadSpec) {
        let index = self.next_index();
        let before = self.state.workloads.get(key).filter(|row| !row.removed);
        let command = Command::PutWorkload {
            key: key.clone(),
            base: Generation(0),
            spec: spec.clone(),
        };
        // Signed by nobody: this row is never sent to a host, which would refuse it.
        let nobody = PrivateKey::from_seed(&[0; 32]);
        let proof = SignedCommand::sign(&FederationId([0; 16]), &nobody, 0, &command);
        let members = self.state.members.iter();
        let mut own = members.filter(|(_, row)| row.owner == key.owner);
        let home = before.map(|row| row.home.clone());
        let Some(home) = home.or_else(|| own.next().map(|(name, _)| name.clone())) else {
            return;
        };
        let workload = Workload {
            proof: proof.into(),
            longest_grace: spec.grace_seconds(),
            spec: spec.clone().into(),
            home,
            generation: Generation(index),
            born: before.map_or(Generation(index), |row| row.born),
            removed: false,
            completed: before.map(|row| row.completed.clone()).unwrap_or_default(),
            avoided: BTreeMap::new(),
        };
        self.state.workloads.insert(key.clone(), workload);
    }

    /// What runs of a workload on members that are heard.
    pub(super) fn runs(&self, key: &WorkloadKey) -> BTreeMap<MemberName, Share> {
        let rows = self.state.placements.of(key);
        let heard = rows.filter(|(name, _)| {
            let member = self.state.members.get(*name);
            member.is_some_and(|member| member.lease.is_held())
        });
        heard
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
