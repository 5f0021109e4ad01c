//! One member's stream on the leader.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use hanse_core::{
    capacity::Capacity,
    command::{Lane, SignedCommand},
    id::{MemberName, PublicKey, WorkloadKey},
    mutation::{Mutation, is_on},
    slice::{PlacementReport, SliceUpdate, TableDifference, View},
    state::{Lease, State},
};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::{debug, warn};

use super::{leader_state::LeaderState, pace::Pace};
use crate::{
    peer::{
        SLICE_PART_BYTES,
        proto::federation::{
            Acknowledgement, Answer, Down, Heartbeat, Proposal, ProposalOutcome, Question, Up,
            Welcome, down, up,
        },
    },
    replicate::propose::ProposeError,
};

/// Messages buffered for a member. When the buffer is full the session waits; meanwhile several slices become one.
pub(super) const BUFFER: usize = 64;

/// The messages from the voter to the member.
pub(super) type DownStream = BoxStream<'static, Result<Down, Status>>;

/// Commands of one member waiting for the ledger. A member has one in flight, so a full queue shows a broken client.
const COMMANDS: usize = 8;

/// Questions of one member waiting for an answer. One more ends the stream: this operator asks fewer at a time.
const QUESTIONS: usize = 8;

struct Session {
    leader: Arc<LeaderState>,
    key: PublicKey,
    name: MemberName,
    term: u64,
    /// How recent a quorum's answer must be for a heartbeat to be acknowledged.
    quorum_within: Duration,
    down: mpsc::Sender<Result<Down, Status>>,
}

/// An update of a slice as it travels: in parts, if it is large.
fn slice_messages(bytes: &[u8]) -> impl Iterator<Item = down::Message> {
    let last = bytes.len().saturating_sub(1) / SLICE_PART_BYTES * SLICE_PART_BYTES;
    let (before, rest) = bytes.split_at(last);
    let parts = before.chunks(SLICE_PART_BYTES);
    let parts = parts.map(|part| down::Message::SlicePart(part.to_vec()));
    parts.chain([down::Message::Slice(rest.to_vec())])
}

/// Starts the session of the member with `key` and returns the stream of its messages to the member.
pub(super) fn start(
    leader: Arc<LeaderState>,
    quorum_within: Duration,
    key: PublicKey,
    term: u64,
    up: ReceiverStream<Up>,
) -> DownStream {
    let (down, receiver) = mpsc::channel(BUFFER);
    tokio::spawn(async move {
        let end = run(leader, quorum_within, key, term, up, down.clone()).await;
        // The member may have closed the stream already; most sessions end that way.
        let _ = down.send(Err(end)).await;
    });
    down_stream(receiver)
}

async fn run(
    leader: Arc<LeaderState>,
    quorum_within: Duration,
    key: PublicKey,
    term: u64,
    up: ReceiverStream<Up>,
    down: mpsc::Sender<Result<Down, Status>>,
) -> Status {
    // Everything committed before this term must be applied before a member receives a slice of the state.
    if let Err(error) = leader.ledger.confirm_leadership().await {
        return unavailable(&error);
    }
    let found = leader.ledger.read(|state| {
        let (name, _) = state.member_of(&key)?;
        let sequence = state
            .issuers
            .get(&key)
            .map_or(0, |issuer| issuer.member.sequence);
        Some((name.clone(), sequence, state.timings))
    });
    let Some((name, sequence, timings)) = found else {
        return Status::permission_denied("this key is not a member of this federation");
    };
    let welcome = down::Message::Welcome(Welcome {
        sequence,
        lease_ms: timings.lease_ms,
        heartbeat_ms: timings.heartbeat_ms,
    });
    if down
        .send(Ok(Down {
            message: Some(welcome),
        }))
        .await
        .is_err()
    {
        return Status::cancelled("the member closed its stream");
    }
    debug!(member = %name, "attached");
    let session = Session {
        leader,
        key,
        name,
        term,
        quorum_within,
        down,
    };
    let (commands_tx, commands_rx) = mpsc::channel(COMMANDS);
    let (questions_tx, questions_rx) = mpsc::channel(QUESTIONS);
    let end = tokio::select! {
        end = session.listen(up, commands_tx, questions_tx) => end,
        end = session.execute(commands_rx) => end,
        end = session.answer(questions_rx) => end,
        end = session.push_slices() => end,
        end = session.watch_over() => end,
    };
    debug!(member = %session.name, reason = end.message(), "detached");
    end
}

impl Session {
    async fn send(&self, message: down::Message) -> Result<(), Status> {
        let sent = self
            .down
            .send(Ok(Down {
                message: Some(message),
            }))
            .await;
        sent.map_err(|_| Status::cancelled("the member closed its stream"))
    }

