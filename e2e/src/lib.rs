//! Hanse seen from outside: a vocabulary for tests with real control planes, real operators and real faults.
//!
//! | module | what it is |
//! |---|---|
//! | [`Fleet`] | several clusters, each with its operator, and every link between them: the words a story is told in |
//! | [`Workload`] | which workload a story is about |
//! | [`Cluster`] | one real control plane with fake nodes |
//! | [`Operator`] | one operator process |
//! | [`Proxy`] | one link that can fail |
//! | [`View`] | what a cluster's API server says, kept up to date |
//! | [`await_condition`] | the only way to wait |
//! | [`Testbed`] | the binary all control planes are made of; built on first use |
//! | [`Binaries`] | our own programs; built on first use |
//!
//! Nothing here knows what the operator is made of: it is started with its flags, and seen through Kubernetes objects.
//! Needs Go and Rust; neither root nor containers.

mod binaries;
mod cluster;
mod condition;
mod fleet;
mod lock;
mod operator;
mod pki;
mod port;
mod process;
mod progress;
mod proxy;
mod testbed;
mod view;
pub mod workspace;

pub use binaries::{Binaries, BinariesError};
pub use cluster::{Cluster, ClusterError, Component, Nodes};
pub use condition::{ConditionError, await_condition, hold_condition};
pub use fleet::{Fleet, Links, MemberPlan, Shares, Workload};
pub use operator::{Entry, Operator, OperatorFlags};
pub use pki::PkiError;
pub use port::{PortError, free_ports};
pub use process::{Process, ProcessError};
pub use proxy::{Direction, Flow, Proxy};
pub use testbed::{Testbed, TestbedError};
pub use view::View;
