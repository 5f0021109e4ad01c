//! The one task that keeps a stream to a voter: attach, send and receive until the stream ends, attach again.

use std::time::Duration;

use futures::StreamExt;
use hanse_core::{
    lease::OwnLease,
    slice::{Reports, TableDifference},
    timings::Timings,
};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{debug, info, warn};

use super::{
    attach::{Attached, DownStream, StreamEnd, UpStream, UplinkSettings, attach, voters},
    commands::Commands,
    feed::{Feed, FeedError},
    handle::{Ends, OwnCapacity, Uplink, UplinkStanding},
    questions::Questions,
};
use crate::{
    cluster::Answers,
    peer::{
        Peer,
        proto::federation::{Acknowledgement, Capacity, Down, Heartbeat, down, up},
    },
};

/// Starts the task that keeps a stream open until `stop`, and returns its handle.
#[must_use]
pub fn start(settings: UplinkSettings, stop: CancellationToken) -> (Uplink, JoinHandle<()>) {
    let (uplink, ends) = Uplink::new();
    let Ends {
        pending,
        asked,
        reports,
        capacity,
        slice,
        standing,
    } = ends;
    let commands = Commands::new(
        settings.federation,
        settings.key.clone(),
        pending,
        settings.metrics.clone(),
    );
    let started = Instant::now();
    let left = settings
        .lease_ends
        .and_then(|ends| ends.checked_duration_since(started));
    let task = Task {
        timings: settings.timings,
        commands,
        questions: Questions::new(asked),
        reports,
        capacity,
        feed: Feed::new(slice),
        standing,
        lease: OwnLease::of_earlier_process(left),
        started,
        next_beat: 0,
        next_voter: 0,
        named: Vec::new(),
        unusable: None,
        settings,
    };
    task.publish_end();
    (uplink, tokio::spawn(task.run(stop)))
}

struct Task {
    settings: UplinkSettings,
    /// The federation's timings, as last received.
    timings: Timings,
    commands: Commands,
    questions: Questions,
    reports: watch::Receiver<Reports>,
    capacity: watch::Receiver<OwnCapacity>,
    feed: Feed,
    standing: watch::Sender<UplinkStanding>,
    lease: OwnLease,
    /// The origin of this member's monotonic clock.
    started: Instant,
    next_beat: u64,
    next_voter: usize,
    /// The voters that the last refusal named, until a stream is open.
    named: Vec<Peer>,
    /// Why the last slice could not be used, until one can.
    unusable: Option<String>,
}

/// The state of the open stream.
struct Conversation {
    up: UpStream,
    beat: Interval,
    /// The reports that were sent on this stream.
    reported: Reports,
    /// When a heartbeat was last acknowledged, to detect a leader that no longer answers.
    last_answer: Instant,
}

impl Task {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let Some(end) = stop.run_until_cancelled(self.attach_once()).await else {
                return;
            };
            self.next_voter = self.next_voter.wrapping_add(1);
            if self.standing.borrow().attached {
                warn!(reason = %end, "lost the stream to the federation; trying the next voter");
                self.unusable = None;
            } else if let StreamEnd::Slice(FeedError::Unreadable(_) | FeedError::TooLarge) = end {
                // It will not become usable by asking again, and is said once.
                let why = Some(end.to_string());
                if self.unusable != why {
                    warn!(reason = %end, "cannot attach to the federation; trying again");
                }
                self.unusable = why;
            } else {
                debug!(reason = %end, "could not attach");
            }
            if let StreamEnd::Elsewhere { voters, .. } = end {
                self.named = voters;
            }
            self.set_attached(false);
            let pause = sleep(self.timings.retry_after());
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    async fn attach_once(&mut self) -> StreamEnd {
        let newest = self.feed.newest();
        let voters = voters(&self.settings, newest.as_deref(), &self.named);
        let opened = attach(&self.settings, &voters, self.timings, self.next_voter);
        match opened.await {
            Err(end) => end,
            Ok(attached) => match self.converse(attached).await {
                Err(end) => end,
                Ok(never) => match never {},
            },
        }
    }

    async fn converse(
        &mut self,
        attached: Attached,
    ) -> Result<std::convert::Infallible, StreamEnd> {
        let Attached {
            up,
            mut down,
            welcome,
        } = attached;
        self.named.clear();
        self.feed.begin_stream();
        self.questions.begin_stream();
        // The leader hears how full this member is before anything that may make it place more here.
        self.send_capacity(&up)?;
        self.commands.resume(&up, welcome.sequence)?;
        self.reports.mark_changed();
        let timings = usable(welcome.lease_ms, welcome.heartbeat_ms)?;
        self.follow(timings);
        let mut open = Conversation {
            up,
            beat: beat(self.timings),
            reported: Reports::default(),
            last_answer: Instant::now(),
        };
        loop {
            self.step(&mut open, &mut down).await?;
        }
    }

