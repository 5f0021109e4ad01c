//! Files that the user names: Kubernetes objects as YAML or JSON.

use std::{fs, io, path::Path};

use hanse_crds::FederatedWorkload;
use serde_json::Value;

use crate::{failure::Failure, yaml};

fn unreadable(path: &Path, why: &dyn ToString) -> Failure {
    Failure::ReadFile {
        path: path.to_owned(),
        why: why.to_string(),
    }
}

/// The objects of a file; `-` is standard input, as for kubectl.
pub(crate) fn objects(path: &Path) -> Result<Vec<Value>, Failure> {
    let text = if path == Path::new("-") {
        io::read_to_string(io::stdin())
    } else {
        fs::read_to_string(path)
    };
    let text = text.map_err(|error| unreadable(path, &error))?;
    yaml::read(&text).map_err(|error| unreadable(path, &error))
}

/// The workloads of a file. Other objects in it are left out.
pub(crate) fn workloads(path: &Path) -> Result<Vec<FederatedWorkload>, Failure> {
    let mut objects = objects(path)?;
    objects.retain(|object| object["kind"] == "FederatedWorkload");
    if objects.is_empty() {
        return Err(unreadable(path, &"it has no FederatedWorkload"));
    }
    let workloads = objects.into_iter().map(serde_json::from_value);
    let workloads: Result<_, serde_json::Error> = workloads.collect();
    workloads.map_err(|error| unreadable(path, &error))
}
