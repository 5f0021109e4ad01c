//! The decision about one `FederatedWorkload`, from the object and the ledger's row.
//!
//! Pure: [`Written`] is an object as it was read, [`View`] its row in the slice, [`decide`] a table. `workloads`
//! executes the decisions.
//!
//! # Who wrote last
//!
//! The operator writes the annotation `hanse.dev/synced: "<generation>:<digest>"` in the same update as the spec that
//! it describes. While the spec still has that digest, the object is unedited. If the digest differs, a user edited the
//! object on top of that generation. A new object has no annotation and is an edit of generation 0.
//!
//! # A workload that is no longer in the ledger
//!
//! Hosts never treat a missing row as a removal. The object here is only a copy of a row, so it is deleted when the row
//! was removed, but only on proof. Generations are log indices: an object that carries generation `g` of this
//! federation was committed at index `g`. If a slice at an index of at least `g` lacks the row, a removal was committed
//! in between, because nothing else removes a row. Two conditions follow. The federation must be the same (annotation
//! `hanse.dev/federation`): a federation founded anew does not have the older generations and treats the objects as
//! new. The slice must be at least as new as `g`: an older slice proves nothing. An object without the annotation is
//! new. To restore an object from a backup, remove Hanse's annotations first.

use std::{fmt, str::FromStr};

use hanse_core::{
    id::{Digest, FederationId, Generation, WorkloadKey},
    slice::{OwnedWorkload, Slice},
    workload::{SpecError, WorkloadSpec},
};
use hanse_crds::{FederatedWorkload, names};
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
    /// Its deletion was requested.
    pub(crate) deleting: bool,
    /// It goes because its namespace goes in this cluster, and this cluster is not its home: nobody deleted the workload.
    pub(crate) evicted: bool,
    /// It carries [`names::PLACEMENTS_FINALIZER`].
    pub(crate) guarded: bool,
    /// What the operator last wrote into it, if that was for this federation.
    pub(crate) synced: Option<Synced>,
    /// The generation in its status; used if an edit removed the annotation.
    pub(crate) status_generation: Generation,
    /// Its specification.
    pub(crate) spec: Result<WorkloadSpec, SpecError>,
}

impl Written {
    /// `spec` is the specification that the object asks for.
    pub(crate) fn read(
        object: &FederatedWorkload,
        federation: &FederationId,
        spec: Result<WorkloadSpec, SpecError>,
    ) -> Self {
        let annotations = object.annotations();
        let ours = annotations.get(FEDERATION_ANNOTATION) == Some(&federation.to_string());
        let synced = annotations
            .get(names::SYNCED_ANNOTATION)
            .filter(|_| ours)
            .and_then(|synced| synced.parse().ok());
        let status_generation = object
            .status
            .as_ref()
            .and_then(|status| status.ledger_generation);
        let finalizers = object.finalizers();
        Self {
            deleting: object.metadata.deletion_timestamp.is_some(),
            evicted: false,
            guarded: finalizers
                .iter()
                .any(|name| name == names::PLACEMENTS_FINALIZER),
            synced,
            status_generation: Generation(
                status_generation
                    .and_then(|generation| u64::try_from(generation).ok())
                    .unwrap_or(0),
            ),
            spec,
        }
    }
}

/// What this process did for an object and the watch or the slice may not show yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    /// What it last wrote into the object.
    pub(crate) synced: Option<Synced>,
    /// A specification that the ledger rejected as invalid, and the reason.
    pub(crate) rejected: Option<(Digest, String)>,
    /// Its copy went with its namespace: an Event says so when it is back.
    pub(crate) evicted: bool,
    /// The index at which the ledger accepted its removal; an older slice does not show the removal.
    pub(crate) decided: u64,
}

/// The slice's row of one workload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) index: u64,
    pub(crate) owned: Option<&'a OwnedWorkload>,
}

impl<'a> View<'a> {
    pub(crate) fn of(slice: &'a Slice, key: &WorkloadKey) -> Self {
        Self {
            index: slice.federation.index,
            owned: slice.workload(key),
        }
    }
}

/// The decision about one workload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Decision {
    /// Nothing to do.
    Settled,
    /// The slice is older than what this process already committed: decide again with a newer slice.
    Wait,
    /// The object, as it is written, cannot become a workload; nothing happens until it changes.
    Invalid { message: String },
    /// The ledger has the workload and this cluster has no object: write a copy.
    Mirror,
    /// Put the finalizer on a new object, so that no deletion is missed.
    Guard,
    /// A user edited the object on top of `base`: propose the edit.
    Put {
        base: Generation,
        spec: Box<WorkloadSpec>,
    },
    /// The ledger is ahead of an unedited object: write the ledger's specification into the object.
    Follow,
    /// The ledger accepted another edit before this user's: write the ledger's specification and publish an Event.
    Overrule { base: Generation },
    /// A user deleted the object, which had this generation: propose the removal.
    Remove { seen: Generation },
    /// The copy goes with its namespace: remove the finalizer, and mirror the workload again when it is gone.
    Evict,
    /// The workload was removed in another cluster: delete the copy.
    Drop,
    /// Nothing is left to clean up: remove the finalizer.
    Release,
}

/// The table. `object` is `None` only if the API server certainly has no such object.
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
        return while_deleting(object, synced, stale, view.owned);
    }
    match (view.owned, synced) {
        (_, Some(synced)) if stale => while_stale(object, synced, memory),
        (None, Some(_)) => Decision::Drop,
        (Some(owned), Some(_)) if owned.removed => Decision::Drop,
        (None | Some(_), _) => match &object.spec {
            Err(error) => Decision::Invalid {
                message: error.to_string(),
            },
            // A new object with the name of a removed workload is another one.
            Ok(spec) => with_spec(
                object,
                synced,
                memory,
                spec,
                view.owned.filter(|it| !it.removed),
            ),
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

/// The slice does not show yet what this cluster committed. A different spec in the object is an edit on top of that.
fn while_stale(object: &Written, synced: Synced, memory: &Memory) -> Decision {
    match &object.spec {
        Ok(spec) if spec.digest() != synced.digest => {
            propose(object, synced.generation, memory, spec)
        }
        Ok(_) | Err(_) => Decision::Wait,
    }
}

fn while_deleting(
    object: &Written,
    synced: Option<Synced>,
    stale: bool,
    owned: Option<&OwnedWorkload>,
) -> Decision {
    let seen = synced.map_or(Generation(0), |synced| synced.generation);
    match owned {
        _ if !object.guarded => Decision::Settled,
        _ if object.evicted => Decision::Evict,
        _ if stale => Decision::Remove { seen },
        None => Decision::Release,
        // A copy of an earlier workload of this name.
        Some(owned) if synced.is_some_and(|it| it.generation < owned.born) => Decision::Release,
        Some(owned) if !owned.removed => Decision::Remove { seen },
        Some(owned) => {
            let mut hosts = owned.hosts.values();
            // A host without a lease cannot confirm now; it receives the removal when it attaches again.
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
    let base = synced.map_or(object.status_generation, |synced| synced.generation);
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
    match &memory.rejected {
        Some((digest, message)) if *digest == spec.digest() => Decision::Invalid {
            message: message.clone(),
        },
        _ if !object.guarded => Decision::Guard,
        _ => Decision::Put {
            base,
            spec: Box::new(spec.clone()),
        },
    }
}

#[cfg(test)]
mod tests;
