//! A workload as the ledger has it: manifests, how many replicas, where.
//!
//! `WorkloadSpec` is made by [`WorkloadSpec::new`] alone, which checks every rule that needs no cluster; code that
//! holds one never has to ask whether a manifest has a kind or a replica count fits the mode.
//!
//! In `workload/`: `manifest` (one object), `check` (the rules of a specification), `share` (how many replicas of what),
//! `task` (what runs and cannot be divided), `disruption` (budgets of disruptions), `spread` (in how many domains), `overrides` (what is different in some members), `pods` (what its pods ask for), `autoscale`
//! (autoscalers), `scale` (where an object has its replicas), `health` (when its objects are healthy), `rules` (how its objects are
//! applied and removed), `wave` (in which order they are applied, and how each is stopped).

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{
    domain::FailureDomain,
    id::{Digest, Namespace},
    level::Level,
    selector::{Expression, Toleration},
};

mod autoscale;
mod check;
mod disruption;
mod failover;
mod grace;
mod health;
mod manifest;
mod overrides;
mod pods;
mod rules;
mod scale;
mod share;
mod spread;
mod surge;
mod task;
mod wave;

pub use autoscale::Autoscaler;
pub use check::{SERVER_SET, SpecError};
pub use failover::{Failover, SurgeWhen};
pub use health::{HealthRule, MAX_HEALTH};
pub use manifest::{GroupKind, Manifest, ManifestId};
pub use overrides::{
    Labelled, MAX_OPERATIONS, MAX_OVERRIDES, Override, Which, check_overrides, overridden,
};
pub use pods::{Demands, Pods};
pub use rules::{Adopt, Conflicts, ON_IMMUTABLE_ANNOTATION, OnImmutable, VolumePolicy, Volumes};
pub use scale::{SCALE_ANNOTATION, ScalePath, ScalePaths, has_custom_kind};
pub use share::{ScaleTarget, Share};
pub use spread::{MAX_SPREAD, Spread};
pub use wave::{LAST_WAVE, STOP_ANNOTATION, Stop, WAVE_ANNOTATION};

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

/// The object whose count `placement.replicas` is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scales {
    /// Its kind, for example `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl Scales {
    fn is(&self, manifest: &Manifest) -> bool {
        self.kind == manifest.kind && self.name == manifest.name
    }
}

/// Where a workload may run and how many replicas it wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlacementRules {
    /// How replicas are spread over members.
    pub mode: Mode,
    /// Replicas in all (`Divided`) or per member (`Duplicated`) of the object that scales; `None` takes the manifests' own
    /// numbers. Zero is for all objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// The object that `replicas` is about, where several scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scales: Option<Scales>,
    /// Labels a member must carry, all of them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    /// What else must hold of its labels, all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Expression>,
    /// The taints that keep it from no member.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tolerations: Vec<Toleration>,
    /// The kind of failure domain of which the loss of any one must be survived, and of all smaller kinds; `None` for clusters.
    /// It moves nothing: whether it holds is reported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub survive: Option<FailureDomain>,
    /// In how many domains it runs, and how evenly.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spread: Vec<Spread>,
    /// Jurisdictions the workload may be in, with all that is part of them; empty means any.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub domicile: BTreeSet<String>,
}

impl PlacementRules {
    /// Anywhere, with the manifests' own numbers of replicas.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self {
            mode,
            replicas: None,
            scales: None,
            match_labels: BTreeMap::new(),
            match_expressions: Vec::new(),
            tolerations: Vec::new(),
            survive: None,
            spread: Vec::new(),
            domicile: BTreeSet::new(),
        }
    }
}

/// What one workload asks for, checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadSpec {
    /// The objects to run. They are applied by wave, and within a wave in this order.
    pub manifests: Vec<Manifest>,
    /// Where and how many.
    pub placement: PlacementRules,
    /// What is different in some members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overrides: Vec<Override>,
    /// Whether everything that runs is stopped, while its objects stay where they are.
    #[serde(default, skip_serializing_if = "is_default")]
    pub suspend: bool,
    /// When it leaves a place.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failover: Failover,
    /// What becomes of its volumes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub volumes: Volumes,
    /// What becomes of objects that exist already.
    #[serde(default, skip_serializing_if = "is_default")]
    pub adopt: Adopt,
    /// What becomes of fields that another manager has set.
    #[serde(default, skip_serializing_if = "is_default")]
    pub conflicts: Conflicts,
    /// What becomes of an object that an edit cannot change.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_immutable: OnImmutable,
    /// When its objects are healthy, where their kinds do not say it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub health: Vec<HealthRule>,
}

