//! The state that the leader's loop and the sessions share: soft state that ends with a term.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hanse_core::{
    capacity::{Capacities, Capacity},
    id::{MemberName, NodeId},
    inquiry::{self, Answer},
    lease::Lessor,
    schedule::{Hearsay, Observations},
    slice::Standing,
};
use parking_lot::{Mutex, RwLock};
use tokio::{
    sync::{Notify, Semaphore, watch},
    time::Instant,
};
use tracing::{info, warn};

use crate::replicate::ledger::Ledger;

/// For how long an API server must have answered nothing to count as down: it is asked once per second, and may restart.
const CONTROL_PLANE_DOWN_AFTER: Duration = Duration::from_secs(10);

/// The deadlines, the members' reports and the planner's findings, while this node leads.
pub(super) struct LeaderState {
    /// This voter's own member name.
    pub(super) name: MemberName,
    /// The replica of this voter.
    pub(super) ledger: Ledger,
    /// Notified when a heartbeat arrives of a member whose lease is lost, or of the last that the leader waits for.
    pub(super) look: Notify,
    /// The origin of this voter's monotonic clock.
    started: Instant,
    /// Members' deadlines. Neither this lock nor the next is held across an await.
    lessor: Mutex<Lessor>,
    standing: RwLock<Arc<Standing>>,
    /// What was seen of hosts at the last plan.
    observations: RwLock<Arc<Observations>>,
    /// What members last reported of what they can still run. It outlives a member's stream, and ends with the term.
    capacities: RwLock<Capacities>,
    /// Answers one question at a time: an answer may take as long as a plan of everything.
    pub(super) answering: Semaphore,
    /// Counts changes of `standing`, so that sessions read it again.
    standing_changed: watch::Sender<u64>,
}

impl LeaderState {
    pub(super) fn new(name: MemberName, ledger: Ledger) -> Self {
        Self {
            name,
            ledger,
            look: Notify::new(),
            started: Instant::now(),
            lessor: Mutex::default(),
            standing: RwLock::default(),
            observations: RwLock::default(),
            capacities: RwLock::default(),
            answering: Semaphore::new(1),
            standing_changed: watch::Sender::new(0),
        }
    }

    /// Time on this voter's monotonic clock.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Reads or changes the deadlines.
    pub(super) fn lessor<T>(&self, action: impl FnOnce(&mut Lessor) -> T) -> T {
        action(&mut self.lessor.lock())
    }

    /// The members' reports and the planner's findings: a version that no longer changes.
    pub(super) fn standing(&self) -> Arc<Standing> {
        self.standing.read().clone()
    }

    /// Changes the members' reports or the planner's findings and notifies every session.
    pub(super) fn change_standing(&self, change: impl FnOnce(&mut Standing)) {
        change(Arc::make_mut(&mut self.standing.write()));
        self.standing_changed.send_modify(|count| *count += 1);
    }

    /// Takes over for how long the API server of `member` has answered nothing.
    pub(super) fn note_control_plane(&self, member: &MemberName, unanswered_seconds: u32) {
        let is_down = u64::from(unanswered_seconds) >= CONTROL_PLANE_DOWN_AFTER.as_secs();
        let down = &self.standing().control_planes_down;
        if down.contains(member) == is_down {
            return;
        }
        warn!(%member, unanswered_seconds, "its API server answers {}", if is_down { "nothing" } else { "again" });
        self.change_standing(|standing| {
            let down = &mut standing.control_planes_down;
            if is_down {
                down.insert(member.clone());
            } else {
                down.remove(member);
            }
        });
    }

    /// Takes over whose ledgers answer nothing.
    pub(super) fn note_voters(&self, silent: BTreeSet<NodeId>) {
        let before = &self.standing().silent_voters;
        if *before == silent {
            return;
        }
        let state = self.ledger.state();
        for (voter, _) in (&silent - before)
            .into_iter()
            .filter_map(|it| state.member_at(it))
        {
            warn!(%voter, "this voter's ledger answers nothing: it does not count for the quorum");
        }
        for (voter, _) in (before - &silent)
            .into_iter()
            .filter_map(|it| state.member_at(it))
        {
            info!(%voter, "this voter's ledger answers again");
        }
        self.change_standing(|standing| standing.silent_voters = silent);
    }

    /// What was seen of hosts at the last plan.
    pub(super) fn observations(&self) -> Arc<Observations> {
        self.observations.read().clone()
    }

    pub(super) fn set_observations(&self, observations: &Observations) {
        if **self.observations.read() != *observations {
            *self.observations.write() = Arc::new(observations.clone());
        }
    }

    /// What members last reported of what they can still run: a version that no longer changes.
    pub(super) fn capacities(&self) -> Capacities {
        self.capacities.read().clone()
    }

    /// Takes over what `member` reports; `None` if it is never full.
    pub(super) fn set_capacity(&self, member: &MemberName, capacity: Option<Capacity>) {
        let mut capacities = self.capacities.write();
        match capacity {
            Some(capacity) => capacities.insert(member.clone(), Arc::new(capacity)),
            None => capacities.remove(member),
        };
    }

    /// The answer to a question of `asker`, both as JSON. It may take as long as a plan of everything.
    pub(super) fn answer(&self, asker: &MemberName, question: &[u8]) -> Vec<u8> {
        let (state, observations) = (self.ledger.state(), self.observations());
        let (capacities, standing) = (self.capacities(), self.standing());
        let hearsay = Hearsay {
            reports: Some(&standing.reports),
            silent_voters: &standing.silent_voters,
            ..Hearsay::of_all_heard(&observations, &capacities)
        };
        let answer = match serde_json::from_slice(question) {
            Ok(question) => inquiry::answer(&state, hearsay, asker, &question),
            Err(error) => Answer::Refused {
                reason: format!("the leader cannot read the question: {error}"),
            },
        };
        // The types of hanse-core have string keys and no fallible serialisers.
        serde_json::to_vec(&answer).unwrap_or_default()
    }

    /// Forgets what members reported. They report it again to the next leader.
    pub(super) fn end_term(&self) {
        self.change_standing(|standing| *standing = Standing::default());
        *self.capacities.write() = Capacities::default();
    }

    /// Notified of every change of `standing`.
    pub(super) fn standing_changes(&self) -> watch::Receiver<u64> {
        self.standing_changed.subscribe()
    }
}
