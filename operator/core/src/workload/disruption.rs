//! Budgets of disruptions among the objects of a workload: what they protect is divided over members, and so are they. Pure.
//!
//! A budget is about all replicas, and each member has its own for those that it runs. As many as may be gone at once in all are
//! shared out in proportion, and every member may miss at least one if any may be gone at all: a cluster of which no node could ever be
//! drained helps nobody. Members do not ask each other, so several may miss one at the same time.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::{Manifest, Mode, ScaleTarget, Share, WorkloadSpec};
use crate::selector::Expression;

/// The selector of a budget.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Selector {
    #[serde(default)]
    match_labels: BTreeMap<String, String>,
    #[serde(default)]
    match_expressions: Vec<Expression>,
}

impl Selector {
    fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let label = |key: &String| labels.get(key).map(String::as_str);
        let mut equal = self.match_labels.iter();
        let mut others = self.match_expressions.iter();
        equal.all(|(key, value)| label(key) == Some(value))
            && others.all(|it| it.accepts(label(&it.key)))
    }
}

const MIN_AVAILABLE: &str = "minAvailable";
const MAX_UNAVAILABLE: &str = "maxUnavailable";

impl WorkloadSpec {
    /// What a budget of disruptions says in a member that runs `share`: the field of its `spec` and the number. `None` where it is as
    /// it is written: it protects nothing of the workload, nothing is divided, or it is a percentage that an autoscaler's numbers or
    /// Kubernetes' own rounding suit.
    #[must_use]
    pub fn disruptions_here(
        &self,
        budget: &Manifest,
        share: &Share,
    ) -> Option<(&'static str, u32)> {
        let of = budget.group_kind();
        let is_budget = of.group == "policy" && of.kind == "PodDisruptionBudget";
        if !is_budget || self.placement.mode != Mode::Divided {
            return None;
        }
        let protected = self.protected_by(budget.object())?;
        let counts = self.counts();
        let sum = |share: &Share| protected.iter().map(|target| share.of(target)).sum::<u32>();
        let (all, here) = (sum(&counts), sum(share));
        let field = |name: &str| budget.object().pointer(&format!("/spec/{name}"));
        let (name, may_go) = if let Some(most) = field(MAX_UNAVAILABLE) {
            (MAX_UNAVAILABLE, whole(most)?.min(all))
        } else {
            let least = field(MIN_AVAILABLE)?;
            let of_all = || {
                let autoscalers = self.autoscalers();
                let mut targets = autoscalers
                    .into_iter()
                    .map(|it| ScaleTarget::Object(it.target));
                let is_scaled = targets.any(|it| protected.contains(&it));
                percent(least, all).filter(|_| !is_scaled)
            };
            (
                MIN_AVAILABLE,
                all.saturating_sub(whole(least).or_else(of_all)?),
            )
        };
        let part = match (may_go, all) {
            (0, _) | (_, 0) => 0,
            _ => u32::try_from(u64::from(may_go) * u64::from(here) / u64::from(all))
                .map_or(1, |it| it.max(1)),
        };
        Some(match name {
            MIN_AVAILABLE => (name, here.saturating_sub(part)),
            _ => (name, part),
        })
    }

    /// The objects whose pods a budget selects; `None` if there are none.
    fn protected_by(&self, budget: &Value) -> Option<Vec<ScaleTarget>> {
        let selector = Selector::deserialize(budget.pointer("/spec/selector")?).ok()?;
        let scalable = self.manifests.iter().filter(|it| it.is_scalable());
        let protected = scalable.filter(|manifest| {
            let labels = manifest.object().pointer("/spec/template/metadata/labels");
            let labels = labels.and_then(|labels| BTreeMap::deserialize(labels).ok());
            labels.is_some_and(|labels: BTreeMap<_, _>| selector.selects(&labels))
        });
        let protected: Vec<_> = protected.map(|it| ScaleTarget::Object(it.id())).collect();
        (!protected.is_empty()).then_some(protected)
    }
}

fn whole(number: &Value) -> Option<u32> {
    number
        .as_u64()
        .and_then(|number| u32::try_from(number).ok())
}

