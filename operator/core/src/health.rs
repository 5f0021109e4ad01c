//! How a host's objects are doing, by the rules of kstatus: an object is ready when its controller has seen its newest
//! generation and reports it as ready; an object without a controller is ready once it exists.
//!
//! Source of the rules: the kstatus library of sigs.k8s.io/cli-utils and the status fields of the kinds themselves.

use serde_json::Value;

use crate::{
    id::{Epoch, Generation},
    slice::{PlacementPhase, PlacementReport},
    workload::{ManifestId, ScaleTarget, Share},
};

/// The longest message of a report, in characters; the CRD states the same bound.
pub const MAX_MESSAGE_CHARACTERS: usize = 1_024;

/// How one object is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// As it should be.
    Ready,
    /// Not ready yet, and nothing indicates that it will not be.
    Progressing {
        /// What is still missing.
        message: String,
    },
    /// It will not become ready without a change.
    Failed {
        /// What is wrong.
        message: String,
    },
}

impl Health {
    fn progressing(message: impl Into<String>) -> Self {
        Self::Progressing {
            message: message.into(),
        }
    }

    fn ready_if(ready: bool, message: impl FnOnce() -> String) -> Self {
        if ready {
            Self::Ready
        } else {
            Self::Progressing { message: message() }
        }
    }
}

/// How `object` is doing.
#[must_use]
pub fn assess(object: &Value) -> Health {
    if object.pointer("/metadata/deletionTimestamp").is_some() {
        return Health::progressing("is being deleted");
    }
    let generation = number(object, "/metadata/generation");
    let observed = number(object, "/status/observedGeneration");
    if let (Some(generation), Some(observed)) = (generation, observed)
        && observed < generation
    {
        return Health::progressing("its controller has not seen the newest change");
    }
    let group = text(object, "/apiVersion")
        .split('/')
        .next()
        .unwrap_or_default();
    match (group, text(object, "/kind")) {
        ("apps", "Deployment") => deployment(object),
        ("apps", "StatefulSet" | "ReplicaSet") | ("v1", "ReplicationController") => {
            replicas(object)
        }
        ("apps", "DaemonSet") => daemon_set(object),
        ("batch", "Job") => job(object),
        ("v1", "Pod") => pod(object),
        ("v1", "PersistentVolumeClaim") => {
            Health::ready_if(text(object, "/status/phase") == "Bound", || {
                "is not bound to a volume".into()
            })
        }
        ("v1", "Service") => service(object),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        _ => generic(object),
    }
}

/// Whether what waits for `object` may go on: as [`assess`], and a Job must have succeeded.
#[must_use]
pub fn assess_awaited(object: &Value) -> Health {
    match assess(object) {
        Health::Ready if text(object, "/kind") == "Job" && !is_complete(object) => {
            Health::progressing("has not succeeded yet")
        }
        health => health,
    }
}

/// Whether an object has done what it is for: a Job that succeeded, a Pod that ended well and is not started again.
#[must_use]
pub fn is_complete(object: &Value) -> bool {
    match (text(object, "/apiVersion"), text(object, "/kind")) {
        ("batch/v1", "Job") => {
            condition(object, "Complete").is_some_and(|(status, ..)| status == "True")
        }
        ("v1", "Pod") => text(object, "/status/phase") == "Succeeded",
        _ => false,
    }
}

/// The report of a placement of this share with these objects; `None` where an object is missing.
///
/// Ready replicas are those of the objects that the share counts, none of them above its count; where nothing is
/// counted, the whole share if everything is ready. The message is the one of the object that is furthest from ready.
#[must_use]
pub fn report(
    epoch: Epoch,
    generation: Generation,
    share: &Share,
    objects: &[(ManifestId, Option<&Value>)],
) -> PlacementReport {
    let mut worst = (PlacementPhase::Ready, String::new());
    for (id, object) in objects {
        let (phase, message) = match object.map(assess) {
            None => (PlacementPhase::Applied, "is not there yet".to_owned()),
            Some(Health::Ready) => continue,
            Some(Health::Progressing { message }) => (PlacementPhase::Applied, message),
            Some(Health::Failed { message }) => (PlacementPhase::Failed, message),
        };
        let worse = worst.0 == PlacementPhase::Ready
            || (worst.0 == PlacementPhase::Applied && phase == PlacementPhase::Failed);
        if worse {
            let ManifestId { group_kind, name } = id;
            worst = (phase, format!("{} '{name}' {message}", group_kind.kind));
        }
    }
    let ready = share.iter().map(|(target, count)| match target {
        ScaleTarget::Workload if worst.0 == PlacementPhase::Ready => count,
        ScaleTarget::Workload => 0,
        ScaleTarget::Object(counted) => {
            let found = objects.iter().find(|(id, _)| id == counted);
            count.min(
                found
                    .and_then(|(_, object)| *object)
                    .map_or(0, ready_replicas),
            )
        }
    });
    let ready = ready.fold(0, u32::saturating_add);
    let message = worst.1.chars().take(MAX_MESSAGE_CHARACTERS).collect();
    PlacementReport {
        epoch,
        generation,
        phase: worst.0,
        ready,
        message,
    }
}

