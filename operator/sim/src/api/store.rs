//! The objects of one cluster, each write a revision, and what became of them for those who watch.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde_json::{Value, json};

use self::commit::remove_field;
use super::{
    fields::{Conflict, Manager, Ownership},
    kinds::Kind,
    selector::Selector,
};

mod commit;

/// The changes that a watch can still be given. One that has missed more begins anew.
const KEPT_CHANGES: usize = 500;

/// The finalizer of what is to go only after what it owns.
pub const FOREGROUND: &str = "foregroundDeletion";

/// An object's place: the kind by its position among those served.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    /// The kind.
    pub kind: usize,
    /// Its namespace; empty if the kind has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// Who writes.
#[derive(Debug, Clone)]
pub struct Author {
    /// The field manager.
    pub manager: String,
    /// Whether only the status is written; otherwise everything else is.
    pub status: bool,
    /// Whether nothing is stored.
    pub dry_run: bool,
}

/// Which object is to be deleted, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deletion {
    /// It must have this identity.
    pub uid: Option<String>,
    /// It must have this revision.
    pub revision: Option<String>,
    /// Whether it is to go only after what it owns.
    pub foreground: bool,
}

/// Why a request was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The code of HTTP.
    pub code: u16,
    /// The reason in the vocabulary of Kubernetes.
    pub reason: &'static str,
    /// For people.
    pub message: String,
    /// The causes, as `details.causes` of a Status.
    pub causes: Vec<Value>,
}

impl Refusal {
    /// A refusal without causes.
    #[must_use]
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason,
            message: message.into(),
            causes: Vec::new(),
        }
    }
}

/// What a watch delivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The revision after it.
    pub revision: u64,
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub what: &'static str,
    /// The object; if it was deleted, as it was last.
    pub object: Arc<Value>,
}

#[derive(Debug, Clone)]
struct Stored {
    object: Arc<Value>,
    ownership: Ownership,
}

#[derive(Debug)]
struct Change {
    revision: u64,
    id: Id,
    before: Option<Arc<Value>>,
    after: Option<Arc<Value>>,
}

/// The objects.
#[derive(Debug)]
pub struct Store {
    kinds: Vec<Kind>,
    revision: u64,
    objects: BTreeMap<Id, Stored>,
    changes: VecDeque<Change>,
}

impl Store {
    /// Nothing of any of these kinds.
    #[must_use]
    pub fn new(kinds: Vec<Kind>) -> Self {
        Self {
            kinds,
            revision: 1,
            objects: BTreeMap::new(),
            changes: VecDeque::new(),
        }
    }

    /// The kinds that are served.
    #[must_use]
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// The revision of the last write.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The position of the kind of this name in this group.
    ///
    /// # Panics
    ///
    /// If it is not served.
    #[must_use]
    pub fn kind(&self, group: &str, kind: &str) -> usize {
        let at = self.kinds.iter().position(|it| it.is(group, kind));
        at.expect("a kind that is served")
    }

    /// The object at `id`.
    pub fn get(&self, id: &Id) -> Result<Arc<Value>, Refusal> {
        match self.objects.get(id) {
            Some(stored) => Ok(stored.object.clone()),
            None => Err(self.not_found(id)),
        }
    }

