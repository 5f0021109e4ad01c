//! In which order the objects of a workload are applied, and how each is stopped. Pure.
//!
//! An object is applied after those that it refers to. Removal is in the reverse order, so that a pod never outlives its
//! `ServiceAccount` or its `Secret`.

use serde::{Deserialize, Serialize};

use super::{GroupKind, Manifest, SpecError};

/// The annotation of a manifest that puts it into another wave than that of its kind, and makes later waves wait until
/// it is ready.
pub const WAVE_ANNOTATION: &str = "hanse.dev/wave";

/// The annotation of a manifest of a custom kind that says how it is stopped.
pub const STOP_ANNOTATION: &str = "hanse.dev/stop";

/// The last wave that an annotation may name.
pub const LAST_WAVE: u8 = 100;

/// The wave of a kind that is not in the table, and of everything that runs.
const WORKLOADS: u8 = 50;

/// Each kind with its wave. Ten numbers between two waves are for annotations.
const WAVES: &[(u8, &str, &[&str])] = &[
    (0, "", &["Namespace"]),
    (10, "apiextensions.k8s.io", &["CustomResourceDefinition"]),
    (20, "", &["ServiceAccount", "ResourceQuota", "LimitRange"]),
    (
        20,
        "rbac.authorization.k8s.io",
        &["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"],
    ),
    (20, "networking.k8s.io", &["NetworkPolicy", "IngressClass"]),
    (20, "scheduling.k8s.io", &["PriorityClass"]),
    (20, "storage.k8s.io", &["StorageClass"]),
    (
        30,
        "",
        &[
            "Secret",
            "ConfigMap",
            "PersistentVolume",
            "PersistentVolumeClaim",
        ],
    ),
    (40, "", &["Service", "Endpoints"]),
    (40, "discovery.k8s.io", &["EndpointSlice"]),
    (60, "autoscaling", &["HorizontalPodAutoscaler"]),
    (60, "autoscaling.k8s.io", &["VerticalPodAutoscaler"]),
    (60, "keda.sh", &["ScaledObject", "ScaledJob"]),
    (60, "policy", &["PodDisruptionBudget"]),
    (60, "networking.k8s.io", &["Ingress"]),
    (
        60,
        "gateway.networking.k8s.io",
        &["HTTPRoute", "GRPCRoute", "TLSRoute", "TCPRoute", "UDPRoute"],
    ),
    (60, "apiregistration.k8s.io", &["APIService"]),
    (
        70,
        "admissionregistration.k8s.io",
        &[
            "ValidatingWebhookConfiguration",
            "MutatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
        ],
    ),
];

/// How what an object runs is stopped while the object's data stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// Its count is set to zero.
    Scale,
    /// `spec.suspend` is set.
    Suspend,
    /// It is deleted, and created again when it may run.
    Delete,
    /// It runs nothing.
    Nothing,
}

impl Manifest {
    /// The wave in which it is applied, 0 to [`LAST_WAVE`]; lower ones first.
    #[must_use]
    pub fn wave(&self) -> u8 {
        let own = self.own_wave().ok().flatten();
        own.unwrap_or_else(|| self.group_kind().wave())
    }

    /// Whether later waves wait until it is ready: its author gave it a wave.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        self.own_wave().is_ok_and(|wave| wave.is_some())
    }

    /// The wave that its annotation names.
    pub(super) fn own_wave(&self) -> Result<Option<u8>, SpecError> {
        let Some(text) = self.annotation(WAVE_ANNOTATION) else {
            return Ok(None);
        };
        let wave = text.parse().ok().filter(|wave| *wave <= LAST_WAVE);
        wave.map(Some).ok_or_else(|| SpecError::Annotation {
            object: self.to_string(),
            annotation: WAVE_ANNOTATION,
            expected: "a whole number from 0 to 100",
            actual: text.to_owned(),
        })
    }

    /// How it is stopped; `None` if that is not known of its kind and its author does not say.
    pub fn stop(&self) -> Result<Option<Stop>, SpecError> {
        match self.annotation(STOP_ANNOTATION) {
            None => Ok(self.group_kind().stop()),
            Some("Scale") if self.is_scalable() => Ok(Some(Stop::Scale)),
            Some("Suspend") => Ok(Some(Stop::Suspend)),
            Some("Delete") => Ok(Some(Stop::Delete)),
            Some("None") => Ok(Some(Stop::Nothing)),
            Some(other) => Err(SpecError::Annotation {
                object: self.to_string(),
                annotation: STOP_ANNOTATION,
                expected: if self.is_scalable() {
                    "'Scale', 'Suspend', 'Delete' or 'None'"
                } else {
                    "'Suspend', 'Delete' or 'None'"
                },
                actual: other.to_owned(),
            }),
        }
    }

    pub(super) fn annotation(&self, name: &str) -> Option<&str> {
        let annotations = self.object().pointer("/metadata/annotations")?;
        annotations.get(name)?.as_str()
    }
}