fn ready_replicas(object: &Value) -> u32 {
    let ready = number(object, "/status/readyReplicas").unwrap_or(0);
    u32::try_from(ready).unwrap_or(u32::MAX)
}

fn deployment(object: &Value) -> Health {
    if let Some(stuck) = condition(object, "Progressing")
        .filter(|(_, reason, _)| reason == "ProgressDeadlineExceeded")
    {
        return Health::Failed {
            message: format!("exceeded its progress deadline: {}", stuck.2),
        };
    }
    if let Some((_, _, message)) =
        condition(object, "ReplicaFailure").filter(|(status, ..)| status == "True")
    {
        return Health::Failed {
            message: format!("cannot create its pods: {message}"),
        };
    }
    replicas(object)
}

fn replicas(object: &Value) -> Health {
    let wanted = number(object, "/spec/replicas").unwrap_or(1);
    let of = |field: &str| number(object, &format!("/status/{field}")).unwrap_or(0);
    // Until its controller has written a status there is no observedGeneration.
    if number(object, "/status/observedGeneration").is_none() {
        return Health::progressing("its controller has not seen it yet");
    }
    let updated = if object.pointer("/status/updatedReplicas").is_some() {
        of("updatedReplicas")
    } else {
        of("replicas")
    };
    if text(object, "/kind") == "Deployment" && updated < wanted {
        return Health::progressing(format!("{updated} of {wanted} replicas are updated"));
    }
    let ready = of("readyReplicas");
    Health::ready_if(ready >= wanted && of("replicas") <= wanted, || {
        format!("{ready} of {wanted} replicas are ready")
    })
}

fn daemon_set(object: &Value) -> Health {
    if number(object, "/status/observedGeneration").is_none() {
        return Health::progressing("its controller has not seen it yet");
    }
    let wanted = number(object, "/status/desiredNumberScheduled").unwrap_or(0);
    let ready = number(object, "/status/numberReady").unwrap_or(0);
    Health::ready_if(ready >= wanted, || {
        format!("{ready} of {wanted} nodes run it")
    })
}

fn job(object: &Value) -> Health {
    match condition(object, "Failed") {
        Some((status, _, message)) if status == "True" => Health::Failed {
            message: format!("failed: {message}"),
        },
        // A job that runs does what it should; it need not be over to be healthy.
        _ if object.pointer("/status/startTime").is_some() => Health::Ready,
        _ => Health::progressing("has not started"),
    }
}

fn pod(object: &Value) -> Health {
    match text(object, "/status/phase") {
        "Succeeded" => Health::Ready,
        "Failed" => Health::Failed {
            message: format!("failed: {}", text(object, "/status/message")),
        },
        _ => match condition(object, "Ready") {
            Some((status, ..)) if status == "True" => Health::Ready,
            _ => Health::progressing("is not ready"),
        },
    }
}

fn definition(object: &Value) -> Health {
    match (
        condition(object, "Established"),
        condition(object, "NamesAccepted"),
    ) {
        (_, Some((status, _, message))) if status == "False" => Health::Failed {
            message: format!("has names that are taken: {message}"),
        },
        (Some((status, ..)), _) => {
            Health::ready_if(status == "True", || "is not established yet".into())
        }
        (None, _) => Health::progressing("is not established yet"),
    }
}

fn service(object: &Value) -> Health {
    let waits = text(object, "/spec/type") == "LoadBalancer"
        && object
            .pointer("/status/loadBalancer/ingress")
            .and_then(Value::as_array)
            .is_none_or(Vec::is_empty);
    Health::ready_if(!waits, || {
        "has no address from its load balancer yet".into()
    })
}

/// Kinds this version does not know: their own conditions, where they have the usual ones.
fn generic(object: &Value) -> Health {
    let is_true = |name: &str| condition(object, name).filter(|(status, ..)| status == "True");
    if let Some((_, reason, message)) = is_true("Stalled") {
        return Health::Failed {
            message: format!("is stalled ({reason}): {message}"),
        };
    }
    if let Some((_, reason, message)) = is_true("Reconciling") {
        return Health::progressing(format!("is reconciling ({reason}): {message}"));
    }
    match condition(object, "Ready") {
        Some((status, reason, message)) if status != "True" => {
            Health::progressing(format!("is not ready ({reason}): {message}"))
        }
        _ => Health::Ready,
    }
}

fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn number(object: &Value, pointer: &str) -> Option<u64> {
    object.pointer(pointer).and_then(Value::as_u64)
}

/// Status, reason and message of the condition of this type.
fn condition(object: &Value, name: &str) -> Option<(String, String, String)> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let found = conditions
        .iter()
        .find(|condition| text(condition, "/type") == name)?;
    let of = |field: &str| text(found, field).to_owned();
    Some((of("/status"), of("/reason"), of("/message")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment_with(status: &Value) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "generation": 2}, "spec": {"replicas": 3}, "status": status})
    }

    #[test]
    fn each_kind_is_ready_by_its_own_rules() {
        let progressing = Health::progressing;
        let pod = |status: &Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "status": status});
        let balancer = |status: &Value| json!({"apiVersion": "v1", "kind": "Service", "metadata": {}, "spec": {"type": "LoadBalancer"}, "status": status});
        let other = |kind: &str, status: &str| json!({"apiVersion": "db.example/v1", "kind": "Database", "metadata": {}, "status": {"conditions": [{"type": kind, "status": status, "reason": "Why", "message": "words"}]}});
        let cases = [
            (
                deployment_with(&json!({})),
                progressing("its controller has not seen it yet"),
            ),
            (
                deployment_with(&json!({"observedGeneration": 1})),
                progressing("its controller has not seen the newest change"),
            ),
            (
                deployment_with(
                    &json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 1, "readyReplicas": 3}),
                ),
                progressing("1 of 3 replicas are updated"),
            ),
            (
                deployment_with(
                    &json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 2}),
                ),
                progressing("2 of 3 replicas are ready"),
            ),
            (
                deployment_with(
                    &json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3}),
                ),
                Health::Ready,
            ),
            (
                deployment_with(
                    &json!({"observedGeneration": 2, "conditions": [{"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]}),
                ),
                Health::Failed {
                    message: "cannot create its pods: quota".into(),
                },
            ),
            (
                pod(&json!({"phase": "Running"})),
                progressing("is not ready"),
            ),
            (
                balancer(&json!({})),
                progressing("has no address from its load balancer yet"),
            ),
            (
                balancer(&json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}})),
                Health::Ready,
            ),
            (
                json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}),
                Health::Ready,
            ),
            (
                other("Ready", "False"),
                progressing("is not ready (Why): words"),
            ),
            (
                other("Stalled", "True"),
                Health::Failed {
                    message: "is stalled (Why): words".into(),
                },
            ),
            (other("Ready", "True"), Health::Ready),
        ];
        for (object, expected) in cases {
            assert_eq!(assess(&object), expected, "{object}");
        }
    }

    #[test]
    fn a_placement_is_as_good_as_its_worst_object() {
        let good = deployment_with(
            &json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3}),
        );
        let bad = deployment_with(
            &json!({"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 1}),
        );
        let share = |counts: &[(&str, u32)]| {
            let counts = counts.iter();
            counts
                .map(|(target, count)| (target.parse().unwrap(), *count))
                .collect::<Share>()
        };
        let of = |counts: &[(&str, u32)], objects: &[(&str, Option<&Value>)]| {
            let objects: Vec<_> = objects
                .iter()
                .map(|(id, object)| (id.parse().unwrap(), *object))
                .collect();
            report(Epoch(7), Generation(5), &share(counts), &objects)
        };
        let expected = |phase, ready, message: &str| PlacementReport {
            epoch: Epoch(7),
            generation: Generation(5),
            phase,
            ready,
            message: message.into(),
        };
        let (a, b) = ("Deployment.apps/a", "Deployment.apps/b");
        assert_eq!(
            of(
                &[(a, 3)],
                &[(a, Some(&good)), ("ConfigMap/c", Some(&json!({})))]
            ),
            expected(PlacementPhase::Ready, 3, "")
        );
        assert_eq!(
            of(&[(a, 3), (b, 3)], &[(a, Some(&good)), (b, Some(&bad))]),
            expected(
                PlacementPhase::Applied,
                4,
                "Deployment 'b' 1 of 3 replicas are ready"
            )
        );
        assert_eq!(
            of(&[("*", 1)], &[("ConfigMap/c", None)]),
            expected(PlacementPhase::Applied, 0, "ConfigMap 'c' is not there yet")
        );
        assert_eq!(
            of(&[("*", 2)], &[("ConfigMap/c", Some(&json!({})))]),
            expected(PlacementPhase::Ready, 2, "")
        );
    }
}
