//! This member's seat in the quorum, if it has an address at which others reach it.
//!
//! A seat is a number that belongs to one volume for ever: the log index of the `Volunteer` command that asked for it.
//! The replica of a seat is created right after the answer and nowhere else. A member whose replica is gone therefore
//! asks for a new seat. An empty replica under an old number could elect a second leader (docs/adr/0003).

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context;
use hanse_core::{
    command::{Command, Newcomer, SignedCommand},
    id::{NodeId, PublicKey},
    state::{FOUNDER_NODE, Lease, Outcome},
};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tracing::{error, info};

use super::{
    leader::{self, Leader},
    leader_state::LeaderState,
    metrics::VoterMetrics,
    sessions::{FederationService, OwnVoter, Sessions},
};
use crate::{
    environment::Environment,
    identity::Membership,
    peer::{
        Credentials, MAX_MESSAGE_BYTES, MemberKeys, Peer, PeerKey, Peers,
        proto::federation::federation_server::FederationServer, server,
    },
    replicate::{
        engine::Timing,
        ledger::{self, Ledger},
        membership::{Patience, keep_quorum},
        network::Dialer,
    },
    settings::Settings,
    uplink::{LocalVoter, Uplink},
};

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
}

impl SeatKeeper {
    /// Opens the seat that this volume has, or asks for a seat, and serves it until `stop`.
    pub async fn keep(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let node = match self.stored_node()? {
            Some(node) => node,
            None if self.membership.founding => FOUNDER_NODE,
            None => {
                let Some(address) = self.settings.peer_address.clone() else {
                    return Ok(());
                };
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    node = volunteer(&self.uplink, address) => node?,
                }
            }
        };
        let ledger = self.open(node).await?;
        let mut tasks = self.serve(&ledger, &stop).await?;
        if self.membership.founding {
            self.found(&ledger).await?;
        }
        self.propose_address(node, &ledger).await;
        tokio::select! {
            () = stop.cancelled() => {}
            Some(ended) = tasks.join_next() => {
                ended.context("a task of the voter panicked")?.context("the voter stopped")?;
            }
        }
        self.local.send_replace(None);
        ledger
            .shutdown()
            .await
            .context("failed to close the ledger")?;
        Ok(())
    }

    async fn open(&self, node: NodeId) -> anyhow::Result<Ledger> {
        let timings = self.settings.raft;
        let path = ledger_directory(&self.settings.data_dir).join(node.to_string());
        let settings = ledger::Settings {
            directory: self.environment.disk.directory(path),
            federation: self.membership.federation,
            node,
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
        .await
        .context("failed to open this member's replica of the ledger")?;
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

    /// Writes the first entries of a federation. A step may have been done before a crash, so each step checks first.
    async fn found(&mut self, ledger: &Ledger) -> anyhow::Result<()> {
        let address = self.settings.peer_address.clone().unwrap_or_default();
        if ledger.is_pristine().await? {
            ledger
                .found(&address, self.credentials.public())
                .await
                .context("failed to found the federation")?;
        }
        let mut leadership = ledger.leadership();
        leadership
            .wait_for(|now| now.is_self)
            .await
            .context("the ledger closed")?;
        while ledger.read(|state| state.federation.is_none()) {
            let founder = Newcomer {
                name: self.settings.name.clone(),
                owner: self.settings.owner.clone(),
                key: self.credentials.public(),
            };
            let federation = self.membership.federation;
            let command = Command::Found {
                federation,
                founder,
                timings: self.membership.timings,
            };
            let signed = SignedCommand::sign(&federation, &self.credentials.key, 1, &command);
            if let Err(reason) = ledger.propose(signed).await {
                error!(%reason, "failed to found the federation; trying again");
            }
        }
        self.membership.founding = false;
        self.membership.write(&self.settings.data_dir)?;
        info!(federation = %self.membership.federation, "founded the federation");
        Ok(())
    }

    /// Proposes the address of a founder: its seat exists before its address is in the ledger.
    async fn propose_address(&self, node: NodeId, ledger: &Ledger) {
        let Some(address) = self
            .settings
            .peer_address
            .clone()
            .filter(|_| node == FOUNDER_NODE)
        else {
            return;
        };
        let key = self.credentials.public();
        let told = ledger.read(|state| {
            let seat = state
                .member_of(&key)
                .and_then(|(_, member)| member.seat.as_ref());
            seat.is_none_or(|seat| !seat.address.is_empty())
        });
        if !told {
            // If the operator stops meanwhile, the next start checks again.
            let _ = self.uplink.propose(Command::Volunteer { address }).await;
        }
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
async fn volunteer(uplink: &Uplink, address: String) -> anyhow::Result<NodeId> {
    match uplink
        .propose(Command::Volunteer {
            address: address.clone(),
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
