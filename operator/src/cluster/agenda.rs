//! A work queue by key: one round at a time per key, several keys at once, and a retry after a failure.
//!
//! ```text
//!  mark(key) ──► due ──► at most `limit` running ──► Done
//!                 ▲                                └► Retry: 0.2 s, doubling to 30 s
//!                 └──────────── later ◄─────────────┘ After(duration)
//! ```
//!
//! An agenda is level-triggered: it stores *that* a key needs a round, not why or how often, so it never holds more
//! than one entry per key. A mark that arrives during a round of the key causes one more round afterwards. A mark also
//! ends the wait of a retry, because something has changed; the next wait still grows until a round succeeds.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream::FuturesUnordered};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

/// The first wait after a failure: long enough for a conflicting write to be complete.
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// The longest wait. A longer one would delay the recovery of a dependency; a shorter one would send it more requests
/// while it is down.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// How many urgent keys may run beyond the limit: they are few, and must not wait for slow ones.
const URGENT_BONUS: usize = 64;

/// The result of one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing is left to do until the key is marked again.
    Done,
    /// The round failed and may succeed later: again after a wait that doubles each time.
    Retry,
    /// Again after this long; the round did not fail.
    After(Duration),
}

/// The keys that need a round. Cheap to clone; all clones share one agenda.
#[derive(Debug)]
pub(crate) struct Agenda<K> {
    shared: Arc<Shared<K>>,
}

#[derive(Debug)]
struct Shared<K> {
    due: Mutex<Due<K>>,
    marked: Notify,
}

#[derive(Debug)]
struct Due<K> {
    urgent: BTreeSet<K>,
    usual: BTreeSet<K>,
}

impl<K> Clone for Agenda<K> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<K: Ord + Clone> Agenda<K> {
    pub(crate) fn new() -> Self {
        let due = Due {
            urgent: BTreeSet::new(),
            usual: BTreeSet::new(),
        };
        Self {
            shared: Arc::new(Shared {
                due: Mutex::new(due),
                marked: Notify::new(),
            }),
        }
    }

    /// Marks the key for a round.
    pub(crate) fn mark(&self, key: K) {
        self.due().usual.insert(key);
        self.shared.marked.notify_one();
    }

    /// Marks these keys for a round.
    pub(crate) fn mark_all(&self, keys: impl IntoIterator<Item = K>) {
        self.due().usual.extend(keys);
        self.shared.marked.notify_one();
    }

    /// Marks the key for a round before all others.
    pub(crate) fn mark_urgent(&self, key: K) {
        self.due().urgent.insert(key);
        self.shared.marked.notify_one();
    }

    fn due(&self) -> MutexGuard<'_, Due<K>> {
        self.shared.due.lock()
    }

    /// Runs rounds until `stop`, for at most `limit` keys at a time.
    pub(crate) async fn work<F: Future<Output = Next>>(
        &self,
        limit: usize,
        stop: &CancellationToken,
        round: impl Fn(K) -> F,
    ) {
        let mut running = FuturesUnordered::new();
        let mut busy = BTreeSet::new();
        let mut later: BTreeMap<K, Later> = BTreeMap::new();
        while !stop.is_cancelled() {
            self.call_due(&mut later);
            for key in self.take(limit, &busy) {
                busy.insert(key.clone());
                let round = round(key.clone());
                running.push(async move { (key, round.await) });
            }
            let wake = later.values().filter_map(|later| later.at).min();
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.shared.marked.notified() => {}
                Some((key, next)) = running.next() => {
                    busy.remove(&key);
                    put_off(&mut later, key, next);
                }
                () = wait_until(wake) => {}
            }
        }
    }

    /// Moves the keys whose wait is over to the due keys, and removes keys that are due from the waiting ones.
    fn call_due(&self, later: &mut BTreeMap<K, Later>) {
        let now = Instant::now();
        let mut due = self.due();
        for (key, wait) in later.iter_mut() {
            let ripe = wait.at.is_some_and(|at| at <= now);
            if ripe {
                due.usual.insert(key.clone());
            }
            if ripe || due.usual.contains(key) || due.urgent.contains(key) {
                wait.at = None;
            }
        }
    }

    fn take(&self, limit: usize, busy: &BTreeSet<K>) -> Vec<K> {
        let mut due = self.due();
        let mut taken = Vec::new();
        let urgent_room = (limit + URGENT_BONUS).saturating_sub(busy.len());
        let urgent = due.urgent.iter().filter(|key| !busy.contains(key));
        taken.extend(urgent.take(urgent_room).cloned());
        let room = limit.saturating_sub(busy.len() + taken.len());
        let usual = due.usual.iter();
        let usual = usual.filter(|key| !busy.contains(key) && !taken.contains(key));
        let usual: Vec<K> = usual.take(room).cloned().collect();
        taken.extend(usual);
        for key in &taken {
            due.urgent.remove(key);
            due.usual.remove(key);
        }
        taken
    }
}

