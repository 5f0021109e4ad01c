//! Voters in one process, connected by pipes that carry the caller's key.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hanse_core::{
    command::{Attributes, Command, Newcomer, SignedCommand, admission_message},
    id::{Digest, FederationId, NodeId, PrivateKey, PublicKey},
    level::Level,
    state::{FOUNDER_NODE, Outcome},
    timings::Timings,
};
use hyper_util::rt::TokioIo;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tonic::{
    Extensions, Status,
    transport::{Channel, Endpoint, Server, server::Connected},
};

use crate::environment::{Clock, FileDirectory};
use crate::replicate::{
    engine::Timing,
    leadership::Leadership,
    ledger::{Ledger, Settings},
    membership::{Patience, keep_quorum},
    network::Dialer,
};

pub(super) const FEDERATION: FederationId = FederationId([7; 16]);

/// Long enough for a machine that runs three builds at the same time.
pub(super) const TIMING: Timing = Timing {
    heartbeat: Duration::from_millis(150),
    election_min: Duration::from_millis(500),
    election_max: Duration::from_millis(900),
};

/// The longest wait in a test.
pub(super) const PATIENCE: Duration = Duration::from_mins(1);

type Door = mpsc::UnboundedSender<Pipe>;

/// The network: the listener of each address.
#[derive(Clone, Default)]
pub(super) struct Pipes(Arc<Mutex<BTreeMap<String, Door>>>);

/// One end of a connection, with the key of the caller.
pub(super) struct Pipe {
    stream: DuplexStream,
    caller: PublicKey,
}

