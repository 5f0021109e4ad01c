//! When an object of each kind is ready.

use serde_json::Value;

use super::{
    Health,
    fields::{condition, holds, items, number, text},
};
use crate::workload::{GroupKind, Stop};

const UNSEEN: &str = "its controller has not seen it yet";

/// By the rule of its kind. Its controller has seen its newest generation.
pub(super) fn assess(object: &Value) -> Health {
    let of = GroupKind::of(object);
    match (of.group.as_str(), of.kind.as_str()) {
        ("apps", "Deployment") => deployment(object),
        ("apps", "StatefulSet") => stateful_set(object),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => replica_set(object),
        ("apps", "DaemonSet") => daemon_set(object),
        ("batch", "Job") => job(object),
        ("batch", "CronJob") => Health::Ready,
        ("", "Pod") => pod(object),
        ("", "PersistentVolumeClaim") => claim(object),
        ("", "Service") => service(object),
        ("policy", "PodDisruptionBudget") => disruption_budget(object),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        ("apiregistration.k8s.io", "APIService") => api_service(object),
        _ => generic(object),
    }
}

/// Whether an object runs something, in whatever state that is. A custom object may.
pub(super) fn runs(object: &Value) -> bool {
    let of = GroupKind::of(object);
    let counts = |field: &str| number(object, field).unwrap_or(0) > 0;
    match (of.group.as_str(), of.kind.as_str()) {
        ("apps", "DaemonSet") => counts("/status/currentNumberScheduled"),
        ("batch", "Job") => {
            let over = holds(object, "Complete") || holds(object, "Failed");
            object.pointer("/status/startTime").is_some() && !over
        }
        ("", "Pod") => !matches!(text(object, "/status/phase"), "Succeeded" | "Failed"),
        _ => match of.stop() {
            Some(Stop::Scale) => counts("/status/replicas"),
            Some(Stop::Nothing) => false,
            Some(Stop::Suspend | Stop::Delete) | None => true,
        },
    }
}

/// Whether some of its replicas are still to be replaced by newer ones. A pod that is made anew is no newer one.
pub(super) fn rolls_out(object: &Value) -> bool {
    let of = GroupKind::of(object);
    let counts = Counts::of(object);
    let is_behind = number(object, "/status/observedGeneration")
        .zip(number(object, "/metadata/generation"))
        .is_some_and(|(observed, generation)| observed < generation);
    match (of.group.as_str(), of.kind.as_str()) {
        ("apps", "Deployment") => {
            is_behind || counts.get("replicas") > counts.get("updatedReplicas")
        }
        ("apps", "StatefulSet") => is_behind || stateful_rollout(object).is_err(),
        _ => false,
    }
}

/// The counts of a status, and the count asked for.
struct Counts<'a> {
    object: &'a Value,
    wanted: u64,
}

impl<'a> Counts<'a> {
    fn of(object: &'a Value) -> Self {
        let wanted = number(object, "/spec/replicas").unwrap_or(1);
        Self { object, wanted }
    }

    fn get(&self, field: &str) -> u64 {
        number(self.object, &format!("/status/{field}")).unwrap_or(0)
    }

    /// Progressing, unless at least `wanted` replicas are as the words say.
    fn at_least(&self, field: &str, wanted: u64, words: &str) -> Result<(), Health> {
        let found = self.get(field);
        if found >= wanted {
            return Ok(());
        }
        Err(Health::progressing(format!(
            "{found} of {wanted} replicas are {words}"
        )))
    }

    /// Progressing while there are more replicas than asked for.
    fn none_surplus(&self) -> Result<(), Health> {
        let replicas = self.get("replicas");
        if replicas <= self.wanted {
            return Ok(());
        }
        let surplus = replicas - self.wanted;
        Err(Health::progressing(format!(
            "{surplus} replicas too many are still ending"
        )))
    }
}

