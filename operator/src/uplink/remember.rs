//! Stores the end of this member's lease at each heartbeat that extends it, for the next process on this machine.

use std::{io, path::PathBuf};

use tokio::time::Instant;
use tracing::warn;

use super::handle::Uplink;
use crate::{environment::Environment, identity::KeptLease};

/// Stores the end of the lease in `directory` whenever it changes. Returns when the uplink ends.
///
/// Beside the uplink, because a slow disk must not hold up heartbeats. An end that is stored late is only an earlier one.
pub async fn remember_lease(uplink: Uplink, directory: PathBuf, environment: Environment) {
    let store = async |ends: Instant| -> io::Result<()> {
        let kept = KeptLease::ending_at(ends, &environment)?;
        kept.write(&directory, &environment).await
    };
    let mut standing = uplink.standing();
    let mut warned = false;
    while standing.changed().await.is_ok() {
        let Some(ends) = standing.borrow_and_update().lease_ends else {
            continue;
        };
        if let Err(error) = store(ends).await
            && !std::mem::replace(&mut warned, true)
        {
            warn!(%error, "cannot store the end of this member's lease; what is `Single` stops at the next restart");
        }
    }
}
