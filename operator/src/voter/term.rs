//! One term of leading: every decision that is due, in the order of its urgency.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hanse_core::{
    command::{Command, Lane, PlacementChange, SignedCommand},
    id::{Epoch, FederationId, MemberName, PrivateKey},
    lease::Lessor,
    level::{self, Level},
    schedule::{Hearsay, Observer, Planner, Proposed, Seen},
    state::{Lease, MAX_PLAN_ROWS, Outcome, State},
    suspicion::Suspects,
};
use tokio::time::sleep;
use tracing::{info, warn};

use super::{leader_state::LeaderState, metrics::VoterMetrics};
use crate::replicate::{ledger::Ledger, membership::SILENT_VOTER_AFTER, propose::ProposeError};

/// What every term of this voter needs.
pub(super) struct Leader {
    /// Leases and standings, shared with the sessions.
    pub(super) state: Arc<LeaderState>,
    /// Signs decisions.
    pub(super) key: PrivateKey,
    /// How much longer than a lease a new leader waits before it expires a lease: the time an election may have taken.
    pub(super) grace: Duration,
    /// For how long all voters must know a level before the federation is raised to it.
    pub(super) raises_after: Duration,
    /// The metrics of the voter.
    pub(super) metrics: VoterMetrics,
}

impl Leader {
    pub(super) fn ledger(&self) -> &Ledger {
        &self.state.ledger
    }

    pub(super) fn look_every(&self) -> Duration {
        self.ledger().read(|state| state.timings.look_every())
    }
}

/// One term of leading.
pub(super) struct Term<'a> {
    leader: &'a Leader,
    number: u64,
    /// When it began, on this voter's monotonic clock.
    began: Duration,
    federation: FederationId,
    /// The last number of this issuer in the leader's lane.
    sequence: u64,
    /// Whether a majority answered when this leader last asked.
    confirmed: bool,
    /// The plan last proposed.
    proposed: Proposed,
    /// Plans, and remembers what it planned on.
    planner: Planner,
    /// What hosts do over time.
    observer: Observer,
    /// Who is silent.
    suspects: Suspects,
    /// The level that all voters know, and since when.
    next_level: Option<(Level, Duration)>,
}

impl<'a> Term<'a> {
    pub(super) fn new(leader: &'a Leader, term: u64) -> Self {
        let mut term = Self {
            leader,
            number: term,
            began: leader.state.now(),
            federation: leader.ledger().federation(),
            sequence: 0,
            confirmed: true,
            proposed: Proposed::default(),
            planner: Planner::default(),
            observer: Observer::default(),
            suspects: Suspects::default(),
            next_level: None,
        };
        term.count_again();
        term
    }

    /// Takes the last number from the state, when it is not known whether the last decision was committed.
    pub(super) fn count_again(&mut self) {
        let key = self.leader.key.public();
        self.sequence = self.leader.ledger().read(|state| {
            let issuer = state.issuers.get(&key);
            issuer.map_or(0, |issuer| issuer.lane(Lane::Leader).sequence)
        });
    }

    /// Makes every decision that is due.
    pub(super) async fn decide(&mut self) -> Result<(), ProposeError> {
        self.expire().await?;
        self.renew().await?;
        self.fence().await?;
        self.settle().await?;
        self.raise().await?;
        self.suspect().await;
        self.note_voters();
        self.plan().await
    }

    async fn expire(&mut self) -> Result<(), ProposeError> {
        let now = self.leader.state.now();
        let is_due = self.leader.state.lessor(|lessor| {
            self.leader.ledger().read(|state| lessor.sync(now, state));
            lessor.is_due(now)
        });
        if !is_due {
            return Ok(());
        }
        // A deposed leader must not expire a lease; this call fails on it. A leader that a majority does not answer in time
        // asks again: the deadlines stay as they are, and a heartbeat that arrives meanwhile counts.
        let confirmed = self.leader.ledger().confirm_leadership().await;
        let was_confirmed = std::mem::replace(&mut self.confirmed, confirmed.is_ok());
        if let Err(error) = confirmed {
            if was_confirmed {
                warn!(%error, "a lease is over; waiting to be confirmed as the leader");
            }
            return Ok(());
        }
        // By the time before that call: this process may have stood still in it.
        let due = self.leader.state.lessor(|lessor| lessor.due(now));
        if due.is_empty() {
            return Ok(());
        }
        for (member, _) in &due {
            warn!(member = %member, "lost: its lease ended");
        }
        self.propose(Command::ExpireLeases { leases: due })
            .await
            .map(drop)
    }

