//! What a voter runs: its seat in the quorum, the sessions of the members attached to it, and, on the leader, the
//! decisions which leases are held and what runs where.
//!
//! ```text
//!  seat ──starts──► sessions ──one per stream──► session ─┐ heartbeats, reports      ┌─► Assign, ExpireLeases, …
//!     └───starts──► leader ◄──────── leader_state ◄───────┘                leader ───┘
//! ```
//!
//! - [`seat`]: opens this member's replica of the ledger and runs the modules below. [`founding`]: the first entries of a
//!   federation.
//! - [`sessions`], [`session`]: which members may attach, relaying to the leader, and one member's stream on the
//!   leader.
//! - [`leader`]: the leader's loop, and [`term`], what it decides in one term: expire, renew, fence, plan.
//! - [`leader_state`]: deadlines and standings: soft state that the loop and the sessions share and that ends with a
//!   term.
//! - [`metrics`]: the metrics of this module.

mod founding;
mod leader;
mod leader_state;
mod metrics;
mod pace;
mod seat;
mod session;
mod sessions;
mod term;

pub use metrics::VoterMetrics;
pub use seat::SeatKeeper;
