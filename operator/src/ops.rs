//! Operations: what the people and systems that run an operator use.
//!
//! - [`admin`]: probes and metrics over HTTP. [`readiness`]: whether the operator is ready, and what it waits for.
//! - [`metrics`]: the metrics of the whole operator.
//! - [`telemetry`]: the log.
//! - [`notify`]: failovers as Events and as calls to a webhook.

pub mod admin;
pub mod metrics;
mod news;
pub mod notify;
pub mod readiness;
pub mod telemetry;
