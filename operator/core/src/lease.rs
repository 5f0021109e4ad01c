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
    mutation::{Mutation, is_on},
    state::{Lease, State},
    suspicion::Pulse,
    timings::Timings,
};

/// The largest difference in rate between two members' clocks that the promise for `Single` workloads covers, in parts
/// per thousand. Quartz clocks stay within 0.1 and NTP slews by at most 0.5; a hundred leaves room for virtual machines whose
/// hypervisor holds them up.
pub const CLOCK_RATE_TOLERANCE_PER_MILLE: u32 = 100;

/// How long a host may take to ask for the end of a `Single` workload's pods once its lease is over: one call to its API server
/// that gets no answer, the pause after it, and one that does.
pub const STOP_CALLS: Duration = Duration::from_secs(5);

/// The most leases that expire in one command: what one entry of the log carries without delaying the next.
pub const MAX_DUE: usize = 1_000;

/// Heartbeats of a member that wait for their acknowledgement; older ones can no longer extend a lease.
const MAX_UNACKNOWLEDGED: usize = 32;

/// How long after a lease was taken away a member that keeps the rules has certainly stopped its `Single` workloads, if their
/// pods end within `grace`: `(lease + calls + grace) × (1 + ρ) / (1 − ρ)`, with ρ the tolerated error of a clock's rate
/// (DESIGN, section 7). The sum is measured in the member's cluster from sending a heartbeat on, and here on the leader's
/// clock.
#[must_use]
pub fn fence_after_revocation(lease: Duration, grace: Duration) -> Duration {
    on_the_slowest_clock(lease + STOP_CALLS + grace)
}

/// The same after a lease that ended by itself: the leader has waited for it once already.
#[must_use]
pub fn fence_after_loss(lease: Duration, grace: Duration) -> Duration {
    if is_on(Mutation::WaitForFence) {
        return Duration::ZERO;
    }
    fence_after_revocation(lease, grace).saturating_sub(lease)
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
    /// When the leader's process was last known to run.
    awake: Duration,
    /// Members out of reach whose `Single` workloads may still be running, and until when.
    unfenced: BTreeMap<MemberName, (Epoch, Duration)>,
    /// Members heard from although their lease is lost.
    returned: BTreeSet<(MemberName, Epoch)>,
    /// The members that may be well and have not been heard in this term, and until when that matters.
    unheard: (BTreeSet<MemberName>, Duration),
}

#[derive(Debug)]
struct Deadline {
    epoch: Epoch,
    ends: Duration,
    pulse: Pulse,
    /// Set once the end was reported: from then on no heartbeat counts, because the entry that takes the lease may be
    /// on its way through the log.
    due: bool,
}

impl Lessor {
    /// Starts a term: every member gets a whole lease and `grace` on top, because heartbeats reached no leader during the election.
    /// The lease is the longest this federation ever had: the last leader may have granted it. The member that led before, if
    /// it is known, is suspected from the start: it was silent for longer than an election takes to begin. So is who was
    /// suspected by an earlier leader and has not been heard since.
    pub fn lead(
        &mut self,
        now: Duration,
        state: &State,
        grace: Duration,
        predecessor: Option<&MemberName>,
    ) {
        *self = Self {
            granted_since: (state.timings_since, now),
            awake: now,
            ..Self::default()
        };
        self.sync(now, state);
        for deadline in self.held.values_mut() {
            deadline.ends += grace;
            deadline.pulse = Pulse::new(now + grace);
        }
        let well = self.held.keys().cloned().collect();
        self.unheard = (well, now + self.timings.acknowledged_within());
        for name in state.covered().into_iter().chain(predecessor) {
            if let Some(deadline) = self.held.get_mut(name) {
                deadline.pulse.suspect(now);
                self.unheard.0.remove(name);
            }
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
            let fence_after = match member.lease {
                Lease::Held { epoch } => {
                    let granted = Deadline {
                        epoch,
                        ends: now + self.longest,
                        pulse: Pulse::new(now),
                        due: false,
                    };
                    self.held.entry(name.clone()).or_insert(granted);
                    continue;
                }
                Lease::Lost { fenced: false, .. } => fence_after_loss,
                Lease::Revoked { fenced: false, .. } => fence_after_revocation,
                Lease::Lost { fenced: true, .. } | Lease::Revoked { fenced: true, .. } => continue,
            };
            self.unfenced.entry(name.clone()).or_insert_with(|| {
                let grace = Duration::from_secs(state.longest_grace_in(name).into());
                (member.lease.epoch(), now + fence_after(self.longest, grace))
            });
        }
    }

