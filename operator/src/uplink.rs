//! What every member does: one stream to a voter, its slice, its commands.
//!
//! ```text
//!  propose() ──queue──┐                                   ┌──► slice()     watch of the newest slice
//!  report()  ──watch──┤  one task: attach, then until the │
//!  heartbeat timer ───┴► stream ends: send and receive ───┴──► standing()  attached? lease until when?
//! ```
//!
//! - [`handle`]: what the rest of the operator holds ([`Uplink`]).
//! - [`task`]: the one task that keeps a stream.
//! - [`attach`]: how a stream is opened, and why one ends.
//! - [`commands`]: the member's commands: numbered, signed, one in flight.
//! - [`feed`]: the newest slice, put together from what streams send.
//! - [`metrics`]: what is counted here.
//!
//! Guarantees: commands get the issuer's numbers in the order of `propose`, one in flight; one whose outcome is unknown
//! is sent again, byte for byte, on the next stream, and the ledger answers a repetition with the first outcome. The
//! lease counts from *sending* a heartbeat that was acknowledged, so it never outlasts what the leader grants. A slice
//! older than the newest one seen is refused: it comes from a leader that was deposed.

mod attach;
mod commands;
mod feed;
mod handle;
mod metrics;
mod task;

pub use attach::{LocalVoter, UplinkSettings};
pub use feed::voters_of;
pub use handle::{Uplink, UplinkGone, UplinkStanding};
pub use metrics::{CommandOutcome, UplinkMetrics};
pub use task::start;
