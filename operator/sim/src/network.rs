//! The simulated network, for operators.

use std::io;

use futures::future::{BoxFuture, FutureExt as _};
use hanse_operator::peer::{BoxedStream, Listener, Network};
use turmoil::net::{TcpListener, TcpStream};

/// The port of every member for its peers.
pub const PEER_PORT: u16 = 7443;

/// Opens the sockets of the host whose code runs.
#[derive(Debug, Clone, Copy)]
pub struct SimulatedNetwork;

impl Network for SimulatedNetwork {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        async move {
            let listener: Box<dyn Listener> =
                Box::new(Accepting(TcpListener::bind(address).await?));
            Ok(listener)
        }
        .boxed()
    }

    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxedStream>> {
        async move {
            let stream: BoxedStream = Box::new(TcpStream::connect(address).await?);
            Ok(stream)
        }
        .boxed()
    }
}

struct Accepting(TcpListener);

impl Listener for Accepting {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxedStream, String)>> {
        async move {
            let (stream, from) = self.0.accept().await?;
            let stream: BoxedStream = Box::new(stream);
            Ok((stream, from.to_string()))
        }
        .boxed()
    }

    fn local_address(&self) -> io::Result<String> {
        self.0.local_addr().map(|address| address.to_string())
    }
}