/// Whether a controller has written a status at all.
fn is_seen(object: &Value) -> bool {
    number(object, "/status/observedGeneration").is_some()
}

fn deployment(object: &Value) -> Health {
    if let Some(refused) = refused_pods(object) {
        return refused;
    }
    if let Some((_, "ProgressDeadlineExceeded", message)) = condition(object, "Progressing") {
        return Health::failed(format!("exceeded its progress deadline: {message}"));
    }
    let counts = Counts::of(object);
    replicas(object, || {
        counts.at_least("updatedReplicas", counts.wanted, "updated")
    })
}

fn replica_set(object: &Value) -> Health {
    replicas(object, || Ok(()))
}

fn refused_pods(object: &Value) -> Option<Health> {
    let (_, _, message) = condition(object, "ReplicaFailure").filter(|it| it.0 == "True")?;
    let message = format!("cannot create its pods: {message}");
    Some(Health::Refused { message })
}

/// What all kinds with replicas have in common. `rolled_out` is what is missing of the rollout, where a kind has one.
fn replicas(object: &Value, rolled_out: impl FnOnce() -> Result<(), Health>) -> Health {
    if let Some(refused) = refused_pods(object) {
        return refused;
    }
    if !is_seen(object) {
        return Health::progressing(UNSEEN);
    }
    let counts = Counts::of(object);
    let steps = || {
        rolled_out()?;
        counts.at_least("readyReplicas", counts.wanted, "ready")?;
        // API servers before 1.22 do not count it for every kind.
        if object.pointer("/status/availableReplicas").is_some() {
            counts.at_least("availableReplicas", counts.wanted, "available")?;
        }
        counts.none_surplus()
    };
    steps().err().unwrap_or(Health::Ready)
}

fn stateful_set(object: &Value) -> Health {
    replicas(object, || stateful_rollout(object))
}

/// A rollout is over when its strategy has nothing left to replace: with a partition only ordinals from it on, with
/// `OnDelete` nothing.
fn stateful_rollout(object: &Value) -> Result<(), Health> {
    let counts = Counts::of(object);
    let partition = number(object, "/spec/updateStrategy/rollingUpdate/partition").unwrap_or(0);
    let by_hand = text(object, "/spec/updateStrategy/type") == "OnDelete";
    // Afterwards the counter of updated replicas is no longer kept.
    let is_over = text(object, "/status/currentRevision") == text(object, "/status/updateRevision");
    if by_hand || is_over {
        return Ok(());
    }
    let updated = counts.wanted.saturating_sub(partition);
    counts.at_least("updatedReplicas", updated, "updated")
}

fn daemon_set(object: &Value) -> Health {
    if !is_seen(object) {
        return Health::progressing(UNSEEN);
    }
    let of = |field: &str| number(object, &format!("/status/{field}")).unwrap_or(0);
    let wanted = of("desiredNumberScheduled");
    let by_hand = text(object, "/spec/updateStrategy/type") == "OnDelete";
    let updated = of("updatedNumberScheduled");
    if !by_hand && updated < wanted {
        return Health::progressing(format!(
            "{updated} of {wanted} nodes run its newest version"
        ));
    }
    let available = of("numberAvailable").min(of("numberReady"));
    Health::ready_if(available >= wanted, || {
        format!("{available} of {wanted} nodes run it")
    })
}

/// A job that runs does what it should; it need not be over to be healthy.
fn job(object: &Value) -> Health {
    if let Some(("True", reason, message)) = condition(object, "Failed") {
        return Health::failed(format!("failed ({reason}): {message}"));
    }
    let started = object.pointer("/status/startTime").is_some();
    Health::ready_if(started || holds(object, "Suspended"), || {
        "has not started".into()
    })
}

