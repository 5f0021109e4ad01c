//! Accepts connections of peers. TLS proves the caller's key, which is passed to every call over the connection.
//!
//! ```text
//!   accept ─▶ handshake (own task, at most 10 s, at most 512 at once) ─▶ a place (`connections`) ─▶ HTTP/2
//!                   │ warn, closed                                          │ warn, closed             │ closed when the
//!                   ▼                                                       ▼                          ▼ key is removed
//! ```
//!
//! When a limit is reached, the newest connection is closed at once: the client retries, and accepting never blocks.
//! Every task belongs to the future that [`serve`] returns: dropping it closes every connection. Calls end with their
//! connection. The caller sets the deadline of a call: when it gives up, it resets its stream, and the call is dropped
//! here.

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use hanse_core::id::PublicKey;
use hyper::{Request, body::Incoming, rt::Executor, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinError, JoinSet},
    time::{self, Instant},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tower::ServiceExt;
use tracing::{debug, error, warn};

use super::{
    address::PeerKey,
    connections::{Connections, MemberKeys, NoPlace, Place, STRANGER_LIMIT, Standing},
    credentials::Credentials,
    network::{BoxedStream, Listener},
    tls::{self, NotAPeerCertificate},
};

/// How long a handshake may take: three round trips on the worst link, with room for a loaded machine.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Handshakes at once. Each costs one signature and one verification, well under a millisecond, so this many are
/// reached only when callers connect and send nothing.
const MAX_HANDSHAKES: usize = 512;

/// Calls at once over one connection: a voter relays the streams of all members attached to it over its one connection
/// to the leader.
const MAX_CALLS: u32 = 4096;

/// A ping is sent on a connection that has been idle for this long. Slower than the client's keepalive
/// ([`super::client`]): here it only frees the resources of a vanished caller; leases detect a lost member.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause after a failed accept. Accepting fails when file descriptors run out, and would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long open calls may take to end after a shutdown began. Then every open stream is closed.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// At most this many log lines about closed connections per [`LOG_WINDOW`]: any caller can cause them.
const LOG_LINES_PER_WINDOW: u32 = 10;
const LOG_WINDOW: Duration = Duration::from_mins(1);

