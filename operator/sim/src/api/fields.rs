//! Who owns which field of an object, and what server-side apply makes of it.
//!
//! As in Kubernetes, with one thing left out: a list is one field here, whatever its schema says. So two managers cannot own
//! items of one list, as they can own the containers of a pod.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

/// The names on the way from an object to one of its fields.
pub type Path = Vec<String>;

/// The fields of the metadata that belong to the API server or that name the object.
const NOBODYS: [&str; 9] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
];

/// Who writes, and how.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    /// Its name.
    pub name: String,
    /// Whether it applies; otherwise it updates, which is another manager of the same name.
    pub applies: bool,
    /// Whether it writes the status.
    pub status: bool,
}

/// The fields of each manager.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ownership(BTreeMap<Manager, BTreeSet<Path>>);

/// A field that another manager owns with another value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// Whose it is.
    pub manager: String,
    /// Which it is.
    pub field: String,
}

impl Ownership {
    /// What becomes of `live` when `manager` applies `wanted`. What it applied before and does not want any more is removed
    /// unless another owns it too. Unless `force`, a field that others own with another value is a conflict.
    pub fn apply(
        &mut self,
        live: &Value,
        wanted: &Value,
        manager: &Manager,
        force: bool,
    ) -> Result<Value, Vec<Conflict>> {
        let (new, now) = (leaves(wanted), leaves(live));
        let differs = |path: &Path| now.get(path) != new.get(path);
        let others = self.0.iter().filter(|(other, _)| *other != manager);
        let conflicts: Vec<Conflict> = others
            .flat_map(|(other, paths)| paths.iter().map(move |path| (other, path)))
            .filter(|(_, path)| new.contains_key(*path) && differs(path))
            .map(|(other, path)| Conflict {
                manager: other.name.clone(),
                field: format!(".{}", path.join(".")),
            })
            .collect();
        if !conflicts.is_empty() && !force {
            return Err(conflicts);
        }
        let wanted_now: BTreeSet<Path> = new.keys().cloned().collect();
        let before = self
            .0
            .insert(manager.clone(), wanted_now.clone())
            .unwrap_or_default();
        self.take_from_others(
            manager,
            &wanted_now.iter().filter(|path| differs(path)).collect(),
        );
        let mut result = live.clone();
        for path in before.difference(&wanted_now) {
            let shared = self.0.values().any(|paths| paths.contains(path));
            if !shared {
                remove(&mut result, path);
            }
        }
        for (path, value) in new {
            put(&mut result, &path, value.clone());
        }
        self.0.retain(|_, paths| !paths.is_empty());
        Ok(result)
    }

    /// Notes that `manager` made `after` out of `before`: what it changed is its own now.
    pub fn update(&mut self, before: &Value, after: &Value, manager: &Manager) {
        let (old, new) = (leaves(before), leaves(after));
        let changed: BTreeSet<Path> = new
            .iter()
            .filter(|(path, value)| old.get(*path) != Some(value))
            .map(|(path, _)| path.clone())
            .collect();
        let gone = old.keys().filter(|path| !new.contains_key(*path));
        let touched: BTreeSet<&Path> = changed.iter().chain(gone).collect();
        self.take_from_others(manager, &touched);
        let own = self.0.entry(manager.clone()).or_default();
        own.retain(|path| new.contains_key(path));
        own.extend(changed);
        self.0.retain(|_, paths| !paths.is_empty());
    }

    fn take_from_others(&mut self, manager: &Manager, touched: &BTreeSet<&Path>) {
        let others = self.0.iter_mut().filter(|(other, _)| *other != manager);
        others.for_each(|(_, paths)| paths.retain(|path| !touched.contains(path)));
    }

    /// As `metadata.managedFields` has it.
    #[must_use]
    pub fn managed_fields(&self, api_version: &str) -> Value {
        let entry = |(manager, paths): (&Manager, &BTreeSet<Path>)| {
            let mut fields = json!({});
            for path in paths {
                let named: Path = path.iter().map(|name| format!("f:{name}")).collect();
                put(&mut fields, &named, json!({}));
            }
            let mut entry = json!({
                "manager": manager.name,
                "operation": if manager.applies { "Apply" } else { "Update" },
                "apiVersion": api_version,
                "fieldsType": "FieldsV1",
                "fieldsV1": fields,
            });
            if manager.status {
                entry["subresource"] = json!("status");
            }
            entry
        };
        self.0.iter().map(entry).collect()
    }
}

