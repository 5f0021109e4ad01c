//! The ledger's state machine: everything the federation has decided, as values.
//!
//! [`State::apply`] is the only way in. It takes one entry of the log and is a pure function of the state and the
//! entry: no clock, no randomness, no iteration order that a replica could see differently. A command that breaks a
//! rule changes nothing but its issuer's sequence number, and its outcome says which rule.
//!
//! In `state/`:
//!
//! - `rows`: what the tables hold. `outcome`: what came of a command.
//! - `authorize`: the table of *who may ask what*.
//! - `membership` (who is in, who votes, who is alive), `workloads` (what is wanted) and `placements` (what runs where): the
//!   rules.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    chain::{self, Link},
    command::{Command, Lane, SignedCommand},
    id::{Digest, Epoch, FederationId, MemberName, NodeId, OwnerName, PublicKey},
    level::Level,
    mutation::{Mutation, is_on},
    per_host::{self, PerHost},
    timings::Timings,
};

mod authorize;
mod membership;
mod outcome;
mod placements;
mod rows;
mod suppose;
mod terms;
#[cfg(test)]
mod tests;
mod workload_table;
mod workloads;

pub use membership::FOUNDER_NODE;
pub use outcome::{Outcome, Rejection};
pub use placements::MAX_PLAN_ROWS;
pub use rows::{
    Completion, Counter, Invitation, Issuer, Keep, Lease, Member, Placement, Removal, Seat, Surge,
    Workload,
};
pub use workload_table::{MAX_OWNER_BYTES, Workloads};

/// Everything the federation has decided, after the entry at `index`.
///
/// Its tables are persistent maps: a clone costs nothing and never changes, so that whoever reads it keeps nobody waiting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Set by the first command, then never changed.
    pub federation: Option<FederationId>,
    /// The index of the last entry applied.
    pub index: u64,
    /// The hash chain's head at `index`.
    pub head: Digest,
    /// The leaders' wall clock as stamped into entries, in milliseconds since 1970; never goes back.
    pub time_ms: u64,
    /// What all members share: how long a lease lasts, how often it is renewed.
    #[serde(default)]
    pub timings: Timings,
    /// The index of the entry that set them.
    #[serde(default)]
    pub timings_since: Epoch,
    /// The longest lease that may still be running, in milliseconds: one granted before a change lasts as long as it was
    /// granted for.
    #[serde(default)]
    pub longest_lease_ms: u64,
    /// What commands and rules may be used.
    #[serde(default, skip_serializing_if = "Level::is_first")]
    pub level: Level,
    /// The voters of the newest configuration.
    pub voters: BTreeSet<NodeId>,
    /// How far each issuer has counted, those revoked included: a number is never free again.
    pub issuers: OrdMap<PublicKey, Issuer>,
    /// All members that ever were; those revoked stay, as [`Lease::Revoked`], so that their names are not reused.
    pub members: OrdMap<MemberName, Member>,
    /// Invitations not yet used.
    pub invitations: OrdMap<PublicKey, Invitation>,
    /// What owners want.
    pub workloads: Workloads,
    /// What runs where.
    pub placements: PerHost<Arc<Placement>>,
    /// What hosts still have to remove. The only thing that ever deletes an object in a host.
    #[serde(with = "per_host::host_first")]
    pub removals: PerHost<Removal>,
}

/// Where an entry stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogId {
    /// Its index.
    pub index: u64,
    /// The term it was put there in.
    pub term: u64,
    /// Who led that term.
    pub leader: NodeId,
}

/// What the state machine sees of a log entry.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// The entry with which a leader starts its term.
    Blank,
    /// A change of the voters: those of every configuration in force; the last is the newest.
    Membership(&'a [Vec<NodeId>]),
    /// A command with the wall clock of the leader that took it in.
    Command {
        /// Milliseconds since 1970.
        time_ms: u64,
        /// As it was signed.
        command: &'a SignedCommand,
    },
}

impl Default for State {
    fn default() -> Self {
        Self {
            federation: None,
            index: 0,
            head: chain::GENESIS,
            time_ms: 0,
            timings: Timings::default(),
            timings_since: Epoch(0),
            longest_lease_ms: 0,
            level: Level::FIRST,
            voters: BTreeSet::new(),
            issuers: OrdMap::new(),
            members: OrdMap::new(),
            invitations: OrdMap::new(),
            workloads: Workloads::default(),
            placements: PerHost::default(),
            removals: PerHost::default(),
        }
    }
}

