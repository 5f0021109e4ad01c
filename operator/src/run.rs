//! One operator, wired on one page.
//!
//! ```text
//!  settings ─► identity ─► enter ─► uplink ◄───────────── observe (watches of the local API server)
//!                                    │ ▲  └─► slice ─────► realize (local objects) ─► reports ─┐
//!                                    ▼ └──────────────────────────────────────────────────────┘
//!                          seat: ledger, sessions, leader's loop      slice ─► report (status, events, webhook)
//! ```
//!
//! Everything that differs between a machine and a simulation comes in through [`Environment`]: sockets, the wall
//! clock, randomness, the API server. There are no globals and no threads, so several operators fit in one process.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use hanse_core::slice::Slice;
use hanse_crds::names;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::events::{Recorder, Reporter};
use prometheus::Registry;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    admin::{self, Admin, Readiness},
    cluster::{Clock, Cluster, Entropy},
    enter::enter,
    identity::{Identity, Membership},
    local::{self, Local},
    metrics::{Census, Metrics},
    notify,
    observe::{self, Faults},
    peer::{Network, Peer, Peers, TcpNetwork},
    realize,
    replicate::{
        ledger::Ledger,
        seat::SeatKeeper,
        uplink::{Uplink, UplinkSettings, voters_of},
    },
    report,
    settings::{RunArguments, Settings},
    telemetry,
};

/// How long tasks may take to end. A voter that leads hands over first, which takes at most two seconds.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// What an operator has of the world.
#[derive(Clone)]
pub struct Environment {
    /// Sockets.
    pub network: Arc<dyn Network>,
    /// Milliseconds since 1970. Used only for stamps and expiries, never for a lease.
    pub wall_clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// 32 unpredictable bytes: keys and identifiers.
    pub random: Arc<dyn Fn() -> [u8; 32] + Send + Sync>,
    /// The cluster's API server; without it the operator votes and decides but hosts and observes nothing.
    pub kubernetes: Option<kube::Client>,
}

/// A running operator.
pub struct Operator {
    /// The member's way to the federation.
    pub uplink: Uplink,
    /// The own replica of the ledger, once there is one.
    pub ledger: watch::Receiver<Option<Ledger>>,
    /// This member's public half.
    pub identity: Arc<Identity>,
    tasks: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
}

impl Operator {
    /// Starts every task. Returns when the operator is a member and on its way.
    pub async fn start(settings: Settings, environment: Environment) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        std::fs::create_dir_all(&settings.data_dir).with_context(|| {
            format!(
                "failed to make the data directory {}",
                settings.data_dir.display()
            )
        })?;
        let identity = Arc::new(Identity::open(&settings.data_dir, || {
            (environment.random)()
        })?);
        info!(name = %settings.name, owner = %settings.owner, key = identity.public().short(), "starting");
        let peers = Arc::new(Peers::new(identity.clone(), environment.network.clone()));
        let federation = || first_half((environment.random)());
        let membership = enter(&settings, &identity, &peers, federation).await?;

