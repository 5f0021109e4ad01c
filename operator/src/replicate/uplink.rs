//! The member's one way to the federation: a stream to any voter.
//!
//! ```text
//!  propose() ──queue──┐                                   ┌──► slice()     watch of the newest slice
//!  report()  ──watch──┤  one task: attach, then until the │
//!  heartbeat timer ───┴► stream ends: send and receive ───┴──► standing()  attached? lease until when?
//! ```
//!
//! Guarantees: commands get the issuer's numbers in the order of `propose`, one in flight; one whose outcome is unknown
//! is sent again, byte for byte, on the next stream, and the ledger answers a repetition with the first outcome. The
//! lease counts from *sending* a heartbeat that was acknowledged, so it never outlasts what the leader grants.
//!
//! A slice older than the newest one seen is refused: it comes from a leader that was deposed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use hanse_core::{
    command::{Command, SignedCommand},
    id::{FederationId, PrivateKey, PublicKey, WorkloadKey},
    lease::OwnLease,
    slice::{PlacementReport, Reports, Slice, SliceUpdate, TableDifference},
    state::{Outcome, Rejection},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{debug, info, warn};

use crate::peer::{
    Peer, Peers,
    proto::federation::{
        Down, Heartbeat, Hello, Proposal, Up, down, federation_client::FederationClient, up,
    },
};

/// Commands waiting to be sent. More than this and `propose` waits: the observers slow down, nothing is dropped.
const QUEUE: usize = 1_024;

/// How long a voter may take to answer Hello. A relaying voter needs one more hop, and an election may be going on.
const WELCOME_WITHIN: Duration = Duration::from_secs(2);

/// Pause between two attempts over all voters: short, because a lease of five seconds is running.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// Messages on their way up a stream. A full buffer means the voter does not read; the heartbeat then times out.
const BUFFER: usize = 64;

/// The operator is stopping and nobody will answer.
#[derive(Debug, thiserror::Error)]
#[error("the operator is stopping")]
pub struct UplinkGone;

/// How this member stands with the federation, as far as it knows by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UplinkStanding {
    /// Whether a leader that hears a quorum answered the last heartbeat in time.
    pub attached: bool,
    /// When the own lease ends on this machine's clock; `None` before the first acknowledged heartbeat.
    pub lease_ends: Option<Instant>,
    /// Since when `attached` has its value.
    pub since: Option<Instant>,
}

/// Where a stream to a leader may start inside this very process: the hub of the own voter, if this member votes.
pub trait LocalVoter: Send + Sync {
    /// The same as the remote procedure call `Attach`, without a socket.
    fn attach(&self, up: ReceiverStream<Up>) -> BoxStream<'static, Result<Down, Status>>;
}

/// What the uplink needs to know and to have.
pub struct UplinkSettings {
    /// The federation this member belongs to.
    pub federation: FederationId,
    /// Its key.
    pub key: PrivateKey,
    /// How often it says that it is alive.
    pub heartbeat: Duration,
    /// How to reach other members.
    pub peers: Arc<Peers>,
    /// The own voter, once there is one.
    pub local: watch::Receiver<Option<Arc<dyn LocalVoter>>>,
    /// Voters to try before the first slice has told better ones.
    pub voters: Vec<Peer>,
}

/// The member's way to the federation. Clones share one stream.
#[derive(Clone)]
pub struct Uplink {
    proposals: mpsc::Sender<Pending>,
    reports: Arc<watch::Sender<Reports>>,
    slice: watch::Receiver<Option<Arc<Slice>>>,
    standing: watch::Receiver<UplinkStanding>,
}

struct Pending {
    command: Command,
    answer: oneshot::Sender<Outcome>,
}

impl Uplink {
    /// Starts the task that keeps a stream until `stop`.
    #[must_use]
    pub fn start(
        settings: UplinkSettings,
        stop: CancellationToken,
    ) -> (Self, tokio::task::JoinHandle<()>) {
        let (proposals, pending) = mpsc::channel(QUEUE);
        let (reports, reports_rx) = watch::channel(Reports::default());
        let (slice_tx, slice) = watch::channel(None);
        let (standing_tx, standing) = watch::channel(UplinkStanding::default());
        let task = Task {
            settings,
            pending,
            reports: reports_rx,
            slice: slice_tx,
            standing: standing_tx,
            in_flight: None,
            lease: OwnLease::default(),
            epoch: Instant::now(),
            next_beat: 0,
            next_voter: 0,
        };
        let handle = tokio::spawn(async move { task.run(stop).await });
        (
            Self {
                proposals,
                reports: Arc::new(reports),
                slice,
                standing,
            },
            handle,
        )
    }