/// Serves `routes` on `listener`, authenticated by `credentials`, until `shutdown` completes and the calls open at that
/// moment have ended or a second has passed.
///
/// Each request carries the caller's key ([`super::peer_key`]). Fails only when TLS cannot be configured.
pub async fn serve(
    mut listener: Box<dyn Listener>,
    credentials: &Credentials,
    members: MemberKeys,
    routes: Routes,
    shutdown: impl Future<Output = ()>,
) -> Result<(), rustls::Error> {
    let server = Arc::new(Server {
        acceptor: TlsAcceptor::from(Arc::new(tls::server_config(credentials)?)),
        members,
        routes: routes.prepare(),
        connections: Connections::default(),
        stopping: CancellationToken::new(),
    });
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let mut closed_log = ClosedLog::starting_at(Instant::now());
    let mut open = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = open.join_next() => closed_log.note_end(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => match Arc::clone(&handshakes).try_acquire_owned() {
                    Ok(permit) => {
                        open.spawn(Arc::clone(&server).receive(stream, from, permit));
                    }
                    Err(_) => closed_log.note(&from, &ConnectionError::Crowd),
                },
                Err(error) => {
                    warn!(%error, "failed to accept a connection");
                    time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    server.stopping.cancel();
    let drained = async { while open.join_next().await.is_some() {} };
    // Dropping the set aborts the connections that are still open.
    let _ = time::timeout(SHUTDOWN_GRACE, drained).await;
    Ok(())
}

/// Why this operator closed a connection.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("{MAX_HANDSHAKES} handshakes are under way")]
    Crowd,
    #[error("the handshake took longer than {HANDSHAKE_TIMEOUT:?}")]
    Slow,
    #[error("the TLS handshake failed: {0}")]
    Handshake(io::Error),
    #[error(transparent)]
    NotAPeer(NotAPeerCertificate),
    #[error("key {}: {why}", .key.short())]
    NoPlace { key: PublicKey, why: NoPlace },
    #[error("key {}: it no longer belongs to a member", .0.short())]
    Removed(PublicKey),
    #[error("key {}: a stranger may stay connected for at most {STRANGER_LIMIT:?}", .0.short())]
    Overstayed(PublicKey),
}

/// A connection that ended: its remote address, and the reason if this operator closed it.
type Ended = (String, Result<(), ConnectionError>);

/// What every connection shares.
struct Server {
    acceptor: TlsAcceptor,
    members: MemberKeys,
    routes: Routes,
    connections: Connections,
    stopping: CancellationToken,
}

impl Server {
    /// Handles one connection until it ends.
    async fn receive(
        self: Arc<Self>,
        stream: BoxedStream,
        from: String,
        handshaking: OwnedSemaphorePermit,
    ) -> Ended {
        let end = async {
            let (key, stream) = self.handshake(stream).await?;
            drop(handshaking);
            self.serve_connection_of(key, stream).await
        };
        let end = end.await;
        (from, end)
    }

    async fn handshake(
        &self,
        stream: BoxedStream,
    ) -> Result<(PublicKey, TlsStream<BoxedStream>), ConnectionError> {
        let stream = time::timeout(HANDSHAKE_TIMEOUT, self.acceptor.accept(stream))
            .await
            .map_err(|_| ConnectionError::Slow)?
            .map_err(ConnectionError::Handshake)?;
        let key = match stream.get_ref().1.peer_certificates() {
            Some([certificate, ..]) => {
                tls::key_of(certificate).map_err(ConnectionError::NotAPeer)?
            }
            Some([]) | None => return Err(ConnectionError::NotAPeer(NotAPeerCertificate)),
        };
        Ok((key, stream))
    }

    /// Serves calls over `stream` until it ends or `key` may no longer stay connected.
    async fn serve_connection_of(
        &self,
        key: PublicKey,
        stream: TlsStream<BoxedStream>,
    ) -> Result<(), ConnectionError> {
        let mut members = self.members.watch();
        let standing = Standing::of(&key, &members.borrow_and_update());
        let no_place = |why| ConnectionError::NoPlace { key, why };
        let mut place = self.connections.take(key, standing).map_err(no_place)?;
        debug!(key = %key.short(), ?standing, "connected");

        let calls = CancellationToken::new();
        let _end_calls = calls.clone().drop_guard();
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(PeerKey(key));
            self.routes.clone().oneshot(request)
        });
        let connection = http(Calls(calls)).serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let mut overstay = pin!(time::sleep(STRANGER_LIMIT));
        let mut stopping = false;
        loop {
            tokio::select! {
                served = &mut connection => {
                    if let Err(error) = served {
                        debug!(key = %key.short(), %error, "connection lost");
                    }
                    return Ok(());
                }
                Ok(()) = members.changed() => {
                    let now = Standing::of(&key, &members.borrow_and_update());
                    apply_membership(&mut place, now, key)?;
                }
                () = &mut overstay, if place.standing() == Standing::Stranger => {
                    return Err(ConnectionError::Overstayed(key));
                }
                () = self.stopping.cancelled(), if !stopping => {
                    stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}

/// Applies a change of the members to one connection. The time limit of a stranger that stays one is unchanged.
fn apply_membership(
    place: &mut Place,
    now: Standing,
    key: PublicKey,
) -> Result<(), ConnectionError> {
    match (place.standing(), now) {
        (Standing::Member, Standing::Stranger) => Err(ConnectionError::Removed(key)),
        (Standing::Stranger, Standing::Member) => place
            .promote()
            .map_err(|why| ConnectionError::NoPlace { key, why }),
        (Standing::Member, Standing::Member) | (Standing::Stranger, Standing::Stranger) => Ok(()),
    }
}

fn http(calls: Calls) -> http2::Builder<Calls> {
    let mut http = http2::Builder::new(calls);
    http.timer(TokioTimer::new())
        .max_concurrent_streams(MAX_CALLS)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    http
}

/// Runs the calls of one connection, each until it is done or the connection is closed.
#[derive(Debug, Clone)]
struct Calls(CancellationToken);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Calls {
    fn execute(&self, call: F) {
        let gone = self.0.clone();
        tokio::spawn(async move { gone.run_until_cancelled_owned(call).await });
    }
}

/// Logs closed connections, at a limited rate, because any caller can cause a line.
#[derive(Debug)]
struct ClosedLog {
    window: Instant,
    lines: u32,
}

impl ClosedLog {
    fn starting_at(window: Instant) -> Self {
        Self { window, lines: 0 }
    }

    fn note_end(&mut self, ended: Result<Ended, JoinError>) {
        match ended {
            Ok((_, Ok(()))) => {}
            Ok((from, Err(reason))) => self.note(&from, &reason),
            Err(error) => error!(%error, "a connection's task failed: this is a bug"),
        }
    }

    fn note(&mut self, from: &str, reason: &ConnectionError) {
        let now = Instant::now();
        if now - self.window >= LOG_WINDOW {
            if let Some(unlogged @ 1..) = self.lines.checked_sub(LOG_LINES_PER_WINDOW) {
                warn!(unlogged, "closed further connections without logging each");
            }
            *self = Self::starting_at(now);
        }
        self.lines = self.lines.saturating_add(1);
        if self.lines <= LOG_LINES_PER_WINDOW {
            warn!(%from, why = %reason, "closed a connection");
        }
    }
}
