//! Step 5 of the flow: what was placed on this member becomes objects in its cluster.
//!
//! ```text
//!  slice, terms, lease, watches of what was applied ──mark──► agenda ──► one round per workload, at most 16 at once:
//!
//!    Dereferenced ─► Verified ─► Built ─► Applied ─► Pruned ─► report
//!      (known)        (pure)    (pure)     (IO)       (IO)
//!    removals only by a row of the slice: remove (IO) ─► confirm
//! ```
//!
//! Each step takes what the step before has made, and nothing else makes it: none can be skipped.
//!
//! - [`host`]: the rounds. [`follow`]: what marks a workload for one.
//! - [`verify`], [`build`], [`apply`], [`remove`]: the steps.
//! - [`inventory`]: what was applied here, in the API server. [`live`]: how it is doing, from watches.
//! - [`objects`], [`namespace`], [`object_id`], [`marks`]: how objects are reached, and told apart from those of others.
//! - [`metrics`]: what is measured here.
//!
//! Guarantees. Nothing is changed before the first slice of this process has arrived and this cluster's own terms are
//! known. An epoch lower than the last one applied is refused. An object is deleted only if the inventory says that it
//! was applied here for this workload, and only by a committed removal or because a newer specification left it out; a
//! placement that is merely no longer in view stays. A `Single` workload is scaled to zero when the own lease ends, by a
//! timer that needs no network.

mod apply;
mod build;
#[cfg(test)]
mod fixture;
mod follow;
mod host;
mod inventory;
mod live;
mod marks;
mod metrics;
mod namespace;
mod object_id;
mod objects;
mod remove;
mod verify;

pub use follow::run;
pub use metrics::RealizeMetrics;
