//! The stream of a watch: what changed, soon after it did, until the API server is down or the watch has lasted long enough.

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::Response;
use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::{ApiServer, Broken, Pieces, Service, request::Request, status, store::Refusal};

/// An open watch.
struct Watching {
    server: ApiServer,
    request: Request,
    /// The revision up to which everything was told.
    revision: u64,
    /// When the API server ends it, as it ends every watch at some time.
    ends: Instant,
    is_over: bool,
}

impl ApiServer {
    /// Tells of everything that changes after `revision`.
    pub(super) fn watch(&self, request: Request, revision: u64) -> Response<Pieces> {
        let watching = Watching {
            server: self.clone(),
            request,
            revision,
            ends: Instant::now() + self.random.millis(20_000, 60_000),
            is_over: false,
        };
        let pieces = stream::unfold(watching, |mut watching| async move {
            let piece = watching.next().await?;
            Some((piece.map(Frame::data), watching))
        });
        Response::new(StreamBody::new(pieces.boxed()))
    }
}

impl Watching {
    /// The next lines; `None` at the end.
    async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        let mut revisions = self.server.revision.subscribe();
        let mut service = self.server.service.subscribe();
        loop {
            if self.is_over {
                return None;
            }
            let now = *service.borrow_and_update();
            match now {
                Service::Down => {
                    self.is_over = true;
                    return Some(Err(Broken));
                }
                Service::Stuck => {}
                Service::Up => {
                    if let Some(lines) = self.lines() {
                        sleep(self.server.random.millis(1, 20)).await;
                        return Some(Ok(lines));
                    }
                }
            }
            tokio::select! {
                biased;
                _ = service.changed() => {}
                _ = revisions.changed() => {}
                () = sleep_until(self.ends) => return None,
            }
        }
    }

    /// What has changed, one event a line; `None` if nothing has.
    fn lines(&mut self) -> Option<Bytes> {
        let Request {
            kind,
            namespace,
            selector,
            ..
        } = &self.request;
        let (events, revision) = self.server.with(|store| {
            let events = store.since(self.revision, *kind, namespace, selector);
            (events, store.revision())
        });
        let line =
            |what: &str, object: &Value| format!("{}\n", json!({"type": what, "object": object}));
        let Some(events) = events else {
            self.is_over = true;
            let expired = Refusal::new(410, "Expired", "too old resource version");
            return Some(line("ERROR", &status(&expired)).into());
        };
        self.revision = revision;
        let lines: String = events
            .iter()
            .map(|event| line(event.what, &self.request.shown(&event.object)))
            .collect();
        (!lines.is_empty()).then(|| lines.into())
    }
}
