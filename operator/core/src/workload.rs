//! A workload as the ledger has it: manifests, how many replicas, where.
//!
//! `WorkloadSpec` is made by [`WorkloadSpec::new`] alone, which checks every rule that needs no cluster; code that
//! holds one never has to ask whether a manifest has a kind or a replica count fits the mode.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::id::{Digest, Namespace};

/// The most manifests one workload may carry; the CRD states the same bound.
pub const MAX_MANIFESTS: usize = 64;

/// The largest specification, in bytes of JSON. It must fit one command (1 MiB) with room for the envelope, and etcd
/// refuses objects above 1.5 MiB anyway.
pub const MAX_SPEC_BYTES: usize = 900 * 1024;

/// How replicas are spread over members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// The replicas are divided among the members.
    Divided,
    /// Every eligible member runs all replicas.
    Duplicated,
    /// One replica on one member at a time, never two.
    Single,
}

/// Where a workload may run and how many replicas it wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlacementRules {
    /// How replicas are spread over members.
    pub mode: Mode,
    /// Replicas in all (`Divided`) or per member (`Duplicated`); `None` takes the manifests' own number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// Labels a member must carry, all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// Jurisdictions the workload may be in; empty means any.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub domicile: BTreeSet<String>,
}

/// API group and kind of an object, for example `apps/Deployment`; the core group is the empty string.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupKind {
    /// The API group, empty for the core group.
    pub group: String,
    /// The kind, for example `Deployment`.
    pub kind: String,
}

impl std::fmt::Display for GroupKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.kind)
        } else {
            write!(f, "{}/{}", self.group, self.kind)
        }
    }
}

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
        let group = self
            .api_version
            .split_once('/')
            .map_or("", |(group, _)| group);
        GroupKind {
            group: group.to_owned(),
            kind: self.kind.clone(),
        }
    }

    /// `metadata.namespace`, where the manifest names one.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.object
            .pointer("/metadata/namespace")
            .and_then(Value::as_str)
    }

    /// The number of replicas the manifest itself asks for; `None` where its kind has no such number. Kubernetes'
    /// default of 1 counts as asking for it.
    #[must_use]
    pub fn replicas(&self) -> Option<u32> {
        if !self.is_scalable() {
            return None;
        }
        let replicas = self
            .object
            .pointer("/spec/replicas")
            .and_then(Value::as_u64)
            .unwrap_or(1);
        Some(u32::try_from(replicas).unwrap_or(u32::MAX))
    }

    /// Whether `spec.replicas` says how many pods the object runs.
    #[must_use]
    pub fn is_scalable(&self) -> bool {
        let group_kind = self.group_kind();
        matches!(
            (group_kind.group.as_str(), group_kind.kind.as_str()),
            ("apps", "Deployment" | "ReplicaSet" | "StatefulSet") | ("", "ReplicationController")
        )
    }
}

/// Why a manifest or a specification is refused before it reaches the ledger.
#[allow(
    missing_docs,
    reason = "the message of each variant is its documentation"
)]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("a manifest must have `{field}`, a non-empty string")]
    MissingField { field: &'static str },
    #[error(
        "manifest {object} must not set `metadata.{field}`: the API server of each host sets it"
    )]
    ForbiddenMetadata { object: String, field: &'static str },
    #[error(
        "manifest {object} must be in namespace '{expected}' (that of its workload) or name none, not '{actual}'"
    )]
    ForeignNamespace {
        object: String,
        expected: String,
        actual: String,
    },
    #[error("manifest {object} must appear once, not twice")]
    Twice { object: String },
    #[error(
        "manifest {object} must not be of group 'hanse.dev': a workload cannot place workloads"
    )]
    OwnGroup { object: String },
    #[error("`manifests` must have 1 to {MAX_MANIFESTS} items, not {0}")]
    ManifestCount(usize),
    #[error("`placement.replicas` must be 1 or absent with mode 'Single', not {0}")]
    SingleReplicas(u32),
    #[error("the specification must be at most {MAX_SPEC_BYTES} bytes of JSON, not {0}")]
    TooLarge(usize),
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

impl std::fmt::Display for Manifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} '{}'", self.kind, self.name)
    }
}

/// What one workload asks for, checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadSpec {
    /// The objects to run, in the order in which they are applied.
    pub manifests: Vec<Manifest>,
    /// Where and how many.
    pub placement: PlacementRules,
}

impl WorkloadSpec {
    /// Checks everything about a specification that can be known without a cluster. `namespace` is that of the
    /// `FederatedWorkload`.
    pub fn new(
        manifests: Vec<Value>,
        placement: PlacementRules,
        namespace: &Namespace,
    ) -> Result<Self, SpecError> {
        let manifests = manifests
            .into_iter()
            .map(Manifest::try_from)
            .collect::<Result<Vec<_>, _>>()?;
        let spec = Self {
            manifests,
            placement,
        };
        spec.check(namespace)?;
        Ok(spec)
    }

