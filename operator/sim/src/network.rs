//! The simulated network, for operators.
//!
//! When a process is killed, its connections say nothing to the other side, as when a machine is gone. Whatever a library
//! drops then, in an order that depends on what else this process of the simulator has run, sends no message.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures::future::{BoxFuture, FutureExt as _};
use hanse_operator::peer::{BoxedStream, Listener, Network};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use crate::disk::{ProcessId, SimulatedDisk};

/// The port of every member for its peers.
pub const PEER_PORT: u16 = 7443;

/// Opens the sockets of one process, on the host whose code runs.
#[derive(Clone)]
pub struct SimulatedNetwork {
    /// The disk of its machine, which knows whether the process lives.
    disk: SimulatedDisk,
    process: ProcessId,
}

impl SimulatedNetwork {
    /// The network for the process that now runs on the machine with this disk.
    #[must_use]
    pub fn of_process(disk: SimulatedDisk) -> Self {
        let process = disk.process();
        Self { disk, process }
    }

    fn connection(&self, stream: TcpStream) -> BoxedStream {
        Box::new(Connection {
            stream: Some(stream),
            network: self.clone(),
        })
    }
}

impl Network for SimulatedNetwork {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        async move {
            let listener = TcpListener::bind(address).await?;
            let network = self.clone();
            let listener: Box<dyn Listener> = Box::new(Accepting { listener, network });
            Ok(listener)
        }
        .boxed()
    }

    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxedStream>> {
        async move { Ok(self.connection(TcpStream::connect(address).await?)) }.boxed()
    }
}

struct Accepting {
    listener: TcpListener,
    network: SimulatedNetwork,
}

impl Listener for Accepting {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxedStream, String)>> {
        async move {
            let (stream, from) = self.listener.accept().await?;
            Ok((self.network.connection(stream), from.to_string()))
        }
        .boxed()
    }

    fn local_address(&self) -> io::Result<String> {
        self.listener
            .local_addr()
            .map(|address| address.to_string())
    }
}

/// A connection that closes only while its process lives.
struct Connection {
    /// There until it is dropped.
    stream: Option<TcpStream>,
    network: SimulatedNetwork,
}

impl Connection {
    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        let stream = self.stream.as_mut().map(Pin::new);
        stream.ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let SimulatedNetwork { disk, process } = &self.network;
        if disk.process() != *process {
            std::mem::forget(self.stream.take());
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(context)
    }
}
