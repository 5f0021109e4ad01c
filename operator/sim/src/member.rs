//! One simulated member: its operator and the clients of its owner.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use hanse_core::{
    command::{Attributes, Command},
    id::PrivateKey,
    level::Level,
};
use hanse_operator::{
    environment::{Build, Clock, Environment},
    invitation::Invitation,
    peer::Peer,
    run::Operator,
    settings::{AskedTimings, CapacityPolicy, Entry, RaftTimings, Settings},
    uplink::{Uplink, voters_of},
};
use k8s_openapi::jiff::Timestamp;
use tokio::time::sleep;

use crate::{
    adversary,
    api::ApiServer,
    clients,
    disk::SimulatedDisk,
    network::{PEER_PORT, SimulatedNetwork},
    scene::{LOOK_EVERY, Running, Scene, elapsed},
    seeded::Seeded,
};

/// The wall clock at the start of every simulation, in seconds since 1970.
const EPOCH_SECONDS: i64 = 1_800_000_000;

/// For how long all voters must know a level before the leader raises the federation to it.
const RAISES_AFTER: Duration = Duration::from_secs(5);

/// One member, whether its machine is on or off.
#[derive(Clone)]
pub struct SimulatedMember {
    /// Its name, which is also that of its machine in the network.
    pub name: String,
    /// Its owner.
    pub owner: String,
    /// What its owner writes about it.
    pub attributes: Attributes,
    /// Whether it founds the federation.
    pub founds: bool,
    /// Whether its owner seldom asks for anything. Commands that no quorum answers end a stream, which hides what a stream
    /// without commands would do.
    pub is_quiet: bool,
    /// The members that it invites, each with its owner.
    pub invites: Vec<(String, String)>,
    /// Its disk.
    pub disk: SimulatedDisk,
    /// The files that are always whole: its key and its membership.
    pub files: PathBuf,
    /// How often its machine was turned on.
    pub starts: Arc<AtomicU32>,
    /// Whether the build it starts with is older than those of others. It is upgraded with the next start.
    pub is_outdated: bool,
    /// What its keys are made of.
    pub keys: Seeded,
    /// What its owner asks, and when.
    pub requests: Seeded,
    /// What its owner writes into its API server, and when.
    pub orders: Seeded,
    /// How long its cluster takes.
    pub delays: Seeded,
    /// The API server of its cluster.
    pub api: ApiServer,
    /// What the simulation sees.
    pub scene: Scene,
}

impl SimulatedMember {
    /// The member's machine from power on to power off.
    pub async fn run(self) -> turmoil::Result {
        if let Err(error) = self.live().await {
            let why = format!("{error:#}");
            self.scene
                .with(|seen| seen.ended.push((self.name.clone(), why)));
        }
        Ok(())
    }

    async fn live(&self) -> anyhow::Result<()> {
        self.starts.fetch_add(1, Ordering::Relaxed);
        let entry = if self.founds {
            Entry::Found
        } else {
            Entry::Join(self.invitation().await)
        };
        let operator = Operator::start(self.settings(entry), self.environment()).await?;
        let uplink = operator.uplink.clone();
        let key = operator.credentials.public();
        let running = Running {
            uplink: uplink.clone(),
            ledger: operator.ledger.clone(),
        };
        self.scene
            .with(|seen| seen.running.insert(self.name.clone(), running));
        let peer = Peer {
            address: self.address(),
            key,
        };
        let ledger = operator.ledger.clone();
        let owner = async {
            self.settle_in(&uplink, &peer).await?;
            tokio::join!(
                clients::run(self, &uplink),
                clients::run_kubectl(self),
                adversary::run(self, ledger)
            );
            std::future::pending().await
        };
        tokio::select! {
            biased;
            ended = operator.until(std::future::pending()) => ended.context("the operator ended"),
            ended = owner => ended,
        }
    }

    /// Waits until another member has invited this one.
    async fn invitation(&self) -> Invitation {
        loop {
            let sent = self
                .scene
                .with(|seen| seen.invitations.get(&self.name).cloned());
            match sent {
                Some(invitation) => return invitation,
                None => sleep(LOOK_EVERY).await,
            }
        }
    }

    /// What an owner does once: describes the member, lets others run there, invites.
    async fn settle_in(&self, uplink: &Uplink, own: &Peer) -> anyhow::Result<()> {
        let invited = self.scene.with(|seen| seen.invitations.clone());
        for (name, owner) in &self.invites {
            if invited.contains_key(name) {
                continue;
            }
            let slice = uplink.slice().wait_for(Option::is_some).await?.clone();
            let slice = slice.context("there is a slice")?;
            let mut voters = voters_of(&slice, &own.key);
            voters.push(own.clone());
            let invitation = Invitation {
                federation: slice.federation.id,
                owner: owner.parse()?,
                key: PrivateKey::from_seed(&self.keys.bytes()),
                expires_ms: u64::MAX,
                voters,
            };
            let command = Command::Invite {
                invitation: invitation.key.public(),
                owner: invitation.owner.clone(),
                expires_ms: u64::MAX,
            };
            self.ask(uplink, command).await;
            self.scene
                .with(|seen| seen.invitations.insert(name.clone(), invitation));
        }
        Ok(())
    }

    /// Asks the ledger, and has it written down.
    pub async fn ask(&self, uplink: &Uplink, command: Command) {
        let asked = command.clone();
        let number = self
            .scene
            .with(|seen| seen.history.ask(&self.name, asked, elapsed()));
        if let Ok(outcome) = uplink.propose(command).await {
            self.scene
                .with(|seen| seen.history.answer(number, elapsed(), outcome));
        }
    }

    fn address(&self) -> String {
        format!("{}:{PEER_PORT}", self.name)
    }

    /// The older build knows the first level, the newer one the second.
    fn build(&self) -> Build {
        let is_old = self.is_outdated && self.starts.load(Ordering::Relaxed) == 1;
        Build {
            level: Level(if is_old { 1 } else { 2 }),
            raises_after: RAISES_AFTER,
        }
    }

    fn environment(&self) -> Environment {
        Environment {
            network: Arc::new(SimulatedNetwork::of_process(self.disk.clone())),
            disk: Arc::new(self.disk.clone()),
            clock: Clock(Arc::new(|| {
                let now = Timestamp::from_second(EPOCH_SECONDS).unwrap_or_default();
                now.saturating_add(elapsed()).unwrap_or(now)
            })),
            boot: self.disk.boot(elapsed),
            entropy: self.keys.entropy(),
            build: self.build(),
            kubernetes: Some(self.api.client()),
        }
    }

    fn settings(&self, entry: Entry) -> Settings {
        Settings {
            name: self.name.parse().expect("a name of a simulated member"),
            owner: self.owner.parse().expect("a name of a simulated owner"),
            data_dir: self.files.clone(),
            namespace: "hanse-system".into(),
            peer_listen: format!("0.0.0.0:{PEER_PORT}"),
            peer_address: Some(self.address()),
            admin_listen: "0.0.0.0:7444".into(),
            entry,
            attributes: self.attributes.clone(),
            timings: AskedTimings {
                lease: Some(Duration::from_secs(3)),
                heartbeat: Some(Duration::from_millis(300)),
            },
            raft: RaftTimings {
                heartbeat: Duration::from_millis(250),
                election_min: Duration::from_secs(1),
                election_max: Duration::from_secs(2),
            },
            capacity: CapacityPolicy::default(),
            notify_url: None,
        }
    }
}
