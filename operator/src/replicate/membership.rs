//! Carries out the decisions of [`hanse_core::quorum`] about the voters. Runs on every voter, acts on the leader only.
//!
//! Newcomers start from a snapshot. The log before it begins with the configuration of the founder alone, and a
//! newcomer that replayed it would for a moment be in a configuration in which one voter is a quorum.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    time::Duration,
};

use hanse_core::{
    id::NodeId,
    quorum::{self, Quorum, Step},
};
use openraft::{ChangeMembers, RaftMetrics, async_runtime::WatchReceiver as _};
use tokio::time::{Instant, sleep, timeout};

use super::{
    engine::{LogId, TypeConfig, VoterNode},
    ledger::Ledger,
};

/// How often the leader checks whether another step is due. Half a second hardly delays a newcomer, and a check costs
/// microseconds.
const PACE: Duration = Duration::from_millis(500);

/// The longest pause after steps that failed; the first is [`PACE`], each failure doubles it.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// How long one step may take. A snapshot has to be written, or a change committed by both quorums.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// A learner this many entries behind has caught up: the rest fits in one message.
const CAUGHT_UP_ENTRIES: u64 = 128;

/// A voter that has answered nothing for so long is silent. Longer than an election, and than a disk may be slow.
pub const SILENT_VOTER_AFTER: Duration = Duration::from_secs(10);

/// When the leader replaces a node, and after which time the node may return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// A voter that has answered nothing for so long is silent.
    pub silent_voter: Duration,
    /// A voter without a lease, or silent, for this long is replaced if another member can become a voter. Longer than a
    /// reboot or an upgrade takes.
    pub lost_voter: Duration,
    /// A learner that has not caught up within this time is replaced by another. Longer than a snapshot may take.
    pub slow_learner: Duration,
    /// After this time it may become a learner again.
    pub second_chance: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            silent_voter: SILENT_VOTER_AFTER,
            lost_voter: Duration::from_mins(10),
            slow_learner: Duration::from_mins(1),
            second_chance: Duration::from_mins(10),
        }
    }
}

/// Why a step failed. Every step is retried.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("failed to take a snapshot for the newcomers: {0}")]
    TakeSnapshot(String),
    #[error("failed to add node {0} as a learner: {1}")]
    AddLearner(NodeId, String),
    #[error("failed to change who votes: {0}")]
    ChangeVoters(String),
    #[error("the step took longer than {STEP_TIMEOUT:?}")]
    TimedOut,
}

/// Adds and replaces voters until the ledger stops.
pub async fn keep_quorum(ledger: Ledger, patience: Patience) {
    let mut leadership = ledger.leadership();
    loop {
        let leads = leadership.wait_for(|leadership| leadership.is_self);
        let Ok(term) = leads.await.map(|leadership| leadership.term) else {
            return;
        };
        let deposed = leadership.wait_for(|now| !now.is_self || now.term != term);
        tokio::select! {
            stopped = deposed => if stopped.is_err() { return },
            never = lead(&ledger, patience) => match never {},
        }
    }
}

/// The work of the leader of one term. It records since when nodes are missing; a new leader starts from zero.
async fn lead(ledger: &Ledger, patience: Patience) -> Infallible {
    let mut missing = Missing::default();
    let mut pause = PACE;
    loop {
        sleep(pause).await;
        let taken = timeout(STEP_TIMEOUT, take_step(ledger, &mut missing, patience)).await;
        pause = match taken.unwrap_or(Err(StepError::TimedOut)) {
            Ok(()) => PACE,
            Err(error) => {
                tracing::warn!(%error, "failed to change the voters; retrying");
                (pause * 2).min(MAX_PAUSE)
            }
        };
    }
}

async fn take_step(
    ledger: &Ledger,
    missing: &mut Missing,
    patience: Patience,
) -> Result<(), StepError> {
    let metrics = ledger.raft().metrics().borrow_watched().clone();
    if metrics.membership_config.get_joint_config().len() > 1 {
        // A leader stopped during a joint change: finish it first.
        return change(ledger, ChangeMembers::AddVoterIds([].into())).await;
    }
    let silent = ledger.silent_voters(patience.silent_voter);
    let mut quorum = quorum_of(&metrics, silent);
    quorum.given_up = missing.give_up(ledger, &quorum, patience, Instant::now());
    let step = ledger.read(|state| quorum::next_step(state, &quorum));
    if step != Step::Nothing {
        tracing::info!(?step, "changing the voters");
    }
    match step {
        Step::Nothing => Ok(()),
        Step::AddLearners(nodes) => add_learners(ledger, nodes.into_iter().collect()).await,
        Step::DropLearners(nodes) => {
            let nodes = nodes.into_iter().map(|node| node.0).collect();
            change(ledger, ChangeMembers::RemoveNodes(nodes)).await
        }
        Step::ReplaceVoters(nodes) => {
            let nodes = nodes.into_iter().map(|node| node.0).collect();
            change(ledger, ChangeMembers::ReplaceAllVoters(nodes)).await
        }
    }
}

