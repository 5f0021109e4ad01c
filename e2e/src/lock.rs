//! Locks between processes: tests run in several processes and share builds, ports and the machine's two cores.

use std::{
    fs::{self, File},
    io,
    path::Path,
    time::Duration,
};

use anyhow::anyhow;

use crate::condition::await_condition;

/// Longer than the longest work under a lock: the first build of the control plane on a slow machine.
const PATIENCE: Duration = Duration::from_hours(1);

/// A lock on a file. The kernel releases it when this is dropped or when the process ends, for whatever reason.
#[derive(Debug)]
pub(crate) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Waits for the lock on `path`.
    pub(crate) async fn acquire(path: &Path) -> io::Result<Self> {
        Self::acquire_any(std::slice::from_ref(&path)).await
    }

    /// Waits for the lock on whichever of `paths` is free first: a semaphore with as many permits as paths.
    pub(crate) async fn acquire_any(paths: &[&Path]) -> io::Result<Self> {
        let files = paths
            .iter()
            .map(|path| open(path))
            .collect::<io::Result<Vec<_>>>()?;
        let free = await_condition("another process releases a lock", PATIENCE, async || {
            files
                .iter()
                .position(|file| matches!(file.try_lock(), Ok(())))
                .ok_or_else(|| anyhow!("{paths:?} are locked"))
        })
        .await
        .map_err(|never| io::Error::new(io::ErrorKind::TimedOut, never))?;
        let file = files.into_iter().nth(free).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { _file: file })
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(path)
}
