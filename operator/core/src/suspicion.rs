//! Suspicion: the members that are silent for longer than they usually are, before their leases end.
//!
//! ```text
//!  heard ── 2 heartbeats + 4 × jitter ──► suspected ── heard steadily for a while ──► heard again
//!                                             └─────── its lease ends ──► lost (lease)
//! ```
//!
//! Suspicion is soft: it is in the leader's memory alone and takes nothing away from a member. What it costs, if it was wrong, is
//! some replicas in addition, for seconds. So it may come early.
//!
//! The time follows each member's own regularity, as a retransmission timeout follows a connection's (RFC 6298: the
//! mean deviation, smoothed by 1/4, counts fourfold). Only the interval between heartbeats counts, so that a constant delay of
//! the network, however long, is no reason for suspicion. A member that was wrongly suspected has been irregular, and
//! is suspected later the next time.

use std::{collections::BTreeSet, time::Duration};

use crate::{id::MemberName, timings::Timings};

/// How many heartbeats in a row a member must miss: one that is lost on the way is no reason.
const MISSED: u32 = 2;

/// How many times the smoothed deviation counts, and by which part a new deviation moves it (RFC 6298).
const DEVIATIONS: u32 = 4;
const SMOOTHED_BY: u32 = 4;

/// The least allowance for irregularity, as a part of a heartbeat: what a timer on a busy machine is late.
const LEAST_ALLOWANCE: u32 = 5;

/// For how many heartbeats a member that was suspected must be heard steadily.
const STEADY_FOR: u32 = 10;

/// A member that is suspected again within this many times that time flaps.
const FLAPS_WITHIN: u32 = 10;

/// How often that time doubles for a member that is suspected again and again: from 5 s to 5 min 20 s by default.
const MOST_DOUBLINGS: u32 = 6;

/// How regularly one member is heard. All times are on the leader's monotonic clock.
#[derive(Debug)]
pub(crate) struct Pulse {
    heard: Duration,
    /// The smoothed deviation of the time between two heartbeats from what it should be.
    deviation: Duration,
    /// Since when no silence was long enough for suspicion.
    steady_since: Duration,
    suspected: bool,
    /// When the last suspicion ended.
    cleared: Option<Duration>,
    /// How often in a row it was suspected with less than ten times the steady time between.
    doublings: u32,
}

/// When a member that is heard regularly becomes suspect, counted from its last heartbeat.
#[must_use]
pub fn suspect_after(timings: Timings) -> Duration {
    timings.heartbeat() * MISSED + timings.heartbeat() / LEAST_ALLOWANCE
}

impl Pulse {
    /// Of a member that counts as heard at `now`, which may be in the future.
    pub(crate) fn new(now: Duration) -> Self {
        Self {
            heard: now,
            deviation: Duration::ZERO,
            steady_since: now,
            suspected: false,
            cleared: None,
            doublings: 0,
        }
    }

    /// The member is suspected whatever was heard of it.
    pub(crate) fn suspect(&mut self, now: Duration) {
        self.suspected = true;
        self.steady_since = now;
    }

    pub(crate) fn heard(&mut self, now: Duration, timings: Timings) {
        self.look(now, timings);
        // Of a member that was given time to attach, the first interval says nothing.
        if let Some(interval) = now.checked_sub(self.heard) {
            let deviation = interval.abs_diff(timings.heartbeat());
            self.deviation = (self.deviation * (SMOOTHED_BY - 1) + deviation) / SMOOTHED_BY;
        }
        self.heard = now;
    }

    /// Whether the member is suspected at `now`.
    pub(crate) fn look(&mut self, now: Duration, timings: Timings) -> bool {
        let steady_for = timings.heartbeat() * STEADY_FOR * 2_u32.pow(self.doublings);
        if now >= self.suspect_at(timings) {
            if !self.suspected {
                let calm = self.cleared.map(|at| now.saturating_sub(at));
                let flaps = calm.is_some_and(|calm| calm < steady_for * FLAPS_WITHIN);
                let doublings = if flaps { self.doublings + 1 } else { 0 };
                self.doublings = doublings.min(MOST_DOUBLINGS);
            }
            self.suspect(now);
        } else if self.suspected && now.saturating_sub(self.steady_since) >= steady_for {
            self.suspected = false;
            self.cleared = Some(now);
        }
        self.suspected
    }

    /// When the silence since the last heartbeat becomes suspicious.
    fn suspect_at(&self, timings: Timings) -> Duration {
        let heartbeat = timings.heartbeat();
        let allowance = (self.deviation * DEVIATIONS).max(heartbeat / LEAST_ALLOWANCE);
        self.heard + heartbeat * MISSED + allowance
    }

    /// When to look again, if nothing is heard meanwhile.
    pub(crate) fn next_look(&self, timings: Timings) -> Duration {
        self.suspect_at(timings)
    }

    /// The leader's process stood still for this long and could hear nothing.
    pub(crate) fn excuse(&mut self, lateness: Duration) {
        self.heard += lateness;
    }
}

/// The members whose shares are placed elsewhere in addition, while the brake allows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suspects {
    /// The members that are silent.
    pub silent: BTreeSet<MemberName>,
    /// Those of them that are acted on.
    pub covered: BTreeSet<MemberName>,
}

