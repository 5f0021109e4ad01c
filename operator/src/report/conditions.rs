//! The conditions of a `FederatedWorkload`: whether it is ready and survives a loss, where it is placed, and why. Pure.

use hanse_core::{domain::FailureDomain, schedule::Gap, slice::OwnedWorkload};
use hanse_crds::{
    Condition, ConditionStatus, Exclusion, PlacementState, PlacementStatus,
    condition::{COMPLIANT, PLACED, PROGRESSING, READY, STALLED, SURVIVABLE},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::observe::Problem;

const PLANNING: &str = "the planner has not decided yet";

/// Excluded members named with their reasons in one message; more are in `status.excluded`.
const NAMED_EXCLUSIONS: usize = 5;

/// One condition, without its timestamps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) kind: &'static str,
    holds: ConditionStatus,
    reason: String,
    message: String,
}

impl Finding {
    fn new(kind: &'static str, holds: bool, reason: &str, message: impl Into<String>) -> Self {
        Self {
            kind,
            holds: holds.into(),
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    pub(super) fn condition(self, generation: Option<i64>, now: &Time) -> Condition {
        let Self {
            kind,
            holds,
            reason,
            message,
        } = self;
        Condition::new(kind, holds, &reason, message, now.clone()).observed_at(generation)
    }

    /// The finding if the object has a problem: it is not ready and does not progress by itself, even while an earlier
    /// specification runs.
    pub(super) fn with_problem(self, problem: Option<&Problem>) -> Self {
        let holds = match (problem, self.kind) {
            (Some(_), READY | PROGRESSING) => false,
            (Some(_), STALLED) => true,
            (Some(_) | None, _) => return self,
        };
        match problem {
            Some(problem) => Self::new(self.kind, holds, problem.reason, &*problem.message),
            None => self,
        }
    }
}

/// The inputs of the conditions.
pub(super) struct Facts<'a> {
    pub(super) owned: &'a OwnedWorkload,
    /// The largest kind of failure domain whose loss it survives.
    pub(super) survives: Option<FailureDomain>,
    /// What stops it from surviving more.
    pub(super) gap: Option<&'a Gap>,
    /// The members that may not host it, as far as they are named.
    pub(super) excluded: &'a [Exclusion],
    /// Its placements, without those that are being removed.
    pub(super) placed: Vec<&'a PlacementStatus>,
    /// The hosts that may not have it any more, each with the reason in CamelCase and in words.
    pub(super) strays: Vec<(&'a str, &'static str, String)>,
    /// The controller that decides the replicas in some host.
    pub(super) scaled_by: Option<&'a str>,
    pub(super) desired: i32,
    pub(super) ready: i32,
}

/// The conditions, in the order in which they are shown.
pub(super) fn find(facts: &Facts<'_>) -> Vec<Finding> {
    let Facts {
        owned,
        excluded,
        placed,
        ..
    } = facts;
    let failed = failure(placed);
    let at = placed
        .iter()
        .map(|it| format!("{} {}/{}", it.member, it.ready, it.replicas));
    let at = at.collect::<Vec<_>>().join(", ");
    let is_ready = facts.is_ready();
    let (reason, message) = readiness(facts, failed.as_ref(), &at);
    let unplaced = owned.diagnosis.unplaced.is_some();
    let progressing = !is_ready && failed.is_none() && !unplaced;
    let (settling, where_to) = match &failed {
        _ if is_ready => ("Settled", String::new()),
        Some((reason, message)) => (*reason, message.clone()),
        None if unplaced => ("NotPlaced", String::new()),
        None => ("Moving", at.clone()),
    };
    let nowhere = placed.is_empty() || is_undecided(owned);
    vec![
        Finding::new(READY, is_ready, reason, message),
        placement(excluded, owned, nowhere, &at),
        survivability(facts),
        compliance(&facts.strays),
        Finding::new(PROGRESSING, progressing, settling, where_to),
        stall(failed, unplaced && placed.is_empty()),
    ]
}

impl Facts<'_> {
    fn is_ready(&self) -> bool {
        let settled = self.placed.iter().all(|it| {
            matches!(
                it.state,
                PlacementState::Ready | PlacementState::Silent | PlacementState::Lost
            )
        });
        let enough = self.ready >= self.desired && !self.placed.is_empty();
        enough && settled && !is_undecided(self.owned)
    }
}