    /// Asks the ledger and waits for its answer, for as long as it takes: a command once taken is never given up.
    pub async fn propose(&self, command: Command) -> Result<Outcome, UplinkGone> {
        let (answer, outcome) = oneshot::channel();
        self.proposals
            .send(Pending { command, answer })
            .await
            .map_err(|_| UplinkGone)?;
        outcome.await.map_err(|_| UplinkGone)
    }

    /// The newest slice; `None` until this process has received its first.
    #[must_use]
    pub fn slice(&self) -> watch::Receiver<Option<Arc<Slice>>> {
        self.slice.clone()
    }

    /// How this member stands with the federation.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<UplinkStanding> {
        self.standing.clone()
    }

    /// What this member last said of its placements.
    #[must_use]
    pub fn reports(&self) -> Reports {
        self.reports.borrow().clone()
    }

    /// Replaces what this member says of its placements.
    pub fn report(&self, reports: Reports) {
        self.reports.send_if_modified(|current| {
            let changed = *current != reports;
            *current = reports;
            changed
        });
    }
}

/// A command whose outcome is not known yet.
struct InFlight {
    signed: SignedCommand,
    command: Command,
    answer: oneshot::Sender<Outcome>,
}

struct Task {
    settings: UplinkSettings,
    pending: mpsc::Receiver<Pending>,
    reports: watch::Receiver<Reports>,
    slice: watch::Sender<Option<Arc<Slice>>>,
    standing: watch::Sender<UplinkStanding>,
    in_flight: Option<InFlight>,
    lease: OwnLease,
    /// The zero of this member's monotonic clock.
    epoch: Instant,
    next_beat: u64,
    next_voter: usize,
}

/// One attached stream.
struct Attached {
    up: mpsc::Sender<Up>,
    down: BoxStream<'static, Result<Down, Status>>,
    /// This member's last number, then counted here.
    sequence: u64,
    /// What this stream has been told of the reports.
    reported: BTreeMap<WorkloadKey, PlacementReport>,
    /// The slice of this stream; differences refer to it, not to an older stream's.
    slice: Option<Arc<Slice>>,
    /// The beat last acknowledged, to notice a silent leader.
    last_answer: Instant,
}

#[derive(Debug, thiserror::Error)]
enum StreamEnd {
    #[error("the voter ended the stream: {0}")]
    Closed(String),
    #[error("no acknowledgement of a heartbeat for {0:?}")]
    Silent(Duration),
    #[error("the voter sent what this version cannot read: {0}")]
    Unreadable(String),
    #[error("the voter's ledger is older ({theirs}) than what this member has seen ({ours})")]
    Outdated { theirs: u64, ours: u64 },
    #[error("no voter to attach to is known")]
    NoVoter,
}

