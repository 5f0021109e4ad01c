//! The pods that a share of a workload runs, and what each asks for.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Manifest, Mode, ScaleTarget, Share, WorkloadSpec};
use crate::capacity::PodDemand;

/// Pods, by what they ask for.
pub type Demands = Vec<(PodDemand, u32)>;

/// What the pods of a workload ask for.
///
/// Of a `DaemonSet` it is not known how many there are, and those of a `CronJob` come and go: both count once they run.
#[derive(Debug, Clone, Default)]
pub struct Pods {
    /// Each replica of what scales.
    scaled: BTreeMap<ScaleTarget, PodDemand>,
    /// What runs on one member, and on how many pods.
    tasks: BTreeMap<ScaleTarget, (PodDemand, u32)>,
    /// What every host runs besides.
    fixed: Demands,
}

impl WorkloadSpec {
    /// What its pods ask for.
    #[must_use]
    pub fn pods(&self) -> Pods {
        let mut pods = Pods::default();
        let tasks = self.tasks();
        for manifest in &self.manifests {
            let Some((spec, count)) = manifest.pods() else {
                continue;
            };
            let (id, demand) = (manifest.id(), PodDemand::of(spec));
            if manifest.is_scalable() {
                pods.scaled.insert(ScaleTarget::Object(id), demand);
            } else if tasks.contains(&id) {
                pods.tasks.insert(ScaleTarget::Task(id), (demand, count));
            } else {
                pods.fixed.push((demand, count));
            }
        }
        pods
    }
}

impl Pods {
    /// What one replica of `target` asks for; `None` if it is no pod.
    #[must_use]
    pub fn replica(&self, target: &ScaleTarget) -> Option<&PodDemand> {
        self.scaled.get(target)
    }

    /// What every host runs, whatever its share.
    #[must_use]
    pub fn fixed(&self) -> &Demands {
        &self.fixed
    }

    /// The pods that a host with `share` has more than with `before`.
    #[must_use]
    pub fn added(&self, before: Option<&Share>, share: &Share) -> Demands {
        let had = |target: &ScaleTarget| before.map_or(0, |before| before.of(target));
        let replicas = share.iter().filter_map(|(target, count)| {
            let more = count.checked_sub(had(target)).filter(|more| *more > 0)?;
            Some((self.replica(target)?.clone(), more))
        });
        let tasks = share.iter().filter_map(|(target, count)| {
            let starts = count > had(target);
            self.tasks.get(target).filter(|_| starts).cloned()
        });
        let starts = before.is_none_or(|before| before.total() == 0) && share.total() > 0;
        let fixed = self.fixed.iter().filter(|_| starts).cloned();
        fixed.chain(replicas).chain(tasks).collect()
    }

    /// The pods of the smallest part of `counts` that a host can have: one replica of each where they are divided, or else all.
    #[must_use]
    pub fn least(&self, mode: Mode, counts: &Share) -> Demands {
        let most = match mode {
            Mode::Divided => 1,
            Mode::Duplicated | Mode::Single => u32::MAX,
        };
        let part = counts.iter();
        let part = part.map(|(target, count)| (target.clone(), count.min(most)));
        self.added(None, &part.collect())
    }
}

impl Manifest {
    /// The specification of its pods, and how many it runs where nothing says how many replicas it has.
    fn pods(&self) -> Option<(&Value, u32)> {
        let group_kind = self.group_kind();
        let of = |pointer: &str| self.object().pointer(pointer);
        match (group_kind.group.as_str(), group_kind.kind.as_str()) {
            ("", "Pod") => Some((of("/spec")?, 1)),
            ("batch", "Job") => {
                let parallelism = of("/spec/parallelism").and_then(Value::as_u64);
                let parallelism = u32::try_from(parallelism.unwrap_or(1)).unwrap_or(u32::MAX);
                Some((of("/spec/template/spec")?, parallelism))
            }
            _ if self.is_scalable() => Some((of("/spec/template/spec")?, 0)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::workload::PlacementRules;

    fn pods() -> (Pods, Share) {
        let pod = |cpu: &str| json!({"containers": [{"resources": {"requests": {"cpu": cpu}}}]});
        let manifest = |api: &str, kind: &str, spec: Value| json!({"apiVersion": api, "kind": kind, "metadata": {"name": "x"}, "spec": spec});
        let manifests = vec![
            manifest(
                "apps/v1",
                "Deployment",
                json!({"replicas": 4, "template": {"spec": pod("1")}}),
            ),
            manifest(
                "batch/v1",
                "Job",
                json!({"parallelism": 2, "template": {"spec": pod("2")}}),
            ),
            manifest(
                "apps/v1",
                "DaemonSet",
                json!({"template": {"spec": pod("3")}}),
            ),
            manifest("v1", "Pod", pod("4")),
        ];
        let rules = PlacementRules::new(Mode::Divided);
        let spec = WorkloadSpec::new(manifests, rules, &"shop".parse().unwrap()).unwrap();
        (spec.pods(), spec.counts())
    }

    fn words(demands: &Demands) -> String {
        let words: Vec<_> = demands
            .iter()
            .map(|(pod, count)| format!("{count} × {}", pod.resources))
            .collect();
        words.join("; ")
    }

    #[test]
    fn a_share_runs_its_replicas_and_what_every_host_runs() {
        let (pods, all) = pods();
        assert_eq!(
            words(&pods.added(None, &all)),
            "4 × cpu 1; 1 × cpu 4; 2 × cpu 2"
        );
        assert_eq!(
            words(&pods.least(Mode::Divided, &all)),
            "1 × cpu 1; 1 × cpu 4; 2 × cpu 2"
        );
        assert_eq!(pods.least(Mode::Single, &all), pods.added(None, &all));
        let target = ScaleTarget::Object("Deployment.apps/x".parse().unwrap());
        let three = Share::from_iter([(target.clone(), 3)]);
        assert_eq!(
            words(&pods.added(Some(&three), &all)),
            "1 × cpu 1; 1 × cpu 4; 2 × cpu 2"
        );
        assert_eq!(words(&pods.added(Some(&all), &three)), "");
        let none = Share::from_iter([(target, 0)]);
        assert_eq!(words(&pods.added(None, &none)), "");
        let starts = words(&pods.added(Some(&none), &three));
        assert_eq!(
            starts, "3 × cpu 1",
            "another member runs what cannot be divided"
        );
    }
}
