//! The ledger: a log of signed commands that a quorum of voters agrees on, and the state that results from it.
//!
//! ```text
//!  propose ──► leader's log ──► followers' logs ──► committed ──► machine: State::apply ──► watch of the applied index
//!              log.redb          over `network`                   state.redb: snapshots       and the outcome, to the proposer
//! ```
//!
//! - [`ledger`]: the handle that other modules use: open, found, read, propose, shut down. [`leadership`]: who leads, and whom
//!   the leader hears.
//! - [`propose`]: how a command gets its outcome, and what holds when no answer arrives.
//! - [`membership`]: carries out what [`hanse_core::quorum`] decides about who votes.
//! - [`engine`], [`runtime`]: the consensus engine's types, named once, and the runtime of its tasks.
//! - [`network`], [`service`], [`wire`]: the calls between voters, their authorization, and their encoding.
//! - [`log_store`], [`state_store`], [`encoding`], [`storage`]: what is on disk; only `storage` accesses the file
//!   system.
//! - [`machine`]: applies committed entries and takes snapshots.
//!
//! Not here: rules (in `hanse_core::state`), leases and plans (of the leader, in `voter`), certificates (in `peer`).
//! The state is in memory and is rebuilt from the newest snapshot and the log entries after it.

pub mod encoding;
pub mod engine;
pub mod leadership;
pub mod ledger;
pub mod log_store;
pub mod machine;
pub mod membership;
pub mod network;
pub mod propose;
pub mod runtime;
pub mod service;
pub mod state_store;
pub mod storage;
pub mod wire;

#[cfg(test)]
mod tests;
