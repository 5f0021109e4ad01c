//! The status of a `FederatedWorkload`. Pure.

use std::borrow::Cow;

use hanse_core::{
    domain::FailureDomain,
    id::MemberName,
    jurisdiction::objection,
    schedule::Exclusions,
    slice::{HostStanding, HostState, OwnedWorkload, PlacementPhase, PlacementReport, Slice},
    workload::Mode,
};
use hanse_crds::{
    Exclusion, FederatedWorkloadStatus, Fencing, PlacementState, PlacementStatus, Survives,
    condition::set_condition,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{
    conditions::{self, Facts, Finding},
    number::{count, length, small},
};
use crate::observe::Problem;

/// The members named in the column; the others are counted.
const NAMED_HOSTS: usize = 3;

/// The longest message of a placement and of an exclusion, in characters; a limit of the CRD.
const MAX_PLACEMENT_MESSAGE: usize = 1_024;
const MAX_EXCLUSION_MESSAGE: usize = 512;

/// The inputs of the status.
pub(super) struct Question<'a> {
    pub(super) slice: &'a Slice,
    /// The workload in the ledger; `None` until the ledger has it.
    pub(super) owned: Option<&'a OwnedWorkload>,
    /// Why the object, as it is written, is not what the ledger has.
    pub(super) problem: Option<&'a Problem>,
    pub(super) generation: Option<i64>,
    /// Whether the ledger has the object as it is at this generation.
    pub(super) accepted: bool,
    /// Whether a leader with a quorum answers this member.
    pub(super) quorate: bool,
    /// What this member sees of its own placement while no quorum answers: newer than what the slice says.
    pub(super) seen_here: Option<(&'a MemberName, &'a PlacementReport)>,
}

impl Question<'_> {
    /// The workload in the ledger, with what is seen here.
    fn owned(&self) -> Option<Cow<'_, OwnedWorkload>> {
        let mut owned = Cow::Borrowed(self.owned?);
        let seen = self
            .seen_here
            .filter(|(own, _)| owned.hosts.contains_key(*own));
        if let Some((own, report)) = seen {
            let hosts = &mut owned.to_mut().hosts;
            hosts
                .entry(own.clone())
                .and_modify(|host| host.report = Some(report.clone()));
        }
        Some(owned)
    }
}

/// The new status. `before` is the old one, from which conditions keep the times of their last change.
pub(super) fn status(
    before: &FederatedWorkloadStatus,
    question: &Question<'_>,
    now: &Time,
) -> FederatedWorkloadStatus {
    let mut status = before.clone();
    // Until the ledger has an edit, the conditions are about the generation before it.
    let about = if question.accepted || question.problem.is_some() || question.owned.is_none() {
        question.generation
    } else {
        before.observed_generation
    };
    status.observed_generation = about;
    let findings = match question.owned() {
        Some(owned) => {
            fill(&mut status, question.slice, &owned);
            findings(&status, question.slice, &owned, question.quorate)
        }
        None => pending(question.quorate),
    };
    for finding in findings {
        let finding = finding.with_problem(question.problem);
        let condition = finding.condition(about, now);
        set_condition(&mut status.conditions, condition);
    }
    status
}

