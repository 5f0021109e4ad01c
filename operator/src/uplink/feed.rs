//! The newest slice, assembled from the whole slice and the differences that a stream sends.

use std::sync::Arc;

use hanse_core::{
    id::PublicKey,
    slice::{Slice, SliceUpdate},
};
use tokio::sync::watch;

use crate::peer::Peer;

/// Why an update of the slice was discarded.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    #[error("the voter sent a slice that this version cannot read: {0}")]
    Unreadable(String),
    #[error("the voter's ledger is older ({theirs}) than the newest slice of this member ({ours})")]
    Outdated { theirs: u64, ours: u64 },
}

/// Publishes slices and keeps the slice of the open stream.
pub(super) struct Feed {
    newest: watch::Sender<Option<Arc<Slice>>>,
    /// Differences apply to this slice, not to the slice of an older stream.
    of_stream: Option<Arc<Slice>>,
}

impl Feed {
    pub(super) fn new(newest: watch::Sender<Option<Arc<Slice>>>) -> Self {
        Self {
            newest,
            of_stream: None,
        }
    }

    /// The newest slice of any stream.
    pub(super) fn newest(&self) -> Option<Arc<Slice>> {
        self.newest.borrow().clone()
    }

    /// Begins a new stream. Its first update is a whole slice.
    pub(super) fn begin_stream(&mut self) {
        self.of_stream = None;
    }

    /// Whether the open stream has sent its slice.
    pub(super) fn has_slice_of_stream(&self) -> bool {
        self.of_stream.is_some()
    }

    /// Applies an update that the stream sent and publishes the resulting slice.
    pub(super) fn take(&mut self, bytes: &[u8]) -> Result<(), FeedError> {
        let update: SliceUpdate = serde_json::from_slice(bytes)
            .map_err(|error| FeedError::Unreadable(error.to_string()))?;
        let slice = Slice::update(self.of_stream.as_deref(), update)
            .ok_or_else(|| FeedError::Unreadable("a difference before any slice".into()))?;
        let ours = self.newest().map_or(0, |slice| slice.federation.index);
        let theirs = slice.federation.index;
        if theirs < ours {
            return Err(FeedError::Outdated { theirs, ours });
        }
        let slice = Arc::new(slice);
        self.newest.send_replace(Some(slice.clone()));
        self.of_stream = Some(slice);
        Ok(())
    }
}

/// The voters of `slice` that have an address, without the member with key `own`.
#[must_use]
pub fn voters_of(slice: &Slice, own: &PublicKey) -> Vec<Peer> {
    let rows = slice
        .federation
        .voters
        .iter()
        .filter_map(|name| slice.members.get(name));
    let peers = rows.filter_map(|row| {
        let seat = row.seat.as_ref().filter(|seat| !seat.address.is_empty())?;
        Some(Peer {
            address: seat.address.clone(),
            key: row.key,
        })
    });
    peers.filter(|peer| peer.key != *own).collect()
}
