//! The leader's loop: decides which leases are held and what runs where. Each decision is a command, proposed after the
//! one before it is answered.
//!
//! ```text
//!  state changed │ lease due │ member silent │ lost member's heartbeat
//!      └─► expire ─► renew ─► fence ─► suspect ─► schedule (once members were heard) ─► Assign ─► (again)
//! ```
//!
//! Every step reads the current state, computes a decision from it with a pure function of hanse-core, and proposes the
//! decision fenced to this term: a decision of a deposed leader cannot commit later. Planning happens here and never in
//! `apply`, so that two versions in a rolling upgrade cannot compute different states from one log.

use std::{sync::Arc, time::Duration};

use hanse_core::{id::NodeId, lease::Lessor, suspicion::Suspects};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    leader_state::LeaderState,
    term::{Leader, Term},
};

/// Runs the loop whenever this node is the leader, until `stop`.
pub(super) async fn run(leader: Leader, stop: CancellationToken) {
    tokio::spawn(keep_awake(leader.state.clone(), stop.clone()));
    let mut leadership = leader.ledger().leadership();
    loop {
        let mut predecessor = None;
        let elected = leadership.wait_for(|now| {
            if !now.is_self {
                predecessor = now.leader.or(predecessor);
            }
            now.is_self
        });
        let term = tokio::select! {
            () = stop.cancelled() => return,
            now = elected => match now {
                Ok(now) => now.term,
                Err(_) => return,
            },
        };
        info!(term, "leading");
        let end = tokio::select! {
            () = stop.cancelled() => return,
            _ = leadership.wait_for(|now| !now.is_self || now.term != term) => "the term ended".to_owned(),
            () = lead(&leader, term, predecessor) => "the ledger is closed".to_owned(),
        };
        info!(term, reason = end, "no longer leading");
        leader.state.lessor(Lessor::follow);
        leader.metrics.show(&Suspects::default());
        leader.state.end_term();
    }
}

/// Tells the lessor that this process runs, until `stop`. A task of its own, because a decision may take long without that
/// heartbeats go unheard.
async fn keep_awake(state: Arc<LeaderState>, stop: CancellationToken) {
    loop {
        let look_every = state.ledger.read(|state| state.timings.look_every());
        if stop.run_until_cancelled(sleep(look_every)).await.is_none() {
            return;
        }
        let now = state.now();
        state.lessor(|lessor| lessor.awake(now));
    }
}

/// Waits until all entries of earlier terms are applied, and what was proposed in this one and committed.
async fn confirmed(leader: &Leader) {
    while let Err(error) = leader.ledger().confirm_leadership().await {
        warn!(%error, "waiting to be confirmed as the leader");
        sleep(leader.look_every()).await;
    }
}

/// Leads for one term, after `predecessor` if that is known. Returns when the ledger is closed.
async fn lead(leader: &Leader, term: u64, predecessor: Option<NodeId>) {
    confirmed(leader).await;
    let mut term = Term::new(leader, term);
    let now = leader.state.now();
    leader.state.lessor(|lessor| {
        leader.ledger().read(|state| {
            let predecessor = predecessor.and_then(|node| state.member_at(node));
            let predecessor = predecessor.map(|(name, _)| name);
            lessor.lead(now, state, leader.grace, predecessor);
        });
    });
    let mut applied = leader.ledger().applied();
    loop {
        applied.mark_unchanged();
        // The term goes on, with its deadlines and with the streams of the members, who report nothing twice.
        if let Err(error) = term.decide().await {
            warn!(%error, "a decision has no answer; deciding again once a quorum answers");
            confirmed(leader).await;
            term.count_again();
            continue;
        }
        let now = leader.state.now();
        let next = leader.state.lessor(|lessor| lessor.next_look(now));
        let wait = next.map_or(Duration::MAX, |at| at.saturating_sub(now));
        let look = Instant::now() + wait.min(leader.look_every());
        tokio::select! {
            changed = applied.changed() => if changed.is_err() { return },
            () = leader.state.look.notified() => {}
            () = sleep_until(look) => {}
        }
    }
}
