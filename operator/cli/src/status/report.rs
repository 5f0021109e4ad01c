//! What `-o json` prints and what the screen shows: the objects and the findings about them.

use std::collections::BTreeSet;

use hanse_crds::{
    Condition, ConditionStatus, Exclusion, FederatedWorkload, Federation, FederationRole,
    FederationStatus, Fencing, Lease, Member, PlacementMode, PlacementState, PlacementStatus,
    Quorum, Survives,
    condition::{COMPLIANT, PLACED, READY, STALLED, SURVIVABLE},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;
use serde::Serialize;

use super::Objects;
use crate::prose::{clean, count};

/// With fewer, losing one voter stops all decisions.
const VOTERS_TO_SURVIVE_A_LOSS: usize = 3;

/// The whole answer of `status`.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// The worst of the findings; `Safe` without any.
    pub(super) safety: Safety,
    /// Why it is not `Safe`, the worst first.
    pub(super) findings: Vec<Finding>,
    pub(super) federation: FederationRow,
    pub(super) members: MemberCounts,
    /// Members whose lease does not hold, except those that were revoked.
    pub(super) lost_members: Vec<LostMember>,
    pub(super) workloads: Vec<WorkloadRow>,
}

/// Ordered from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) enum Safety {
    /// Everything runs, and continues to run when any one member is lost.
    Safe,
    /// Everything runs, and one more loss would stop some of it.
    AtRisk,
    /// Something does not run, or nothing can be decided.
    Failing,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Finding {
    pub(super) safety: Safety,
    pub(super) message: String,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FederationRow {
    pub(super) id: Option<String>,
    pub(super) quorum: Option<Quorum>,
    pub(super) leader: Option<String>,
    pub(super) voters: BTreeSet<String>,
    /// Those of them that do not vote now.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) silent_voters: BTreeSet<String>,
    pub(super) height: Option<i64>,
    pub(super) head: Option<String>,
    pub(super) term: Option<i64>,
    /// This member.
    pub(super) member: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) role: Option<FederationRole>,
    pub(super) lease: Option<Lease>,
}

#[derive(Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MemberCounts {
    pub(super) held: usize,
    pub(super) lost: usize,
    pub(super) revoked: usize,
    pub(super) unknown: usize,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LostMember {
    pub(super) name: String,
    pub(super) since: Option<Time>,
}

#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WorkloadRow {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) mode: PlacementMode,
    pub(super) ready: i32,
    pub(super) desired: i32,
    pub(super) survives: Option<Survives>,
    /// What "never two copies" rests on; absent where it is not promised.
    pub(super) fencing: Option<Fencing>,
    pub(super) epoch: Option<i64>,
    pub(super) healthy: bool,
    /// Whether all this is about the workload as it is now, and not about an earlier generation.
    #[serde(skip)]
    pub(super) observed: bool,
    /// Why it would not survive what it must.
    pub(super) at_risk: Option<String>,
    /// The condition that says most about why it is not healthy.
    pub(super) because: Option<Because>,
    pub(super) placements: Vec<PlacementStatus>,
    pub(super) excluded: Vec<Exclusion>,
    /// How many were ruled out; a few of them are in `excluded`.
    pub(super) excluded_members: i32,
}

/// A condition, made fit to be read.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Because {
    pub(super) condition: String,
    pub(super) status: ConditionStatus,
    pub(super) reason: String,
    pub(super) message: String,
}

impl Report {
    pub(super) fn of(
        Objects {
            federation,
            members,
            workloads,
        }: Objects,
    ) -> Self {
        let federation = FederationRow::of(federation, &members);
        let lost_members = lost(&members);
        let workloads: Vec<WorkloadRow> = workloads.iter().map(WorkloadRow::of).collect();
        let mut findings = quorum_findings(&federation);
        findings.extend(silent_voters(&federation, &lost_members));
        findings.extend(workloads.iter().filter_map(WorkloadRow::finding));
        findings.extend(lost_members.iter().map(LostMember::finding));
        // Stable: within a degree of badness the quorum comes first, then workloads, then members.
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.safety));
        let worst = findings.iter().map(|finding| finding.safety).max();
        Self {
            safety: worst.unwrap_or(Safety::Safe),
            findings,
            federation,
            members: MemberCounts::of(&members),
            lost_members,
            workloads,
        }
    }
}

impl FederationRow {
    fn of(federation: Federation, members: &[Member]) -> Self {
        let FederationStatus {
            id,
            member,
            role,
            leader,
            quorum,
            voters,
            silent_voters,
            term,
            height,
            head,
            ..
        } = federation.status.unwrap_or_default();
        let own = members.iter().find(|row| Some(row.name_any()) == member);
        let own = own.and_then(|row| row.status.as_ref());
        Self {
            id,
            quorum,
            leader,
            voters,
            silent_voters,
            height,
            head,
            term,
            owner: own.and_then(|status| status.owner.clone()),
            lease: own.and_then(|status| status.lease),
            member,
            role,
        }
    }
}

impl MemberCounts {
    fn of(members: &[Member]) -> Self {
        let mut counts = Self::default();
        for member in members {
            let count = match lease(member) {
                Some(Lease::Held) => &mut counts.held,
                Some(Lease::Lost) => &mut counts.lost,
                Some(Lease::Revoked) => &mut counts.revoked,
                None => &mut counts.unknown,
            };
            *count += 1;
        }
        counts
    }
}

fn lease(member: &Member) -> Option<Lease> {
    member.status.as_ref()?.lease
}

fn lost(members: &[Member]) -> Vec<LostMember> {
    let lost = members
        .iter()
        .filter(|member| lease(member) == Some(Lease::Lost));
    lost.map(|member| LostMember {
        name: member.name_any(),
        since: member
            .status
            .as_ref()
            .and_then(|status| status.lease_transition_time.clone()),
    })
    .collect()
}

