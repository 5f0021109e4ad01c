//! Where an object has the number of its replicas. Pure.
//!
//! For the kinds of Kubernetes that is known. A custom kind scales if its definition declares the subresource `scale`, and
//! [`ScalePaths::write_into`] writes where into an annotation of each of its manifests, so that everybody who reads the workload
//! knows it without the definition. An author may write the annotation too, or refuse it with `None`.

use std::{borrow::Cow, collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{GroupKind, Manifest, SpecError, WorkloadSpec};
use crate::id::text_form;

/// The annotation of a manifest of a custom kind that says where it has its replicas, such as `.spec.instances`.
pub const SCALE_ANNOTATION: &str = "hanse.dev/scale";

/// The longest path, in characters.
const MAX_PATH: usize = 128;

/// What the annotation says of an object that is not to be scaled.
const UNSCALED: &str = "None";

/// The field of an object that says how many replicas it has, in the notation of definitions: `.spec.replicas`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScalePath(Cow<'static, str>);

impl ScalePath {
    /// That of the kinds of Kubernetes.
    pub const REPLICAS: Self = Self(Cow::Borrowed(".spec.replicas"));

    /// The same as a JSON pointer: `/spec/replicas`.
    #[must_use]
    pub fn pointer(&self) -> String {
        self.0.replace('.', "/")
    }

    /// The same in words: `spec.replicas`.
    #[must_use]
    pub fn field(&self) -> &str {
        self.0.trim_start_matches('.')
    }

    /// The same in the notation of `FieldsV1`: `/f:spec/f:replicas`.
    #[must_use]
    pub fn managed_field(&self) -> String {
        self.0.replace('.', "/f:")
    }

    /// What an object has there.
    #[must_use]
    pub fn of<'a>(&self, object: &'a Value) -> Option<&'a Value> {
        object.pointer(&self.pointer())
    }

    /// Sets the count of an object.
    pub fn set(&self, object: &mut Value, count: Value) {
        let place = self.names().fold(object, |object, name| {
            if !object.is_object() {
                *object = json!({});
            }
            &mut object[name]
        });
        *place = count;
    }

    /// Takes the count out of an object.
    pub fn clear(&self, object: &mut Value) {
        let pointer = self.pointer();
        let parent = pointer.rsplit_once('/');
        if let Some((parent, name)) = parent
            && let Some(Value::Object(fields)) = object.pointer_mut(parent)
        {
            fields.remove(name);
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('.').skip(1)
    }

    /// For serde: the usual one is not written.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        *self == Self::REPLICAS
    }
}

impl Default for ScalePath {
    fn default() -> Self {
        Self::REPLICAS
    }
}

impl fmt::Display for ScalePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ScalePath {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let is_name = |name: &str| {
            let mut letters = name.chars();
            !name.is_empty() && letters.all(|it| it.is_ascii_alphanumeric() || "_-".contains(it))
        };
        let names = text.strip_prefix(".spec.");
        let is_path = names.is_some_and(|names| names.split('.').all(is_name));
        if is_path && text.len() <= MAX_PATH {
            Ok(Self(Cow::Owned(text.to_owned())))
        } else {
            Err(format!(
                "must be a field of `.spec` such as '.spec.replicas', not '{text}'"
            ))
        }
    }
}

text_form!(ScalePath);

impl Manifest {
    /// Where it has the number of its replicas; `None` if it does not scale.
    #[must_use]
    pub fn scale_path(&self) -> Option<ScalePath> {
        if self.group_kind().is_scalable() {
            return Some(ScalePath::REPLICAS);
        }
        self.own_scale().ok().flatten()
    }

    /// Whether a field of it says how many replicas it has.
    #[must_use]
    pub fn is_scalable(&self) -> bool {
        self.scale_path().is_some()
    }

