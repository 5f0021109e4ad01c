//! A cluster's nodes and pods, as the capacity that it reports.

use std::collections::{BTreeMap, btree_map::Entry};

use serde_json::Value;

use super::{MAX_RESOURCES, MAX_SHAPES, MAX_WAITING, PodDemand, Resources, Shape};
use crate::selector::{Effect, Taint};

/// Into how many parts a node is divided to say how much of it is free. Nodes with as many free parts are one shape, so
/// at most a part of a node is not counted, and a pod that comes or goes seldom changes a report.
const PARTS: u64 = 16;

/// A node as pods see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    allocatable: Resources,
    taints: Vec<Taint>,
    /// Whether it takes pods at all.
    takes_pods: bool,
}

impl Node {
    /// What a Kubernetes `Node` says of itself.
    #[must_use]
    pub fn of(node: &Value) -> Self {
        let conditions = node["status"]["conditions"].as_array();
        let is_ready = conditions
            .into_iter()
            .flatten()
            .any(|it| it["type"] == "Ready" && it["status"] == "True");
        let cordoned = node["spec"]["unschedulable"] == true;
        let taints = node["spec"]["taints"].as_array();
        let mut taints: Vec<_> = taints.into_iter().flatten().filter_map(taint).collect();
        taints.sort();
        let takes_pods = is_ready && !cordoned && taints.len() <= MAX_RESOURCES;
        Self {
            allocatable: Resources::of(&node["status"]["allocatable"]).bounded(),
            taints,
            takes_pods,
        }
    }
}

/// `None` for a taint that keeps nobody away.
fn taint(taint: &Value) -> Option<Taint> {
    let text = |field: &str| taint[field].as_str().unwrap_or_default().to_owned();
    let effect = Effect::read(taint["effect"].as_str()?)?;
    Some(Taint {
        key: text("key"),
        value: text("value"),
        effect,
    })
}

/// The nodes and pods of a cluster. A change costs what changed; a report costs as much as there are nodes.
#[derive(Debug, Default)]
pub struct Measure {
    nodes: BTreeMap<String, Node>,
    /// By their uid: where each is, and what it asks for.
    pods: BTreeMap<String, (Option<String>, PodDemand)>,
    /// What the pods on each node ask for together.
    used: BTreeMap<String, Resources>,
    waiting: BTreeMap<PodDemand, u32>,
}

impl Measure {
    /// Forgets all nodes.
    pub fn forget_nodes(&mut self) {
        self.nodes.clear();
    }

    /// Forgets all pods.
    pub fn forget_pods(&mut self) {
        self.pods.clear();
        self.used.clear();
        self.waiting.clear();
    }

    /// Takes over a node, or that it is gone.
    pub fn set_node(&mut self, name: &str, node: Option<Node>) {
        match node {
            Some(node) => self.nodes.insert(name.to_owned(), node),
            None => self.nodes.remove(name),
        };
    }

    /// Takes over a Kubernetes `Pod`. One that has ended uses nothing.
    pub fn set_pod(&mut self, uid: &str, pod: &Value) {
        let phase = pod["status"]["phase"].as_str();
        if matches!(phase, Some("Succeeded" | "Failed")) {
            self.remove_pod(uid);
            return;
        }
        let node = pod["spec"]["nodeName"].as_str().map(str::to_owned);
        let now = (node, PodDemand::of(&pod["spec"]));
        if self.pods.get(uid) == Some(&now) {
            return;
        }
        self.remove_pod(uid);
        let (node, demand) = &now;
        match node {
            Some(node) => {
                let used = self.used.entry(node.clone()).or_default();
                *used = std::mem::take(used).plus(&demand.resources);
            }
            None => *self.waiting.entry(demand.clone()).or_default() += 1,
        }
        self.pods.insert(uid.to_owned(), now);
    }

    /// Takes over that a pod is gone.
    pub fn remove_pod(&mut self, uid: &str) {
        match self.pods.remove(uid) {
            Some((Some(node), demand)) => {
                if let Some(used) = self.used.get_mut(&node) {
                    *used = std::mem::take(used).minus(&demand.resources, 1);
                }
            }
            Some((None, demand)) => {
                if let Entry::Occupied(mut count) = self.waiting.entry(demand) {
                    *count.get_mut() -= 1;
                    if *count.get() == 0 {
                        count.remove();
                    }
                }
            }
            None => {}
        }
    }

    /// The shapes of the nodes that take pods, at most [`MAX_SHAPES`]. `None` if the cluster has no nodes at all: then nothing
    /// is known of what it can run.
    #[must_use]
    pub fn shapes(&self) -> Option<Vec<Shape>> {
        if self.nodes.is_empty() {
            return None;
        }
        let mut parts = PARTS;
        let mut shapes = self.shapes_by(parts);
        while shapes.len() > MAX_SHAPES && parts > 1 {
            parts /= 2;
            shapes = self.shapes_by(parts);
        }
        shapes.sort_by_key(|shape| std::cmp::Reverse(shape.nodes));
        shapes.truncate(MAX_SHAPES);
        Some(shapes)
    }

