//! One database and its transactions. Only this module of the ledger waits for a disk.
//!
//! A [`Directory`] opens databases by file name: from a directory of files on a machine, or from a simulated disk that
//! loses unsynced writes. Every commit is flushed to stable storage before it returns. Two-phase commit is on: the
//! alternative relies on a checksum that an attacker who controls the bytes and the moment of a crash can forge.

use std::io;

use hanse_core::mutation::{Mutation, is_on};
use parking_lot::RwLock;
use redb::{
    Builder, Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase as _,
    WriteTransaction,
};
use tokio::runtime::{Handle, RuntimeFlavor};

use crate::environment::Directory;

/// Pages kept in memory per file: the end of the log, which followers still need. The state is in memory anyway.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// One open database, until it is closed: a file can be open once, in one process.
#[derive(Debug)]
pub(super) struct Store(RwLock<Option<Database>>);

impl Store {
    /// Opens the database `name` in `directory`.
    pub(super) fn open(directory: &dyn Directory, name: &str) -> Result<Self, DatabaseError> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        directory
            .open(name, &builder)
            .map(|database| Self(RwLock::new(Some(database))))
    }

    /// Runs `work` in one transaction, which is on stable storage when this returns.
    pub(super) fn commit<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, io::Error>,
    ) -> Result<T, io::Error> {
        blocking(|| {
            let guard = self.0.read();
            let database = guard.as_ref().ok_or_else(closed)?;
            let mut transaction = database.begin_write().map_err(failed)?;
            let durability = if is_on(Mutation::Sync) {
                Durability::None
            } else {
                Durability::Immediate
            };
            transaction.set_durability(durability).map_err(failed)?;
            transaction.set_two_phase_commit(true);
            let result = work(&transaction)?;
            transaction.commit().map_err(failed)?;
            Ok(result)
        })
    }

    /// Runs `work` on the last committed data.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, io::Error>,
    ) -> Result<T, io::Error> {
        let guard = self.0.read();
        let database = guard.as_ref().ok_or_else(closed)?;
        work(&database.begin_read().map_err(failed)?)
    }

    /// Closes the file when the transactions under way are done. Every later call fails.
    pub(super) fn close(&self) {
        let mut guard = self.0.write();
        drop(guard.take());
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the ledger was shut down")
}

/// Runs `work`, which waits for the disk.
///
/// A commit takes milliseconds and the next one must not overtake it, so it is not sent to another task: the worker
/// thread moves its other tasks to other workers meanwhile. A simulator uses a runtime of one thread: there `work` runs
/// directly, and no thread is started that the simulator could not schedule.
pub(super) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        Ok(_) | Err(_) => work(),
    }
}

/// A failure of the database as an error of the engine.
pub(super) fn failed(error: impl Into<redb::Error>) -> io::Error {
    match error.into() {
        redb::Error::Io(error) => error,
        error => io::Error::other(error),
    }
}
