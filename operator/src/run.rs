//! Connects the parts of one operator.
//!
//! ```text
//!  settings ─► identity ─► enter ─► uplink ◄───────────── observe (watches of the local API server)
//!                                    │ ▲  └─► slice ─────► realize (local objects) ─► reports ─┐
//!                                    ▼ └──────────────────────────────────────────────────────┘
//!                          seat: ledger, sessions, leader's loop      slice ─► report (status, events, webhook)
//! ```
//!
//! Everything that differs between a machine and a simulation is in [`Environment`].

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use hanse_core::id::{FederationId, PublicKey};
use prometheus::Registry;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    cluster::{self, AnswersKept, Cluster, Local},
    enter::{self, enter},
    environment::Environment,
    identity,
    observe::{self, AllProblems},
    ops::{
        admin::{self, Admin},
        metrics::{self, Census},
        notify,
        readiness::{self, Readiness},
    },
    peer::{Credentials, Peers},
    realize::{self, RealizeMetrics},
    replicate::ledger::Ledger,
    report::{self, Reported},
    settings::Settings,
    uplink::{self, Uplink, UplinkMetrics, UplinkSettings},
    voter::{SeatKeeper, VoterMetrics},
};

/// How long tasks may take to end. A leader transfers its leadership first, which takes at most two seconds.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// A running operator.
pub struct Operator {
    /// The member's connection to the federation.
    pub uplink: Uplink,
    /// This member's replica of the ledger; `None` until it is open.
    pub ledger: watch::Receiver<Option<Ledger>>,
    /// This member's key and certificate.
    pub credentials: Arc<Credentials>,
    tasks: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
}

/// The metrics, module by module.
#[derive(Clone)]
struct AllMetrics {
    uplink: UplinkMetrics,
    voter: VoterMetrics,
    realize: RealizeMetrics,
}

impl AllMetrics {
    fn register(registry: &Registry) -> anyhow::Result<Self> {
        let register = || {
            Ok::<_, prometheus::Error>(Self {
                uplink: UplinkMetrics::register(registry)?,
                voter: VoterMetrics::register(registry)?,
                realize: RealizeMetrics::register(registry)?,
            })
        };
        register().context("failed to register the metrics")
    }
}

impl Operator {
    /// Starts every task. Probes are answered from the start. Returns when the operator is a member and its tasks run.
    pub async fn start(settings: Settings, environment: Environment) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let registry = Registry::new();
        let metrics = AllMetrics::register(&registry)?;
        let (readiness, ready) = watch::channel(Readiness::waiting_for("its membership"));
        tasks.spawn(probes(&settings, &environment, registry.clone(), ready, &stop).await?);
        let (credentials, peers) = prove(&settings, &environment)?;
        let federation = || FederationId(first_half(environment.entropy.bytes()));
        let membership = enter(&settings, &credentials, &peers, &readiness, federation).await?;
        peers.follow(membership.timings);
        let (local, local_rx) = watch::channel(None);
        let (kept, answers) = cluster::answers();
        let answers = environment.kubernetes.is_some().then_some(answers);
        let uplink_settings = UplinkSettings {
            federation: membership.federation,
            key: credentials.key.clone(),
            timings: membership.timings,
            peers: peers.clone(),
            local: local_rx,
            lease_ends: identity::KeptLease::end(&settings.data_dir, &environment),
            voters: membership.voters.iter().cloned().collect(),
            answers: answers.clone(),
            metrics: metrics.uplink,
        };
        let uplink = attach(uplink_settings, &stop, &mut tasks);
        tasks.spawn(stored_lease(&uplink, &settings, &environment, &stop));
        take_census(&registry, &settings, &uplink)?;
        let attachment = Attachment::new(&settings, &environment, &uplink, &stop);
        if let Some(client) = environment.kubernetes.clone() {
            let living = live_in_cluster(attachment.clone(), client, metrics.realize, kept);
            tasks.spawn(living);
        }
        let (problem, seat) = watch::channel(None);
        let known = readiness::Sources { answers, seat };
        tasks.spawn(publish_readiness(attachment.clone(), known, readiness));
        tasks.spawn(remember(attachment, credentials.public()));
        let (ledger_tx, ledger) = watch::channel(None);
        let keeper = SeatKeeper {
            settings,
            environment,
            credentials: credentials.clone(),
            membership,
            peers,
            uplink: uplink.clone(),
            metrics: metrics.voter,
            local,
            ledger: ledger_tx,
            problem,
            given: None,
        };
        tasks.spawn(keeper.keep(stop.clone()));
        Ok(Self {
            uplink,
            ledger,
            credentials,
            tasks,
            stop,
        })
    }

    /// Runs until `shutdown`, or until a task fails, which is an error.
    pub async fn until(mut self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        tokio::pin!(shutdown);
        let result = loop {
            tokio::select! {
                () = &mut shutdown => break Ok(()),
                Some(ended) = self.tasks.join_next() => match ended.context("a task panicked")? {
                    Ok(()) => {}
                    Err(error) => break Err(error),
                },
            }
        };
        self.stop().await;
        result
    }

    /// Transfers the leadership if this member leads, then ends every task.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let ended = timeout(STOP_WITHIN, async {
            while self.tasks.join_next().await.is_some() {}
        })
        .await;
        if ended.is_err() {
            warn!("some tasks did not end in time and were dropped");
        }
    }
}

