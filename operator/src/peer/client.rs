//! Dialling peers: one connection per peer, pinned to its key, opened when first used and again whenever it is lost.
//!
//! When a peer stops answering without closing its connection, keepalive detects it within three fifths of a lease: the
//! calls under way fail. The next call dials again, and fails within the same time ([`Timings`]). So a member whose
//! voter is gone has time to attach to another one.
//!
//! Nothing is retried here. A call on a channel that cannot connect fails with `Unavailable` and the reason. A caller
//! that retries in a loop must pause between attempts.

use std::{
    collections::BTreeMap,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use hanse_core::timings::Timings;
use hyper::Uri;
use hyper_util::rt::TokioIo;
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;
use tracing::{debug, info, warn};

use super::{
    address::Peer,
    credentials::Credentials,
    network::{BoxedStream, Network},
    tls::{self, WrongKey},
};

/// Channels kept. There are at most seven voters; the rest is for former voters and for the voters in invitations.
const MAX_CHANNELS: usize = 64;

/// The host that HTTP requires in a request. The connector dials the peer's address instead; nothing reads this.
const ORIGIN: &str = "https://hanse.peer";

/// Why a peer could not be dialled.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("{address} is unreachable: {cause}")]
    Unreachable { address: String, cause: io::Error },
    #[error("{address} did not answer within {within:?}")]
    Silent { address: String, within: Duration },
    #[error("{address} presented the wrong key: {cause}")]
    WrongKey { address: String, cause: WrongKey },
    #[error("the TLS handshake with {address} failed: {cause}")]
    Handshake { address: String, cause: io::Error },
    #[error("failed to configure TLS: {0}")]
    Configure(rustls::Error),
    #[error("the channel to {address} was closed: take a new one to connect again")]
    Forgotten { address: String },
}

/// The channels to the peers that this operator calls.
pub struct Peers {
    credentials: Arc<Credentials>,
    network: Arc<dyn Network>,
    timings: Mutex<Timings>,
    channels: Mutex<Channels>,
}

#[derive(Default)]
struct Channels {
    /// Incremented with every use; the entry with the smallest number is the least recently used.
    uses: u64,
    open: BTreeMap<Peer, Entry>,
}

struct Entry {
    channel: Channel,
    forgotten: CancellationToken,
    used: u64,
}

impl Peers {
    /// No channels yet. They will authenticate with `credentials` and connect through `network`.
    #[must_use]
    pub fn new(credentials: Arc<Credentials>, network: Arc<dyn Network>) -> Self {
        Self {
            credentials,
            network,
            timings: Mutex::default(),
            channels: Mutex::default(),
        }
    }

    /// Channels returned from now on use the keepalive and dial timeouts of `timings`; those returned before keep
    /// theirs.
    pub fn follow(&self, timings: Timings) {
        if std::mem::replace(&mut *self.timings.lock(), timings) != timings {
            self.lock().open.clear();
        }
    }

    /// The channel to `peer`, connected when first used. Cheap: the same peer gets the same connection. Has to be called
    /// within a tokio runtime.
    ///
    /// When 64 channels are kept, the least recently used is dropped: it stays open for callers that still hold it, and
    /// [`forget`](Self::forget) no longer closes it.
    pub fn channel(&self, peer: &Peer) -> Channel {
        let mut channels = self.lock();
        channels.uses += 1;
        let used = channels.uses;
        if let Some(entry) = channels.open.get_mut(peer) {
            entry.used = used;
            return entry.channel.clone();
        }
        if channels.open.len() >= MAX_CHANNELS {
            let unused = channels.open.iter().min_by_key(|(_, entry)| entry.used);
            if let Some(unused) = unused.map(|(peer, _)| peer.clone()) {
                channels.open.remove(&unused);
            }
        }
        let forgotten = CancellationToken::new();
        let channel = self.lazy_channel(peer, &forgotten);
        let entry = Entry {
            channel: channel.clone(),
            forgotten,
            used,
        };
        channels.open.insert(peer.clone(), entry);
        channel
    }

