//! All IO of Hanse. Nothing here decides; decisions are in [`hanse_core`].
//!
//! The modules are in the order in which they may import one another: each only from those before it, which
//! `tests/imports.rs` checks. `run` wires them on one page.
//!
//! - [`peer`], [`identity`]: pinned TLS between operators; this member's key and what it remembers.
//! - [`environment`], [`invitation`], [`settings`]: what an operator has of the world, and what it is told.
//! - [`cluster`]: the API server of the cluster this operator runs in.
//! - [`replicate`]: the ledger, and nothing else.
//! - [`uplink`]: what every member does: one stream to a voter, its slice, its commands.
//! - [`voter`]: what a voter and the leader do: seat, sessions, leases, planning.
//! - [`observe`]: what owners write in the local cluster becomes commands.
//! - [`realize`]: what was placed here becomes objects.
//! - [`report`]: what became of it becomes status.
//! - [`ops`]: probes, metrics, the log, notices.
//! - [`enter`], [`run`]: how a cluster comes to be a member, and the wiring.

pub mod cluster;
pub mod enter;
pub mod environment;
pub mod identity;
pub mod invitation;
pub mod observe;
pub mod ops;
pub mod peer;
pub mod realize;
pub mod replicate;
pub mod report;
pub mod run;
pub mod settings;
pub mod uplink;
pub mod voter;