    /// A heartbeat of `member`, whose lease in the ledger is `lease`, arrived. Returns the timings to acknowledge it with:
    /// only if it extended one that is not about to be ended.
    pub fn heard(&mut self, member: &MemberName, lease: Lease, now: Duration) -> Option<Timings> {
        match lease {
            Lease::Held { epoch } => {
                self.unheard.0.remove(member);
                match self.held.get_mut(member) {
                    Some(deadline) if deadline.epoch == epoch && !deadline.due => {
                        deadline.ends = deadline.ends.max(now + self.timings.lease());
                        deadline.pulse.heard(now, self.timings);
                        Some(self.timings)
                    }
                    Some(_) | None => None,
                }
            }
            Lease::Lost { epoch, .. } => {
                self.returned.insert((member.clone(), epoch));
                None
            }
            Lease::Revoked { .. } => None,
        }
    }

    /// To be called every [`Timings::look_every`], by a task that does nothing else. If that is late, the leader's process stood
    /// still and received no heartbeats, and every deadline moves by as much.
    pub fn awake(&mut self, now: Duration) {
        let lateness = now.saturating_sub(self.awake + self.timings.look_every());
        self.awake = now;
        // Less is how late any timer is.
        if lateness > self.timings.look_every() {
            for deadline in self.held.values_mut() {
                deadline.ends += lateness;
                deadline.pulse.excuse(lateness);
            }
        }
    }

    /// The members that hold a lease and have been silent for longer than they usually are.
    pub fn silent(&mut self, now: Duration) -> BTreeSet<MemberName> {
        // After a standstill this may be asked before that task runs again.
        self.awake(now);
        let timings = self.timings;
        let silent = self
            .held
            .iter_mut()
            .filter_map(|(name, deadline)| deadline.pulse.look(now, timings).then_some(name));
        silent.cloned().collect()
    }

    /// Whether members that may be well have not been heard yet in this term: then what they have and can run is not known. Not
    /// for longer than a member takes to notice that its leader is another.
    #[must_use]
    pub fn is_early(&self, now: Duration) -> bool {
        let (unheard, until) = &self.unheard;
        now < *until && unheard.iter().any(|name| self.held.contains_key(name))
    }

    /// The members that may be well and have not been heard yet in this term.
    #[must_use]
    pub fn unheard(&self) -> BTreeSet<MemberName> {
        let unheard = self.unheard.0.iter();
        let unheard = unheard.filter(|name| self.held.contains_key(*name));
        unheard.cloned().collect()
    }

    /// How many members hold a lease.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.held.len()
    }

    /// When a lease ends or a member becomes suspect next, after `now` and if no more heartbeats arrive.
    #[must_use]
    pub fn next_look(&self, now: Duration) -> Option<Duration> {
        let times = self
            .held
            .values()
            .flat_map(|deadline| [deadline.ends, deadline.pulse.next_look(self.timings)]);
        times.filter(|at| *at > now).min()
    }

    /// Whether a lease is over.
    pub fn is_due(&mut self, now: Duration) -> bool {
        // After a standstill this may be asked before that task runs again.
        self.awake(now);
        let mut held = self.held.values();
        held.any(|deadline| deadline.ends <= now)
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
        if is_on(Mutation::EndLease) {
            return self.ends.map(|ends| ends * 1_000);
        }
        self.ends
    }

    /// Whether the lease is still running.
    #[must_use]
    pub fn holds(&self, now: Duration) -> bool {
        self.ends.is_some_and(|ends| now < ends)
    }
}

#[cfg(test)]
mod tests;