    /// Closes the connection to `peer`. Calls on channels returned before fail from now on; a new channel dials again.
    pub fn forget(&self, peer: &Peer) {
        if let Some(entry) = self.lock().open.remove(peer) {
            entry.forgotten.cancel();
        }
    }

    fn lazy_channel(&self, peer: &Peer, forgotten: &CancellationToken) -> Channel {
        let timings = *self.timings.lock();
        let dialler = Arc::new(Dialler {
            peer: peer.clone(),
            within: timings.dial_within(),
            credentials: Arc::clone(&self.credentials),
            network: Arc::clone(&self.network),
            forgotten: forgotten.clone(),
            last_dial: Mutex::default(),
        });
        Endpoint::from_static(ORIGIN)
            .http2_keep_alive_interval(timings.keepalive_interval())
            .keep_alive_timeout(timings.answer_within())
            .keep_alive_while_idle(true)
            .connect_with_connector_lazy(service_fn(move |_: Uri| {
                let dialler = Arc::clone(&dialler);
                async move { dialler.connect().await.map(TokioIo::new) }
            }))
    }

    fn lock(&self) -> MutexGuard<'_, Channels> {
        self.channels.lock()
    }
}

/// Opens the connections of one channel, one after the other, and logs when the result of a dial changes.
struct Dialler {
    peer: Peer,
    /// How long opening a connection may take, handshake included.
    within: Duration,
    credentials: Arc<Credentials>,
    network: Arc<dyn Network>,
    forgotten: CancellationToken,
    last_dial: Mutex<LastDial>,
}

/// How the last dial ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum LastDial {
    #[default]
    None,
    Connected,
    Failed {
        wrong_key: bool,
    },
}

impl Dialler {
    async fn connect(&self) -> Result<Severable<TlsStream<BoxedStream>>, DialError> {
        let address = || self.peer.address.clone();
        let forgotten = self.forgotten.cancelled();
        let dialled = tokio::select! {
            () = forgotten => return Err(DialError::Forgotten { address: address() }),
            dialled = time::timeout(self.within, self.dial()) => dialled.unwrap_or_else(|_| {
                Err(DialError::Silent { address: address(), within: self.within })
            }),
        };
        self.log(dialled.as_ref().err());
        Ok(Severable {
            stream: dialled?,
            severed: Box::pin(self.forgotten.clone().cancelled_owned()),
        })
    }

    async fn dial(&self) -> Result<TlsStream<BoxedStream>, DialError> {
        let Peer { address, key } = &self.peer;
        let address = || address.clone();
        let config = tls::client_config(&self.credentials, *key).map_err(DialError::Configure)?;
        let unreachable = |cause| DialError::Unreachable {
            address: address(),
            cause,
        };
        let stream = self.network.dial(&self.peer.address).await;
        TlsConnector::from(Arc::new(config))
            .connect(tls::no_name(), stream.map_err(unreachable)?)
            .await
            .map_err(|cause| match WrongKey::in_handshake(&cause) {
                Some(cause) => DialError::WrongKey {
                    address: address(),
                    cause,
                },
                None => DialError::Handshake {
                    address: address(),
                    cause,
                },
            })
    }

    /// Logs when the result changes, not on every attempt: a voter dials a dead voter several times a second.
    fn log(&self, error: Option<&DialError>) {
        let mut last = self.last_dial.lock();
        let now = error.map_or(LastDial::Connected, |error| LastDial::Failed {
            wrong_key: matches!(error, DialError::WrongKey { .. }),
        });
        let (peer, before) = (&self.peer, *last);
        *last = now;
        match error {
            Some(why) if before == now => debug!(%peer, %why, "still cannot reach a peer"),
            Some(why) => warn!(%peer, %why, "cannot reach a peer"),
            None if matches!(before, LastDial::Failed { .. }) => {
                info!(%peer, "reached a peer again");
            }
            None => debug!(%peer, "connected to a peer"),
        }
    }
}

/// A connection that fails as soon as [`Peers::forget`] is called for its peer.
struct Severable<S> {
    stream: S,
    severed: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S> Severable<S> {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.severed.as_mut().poll(cx) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionAborted.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Severable<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Severable<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
