//! The ledger's state machine: everything the federation has decided, as values.
//!
//! [`State::apply`] is the only way in. It takes one entry of the log and is a pure function of the state and the
//! entry: no clock, no randomness, no iteration order that a replica could see differently. A command that breaks a
//! rule changes nothing but its issuer's sequence number, and its outcome says which rule.
//!
//! The rules themselves are in `state/`: `membership` (who is in, who votes, who is alive), `workloads` (what is wanted)
//! and `placements` (what runs where). The table of *who may ask what* is `State::authorize`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::{
    chain::{self, Link},
    command::{Attributes, Command, Lane, SignedCommand, VerifyError},
    grant::Grant,
    id::{
        Digest, Epoch, FederationId, Generation, MemberName, NodeId, OwnerName, PublicKey,
        WorkloadKey,
    },
    reason::Reason,
    timings::Timings,
    workload::WorkloadSpec,
};

mod membership;
mod placements;
#[cfg(test)]
mod tests;
mod workloads;

pub use membership::FOUNDER_NODE;
pub use placements::MAX_PLAN_ROWS;

/// Everything the federation has decided, after the entry at `index`.
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
    /// The longest lease this federation ever had, in milliseconds: one granted before a change may still be running.
    #[serde(default)]
    pub longest_lease_ms: u64,
    /// The voters of the newest configuration.
    pub voters: BTreeSet<NodeId>,
    /// How far each issuer has counted, those revoked included: a number is never free again.
    pub issuers: BTreeMap<PublicKey, Issuer>,
    /// All members that ever were; those revoked stay, as [`Lease::Revoked`], so that their names are not reused.
    pub members: BTreeMap<MemberName, Member>,
    /// Invitations not yet used.
    pub invitations: BTreeMap<PublicKey, Invitation>,
    /// What owners want.
    pub workloads: BTreeMap<WorkloadKey, Workload>,
    /// What runs where.
    pub placements: BTreeMap<WorkloadKey, BTreeMap<MemberName, Placement>>,
    /// What hosts still have to remove. The only thing that ever deletes an object in a host.
    pub removals: BTreeMap<MemberName, BTreeMap<WorkloadKey, Epoch>>,
}

/// An issuer's numbering.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Issuer {
    /// The lane of the member.
    pub member: Counter,
    /// The lane of the leader.
    pub leader: Counter,
}

/// How far one lane has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counter {
    /// The last number applied.
    pub sequence: u64,
    /// What was asked under that number. Another command under the same number is no retry, and must not be told that
    /// it was accepted.
    pub asked: Option<Digest>,
    /// What came of it, so that a retry of unknown outcome gets the answer it missed.
    pub outcome: Option<Outcome>,
}

/// One cluster of the federation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Whose cluster it is.
    pub owner: OwnerName,
    /// What it is.
    pub key: PublicKey,
    /// Who let it in; `None` for the founder.
    pub sponsor: Option<MemberName>,
    /// Its owner's description of it.
    pub attributes: Attributes,
    /// The version of its operator; empty until it has told.
    #[serde(default)]
    pub version: String,
    /// What its owner lets others run there.
    pub grants: Vec<Grant>,
    /// Its seat in the Raft group, where it offered to vote.
    pub seat: Option<Seat>,
    /// Its right to run what it was given.
    pub lease: Lease,
    /// When anything above last changed; plans are decided on it.
    pub generation: Generation,
}

/// A member's offer to vote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Seat {
    /// The log index of the offer.
    pub node: NodeId,
    /// Where other voters reach it: `HOST:PORT`.
    pub address: String,
}

/// A member's right to run what it was given. The epoch is the index of the entry that gave or took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Lease {
    /// Renewed by heartbeats, which never enter the log.
    Held { epoch: Epoch },
    /// Expired by agreement. `fenced` once enough time has passed that even a member cut off has stopped its `Single`s.
    Lost { epoch: Epoch, fenced: bool },
    /// Put out for good. `fenced` as above.
    Revoked { epoch: Epoch, fenced: bool },
}

