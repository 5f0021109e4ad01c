//! The fields of an object that Hanse applied, and the fields that others decide. Pure.
//!
//! An API server records in `metadata.managedFields` which manager set which field. Only fields that Hanse applied are
//! compared for drift: everything else in the object is somebody else's.

use hanse_core::{id::Digest, workload::ScalePath};
use hanse_crds::names;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

/// The digest of the fields that Hanse applied, with their values. It changes if one of them is changed or taken over.
pub(super) fn fingerprint(object: &Value) -> Digest {
    let applied = managers(object).find(|entry| {
        entry["manager"] == names::FIELD_MANAGER
            && entry["operation"] == "Apply"
            && entry.get("subresource").is_none()
    });
    let owned = applied.map_or(Value::Null, |entry| project(object, &entry["fieldsV1"]));
    Digest(Sha256::digest(owned.to_string()).into())
}

/// The length, in bytes, from which a value of a `ConfigMap` or a `Secret` is not kept.
const HEAVY: usize = 16 * 1024;

/// A `ConfigMap` or a `Secret` with digests in the place of its large values, so that it can be compared and need not be kept; any other
/// object as it is.
pub(super) fn light(mut object: Value) -> Value {
    let is_data = object["apiVersion"] == "v1"
        && (object["kind"] == "ConfigMap" || object["kind"] == "Secret");
    for name in ["data", "binaryData"] {
        let data = object.get_mut(name).and_then(Value::as_object_mut);
        let values = data.into_iter().flat_map(Map::values_mut);
        for value in values.filter(|_| is_data) {
            if let Value::String(text) = value
                && text.len() >= HEAVY
            {
                *text = format!("sha256:{}", Digest(Sha256::digest(&*text).into()));
            }
        }
    }
    object
}

/// The controller that decides the replicas of this object, which it has at `path`, through its `scale` subresource, if
/// there is one. A person with kubectl is none: a count set by hand is drift.
pub(super) fn scaled_by<'a>(object: &'a Value, path: &ScalePath) -> Option<&'a str> {
    let field = format!("/fieldsV1{}", path.managed_field());
    let scaling = managers(object)
        .filter(|entry| entry["subresource"] == "scale" && entry.pointer(&field).is_some());
    let mut managers = scaling.filter_map(|entry| entry["manager"].as_str());
    managers.find(|manager| !is_drift(manager))
}

/// What kubectl calls itself, after `kubectl` and a hyphen, depending on what it is told to do.
const VERBS: [&str; 14] = [
    "annotate",
    "autoscale",
    "client-side-apply",
    "create",
    "edit",
    "expose",
    "label",
    "last-applied",
    "patch",
    "replace",
    "rollout",
    "run",
    "set",
    "taint",
];

/// Whether what this manager set is drift: a person with kubectl, or Hanse itself when it scaled. A plugin of kubectl is a program
/// like any other.
pub(super) fn is_drift(manager: &str) -> bool {
    let verb = manager.strip_prefix("kubectl-");
    manager == names::FIELD_MANAGER
        || manager == "kubectl"
        || verb.is_some_and(|verb| VERBS.contains(&verb))
}

fn managers(object: &Value) -> impl Iterator<Item = &Value> {
    let entries = object.pointer("/metadata/managedFields");
    entries.and_then(Value::as_array).into_iter().flatten()
}

/// The part of `value` that `fields` names, in the notation of `FieldsV1`: `f:<name>` is a field, `k:<keys>` an item of a
/// list by its keys, `v:<value>` an item by its value, `i:<index>` an item by its place; nothing below it means all of it.
fn project(value: &Value, fields: &Value) -> Value {
    let Some(fields) = fields.as_object() else {
        return Value::Null;
    };
    if fields.keys().all(|name| name == ".") {
        // The item itself, and none of what is in it unless it is a leaf.
        return if fields.is_empty() {
            value.clone()
        } else {
            Value::Bool(true)
        };
    }
    let named = fields.iter().filter(|(name, _)| *name != ".");
    let parts = named.map(|(name, below)| {
        let part = child(value, name).map_or(Value::Null, |child| project(child, below));
        (name.clone(), part)
    });
    Value::Object(parts.collect::<Map<_, _>>())
}

