//! One object of a workload: its identity, and what is asked of it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use sha2::{Digest as _, Sha256};

use super::SpecError;
use crate::id::{Digest, text_form};

/// API group and kind of an object, for example `apps/Deployment`; the core group is the empty string.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupKind {
    /// The API group, empty for the core group.
    pub group: String,
    /// The kind, for example `Deployment`.
    pub kind: String,
}

impl GroupKind {
    /// That of any object; empty where it names none.
    #[must_use]
    pub(crate) fn of(object: &Value) -> Self {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        Self::new(text("apiVersion"), text("kind"))
    }

    /// The kind that an object defines, if it is a `CustomResourceDefinition`.
    pub(super) fn defined_by(object: &Value) -> Option<Self> {
        let own = Self::of(object);
        if own.group != "apiextensions.k8s.io" || own.kind != "CustomResourceDefinition" {
            return None;
        }
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
        Some(Self {
            group: text("/spec/group")?.to_owned(),
            kind: text("/spec/names/kind")?.to_owned(),
        })
    }

    fn new(api_version: &str, kind: &str) -> Self {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        Self {
            group: group.to_owned(),
            kind: kind.to_owned(),
        }
    }
}

impl fmt::Display for GroupKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.kind)
        } else {
            write!(f, "{}/{}", self.group, self.kind)
        }
    }
}

/// The identity of an object within a workload: `<kind>.<group>/<name>`, as kubectl writes it. Its version is not part of
/// it: the same object can be written in several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ManifestId {
    /// Its group and kind.
    pub group_kind: GroupKind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ManifestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GroupKind { group, kind } = &self.group_kind;
        if group.is_empty() {
            write!(f, "{kind}/{}", self.name)
        } else {
            write!(f, "{kind}.{group}/{}", self.name)
        }
    }
}

impl FromStr for ManifestId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((resource, name)) = text.split_once('/') else {
            return Err(format!("must be `<kind>.<group>/<name>`, not '{text}'"));
        };
        let (kind, group) = resource.split_once('.').unwrap_or((resource, ""));
        Ok(Self {
            group_kind: GroupKind {
                group: group.to_owned(),
                kind: kind.to_owned(),
            },
            name: name.to_owned(),
        })
    }
}

text_form!(ManifestId);

/// One plain Kubernetes object, with the parts every object has already taken out and checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Manifest {
    /// For example `apps/v1`.
    pub api_version: String,
    /// For example `Deployment`.
    pub kind: String,
    /// `metadata.name`.
    pub name: String,
    object: Value,
}

impl Manifest {
    /// The whole object.
    #[must_use]
    pub fn object(&self) -> &Value {
        &self.object
    }

    /// The object's API group and kind.
    #[must_use]
    pub fn group_kind(&self) -> GroupKind {
        GroupKind::new(&self.api_version, &self.kind)
    }

    /// The kind that it defines, if it is a `CustomResourceDefinition`.
    #[must_use]
    pub fn defines(&self) -> Option<GroupKind> {
        GroupKind::defined_by(&self.object)
    }

    /// Its identity within the workload.
    #[must_use]
    pub fn id(&self) -> ManifestId {
        ManifestId {
            group_kind: self.group_kind(),
            name: self.name.clone(),
        }
    }

    /// Whether objects of its kind end by having done what they are for.
    #[must_use]
    pub fn can_complete(&self) -> bool {
        let GroupKind { group, kind } = self.group_kind();
        matches!(
            (group.as_str(), kind.as_str()),
            ("batch", "Job") | ("", "Pod")
        )
    }

    /// SHA-256 of the object: the same object, whatever the order of its keys, has the same digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(self.object.to_string()).into())
    }

    /// `metadata.namespace`, where the manifest names one.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.object
            .pointer("/metadata/namespace")
            .and_then(Value::as_str)
    }

    /// The number of replicas the manifest itself asks for; `None` where its kind has no such number. Kubernetes'
    /// default of 1 counts as asking for it. The error is a value that is no such number.
    pub(super) fn asked_replicas(&self) -> Result<Option<u32>, SpecError> {
        let Some(path) = self.scale_path() else {
            return Ok(None);
        };
        match path.of(&self.object) {
            None | Some(Value::Null) => Ok(Some(1)),
            Some(value) => match value.as_u64().and_then(|count| u32::try_from(count).ok()) {
                Some(count) => Ok(Some(count)),
                None => Err(SpecError::Replicas {
                    object: self.to_string(),
                    path,
                    value: value.to_string(),
                }),
            },
        }
    }

    /// The same for a manifest that was checked.
    #[must_use]
    pub fn replicas(&self) -> Option<u32> {
        self.asked_replicas().ok().flatten()
    }
}

impl TryFrom<Value> for Manifest {
    type Error = SpecError;
    fn try_from(object: Value) -> Result<Self, Self::Error> {
        let text = |pointer: &str, field: &'static str| match object
            .pointer(pointer)
            .and_then(Value::as_str)
        {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(SpecError::MissingField { field }),
        };
        Ok(Self {
            api_version: text("/apiVersion", "apiVersion")?,
            kind: text("/kind", "kind")?,
            name: text("/metadata/name", "metadata.name")?,
            object,
        })
    }
}

impl From<Manifest> for Value {
    fn from(manifest: Manifest) -> Self {
        manifest.object
    }
}

impl fmt::Display for Manifest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} '{}'", self.kind, self.name)
    }
}
