use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    command::{Attributes, Command, SignedCommand},
    id::{FederationId, Generation, PrivateKey, PublicKey, WorkloadKey},
    reason::Reason,
    state::{Member, Placement, Workload},
    workload::{Mode, PlacementRules, Share, WorkloadSpec},
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
        level: crate::level::Level::FIRST,

        grants: Vec::new(),
        kinds: None,
        seat: None,
        lease,
        generation: Generation(0),
    };
    State {
        members: [(name(), member)].into_iter().collect(),
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
    lessor.lead(seconds(100), &state(lease), GRACE, None);
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
fn a_new_leader_suspects_who_led_before_and_gives_the_others_time_to_attach() {
    let mut state = state(held(3));
    let other: MemberName = "eu-2".parse().unwrap();
    let row = state.members[&name()].clone();
    state.members.insert(other, row);
    let mut lessor = Lessor::default();
    lessor.lead(seconds(100), &state, GRACE, Some(&name()));
    assert_eq!(lessor.silent(seconds(100)), BTreeSet::from([name()]));
    // It is heard at once and steadily: then it was no loss.
    let heartbeat = Timings::default().heartbeat();
    for beat in 1..=10 {
        lessor.heard(&name(), held(3), seconds(100) + heartbeat * beat);
        lessor.awake(seconds(100) + heartbeat * beat);
    }
    let silent = lessor.silent(seconds(105));
    assert_eq!(silent, BTreeSet::from(["eu-2".parse().unwrap()]));
}

#[test]
fn a_term_is_early_until_all_who_may_be_well_are_heard_and_not_for_long() {
    let mut state = state(held(3));
    let names = ["eu-2", "eu-3"].map(|name| name.parse::<MemberName>().unwrap());
    for other in &names {
        let row = state.members[&name()].clone();
        state.members.insert(other.clone(), row);
    }
    let mut lessor = Lessor::default();
    assert!(!lessor.is_early(seconds(100)));
    lessor.lead(seconds(100), &state, GRACE, Some(&name()));
    let within = Timings::default().acknowledged_within();
    assert!(lessor.is_early(seconds(100) + within * 9 / 10));
    assert!(!lessor.is_early(seconds(100) + within));
    lessor.heard(&names[0], held(3), seconds(101));
    assert!(lessor.is_early(seconds(101)));
    assert_eq!(lessor.unheard(), BTreeSet::from([names[1].clone()]));
    lessor.heard(&names[1], held(3), seconds(101));
    assert!(!lessor.is_early(seconds(101)));
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
    // Whatever woke it, it asks before it declares anything.
    assert!(!lessor.is_due(seconds(126)));
    assert_eq!(lessor.due(seconds(126)), BTreeSet::new());
    // A leader that is busy, while its process runs, is no excuse for a member that is silent.
    let mut busy = leading(held(3));
    for at in 0..28 {
        busy.awake(seconds(100) + Timings::default().look_every() * at);
    }
    assert!(busy.is_due(seconds(107)));
    // The lateness is counted once: the lease ends as much later as the leader was late.
    let look = Timings::default().look_every();
    let mut looks = (1..).map(|number| seconds(126) + look * number);
    let ends = looks.find(|now| lessor.is_due(*now)).unwrap();
    assert_eq!(ends + look, seconds(107 + 26));
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
    let after = fence_after_loss(LEASE, Duration::ZERO);
    assert!(after > STOP_CALLS);
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
    lessor.lead(seconds(100), &state, GRACE, None);
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
        lessor.lead(Duration::ZERO, &state, GRACE, None);
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

/// A `Single` workload in a member whose heartbeats and their answers may each be late or lost, whose operator is restarted,
/// whose clock and whose leaders' clocks run as wrong as tolerated. All times are in milliseconds of a right clock.
#[derive(Debug, Clone)]
struct Story {
    /// Parts per thousand.
    host_rate: u64,
    /// Each pause before a heartbeat, and how long it and its answer take.
    beats: Vec<(u64, Option<u64>, Option<u64>)>,
    /// When the operator is restarted.
    restarts: BTreeSet<u64>,
    /// When which leader begins, and the rate of its clock.
    leaders: BTreeMap<u64, u64>,
    grace_seconds: u32,
}

fn stories() -> impl Strategy<Value = Story> {
    let rates = || 901_u64..=1_099;
    let beats = prop::collection::vec(
        (
            0_u64..2_000,
            prop::option::of(0_u64..3_000),
            prop::option::of(0_u64..3_000),
        ),
        1..30,
    );
    let restarts = prop::collection::btree_set(0_u64..30_000, 0..5);
    let leaders = prop::collection::btree_map(0_u64..40_000, rates(), 0..3);
    (rates(), rates(), beats, restarts, leaders, 0_u32..60).prop_map(
        |(host_rate, first, beats, restarts, mut leaders, grace_seconds)| {
            leaders.insert(0, first);
            Story {
                host_rate,
                beats,
                restarts,
                leaders,
                grace_seconds,
            }
        },
    )
}

/// The host's side: its clock, and what its operator knows of its lease.
struct Host {
    rate: u64,
    /// When this process started, on the host's clock.
    started: Duration,
    own: OwnLease,
    /// The latest end of a lease so far, on the host's clock.
    last_end: Duration,
}

impl Host {
    fn clock(&self, at: u64) -> Duration {
        Duration::from_micros(at * self.rate)
    }

    fn now(&self, at: u64) -> Duration {
        self.clock(at).checked_sub(self.started).unwrap()
    }

    fn restart(&mut self, at: u64) {
        let (now, clock) = (self.now(at), self.clock(at));
        let left = self.own.ends_at().and_then(|ends| ends.checked_sub(now));
        self.own = OwnLease::of_earlier_process(left);
        self.started = clock;
    }

    /// When its pods have ended at the latest: on a right clock, in milliseconds.
    fn stopped_at(&self, grace_seconds: u32) -> f64 {
        let stopped = self.last_end + STOP_CALLS + seconds(grace_seconds.into());
        stopped.as_secs_f64() * 1_000_000.0 / f64::from(u32::try_from(self.rate).unwrap())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Leads(u64),
    Restarted,
    Sent(u64),
    Received(u64),
    Answered(u64),
}

fn events_of(story: &Story) -> BTreeSet<(u64, Event)> {
    let mut events: BTreeSet<_> = story
        .leaders
        .iter()
        .map(|(at, rate)| (*at, Event::Leads(*rate)))
        .collect();
    events.extend(story.restarts.iter().map(|at| (*at, Event::Restarted)));
    let mut at = 0;
    for (number, (pause, there, back)) in (1..).zip(&story.beats) {
        at += pause;
        events.insert((at, Event::Sent(number)));
        let Some(there) = there else { continue };
        events.insert((at + there, Event::Received(number)));
        let Some(back) = back else { continue };
        events.insert((at + there + back, Event::Answered(number)));
    }
    events
}

/// A `Single` workload of which every pod has this grace period, placed in the member.
fn place_single(state: &mut State, grace_seconds: u32) {
    let key: WorkloadKey = "acme/shop/web".parse().unwrap();
    let manifest = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {"terminationGracePeriodSeconds": grace_seconds},
    });
    let rules = PlacementRules::new(Mode::Single);
    let spec = WorkloadSpec::new(vec![manifest], rules, &key.namespace).unwrap();
    let command = Command::PutWorkload {
        key: key.clone(),
        base: Generation(0),
        spec: spec.clone(),
    };
    let author = PrivateKey::from_seed(&[9; 32]);
    let workload = Workload {
        proof: SignedCommand::sign(&FederationId([0; 16]), &author, 1, &command).into(),
        longest_grace: spec.grace_seconds(),
        spec: spec.into(),
        home: name(),
        generation: Generation(1),
        born: Generation(1),
        removed: false,
        completed: BTreeMap::new(),
        avoided: BTreeMap::new(),
    };
    state.workloads.insert(key.clone(), workload);
    let placement = Placement {
        surge: None,
        share: Share::default(),
        epoch: Epoch(1),
        reason: Reason::FirstPlacement,
    };
    state.placements.insert(key, name(), placement.into());
}

/// When a second copy may start, and until when the first may run: on a right clock, in milliseconds.
fn play(story: &Story) -> (u64, f64) {
    let mut state = state(held(1));
    place_single(&mut state, story.grace_seconds);
    let mut events = events_of(story);
    let mut host = Host {
        rate: story.host_rate,
        started: Duration::ZERO,
        own: OwnLease::default(),
        last_end: Duration::ZERO,
    };
    let (mut lessor, mut leader_rate) = (Lessor::default(), 1_000);
    let mut granted = BTreeMap::new();
    for at in (0..300_000).step_by(20) {
        while let Some((_, event)) = events.first().copied().filter(|(due, _)| *due <= at) {
            events.pop_first();
            let now = |rate: u64| Duration::from_micros(at * rate);
            match event {
                Event::Leads(rate) => {
                    leader_rate = rate;
                    lessor.lead(now(rate), &state, GRACE, None);
                }
                Event::Restarted => host.restart(at),
                Event::Sent(number) => host.own.sent(number, host.now(at)),
                Event::Received(number) => {
                    let lease = state.members[&name()].lease;
                    if let Some(timings) = lessor.heard(&name(), lease, now(leader_rate)) {
                        granted.insert(number, timings.lease());
                    }
                }
                Event::Answered(number) => {
                    if let Some(lease) = granted.get(&number) {
                        host.own.acknowledged(number, *lease);
                        let ends = host.own.ends_at().map(|ends| host.started + ends);
                        host.last_end = host.last_end.max(ends.unwrap_or_default());
                    }
                }
            }
        }
        let now = Duration::from_micros(at * leader_rate);
        lessor.sync(now, &state);
        if !lessor.due(now).is_empty() {
            let lost = Lease::Lost {
                epoch: Epoch(2),
                fenced: false,
            };
            state.members.get_mut(&name()).unwrap().lease = lost;
            lessor.sync(now, &state);
        }
        if !lessor.fence_due(now).is_empty() {
            return (at, host.stopped_at(story.grace_seconds));
        }
    }
    unreachable!("a member that is silent is fenced: {story:?}")
}

proptest! {
    /// Whatever happens to the network, the operator, the leaders and the clocks.
    #[test]
    fn a_single_has_stopped_before_a_second_copy_may_start(story in stories()) {
        let (second_starts, first_ends) = play(&story);
        let starts = f64::from(u32::try_from(second_starts).unwrap());
        prop_assert!(first_ends <= starts, "the first ends at {first_ends}, the second starts at {starts}");
    }
}