    /// The objects of a kind, in one namespace or, if that is empty, in all.
    pub fn list<'s>(
        &'s self,
        kind: usize,
        namespace: &'s str,
    ) -> impl Iterator<Item = (&'s Id, &'s Arc<Value>)> {
        let first = Id {
            kind,
            namespace: namespace.to_owned(),
            name: String::new(),
        };
        let of_kind = self
            .objects
            .range(first..)
            .take_while(move |(id, _)| id.kind == kind);
        of_kind
            .filter(move |(id, _)| namespace.is_empty() || id.namespace == namespace)
            .map(|(id, stored)| (id, &stored.object))
    }

    /// What is in a namespace.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Vec<Id> {
        let all = self.objects.keys();
        all.filter(|id| id.namespace == namespace)
            .cloned()
            .collect()
    }

    /// Stores a new object.
    pub fn create(
        &mut self,
        id: &Id,
        object: Value,
        author: &Author,
    ) -> Result<Arc<Value>, Refusal> {
        if self.objects.contains_key(id) {
            let message = format!("{} already exists", self.words(id));
            return Err(Refusal::new(409, "AlreadyExists", message));
        }
        self.may_create(id)?;
        self.update(id, object, author)
    }

    /// Stores another content of an object that exists.
    pub fn replace(
        &mut self,
        id: &Id,
        object: Value,
        author: &Author,
    ) -> Result<Arc<Value>, Refusal> {
        self.get(id)?;
        self.update(id, object, author)
    }

    /// Changes some fields of an object that exists.
    pub fn merge(
        &mut self,
        id: &Id,
        patch: &Value,
        author: &Author,
    ) -> Result<Arc<Value>, Refusal> {
        let mut object = (*self.get(id)?).clone();
        json_patch::merge(&mut object, patch);
        self.update(id, object, author)
    }

    /// Server-side apply.
    pub fn apply(
        &mut self,
        id: &Id,
        wanted: &Value,
        force: bool,
        author: &Author,
    ) -> Result<Arc<Value>, Refusal> {
        let before = self.objects.get(id).cloned();
        if before.is_none() {
            if author.status {
                return Err(self.not_found(id));
            }
            self.may_create(id)?;
        }
        let manager = manager(author, true);
        let (live, mut ownership) = match before {
            Some(Stored { object, ownership }) => ((*object).clone(), ownership),
            None => (self.empty(id), Ownership::default()),
        };
        let wanted = only(wanted, author.status);
        let applied = ownership.apply(&live, &wanted, &manager, force);
        let next = applied.map_err(|conflicts| owned_by_others(&conflicts))?;
        self.commit(id, next, ownership, author)
    }

    /// Deletes an object: at once, or, while it has finalizers, by a mark.
    pub fn delete(&mut self, id: &Id, how: &Deletion) -> Result<Arc<Value>, Refusal> {
        let stored = self.objects.get(id).cloned();
        let stored = stored.ok_or_else(|| self.not_found(id))?;
        let metadata = &stored.object["metadata"];
        self.same("uid", how.uid.as_deref(), metadata, id)?;
        self.same("resourceVersion", how.revision.as_deref(), metadata, id)?;
        let mut next = (*stored.object).clone();
        let marked = next["metadata"]["deletionTimestamp"].is_string();
        if !marked && (how.foreground || self.is_namespace(id)) {
            let finalizers = next["metadata"]["finalizers"].as_array().cloned();
            let mut finalizers = finalizers.unwrap_or_default();
            finalizers.push(json!(FOREGROUND));
            next["metadata"]["finalizers"] = json!(finalizers);
        }
        next["metadata"]["deletionTimestamp"] = json!("2027-01-15T08:00:00Z");
        Ok(self.put(id, next, stored.ownership))
    }

    /// Takes the finalizer of foreground deletion off an object whose dependents are gone.
    pub fn let_go(&mut self, id: &Id) {
        let Some(stored) = self.objects.get(id).cloned() else {
            return;
        };
        let mut next = (*stored.object).clone();
        if let Some(finalizers) = next["metadata"]["finalizers"].as_array_mut() {
            finalizers.retain(|finalizer| finalizer != FOREGROUND);
        }
        self.put(id, next, stored.ownership);
    }

    /// What those who watch a kind have missed since `revision`; `None` if that is too long ago.
    #[must_use]
    pub fn since(
        &self,
        revision: u64,
        kind: usize,
        namespace: &str,
        selector: &Selector,
    ) -> Option<Vec<Event>> {
        let oldest = self.changes.front().map(|change| change.revision);
        let complete =
            self.changes.len() < KEPT_CHANGES || oldest.is_some_and(|it| it <= revision + 1);
        let missed = self.changes.iter().rev();
        let missed = missed.take_while(|change| change.revision > revision);
        let of_kind = missed.filter(|change| {
            change.id.kind == kind && (namespace.is_empty() || change.id.namespace == namespace)
        });
        let mut events: Vec<Event> = of_kind
            .filter_map(|change| event(change, selector))
            .collect();
        events.reverse();
        complete.then_some(events)
    }

    fn empty(&self, id: &Id) -> Value {
        let kind = &self.kinds[id.kind];
        let mut object = json!({
            "apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": id.name},
        });
        if !id.namespace.is_empty() {
            object["metadata"]["namespace"] = json!(id.namespace);
        }
        object
    }

    fn is_namespace(&self, id: &Id) -> bool {
        self.kinds[id.kind].is("", "Namespace")
    }

    fn words(&self, id: &Id) -> String {
        format!("{} \"{}\"", self.kinds[id.kind].plural, id.name)
    }

    fn not_found(&self, id: &Id) -> Refusal {
        Refusal::new(404, "NotFound", format!("{} not found", self.words(id)))
    }
}

fn manager(author: &Author, applies: bool) -> Manager {
    Manager {
        name: author.manager.clone(),
        applies,
        status: author.status,
    }
}

/// The part of what is applied that counts: the status, or everything else.
fn only(wanted: &Value, status: bool) -> Value {
    if status {
        return json!({"status": wanted["status"]});
    }
    let mut wanted = wanted.clone();
    remove_field(&mut wanted, "status");
    wanted
}

fn owned_by_others(conflicts: &[Conflict]) -> Refusal {
    let causes = conflicts.iter().map(|conflict| {
        let message = format!("conflict with \"{}\"", conflict.manager);
        json!({"reason": "FieldManagerConflict", "message": message, "field": conflict.field})
    });
    let message = format!("Apply failed with {} conflicts", conflicts.len());
    Refusal {
        causes: causes.collect(),
        ..Refusal::new(409, "Conflict", message)
    }
}

/// What a watch with `selector` delivers of a change.
fn event(change: &Change, selector: &Selector) -> Option<Event> {
    let selects = |object: &&Arc<Value>| selector.selects(object);
    let (before, after) = (
        change.before.as_ref().filter(selects),
        change.after.as_ref().filter(selects),
    );
    let (what, object) = match (before, after) {
        (None, None) => return None,
        (None, Some(after)) => ("ADDED", after),
        (Some(_), Some(after)) => ("MODIFIED", after),
        (Some(before), None) => ("DELETED", before),
    };
    let mut object = object.clone();
    if what == "DELETED" {
        // A watch goes on from the revision of the last object it was given.
        let revision = json!(change.revision.to_string());
        Arc::make_mut(&mut object)["metadata"]["resourceVersion"] = revision;
    }
    Some(Event {
        revision: change.revision,
        what,
        object,
    })
}

#[cfg(test)]
mod tests;
