//! Requests that the ledger has answered. A rejected command is an entry of the log too, so an unchanged request is not
//! proposed again with every change of the object that carries it.

use std::{collections::BTreeMap, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long until an answered, unchanged request is proposed again: the reason for its rejection, such as a full table,
/// may be gone.
pub(super) const PROPOSE_AGAIN: Duration = Duration::from_mins(1);

/// The answered requests by their subject, each with its text and the time of its answer.
#[derive(Debug)]
pub(super) struct AnsweredRequests<K>(Mutex<BTreeMap<K, (String, Instant)>>);

impl<K> Default for AnsweredRequests<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord + Clone> AnsweredRequests<K> {
    /// How long this request still waits; `None` if it may be proposed now.
    pub(super) fn wait(&self, key: &K, request: &str) -> Option<Duration> {
        let answered = self.0.lock();
        let (text, at) = answered.get(key)?;
        let wait = PROPOSE_AGAIN.checked_sub(at.elapsed())?;
        (text == request && !wait.is_zero()).then_some(wait)
    }

    /// Records that the ledger has answered this request.
    pub(super) fn add(&self, key: &K, request: &str) {
        let entry = (request.to_owned(), Instant::now());
        self.0.lock().insert(key.clone(), entry);
    }

    /// Removes a request that was withdrawn or accepted.
    pub(super) fn remove(&self, key: &K) {
        self.0.lock().remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answered_request_waits_unless_it_changes() {
        let answered = AnsweredRequests::default();
        assert_eq!(answered.wait(&"web", "a"), None);
        answered.add(&"web", "a");
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(answered.wait(&"web", "a"), Some(Duration::from_secs(40)));
        assert_eq!(answered.wait(&"web", "b"), None);
        assert_eq!(answered.wait(&"api", "a"), None);
        tokio::time::advance(Duration::from_secs(40)).await;
        assert_eq!(answered.wait(&"web", "a"), None);
        answered.add(&"web", "a");
        answered.remove(&"web");
        assert_eq!(answered.wait(&"web", "a"), None);
    }
}