    async fn renew(&mut self) -> Result<(), ProposeError> {
        let returned = self.leader.state.lessor(Lessor::take_returned);
        let leases: BTreeSet<(MemberName, Epoch)> = self.leader.ledger().read(|state| {
            returned
                .into_iter()
                .filter(|row| is_lost(state, row))
                .collect()
        });
        if leases.is_empty() {
            return Ok(());
        }
        for (member, _) in &leases {
            info!(member = %member, "back: its lease is renewed");
        }
        self.propose(Command::RenewLeases { leases })
            .await
            .map(drop)
    }

    async fn fence(&mut self) -> Result<(), ProposeError> {
        let now = self.leader.state.now();
        let due = self.leader.state.lessor(|lessor| lessor.fence_due(now));
        if due.is_empty() {
            Ok(())
        } else {
            self.propose(Command::Fence { leases: due }).await.map(drop)
        }
    }

    /// Proposes `SettleTimings` once no lease of the former, longer duration can still be held. From then on the
    /// federation computes with the shorter lease.
    async fn settle(&mut self) -> Result<(), ProposeError> {
        let now = self.leader.state.now();
        match self.leader.state.lessor(|lessor| lessor.settled(now)) {
            Some(since) => self
                .propose(Command::SettleTimings { since })
                .await
                .map(drop),
            None => Ok(()),
        }
    }

