//! What a request of HTTP asks for.

use std::collections::BTreeMap;

use http::{Method, header, request::Parts};
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
        let segments: Vec<&str> = head
            .uri
            .path()
            .split('/')
            .filter(|it| !it.is_empty())
            .collect();
        let query: BTreeMap<String, String> =
            form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let given = |name: &str| query.get(name).cloned().unwrap_or_default();
        let accepts = |what: &str| {
            let accept = head.headers.get(header::ACCEPT);
            accept
                .and_then(|it| it.to_str().ok())
                .is_some_and(|it| it.contains(what))
        };
        let mut request = Self {
            kind: 0,
            namespace: String::new(),
            name: String::new(),
            status: false,
            manager: given("fieldManager"),
            dry_run: given("dryRun") == "All",
            selector: Selector::parse(&given("labelSelector")),
            metadata_only: accepts("as=PartialObjectMetadata"),
            action: Action::List,
        };
        let aggregated = accepts("as=APIGroupDiscoveryList");
        if let Some(document) = document(store.kinds(), &segments, aggregated) {
            request.action = Action::Discover(document);
            return Ok(request);
        }
        let nowhere = || {
            Refusal::new(
                404,
                "NotFound",
                "the server could not find the requested resource",
            )
        };
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(nowhere()),
        };
        let target = target(rest).ok_or_else(nowhere)?;
        let kind = store.kinds().iter().position(|kind| {
            kind.group == group && kind.version == version && kind.plural == target.plural
        });
        request.kind = kind.ok_or_else(nowhere)?;
        target.namespace.clone_into(&mut request.namespace);
        target.name.clone_into(&mut request.name);
        request.status = target.status;
        let body = || serde_json::from_slice(body).unwrap_or_default();
        let content_type = head.headers.get(header::CONTENT_TYPE);
        let content_type = content_type
            .and_then(|it| it.to_str().ok())
            .unwrap_or_default();
        request.action = match (&head.method, target.name.is_empty()) {
            (&Method::GET, false) => Action::Get,
            (&Method::GET, true) if matches!(given("watch").as_str(), "true" | "1") => {
                let revision = given("resourceVersion").parse().unwrap_or_default();
                Action::Watch { revision }
            }
            (&Method::GET, true) => Action::List,
            (&Method::POST, true) => {
                let object: Value = body();
                let name = object["metadata"]["name"].as_str();
                name.unwrap_or_default().clone_into(&mut request.name);
                Action::Create(object)
            }
            (&Method::PUT, false) => Action::Replace(body()),
            (&Method::PATCH, false) if content_type.contains("apply-patch") => {
                let force = given("force") == "true";
                Action::Apply {
                    object: body(),
                    force,
                }
            }
            (&Method::PATCH, false) => Action::Merge(body()),
            (&Method::DELETE, false) => Action::Delete(deletion(&body())),
            _ => return Err(Refusal::new(405, "MethodNotAllowed", "not supported here")),
        };
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
