//! What is different about a workload's objects in some of the members.
//!
//! Overrides are applied in the order in which they are written, each to the result of those before it; in one, the registry comes
//! first, then `merge`, then `patch`. They change what an object is like, never which objects there are, how many replicas run, or
//! how Hanse treats them: the planner and the hosts go by the manifests as they are written.

use std::collections::BTreeMap;

use json_patch::{Patch, PatchOperation};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Manifest, SpecError, WorkloadSpec, check::check_object, is_default};
use crate::selector::{Expression, MAX_RULES};

/// The most overrides of a workload; the CRD states the same bound.
pub const MAX_OVERRIDES: usize = 32;

/// The most operations of one patch; the CRD states the same bound.
pub const MAX_OPERATIONS: usize = 64;

/// What is different in the members that it is for, of the manifests that it is for. Its JSON is the one that users write.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Override {
    /// The members it is for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub members: Labelled,
    /// The manifests it is for.
    #[serde(default, skip_serializing_if = "is_default")]
    pub manifests: Which,
    /// The registry, or a path in one, that images come from instead of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_registry: Option<String>,
    /// A JSON merge patch (RFC 7386).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Value>,
    /// A JSON patch (RFC 6902) without the operation `copy`, with which a short one could make an object of any size.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub patch: Patch,
}

/// Members by their labels, those of what a member is included. All of it must hold.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Labelled {
    /// Labels with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// What else holds of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Expression>,
}

/// Some of the manifests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Which {
    /// Of this kind; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Of this name; `None` for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// For serde.
fn is_empty(patch: &Patch) -> bool {
    patch.0.is_empty()
}

/// A label of the member, in the values of an override: `$(member:KEY)`.
const REFERENCE: &str = "$(member:";

impl WorkloadSpec {
    /// What is to run in a member with these labels; `None` if no override is for it.
    ///
    /// # Errors
    ///
    /// If an override takes a label that the member does not have, or cannot be applied after those before it.
    pub fn in_member<'l>(
        &self,
        label: impl Fn(&str) -> Option<&'l str>,
    ) -> Result<Option<Self>, SpecError> {
        if !self.overrides.iter().any(|it| it.is_for(&label)) {
            return Ok(None);
        }
        Ok(Some(Self {
            manifests: overridden(&self.manifests, &self.overrides, label)?,
            ..self.clone()
        }))
    }
}

/// Checks that every override can be applied to the manifests as they are written, or after those before it: which of them come
/// together depends on the member.
pub fn check_overrides(manifests: &[Manifest], overrides: &[Override]) -> Result<(), SpecError> {
    if overrides.len() > MAX_OVERRIDES {
        let actual = overrides.len();
        return Err(SpecError::TooManyOverrides { actual });
    }
    let any = |_: &str| Some("x");
    let mut before = manifests.to_vec();
    for (number, change) in overrides.iter().enumerate() {
        let refused = |message| SpecError::Override { number, message };
        change.check(manifests).map_err(refused)?;
        match change.changed(&before, any) {
            Ok(changed) => replace(&mut before, changed),
            Err(_) => drop(change.changed(manifests, any).map_err(refused)?),
        }
    }
    Ok(())
}

fn replace(manifests: &mut [Manifest], changed: Vec<(usize, Manifest)>) {
    for (position, manifest) in changed {
        manifests[position] = manifest;
    }
}

/// The manifests as they are in a member with these labels.
///
/// # Errors
///
/// See [`WorkloadSpec::in_member`].
pub fn overridden<'l>(
    manifests: &[Manifest],
    overrides: &[Override],
    label: impl Fn(&str) -> Option<&'l str>,
) -> Result<Vec<Manifest>, SpecError> {
    let mut manifests = manifests.to_vec();
    for (number, change) in overrides.iter().enumerate() {
        if change.is_for(&label) {
            let changed = change.changed(&manifests, &label);
            let changed = changed.map_err(|message| SpecError::Override { number, message })?;
            replace(&mut manifests, changed);
        }
    }
    Ok(manifests)
}

