//! When a plan is proposed again that the ledger did not take over.
//!
//! The ledger skips rows that were decided on what no longer holds, and rows that break a rule. What it skipped once it may
//! take later, without any change that the planner sees. Each proposal is an entry of the log, so the same plan is proposed
//! again after a wait that doubles.

use std::time::Duration;

use crate::command::PlacementChange;

/// The wait before the first repetition: longer than an entry takes to be applied.
const FIRST: Duration = Duration::from_secs(1);

/// The longest wait: two entries a minute do no harm to a log.
const LONGEST: Duration = Duration::from_secs(30);

/// The plan that was proposed last in this term.
#[derive(Debug, Default)]
pub struct Proposed {
    changes: Vec<PlacementChange>,
    again: Duration,
    wait: Duration,
}

impl Proposed {
    /// Whether a plan of these changes is to be proposed at `now`, on a monotonic clock. If so, it counts as proposed.
    pub fn is_due(&mut self, changes: &[PlacementChange], now: Duration) -> bool {
        if self.changes != changes {
            *self = Self {
                changes: changes.to_vec(),
                again: now + FIRST,
                wait: FIRST,
            };
            return !changes.is_empty();
        }
        if changes.is_empty() || now < self.again {
            return false;
        }
        self.wait = (self.wait * 2).min(LONGEST);
        self.again = now + self.wait;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{id::Generation, reason::Reason};

    fn plan(member: &str) -> Vec<PlacementChange> {
        vec![PlacementChange {
            workload: "acme/shop/web".parse().unwrap(),
            workload_generation: Generation(1),
            member: member.parse().unwrap(),
            member_generation: Generation(1),
            share: None,
            surge: None,
            reason: Reason::WorkloadChanged,
        }]
    }

    /// The seconds at which a plan is proposed that is made anew every second.
    fn proposals(plan_at: impl Fn(u64) -> Vec<PlacementChange>, until: u64) -> Vec<u64> {
        let mut proposed = Proposed::default();
        let is_due = |at: &u64| proposed.is_due(&plan_at(*at), Duration::from_secs(*at));
        (0..until).filter(is_due).collect()
    }

    #[test]
    fn the_same_plan_is_proposed_again_after_a_wait_that_doubles() {
        let expected = [0, 1, 3, 7, 15, 31, 61, 91];
        assert_eq!(proposals(|_| plan("one"), 100), expected);
    }

    #[test]
    fn another_plan_is_proposed_at_once_also_one_that_was_proposed_before() {
        let plans = [
            plan("one"),
            plan("two"),
            Vec::new(),
            plan("two"),
            plan("one"),
        ];
        let plan_at = |at: u64| plans[usize::try_from(at).unwrap()].clone();
        assert_eq!(proposals(plan_at, 5), [0, 1, 3, 4]);
    }
}
