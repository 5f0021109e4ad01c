//! The end of this member's lease, for the next process on the same machine.
//!
//! It is stored on the clock of the machine, which no process restart and no setting of the wall clock changes. A machine
//! that was restarted has another boot id, and then the lease is over: nothing of an earlier boot runs any more.

use std::{io, path::Path, time::Duration};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::environment::Environment;

/// The file in the data directory.
const FILE: &str = "lease.json";

/// When a lease ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeptLease {
    boot: String,
    /// On the clock of that boot, which also counts while the machine is suspended.
    ends_ms: u64,
}

impl KeptLease {
    /// A lease that ends at `ends`, on this machine. An error if the machine does not tell its boot.
    pub fn ending_at(ends: Instant, machine: &Environment) -> io::Result<Self> {
        // In this order the stored end is early, not late, if this process stands still between the two clocks.
        let ends = (machine.boot.since)() + ends.saturating_duration_since(Instant::now());
        Ok(Self {
            boot: (machine.boot.id)()?,
            ends_ms: u64::try_from(ends.as_millis()).unwrap_or(0),
        })
    }

    /// When the lease stored in `directory` ends; `None` if it is over, or if none of this boot can be read.
    #[must_use]
    pub fn end(directory: &Path, machine: &Environment) -> Option<Instant> {
        // Before the other clock is read, for the same reason.
        let now = Instant::now();
        let text = machine.disk.read(&directory.join(FILE)).ok()?;
        let kept: Self = serde_json::from_slice(&text).ok()?;
        let same_boot = (machine.boot.id)().is_ok_and(|boot| boot == kept.boot);
        let left = Duration::from_millis(kept.ends_ms).checked_sub((machine.boot.since)());
        left.filter(|left| same_boot && !left.is_zero())
            .map(|left| now + left)
    }

    /// Stores it in `directory`, in place of the previous one. It need not survive the machine, so nothing is synced.
    pub async fn write(&self, directory: &Path, machine: &Environment) -> io::Result<()> {
        let content = serde_json::to_vec(self)?;
        machine.disk.replace(directory.join(FILE), content).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::TcpNetwork;

    const LEASE: Duration = Duration::from_secs(500);

    fn machine() -> Environment {
        Environment::of_this_machine(TcpNetwork::default(), None)
    }

    fn end(directory: &Path) -> Option<Instant> {
        KeptLease::end(directory, &machine())
    }

    #[tokio::test]
    async fn a_lease_is_read_back_with_its_end_or_a_moment_before() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(end(directory.path()), None);
        let ends = Instant::now() + LEASE;
        let kept = KeptLease::ending_at(ends, &machine()).unwrap();
        kept.write(directory.path(), &machine()).await.unwrap();
        let read = end(directory.path()).unwrap();
        assert!(read <= ends && read > ends.checked_sub(LEASE / 2).unwrap());
    }

    #[tokio::test]
    async fn a_lease_that_is_over_or_of_another_boot_or_unreadable_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let kept = KeptLease::ending_at(Instant::now() + LEASE, &machine()).unwrap();
        let is_none = async |kept: &KeptLease| {
            kept.write(directory.path(), &machine()).await.unwrap();
            end(directory.path()).is_none()
        };
        assert!(!is_none(&kept).await);
        let over = KeptLease {
            ends_ms: 0,
            ..kept.clone()
        };
        assert!(is_none(&over).await);
        let of_another_boot = KeptLease {
            boot: "another".into(),
            ..kept
        };
        assert!(is_none(&of_another_boot).await);
        std::fs::write(directory.path().join(FILE), "{\"boot\":").unwrap();
        assert_eq!(end(directory.path()), None);
    }
}