impl State {
    /// Applies the entry at `id`. `Some` outcome for commands only.
    pub fn apply(&mut self, id: LogId, entry: Entry<'_>) -> Option<Outcome> {
        let LogId { index, term, .. } = id;
        self.index = index;
        match entry {
            Entry::Blank => {
                self.head = chain::extend(&self.head, index, term, Link::Blank);
                None
            }
            Entry::Membership(configurations) => {
                self.head =
                    chain::extend(&self.head, index, term, Link::Membership(configurations));
                self.voters = configurations
                    .last()
                    .into_iter()
                    .flatten()
                    .copied()
                    .collect();
                None
            }
            Entry::Command { time_ms, command } => {
                let bytes = canonical(time_ms, command);
                self.head = chain::extend(&self.head, index, term, Link::Command(&bytes));
                self.time_ms = self.time_ms.max(time_ms);
                Some(self.decide(id, command))
            }
        }
    }

    fn decide(&mut self, id: LogId, signed: &SignedCommand) -> Outcome {
        match self.check_envelope(id, signed) {
            Ok(Admission::Repeated(outcome)) => outcome,
            Err(rejection) => Outcome::Rejected { rejection },
            Ok(Admission::Next(command)) => {
                let outcome = match self.execute(id.index, signed, *command) {
                    Ok(index) => Outcome::Accepted { index },
                    Err(rejection) => Outcome::Rejected { rejection },
                };
                // A stranger's rejected command leaves no trace: otherwise strangers could fill the table of issuers.
                if self.member_of(&signed.issuer).is_some() {
                    let issuer = self.issuers.entry(signed.issuer).or_default();
                    *issuer.counter(signed.lane) = Counter {
                        sequence: signed.sequence,
                        asked: Some(asked(signed)),
                        outcome: Some(outcome.clone()),
                    };
                }
                outcome
            }
        }
    }

    /// Signature and sequence: everything that must hold before any rule looks at the command.
    fn check_envelope(&self, id: LogId, signed: &SignedCommand) -> Result<Admission, Rejection> {
        let federation = match (self.federation, signed.read()) {
            (Some(federation), _) | (None, Ok(Command::Found { federation, .. })) => federation,
            (None, _) => {
                return Err(Rejection::NotFound {
                    what: "federation".into(),
                });
            }
        };
        let command = signed.verify(&federation)?;
        if command.level() > self.level {
            return Err(Rejection::AboveLevel {
                needs: command.level(),
                level: self.level,
            });
        }
        if is_on(Mutation::CheckSequence) {
            return Ok(Admission::Next(Box::new(command)));
        }
        let start = Counter::default();
        let last = self
            .issuers
            .get(&signed.issuer)
            .map_or(&start, |issuer| issuer.lane(signed.lane));
        match &last.outcome {
            Some(outcome)
                if signed.sequence == last.sequence && last.asked == Some(asked(signed)) =>
            {
                Ok(Admission::Repeated(outcome.clone()))
            }
            _ if last.sequence.checked_add(1) != Some(signed.sequence) => {
                Err(Rejection::OutOfSequence {
                    given: signed.sequence,
                    last: last.sequence,
                })
            }
            _ => {
                self.check_leader(id, signed)?;
                Ok(Admission::Next(Box::new(command)))
            }
        }
    }

    /// A decision is its leader's: another voter that signs one, or a leader that repeats what was decided in another term,
    /// decides nothing.
    fn check_leader(&self, id: LogId, signed: &SignedCommand) -> Result<(), Rejection> {
        if signed.lane == Lane::Member {
            return Ok(());
        }
        let expected = if self.level >= Level::DECISIONS_OF_THE_LEADER {
            let leads = self.member_at(id.leader);
            let leads = leads.is_some_and(|(_, member)| member.key == signed.issuer);
            leads.then_some(id.term)
        } else {
            Some(0)
        };
        if expected == Some(signed.term) {
            return Ok(());
        }
        Err(Rejection::NotPermitted {
            what: format!("a decision of term {}", id.term),
            by: "its leader, in that term".into(),
        })
    }