        let (local, local_rx) = watch::channel(None);
        let uplink_settings = UplinkSettings {
            federation: membership.federation,
            key: identity.key.clone(),
            heartbeat: settings.timings.heartbeat,
            peers: peers.clone(),
            local: local_rx,
            voters: membership.voters.iter().cloned().collect(),
        };
        let (uplink, uplink_task) = Uplink::start(uplink_settings, stop.clone());
        let (ledger_tx, ledger) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(look_after(settings.clone(), uplink.clone(), stop.clone()));
        if let Some(client) = environment.kubernetes.clone() {
            tasks.spawn(live_in_cluster(
                settings.clone(),
                environment.clone(),
                client,
                uplink.clone(),
                stop.clone(),
            ));
        }
        tasks.spawn(async move { uplink_task.await.context("the uplink panicked") });
        tasks.spawn(remember_voters(
            settings.data_dir.clone(),
            identity.clone(),
            uplink.clone(),
            stop.clone(),
        ));
        let keeper = SeatKeeper {
            settings,
            environment,
            identity: identity.clone(),
            membership,
            peers,
            uplink: uplink.clone(),
            local,
            ledger: ledger_tx,
        };
        tasks.spawn(keeper.keep(stop.clone()));
        Ok(Self {
            uplink,
            ledger,
            identity,
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

    /// Ends every task, handing over leadership first.
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

/// Everything that has to do with the cluster this operator runs in.
async fn live_in_cluster(
    settings: Settings,
    environment: Environment,
    client: kube::Client,
    uplink: Uplink,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let reporter = Reporter {
        controller: names::FIELD_MANAGER.to_owned(),
        instance: Some(settings.name.to_string()),
    };
    let wall_clock = environment.wall_clock.clone();
    let cluster = Cluster {
        recorder: Recorder::new(client.clone(), reporter),
        client,
        namespace: settings.namespace.clone(),
        member: settings.name.clone(),
        owner: settings.owner.clone(),
        uplink,
        clock: Clock(Arc::new(move || {
            let now = i64::try_from(wall_clock()).unwrap_or(i64::MAX);
            Timestamp::from_millisecond(now).unwrap_or_default()
        })),
        entropy: Entropy(environment.random.clone()),
    };
    let (local, faults, (kept, terms)) = (Local::default(), Faults::default(), observe::terms());
    tokio::join!(
        local::run(&cluster, &local, &stop),
        observe::run(
            &cluster,
            &local,
            &kept,
            &faults,
            &settings.attributes,
            &stop
        ),
        realize::run(&cluster, &terms, &stop),
        report::run(&cluster, &local, &faults, &stop),
        notify::run(&cluster, settings.notify_url.clone(), &stop),
    );
    Ok(())
}

/// Probes and metrics. The operator is ready once the federation has told it what this member sees.
async fn look_after(
    settings: Settings,
    uplink: Uplink,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let registry = Registry::new();
    let (name, counted) = (settings.name.clone(), uplink.clone());
    Metrics::register(&registry, move || {
        let attached = counted.standing().borrow().attached;
        let slice = counted.slice().borrow().clone();
        slice.map_or_else(Census::default, |slice| {
            Census::of(&name, attached, &slice, &counted.reports())
        })
    })
    .context("failed to register the metrics")?;
    let (readiness_tx, readiness) =
        watch::channel(Readiness::waiting_for("the federation's first answer"));
    let listener = tokio::net::TcpListener::bind(&settings.admin_listen)
        .await
        .with_context(|| {
            format!(
                "failed to listen on {} for probes and metrics",
                settings.admin_listen
            )
        })?;
    let connections = TcpListenerStream::new(listener);
    let mut slices = uplink.slice();
    let ready = async {
        if slices.wait_for(Option::is_some).await.is_ok() {
            readiness_tx.send_replace(Readiness::ready());
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = admin::serve(connections, Admin { registry, readiness }, stop.clone()) => {}
        () = ready => {}
    }
    Ok(())
}

/// Keeps the list of voters in the data directory up to date, so that a restart finds them wherever they are by then.
async fn remember_voters(
    data_dir: PathBuf,
    identity: Arc<Identity>,
    uplink: Uplink,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut slices = uplink.slice();
    loop {
        let slice: Option<Arc<Slice>> = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = slices.changed() => match changed {
                Ok(()) => slices.borrow_and_update().clone(),
                Err(_) => return Ok(()),
            },
        };
        let Some(slice) = slice else { continue };
        let voters = voters_of(&slice, &identity.public()).into_iter().collect();
        let Some(mut membership) = Membership::read(&data_dir)? else {
            continue;
        };
        let voters: BTreeSet<Peer> = voters;
        if !voters.is_empty() && membership.voters != voters {
            membership.voters = voters;
            membership.write(&data_dir)?;
        }
    }
}

/// Runs one operator with this machine's sockets, clock and randomness until it is asked to stop.
pub async fn on_this_machine(arguments: RunArguments) -> anyhow::Result<()> {
    telemetry::init(arguments.log_format)?;
    // kube and tonic both bring rustls; naming the provider once keeps either from guessing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let environment = Environment {
        network: Arc::new(TcpNetwork {
            via: arguments.via(),
        }),
        wall_clock: Arc::new(|| u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)),
        random: Arc::new(rand::random),
        kubernetes: Some(client(&arguments).await?),
    };
    Operator::start(arguments.settings()?, environment)
        .await?
        .until(stop_requested())
        .await
}

/// The client of the cluster that the arguments, or the surroundings, name.
async fn client(arguments: &RunArguments) -> anyhow::Result<kube::Client> {
    let mut config = match &arguments.kubeconfig {
        Some(path) => {
            let kubeconfig = kube::config::Kubeconfig::read_from(path)
                .with_context(|| format!("failed to read --kubeconfig {}", path.display()))?;
            kube::Config::from_custom_kubeconfig(
                kubeconfig,
                &kube::config::KubeConfigOptions::default(),
            )
            .await?
        }
        None => kube::Config::infer()
            .await
            .context("no cluster found; name one with --kubeconfig")?,
    };
    // Whoever calls retries by itself, with what has changed meanwhile; retries below it would only hide that.
    config.default_retry = false;
    kube::Client::try_from(config).context("failed to make a client of the API server")
}

/// Ends when the process is asked to stop, by a terminal or by the kubelet.
async fn stop_requested() {
    let terminate = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => signal.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = terminate => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    info!("stopping");
}

/// Prints the custom resource definitions.
#[allow(clippy::print_stdout, reason = "the output is what the command is for")]
pub fn print_crds() -> anyhow::Result<()> {
    print!("{}", hanse_crds::manifest_yaml()?);
    Ok(())
}
