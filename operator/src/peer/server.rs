//! Accepting peers: a socket in, a proven key out, handed to every call made over it.
//!
//! ```text
//!   accept ─▶ handshake (own task, at most 10 s, at most 512 at once) ─▶ a place (`connections`) ─▶ HTTP/2
//!                   │ warn, closed                                          │ warn, closed             │ cut when the key
//!                   ▼                                                       ▼                          ▼ leaves the ledger
//! ```
//!
//! At a bound the newest connection is closed at once: whoever dialled tries again, and accepting never stalls.
//! Every task belongs to the future that [`serve`] returns: dropping it closes everything it ever opened. Calls end with the
//! connection they came over. Deadlines of calls are the caller's: a caller that gives up resets its stream, and the call
//! is dropped here.

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

/// Handshakes at once. Each costs one signature and one verification, well under a millisecond, so this many are a crowd
/// of callers that say nothing.
const MAX_HANDSHAKES: usize = 512;

/// Calls at once over one connection: a voter relays the streams of all members attached to it over its one connection
/// to the leader.
const MAX_CALLS: u32 = 4096;

/// A caller that has been silent for this long is asked whether it is there. Slower than the dialling side asks
/// ([`super::client`]): here it only frees what a vanished caller held; leases are what notices a lost member.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause after a failed accept. It fails when descriptors run out, and would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long open calls may take to end after a shutdown began. Streams that never end are cut by it.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// At most this many lines about refused callers per [`REFUSALS_WINDOW`]: anyone can cause them.
const REFUSALS_PER_WINDOW: u32 = 10;
const REFUSALS_WINDOW: Duration = Duration::from_mins(1);

/// Serves `routes` to whoever reaches `listener`, as `credentials`, until `shutdown` completes and the calls that were open
/// then have ended or a second has passed.
///
/// Each request carries the caller's key ([`super::peer_key`]). Fails only when TLS cannot be configured.
pub async fn serve(
    mut listener: Box<dyn Listener>,
    credentials: &Credentials,
    members: MemberKeys,
    routes: Routes,
    shutdown: impl Future<Output = ()>,
) -> Result<(), rustls::Error> {
    let door = Arc::new(Door {
        acceptor: TlsAcceptor::from(Arc::new(tls::server_config(credentials)?)),
        members,
        routes: routes.prepare(),
        connections: Connections::default(),
        stopping: CancellationToken::new(),
    });
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let mut refusals = ClosedLog::starting_at(Instant::now());
    let mut open = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = open.join_next() => refusals.note_end(ended),
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => match Arc::clone(&handshakes).try_acquire_owned() {
                    Ok(permit) => {
                        open.spawn(Arc::clone(&door).receive(stream, from, permit));
                    }
                    Err(_) => refusals.note(&from, &ConnectionError::Crowd),
                },
                Err(error) => {
                    warn!(%error, "failed to accept a connection");
                    time::sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    drop(listener);
    door.stopping.cancel();
    let drained = async { while open.join_next().await.is_some() {} };
    // Whatever is still open is aborted with the set.
    let _ = time::timeout(SHUTDOWN_GRACE, drained).await;
    Ok(())
}

/// Why a caller was sent away, or its connection was cut.
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
    #[error("key {}: it is not a member's any longer", .0.short())]
    Removed(PublicKey),
    #[error("key {}: a stranger stays for {STRANGER_LIMIT:?} at most", .0.short())]
    Overstayed(PublicKey),
}

/// How one connection came to its end: where it came from, and why if it was our doing.
type Ended = (String, Result<(), ConnectionError>);

/// What every connection needs.
struct Door {
    acceptor: TlsAcceptor,
    members: MemberKeys,
    routes: Routes,
    connections: Connections,
    stopping: CancellationToken,
}

impl Door {
    /// One connection from its first byte to its last.
    async fn receive(
        self: Arc<Self>,
        stream: BoxedStream,
        from: String,
        handshaking: OwnedSemaphorePermit,
    ) -> Ended {
        let end = async {
            let (key, stream) = self.greet(stream).await?;
            drop(handshaking);
            self.attend(key, stream).await
        };
        let end = end.await;
        (from, end)
    }

    async fn greet(
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

    /// Serves calls over `stream` until it ends or `key` loses its place.
    async fn attend(
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
                    reconsider(&mut place, now, key)?;
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

/// What a change of the members means for one connection. A stranger that stays one keeps the time it has left.
fn reconsider(place: &mut Place, now: Standing, key: PublicKey) -> Result<(), ConnectionError> {
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

/// Runs the calls of one connection, each until it is done or the connection is gone.
#[derive(Debug, Clone)]
struct Calls(CancellationToken);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Calls {
    fn execute(&self, call: F) {
        let gone = self.0.clone();
        tokio::spawn(async move { gone.run_until_cancelled_owned(call).await });
    }
}

/// The log of callers sent away, bounded, because anyone can cause a line.
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
            Ok((from, Err(refusal))) => self.note(&from, &refusal),
            Err(error) => error!(%error, "a connection's task failed: this is a bug"),
        }
    }

    fn note(&mut self, from: &str, refusal: &ConnectionError) {
        let now = Instant::now();
        if now - self.window >= REFUSALS_WINDOW {
            if let Some(unsaid @ 1..) = self.lines.checked_sub(REFUSALS_PER_WINDOW) {
                warn!(
                    unsaid,
                    "sent more callers away than there are lines about it"
                );
            }
            *self = Self::starting_at(now);
        }
        self.lines = self.lines.saturating_add(1);
        if self.lines <= REFUSALS_PER_WINDOW {
            warn!(%from, why = %refusal, "sent a caller away");
        }
    }
}
