//! What the chart repeats from elsewhere is the same there. Whether it renders and installs is tried against real API
//! servers by the end-to-end tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::PathBuf,
};

use serde_json::Value;

/// Set to anything, the test writes the files instead of comparing them: the same as for `crds/manifests`.
const UPDATE: &str = "UPDATE_MANIFESTS";

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn chart(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../charts/hanse")
        .join(path)
}

fn read(path: &str) -> Result<String> {
    Ok(fs::read_to_string(chart(path))?)
}

/// The dotted paths of everything in `values.yaml` that is not itself a table.
fn leaves(path: &str, value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(table) if !table.is_empty() => {
            for (key, value) in table {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                leaves(&path, value, found);
            }
        }
        _ => drop(found.insert(path.to_owned())),
    }
}

fn values() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    leaves(
        "",
        &serde_yaml::from_str(&read("values.yaml")?)?,
        &mut found,
    );
    Ok(found)
}

/// Every word of `text` that is the name of a setting of the operator.
fn settings(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_uppercase() && c != '_');
    words.filter(|word| word.starts_with("HANSE_")).collect()
}

#[test]
fn the_chart_ships_the_definitions_of_the_types() {
    let generated: BTreeMap<String, String> = hanse_crds::manifests()
        .unwrap()
        .into_iter()
        .map(|manifest| (manifest.file_name, manifest.yaml))
        .collect();
    if env::var_os(UPDATE).is_some() {
        for (name, yaml) in &generated {
            fs::write(chart("files/crds").join(name), yaml).unwrap();
        }
    }
    let shipped: BTreeMap<String, String> = fs::read_dir(chart("files/crds"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    let names = |files: &BTreeMap<String, String>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&shipped), names(&generated));
    for (name, yaml) in generated {
        assert!(
            shipped[&name] == yaml,
            "{name} is stale; run: {UPDATE}=1 cargo test -p kubectl-hanse --test chart"
        );
    }
}

#[test]
fn every_definition_has_one_place_for_the_resource_policy() {
    for manifest in hanse_crds::manifests().unwrap() {
        let places = manifest.yaml.lines().filter(|line| *line == "metadata:");
        assert_eq!(places.count(), 1, "{}", manifest.file_name);
        assert!(
            !manifest.yaml.contains("\n  annotations:"),
            "{}",
            manifest.file_name
        );
    }
}

#[test]
fn every_value_is_explained() {
    let readme = read("README.md").unwrap();
    let explained: BTreeSet<String> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .map(str::to_owned)
        .collect();
    assert_eq!(explained, values().unwrap());
}

#[test]
fn the_schema_knows_every_value_and_refuses_others() {
    let schema: Value = serde_json::from_str(&read("values.schema.json").unwrap()).unwrap();
    for path in values().unwrap() {
        let mut known = &schema;
        for key in path.split('.') {
            // Below a table whose keys are free, such as `resources.requests`, nothing is named.
            if known["additionalProperties"] == Value::Bool(true) {
                break;
            }
            assert_eq!(known["additionalProperties"], Value::Bool(false), "{path}");
            known = &known["properties"][key];
            assert!(known.is_object(), "{path} is not in the schema");
        }
    }
}

#[test]
fn every_setting_it_makes_is_one_of_the_operator() {
    let made = read("templates/_env.tpl").unwrap();
    let known = read("../../operator/src/settings.rs").unwrap();
    let unknown: Vec<&str> = settings(&made)
        .difference(&settings(&known))
        .copied()
        .collect();
    assert_eq!(unknown, Vec::<&str>::new());
}

#[test]
fn every_alert_has_a_runbook() {
    let alerts = read("templates/monitoring.yaml").unwrap();
    let linked: BTreeSet<&str> = alerts
        .split("(list .runbookUrl \"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert_eq!(alerts.matches("- alert:").count(), linked.len());
    let folder = chart("../../docs/runbooks");
    let written: BTreeSet<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(
        written,
        linked.iter().map(|name| format!("{name}.md")).collect()
    );
}
