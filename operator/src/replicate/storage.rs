//! The one place where the ledger touches a file system.
//!
//! A [`Disk`] gives out databases by file name: [`Directory`] for real, anything else for a simulation that loses what
//! was not synced. Every commit is flushed to the medium before it returns; two-phase commit is on, because the
//! alternative trusts a checksum that whoever chooses the bytes and the moment of a crash can forge.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{PoisonError, RwLock},
};

use redb::{
    Builder, Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase as _,
    WriteTransaction,
};
use tokio::runtime::{Handle, RuntimeFlavor};

/// Pages kept in memory per file: the tail of the log that followers still ask for. The state is in memory anyway.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

/// Where databases are.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Opens the database `name` with the settings in `builder`, creating it if there is none.
    fn open(&self, name: &str, builder: &Builder) -> Result<Database, DatabaseError>;
}

/// A directory of the local file system, created if there is none.
#[derive(Debug, Clone)]
pub struct Directory(pub PathBuf);

impl Disk for Directory {
    fn open(&self, name: &str, builder: &Builder) -> Result<Database, DatabaseError> {
        let io = |error: io::Error| DatabaseError::Storage(redb::StorageError::from(error));
        std::fs::create_dir_all(&self.0).map_err(io)?;
        let database = builder.create(self.0.join(name))?;
        // A new file is only safe once its name is: a voter that lost its log to a power cut would vote twice.
        std::fs::File::open(&self.0)
            .and_then(|directory| directory.sync_all())
            .map_err(io)?;
        Ok(database)
    }
}

/// One open database, until it is closed: a file belongs to one process, and to one opening in it.
#[derive(Debug)]
pub(super) struct Store(RwLock<Option<Database>>);

impl Store {
    /// Opens the database `name` on `disk`.
    pub(super) fn open(disk: &dyn Disk, name: &str) -> Result<Self, DatabaseError> {
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        disk.open(name, &builder)
            .map(|database| Self(RwLock::new(Some(database))))
    }

    /// Runs `work` in one transaction, which is on the medium when this returns.
    pub(super) fn commit<T>(
        &self,
        work: impl FnOnce(&WriteTransaction) -> Result<T, io::Error>,
    ) -> Result<T, io::Error> {
        blocking(|| {
            let guard = self.0.read().unwrap_or_else(PoisonError::into_inner);
            let database = guard.as_ref().ok_or_else(closed)?;
            let mut transaction = database.begin_write().map_err(failed)?;
            transaction
                .set_durability(Durability::Immediate)
                .map_err(failed)?;
            transaction.set_two_phase_commit(true);
            let result = work(&transaction)?;
            transaction.commit().map_err(failed)?;
            Ok(result)
        })
    }

    /// Runs `work` on what was committed last.
    pub(super) fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> Result<T, io::Error>,
    ) -> Result<T, io::Error> {
        let guard = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let database = guard.as_ref().ok_or_else(closed)?;
        work(&database.begin_read().map_err(failed)?)
    }

    /// Gives the file back once what is under way is done. Everything after that fails.
    pub(super) fn close(&self) {
        let mut guard = self.0.write().unwrap_or_else(PoisonError::into_inner);
        drop(guard.take());
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the ledger was shut down")
}

/// Runs `work`, which waits for the disk.
///
/// A commit takes milliseconds and must not be overtaken by the next one, so it is not sent to another task: the worker
/// that runs it hands its other tasks away for as long. On a runtime of one thread, which is what a simulator uses, it
/// simply runs: no thread appears that the simulator could not schedule.
pub(super) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    match Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        Ok(_) | Err(_) => work(),
    }
}

/// A failure of the database as the engine wants it.
pub(super) fn failed(error: impl Into<redb::Error>) -> io::Error {
    match error.into() {
        redb::Error::Io(error) => error,
        error => io::Error::other(error),
    }
}
