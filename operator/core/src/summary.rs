//! What the status of a workload says: is it safe, where is it, why.
//!
//! From one [`OwnedWorkload`] of the slice, as plain values; the words of the API (conditions, columns) come from here and
//! their encoding from the operator.

use crate::{
    id::{Epoch, MemberName},
    schedule::Survives,
    slice::{HostStanding, OwnedWorkload, PlacementPhase},
    workload::Mode,
};

/// What is said of one workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Replicas asked for, over all hosts.
    pub desired: u32,
    /// Replicas that are ready on hosts whose lease is held.
    pub ready: u32,
    /// The highest epoch of its placements.
    pub epoch: Epoch,
    /// Where it is, host by host.
    pub hosts: Vec<HostSummary>,
    /// What holds of it, in the order in which it is shown.
    pub findings: Vec<Finding>,
}

/// How a workload stands on one host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSummary {
    pub member: MemberName,
    pub replicas: u32,
    pub ready: u32,
    pub epoch: Epoch,
    pub state: HostState,
    pub message: String,
}

/// How far a host has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostState {
    /// Decided; the host has not said anything of this epoch yet.
    Pending,
    Applied,
    Ready,
    Failed,
    /// Stopped by the host itself, because its lease ended.
    Stopped,
    /// The host's lease ended; nobody knows.
    Lost,
    /// Taken away; the host has not confirmed yet.
    Removing,
}

/// One condition, without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub kind: &'static str,
    /// `None` is Unknown.
    pub holds: Option<bool>,
    pub reason: String,
    pub message: String,
}

/// What to say of `workload`. Without a `quorum` nobody knows how it is doing, and the last known rows stay.
#[must_use]
pub fn summarize(workload: &OwnedWorkload, quorum: bool) -> Summary {
    let hosts: Vec<HostSummary> = workload
        .hosts
        .iter()
        .map(|(member, standing)| host(workload, member, standing))
        .collect();
    let placed: Vec<&HostSummary> = hosts
        .iter()
        .filter(|host| host.state != HostState::Removing)
        .collect();
    let desired = match workload.spec.placement.mode {
        Mode::Divided | Mode::Single => workload.spec.replicas(),
        Mode::Duplicated => {
            let copies = u32::try_from(placed.len()).unwrap_or(u32::MAX).max(1);
            workload.spec.replicas().saturating_mul(copies)
        }
    };
    let ready = placed
        .iter()
        .filter(|host| host.state != HostState::Lost)
        .map(|host| host.ready)
        .sum();
    let epoch = hosts
        .iter()
        .map(|host| host.epoch)
        .max()
        .unwrap_or_default();
    let findings = findings(workload, &placed, desired, ready, quorum);
    Summary {
        desired,
        ready,
        epoch,
        hosts,
        findings,
    }
}

fn host(workload: &OwnedWorkload, member: &MemberName, standing: &HostStanding) -> HostSummary {
    let current = standing.report.as_ref().filter(|report| {
        report.epoch == standing.epoch && report.generation == workload.generation
    });
    let state = match current {
        _ if standing.removing => HostState::Removing,
        _ if !standing.lease_held => HostState::Lost,
        None => HostState::Pending,
        Some(report) => match report.phase {
            PlacementPhase::Applied => HostState::Applied,
            PlacementPhase::Ready => HostState::Ready,
            PlacementPhase::Failed => HostState::Failed,
            PlacementPhase::Stopped => HostState::Stopped,
        },
    };
    let message = match (&state, current) {
        (HostState::Lost, _) => "its lease ended: it has not been heard from".to_owned(),
        (HostState::Removing, _) => "waiting until the member has removed it".to_owned(),
        (_, Some(report)) if !report.message.is_empty() => report.message.clone(),
        _ => standing.because.clone(),
    };
    HostSummary {
        member: member.clone(),
        replicas: standing.replicas,
        // What ran before an update still runs while the update rolls through.
        ready: standing
            .report
            .as_ref()
            .map_or(0, |report| report.ready.min(standing.replicas)),
        epoch: standing.epoch,
        state,
        message,
    }
}

