//! Who should vote: the next step of a ledger towards as many voters as it can have, spread as widely as they can be.
//!
//! Comes in: the state, who votes and who learns now, who is silent, and whom the leader has given up on. Goes out: one [`Step`]; when
//! it is done, ask again. The rules:
//!
//! - 1, 3, 5 or 7 voters. An even number can lose no more of them than the odd number below it.
//! - A voter that does well keeps its seat: every change of voters is a risk taken.
//! - A new voter holds its lease, can be reached, knows the federation's level, and is of an owner with as few voters as
//!   possible; then of such a provider; then of such a region.
//! - A voter whose seat is gone (its volume was lost, or its member revoked) is removed. One given up on is
//!   replaced when somebody can take its seat, and keeps it until then.
//! - No step leaves a quorum without a majority that is alive.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    id::NodeId,
    level::Level,
    state::{Lease, Member, State},
};

/// The most voters: with more, a commit waits longer and survives nothing that 7 on different owners would not.
pub const MAX_VOTERS: usize = 7;

/// Who votes now, as the leader sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quorum {
    /// The voters of the configuration in force.
    pub voters: BTreeSet<NodeId>,
    /// Those that receive the log without voting, and whether they have caught up with it.
    pub learners: BTreeMap<NodeId, bool>,
    /// Whom the leader has given up on for now: voters lost for long, learners that do not catch up.
    pub given_up: BTreeSet<NodeId>,
    /// Voters that do not answer the leader, though their members may hold their leases.
    pub silent: BTreeSet<NodeId>,
    /// The leader itself.
    pub leader: NodeId,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, or nothing yet.
    Nothing,
    /// Send these the log, so that they can vote later.
    AddLearners(BTreeSet<NodeId>),
    /// Stop sending these the log.
    DropLearners(BTreeSet<NodeId>),
    /// Make these the voters, in one change.
    ReplaceVoters(BTreeSet<NodeId>),
}

/// Whether a voter counts for the quorum: its lease is held, and its seat is not one of those that answer nothing.
#[must_use]
pub fn votes(member: &Member, silent: &BTreeSet<NodeId>) -> bool {
    let seat = member.seat.as_ref();
    member.lease.is_held() && seat.is_some_and(|seat| !silent.contains(&seat.node))
}

/// The next step.
#[must_use]
pub fn next_step(state: &State, quorum: &Quorum) -> Step {
    let seats = Seats::of(state, quorum);
    let target = seats.target(quorum);
    let useless: BTreeSet<NodeId> = quorum
        .learners
        .keys()
        .filter(|node| !seats.can_join(**node, quorum))
        .copied()
        .collect();
    if !useless.is_empty() {
        return Step::DropLearners(useless);
    }
    if target == quorum.voters {
        return Step::Nothing;
    }
    let joining: BTreeSet<NodeId> = target.difference(&quorum.voters).copied().collect();
    let missing: BTreeSet<NodeId> = joining
        .iter()
        .filter(|node| !quorum.learners.contains_key(node))
        .copied()
        .collect();
    if !missing.is_empty() {
        return Step::AddLearners(missing);
    }
    if joining.iter().all(|node| quorum.learners[node]) {
        Step::ReplaceVoters(target)
    } else {
        Step::Nothing
    }
}

/// The members that may vote, by their seat. Those revoked have none.
struct Seats<'a> {
    members: BTreeMap<NodeId, &'a Member>,
    silent: &'a BTreeSet<NodeId>,
    level: Level,
}

impl<'a> Seats<'a> {
    fn of(state: &'a State, quorum: &'a Quorum) -> Self {
        let seats = state.members.values().filter_map(|member| {
            let seat = member.seat.as_ref()?;
            let revoked = matches!(member.lease, Lease::Revoked { .. });
            (!revoked).then_some((seat.node, member))
        });
        Self {
            members: seats.collect(),
            silent: &quorum.silent,
            level: state.level,
        }
    }

    /// Whether it does well: its member as a host, and it as a voter.
    fn is_alive(&self, node: NodeId) -> bool {
        let member = self.members.get(&node);
        member.is_some_and(|member| votes(member, self.silent))
    }

