//! Leases: members' deadlines on the leader's clock, and a member's own deadline on its own clock.
//!
//! All times are [`Duration`]s since some fixed moment of the caller's monotonic clock; two clocks are never compared.
//!
//! ```text
//!  member   sent ─────────────────────── sent + lease: I stop                 (OwnLease)
//!              \        ▲ acknowledged
//!  leader     received ───────────────────── received + lease: it is lost     (Lessor)
//! ```
//!
//! Guarantee: on clocks that run equally fast, a member's own lease is over before the leader calls it lost, because the
//! member counts from sending and the leader from receiving what was sent, and a heartbeat is acknowledged only where it
//! extended the deadline. Clocks that do not run equally fast are what [`fence_after`] allows for.
//!
//! The shape is that of etcd's lessor (server/lease/lessor.go): renewals are soft state of the leader, grants and
//! expiries go through the log, and a new leader starts all deadlines afresh.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use crate::{
    id::{Epoch, MemberName},
    state::{Lease, State},
    timings::Timings,
};

/// The largest difference in rate between two members' clocks that the promise for `Single` workloads covers, in parts
/// per thousand. Quartz clocks stay within 0.1 and NTP slews by at most 0.5; ten leaves room for virtual machines.
pub const CLOCK_RATE_TOLERANCE_PER_MILLE: u32 = 10;

/// How long a host may take to stop a `Single` workload once its lease is over: the default grace period of a pod, 30 s.
pub const STOP_TIME: Duration = Duration::from_secs(30);

/// The most leases that expire in one command: what one entry of the log carries without delaying the next.
pub const MAX_DUE: usize = 1_000;

/// Heartbeats of a member that wait for their acknowledgement; older ones can no longer extend a lease.
const MAX_UNACKNOWLEDGED: usize = 32;

/// How long after a lease was declared over a member that keeps the rules has certainly stopped its `Single` workloads:
/// `lease × (1 + ρ) / (1 − ρ) + stop time`, with ρ the tolerated difference of clock rates (DESIGN, section 7).
#[must_use]
pub fn fence_after(lease: Duration) -> Duration {
    on_the_slowest_clock(lease) + STOP_TIME
}

/// How long `time` may take on this clock when it is measured on one that is as slow as tolerated, and this one as fast.
fn on_the_slowest_clock(time: Duration) -> Duration {
    time * (1_000 + CLOCK_RATE_TOLERANCE_PER_MILLE) / (1_000 - CLOCK_RATE_TOLERANCE_PER_MILLE)
}

/// The leader's table of deadlines. Empty and inert while this node does not lead.
#[derive(Debug, Default)]
pub struct Lessor {
    /// What a heartbeat is acknowledged with.
    timings: Timings,
    /// The longest lease that may still be running somewhere.
    longest: Duration,
    /// Since when this leader grants no other lease: the entry that set the timings, and the time.
    granted_since: (Epoch, Duration),
    held: BTreeMap<MemberName, Deadline>,
    /// Members out of reach whose `Single` workloads may still be running, and until when.
    unfenced: BTreeMap<MemberName, (Epoch, Duration)>,
    /// Members heard from although their lease is lost.
    returned: BTreeSet<(MemberName, Epoch)>,
}

#[derive(Debug)]
struct Deadline {
    epoch: Epoch,
    ends: Duration,
    /// Set once the end was reported: from then on no heartbeat counts, because the entry that takes the lease may be
    /// on its way through the log.
    due: bool,
}

impl Lessor {
    /// Starts a term: every member gets a whole lease and `grace` on top, because heartbeats reached no leader during the election.
    /// The lease is the longest this federation ever had: the last leader may have granted it.
    pub fn lead(&mut self, now: Duration, state: &State, grace: Duration) {
        *self = Self {
            granted_since: (state.timings_since, now),
            ..Self::default()
        };
        self.sync(now, state);
        for deadline in self.held.values_mut() {
            deadline.ends += grace;
        }
    }

    /// Ends a term: its deadlines mean nothing for the next.
    pub fn follow(&mut self) {
        *self = Self::default();
    }