    /// Handles heartbeats and reports. Commands go to a task of their own, so that a slow ledger does not delay a
    /// heartbeat.
    async fn listen(
        &self,
        mut up: ReceiverStream<Up>,
        commands: mpsc::Sender<Proposal>,
        questions: mpsc::Sender<Question>,
    ) -> Status {
        self.leader.change_standing(|standing| {
            standing.reports.remove_all_at(&self.name);
        });
        while let Some(message) = up.next().await {
            let handled = match message.message {
                Some(up::Message::Heartbeat(beat)) => self.heartbeat(beat).await,
                Some(up::Message::Reports(bytes)) => self.reports(&bytes),
                Some(up::Message::Capacity(capacity)) => {
                    self.capacity(&capacity.measured);
                    Ok(())
                }
                Some(up::Message::Proposal(proposal)) => {
                    commands.try_send(proposal).map_err(|_| {
                        Status::resource_exhausted("too many commands in flight on one stream")
                    })
                }
                Some(up::Message::Question(question)) => {
                    questions.try_send(question).map_err(|_| {
                        Status::resource_exhausted("too many questions at once on one stream")
                    })
                }
                Some(up::Message::Hello(_)) | None => Ok(()),
            };
            if let Err(status) = handled {
                return status;
            }
        }
        Status::cancelled("the member ended the stream")
    }

    async fn heartbeat(&self, beat: Heartbeat) -> Result<(), Status> {
        let lease = self.leader.ledger.read(|state| lease_of(state, &self.name));
        let Some(lease) = lease else {
            return Ok(());
        };
        self.leader
            .note_control_plane(&self.name, beat.unanswered_seconds);
        let now = self.leader.now();
        let (granted, was_last) = self.leader.lessor(|lessor| {
            let was_early = lessor.is_early(now);
            let granted = lessor.heard(&self.name, lease, now);
            (granted, was_early && !lessor.is_early(now))
        });
        if was_last || matches!(lease, Lease::Lost { .. }) {
            self.leader.look.notify_one();
        }
        let Some(granted) = granted else {
            return Ok(());
        };
        // Without an answer of a quorum this leader may have been replaced. Its acknowledgement would then prolong a
        // lease that the new leader ended.
        if !self.leader.ledger.hears_quorum(self.quorum_within) && !is_on(Mutation::HearQuorum) {
            return Ok(());
        }
        self.send(down::Message::Acknowledgement(Acknowledgement {
            number: beat.number,
            lease_ms: granted.lease_ms,
            heartbeat_ms: granted.heartbeat_ms,
        }))
        .await
    }

    fn reports(&self, bytes: &[u8]) -> Result<(), Status> {
        let difference: TableDifference<WorkloadKey, PlacementReport> =
            serde_json::from_slice(bytes).map_err(|error| {
                Status::invalid_argument(format!("the reports are not readable: {error}"))
            })?;
        self.leader.change_standing(|standing| {
            for workload in &difference.gone {
                standing.reports.remove(workload, &self.name);
            }
            for (workload, report) in difference.set {
                standing
                    .reports
                    .insert(workload, self.name.clone(), report.into());
            }
        });
        Ok(())
    }

    /// Takes over a report. With one that this leader cannot use, the member counts as never full: ending its stream would cost its lease.
    fn capacity(&self, measured: &[u8]) {
        let capacity = match measured {
            [] => None,
            bytes => match Capacity::read(bytes) {
                Ok(capacity) => Some(capacity),
                Err(reason) => {
                    warn!(member = %self.name, reason, "cannot use what a member reports of its room");
                    None
                }
            },
        };
        self.leader.set_capacity(&self.name, capacity);
    }

    /// Proposes one command after the other: a member's numbers must reach the log in order.
    async fn execute(&self, mut commands: mpsc::Receiver<Proposal>) -> Status {
        while let Some(Proposal { ticket, command }) = commands.recv().await {
            let signed: SignedCommand = match serde_json::from_slice(&command) {
                Ok(signed) => signed,
                Err(error) => {
                    return Status::invalid_argument(format!(
                        "the command is not readable: {error}"
                    ));
                }
            };
            if signed.issuer != self.key || signed.lane != Lane::Member || signed.term != 0 {
                return Status::permission_denied(
                    "a member sends its own commands only, and no decisions",
                );
            }
            let outcome = match self.leader.ledger.propose(signed).await {
                Ok(outcome) => serde_json::to_vec(&outcome).unwrap_or_default(),
                // Whether the command was committed is unknown. The member sends it again with the same number.
                Err(error) => return unavailable(&error),
            };
            if let Err(status) = self
                .send(down::Message::Outcome(ProposalOutcome { ticket, outcome }))
                .await
            {
                return status;
            }
        }
        std::future::pending().await
    }

    /// Answers one question after the other, on a thread of its own: an answer may take as long as a plan of everything.
    async fn answer(&self, mut questions: mpsc::Receiver<Question>) -> Status {
        while let Some(Question { ticket, question }) = questions.recv().await {
            let Ok(_turn) = self.leader.answering.acquire().await else {
                break;
            };
            let (leader, asker) = (self.leader.clone(), self.name.clone());
            let answered = tokio::task::spawn_blocking(move || leader.answer(&asker, &question));
            let Ok(answer) = answered.await else {
                return Status::internal("the question could not be answered");
            };
            if let Err(status) = self
                .send(down::Message::Answer(Answer { ticket, answer }))
                .await
            {
                return status;
            }
        }
        std::future::pending().await
    }

