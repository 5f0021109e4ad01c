//! A disk on which no database can be opened until there is room.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::future::BoxFuture;
use hanse_operator::environment::{Directory, Disk, FileSystem};
use redb::{Builder, Database, DatabaseError, StorageError};
use tokio::sync::watch;

/// The local file system, full or not.
#[derive(Debug, Clone)]
pub(crate) struct FullDisk {
    /// How often a database was not opened; `None` once there is room.
    refused: Arc<watch::Sender<Option<u32>>>,
}

impl FullDisk {
    pub(crate) fn new() -> Self {
        let refused = Arc::new(watch::Sender::new(Some(0)));
        Self { refused }
    }

    /// From now on no database can be opened. Those that are open stay so.
    pub(crate) fn fill(&self) {
        self.refused.send_replace(Some(0));
    }

    /// Waits until it has refused so often.
    pub(crate) async fn has_refused(&self, times: u32) {
        let mut refused = self.refused.subscribe();
        let often = |refused: &Option<u32>| refused.is_some_and(|refused| refused >= times);
        refused
            .wait_for(often)
            .await
            .expect("the disk has the sender");
    }

    pub(crate) fn make_room(&self) {
        self.refused.send_replace(None);
    }
}

impl Disk for FullDisk {
    fn directory(&self, path: PathBuf) -> Arc<dyn Directory> {
        Arc::new(FullDirectory {
            disk: self.clone(),
            directory: FileSystem.directory(path),
        })
    }

    fn replace(&self, path: PathBuf, content: Vec<u8>) -> BoxFuture<'static, io::Result<()>> {
        FileSystem.replace(path, content)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        FileSystem.read(path)
    }
}

#[derive(Debug)]
struct FullDirectory {
    disk: FullDisk,
    directory: Arc<dyn Directory>,
}

impl Directory for FullDirectory {
    fn open(&self, name: &str, builder: &Builder) -> Result<Database, DatabaseError> {
        let mut is_full = false;
        self.disk.refused.send_if_modified(|refused| {
            is_full = refused.is_some();
            *refused = refused.map(|refused| refused + 1);
            is_full
        });
        if is_full {
            let full = io::Error::from(io::ErrorKind::StorageFull);
            return Err(DatabaseError::Storage(StorageError::Io(full)));
        }
        self.directory.open(name, builder)
    }

    fn names(&self) -> io::Result<Vec<String>> {
        self.directory.names()
    }
}