impl Lease {
    /// The fencing token of this lease.
    #[must_use]
    pub fn epoch(self) -> Epoch {
        match self {
            Self::Held { epoch } | Self::Lost { epoch, .. } | Self::Revoked { epoch, .. } => epoch,
        }
    }

    /// Whether the member may be given work.
    #[must_use]
    pub fn is_held(self) -> bool {
        matches!(self, Self::Held { .. })
    }

    /// Whether the member was revoked for good.
    #[must_use]
    pub fn is_revoked(self) -> bool {
        matches!(self, Self::Revoked { .. })
    }

    /// Whether it is certain that nothing with a `Single` promise runs there any more, without the member's word.
    #[must_use]
    pub fn is_fenced(self) -> bool {
        matches!(
            self,
            Self::Lost { fenced: true, .. } | Self::Revoked { fenced: true, .. }
        )
    }
}

/// An invitation not yet used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invitation {
    /// Who answers for the newcomer.
    pub sponsor: MemberName,
    /// The owner the newcomer must be of.
    pub owner: OwnerName,
    /// Milliseconds since 1970.
    pub expires_ms: u64,
}

/// What an owner wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    try_from = "StoredWorkload",
    into = "StoredWorkload"
)]
pub struct Workload {
    /// The command that last changed it, with its author's signature: what a host verifies before it runs anything.
    pub proof: Arc<SignedCommand>,
    /// What `proof` asks for.
    pub spec: Arc<WorkloadSpec>,
    /// The member whose API server received the last change.
    pub home: MemberName,
    /// When it last changed.
    pub generation: Generation,
    /// Set when its owner wants it gone; the row goes when the last host has confirmed.
    pub removed: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredWorkload {
    proof: Arc<SignedCommand>,
    home: MemberName,
    generation: Generation,
    removed: bool,
}

impl From<Workload> for StoredWorkload {
    fn from(
        Workload {
            proof,
            spec: _,
            home,
            generation,
            removed,
        }: Workload,
    ) -> Self {
        Self {
            proof,
            home,
            generation,
            removed,
        }
    }
}

impl TryFrom<StoredWorkload> for Workload {
    type Error = String;
    fn try_from(
        StoredWorkload {
            proof,
            home,
            generation,
            removed,
        }: StoredWorkload,
    ) -> Result<Self, String> {
        match proof.read().map_err(|error| error.to_string())? {
            Command::PutWorkload { spec, .. } => Ok(Self {
                proof,
                spec: Arc::new(spec),
                home,
                generation,
                removed,
            }),
            other => Err(format!(
                "the proof of a workload must be a PutWorkload, not {other:?}"
            )),
        }
    }
}

/// One decided row: this member runs so many replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// How many.
    pub replicas: u32,
    /// The fencing token: a host refuses a lower one than the last it applied.
    pub epoch: Epoch,
    /// Why.
    pub reason: Reason,
}

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// It is done. `index` is the log index of the entry that did it, which is also the epoch, generation or node id it
    /// allocated. Where nothing had to change, that is an earlier entry: a workload put again as it is keeps its
    /// generation.
    Accepted { index: u64 },
    /// It changed nothing.
    Rejected { rejection: Rejection },
}

