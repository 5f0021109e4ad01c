//! Whether a part of a workload may run a second time for a while, because the member that runs it is silent. Pure.

use super::{GroupKind, Mode, SurgeWhen, WorkloadSpec};

/// The built-in kinds that do something once, have an identity, or have data: another one is not merely another replica.
const NEVER_TWICE: [(&str, &str); 6] = [
    ("", "Pod"),
    ("", "PersistentVolumeClaim"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("batch", "Job"),
    ("batch", "CronJob"),
];

/// The groups of Kubernetes itself besides those that end with [`KUBERNETES`].
const BUILT_IN: [&str; 4] = ["", "apps", "autoscaling", "policy"];
const KUBERNETES: &str = ".k8s.io";

impl WorkloadSpec {
    /// Whether replicas may be placed elsewhere in addition while a member is silent: the workload is `Divided`, its author
    /// does not forbid it, and it consists of objects of which it is known that another one does no harm, or of which only one
    /// member ever has one ([`tasks`](Self::tasks)). What a custom kind runs is not known.
    #[must_use]
    pub fn may_surge(&self) -> bool {
        self.placement.mode == Mode::Divided
            && self.failover.surge == SurgeWhen::MemberSilent
            && !self.suspend
            && self.is_harmless_twice()
    }

    fn is_harmless_twice(&self) -> bool {
        let tasks = self.tasks();
        let mut manifests = self.manifests.iter();
        manifests.all(|it| it.group_kind().may_run_twice() || tasks.contains(&it.id()))
    }
}

impl GroupKind {
    fn may_run_twice(&self) -> bool {
        let (group, kind) = (self.group.as_str(), self.kind.as_str());
        let built_in = BUILT_IN.contains(&group) || group.ends_with(KUBERNETES);
        built_in && !NEVER_TWICE.contains(&(group, kind))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::workload::PlacementRules;

    fn surges(kinds: &[(&str, &str)], change: impl Fn(&mut WorkloadSpec)) -> bool {
        let manifests = kinds.iter().map(|(version, kind)| {
            json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}})
        });
        let rules = PlacementRules::new(Mode::Divided);
        let namespace = "shop".parse().unwrap();
        let mut spec = WorkloadSpec::new(manifests.collect(), rules, &namespace).unwrap();
        change(&mut spec);
        spec.may_surge()
    }

    #[test]
    fn only_what_is_known_to_be_harmless_runs_a_second_time() {
        let web = [("apps/v1", "Deployment"), ("v1", "Service")];
        let asis = |_: &mut WorkloadSpec| {};
        let with = |other| surges(&[web[0], web[1], other], asis);
        assert!(surges(&web, asis));
        assert!(with(("networking.k8s.io/v1", "Ingress")));
        assert!(!with(("v1", "PersistentVolumeClaim")));
        assert!(with(("batch/v1", "Job")), "one member has it");
        assert!(!surges(&[("batch/v1", "Job")], asis));
        assert!(!with(("apps/v1", "StatefulSet")));
        assert!(!with(("postgres.example/v1", "Postgres")));
        assert!(!surges(&web, |spec| spec.failover.surge = SurgeWhen::Never));
        assert!(!surges(&web, |spec| spec.placement.mode = Mode::Duplicated));
        assert!(!surges(&web, |spec| spec.suspend = true));
    }
}