fn fill(status: &mut FederatedWorkloadStatus, slice: &Slice, owned: &OwnedWorkload) {
    let hosts = owned.hosts.iter();
    status.placements = hosts
        .map(|(member, standing)| placement(slice, owned, member, standing))
        .collect();
    let placed = || placed(&status.placements);
    status.ledger_generation = Some(count(owned.generation.0));
    status.home = Some(owned.home.to_string());
    status.desired = if owned.spec.suspend {
        0
    } else {
        small(owned.spec.counts().total())
    };
    if owned.spec.placement.mode == Mode::Duplicated {
        let copies = i32::try_from(placed().count().max(1)).unwrap_or(i32::MAX);
        status.desired = status.desired.saturating_mul(copies);
    }
    let autoscaled = owned.hosts.values().any(|it| scaled(it).is_some());
    if autoscaled && !owned.spec.suspend {
        status.desired = placed().map(|placement| placement.replicas).sum();
    }
    status.ready = placed()
        .filter(|it| !is_old_news(it.state))
        .map(|placement| placement.ready)
        .sum();
    status.hosts = hosts_column(placed().map(|placement| placement.member.as_str()));
    let findings = slice.findings_of(owned);
    let survives = findings.and_then(|findings| findings.survives);
    status.survives = Some(survives.map_or(Survives::Nothing, |kind| match kind {
        FailureDomain::Cluster => Survives::Cluster,
        FailureDomain::Region => Survives::Region,
        FailureDomain::Provider => Survives::Provider,
        FailureDomain::Owner => Survives::Owner,
    }));
    status.epoch = status.placements.iter().map(|it| it.epoch).max();
    status.fencing = Some(match owned.spec.placement.mode {
        Mode::Single => Fencing::Cooperative,
        Mode::Divided | Mode::Duplicated => Fencing::None,
    });
    let excluded = findings.map(|findings| &findings.excluded);
    status.excluded_members = length(excluded.map_or(0, Exclusions::members));
    let named = excluded.into_iter().flat_map(Exclusions::named);
    status.excluded = named
        .map(|(member, (reason, message))| Exclusion {
            member: member.to_string(),
            reason: reason.to_owned(),
            message: cut(message, MAX_EXCLUSION_MESSAGE),
        })
        .collect();
}

/// Whether what a host last reported no longer counts.
fn is_old_news(state: PlacementState) -> bool {
    matches!(
        state,
        PlacementState::Lost | PlacementState::Silent | PlacementState::Unknown
    )
}

/// The placements that are not being removed.
fn placed(placements: &[PlacementStatus]) -> impl Iterator<Item = &PlacementStatus> {
    let placed = |it: &&PlacementStatus| it.state != PlacementState::Removing;
    placements.iter().filter(placed)
}

/// What is said of a placement whose member's API server answers nothing.
const UNKNOWN: &str =
    "the API server there answers nothing: what runs goes on, and how it is, is not known";

/// What is said of a placement in a drained member as long as it is there.
const DRAINED: &str = "its owner drains this member: it leaves once others are ready with it, and stays if none may host it";

fn placement(
    slice: &Slice,
    owned: &OwnedWorkload,
    member: &MemberName,
    standing: &HostStanding,
) -> PlacementStatus {
    let current = standing
        .report
        .as_ref()
        .filter(|report| report.is_about(standing.epoch, owned.generation));
    let state = match current {
        _ if standing.removing => PlacementState::Removing,
        _ if !standing.lease_held => PlacementState::Lost,
        _ if standing.host == HostState::Covered => PlacementState::Silent,
        _ if standing.host == HostState::ControlPlaneDown => PlacementState::Unknown,
        None => PlacementState::Pending,
        Some(report) => match report.phase {
            PlacementPhase::Applied => PlacementState::Applied,
            PlacementPhase::Ready => PlacementState::Ready,
            PlacementPhase::Failed => PlacementState::Failed,
            PlacementPhase::Refused => PlacementState::Refused,
            PlacementPhase::Stopped => PlacementState::Stopped,
            PlacementPhase::Removing => PlacementState::Pending,
        },
    };
    let row = slice.members.get(member);
    let message = match (state, current, &standing.reason) {
        (PlacementState::Lost, ..) => "its lease ended: no heartbeat arrived in time".to_owned(),
        (PlacementState::Silent, ..) => {
            "it is silent for longer than usual, and others run its replicas in addition".to_owned()
        }
        (PlacementState::Unknown, ..) => UNKNOWN.to_owned(),
        (PlacementState::Removing, ..) => removing(standing),
        (_, Some(report), _) if !report.message.is_empty() => report.message.clone(),
        _ if standing.host == HostState::Drained => DRAINED.to_owned(),
        (_, _, Some(reason)) => reason.to_string(),
        (_, _, None) => String::new(),
    };
    // The replicas of the former generation run on while an update is rolled out.
    let replicas = scaled(standing).map_or(standing.replicas, |(replicas, _)| replicas);
    let ready = standing
        .report
        .as_ref()
        .map_or(0, |report| report.ready.min(replicas));
    let owner = row.map(|row| row.owner.to_string());
    PlacementStatus {
        member: member.to_string(),
        owner: owner.unwrap_or_default(),
        replicas: small(replicas),
        surge: small(standing.surge),
        ready: small(ready),
        epoch: count(standing.epoch.0),
        state,
        message: cut(&message, MAX_PLACEMENT_MESSAGE),
    }
}

