//! The timings that all members share: how long a lease lasts, and how often it is renewed.
//!
//! They are part of the federation's state: its founder chooses them, and a command changes them. What else has to fit
//! into a lease (how long an answer may take, how soon a silent connection is noticed) is derived here, so that nothing
//! is left behind when the lease changes.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a lease lasts and how often it is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timings {
    /// How long a member may be silent before it is lost, in milliseconds: 300 to 3,600,000.
    pub lease_ms: u64,
    /// How often a member renews its lease, in milliseconds: at least 50, at most a third of the lease.
    pub heartbeat_ms: u64,
}

/// The shortest lease: three heartbeats of 100 ms, the least that a loaded machine keeps.
const SHORTEST_LEASE_MS: u64 = 300;

/// The longest lease: with a longer one there would be no failover to speak of.
const LONGEST_LEASE_MS: u64 = 3_600_000;

/// The shortest heartbeat: a round trip between regions takes as long.
const SHORTEST_HEARTBEAT_MS: u64 = 50;

/// What is derived from a lease is at most what follows from the default one: voters use the same connections for Raft, and
/// a lease of minutes must not make them wait minutes for a connection that is gone.
const MOST_TO_ANSWER: Duration = Duration::from_secs(2);
const MOST_IDLE: Duration = Duration::from_secs(1);
const MOST_TO_DIAL: Duration = Duration::from_secs(3);
const MOST_TO_RETRY: Duration = Duration::from_millis(200);
const MOST_TO_LOOK: Duration = Duration::from_millis(250);

/// Why timings are not acceptable.
#[allow(
    missing_docs,
    reason = "the message of each variant is its documentation"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimingsError {
    #[error("the lease must be {SHORTEST_LEASE_MS} ms to {LONGEST_LEASE_MS} ms, not {0} ms")]
    Lease(u64),
    #[error(
        "the heartbeat must be at least {SHORTEST_HEARTBEAT_MS} ms and at most a third of the lease ({lease_ms} ms), because \
         one lost heartbeat must not lose a member; it is {heartbeat_ms} ms"
    )]
    Heartbeat { heartbeat_ms: u64, lease_ms: u64 },
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            lease_ms: 5_000,
            heartbeat_ms: 500,
        }
    }
}

impl Timings {
    /// Timings of these durations, in whole milliseconds.
    pub fn new(lease: Duration, heartbeat: Duration) -> Result<Self, TimingsError> {
        let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let timings = Self {
            lease_ms: millis(lease),
            heartbeat_ms: millis(heartbeat),
        };
        timings.check().map(|()| timings)
    }

    /// The relations without which the promises of the lease do not hold.
    pub fn check(self) -> Result<(), TimingsError> {
        let Self {
            lease_ms,
            heartbeat_ms,
        } = self;
        if !(SHORTEST_LEASE_MS..=LONGEST_LEASE_MS).contains(&lease_ms) {
            return Err(TimingsError::Lease(lease_ms));
        }
        if heartbeat_ms < SHORTEST_HEARTBEAT_MS || heartbeat_ms.saturating_mul(3) > lease_ms {
            return Err(TimingsError::Heartbeat {
                heartbeat_ms,
                lease_ms,
            });
        }
        Ok(())
    }

    /// How long a member may be silent before it is lost.
    #[must_use]
    pub fn lease(self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    /// How often a member renews its lease.
    #[must_use]
    pub fn heartbeat(self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
    }

    /// How long a voter may take to answer, over a relay and during an election: two fifths of the lease and at most 2 s, so that a
    /// member whose voter is gone has time to try another one.
    #[must_use]
    pub fn answer_within(self) -> Duration {
        (self.lease() * 2 / 5).min(MOST_TO_ANSWER)
    }

    /// A connection that was silent for this long is probed: a fifth of the lease and at most 1 s.
    #[must_use]
    pub fn keepalive_interval(self) -> Duration {
        (self.lease() / 5).min(MOST_IDLE)
    }

    /// The pause before another voter is tried: a twenty-fifth of the lease and at most 200 ms.
    #[must_use]
    pub fn retry_after(self) -> Duration {
        (self.lease() / 25).min(MOST_TO_RETRY)
    }

    /// How often a leader looks at the deadlines even when nothing happens: a twentieth of the lease and at most 250 ms, by which a loss is
    /// noticed late at most.
    #[must_use]
    pub fn look_every(self) -> Duration {
        (self.lease() / 20).min(MOST_TO_LOOK)
    }

    /// How long opening a connection may take: three fifths of the lease and at most 3 s.
    #[must_use]
    pub fn dial_within(self) -> Duration {
        (self.lease() * 3 / 5).min(MOST_TO_DIAL)
    }

    /// How long a member waits for the acknowledgement of a heartbeat before it looks for another voter: two and a half
    /// heartbeats, so that one lost message is no reason to leave.
    #[must_use]
    pub fn acknowledged_within(self) -> Duration {
        self.heartbeat() * 5 / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_lease_does_not_lengthen_what_connections_wait_for_and_a_shorter_one_shortens_it() {
        let derived = |lease_ms| {
            let timings = Timings {
                lease_ms,
                heartbeat_ms: 100,
            };
            [
                timings.answer_within(),
                timings.keepalive_interval(),
                timings.dial_within(),
                timings.retry_after(),
                timings.look_every(),
            ]
            .map(|it| it.as_millis())
        };
        assert_eq!(derived(3_600_000), derived(5_000));
        assert_eq!(derived(1_000), [400, 200, 600, 40, 50]);
    }

    #[test]
    fn the_default_timings_keep_their_own_rules_and_derive_the_usual_limits() {
        let timings = Timings::default();
        assert_eq!(timings.check(), Ok(()));
        assert_eq!(
            [
                timings.answer_within(),
                timings.keepalive_interval(),
                timings.dial_within(),
                timings.acknowledged_within(),
                timings.retry_after(),
                timings.look_every()
            ],
            [2_000, 1_000, 3_000, 1_250, 200, 250].map(Duration::from_millis)
        );
    }

    #[test]
    fn timings_that_break_a_promise_are_refused_with_the_reason() {
        let refused = |lease_ms, heartbeat_ms| {
            let timings = Timings {
                lease_ms,
                heartbeat_ms,
            };
            timings.check().unwrap_err().to_string()
        };
        assert_eq!(
            refused(299, 50),
            "the lease must be 300 ms to 3600000 ms, not 299 ms"
        );
        assert_eq!(
            refused(5_000, 2_000),
            "the heartbeat must be at least 50 ms and at most a third of the lease (5000 ms), because one lost heartbeat \
             must not lose a member; it is 2000 ms"
        );
    }
}
