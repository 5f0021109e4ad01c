//! The part of the federation's state that one member receives, and how it is kept up to date.
//!
//! A member sees its own placements and removals, its owner's workloads with how they stand, the list of members and
//! the state of the ledger; nothing of what other owners run elsewhere. The leader computes it
//! ([`Slice::of`]), sends it whole on attach and as differences from then on ([`View::advance`], [`Slice::update`]).
//!
//! A slice is a view, not an order: that a placement is no longer in it deletes nothing. Only a row of `removals` does.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::{
    command::{Attributes, SignedCommand},
    id::{
        Digest, Epoch, FederationId, Generation, MemberName, NodeId, OwnerName, PublicKey,
        WorkloadKey,
    },
    level::Level,
    per_host::{PerHost, changed_keys},
    reason::Reason,
    schedule::{Diagnosis, Findings},
    shared,
    state::{Lease, Removal, Seat, State},
    suspicion::Suspects,
    timings::Timings,
    workload::{ManifestId, Share, WorkloadSpec},
};

mod absent;
mod rows;
mod update;
mod view;

pub use update::{Difference, SliceUpdate, TableDifference};
pub use view::View;

/// The part of the federation's state that one member receives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Slice {
    /// The ledger and its voters.
    pub federation: FederationView,
    /// Every member.
    pub members: OrdMap<MemberName, MemberView>,
    /// What this member runs.
    pub placements: OrdMap<WorkloadKey, Arc<AssignedPlacement>>,
    /// What this member has to remove.
    pub removals: OrdMap<WorkloadKey, Removal>,
    /// The workloads of this member's owner.
    pub workloads: OrdMap<WorkloadKey, Arc<OwnedWorkload>>,
    /// What the planner found for workloads with the same needs, by the numbers in their diagnoses.
    #[serde(default)]
    pub findings: OrdMap<u64, Arc<Findings>>,
}

/// The ledger and its voters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FederationView {
    /// Which federation.
    pub id: FederationId,
    /// The ledger's height: the index of the last entry applied.
    pub index: u64,
    /// The hash chain's head there.
    pub head: Digest,
    /// The leader's term.
    pub term: u64,
    /// What commands and rules may be used.
    #[serde(default, skip_serializing_if = "Level::is_first")]
    pub level: Level,
    /// Who leads.
    pub leader: MemberName,
    /// Who votes.
    pub voters: BTreeSet<MemberName>,
    /// How long a lease lasts, and how often it is renewed.
    #[serde(default)]
    pub timings: Timings,
    /// The silent members that the brake holds back: nothing runs in addition for them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub held_back: BTreeSet<MemberName>,
    /// The voters that do not vote: their leases are lost, or their ledgers answer nothing.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub silent_voters: BTreeSet<MemberName>,
}

/// One member as the others see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberView {
    /// Whose cluster it is.
    pub owner: OwnerName,
    /// What it is.
    pub key: PublicKey,
    /// Its owner's description of it.
    pub attributes: Attributes,
    /// The version of its operator; empty until it has reported one.
    #[serde(default)]
    pub version: String,
    /// The newest level that its operator knows.
    #[serde(default, skip_serializing_if = "Level::is_first")]
    pub level: Level,
    /// Its right to run what it was given.
    pub lease: Lease,
    /// Its seat, where it offered to vote.
    pub seat: Option<Seat>,
    /// How many placements it has.
    pub placements: usize,
    /// Whether it is silent for longer than usual, though its lease runs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub silent: bool,
    /// Whether its API server answers nothing, though its operator is heard.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub control_plane_down: bool,
}

/// One placement as its host receives it, with everything needed to verify it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AssignedPlacement {
    /// How many replicas of what.
    pub share: Share,
    /// The fencing token.
    pub epoch: Epoch,
    /// The generation of the workload that `proof` made.
    pub generation: Generation,
    /// The author's signed command; its body is the specification.
    #[serde(deserialize_with = "shared::read_command")]
    pub proof: Arc<SignedCommand>,
    /// The author.
    pub home: MemberName,
    /// The objects that are not run again, each with the digest of its manifest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub completed: BTreeMap<ManifestId, Digest>,
}

/// One workload as its owner's members receive it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnedWorkload {
    /// What is wanted.
    #[serde(deserialize_with = "shared::read_spec")]
    pub spec: Arc<WorkloadSpec>,
    /// When it last changed.
    pub generation: Generation,
    /// The member whose API server received the last change.
    pub home: MemberName,
    /// When it was first put.
    #[serde(default)]
    pub born: Generation,
    /// Whether it is being removed.
    pub removed: bool,
    /// Where it runs, and how it does.
    pub hosts: BTreeMap<MemberName, HostStanding>,
    /// What the planner found about it.
    pub diagnosis: Diagnosis,
}

/// How one workload stands on one member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostStanding {
    /// The replicas decided; 0 while being removed.
    pub replicas: u32,
    /// How many of them are in addition to what was asked for.
    #[serde(default)]
    pub surge: u32,
    /// How its member is.
    #[serde(default, skip_serializing_if = "HostState::is_well")]
    pub host: HostState,
    /// The placement's, or the removal's.
    pub epoch: Epoch,
    /// Why the placement was made; `None` while it is being removed.
    pub reason: Option<Reason>,
    /// Whether the member still has to remove its objects.
    pub removing: bool,
    /// Whether the member's lease is held.
    pub lease_held: bool,
    /// What the member last reported of it; `None` until it has.
    pub report: Option<PlacementReport>,
}

/// How the member of a placement is, as far as that matters for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum HostState {
    /// It takes part.
    #[default]
    Well,
    /// It is silent, and others run its replicas in addition: what it last reported is out of date.
    Covered,
    /// Its API server answers nothing: what it last reported is out of date, and what runs there goes on.
    ControlPlaneDown,
    /// Its owner drains it.
    Drained,
}