fn findings(
    workload: &OwnedWorkload,
    placed: &[&HostSummary],
    desired: u32,
    ready: u32,
    quorum: bool,
) -> Vec<Finding> {
    let finding = |kind, holds, reason: &str, message: String| Finding {
        kind,
        holds: if quorum { Some(holds) } else { None },
        reason: if quorum {
            reason.to_owned()
        } else {
            "QuorumLost".to_owned()
        },
        message: if quorum {
            message
        } else {
            "this member hears no leader with a quorum: everything keeps running as last decided, nothing is moved or deleted".to_owned()
        },
    };
    let failed = placed.iter().find(|host| host.state == HostState::Failed);
    let settled = placed
        .iter()
        .all(|host| matches!(host.state, HostState::Ready | HostState::Lost));
    let at = placed
        .iter()
        .map(|host| format!("{} {}/{}", host.member, host.ready, host.replicas));
    let at = at.collect::<Vec<_>>().join(", ");
    let is_ready = ready >= desired && settled && !placed.is_empty();
    let ready_reason = match (is_ready, placed.is_empty(), failed) {
        (true, _, _) => (
            "AllReplicasReady",
            format!("{ready} of {desired} replicas are ready: {at}"),
        ),
        (_, true, _) => ("NotPlaced", unplaced(workload)),
        (_, _, Some(host)) => (
            "PlacementFailed",
            format!("{}: {}", host.member, host.message),
        ),
        _ => (
            "ReplicasNotReady",
            format!("{ready} of {desired} replicas are ready: {at}"),
        ),
    };
    let placed_reason = match &workload.diagnosis.unplaced {
        None if placed.is_empty() => ("Planning", "the planner has not decided yet".to_owned()),
        None => ("Placed", format!("on {at}")),
        Some(_) => ("NoEligibleMember", unplaced(workload)),
    };
    let (survivable, survives) = match workload.diagnosis.survives {
        Survives::Nothing => (
            false,
            "no other member may host it: the loss of one cluster stops it".to_owned(),
        ),
        kind => (
            true,
            format!(
                "outlives the loss of any one {}",
                format!("{kind:?}").to_lowercase()
            ),
        ),
    };
    vec![
        finding("Ready", is_ready, ready_reason.0, ready_reason.1),
        finding(
            "Placed",
            workload.diagnosis.unplaced.is_none() && !placed.is_empty(),
            placed_reason.0,
            placed_reason.1,
        ),
        finding(
            "Survivable",
            survivable,
            if survivable {
                "AnotherHost"
            } else {
                "NoOtherHost"
            },
            survives,
        ),
        finding(
            "Compliant",
            true,
            "WithinRules",
            "every placement is within its grants and its domicile".into(),
        ),
        finding(
            "Progressing",
            !is_ready && failed.is_none() && workload.diagnosis.unplaced.is_none(),
            if is_ready { "Settled" } else { "Moving" },
            if is_ready { String::new() } else { at },
        ),
        finding(
            "Stalled",
            failed.is_some() || (workload.diagnosis.unplaced.is_some() && placed.is_empty()),
            match (failed, &workload.diagnosis.unplaced) {
                (Some(_), _) => "PlacementFailed",
                (None, Some(_)) if placed.is_empty() => "NoEligibleMember",
                (None, _) => "NotStalled",
            },
            failed
                .map(|host| format!("{}: {}", host.member, host.message))
                .unwrap_or_default(),
        ),
    ]
}