impl Task {
    async fn run(mut self, stop: CancellationToken) {
        let mut retry = interval(RETRY_AFTER);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = retry.tick() => {}
            }
            let end = tokio::select! {
                () = stop.cancelled() => return,
                end = self.attach_once() => end,
            };
            self.next_voter = self.next_voter.wrapping_add(1);
            if self.standing.borrow().attached {
                warn!(reason = %end, "lost the way to the federation; looking for another voter");
            } else {
                debug!(reason = %end, "could not attach");
            }
            self.set_attached(false);
        }
    }

    async fn attach_once(&mut self) -> StreamEnd {
        match self.open().await {
            Err(end) => end,
            Ok(mut attached) => self.converse(&mut attached).await,
        }
    }

    /// Tries one voter: the own one first, then the others in turn.
    async fn open(&mut self) -> Result<Attached, StreamEnd> {
        let (up, up_rx) = mpsc::channel(BUFFER);
        let hello = Hello {
            federation: self.settings.federation.0.to_vec(),
            relayed_for: Vec::new(),
        };
        let _ = up.try_send(Up {
            message: Some(up::Message::Hello(hello)),
        });
        let stream = ReceiverStream::new(up_rx);
        let mut down = self.connect(stream).await?;
        let first = timeout(WELCOME_WITHIN, down.next())
            .await
            .map_err(|_| StreamEnd::Silent(WELCOME_WITHIN))?;
        match first {
            Some(Ok(Down {
                message: Some(down::Message::Welcome(welcome)),
            })) => {
                self.lease
                    .set_duration(Duration::from_millis(welcome.lease_ms));
                Ok(Attached {
                    up,
                    down,
                    sequence: welcome.sequence,
                    reported: BTreeMap::new(),
                    slice: None,
                    last_answer: Instant::now(),
                })
            }
            Some(Ok(_)) => Err(StreamEnd::Unreadable(
                "the first message is not Welcome".into(),
            )),
            Some(Err(status)) => Err(Self::refused(&status)),
            None => Err(StreamEnd::Closed("without a word".into())),
        }
    }

    async fn connect(
        &mut self,
        up: ReceiverStream<Up>,
    ) -> Result<BoxStream<'static, Result<Down, Status>>, StreamEnd> {
        let local = self.settings.local.borrow().clone();
        let voters = self.voters();
        let turn = self.next_voter % (voters.len() + usize::from(local.is_some())).max(1);
        if let (Some(local), 0) = (&local, turn) {
            return Ok(local.attach(up));
        }
        let voter = voters
            .get(turn - usize::from(local.is_some()))
            .ok_or(StreamEnd::NoVoter)?;
        let mut client = FederationClient::new(self.settings.peers.channel(voter))
            .max_decoding_message_size(crate::peer::MAX_MESSAGE_BYTES);
        let answer = timeout(WELCOME_WITHIN, client.attach(up)).await;
        let response = answer.map_err(|_| StreamEnd::Silent(WELCOME_WITHIN))?;
        Ok(response
            .map_err(|status| Self::refused(&status))?
            .into_inner()
            .boxed())
    }

    /// The other voters, from the newest slice or, before the first, as remembered.
    fn voters(&self) -> Vec<Peer> {
        let own = self.settings.key.public();
        let slice = self.slice.borrow();
        match slice.as_deref() {
            Some(slice) => voters_of(slice, &own),
            None => self
                .settings
                .voters
                .iter()
                .filter(|voter| voter.key != own)
                .cloned()
                .collect(),
        }
    }

    fn refused(status: &Status) -> StreamEnd {
        if status.code() == tonic::Code::PermissionDenied {
            warn!(
                reason = status.message(),
                "refused by a voter of the federation"
            );
        }
        StreamEnd::Closed(format!("{}: {}", status.code(), status.message()))
    }

    async fn converse(&mut self, attached: &mut Attached) -> StreamEnd {
        self.resend(attached);
        self.reports.mark_changed();
        let mut beat = interval(self.settings.heartbeat);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Two missed answers and a half: one lost beat is no reason to leave, a lease is five of them.
        let patience = self.settings.heartbeat.mul_f32(2.5);
        loop {
            let result = tokio::select! {
                _ = beat.tick() => self.send_heartbeat(attached, patience),
                message = attached.down.next() => self.receive(attached, message),
                Ok(()) = self.reports.changed() => self.send_reports(attached),
                Some(pending) = self.pending.recv(), if self.in_flight.is_none() => self.send_command(attached, pending),
            };
            if let Err(end) = result {
                return end;
            }
        }
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    fn send_heartbeat(
        &mut self,
        attached: &mut Attached,
        patience: Duration,
    ) -> Result<(), StreamEnd> {
        if attached.last_answer.elapsed() > patience {
            return Err(StreamEnd::Silent(patience));
        }
        self.next_beat += 1;
        self.lease.sent(self.next_beat, self.now());
        send(
            attached,
            up::Message::Heartbeat(Heartbeat {
                number: self.next_beat,
            }),
        )
    }

    fn send_reports(&mut self, attached: &mut Attached) -> Result<(), StreamEnd> {
        let reports = self.reports.borrow_and_update().placements.clone();
        let difference = TableDifference::between(&attached.reported, &reports);
        attached.reported = reports;
        if difference.is_empty() {
            Ok(())
        } else {
            send(attached, up::Message::Reports(json(&difference)))
        }
    }

    fn send_command(
        &mut self,
        attached: &mut Attached,
        Pending { command, answer }: Pending,
    ) -> Result<(), StreamEnd> {
        let signed = self.sign(attached.sequence + 1, &command);
        self.in_flight = Some(InFlight {
            signed,
            command,
            answer,
        });
        self.send_in_flight(attached)
    }

    /// What was in flight when the last stream ended. The ledger has either seen it (it is the last number, and the
    /// same bytes get the same answer) or not (the number is still the next).
    fn resend(&mut self, attached: &mut Attached) {
        let next = attached.sequence + 1;
        if let Some(mut in_flight) = self.in_flight.take() {
            let sequence = in_flight.signed.sequence;
            if sequence != next && sequence != attached.sequence {
                in_flight.signed = self.sign(next, &in_flight.command);
            }
            self.in_flight = Some(in_flight);
            let _ = self.send_in_flight(attached);
        }
    }

    fn sign(&self, sequence: u64, command: &Command) -> SignedCommand {
        SignedCommand::sign(
            &self.settings.federation,
            &self.settings.key,
            sequence,
            command,
        )
    }

    fn send_in_flight(&self, attached: &mut Attached) -> Result<(), StreamEnd> {
        let Some(in_flight) = &self.in_flight else {
            return Ok(());
        };
        let proposal = Proposal {
            ticket: in_flight.signed.sequence,
            command: json(&in_flight.signed),
        };
        send(attached, up::Message::Proposal(proposal))
    }

    fn receive(
        &mut self,
        attached: &mut Attached,
        message: Option<Result<Down, Status>>,
    ) -> Result<(), StreamEnd> {
        let down = match message {
            None => return Err(StreamEnd::Closed("without a word".into())),
            Some(Err(status)) => return Err(Self::refused(&status)),
            Some(Ok(down)) => down.message,
        };
        match down {
            Some(down::Message::Heartbeat(beat)) => self.heartbeat_answered(attached, beat.number),
            Some(down::Message::Slice(bytes)) => return self.take_slice(attached, &bytes),
            Some(down::Message::Outcome(outcome)) => return self.take_outcome(attached, &outcome),
            Some(down::Message::Welcome(_)) | None => {}
        }
        Ok(())
    }

    fn heartbeat_answered(&mut self, attached: &mut Attached, number: u64) {
        attached.last_answer = Instant::now();
        self.lease.acknowledged(number);
        // Whoever stopped something for want of a lease starts it again by the newest slice, not by the one from before.
        if attached.slice.is_some() {
            self.publish_lease();
        }
    }

    fn publish_lease(&self) {
        let ends = self.lease.ends_at().map(|ends| self.epoch + ends);
        self.standing.send_if_modified(|standing| {
            let changed = standing.lease_ends != ends;
            standing.lease_ends = ends;
            changed
        });
        self.set_attached(true);
    }

    fn take_slice(&mut self, attached: &mut Attached, bytes: &[u8]) -> Result<(), StreamEnd> {
        let update: SliceUpdate = serde_json::from_slice(bytes)
            .map_err(|error| StreamEnd::Unreadable(error.to_string()))?;
        let slice = Slice::update(attached.slice.as_deref(), update)
            .ok_or_else(|| StreamEnd::Unreadable("a difference before any slice".into()))?;
        let ours = self
            .slice
            .borrow()
            .as_ref()
            .map_or(0, |slice| slice.federation.index);
        if slice.federation.index < ours {
            return Err(StreamEnd::Outdated {
                theirs: slice.federation.index,
                ours,
            });
        }
        let slice = Arc::new(slice);
        self.slice.send_replace(Some(slice.clone()));
        if attached.slice.replace(slice).is_none() {
            self.publish_lease();
        }
        Ok(())
    }

    fn take_outcome(
        &mut self,
        attached: &mut Attached,
        outcome: &crate::peer::proto::federation::ProposalOutcome,
    ) -> Result<(), StreamEnd> {
        let answer: Outcome = serde_json::from_slice(&outcome.outcome)
            .map_err(|error| StreamEnd::Unreadable(error.to_string()))?;
        match self.in_flight.take() {
            Some(in_flight) if in_flight.signed.sequence == outcome.ticket => {
                if let Outcome::Rejected {
                    rejection: Rejection::OutOfSequence { last, .. },
                } = answer
                {
                    return self.send_again(attached, in_flight, last);
                }
                attached.sequence = outcome.ticket;
                let _ = in_flight.answer.send(answer);
            }
            // The answer to an earlier sending of something already answered.
            other => self.in_flight = other,
        }
        Ok(())
    }

    /// The number was not the next: another process of this member counted on. The command itself was not looked at.
    fn send_again(
        &mut self,
        attached: &mut Attached,
        mut in_flight: InFlight,
        last: u64,
    ) -> Result<(), StreamEnd> {
        attached.sequence = last;
        in_flight.signed = self.sign(last + 1, &in_flight.command);
        self.in_flight = Some(in_flight);
        self.send_in_flight(attached)
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

/// The voters of `slice` that can be dialled, without the member with key `own`.
#[must_use]
pub fn voters_of(slice: &Slice, own: &PublicKey) -> Vec<Peer> {
    let rows = slice
        .federation
        .voters
        .iter()
        .filter_map(|name| slice.members.get(name));
    let peers = rows.filter_map(|row| {
        let seat = row.seat.as_ref().filter(|seat| !seat.address.is_empty())?;
        Some(Peer {
            address: seat.address.clone(),
            key: row.key,
        })
    });
    peers.filter(|peer| peer.key != *own).collect()
}

fn send(attached: &Attached, message: up::Message) -> Result<(), StreamEnd> {
    let sent = attached.up.try_send(Up {
        message: Some(message),
    });
    sent.map_err(|_| StreamEnd::Closed("it no longer takes messages".into()))
}

fn json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    // The types of hanse-core have string keys and no fallible serialisers.
    serde_json::to_vec(value).unwrap_or_default()
}