impl Connected for Pipe {
    type ConnectInfo = PublicKey;
    fn connect_info(&self) -> PublicKey {
        self.caller
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Opens connections as the holder of one key.
pub(super) struct PipeDialer {
    pub(super) pipes: Pipes,
    pub(super) caller: PublicKey,
}

impl Dialer for PipeDialer {
    fn channel(&self, address: &str, _: PublicKey) -> Channel {
        let (pipes, caller, address) = (self.pipes.clone(), self.caller, address.to_owned());
        let connect = move |_| {
            let door = pipes.0.lock().unwrap().get(&address).cloned();
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            let stream = theirs;
            let entered = door.and_then(|door| door.send(Pipe { stream, caller }).ok());
            std::future::ready(match entered {
                Some(()) => Ok(TokioIo::new(ours)),
                None => Err(io::Error::from(io::ErrorKind::ConnectionRefused)),
            })
        };
        Endpoint::from_static("http://pipe").connect_with_connector_lazy(tower::service_fn(connect))
    }
}

fn caller(extensions: &Extensions) -> Result<PublicKey, Status> {
    let key = extensions.get::<PublicKey>();
    key.copied()
        .ok_or_else(|| Status::unauthenticated("no key"))
}

/// One member's voter.
pub(super) struct Voter {
    pub(super) key: PrivateKey,
    pub(super) ledger: Ledger,
    pub(super) directory: TempDir,
    address: String,
    pipes: Pipes,
    sequence: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

pub(super) fn key(number: u8) -> PrivateKey {
    PrivateKey::from_seed(&[number; 32])
}

pub(super) fn newcomer(number: u8) -> Newcomer {
    Newcomer {
        name: format!("member-{number}").parse().unwrap(),
        owner: format!("owner-{number}").parse().unwrap(),
        key: key(number).public(),
    }
}

pub(super) fn settings(directory: &TempDir, node: NodeId, known: &[PublicKey]) -> Settings {
    Settings {
        directory: Arc::new(FileDirectory(directory.path().to_owned())),
        federation: FEDERATION,
        node,
        is_new: std::fs::read_dir(directory.path())
            .unwrap()
            .next()
            .is_none(),
        level: Level::NEWEST,
        timing: TIMING,
        known_voters: known.iter().copied().collect(),
    }
}

impl Voter {
    /// Opens member `number`'s ledger as `node`, and makes it reachable for the others.
    pub(super) async fn open(
        pipes: &Pipes,
        number: u8,
        node: NodeId,
        directory: TempDir,
        known: &[PublicKey],
    ) -> Self {
        let key = key(number);
        let address = format!("member-{number}:7443");
        let dialer = PipeDialer {
            pipes: pipes.clone(),
            caller: key.public(),
        };
        let ledger = Ledger::open(
            settings(&directory, node, known),
            Arc::new(dialer),
            Clock::fixed(1_700_000_000_000),
        )
        .await
        .unwrap();
        let (door, mut visitors) = mpsc::unbounded_channel();
        pipes.0.lock().unwrap().insert(address.clone(), door);
        let service = ledger.service(caller);
        let serve = tokio::spawn(async move {
            let incoming = futures::stream::poll_fn(move |context| {
                let visitor = visitors.poll_recv(context);
                visitor.map(|pipe| pipe.map(io::Result::Ok))
            });
            let server = Server::builder().add_service(service);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        let patience = Patience {
            silent_voter: Duration::from_secs(1),
            lost_voter: Duration::from_secs(2),
            ..Patience::default()
        };
        let grow = tokio::spawn(keep_quorum(ledger.clone(), patience));
        Self {
            key,
            ledger,
            directory,
            address,
            pipes: pipes.clone(),
            sequence: Arc::default(),
            tasks: vec![serve, grow],
        }
    }

    /// The founder of a federation of one.
    pub(super) async fn found(pipes: &Pipes) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let voter = Self::open(pipes, 1, FOUNDER_NODE, directory, &[]).await;
        assert!(voter.ledger.is_pristine().await.unwrap());
        let address = voter.address.clone();
        let public = voter.key.public();
        voter.ledger.found(&address, public).await.unwrap();
        voter.leads().await;
        let founder = newcomer(1);
        voter
            .asks(Command::Found {
                federation: FEDERATION,
                founder,
                timings: Timings::default(),
                level: Level::FIRST,
            })
            .await;
        voter
            .asks(Command::Volunteer {
                address,
                level: Level::NEWEST,
            })
            .await;
        voter
    }

    /// Invites member `number`, admits it, lets it volunteer and opens its ledger.
    pub(super) async fn welcome(&self, number: u8) -> Self {
        let (invitation, member) = (key(100 + number), newcomer(number));
        self.asks(Command::Invite {
            invitation: invitation.public(),
            owner: member.owner.clone(),
            expires_ms: u64::MAX,
        })
        .await;
        let proof = invitation.sign(&admission_message(&FEDERATION, &member));
        let admit = Command::Admit {
            invitation: invitation.public(),
            newcomer: member,
            proof,
        };
        let address = format!("member-{number}:7443");
        accepted(self.propose_for(number, 1, &admit).await);
        let volunteer = Command::Volunteer {
            address,
            level: Level::NEWEST,
        };
        let node = NodeId(accepted(self.propose_for(number, 2, &volunteer).await));
        let directory = tempfile::tempdir().unwrap();
        let known = [self.key.public()];
        let voter = Self::open(&self.pipes, number, node, directory, &known).await;
        voter.sequence.store(2, Ordering::Relaxed);
        voter
    }

    async fn propose_for(&self, number: u8, sequence: u64, command: &Command) -> Outcome {
        let signed = SignedCommand::sign(&FEDERATION, &key(number), sequence, command);
        self.ledger.propose(signed).await.unwrap()
    }

    /// The next command of this member, signed.
    pub(super) fn sign(&self, command: &Command) -> SignedCommand {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed) + 1;
        SignedCommand::sign(&FEDERATION, &self.key, sequence, command)
    }

    /// Proposes a command of this member, here; returns the index of its entry.
    pub(super) async fn asks(&self, command: Command) -> u64 {
        let signed = self.sign(&command);
        accepted(self.ledger.propose(signed).await.unwrap())
    }

    pub(super) async fn leads(&self) -> Leadership {
        until(self.ledger.leadership(), |leadership| leadership.is_self).await
    }

    pub(super) async fn has_applied(&self, index: u64) -> u64 {
        until(self.ledger.applied(), move |applied| *applied >= index).await
    }

    /// Height, head of the chain, and everything decided, as text.
    pub(super) fn replica(&self) -> (u64, Digest, String) {
        self.ledger.read(|state| {
            let text = serde_json::to_string(state).unwrap();
            (state.index, state.head, text)
        })
    }

    pub(super) async fn has_voters(&self, voters: &[NodeId]) {
        let expected: BTreeSet<NodeId> = voters.iter().copied().collect();
        until(self.ledger.applied(), |_| {
            self.ledger.read(|state| state.voters == expected)
        })
        .await;
        // The engine says so a moment later.
        let nodes = expected.iter().map(|node| node.0);
        let said = self.ledger.raft().wait(Some(PATIENCE));
        said.voter_ids(nodes, "these vote").await.unwrap();
    }

    /// Stops without a handover, and returns what is on the disk.
    pub(super) async fn killed(self) -> TempDir {
        self.pipes.0.lock().unwrap().remove(&self.address);
        self.tasks.iter().for_each(JoinHandle::abort);
        self.ledger.close().await.unwrap();
        self.directory
    }

    /// Shuts down with a handover.
    pub(super) async fn stopped(self) -> TempDir {
        self.ledger.shutdown().await.unwrap();
        self.pipes.0.lock().unwrap().remove(&self.address);
        self.tasks.iter().for_each(JoinHandle::abort);
        self.directory
    }
}

pub(super) async fn until<T: Clone>(
    mut receiver: watch::Receiver<T>,
    holds: impl FnMut(&T) -> bool,
) -> T {
    let waiting = tokio::time::timeout(PATIENCE, receiver.wait_for(holds));
    waiting
        .await
        .expect("it does not come to pass")
        .unwrap()
        .clone()
}

pub(super) fn accepted(outcome: Outcome) -> u64 {
    match outcome {
        Outcome::Accepted { index } => index,
        Outcome::Rejected { rejection } => panic!("{rejection}"),
    }
}

pub(super) fn describe(region: &str) -> Command {
    let attributes = Attributes {
        region: region.into(),
        ..Attributes::default()
    };
    Command::Describe {
        attributes,
        version: String::new(),
        level: Level::NEWEST,
    }
}

/// A federation with three voters.
pub(super) async fn three(pipes: &Pipes) -> [Voter; 3] {
    let founder = Voter::found(pipes).await;
    let second = founder.welcome(2).await;
    let third = founder.welcome(3).await;
    let nodes = [&founder, &second, &third].map(|voter| voter.ledger.node());
    for voter in [&founder, &second, &third] {
        voter.has_voters(&nodes).await;
    }
    [founder, second, third]
}
