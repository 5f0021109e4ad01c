//! The one place sockets come from. Everything else takes a [`Network`], so that a simulator or a test can be the network.

use std::{collections::BTreeMap, io, time::Duration};

use futures::future::{BoxFuture, FutureExt};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time,
};

/// How long [`TcpNetwork`] waits for a name to resolve and a connection to open. A backstop: whoever has a lease to keep
/// waits less (see [`super::client`]).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes in order, in both directions.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

/// Some network's connection.
pub type BoxedStream = Box<dyn ByteStream>;

/// Where connections come from.
pub trait Network: Send + Sync + 'static {
    /// Takes connections at `address` (`host:port`; port 0 lets the network choose).
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;

    /// Opens a connection to `address` (`host:port`). May take forever on a network that loses everything: the caller
    /// bounds it.
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxedStream>>;
}

/// Connections that others open.
pub trait Listener: Send + 'static {
    /// The next connection and the address it comes from, for logs. Loses none when the future is dropped unfinished.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxedStream, String)>>;

    /// The address it listens at, with the port the network chose.
    fn local_address(&self) -> io::Result<String>;
}

/// The real network.
#[derive(Debug, Clone, Default)]
pub struct TcpNetwork {
    /// Advertised address to the address to dial instead of it: for links that pass through something the peers do not
    /// know of, such as a port forwarded by hand.
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