    fn shapes_by(&self, parts: u64) -> Vec<Shape> {
        let mut shapes: BTreeMap<(Resources, &[Taint]), u32> = BTreeMap::new();
        for (name, node) in self.nodes.iter().filter(|(_, node)| node.takes_pods) {
            let used = self.used.get(name);
            let free = node.allocatable.clone();
            let free = used.map_or_else(|| free.clone(), |used| free.clone().minus(used, 1));
            let free = free.map(|resource, amount| {
                // Pieces such as GPUs are few, and counted one by one.
                let step = if resource.contains('/') {
                    1
                } else {
                    (node.allocatable.get(resource) / parts).max(1)
                };
                amount - amount % step
            });
            *shapes.entry((free, &node.taints)).or_default() += 1;
        }
        let shapes = shapes.into_iter();
        let shape = |((free, taints), nodes): ((Resources, &[Taint]), u32)| Shape {
            nodes,
            free,
            taints: taints.to_vec(),
        };
        shapes.map(shape).collect()
    }

    /// The pods that wait for a node, by what they ask for; at most half of [`MAX_WAITING`] kinds: others were not even made.
    #[must_use]
    pub fn waiting(&self) -> Vec<(PodDemand, u32)> {
        let waiting = self.waiting.iter().take(MAX_WAITING / 2);
        waiting.map(|(pod, count)| (pod.clone(), *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(cpu: &str, ready: &str) -> Node {
        Node::of(&json!({"status": {
            "allocatable": {"cpu": cpu, "pods": 16, "nvidia.com/gpu": 10},
            "conditions": [{"type": "Ready", "status": ready}],
        }}))
    }

    fn pod(node: Option<&str>, requests: &Value, phase: &str) -> Value {
        let containers = json!([{"resources": {"requests": requests}}]);
        json!({"spec": {"nodeName": node, "containers": containers}, "status": {"phase": phase}})
    }

    fn words(measure: &Measure) -> Vec<String> {
        let shapes = measure.shapes().unwrap().into_iter();
        shapes
            .map(|it| format!("{} × {}", it.nodes, it.free))
            .collect()
    }

    #[test]
    fn nodes_with_about_as_much_left_are_one_shape() {
        let mut measure = Measure::default();
        assert_eq!(measure.shapes(), None);
        for name in ["a", "b", "c"] {
            measure.set_node(name, Some(node("16", "True")));
        }
        measure.set_pod("1", &pod(Some("a"), &json!({"cpu": "1500m"}), "Running"));
        measure.set_pod("2", &pod(Some("b"), &json!({"cpu": "1200m"}), "Running"));
        let busy = json!({"nvidia.com/gpu": 3});
        measure.set_pod("3", &pod(Some("c"), &busy, "Running"));
        assert_eq!(
            words(&measure),
            [
                "2 × cpu 14, nvidia.com/gpu 10",
                "1 × cpu 16, nvidia.com/gpu 7"
            ]
        );
        measure.set_pod("1", &pod(Some("a"), &json!({"cpu": "1500m"}), "Succeeded"));
        measure.set_pod("3", &pod(None, &busy, "Pending"));
        measure.remove_pod("2");
        assert_eq!(words(&measure), ["3 × cpu 16, nvidia.com/gpu 10"]);
        assert_eq!(measure.waiting().len(), 1);
        measure.remove_pod("3");
        assert_eq!(measure.waiting(), []);
    }

    #[test]
    fn a_node_that_takes_no_pods_is_no_shape() {
        let mut measure = Measure::default();
        measure.set_node("a", Some(node("16", "False")));
        assert_eq!(measure.shapes(), Some(Vec::new()));
        let mut cordoned = json!({"spec": {"unschedulable": true}});
        cordoned["status"] = json!({"conditions": [{"type": "Ready", "status": "True"}]});
        measure.set_node("b", Some(Node::of(&cordoned)));
        assert_eq!(measure.shapes(), Some(Vec::new()));
        measure.set_node("a", None);
        measure.set_node("b", None);
        assert_eq!(measure.shapes(), None);
    }

    #[test]
    fn a_cluster_of_many_kinds_of_nodes_is_reported_more_coarsely() {
        let mut measure = Measure::default();
        for number in 0..200_u32 {
            let name = number.to_string();
            measure.set_node(&name, Some(node("16", "True")));
            let requests = json!({"cpu": format!("{}m", number * 80)});
            measure.set_pod(&name, &pod(Some(&name), &requests, "Running"));
            let gpus = json!({"nvidia.com/gpu": number % 10});
            measure.set_pod(
                &format!("gpu-{number}"),
                &pod(Some(&name), &gpus, "Running"),
            );
        }
        let shapes = measure.shapes().unwrap();
        assert_eq!(shapes.len(), 21);
        assert_eq!(shapes.iter().map(|shape| shape.nodes).sum::<u32>(), 200);
    }
}
