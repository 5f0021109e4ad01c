//! What a request of HTTP asks for.

use std::collections::BTreeMap;

use http::{HeaderName, Method, header, request::Parts};
use serde_json::{Value, json};

use super::{
    kinds::document,
    selector::Selector,
    store::{Deletion, Refusal, Store},
};

/// A request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The kind of object, by its position among those served.
    pub kind: usize,
    /// The namespace; empty for a kind without one, or for all.
    pub namespace: String,
    /// The name; empty for all.
    pub name: String,
    /// Whether it is about the status alone.
    pub status: bool,
    /// Who asks, for the fields that are written.
    pub manager: String,
    /// Whether nothing is to be stored.
    pub dry_run: bool,
    /// The labels of what is asked for.
    pub selector: Selector,
    /// Whether only metadata is wanted.
    pub metadata_only: bool,
    /// What is to be done.
    pub action: Action,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// This document is asked for.
    Discover(Value),
    /// One object.
    Get,
    /// All objects.
    List,
    /// All changes after a revision.
    Watch {
        /// The revision.
        revision: u64,
    },
    /// A new object.
    Create(Value),
    /// Another content.
    Replace(Value),
    /// A merge patch.
    Merge(Value),
    /// Server-side apply.
    Apply {
        /// What is wanted.
        object: Value,
        /// Whether fields of others are taken over.
        force: bool,
    },
    /// Deletion.
    Delete(Deletion),
}

/// What a path is about.
#[derive(Debug, Default)]
struct Target<'p> {
    namespace: &'p str,
    plural: &'p str,
    name: &'p str,
    status: bool,
}

impl Request {
    /// Reads a request. A path that leads nowhere is not found, as is a kind that is not served.
    pub fn read(store: &Store, head: &Parts, body: &[u8]) -> Result<Self, Refusal> {
        let given = Given::of(head);
        let mut request = Self {
            kind: 0,
            namespace: String::new(),
            name: String::new(),
            status: false,
            manager: given.query("fieldManager").to_owned(),
            dry_run: given.query("dryRun") == "All",
            selector: Selector::parse(given.query("labelSelector")),
            metadata_only: given
                .header(&header::ACCEPT)
                .contains("as=PartialObjectMetadata"),
            action: Action::List,
        };
        let path = head.uri.path().split('/').filter(|it| !it.is_empty());
        let path: Vec<&str> = path.collect();
        let aggregated = given
            .header(&header::ACCEPT)
            .contains("as=APIGroupDiscoveryList");
        if let Some(document) = document(store.kinds(), &path, aggregated) {
            request.action = Action::Discover(document);
            return Ok(request);
        }
        let (kind, target) = find(store, &path).ok_or_else(|| {
            let message = "the server could not find the requested resource";
            Refusal::new(404, "NotFound", message)
        })?;
        request.kind = kind;
        target.namespace.clone_into(&mut request.namespace);
        target.name.clone_into(&mut request.name);
        request.status = target.status;
        request.action = action(&head.method, &given, target.name.is_empty(), body)?;
        if let Action::Create(object) = &request.action {
            let name = object["metadata"]["name"].as_str();
            name.unwrap_or_default().clone_into(&mut request.name);
        }
        Ok(request)
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn reads(&self) -> bool {
        matches!(
            self.action,
            Action::Discover(_) | Action::Get | Action::List | Action::Watch { .. }
        )
    }

    /// As much of an object as is asked for.
    #[must_use]
    pub fn shown(&self, object: &Value) -> Value {
        if self.metadata_only {
            json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": object["metadata"]})
        } else {
            object.clone()
        }
    }
}

/// What a request says beside its path and its body.
struct Given<'h> {
    head: &'h Parts,
    query: BTreeMap<String, String>,
}

impl<'h> Given<'h> {
    fn of(head: &'h Parts) -> Self {
        let query = head.uri.query().unwrap_or_default();
        let query = form_urlencoded::parse(query.as_bytes());
        Self {
            head,
            query: query.into_owned().collect(),
        }
    }

    /// A part of the query; empty if it is not there.
    fn query(&self, name: &str) -> &str {
        self.query.get(name).map_or("", String::as_str)
    }

    /// A header; empty if it is not there.
    fn header(&self, name: &HeaderName) -> &str {
        let value = self.head.headers.get(name);
        value.and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

/// What is to be done with all objects of a kind, or with one.
fn action(method: &Method, given: &Given<'_>, all: bool, body: &[u8]) -> Result<Action, Refusal> {
    let body = || serde_json::from_slice(body).unwrap_or_default();
    let applies = given.header(&header::CONTENT_TYPE).contains("apply-patch");
    let watches = matches!(given.query("watch"), "true" | "1");
    Ok(match (method.as_str(), all) {
        ("GET", false) => Action::Get,
        ("GET", true) if watches => Action::Watch {
            revision: given.query("resourceVersion").parse().unwrap_or_default(),
        },
        ("GET", true) => Action::List,
        ("POST", true) => Action::Create(body()),
        ("PUT", false) => Action::Replace(body()),
        ("PATCH", false) if applies => Action::Apply {
            object: body(),
            force: given.query("force") == "true",
        },
        ("PATCH", false) => Action::Merge(body()),
        ("DELETE", false) => Action::Delete(deletion(&body())),
        _ => return Err(Refusal::new(405, "MethodNotAllowed", "not supported here")),
    })
}

/// The kind that a path is about, and what of it.
fn find<'p>(store: &Store, path: &[&'p str]) -> Option<(usize, Target<'p>)> {
    let (group, version, rest) = match path {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let target = target(rest)?;
    let kind = store.kinds().iter().position(|kind| {
        kind.group == group && kind.version == version && kind.plural == target.plural
    });
    Some((kind?, target))
}

fn target<'p>(segments: &[&'p str]) -> Option<Target<'p>> {
    let target = match *segments {
        ["namespaces", namespace, plural, ref rest @ ..] if plural != "status" => Target {
            namespace,
            ..within(plural, rest)?
        },
        [plural, ref rest @ ..] => within(plural, rest)?,
        [] => return None,
    };
    Some(target)
}

fn within<'p>(plural: &'p str, rest: &[&'p str]) -> Option<Target<'p>> {
    let (name, status) = match *rest {
        [] => ("", false),
        [name] => (name, false),
        [name, "status"] => (name, true),
        _ => return None,
    };
    Some(Target {
        plural,
        name,
        status,
        ..Target::default()
    })
}

fn deletion(options: &Value) -> Deletion {
    let text = |pointer: &str| {
        options
            .pointer(pointer)
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    Deletion {
        uid: text("/preconditions/uid"),
        revision: text("/preconditions/resourceVersion"),
        foreground: text("/propagationPolicy").as_deref() == Some("Foreground"),
    }
}
