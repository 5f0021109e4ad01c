//! All IO of Hanse, in modules in the order in which data flows. `run` wires them on one page; nothing here decides.
//!
//! - [`settings`], [`identity`], [`enter`]: what this operator is told, what it is, and how it became that.
//! - [`peer`]: how operators reach one another.
//! - [`replicate`]: the ledger, this member's seat in it and its way to it.
//! - [`plan`]: the leader's loop.
//! - [`assign`]: members' streams on the voters' side.
//! - [`cluster`], [`local`]: the API server of the cluster this operator runs in.
//! - [`observe`]: what owners write there becomes commands.
//! - [`realize`]: what was placed here becomes objects.
//! - [`report`]: what became of it becomes status.
//! - [`admin`], [`metrics`], [`telemetry`]: for whoever looks after it.

pub mod admin;
mod agenda;
pub mod assign;
pub mod cluster;
pub mod enter;
pub mod identity;
pub mod invitation;
pub mod local;
pub mod metrics;
pub mod notify;
pub mod observe;
pub mod peer;
pub mod plan;
pub mod realize;
pub mod replicate;
pub mod report;
pub mod run;
pub mod settings;
pub mod telemetry;
pub mod watched;
