//! For whoever looks after an operator.
//!
//! - [`admin`]: probes and metrics over HTTP. [`readiness`]: when the operator is ready, and what it waits for.
//! - [`metrics`]: the numbers.
//! - [`telemetry`]: the log.
//! - [`notify`]: failovers as Events and as calls to a webhook.

pub mod admin;
pub mod metrics;
pub mod notify;
pub mod readiness;
pub mod telemetry;
