//! The handle to the ledger that other modules use. Clones are cheap and share one engine.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use hanse_core::{
    id::{FederationId, NodeId, PublicKey},
    level::Level,
    state::State,
};
use openraft::{
    async_runtime::WatchReceiver as _,
    errors::{InitializeError, RaftError},
};
use tokio::{sync::watch, time::timeout};

use super::{
    engine::{self, Timing, VoterNode},
    leadership::{self, Leadership},
    log_store::{LogStore, OpenLogError},
    machine::{Machine, Raft, SharedState},
    network::{Dialer, Network},
    service::{CallerKey, KnownVoters, RaftService},
    state_store::{OpenStateError, StateStore},
};
use crate::{
    environment::{Clock, Directory},
    peer::proto::raft::raft_server::RaftServer,
};

/// How long a leader that shuts down waits for another to take over. A handover is an election without its timeout: a
/// few round trips.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(2);

/// The settings of a ledger.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The directory of its databases.
    pub directory: Arc<dyn Directory>,
    /// The federation it is the ledger of.
    pub federation: FederationId,
    /// This voter: the log index of its `Volunteer`, or [`hanse_core::state::FOUNDER_NODE`].
    pub node: NodeId,
    /// Whether the ledger has just given it this number, or the founding has not ended: only then its files may be missing.
    pub is_new: bool,
    /// The newest level that this build knows.
    pub level: Level,
    /// How fast voters detect that a leader is gone.
    pub timing: Timing,
    /// The keys of the voters in a joiner's invitation: it accepts these until the ledger has newer ones.
    pub known_voters: BTreeSet<PublicKey>,
}

/// Why a ledger cannot be opened or founded.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    #[error(transparent)]
    OpenLog(OpenLogError),
    #[error(transparent)]
    OpenState(OpenStateError),
    #[error("the timings contradict each other")]
    CheckTiming(#[source] openraft::ConfigError),
    #[error(
        "the data directory holds the ledger of federation {found}, not of {expected}; choose another directory"
    )]
    AnotherFederation {
        found: FederationId,
        expected: FederationId,
    },
    #[error("the ledger exists already; only an empty data directory can found a federation")]
    AlreadyFounded,
    #[error("the ledger has stopped: {0}")]
    Stopped(String),
}

impl LedgerError {
    /// Whether what this replica voted for, or what was decided, is lost: it must not vote again, and its member needs
    /// another seat.
    #[must_use]
    pub fn is_loss(&self) -> bool {
        matches!(
            self,
            Self::OpenLog(OpenLogError::Lost) | Self::OpenState(OpenStateError::Lost)
        )
    }
}

/// One voter's replica of the ledger.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    raft: Raft,
    state: SharedState,
    log: LogStore,
    snapshots: StateStore,
    known: KnownVoters,
    clock: Clock,
    applied: watch::Receiver<u64>,
    leadership: watch::Receiver<Leadership>,
}

impl Ledger {
    /// Opens the ledger in `settings.directory`, creating an empty one for a new node. An empty one does nothing until it is
    /// [`found`](Self::found)ed or a leader sends it entries.
    pub async fn open(
        settings: Settings,
        dialer: Arc<dyn Dialer>,
        clock: Clock,
    ) -> Result<Self, LedgerError> {
        let Settings {
            federation,
            node,
            is_new,
            ..
        } = settings;
        let directory = settings.directory.as_ref();
        // The log last: who finds it finds the snapshots too, unless they were lost.
        let snapshots = StateStore::open(directory, is_new).map_err(LedgerError::OpenState)?;
        let log = LogStore::open(directory, federation, node, is_new);
        let log = log.map_err(LedgerError::OpenLog)?;
        let machine =
            Machine::open(snapshots.clone(), settings.level).map_err(LedgerError::OpenState)?;
        let (state, applied) = (machine.state(), machine.applied());
        if let Some(found) = state.latest().federation
            && found != federation
        {
            let expected = federation;
            return Err(LedgerError::AnotherFederation { found, expected });
        }
        let network = Network {
            federation,
            from: node,
            state: state.clone(),
            dialer,
        };
        let config = Arc::new(engine::config(settings.timing).map_err(LedgerError::CheckTiming)?);
        let raft = Raft::new(node.0, config, network, log.clone(), machine)
            .await
            .map_err(stopped)?;
        let known = KnownVoters::default();
        known.learn(settings.known_voters.iter().copied());
        let ledger = Self {
            shared: Arc::new(Shared {
                leadership: leadership::watch(&raft),
                settings,
                raft,
                state,
                log,
                snapshots,
                known,
                clock,
                applied,
            }),
        };
        ledger.stand_for_election_once_seated().await?;
        Ok(ledger)
    }

    /// Starts the ledger with this node as its only voter.
    pub async fn found(&self, address: &str, key: PublicKey) -> Result<(), LedgerError> {
        let node = VoterNode::new(address, key);
        self.raft().runtime_config().elect(true);
        let voters = BTreeMap::from([(self.node().0, node)]);
        match self.raft().initialize(voters).await {
            Ok(()) => Ok(()),
            Err(RaftError::APIError(InitializeError::NotAllowed(_))) => {
                Err(LedgerError::AlreadyFounded)
            }
            Err(error) => Err(stopped(error)),
        }
    }

