//! The handle through which the rest of the operator uses the uplink.

use std::{sync::Arc, time::Duration};

use hanse_core::{
    capacity::Capacity,
    command::Command,
    inquiry::{Answer, Question},
    slice::{Reports, Slice},
    state::Outcome,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout},
};

use super::questions::Asked;

/// Commands waiting to be sent. When the queue is full, `propose` waits: the observers slow down, nothing is dropped.
const QUEUE: usize = 1_024;

/// Questions waiting to be sent. When the queue is full, a further one is refused.
const QUESTIONS: usize = 4;

/// How long the leader may take to answer: several plans of everything.
const ANSWERED_WITHIN: Duration = Duration::from_secs(30);

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("others are being answered: ask again in a few seconds")]
    Busy,
    #[error("the stream to the federation ended meanwhile: ask again")]
    Interrupted,
    #[error(
        "no leader answered within {0:?}: ask again when there is a quorum, or when the leader's operator is not older than this one"
    )]
    Silent(Duration),
}

/// The operator is stopping, so the command gets no answer.
#[derive(Debug, thiserror::Error)]
#[error("the operator is stopping")]
pub struct UplinkGone;

/// What this member says of how much it can still run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum OwnCapacity {
    /// Nothing yet: the leader keeps what an earlier process of this member said.
    #[default]
    NotMeasured,
    /// It is never full.
    Elastic,
    /// What it has measured.
    Measured(Arc<Capacity>),
}

/// This member's attachment and lease, measured by this member's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UplinkStanding {
    /// Whether a leader with a quorum acknowledged the last heartbeat in time.
    pub attached: bool,
    /// When this member's lease ends on this machine's clock; `None` before the first acknowledged heartbeat.
    pub lease_ends: Option<Instant>,
    /// Since when `attached` has its value.
    pub since: Option<Instant>,
}

/// The member's connection to the federation. Clones share one stream.
#[derive(Clone)]
pub struct Uplink {
    proposals: mpsc::Sender<Pending>,
    questions: mpsc::Sender<Asked>,
    reports: Arc<watch::Sender<Reports>>,
    capacity: Arc<watch::Sender<OwnCapacity>>,
    slice: watch::Receiver<Option<Arc<Slice>>>,
    standing: watch::Receiver<UplinkStanding>,
}

/// A command that waits to be sent.
pub(super) struct Pending {
    pub(super) command: Command,
    pub(super) answer: oneshot::Sender<Outcome>,
}

/// The other ends of an [`Uplink`]'s channels, for its task.
pub(super) struct Ends {
    pub(super) pending: mpsc::Receiver<Pending>,
    pub(super) asked: mpsc::Receiver<Asked>,
    pub(super) reports: watch::Receiver<Reports>,
    pub(super) capacity: watch::Receiver<OwnCapacity>,
    pub(super) slice: watch::Sender<Option<Arc<Slice>>>,
    pub(super) standing: watch::Sender<UplinkStanding>,
}

impl Uplink {
    /// An uplink and the channel ends for its task.
    pub(super) fn new() -> (Self, Ends) {
        let (proposals, pending) = mpsc::channel(QUEUE);
        let (questions, asked) = mpsc::channel(QUESTIONS);
        let (reports, reports_rx) = watch::channel(Reports::default());
        let (capacity, capacity_rx) = watch::channel(OwnCapacity::default());
        let (slice_tx, slice) = watch::channel(None);
        let (standing_tx, standing) = watch::channel(UplinkStanding::default());
        let uplink = Self {
            proposals,
            questions,
            reports: Arc::new(reports),
            capacity: Arc::new(capacity),
            slice,
            standing,
        };
        let ends = Ends {
            pending,
            asked,
            reports: reports_rx,
            capacity: capacity_rx,
            slice: slice_tx,
            standing: standing_tx,
        };
        (uplink, ends)
    }

    /// Proposes a command and waits for the ledger's outcome without a time limit. A queued command is sent until the
    /// ledger answers.
    pub async fn propose(&self, command: Command) -> Result<Outcome, UplinkGone> {
        let (answer, outcome) = oneshot::channel();
        self.proposals
            .send(Pending { command, answer })
            .await
            .map_err(|_| UplinkGone)?;
        outcome.await.map_err(|_| UplinkGone)
    }

    /// Asks the leader. Nothing is changed by it, and a question is sent once.
    pub async fn ask(&self, question: Question) -> Result<Answer, AskError> {
        let (answer, answered) = oneshot::channel();
        self.questions
            .try_send(Asked { question, answer })
            .map_err(|_| AskError::Busy)?;
        match timeout(ANSWERED_WITHIN, answered).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(AskError::Interrupted),
            Err(_) => Err(AskError::Silent(ANSWERED_WITHIN)),
        }
    }

    /// The newest slice; `None` until this process has received its first.
    #[must_use]
    pub fn slice(&self) -> watch::Receiver<Option<Arc<Slice>>> {
        self.slice.clone()
    }

    /// This member's attachment and lease.
    #[must_use]
    pub fn standing(&self) -> watch::Receiver<UplinkStanding> {
        self.standing.clone()
    }

    /// The last reports of this member's placements.
    #[must_use]
    pub fn reports(&self) -> Reports {
        self.reports.borrow().clone()
    }

    /// Notified of every change of [`reports`](Self::reports).
    #[must_use]
    pub fn report_changes(&self) -> watch::Receiver<Reports> {
        self.reports.subscribe()
    }

    /// Replaces the reports of this member's placements.
    pub fn report(&self, reports: Reports) {
        self.reports.send_if_modified(|current| {
            let changed = *current != reports;
            *current = reports;
            changed
        });
    }

    /// Replaces what this member says of how much it can still run.
    pub fn report_capacity(&self, capacity: OwnCapacity) {
        self.capacity.send_if_modified(|current| {
            let changed = *current != capacity;
            *current = capacity;
            changed
        });
    }
}
