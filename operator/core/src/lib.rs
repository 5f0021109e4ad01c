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
//! - [`timings`]: how long a lease lasts and how often it is renewed, and what follows from that.
//! - [`lease`]: who is alive, on the leader's clock and on the member's own.
//! - [`schedule`]: what should run where, and [`reason`]: why.
//! - [`quorum`]: who should vote.
//! - [`slice`]: what one member gets to see of it.
//! - [`health`]: how a host's objects are doing.

#![warn(missing_docs)]

pub mod chain;
pub mod command;
pub mod grant;
pub mod health;
pub mod id;
pub mod lease;
pub mod quorum;
pub mod reason;
pub mod schedule;
pub mod slice;
pub mod state;
pub mod timings;
pub mod workload;