    /// Handles the next event of the open stream.
    async fn step(
        &mut self,
        open: &mut Conversation,
        down: &mut DownStream,
    ) -> Result<(), StreamEnd> {
        tokio::select! {
            _ = open.beat.tick() => self.send_heartbeat(open),
            message = down.next() => self.receive(open, message),
            Ok(()) = self.reports.changed() => self.send_reports(open),
            Ok(()) = self.capacity.changed() => self.send_capacity(&open.up),
            pending = self.commands.next() => self.commands.send(&open.up, pending),
            asked = self.questions.next() => self.questions.send(&open.up, asked),
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn send_heartbeat(&mut self, open: &mut Conversation) -> Result<(), StreamEnd> {
        let within = self.timings.acknowledged_within();
        if open.last_answer.elapsed() > within {
            return Err(StreamEnd::Silent(within));
        }
        self.next_beat += 1;
        let number = self.next_beat;
        self.lease.sent(number, self.now());
        let unanswered = self.settings.answers.as_ref().map(Answers::elapsed);
        let unanswered_seconds = unanswered.map_or(0, |it| it.as_secs());
        open.up.send(up::Message::Heartbeat(Heartbeat {
            number,
            unanswered_seconds: u32::try_from(unanswered_seconds).unwrap_or(u32::MAX),
        }))
    }

    fn send_reports(&mut self, open: &mut Conversation) -> Result<(), StreamEnd> {
        let reports = self.reports.borrow_and_update().clone();
        let difference = TableDifference::between(&open.reported.placements, &reports.placements);
        open.reported = reports;
        if difference.is_empty() {
            return Ok(());
        }
        // The types of hanse-core have string keys and no fallible serialisers.
        let bytes = serde_json::to_vec(&difference).unwrap_or_default();
        open.up.send(up::Message::Reports(bytes))
    }

    fn send_capacity(&mut self, up: &UpStream) -> Result<(), StreamEnd> {
        let measured = match &*self.capacity.borrow_and_update() {
            OwnCapacity::NotMeasured => return Ok(()),
            OwnCapacity::Elastic => Vec::new(),
            OwnCapacity::Measured(capacity) => serde_json::to_vec(capacity).unwrap_or_default(),
        };
        up.send(up::Message::Capacity(Capacity { measured }))
    }

    fn receive(
        &mut self,
        open: &mut Conversation,
        message: Option<Result<Down, Status>>,
    ) -> Result<(), StreamEnd> {
        let down = match message {
            None => return Err(StreamEnd::Closed("it gave no reason".into())),
            Some(Err(status)) => return Err(StreamEnd::of(&status)),
            Some(Ok(down)) => down.message,
        };
        match down {
            Some(down::Message::Acknowledgement(answer)) => self.acknowledged(open, answer)?,
            Some(down::Message::SlicePart(bytes)) => self.feed.take_part(&bytes)?,
            Some(down::Message::Slice(bytes)) => {
                let first = !self.feed.has_slice_of_stream();
                let began = Instant::now();
                self.feed.take(&bytes)?;
                // What this operator needs to read a large slice is no silence of the leader: its answers wait behind it.
                open.last_answer += began.elapsed();
                if first {
                    self.publish_lease();
                }
            }
            Some(down::Message::Outcome(outcome)) => {
                self.commands.take_outcome(&open.up, &outcome)?;
            }
            Some(down::Message::Answer(answer)) => self.questions.take_answer(&answer)?,
            Some(down::Message::Welcome(_)) | None => {}
        }
        Ok(())
    }

    fn acknowledged(
        &mut self,
        open: &mut Conversation,
        answer: Acknowledgement,
    ) -> Result<(), StreamEnd> {
        open.last_answer = Instant::now();
        let timings = usable(answer.lease_ms, answer.heartbeat_ms)?;
        if let Some(sent) = self.lease.acknowledged(answer.number, timings.lease()) {
            let round_trip = self.now().saturating_sub(sent);
            self.settings.metrics.observe_heartbeat(round_trip);
        }
        if self.timings.heartbeat_ms != timings.heartbeat_ms {
            open.beat = beat(timings);
        }
        self.follow(timings);
        // Work that was stopped without a lease starts again from the newest slice, not from the one before.
        if self.feed.has_slice_of_stream() {
            self.publish_lease();
        }
        Ok(())
    }

    /// Takes over the federation's timings, also for connections opened from now on.
    fn follow(&mut self, timings: Timings) {
        if self.timings != timings {
            self.timings = timings;
            self.settings.peers.follow(timings);
        }
    }

    fn publish_lease(&self) {
        self.publish_end();
        self.set_attached(true);
    }

    fn publish_end(&self) {
        let ends = self.lease.ends_at().map(|ends| self.started + ends);
        self.standing.send_if_modified(|standing| {
            let changed = standing.lease_ends != ends;
            standing.lease_ends = ends;
            changed
        });
    }

    fn set_attached(&self, attached: bool) {
        let changed = self.standing.send_if_modified(|standing| {
            let changed = standing.attached != attached || standing.since.is_none();
            if changed {
                standing.attached = attached;
                standing.since = Some(Instant::now());
            }
            changed
        });
        if changed && attached {
            info!("attached to the federation");
        }
    }
}

/// Ticks at once and then at every heartbeat interval; missed ticks are not repeated.
fn beat(timings: Timings) -> Interval {
    let mut beat = interval(timings.heartbeat());
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

/// The timings that a voter sent, if they keep their own rules: without that a faulty voter could stop the heartbeats.
fn usable(lease_ms: u64, heartbeat_ms: u64) -> Result<Timings, StreamEnd> {
    let timings = Timings {
        lease_ms,
        heartbeat_ms,
    };
    match timings.check() {
        Ok(()) => Ok(timings),
        Err(error) => Err(StreamEnd::Unreadable(error.to_string())),
    }
}
