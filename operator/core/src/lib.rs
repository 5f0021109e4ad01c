//! Every decision of Hanse, as functions from values to values.
//!
//! Absent on purpose: IO, clocks, randomness, tasks, Kubernetes clients, the consensus engine. Time is a value passed in.
//!
//! In the order in which data flows:
//!
//! - [`id`]: names, keys and numbers.
//! - [`description`]: what a member may say about itself.
//! - [`selector`], [`jurisdiction`], [`domain`]: members by their labels and taints, by whose law holds there, by what fails together.
//! - [`expression`]: expressions of users over JSON values.
//! - [`capacity`]: how much a member can still run, and what a pod asks for.
//! - [`workload`], [`grant`]: what owners ask for, and what hosts permit.
//! - [`command`]: what can be asked of the ledger, signed.
//! - [`chain`], [`state`]: the ledger: what was asked, and what holds since.
//! - [`level`]: what builds of different age have in common, and [`strict`]: reading without skipping anything.
//! - [`per_host`]: a table of workloads and hosts, whose copies cost nothing.
//! - [`timings`]: how long a lease lasts and how often it is renewed, and what follows from that.
//! - [`lease`]: who is alive, on the leader's clock and on the member's own.
//! - [`suspicion`]: who is silent for longer than usual, which is not yet lost.
//! - [`schedule`]: what should run where, and [`reason`]: why.
//! - [`inquiry`]: what a member may ask about it.
//! - [`quorum`]: who should vote.
//! - [`slice`]: the part of it that one member receives.
//! - [`health`]: how a host's objects are doing.
//! - [`invariants`]: what holds of the ledger whatever happens, and [`mutation`]: what shows that a breach is noticed.

#![warn(missing_docs)]

pub mod capacity;
pub mod chain;
pub mod command;
pub mod description;
pub mod domain;
pub mod expression;
pub mod grant;
pub mod health;
pub mod id;
pub mod inquiry;
pub mod invariants;
pub mod jurisdiction;
pub mod lease;
pub mod level;
pub mod mutation;
pub mod per_host;
pub mod quorum;
pub mod reason;
pub mod schedule;
pub mod selector;
mod shared;
pub mod slice;
pub mod state;
pub mod strict;
pub mod suspicion;
pub mod timings;
pub mod workload;