    fn is_reachable(&self, node: NodeId) -> bool {
        self.members
            .get(&node)
            .and_then(|member| member.seat.as_ref())
            .is_some_and(|seat| !seat.address.is_empty())
    }

    /// Whether its operator can apply the entries of this level.
    fn is_up_to_date(&self, node: NodeId) -> bool {
        let member = self.members.get(&node);
        member.is_some_and(|member| member.level >= self.level)
    }

    fn can_join(&self, node: NodeId, quorum: &Quorum) -> bool {
        self.is_alive(node)
            && self.is_reachable(node)
            && self.is_up_to_date(node)
            && !quorum.given_up.contains(&node)
    }

    /// Whom the ledger should have as voters; those it has, if no better set is safe to change to.
    fn target(&self, quorum: &Quorum) -> BTreeSet<NodeId> {
        let Quorum {
            voters,
            learners: _,
            given_up,
            silent: _,
            leader,
        } = quorum;
        let (given_up, kept): (Vec<_>, Vec<_>) = voters
            .iter()
            .filter(|node| self.members.contains_key(node))
            .partition(|node| given_up.contains(node));
        // Newcomers must reach every voter that stays; a founder without an address stays alone.
        let meets_newcomers = kept.iter().all(|node| self.is_reachable(*node));
        let newcomers: Vec<NodeId> = self
            .members
            .keys()
            .filter(|node| meets_newcomers && !voters.contains(node))
            .filter(|node| self.can_join(**node, quorum))
            .copied()
            .collect();
        let size = odd(kept.len() + newcomers.len()).max(odd(voters
            .len()
            .min(kept.len() + newcomers.len() + given_up.len())));
        let (alive, ailing): (Vec<_>, Vec<_>) =
            kept.into_iter().partition(|node| self.is_alive(*node));
        let mut chosen = Vec::new();
        chosen.extend(alive.contains(leader).then_some(*leader));
        for group in [alive, ailing, newcomers, given_up] {
            self.choose(&mut chosen, group, size);
        }
        let target: BTreeSet<NodeId> = chosen.into_iter().collect();
        if self.has_quorum(&target) && self.has_quorum(voters) {
            target
        } else {
            voters.clone()
        }
    }

    /// Fills `chosen` up to `size`, taking the candidate next that repeats the least.
    fn choose(&self, chosen: &mut Vec<NodeId>, candidates: Vec<NodeId>, size: usize) {
        let mut candidates: BTreeSet<NodeId> = candidates.into_iter().collect();
        candidates.retain(|node| !chosen.contains(node));
        while chosen.len() < size {
            let next = candidates
                .iter()
                .min_by_key(|node| (self.repeats(**node, chosen), **node));
            let Some(next) = next.copied() else { return };
            candidates.remove(&next);
            chosen.push(next);
        }
    }

    /// How many of `chosen` share this one's owner, provider and region.
    fn repeats(&self, node: NodeId, chosen: &[NodeId]) -> (usize, usize, usize) {
        let Some(member) = self.members.get(&node) else {
            return (usize::MAX, usize::MAX, usize::MAX);
        };
        let sharing = |same: fn(&Member, &Member) -> bool| {
            let others = chosen.iter().filter_map(|other| self.members.get(other));
            others.filter(|other| same(member, other)).count()
        };
        (
            sharing(|a, b| a.owner == b.owner),
            sharing(|a, b| a.attributes.provider == b.attributes.provider),
            sharing(|a, b| {
                (&a.attributes.provider, &a.attributes.region)
                    == (&b.attributes.provider, &b.attributes.region)
            }),
        )
    }

    fn has_quorum(&self, voters: &BTreeSet<NodeId>) -> bool {
        let alive = voters.iter().filter(|node| self.is_alive(**node)).count();
        alive > voters.len() / 2
    }
}

/// The largest number of voters up to `most` that may be rested at.
fn odd(most: usize) -> usize {
    let most = most.min(MAX_VOTERS);
    if most.is_multiple_of(2) {
        most.saturating_sub(1)
    } else {
        most
    }
}

#[cfg(test)]
mod tests;
