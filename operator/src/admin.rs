//! The operator's own HTTP endpoint, for the kubelet and for Prometheus. Plain HTTP, reads only.
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200 while the process is alive. Says nothing about peers: a partition must not get an operator restarted |
//! | `/readyz` | 200 when [`Readiness`] says so, else 503 with one reason per line |
//! | `/metrics` | the registry in the text format of Prometheus |
//!
//! Anyone who reaches the port can read all three; nothing here is secret and nothing changes anything.
//!
//! Connections are taken from a stream that is handed in, so that a test or a simulator provides the network.

use std::{convert::Infallible, io, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Connections served at once; more wait in the listener's backlog. A kubelet and two Prometheus servers need three.
const MAX_CONNECTIONS: usize = 32;

/// One request and its answer: a scrape takes milliseconds, Prometheus gives up after 10 s by default.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// A listener that fails, for instance because the process has no file descriptor left, is asked again after this.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Whether the operator does its work.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readiness {
    /// What it still waits for, one sentence each. Empty: nothing, it is ready.
    pub waiting_for: Vec<String>,
}

impl Readiness {
    /// Nothing is missing.
    #[must_use]
    pub fn ready() -> Self {
        Self::default()
    }

    /// Something is missing.
    #[must_use]
    pub fn waiting_for(reason: impl Into<String>) -> Self {
        Self {
            waiting_for: vec![reason.into()],
        }
    }
}

/// What the endpoint shows.
#[derive(Clone)]
pub struct Admin {
    pub registry: Registry,
    pub readiness: watch::Receiver<Readiness>,
}

/// Answers on every connection of `connections` until `shutdown`.
pub async fn serve<S>(
    connections: impl Stream<Item = io::Result<S>>,
    admin: Admin,
    shutdown: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut connections = pin!(connections);
    let seats = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    // Dropped at the end, which ends what is still being served: an answer nobody gets any more.
    let mut served = JoinSet::new();
    let accepting = async {
        while let Ok(seat) = seats.clone().acquire_owned().await {
            match connections.next().await {
                None => return,
                Some(Err(error)) => {
                    tracing::warn!(%error, "failed to accept a connection to the admin endpoint; trying again");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
                Some(Ok(connection)) => {
                    let admin = admin.clone();
                    served.spawn(async move {
                        converse(connection, admin).await;
                        drop(seat);
                    });
                }
            }
            while served.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        () = accepting => {}
        () = shutdown.cancelled() => return,
    }
    // The network is gone, its last callers are not.
    while served.join_next().await.is_some() {}
}

/// One request per connection: probes and scrapes are seconds apart, and no idle connection has to be bounded.
async fn converse<S>(connection: S, admin: Admin)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<_>| {
        let response = respond(request.method(), request.uri().path(), &admin);
        async { Ok::<_, Infallible>(response) }
    });
    let serving = http1::Builder::new()
        .keep_alive(false)
        .timer(TokioTimer::new())
        .header_read_timeout(CONNECTION_TIMEOUT)
        .serve_connection(TokioIo::new(connection), service);
    match timeout(CONNECTION_TIMEOUT, serving).await {
        Ok(Ok(())) => {}
        // Port scanners and impatient callers: theirs to notice, not ours to report.
        Ok(Err(error)) => tracing::debug!(%error, "a caller of the admin endpoint went away"),
        Err(_) => tracing::debug!("a caller of the admin endpoint took too long"),
    }
}

fn respond(method: &Method, path: &str, admin: &Admin) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        let allowed = hyper::header::HeaderValue::from_static("GET, HEAD");
        refusal.headers_mut().insert(ALLOW, allowed);
        return refusal;
    }
    match path {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => readyz(&admin.readiness.borrow()),
        "/metrics" => metrics(&admin.registry),
        _ => text(StatusCode::NOT_FOUND, "try /healthz, /readyz or /metrics\n"),
    }
}

fn readyz(readiness: &Readiness) -> Response<Full<Bytes>> {
    if readiness.waiting_for.is_empty() {
        return text(StatusCode::OK, "ok\n");
    }
    let reasons = readiness.waiting_for.join("\nwaiting for ");
    text(
        StatusCode::SERVICE_UNAVAILABLE,
        format!("waiting for {reasons}\n"),
    )
}

