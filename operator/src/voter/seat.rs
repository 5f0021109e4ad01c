//! This member's seat in the quorum, if it has an address at which others reach it.
//!
//! A seat is a number that belongs to one volume for ever: the log index of the `Volunteer` command that asked for it.
//! The replica of a seat is created right after the answer and nowhere else. A member whose replica is gone therefore
//! asks for a new seat. An empty replica under an old number could elect a second leader (docs/adr/0003).

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use hanse_core::{
    command::Command,
    id::{NodeId, PublicKey},
    level::Level,
    state::{FOUNDER_NODE, Lease, Outcome},
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tracing::{error, info, warn};

use super::{
    leader,
    leader_state::LeaderState,
    metrics::VoterMetrics,
    sessions::{FederationService, OwnVoter, Sessions},
    term::Leader,
};
use crate::{
    cluster::agenda::backoff,
    environment::Environment,
    identity::Membership,
    peer::{
        Credentials, MAX_MESSAGE_BYTES, MemberKeys, Peer, PeerKey, Peers,
        proto::federation::federation_server::FederationServer, server,
    },
    replicate::{
        engine::Timing,
        ledger::{self, Ledger, LedgerError},
        membership::{Patience, keep_quorum},
        network::Dialer,
    },
    settings::Settings,
    uplink::{LocalVoter, Uplink},
};

/// A seat that was served for so long is tried again soon, as after a first failure.
const STEADY: Duration = Duration::from_mins(1);

/// The inputs of a seat.
pub struct SeatKeeper {
    pub settings: Settings,
    pub environment: Environment,
    pub credentials: Arc<Credentials>,
    pub membership: Membership,
    pub peers: Arc<Peers>,
    pub uplink: Uplink,
    /// The metrics of the voter.
    pub metrics: VoterMetrics,
    /// Publishes this voter for the stream of its own member.
    pub local: watch::Sender<Option<Arc<dyn LocalVoter>>>,
    /// Publishes the ledger of this process.
    pub ledger: watch::Sender<Option<Ledger>>,
    /// Publishes why the ledger is not open; `None` while it is, and where there is none.
    pub problem: watch::Sender<Option<String>>,
    /// A seat that the ledger gave to this process and whose replica was not opened yet.
    pub given: Option<NodeId>,
}

impl SeatKeeper {
    /// Serves the seat that this volume has, or asks for one, until `stop`.
    ///
    /// What ends a seat before, such as a full disk, is logged and shown as what readiness waits for, and the seat is opened
    /// again. Meanwhile this member is a host as before, through other voters: a process that ended and could not begin again
    /// would stop nothing that is `Single` when its lease is over (docs/adr/0019).
    pub async fn keep(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut failures = 0;
        loop {
            let since = Instant::now();
            let served = self.take_seat(&stop).await;
            self.local.send_replace(None);
            self.ledger.send_replace(None);
            let Err(why) = served else { return Ok(()) };
            let why = format!("{why:#}");
            failures = if since.elapsed() < STEADY {
                failures + 1
            } else {
                0
            };
            if self.problem.borrow().as_ref() != Some(&why) {
                error!(
                    why,
                    "this member's replica of the ledger is not open; trying again, and going on as a host"
                );
            }
            self.show(Some(why));
            let pause = stop.run_until_cancelled(sleep(backoff(failures)));
            if pause.await.is_none() {
                return Ok(());
            }
        }
    }

    /// Publishes why the ledger is not open; `None` if it is.
    fn show(&self, problem: Option<String>) {
        self.metrics.ledger_fails(problem.is_some());
        self.problem.send_replace(problem);
    }

    /// Opens a seat and serves it until `stop`, which is no error.
    async fn take_seat(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        let seat = match self.stored_node()? {
            Some(node) => match self.open(node, self.membership.founding).await {
                Err(error) if error.is_loss() => {
                    warn!(%node, %error, "this replica must not vote any more; asking for another seat");
                    self.show(Some(error.to_string()));
                    self.new_seat(stop).await?
                }
                opened => Some((opened?, node)),
            },
            None if self.membership.founding => {
                Some((self.open(FOUNDER_NODE, true).await?, FOUNDER_NODE))
            }
            None => self.new_seat(stop).await?,
        };
        let Some((ledger, node)) = seat else {
            return Ok(());
        };
        self.given = None;
        self.show(None);
        match self.serve_until(&ledger, node, stop).await {
            Ok(()) => ledger
                .shutdown()
                .await
                .context("failed to close the ledger"),
            Err(why) => {
                // It has failed already, and is closed so that it can be opened again.
                let _ = ledger.close().await;
                Err(why)
            }
        }
    }

    /// Asks for a seat and opens it. `None` if this member wants none, or at `stop`. While a disk takes no writes, the seat that was
    /// given first is tried again: each question is an entry of the ledger.
    async fn new_seat(
        &mut self,
        stop: &CancellationToken,
    ) -> anyhow::Result<Option<(Ledger, NodeId)>> {
        let Some(address) = self.settings.peer_address.clone() else {
            stop.cancelled().await;
            return Ok(None);
        };
        if self.given.is_none() {
            let level = self.environment.build.level;
            let asked = stop.run_until_cancelled(volunteer(&self.uplink, address, level));
            self.given = asked.await.transpose()?;
        }
        match self.given {
            Some(node) => Ok(Some((self.open(node, true).await?, node))),
            None => Ok(None),
        }
    }

    /// Runs all that a voter runs until `stop`, or until a part of it ends.
    async fn serve_until(
        &mut self,
        ledger: &Ledger,
        node: NodeId,
        stop: &CancellationToken,
    ) -> anyhow::Result<()> {
        let mut tasks = self.serve(ledger, stop).await?;
        let run = async {
            if self.membership.founding {
                self.found(ledger).await?;
            }
            self.propose_address(node, ledger).await;
            stop.cancelled().await;
            Ok(())
        };
        tokio::select! {
            biased;
            ended = run => ended,
            why = ledger.ended() => Err(why).context("the voter's engine ended"),
            Some(ended) = tasks.join_next() => {
                ended.context("a task of the voter panicked")?.context("the voter stopped")?;
                // Without an error they end at `stop`, and when the ledger is closed under them.
                anyhow::ensure!(stop.is_cancelled(), "the voter's ledger is closed");
                Ok(())
            }
        }
    }

    async fn open(&self, node: NodeId, is_new: bool) -> Result<Ledger, LedgerError> {
        let timings = self.settings.raft;
        let path = ledger_directory(&self.settings.data_dir).join(node.to_string());
        let settings = ledger::Settings {
            directory: self.environment.disk.directory(path),
            federation: self.membership.federation,
            node,
            is_new,
            level: self.environment.build.level,
            timing: Timing {
                heartbeat: timings.heartbeat,
                election_min: timings.election_min,
                election_max: timings.election_max,
            },
            known_voters: self
                .membership
                .voters
                .iter()
                .map(|voter| voter.key)
                .collect(),
        };
        let ledger = Ledger::open(
            settings,
            Arc::new(PinnedDialer(self.peers.clone())),
            self.environment.clock.clone(),
        )
        .await?;
        info!(%node, "opened the ledger");
        self.ledger.send_replace(Some(ledger.clone()));
        Ok(ledger)
    }

    /// Everything a voter runs: its listener, the leader's loop, the growth of the quorum.
    async fn serve(
        &self,
        ledger: &Ledger,
        stop: &CancellationToken,
    ) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
        let state = Arc::new(LeaderState::new(self.settings.name.clone(), ledger.clone()));
        let sessions = Arc::new(Sessions {
            leader: state.clone(),
            key: self.credentials.public(),
            peers: self.peers.clone(),
            quorum_within: self.settings.raft.election_min,
            slice: self.uplink.slice(),
        });
        let mut tasks = JoinSet::new();
        if self.settings.peer_address.is_some() {
            self.listen(ledger, sessions.clone(), stop, &mut tasks)
                .await?;
        }
        let leader = Leader {
            state,
            key: self.credentials.key.clone(),
            grace: self.settings.raft.election_max,
            raises_after: self.environment.build.raises_after,
            metrics: self.metrics.clone(),
        };
        let leading = stop.clone();
        tasks.spawn(async move {
            leader::run(leader, leading).await;
            Ok(())
        });
        let grown = ledger.clone();
        tasks.spawn(async move {
            keep_quorum(grown, Patience::default()).await;
            Ok(())
        });
        self.local.send_replace(Some(Arc::new(OwnVoter(sessions))));
        Ok(tasks)
    }

    /// Serves calls of other operators: members' streams and the other voters.
    async fn listen(
        &self,
        ledger: &Ledger,
        sessions: Arc<Sessions>,
        stop: &CancellationToken,
        tasks: &mut JoinSet<anyhow::Result<()>>,
    ) -> anyhow::Result<()> {
        let address = &self.settings.peer_listen;
        let listening = self.environment.network.listen(address).await;
        let listener = listening
            .with_context(|| format!("failed to listen for other operators on {address}"))?;
        let federation = FederationServer::new(FederationService(sessions))
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let raft = ledger.service(|extensions| {
            let key = extensions.get::<PeerKey>().map(|key| key.0);
            key.ok_or_else(|| tonic::Status::unauthenticated("the caller proved no key"))
        });
        let routes = tonic::service::Routes::new(federation).add_service(raft);
        let voters = self.membership.voters.iter();
        let known: BTreeSet<PublicKey> = voters.map(|voter| voter.key).collect();
        let members = MemberKeys::new(known.clone());
        tasks.spawn(follow_members(ledger.clone(), known, members.clone()));
        let (credentials, stopping) = (self.credentials.clone(), stop.clone());
        tasks.spawn(async move {
            let stopped = stopping.cancelled();
            let serving = server::serve(listener, &credentials, members, routes, stopped);
            serving.await.context("failed to serve other operators")
        });
        Ok(())
    }

    /// The seat whose replica this volume holds. If it holds several, the newest.
    fn stored_node(&self) -> anyhow::Result<Option<NodeId>> {
        let path = ledger_directory(&self.settings.data_dir);
        let directory = self.environment.disk.directory(path.clone());
        let names = directory
            .names()
            .with_context(|| format!("failed to read {}", path.display()))?;
        let numbers = names.iter().filter_map(|name| name.parse().ok());
        Ok(numbers.max().map(NodeId))
    }
}

