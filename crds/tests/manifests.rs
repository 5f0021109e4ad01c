//! The committed YAML is what the types say.

#![allow(
    clippy::unwrap_used,
    reason = "a test is allowed to stop at what it did not expect"
)]

use std::{collections::BTreeMap, env, fs, path::PathBuf};

/// Set to anything, the test writes the files instead of comparing them.
const UPDATE: &str = "UPDATE_MANIFESTS";

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("manifests")
}

fn generated() -> BTreeMap<String, String> {
    hanse_crds::manifests()
        .unwrap()
        .into_iter()
        .map(|manifest| (manifest.file_name, manifest.yaml))
        .collect()
}

fn committed() -> BTreeMap<String, String> {
    fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.file_name().into_string().unwrap(),
                fs::read_to_string(entry.path()).unwrap(),
            )
        })
        .collect()
}

fn write() {
    for name in committed().keys() {
        fs::remove_file(folder().join(name)).unwrap();
    }
    for (name, yaml) in generated() {
        fs::write(folder().join(name), yaml).unwrap();
    }
}

#[test]
fn the_committed_manifests_are_generated_from_the_types() {
    if env::var_os(UPDATE).is_some() {
        write();
    }
    let (generated, committed) = (generated(), committed());
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        names(&generated),
        names(&committed),
        "run: {UPDATE}=1 cargo test -p hanse-crds --test manifests"
    );
    for (name, yaml) in generated {
        assert!(
            yaml == committed[&name],
            "{name} is stale; run: {UPDATE}=1 cargo test -p hanse-crds --test manifests"
        );
    }
}

#[test]
fn the_stream_holds_every_definition_once_in_a_fixed_order() {
    let names: Vec<_> = hanse_crds::manifest_yaml()
        .unwrap()
        .split("---\n")
        .map(|document| serde_yaml::from_str::<serde_yaml::Value>(document).unwrap())
        .map(|crd| crd["metadata"]["name"].as_str().unwrap().to_owned())
        .collect();
    let expected = [
        "federatedworkloads",
        "members",
        "hostingpolicies",
        "federations",
    ]
    .map(|plural| format!("{plural}.hanse.dev"));
    assert_eq!(names, expected);
}
