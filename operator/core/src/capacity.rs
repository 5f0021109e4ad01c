//! How much a member can still run: its nodes by shape, and what a pod asks of one.
//!
//! Sums over a cluster say nothing about whether a pod fits: ten nodes with half a core each hold no pod that asks for one. So
//! a member reports how many nodes it has with how much free ([`Shape`]), and a plan puts pods on these one by one ([`Room`]).
//!
//! In `capacity/`: `resources` (amounts), `demand` (what a pod asks for), `measure` (a cluster's nodes and pods, as shapes),
//! `covered` (which placements that includes), `room` (what is left when more is placed).
//!
//! Not looked at: node selectors and affinities, volumes, and what only the scheduler of the cluster knows. A member whose nodes
//! are added on demand says so, and is never full.

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

/// The most resources, taints or tolerations of a node or a pod. More resources are not counted, and a node with more taints takes no
/// pods.
pub const MAX_RESOURCES: usize = 64;

/// The largest report, in bytes of JSON.
pub const MAX_BYTES: usize = 512 * 1024;

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
    /// The pods that have no node yet, by what they ask for: they wait for one, or could not be made.
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
    /// A member's report, if a leader may keep it. Else what is wrong with it.
    pub fn read(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MAX_BYTES {
            return Err(format!("it has more than {MAX_BYTES} bytes"));
        }
        let capacity: Self = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let is_bounded = capacity.is_bounded();
        let unbounded = || "it has more of something than a member may report".to_owned();
        is_bounded.then_some(capacity).ok_or_else(unbounded)
    }

    /// Whether it has no more of anything than the bounds above allow.
    fn is_bounded(&self) -> bool {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_that_is_too_large_or_unreadable_is_refused_with_the_reason() {
        let read = |report: serde_json::Value| Capacity::read(report.to_string().as_bytes());
        let shape = json!({"nodes": 1, "free": {"cpu": 1_000}});
        let report = |shapes| json!({"covers": 7, "shapes": vec![shape.clone(); shapes]});
        assert_eq!(read(report(MAX_SHAPES)).unwrap().covers, 7);
        let reason = |report| read(report).unwrap_err();
        assert_eq!(
            reason(report(MAX_SHAPES + 1)),
            "it has more of something than a member may report"
        );
        let long = json!({"covers": 7, "shapes": [], "more": "x".repeat(MAX_BYTES)});
        assert_eq!(reason(long), "it has more than 524288 bytes");
        assert!(reason(json!({})).starts_with("missing field `covers`"));
    }
}