/// A percentage of `all`, rounded up as Kubernetes does.
fn percent(text: &Value, all: u32) -> Option<u32> {
    let percent: u64 = text.as_str()?.strip_suffix('%')?.parse().ok()?;
    u32::try_from((u64::from(all) * percent).div_ceil(100)).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::workload::PlacementRules;

    fn spec(replicas: u32, budget: &Value, more: Vec<Value>) -> WorkloadSpec {
        let web = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"app": "web", "tier": "front"}}}},
        });
        let mut budget = budget.clone();
        let selector = budget.as_object_mut().unwrap().entry("selector");
        selector.or_insert(json!({"matchLabels": {"app": "web"}}));
        let budget = json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "web"}, "spec": budget,
        });
        let manifests = [vec![budget, web], more].concat();
        let rules = PlacementRules::new(Mode::Divided);
        WorkloadSpec::new(manifests, rules, &"shop".parse().unwrap()).unwrap()
    }

    fn share(replicas: u32) -> Share {
        let web = "Deployment.apps/web".parse().unwrap();
        [(web, replicas)].into_iter().collect()
    }

    /// What the budget says in members with so many of the replicas.
    fn here(budget: &Value, parts: &[u32]) -> Vec<Option<(&'static str, u32)>> {
        let spec = spec(parts.iter().sum(), budget, Vec::new());
        let parts = parts.iter();
        parts
            .map(|part| spec.disruptions_here(&spec.manifests[0], &share(*part)))
            .collect()
    }

    #[test]
    fn a_budget_is_divided_with_what_it_protects() {
        let least = |numbers: &[u32]| -> Vec<_> {
            numbers
                .iter()
                .map(|it| Some((MIN_AVAILABLE, *it)))
                .collect()
        };
        let most = |numbers: &[u32]| -> Vec<_> {
            numbers
                .iter()
                .map(|it| Some((MAX_UNAVAILABLE, *it)))
                .collect()
        };
        assert_eq!(
            here(&json!({"minAvailable": 6}), &[4, 3, 2]),
            least(&[3, 2, 1])
        );
        assert_eq!(here(&json!({"minAvailable": 3}), &[3, 3]), least(&[2, 2]));
        assert_eq!(here(&json!({"maxUnavailable": 4}), &[6, 3]), most(&[2, 1]));
        assert_eq!(
            here(&json!({"minAvailable": "50%"}), &[4, 1]),
            least(&[3, 0])
        );
        // Every member may miss one, unless none may be gone at all.
        assert_eq!(
            here(&json!({"minAvailable": 2}), &[1, 1, 1]),
            least(&[0, 0, 0])
        );
        assert_eq!(
            here(&json!({"minAvailable": 3}), &[1, 1, 1]),
            least(&[1, 1, 1])
        );
        assert_eq!(here(&json!({"minAvailable": 9}), &[2, 1]), least(&[2, 1]));
        assert_eq!(here(&json!({"maxUnavailable": 0}), &[2, 1]), most(&[0, 0]));
        assert_eq!(here(&json!({"minAvailable": 2}), &[0]), least(&[0]));
    }

    #[test]
    fn a_budget_stays_as_written_where_it_is_not_about_divided_replicas() {
        assert_eq!(
            here(&json!({"maxUnavailable": "20%"}), &[3, 3]),
            [None, None]
        );
        assert_eq!(here(&json!({"minAvailable": "half"}), &[3]), [None]);
        assert_eq!(here(&json!({}), &[3]), [None]);
        let other = json!({"minAvailable": 1, "selector": {"matchLabels": {"app": "db"}}});
        assert_eq!(here(&other, &[3]), [None]);
        let expression = json!({"key": "tier", "operator": "NotIn", "values": ["front"]});
        let other = json!({"minAvailable": 1, "selector": {"matchExpressions": [expression]}});
        assert_eq!(here(&other, &[3]), [None]);
        let mut everywhere = spec(3, &json!({"minAvailable": 2}), Vec::new());
        everywhere.placement.mode = Mode::Duplicated;
        let budget = &everywhere.manifests[0];
        assert_eq!(everywhere.disruptions_here(budget, &share(3)), None);
    }

    #[test]
    fn a_percentage_of_what_an_autoscaler_decides_stays_one() {
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        let autoscaler = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
            "spec": {"minReplicas": 4, "maxReplicas": 9, "scaleTargetRef": target},
        });
        let here = |budget: Value| {
            let spec = spec(1, &budget, vec![autoscaler.clone()]);
            spec.disruptions_here(&spec.manifests[0], &share(2))
        };
        assert_eq!(here(json!({"minAvailable": "50%"})), None);
        assert_eq!(here(json!({"minAvailable": 2})), Some((MIN_AVAILABLE, 1)));
    }

    proptest! {
        #[test]
        fn no_member_may_miss_more_than_its_part_or_one(
            parts in prop::collection::vec(0_u32..20, 1..6),
            least in 0_u32..60,
        ) {
            let all: u32 = parts.iter().sum();
            let may_go = all.saturating_sub(least);
            for (part, found) in parts.iter().zip(here(&json!({"minAvailable": least}), &parts)) {
                let kept = found.unwrap().1;
                prop_assert!(kept <= *part);
                let gone = part - kept;
                prop_assert!(gone <= 1 || gone * all <= may_go * part);
                prop_assert!(gone == 0 || may_go > 0);
                prop_assert!(gone > 0 || may_go == 0 || *part == 0);
            }
        }
    }
}