/// Reason and message of `Ready`. `at` says where it runs, and how much of it is ready there.
fn readiness(
    facts: &Facts<'_>,
    failed: Option<&(&'static str, String)>,
    at: &str,
) -> (&'static str, String) {
    let Facts {
        owned,
        excluded,
        placed,
        scaled_by,
        desired,
        ready,
        ..
    } = facts;
    let decided = scaled_by.map(|controller| format!(" (decided by '{controller}')"));
    let decided = decided.unwrap_or_default();
    let counts = format!("{ready} of {desired} replicas are ready: {at}{decided}");
    match (facts.is_ready(), placed.is_empty(), failed) {
        (true, _, _) if owned.spec.suspend => (
            "Suspended",
            format!("suspended: nothing runs, and its objects stay where they are: {at}"),
        ),
        (true, _, _) if *desired == 0 => (
            "ScaledToZero",
            format!("0 replicas are asked for, and its objects exist: {at}"),
        ),
        (true, _, _) => ("AllReplicasReady", counts),
        (_, true, _) => ("NotPlaced", why_unplaced(excluded, owned)),
        (_, _, Some((reason, message))) => (reason, message.clone()),
        (_, _, None) if is_undecided(owned) => ("Planning", PLANNING.to_owned()),
        (_, _, None) => ("ReplicasNotReady", with_first_missing(counts, placed)),
    }
}

/// What is wrong in the hosts: refusals before failures, each with its member, the same words once.
fn failure(placed: &[&PlacementStatus]) -> Option<(&'static str, String)> {
    let of = |state: PlacementState| {
        let mut said: Vec<(&str, Vec<&str>)> = Vec::new();
        for it in placed.iter().filter(|it| it.state == state) {
            match said.iter_mut().find(|(message, _)| *message == it.message) {
                Some((_, members)) => members.push(&it.member),
                None => said.push((&it.message, vec![&it.member])),
            }
        }
        let said = said
            .iter()
            .map(|(message, members)| format!("{}: {message}", members.join(", ")));
        let said = said.collect::<Vec<_>>().join("; ");
        (!said.is_empty()).then_some(said)
    };
    let refused = of(PlacementState::Refused).map(|said| ("PlacementRefused", said));
    let failed = || of(PlacementState::Failed).map(|said| ("PlacementFailed", said));
    let unknown = || of(PlacementState::Unknown).map(|said| ("ControlPlaneDown", said));
    refused.or_else(failed).or_else(unknown)
}

/// The counts, and what the first host says that is not done: it need not be a replica.
fn with_first_missing(counts: String, placed: &[&PlacementStatus]) -> String {
    let lagging = placed.iter().find(|it| it.state == PlacementState::Applied);
    match lagging {
        Some(it) if !it.message.is_empty() => format!("{counts}; {}: {}", it.member, it.message),
        Some(_) | None => counts,
    }
}

/// Whether the last plan is about an earlier generation. Without any plan yet, what was last decided still holds.
fn is_undecided(owned: &OwnedWorkload) -> bool {
    let planned = owned.diagnosis.generation;
    planned.0 > 0 && planned < owned.generation
}

fn placement(excluded: &[Exclusion], owned: &OwnedWorkload, nowhere: bool, at: &str) -> Finding {
    match owned.diagnosis.unplaced {
        Some(_) => {
            let why = why_unplaced(excluded, owned);
            let reason = if nowhere {
                "NoEligibleMember"
            } else {
                "NotAllPlaced"
            };
            Finding::new(PLACED, false, reason, why)
        }
        None if nowhere => Finding::new(PLACED, false, "Planning", PLANNING),
        None => Finding::new(PLACED, true, "Placed", format!("on {at}")),
    }
}

/// Whether it is only where the law and the hosts' owners allow it. What runs stays where it is if no other member may host it.
fn compliance(strays: &[(&str, &'static str, String)]) -> Finding {
    let said = strays.iter();
    let said = said.map(|(member, _, message)| format!("{member}: {message}"));
    match strays.first() {
        Some((_, reason, _)) => {
            let said = said.collect::<Vec<_>>().join("; ");
            Finding::new(COMPLIANT, false, reason, said)
        }
        None => Finding::new(
            COMPLIANT,
            true,
            "WithinRules",
            "no placement is known to be outside its grants or its domicile",
        ),
    }
}

/// Whether it survives what it must.
fn survivability(facts: &Facts<'_>) -> Finding {
    let must = facts.owned.spec.placement.survive;
    let must = must.unwrap_or(FailureDomain::Cluster);
    if let Some(kind) = facts.survives.filter(|kind| *kind >= must) {
        let message = format!("survives the loss of any one {kind}");
        return Finding::new(SURVIVABLE, true, "AnotherHost", message);
    }
    let reason = match facts.gap {
        Some(Gap::NoHost { .. }) => "NoOtherHost",
        Some(Gap::NoQuorum { .. }) => "NoQuorum",
        None => "NotPlanned",
    };
    let gap = facts
        .gap
        .map_or_else(|| PLANNING.to_owned(), ToString::to_string);
    let less = facts
        .survives
        .map(|kind| format!(", only of any one {kind}"));
    let less = less.unwrap_or_default();
    let message = format!("would not survive the loss of any one {must}{less}: {gap}");
    Finding::new(SURVIVABLE, false, reason, message)
}

fn stall(failed: Option<(&'static str, String)>, no_member: bool) -> Finding {
    match (failed, no_member) {
        (Some((reason, message)), _) => Finding::new(STALLED, true, reason, message),
        (None, true) => Finding::new(STALLED, true, "NoEligibleMember", ""),
        (None, false) => Finding::new(STALLED, false, "NotStalled", ""),
    }
}

/// Why no member runs it, member by member.
fn why_unplaced(excluded: &[Exclusion], owned: &OwnedWorkload) -> String {
    let why = owned.diagnosis.unplaced.as_deref();
    let why = why.unwrap_or("not decided yet");
    let members = excluded
        .iter()
        .take(NAMED_EXCLUSIONS)
        .map(|exclusion| format!("{}: {}", exclusion.member, exclusion.message));
    let members = members.collect::<Vec<_>>().join("; ");
    if members.is_empty() {
        why.to_owned()
    } else {
        format!("{why} ({members})")
    }
}

/// The conditions of a workload that its owner deleted: what its hosts still have to remove.
pub(super) fn while_removed(placements: &[PlacementStatus]) -> Vec<Finding> {
    const REASON: &str = "Deleting";
    let pending = placements
        .iter()
        .map(|it| format!("{}: {}", it.member, it.message));
    let pending = pending.collect::<Vec<_>>().join("; ");
    let message = if pending.is_empty() {
        "it is being deleted".to_owned()
    } else {
        format!("it is being deleted: {pending}")
    };
    vec![
        Finding::new(READY, false, REASON, &*message),
        Finding::new(PLACED, false, REASON, &*message),
        Finding::new(PROGRESSING, true, REASON, message),
        Finding::new(STALLED, false, REASON, ""),
    ]
}

/// Every condition with the status `Unknown`.
pub(super) fn unknown(reason: &str, message: &str) -> Vec<Finding> {
    [READY, PLACED, SURVIVABLE, COMPLIANT, PROGRESSING, STALLED]
        .map(|kind| Finding {
            kind,
            holds: ConditionStatus::Unknown,
            reason: reason.to_owned(),
            message: message.to_owned(),
        })
        .to_vec()
}