impl Suspects {
    /// Takes over who is silent by now, of `members` that hold a lease. While more than a third of them are silent at once,
    /// and more than one is, the cause is rather the leader's own connection: nobody is covered in addition. Those who
    /// are stay so for as long as they are silent. Returns whether anything changed.
    pub fn update(&mut self, silent: BTreeSet<MemberName>, members: usize) -> bool {
        let mut covered = silent.clone();
        if Self::brakes(silent.len(), members) {
            covered.retain(|name| self.covered.contains(name));
        }
        let next = Self { silent, covered };
        let changed = *self != next;
        *self = next;
        changed
    }

    /// Whether so many silent members of `members` are too many to act on.
    #[must_use]
    fn brakes(silent: usize, members: usize) -> bool {
        silent > 1 && silent * 3 > members
    }

    /// The silent members that are not covered, because too many are silent at once.
    pub fn held_back(&self) -> impl Iterator<Item = &MemberName> {
        self.silent.difference(&self.covered)
    }

    /// Whether the brake holds somebody back.
    #[must_use]
    pub fn is_braked(&self) -> bool {
        self.held_back().next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMINGS: Timings = Timings {
        lease_ms: 5_000,
        heartbeat_ms: 500,
    };

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A member that is heard every half second for a minute.
    fn steady() -> (Pulse, u64) {
        let mut pulse = Pulse::new(ms(0));
        hear(&mut pulse, 500, 60_000);
        (pulse, 60_000)
    }

    /// Heartbeats every half second, both ends included.
    fn hear(pulse: &mut Pulse, from: u64, until: u64) {
        for at in (from..=until).step_by(500) {
            pulse.heard(ms(at), TIMINGS);
        }
    }

    /// The time after `from`, in milliseconds, at which it becomes suspected or is no longer.
    fn changes_to(pulse: &mut Pulse, suspected: bool, from: u64) -> u64 {
        let mut times = (from..).take(1_000_000);
        let at = times.find(|at| pulse.look(ms(*at), TIMINGS) == suspected);
        at.unwrap() - from
    }

    #[test]
    fn a_steady_member_is_suspected_after_two_missed_heartbeats_and_a_fifth_of_one() {
        let (mut pulse, last) = steady();
        assert_eq!(changes_to(&mut pulse, true, last), 1_100);
        assert_eq!(pulse.next_look(TIMINGS), ms(last + 1_100));
    }

    #[test]
    fn an_irregular_member_is_suspected_later_by_four_times_its_deviation() {
        let mut pulse = Pulse::new(ms(0));
        let mut at = 0;
        for number in 0..200 {
            at += if number % 2 == 0 { 300 } else { 700 };
            pulse.heard(ms(at), TIMINGS);
        }
        // The deviation is 200 ms at each heartbeat.
        let after = changes_to(&mut pulse, true, at);
        assert!((1_790..=1_800).contains(&after), "{after}");
    }

    #[test]
    fn a_constant_delay_is_no_irregularity() {
        let mut pulse = Pulse::new(ms(0));
        hear(&mut pulse, 2_500, 60_500);
        assert_eq!(changes_to(&mut pulse, true, 60_500), 1_100);
    }

    #[test]
    fn suspicion_ends_after_ten_steady_heartbeats_and_each_time_later_for_a_member_that_flaps() {
        let (mut pulse, mut last) = steady();
        let mut waits = Vec::new();
        for _ in 0..9 {
            changes_to(&mut pulse, true, last);
            let back = last + 4_000;
            hear(&mut pulse, back, back);
            let mut at = back;
            while pulse.look(ms(at), TIMINGS) {
                at += 500;
                pulse.heard(ms(at), TIMINGS);
            }
            waits.push((at - back) / 1_000);
            // Calm for a while, and not for long.
            hear(&mut pulse, at + 500, at + 20_000);
            last = at + 20_000;
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 320, 320]);
        // After a long calm the next one is a first one.
        hear(&mut pulse, last + 500, last + 3_600_000);
        last += 3_600_000;
        changes_to(&mut pulse, true, last);
        hear(&mut pulse, last + 2_000, last + 6_500);
        assert!(pulse.look(ms(last + 6_500), TIMINGS));
        hear(&mut pulse, last + 7_000, last + 7_000);
        assert!(!pulse.look(ms(last + 7_000), TIMINGS));
    }

    #[test]
    fn a_leader_that_stood_still_suspects_nobody_for_it() {
        let (mut pulse, last) = steady();
        pulse.excuse(ms(10_000));
        assert!(!pulse.look(ms(last + 11_000), TIMINGS));
        assert!(pulse.look(ms(last + 11_100), TIMINGS));
    }

    #[test]
    fn more_than_a_third_that_is_silent_at_once_is_not_acted_on() {
        let names = |names: &str| -> BTreeSet<MemberName> {
            let names = names.split_whitespace();
            names.map(|name| name.parse().unwrap()).collect()
        };
        let mut suspects = Suspects::default();
        let mut steps = Vec::new();
        for silent in ["a-1", "a-1 b-1 c-1", "b-1 c-1", "b-1", ""] {
            suspects.update(names(silent), 6);
            steps.push((suspects.covered.clone(), suspects.is_braked()));
        }
        assert_eq!(
            steps,
            [
                (names("a-1"), false),
                (names("a-1"), true),
                (names("b-1 c-1"), false),
                (names("b-1"), false),
                (names(""), false)
            ]
        );
        // The only one of two: there is no telling, and it costs little.
        assert!(suspects.update(names("a-1"), 2));
        assert_eq!(suspects.covered, names("a-1"));
        assert!(!suspects.update(names("a-1"), 2));
    }
}
