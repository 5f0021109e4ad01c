//! Work to be done per key: one at a time for a key, several keys at once, again later where it did not work out.
//!
//! ```text
//!  mark(key) ──► due ──► at most `limit` running ──► Done
//!                 ▲                                └► Retry: 0.2 s, doubling to 30 s
//!                 └──────────── later ◄─────────────┘ After(duration)
//! ```
//!
//! An agenda is level-triggered: it remembers *that* a key needs a look, not why or how often, so it never holds more
//! than one entry per key. A mark that arrives while the key is being worked on causes one more round afterwards. A mark
//! also cuts short the wait of a retry, because something has changed; the wait after it still grows until a round
//! succeeds.

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

/// The first wait after a failure: long enough for a conflicting write to have landed.
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// The longest wait: what a broken dependency costs when it comes back, against what asking costs while it is broken.
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// How many urgent keys may run beyond the limit: they must not wait behind slow ones, and are few.
const URGENT_BONUS: usize = 64;

/// What came of one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing is left to do until the key is marked again.
    Done,
    /// It failed in a way that may pass: again after a wait that doubles each time.
    Retry,
    /// Again after this long, without having failed.
    After(Duration),
}

/// The keys that need a look. Cheap to clone; all clones are the same agenda.
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

    /// The key needs a look.
    pub(crate) fn mark(&self, key: K) {
        self.due().usual.insert(key);
        self.shared.marked.notify_one();
    }

    /// These keys need a look.
    pub(crate) fn mark_all(&self, keys: impl IntoIterator<Item = K>) {
        self.due().usual.extend(keys);
        self.shared.marked.notify_one();
    }

    /// The key needs a look before all others.
    pub(crate) fn mark_urgent(&self, key: K) {
        self.due().urgent.insert(key);
        self.shared.marked.notify_one();
    }

    fn due(&self) -> MutexGuard<'_, Due<K>> {
        self.shared.due.lock()
    }

    /// Works until `stop`, on at most `limit` keys at a time.
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

    /// Moves what has waited long enough to what is due, and what is due anyway out of waiting.
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

/// A key that waits, or whose failures are remembered while it runs again.
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

/// The wait after so many failures in a row.
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

    /// Runs an agenda until `rounds` have started; returns what each was for and when.
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
    async fn what_fails_is_tried_again_after_a_growing_wait() {
        let agenda = Agenda::new();
        agenda.mark("web");
        let rounds = first_rounds(&agenda, 4, |_, _| Next::Retry).await;
        assert_eq!(
            rounds,
            [("web", 0), ("web", 200), ("web", 600), ("web", 1400)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn marking_a_key_twice_is_one_round() {
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
    async fn an_urgent_key_runs_although_slow_ones_take_all_room() {
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
