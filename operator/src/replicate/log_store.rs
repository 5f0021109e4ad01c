//! The log on disk (`log.redb`): entries by index, and the few marks that must be stored with them.
//!
//! Every write is one transaction and is on stable storage when it returns, in the order of the engine's calls: an
//! entry never overtakes a vote. The committed position is the exception: it only shortens a restart, so it is written
//! with the next transaction instead of in its own.

use std::{fmt::Debug, io, ops::RangeBounds, sync::Arc};

use hanse_core::{
    id::{FederationId, NodeId},
    mutation::{Mutation, is_on},
};
use openraft::{
    LogState, OptionalSend, RaftLogReader,
    storage::{IOFlushed, RaftLogStorage},
};
use parking_lot::{Mutex, MutexGuard};
use redb::{ReadableTable as _, Table, TableDefinition};

use super::{
    encoding,
    engine::{Entry, LogId, TypeConfig, Vote},
    storage::{Store, failed},
};
use crate::environment::Directory;

/// The file.
const FILE: &str = "log.redb";

const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
const MARKS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("marks");

const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";
const BELONGS_TO: &str = "belongs to";

/// The bytes of entries read for one message to a follower, the last entry not counted. With it, a message stays below
/// [`super::network::MAX_MESSAGE_BYTES`].
const READ_BYTES: usize = 4 * 1024 * 1024;

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    #[error("failed to open the log")]
    Open(#[source] redb::DatabaseError),
    #[error("failed to read the log")]
    Read(#[source] io::Error),
    #[error("this replica had a log, and it is gone")]
    Lost,
    #[error(
        "the log belongs to node {node} of federation {federation}; give each voter a data directory of its own, and an empty one a new node"
    )]
    BelongsToAnother {
        federation: FederationId,
        node: NodeId,
    },
}

/// The log. Clones share it.
#[derive(Debug, Clone)]
pub struct LogStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    store: Store,
    committed: Mutex<Committed>,
}

/// The committed position, and whether it is on disk.
#[derive(Debug, Default)]
struct Committed {
    position: Option<LogId>,
    stored: bool,
}

impl LogStore {
    /// Opens the log of `node` in `federation`. A log never changes its node: a voter that opened the log of another would
    /// vote in that node's name. One that does not exist is created only for an `is_new` node: with the log of any other,
    /// what it voted for is lost.
    pub fn open(
        directory: &dyn Directory,
        federation: FederationId,
        node: NodeId,
        is_new: bool,
    ) -> Result<Self, OpenLogError> {
        let names = directory.names().map_err(OpenLogError::Read)?;
        if !is_new && !names.iter().any(|name| name == FILE) {
            return Err(OpenLogError::Lost);
        }
        let log = Self {
            shared: Arc::new(Shared {
                store: Store::open(directory, FILE).map_err(OpenLogError::Open)?,
                committed: Mutex::default(),
            }),
        };
        match log
            .claim(federation, node, is_new)
            .map_err(OpenLogError::Read)?
        {
            None => return Err(OpenLogError::Lost),
            Some(owner) if owner == (federation, node) => {}
            Some((federation, node)) => {
                return Err(OpenLogError::BelongsToAnother { federation, node });
            }
        }
        *log.committed() = Committed {
            position: log
                .mark(COMMITTED, encoding::decode_log_id)
                .map_err(OpenLogError::Read)?,
            stored: true,
        };
        Ok(log)
    }

    /// Writes the committed position if it is only in memory. A voter that is shut down then restarts at that position.
    pub fn flush(&self) -> Result<(), io::Error> {
        if self.committed().stored {
            return Ok(());
        }
        self.write(|_, _| Ok(()))
    }

    /// Closes the file. Every later call fails.
    pub fn close(&self) {
        self.shared.store.close();
    }

    /// The node and federation of the log. One that has none is assigned to `node` if that `is_new`.
    fn claim(
        &self,
        federation: FederationId,
        node: NodeId,
        is_new: bool,
    ) -> io::Result<Option<(FederationId, NodeId)>> {
        self.shared.store.commit(|transaction| {
            transaction.open_table(ENTRIES).map_err(failed)?;
            let mut marks = transaction.open_table(MARKS).map_err(failed)?;
            if let Some(owner) = marks.get(BELONGS_TO).map_err(failed)? {
                return decode_owner(owner.value()).map(Some);
            }
            if !is_new {
                return Ok(None);
            }
            let owner = [&[1], &federation.0[..], &node.0.to_be_bytes()[..]].concat();
            marks.insert(BELONGS_TO, &owner[..]).map_err(failed)?;
            Ok(Some((federation, node)))
        })
    }

