//! The ledger: a log of signed commands that a quorum of voters agrees on, and the state it adds up to.
//!
//! ```text
//!  propose ──► leader's log ──► followers' logs ──► committed ──► machine: State::apply ──► watch of the applied index
//!              log.redb          over `network`                   state.redb: snapshots       and the outcome, to the proposer
//! ```
//!
//! - [`ledger`]: the handle everyone else holds: open, found, read, propose, shut down.
//! - [`propose`]: how a command gets its outcome, and what an answer that fails to come means.
//! - [`membership`]: carries out what [`hanse_core::quorum`] decides about who votes.
//! - [`engine`]: the consensus engine's types, named once.
//! - [`network`], [`service`], [`wire`]: what voters say to one another, who may say it, and how it is written.
//! - [`log_store`], [`state_store`], [`encoding`], [`storage`]: what is on disk; the file system is touched in `storage` only.
//! - [`machine`]: applies committed entries and takes snapshots.
//!
//! Absent on purpose: rules (they are in `hanse_core::state`), leases and plans (the leader's, in `voter`), certificates
//! (in `peer`). The state lives in memory and is rebuilt from the newest snapshot and the log behind it.

pub mod encoding;
pub mod engine;
pub mod ledger;
pub mod log_store;
pub mod machine;
pub mod membership;
pub mod network;
pub mod propose;
pub mod service;
pub mod state_store;
pub mod storage;
pub mod wire;

#[cfg(test)]
mod tests;
