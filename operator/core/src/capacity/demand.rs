//! What a pod asks of a node.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{MAX_RESOURCES, Resources};
use crate::selector::{Effect, Toleration};

/// What one pod asks of the node that it runs on.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodDemand {
    /// How much of what.
    pub resources: Resources,
    /// The taints of nodes that do not keep it away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
}

impl PodDemand {
    /// What a pod with this `spec` asks for, as Kubernetes' scheduler counts it: its containers together, or more if one that
    /// runs before them needs more, and what the runtime itself takes.
    #[must_use]
    pub fn of(spec: &Value) -> Self {
        let items = |field: &str| spec[field].as_array().into_iter().flatten();
        let containers = items("containers").map(requests);
        let mut running = containers.fold(Resources::default(), |sum, it| sum.plus(&it));
        // A container that is started first either ends before the others start, or runs beside all that come after it.
        let (mut most, mut beside) = (Resources::default(), Resources::default());
        for container in items("initContainers") {
            let requests = requests(container);
            let then = beside.clone().plus(&requests);
            most = most.at_least(&then);
            if container["restartPolicy"] == "Always" {
                beside = then;
                running = running.plus(&requests);
            }
        }
        let pod = Resources::of(&spec["resources"]["requests"]);
        let asked = replaced(running.at_least(&most), &pod);
        let resources = asked
            .plus(&Resources::of(&spec["overhead"]))
            .plus(&Resources::one_pod());
        let tolerations = items("tolerations").filter_map(toleration);
        Self {
            resources: resources.bounded(),
            tolerations: tolerations.take(MAX_RESOURCES).collect(),
        }
    }
}

/// The requests of a container. A limit without a request is one.
fn requests(container: &Value) -> Resources {
    let resources = &container["resources"];
    replaced(
        Resources::of(&resources["limits"]),
        &Resources::of(&resources["requests"]),
    )
}

/// `amounts`, but those of `other` where it has any.
fn replaced(amounts: Resources, other: &Resources) -> Resources {
    let zeroed = amounts.map(|name, amount| if other.has(name) { 0 } else { amount });
    zeroed.plus(other)
}

/// `None` for one of a taint that keeps nobody away.
fn toleration(toleration: &Value) -> Option<Toleration> {
    let text = |field: &str| {
        let text = toleration[field].as_str();
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let effect = match text("effect") {
        Some(effect) => Some(Effect::read(&effect)?),
        None => None,
    };
    let exists = toleration["operator"] == "Exists";
    Some(Toleration {
        key: text("key"),
        value: (!exists).then(|| text("value").unwrap_or_default()),
        effect,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn container(cpu: &str) -> Value {
        json!({"resources": {"requests": {"cpu": cpu}}})
    }

    fn asked(spec: &Value) -> String {
        PodDemand::of(spec).resources.to_string()
    }

    #[test]
    fn a_pod_asks_for_what_the_scheduler_counts() {
        let limited = json!({"resources": {"limits": {"cpu": "2", "memory": "1Gi"}, "requests": {"cpu": "500m"}}});
        let sidecar =
            json!({"restartPolicy": "Always", "resources": {"requests": {"cpu": "300m"}}});
        let cases = [
            ("nothing", json!({"containers": [{}]}), ""),
            (
                "the sum of its containers",
                json!({"containers": [container("1"), container("500m")]}),
                "cpu 1500m",
            ),
            (
                "a limit where there is no request",
                json!({"containers": [limited]}),
                "cpu 500m, memory 1Gi",
            ),
            (
                "the most of those that run first",
                json!({"containers": [container("1")], "initContainers": [container("3"), container("2")]}),
                "cpu 3",
            ),
            (
                "a sidecar beside its containers",
                json!({"containers": [container("1")], "initContainers": [sidecar]}),
                "cpu 1300m",
            ),
            (
                "a sidecar beside what runs after it",
                json!({"containers": [container("1")], "initContainers": [container("2"), sidecar, container("2")]}),
                "cpu 2300m",
            ),
            (
                "the overhead of its runtime",
                json!({"containers": [container("1")], "overhead": {"cpu": "100m", "memory": "64Mi"}}),
                "cpu 1100m, memory 64Mi",
            ),
            (
                "what the pod as a whole asks for",
                json!({"containers": [container("1")], "resources": {"requests": {"cpu": "700m"}}}),
                "cpu 700m",
            ),
        ];
        for (name, spec, expected) in cases {
            assert_eq!(asked(&spec), expected, "{name}");
        }
    }

    #[test]
    fn a_pod_with_more_resources_than_are_counted_is_still_a_pod() {
        let requests = |letter: char| {
            let names = (0..40).map(|number| (format!("{letter}.example/{number}"), json!(1)));
            let requests: serde_json::Map<_, _> = names.collect();
            json!({"resources": {"requests": requests}})
        };
        let asked = PodDemand::of(&json!({"containers": [requests('a'), requests('z')]}));
        assert_eq!(asked.resources.len(), MAX_RESOURCES);
        assert_eq!(asked.resources.get("pods"), 1_000);
    }

    #[test]
    fn a_toleration_tolerates_what_kubernetes_says_it_does() {
        let tolerations = json!({"tolerations": [
            {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "team", "value": "shop"},
            {"operator": "Exists", "effect": "NoExecute"},
            {"key": "soft", "effect": "PreferNoSchedule"},
        ]});
        let expected = json!([
            {"key": "gpu", "effect": "NoSchedule"},
            {"key": "team", "value": "shop"},
            {"effect": "NoExecute"},
        ]);
        let found = PodDemand::of(&tolerations).tolerations;
        assert_eq!(serde_json::to_value(found).unwrap(), expected);
    }
}
