//! `kubectl hanse wrap`: plain objects become one `FederatedWorkload`.
//!
//! What kustomize or `helm template` writes, and what `kubectl get -o yaml` shows, is meant for one cluster. What only that cluster can
//! know is left out here, what the federation does in another way is rewritten, and every departure is said on standard error.

use std::{collections::BTreeSet, path::PathBuf};

use clap::Args;
use hanse_core::{
    id::Namespace,
    workload::{
        Mode, ON_IMMUTABLE_ANNOTATION, PlacementRules, SERVER_SET, WAVE_ANNOTATION, WorkloadSpec,
    },
};
use serde_json::{Map, Value, json};

use crate::{failure::Failure, file, output::Streams};

/// Above this size `kubectl apply` cannot keep the last version in its annotation.
const CLIENT_SIDE_BYTES: usize = 256 * 1024;

/// The wave of what Helm runs before everything else, and after it.
const BEFORE: &str = "45";
const AFTER: &str = "90";

/// Make a `FederatedWorkload` of plain manifests.
///
/// Reads what kustomize, `helm template` or `kubectl get -o yaml` writes, and writes a workload for `kubectl apply`. What was left out or
/// rewritten on the way is said on standard error. No cluster is asked.
#[derive(Debug, Args)]
pub(crate) struct Wrap {
    /// The name of the workload.
    name: String,
    /// A file with objects; `-` for standard input. Several are put together in this order.
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    filename: Vec<PathBuf>,
    /// How replicas are spread over members: Divided among them, Duplicated in each, or a Single copy in one at a time.
    #[arg(long, default_value = "Divided", value_parser = mode)]
    mode: Mode,
}

/// The modes, in the words of the workload.
const MODES: [(&str, Mode); 3] = [
    ("Divided", Mode::Divided),
    ("Duplicated", Mode::Duplicated),
    ("Single", Mode::Single),
];

fn mode(word: &str) -> Result<Mode, String> {
    let found = MODES.into_iter().find(|(name, _)| *name == word);
    let names = MODES.map(|(name, _)| name).join(", ");
    found
        .map(|(_, mode)| mode)
        .ok_or_else(|| format!("must be one of {names}"))
}

/// Reads, wraps and writes.
pub(crate) fn run(
    namespace: Option<&str>,
    wrap: &Wrap,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    let files = wrap.filename.iter().map(|path| file::objects(path));
    let objects = files.collect::<Result<Vec<_>, _>>()?.concat();
    let wrapped = wrapped(objects, &wrap.name, namespace, wrap.mode);
    let (workload, notes) = wrapped.map_err(|why| Failure::Wrap { why })?;
    for note in notes {
        streams.explain(&format!("{note}\n"))?;
    }
    streams.answer_object(&workload)
}

/// The workload of these objects, and what has changed on the way.
fn wrapped(
    objects: Vec<Value>,
    name: &str,
    namespace: Option<&str>,
    mode: Mode,
) -> Result<(Value, Vec<String>), String> {
    let mut notes = Vec::new();
    // A list may be in a list.
    let objects = objects.into_iter().flat_map(items);
    let mut manifests: Vec<(i64, Value)> = Vec::new();
    for mut object in objects {
        let title = title(&object);
        if !object["kind"].is_string() || !object["metadata"]["name"].is_string() {
            return Err(format!("{title} must have `kind` and `metadata.name`"));
        }
        let left = leave_out(&mut object);
        if !left.is_empty() {
            notes.push(format!("{title}: left out {}", left.join(", ")));
        }
        match hook(&mut object) {
            Hook::None => manifests.push((0, object)),
            Hook::Never(when) => notes.push(format!(
                "{title}: left out, because it is a hook of Helm for '{when}'"
            )),
            Hook::Wave { wave, weight, when } => {
                notes.push(format!(
                    "{title}: a hook of Helm for '{when}' is in wave {wave}, and later waves wait for it"
                ));
                manifests.push((weight, object));
            }
        }
    }
    // The order of the list counts within a wave, and hooks have their own.
    manifests.sort_by_key(|(weight, _)| *weight);
    let mut manifests: Vec<Value> = manifests.into_iter().map(|(_, object)| object).collect();
    let namespace = take_namespace(&mut manifests, namespace)?;
    let parsed: Result<Namespace, _> = namespace.parse();
    let parsed = parsed.map_err(|error| error.to_string())?;
    let rules = PlacementRules::new(mode);
    WorkloadSpec::new(manifests.clone(), rules, &parsed).map_err(|error| error.to_string())?;
    let workload = json!({
        "apiVersion": "hanse.dev/v1alpha1",
        "kind": "FederatedWorkload",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"placement": {"mode": mode}, "manifests": manifests},
    });
    if workload.to_string().len() > CLIENT_SIDE_BYTES {
        notes.push(
            "the workload is larger than 256 KiB: apply it with `kubectl apply --server-side`, because without it kubectl keeps a copy in \
             an annotation that cannot be larger"
                .to_owned(),
        );
    }
    Ok((workload, notes))
}

