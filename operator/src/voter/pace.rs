//! When a member is told of entries that change nothing for it but the height of the ledger: several at a time.

use std::time::Duration;

use hanse_core::slice::Difference;
use tokio::time::{Instant, sleep_until};

/// Holds back differences that have only a new height. Each difference has the newest height, so it replaces one held back.
#[derive(Default)]
pub(super) struct Pace {
    quiet: Option<(Difference, Instant)>,
}

impl Pace {
    /// What to send at `now`, given what is new and whether that is more than a height. A height waits for at most `within`.
    pub(super) fn next(
        &mut self,
        new: Option<(Difference, bool)>,
        now: Instant,
        within: Duration,
    ) -> Option<Difference> {
        match new {
            Some((difference, true)) => {
                self.quiet = None;
                return Some(difference);
            }
            Some((difference, false)) => {
                let due = self.quiet.take().map_or(now + within, |(_, due)| due);
                self.quiet = Some((difference, due));
            }
            None => {}
        }
        let due = self.quiet.take_if(|(_, due)| *due <= now);
        due.map(|(difference, _)| difference)
    }

    /// Waits until what is held back is to be sent; without any, for ever.
    pub(super) async fn due(&self) {
        match self.quiet {
            Some((_, due)) => sleep_until(due).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::fixture::slice;

    fn height(index: u64) -> Difference {
        Difference::of(slice("acme", "acme-1", index).federation)
    }

    #[tokio::test(start_paused = true)]
    async fn heights_are_sent_together_and_never_after_news() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let within = Duration::from_millis(250);
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert_eq!(pace.next(Some((height(1), false)), at(0), within), None);
        assert_eq!(pace.next(Some((height(2), false)), at(200), within), None);
        pace.due().await;
        assert_eq!(Instant::now(), at(250));
        assert_eq!(pace.next(None, at(250), within), Some(height(2)));
        assert_eq!(pace.next(None, at(600), within), None);
        assert_eq!(pace.next(Some((height(3), false)), at(700), within), None);
        let news = pace.next(Some((height(4), true)), at(710), within);
        assert_eq!(news, Some(height(4)));
        assert_eq!(pace.next(None, at(2_000), within), None);
    }
}
