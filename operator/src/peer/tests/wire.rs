//! A network in memory that can drop every byte. With paused time, tests measure when that is detected.

use std::{
    collections::BTreeMap,
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures::future::{BoxFuture, FutureExt};
use parking_lot::Mutex;
use tokio::{
    io::{DuplexStream, copy, duplex, split},
    sync::{mpsc, watch},
};

use crate::peer::network::{BoxedStream, Listener, Network};

/// Enough that no message of these tests fills it.
const BUFFER_BYTES: usize = 1 << 20;

pub(super) struct Wire {
    listeners: Mutex<BTreeMap<String, mpsc::Sender<BoxedStream>>>,
    swallowing: watch::Sender<bool>,
    dials: AtomicUsize,
}

impl Wire {
    pub(super) fn new() -> Self {
        Self {
            listeners: Mutex::default(),
            swallowing: watch::Sender::new(false),
            dials: AtomicUsize::new(0),
        }
    }

    /// From now on no byte arrives, on connections old and new, and no error is reported.
    pub(super) fn swallow(&self) {
        self.swallowing.send_replace(true);
    }

    /// New connections work again; the dropped bytes stay lost.
    pub(super) fn heal(&self) {
        self.swallowing.send_replace(false);
    }

    /// The number of dials so far.
    pub(super) fn dials(&self) -> usize {
        self.dials.load(Ordering::SeqCst)
    }
}

/// Copies bytes both ways until the network drops them, and keeps both ends open from then on.
async fn carry(near: DuplexStream, far: DuplexStream, mut swallowing: watch::Receiver<bool>) {
    let (mut near_reads, mut near_writes) = split(near);
    let (mut far_reads, mut far_writes) = split(far);
    let swallowed = async { drop(swallowing.wait_for(|&swallowing| swallowing).await) };
    tokio::select! {
        biased;
        () = swallowed => std::future::pending().await,
        _ = copy(&mut near_reads, &mut far_writes) => {}
        _ = copy(&mut far_reads, &mut near_writes) => {}
    }
}

impl Network for Wire {
    fn listen<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        let (sender, incoming) = mpsc::channel(16);
        self.listeners.lock().insert(address.to_owned(), sender);
        let listener: Box<dyn Listener> = Box::new(Incoming(incoming));
        async move { Ok(listener) }.boxed()
    }

    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<BoxedStream>> {
        self.dials.fetch_add(1, Ordering::SeqCst);
        async move {
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let listener = self.listeners.lock().get(address).cloned();
            let (client, near) = duplex(BUFFER_BYTES);
            let (far, server) = duplex(BUFFER_BYTES);
            tokio::spawn(carry(near, far, self.swallowing.subscribe()));
            let server: BoxedStream = Box::new(server);
            let sent = listener.ok_or_else(refused)?.send(server).await;
            sent.map_err(|_| refused())?;
            let client: BoxedStream = Box::new(client);
            Ok(client)
        }
        .boxed()
    }
}

struct Incoming(mpsc::Receiver<BoxedStream>);

impl Listener for Incoming {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(BoxedStream, String)>> {
        async move {
            match self.0.recv().await {
                Some(stream) => Ok((stream, "memory".into())),
                None => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn local_address(&self) -> io::Result<String> {
        Ok("memory".into())
    }
}
