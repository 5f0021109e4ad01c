//! Step 5 of the flow: placements on this member become objects in its cluster.
//!
//! ```text
//!  slice, terms, lease, watches of what was applied ──mark──► agenda ──► one round per workload, at most 16 at once:
//!
//!    Dereferenced ─► Verified ─► Built ─► Applied ─► report
//!      (cache)        (pure)    (pure)     (IO)
//!    removals only by a row of the slice: remove (IO) ─► confirm
//! ```
//!
//! The input of each step is a type that only the step before produces, so no step can be skipped.
//!
//! - [`round`]: the rounds. [`host`]: what they share. [`follow`], [`waits`]: the events that mark a workload for a round.
//! - [`verify`], [`build`], [`apply`], [`remove`]: the steps; [`admit`] is the part of applying that decides whose an object is.
//! - [`inventory`]: what was applied here, kept in the API server. [`record`]: what this process applied. [`live`]: the state
//!   of those objects, from watches.
//! - [`objects`], [`namespace`], [`object_id`]: access to objects. [`marks`], [`owned`]: what in an object is Hanse's.
//!   [`used`]: what others would lose with an object.
//! - [`marked`]: what is here although no inventory names it.
//! - [`stop`]: stops `Single` workloads while this member's lease is over, beside the rounds and before the first slice.
//! - [`pods`]: what the pods of a workload say that is not ready.
//! - [`metrics`]: the metrics of this module.
//!
//! Guarantees. Nothing is applied or removed before this process has received its first slice and has read this cluster's
//! own terms. An epoch lower than the last one applied is refused. An object is deleted only if the inventory names it as
//! applied here for this workload, and only because of a committed removal or because a newer specification no longer
//! contains it; a Namespace or a definition only if nothing of others goes with it. A placement that is only missing from
//! the slice stays. A `Single` workload is stopped when this member's lease ends, by a timer that needs no other member.

mod admit;
mod apply;
mod build;
#[cfg(test)]
mod fixture;
mod follow;
mod host;
mod inventory;
mod live;
mod marked;
mod marks;
mod metrics;
mod namespace;
mod object_id;
mod objects;
mod owned;
mod pods;
mod record;
mod remove;
mod round;
mod stop;
mod used;
mod verify;
mod waits;

pub use follow::run;
pub use metrics::RealizeMetrics;