/// Why nobody runs it, member by member.
fn unplaced(workload: &OwnedWorkload) -> String {
    let why = workload
        .diagnosis
        .unplaced
        .clone()
        .unwrap_or_else(|| "not decided yet".to_owned());
    let excluded = &workload.diagnosis.excluded;
    // As many as fit a line that a person reads; the rest is in `status.excluded`.
    let members = excluded
        .iter()
        .take(5)
        .map(|(member, exclusion)| format!("{member}: {}", exclusion.message));
    let members = members.collect::<Vec<_>>().join("; ");
    if members.is_empty() {
        why
    } else {
        format!("{why} ({members})")
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, sync::Arc};

    use serde_json::json;

    use super::*;
    use crate::{
        id::Generation,
        schedule::{Diagnosis, Exclusion},
        slice::PlacementReport,
        workload::{PlacementRules, WorkloadSpec},
    };

    fn workload(
        hosts: &[(&str, u32, bool, Option<(u32, PlacementPhase)>)],
        diagnosis: Diagnosis,
    ) -> OwnedWorkload {
        let manifest =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
        let placement = PlacementRules {
            mode: Mode::Divided,
            replicas: Some(6),
            match_labels: BTreeMap::new(),
            domicile: std::collections::BTreeSet::new(),
        };
        let spec = WorkloadSpec::new(vec![manifest], placement, &"shop".parse().unwrap()).unwrap();
        let row = |(name, replicas, lease_held, report): &(
            &str,
            u32,
            bool,
            Option<(u32, PlacementPhase)>,
        )| {
            let report = report.map(|(ready, phase)| PlacementReport {
                epoch: Epoch(9),
                generation: Generation(5),
                phase,
                ready,
                message: String::new(),
            });
            let standing = HostStanding {
                replicas: *replicas,
                epoch: Epoch(9),
                because: "because".into(),
                removing: *replicas == 0,
                lease_held: *lease_held,
                report,
            };
            (name.parse().unwrap(), standing)
        };
        OwnedWorkload {
            spec: Arc::new(spec),
            generation: Generation(5),
            home: "acme-1".parse().unwrap(),
            removed: false,
            hosts: hosts.iter().map(row).collect(),
            diagnosis,
        }
    }

    fn said(summary: &Summary, kind: &str) -> String {
        let finding = summary
            .findings
            .iter()
            .find(|finding| finding.kind == kind)
            .unwrap();
        format!(
            "{:?} {}: {}",
            finding.holds, finding.reason, finding.message
        )
    }

    #[test]
    fn a_workload_is_ready_when_every_replica_is() {
        let ready = Some((3, PlacementPhase::Ready));
        let summary = summarize(
            &workload(
                &[("a", 3, true, ready), ("b", 3, true, ready)],
                Diagnosis::default(),
            ),
            true,
        );
        assert_eq!(
            (summary.ready, summary.desired, summary.epoch),
            (6, 6, Epoch(9))
        );
        assert_eq!(
            said(&summary, "Ready"),
            "Some(true) AllReplicasReady: 6 of 6 replicas are ready: a 3/3, b 3/3"
        );
    }

    #[test]
    fn replicas_on_a_lost_member_do_not_count_and_it_is_said_where_they_were() {
        let ready = Some((3, PlacementPhase::Ready));
        let summary = summarize(
            &workload(
                &[("a", 3, true, ready), ("b", 3, false, ready)],
                Diagnosis::default(),
            ),
            true,
        );
        assert_eq!(
            (summary.ready, summary.hosts[1].state),
            (3, HostState::Lost)
        );
        assert_eq!(
            said(&summary, "Ready"),
            "Some(false) ReplicasNotReady: 3 of 6 replicas are ready: a 3/3, b 3/3"
        );
    }

    #[test]
    fn a_workload_nobody_may_host_says_so_member_by_member() {
        let exclusion = Exclusion {
            reason: "NotGranted".into(),
            message: "no grant".into(),
        };
        let diagnosis = Diagnosis {
            excluded: [("b".parse().unwrap(), exclusion)].into(),
            survives: Survives::Nothing,
            unplaced: Some("the only member may not host it".into()),
        };
        let summary = summarize(&workload(&[], diagnosis), true);
        assert_eq!(
            said(&summary, "Ready"),
            "Some(false) NotPlaced: the only member may not host it (b: no grant)"
        );
        assert_eq!(summary.findings[5].holds, Some(true));
    }

    #[test]
    fn without_a_quorum_nothing_is_claimed_and_the_last_rows_stay() {
        let ready = Some((6, PlacementPhase::Ready));
        let summary = summarize(
            &workload(&[("a", 6, true, ready)], Diagnosis::default()),
            false,
        );
        assert_eq!(summary.hosts[0].ready, 6);
        assert!(
            summary
                .findings
                .iter()
                .all(|finding| finding.holds.is_none() && finding.reason == "QuorumLost")
        );
    }
}
