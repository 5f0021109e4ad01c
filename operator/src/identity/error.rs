//! Errors of the files that hold the identity of this member.

use std::{io, path::PathBuf};

/// Why the key or the membership of this member cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("failed to read {}: check that it exists and belongs to the operator's user", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to write {}: check that the data directory is writable and not full", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "{} is readable by others (mode {mode:o}): run `chmod 600` on it, and remove the member if someone may have copied the key",
        path.display()
    )]
    TooOpen { path: PathBuf, mode: u32 },
    #[error(
        "{} is not a member key of this version: restore it from a backup, or empty the data directory to join as a new member",
        path.display()
    )]
    MalformedKey { path: PathBuf },
    #[error(
        "{} is not a membership: restore it from a backup, or empty the data directory to join as a new member",
        path.display()
    )]
    MalformedMembership {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error(
        "{} has format version {found}, this operator reads version {known}: run the newer operator again",
        path.display()
    )]
    UnknownVersion {
        path: PathBuf,
        found: u64,
        known: u64,
    },
}