impl Override {
    fn is_for<'l>(&self, label: impl Fn(&str) -> Option<&'l str>) -> bool {
        let mut labels = self.members.match_labels.iter();
        let mut expressions = self.members.match_expressions.iter();
        labels.all(|(key, value)| label(key) == Some(value))
            && expressions.all(|it| it.accepts(label(&it.key)))
    }

    fn targets(&self, manifest: &Manifest) -> bool {
        let Which { kind, name } = &self.manifests;
        kind.as_ref().is_none_or(|kind| *kind == manifest.kind)
            && name.as_ref().is_none_or(|name| *name == manifest.name)
    }

    fn check(&self, manifests: &[Manifest]) -> Result<(), String> {
        let mut expressions = self.members.match_expressions.iter();
        if expressions.len() > MAX_RULES {
            return Err(format!("must have at most {MAX_RULES} `matchExpressions`"));
        }
        if let Some(expression) = expressions.find(|it| !it.is_complete()) {
            let key = &expression.key;
            return Err(format!(
                "must have values for 'In' and 'NotIn' and none otherwise: see key '{key}'"
            ));
        }
        if self.image_registry.is_none() && self.merge.is_none() && self.patch.0.is_empty() {
            return Err("must have `imageRegistry`, `merge` or `patch`".to_owned());
        }
        if self.patch.0.len() > MAX_OPERATIONS {
            return Err(format!("must have at most {MAX_OPERATIONS} operations"));
        }
        let copies = |operation: &PatchOperation| matches!(operation, PatchOperation::Copy(_));
        if self.patch.0.iter().any(copies) {
            return Err("must not use the operation 'copy'".to_owned());
        }
        if self.merge.as_ref().is_some_and(|merge| !merge.is_object()) {
            return Err("must have an object in `merge`".to_owned());
        }
        if self.merge.as_ref().is_some_and(has_null) {
            // An API server drops it, so one that arrives here would mean something else than the same one in an object.
            let message = "must not have `null` in `merge`: remove a field with `patch`";
            return Err(message.to_owned());
        }
        if manifests.iter().any(|manifest| self.targets(manifest)) {
            return Ok(());
        }
        let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "*".to_owned());
        Err(format!(
            "is for {} '{}', and no manifest is that",
            part(&self.manifests.kind),
            part(&self.manifests.name)
        ))
    }

    /// The manifests that it is for, changed, each with its position.
    fn changed<'l>(
        &self,
        manifests: &[Manifest],
        label: impl Fn(&str) -> Option<&'l str>,
    ) -> Result<Vec<(usize, Manifest)>, String> {
        let merge = self.merge.as_ref().map(|it| filled_in(it, &label));
        let merge = merge.transpose()?;
        let mut patch = self.patch.clone();
        for operation in &mut patch.0 {
            match operation {
                PatchOperation::Add(it) => it.value = filled_in(&it.value, &label)?,
                PatchOperation::Replace(it) => it.value = filled_in(&it.value, &label)?,
                PatchOperation::Test(it) => it.value = filled_in(&it.value, &label)?,
                PatchOperation::Remove(_) | PatchOperation::Move(_) | PatchOperation::Copy(_) => {}
            }
        }
        let changed = |(position, manifest): (usize, &Manifest)| {
            let mut object = manifest.object().clone();
            if let Some(registry) = &self.image_registry {
                use_registry(&mut object, registry);
            }
            if let Some(merge) = &merge {
                json_patch::merge(&mut object, merge);
            }
            json_patch::patch(&mut object, &patch)
                .map_err(|error| format!("cannot be applied to {manifest}: {error}"))?;
            kept(manifest, object).map(|changed| (position, changed))
        };
        let targets = manifests.iter().enumerate();
        let targets = targets.filter(|(_, manifest)| self.targets(manifest));
        targets.map(changed).collect()
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// The changed manifest, if the change keeps to what it may do.
fn kept(before: &Manifest, object: Value) -> Result<Manifest, String> {
    let after = Manifest::try_from(object);
    let after = after.and_then(|after| check_object(&after).map(|()| after));
    let after = after.map_err(|error| format!("makes {before} unusable: {error}"))?;
    let is_same =
        |pointer: &str| before.object().pointer(pointer) == after.object().pointer(pointer);
    let marks = |manifest: &Manifest| {
        let annotations = manifest.object().pointer("/metadata/annotations");
        let annotations = annotations.and_then(Value::as_object).into_iter().flatten();
        let marks = annotations.filter(|(key, _)| key.starts_with("hanse.dev/"));
        marks
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect::<Vec<_>>()
    };
    let count = before.scale_path().map(|path| path.pointer());
    let fixed = FIXED
        .iter()
        .chain(match before.group_kind().to_string().as_str() {
            "autoscaling/HorizontalPodAutoscaler" => AUTOSCALER.iter(),
            "apiextensions.k8s.io/CustomResourceDefinition" => DEFINITION.iter(),
            _ => [].iter(),
        });
    let mut fixed = fixed.copied().chain(count.as_deref());
    if let Some(pointer) = fixed.find(|it| !is_same(it)) {
        let field = pointer[1..].replace('/', ".");
        return Err(format!("must not change `{field}` of {before}"));
    }
    if marks(before) != marks(&after) {
        return Err(format!(
            "must not change annotations 'hanse.dev/…' of {before}"
        ));
    }
    Ok(after)
}

/// Which object it is, and how many replicas run: the planner decides that for all members together.
const FIXED: [&str; 4] = [
    "/apiVersion",
    "/kind",
    "/metadata/name",
    "/metadata/namespace",
];
const AUTOSCALER: [&str; 3] = [
    "/spec/minReplicas",
    "/spec/maxReplicas",
    "/spec/scaleTargetRef",
];
const DEFINITION: [&str; 2] = ["/spec/group", "/spec/names"];

/// `value` with the labels of the member that it refers to.
fn filled_in<'l>(value: &Value, label: &impl Fn(&str) -> Option<&'l str>) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => Value::String(filled_in_text(text, label)?),
        Value::Array(items) => {
            let items = items.iter().map(|item| filled_in(item, label));
            Value::Array(items.collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let fields = fields.iter();
            let fields = fields.map(|(key, value)| Ok((key.clone(), filled_in(value, label)?)));
            Value::Object(fields.collect::<Result<_, String>>()?)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    })
}

