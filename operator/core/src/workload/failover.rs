//! When a part of a workload leaves a member, and when it moves back. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Manifest, Mode, WorkloadSpec};

/// How long replicas stay with a member that does not keep them ready, unless the workload says.
const UNHEALTHY_AFTER: Duration = Duration::from_mins(1);

/// How long a member that is back must be well before it gets its part again, unless the workload says: long enough that a link
/// or a machine that fails again does so before.
const FAILBACK_AFTER: Duration = Duration::from_mins(10);

/// The fields by which a pod gets a volume that outlives it, in whatever they are nested.
const CLAIMS: [&str; 2] = ["persistentVolumeClaim", "volumeClaimTemplates"];

/// When a workload leaves a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Failover {
    /// How long a share stays with a member that refuses it, in seconds.
    pub unplaceable_after_seconds: u32,
    /// Whether a share of a silent member is placed elsewhere in addition, before its lease ends.
    #[serde(skip_serializing_if = "is_default")]
    pub surge: SurgeWhen,
    /// How long replicas stay with a member that does not keep them ready, in seconds; 0 is for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unhealthy_after_seconds: Option<u32>,
    /// How long a member that is back must be well before it gets its part again, in seconds; 0 is never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failback_after_seconds: Option<u32>,
}

/// When replicas are placed in addition to what was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SurgeWhen {
    /// While a member that has some is silent.
    #[default]
    MemberSilent,
    /// Never.
    Never,
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            unplaceable_after_seconds: 60,
            surge: SurgeWhen::default(),
            unhealthy_after_seconds: None,
            failback_after_seconds: None,
        }
    }
}

impl Failover {
    /// How long a share stays with a member that refuses it.
    #[must_use]
    pub fn unplaceable_after(self) -> Duration {
        Duration::from_secs(self.unplaceable_after_seconds.into())
    }
}

/// A duration of a specification, where 0 is for never.
fn unless_never(seconds: u32) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds.into()))
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl WorkloadSpec {
    /// How long replicas stay with a member that does not keep them ready; `None` is for ever.
    ///
    /// Unless the workload says, that is a minute where it is divided and has no claims: a `Single` copy on a node that died
    /// cannot be confirmed to have stopped, and what is in a volume does not move along.
    #[must_use]
    pub fn unhealthy_after(&self) -> Option<Duration> {
        match self.failover.unhealthy_after_seconds {
            Some(seconds) => unless_never(seconds),
            None if self.placement.mode != Mode::Divided || self.has_claims() => None,
            None => Some(UNHEALTHY_AFTER),
        }
    }

    /// How long a member that is back must be well before it gets its part again; `None` is never. What may not run twice for a
    /// moment does not move back by itself.
    #[must_use]
    pub fn failback_after(&self) -> Option<Duration> {
        let named = self.failover.failback_after_seconds;
        let after = named.map_or(Some(FAILBACK_AFTER), unless_never);
        after.filter(|_| self.may_surge())
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
