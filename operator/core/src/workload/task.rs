//! What runs and cannot be divided: where replicas are divided over members, one of them runs each of these. Pure.

use super::{GroupKind, Manifest, ManifestId, Mode, WorkloadSpec};

impl WorkloadSpec {
    /// The jobs and pods beside objects whose replicas are divided. A workload in which nothing scales is placed whole.
    #[must_use]
    pub fn tasks(&self) -> Vec<ManifestId> {
        let divides = self.placement.mode == Mode::Divided;
        if !divides || !self.manifests.iter().any(Manifest::is_scalable) {
            return Vec::new();
        }
        let tasks = self.manifests.iter().map(Manifest::id);
        tasks.filter(|id| id.group_kind.is_task()).collect()
    }
}

impl GroupKind {
    fn is_task(&self) -> bool {
        let (group, kind) = (self.group.as_str(), self.kind.as_str());
        matches!((group, kind), ("", "Pod") | ("batch", "Job" | "CronJob"))
    }

    /// Whether what an object of this kind does is over at some time.
    pub(crate) fn ends(&self) -> bool {
        self.is_task() && self.kind != "CronJob"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::workload::PlacementRules;

    fn tasks(mode: Mode, kinds: &[(&str, &str)]) -> String {
        let manifests = kinds.iter().map(
            |(version, kind)| json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}}),
        );
        let rules = PlacementRules::new(mode);
        let spec = WorkloadSpec::new(manifests.collect(), rules, &"shop".parse().unwrap());
        let tasks = spec.unwrap().tasks();
        let tasks: Vec<_> = tasks.iter().map(ToString::to_string).collect();
        tasks.join(", ")
    }

    #[test]
    fn jobs_and_pods_beside_divided_replicas_are_tasks() {
        const WEB: (&str, &str) = ("apps/v1", "Deployment");
        const JOB: (&str, &str) = ("batch/v1", "Job");
        let all = [
            WEB,
            JOB,
            ("batch/v1", "CronJob"),
            ("v1", "Pod"),
            ("v1", "Service"),
            ("apps/v1", "DaemonSet"),
        ];
        assert_eq!(
            tasks(Mode::Divided, &all),
            "Job.batch/x, CronJob.batch/x, Pod/x"
        );
        assert_eq!(tasks(Mode::Duplicated, &all), "");
        assert_eq!(tasks(Mode::Divided, &[JOB]), "");
    }
}
