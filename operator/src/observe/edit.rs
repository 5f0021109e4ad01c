//! The decision about one `FederatedWorkload`: what the object says, what the ledger says, and what follows.
//!
//! Pure: [`Written`] is an object as it was read, [`View`] what the slice says of it, [`decide`] a table. Who acts on
//! it is `workloads`.
//!
//! # Who wrote last
//!
//! The annotation `hanse.dev/synced: "<generation>:<digest>"` stands beside the spec it speaks of, written in the same
//! update. While the spec still has that digest, nobody edited the object; when it has not, a user edited it on top of
//! that generation. A new object has no annotation and is an edit of generation 0.
//!
//! # A workload that is no longer in the ledger
//!
//! *Absent is not deleted* guards what hosts run. The object here is only a copy of a row, and it goes with the row,
//! but only on proof. Generations are log indices: an object that carries generation `g` of this very federation was
//! committed at index `g`; a slice of the ledger at an index of at least `g` that lacks the row can only mean that a
//! removal was committed in between, because nothing else takes a row out. So: the federation must be the same
//! (annotation `hanse.dev/federation`; a federation founded anew knows nothing of older generations and takes the
//! objects for new ones), and the slice at least as new. An older slice proves nothing, and an object without the
//! annotation is new. Whoever puts an object back from a backup strips Hanse's annotations first.

use std::{fmt, str::FromStr};

use hanse_core::{
    id::{Digest, FederationId, Generation, Namespace, WorkloadKey},
    slice::{OwnedWorkload, Slice},
    workload::{Mode, PlacementRules, SpecError, WorkloadSpec},
};
use hanse_crds::{
    FederatedWorkload, FederatedWorkloadSpec, Placement, PlacementMode, Requirements, names,
};
use kube::ResourceExt;

/// Annotation on a workload: the federation whose generation [`names::SYNCED_ANNOTATION`] names.
pub(crate) const FEDERATION_ANNOTATION: &str = "hanse.dev/federation";

/// What the operator last wrote into an object: the value of [`names::SYNCED_ANNOTATION`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Synced {
    pub(crate) generation: Generation,
    pub(crate) digest: Digest,
}

impl fmt::Display for Synced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.generation, self.digest)
    }
}

impl FromStr for Synced {
    type Err = ();
    fn from_str(value: &str) -> Result<Self, ()> {
        let (generation, digest) = value.split_once(':').ok_or(())?;
        Ok(Self {
            generation: Generation(generation.parse().map_err(|_| ())?),
            digest: digest.parse().map_err(|_| ())?,
        })
    }
}

/// A `FederatedWorkload` as it was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Written {
    /// Someone asked the API server to delete it.
    pub(crate) deleting: bool,
    /// It carries [`names::PLACEMENTS_FINALIZER`].
    pub(crate) guarded: bool,
    /// What the operator last wrote there, where that was of this federation.
    pub(crate) synced: Option<Synced>,
    /// The generation its status tells of; counts where the annotation was lost in an edit.
    pub(crate) told: Generation,
    /// What it asks for.
    pub(crate) spec: Result<WorkloadSpec, SpecError>,
}

impl Written {
    pub(crate) fn read(
        object: &FederatedWorkload,
        namespace: &Namespace,
        federation: &FederationId,
    ) -> Self {
        let annotations = object.annotations();
        let ours = annotations.get(FEDERATION_ANNOTATION) == Some(&federation.to_string());
        let synced = annotations
            .get(names::SYNCED_ANNOTATION)
            .filter(|_| ours)
            .and_then(|synced| synced.parse().ok());
        let told = object
            .status
            .as_ref()
            .and_then(|status| status.ledger_generation);
        let finalizers = object.finalizers();
        Self {
            deleting: object.metadata.deletion_timestamp.is_some(),
            guarded: finalizers
                .iter()
                .any(|name| name == names::PLACEMENTS_FINALIZER),
            synced,
            told: Generation(told.and_then(|told| u64::try_from(told).ok()).unwrap_or(0)),
            spec: spec_of(&object.spec, namespace),
        }
    }
}

/// What this process did for an object and may not see yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// What it last wrote into the object.
    pub(crate) synced: Option<Synced>,
    /// A specification that the ledger refused for good, and why.
    pub(crate) refused: Option<(Digest, String)>,
    /// The index at which the ledger took in its removal; an older slice does not know of that.
    pub(crate) decided: u64,
}

/// What the slice says of one workload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) index: u64,
    pub(crate) owned: Option<&'a OwnedWorkload>,
}

impl<'a> View<'a> {
    pub(crate) fn of(slice: &'a Slice, key: &WorkloadKey) -> Self {
        Self {
            index: slice.federation.index,
            owned: slice.workloads.get(key),
        }
    }
}

/// What follows for one workload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Decision {
    /// Nothing to do.
    Settled,
    /// The slice is older than what is known: look again when it has moved.
    Wait,
    /// The object cannot become a workload as it is written; nothing until it changes.
    Invalid { message: String },
    /// The ledger has it and this cluster has not: write a copy.
    Mirror,
    /// Put the finalizer on a new object, so that no deletion goes unnoticed.
    Guard,
    /// A user's edit, made on `base`: ask the ledger.
    Put {
        base: Generation,
        spec: WorkloadSpec,
    },
    /// The ledger is ahead of an object that nobody edited: write what it has.
    Follow,
    /// A user's edit came too late, another was accepted before: write what the ledger has and tell the user.
    Overrule { base: Generation },
    /// A user deleted it: ask the ledger to remove it.
    Remove,
    /// It was removed in another cluster: delete the copy.
    Drop,
    /// Nothing is left to clean up: let the object go.
    Release,
}