/// For serde: what is as usual is not written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
            overrides: Vec::new(),
            suspend: false,
            failover: Failover::default(),
            volumes: Volumes::default(),
            adopt: Adopt::default(),
            conflicts: Conflicts::default(),
            on_immutable: OnImmutable::default(),
            health: Vec::new(),
        };
        spec.check(namespace)?;
        Ok(spec)
    }

    /// The replicas the workload wants of each of its objects that scales: in all (`Divided`, `Single`) or on each member
    /// (`Duplicated`).
    #[must_use]
    pub fn counts(&self) -> Share {
        let scalable = self.manifests.iter().filter(|it| it.is_scalable());
        let mut counts: Share = scalable
            .map(|manifest| (ScaleTarget::Object(manifest.id()), self.count_of(manifest)))
            .collect();
        for Autoscaler { id, max, .. } in self.autoscalers() {
            counts.set(ScaleTarget::Limit(id), max);
        }
        for id in self.tasks() {
            counts.set(ScaleTarget::Task(id), 1);
        }
        if counts.is_empty() {
            let whole = self.placement.replicas.unwrap_or(1);
            [(ScaleTarget::Workload, whole)].into_iter().collect()
        } else {
            counts
        }
    }

    /// The replicas of one object: what the placement says of it, or else its autoscaler, or else its manifest.
    fn count_of(&self, manifest: &Manifest) -> u32 {
        let rules = &self.placement;
        let scales = rules.scales.as_ref();
        match rules.replicas {
            Some(0) => 0,
            Some(replicas) if scales.is_none_or(|scales| scales.is(manifest)) => replicas,
            Some(_) | None => match self.autoscaler_of(&manifest.id()) {
                Some(autoscaler) => autoscaler.min,
                None => manifest.replicas().unwrap_or(1),
            },
        }
    }

    /// The first level at which all of it may be used.
    #[must_use]
    pub fn level(&self) -> Level {
        let scales = self.manifests.iter().any(Manifest::says_scale);
        let needed = [
            (scales, Level::CUSTOM_KINDS_SCALE),
            (!self.health.is_empty(), Level::HEALTH_RULES),
        ];
        let needed = needed.into_iter().filter(|(is_used, _)| *is_used);
        needed.map(|(_, level)| level).max().unwrap_or_default()
    }

    /// The kinds of all manifests: what a host must have granted.
    #[must_use]
    pub fn kinds(&self) -> BTreeSet<GroupKind> {
        self.manifests.iter().map(Manifest::group_kind).collect()
    }

    /// The kinds that a host must serve: all but those that the workload itself defines.
    #[must_use]
    pub fn kinds_needed(&self) -> BTreeSet<GroupKind> {
        let defined: BTreeSet<_> = self
            .manifests
            .iter()
            .filter_map(Manifest::defines)
            .collect();
        self.kinds().difference(&defined).cloned().collect()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(name: &str, replicas: u32) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"replicas": replicas}})
    }

    fn shop() -> Namespace {
        "shop".parse().unwrap()
    }

    fn rules(mode: Mode, replicas: Option<u32>) -> PlacementRules {
        PlacementRules {
            replicas,
            ..PlacementRules::new(mode)
        }
    }

    fn scaling(kind: &str, name: &str, replicas: Option<u32>) -> PlacementRules {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        PlacementRules {
            scales: Some(Scales { kind, name }),
            ..rules(Mode::Divided, replicas)
        }
    }

    /// The counts in words, or the rule that the specification breaks.
    fn counts(manifests: &[Value], rules: PlacementRules) -> String {
        match WorkloadSpec::new(manifests.to_vec(), rules, &shop()) {
            Ok(spec) => spec.counts().to_string(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_object_keeps_its_own_count_and_the_placement_sets_at_most_one() {
        let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}});
        let one = [config.clone(), deployment("web", 4)];
        let two = [deployment("web", 3), deployment("worker", 1)];
        let autoscaler = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
            "spec": {
                "minReplicas": 4, "maxReplicas": 10,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            },
        });
        let scaled = [deployment("web", 1), autoscaler];
        let divided = |replicas| rules(Mode::Divided, replicas);
        let cases = [
            (counts(&one, divided(None)), "4"),
            (counts(&one, divided(Some(6))), "6"),
            (counts(&one, divided(Some(0))), "0"),
            (
                counts(&two, divided(None)),
                "Deployment.apps/web 3, Deployment.apps/worker 1",
            ),
            (
                counts(&two, scaling("Deployment", "web", Some(6))),
                "Deployment.apps/web 6, Deployment.apps/worker 1",
            ),
            (
                counts(&two, divided(Some(0))),
                "Deployment.apps/web 0, Deployment.apps/worker 0",
            ),
            (
                counts(&two, divided(Some(6))),
                "`placement.replicas` is about one object, and several have replicas (Deployment 'web', Deployment \
                 'worker'): name it in `placement.scales`, or write each number in its manifest",
            ),
            (
                counts(&two, scaling("StatefulSet", "web", None)),
                "`placement.scales` names StatefulSet 'web', which is no manifest with replicas",
            ),
            (counts(&scaled, divided(None)), "4"),
            (
                counts(&scaled, divided(Some(3))),
                "the replicas of Deployment 'web' are decided by HorizontalPodAutoscaler 'web': set its limits, or \
                 `placement.replicas` to 0",
            ),
            (
                counts(&scaled, rules(Mode::Single, None)),
                "mode 'Single' runs one replica of each object: `spec.maxReplicas` of HorizontalPodAutoscaler 'web' must \
                 be 0 or 1, not 10",
            ),
            (counts(std::slice::from_ref(&config), divided(None)), "1"),
            (counts(&[config], divided(Some(2))), "2"),
            (
                counts(&[deployment("web", 2)], rules(Mode::Single, None)),
                "mode 'Single' runs one replica of each object: `spec.replicas` of Deployment 'web' must be 0 or 1, not 2",
            ),
            (
                counts(&[deployment("web", 2)], rules(Mode::Single, Some(1))),
                "1",
            ),
            (
                counts(
                    &[
                        json!({"apiVersion": "db.example/v1", "kind": "Database", "metadata": {"name": "d"}}),
                    ],
                    rules(Mode::Single, None),
                ),
                "mode 'Single' must be able to stop Database 'd', and nothing is known of how a Database is stopped: say \
                 it in its annotation 'hanse.dev/stop' ('Scale' to zero, 'Suspend', 'Delete' or 'None')",
            ),
        ];
        for (found, expected) in cases {
            assert_eq!(found, expected);
        }
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
        let set_by_server = |pointer: &str, value: Value| {
            let mut service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {}});
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            service.pointer_mut(parent).unwrap()[field] = value;
            vec![service]
        };
        let cases = [
            (
                set_by_server("/metadata/uid", json!("1-2")),
                "manifest Service 's' must not set `metadata.uid`: the API server of each host sets it",
            ),
            (
                set_by_server("/spec/clusterIP", json!("10.0.0.7")),
                "manifest Service 's' must not set `spec.clusterIP` to '10.0.0.7', an address of one cluster: leave it \
                 out, or write 'None' for a headless Service",
            ),
            (
                vec![
                    json!({"apiVersion": "v1", "kind": "List", "metadata": {"name": "l"}, "items": []}),
                ],
                "manifest List 'l' must not be a list: put its items into `manifests`",
            ),
            (
                vec![
                    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": "3"}}),
                ],
                "manifest Deployment 'web' must have a whole number from 0 in `spec.replicas`, not \"3\"",
            ),
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
            "`placement.replicas` must be 0, 1 or absent with mode 'Single', not 2"
        );
    }

    #[test]
    fn what_generators_write_as_empty_is_accepted() {
        let manifest = json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "s", "creationTimestamp": null},
            "spec": {"clusterIP": "None"}, "status": {"loadBalancer": {}},
        });
        assert_eq!(counts(&[manifest], rules(Mode::Divided, None)), "1");
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