fn pod(object: &Value) -> Health {
    match text(object, "/status/phase") {
        "Succeeded" => return Health::Ready,
        "Failed" => {
            let (reason, message) = (
                text(object, "/status/reason"),
                text(object, "/status/message"),
            );
            return Health::failed(format!("failed {reason}: {message}"));
        }
        _ => {}
    }
    if let Some(words) = container_words(object) {
        return Health::failed(words);
    }
    if let Some(words) = unscheduled_words(object) {
        return Health::progressing(words);
    }
    Health::ready_if(holds(object, "Ready"), || "is not ready".into())
}

/// Why a pod finds no node.
pub(super) fn unscheduled_words(pod: &Value) -> Option<String> {
    match condition(pod, "PodScheduled") {
        Some(("False", "Unschedulable", message)) => Some(format!("has no node: {message}")),
        _ => None,
    }
}

/// What a container that does not start says.
pub(super) fn container_words(pod: &Value) -> Option<String> {
    const STUCK: [&str; 6] = [
        "ImagePullBackOff",
        "ErrImagePull",
        "InvalidImageName",
        "CrashLoopBackOff",
        "CreateContainerConfigError",
        "CreateContainerError",
    ];
    let containers =
        items(pod, "/status/initContainerStatuses").chain(items(pod, "/status/containerStatuses"));
    let mut waiting = containers.filter_map(|container| {
        let reason = text(container, "/state/waiting/reason");
        let last = text(container, "/lastState/terminated/message");
        let message = match text(container, "/state/waiting/message") {
            _ if !last.is_empty() => last,
            message => message,
        };
        let name = text(container, "/name");
        STUCK
            .contains(&reason)
            .then(|| format!("has container '{name}' in {reason}: {message}"))
    });
    waiting.next()
}

fn claim(object: &Value) -> Health {
    match text(object, "/status/phase") {
        "Bound" => Health::Ready,
        "Lost" => Health::failed("has lost its volume"),
        _ => Health::progressing("is not bound to a volume"),
    }
}

fn service(object: &Value) -> Health {
    let waits = text(object, "/spec/type") == "LoadBalancer"
        && items(object, "/status/loadBalancer/ingress")
            .next()
            .is_none();
    Health::ready_if(!waits, || {
        "has no address from its load balancer yet".into()
    })
}

fn disruption_budget(object: &Value) -> Health {
    let of = |field: &str| number(object, &format!("/status/{field}")).unwrap_or(0);
    let (healthy, wanted) = (of("currentHealthy"), of("desiredHealthy"));
    Health::ready_if(is_seen(object) && healthy >= wanted, || {
        format!("{healthy} of the {wanted} pods that it protects are healthy")
    })
}

/// An autoscaler without metrics still keeps its limits, so only one that cannot scale at all is not ready.
fn autoscaler(object: &Value) -> Health {
    match condition(object, "AbleToScale") {
        Some(("False", reason, message)) => {
            Health::progressing(format!("cannot scale ({reason}): {message}"))
        }
        _ => Health::Ready,
    }
}

fn definition(object: &Value) -> Health {
    if let Some(("False", _, message)) = condition(object, "NamesAccepted") {
        return Health::failed(format!("has names that are taken: {message}"));
    }
    Health::ready_if(holds(object, "Established"), || {
        "is not established yet".into()
    })
}

fn api_service(object: &Value) -> Health {
    let message = condition(object, "Available").map_or("", |(_, _, message)| message);
    Health::ready_if(holds(object, "Available"), || {
        format!("is not available: {message}")
    })
}

/// Kinds that are not in the table: their own conditions, where they have the usual ones.
fn generic(object: &Value) -> Health {
    if let Some(("True", reason, message)) = condition(object, "Stalled") {
        return Health::failed(format!("is stalled ({reason}): {message}"));
    }
    if let Some(("True", reason, message)) = condition(object, "Reconciling") {
        return Health::progressing(format!("is reconciling ({reason}): {message}"));
    }
    match condition(object, "Ready") {
        Some((status, reason, message)) if status != "True" => {
            Health::progressing(format!("is not ready ({reason}): {message}"))
        }
        _ => Health::Ready,
    }
}