impl GroupKind {
    /// The wave in which objects of this kind are applied unless an annotation says another.
    #[must_use]
    pub fn wave(&self) -> u8 {
        let is_of = |group: &str, kinds: &[&str]| {
            group == self.group && kinds.contains(&self.kind.as_str())
        };
        let found = WAVES.iter().find(|(_, group, kinds)| is_of(group, kinds));
        found.map_or(WORKLOADS, |(wave, ..)| *wave)
    }

    /// How objects of this kind are stopped; `None` if that is not known.
    #[must_use]
    pub(crate) fn stop(&self) -> Option<Stop> {
        match (self.group.as_str(), self.kind.as_str()) {
            ("apps", "Deployment" | "ReplicaSet" | "StatefulSet")
            | ("", "ReplicationController") => Some(Stop::Scale),
            ("batch", "Job" | "CronJob") => Some(Stop::Suspend),
            ("apps", "DaemonSet") | ("", "Pod") => Some(Stop::Delete),
            // The other kinds of Kubernetes itself run nothing.
            _ if !self.is_custom() => Some(Stop::Nothing),
            _ => None,
        }
    }

    /// Whether it is none of Kubernetes' own kinds.
    pub(crate) fn is_custom(&self) -> bool {
        self.group.contains('.') && !self.group.ends_with(".k8s.io")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn manifest(api_version: &str, kind: &str, annotations: &serde_json::Value) -> Manifest {
        let metadata = json!({"name": "x", "annotations": annotations});
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": metadata});
        object.try_into().unwrap()
    }

    #[test]
    fn what_is_referred_to_comes_first() {
        let wave = |api_version, kind| manifest(api_version, kind, &json!({})).wave();
        let order = [
            wave("v1", "Namespace"),
            wave("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
            wave("rbac.authorization.k8s.io/v1", "RoleBinding"),
            wave("v1", "Secret"),
            wave("v1", "Service"),
            wave("db.example/v1", "Database"),
            wave("apps/v1", "Deployment"),
            wave("autoscaling/v2", "HorizontalPodAutoscaler"),
            wave(
                "admissionregistration.k8s.io/v1",
                "ValidatingWebhookConfiguration",
            ),
        ];
        assert_eq!(order, [0, 10, 20, 30, 40, 50, 50, 60, 70]);
    }

    #[test]
    fn an_annotation_names_another_wave_which_is_awaited() {
        let job = |wave: &str| manifest("batch/v1", "Job", &json!({WAVE_ANNOTATION: wave}));
        assert_eq!((job("45").wave(), job("45").is_awaited()), (45, true));
        assert!(!manifest("batch/v1", "Job", &json!({})).is_awaited());
        assert_eq!(
            job("early").own_wave().unwrap_err().to_string(),
            "manifest Job 'x' must have a whole number from 0 to 100 in annotation 'hanse.dev/wave', not 'early'"
        );
    }

    #[test]
    fn each_kind_has_its_way_to_stop_or_none_is_known() {
        let stop = |api_version, kind| manifest(api_version, kind, &json!({})).stop().unwrap();
        assert_eq!(
            [
                stop("apps/v1", "StatefulSet"),
                stop("batch/v1", "CronJob"),
                stop("apps/v1", "DaemonSet"),
                stop("v1", "ConfigMap"),
                stop("gateway.networking.k8s.io/v1", "HTTPRoute"),
                stop("db.example/v1", "Database"),
            ],
            [
                Some(Stop::Scale),
                Some(Stop::Suspend),
                Some(Stop::Delete),
                Some(Stop::Nothing),
                Some(Stop::Nothing),
                None
            ]
        );
        let told = manifest(
            "db.example/v1",
            "Database",
            &json!({STOP_ANNOTATION: "Suspend"}),
        );
        assert_eq!(told.stop().unwrap(), Some(Stop::Suspend));
    }
}
