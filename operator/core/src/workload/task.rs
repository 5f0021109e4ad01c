//! What runs and cannot be divided: where replicas are divided over members, one of them runs each of these. Pure.

use std::time::Duration;

use super::{GroupKind, Manifest, ManifestId, Mode, WorkloadSpec};
use crate::state::Workload;

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

impl Workload {
    /// Whether replicas may be placed elsewhere in addition now: its specification allows it, and all of its tasks that end have
    /// succeeded. One that still runs would be given up with its host.
    #[must_use]
    pub fn may_surge(&self) -> bool {
        let is_over = |id: &ManifestId| !id.group_kind.ends() || self.completed.contains_key(id);
        self.spec.may_surge() && self.spec.tasks().iter().all(is_over)
    }

    /// As [`WorkloadSpec::failback_after`], once it [may](Self::may_surge) run in addition.
    #[must_use]
    pub fn failback_after(&self) -> Option<Duration> {
        let after = self.spec.failback_after();
        after.filter(|_| self.may_surge())
    }
}

impl GroupKind {
    fn is_task(&self) -> bool {
        let (group, kind) = (self.group.as_str(), self.kind.as_str());
        matches!((group, kind), ("", "Pod") | ("batch", "Job" | "CronJob"))
    }

    fn ends(&self) -> bool {
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
