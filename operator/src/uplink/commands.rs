//! The member's commands: numbered, signed and sent one after the other.
//!
//! The ledger accepts a member's numbers in order only and answers a repetition with the first outcome. So one command
//! is in flight at a time, and one whose outcome is unknown is sent again, byte for byte, on the next stream.

use hanse_core::{
    command::{Command, SignedCommand},
    id::{FederationId, PrivateKey},
    state::{Outcome, Rejection},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{
    attach::{StreamEnd, UpStream},
    handle::Pending,
    metrics::{CommandOutcome, UplinkMetrics},
};
use crate::peer::proto::federation::{Proposal, ProposalOutcome, up};

/// A command whose outcome is not known yet.
struct InFlight {
    signed: SignedCommand,
    command: Command,
    answer: oneshot::Sender<Outcome>,
    /// When it was first sent.
    sent: Instant,
}

/// The commands that wait to be sent, and the one that was sent and is not answered yet.
pub(super) struct Commands {
    federation: FederationId,
    key: PrivateKey,
    pending: mpsc::Receiver<Pending>,
    in_flight: Option<InFlight>,
    /// This member's last number in the ledger: received from the voter in Welcome, then counted up here.
    sequence: u64,
    metrics: UplinkMetrics,
}

impl Commands {
    pub(super) fn new(
        federation: FederationId,
        key: PrivateKey,
        pending: mpsc::Receiver<Pending>,
        metrics: UplinkMetrics,
    ) -> Self {
        Self {
            federation,
            key,
            pending,
            in_flight: None,
            sequence: 0,
            metrics,
        }
    }

    /// The next command to send, once none is in flight. Safe to cancel: no command is lost.
    pub(super) async fn next(&mut self) -> Pending {
        if self.in_flight.is_none()
            && let Some(pending) = self.pending.recv().await
        {
            return pending;
        }
        std::future::pending().await
    }

    pub(super) fn send(&mut self, up: &UpStream, pending: Pending) -> Result<(), StreamEnd> {
        let Pending { command, answer } = pending;
        let signed = self.sign(self.sequence + 1, &command);
        self.in_flight = Some(InFlight {
            signed,
            command,
            answer,
            sent: Instant::now(),
        });
        self.send_in_flight(up)
    }

    /// Begins a stream to a ledger at `sequence` and repeats the command in flight. Either the ledger has that command
    /// (its number is the last, and the same bytes get the same answer) or it has not (its number is the next).
    pub(super) fn resume(&mut self, up: &UpStream, sequence: u64) -> Result<(), StreamEnd> {
        self.sequence = sequence;
        let Some(mut in_flight) = self.in_flight.take() else {
            return Ok(());
        };
        self.metrics.count_command(CommandOutcome::Unanswered);
        if ![sequence, sequence + 1].contains(&in_flight.signed.sequence) {
            in_flight.signed = self.sign(sequence + 1, &in_flight.command);
        }
        self.in_flight = Some(in_flight);
        self.send_in_flight(up)
    }

    pub(super) fn take_outcome(
        &mut self,
        up: &UpStream,
        outcome: &ProposalOutcome,
    ) -> Result<(), StreamEnd> {
        let answer: Outcome = serde_json::from_slice(&outcome.outcome)
            .map_err(|error| StreamEnd::Unreadable(error.to_string()))?;
        let in_flight = match self.in_flight.take() {
            Some(in_flight) if in_flight.signed.sequence == outcome.ticket => in_flight,
            // This outcome answers a repetition of a command that was answered before.
            other => {
                self.in_flight = other;
                return Ok(());
            }
        };
        if let Outcome::Rejected {
            rejection: Rejection::OutOfSequence { last, .. },
        } = answer
        {
            // Another process of this member used this number. The ledger did not evaluate the command itself.
            self.sequence = last;
            let InFlight {
                command, answer, ..
            } = in_flight;
            return self.send(up, Pending { command, answer });
        }
        self.metrics.count_command(match &answer {
            Outcome::Accepted { .. } => CommandOutcome::Accepted,
            Outcome::Rejected { .. } => CommandOutcome::Rejected,
        });
        self.metrics.observe_command(in_flight.sent.elapsed());
        self.sequence = outcome.ticket;
        // The caller of `propose` may have stopped waiting.
        let _ = in_flight.answer.send(answer);
        Ok(())
    }

    fn sign(&self, sequence: u64, command: &Command) -> SignedCommand {
        SignedCommand::sign(&self.federation, &self.key, sequence, command)
    }

    fn send_in_flight(&self, up: &UpStream) -> Result<(), StreamEnd> {
        let Some(in_flight) = &self.in_flight else {
            return Ok(());
        };
        up.send(up::Message::Proposal(Proposal {
            ticket: in_flight.signed.sequence,
            // The types of hanse-core have string keys and no fallible serialisers.
            command: serde_json::to_vec(&in_flight.signed).unwrap_or_default(),
        }))
    }
}