fn child<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    let (notation, text) = name.split_once(':')?;
    match notation {
        "f" => value.get(text),
        "k" => {
            let keys: Map<String, Value> = serde_json::from_str(text).ok()?;
            let has_keys = |item: &&Value| keys.iter().all(|(key, value)| &item[key] == value);
            value.as_array()?.iter().find(has_keys)
        }
        "v" => {
            let wanted: Value = serde_json::from_str(text).ok()?;
            value.as_array()?.iter().find(|item| **item == wanted)
        }
        "i" => value.get(text.parse::<usize>().ok()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment() -> Value {
        json!({
            "metadata": {
                "resourceVersion": "7",
                "labels": {"app": "web", "team": "b"},
                "managedFields": [
                    {"manager": "hanse", "operation": "Apply", "fieldsV1": {
                        "f:metadata": {"f:labels": {"f:app": {}}},
                        "f:spec": {
                            "f:replicas": {},
                            "f:containers": {"k:{\"name\":\"c\"}": {".": {}, "f:image": {}}},
                            "f:finalizers": {"v:\"x/y\"": {}},
                        },
                    }},
                    {"manager": "hanse", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}},
                ],
            },
            "spec": {
                "replicas": 3,
                "paused": false,
                "containers": [{"name": "side", "image": "s"}, {"name": "c", "image": "i", "tty": true}],
                "finalizers": ["x/y", "z"],
            },
        })
    }

    fn changes(pointer: &str, value: Value) -> bool {
        let mut changed = deployment();
        *changed.pointer_mut(pointer).unwrap() = value;
        fingerprint(&changed) != fingerprint(&deployment())
    }

    #[test]
    fn only_what_hanse_applied_counts_as_drift() {
        let cases = [
            ("/metadata/labels/app", true),
            ("/metadata/labels/team", false),
            ("/metadata/resourceVersion", false),
            ("/spec/replicas", true),
            ("/spec/paused", false),
            ("/spec/containers/0/image", false),
            ("/spec/containers/1/image", true),
            ("/spec/containers/1/tty", false),
            ("/spec/finalizers/0", true),
            ("/spec/finalizers/1", false),
        ];
        for (pointer, expected) in cases {
            assert_eq!(changes(pointer, json!("other")), expected, "{pointer}");
        }
    }

    #[test]
    fn a_field_that_another_manager_took_over_counts_as_drift() {
        let mut taken = deployment();
        let fields = taken
            .pointer_mut("/metadata/managedFields/0/fieldsV1/f:spec")
            .unwrap();
        fields.as_object_mut().unwrap().remove("f:replicas");
        assert_ne!(fingerprint(&taken), fingerprint(&deployment()));
    }

    #[test]
    fn large_values_are_compared_by_their_digests() {
        let config = |kind: &str, text: &str| json!({"apiVersion": "v1", "kind": kind, "data": {"a": text, "b": "small"}});
        let (one, other) = ("1".repeat(HEAVY), "2".repeat(HEAVY));
        let written = light(config("ConfigMap", &one));
        assert_eq!(written["data"]["b"], "small");
        assert_eq!(written["data"]["a"].as_str().map(str::len), Some(71));
        assert_eq!(light(config("ConfigMap", &one)), written);
        assert_ne!(light(config("ConfigMap", &other)), written);
        assert_eq!(light(config("Ship", &one)), config("Ship", &one));
    }

    #[test]
    fn an_autoscaler_is_seen_by_its_use_of_the_scale_subresource() {
        let scaled = |manager: &str, subresource: &str| {
            let fields = json!({"f:spec": {"f:replicas": {}}});
            let entry = json!({"manager": manager, "operation": "Update", "subresource": subresource, "fieldsV1": fields});
            let object = json!({"metadata": {"managedFields": [entry]}});
            scaled_by(&object, &ScalePath::REPLICAS).map(str::to_owned)
        };
        assert_eq!(
            scaled("kube-controller-manager", "scale").as_deref(),
            Some("kube-controller-manager")
        );
        assert_eq!(scaled("keda", "scale").as_deref(), Some("keda"));
        assert_eq!(scaled("hanse", "scale"), None);
        assert_eq!(scaled("kubectl", "scale"), None);
        assert_eq!(scaled("kubectl-edit", ""), None);
    }

    #[test]
    fn what_a_person_sets_with_kubectl_is_drift_and_what_a_program_sets_is_not() {
        let drift = [
            "hanse",
            "kubectl",
            "kubectl-edit",
            "kubectl-client-side-apply",
        ];
        assert!(drift.into_iter().all(is_drift));
        let own = [
            "kubectl-argo-rollouts",
            "kubectl2",
            "helm",
            "kube-controller-manager",
        ];
        assert!(!own.into_iter().any(is_drift));
    }
}
