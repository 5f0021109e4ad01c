//! The examples are read as the types they show, and every field in them is known.

#![allow(
    clippy::unwrap_used,
    reason = "a test is allowed to stop at what it did not expect"
)]

use std::{fs, path::PathBuf};

use hanse_crds::{FederatedWorkload, HostingPolicy, PlacementMode, names::API_VERSION};
use serde::{Serialize, de::DeserializeOwned};
use serde_yaml::Value;

fn documents(file: &str) -> Vec<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../examples")
        .join(file);
    let text = fs::read_to_string(path).unwrap();
    serde_yaml::Deserializer::from_str(&text)
        .map(|document| serde::Deserialize::deserialize(document).unwrap())
        .collect()
}

/// The only object of this group in the file, read and written again.
fn read<T: DeserializeOwned + Serialize>(file: &str) -> T {
    let own: Vec<_> = documents(file)
        .into_iter()
        .filter(|document| document["apiVersion"] == API_VERSION)
        .collect();
    let [document] = own.try_into().unwrap();
    let object: T = serde_yaml::from_value(document.clone()).unwrap();
    assert_contains(&serde_yaml::to_value(&object).unwrap(), &document, file);
    object
}

/// A field that the type does not know is lost on the way through it.
fn assert_contains(written: &Value, read: &Value, path: &str) {
    match (written, read) {
        (Value::Mapping(written), Value::Mapping(read)) => {
            for (key, value) in read {
                let path = format!("{path}.{}", key.as_str().unwrap());
                assert_contains(written.get(key).unwrap_or(&Value::Null), value, &path);
            }
        }
        (Value::Sequence(written), Value::Sequence(read)) if written.len() == read.len() => {
            written
                .iter()
                .zip(read)
                .for_each(|(written, read)| assert_contains(written, read, &format!("{path}[]")));
        }
        _ => assert_eq!(written, read, "{path}"),
    }
}

fn kinds(workload: &FederatedWorkload) -> Vec<&str> {
    workload
        .spec
        .manifests
        .iter()
        .map(|manifest| manifest["kind"].as_str().unwrap())
        .collect()
}

#[test]
fn web_divides_six_replicas() {
    let web: FederatedWorkload = read("web.yaml");
    assert_eq!(
        (web.spec.placement.mode, web.spec.placement.replicas),
        (PlacementMode::Divided, Some(6))
    );
    assert_eq!(kinds(&web), ["ConfigMap", "Deployment", "Service"]);
}

#[test]
fn duplicated_runs_two_replicas_in_every_host() {
    let resolver: FederatedWorkload = read("duplicated.yaml");
    assert_eq!(
        (
            resolver.spec.placement.mode,
            resolver.spec.placement.replicas
        ),
        (PlacementMode::Duplicated, Some(2))
    );
}

#[test]
fn single_runs_one_copy_and_replaces_it_without_overlap() {
    let collector: FederatedWorkload = read("single.yaml");
    assert_eq!(
        (
            collector.spec.placement.mode,
            collector.spec.placement.replicas
        ),
        (PlacementMode::Single, None)
    );
    assert_eq!(
        collector.spec.manifests[0]["spec"]["strategy"]["type"],
        "Recreate"
    );
}

#[test]
fn the_hosting_policy_lets_in_every_object_of_every_example() {
    let policy: HostingPolicy = read("hosting-policy.yaml");
    let granted: Vec<_> = policy.spec.grants[0]
        .kinds
        .iter()
        .map(|granted| granted.kind.as_str())
        .collect();
    for file in ["web.yaml", "duplicated.yaml", "single.yaml"] {
        let workload: FederatedWorkload = read(file);
        assert!(
            kinds(&workload).iter().all(|kind| granted.contains(kind)),
            "{file}"
        );
    }
}
