//! The newest slice, assembled from the whole slice and the differences that a stream sends.

use std::sync::Arc;

use hanse_core::{
    id::PublicKey,
    slice::{Slice, SliceUpdate},
};
use tokio::sync::watch;

use crate::peer::{MAX_SLICE_BYTES, Peer};

/// Why an update of the slice was discarded.
#[derive(Debug, thiserror::Error)]
pub(super) enum FeedError {
    #[error("the voter sent a slice that this version cannot read: {0}")]
    Unreadable(String),
    #[error("the voter's ledger is older ({theirs}) than the newest slice of this member ({ours})")]
    Outdated { theirs: u64, ours: u64 },
    #[error("the voter sent a slice of more than {MAX_SLICE_BYTES} bytes")]
    TooLarge,
}

/// Publishes slices and keeps the slice of the open stream.
pub(super) struct Feed {
    newest: watch::Sender<Option<Arc<Slice>>>,
    /// Differences apply to this slice, not to the slice of an older stream.
    of_stream: Option<Arc<Slice>>,
    /// What has come of an update that travels in parts.
    parts: Vec<u8>,
}

impl Feed {
    pub(super) fn new(newest: watch::Sender<Option<Arc<Slice>>>) -> Self {
        Self {
            newest,
            of_stream: None,
            parts: Vec::new(),
        }
    }

    /// The newest slice of any stream.
    pub(super) fn newest(&self) -> Option<Arc<Slice>> {
        self.newest.borrow().clone()
    }

    /// Begins a new stream. Its first update is a whole slice.
    pub(super) fn begin_stream(&mut self) {
        self.of_stream = None;
        self.parts = Vec::new();
    }

    /// Whether the open stream has sent its slice.
    pub(super) fn has_slice_of_stream(&self) -> bool {
        self.of_stream.is_some()
    }

    /// Keeps a part of an update until the rest is there.
    pub(super) fn take_part(&mut self, part: &[u8]) -> Result<(), FeedError> {
        if self.parts.len() + part.len() > MAX_SLICE_BYTES {
            return Err(FeedError::TooLarge);
        }
        self.parts.extend_from_slice(part);
        Ok(())
    }

    /// Applies an update, the rest of which the stream sent, and publishes the resulting slice.
    pub(super) fn take(&mut self, rest: &[u8]) -> Result<(), FeedError> {
        self.take_part(rest)?;
        let bytes = std::mem::take(&mut self.parts);
        let update: SliceUpdate = serde_json::from_slice(&bytes)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::fixture::slice;

    fn whole(index: u64) -> Vec<u8> {
        let slice = Box::new(slice("acme", "acme-1", index));
        serde_json::to_vec(&SliceUpdate::Whole { slice }).unwrap()
    }

    fn feed() -> (Feed, watch::Receiver<Option<Arc<Slice>>>) {
        let (newest, seen) = watch::channel(None);
        (Feed::new(newest), seen)
    }

    fn index(seen: &watch::Receiver<Option<Arc<Slice>>>) -> Option<u64> {
        Some(seen.borrow().as_ref()?.federation.index)
    }

    #[test]
    fn an_update_in_parts_is_taken_when_all_of_it_is_there() {
        let (mut feed, seen) = feed();
        let update = whole(7);
        let (first, rest) = update.split_at(20);
        let (second, last) = rest.split_at(20);
        feed.take_part(first).unwrap();
        feed.take_part(second).unwrap();
        assert_eq!(index(&seen), None);
        feed.take(last).unwrap();
        assert_eq!(index(&seen), Some(7));
        feed.take(&whole(8)).unwrap();
        assert_eq!(index(&seen), Some(8));
    }

    #[test]
    fn what_came_of_an_update_goes_with_its_stream() {
        let (mut feed, seen) = feed();
        feed.take_part(&whole(7)[..20]).unwrap();
        feed.begin_stream();
        feed.take(&whole(8)).unwrap();
        assert_eq!(index(&seen), Some(8));
    }

    #[test]
    fn a_slice_that_is_too_large_is_refused_before_it_is_all_there() {
        let (mut feed, _) = feed();
        feed.parts = vec![0; MAX_SLICE_BYTES];
        assert!(matches!(feed.take_part(b"x"), Err(FeedError::TooLarge)));
    }
}
