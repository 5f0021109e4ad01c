//! The kinds that the API server serves, and the documents that say so.

use hanse_crds::{FederatedWorkload, Federation, HostingPolicy, Member};
use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Namespace, Node, Pod, Secret},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::Resource;
use serde_json::{Value, json};

/// What can be done with every kind.
const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// A kind of object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// Its group; empty for the core group.
    pub group: String,
    /// The one version in which it is served.
    pub version: String,
    /// Its name in paths.
    pub plural: String,
    /// Its name in objects.
    pub kind: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
}

impl Kind {
    /// The kind of a type.
    #[must_use]
    pub fn of<K: Resource<DynamicType = ()>>(namespaced: bool) -> Self {
        Self {
            group: K::group(&()).into_owned(),
            version: K::version(&()).into_owned(),
            plural: K::plural(&()).into_owned(),
            kind: K::kind(&()).into_owned(),
            namespaced,
        }
    }

    /// The group and version, as objects name them.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.clone()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Whether it is the kind of this name in this group.
    #[must_use]
    pub fn is(&self, group: &str, kind: &str) -> bool {
        self.group == group && self.kind == kind
    }
}

/// Every kind that is served.
#[must_use]
pub fn served() -> Vec<Kind> {
    vec![
        Kind::of::<Namespace>(false),
        Kind::of::<Node>(false),
        Kind::of::<ConfigMap>(true),
        Kind::of::<Pod>(true),
        Kind::of::<Secret>(true),
        Kind::of::<Deployment>(true),
        Kind::of::<k8s_openapi::api::events::v1::Event>(true),
        Kind::of::<CustomResourceDefinition>(false),
        Kind::of::<Federation>(false),
        Kind::of::<Member>(false),
        Kind::of::<HostingPolicy>(false),
        Kind::of::<FederatedWorkload>(true),
    ]
}

/// The document at the discovery path `segments`, if there is one there: in the aggregated form or in the older one.
#[must_use]
pub fn document(kinds: &[Kind], segments: &[&str], aggregated: bool) -> Option<Value> {
    match segments {
        ["api"] if aggregated => Some(aggregate(kinds, str::is_empty)),
        ["apis"] if aggregated => Some(aggregate(kinds, |group| !group.is_empty())),
        ["api"] => Some(json!({"kind": "APIVersions", "versions": ["v1"]})),
        ["apis"] => Some(groups(kinds)),
        ["api", version] => resources(kinds, "", version),
        ["apis", group, version] => resources(kinds, group, version),
        _ => None,
    }
}

/// Group and version of each group, in order.
fn versions(kinds: &[Kind]) -> Vec<(&str, &str)> {
    let mut versions: Vec<_> = kinds
        .iter()
        .map(|kind| (kind.group.as_str(), kind.version.as_str()))
        .collect();
    versions.sort_unstable();
    versions.dedup();
    versions
}

fn of_group<'k>(kinds: &'k [Kind], group: &str, version: &str) -> impl Iterator<Item = &'k Kind> {
    kinds
        .iter()
        .filter(move |kind| kind.group == group && kind.version == version)
}

fn groups(kinds: &[Kind]) -> Value {
    let named = versions(kinds)
        .into_iter()
        .filter(|(group, _)| !group.is_empty());
    let groups: Vec<Value> = named
        .map(|(group, version)| {
            let served = json!({"groupVersion": format!("{group}/{version}"), "version": version});
            json!({"name": group, "versions": [served], "preferredVersion": served})
        })
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn resources(kinds: &[Kind], group: &str, version: &str) -> Option<Value> {
    let resource = |kind: &Kind| {
        json!({
            "name": kind.plural, "singularName": "", "namespaced": kind.namespaced, "kind": kind.kind, "verbs": VERBS,
        })
    };
    let all: Vec<Value> = of_group(kinds, group, version).map(resource).collect();
    let first = of_group(kinds, group, version).next()?;
    Some(json!({
        "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": first.api_version(), "resources": all,
    }))
}

fn aggregate(kinds: &[Kind], is_wanted: impl Fn(&str) -> bool) -> Value {
    let wanted = versions(kinds)
        .into_iter()
        .filter(|(group, _)| is_wanted(group));
    let resource = |kind: &Kind| {
        let scope = if kind.namespaced {
            "Namespaced"
        } else {
            "Cluster"
        };
        json!({
            "resource": kind.plural, "singularResource": "", "scope": scope, "verbs": VERBS,
            "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        })
    };
    let items: Vec<Value> = wanted
        .map(|(group, version)| {
            let all: Vec<Value> = of_group(kinds, group, version).map(resource).collect();
            let version = json!({"version": version, "freshness": "Current", "resources": all});
            json!({"metadata": {"name": group}, "versions": [version]})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}
