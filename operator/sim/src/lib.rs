//! Whole federations under a deterministic simulator: the real operator, its store, gRPC and TLS, on simulated machines,
//! disks, networks and API servers. One seed decides everything, so a failure is repeated by its seed.
//!
//! ```text
//!  seed ─► faults ─► simulation ─► members: operator, clients ─► network, disk, api ─► cluster
//!                        │                        │
//!                        ▼                        ▼
//!                     oracle ◄──────────────── scene, history
//! ```
//!
//! - [`simulation`]: one run, from the founding to the rest after the last fault.
//! - [`seeded`], [`faults`]: what the seed decides.
//! - [`network`], [`disk`], [`api`]: what an operator is given in place of a machine and a cluster.
//! - [`member`], [`clients`], [`adversary`]: what runs on it. [`cluster`]: what acts on an API server beside an operator.
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