    /// Takes over what the ledger decided since: leases granted, renewed, lost, revoked.
    pub fn sync(&mut self, now: Duration, state: &State) {
        self.timings = state.timings;
        self.longest = state.longest_lease();
        if self.granted_since.0 != state.timings_since {
            self.granted_since = (state.timings_since, now);
        }
        let lease_of = |name: &MemberName| state.members.get(name).map(|member| member.lease);
        self.held.retain(|name, deadline| {
            lease_of(name)
                == Some(Lease::Held {
                    epoch: deadline.epoch,
                })
        });
        self.unfenced.retain(|name, (epoch, _)| {
            lease_of(name).is_some_and(|lease| is_unfenced(lease, *epoch))
        });
        for (name, member) in &state.members {
            match member.lease {
                Lease::Held { epoch } => {
                    let granted = Deadline {
                        epoch,
                        ends: now + self.longest,
                        due: false,
                    };
                    self.held.entry(name.clone()).or_insert(granted);
                }
                Lease::Lost {
                    epoch,
                    fenced: false,
                }
                | Lease::Revoked {
                    epoch,
                    fenced: false,
                } => {
                    let fenced = (epoch, now + fence_after(self.longest));
                    self.unfenced.entry(name.clone()).or_insert(fenced);
                }
                Lease::Lost { fenced: true, .. } | Lease::Revoked { fenced: true, .. } => {}
            }
        }
    }

    /// A heartbeat of `member`, whose lease in the ledger is `lease`, arrived. Returns the timings to acknowledge it with:
    /// only if it extended one that is not about to be ended.
    pub fn heard(&mut self, member: &MemberName, lease: Lease, now: Duration) -> Option<Timings> {
        match lease {
            Lease::Held { epoch } => match self.held.get_mut(member) {
                Some(deadline) if deadline.epoch == epoch && !deadline.due => {
                    deadline.ends = deadline.ends.max(now + self.timings.lease());
                    Some(self.timings)
                }
                Some(_) | None => None,
            },
            Lease::Lost { epoch, .. } => {
                self.returned.insert((member.clone(), epoch));
                None
            }
            Lease::Revoked { .. } => None,
        }
    }

    /// The leader's process stood still for `lateness` and received no heartbeats: every deadline moves by as much.
    pub fn woke(&mut self, lateness: Duration) {
        for deadline in self.held.values_mut() {
            deadline.ends += lateness;
        }
    }

    /// The leases that are over, at most [`MAX_DUE`]. From here on a heartbeat no longer saves them. A leader that cannot
    /// get them taken leads anew, with [`Lessor::lead`].
    pub fn due(&mut self, now: Duration) -> BTreeSet<(MemberName, Epoch)> {
        let over = self
            .held
            .iter_mut()
            .filter(|(_, deadline)| deadline.ends <= now)
            .take(MAX_DUE);
        over.map(|(name, deadline)| {
            deadline.due = true;
            (name.clone(), deadline.epoch)
        })
        .collect()
    }

    /// The entry that set the timings, once no lease granted before it can be running any more and the ledger does not have
    /// that yet: the longest lease has passed since this leader grants no other, on clocks that differ as much as tolerated.
    #[must_use]
    pub fn settled(&self, now: Duration) -> Option<Epoch> {
        let (since, at) = self.granted_since;
        let over = at + on_the_slowest_clock(self.longest);
        (self.longest > self.timings.lease() && now >= over).then_some(since)
    }

    /// The lost members heard from since the last call.
    pub fn take_returned(&mut self) -> BTreeSet<(MemberName, Epoch)> {
        std::mem::take(&mut self.returned)
    }

    /// The members of which it is now certain, without their confirmation, that they have stopped their `Single` workloads.
    #[must_use]
    pub fn fence_due(&self, now: Duration) -> BTreeSet<(MemberName, Epoch)> {
        let over = self
            .unfenced
            .iter()
            .filter(|(_, (_, until))| *until <= now)
            .take(MAX_DUE);
        over.map(|(name, (epoch, _))| (name.clone(), *epoch))
            .collect()
    }
}

fn is_unfenced(lease: Lease, since: Epoch) -> bool {
    match lease {
        Lease::Lost { epoch, fenced } | Lease::Revoked { epoch, fenced } => {
            epoch == since && !fenced
        }
        Lease::Held { .. } => false,
    }
}

/// A member's own view of its lease.
#[derive(Debug, Default)]
pub struct OwnLease {
    unacknowledged: VecDeque<(u64, Duration)>,
    ends: Option<Duration>,
}

