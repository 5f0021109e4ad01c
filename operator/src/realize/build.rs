//! Builds the objects of a placement for this cluster. Pure. The third of five steps.

use hanse_core::workload::{Manifest, ScaleTarget};
use serde_json::{Map, Value, json};

use super::{marks::Marks, verify::Verified};

/// A verified placement and its objects.
pub(super) struct Built<'a> {
    pub(super) verified: Verified<'a>,
    /// Whether the workload is stopped here. Its objects stay.
    pub(super) stopped: bool,
    pub(super) objects: Vec<Value>,
}

/// The manifests with this host's namespace, Hanse's marks and the replicas placed here; zero replicas if it is
/// stopped.
pub(super) fn build(verified: Verified<'_>, stopped: bool) -> Built<'_> {
    let placement = verified.placement();
    let stopped = stopped || verified.spec().suspend;
    let marks = Marks::of(verified.key(), placement.epoch);
    let namespace = &verified.consent().namespace;
    let manifests = verified.spec().manifests.iter();
    let objects = manifests
        .map(|manifest| {
            let target = ScaleTarget::Object(manifest.id());
            let replicas = if stopped {
                0
            } else {
                placement.share.of(&target)
            };
            object(manifest, replicas, namespace, &marks)
        })
        .collect();
    Built {
        verified,
        stopped,
        objects,
    }
}

fn object(manifest: &Manifest, replicas: u32, namespace: &str, marks: &Marks) -> Value {
    let mut object = manifest.object().clone();
    if manifest.is_scalable() {
        entry(&mut object, "spec").insert("replicas".into(), json!(replicas));
    }
    let metadata = entry(&mut object, "metadata");
    metadata.insert("namespace".into(), json!(namespace));
    let annotations = metadata.entry("annotations").or_insert_with(|| json!({}));
    for (name, value) in &marks.annotations {
        set(annotations, name, value);
    }
    let labels = metadata.entry("labels").or_insert_with(|| json!({}));
    for (name, value) in &marks.labels {
        set(labels, name, value);
    }
    if let Some(fields) = object.as_object_mut() {
        // Only the host's controllers write status.
        fields.remove("status");
    }
    object
}

fn entry<'a>(object: &'a mut Value, field: &str) -> &'a mut Map<String, Value> {
    if !object[field].is_object() {
        object[field] = json!({});
    }
    // The lines above make this field an object.
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
    use super::*;
    use crate::realize::{fixture::Case, verify::verify};

    fn built(stopped: bool) -> Value {
        let case = Case::of(json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
            "spec": {"replicas": 3}, "status": {"replicas": 9},
        }));
        build(verify(case.dereferenced()).unwrap(), stopped)
            .objects
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
                    "annotations": {"hanse.dev/epoch": "12", "hanse.dev/workload": "acme/shop/web"},
                    "labels": {"app": "web", "hanse.dev/workload": "47cbdb9d23d8037d"},
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
