//! Manifests as a user writes them, each in one line of YAML.

/// A Deployment of the pause image with this many replicas. Its label `app` is its name.
#[must_use]
pub fn deployment(name: &str, replicas: u32) -> String {
    format!(
        "{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}}}, spec: {{replicas: {replicas}, selector: \
         {{matchLabels: {{app: {name}}}}}, template: {{metadata: {{labels: {{app: {name}}}}}, spec: {{containers: \
         [{{name: app, image: registry.k8s.io/pause:3.10}}]}}}}}}}}"
    )
}

/// The same workload with these rules for `spec.failover`.
#[must_use]
pub fn with_failover(workload: &str, rules: &str) -> String {
    workload.replacen("spec:\n", &format!("spec:\n  failover: {rules}\n"), 1)
}

/// A `FederatedWorkload` with these manifests and this `placement`.
#[must_use]
pub fn workload(name: &str, namespace: &str, placement: &str, manifests: &[&str]) -> String {
    let manifests = manifests.join("\n    - ");
    format!(
        "apiVersion: hanse.dev/v1alpha1\nkind: FederatedWorkload\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
         spec:\n  placement: {placement}\n  manifests:\n    - {manifests}\n"
    )
}

/// A definition of a namespaced kind in group `hanse.example` whose objects may have any fields. Each of `versions` is what its
/// version has besides, in flow style.
#[must_use]
pub fn definition(kind: &str, plural: &str, versions: &[&str]) -> String {
    const ANY: &str = "served: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}";
    let versions = versions
        .iter()
        .map(|version| format!("{{{ANY}, {version}}}"));
    let versions = versions.collect::<Vec<_>>().join(", ");
    format!(
        "{{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {{name: {plural}.hanse.example}}, spec: \
         {{group: hanse.example, scope: Namespaced, names: {{kind: {kind}, plural: {plural}}}, versions: [{versions}]}}}}"
    )
}