fn filled_in_text<'l>(
    text: &str,
    label: &impl Fn(&str) -> Option<&'l str>,
) -> Result<String, String> {
    let mut parts = text.split(REFERENCE);
    let mut filled = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let Some((key, rest)) = part.split_once(')') else {
            return Err(format!("must close '{REFERENCE}' with ')' in '{text}'"));
        };
        let value = label(key).ok_or_else(|| {
            format!("takes label '{key}' of the member, and this member has none")
        })?;
        filled.push_str(value);
        filled.push_str(rest);
    }
    Ok(filled)
}

/// Replaces the registry of the images in an object's pods.
fn use_registry(object: &mut Value, registry: &str) {
    let pods = match object["kind"].as_str() {
        Some("Pod") => "/spec",
        Some("CronJob") => "/spec/jobTemplate/spec/template/spec",
        Some(_) | None => "/spec/template/spec",
    };
    let Some(Value::Object(pods)) = object.pointer_mut(pods) else {
        return;
    };
    for field in ["initContainers", "containers"] {
        let containers = pods.get_mut(field).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if let Some(image) = container["image"].as_str() {
                container["image"] = Value::String(from_registry(image, registry));
            }
        }
    }
}

/// The first part of an image is its registry if it looks like a host: the rule of container runtimes.
fn from_registry(image: &str, registry: &str) -> String {
    let is_host = |part: &str| part.contains(['.', ':']) || part == "localhost";
    let path = match image.split_once('/') {
        Some((first, path)) if is_host(first) => path,
        Some(_) | None => image,
    };
    format!("{registry}/{path}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::workload::{Mode, PlacementRules};

    fn web() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "app", "image": "ghcr.io/acme/web:1"}]}}},
        })
    }

    fn config() -> Value {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "web"}, "data": {"a": "1"}})
    }

    /// The specification with these overrides, or what is wrong with them.
    fn spec(overrides: Value) -> Result<WorkloadSpec, String> {
        let rules = PlacementRules::new(Mode::Divided);
        let spec = WorkloadSpec::new(vec![web(), config()], rules, &"shop".parse().unwrap());
        let spec = WorkloadSpec {
            overrides: serde_json::from_value(overrides).map_err(|it| it.to_string())?,
            ..spec.unwrap()
        };
        let checked = spec.check(&"shop".parse().unwrap());
        checked.map(|()| spec).map_err(|error| error.to_string())
    }

    fn bergen(key: &str) -> Option<&'static str> {
        match key {
            "hanse.dev/member" => Some("bergen"),
            "hanse.dev/region" => Some("no-1"),
            "disk" => Some("ssd"),
            _ => None,
        }
    }

    /// The objects in a member with the labels of [`bergen`].
    fn there(overrides: Value) -> Vec<Value> {
        let found = spec(overrides).unwrap().in_member(bergen).unwrap();
        let manifests = found.map(|it| it.manifests).unwrap_or_default();
        manifests.iter().map(|it| it.object().clone()).collect()
    }

    #[test]
    fn an_override_is_for_the_members_with_its_labels_and_for_the_manifests_it_names() {
        let labels = |labels: Value| {
            there(
                json!([{"members": {"matchLabels": labels}, "manifests": {"kind": "ConfigMap"}, "merge": {"data": {"b": "2"}}}]),
            )
        };
        let changed = labels(json!({"disk": "ssd"}));
        assert_eq!(changed[0], web());
        assert_eq!(changed[1]["data"], json!({"a": "1", "b": "2"}));
        assert_eq!(labels(json!({"disk": "hdd"})), Vec::<Value>::new());
        let outside = json!([{"key": "hanse.dev/region", "operator": "NotIn", "values": ["no-1"]}]);
        let others = there(json!([{"members": {"matchExpressions": outside}, "merge": {"x": 1}}]));
        assert_eq!(others, Vec::<Value>::new());
    }

    #[test]
    fn overrides_come_one_after_the_other_and_in_one_registry_merge_and_patch() {
        let image = "/spec/template/spec/containers/0/image";
        let changed = there(json!([
            {"manifests": {"kind": "Deployment"}, "imageRegistry": "mirror.example/hub", "merge": {"metadata": {"labels": {"step": "1"}}},
             "patch": [{"op": "test", "path": image, "value": "mirror.example/hub/acme/web:1"},
                       {"op": "replace", "path": "/metadata/labels/step", "value": "2"}]},
            {"manifests": {"name": "web", "kind": "Deployment"}, "patch": [{"op": "add", "path": "/metadata/labels/then", "value": "3"}]},
        ]));
        assert_eq!(
            changed[0]["metadata"]["labels"],
            json!({"step": "2", "then": "3"})
        );
        assert_eq!(
            changed[0].pointer(image).unwrap(),
            "mirror.example/hub/acme/web:1"
        );
    }

    #[test]
    fn values_take_labels_of_the_member() {
        let data = json!({"zone": "$(member:hanse.dev/region)-a", "disk": "$(member:disk)/$(member:disk)", "env": "$(HOME)"});
        let changed = there(json!([{"manifests": {"kind": "ConfigMap"}, "merge": {"data": data}}]));
        assert_eq!(
            changed[1]["data"],
            json!({"a": "1", "zone": "no-1-a", "disk": "ssd/ssd", "env": "$(HOME)"})
        );
        let missing =
            spec(json!([{"merge": {"metadata": {"labels": {"rack": "$(member:rack)"}}}}])).unwrap();
        assert_eq!(
            missing.in_member(bergen).unwrap_err().to_string(),
            "`overrides[0]` takes label 'rack' of the member, and this member has none"
        );
    }

    #[test]
    fn an_image_keeps_its_path_and_comes_from_the_registry() {
        let cases = [
            ("nginx", "m.example/nginx"),
            ("acme/web:1", "m.example/acme/web:1"),
            ("ghcr.io/acme/web@sha256:0", "m.example/acme/web@sha256:0"),
            ("localhost/web", "m.example/web"),
            ("registry:5000/web", "m.example/web"),
        ];
        for (image, expected) in cases {
            assert_eq!(from_registry(image, "m.example"), expected);
        }
    }

    #[test]
    fn what_cannot_be_applied_or_may_not_be_changed_is_refused_with_the_field() {
        let replace = |path: &str, value: Value| json!([{"manifests": {"kind": "Deployment"}, "patch": [{"op": "replace", "path": path, "value": value}]}]);
        let cases = [
            (
                json!([{}]),
                "`overrides[0]` must have `imageRegistry`, `merge` or `patch`",
            ),
            (
                json!([{"imageRegistry": "m.example"}, {"manifests": {"kind": "Service"}, "merge": {}}]),
                "`overrides[1]` is for Service '*', and no manifest is that",
            ),
            (
                replace("/spec/template/spec/contaners/0/image", json!("x")),
                "`overrides[0]` cannot be applied to Deployment 'web': operation '/0' failed at path \
                 '/spec/template/spec/contaners/0/image': path is invalid",
            ),
            (
                replace("/spec/replicas", json!(9)),
                "`overrides[0]` must not change `spec.replicas` of Deployment 'web'",
            ),
            (
                replace("/metadata/name", json!("other")),
                "`overrides[0]` must not change `metadata.name` of Deployment 'web'",
            ),
            (
                json!([{"merge": {"metadata": {"annotations": {"hanse.dev/wave": "3"}}}}]),
                "`overrides[0]` must not change annotations 'hanse.dev/…' of Deployment 'web'",
            ),
            (
                json!([{"manifests": {"kind": "ConfigMap"}, "patch": [{"op": "remove", "path": "/kind"}]}]),
                "`overrides[0]` makes ConfigMap 'web' unusable: a manifest must have `kind`, a non-empty string",
            ),
            (
                json!([{"merge": {"data": {"a": null}}}]),
                "`overrides[0]` must not have `null` in `merge`: remove a field with `patch`",
            ),
            (
                json!([{"merge": {"metadata": {"uid": "1"}}}]),
                "`overrides[0]` makes Deployment 'web' unusable: manifest Deployment 'web' must not set `metadata.uid`: the API server \
                 of each host sets it",
            ),
            (
                json!([{"merge": {"data": "$(member:x"}}]),
                "`overrides[0]` must close '$(member:' with ')' in '$(member:x'",
            ),
            (
                json!([{"patch": [{"op": "copy", "from": "", "path": "/x"}]}]),
                "`overrides[0]` must not use the operation 'copy'",
            ),
            (
                json!([{"members": {"matchExpressions": [{"key": "a", "operator": "In"}]}, "merge": {}}]),
                "`overrides[0]` must have values for 'In' and 'NotIn' and none otherwise: see key 'a'",
            ),
        ];
        for (overrides, expected) in cases {
            assert_eq!(spec(overrides).unwrap_err(), expected);
        }
    }

    #[test]
    fn an_override_may_need_one_before_it_and_may_exclude_one_for_other_members() {
        let add = |path: &str| json!({"manifests": {"kind": "ConfigMap"}, "patch": [{"op": "add", "path": path, "value": {"x": "1"}}]});
        let remove = |label: &str| {
            let patch = json!([{"op": "remove", "path": "/data/a"}]);
            json!({"members": {"matchLabels": {"disk": label}}, "manifests": {"kind": "ConfigMap"}, "patch": patch})
        };
        let label = json!({"manifests": {"kind": "ConfigMap"}, "patch": [{"op": "add", "path": "/metadata/labels/y", "value": "2"}]});
        spec(json!([
            add("/metadata/labels"),
            label.clone(),
            remove("ssd"),
            remove("hdd")
        ]))
        .unwrap();
        let alone = spec(json!([label])).unwrap_err();
        assert!(alone.contains("'/metadata/labels/y'"), "{alone}");
    }
}
