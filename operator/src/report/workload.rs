//! The status of a `FederatedWorkload`. Pure.

use hanse_core::{
    schedule,
    slice::{OwnedWorkload, Slice},
    summary::{Finding, HostState, HostSummary, Summary, summarize},
    workload::Mode,
};
use hanse_crds::{
    Condition, ConditionStatus, Exclusion, FederatedWorkloadStatus, Fencing, PlacementState,
    PlacementStatus, Survives, condition::set_condition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::observe::Fault;

/// The members named in the column; more are counted.
const NAMED_HOSTS: usize = 3;

/// The longest message of a placement and of an exclusion, in characters, by the CRD.
const MAX_PLACEMENT_MESSAGE: usize = 1_024;
const MAX_EXCLUSION_MESSAGE: usize = 512;

/// What the status depends on.
pub(super) struct Question<'a> {
    pub(super) slice: &'a Slice,
    /// The workload in the ledger; `None` until it is there.
    pub(super) owned: Option<&'a OwnedWorkload>,
    /// What is wrong with the object as it is written.
    pub(super) fault: Option<&'a Fault>,
    pub(super) generation: Option<i64>,
    pub(super) attached: bool,
}

/// What the status says after `before`.
pub(super) fn status(
    before: &FederatedWorkloadStatus,
    question: &Question<'_>,
    now: &Time,
) -> FederatedWorkloadStatus {
    let mut status = before.clone();
    status.observed_generation = question.generation;
    let summary = question
        .owned
        .map(|owned| summarize(owned, question.attached));
    if let (Some(owned), Some(summary)) = (question.owned, &summary) {
        fill(&mut status, question.slice, owned, summary);
    }
    let findings = summary.map_or_else(|| pending(question), |summary| summary.findings);
    for finding in findings
        .into_iter()
        .map(|finding| overruled(finding, question.fault))
    {
        let holds = match finding.holds {
            Some(true) => ConditionStatus::True,
            Some(false) => ConditionStatus::False,
            None => ConditionStatus::Unknown,
        };
        let condition = Condition::new(
            finding.kind,
            holds,
            &finding.reason,
            finding.message,
            now.clone(),
        );
        set_condition(
            &mut status.conditions,
            condition.observed_at(question.generation),
        );
    }
    status
}

fn fill(
    status: &mut FederatedWorkloadStatus,
    slice: &Slice,
    owned: &OwnedWorkload,
    summary: &Summary,
) {
    let number = |number: u32| i32::try_from(number).unwrap_or(i32::MAX);
    status.ledger_generation = Some(count(owned.generation.0));
    status.home = Some(owned.home.to_string());
    status.desired = number(summary.desired);
    status.ready = number(summary.ready);
    status.hosts = hosts(&summary.hosts);
    status.survives = Some(match owned.diagnosis.survives {
        schedule::Survives::Nothing => Survives::Nothing,
        schedule::Survives::Cluster => Survives::Cluster,
        schedule::Survives::Region => Survives::Region,
        schedule::Survives::Provider => Survives::Provider,
        schedule::Survives::Owner => Survives::Owner,
    });
    status.epoch = Some(count(summary.epoch.0)).filter(|epoch| *epoch > 0);
    status.fencing = Some(match owned.spec.placement.mode {
        Mode::Single => Fencing::Cooperative,
        Mode::Divided | Mode::Duplicated => Fencing::None,
    });
    status.placements = summary
        .hosts
        .iter()
        .map(|host| placement(slice, host))
        .collect();
    let excluded = owned
        .diagnosis
        .excluded
        .iter()
        .map(|(member, exclusion)| Exclusion {
            member: member.to_string(),
            reason: exclusion.reason.clone(),
            message: exclusion
                .message
                .chars()
                .take(MAX_EXCLUSION_MESSAGE)
                .collect(),
        });
    status.excluded = excluded.collect();
}

fn placement(slice: &Slice, host: &HostSummary) -> PlacementStatus {
    let owner = slice
        .members
        .get(&host.member)
        .map(|row| row.owner.to_string());
    PlacementStatus {
        member: host.member.to_string(),
        owner: owner.unwrap_or_default(),
        replicas: i32::try_from(host.replicas).unwrap_or(i32::MAX),
        ready: i32::try_from(host.ready).unwrap_or(i32::MAX),
        epoch: count(host.epoch.0),
        state: match host.state {
            HostState::Pending => PlacementState::Pending,
            HostState::Applied => PlacementState::Applied,
            HostState::Ready => PlacementState::Ready,
            HostState::Failed => PlacementState::Failed,
            HostState::Stopped => PlacementState::Stopped,
            HostState::Lost => PlacementState::Lost,
            HostState::Removing => PlacementState::Removing,
        },
        message: host.message.chars().take(MAX_PLACEMENT_MESSAGE).collect(),
    }
}

fn hosts(hosts: &[HostSummary]) -> Option<String> {
    let placed: Vec<_> = hosts
        .iter()
        .filter(|host| host.state != HostState::Removing)
        .collect();
    let named = placed
        .iter()
        .take(NAMED_HOSTS)
        .map(|host| host.member.to_string())
        .collect::<Vec<_>>()
        .join(", ");
    match placed.len().checked_sub(NAMED_HOSTS) {
        _ if placed.is_empty() => None,
        None | Some(0) => Some(named),
        Some(more) => Some(format!("{named} +{more}")),
    }
}

/// What is said before the ledger has the workload.
fn pending(question: &Question<'_>) -> Vec<Finding> {
    let (reason, message) = if question.attached {
        ("Replicating", "the federation has not taken it in yet")
    } else {
        (
            "QuorumLost",
            "no leader with a quorum answers this member; it will be taken in when one does",
        )
    };
    let unknown = |kind| Finding {
        kind,
        holds: None,
        reason: reason.into(),
        message: message.into(),
    };
    [
        "Ready",
        "Placed",
        "Survivable",
        "Compliant",
        "Progressing",
        "Stalled",
    ]
    .map(unknown)
    .to_vec()
}

/// An object that cannot be taken in as it is written is not ready and goes nowhere by itself, whatever runs meanwhile.
fn overruled(finding: Finding, fault: Option<&Fault>) -> Finding {
    let Some(fault) = fault else { return finding };
    let holds = match finding.kind {
        "Ready" | "Progressing" => false,
        "Stalled" => true,
        _ => return finding,
    };
    Finding {
        kind: finding.kind,
        holds: Some(holds),
        reason: fault.reason.into(),
        message: fault.message.clone(),
    }
}

/// A number of the ledger as the API has it.
pub(super) fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