    fn execute(
        &mut self,
        index: u64,
        signed: &SignedCommand,
        command: Command,
    ) -> Result<u64, Rejection> {
        let command = match command {
            Command::Found {
                federation,
                founder,
                timings,
                level,
            } => {
                self.found(index, signed, federation, founder, (timings, level))?;
                return Ok(index);
            }
            Command::Admit {
                invitation,
                newcomer,
                proof,
            } => {
                self.admit(index, signed, invitation, newcomer, &proof)?;
                return Ok(index);
            }
            asked_by_a_member => asked_by_a_member,
        };
        let issuer = self.authorize(signed, &command)?;
        match command {
            Command::PutWorkload { key, base, spec } => {
                return self.put_workload(index, issuer, signed, key, base, spec);
            }
            Command::Found { .. } | Command::Admit { .. } => Ok(()),
            Command::Invite {
                invitation,
                owner,
                expires_ms,
            } => self.invite(issuer, invitation, owner, expires_ms),
            Command::Revoke { member } => self.revoke(index, &member),
            Command::Describe {
                attributes,
                version,
                level,
            } => self.describe(index, &issuer, attributes, (version, level)),
            Command::Volunteer { address, level } => self.volunteer(index, &issuer, address, level),
            Command::PublishGrants { grants } => self.publish_grants(index, &issuer, grants),
            Command::PublishKinds { kinds } => self.publish_kinds(index, &issuer, kinds),
            Command::RemoveWorkload { key, seen, orphan } => {
                self.remove_workload(index, &key, seen, orphan)
            }
            Command::ConfirmRemoval { workload, epoch } => {
                self.confirm_removal(&issuer, &workload, epoch)
            }
            Command::Complete { workload, objects } => self.complete(&issuer, &workload, objects),
            Command::SetTimings { timings } => self.set_timings(index, timings),
            Command::RaiseLevel { to } => self.raise_level(to),
            Command::SettleTimings { since } => self.settle_timings(since),
            Command::ExpireLeases { leases } => self.expire_leases(index, &leases),
            Command::RenewLeases { leases } => self.renew_leases(index, &leases),
            Command::Fence { leases } => self.fence(index, &leases),
            Command::Assign { changes } => self.assign(index, changes),
        }
        .map(|()| index)
    }

    /// The longest lease that may still be running somewhere.
    #[must_use]
    pub fn longest_lease(&self) -> Duration {
        Duration::from_millis(self.longest_lease_ms.max(self.timings.lease_ms))
    }

    /// The member with this key, revoked or not.
    #[must_use]
    pub fn member_of(&self, key: &PublicKey) -> Option<(&MemberName, &Member)> {
        self.members.iter().find(|(_, member)| member.key == *key)
    }

    /// Whether `member` votes in the newest configuration.
    #[must_use]
    pub fn is_voter(&self, member: &Member) -> bool {
        member
            .seat
            .as_ref()
            .is_some_and(|seat| self.voters.contains(&seat.node))
    }

    /// The member that sits in this seat.
    #[must_use]
    pub fn member_at(&self, node: NodeId) -> Option<(&MemberName, &Member)> {
        self.members
            .iter()
            .find(|(_, member)| member.seat.as_ref().is_some_and(|seat| seat.node == node))
    }

    /// The member that founded the federation.
    fn founder(&self) -> Option<&Member> {
        self.members
            .values()
            .find(|member| member.sponsor.is_none())
    }

    fn is_known_owner(&self, owner: &OwnerName) -> bool {
        self.members.values().any(|member| member.owner == *owner)
    }
}

/// What is to be done with a command whose signature and number hold.
enum Admission {
    /// It is the next of its issuer: the rules look at it.
    Next(Box<Command>),
    /// It was applied before: the answer is the one it had.
    Repeated(Outcome),
}

/// What a command asks, for telling a retry from another command under the same number.
fn asked(command: &SignedCommand) -> Digest {
    Digest(Sha256::digest(&command.body).into())
}

/// The bytes of a command that the chain covers: everything in it, each part with a fixed length or its length first.
fn canonical(time_ms: u64, command: &SignedCommand) -> Vec<u8> {
    let mut bytes = time_ms.to_be_bytes().to_vec();
    bytes.extend_from_slice(&command.issuer.0);
    bytes.extend_from_slice(&command.position());
    bytes.extend_from_slice(&command.signature.0);
    bytes.extend_from_slice(command.body.as_bytes());
    bytes
}
