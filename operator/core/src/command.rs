//! The commands to the ledger, and in [`signed`] the envelope they travel in.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    grant::Grant,
    id::{
        Digest, Epoch, FederationId, Generation, MemberName, OwnerName, PublicKey, Signature,
        WorkloadKey,
    },
    level::Level,
    reason::Reason,
    selector::Taint,
    state::Surge,
    timings::Timings,
    workload::{GroupKind, ManifestId, Share, WorkloadSpec},
};

mod signed;

pub use signed::{SignedCommand, VerifyError};

/// The largest command, in bytes of its body. A voter refuses larger ones before they reach the log.
pub const MAX_COMMAND_BYTES: usize = 1024 * 1024;

/// The numbering a command belongs to. A member that leads issues commands in two roles at once, over two ways to the
/// log; each role has its own numbers, so that neither has to wait for the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Lane {
    /// What the issuer proposes as a member.
    Member,
    /// What the issuer decides as the leader.
    Leader,
}

/// What the owner of a member writes about it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Attributes {
    /// For example `hetzner`; empty if not given.
    pub provider: String,
    /// For example `fsn1`; empty if not given.
    pub region: String,
    /// For example `EU`; empty if not given, which is in no domicile.
    pub jurisdiction: String,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it takes placements and keeps them.
    pub scheduling: Scheduling,
    /// What keeps away workloads that do not tolerate it.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub taints: BTreeSet<Taint>,
}

/// Whether a member takes placements and keeps those it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Scheduling {
    /// It does both.
    #[default]
    Enabled,
    /// It keeps what it runs and takes nothing new.
    Cordoned,
    /// It takes nothing new, and what it runs goes to other members.
    Drained,
}

impl Attributes {
    /// The value of a label of the `member` of that name and owner: one that its owner gave it, or one by what it is, of
    /// `hanse.dev/member`, `owner`, `provider`, `region` and `jurisdiction`. `None` if it has none.
    #[must_use]
    pub fn label<'a>(
        &'a self,
        (name, owner): (&'a MemberName, &'a OwnerName),
        key: &str,
    ) -> Option<&'a str> {
        let value = match key.strip_prefix("hanse.dev/") {
            Some("member") => name.as_str(),
            Some("owner") => owner.as_str(),
            Some("provider") => &self.provider,
            Some("region") => &self.region,
            Some("jurisdiction") => &self.jurisdiction,
            Some(_) | None => return self.labels.get(key).map(String::as_str),
        };
        Some(value).filter(|value| !value.is_empty())
    }
}

/// The name, owner and key under which a newcomer asks to enter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Newcomer {
    /// The member's name, free in the federation.
    pub name: MemberName,
    /// Its owner; an invitation names the one it is for.
    pub owner: OwnerName,
    /// Its key; also the issuer of the command that admits it.
    pub key: PublicKey,
}

/// One row of a plan: what a member runs of a workload, from this entry on.
///
/// The row carries the generations it was decided on. It is applied only while they are current; otherwise it is skipped
/// and the planner decides again, so that a plan never overwrites a change it has not seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlacementChange {
    /// Which workload.
    pub workload: WorkloadKey,
    /// The generation of the workload the row was decided on.
    pub workload_generation: Generation,
    /// Which member.
    pub member: MemberName,
    /// The generation of the member the row was decided on.
    pub member_generation: Generation,
    /// What to run there; `None` takes the placement away.
    pub share: Option<Share>,
    /// What of the share is in addition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub surge: Option<Surge>,
    /// Why.
    pub reason: Reason,
}