fn metrics(registry: &Registry) -> Response<Full<Bytes>> {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(families) => respond_with(StatusCode::OK, TEXT_FORMAT, families.into()),
        Err(error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("failed to encode the metrics: {error}\n"),
        ),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    respond_with(status, "text/plain; charset=utf-8", body.into())
}

fn respond_with(
    status: StatusCode,
    content_type: &'static str,
    body: Bytes,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let content_type = hyper::header::HeaderValue::from_static(content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;
    use crate::metrics::{Census, Metrics};

    fn admin(readiness: Readiness) -> Admin {
        let registry = Registry::new();
        Metrics::register(&registry, || Census {
            height: 42,
            ..Census::default()
        })
        .unwrap();
        Admin {
            registry,
            readiness: watch::channel(readiness).1,
        }
    }

    /// Sends `request` over a pipe and returns the status line and the body.
    async fn ask(request: &str, admin: Admin) -> (String, String) {
        let (mut caller, server) = tokio::io::duplex(64 * 1024);
        caller.write_all(request.as_bytes()).await.unwrap();
        let connections = futures::stream::iter([Ok(server)]);
        let mut answer = String::new();
        tokio::join!(serve(connections, admin, CancellationToken::new()), async {
            caller.read_to_string(&mut answer).await.unwrap();
        });
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    async fn get(path: &str, admin: Admin) -> (String, String) {
        ask(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"), admin).await
    }

    fn answer(status: &str, body: &str) -> (String, String) {
        (format!("HTTP/1.1 {status}"), body.to_owned())
    }

    #[tokio::test]
    async fn it_is_healthy_even_while_it_is_not_ready() {
        let waiting = admin(Readiness::waiting_for("the quorum"));
        assert_eq!(get("/healthz", waiting).await, answer("200 OK", "ok\n"));
    }

    #[tokio::test]
    async fn it_says_what_it_waits_for_until_it_is_ready() {
        let waiting = Readiness {
            waiting_for: vec!["the quorum".into(), "the local API server".into()],
        };
        assert_eq!(
            get("/readyz", admin(waiting)).await,
            answer(
                "503 Service Unavailable",
                "waiting for the quorum\nwaiting for the local API server\n"
            )
        );
        assert_eq!(
            get("/readyz", admin(Readiness::ready())).await,
            answer("200 OK", "ok\n")
        );
    }

    #[tokio::test]
    async fn the_metrics_are_those_of_the_moment() {
        let (status, body) = get("/metrics", admin(Readiness::ready())).await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(
            body.lines().any(|line| line == "hanse_ledger_height 42"),
            "{body}"
        );
    }

    #[tokio::test]
    async fn it_answers_reads_of_known_paths_only() {
        let admin = || admin(Readiness::ready());
        assert_eq!(
            get("/", admin()).await,
            answer("404 Not Found", "try /healthz, /readyz or /metrics\n")
        );
        assert_eq!(
            ask("DELETE /metrics HTTP/1.1\r\nhost: a\r\n\r\n", admin()).await,
            answer("405 Method Not Allowed", "only GET and HEAD\n")
        );
    }

    #[tokio::test]
    async fn a_listener_that_fails_once_is_asked_again() {
        let (mut caller, server) = tokio::io::duplex(1024);
        caller
            .write_all(b"GET /healthz HTTP/1.0\r\n\r\n")
            .await
            .unwrap();
        tokio::time::pause();
        let failure = io::Error::other("no file descriptor left");
        let connections = futures::stream::iter([Err(failure), Ok(server)]);
        serve(
            connections,
            admin(Readiness::ready()),
            CancellationToken::new(),
        )
        .await;
        let mut answer = String::new();
        caller.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.0 200 OK"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_says_nothing_is_hung_up_on() {
        let (mut caller, server) = tokio::io::duplex(1024);
        let connections = futures::stream::iter([Ok(server)]);
        serve(
            connections,
            admin(Readiness::ready()),
            CancellationToken::new(),
        )
        .await;
        assert_eq!(caller.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn it_stops_when_told_to() {
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        let connections = futures::stream::pending::<io::Result<DuplexStream>>();
        serve(connections, admin(Readiness::ready()), shutdown).await;
    }
}