    /// The checks of [`WorkloadSpec::new`], for a specification that arrived as bytes: every replica repeats them.
    pub fn check(&self, namespace: &Namespace) -> Result<(), SpecError> {
        if !(1..=MAX_MANIFESTS).contains(&self.manifests.len()) {
            return Err(SpecError::ManifestCount(self.manifests.len()));
        }
        let mut seen = BTreeSet::new();
        for manifest in &self.manifests {
            check_manifest(manifest, namespace)?;
            if !seen.insert((manifest.group_kind(), manifest.name.clone())) {
                return Err(SpecError::Twice {
                    object: manifest.to_string(),
                });
            }
        }
        match self.placement {
            PlacementRules {
                mode: Mode::Single,
                replicas: Some(replicas),
                ..
            } if replicas != 1 => Err(SpecError::SingleReplicas(replicas)),
            _ => Ok(()),
        }?;
        let bytes = self.canonical().len();
        if bytes > MAX_SPEC_BYTES {
            Err(SpecError::TooLarge(bytes))
        } else {
            Ok(())
        }
    }

    /// The replicas the workload wants in all (`Divided`, `Single`) or on each member (`Duplicated`).
    #[must_use]
    pub fn replicas(&self) -> u32 {
        match self.placement.mode {
            Mode::Single => 1,
            Mode::Divided | Mode::Duplicated => self
                .placement
                .replicas
                .or_else(|| self.manifests.iter().find_map(Manifest::replicas))
                .unwrap_or(1),
        }
    }

    /// The kinds of all manifests: what a host must have granted.
    #[must_use]
    pub fn kinds(&self) -> BTreeSet<GroupKind> {
        self.manifests.iter().map(Manifest::group_kind).collect()
    }

    /// The JSON that stands for this specification everywhere: same specification, same bytes (object keys are sorted).
    #[must_use]
    pub fn canonical(&self) -> String {
        serde_json::to_value(self)
            .map(|value| value.to_string())
            .unwrap_or_default()
    }

    /// SHA-256 of [`WorkloadSpec::canonical`].
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(Sha256::digest(self.canonical()).into())
    }
}

fn check_manifest(manifest: &Manifest, namespace: &Namespace) -> Result<(), SpecError> {
    let object = manifest.to_string();
    if manifest.group_kind().group == "hanse.dev" {
        return Err(SpecError::OwnGroup { object });
    }
    for field in [
        "uid",
        "resourceVersion",
        "managedFields",
        "ownerReferences",
        "generation",
    ] {
        if manifest
            .object
            .pointer(&format!("/metadata/{field}"))
            .is_some()
        {
            return Err(SpecError::ForbiddenMetadata { object, field });
        }
    }
    match manifest.namespace() {
        Some(actual) if actual != namespace.as_str() => Err(SpecError::ForeignNamespace {
            object,
            expected: namespace.to_string(),
            actual: actual.to_owned(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rules(mode: Mode, replicas: Option<u32>) -> PlacementRules {
        PlacementRules {
            mode,
            replicas,
            match_labels: BTreeMap::new(),
            domicile: BTreeSet::new(),
        }
    }

    fn deployment(name: &str, replicas: u32) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": replicas}})
    }

    fn shop() -> Namespace {
        "shop".parse().unwrap()
    }

    #[test]
    fn replicas_come_from_the_rules_then_from_the_first_scalable_manifest() {
        let of = |rules| {
            WorkloadSpec::new(vec![deployment("web", 4)], rules, &shop())
                .unwrap()
                .replicas()
        };
        assert_eq!(of(rules(Mode::Divided, Some(6))), 6);
        assert_eq!(of(rules(Mode::Divided, None)), 4);
        assert_eq!(of(rules(Mode::Single, None)), 1);
    }

    #[test]
    fn every_refusal_names_the_object_and_the_rule() {
        let refusal = |manifests, rules| {
            WorkloadSpec::new(manifests, rules, &shop())
                .unwrap_err()
                .to_string()
        };
        let mut elsewhere = deployment("web", 1);
        elsewhere["metadata"]["namespace"] = json!("bank");
        let cases = [
            (vec![], "`manifests` must have 1 to 64 items, not 0"),
            (
                vec![json!({"kind": "Deployment"})],
                "a manifest must have `apiVersion`, a non-empty string",
            ),
            (
                vec![deployment("web", 1), deployment("web", 2)],
                "manifest Deployment 'web' must appear once, not twice",
            ),
            (
                vec![elsewhere],
                "manifest Deployment 'web' must be in namespace 'shop' (that of its workload) or name none, not 'bank'",
            ),
        ];
        for (manifests, message) in cases {
            assert_eq!(refusal(manifests, rules(Mode::Divided, None)), message);
        }
        assert_eq!(
            refusal(vec![deployment("web", 1)], rules(Mode::Single, Some(2))),
            "`placement.replicas` must be 1 or absent with mode 'Single', not 2"
        );
    }

    #[test]
    fn equal_specifications_have_equal_digests_whatever_the_order_of_keys() {
        let spec = |text: &str| {
            WorkloadSpec::new(
                vec![serde_json::from_str(text).unwrap()],
                rules(Mode::Divided, None),
                &shop(),
            )
            .unwrap()
        };
        let left = spec(r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}"#);
        let right = spec(r#"{"metadata":{"name":"c"},"kind":"ConfigMap","apiVersion":"v1"}"#);
        assert_eq!(left.digest(), right.digest());
    }
}
