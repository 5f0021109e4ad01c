//! A small API server for one simulated cluster: what the operator's Kubernetes client talks to.
//!
//! ```text
//!  kube::Client ─► answer: latency, faults ─► request ─► store ─► changes ─► watches
//!                                                          ▲
//!                                       cluster (controllers, kubelets), outside of the operator
//! ```
//!
//! It gets, lists, watches, creates, replaces, patches (merge and server-side apply) and deletes, as Kubernetes does, with
//! resource versions, generations, finalizers, managed fields and preconditions. What it stores is stored: its etcd is not
//! part of the simulation. It validates nothing.
//!
//! - [`request`]: what a request of HTTP asks for.
//! - [`kinds`]: which kinds there are, and the discovery documents.
//! - [`store`], [`selector`], [`fields`]: the objects, who is told of their changes, and who owns their fields.
//! - [`watching`]: the stream of a watch.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Response, StatusCode};
use http_body_util::StreamBody;
use hyper::body::Frame;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{sync::watch, time::sleep};

use self::{
    request::{Action, Request},
    store::{Author, Id, Refusal, Store},
};
use crate::seeded::Seeded;

pub mod fields;
pub mod kinds;
pub mod request;
pub mod selector;
pub mod store;
pub mod watching;

/// What a client gets of a body, piece by piece.
type Pieces = StreamBody<stream::BoxStream<'static, Result<Frame<Bytes>, Broken>>>;

/// A connection that broke.
#[derive(Debug, thiserror::Error)]
#[error("the connection to the API server was reset")]
pub struct Broken;

/// How the API server serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// It answers.
    #[default]
    Up,
    /// Connections to it are refused, and those there were are broken.
    Down,
    /// It takes requests and answers none until it is up again.
    Stuck,
}

/// The API server. Clones are the same one.
#[derive(Clone)]
pub struct ApiServer {
    store: Arc<Mutex<Store>>,
    /// The revision of the store, for watches.
    revision: Arc<watch::Sender<u64>>,
    service: Arc<watch::Sender<Service>>,
    random: Seeded,
}

impl ApiServer {
    /// An API server of an empty cluster, whose latency and mishaps are drawn from `random`.
    #[must_use]
    pub fn new(random: Seeded) -> Self {
        let store = Store::new(kinds::served());
        Self {
            revision: Arc::new(watch::Sender::new(store.revision())),
            service: Arc::default(),
            store: Arc::new(Mutex::new(store)),
            random,
        }
    }

    /// A client of it. Needs a runtime.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request| {
            let server = server.clone();
            async move { server.answer(request).await }
        });
        kube::Client::new(service, "default")
    }

    /// Looks at what is stored, or changes it, at once and from inside the cluster.
    pub fn with<T>(&self, act: impl FnOnce(&mut Store) -> T) -> T {
        let mut store = self.store.lock();
        let result = act(&mut store);
        let revision = store.revision();
        self.revision.send_if_modified(|known| {
            let changed = *known != revision;
            *known = revision;
            changed
        });
        result
    }

    /// From now on it serves like this.
    pub fn serve(&self, service: Service) {
        self.service.send_replace(service);
    }

    async fn answer(&self, request: http::Request<Body>) -> Result<Response<Pieces>, Broken> {
        self.reached().await?;
        sleep(self.random.millis(1, 10)).await;
        let (head, body) = request.into_parts();
        let body = body.collect_bytes().await.map_err(|_| Broken)?;
        let asked = self.with(|store| Request::read(store, &head, &body));
        let answer = match asked {
            Err(refusal) => Err(refusal),
            Ok(request) => {
                if let Action::Watch { revision } = request.action {
                    return Ok(self.watch(request, revision));
                }
                match self.mishap(&request) {
                    Some(mishap) => Err(mishap),
                    None => self.with(|store| carry_out(store, &request)),
                }
            }
        };
        // The answer may be lost although the request was carried out.
        self.reached().await?;
        sleep(self.random.millis(1, 10)).await;
        Ok(whole(answer))
    }

    /// Waits while it is stuck.
    async fn reached(&self) -> Result<(), Broken> {
        let mut service = self.service.subscribe();
        // The sender is in `self`, so the wait ends only with a value.
        let service = service.wait_for(|service| *service != Service::Stuck).await;
        match service.map(|service| *service) {
            Ok(Service::Up) => Ok(()),
            _ => Err(Broken),
        }
    }

    /// What happens to one request in a hundred: it is not carried out, and may be asked again.
    fn mishap(&self, request: &Request) -> Option<Refusal> {
        let refusals = [
            Refusal::new(500, "InternalError", "etcdserver: request timed out"),
            Refusal::new(503, "ServiceUnavailable", "apiserver is shutting down"),
            Refusal::new(429, "TooManyRequests", "too many requests"),
            Refusal::new(409, "Conflict", "the object has been modified"),
        ];
        // What only reads never conflicts.
        let which = if request.reads() { 3 } else { 4 };
        self.random
            .chance(1)
            .then(|| self.random.pick(&refusals[..which]).clone())
    }
}