    /// Sends the whole slice, then differences, as fast as the member reads them.
    async fn push_slices(&self) -> Status {
        let mut applied = self.leader.ledger.applied();
        let mut standing = self.leader.standing_changes();
        let (state, now) = (self.leader.ledger.state(), self.leader.standing());
        let view = View::new(state, now, &self.name, &self.leader.name, self.term);
        let Some(mut view) = view else {
            return Status::permission_denied("this member was revoked in this federation");
        };
        let slice = Box::new(view.slice().clone());
        if let Err(status) = self.send_slice(&SliceUpdate::Whole { slice }).await {
            return status;
        }
        let mut pace = Pace::default();
        loop {
            let changed = tokio::select! {
                changed = applied.changed() => changed,
                changed = standing.changed() => changed,
                () = pace.due() => Ok(()),
            };
            if changed.is_err() {
                return Status::unavailable("the voter is stopping");
            }
            applied.mark_unchanged();
            standing.mark_unchanged();
            let (state, now) = (self.leader.ledger.state(), self.leader.standing());
            if let Err(status) = admitted(&state, &self.key) {
                return status;
            }
            let within = state.timings.look_every();
            let difference = pace.next(view.advance(state, now), Instant::now(), within);
            let update = difference.map(SliceUpdate::Difference);
            if let Some(update) = update
                && let Err(status) = self.send_slice(&update).await
            {
                return status;
            }
        }
    }

    async fn send_slice(&self, update: &SliceUpdate) -> Result<(), Status> {
        let bytes = serde_json::to_vec(update).unwrap_or_default();
        for message in slice_messages(&bytes) {
            self.send(message).await?;
        }
        Ok(())
    }

    /// Ends the session with the term, or when its member is revoked.
    async fn watch_over(&self) -> Status {
        let mut leadership = self.leader.ledger.leadership();
        let mut applied = self.leader.ledger.applied();
        loop {
            {
                let now = leadership.borrow_and_update();
                if !now.is_self || now.term != self.term {
                    return Status::unavailable("this voter no longer leads");
                }
            }
            if let Err(status) = self.leader.ledger.read(|state| admitted(state, &self.key)) {
                warn!(member = %self.name, reason = status.message(), "ended a stream");
                return status;
            }
            let changed = tokio::select! {
                changed = leadership.changed() => changed,
                changed = applied.changed() => changed,
            };
            if changed.is_err() {
                return Status::unavailable("the voter is stopping");
            }
        }
    }
}

fn lease_of(state: &State, member: &MemberName) -> Option<Lease> {
    state.members.get(member).map(|row| row.lease)
}

/// Whether the holder of `key` may keep a stream.
pub(super) fn admitted(state: &State, key: &PublicKey) -> Result<(), Status> {
    match state.member_of(key) {
        None => Err(Status::permission_denied(
            "this key is not a member of this federation; join with an invitation",
        )),
        Some((name, member)) if matches!(member.lease, Lease::Revoked { .. }) => Err(
            Status::permission_denied(format!("member '{name}' was revoked in this federation")),
        ),
        Some(_) => Ok(()),
    }
}

/// The status that makes a caller try again.
pub(super) fn unavailable(error: &ProposeError) -> Status {
    Status::unavailable(error.to_string())
}

/// The receiving end of a session's messages as a stream.
fn down_stream(receiver: mpsc::Receiver<Result<Down, Status>>) -> DownStream {
    ReceiverStream::new(receiver).boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lengths of the parts of an update of so many bytes, and of what follows them.
    fn lengths(bytes: usize) -> (Vec<usize>, usize) {
        let update: Vec<u8> = (0_u8..251).cycle().take(bytes).collect();
        let (mut parts, mut rest, mut all) = (Vec::new(), None, Vec::new());
        for message in slice_messages(&update) {
            assert_eq!(rest, None, "something follows the last message");
            match message {
                down::Message::SlicePart(part) => {
                    parts.push(part.len());
                    all.extend(part);
                }
                down::Message::Slice(last) => {
                    rest = Some(last.len());
                    all.extend(last);
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(all == update);
        (parts, rest.unwrap())
    }

    #[test]
    fn a_large_update_travels_in_parts() {
        assert_eq!(lengths(0), (vec![], 0));
        assert_eq!(lengths(7), (vec![], 7));
        assert_eq!(lengths(SLICE_PART_BYTES), (vec![], SLICE_PART_BYTES));
        assert_eq!(lengths(SLICE_PART_BYTES + 1), (vec![SLICE_PART_BYTES], 1));
        let two = vec![SLICE_PART_BYTES; 2];
        assert_eq!(lengths(2 * SLICE_PART_BYTES + 9), (two, 9));
    }
}
