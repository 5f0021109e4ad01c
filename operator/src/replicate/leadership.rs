//! Who leads, and whom the leader hears, by what the engine reports.

use std::{collections::BTreeSet, time::Duration};

use hanse_core::id::NodeId;
use openraft::{
    RaftMetrics, ServerState, async_runtime::WatchReceiver as _, metrics::RaftServerMetrics,
};
use tokio::sync::watch;

use super::{engine::TypeConfig, machine::Raft};

/// Who leads, as far as this voter knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Leadership {
    /// The leader, once one is known.
    pub leader: Option<NodeId>,
    /// Its term; grows with every election.
    pub term: u64,
    /// Whether it is this node. A newer leader may exist already: before acting on this, call
    /// [`Ledger::confirm_leadership`](super::ledger::Ledger::confirm_leadership).
    pub is_self: bool,
}

/// Publishes the leader that the engine reports. Ends with the engine.
pub(super) fn watch(raft: &Raft) -> watch::Receiver<Leadership> {
    let mut metrics = raft.server_metrics();
    let (sender, receiver) = watch::channel(leadership_of(&metrics.borrow_watched()));
    tokio::spawn(async move {
        while metrics.changed().await.is_ok() {
            let now = leadership_of(&metrics.borrow_watched());
            sender.send_if_modified(|current| std::mem::replace(current, now) != now);
        }
    });
    receiver
}

fn leadership_of(metrics: &RaftServerMetrics<TypeConfig>) -> Leadership {
    Leadership {
        leader: metrics.current_leader.map(NodeId),
        term: metrics.vote.leader_id.term,
        is_self: metrics.state == ServerState::Leader && metrics.current_leader == Some(metrics.id),
    }
}

/// The voters that have answered this leader nothing for so long, or nothing yet.
pub(super) fn silent_voters(metrics: &RaftMetrics<TypeConfig>, long: Duration) -> BTreeSet<NodeId> {
    let answers = |voter: &u64| {
        let heard = metrics.heartbeat.as_ref();
        let last = heard.and_then(|nodes| nodes.get(voter).copied().flatten());
        last.is_some_and(|last| openraft::Instant::elapsed(&*last) <= long)
    };
    others(metrics)
        .filter(|voter| !answers(voter))
        .map(NodeId)
        .collect()
}

/// Whether this node leads and a quorum has answered it within the last `within`.
pub(super) fn hears_quorum(metrics: &RaftMetrics<TypeConfig>, within: Duration) -> bool {
    let heard = metrics.last_quorum_acked;
    let heard = heard.is_some_and(|acked| openraft::Instant::elapsed(&*acked) <= within);
    metrics.state == ServerState::Leader && (heard || others(metrics).next().is_none())
}

/// The voter with the longest log, if this node leads and is not the only voter.
pub(super) fn successor(metrics: &RaftMetrics<TypeConfig>) -> Option<NodeId> {
    let replication = metrics.replication.as_ref()?;
    let longest = others(metrics).max_by_key(|voter| replication.get(voter).copied().flatten());
    longest
        .filter(|_| metrics.state == ServerState::Leader)
        .map(NodeId)
}

fn others(metrics: &RaftMetrics<TypeConfig>) -> impl Iterator<Item = u64> + '_ {
    let voters = metrics.membership_config.voter_ids();
    voters.filter(|voter| *voter != metrics.id)
}