    fn committed(&self) -> MutexGuard<'_, Committed> {
        self.shared.committed.lock()
    }

    /// One transaction over both tables that also writes the committed position.
    fn write(
        &self,
        work: impl FnOnce(
            &mut Table<'_, u64, &'static [u8]>,
            &mut Table<'_, &'static str, &'static [u8]>,
        ) -> Result<(), io::Error>,
    ) -> Result<(), io::Error> {
        let position = self.committed().position;
        self.shared.store.commit(|transaction| {
            let mut entries = transaction.open_table(ENTRIES).map_err(failed)?;
            let mut marks = transaction.open_table(MARKS).map_err(failed)?;
            work(&mut entries, &mut marks)?;
            if let Some(position) = position {
                let bytes = encoding::encode_log_id(&position);
                marks.insert(COMMITTED, &bytes[..]).map_err(failed)?;
            }
            Ok(())
        })?;
        let mut committed = self.committed();
        committed.stored = committed.position == position;
        Ok(())
    }

    fn mark<T>(
        &self,
        name: &str,
        decode: impl FnOnce(&[u8]) -> Result<T, encoding::DecodeError>,
    ) -> Result<Option<T>, io::Error> {
        self.shared.store.read(|transaction| {
            let marks = transaction.open_table(MARKS).map_err(failed)?;
            let bytes = marks.get(name).map_err(failed)?;
            Ok(bytes.map(|bytes| decode(bytes.value())).transpose()?)
        })
    }

    /// The entries in `range`, until their bytes exceed `most_bytes`; the first one whatever its size.
    fn entries(
        &self,
        range: impl RangeBounds<u64>,
        most_bytes: usize,
    ) -> Result<Vec<Entry>, io::Error> {
        self.shared.store.read(|transaction| {
            let table = transaction.open_table(ENTRIES).map_err(failed)?;
            let mut entries = Vec::new();
            let mut bytes = 0;
            for row in table
                .range((range.start_bound().cloned(), range.end_bound().cloned()))
                .map_err(failed)?
            {
                let (_, value) = row.map_err(failed)?;
                bytes += value.value().len();
                if bytes > most_bytes && !entries.is_empty() {
                    break;
                }
                entries.push(encoding::decode_entry(value.value())?);
            }
            Ok(entries)
        })
    }
}

fn decode_owner(bytes: &[u8]) -> io::Result<(FederationId, NodeId)> {
    let damaged = || io::Error::new(io::ErrorKind::InvalidData, "the log's owner is unreadable");
    let [1, rest @ ..] = bytes else {
        return Err(damaged());
    };
    let (federation, node) = rest.split_first_chunk::<16>().ok_or_else(damaged)?;
    let node = <[u8; 8]>::try_from(node).map_err(|_| damaged())?;
    Ok((FederationId(*federation), NodeId(u64::from_be_bytes(node))))
}

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        self.entries(range, usize::MAX)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.entries(start..end, READ_BYTES)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.mark(VOTE, encoding::decode_vote)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let last_purged_log_id = self.mark(PURGED, encoding::decode_log_id)?;
        let last_log_id = self.shared.store.read(|transaction| {
            let table = transaction.open_table(ENTRIES).map_err(failed)?;
            Ok(match table.last().map_err(failed)? {
                Some((_, value)) => Some(encoding::decode_entry(value.value())?.log_id),
                None => last_purged_log_id,
            })
        })?;
        Ok(LogState {
            last_purged_log_id,
            last_log_id,
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        if is_on(Mutation::StoreVote) {
            return Ok(());
        }
        let bytes = encoding::encode_vote(vote);
        self.write(|_, marks| {
            marks.insert(VOTE, &bytes[..]).map_err(failed)?;
            Ok(())
        })
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        *self.committed() = Committed {
            position: committed,
            stored: false,
        };
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.committed().position)
    }

    /// Entries that arrive while one transaction is being flushed wait in the engine and share the next.
    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let rows: Vec<_> = entries
            .into_iter()
            .map(|entry| (entry.log_id.index(), encoding::encode_entry(&entry)))
            .collect();
        self.write(|table, _| {
            for (index, bytes) in &rows {
                table.insert(index, &bytes[..]).map_err(failed)?;
            }
            Ok(())
        })?;
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let first = last_log_id.map_or(0, |id| id.index() + 1);
        self.write(|table, _| {
            table.retain_in(first.., |_, _| false).map_err(failed)?;
            Ok(())
        })
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        let bytes = encoding::encode_log_id(&log_id);
        self.write(|table, marks| {
            table
                .retain_in(..=log_id.index(), |_, _| false)
                .map_err(failed)?;
            marks.insert(PURGED, &bytes[..]).map_err(failed)?;
            Ok(())
        })
    }
}
