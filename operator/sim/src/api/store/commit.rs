//! How a write is checked, stored as a revision and remembered for watches.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    super::fields::Ownership, Author, Change, Id, KEPT_CHANGES, Refusal, Store, Stored, manager,
};

/// The metadata that every write changes.
const BOOKKEEPING: [&str; 5] = [
    "resourceVersion",
    "generation",
    "managedFields",
    "uid",
    "creationTimestamp",
];

impl Store {
    pub(super) fn update(
        &mut self,
        id: &Id,
        object: Value,
        author: &Author,
    ) -> Result<Arc<Value>, Refusal> {
        let before = self.objects.get(id).cloned();
        let (live, mut ownership) = match before {
            Some(Stored { object, ownership }) => ((*object).clone(), ownership),
            None => (self.empty(id), Ownership::default()),
        };
        self.check_preconditions(id, &object, &live)?;
        let (mut next, status) = if author.status {
            (live.clone(), object["status"].clone())
        } else {
            (object, live["status"].clone())
        };
        match status {
            Value::Null => remove_field(&mut next, "status"),
            status => next["status"] = status,
        }
        next["apiVersion"] = live["apiVersion"].clone();
        next["kind"] = live["kind"].clone();
        next["metadata"]["name"] = live["metadata"]["name"].clone();
        if !id.namespace.is_empty() {
            next["metadata"]["namespace"] = json!(id.namespace);
        }
        ownership.update(&live, &next, &manager(author, false));
        self.commit(id, next, ownership, author)
    }

    fn check_preconditions(&self, id: &Id, object: &Value, live: &Value) -> Result<(), Refusal> {
        for field in ["uid", "resourceVersion"] {
            self.same(
                field,
                object["metadata"][field].as_str(),
                &live["metadata"],
                id,
            )?;
        }
        Ok(())
    }

    pub(super) fn same(
        &self,
        field: &str,
        wanted: Option<&str>,
        live: &Value,
        id: &Id,
    ) -> Result<(), Refusal> {
        let is = live[field].as_str();
        if wanted.is_none_or(|wanted| wanted.is_empty() || Some(wanted) == is) {
            return Ok(());
        }
        let message = format!(
            "{} has another {field}: the object has been modified",
            self.words(id)
        );
        Err(Refusal::new(409, "Conflict", message))
    }

    pub(super) fn commit(
        &mut self,
        id: &Id,
        next: Value,
        ownership: Ownership,
        author: &Author,
    ) -> Result<Arc<Value>, Refusal> {
        let before = self.objects.get(id);
        let is_same =
            |stored: &Stored| stored.ownership == ownership && is_same(&stored.object, &next);
        if let Some(stored) = before.filter(|stored| is_same(stored)) {
            return Ok(stored.object.clone());
        }
        if author.dry_run {
            return Ok(Arc::new(next));
        }
        Ok(self.put(id, next, ownership))
    }

    /// Stores an object at the next revision, or removes it if it was only waiting for its finalizers.
    pub(super) fn put(&mut self, id: &Id, mut next: Value, ownership: Ownership) -> Arc<Value> {
        self.revision += 1;
        let before = self.objects.get(id).map(|stored| stored.object.clone());
        let metadata = before.as_ref().map(|before| &before["metadata"]);
        let generation = match (&before, metadata) {
            (Some(before), Some(metadata)) => {
                let meant = |object: &Value| {
                    (
                        object["spec"].clone(),
                        object["metadata"]["deletionTimestamp"].clone(),
                    )
                };
                let changed = i64::from(meant(before) != meant(&next));
                metadata["generation"].as_i64().unwrap_or(1) + changed
            }
            _ => 1,
        };
        let uid = metadata.map_or_else(
            || json!(format!("uid-{}", self.revision)),
            |it| it["uid"].clone(),
        );
        let api_version = self.kinds[id.kind].api_version();
        next["metadata"]["uid"] = uid;
        next["metadata"]["generation"] = json!(generation);
        next["metadata"]["creationTimestamp"] = json!("2027-01-15T08:00:00Z");
        next["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        next["metadata"]["managedFields"] = ownership.managed_fields(&api_version);
        if next["metadata"]["deletionTimestamp"].is_null() {
            remove_field(&mut next["metadata"], "deletionTimestamp");
        }
        let held = next["metadata"]["finalizers"]
            .as_array()
            .is_some_and(|it| !it.is_empty());
        let ends = next["metadata"]["deletionTimestamp"].is_string() && !held;
        let object = Arc::new(next);
        let after = (!ends).then(|| object.clone());
        match &after {
            Some(object) => {
                let object = object.clone();
                self.objects
                    .insert(id.clone(), Stored { object, ownership });
            }
            None => drop(self.objects.remove(id)),
        }
        // Of what is gone its last content is kept.
        let before = if ends { Some(object.clone()) } else { before };
        self.changes.push_back(Change {
            revision: self.revision,
            id: id.clone(),
            before,
            after,
        });
        if self.changes.len() > KEPT_CHANGES {
            self.changes.pop_front();
        }
        object
    }

    pub(super) fn may_create(&self, id: &Id) -> Result<(), Refusal> {
        if id.namespace.is_empty() {
            return Ok(());
        }
        let namespace = Id {
            kind: self.kind("", "Namespace"),
            namespace: String::new(),
            name: id.namespace.clone(),
        };
        let found = self.get(&namespace)?;
        if found["metadata"]["deletionTimestamp"].is_null() {
            return Ok(());
        }
        let message = format!(
            "{} is forbidden: unable to create new content in namespace {} because it is being terminated",
            self.words(id),
            id.namespace
        );
        let cause = json!({"reason": "NamespaceTerminating", "message": message, "field": "metadata.namespace"});
        Err(Refusal {
            causes: vec![cause],
            ..Refusal::new(403, "Forbidden", message)
        })
    }
}

pub(super) fn remove_field(object: &mut Value, name: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(name);
    }
}

/// Whether two contents are the same but for what the API server itself writes.
fn is_same(one: &Value, other: &Value) -> bool {
    let differs = |name: &&String, one: &Value, other: &Value, ignored: &[&str]| {
        !ignored.contains(&name.as_str()) && one[name.as_str()] != other[name.as_str()]
    };
    let any = |one: &Value, other: &Value, ignored: &[&str]| {
        let names = [one, other].into_iter().filter_map(Value::as_object);
        let mut names = names.flat_map(serde_json::Map::keys);
        names.any(|name| differs(&name, one, other, ignored))
    };
    !any(one, other, &["metadata"]) && !any(&one["metadata"], &other["metadata"], &BOOKKEEPING)
}