impl LostMember {
    fn finding(&self) -> Finding {
        let message = format!(
            "member {} is lost: it did not renew its lease in time",
            self.name
        );
        Finding {
            safety: Safety::AtRisk,
            message,
        }
    }
}

fn quorum_findings(federation: &FederationRow) -> Vec<Finding> {
    let voters = federation.voters.len();
    let finding = match federation.quorum {
        None => Some((
            Safety::Failing,
            "the operator of this cluster has not reported yet whether there is a quorum".to_owned(),
        )),
        Some(Quorum::Lost) => Some((
            Safety::Failing,
            "the quorum is lost: nothing can be decided. Everything keeps running as last decided, except Single \
             workloads, which stop when their host's lease ends"
                .to_owned(),
        )),
        Some(Quorum::Healthy | Quorum::Degraded) if voters < VOTERS_TO_SURVIVE_A_LOSS => Some((
            Safety::AtRisk,
            format!("the quorum has {}: with three or more it survives the loss of any one", count(voters, "voter")),
        )),
        Some(Quorum::Healthy | Quorum::Degraded) => None,
    };
    finding
        .map(|(safety, message)| Finding { safety, message })
        .into_iter()
        .collect()
}

/// The voters that do not vote though their members are not lost.
fn silent_voters(federation: &FederationRow, lost: &[LostMember]) -> Vec<Finding> {
    let is_lost = |voter: &&String| lost.iter().any(|member| member.name == **voter);
    let silent = federation.silent_voters.iter();
    let silent =
        silent.filter(|voter| federation.quorum == Some(Quorum::Degraded) && !is_lost(voter));
    let finding = |voter: &String| Finding {
        safety: Safety::AtRisk,
        message: format!(
            "voter {voter} does not vote, though it hosts: its ledger is not open, or the leader cannot reach it. Its pod says why: \
             kubectl -n hanse-system get pods, in its cluster"
        ),
    };
    silent.map(finding).collect()
}

impl WorkloadRow {
    fn of(workload: &FederatedWorkload) -> Self {
        let status = workload.status.clone().unwrap_or_default();
        let because = explanation(&status.conditions);
        let mut conditions = status.conditions.iter();
        let at_risk =
            conditions.find(|it| it.type_ == SURVIVABLE && it.status != ConditionStatus::True);
        let at_risk = at_risk.map(|condition| clean(&condition.message));
        let generation = workload.metadata.generation;
        Self {
            namespace: workload.namespace().unwrap_or_default(),
            name: workload.name_any(),
            mode: workload.spec.placement.mode,
            ready: status.ready,
            desired: status.desired,
            survives: status.survives,
            fencing: status.fencing,
            epoch: status.epoch,
            at_risk,
            healthy: because.is_none(),
            observed: generation.is_none() || status.observed_generation >= generation,
            because,
            placements: status
                .placements
                .into_iter()
                .map(readable_placement)
                .collect(),
            excluded_members: status.excluded_members,
            excluded: status
                .excluded
                .into_iter()
                .map(readable_exclusion)
                .collect(),
        }
    }

    fn finding(&self) -> Option<Finding> {
        let name = format!("{}/{}", self.namespace, self.name);
        if let Some(because) = &self.because {
            let message = format!("{name} is not healthy: {}", because.reason);
            return Some(Finding {
                safety: Safety::Failing,
                message,
            });
        }
        let at_risk = self.at_risk.as_ref()?;
        Some(Finding {
            safety: Safety::AtRisk,
            message: format!("{name} {at_risk}"),
        })
    }

    /// The placements that are not as they should be.
    pub(super) fn troubled(&self) -> impl Iterator<Item = &PlacementStatus> {
        let troubled = |placement: &&PlacementStatus| placement.state != PlacementState::Ready;
        self.placements.iter().filter(troubled)
    }

    /// Whether the condition is about finding a place, which the excluded members then explain.
    pub(super) fn lacks_places(&self) -> bool {
        let about = |because: &Because| [PLACED, STALLED, COMPLIANT].contains(&&*because.condition);
        self.because.as_ref().is_some_and(about)
    }
}

/// The condition that says most about why a workload is not healthy; none if it is. A workload without conditions has
/// not been processed yet, and counts as not healthy.
fn explanation(conditions: &[Condition]) -> Option<Because> {
    let by_type = |type_: &str| conditions.iter().find(|condition| condition.type_ == type_);
    let is = |type_, status| by_type(type_).filter(|condition| condition.status == status);
    let telling = is(PLACED, ConditionStatus::False)
        .or_else(|| is(COMPLIANT, ConditionStatus::False))
        .or_else(|| is(STALLED, ConditionStatus::True))
        .or_else(|| by_type(READY).filter(|ready| ready.status != ConditionStatus::True));
    match (telling, by_type(READY)) {
        (Some(condition), _) => Some(Because {
            condition: condition.type_.clone(),
            status: condition.status,
            reason: clean(&condition.reason),
            message: clean(&condition.message),
        }),
        (None, Some(_)) => None,
        (None, None) => Some(Because {
            condition: READY.to_owned(),
            status: ConditionStatus::Unknown,
            reason: "NotObserved".to_owned(),
            message: "the operator has not processed it yet".to_owned(),
        }),
    }
}

fn readable_placement(mut placement: PlacementStatus) -> PlacementStatus {
    placement.message = clean(&placement.message);
    placement
}

fn readable_exclusion(mut exclusion: Exclusion) -> Exclusion {
    exclusion.message = clean(&exclusion.message);
    exclusion
}
