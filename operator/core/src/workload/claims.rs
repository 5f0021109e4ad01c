//! How long replicas that are not ready stay where they are: those with data longer than others. Pure.

use std::time::Duration;

use serde_json::Value;

use super::{Manifest, Mode, WorkloadSpec};

/// How long replicas stay with a member that does not keep them ready, unless the workload says.
const USUAL: Duration = Duration::from_mins(1);

/// The fields by which a pod gets a volume that outlives it, in whatever they are nested.
const CLAIMS: [&str; 2] = ["persistentVolumeClaim", "volumeClaimTemplates"];

impl WorkloadSpec {
    /// How long replicas stay with a member that does not keep them ready; `None` is for ever.
    ///
    /// Without a word of its author that is a minute where the workload is divided and has no claims. A `Single` copy on a node
    /// that died cannot be confirmed to have stopped, and what is in a volume does not move along.
    #[must_use]
    pub fn unhealthy_after(&self) -> Option<Duration> {
        match self.failover.unhealthy_after_seconds {
            Some(0) => None,
            Some(seconds) => Some(Duration::from_secs(seconds.into())),
            None if self.placement.mode != Mode::Divided || self.has_claims() => None,
            None => Some(USUAL),
        }
    }

    fn has_claims(&self) -> bool {
        let claims = |manifest: &Manifest| {
            manifest.group_kind().kind == "PersistentVolumeClaim" || has_claims(manifest.object())
        };
        self.manifests.iter().any(claims)
    }
}

fn has_claims(value: &Value) -> bool {
    match value {
        Value::Object(fields) => fields
            .iter()
            .any(|(name, value)| CLAIMS.contains(&name.as_str()) || has_claims(value)),
        Value::Array(items) => items.iter().any(has_claims),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::workload::PlacementRules;

    fn seconds(mode: Mode, named: Option<u32>, object: Value) -> Option<u64> {
        let rules = PlacementRules::new(mode);
        let mut spec = WorkloadSpec::new(vec![object], rules, &"shop".parse().unwrap()).unwrap();
        spec.failover.unhealthy_after_seconds = named;
        spec.unhealthy_after().map(|after| after.as_secs())
    }

    fn web(volumes: &Value) -> Value {
        let pod = json!({"containers": [], "volumes": volumes});
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": {"spec": pod}},
        })
    }

    #[test]
    fn a_minute_unless_there_is_one_copy_or_a_claim_or_the_author_says() {
        let plain = || web(&json!([{"name": "x", "emptyDir": {}}]));
        let claiming = || web(&json!([{"name": "x", "persistentVolumeClaim": {"claimName": "x"}}]));
        assert_eq!(seconds(Mode::Divided, None, plain()), Some(60));
        assert_eq!(seconds(Mode::Divided, None, claiming()), None);
        assert_eq!(seconds(Mode::Single, None, plain()), None);
        assert_eq!(seconds(Mode::Divided, Some(0), plain()), None);
        assert_eq!(seconds(Mode::Divided, Some(300), claiming()), Some(300));
        assert_eq!(seconds(Mode::Single, Some(90), plain()), Some(90));
        let claim =
            json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "x"}});
        assert_eq!(seconds(Mode::Divided, None, claim), None);
    }
}