/// The fields of an object that somebody can own, with their values.
fn leaves(object: &Value) -> BTreeMap<Path, &Value> {
    let mut found = BTreeMap::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        if !matches!(name.as_str(), "apiVersion" | "kind") {
            collect(value, &mut vec![name.clone()], &mut found);
        }
    }
    found
}

fn collect<'v>(value: &'v Value, path: &mut Path, found: &mut BTreeMap<Path, &'v Value>) {
    if matches!(path.as_slice(), [first, second] if first == "metadata" && NOBODYS.contains(&second.as_str()))
    {
        return;
    }
    match value.as_object().filter(|fields| !fields.is_empty()) {
        None => {
            found.insert(path.clone(), value);
        }
        Some(fields) => {
            for (name, value) in fields {
                path.push(name.clone());
                collect(value, path, found);
                path.pop();
            }
        }
    }
}

fn put(object: &mut Value, path: &[String], value: Value) {
    let Some((name, rest)) = path.split_first() else {
        *object = value;
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    put(&mut object[name.as_str()], rest, value);
}

/// Removes a field, and the objects around it that are empty then.
fn remove(object: &mut Value, path: &[String]) {
    let Some((name, rest)) = path.split_first() else {
        return;
    };
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    if let Some(inner) = fields.get_mut(name) {
        remove(inner, rest);
        if rest.is_empty() || inner.as_object().is_some_and(Map::is_empty) {
            fields.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(name: &str, applies: bool) -> Manager {
        Manager {
            name: name.to_owned(),
            applies,
            status: false,
        }
    }

    #[test]
    fn what_is_no_longer_applied_is_removed_unless_another_has_it_too() {
        let mut ownership = Ownership::default();
        let (hanse, other) = (manager("hanse", true), manager("other", true));
        let wanted = json!({"metadata": {"name": "web", "labels": {"a": "1", "b": "2"}}, "spec": {"replicas": 2}});
        let first = ownership.apply(&json!({}), &wanted, &hanse, false).unwrap();
        let shared = json!({"metadata": {"labels": {"a": "1"}}});
        let second = ownership.apply(&first, &shared, &other, false).unwrap();
        assert_eq!(
            second,
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"replicas": 2}})
        );
        let third = ownership
            .apply(&second, &json!({"spec": {"replicas": 3}}), &hanse, false)
            .unwrap();
        assert_eq!(
            third,
            json!({"metadata": {"labels": {"a": "1"}}, "spec": {"replicas": 3}})
        );
    }

    #[test]
    fn a_field_of_another_manager_is_a_conflict_and_is_taken_over_by_force() {
        let mut ownership = Ownership::default();
        let (hanse, kubectl) = (manager("hanse", true), manager("kubectl-edit", false));
        let three = json!({"spec": {"replicas": 3}});
        let live = ownership.apply(&json!({}), &three, &hanse, false).unwrap();
        let edited = json!({"spec": {"replicas": 5}});
        ownership.update(&live, &edited, &kubectl);
        assert_eq!(
            ownership.managed_fields("apps/v1"),
            json!([{
                "manager": "kubectl-edit", "operation": "Update", "apiVersion": "apps/v1", "fieldsType": "FieldsV1",
                "fieldsV1": {"f:spec": {"f:replicas": {}}},
            }])
        );
        let conflict = Conflict {
            manager: "kubectl-edit".to_owned(),
            field: ".spec.replicas".to_owned(),
        };
        let refused = ownership.clone().apply(&edited, &three, &hanse, false);
        assert_eq!(refused, Err(vec![conflict]));
        assert_eq!(
            ownership.apply(&edited, &three, &hanse, true),
            Ok(three.clone())
        );
        assert_eq!(
            ownership.managed_fields("apps/v1")[0]["manager"],
            json!("hanse")
        );
    }

    #[test]
    fn an_update_that_removes_a_field_takes_it_from_who_applied_it() {
        let mut ownership = Ownership::default();
        let live = json!({"metadata": {"labels": {"a": "1"}}, "data": {}});
        let live = ownership
            .apply(&json!({}), &live, &manager("hanse", true), false)
            .unwrap();
        let stripped = json!({"data": {}});
        ownership.update(&live, &stripped, &manager("kubectl-label", false));
        assert_eq!(
            ownership.managed_fields("v1")[0]["fieldsV1"],
            json!({"f:data": {}})
        );
    }
}