/// Why a command changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Rejection {
    #[error("the command is not acceptable: {reason}")]
    Unverified { reason: String },
    #[error("number {given} is not the next: the issuer is at {last}")]
    OutOfSequence { given: u64, last: u64 },
    #[error("the issuer with key {key} is not a member of this federation")]
    NotAMember { key: String },
    #[error("member '{member}' was revoked")]
    Revoked { member: MemberName },
    #[error("{what} may be asked only by {by}")]
    NotPermitted { what: String, by: String },
    #[error("a federation is founded once")]
    AlreadyFounded,
    #[error("the invitation is unknown or was used before; ask a member for a new one")]
    UnknownInvitation,
    #[error("the invitation has expired; ask a member for a new one")]
    ExpiredInvitation,
    #[error("the invitation is for owner '{invited}', not '{given}'")]
    InvitedAnother {
        invited: OwnerName,
        given: OwnerName,
    },
    #[error("the name '{name}' is taken; choose another")]
    NameTaken { name: MemberName },
    #[error(
        "the workload changed meanwhile: this edit was made on generation {base}, the current one is {current}"
    )]
    Conflict {
        base: Generation,
        current: Generation,
    },
    #[error("the workload is being removed; wait until it is gone")]
    BeingRemoved,
    #[error("there is no such {what}")]
    NotFound { what: String },
    #[error("{reason}")]
    Invalid { reason: String },
    #[error("{what}: at most {most} are kept; remove some first")]
    TooMany { what: String, most: usize },
}

impl From<VerifyError> for Rejection {
    fn from(error: VerifyError) -> Self {
        Self::Unverified {
            reason: error.to_string(),
        }
    }
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
        time_ms: u64,
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
            longest_lease_ms: 0,
            voters: BTreeSet::new(),
            issuers: BTreeMap::new(),
            members: BTreeMap::new(),
            invitations: BTreeMap::new(),
            workloads: BTreeMap::new(),
            placements: BTreeMap::new(),
            removals: BTreeMap::new(),
        }
    }
}