    /// What its annotation says.
    pub(super) fn own_scale(&self) -> Result<Option<ScalePath>, SpecError> {
        let Some(text) = self.annotation(SCALE_ANNOTATION) else {
            return Ok(None);
        };
        let wrong = |expected| SpecError::Annotation {
            object: self.to_string(),
            annotation: SCALE_ANNOTATION,
            expected,
            actual: text.to_owned(),
        };
        if !self.group_kind().is_custom() {
            return Err(SpecError::NotCustom {
                object: self.to_string(),
                kind: self.kind.clone(),
            });
        }
        if text == UNSCALED {
            return Ok(None);
        }
        let path = text.parse();
        path.map(Some)
            .map_err(|_| wrong("'None' or a field of `.spec` such as '.spec.replicas'"))
    }

    /// Whether its author, or its definition, says whether it scales.
    pub(super) fn says_scale(&self) -> bool {
        self.annotation(SCALE_ANNOTATION).is_some()
    }
}

impl GroupKind {
    /// Whether `spec.replicas` says how many pods an object of this kind runs.
    fn is_scalable(&self) -> bool {
        matches!(
            (self.group.as_str(), self.kind.as_str()),
            ("apps", "Deployment" | "ReplicaSet" | "StatefulSet") | ("", "ReplicationController")
        )
    }
}

/// Where the kinds of definitions have their replicas, by kind and version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScalePaths(BTreeMap<GroupKind, BTreeMap<String, Option<ScalePath>>>);

impl ScalePaths {
    /// Notes what a `CustomResourceDefinition` says, instead of what was known of its kind. Returns whether that is new.
    pub fn define(&mut self, definition: &Value) -> bool {
        let Some(kind) = GroupKind::defined_by(definition) else {
            return false;
        };
        let versions = definition.pointer("/spec/versions");
        let versions = versions.and_then(Value::as_array).into_iter().flatten();
        let paths = versions.filter_map(|version| {
            let path = version.pointer("/subresources/scale/specReplicasPath");
            let path = path.and_then(Value::as_str).and_then(|it| it.parse().ok());
            Some((version["name"].as_str()?.to_owned(), path))
        });
        let paths: BTreeMap<_, _> = paths.collect();
        self.0.insert(kind, paths.clone()) != Some(paths)
    }

    /// Writes into each manifest of a custom kind that does not say it where it has its replicas: as the definition among the
    /// manifests says, or else as these say, or else as it was `before`.
    ///
    /// A definition that is gone takes nothing back: the objects would all get the count that was divided over them.
    pub fn write_into(&self, manifests: &mut [Value], before: Option<&WorkloadSpec>) {
        let mut own = Self::default();
        for manifest in manifests.iter() {
            own.define(manifest);
        }
        for object in manifests
            .iter_mut()
            .filter(|object| has_custom_kind(object))
        {
            let Ok(manifest) = Manifest::try_from(object.clone()) else {
                continue;
            };
            if manifest.says_scale() {
                continue;
            }
            let kind = manifest.group_kind();
            let (_, version) = manifest.api_version.rsplit_once('/').unwrap_or_default();
            let known = |paths: &Self| paths.0.get(&kind)?.get(version).cloned();
            let earlier = || {
                let mut earlier = before?.manifests.iter();
                earlier.find(|it| it.id() == manifest.id())?.scale_path()
            };
            let path = known(&own).or_else(|| known(self));
            if let Some(path) = path.unwrap_or_else(earlier) {
                annotate(object, &path);
            }
        }
    }
}

/// Whether an object is of none of Kubernetes' own kinds: of the others nothing has to be found out.
#[must_use]
pub fn has_custom_kind(object: &Value) -> bool {
    GroupKind::of(object).is_custom()
}