/// A key that waits, or whose failures are counted while it runs again.
struct Later {
    at: Option<Instant>,
    failures: u32,
}

fn put_off<K: Ord>(later: &mut BTreeMap<K, Later>, key: K, next: Next) {
    match next {
        Next::Done => {
            later.remove(&key);
        }
        Next::Retry => {
            let wait = later.entry(key).or_insert(Later {
                at: None,
                failures: 0,
            });
            wait.at = Some(Instant::now() + backoff(wait.failures));
            wait.failures = wait.failures.saturating_add(1);
        }
        Next::After(wait) => {
            let at = Some(Instant::now() + wait);
            later.insert(key, Later { at, failures: 0 });
        }
    }
}

/// The wait after this many failures in a row.
pub(crate) fn backoff(failures: u32) -> Duration {
    FIRST_RETRY
        .saturating_mul(2_u32.saturating_pow(failures))
        .min(LONGEST_RETRY)
}

async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Runs an agenda until `rounds` have started; returns the key and the time of each.
    async fn first_rounds(
        agenda: &Agenda<&'static str>,
        rounds: usize,
        next: impl Fn(&'static str, usize) -> Next,
    ) -> Vec<(&'static str, u128)> {
        let (start, stop) = (Instant::now(), CancellationToken::new());
        let log = RefCell::new(Vec::new());
        agenda
            .work(2, &stop, |key| {
                log.borrow_mut().push((key, start.elapsed().as_millis()));
                let count = log.borrow().len();
                if count == rounds {
                    stop.cancel();
                }
                let next = next(key, count);
                async move { next }
            })
            .await;
        log.into_inner()
    }

    #[test]
    fn waits_double_up_to_their_limit() {
        let waits = [0, 1, 2, 7, 8, 40].map(|failures| backoff(failures).as_millis());
        assert_eq!(waits, [200, 400, 800, 25_600, 30_000, 30_000]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_round_is_retried_after_a_growing_wait() {
        let agenda = Agenda::new();
        agenda.mark("web");
        let rounds = first_rounds(&agenda, 4, |_, _| Next::Retry).await;
        assert_eq!(
            rounds,
            [("web", 0), ("web", 200), ("web", 600), ("web", 1400)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn marking_a_key_twice_causes_one_round() {
        let agenda = Agenda::new();
        agenda.mark_all(["web", "web", "api"]);
        let rounds = first_rounds(&agenda, 3, |key, count| match (key, count) {
            ("api", 1) => Next::After(Duration::from_secs(5)),
            _ => Next::Done,
        })
        .await;
        assert_eq!(rounds, [("api", 0), ("web", 0), ("api", 5000)]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_urgent_key_runs_although_slow_ones_fill_the_limit() {
        let (agenda, stop) = (Agenda::new(), CancellationToken::new());
        agenda.mark_all(["slow-1", "slow-2", "slow-3"]);
        agenda.mark_urgent("urgent");
        let log = RefCell::new(Vec::new());
        agenda
            .work(2, &stop, |key| {
                log.borrow_mut().push(key);
                let stop = stop.clone();
                async move {
                    if key == "urgent" {
                        stop.cancel();
                        return Next::Done;
                    }
                    std::future::pending().await
                }
            })
            .await;
        assert_eq!(log.into_inner(), ["urgent", "slow-1"]);
    }
}