    /// Proposes the level that all voters have known for long enough.
    async fn raise(&mut self) -> Result<(), ProposeError> {
        let now = self.leader.state.now();
        let next = self.leader.ledger().read(level::next);
        let since = self.next_level.filter(|(level, _)| Some(*level) == next);
        self.next_level = since.or_else(|| Some((next?, now)));
        match self.next_level {
            Some((to, since)) if now.saturating_sub(since) >= self.leader.raises_after => {
                info!(level = %to, "all voters know this level");
                self.propose(Command::RaiseLevel { to }).await.map(drop)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Takes over who is silent. Only while a majority answers: a leader that is cut off hears nobody.
    async fn suspect(&mut self) {
        let now = self.leader.state.now();
        let (silent, members) = self
            .leader
            .state
            .lessor(|lessor| (lessor.silent(now), lessor.holders()));
        if silent == self.suspects.silent && !self.suspects.is_braked() {
            return;
        }
        if !silent.is_subset(&self.suspects.covered)
            && self.leader.ledger().confirm_leadership().await.is_err()
        {
            return;
        }
        let was_braked = self.suspects.is_braked();
        for member in silent.difference(&self.suspects.silent) {
            info!(member = %member, "silent for longer than usual");
        }
        for member in self.suspects.silent.difference(&silent) {
            info!(member = %member, "no longer suspected: heard steadily, or lost");
        }
        if !self.suspects.update(silent, members) {
            return;
        }
        if self.suspects.is_braked() && !was_braked {
            warn!(
                members = self.suspects.silent.len(),
                "too many members are silent at once: their shares stay until their leases end"
            );
        }
        self.leader.metrics.show(&self.suspects);
        let suspects = self.suspects.clone();
        self.leader
            .state
            .change_standing(|standing| standing.suspects = suspects);
    }

    /// Takes over whose ledgers answer nothing. In a new term nobody has answered yet.
    fn note_voters(&self) {
        let state = &self.leader.state;
        if state.now().saturating_sub(self.began) < SILENT_VOTER_AFTER {
            return;
        }
        state.note_voters(state.ledger.silent_voters(SILENT_VOTER_AFTER));
    }

    /// Whether a lease has ended, or other members are silent than before.
    fn has_urgent_decision(&self) -> bool {
        let now = self.leader.state.now();
        self.leader
            .state
            .lessor(|lessor| lessor.is_due(now) || lessor.silent(now) != self.suspects.silent)
    }

    async fn plan(&mut self) -> Result<(), ProposeError> {
        let now = self.leader.state.now();
        // Members are about to report what they run and can still run. A plan without that would place more on those that are full.
        let (early, unheard) = self
            .leader
            .state
            .lessor(|lessor| (lessor.is_early(now), lessor.unheard()));
        if early {
            return Ok(());
        }
        let (state, standing) = (self.leader.ledger().state(), self.leader.state.standing());
        let capacities = self.leader.state.capacities();
        let reports = &standing.reports;
        let observations = self.observer.observe(Seen {
            now,
            state: &state,
            reports,
            capacities: &capacities,
            unsure: &(&self.suspects.silent | &standing.control_planes_down),
        });
        self.leader.state.set_observations(&observations);
        let hearsay = Hearsay {
            observations: &observations,
            silent: &self.suspects.covered,
            unheard: &unheard,
            capacities: &capacities,
            reports: Some(reports),
            control_planes_down: &standing.control_planes_down,
            silent_voters: &standing.silent_voters,
        };
        let plan = self.planner.plan(&state, hearsay);
        let (diagnoses, findings) = (self.planner.diagnoses(), self.planner.findings());
        if standing.diagnoses != *diagnoses || standing.findings != *findings {
            self.leader.state.change_standing(|standing| {
                standing.diagnoses = diagnoses.clone();
                standing.findings = findings.clone();
            });
        }
        if !self.proposed.is_due(&plan, now) {
            return Ok(());
        }
        for (number, changes) in plan.chunks(MAX_PLAN_ROWS).enumerate() {
            // The rest of the plan is made again after what is more urgent.
            if number > 0 && self.has_urgent_decision() {
                return Ok(());
            }
            self.assign(changes).await?;
        }
        Ok(())
    }

    async fn assign(&mut self, changes: &[PlacementChange]) -> Result<(), ProposeError> {
        for row in changes {
            let share = row
                .share
                .as_ref()
                .map_or_else(|| "nothing".to_owned(), ToString::to_string);
            info!(workload = %row.workload, member = %row.member, share, reason = %row.reason, "placing");
        }
        let rows = changes.to_vec();
        if self.propose(Command::Assign { changes: rows }).await? {
            self.leader.metrics.count(changes);
        }
        Ok(())
    }

    /// Proposes a decision. Returns whether the ledger accepted it.
    async fn propose(&mut self, command: Command) -> Result<bool, ProposeError> {
        let key = &self.leader.key;
        let ledger = self.leader.ledger();
        let level = ledger.read(|state| state.level);
        let names_term = level >= Level::DECISIONS_OF_THE_LEADER;
        let term = if names_term { self.number } else { 0 };
        let sequence = self.sequence + 1;
        let signed = SignedCommand::sign_in(term, &self.federation, key, sequence, &command);
        match ledger.propose_as_leader(self.number, signed).await? {
            Outcome::Accepted { .. } => {
                self.sequence += 1;
                Ok(true)
            }
            Outcome::Rejected { rejection } => {
                // A command rejected by a rule has used its number; one rejected for its number has not.
                warn!(reason = %rejection, "the ledger rejected a decision of the leader");
                self.count_again();
                // The rejected decision is an entry of the log and wakes this loop. Without a pause it would be proposed
                // again at once, for as long as this leader has not learned why.
                sleep(self.leader.look_every()).await;
                Ok(false)
            }
        }
    }
}

fn is_lost(state: &State, (member, epoch): &(MemberName, Epoch)) -> bool {
    let lease = state.members.get(member).map(|row| row.lease);
    matches!(lease, Some(Lease::Lost { epoch: current, .. }) if current == *epoch)
}
