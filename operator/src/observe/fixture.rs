//! A minimal slice for tests, and a workload in it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hanse_core::{
    command::Attributes,
    id::{Digest, Epoch, FederationId, Generation, MemberName, NodeId, PrivateKey},
    level::Level,
    schedule::Diagnosis,
    slice::{FederationView, HostStanding, MemberView, OwnedWorkload, Slice},
    state::{Lease, Seat},
    timings::Timings,
    workload::{Mode, PlacementRules, WorkloadSpec},
};
use imbl::OrdMap;
use serde_json::json;

/// A federation of one member at `index`; its key is that of seed 1.
pub(crate) fn slice(owner: &str, member: &str, index: u64) -> Slice {
    let view = MemberView {
        silent: false,
        control_plane_down: false,
        owner: owner.parse().unwrap(),
        key: PrivateKey::from_seed(&[1; 32]).public(),
        attributes: Attributes::default(),
        version: String::new(),
        level: Level::FIRST,
        lease: Lease::Held { epoch: Epoch(2) },
        seat: Some(Seat {
            node: NodeId(1),
            address: format!("{member}.example:7443"),
        }),
        placements: 0,
    };
    Slice {
        federation: FederationView {
            id: FederationId([1; 16]),
            index,
            head: Digest([3; 32]),
            term: 4,
            level: Level::FIRST,
            leader: member.parse().unwrap(),
            voters: BTreeSet::from([member.parse().unwrap()]),
            timings: Timings::default(),
            held_back: BTreeSet::new(),
            silent_voters: BTreeSet::new(),
        },
        members: [(member.parse().unwrap(), view)].into_iter().collect(),
        placements: OrdMap::new(),
        removals: OrdMap::new(),
        workloads: OrdMap::new(),
        findings: OrdMap::new(),
    }
}

/// A workload of six replicas of home `acme-1`, in namespace `shop`, divided over `hosts`.
pub(crate) fn owned(hosts: BTreeMap<MemberName, HostStanding>) -> OwnedWorkload {
    let manifest =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
    let placement = PlacementRules {
        replicas: Some(6),
        ..PlacementRules::new(Mode::Divided)
    };
    let spec = WorkloadSpec::new(vec![manifest], placement, &"shop".parse().unwrap()).unwrap();
    OwnedWorkload {
        spec: Arc::new(spec),
        generation: Generation(5),
        home: "acme-1".parse().unwrap(),
        born: Generation(1),
        removed: false,
        hosts,
        diagnosis: Diagnosis::default(),
    }
}
