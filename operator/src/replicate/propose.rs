//! How a command gets its outcome, and what holds when no outcome arrives.
//!
//! Commands carry a sequence number, so that proposing one again after [`ProposeError::Unavailable`] or
//! [`ProposeError::TimedOut`] is always safe: the ledger answers a repeated number with its first outcome.

use std::time::Duration;

use hanse_core::{
    command::{MAX_COMMAND_BYTES, SignedCommand, VerifyError},
    id::NodeId,
    state::Outcome,
};
use openraft::{
    ReadPolicy,
    errors::{ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError},
    impls::ProgressResponder,
};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    engine::{LeaderId, TypeConfig, Write},
    ledger::Ledger,
};

/// How long a proposal may take: more than an election, so that a command survives one.
const PROPOSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the confirmation of leadership may take. It is one round of heartbeats.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(3);

/// How often a proposal is tried while no leader is known.
const ATTEMPTS: u32 = 8;

/// The wait between two attempts: all waits together take about as long as an election takes.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(250);

/// Why a proposal has no outcome.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    #[error("this voter is not the leader; ask {}", match leader {
        Some(leader) => format!("node {leader}"),
        None => "again once a leader is elected".into(),
    })]
    NotLeader { leader: Option<NodeId> },
    #[error(
        "the ledger did not answer ({0}); the outcome is unknown, ask again with the same number"
    )]
    Unavailable(String),
    #[error("no quorum answered in time; the outcome is unknown, ask again with the same number")]
    TimedOut,
}

impl Ledger {
    /// Puts `command` into the log and waits until it is applied here. Takes at most five seconds.
    pub async fn propose(&self, command: SignedCommand) -> Result<Outcome, ProposeError> {
        self.propose_with(command, None).await
    }

    /// As [`propose`](Self::propose), for a decision that this node made as the leader of `term`: if it is no longer
    /// the leader, or is the leader of another term, the decision is not proposed.
    pub async fn propose_as_leader(
        &self,
        term: u64,
        command: SignedCommand,
    ) -> Result<Outcome, ProposeError> {
        let leader = LeaderId {
            term,
            node_id: self.node().0,
        };
        self.propose_with(command, Some(leader)).await
    }

    /// Confirms that this node is the leader: a quorum has answered it after this call began, and every entry committed
    /// before the call is applied here.
    pub async fn confirm_leadership(&self) -> Result<(), ProposeError> {
        let confirmed = self.raft().ensure_linearizable(ReadPolicy::ReadIndex);
        match timeout(CONFIRMATION_TIMEOUT, confirmed).await {
            Err(_) => Err(ProposeError::TimedOut),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)))) => {
                Err(not_leader(&forward))
            }
            Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(error)))) => {
                Err(ProposeError::Unavailable(error.to_string()))
            }
            Ok(Err(RaftError::Fatal(error))) => Err(ProposeError::Unavailable(error.to_string())),
        }
    }

    async fn propose_with(
        &self,
        command: SignedCommand,
        leader: Option<LeaderId>,
    ) -> Result<Outcome, ProposeError> {
        if command.body.len() > MAX_COMMAND_BYTES {
            return Ok(Outcome::Rejected {
                rejection: VerifyError::TooLarge.into(),
            });
        }
        let deadline = Instant::now() + PROPOSAL_TIMEOUT;
        let mut leadership = self.leadership();
        for _ in 1..ATTEMPTS {
            let attempt = timeout_at(deadline, self.attempt(command.clone(), leader)).await;
            match attempt.map_err(|_| ProposeError::TimedOut)? {
                // There is no leader, or this node leads but its quorum has not answered yet: nothing was proposed.
                Err(ProposeError::NotLeader { leader: None }) => {}
                result => return result,
            }
            let changed = timeout(BETWEEN_ATTEMPTS, leadership.changed()).await;
            if let Ok(Err(_)) = changed {
                return Err(ProposeError::Unavailable("it has stopped".into()));
            }
        }
        timeout_at(deadline, self.attempt(command, leader))
            .await
            .map_err(|_| ProposeError::TimedOut)?
    }

    async fn attempt(
        &self,
        command: SignedCommand,
        leader: Option<LeaderId>,
    ) -> Result<Outcome, ProposeError> {
        let (responder, answer) = ProgressResponder::<TypeConfig, _>::complete_only();
        let write = Write {
            time_ms: self.now_ms(),
            command,
        };
        let mut request = self.raft().write(write).responder(responder);
        if let Some(leader) = leader {
            request = request.with_leader(leader);
        }
        let stopped = |error: &dyn std::fmt::Display| ProposeError::Unavailable(error.to_string());
        request.await.map_err(|error| stopped(&error))?;
        match answer.await.map_err(|error| stopped(&error))? {
            Ok(response) => response
                .data
                .ok_or_else(|| stopped(&"it returned no outcome")),
            Err(ClientWriteError::ForwardToLeader(forward)) => Err(not_leader(&forward)),
            Err(error) => Err(stopped(&error)),
        }
    }
}

fn not_leader(forward: &ForwardToLeader<TypeConfig>) -> ProposeError {
    ProposeError::NotLeader {
        leader: forward.leader_id.map(NodeId),
    }
}
