//! All IO of Hanse. Decisions are not made here but in [`hanse_core`].
//!
//! The modules are listed in import order: each imports only from those before it, which `tests/imports.rs` checks.
//! `run` connects them.
//!
//! - [`peer`]: pinned TLS between operators.
//! - [`environment`]: the operator's access to its machine.
//! - [`identity`]: this member's key, and its stored membership and lease.
//! - [`invitation`], [`settings`]: its configuration.
//! - [`cluster`]: the API server of the cluster this operator runs in.
//! - [`replicate`]: the ledger, and nothing else.
//! - [`uplink`]: what every member runs: one stream to a voter, its slice, its commands.
//! - [`voter`]: what a voter and the leader run: seat, sessions, leases, planning.
//! - [`observe`]: objects that owners write in the local cluster become commands.
//! - [`realize`]: placements on this member become objects.
//! - [`report`]: decisions and their results become status.
//! - [`ops`]: probes, metrics, the log, notifications.
//! - [`enter`], [`run`]: how a cluster becomes a member, and how the modules are connected.

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
