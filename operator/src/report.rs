//! Step 6 of the flow: writes the federation's decisions and their results into the status of objects, for people.
//!
//! | object | status |
//! |---|---|
//! | `Federation` `hanse` | leader, quorum, voters, height and head of the ledger, this member's role |
//! | `Member` of each member | its lease and role; rows of other clusters are mirrored here |
//! | `HostingPolicy`s of this cluster | whether the federation plans with it, which workloads use which grant |
//! | `FederatedWorkload`s of this owner | whether it is ready and survives a loss, where it is placed, and why |
//!
//! Level-triggered: on every change of the slice, of the attachment or of a local object, each status is computed anew
//! and written if it differs. Writes are server-side apply of the status alone, so that a field that is no longer
//! written is removed. While no leader with a quorum answers, the last known rows stay and the conditions report the
//! lost quorum.
//!
//! - [`reporter`]: the loop and the writes. [`standing`]: whether this member is attached and the quorum answers.
//! - [`federation`], [`member`], [`policy`], [`workload`], [`conditions`]: the status of each object, as pure
//!   functions. [`grants`]: how the grants that the policies' status lists stand.
//! - [`refused`]: objects that the API server refuses to hold. [`number`]: numbers of the ledger in the API's types.

mod conditions;
mod federation;
mod grants;
mod member;
mod number;
mod policy;
mod refused;
mod reporter;
mod shown;
mod standing;
mod workload;

pub use reporter::{Reported, run};
