//! How much a member can still run: its nodes by shape, and what a pod asks of one.
//!
//! Sums over a cluster say nothing about whether a pod fits: ten nodes with half a core each hold no pod that asks for one. So
//! a member reports how many nodes it has with how much free ([`Shape`]), and a plan puts pods on these one by one ([`Room`]).
//!
//! In `capacity/`: `resources` (amounts), `demand` (what a pod asks for), `measure` (a cluster's nodes and pods, as shapes),
//! `covered` (which placements that includes), `room` (what is left when more is placed).
//!
//! Not looked at: node selectors and affinities, volumes, and what only the scheduler of the cluster knows. A member whose nodes
//! are added on demand reports nothing, and is never full.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::{id::MemberName, selector::Taint};

mod covered;
mod demand;
mod measure;
mod resources;
mod room;

pub use covered::Covered;
pub use demand::PodDemand;
pub use measure::{Measure, Node};
pub use resources::Resources;
pub use room::Room;

/// The most shapes that a member reports. Of a cluster with more kinds of nodes than this, those with the fewest nodes count
/// as full.
pub const MAX_SHAPES: usize = 32;

/// The most kinds of waiting pods that a member reports; more are not counted.
pub const MAX_WAITING: usize = 32;

/// The most resources of a shape or a pod; more are not counted.
pub const MAX_RESOURCES: usize = 16;

/// The members' last reports. One without a report is never full.
pub type Capacities = OrdMap<MemberName, Arc<Capacity>>;

/// What a member can still run. Soft state: it is reported, and never in the log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// The height of the ledger up to which what is placed there is part of this measure. What was placed later comes on top.
    pub covers: u64,
    /// Its nodes that take pods.
    pub shapes: Vec<Shape>,
    /// The pods that wait for a node, by what they ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<(PodDemand, u32)>,
}

/// Nodes with the same taints and about the same free amounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shape {
    /// How many.
    pub nodes: u32,
    /// What each of them has left, at least.
    pub free: Resources,
    /// What keeps pods away from them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub taints: Vec<Taint>,
}

impl Capacity {
    /// Whether a leader may keep it: it has no more of anything than the bounds above allow.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        let resources = self.shapes.iter().map(|shape| &shape.free);
        let mut resources = resources.chain(self.waiting.iter().map(|(pod, _)| &pod.resources));
        let rules = self.shapes.iter().map(|shape| shape.taints.len());
        let mut rules = rules.chain(self.waiting.iter().map(|(pod, _)| pod.tolerations.len()));
        self.shapes.len() <= MAX_SHAPES
            && self.waiting.len() <= MAX_WAITING
            && resources.all(|it| it.len() <= MAX_RESOURCES)
            && rules.all(|rules| rules <= MAX_RESOURCES)
    }
}