fn first_half(bytes: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&bytes[..16]);
    half
}

/// This member's key, and its connections to other members with that key.
fn prove(
    settings: &Settings,
    environment: &Environment,
) -> anyhow::Result<(Arc<Credentials>, Arc<Peers>)> {
    let directory = &settings.data_dir;
    std::fs::create_dir_all(directory)
        .with_context(|| format!("failed to make the data directory {}", directory.display()))?;
    let key = identity::open_key(directory, || environment.entropy.bytes())?;
    let credentials = Arc::new(Credentials::of(key)?);
    info!(name = %settings.name, owner = %settings.owner, key = credentials.public().short(), "starting");
    let peers = Arc::new(Peers::new(credentials.clone(), environment.network.clone()));
    Ok((credentials, peers))
}

/// Starts the connection to the federation.
fn attach(
    settings: UplinkSettings,
    stop: &CancellationToken,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> Uplink {
    let (uplink, task) = uplink::start(settings, stop.clone());
    tasks.spawn(async move { task.await.context("the uplink panicked") });
    uplink
}

/// The inputs that the tasks of an attached member share.
#[derive(Clone)]
struct Attachment {
    settings: Settings,
    environment: Environment,
    uplink: Uplink,
    stop: CancellationToken,
}

impl Attachment {
    fn new(
        settings: &Settings,
        environment: &Environment,
        uplink: &Uplink,
        stop: &CancellationToken,
    ) -> Self {
        Self {
            settings: settings.clone(),
            environment: environment.clone(),
            uplink: uplink.clone(),
            stop: stop.clone(),
        }
    }
}

/// Listens for probes and scrapes. The returned future answers them.
async fn probes(
    settings: &Settings,
    environment: &Environment,
    registry: Registry,
    readiness: watch::Receiver<Readiness>,
    stop: &CancellationToken,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + Send + use<>> {
    let address = &settings.admin_listen;
    let listening = environment.network.listen(address).await;
    let listener = listening
        .with_context(|| format!("failed to listen on {address} for probes and metrics"))?;
    let stop = stop.clone();
    let admin = Admin {
        registry,
        readiness,
    };
    Ok(async move {
        admin::serve(listener, admin, stop).await;
        Ok(())
    })
}

async fn publish_readiness(
    member: Attachment,
    known: readiness::Sources,
    readiness: watch::Sender<Readiness>,
) -> anyhow::Result<()> {
    readiness::keep(member.uplink, known, readiness, member.stop).await;
    Ok(())
}

fn stored_lease(
    uplink: &Uplink,
    settings: &Settings,
    environment: &Environment,
    stop: &CancellationToken,
) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
    let (uplink, directory) = (uplink.clone(), settings.data_dir.clone());
    let storing = uplink::remember_lease(uplink, directory, environment.clone());
    let stop = stop.clone();
    async move {
        stop.run_until_cancelled(storing).await;
        Ok(())
    }
}

async fn remember(member: Attachment, own: PublicKey) -> anyhow::Result<()> {
    let remembering = enter::remember(&member.settings, &own, &member.uplink);
    let ended = member.stop.run_until_cancelled(remembering).await;
    ended.unwrap_or(Ok(()))
}

/// Registers the census: at each scrape it exports this member's slice and reports.
fn take_census(registry: &Registry, settings: &Settings, uplink: &Uplink) -> anyhow::Result<()> {
    let (name, uplink) = (settings.name.clone(), uplink.clone());
    let census = move || {
        let attached = uplink.standing().borrow().attached;
        let slice = uplink.slice().borrow().clone();
        slice.map_or_else(Census::default, |slice| {
            Census::of(&name, attached, &slice, &uplink.reports())
        })
    };
    metrics::register(registry, census).context("failed to register the metrics")
}

fn local_cluster(settings: &Settings, environment: &Environment, client: kube::Client) -> Cluster {
    Cluster {
        recorder: Cluster::new_recorder(&client, &settings.name),
        client,
        namespace: settings.namespace.clone(),
        member: settings.name.clone(),
        owner: settings.owner.clone(),
        clock: environment.clock.clone(),
        entropy: environment.entropy.clone(),
    }
}

/// Runs the tasks for the cluster that this operator runs in.
async fn live_in_cluster(
    member: Attachment,
    client: kube::Client,
    metrics: RealizeMetrics,
    answers: AnswersKept,
) -> anyhow::Result<()> {
    let Attachment {
        settings,
        environment,
        uplink,
        stop,
    } = &member;
    let cluster = local_cluster(settings, environment, client);
    let (local, problems) = (Local::default(), AllProblems::default());
    let (sender, terms) = observe::terms();
    let first = (&settings.attributes, environment.build.level);
    let reported = Reported {
        local: &local,
        problems: &problems,
        terms: &terms,
        asked: settings.timings,
    };
    let url = settings.notify_url.clone();
    tokio::join!(
        local.keep(&cluster, stop),
        answers.keep(&cluster, stop),
        observe::run(&cluster, uplink, &local, &sender, &problems, first, stop),
        observe::report_capacity(&cluster.client, uplink, settings.capacity, stop),
        realize::run(&cluster, uplink, &terms, metrics, stop),
        report::run(&cluster, uplink, &reported, stop),
        notify::run(&cluster, uplink, &local, url, stop),
    );
    Ok(())
}
