//! The cluster this operator runs in, as every module that talks to its API server sees it.
//!
//! - [`access`]: the client, this member's name and owner, the clock and the source of randomness ([`Cluster`]).
//! - [`call`]: how the API server is called: every call ends within [`CALL_TIMEOUT`], and the error tells whether a
//!   retry can succeed ([`CallError`]).
//! - [`answers`]: when the API server last answered.
//! - [`agenda`]: work to be done per key.
//! - [`watched`], [`local`]: the objects of one kind, and Hanse's own kinds, each kept up to date by one watch.

mod access;
pub(crate) mod agenda;
mod answers;
mod call;
pub(crate) mod local;
pub(crate) mod watched;

pub use access::Cluster;
pub use answers::{Answers, AnswersKept, answers};
pub use call::{CALL_TIMEOUT, CallError, bounded};
pub(crate) use call::{applying, creating, merging, optional};
pub use local::Local;
