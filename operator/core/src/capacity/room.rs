//! What is left of a member's capacity when more is placed there.

use super::{Capacity, PodDemand, Shape, resources::amount};

/// What a member can still run after what was placed since it last reported.
///
/// Pods fill one node after the other, those with special resources last. The scheduler of the cluster may spread them instead;
/// then what is left for pods of another size can be less than this says, until the member reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Room {
    shapes: Vec<Shape>,
}

impl Room {
    /// What a member reported, less the pods that wait there.
    #[must_use]
    pub fn of(capacity: &Capacity) -> Self {
        let mut shapes = capacity.shapes.clone();
        shapes.sort_by_key(|shape| shape.free.len());
        let mut room = Self { shapes };
        for (pod, count) in &capacity.waiting {
            room.take(pod, *count);
        }
        room
    }

    /// How many more of these pods fit.
    #[must_use]
    pub fn holds(&self, pod: &PodDemand) -> u32 {
        let shapes = self.shapes.iter();
        shapes.fold(0, |sum: u32, shape| sum.saturating_add(shape.holds(pod)))
    }

    /// Places `count` of these pods, as far as they fit. Returns how many do not.
    pub fn take(&mut self, pod: &PodDemand, mut count: u32) -> u32 {
        let mut shapes = Vec::with_capacity(self.shapes.len() + 2);
        for shape in self.shapes.drain(..) {
            let taken = shape.holds(pod).min(count);
            count -= taken;
            shape.fill(pod, taken, &mut shapes);
        }
        self.shapes = shapes;
        count
    }

    /// Its nodes.
    #[must_use]
    pub fn into_shapes(self) -> Vec<Shape> {
        self.shapes
    }

    /// Why not one of these pods fits, in words that follow "it has no room:".
    #[must_use]
    pub fn objection(&self, pod: &PodDemand) -> String {
        let tolerated: Vec<_> = self.shapes.iter().filter(|it| it.tolerates(pod)).collect();
        if self.shapes.is_empty() {
            return "none of its nodes is ready".to_owned();
        }
        if tolerated.is_empty() {
            return "its pods tolerate the taints of none of its nodes".to_owned();
        }
        let most = |name: &str| tolerated.iter().map(|shape| shape.free.get(name)).max();
        let short = pod.resources.iter().find_map(|(name, asked)| {
            let most = most(name).unwrap_or(0);
            (most < asked).then_some((name, asked, most))
        });
        match short {
            Some((name, asked, most)) => format!(
                "a pod asks for {name} {}, and no node has more than {} left",
                amount(name, asked),
                amount(name, most)
            ),
            None => format!("no node has {} left at once", pod.resources),
        }
    }
}

impl Shape {
    fn tolerates(&self, pod: &PodDemand) -> bool {
        let mut taints = self.taints.iter();
        taints.all(|taint| pod.tolerations.iter().any(|it| it.tolerates(taint)))
    }

    fn holds(&self, pod: &PodDemand) -> u32 {
        if !self.tolerates(pod) {
            return 0;
        }
        self.free.holds(&pod.resources).saturating_mul(self.nodes)
    }

    /// Adds to `shapes` what is left with `count` of these pods, at most as many as it holds.
    fn fill(self, pod: &PodDemand, count: u32, shapes: &mut Vec<Self>) {
        if count == 0 {
            self.join(shapes);
            return;
        }
        let each = self.free.holds(&pod.resources).max(1);
        let (full, rest) = (count / each, count % each);
        let partial = u32::from(rest > 0);
        let untouched = self.nodes.saturating_sub(full + partial);
        for (nodes, pods) in [(full, each), (partial, rest), (untouched, 0)] {
            let free = self.free.clone().minus(&pod.resources, pods);
            let taints = self.taints.clone();
            let part = Self {
                nodes,
                free,
                taints,
            };
            part.join(shapes);
        }
    }

