//! The newest snapshot on disk (`state.redb`). It is a separate file, so that writing a snapshot never delays the log.

use std::{io, sync::Arc};

use bytes::Bytes;
use redb::{ReadableTable as _, TableDefinition};

use super::{
    encoding,
    engine::{Snapshot, SnapshotMeta},
    storage::{Store, failed},
};
use crate::environment::Directory;

/// The file.
const FILE: &str = "state.redb";

const SNAPSHOT: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("snapshot");

const META: &str = "meta";
const STATE: &str = "state";

/// Why the snapshots cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenStateError {
    #[error("failed to open the snapshots")]
    Open(#[source] redb::DatabaseError),
    #[error("failed to read the newest snapshot")]
    Read(#[source] io::Error),
    #[error("this replica had snapshots, and they are gone")]
    Lost,
}

/// The newest snapshot. Clones share it.
#[derive(Debug, Clone)]
pub struct StateStore {
    store: Arc<Store>,
}

impl StateStore {
    /// Opens the snapshots. A file that does not exist is created only for a replica that `is_new`: of any other the log
    /// may begin where they ended.
    pub fn open(directory: &dyn Directory, is_new: bool) -> Result<Self, OpenStateError> {
        let names = directory.names().map_err(OpenStateError::Read)?;
        if !is_new && !names.iter().any(|name| name == FILE) {
            return Err(OpenStateError::Lost);
        }
        let store = Store::open(directory, FILE).map_err(OpenStateError::Open)?;
        store
            .commit(|transaction| {
                transaction.open_table(SNAPSHOT).map_err(failed)?;
                Ok(())
            })
            .map_err(OpenStateError::Read)?;
        Ok(Self {
            store: Arc::new(store),
        })
    }

    /// Closes the file. Every later call fails.
    pub fn close(&self) {
        self.store.close();
    }

    /// Stores this snapshot unless the stored one is newer: a snapshot taken here may finish after one has arrived from
    /// the leader, and the log is purged up to the newest.
    pub(super) fn save(&self, meta: &SnapshotMeta, state: &[u8]) -> Result<(), io::Error> {
        let encoded = encoding::encode_snapshot_meta(meta);
        self.store.commit(|transaction| {
            let mut table = transaction.open_table(SNAPSHOT).map_err(failed)?;
            let newest = match table.get(META).map_err(failed)? {
                Some(bytes) => encoding::decode_snapshot_meta(bytes.value())?.last_log_id,
                None => None,
            };
            if newest > meta.last_log_id {
                return Ok(());
            }
            table.insert(META, &encoded[..]).map_err(failed)?;
            table.insert(STATE, state).map_err(failed)?;
            Ok(())
        })
    }

    /// The stored snapshot, if there is one.
    pub(super) fn newest(&self) -> Result<Option<Snapshot>, io::Error> {
        self.store.read(|transaction| {
            let table = transaction.open_table(SNAPSHOT).map_err(failed)?;
            let (Some(meta), Some(state)) = (
                table.get(META).map_err(failed)?,
                table.get(STATE).map_err(failed)?,
            ) else {
                return Ok(None);
            };
            Ok(Some(Snapshot {
                meta: encoding::decode_snapshot_meta(meta.value())?,
                snapshot: Bytes::copy_from_slice(state.value()),
            }))
        })
    }
}