fn carry_out(store: &mut Store, request: &Request) -> Result<Value, Refusal> {
    let author = Author {
        manager: request.manager.clone(),
        status: request.status,
        dry_run: request.dry_run,
    };
    let id = Id {
        kind: request.kind,
        namespace: request.namespace.clone(),
        name: request.name.clone(),
    };
    let one = |object: Arc<Value>| request.shown(&object);
    match &request.action {
        Action::Discover(document) => Ok(document.clone()),
        Action::Get => store.get(&id).map(one),
        Action::List => Ok(list(store, request)),
        Action::Create(object) => store.create(&id, object.clone(), &author).map(one),
        Action::Replace(object) => store.replace(&id, object.clone(), &author).map(one),
        Action::Merge(patch) => store.merge(&id, patch, &author).map(one),
        Action::Apply { object, force } => store.apply(&id, object, *force, &author).map(one),
        Action::Delete(how) => store.delete(&id, how).map(one),
        Action::Watch { .. } => Err(Refusal::new(400, "BadRequest", "a watch is a stream")),
    }
}

fn list(store: &Store, request: &Request) -> Value {
    let objects = store.list(request.kind, &request.namespace);
    let selected = objects.filter(|(_, object)| request.selector.selects(object));
    let items: Vec<Value> = selected
        .map(|(_, object)| {
            let mut item = request.shown(object);
            // The items of a list do not say what they are.
            if let Some(fields) = item.as_object_mut() {
                fields.remove("apiVersion");
                fields.remove("kind");
            }
            item
        })
        .collect();
    let (api_version, kind) = if request.metadata_only {
        (
            "meta.k8s.io/v1".to_owned(),
            "PartialObjectMetadataList".to_owned(),
        )
    } else {
        let kind = &store.kinds()[request.kind];
        (kind.api_version(), format!("{}List", kind.kind))
    };
    json!({
        "apiVersion": api_version, "kind": kind, "metadata": {"resourceVersion": store.revision().to_string()},
        "items": items,
    })
}

/// An answer in one piece.
fn whole(answer: Result<Value, Refusal>) -> Response<Pieces> {
    let (code, content) = match answer {
        Ok(content) => (StatusCode::OK, content),
        Err(refusal) => {
            let code = StatusCode::from_u16(refusal.code);
            (
                code.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                status(&refusal),
            )
        }
    };
    let piece = Frame::data(Bytes::from(content.to_string()));
    let mut response = Response::new(StreamBody::new(stream::iter([Ok(piece)]).boxed()));
    *response.status_mut() = code;
    response
}

fn status(refusal: &Refusal) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": refusal.code,
        "reason": refusal.reason, "message": refusal.message, "details": {"causes": refusal.causes},
    })
}

#[cfg(test)]
mod tests;