fn annotate(object: &mut Value, path: &ScalePath) {
    let annotations = &mut object["metadata"]["annotations"];
    if !annotations.is_object() {
        *annotations = json!({});
    }
    annotations[SCALE_ANNOTATION] = json!(path);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Mode, PlacementRules};

    fn definition(path: Option<&str>) -> Value {
        let scale = path.map(
            |path| json!({"specReplicasPath": path, "statusReplicasPath": ".status.replicas"}),
        );
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": "databases.db.example"},
            "spec": {
                "group": "db.example", "names": {"kind": "Database"},
                "versions": [{"name": "v1", "subresources": {"scale": scale}}, {"name": "v1beta1"}],
            },
        })
    }

    fn database(version: &str) -> Value {
        json!({
            "apiVersion": format!("db.example/{version}"), "kind": "Database", "metadata": {"name": "main"},
            "spec": {"instances": 6},
        })
    }

    fn spec(manifests: Vec<Value>) -> Result<WorkloadSpec, SpecError> {
        let rules = PlacementRules::new(Mode::Divided);
        WorkloadSpec::new(manifests, rules, &"shop".parse().unwrap())
    }

    /// The counts of a database after these definitions have been asked.
    fn counts(
        paths: &ScalePaths,
        mut manifests: Vec<Value>,
        before: Option<&WorkloadSpec>,
    ) -> String {
        paths.write_into(&mut manifests, before);
        spec(manifests).unwrap().counts().to_string()
    }

    #[test]
    fn a_custom_kind_scales_by_what_its_definition_declares() {
        let mut paths = ScalePaths::default();
        let count = |paths: &ScalePaths, manifest| counts(paths, vec![manifest], None);
        assert_eq!(count(&paths, database("v1")), "1");
        assert!(paths.define(&definition(Some(".spec.instances"))));
        assert!(!paths.define(&definition(Some(".spec.instances"))));
        assert_eq!(count(&paths, database("v1")), "6");
        // Another version of it declares none.
        assert_eq!(count(&paths, database("v1beta1")), "1");
        let mut unscaled = database("v1");
        unscaled["metadata"]["annotations"] = json!({SCALE_ANNOTATION: "None"});
        assert_eq!(count(&paths, unscaled), "1");
        let both = vec![definition(Some(".spec.instances")), database("v1")];
        assert_eq!(counts(&ScalePaths::default(), both, None), "6");
    }

    #[test]
    fn what_was_known_stays_when_the_definition_is_gone_and_goes_when_it_says_so() {
        let mut paths = ScalePaths::default();
        paths.define(&definition(Some(".spec.instances")));
        let mut manifests = vec![database("v1")];
        paths.write_into(&mut manifests, None);
        let before = spec(manifests).unwrap();
        let again = |paths: &ScalePaths| counts(paths, vec![database("v1")], Some(&before));
        assert_eq!(again(&ScalePaths::default()), "6");
        paths.define(&definition(None));
        assert_eq!(again(&paths), "1");
    }

    #[test]
    fn a_path_is_a_field_of_the_specification() {
        let refused = |text: &str| text.parse::<ScalePath>().is_err();
        let cases = [
            "",
            ".spec",
            "spec.replicas",
            ".status.replicas",
            ".spec.a/b",
            ".spec.a..b",
            ".spec.a[0]",
        ];
        assert!(cases.into_iter().all(refused));
        assert!(refused(&format!(".spec.{}", "a".repeat(128))));
        let path: ScalePath = ".spec.pool.size".parse().unwrap();
        assert_eq!(path.managed_field(), "/f:spec/f:pool/f:size");
        let mut object = json!({"kind": "Pool"});
        path.set(&mut object, json!(2));
        assert_eq!(
            object,
            json!({"kind": "Pool", "spec": {"pool": {"size": 2}}})
        );
        path.clear(&mut object);
        assert_eq!(
            (path.of(&object), &object["spec"]),
            (None, &json!({"pool": {}}))
        );
    }

    #[test]
    fn only_a_custom_kind_may_say_where_it_scales() {
        let with = |mut manifest: Value, text: &str| {
            manifest["metadata"]["annotations"] = json!({SCALE_ANNOTATION: text});
            spec(vec![manifest]).map_err(|error| error.to_string())
        };
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}});
        assert_eq!(
            with(job, ".spec.parallelism").unwrap_err(),
            "manifest Job 'x' must not have annotation 'hanse.dev/scale': it is for custom kinds, and a Job is none"
        );
        assert_eq!(
            with(database("v1"), "instances").unwrap_err(),
            "manifest Database 'main' must have 'None' or a field of `.spec` such as '.spec.replicas' in annotation \
             'hanse.dev/scale', not 'instances'"
        );
        let mut wrong = database("v1");
        wrong["spec"]["instances"] = json!("six");
        assert_eq!(
            with(wrong, ".spec.instances").unwrap_err(),
            "manifest Database 'main' must have a whole number from 0 in `spec.instances`, not \"six\""
        );
    }
}