/// Voters dial one another as members dial voters: by address, pinned to a key.
struct PinnedDialer(Arc<Peers>);

impl Dialer for PinnedDialer {
    fn channel(&self, address: &str, key: PublicKey) -> Channel {
        self.0.channel(&Peer {
            address: address.to_owned(),
            key,
        })
    }
}

/// Keeps the set of keys that may stay connected equal to the members in the ledger. While the replica is empty, the
/// set holds the voters that the member was given when it joined.
async fn follow_members(
    ledger: Ledger,
    known: BTreeSet<PublicKey>,
    members: MemberKeys,
) -> anyhow::Result<()> {
    let mut applied = ledger.applied();
    loop {
        let keys: BTreeSet<PublicKey> = ledger.read(|state| {
            let current = state
                .members
                .values()
                .filter(|member| !matches!(member.lease, Lease::Revoked { .. }));
            current.map(|member| member.key).collect()
        });
        members.replace(if keys.is_empty() { known.clone() } else { keys });
        if applied.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// Proposes `Volunteer` and waits until the ledger answers.
async fn volunteer(uplink: &Uplink, address: String, level: Level) -> anyhow::Result<NodeId> {
    match uplink
        .propose(Command::Volunteer {
            address: address.clone(),
            level,
        })
        .await?
    {
        Outcome::Accepted { index } => Ok(NodeId(index)),
        Outcome::Rejected { rejection } => {
            anyhow::bail!(
                "the ledger rejected '{address}' as this member's --peer-address: {rejection}"
            )
        }
    }
}

/// The directory of this volume's replicas. Each replica has a directory named after its seat, because a seat belongs
/// to one volume for ever.
fn ledger_directory(data_dir: &Path) -> PathBuf {
    data_dir.join("ledger")
}
