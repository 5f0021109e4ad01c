//! The rules of a specification that can be checked without a cluster.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{
    MAX_HEALTH, MAX_MANIFESTS, MAX_OVERRIDES, MAX_SPEC_BYTES, MAX_SPREAD, Manifest, Mode,
    PlacementRules, SCALE_ANNOTATION, ScalePath, WorkloadSpec, check_overrides,
};
use crate::{
    id::Namespace,
    selector::{MAX_RULES, contradiction},
};

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
    #[error("manifest {object} must not be a list: put its items into `manifests`")]
    List { object: String },
    #[error(
        "manifest {object} must not set `spec.clusterIP` to '{address}', an address of one cluster: leave it out, or \
         write 'None' for a headless Service"
    )]
    ClusterAddress { object: String, address: String },
    #[error("manifest {object} must have a whole number from 0 in `{}`, not {value}", path.field())]
    Replicas {
        object: String,
        path: ScalePath,
        value: String,
    },
    #[error("manifest {object} must have {expected} in annotation '{annotation}', not '{actual}'")]
    Annotation {
        object: String,
        annotation: &'static str,
        expected: &'static str,
        actual: String,
    },
    #[error(
        "mode 'Single' must be able to stop {object}, and nothing is known of how a {kind} is stopped: say it in its \
         annotation 'hanse.dev/stop' ('Scale' to zero, 'Suspend', 'Delete' or 'None')"
    )]
    NoStop { object: String, kind: String },
    #[error("`manifests` must have 1 to {MAX_MANIFESTS} items, not {0}")]
    ManifestCount(usize),
    #[error("`placement.replicas` must be 0, 1 or absent with mode 'Single', not {0}")]
    SingleReplicas(u32),
    #[error(
        "mode 'Single' runs one replica of each object: `spec.{field}` of {object} must be 0 or 1, not {count}"
    )]
    SingleCount {
        object: String,
        field: &'static str,
        count: u32,
    },
    #[error(
        "the replicas of {object} are decided by {autoscaler}: set its limits, or `placement.replicas` to 0"
    )]
    Autoscaled { object: String, autoscaler: String },
    #[error(
        "manifest {object} must not have annotation '{SCALE_ANNOTATION}': it is for custom kinds, and a {kind} is none"
    )]
    NotCustom { object: String, kind: String },
    #[error("`placement.scales` names {object}, which is no manifest with replicas")]
    ScalesNothing { object: String },
    #[error(
        "`placement.replicas` is about one object, and several have replicas ({objects}): name it in \
         `placement.scales`, or write each number in its manifest"
    )]
    WhichScales { objects: String },
    #[error(
        "`placement.require.matchExpressions` must have values for 'In' and 'NotIn' and none otherwise: see key '{key}'"
    )]
    Expression { key: String },
    #[error("`placement.{field}` must have at most {MAX_RULES} items, not {actual}")]
    TooMany { field: &'static str, actual: usize },
    #[error(
        "no member can have what `placement.require` asks of label '{key}': its rules in `matchLabels` and `matchExpressions` \
         exclude each other"
    )]
    Contradiction { key: String },
    #[error("`placement.spread` must have at most {MAX_SPREAD} items, not {actual}")]
    TooManySpread { actual: usize },
    #[error("`placement.spread[{number}]` {message}")]
    Spread { number: usize, message: String },
    #[error("`health` must have at most {MAX_HEALTH} items, not {actual}")]
    TooManyHealth { actual: usize },
    #[error("`health[{number}]` {message}")]
    Health { number: usize, message: String },
    #[error("`overrides` must have at most {MAX_OVERRIDES} items, not {actual}")]
    TooManyOverrides { actual: usize },
    #[error("`overrides[{number}]` {message}")]
    Override { number: usize, message: String },
    #[error("the specification must be at most {MAX_SPEC_BYTES} bytes of JSON, not {0}")]
    TooLarge(usize),
}

impl WorkloadSpec {
    /// The checks of [`WorkloadSpec::new`], for a specification that arrived as bytes: every replica repeats them.
    pub fn check(&self, namespace: &Namespace) -> Result<(), SpecError> {
        if !(1..=MAX_MANIFESTS).contains(&self.manifests.len()) {
            return Err(SpecError::ManifestCount(self.manifests.len()));
        }
        let mut seen = BTreeSet::new();
        for manifest in &self.manifests {
            check_manifest(manifest, namespace)?;
            if !seen.insert(manifest.id()) {
                return Err(SpecError::Twice {
                    object: manifest.to_string(),
                });
            }
        }
        self.check_counts()?;
        self.check_stops()?;
        self.check_requirements()?;
        check_overrides(&self.manifests, &self.overrides)?;
        self.check_health_rules()?;
        let bytes = self.canonical().len();
        if bytes > MAX_SPEC_BYTES {
            Err(SpecError::TooLarge(bytes))
        } else {
            Ok(())
        }
    }

    /// Rules that no member can meet are a mistake, not a wish to run nowhere.
    fn check_requirements(&self) -> Result<(), SpecError> {
        let rules = &self.placement;
        let counts = [
            ("require.matchExpressions", rules.match_expressions.len()),
            ("tolerations", rules.tolerations.len()),
        ];
        self.check_spread()?;
        if let Some((field, actual)) = counts.into_iter().find(|(_, count)| *count > MAX_RULES) {
            return Err(SpecError::TooMany { field, actual });
        }
        let mut expressions = rules.match_expressions.iter();
        if let Some(expression) = expressions.find(|it| !it.is_complete()) {
            let key = expression.key.clone();
            return Err(SpecError::Expression { key });
        }
        match contradiction(&rules.match_labels, &rules.match_expressions) {
            Some(key) => Err(SpecError::Contradiction {
                key: key.to_owned(),
            }),
            None => Ok(()),
        }
    }