impl State {
    /// Applies the entry at `index` of `term`. `Some` outcome for commands only.
    pub fn apply(&mut self, index: u64, term: u64, entry: Entry<'_>) -> Option<Outcome> {
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
                Some(self.decide(index, command))
            }
        }
    }

    fn decide(&mut self, index: u64, signed: &SignedCommand) -> Outcome {
        match self.admit_to_rules(signed) {
            Err(Refused::Repeated(outcome)) => outcome,
            Err(Refused::Rejected(rejection)) => Outcome::Rejected { rejection },
            Ok(command) => {
                let outcome = match self.execute(index, signed, command) {
                    Ok(index) => Outcome::Accepted { index },
                    Err(rejection) => Outcome::Rejected { rejection },
                };
                // A stranger's refused command leaves no trace: otherwise strangers could fill the table of issuers.
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
    fn admit_to_rules(&self, signed: &SignedCommand) -> Result<Command, Refused> {
        let federation = match (self.federation, signed.read()) {
            (Some(federation), _) | (None, Ok(Command::Found { federation, .. })) => federation,
            (None, _) => {
                return Err(Rejection::NotFound {
                    what: "federation".into(),
                }
                .into());
            }
        };
        let command = signed.verify(&federation).map_err(Rejection::from)?;
        let start = Counter::default();
        let last = self
            .issuers
            .get(&signed.issuer)
            .map_or(&start, |issuer| issuer.lane(signed.lane));
        match &last.outcome {
            Some(outcome)
                if signed.sequence == last.sequence && last.asked == Some(asked(signed)) =>
            {
                Err(Refused::Repeated(outcome.clone()))
            }
            _ if last.sequence.checked_add(1) != Some(signed.sequence) => {
                Err(Rejection::OutOfSequence {
                    given: signed.sequence,
                    last: last.sequence,
                }
                .into())
            }
            _ => Ok(command),
        }
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
            } => {
                self.found(index, signed, federation, founder, timings)?;
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
            } => self.describe(index, &issuer, attributes, version),
            Command::Volunteer { address } => self.volunteer(index, &issuer, address),
            Command::PublishGrants { grants } => self.publish_grants(index, &issuer, grants),
            Command::RemoveWorkload { key } => self.remove_workload(index, &key),
            Command::ConfirmRemoval { workload, epoch } => {
                self.confirm_removal(&issuer, &workload, epoch)
            }
            Command::SetTimings { timings } => self.set_timings(timings),
            Command::ExpireLeases { leases } => self.expire_leases(index, &leases),
            Command::RenewLeases { leases } => self.renew_leases(index, &leases),
            Command::Fence { leases } => self.fence(index, &leases),
            Command::Assign { changes } => self.assign(index, changes),
        }
        .map(|()| index)
    }

    /// Who may ask what. Returns the member that asks.
    fn authorize(
        &self,
        signed: &SignedCommand,
        command: &Command,
    ) -> Result<MemberName, Rejection> {
        let Some((name, member)) = self.member_of(&signed.issuer) else {
            return Err(Rejection::NotAMember {
                key: signed.issuer.short(),
            });
        };
        if member.lease.is_revoked() {
            return Err(Rejection::Revoked {
                member: name.clone(),
            });
        }
        let votes = self.is_voter(member);
        let (may, what, by) = match command {
            Command::PutWorkload { key, .. } | Command::RemoveWorkload { key } => (
                key.owner == member.owner,
                format!("workload '{key}'"),
                format!("members of owner '{}'", key.owner),
            ),
            // An owner is vouched for by its own: only its members can bring in more of it.
            Command::Invite { owner, .. } => (
                member.owner == *owner || !self.is_known_owner(owner),
                format!("an invitation for owner '{owner}'"),
                format!("members of owner '{owner}', because it is in the federation already"),
            ),
            Command::Revoke { member: revoked } => {
                let row = self.members.get(revoked);
                let may = row.is_some_and(|row| {
                    row.owner == member.owner || row.sponsor.as_ref() == Some(name)
                });
                (
                    may,
                    format!("the removal of '{revoked}'"),
                    "its owner's members or its sponsor".to_owned(),
                )
            }
            // Until a majority of owners can approve it, it is for those who founded the federation with its first timings.
            Command::SetTimings { .. } => (
                self.founder()
                    .is_some_and(|founder| founder.owner == member.owner),
                "a change of the federation's timings".to_owned(),
                "members of the owner that founded it".to_owned(),
            ),
            Command::ExpireLeases { .. }
            | Command::RenewLeases { .. }
            | Command::Fence { .. }
            | Command::Assign { .. } => {
                (votes, "a leader's decision".to_owned(), "voters".to_owned())
            }
            Command::Found { .. }
            | Command::Admit { .. }
            | Command::Describe { .. }
            | Command::Volunteer { .. }
            | Command::PublishGrants { .. }
            | Command::ConfirmRemoval { .. } => (true, String::new(), String::new()),
        };
        if may {
            Ok(name.clone())
        } else {
            Err(Rejection::NotPermitted { what, by })
        }
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

impl Issuer {
    /// The counter of `lane`.
    #[must_use]
    pub fn lane(&self, lane: Lane) -> &Counter {
        match lane {
            Lane::Member => &self.member,
            Lane::Leader => &self.leader,
        }
    }

    fn counter(&mut self, lane: Lane) -> &mut Counter {
        match lane {
            Lane::Member => &mut self.member,
            Lane::Leader => &mut self.leader,
        }
    }
}

enum Refused {
    Repeated(Outcome),
    Rejected(Rejection),
}

impl From<Rejection> for Refused {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// What a command asks, for telling a retry from another command under the same number.
fn asked(command: &SignedCommand) -> Digest {
    Digest(Sha256::digest(&command.body).into())
}

/// The bytes of a command that the chain covers: everything in it, each part with a fixed length or its length first.
fn canonical(time_ms: u64, command: &SignedCommand) -> Vec<u8> {
    let SignedCommand {
        issuer,
        lane,
        sequence,
        body,
        signature,
    } = command;
    let mut bytes = time_ms.to_be_bytes().to_vec();
    bytes.extend_from_slice(&issuer.0);
    bytes.push(u8::from(*lane == Lane::Leader));
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(&signature.0);
    bytes.extend_from_slice(body.as_bytes());
    bytes
}
