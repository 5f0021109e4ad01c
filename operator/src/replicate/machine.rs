//! Applies committed entries to the state, one by one, and takes snapshots of it.
//!
//! The state is in memory. On a restart it is rebuilt from the newest snapshot and the committed entries after it; only
//! entries covered by a snapshot on disk are purged from the log.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use hanse_core::{
    id::NodeId,
    level::Level,
    state::{Entry as Fact, LogId as FactId, Outcome, State},
};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{EntryResponder, RaftStateMachine},
};
use parking_lot::RwLock;
use tokio::sync::watch;

use super::{
    encoding::{self, AboveLevel},
    engine::{Entry, LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig, Write},
    state_store::{OpenStateError, StateStore},
    storage,
};

/// The newest state, for all readers. They look at a version that no longer changes: neither waits an entry for a reader, nor a
/// reader for an entry.
#[derive(Debug, Clone, Default)]
pub struct SharedState(Arc<RwLock<Arc<State>>>);

impl SharedState {
    /// The state after the last entry applied here.
    #[must_use]
    pub fn latest(&self) -> Arc<State> {
        self.0.read().clone()
    }

    fn publish(&self, state: &State) {
        let state = Arc::new(state.clone());
        // The version before may be the last copy of much: it is dropped after the lock is free.
        let before = std::mem::replace(&mut *self.0.write(), state);
        drop(before);
    }
}

/// The engine, driving this state machine.
pub type Raft = openraft::Raft<TypeConfig, Machine>;

/// The state machine as the engine drives it.
#[derive(Debug)]
pub struct Machine {
    state: State,
    shared: SharedState,
    last: Option<LogId>,
    membership: StoredMembership,
    store: StateStore,
    /// The newest level that this build knows.
    known: Level,
    applied: watch::Sender<u64>,
}

impl Machine {
    /// A machine that starts from the newest snapshot in `store`.
    pub fn open(store: StateStore, known: Level) -> Result<Self, OpenStateError> {
        let mut machine = Self {
            state: State::default(),
            shared: SharedState::default(),
            last: None,
            membership: StoredMembership::default(),
            store,
            known,
            applied: watch::Sender::new(0),
        };
        if let Some(Snapshot { meta, snapshot }) =
            machine.store.newest().map_err(OpenStateError::Read)?
        {
            let state = encoding::decode_state(&snapshot, known)
                .map_err(|error| OpenStateError::Read(error.into()))?;
            machine.replace(&meta, state);
        }
        Ok(machine)
    }

    /// The state, for readers.
    #[must_use]
    pub fn state(&self) -> SharedState {
        self.shared.clone()
    }

    /// The index of the last entry applied, for tasks that wait for later entries.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    fn replace(&mut self, meta: &SnapshotMeta, state: State) {
        self.shared.publish(&state);
        self.applied.send_replace(state.index);
        self.state = state;
        self.last = meta.last_log_id;
        self.membership = meta.last_membership.clone();
    }

    /// Fails before an entry at a level that this build does not know: another build decides what it does.
    fn apply_entry(&mut self, entry: &Entry) -> Result<Option<Outcome>, AboveLevel> {
        AboveLevel::check(self.state.level, self.known)?;
        let leader = entry.log_id.committed_leader_id();
        let id = FactId {
            index: entry.log_id.index(),
            term: leader.term,
            leader: NodeId(leader.node_id),
        };
        self.last = Some(entry.log_id);
        let outcome = match &entry.payload {
            EntryPayload::Blank => self.state.apply(id, Fact::Blank),
            EntryPayload::Normal(Write { time_ms, command }) => {
                let time_ms = *time_ms;
                self.state.apply(id, Fact::Command { time_ms, command })
            }
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                let configurations: Vec<Vec<NodeId>> = membership
                    .get_joint_config()
                    .iter()
                    .map(|voters| voters.iter().copied().map(NodeId).collect())
                    .collect();
                self.state.apply(id, Fact::Membership(&configurations))
            }
        };
        self.shared.publish(&self.state);
        Ok(outcome)
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = SnapshotTaker;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        Ok((self.last, self.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let outcome = self.apply_entry(&entry).map_err(io::Error::other)?;
            if let Some(responder) = responder {
                responder.send(outcome);
            }
        }
        if let Some(last) = self.last {
            self.applied.send_replace(last.index());
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        SnapshotTaker {
            meta: SnapshotMeta {
                last_log_id: self.last,
                last_membership: self.membership.clone(),
            },
            state: self.state.clone(),
            store: self.store.clone(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Bytes,
    ) -> Result<(), io::Error> {
        let state = storage::blocking(|| encoding::decode_state(&snapshot, self.known))?;
        self.store.save(meta, &snapshot)?;
        self.replace(meta, state);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.store.newest()
    }
}

/// Writes one snapshot, while the machine continues to apply entries.
#[derive(Debug)]
pub struct SnapshotTaker {
    meta: SnapshotMeta,
    state: State,
    store: StateStore,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotTaker {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let state = storage::blocking(|| encoding::encode_state(&self.state))?;
        self.store.save(&self.meta, &state)?;
        Ok(Snapshot {
            meta: self.meta.clone(),
            snapshot: state.into(),
        })
    }
}