    fn check_spread(&self) -> Result<(), SpecError> {
        let PlacementRules { spread, mode, .. } = &self.placement;
        if spread.len() > MAX_SPREAD {
            let actual = spread.len();
            return Err(SpecError::TooManySpread { actual });
        }
        let mut rules = spread.iter().enumerate();
        let wrong = rules.find_map(|(number, rule)| Some((number, rule.objection(*mode)?)));
        wrong.map_or(Ok(()), |(number, message)| {
            let message = message.to_owned();
            Err(SpecError::Spread { number, message })
        })
    }

    /// What cannot be stopped cannot be promised to run only once.
    fn check_stops(&self) -> Result<(), SpecError> {
        for manifest in &self.manifests {
            if manifest.stop()?.is_none() && self.placement.mode == Mode::Single {
                return Err(SpecError::NoStop {
                    object: manifest.to_string(),
                    kind: manifest.kind.clone(),
                });
            }
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<(), SpecError> {
        let mut scalable = Vec::new();
        for manifest in &self.manifests {
            if manifest.asked_replicas()?.is_some() {
                scalable.push(manifest);
            }
        }
        let rules = &self.placement;
        if rules.mode == Mode::Single
            && let Some(replicas) = rules.replicas.filter(|replicas| *replicas > 1)
        {
            return Err(SpecError::SingleReplicas(replicas));
        }
        match &rules.scales {
            Some(scales) if !scalable.iter().any(|manifest| scales.is(manifest)) => {
                return Err(SpecError::ScalesNothing {
                    object: format!("{} '{}'", scales.kind, scales.name),
                });
            }
            None if scalable.len() > 1 && rules.replicas.is_some_and(|count| count > 0) => {
                return Err(SpecError::WhichScales {
                    objects: listed(&scalable),
                });
            }
            Some(_) | None => {}
        }
        for manifest in scalable {
            self.check_autoscaled(manifest)?;
            let count = self.count_of(manifest);
            if rules.mode == Mode::Single && count > 1 {
                return Err(SpecError::SingleCount {
                    object: manifest.to_string(),
                    field: "replicas",
                    count,
                });
            }
        }
        Ok(())
    }

    /// An autoscaler decides the replicas alone, within limits that the mode allows.
    fn check_autoscaled(&self, manifest: &Manifest) -> Result<(), SpecError> {
        let Some(autoscaler) = self.autoscaler_of(&manifest.id()) else {
            return Ok(());
        };
        let rules = &self.placement;
        let scales = rules.scales.as_ref();
        let name = format!("{} '{}'", autoscaler.id.group_kind.kind, autoscaler.id.name);
        if rules.replicas.is_some_and(|count| count > 0)
            && scales.is_none_or(|scales| scales.is(manifest))
        {
            return Err(SpecError::Autoscaled {
                object: manifest.to_string(),
                autoscaler: name,
            });
        }
        if rules.mode == Mode::Single && autoscaler.max > 1 {
            return Err(SpecError::SingleCount {
                object: name,
                field: "maxReplicas",
                count: autoscaler.max,
            });
        }
        Ok(())
    }
}

fn listed(manifests: &[&Manifest]) -> String {
    let names = manifests.iter().map(ToString::to_string);
    names.collect::<Vec<_>>().join(", ")
}

/// The fields of `metadata` that an API server sets. A value from one cluster would be wrong in every other.
pub const SERVER_SET: [&str; 9] = [
    "uid",
    "resourceVersion",
    "managedFields",
    "ownerReferences",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
];

/// The address that one cluster gave a Service, if the manifest carries one.
fn own_address(service: &Value) -> Option<String> {
    let address = service.pointer("/spec/clusterIP")?.as_str()?;
    (!address.is_empty() && address != "None").then(|| address.to_owned())
}

fn check_manifest(manifest: &Manifest, namespace: &Namespace) -> Result<(), SpecError> {
    check_object(manifest)?;
    match manifest.namespace() {
        Some(actual) if actual != namespace.as_str() => Err(SpecError::ForeignNamespace {
            object: manifest.to_string(),
            expected: namespace.to_string(),
            actual: actual.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// The rules for each object by itself.
pub(super) fn check_object(manifest: &Manifest) -> Result<(), SpecError> {
    let object = manifest.to_string();
    if manifest.group_kind().group == "hanse.dev" {
        return Err(SpecError::OwnGroup { object });
    }
    let items = manifest.object().get("items").is_some_and(Value::is_array);
    if items && manifest.kind.ends_with("List") {
        return Err(SpecError::List { object });
    }
    manifest.own_wave()?;
    manifest.own_scale()?;
    let is_set = |pointer: &str| {
        let value = manifest.object().pointer(pointer);
        value.is_some_and(|value| !value.is_null())
    };
    if let Some(field) = SERVER_SET
        .iter()
        .find(|field| is_set(&format!("/metadata/{field}")))
    {
        return Err(SpecError::ForbiddenMetadata { object, field });
    }
    if manifest.id().to_string().starts_with("Service/")
        && let Some(address) = own_address(manifest.object())
    {
        return Err(SpecError::ClusterAddress { object, address });
    }
    Ok(())
}
