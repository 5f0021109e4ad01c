//! Every decision Hanse makes: values in, values out.
//!
//! Absent on purpose: IO, clocks, randomness, tasks, Kubernetes clients, the consensus engine. Time is a value passed in.
//!
//! In the order in which data flows:
//!
//! - [`id`]: names, keys and numbers.
//! - [`workload`], [`grant`]: what owners want, and what hosts consent to.
//! - [`command`]: what can be asked of the ledger, signed.
//! - [`chain`], [`state`]: the ledger: what was asked, and what holds since.
//! - [`lease`]: who is alive, on the leader's clock and on the member's own.
//! - [`schedule`]: what should run where.
//! - [`slice`]: what one member gets to see of it.
//! - [`health`]: how a host's objects are doing.
//! - [`invariants`]: what must hold after every step.

pub mod chain;
pub mod command;
pub mod grant;
pub mod health;
pub mod id;
pub mod lease;
pub mod quorum;
pub mod schedule;
pub mod slice;
pub mod state;
pub mod summary;
pub mod workload;