    /// Whether nothing was ever written: it was not founded, and no leader has sent it entries.
    pub async fn is_pristine(&self) -> Result<bool, LedgerError> {
        let initialized = self.raft().is_initialized().await.map_err(stopped)?;
        Ok(!initialized)
    }

    /// This voter's node id.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.shared.settings.node
    }

    /// The federation this is the ledger of.
    #[must_use]
    pub fn federation(&self) -> FederationId {
        self.shared.settings.federation
    }

    /// The state as applied here: a version that no longer changes.
    #[must_use]
    pub fn state(&self) -> Arc<State> {
        self.shared.state.latest()
    }

    /// Reads the state as applied here.
    pub fn read<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state())
    }

    /// The index of the last entry applied here.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.shared.applied.clone()
    }

    /// Who leads. The channel closes when the ledger has stopped.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.shared.leadership.clone()
    }

    /// The voters of the current configuration; during a change those of both.
    #[must_use]
    pub fn voters(&self) -> BTreeSet<NodeId> {
        let metrics = self.raft().server_metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.voter_ids().map(NodeId).collect()
    }

    /// The voters that have answered this node, the leader, nothing for so long, or nothing yet.
    #[must_use]
    pub fn silent_voters(&self, long: Duration) -> BTreeSet<NodeId> {
        leadership::silent_voters(&self.raft().metrics().borrow_watched(), long)
    }

    /// Whether this node leads and a quorum has answered it within the last `within`. A leader must check this before
    /// it acknowledges a heartbeat, which renews the member's lease.
    #[must_use]
    pub fn hears_quorum(&self, within: Duration) -> bool {
        leadership::hears_quorum(&self.raft().metrics().borrow_watched(), within)
    }

    /// The service that other voters speak to. `caller` returns the key that the transport has proved.
    #[must_use]
    pub fn service(&self, caller: CallerKey) -> RaftServer<RaftService> {
        let service = RaftService {
            federation: self.federation(),
            node: self.node(),
            level: self.shared.settings.level,
            raft: self.raft().clone(),
            state: self.shared.state.clone(),
            known: self.shared.known.clone(),
            caller,
        };
        service.into_server()
    }

    /// Waits until the engine ends, and returns why: mostly a write that failed. It does not begin again;
    /// [`close`](Self::close) its files and open them anew.
    pub async fn ended(&self) -> LedgerError {
        let mut metrics = self.raft().metrics();
        loop {
            let running = metrics.borrow_watched().running_state.clone();
            if let Err(ended) = running {
                return stopped(ended);
            }
            if metrics.changed().await.is_err() {
                return stopped("it is gone");
            }
        }
    }

    /// Stops this voter. A leader hands over first, so that the others need not wait for the election timeout.
    pub async fn shutdown(&self) -> Result<(), LedgerError> {
        let successor = leadership::successor(&self.raft().metrics().borrow_watched());
        if let Some(successor) = successor {
            let mut leadership = self.leadership();
            self.raft()
                .trigger()
                .transfer_leader(successor.0)
                .await
                .map_err(stopped)?;
            let handed_over = leadership.wait_for(|leadership| !leadership.is_self);
            if timeout(HANDOVER_TIMEOUT, handed_over).await.is_err() {
                tracing::warn!(%successor, "no voter took over in time; the others will elect a leader");
            }
        }
        self.close().await
    }

    /// Stops this voter without a handover, and closes its files.
    pub async fn close(&self) -> Result<(), LedgerError> {
        let halted = self.raft().shutdown().await.map_err(stopped);
        let flushed = self.shared.log.flush().map_err(stopped);
        self.shared.log.close();
        self.shared.snapshots.close();
        halted.and(flushed)
    }

    pub(super) fn raft(&self) -> &Raft {
        &self.shared.raft
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.shared.clock.now_ms()
    }

    /// A joiner does not stand for election until it is a voter of a committed configuration. A voter that was one
    /// before a restart stands at once, and the only voter need not wait either: there are no others to disturb.
    async fn stand_for_election_once_seated(&self) -> Result<(), LedgerError> {
        let node = self.node().0;
        let voters: BTreeSet<u64> = self
            .raft()
            .with_raft_state(|state| state.membership_state.effective().voter_ids().collect())
            .await
            .map_err(stopped)?;
        if voters.contains(&node) {
            self.raft().runtime_config().elect(true);
            if voters.len() == 1 {
                self.raft().trigger().elect(true).await.map_err(stopped)?;
            }
            return Ok(());
        }
        let raft = self.raft().clone();
        tokio::spawn(async move {
            let mut metrics = raft.server_metrics();
            loop {
                let seated = {
                    let metrics = metrics.borrow_watched();
                    let mut voters = metrics.committed_membership_config.voter_ids();
                    voters.any(|voter| voter == node)
                };
                if seated {
                    return raft.runtime_config().elect(true);
                }
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(())
    }
}

pub(super) fn stopped(error: impl std::fmt::Display) -> LedgerError {
    LedgerError::Stopped(error.to_string())
}
