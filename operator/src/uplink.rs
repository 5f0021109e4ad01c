//! What every member runs: one stream to a voter, over which it receives its slice and sends its commands.
//!
//! ```text
//!  propose() ──queue──┐                                   ┌──► slice()     watch of the newest slice
//!  report()  ──watch──┤  one task: attach, then until the │
//!  heartbeat timer ───┴► stream ends: send and receive ───┴──► standing()  attached? lease until when?
//! ```
//!
//! - [`handle`]: the handle that the rest of the operator uses ([`Uplink`]).
//! - [`task`]: the one task that keeps a stream open.
//! - [`attach`]: how a stream is opened, and why one ends.
//! - [`commands`]: the member's commands: numbered, signed, one in flight.
//! - [`questions`]: what it asks, which changes nothing.
//! - [`feed`]: the newest slice, assembled from the updates that streams send.
//! - [`remember`]: stores the end of the lease for the next process.
//! - [`metrics`]: the metrics of this module.
//!
//! Guarantees: commands get the issuer's numbers in the order of `propose`, and one is in flight at a time. A command
//! whose outcome is unknown is sent again, byte for byte, on the next stream; the ledger answers a repetition with the
//! first outcome. The lease counts from *sending* a heartbeat that was acknowledged, so it never ends later than the
//! leader's grant. A slice older than the newest one seen is discarded: it comes from a deposed leader.

mod attach;
mod commands;
mod feed;
mod handle;
mod metrics;
mod questions;
mod remember;
mod task;

pub use attach::{LocalVoter, UplinkSettings};
pub use feed::voters_of;
pub use handle::{AskError, OwnCapacity, Uplink, UplinkGone, UplinkStanding};
pub use metrics::{CommandOutcome, UplinkMetrics};
pub use remember::remember_lease;
pub use task::start;
