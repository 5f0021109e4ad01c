//! The objects of a placement as they should be in this cluster. Pure.

use hanse_core::{id::WorkloadKey, slice::AssignedPlacement, workload::Manifest};
use hanse_crds::names;
use serde_json::{Map, Value, json};

use super::verify::Verified;

/// The manifests with this host's namespace, Hanse's marks and the replicas placed here; none where it is stopped.
pub(super) fn build(
    key: &WorkloadKey,
    verified: &Verified,
    placement: &AssignedPlacement,
    stopped: bool,
) -> Vec<Value> {
    let replicas = if stopped { 0 } else { placement.replicas };
    let object = |manifest: &Manifest| {
        let mut object = manifest.object().clone();
        if manifest.is_scalable() {
            entry(&mut object, "spec").insert("replicas".into(), json!(replicas));
        }
        let metadata = entry(&mut object, "metadata");
        metadata.insert("namespace".into(), json!(verified.consent.namespace));
        let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
        set(
            annotations,
            names::EPOCH_ANNOTATION,
            &placement.epoch.to_string(),
        );
        let labels = metadata.entry("labels").or_insert_with(|| json!({}));
        for (name, value) in marks(key) {
            set(labels, name, &value);
        }
        if let Some(fields) = object.as_object_mut() {
            // Status is the host's to write.
            fields.remove("status");
        }
        object
    };
    verified.spec.manifests.iter().map(object).collect()
}

/// The labels by which an object is known to be applied for a workload.
pub(super) fn marks(key: &WorkloadKey) -> [(&'static str, String); 4] {
    [
        (names::MANAGED_BY_LABEL, names::FIELD_MANAGER.to_owned()),
        (names::OWNER_LABEL, key.owner.to_string()),
        (names::WORKLOAD_LABEL, label_value(key.name.as_str())),
        (names::WORKLOAD_NAMESPACE_LABEL, key.namespace.to_string()),
    ]
}

/// An object's name may be longer than the 63 characters of a label's value; the inventory knows the whole.
fn label_value(name: &str) -> String {
    name.chars()
        .take(63)
        .collect::<String>()
        .trim_end_matches(['.', '-'])
        .to_owned()
}

fn entry<'a>(object: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    if !object[field].is_object() {
        object[field] = json!({});
    }
    // Made an object on the line above.
    match &mut object[field] {
        Value::Object(map) => map,
        _ => unreachable!("just made an object"),
    }
}

fn set(map: &mut Value, name: &str, value: &str) {
    if !map.is_object() {
        *map = json!({});
    }
    map[name] = json!(value);
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        sync::Arc,
    };

    use hanse_core::{
        command::{Command, SignedCommand},
        grant::Consent,
        id::{Epoch, FederationId, Generation, PrivateKey},
        workload::{Mode, PlacementRules, WorkloadSpec},
    };

    use super::*;

    fn built(stopped: bool) -> Value {
        let key: WorkloadKey = "acme/shop/web".parse().unwrap();
        let manifest = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"replicas": 9}, "status": {"replicas": 9},
        });
        let rules = PlacementRules {
            mode: Mode::Divided,
            replicas: None,
            match_labels: BTreeMap::new(),
            domicile: BTreeSet::new(),
        };
        let spec = WorkloadSpec::new(vec![manifest], rules, &key.namespace).unwrap();
        let command = Command::RemoveWorkload { key: key.clone() };
        let proof = SignedCommand::sign(
            &FederationId([0; 16]),
            &PrivateKey::from_seed(&[1; 32]),
            1,
            &command,
        );
        let placement = AssignedPlacement {
            replicas: 3,
            epoch: Epoch(12),
            generation: Generation(7),
            proof: Arc::new(proof),
            home: "eu-1".parse().unwrap(),
        };
        let consent = Consent {
            namespace: "acme--shop".into(),
            pod_security: None,
        };
        build(
            &key,
            &Verified {
                spec,
                consent,
                guest: true,
            },
            &placement,
            stopped,
        )
        .remove(0)
    }

    #[test]
    fn a_manifest_gets_this_hosts_namespace_marks_and_replicas_and_nothing_else() {
        assert_eq!(
            built(false),
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {
                    "name": "web", "namespace": "acme--shop",
                    "annotations": {"hanse.dev/epoch": "12"},
                    "labels": {
                        "app": "web", "app.kubernetes.io/managed-by": "hanse", "hanse.dev/owner": "acme",
                        "hanse.dev/workload": "web", "hanse.dev/workload-namespace": "shop",
                    },
                },
                "spec": {"replicas": 3},
            })
        );
    }

    #[test]
    fn a_stopped_workload_keeps_its_objects_and_runs_nothing() {
        assert_eq!(built(true)["spec"]["replicas"], json!(0));
    }
}
