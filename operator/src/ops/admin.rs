//! The operator's own HTTP endpoint, for the kubelet and for Prometheus. Plain HTTP, reads only.
//!
//! | path | answer |
//! |---|---|
//! | `/healthz` | 200 while the process runs, whatever its peers do: a partition must not restart an operator |
//! | `/readyz` | 200 if [`Readiness`] is ready, else 503 with one reason per line |
//! | `/metrics` | the registry in the text format of Prometheus |
//!
//! Everyone who reaches the port can read all three; none is secret and none changes anything.
//!
//! The listener is a parameter, so that a test or a simulator provides the network.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    extract::State,
    http::{
        HeaderValue, StatusCode,
        header::{CONNECTION, CONTENT_TYPE},
    },
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Sleep, sleep},
};
use tokio_util::sync::CancellationToken;

use super::readiness::Readiness;
use crate::peer::network::{BoxedStream, Listener};

/// Connections served at once; more wait in the listener's backlog. A kubelet and two Prometheus servers need three.
const MAX_CONNECTIONS: usize = 32;

/// How long a connection may stay open: a scrape takes milliseconds, and the default timeout of Prometheus is 10 s. An
/// idle connection is closed after this time and frees its permit.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after a failed accept, for instance because the process has no file descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// The data that the endpoint serves.
#[derive(Clone)]
pub struct Admin {
    pub registry: Registry,
    pub readiness: watch::Receiver<Readiness>,
}

/// Serves the connections of `listener` until `shutdown`.
pub async fn serve(listener: Box<dyn Listener>, admin: Admin, shutdown: CancellationToken) {
    let bounded = Bounded {
        listener,
        seats: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
    };
    let serving = async { axum::serve(bounded, router(admin)).await };
    // At shutdown the open connections are dropped: no caller waits for their answers any more.
    if let Some(Err(error)) = shutdown.run_until_cancelled(serving).await {
        tracing::error!(%error, "the admin endpoint has stopped");
    }
}

fn router(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .fallback(async || (StatusCode::NOT_FOUND, "try /healthz, /readyz or /metrics\n"))
        // One request per connection: probes and scrapes are seconds apart, and a connection ends after ten anyway.
        .layer(map_response(async |mut response: Response| {
            let headers = response.headers_mut();
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
            response
        }))
        .with_state(admin)
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let readiness = admin.readiness.borrow();
    if readiness.is_ready() {
        return "ok\n".into_response();
    }
    let reasons = readiness.waiting_for.join("\nwaiting for ");
    let text = format!("waiting for {reasons}\n");
    (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
}

async fn metrics(State(admin): State<Admin>) -> Response {
    match TextEncoder::new().encode_to_string(&admin.registry.gather()) {
        Ok(families) => ([(CONTENT_TYPE, TEXT_FORMAT)], families).into_response(),
        Err(error) => {
            let text = format!("failed to encode the metrics: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

/// A listener with a limit of simultaneous connections.
struct Bounded {
    listener: Box<dyn Listener>,
    seats: Arc<Semaphore>,
}

impl axum::serve::Listener for Bounded {
    type Io = Seated;
    type Addr = String;

    async fn accept(&mut self) -> (Seated, String) {
        loop {
            // The semaphore is never closed, so a permit is always returned.
            let Ok(seat) = self.seats.clone().acquire_owned().await else {
                continue;
            };
            match self.listener.accept().await {
                Ok((stream, from)) => {
                    let over = Box::pin(sleep(CONNECTION_TIMEOUT));
                    return (
                        Seated {
                            stream,
                            over,
                            _seat: seat,
                        },
                        from,
                    );
                }
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection to the admin endpoint; trying again");
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<String> {
        self.listener.local_address()
    }
}

/// A connection that is closed after its timeout and then returns its permit.
struct Seated {
    stream: BoxedStream,
    over: Pin<Box<Sleep>>,
    _seat: OwnedSemaphorePermit,
}

impl AsyncRead for Seated {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.over.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Seated {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.over.as_mut().poll(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, future::BoxFuture};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
        sync::mpsc,
    };

    use super::*;
    use crate::ops::metrics::{self, Census};

    /// A listener that returns these results, one after the other.
    struct Scripted(mpsc::UnboundedReceiver<io::Result<DuplexStream>>);

    impl Listener for Scripted {
        fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxedStream, String)>> {
            async move {
                match self.0.recv().await {
                    Some(Ok(stream)) => {
                        let stream: BoxedStream = Box::new(stream);
                        Ok((stream, "memory".into()))
                    }
                    Some(Err(error)) => Err(error),
                    None => std::future::pending().await,
                }
            }
            .boxed()
        }

        fn local_address(&self) -> io::Result<String> {
            Ok("memory".into())
        }
    }

    fn admin(readiness: Readiness) -> Admin {
        let registry = Registry::new();
        metrics::register(&registry, || Census {
            height: 42,
            ..Census::default()
        })
        .unwrap();
        Admin {
            registry,
            readiness: watch::channel(readiness).1,
        }
    }

    /// Writes `request` to a connection that is accepted after `failures` errors, and returns everything that is
    /// received until it is closed.
    async fn ask(request: &str, failures: usize, admin: Admin) -> String {
        let (script, connections) = mpsc::unbounded_channel();
        for _ in 0..failures {
            let failure = io::Error::other("no file descriptor left");
            script.send(Err(failure)).unwrap();
        }
        let (mut caller, server) = tokio::io::duplex(64 * 1024);
        script.send(Ok(server)).unwrap();
        caller.write_all(request.as_bytes()).await.unwrap();
        let shutdown = CancellationToken::new();
        let mut answer = String::new();
        tokio::join!(
            serve(Box::new(Scripted(connections)), admin, shutdown.clone()),
            async {
                caller.read_to_string(&mut answer).await.unwrap();
                shutdown.cancel();
            }
        );
        answer
    }

    /// The status line and the body.
    async fn get(path: &str, admin: Admin) -> (String, String) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = ask(&request, 0, admin).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
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
    async fn readyz_lists_what_the_operator_waits_for_until_it_is_ready() {
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
            get("/readyz", admin(Readiness::default())).await,
            answer("200 OK", "ok\n")
        );
    }

    #[tokio::test]
    async fn the_metrics_are_the_current_ones() {
        let (status, body) = get("/metrics", admin(Readiness::default())).await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        assert!(
            body.lines().any(|line| line == "hanse_ledger_height 42"),
            "{body}"
        );
    }

    #[tokio::test]
    async fn it_answers_reads_of_known_paths_only() {
        let admin = || admin(Readiness::default());
        assert_eq!(
            get("/", admin()).await,
            answer("404 Not Found", "try /healthz, /readyz or /metrics\n")
        );
        let delete = "DELETE /metrics HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let refusal = ask(delete, 0, admin()).await;
        assert!(
            refusal.starts_with("HTTP/1.1 405 Method Not Allowed"),
            "{refusal}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_accept_is_retried() {
        let answer = ask(
            "GET /healthz HTTP/1.0\r\n\r\n",
            1,
            admin(Readiness::default()),
        );
        let answer = answer.await;
        assert!(answer.starts_with("HTTP/1.0 200 OK"), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_is_closed() {
        assert_eq!(ask("", 0, admin(Readiness::default())).await, "");
    }
}