/// The items of a list, or the object itself.
fn items(mut object: Value) -> Vec<Value> {
    let is_list = object["kind"]
        .as_str()
        .is_some_and(|kind| kind.ends_with("List"));
    match object.get_mut("items").map(Value::take) {
        Some(Value::Array(nested)) if is_list => nested.into_iter().flat_map(items).collect(),
        Some(items) => {
            object["items"] = items;
            vec![object]
        }
        None => vec![object],
    }
}

fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
    format!("{kind} '{name}'")
}

/// What tools write about themselves.
const ANNOTATIONS: [&str; 2] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
];

/// Takes out what belongs to one cluster. Returns the names of what was there.
fn leave_out(object: &mut Value) -> Vec<String> {
    let mut left = Vec::new();
    let mut take = |fields: Option<&mut Value>, name: &str, title: &str| {
        let fields = fields.and_then(Value::as_object_mut);
        if let Some(found) = fields.and_then(|fields| fields.remove(name))
            && !is_empty(&found)
        {
            left.push(format!("`{title}{name}`"));
        }
    };
    for name in SERVER_SET {
        take(object.get_mut("metadata"), name, "metadata.");
    }
    for name in ANNOTATIONS {
        take(object.pointer_mut("/metadata/annotations"), name, "");
    }
    take(Some(object), "status", "");
    let is_service = object["kind"] == "Service" && object["apiVersion"] == "v1";
    let is_headless = object["spec"]["clusterIP"] == "None";
    if is_service && !is_headless {
        for name in ["clusterIP", "clusterIPs"] {
            take(object.get_mut("spec"), name, "spec.");
        }
    }
    if is_service {
        let ports = object
            .pointer_mut("/spec/ports")
            .and_then(Value::as_array_mut);
        let exported = !left.is_empty();
        for port in ports.into_iter().flatten().filter(|_| exported) {
            if port
                .as_object_mut()
                .is_some_and(|it| it.remove("nodePort").is_some())
            {
                left.push("`spec.ports.nodePort`".to_owned());
            }
        }
    }
    left
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// What a hook of Helm becomes.
enum Hook {
    None,
    /// It runs when something happens that has no place in a workload.
    Never(String),
    Wave {
        wave: &'static str,
        weight: i64,
        when: String,
    },
}

/// Takes an object's annotations of hooks, and puts it into the wave that stands for them.
fn hook(object: &mut Value) -> Hook {
    let annotations = object.pointer_mut("/metadata/annotations");
    let Some(annotations) = annotations.and_then(Value::as_object_mut) else {
        return Hook::None;
    };
    let mut take = |name: &str| {
        let value = annotations.remove(name)?;
        value.as_str().map(ToOwned::to_owned)
    };
    let Some(when) = take("helm.sh/hook") else {
        return Hook::None;
    };
    let weight = take("helm.sh/hook-weight").and_then(|weight| weight.parse().ok());
    take("helm.sh/hook-delete-policy");
    let runs_at = |event: &str| when.split(',').any(|it| it.trim() == event);
    let wave = if runs_at("pre-install") || runs_at("pre-upgrade") {
        BEFORE
    } else if runs_at("post-install") || runs_at("post-upgrade") {
        AFTER
    } else if runs_at("crd-install") {
        return Hook::None;
    } else {
        return Hook::Never(when);
    };
    let weight = weight.unwrap_or(0);
    annotations
        .entry(WAVE_ANNOTATION)
        .or_insert_with(|| json!(wave));
    // Helm deletes what is left of a hook before it runs the next one.
    annotations
        .entry(ON_IMMUTABLE_ANNOTATION)
        .or_insert_with(|| json!("Recreate"));
    Hook::Wave { wave, weight, when }
}

/// The namespace of the workload, which its objects then no longer name.
fn take_namespace(manifests: &mut [Value], asked: Option<&str>) -> Result<String, String> {
    let named: BTreeSet<&str> = manifests
        .iter()
        .filter_map(|object| object["metadata"]["namespace"].as_str())
        .collect();
    let namespace = match (asked, named.first()) {
        (Some(asked), _) => asked,
        (None, Some(first)) => first,
        (None, None) => "default",
    };
    if let Some(other) = named.iter().find(|it| **it != namespace) {
        let object = manifests.iter();
        let mut object = object.filter(|it| it["metadata"]["namespace"] == **other);
        let object = object.next().map(title).unwrap_or_default();
        return Err(format!(
            "{object} is in namespace '{other}', and a workload is in one, '{namespace}': wrap the objects of each by themselves"
        ));
    }
    let namespace = namespace.to_owned();
    for manifest in manifests {
        if let Some(metadata) = manifest["metadata"].as_object_mut() {
            metadata.remove("namespace");
            remove_empty(metadata, "annotations");
        }
    }
    Ok(namespace)
}

fn remove_empty(fields: &mut Map<String, Value>, name: &str) {
    if fields.get(name).is_some_and(is_empty) {
        fields.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    /// The workload as YAML, and what is said.
    fn wrapped_text(text: &str, namespace: Option<&str>) -> Result<String, String> {
        let objects = yaml::read(text).unwrap();
        let (workload, notes) = wrapped(objects, "web", namespace, Mode::Divided)?;
        let notes = notes.iter().map(|note| format!("# {note}\n"));
        Ok(notes.collect::<String>() + &yaml::write(&workload).unwrap())
    }

    #[test]
    fn what_helm_writes_becomes_a_workload_with_its_hooks_in_waves() {
        let text = "
# Source: web/templates/test.yaml
apiVersion: v1
kind: Pod
metadata: {name: web-test, annotations: {helm.sh/hook: test}}
---
apiVersion: v1
kind: Secret
metadata: {name: login, namespace: shop}
stringData: {enabled: 'yes', mode: '0644'}
---
# Source: web/templates/empty.yaml
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  template: {spec: {volumes: [{name: login, secret: {secretName: login, defaultMode: 0400}}]}}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  namespace: shop
  annotations: {helm.sh/hook: 'pre-install,pre-upgrade', helm.sh/hook-weight: '-5', helm.sh/hook-delete-policy: before-hook-creation}
spec: {template: {spec: {restartPolicy: Never}}}
";
        insta::assert_snapshot!(wrapped_text(text, None).unwrap());
    }

    #[test]
    fn what_kubectl_shows_loses_what_its_cluster_has_set() {
        let text = "
apiVersion: v1
kind: List
metadata: {resourceVersion: ''}
items:
  - apiVersion: v1
    kind: Service
    metadata:
      name: web
      namespace: default
      uid: 1-2-3
      resourceVersion: '7'
      creationTimestamp: '2026-01-01T00:00:00Z'
      annotations: {kubectl.kubernetes.io/last-applied-configuration: '{}'}
    spec: {clusterIP: 10.0.0.7, clusterIPs: [10.0.0.7], type: NodePort, ports: [{port: 80, nodePort: 30080}]}
    status: {loadBalancer: {}}
";
        insta::assert_snapshot!(wrapped_text(text, None).unwrap());
    }

    #[test]
    fn what_cannot_be_one_workload_is_refused_with_the_object() {
        let of = |name: &str, namespace: &str| {
            format!(
                "{{apiVersion: v1, kind: ConfigMap, metadata: {{name: {name}, namespace: {namespace}}}}}\n---\n"
            )
        };
        let two = of("a", "shop") + &of("b", "bank");
        assert_eq!(
            wrapped_text(&two, Some("shop")).unwrap_err(),
            "ConfigMap 'b' is in namespace 'bank', and a workload is in one, 'shop': wrap the objects of each by themselves"
        );
        assert_eq!(
            wrapped_text("{kind: ConfigMap, metadata: {}}", None).unwrap_err(),
            "ConfigMap '?' must have `kind` and `metadata.name`"
        );
        let twice = of("a", "shop") + &of("a", "shop");
        assert_eq!(
            wrapped_text(&twice, None).unwrap_err(),
            "manifest ConfigMap 'a' must appear once, not twice"
        );
        assert_eq!(
            wrapped_text("", None).unwrap_err(),
            "`manifests` must have 1 to 64 items, not 0"
        );
    }

    #[test]
    fn a_large_workload_says_how_it_can_be_applied() {
        let large = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "x".repeat(CLIENT_SIDE_BYTES)}});
        let (_, notes) = wrapped(vec![large], "web", None, Mode::Duplicated).unwrap();
        assert!(
            notes[0].contains("kubectl apply --server-side"),
            "{notes:?}"
        );
    }
}
