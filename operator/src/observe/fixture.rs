//! A minimal slice for tests.

use std::collections::{BTreeMap, BTreeSet};

use hanse_core::{
    command::Attributes,
    id::{Digest, Epoch, FederationId, NodeId, PrivateKey},
    slice::{FederationView, MemberView, Slice},
    state::{Lease, Seat},
    timings::Timings,
};

/// A federation of one member at `index`; its key is that of seed 1.
pub(crate) fn slice(owner: &str, member: &str, index: u64) -> Slice {
    let view = MemberView {
        owner: owner.parse().unwrap(),
        key: PrivateKey::from_seed(&[1; 32]).public(),
        attributes: Attributes::default(),
        version: String::new(),
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
            leader: member.parse().unwrap(),
            voters: BTreeSet::from([member.parse().unwrap()]),
            timings: Timings::default(),
        },
        members: BTreeMap::from([(member.parse().unwrap(), view)]),
        placements: BTreeMap::new(),
        removals: BTreeMap::new(),
        workloads: BTreeMap::new(),
    }
}