    /// Adds it to `shapes`; to the last one if that is equal, so that nodes that fill up one by one stay one shape.
    fn join(self, shapes: &mut Vec<Self>) {
        match shapes.last_mut() {
            _ if self.nodes == 0 => {}
            Some(last) if last.free == self.free && last.taints == self.taints => {
                last.nodes = last.nodes.saturating_add(self.nodes);
            }
            Some(_) | None => shapes.push(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::capacity::Resources;

    fn shape(nodes: u32, free: &serde_json::Value, taint: Option<&str>) -> Shape {
        let taints = taint.map(|key| json!({"key": key, "effect": "NoSchedule"}));
        let taints: Vec<_> = taints.into_iter().collect();
        Shape {
            nodes,
            free: Resources::of(free),
            taints: serde_json::from_value(json!(taints)).unwrap(),
        }
    }

    fn pod(requests: &serde_json::Value) -> PodDemand {
        PodDemand::of(&json!({"containers": [{"resources": {"requests": requests}}]}))
    }

    fn room(shapes: Vec<Shape>) -> Room {
        Room::of(&Capacity {
            shapes,
            ..Capacity::default()
        })
    }

    #[test]
    fn pods_fit_into_nodes_and_not_into_sums() {
        let halves = room(vec![shape(10, &json!({"cpu": "500m", "pods": 100}), None)]);
        assert_eq!(halves.holds(&pod(&json!({"cpu": "1"}))), 0);
        assert_eq!(halves.holds(&pod(&json!({"cpu": "200m"}))), 20);
        assert_eq!(
            halves.objection(&pod(&json!({"cpu": "1"}))),
            "a pod asks for cpu 1, and no node has more than 500m left"
        );
    }

    #[test]
    fn what_is_placed_is_gone_for_others_also_of_another_size() {
        let mut room = room(vec![shape(
            2,
            &json!({"cpu": "4", "memory": "8Gi", "pods": 10}),
            None,
        )]);
        let (large, small) = (pod(&json!({"cpu": "3"})), pod(&json!({"cpu": "1"})));
        assert_eq!((room.holds(&large), room.holds(&small)), (2, 8));
        assert_eq!(room.take(&small, 2), 0);
        assert_eq!((room.holds(&large), room.holds(&small)), (1, 6));
        assert_eq!(room.take(&large, 2), 1);
        assert_eq!((room.holds(&large), room.holds(&small)), (0, 3));
    }

    #[test]
    fn nodes_that_fill_up_one_by_one_stay_one_shape() {
        let mut room = room(vec![shape(100, &json!({"cpu": "4", "pods": 10}), None)]);
        let pod = pod(&json!({"cpu": "1"}));
        for _ in 0..250 {
            assert_eq!(room.take(&pod, 1), 0);
        }
        let nodes: Vec<_> = room.shapes.iter().map(|shape| shape.nodes).collect();
        assert_eq!(nodes, [62, 1, 37]);
        assert_eq!(room.holds(&pod), 150);
    }

    #[test]
    fn nodes_with_taints_and_special_resources_are_for_those_that_ask_for_them() {
        let gpus = json!({"cpu": "8", "pods": 10, "nvidia.com/gpu": 4});
        let mut room = room(vec![
            shape(1, &gpus, Some("gpu")),
            shape(1, &json!({"cpu": "2", "pods": 10}), None),
        ]);
        let mut train = pod(&json!({"cpu": "1", "nvidia.com/gpu": 2}));
        assert_eq!(room.holds(&train), 0);
        assert_eq!(
            room.objection(&train),
            "a pod asks for nvidia.com/gpu 2, and no node has more than 0 left"
        );
        train.tolerations = serde_json::from_value(json!([{"key": "gpu"}])).unwrap();
        assert_eq!(room.holds(&train), 2);
        assert_eq!(room.take(&pod(&json!({"cpu": "1"})), 3), 1);
        assert_eq!(room.holds(&train), 2);
        assert_eq!(
            Room::default().objection(&train),
            "none of its nodes is ready"
        );
    }

    #[test]
    fn pods_that_wait_come_first() {
        let capacity = Capacity {
            covers: 7,
            shapes: vec![shape(1, &json!({"cpu": "2", "pods": 10}), None)],
            waiting: vec![
                (pod(&json!({"cpu": "1"})), 1),
                (pod(&json!({"cpu": "64"})), 3),
            ],
        };
        assert_eq!(Room::of(&capacity).holds(&pod(&json!({"cpu": "1"}))), 1);
    }

    proptest! {
        /// As many are placed as were said to fit, whatever was placed before, and never more than there are nodes for.
        #[test]
        fn what_fits_can_be_placed_and_no_more(
            nodes in prop::collection::vec((1_u32..5, 0_u32..8_000, 0_u32..12), 1..5),
            pods in prop::collection::vec((0_u32..4_000, 0_u32..20), 1..8),
        ) {
            let nodes = nodes.into_iter();
            let shapes = nodes.map(|(nodes, cpu, pods)| shape(nodes, &json!({"cpu": format!("{cpu}m"), "pods": pods}), None));
            let mut room = room(shapes.collect());
            for (cpu, count) in pods {
                let pod = pod(&json!({"cpu": format!("{cpu}m")}));
                let fits = room.holds(&pod);
                let left = room.take(&pod, count);
                prop_assert_eq!(count - left, count.min(fits));
                prop_assert_eq!(room.holds(&pod), fits - (count - left));
            }
        }
    }
}
