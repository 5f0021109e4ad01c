//! This member's seat in the quorum, if it has an address at which others reach it.
//!
//! A seat is a number that belongs to one volume for ever: the log index of the `Volunteer` command that asked for it.
//! Its replica is created right after the answer and nowhere else. A member whose replica is gone therefore asks for a
//! new seat instead of coming back empty under an old number, which could elect a second leader (docs/adr/0003).

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, Mutex, RwLock},
};

use anyhow::Context;
use hanse_core::{
    command::{Command, Newcomer, SignedCommand},
    id::{NodeId, PublicKey},
    lease::Lessor,
    slice::Standing,
    state::{FOUNDER_NODE, Lease, Outcome},
};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::{
    engine::Timing,
    ledger::{self, Ledger},
    membership::{Patience, keep_quorum},
    network::Dialer,
    storage::Directory,
    uplink::{LocalVoter, Uplink},
};
use crate::{
    assign::{FederationService, Hub, OwnHub},
    enter::ledger_directory,
    identity::{Identity, Membership},
    peer::{
        MAX_MESSAGE_BYTES, MemberKeys, Peer, PeerKey, Peers,
        proto::federation::federation_server::FederationServer, server,
    },
    plan,
    run::Environment,
    settings::Settings,
};

/// What a seat needs to know and to have.
pub struct SeatKeeper {
    pub settings: Settings,
    pub environment: Environment,
    pub identity: Arc<Identity>,
    pub membership: Membership,
    pub peers: Arc<Peers>,
    pub uplink: Uplink,
    /// Where the own member's stream finds its own voter.
    pub local: watch::Sender<Option<Arc<dyn LocalVoter>>>,
    /// For whoever wants to look at the ledger of this process.
    pub ledger: watch::Sender<Option<Ledger>>,
}

impl SeatKeeper {
    /// Takes the seat this volume has, or asks for one, and keeps it until `stop`.
    pub async fn keep(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let node = match stored_node(&self.settings.data_dir)? {
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
        self.tell_address(node, &ledger).await;
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
        let directory = ledger_directory(&self.settings.data_dir, node);
        let timings = self.settings.timings;
        let settings = ledger::Settings {
            disk: Arc::new(Directory(directory)),
            federation: self.membership.federation,
            node,
            timing: Timing {
                heartbeat: timings.raft_heartbeat,
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
            self.environment.wall_clock.clone(),
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
        let hub = Arc::new(Hub {
            federation: self.membership.federation,
            name: self.settings.name.clone(),
            key: self.identity.public(),
            ledger: ledger.clone(),
            peers: self.peers.clone(),
            lease: self.settings.timings.lease,
            quorum_within: self.settings.timings.election_min,
            epoch: Instant::now(),
            lessor: Mutex::new(Lessor::default()),
            standing: RwLock::new(Standing::default()),
            standing_changed: watch::channel(0).0,
            heard_from_lost: Notify::new(),
        });
        let mut tasks = JoinSet::new();
        if self.settings.peer_address.is_some() {
            let listener = self
                .environment
                .network
                .listen(&self.settings.peer_listen)
                .await
                .with_context(|| {
                    format!(
                        "failed to listen for other operators on {}",
                        self.settings.peer_listen
                    )
                })?;
            let federation = FederationServer::new(FederationService(hub.clone()))
                .max_decoding_message_size(MAX_MESSAGE_BYTES);
            let raft = ledger.service(|extensions| {
                let key = extensions.get::<PeerKey>().map(|key| key.0);
                key.ok_or_else(|| tonic::Status::unauthenticated("the caller proved no key"))
            });
            let routes = tonic::service::Routes::new(federation).add_service(raft);
            let known: BTreeSet<PublicKey> = self
                .membership
                .voters
                .iter()
                .map(|voter| voter.key)
                .collect();
            let members = MemberKeys::new(known.clone());
            tasks.spawn(follow_members(ledger.clone(), known, members.clone()));
            let (identity, stopping) = (self.identity.clone(), stop.clone());
            tasks.spawn(async move {
                let serving =
                    server::serve(listener, &identity, members, routes, stopping.cancelled());
                serving.await.context("failed to serve other operators")
            });
        }
        let leader = plan::Leader {
            hub: hub.clone(),
            key: self.identity.key.clone(),
            grace: self.settings.timings.election_max,
        };
        let leading = stop.clone();
        tasks.spawn(async move {
            plan::run(leader, leading).await;
            Ok(())
        });
        let grown = ledger.clone();
        tasks.spawn(async move {
            keep_quorum(grown, Patience::default()).await;
            Ok(())
        });
        self.local.send_replace(Some(Arc::new(OwnHub(hub))));
        Ok(tasks)
    }

    /// The first entries of a federation. Each step may have been taken before a crash, so each looks first.
    async fn found(&mut self, ledger: &Ledger) -> anyhow::Result<()> {
        let address = self.settings.peer_address.clone().unwrap_or_default();
        if ledger.is_pristine().await? {
            ledger
                .found(&address, self.identity.public())
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
                key: self.identity.public(),
            };
            let command = Command::Found {
                federation: self.membership.federation,
                founder,
            };
            let signed =
                SignedCommand::sign(&self.membership.federation, &self.identity.key, 1, &command);
            if let Err(reason) = ledger.propose(signed).await {
                error!(%reason, "failed to found the federation; trying again");
            }
        }
        self.membership.founding = false;
        self.membership.write(&self.settings.data_dir)?;
        info!(federation = %self.membership.federation, "founded the federation");
        Ok(())
    }

    /// A founder sits before it has told where.
    async fn tell_address(&self, node: NodeId, ledger: &Ledger) {
        let Some(address) = self
            .settings
            .peer_address
            .clone()
            .filter(|_| node == FOUNDER_NODE)
        else {
            return;
        };
        let key = self.identity.public();
        let told = ledger.read(|state| {
            let seat = state
                .member_of(&key)
                .and_then(|(_, member)| member.seat.as_ref());
            seat.is_none_or(|seat| !seat.address.is_empty())
        });
        if !told {
            // A stop meanwhile is no failure: the next start looks again.
            let _ = self.uplink.propose(Command::Volunteer { address }).await;
        }
    }
}

/// Voters dial one another like everyone else: by address, pinned to a key.
struct PinnedDialer(Arc<Peers>);

impl Dialer for PinnedDialer {
    fn channel(&self, address: &str, key: PublicKey) -> tonic::transport::Channel {
        self.0.channel(&Peer {
            address: address.to_owned(),
            key,
        })
    }
}

/// Keeps the keys that may stay connected those of the ledger. A replica that is still empty goes by the voters it was
/// told of when it entered.
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

/// Asks for a seat until the ledger answers.
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
                "the federation refused '{address}' as this member's --peer-address: {rejection}"
            )
        }
    }
}

/// The seat whose replica this volume holds: the newest, should an older one have been left behind.
fn stored_node(data_dir: &Path) -> anyhow::Result<Option<NodeId>> {
    let directory = data_dir.join("ledger");
    let entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("failed to read {}", directory.display()));
        }
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| name.parse().ok()).max().map(NodeId))
}
