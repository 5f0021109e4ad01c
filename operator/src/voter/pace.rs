//! When a member is told of entries that concern it in nothing but the height of the ledger: not with each one.

use std::time::Duration;

use hanse_core::slice::SliceUpdate;
use tokio::time::{Instant, sleep_until};

/// Holds back updates that have only a new height. Each update has the whole height, so a newer one stands for those held back.
#[derive(Default)]
pub(super) struct Pace {
    quiet: Option<(SliceUpdate, Instant)>,
}

impl Pace {
    /// What to send at `now`, given what is new and whether that is more than a height. A height waits for at most `within`.
    pub(super) fn next(
        &mut self,
        new: Option<(SliceUpdate, bool)>,
        now: Instant,
        within: Duration,
    ) -> Option<SliceUpdate> {
        match new {
            Some((update, true)) => {
                self.quiet = None;
                return Some(update);
            }
            Some((update, false)) => {
                let due = self.quiet.take().map_or(now + within, |(_, due)| due);
                self.quiet = Some((update, due));
            }
            None => {}
        }
        let due = self.quiet.take_if(|(_, due)| *due <= now);
        due.map(|(update, _)| update)
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
    use hanse_core::slice::TableDifference;

    use super::*;
    use crate::observe::fixture::slice;

    fn height(index: u64) -> SliceUpdate {
        SliceUpdate::Difference {
            federation: slice("acme", "acme-1", index).federation,
            members: TableDifference::default(),
            placements: TableDifference::default(),
            removals: TableDifference::default(),
            workloads: TableDifference::default(),
            findings: TableDifference::default(),
        }
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