impl OwnLease {
    /// The lease of a process that has not sent a heartbeat yet: what is left of an earlier process's, from time zero on.
    #[must_use]
    pub fn of_earlier_process(left: Option<Duration>) -> Self {
        Self {
            ends: left,
            ..Self::default()
        }
    }

    /// Heartbeat `number` was sent.
    pub fn sent(&mut self, number: u64, now: Duration) {
        self.unacknowledged.push_back((number, now));
        if self.unacknowledged.len() > MAX_UNACKNOWLEDGED {
            self.unacknowledged.pop_front();
        }
    }

    /// Heartbeat `number` was acknowledged with a lease of this length, which counts from when the heartbeat was sent.
    /// Returns when that was. Numbers not waited for say nothing.
    pub fn acknowledged(&mut self, number: u64, lease: Duration) -> Option<Duration> {
        while let Some((sent, at)) = self.unacknowledged.front().copied() {
            if sent > number {
                return None;
            }
            self.unacknowledged.pop_front();
            if sent == number {
                self.ends = self.ends.max(Some(at + lease));
                return Some(at);
            }
        }
        None
    }

    /// When the lease is over; `None` before the first.
    #[must_use]
    pub fn ends_at(&self) -> Option<Duration> {
        self.ends
    }

    /// Whether the lease is still running.
    #[must_use]
    pub fn holds(&self, now: Duration) -> bool {
        self.ends.is_some_and(|ends| now < ends)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        command::Attributes,
        id::{Generation, PublicKey},
        state::Member,
    };

    const LEASE: Duration = Duration::from_secs(5);
    const GRACE: Duration = Duration::from_secs(2);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn name() -> MemberName {
        "eu-1".parse().unwrap()
    }

    fn state(lease: Lease) -> State {
        let member = Member {
            owner: "acme".parse().unwrap(),
            key: PublicKey([0; 32]),
            sponsor: None,
            attributes: Attributes::default(),
            version: String::new(),
            grants: Vec::new(),
            kinds: None,
            seat: None,
            lease,
            generation: Generation(0),
        };
        State {
            members: [(name(), member)].into(),
            ..State::default()
        }
    }

    fn held(epoch: u64) -> Lease {
        Lease::Held {
            epoch: Epoch(epoch),
        }
    }

    fn leading(lease: Lease) -> Lessor {
        let mut lessor = Lessor::default();
        lessor.lead(seconds(100), &state(lease), GRACE);
        lessor
    }

    #[test]
    fn a_new_leader_gives_everyone_a_whole_lease_and_the_election() {
        let mut lessor = leading(held(3));
        assert_eq!(lessor.due(seconds(106)), BTreeSet::new());
        assert_eq!(
            lessor.due(seconds(107)),
            BTreeSet::from([(name(), Epoch(3))])
        );
    }

    #[test]
    fn a_heartbeat_extends_a_lease_until_it_is_due_and_never_after() {
        let mut lessor = leading(held(3));
        assert_eq!(
            lessor.heard(&name(), held(3), seconds(106)),
            Some(Timings::default())
        );
        assert_eq!(lessor.due(seconds(110)), BTreeSet::new());
        assert_eq!(
            lessor.due(seconds(111)),
            BTreeSet::from([(name(), Epoch(3))])
        );
        assert_eq!(lessor.heard(&name(), held(3), seconds(111)), None);
    }

    #[test]
    fn a_leader_that_stood_still_blames_nobody() {
        let mut lessor = leading(held(3));
        lessor.woke(seconds(20));
        assert_eq!(lessor.due(seconds(126)), BTreeSet::new());
    }

    #[test]
    fn a_lost_member_that_is_heard_is_reported_once() {
        let lost = Lease::Lost {
            epoch: Epoch(9),
            fenced: false,
        };
        let mut lessor = leading(lost);
        assert_eq!(lessor.heard(&name(), lost, seconds(101)), None);
        assert_eq!(lessor.take_returned(), BTreeSet::from([(name(), Epoch(9))]));
        assert_eq!(lessor.take_returned(), BTreeSet::new());
    }

    #[test]
    fn a_lost_member_is_fenced_after_its_own_lease_its_clock_and_its_stop() {
        let lessor = leading(Lease::Lost {
            epoch: Epoch(9),
            fenced: false,
        });
        let after = fence_after(LEASE);
        assert!(after > LEASE + STOP_TIME);
        assert_eq!(
            lessor.fence_due((seconds(100) + after).saturating_sub(Duration::from_nanos(1))),
            BTreeSet::new()
        );
        assert_eq!(
            lessor.fence_due(seconds(100) + after),
            BTreeSet::from([(name(), Epoch(9))])
        );
    }

