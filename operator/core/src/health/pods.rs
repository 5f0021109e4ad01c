//! What the pods of an object say that is not ready for long.

use serde_json::{Map, Value};

use super::{
    Health,
    fields::text,
    kinds::{container_words, unscheduled_words},
};
use crate::workload::{GroupKind, Stop};

/// The labels of the pods that a controller of Kubernetes has started for `object`; `None` if it is no such object, or is ready.
#[must_use]
pub fn labels_of_pods(object: &Value, health: &Health) -> Option<String> {
    let of = GroupKind::of(object);
    let runs_pods = matches!(of.stop(), Some(Stop::Scale | Stop::Suspend | Stop::Delete));
    if *health == Health::Ready || !runs_pods {
        return None;
    }
    let selector = object.pointer("/spec/selector")?.as_object()?;
    let labels = match selector.get("matchLabels") {
        Some(labels) if !selector.contains_key("matchExpressions") => labels.as_object()?,
        Some(_) => return None,
        None => selector,
    };
    listed(labels)
}

fn listed(labels: &Map<String, Value>) -> Option<String> {
    let labels = labels.iter();
    let labels: Option<Vec<_>> = labels
        .map(|(key, value)| Some(format!("{key}={}", value.as_str()?)))
        .collect();
    labels
        .filter(|labels| !labels.is_empty())
        .map(|labels| labels.join(","))
}

/// What stands in the way of these pods: a container that does not start before a pod that finds no node. `None` if none says more
/// than that it takes its time.
#[must_use]
pub fn pods_say(pods: &[Value]) -> Option<String> {
    let said = |words: fn(&Value) -> Option<String>| {
        pods.iter().find_map(|pod| {
            let name = text(pod, "/metadata/name");
            Some(format!("pod '{name}' {}", words(pod)?))
        })
    };
    said(container_words).or_else(|| said(unscheduled_words))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_container_that_does_not_start_says_more_than_a_pod_without_a_node() {
        let pod = |name: &str, status: Value| json!({"metadata": {"name": name}, "status": status});
        let waits = pod("a", json!({"phase": "Pending"}));
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available"});
        let lost = pod("b", json!({"phase": "Pending", "conditions": [condition]}));
        let waiting = json!({"reason": "ImagePullBackOff", "message": "no such image"});
        let stuck = pod(
            "c",
            json!({"containerStatuses": [{"name": "app", "state": {"waiting": waiting}}]}),
        );
        assert_eq!(pods_say(std::slice::from_ref(&waits)), None);
        assert_eq!(
            pods_say(&[waits.clone(), lost.clone()]).as_deref(),
            Some("pod 'b' has no node: 0/3 nodes are available")
        );
        assert_eq!(
            pods_say(&[waits, lost, stuck]).as_deref(),
            Some("pod 'c' has container 'app' in ImagePullBackOff: no such image")
        );
    }

    #[test]
    fn the_pods_of_an_object_are_found_by_its_selector() {
        let of = |api_version: &str, kind: &str, selector: Value| {
            let object =
                json!({"apiVersion": api_version, "kind": kind, "spec": {"selector": selector}});
            labels_of_pods(&object, &Health::progressing("is not ready"))
        };
        let labels = json!({"app": "web", "tier": "a"});
        let matched = json!({"matchLabels": labels});
        let expected = Some("app=web,tier=a".to_owned());
        assert_eq!(of("apps/v1", "Deployment", matched.clone()), expected);
        assert_eq!(of("batch/v1", "Job", matched.clone()), expected);
        assert_eq!(of("v1", "ReplicationController", labels.clone()), expected);
        let more = json!({"matchLabels": labels, "matchExpressions": []});
        assert_eq!(of("apps/v1", "Deployment", more), None);
        assert_eq!(of("v1", "Service", labels), None);
        assert_eq!(of("db.example/v1", "Database", matched), None);
        assert_eq!(of("apps/v1", "Deployment", json!({})), None);
    }
}
