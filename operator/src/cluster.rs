//! The cluster this operator runs in, as every module that talks to its API server sees it.
//!
//! - [`access`]: the client, this member's name and owner, the clock and the source of randomness ([`Cluster`]).
//! - [`call`]: how the API server is called: every call ends within [`CALL_TIMEOUT`].
//! - [`error`], [`status`]: what its answer means: whether a retry can succeed, and the reason in one line ([`CallError`]).
//! - [`answers`]: when the API server last answered.
//! - [`changes`]: that objects of a kind changed.
//! - [`agenda`]: work to be done per key.
//! - [`watched`], [`local`]: the objects of one kind, and Hanse's own kinds, each kept up to date by one watch.

mod access;
pub(crate) mod agenda;
mod answers;
mod call;
mod changes;
mod error;
pub(crate) mod local;
mod status;
pub(crate) mod watched;

pub use access::Cluster;
pub use answers::{Answers, AnswersKept, answers};
pub use call::{CALL_TIMEOUT, bounded};
pub(crate) use call::{applying, creating, merging, optional};
pub(crate) use changes::changes;
pub use error::CallError;
pub use local::Local;