    #[test]
    fn shorter_timings_are_settled_once_no_longer_lease_can_run() {
        let mut state = state(held(3));
        state.timings_since = Epoch(4);
        state.longest_lease_ms = 20_000;
        let mut lessor = Lessor::default();
        lessor.lead(seconds(100), &state, GRACE);
        let settled = |lessor: &Lessor, after: Duration| lessor.settled(seconds(100) + after);
        let over = on_the_slowest_clock(seconds(20));
        assert_eq!(
            settled(&lessor, over.saturating_sub(Duration::from_nanos(1))),
            None
        );
        assert_eq!(settled(&lessor, over), Some(Epoch(4)));
        // Set again meanwhile: the wait begins anew.
        state.timings_since = Epoch(9);
        lessor.sync(seconds(110), &state);
        assert_eq!(settled(&lessor, over), None);
        // Settled: there is nothing left to say.
        state.longest_lease_ms = state.timings.lease_ms;
        lessor.sync(seconds(200), &state);
        assert_eq!(settled(&lessor, seconds(900)), None);
    }

    #[test]
    fn only_an_acknowledged_heartbeat_extends_the_own_lease_and_from_when_it_was_sent() {
        let mut own = OwnLease::default();
        own.sent(1, seconds(10));
        own.sent(2, seconds(11));
        assert!(!own.holds(seconds(10)));
        assert_eq!(own.acknowledged(1, LEASE), Some(seconds(10)));
        assert_eq!(own.ends_at(), Some(seconds(15)));
        assert_eq!(own.acknowledged(1, LEASE), None);
        assert_eq!(own.acknowledged(7, LEASE), None);
        assert_eq!(own.ends_at(), Some(seconds(15)));
    }

    proptest! {
        /// Heartbeats and their acknowledgements may each take any time or be lost, the lease may change at any time, and
        /// the leader may look at any moment: whenever it calls the lease over, the member's own has ended.
        #[test]
        fn the_member_stops_before_the_leader_calls_it_lost(
            leases in prop::collection::vec(1_000_u64..9_000, 1..4),
            beats in prop::collection::vec((0_u64..2_000, prop::option::of(0_u64..4_000), prop::option::of(0_u64..4_000)), 1..40),
        ) {
            #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
            enum Event { Sent(u64), Received(u64), Answered(u64) }
            let (mut at, mut events) = (0, Vec::new());
            let lost = u64::MAX;
            for (number, (pause, there, back)) in (1..).zip(&beats) {
                at += pause;
                let received = there.map_or(lost, |delay| at + delay);
                let answered = back.map_or(lost, |delay| received.saturating_add(delay));
                events.extend([(at, Event::Sent(number)), (received, Event::Received(number)), (answered, Event::Answered(number))]);
            }
            events.retain(|(at, _)| *at != lost);
            events.sort_unstable();
            let mut state = state(held(1));
            let mut lessor = Lessor::default();
            lessor.lead(Duration::ZERO, &state, GRACE);
            let mut own = OwnLease::default();
            let mut acknowledged = BTreeMap::new();
            for (at, event) in events {
                let now = Duration::from_millis(at);
                // The federation's lease changes every five seconds.
                let lease_ms = leases[usize::try_from(at / 5_000).unwrap() % leases.len()];
                if state.timings.lease_ms != lease_ms {
                    state.longest_lease_ms = state.longest_lease_ms.max(lease_ms);
                    state.timings.lease_ms = lease_ms;
                    state.timings_since.0 += 1;
                }
                if lessor.settled(now) == Some(state.timings_since) {
                    state.longest_lease_ms = lease_ms;
                }
                lessor.sync(now, &state);
                if !lessor.due(now).is_empty() {
                    prop_assert!(!own.holds(now), "lost at {now:?}, own lease until {:?}", own.ends_at());
                }
                match event {
                    Event::Sent(number) => own.sent(number, now),
                    Event::Received(number) => if let Some(timings) = lessor.heard(&name(), held(1), now) { acknowledged.insert(number, timings.lease()); },
                    Event::Answered(number) => if let Some(lease) = acknowledged.get(&number) { own.acknowledged(number, *lease); },
                }
            }
        }
    }
}