fn quorum_of(metrics: &RaftMetrics<TypeConfig>, silent: BTreeSet<NodeId>) -> Quorum {
    let membership = metrics.membership_config.membership();
    let last = metrics.last_log_index.unwrap_or_default();
    let has_caught_up = |node: u64| {
        let replication = metrics.replication.as_ref();
        let matched = replication.and_then(|nodes| nodes.get(&node).copied().flatten());
        matched.is_some_and(|matched| last.saturating_sub(matched.index()) <= CAUGHT_UP_ENTRIES)
    };
    Quorum {
        voters: membership.voter_ids().map(NodeId).collect(),
        learners: membership
            .learner_ids()
            .map(|node| (NodeId(node), has_caught_up(node)))
            .collect(),
        given_up: [].into(),
        silent,
        leader: NodeId(metrics.id),
    }
}

async fn add_learners(ledger: &Ledger, nodes: Vec<NodeId>) -> Result<(), StepError> {
    cut_history(ledger).await?;
    for node in nodes {
        let seat = ledger.read(|state| {
            let (_, member) = state.member_at(node)?;
            let seat = member.seat.as_ref()?;
            Some(VoterNode::new(seat.address.clone(), member.key))
        });
        // The node left after the decision: the next check decides again.
        let Some(seat) = seat else { continue };
        ledger
            .raft()
            .add_learner(node.0, seat, false)
            .await
            .map_err(|error| StepError::AddLearner(node, error.to_string()))?;
    }
    Ok(())
}

/// Takes a snapshot of everything applied so far and purges the log entries it covers.
async fn cut_history(ledger: &Ledger) -> Result<(), StepError> {
    let failed = |error: &dyn std::fmt::Display| StepError::TakeSnapshot(error.to_string());
    let raft = ledger.raft();
    let applied = *ledger.applied().borrow();
    raft.trigger()
        .snapshot()
        .await
        .map_err(|error| failed(&error))?;
    let covers = |id: Option<LogId>| id.is_some_and(|id| id.index() >= applied);
    let waiting = || raft.wait(Some(STEP_TIMEOUT));
    waiting()
        .metrics(
            |metrics| covers(metrics.snapshot),
            "a snapshot of everything applied",
        )
        .await
        .map_err(|error| failed(&error))?;
    raft.trigger()
        .purge_log(applied)
        .await
        .map_err(|error| failed(&error))?;
    waiting()
        .metrics(
            |metrics| covers(metrics.purged),
            "the log to be cut behind the snapshot",
        )
        .await
        .map_err(|error| failed(&error))?;
    Ok(())
}

/// One change of the configuration. Voters that leave are removed from it: their node ids are never used again.
async fn change(ledger: &Ledger, change: ChangeMembers<u64, VoterNode>) -> Result<(), StepError> {
    let changed = ledger.raft().change_membership(change, false).await;
    changed
        .map(|_| ())
        .map_err(|error| StepError::ChangeVoters(error.to_string()))
}

/// The nodes that are missing, and since when, as observed by this leader.
#[derive(Debug, Default)]
struct Missing(BTreeMap<NodeId, Instant>);

impl Missing {
    /// The nodes to replace at `now`.
    fn give_up(
        &mut self,
        ledger: &Ledger,
        quorum: &Quorum,
        patience: Patience,
        now: Instant,
    ) -> BTreeSet<NodeId> {
        let lost = ledger.read(|state| {
            let is_lost = |node: &NodeId| {
                let member = state.member_at(*node);
                member.is_some_and(|(_, member)| !member.lease.is_held())
                    || quorum.silent.contains(node)
            };
            let voters = quorum.voters.iter().copied();
            voters.filter(is_lost).collect::<Vec<_>>()
        });
        let slow = quorum.learners.iter().filter(|(_, caught_up)| !**caught_up);
        let slow: Vec<NodeId> = slow.map(|(node, _)| *node).collect();
        self.0.retain(|node, since| {
            let benched = !quorum.voters.contains(node)
                && now.duration_since(*since) > patience.slow_learner
                && now.duration_since(*since) < patience.slow_learner + patience.second_chance;
            lost.contains(node) || slow.contains(node) || benched
        });
        for node in lost.iter().chain(&slow) {
            self.0.entry(*node).or_insert(now);
        }
        let given_up = self.0.iter().filter(|(node, since)| {
            let patience = if quorum.voters.contains(node) {
                patience.lost_voter
            } else {
                patience.slow_learner
            };
            now.duration_since(**since) > patience
        });
        given_up.map(|(node, _)| *node).collect()
    }
}
