//! Each row of a slice, from the state and the standing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    AssignedPlacement, FederationView, HostStanding, HostState, MemberView, OwnedWorkload, Standing,
};
use crate::{
    command::Scheduling,
    id::{Digest, MemberName, WorkloadKey},
    quorum::votes,
    state::{State, Workload},
    workload::{ManifestId, Mode},
};

pub(super) fn federation(
    state: &State,
    standing: &Standing,
    leader: &MemberName,
    term: u64,
) -> Option<FederationView> {
    let voters = state.voters.iter();
    let voters: Vec<_> = voters.filter_map(|node| state.member_at(*node)).collect();
    let names = voters.iter().map(|(name, _)| (*name).clone());
    let silent = voters
        .iter()
        .filter(|(_, member)| !votes(member, &standing.silent_voters));
    Some(FederationView {
        id: state.federation?,
        index: state.index,
        head: state.head,
        term,
        level: state.level,
        leader: leader.clone(),
        voters: names.collect(),
        timings: state.timings,
        held_back: standing.suspects.held_back().cloned().collect(),
        silent_voters: silent.map(|(name, _)| (*name).clone()).collect(),
    })
}

pub(super) fn member(state: &State, standing: &Standing, name: &MemberName) -> Option<MemberView> {
    let row = state.members.get(name)?;
    Some(MemberView {
        owner: row.owner.clone(),
        key: row.key,
        attributes: row.attributes.clone(),
        version: row.version.clone(),
        level: row.level,
        lease: row.lease,
        seat: row.seat.clone(),
        placements: state.placements.count_at(name),
        silent: standing.suspects.silent.contains(name),
        control_plane_down: standing.control_planes_down.contains(name),
    })
}

pub(super) fn placement(
    state: &State,
    key: &WorkloadKey,
    member: &MemberName,
) -> Option<Arc<AssignedPlacement>> {
    let row = state.placements.get(key, member)?;
    let workload = state.workloads.get(key)?;
    Some(Arc::new(AssignedPlacement {
        share: row.share.clone(),
        epoch: row.epoch,
        generation: workload.generation,
        proof: workload.proof.clone(),
        home: workload.home.clone(),
        completed: completed(workload, member),
    }))
}

/// What `member` need not run again: what it completed itself or, unless every member runs its own, what any did.
fn completed(workload: &Workload, member: &MemberName) -> BTreeMap<ManifestId, Digest> {
    let each = workload.spec.placement.mode == Mode::Duplicated;
    let completed = workload.completed.iter();
    completed
        .filter(|(_, completion)| !each || completion.members.contains(member))
        .map(|(id, completion)| (id.clone(), completion.manifest))
        .collect()
}

pub(super) fn workload(
    state: &State,
    standing: &Standing,
    key: &WorkloadKey,
) -> Option<Arc<OwnedWorkload>> {
    let row = state.workloads.get(key)?;
    Some(Arc::new(OwnedWorkload {
        spec: row.spec.clone(),
        generation: row.generation,
        home: row.home.clone(),
        born: row.born,
        removed: row.removed,
        hosts: hosts(state, standing, key),
        diagnosis: standing.diagnoses.get(key).cloned().unwrap_or_default(),
    }))
}

fn host(
    state: &State,
    standing: &Standing,
    covered: &BTreeSet<&MemberName>,
    member: &MemberName,
) -> HostState {
    let row = state.members.get(member);
    let scheduling = row.map(|row| row.attributes.scheduling);
    if covered.contains(member) && standing.suspects.silent.contains(member) {
        HostState::Covered
    } else if standing.control_planes_down.contains(member) {
        HostState::ControlPlaneDown
    } else if scheduling == Some(Scheduling::Drained) {
        HostState::Drained
    } else {
        HostState::Well
    }
}

fn hosts(
    state: &State,
    standing: &Standing,
    key: &WorkloadKey,
) -> BTreeMap<MemberName, HostStanding> {
    let lease_held = |member: &MemberName| {
        state
            .members
            .get(member)
            .is_some_and(|row| row.lease.is_held())
    };
    let report = |member: &MemberName| {
        let report = standing.reports.get(key, member);
        report.map(|report| report.as_ref().clone())
    };
    let mut hosts = BTreeMap::new();
    for (member, removal) in state.removals.of(key) {
        let row = HostStanding {
            replicas: 0,
            surge: 0,
            host: HostState::Well,
            epoch: removal.epoch,
            reason: None,
            removing: true,
            lease_held: lease_held(member),
            report: report(member),
        };
        hosts.insert(member.clone(), row);
    }
    let rows = || state.placements.of(key);
    let surges = rows().filter_map(|(_, row)| row.surge.as_ref());
    let covered: BTreeSet<&MemberName> = surges.flat_map(|surge| &surge.covers).collect();
    for (member, row) in rows() {
        let row = HostStanding {
            replicas: row.share.total(),
            surge: row.surge.as_ref().map_or(0, |surge| surge.share.total()),
            host: host(state, standing, &covered, member),
            epoch: row.epoch,
            reason: Some(row.reason.clone()),
            removing: false,
            lease_held: lease_held(member),
            report: report(member),
        };
        hosts.insert(member.clone(), row);
    }
    hosts
}
