//! A TCP link that can fail. Each direction passes, delays or holds bytes. The link as a whole can refuse or cut
//! connections.
//!
//! ```text
//! dialler ──► listener ──► [Forward]  ──► target
//!         ◄──          ◄── [Backward] ◄──
//! ```
//!
//! A blackholed direction delivers its bytes when it passes again, as TCP does by retransmission. No byte is lost or
//! reordered within a connection, because TCP guarantees that even over a network that fails.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{self, AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::{Instant, interval, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How often it is tried to listen at the address again.
const BIND_AGAIN: Duration = Duration::from_millis(50);

/// Bytes read at once; with [`PIECES_IN_FLIGHT`] it bounds what a delayed direction holds to 1 MiB.
const PIECE_BYTES: usize = 16 * 1024;
/// Pieces that are read and not yet written, in one direction of one connection.
const PIECES_IN_FLIGHT: usize = 64;

/// One of the two directions of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the process that dials to the process that is dialled.
    Forward,
    /// From the process that is dialled to the process that dials.
    Backward,
}

/// What happens to bytes in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// They arrive.
    Pass,
    /// They arrive later by this time.
    Delay(Duration),
    /// They do not arrive as long as this lasts. Neither side gets an error.
    Blackhole,
}

#[derive(Clone, Debug)]
struct State {
    forward: Flow,
    backward: Flow,
    refuses: bool,
    /// Cancelled to end the open connections.
    connections: CancellationToken,
}

impl State {
    fn flow(&self, direction: Direction) -> Flow {
        match direction {
            Direction::Forward => self.forward,
            Direction::Backward => self.backward,
        }
    }
}

/// One link. Its connections end when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
}

impl Proxy {
    /// Listens on `address` and connects to `target` for each connection that comes in.
    pub async fn start(address: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        let state = State {
            forward: Flow::Pass,
            backward: Flow::Pass,
            refuses: false,
            connections: CancellationToken::new(),
        };
        let (state, changes) = watch::channel(state);
        let listener = TcpListener::bind(address).await?;
        tokio::spawn(serve(listener, address, target, changes));
        Ok(Self { address, state })
    }

    /// The address on which it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens to bytes in one direction, of open connections as well.
    pub fn set(&self, direction: Direction, flow: Flow) {
        self.state.send_modify(|state| match direction {
            Direction::Forward => state.forward = flow,
            Direction::Backward => state.backward = flow,
        });
    }

    /// Refuses new connections and ends the open ones, as a machine does on which the target process does not run.
    pub fn refuse(&self) {
        self.state.send_modify(|state| state.refuses = true);
        self.cut();
    }

    /// Ends the open connections; new ones are accepted.
    pub fn cut(&self) {
        self.state.send_modify(|state| {
            std::mem::take(&mut state.connections).cancel();
        });
    }

    /// Passes everything again.
    pub fn heal(&self) {
        self.state.send_modify(|state| {
            state.forward = Flow::Pass;
            state.backward = Flow::Pass;
            state.refuses = false;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Accepts until the [`Proxy`] is dropped.
async fn serve(
    listener: TcpListener,
    address: SocketAddr,
    target: SocketAddr,
    mut changes: watch::Receiver<State>,
) {
    let connections = TaskTracker::new();
    let mut listener = Some(listener);
    let mut retry = interval(BIND_AGAIN);
    loop {
        let refuses = changes.borrow_and_update().refuses;
        match (&listener, refuses) {
            // While a listener exists, the kernel accepts every connection. So refusing means to close the listener.
            (Some(_), true) => listener = None,
            // The port may still be taken by a connection that is being closed: tried again until it is free.
            (None, false) => listener = TcpListener::bind(address).await.ok(),
            (Some(_), false) | (None, true) => {}
        }
        let bind_again = listener.is_none() && !refuses;
        tokio::select! {
            _ = retry.tick(), if bind_again => {}
            alive = changes.changed() => if alive.is_err() { return },
            accepted = accept(listener.as_ref()) => if let Ok(dialler) = accepted {
                connections.spawn(relay(dialler, target, changes.clone()));
            },
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> io::Result<TcpStream> {
    match listener {
        Some(listener) => listener.accept().await.map(|(stream, _)| stream),
        None => std::future::pending().await,
    }
}

/// Carries one connection until one side ends it or it is cut.
async fn relay(dialler: TcpStream, target: SocketAddr, changes: watch::Receiver<State>) {
    let cut = changes.borrow().connections.clone();
    let carried = async {
        let target = TcpStream::connect(target).await?;
        // Requests and answers are smaller than a packet. Nagle's algorithm would add 40 ms to each.
        dialler.set_nodelay(true)?;
        target.set_nodelay(true)?;
        let (from_dialler, to_dialler) = dialler.into_split();
        let (from_target, to_target) = target.into_split();
        tokio::try_join!(
            carry(Direction::Forward, from_dialler, to_target, changes.clone()),
            carry(
                Direction::Backward,
                from_target,
                to_dialler,
                changes.clone()
            ),
        )
    };
    tokio::select! {
        () = cut.cancelled() => {}
        _ended = carried => {}
    }
}

/// Carries the bytes of one direction and the end of the stream.
async fn carry(
    direction: Direction,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut changes: watch::Receiver<State>,
) -> io::Result<()> {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES_IN_FLIGHT);
    let read = async {
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let length = from.read(&mut piece).await?;
            piece.truncate(length);
            if sender.send((Instant::now(), piece)).await.is_err() || length == 0 {
                return io::Result::Ok(());
            }
        }
    };
    let write = async {
        while let Some((read_at, piece)) = pieces.recv().await {
            due(direction, read_at, &mut changes).await;
            if piece.is_empty() {
                return to.shutdown().await;
            }
            to.write_all(&piece).await?;
        }
        Ok(())
    };
    tokio::try_join!(read, write).map(drop)
}

/// Waits until a piece that was read at `read_at` may arrive. Follows every change of the flow meanwhile.
async fn due(direction: Direction, read_at: Instant, changes: &mut watch::Receiver<State>) {
    loop {
        let flow = changes.borrow_and_update().flow(direction);
        let arrives = async {
            match flow {
                Flow::Pass => {}
                Flow::Delay(delay) => sleep_until(read_at + delay).await,
                Flow::Blackhole => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = arrives => return,
            alive = changes.changed() => if alive.is_err() { return },
        }
    }
}