impl HostState {
    /// Whether it is [`Self::Well`].
    #[must_use]
    pub fn is_well(&self) -> bool {
        *self == Self::Well
    }
}

/// How far a host has come with a placement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PlacementPhase {
    /// Applied and not yet as ready as it should be.
    Applied,
    /// Everything is there and ready.
    Ready,
    /// An object could not be applied; the message names it.
    Refused,
    /// An object is there and cannot become ready; the message names it.
    Failed,
    /// Stopped by the host itself, because its lease ended.
    Stopped,
    /// Its objects are being removed; the message names what that waits for.
    Removing,
}

/// What a host reports of one placement: soft state, never in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlacementReport {
    /// The epoch applied.
    pub epoch: Epoch,
    /// The generation applied.
    pub generation: Generation,
    /// How far it has come.
    pub phase: PlacementPhase,
    /// Ready replicas (or, where nothing scales, 1 when all objects are ready and 0 otherwise).
    pub ready: u32,
    /// Whether anything of it runs there, of whatever version. A host that does not say may.
    #[serde(default = "may_run")]
    pub runs: bool,
    /// Whether some of its replicas are still to be replaced by newer ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rolls_out: bool,
    /// The replicas that should run, if another controller decides that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<u32>,
    /// That controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaled_by: Option<String>,
    /// The object that is furthest from ready, and why; empty when all are ready. At most 1,024 characters.
    pub message: String,
}

impl PlacementReport {
    /// Whether it is about the placement of this epoch and generation, and no earlier one.
    #[must_use]
    pub fn is_about(&self, epoch: Epoch, generation: Generation) -> bool {
        self.epoch == epoch && self.generation == generation
    }
}

/// For serde.
fn may_run() -> bool {
    true
}

/// What a member reports of its placements, whole on attach and as differences from then on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reports {
    /// By workload.
    pub placements: OrdMap<WorkloadKey, Arc<PlacementReport>>,
}

/// The leader's soft state about a federation: what members report and what the planner found, by workload.
#[derive(Debug, Clone, Default)]
pub struct Standing {
    /// What members last reported.
    pub reports: PerHost<Arc<PlacementReport>>,
    /// What the planner last found about each workload.
    pub diagnoses: OrdMap<WorkloadKey, Diagnosis>,
    /// What it found for workloads with the same needs.
    pub findings: OrdMap<u64, Arc<Findings>>,
    /// Who is silent.
    pub suspects: Suspects,
    /// The members that are heard and say that their API server answers nothing.
    pub control_planes_down: BTreeSet<MemberName>,
    /// The seats whose ledgers answer nothing, though their members may be heard.
    pub silent_voters: BTreeSet<NodeId>,
}

impl Slice {
    /// The slice of `member`. `None` where it is no member, was revoked, or the ledger is empty.
    #[must_use]
    pub fn of(
        state: &State,
        standing: &Standing,
        member: &MemberName,
        leader: &MemberName,
        term: u64,
    ) -> Option<Self> {
        let row = state
            .members
            .get(member)
            .filter(|row| !matches!(row.lease, Lease::Revoked { .. }))?;
        let owner = &row.owner;
        let owned = state.workloads.keys().filter(|key| key.owner == *owner);
        let diagnoses = standing.diagnoses.iter();
        let diagnoses = diagnoses.filter(|(key, _)| key.owner == *owner);
        let numbers: BTreeSet<u64> = diagnoses.map(|(_, it)| it.findings).collect();
        Some(Self {
            federation: rows::federation(state, standing, leader, term)?,
            members: table(state.members.keys(), |name| {
                rows::member(state, standing, name)
            }),
            placements: table(state.placements.at(member), |key| {
                rows::placement(state, key, member)
            }),
            removals: table(state.removals.at(member), |key| {
                state.removals.get(key, member).copied()
            }),
            workloads: table(owned, |key| rows::workload(state, standing, key)),
            findings: table(&numbers, |number| standing.findings.get(number).cloned()),
        })
    }

    /// One of this owner's workloads.
    #[must_use]
    pub fn workload(&self, key: &WorkloadKey) -> Option<&OwnedWorkload> {
        self.workloads.get(key).map(Arc::as_ref)
    }

    /// The workloads of this owner that are others than in `older`, or are gone.
    pub fn changed_workloads<'a>(
        &'a self,
        older: &'a Self,
    ) -> impl Iterator<Item = &'a WorkloadKey> {
        changed_keys(&older.workloads, &self.workloads)
    }

    /// The workloads whose placement or removal here is another than in `older`, or is gone.
    pub fn changed_here<'a>(&'a self, older: &'a Self) -> impl Iterator<Item = &'a WorkloadKey> {
        let placed = changed_keys(&older.placements, &self.placements);
        placed.chain(changed_keys(&older.removals, &self.removals))
    }

    /// What the planner found about where `workload` can run.
    #[must_use]
    pub fn findings_of<'a>(&'a self, workload: &'a OwnedWorkload) -> Option<&'a Findings> {
        let Diagnosis { own, findings, .. } = &workload.diagnosis;
        let shared = || self.findings.get(findings).map(Arc::as_ref);
        own.as_ref().or_else(shared)
    }
}

/// The rows of these keys that there are.
fn table<'a, K: Ord + Clone + 'a, V: Clone>(
    keys: impl IntoIterator<Item = &'a K>,
    row: impl Fn(&K) -> Option<V>,
) -> OrdMap<K, V> {
    let rows = keys.into_iter();
    rows.filter_map(|key| Some((key.clone(), row(key)?)))
        .collect()
}