/// A command to the ledger. The variants are in the order of a federation's life.
///
/// The encoding is JSON with the variant's name as the key: variants and fields may be added, each with the [`Level`] from
/// which it may be used, and never renamed. A reader refuses what it does not know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Command {
    /// The first command of a federation: its founder admits itself and chooses the timings.
    Found {
        /// Its identity: 16 random bytes.
        federation: FederationId,
        /// The issuer.
        founder: Newcomer,
        /// The timings it starts with.
        #[serde(default)]
        timings: Timings,
        /// The level it starts with: the newest that the founder knows.
        #[serde(default, skip_serializing_if = "Level::is_first")]
        level: Level,
    },
    /// A member invites one newcomer of `owner`. The holder of the private half of `invitation` may use it, once.
    Invite {
        /// The public half of its key.
        invitation: PublicKey,
        /// The owner the newcomer must be of.
        owner: OwnerName,
        /// When it expires, in milliseconds since 1970.
        expires_ms: u64,
    },
    /// A newcomer enters. Issued by itself; `proof` is made with the invitation's private key over
    /// [`admission_message`].
    Admit {
        /// Which invitation it uses.
        invitation: PublicKey,
        /// The issuer.
        newcomer: Newcomer,
        /// That it holds the invitation.
        proof: Signature,
    },
    /// A member leaves, or is revoked by a member of its own owner or by the one that invited it.
    Revoke {
        /// Which member.
        member: MemberName,
    },
    /// The issuer's owner describes it, and its operator reports its own version and the newest level it knows.
    Describe {
        /// The description.
        attributes: Attributes,
        /// The version of the operator.
        #[serde(default)]
        version: String,
        /// The newest level that the operator knows.
        #[serde(default, skip_serializing_if = "Level::is_first")]
        level: Level,
    },
    /// The issuer offers to vote, reachable at `address` (`HOST:PORT`). The log index becomes its node id.
    Volunteer {
        /// `HOST:PORT`.
        address: String,
        /// The newest level that its operator knows: below the federation's it gets no vote.
        #[serde(default, skip_serializing_if = "Level::is_first")]
        level: Level,
    },
    /// From now on leases last as long and are renewed as often as this.
    SetTimings {
        /// The new timings.
        timings: Timings,
    },
    /// The issuer's owner grants, replacing what it granted before.
    PublishGrants {
        /// All of them, in the order in which they are asked.
        grants: Vec<Grant>,
    },
    /// The API server of the issuer serves these kinds, replacing what it served before.
    PublishKinds {
        /// All of them.
        kinds: BTreeSet<GroupKind>,
    },
    /// The issuer's owner wants this workload. `base` is the generation the author saw; 0 creates.
    PutWorkload {
        /// Which workload.
        key: WorkloadKey,
        /// The generation the edit was made on.
        base: Generation,
        /// What is wanted.
        spec: WorkloadSpec,
    },
    /// The issuer's owner wants this workload gone.
    RemoveWorkload {
        /// Which workload.
        key: WorkloadKey,
        /// The newest generation of it that the issuer has seen; 0 for none. A workload that was put later under the same
        /// name is not meant.
        #[serde(default)]
        seen: Generation,
        /// Whether its objects stay in the hosts, no longer managed.
        #[serde(default)]
        orphan: bool,
    },
    /// The issuer, a host, has removed every object of this placement, which was taken away at `epoch`.
    ConfirmRemoval {
        /// Which workload.
        workload: WorkloadKey,
        /// That of the pending removal.
        epoch: Epoch,
    },
    /// The issuer, a host, saw that these objects have done what they are for and need not run again.
    Complete {
        /// Which workload.
        workload: WorkloadKey,
        /// The objects, each with the digest of the manifest that it was applied from.
        objects: BTreeMap<ManifestId, Digest>,
    },
    /// The leader: from now on commands and rules of this level may be used. Refused unless all voters know it.
    RaiseLevel {
        /// Higher than the one before.
        to: Level,
    },
    /// The leader: no lease granted before the timings were set at `since` runs any more. Ignored if they were set again.
    SettleTimings {
        /// The index of the entry that set the timings.
        since: Epoch,
    },
    /// The leader: these leases ended. Pairs whose epoch is no longer current are ignored.
    ExpireLeases {
        /// Members, each with the epoch of the lease that is meant.
        leases: BTreeSet<(MemberName, Epoch)>,
    },
    /// The leader: these lost members are back. Pairs whose epoch is no longer current are ignored.
    RenewLeases {
        /// Members, each with the epoch of the lease that is meant.
        leases: BTreeSet<(MemberName, Epoch)>,
    },
    /// The leader: enough time has passed since these leases ended that a member that follows the protocol has stopped its
    /// `Single` workloads.
    Fence {
        /// Members, each with the epoch of the lease that is meant.
        leases: BTreeSet<(MemberName, Epoch)>,
    },
    /// The leader: a plan.
    Assign {
        /// Its rows, at most [`crate::state::MAX_PLAN_ROWS`].
        changes: Vec<PlacementChange>,
    },
}

impl Command {
    /// The lane that each command belongs to, and the first level at which it may be used.
    fn place(&self) -> (Lane, Level) {
        match self {
            Self::Found { .. }
            | Self::Invite { .. }
            | Self::Admit { .. }
            | Self::Revoke { .. }
            | Self::Describe { .. }
            | Self::Volunteer { .. }
            | Self::SetTimings { .. }
            | Self::PublishGrants { .. }
            | Self::PublishKinds { .. }
            | Self::RemoveWorkload { .. }
            | Self::ConfirmRemoval { .. }
            | Self::Complete { .. } => (Lane::Member, Level::FIRST),
            Self::PutWorkload { spec, .. } => (Lane::Member, spec.level()),
            Self::RaiseLevel { .. }
            | Self::SettleTimings { .. }
            | Self::ExpireLeases { .. }
            | Self::RenewLeases { .. }
            | Self::Fence { .. }
            | Self::Assign { .. } => (Lane::Leader, Level::FIRST),
        }
    }

    /// The lane this command belongs to; in the other it is refused.
    #[must_use]
    pub fn lane(&self) -> Lane {
        self.place().0
    }

    /// The first level at which this command may be used: that of the newest part of it.
    #[must_use]
    pub fn level(&self) -> Level {
        self.place().1
    }
}

/// What the private half of an invitation signs: this key, under this name, of this owner, in this federation.
#[must_use]
pub fn admission_message(federation: &FederationId, newcomer: &Newcomer) -> Vec<u8> {
    let mut message = b"hanse/admission/v1\0".to_vec();
    message.extend_from_slice(&federation.0);
    message.extend_from_slice(&newcomer.key.0);
    // A slash is in no DNS label, so the two names cannot run into each other.
    message.extend_from_slice(format!("{}/{}", newcomer.owner, newcomer.name).as_bytes());
    message
}