/// The table. `object` is `None` where the API server has none, which the caller knows for certain.
pub(crate) fn decide(object: Option<&Written>, memory: &Memory, view: View<'_>) -> Decision {
    if view.index < memory.decided {
        return Decision::Wait;
    }
    let Some(object) = object else {
        return match view.owned {
            Some(owned) if !owned.removed => Decision::Mirror,
            Some(_) | None => Decision::Settled,
        };
    };
    let synced = newest(object.synced, memory.synced);
    let stale = synced.is_some_and(|synced| view.index < synced.generation.0);
    if object.deleting {
        return while_deleting(object, stale, view.owned);
    }
    match (view.owned, synced) {
        (_, Some(synced)) if stale => while_stale(object, synced, memory),
        (None, Some(_)) => Decision::Drop,
        (Some(owned), Some(_)) if owned.removed => Decision::Drop,
        // A new object under the name of one that is still being removed everywhere.
        (Some(owned), None) if owned.removed => Decision::Wait,
        (None | Some(_), _) => match &object.spec {
            Err(error) => Decision::Invalid {
                message: error.to_string(),
            },
            Ok(spec) => with_spec(object, synced, memory, spec, view.owned),
        },
    }
}

fn newest(left: Option<Synced>, right: Option<Synced>) -> Option<Synced> {
    match (left, right) {
        (Some(left), Some(right)) if right.generation > left.generation => Some(right),
        (Some(left), _) => Some(left),
        (None, right) => right,
    }
}

/// The slice does not know yet of what was committed from here. What the user asks for now is an edit of that.
fn while_stale(object: &Written, synced: Synced, memory: &Memory) -> Decision {
    match &object.spec {
        Ok(spec) if spec.digest() != synced.digest => {
            propose(object, synced.generation, memory, spec)
        }
        Ok(_) | Err(_) => Decision::Wait,
    }
}

fn while_deleting(object: &Written, stale: bool, owned: Option<&OwnedWorkload>) -> Decision {
    match owned {
        _ if !object.guarded => Decision::Settled,
        _ if stale => Decision::Remove,
        None => Decision::Release,
        Some(owned) if !owned.removed => Decision::Remove,
        Some(owned) => {
            let mut hosts = owned.hosts.values();
            // A host without a lease cannot confirm now; it learns of the removal when it is back.
            if hosts.any(|host| host.removing && host.lease_held) {
                Decision::Wait
            } else {
                Decision::Release
            }
        }
    }
}

fn with_spec(
    object: &Written,
    synced: Option<Synced>,
    memory: &Memory,
    spec: &WorkloadSpec,
    owned: Option<&OwnedWorkload>,
) -> Decision {
    let Some(owned) = owned else {
        return propose(object, Generation(0), memory, spec);
    };
    let digest = spec.digest();
    let edited = synced.is_none_or(|synced| synced.digest != digest);
    let base = synced.map_or(object.told, |synced| synced.generation);
    if *owned.spec == *spec || !edited {
        let up_to_date = synced.is_some_and(|synced| synced.generation == owned.generation);
        return if up_to_date && object.guarded {
            Decision::Settled
        } else {
            Decision::Follow
        };
    }
    if base == owned.generation {
        propose(object, base, memory, spec)
    } else {
        Decision::Overrule { base }
    }
}

fn propose(object: &Written, base: Generation, memory: &Memory, spec: &WorkloadSpec) -> Decision {
    match &memory.refused {
        Some((digest, message)) if *digest == spec.digest() => Decision::Invalid {
            message: message.clone(),
        },
        _ if !object.guarded => Decision::Guard,
        _ => Decision::Put {
            base,
            spec: spec.clone(),
        },
    }
}

/// What an object asks for, as the ledger knows it.
pub(crate) fn spec_of(
    spec: &FederatedWorkloadSpec,
    namespace: &Namespace,
) -> Result<WorkloadSpec, SpecError> {
    let Placement {
        mode,
        replicas,
        require: Requirements { match_labels },
        domicile,
    } = &spec.placement;
    let rules = PlacementRules {
        mode: match mode {
            PlacementMode::Divided => Mode::Divided,
            PlacementMode::Duplicated => Mode::Duplicated,
            PlacementMode::Single => Mode::Single,
        },
        // The schema has refused anything below 1.
        replicas: replicas.and_then(|replicas| u32::try_from(replicas).ok()),
        match_labels: match_labels.clone(),
        domicile: domicile.clone(),
    };
    WorkloadSpec::new(spec.manifests.clone(), rules, namespace)
}

/// What the ledger has, as an object says it.
pub(crate) fn object_of(spec: &WorkloadSpec) -> FederatedWorkloadSpec {
    let PlacementRules {
        mode,
        replicas,
        match_labels,
        domicile,
    } = &spec.placement;
    let manifests = spec.manifests.iter();
    FederatedWorkloadSpec {
        manifests: manifests
            .map(|manifest| manifest.object().clone())
            .collect(),
        placement: Placement {
            mode: match mode {
                Mode::Divided => PlacementMode::Divided,
                Mode::Duplicated => PlacementMode::Duplicated,
                Mode::Single => PlacementMode::Single,
            },
            replicas: replicas.map(|replicas| i32::try_from(replicas).unwrap_or(i32::MAX)),
            require: Requirements {
                match_labels: match_labels.clone(),
            },
            domicile: domicile.clone(),
        },
    }
}

#[cfg(test)]
mod tests;
