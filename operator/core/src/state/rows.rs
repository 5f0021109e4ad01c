//! What the tables of the ledger hold.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use crate::{
    command::{Attributes, Command, Lane, SignedCommand},
    grant::Grant,
    id::{Digest, Epoch, Generation, MemberName, NodeId, OwnerName, PublicKey},
    level::Level,
    reason::Reason,
    shared,
    workload::{GroupKind, ManifestId, Share, WorkloadSpec},
};

/// An issuer's numbering.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Issuer {
    /// The lane of the member.
    pub member: Counter,
    /// The lane of the leader.
    pub leader: Counter,
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

    pub(super) fn counter(&mut self, lane: Lane) -> &mut Counter {
        match lane {
            Lane::Member => &mut self.member,
            Lane::Leader => &mut self.leader,
        }
    }
}

/// How far one lane has counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counter {
    /// The last number applied.
    pub sequence: u64,
    /// The digest of the command with that number. Another command with the same number is no retry, and must not get its
    /// answer.
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
    /// What its owner writes about it.
    pub attributes: Attributes,
    /// The version of its operator; empty until it has reported one.
    #[serde(default)]
    pub version: String,
    /// The newest level that its operator knows, as far as it has reported.
    #[serde(default, skip_serializing_if = "Level::is_first")]
    pub level: Level,
    /// What its owner lets others run there.
    pub grants: Vec<Grant>,
    /// The kinds that its API server serves; `None` until it has reported them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kinds: Option<Arc<BTreeSet<GroupKind>>>,
    /// Its seat in the Raft group, where it offered to vote.
    pub seat: Option<Seat>,
    /// Its right to run what it was given.
    pub lease: Lease,
    /// When anything above last changed; plans are decided on it.
    pub generation: Generation,
}

impl Member {
    /// The value of a label of the member called `name`; see [`Attributes::label`].
    #[must_use]
    pub fn label<'a>(&'a self, name: &'a MemberName, key: &str) -> Option<&'a str> {
        self.attributes.label((name, &self.owner), key)
    }
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

/// A member's right to run its placements. The epoch is the index of the entry that gave or took it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Lease {
    /// Renewed by heartbeats, which never enter the log.
    Held {
        /// The index of the entry that granted or ended it.
        epoch: Epoch,
    },
    /// Expired by agreement. `fenced` once enough time has passed that even a member cut off has stopped its `Single`s.
    Lost {
        /// The index of the entry that granted or ended it.
        epoch: Epoch,
        /// Whether it is certain that its `Single` workloads have stopped.
        fenced: bool,
    },
    /// Put out for good. `fenced` as above.
    Revoked {
        /// The index of the entry that granted or ended it.
        epoch: Epoch,
        /// Whether it is certain that its `Single` workloads have stopped.
        fenced: bool,
    },
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

    /// Whether it is certain, without the member's confirmation, that its `Single` workloads have stopped.
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
    /// When it was first put. A workload that is deleted and put again under its name is another one.
    pub born: Generation,
    /// Set when its owner wants it gone; the row goes when the last host has confirmed.
    pub removed: bool,
    /// Its objects that have done what they are for, by manifest. They are not run again.
    pub completed: BTreeMap<ManifestId, Completion>,
    /// The members that its share left because they refused it, each with what it said; until the next edit.
    pub avoided: BTreeMap<MemberName, String>,
    /// The longest grace period that any specification under this name had, in seconds: a member that was lost may run an
    /// older one than the last.
    pub longest_grace: u32,
}

impl Workload {
    /// Whether replicas may be placed elsewhere in addition now: its specification allows it, and all of its tasks that end have
    /// succeeded. One that still runs would be given up with its host.
    #[must_use]
    pub fn may_surge(&self) -> bool {
        let is_over = |id: &ManifestId| !id.group_kind.ends() || self.completed.contains_key(id);
        self.spec.may_surge() && self.spec.tasks().iter().all(is_over)
    }

    /// As [`WorkloadSpec::failback_after`], once it [may](Self::may_surge) run in addition.
    #[must_use]
    pub fn failback_after(&self) -> Option<Duration> {
        let after = self.spec.failback_after();
        after.filter(|_| self.may_surge())
    }
}

/// That an object has done what it is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Completion {
    /// The digest of the manifest it was applied from. Another manifest is another task.
    pub manifest: Digest,
    /// The members that reported it.
    pub members: BTreeSet<MemberName>,
}

/// A workload as a snapshot keeps it: the specification is in the proof.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredWorkload {
    #[serde(deserialize_with = "shared::read_command")]
    proof: Arc<SignedCommand>,
    home: MemberName,
    generation: Generation,
    #[serde(default)]
    born: Generation,
    removed: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    completed: BTreeMap<ManifestId, Completion>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    avoided: BTreeMap<MemberName, String>,
    #[serde(default)]
    longest_grace: u32,
}

impl From<Workload> for StoredWorkload {
    fn from(
        Workload {
            proof,
            spec: _,
            home,
            generation,
            born,
            removed,
            completed,
            avoided,
            longest_grace,
        }: Workload,
    ) -> Self {
        Self {
            proof,
            home,
            generation,
            born,
            removed,
            completed,
            avoided,
            longest_grace,
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
            born,
            removed,
            completed,
            avoided,
            longest_grace,
        }: StoredWorkload,
    ) -> Result<Self, String> {
        match proof.read().map_err(|error| error.to_string())? {
            Command::PutWorkload { spec, .. } => Ok(Self {
                spec: shared::spec_of(&proof, spec),
                proof,
                home,
                generation,
                born,
                removed,
                completed,
                avoided,
                longest_grace,
            }),
            other => Err(format!(
                "the proof of a workload must be a PutWorkload, not {other:?}"
            )),
        }
    }
}

/// A placement that was taken away, until its host confirms that its objects are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removal {
    /// The index of the entry that took it away.
    pub epoch: Epoch,
    /// The workload that was placed there; one that was put later under its name is another.
    #[serde(default)]
    pub born: Generation,
    /// What the host keeps.
    #[serde(default)]
    pub keep: Keep,
    /// Whether it stops by itself when the host's lease ends: it was placed as a `Single`.
    #[serde(default)]
    pub stops: bool,
}

/// What a host keeps when it removes a placement.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keep {
    /// Nothing of what was made for it.
    #[default]
    Nothing,
    /// Its `PersistentVolumeClaim`s, for when it comes back.
    Volumes,
    /// All its objects, no longer managed.
    Everything,
}

/// One decided row: this member runs so much of the workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// How many of what, also what is in addition.
    pub share: Share,
    /// What of it is in addition to what was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surge: Option<Surge>,
    /// The fencing token: a host refuses a lower one than the last it applied.
    pub epoch: Epoch,
    /// Why.
    pub reason: Reason,
}

impl Placement {
    /// The share without what is in addition.
    #[must_use]
    pub fn base(&self) -> Share {
        match &self.surge {
            Some(surge) => self.share.without(&surge.share),
            None => self.share.clone(),
        }
    }
}

/// Replicas in addition, because members that have as many are silent. They go when those are heard again, and stay when
/// those are lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Surge {
    /// How many of what.
    pub share: Share,
    /// The silent members.
    pub covers: BTreeSet<MemberName>,
}
