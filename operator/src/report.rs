//! Step 6 of the flow: what the federation decided and what became of it, as status that people read.
//!
//! | object | says |
//! |---|---|
//! | `Federation` `hanse` | leader, quorum, voters, height and head of the ledger, this member's part |
//! | `Member` of each member | its lease and role; rows of other clusters are mirrored here |
//! | `HostingPolicy`s of this cluster | whether the federation plans with it, who uses which grant |
//! | `FederatedWorkload`s of this owner | is it safe, where is it, why |
//!
//! Level-triggered: on every change of the slice, of the way to the federation or of a local object, what should stand
//! there is computed anew and written where it differs. Writes are server-side apply of the status alone, so that a field
//! no longer said goes away. While there is no way to a quorum the last known rows stay and the conditions say so.
//!
//! - [`reporter`]: when it looks, and the writes. [`standing`]: whether this member is attached and the quorum answers.
//! - [`federation`], [`member`], [`policy`], [`workload`], [`conditions`]: what is written, as pure functions.
//! - [`number`]: numbers of the ledger as the API has them.

mod conditions;
mod federation;
mod member;
mod number;
mod policy;
mod reporter;
mod standing;
mod workload;

pub use reporter::{Reported, run};
