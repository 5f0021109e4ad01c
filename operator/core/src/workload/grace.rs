//! How long a pod of a workload may take to end after it was asked to. Pure.

use serde_json::Value;

use super::{Manifest, Stop, WorkloadSpec};

/// The field of a pod's specification.
const FIELD: &str = "terminationGracePeriodSeconds";

/// What Kubernetes gives a pod that does not say.
const DEFAULT_SECONDS: u32 = 30;

impl WorkloadSpec {
    /// The longest grace period of a pod of this workload, in seconds; 0 if it runs none.
    #[must_use]
    pub fn grace_seconds(&self) -> u32 {
        let manifests = self.manifests.iter();
        manifests.map(Manifest::grace_seconds).max().unwrap_or(0)
    }
}

impl Manifest {
    fn grace_seconds(&self) -> u32 {
        if self.stop() == Ok(Some(Stop::Nothing)) {
            return 0;
        }
        let named = longest(self.object());
        match self.group_kind().stop() {
            Some(_) => named.unwrap_or(DEFAULT_SECONDS),
            // An object of a custom kind may run other pods than those it describes.
            None => named.unwrap_or(0).max(DEFAULT_SECONDS),
        }
    }
}

/// The longest period that is named anywhere in an object. Only pods have this field, in whatever they are nested.
fn longest(value: &Value) -> Option<u32> {
    let inner = match value {
        Value::Object(fields) => fields.values().filter_map(longest).max(),
        Value::Array(items) => items.iter().filter_map(longest).max(),
        _ => None,
    };
    let own = value.get(FIELD).and_then(Value::as_u64);
    inner.max(own.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn grace(object: Value) -> u32 {
        Manifest::try_from(object).unwrap().grace_seconds()
    }

    fn manifest(api_version: &str, kind: &str, spec: &Value) -> Value {
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, "spec": spec})
    }

    #[test]
    fn a_pod_has_the_grace_period_it_names_or_that_of_kubernetes_wherever_it_is_nested() {
        let pod = json!({FIELD: 90});
        let template = json!({"template": {"spec": pod}});
        let cron_job = json!({"jobTemplate": {"spec": template}});
        assert_eq!(grace(manifest("v1", "Pod", &pod)), 90);
        assert_eq!(grace(manifest("apps/v1", "StatefulSet", &template)), 90);
        assert_eq!(grace(manifest("batch/v1", "CronJob", &cron_job)), 90);
        let short = json!({"template": {"spec": {FIELD: 2}}});
        assert_eq!(grace(manifest("apps/v1", "Deployment", &short)), 2);
        assert_eq!(grace(manifest("apps/v1", "Deployment", &json!({}))), 30);
    }

    #[test]
    fn a_custom_kind_has_at_least_the_default_and_what_runs_nothing_has_none() {
        let database = |seconds: u32| {
            manifest(
                "db.example.com/v1",
                "Database",
                &json!({"pods": [{FIELD: seconds}]}),
            )
        };
        assert_eq!(grace(database(2)), 30);
        assert_eq!(grace(database(90)), 90);
        let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}, "data": {"a": "b"}});
        assert_eq!(grace(config), 0);
    }
}