/// The replicas that another controller decides in a host, and which controller that is.
pub(super) fn scaled(standing: &HostStanding) -> Option<(u32, &str)> {
    let report = standing.report.as_ref()?;
    report.desired.zip(report.scaled_by.as_deref())
}

/// What a removal waits for.
fn removing(standing: &HostStanding) -> String {
    let report = standing.report.as_ref();
    match report.filter(|report| report.phase == PlacementPhase::Removing) {
        Some(report) if standing.lease_held => report.message.clone(),
        Some(_) | None if standing.lease_held => {
            "waiting until the member has removed it".to_owned()
        }
        Some(_) | None => "its lease ended: it removes its objects when it returns".to_owned(),
    }
}

fn cut(message: &str, characters: usize) -> String {
    message.chars().take(characters).collect()
}

fn hosts_column<'a>(members: impl Iterator<Item = &'a str>) -> Option<String> {
    let members: Vec<&str> = members.collect();
    let named = members.iter().take(NAMED_HOSTS).copied();
    let named = named.collect::<Vec<_>>().join(", ");
    match members.len().checked_sub(NAMED_HOSTS) {
        _ if members.is_empty() => None,
        None | Some(0) => Some(named),
        Some(more) => Some(format!("{named} +{more}")),
    }
}

fn findings(
    status: &FederatedWorkloadStatus,
    slice: &Slice,
    owned: &OwnedWorkload,
    quorate: bool,
) -> Vec<Finding> {
    if !quorate {
        let message = match owned.spec.placement.mode {
            Mode::Single => {
                "no leader with a quorum answers this member: a `Single` workload stops in every member that no quorum \
                 answers, nothing is moved or deleted"
            }
            Mode::Divided | Mode::Duplicated => {
                "no leader with a quorum answers this member: it keeps running as last decided, nothing is moved or deleted"
            }
        };
        return conditions::unknown("QuorumLost", message);
    }
    if owned.removed {
        return conditions::while_removed(&status.placements);
    }
    let found = slice.findings_of(owned);
    conditions::find(&Facts {
        owned,
        survives: found.and_then(|it| it.survives),
        gap: found.and_then(|it| it.gap.as_ref()),
        excluded: &status.excluded,
        placed: placed(&status.placements).collect(),
        strays: strays(status, slice, owned),
        scaled_by: owned.hosts.values().find_map(|it| Some(scaled(it)?.1)),
        desired: status.desired,
        ready: status.ready,
    })
}

/// The hosts that may not have it any more: the law does not allow it there, or their owners do not.
fn strays<'a>(
    status: &'a FederatedWorkloadStatus,
    slice: &Slice,
    owned: &OwnedWorkload,
) -> Vec<(&'a str, &'static str, String)> {
    let domicile = &owned.spec.placement.domicile;
    let strays = placed(&status.placements).filter_map(|placement| {
        let member = placement.member.as_str();
        let row = slice.members.get(&member.parse::<MemberName>().ok()?);
        let outside = row.and_then(|row| objection(domicile, &row.attributes.jurisdiction));
        if let Some(message) = outside {
            return Some((member, "OutsideDomicile", message));
        }
        let mut excluded = status.excluded.iter();
        let excluded = excluded.find(|it| it.member == member)?;
        let reason = ["NotGranted", "KindNotGranted"]
            .into_iter()
            .find(|reason| *reason == excluded.reason)?;
        Some((member, reason, excluded.message.clone()))
    });
    strays.collect()
}

/// The conditions before the ledger has the workload.
fn pending(quorate: bool) -> Vec<Finding> {
    if quorate {
        conditions::unknown("Replicating", "the ledger does not have it yet")
    } else {
        conditions::unknown(
            "QuorumLost",
            "no leader with a quorum answers this member; the workload is proposed when one does",
        )
    }
}

#[cfg(test)]
mod tests;
