//! Whole federations under a deterministic simulator: the real operator, its store, gRPC and TLS, on simulated machines,
//! disks and networks. One seed decides everything, so a failure is repeated by its seed.
//!
//! ```text
//!  seed ─► faults ─► simulation ─► members: operator, cluster, clients ─► network, disk
//!                        │                        │
//!                        ▼                        ▼
//!                     oracle ◄──────────────── scene, history
//! ```
//!
//! - [`simulation`]: one run, from the founding to the rest after the last fault.
//! - [`seeded`], [`faults`]: what the seed decides.
//! - [`network`], [`disk`]: what an operator is given in place of a machine.
//! - [`member`], [`cluster`], [`clients`], [`adversary`]: what runs on it.
//! - [`scene`], [`history`], [`oracle`], [`rest`]: what is seen from outside, and whether it may be.

pub mod adversary;
pub mod api;
pub mod clients;
pub mod cluster;
pub mod disk;
pub mod faults;
pub mod history;
pub mod member;
pub mod network;
pub mod oracle;
pub mod rest;
pub mod scene;
pub mod seeded;
pub mod simulation;
