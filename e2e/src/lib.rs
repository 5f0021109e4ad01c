//! Black-box tests of Hanse: what a test needs to start real control planes and operators and to cause real faults.
//!
//! | module | what it is |
//! |---|---|
//! | [`Fleet`] | several clusters, each with its operator, and every link between them |
//! | [`Workload`] | the key of a workload: owner, namespace and name |
//! | [`Cluster`] | one real control plane with fake nodes |
//! | [`Operator`] | one operator process |
//! | [`Proxy`] | one link that can fail |
//! | [`View`] | a cluster's objects, kept up to date by watches |
//! | [`yaml`] | manifests as a user writes them |
//! | [`await_condition`] | the only way to wait |
//! | [`Testbed`] | the binary with all programs of a control plane; built on first use |
//! | [`Binaries`] | our own programs; built on first use |
//!
//! Nothing here depends on the operator's code. The operator is started with its flags and observed through Kubernetes
//! objects. The tests need Go and Rust; they need neither root nor containers.

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
pub mod yaml;

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
