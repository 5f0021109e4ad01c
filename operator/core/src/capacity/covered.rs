//! Up to which height of the ledger a member's measure has what was placed there.

use std::{collections::VecDeque, time::Duration};

use crate::id::Epoch;

/// How long after a host has applied a placement its pods are taken to be there: the cluster's controllers create them. Pods
/// that take longer are missing in the measure until then.
const PODS_WITHIN: Duration = Duration::from_secs(2);

/// Follows what is placed on one member, and what it has applied of that.
#[derive(Debug, Default)]
pub struct Covered {
    /// Heights up to which everything is applied, and since when, oldest first. As many as changes within [`PODS_WITHIN`].
    applied: VecDeque<(Duration, u64)>,
    covers: u64,
}

impl Covered {
    /// Takes over the epochs of all placements here, each with the one that is applied, at the time `now` of a monotonic clock.
    pub fn observe(&mut self, now: Duration, rows: impl Iterator<Item = (Epoch, Option<Epoch>)>) {
        let (mut newest, mut waits) = (0, u64::MAX);
        for (placed, applied) in rows {
            if applied == Some(placed) {
                newest = newest.max(placed.0);
            } else {
                waits = waits.min(placed.0);
            }
        }
        let height = newest.min(waits.saturating_sub(1));
        let last = self.applied.back().map_or(self.covers, |(_, it)| *it);
        if height > last {
            self.applied.push_back((now, height));
        }
    }

    /// The height at the time `now`, and when it becomes another if nothing happens. It never goes down.
    pub fn covers(&mut self, now: Duration) -> (u64, Option<Duration>) {
        while let Some((since, height)) = self.applied.front().copied() {
            let due = since + PODS_WITHIN;
            if due > now {
                return (self.covers, Some(due));
            }
            self.covers = height;
            self.applied.pop_front();
        }
        (self.covers, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe(covered: &mut Covered, seconds: u64, rows: &[(u64, Option<u64>)]) {
        let rows = rows.iter();
        let rows = rows.map(|(placed, applied)| (Epoch(*placed), applied.map(Epoch)));
        covered.observe(Duration::from_secs(seconds), rows);
    }

    fn covers(covered: &mut Covered, seconds: u64) -> (u64, Option<u64>) {
        let (height, due) = covered.covers(Duration::from_secs(seconds));
        (height, due.map(|it| it.as_secs()))
    }

    #[test]
    fn a_measure_covers_what_was_applied_long_enough_ago_for_its_pods_to_be_there() {
        let mut covered = Covered::default();
        assert_eq!(covers(&mut covered, 0), (0, None));
        observe(&mut covered, 0, &[(5, None)]);
        assert_eq!(covers(&mut covered, 10), (0, None));
        observe(&mut covered, 10, &[(5, Some(5))]);
        assert_eq!(covers(&mut covered, 11), (0, Some(12)));
        observe(&mut covered, 11, &[(5, Some(5)), (7, Some(7))]);
        assert_eq!(covers(&mut covered, 12), (5, Some(13)));
        assert_eq!(covers(&mut covered, 13), (7, None));
    }

    #[test]
    fn what_is_not_applied_yet_holds_back_what_was_placed_after_it() {
        let mut covered = Covered::default();
        observe(&mut covered, 0, &[(5, Some(5)), (7, Some(6)), (9, Some(9))]);
        assert_eq!(covers(&mut covered, 2), (6, None));
        observe(&mut covered, 3, &[(5, Some(5)), (7, Some(7)), (9, Some(9))]);
        assert_eq!(covers(&mut covered, 5), (9, None));
    }

    #[test]
    fn a_placement_that_ends_takes_nothing_back() {
        let mut covered = Covered::default();
        observe(&mut covered, 0, &[(5, Some(5)), (9, Some(9))]);
        assert_eq!(covers(&mut covered, 2), (9, None));
        observe(&mut covered, 3, &[(5, Some(5))]);
        observe(&mut covered, 4, &[(5, Some(5)), (12, None)]);
        assert_eq!(covers(&mut covered, 9), (9, None));
    }
}
