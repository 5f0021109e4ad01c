//! What owners want.

use std::collections::{BTreeMap, BTreeSet};

use super::{Completion, Keep, MAX_OWNER_BYTES, Rejection, State, Workload};
use crate::{
    command::SignedCommand,
    id::{Digest, Generation, MemberName, WorkloadKey},
    level::Level,
    shared,
    workload::{ManifestId, Mode, WorkloadSpec},
};

/// The most workloads of a federation: what one planner is measured for.
const MAX_WORKLOADS: usize = 100_000;

impl State {
    pub(super) fn put_workload(
        &mut self,
        index: u64,
        home: MemberName,
        signed: &SignedCommand,
        key: WorkloadKey,
        base: Generation,
        spec: WorkloadSpec,
    ) -> Result<u64, Rejection> {
        spec.check(&key.namespace)
            .map_err(|error| Rejection::Invalid {
                reason: error.to_string(),
            })?;
        let existing = self.workloads.get(&key);
        let longest_grace = existing.map_or(0, |workload| workload.longest_grace);
        let removed = existing.is_some_and(|workload| workload.removed);
        if removed && base.0 > 0 {
            return Err(Rejection::BeingRemoved);
        }
        // What is put under the name of a removed workload is another one. What hosts still owe of the removed one stays.
        let existing = existing.filter(|_| !removed);
        if let Some(workload) = existing.filter(|workload| *workload.spec == spec) {
            // The same specification by another author: nothing to decide.
            return Ok(workload.generation.0);
        }
        let current = existing.map_or(Generation(0), |workload| workload.generation);
        if base != current {
            return Err(Rejection::Conflict { base, current });
        }
        self.check_room(&key, existing, signed)?;
        let becomes_single = existing.is_some_and(|row| {
            row.spec.placement.mode != Mode::Single && spec.placement.mode == Mode::Single
        });
        let mut completed = existing.map(|row| row.completed.clone());
        if let Some(completed) = &mut completed {
            completed.retain(|id, completion| is_manifest(&spec, id, &completion.manifest));
        }
        let workload = Workload {
            completed: completed.unwrap_or_default(),
            proof: shared::command(signed.clone()),
            longest_grace: longest_grace.max(spec.grace_seconds()),
            spec: shared::spec_of(signed, spec),
            home,
            generation: Generation(index),
            born: existing.map_or(Generation(index), |row| row.born),
            removed: false,
            avoided: BTreeMap::new(),
        };
        // By the rules of what is placed, which is no `Single` yet.
        if becomes_single {
            self.take_all_away(index, &key);
        }
        self.workloads.insert(key, workload);
        Ok(index)
    }

    /// Whether there is room for a workload in the place of what is there now.
    fn check_room(
        &self,
        key: &WorkloadKey,
        existing: Option<&Workload>,
        signed: &SignedCommand,
    ) -> Result<(), Rejection> {
        if existing.is_none() && self.workloads.len() >= MAX_WORKLOADS {
            return Err(Rejection::TooMany {
                what: "workloads".into(),
                most: MAX_WORKLOADS,
            });
        }
        let before = existing.map_or(0, |it| it.proof.body.len());
        let after = signed.body.len();
        let owned = self.workloads.bytes_of(&key.owner) + after;
        let is_too_much = after > before && owned.saturating_sub(before) > MAX_OWNER_BYTES;
        if self.level >= Level::BOUNDED_OWNERS && is_too_much {
            return Err(Rejection::TooMany {
                what: format!("bytes of workloads of owner '{}'", key.owner),
                most: MAX_OWNER_BYTES,
            });
        }
        Ok(())
    }

    /// Remembers that these objects have completed. What is no manifest any more is ignored.
    pub(super) fn complete(
        &mut self,
        member: &MemberName,
        key: &WorkloadKey,
        objects: BTreeMap<ManifestId, Digest>,
    ) -> Result<(), Rejection> {
        let Some(workload) = self.workloads.get_mut(key) else {
            return Ok(());
        };
        for (id, manifest) in objects {
            if is_manifest(&workload.spec, &id, &manifest) {
                let completion = workload.completed.entry(id).or_insert(Completion {
                    manifest,
                    members: BTreeSet::new(),
                });
                completion.members.insert(member.clone());
            }
        }
        Ok(())
    }

    pub(super) fn remove_workload(
        &mut self,
        index: u64,
        key: &WorkloadKey,
        seen: Generation,
        orphan: bool,
    ) -> Result<(), Rejection> {
        let Some(workload) = self.workloads.get_mut(key) else {
            // Gone already is what was asked for.
            return Ok(());
        };
        let is_another = seen.0 > 0 && seen < workload.born;
        if workload.removed || is_another {
            return Ok(());
        }
        workload.removed = true;
        workload.generation = Generation(index);
        let keep = if orphan {
            Keep::Everything
        } else {
            workload.spec.volumes.on_delete.into()
        };
        for (member, _) in self.placements.remove_all_of(key) {
            self.require_removal(index, member, key, keep);
        }
        self.drop_if_removed(key);
        Ok(())
    }
}

/// Whether this is one of the manifests, unchanged.
fn is_manifest(spec: &WorkloadSpec, id: &ManifestId, digest: &Digest) -> bool {
    let mut manifests = spec.manifests.iter();
    manifests.any(|manifest| manifest.id() == *id && manifest.digest() == *digest)
}
