//! Opens every socket. Everything else takes a [`Network`], so that a simulator or a test can replace the network.

use std::{collections::BTreeMap, io, time::Duration};

use futures::future::{BoxFuture, FutureExt};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time,
};

/// How long [`TcpNetwork`] waits for a name to resolve and a connection to open. An upper bound: a client that must
/// renew a lease sets a shorter one (see [`super::client`]).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An ordered stream of bytes in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// A connection of any network.
pub type BoxedStream = Box<dyn ByteStream>;

/// Opens and accepts connections.
pub trait Network: Send + Sync + 'static {
    /// Accepts connections at `address` (`host:port`; port 0 lets the network choose).
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;

    /// Opens a connection to `address` (`host:port`). May never return on a network that drops everything: the caller
    /// sets a timeout.
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxedStream>>;
}

/// Accepts the connections that others open.
pub trait Listener: Send + 'static {
    /// The next connection and the address it comes from, for logs. Cancel-safe: no connection is lost when the future
    /// is dropped.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxedStream, String)>>;

    /// The address of the listener, with the port the network chose.
    fn local_address(&self) -> io::Result<String>;
}

/// The real network.
#[derive(Debug, Clone, Default)]
pub struct TcpNetwork {
    /// Maps an advertised address to the address to dial instead: for links through something that the advertised
    /// address does not include, such as a manually forwarded port.
    pub via: BTreeMap<String, String>,
}

impl Network for TcpNetwork {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        async move {
            let listener: Box<dyn Listener> = Box::new(TcpListener::bind(address).await?);
            Ok(listener)
        }
        .boxed()
    }

    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxedStream>> {
        let target = self.via.get(address).map_or(address, String::as_str);
        async move {
            let stream = time::timeout(CONNECT_TIMEOUT, TcpStream::connect(target)).await??;
            stream.set_nodelay(true)?;
            let stream: BoxedStream = Box::new(stream);
            Ok(stream)
        }
        .boxed()
    }
}

impl Listener for TcpListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxedStream, String)>> {
        async move {
            let (stream, from) = Self::accept(self).await?;
            stream.set_nodelay(true)?;
            let stream: BoxedStream = Box::new(stream);
            Ok((stream, from.to_string()))
        }
        .boxed()
    }

    fn local_address(&self) -> io::Result<String> {
        self.local_addr().map(|address| address.to_string())
    }
}
