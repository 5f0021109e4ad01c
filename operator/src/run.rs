//! One operator, wired on one page.
//!
//! ```text
//!  settings ─► identity ─► enter ─► uplink ◄───────────── observe (watches of the local API server)
//!                                    │ ▲  └─► slice ─────► realize (local objects) ─► reports ─┐
//!                                    ▼ └──────────────────────────────────────────────────────┘
//!                          seat: ledger, sessions, leader's loop      slice ─► report (status, events, webhook)
//! ```
//!
//! Everything that differs between a machine and a simulation comes in through [`Environment`].

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context;
use hanse_core::{id::FederationId, slice::Slice};
use hanse_crds::names;
use kube::runtime::events::{Recorder, Reporter};
use prometheus::Registry;
use tokio::{sync::watch, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    cluster::{self, Answers, AnswersKept, Cluster, Local},
    enter::enter,
    environment::Environment,
    identity::{self, Membership},
    observe::{self, AllProblems},
    ops::{
        admin::{self, Admin},
        metrics::{self, Census},
        notify,
        readiness::{self, Readiness},
        telemetry,
    },
    peer::{Credentials, Peer, Peers, TcpNetwork},
    realize::{self, RealizeMetrics},
    replicate::ledger::Ledger,
    report::{self, Reported},
    settings::{AskedTimings, RunArguments, Settings},
    uplink::{self, Uplink, UplinkMetrics, UplinkSettings, voters_of},
    voter::{SeatKeeper, VoterMetrics},
};

/// How long tasks may take to end. A voter that leads hands over first, which takes at most two seconds.
const STOP_WITHIN: Duration = Duration::from_secs(5);

/// A running operator.
pub struct Operator {
    /// The member's way to the federation.
    pub uplink: Uplink,
    /// The own replica of the ledger, once there is one.
    pub ledger: watch::Receiver<Option<Ledger>>,
    /// This member's key and certificate.
    pub credentials: Arc<Credentials>,
    tasks: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
}

/// What is counted, room by room.
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
    /// Starts every task. Probes are answered from the start; returns when the operator is a member and on its way.
    pub async fn start(settings: Settings, environment: Environment) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        std::fs::create_dir_all(&settings.data_dir).with_context(|| {
            format!(
                "failed to make the data directory {}",
                settings.data_dir.display()
            )
        })?;
        let registry = Registry::new();
        let metrics = AllMetrics::register(&registry)?;
        let (readiness, ready) = watch::channel(Readiness::waiting_for("its membership"));
        let admin = Admin {
            registry: registry.clone(),
            readiness: ready,
        };
        tasks.spawn(probes(&settings, &environment, admin, &stop).await?);
        let key = identity::open_key(&settings.data_dir, || environment.entropy.bytes())?;
        let credentials = Arc::new(Credentials::of(key)?);
        info!(name = %settings.name, owner = %settings.owner, key = credentials.public().short(), "starting");
        let peers = Arc::new(Peers::new(credentials.clone(), environment.network.clone()));
        let federation = || FederationId(first_half(environment.entropy.bytes()));
        let membership = enter(&settings, &credentials, &peers, &readiness, federation).await?;
        peers.follow(membership.timings);
        let (local, local_rx) = watch::channel(None);
        let uplink = UplinkSettings {
            federation: membership.federation,
            key: credentials.key.clone(),
            timings: membership.timings,
            peers: peers.clone(),
            local: local_rx,
            voters: membership.voters.iter().cloned().collect(),
            metrics: metrics.uplink.clone(),
        };
        let (uplink, uplink_task) = uplink::start(uplink, stop.clone());
        tasks.spawn(async move { uplink_task.await.context("the uplink panicked") });
        take_census(&registry, &settings, &uplink)?;
        let answers = environment.kubernetes.clone().map(|client| {
            let (kept, answers) = cluster::answers();
            let cluster = local_cluster(&settings, &environment, client);
            let living = live_in_cluster(
                settings.clone(),
                cluster,
                uplink.clone(),
                metrics.realize.clone(),
                kept,
                stop.clone(),
            );
            tasks.spawn(living);
            answers
        });
        tasks.spawn(tell_readiness(&uplink, answers, readiness, &stop));
        let remembering = remember(
            settings.data_dir.clone(),
            settings.timings,
            credentials.clone(),
            uplink.clone(),
            stop.clone(),
        );
        tasks.spawn(remembering);
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

/// Listens for probes and scrapes; what it returns answers them.
async fn probes(
    settings: &Settings,
    environment: &Environment,
    admin: Admin,
    stop: &CancellationToken,
) -> anyhow::Result<impl Future<Output = anyhow::Result<()>> + Send + use<>> {
    let address = &settings.admin_listen;
    let listening = environment.network.listen(address).await;
    let listener = listening
        .with_context(|| format!("failed to listen on {address} for probes and metrics"))?;
    let stop = stop.clone();
    Ok(async move {
        admin::serve(listener, admin, stop).await;
        Ok(())
    })
}

fn tell_readiness(
    uplink: &Uplink,
    answers: Option<Answers>,
    readiness: watch::Sender<Readiness>,
    stop: &CancellationToken,
) -> impl Future<Output = anyhow::Result<()>> + Send + use<> {
    let telling = readiness::keep(uplink.clone(), answers, readiness, stop.clone());
    async move {
        telling.await;
        Ok(())
    }
}

/// Shows what this member sees of the federation at each scrape.
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
    let reporter = Reporter {
        controller: names::FIELD_MANAGER.to_owned(),
        instance: Some(settings.name.to_string()),
    };
    Cluster {
        recorder: Recorder::new(client.clone(), reporter),
        client,
        namespace: settings.namespace.clone(),
        member: settings.name.clone(),
        owner: settings.owner.clone(),
        clock: environment.clock.clone(),
        entropy: environment.entropy.clone(),
    }
}

/// Everything that has to do with the cluster this operator runs in.
async fn live_in_cluster(
    settings: Settings,
    cluster: Cluster,
    uplink: Uplink,
    metrics: RealizeMetrics,
    answers: AnswersKept,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let (local, problems) = (Local::default(), AllProblems::default());
    let (terms_sender, terms) = observe::terms();
    let attributes = &settings.attributes;
    let reported = Reported {
        local: &local,
        problems: &problems,
        terms: &terms,
        asked: settings.timings,
    };
    tokio::join!(
        local.keep(&cluster, &stop),
        answers.keep(&cluster, &stop),
        observe::run(
            &cluster,
            &uplink,
            &local,
            &terms_sender,
            &problems,
            attributes,
            &stop
        ),
        realize::run(&cluster, &uplink, &terms, metrics, &stop),
        report::run(&cluster, &uplink, &reported, &stop),
        notify::run(
            &cluster,
            &uplink,
            &local,
            settings.notify_url.clone(),
            &stop
        ),
    );
    Ok(())
}

/// Keeps the list of voters and the timings in the data directory up to date, so that a restart finds the voters wherever
/// they are by then.
async fn remember(
    data_dir: PathBuf,
    asked: AskedTimings,
    credentials: Arc<Credentials>,
    uplink: Uplink,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut slices = uplink.slice();
    let mut warned = None;
    loop {
        let slice: Option<Arc<Slice>> = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = slices.changed() => match changed {
                Ok(()) => slices.borrow_and_update().clone(),
                Err(_) => return Ok(()),
            },
        };
        let Some(slice) = slice else { continue };
        let differences = asked.differences(slice.federation.timings);
        if let Some(differences) = differences
            .as_ref()
            .filter(|it| Some(*it) != warned.as_ref())
        {
            warn!(
                differences,
                "this operator's flags differ from the federation's timings, which are used"
            );
        }
        warned = differences;
        let voters: BTreeSet<Peer> = voters_of(&slice, &credentials.public())
            .into_iter()
            .collect();
        let Some(mut membership) = Membership::read(&data_dir)? else {
            continue;
        };
        let before = (membership.voters.clone(), membership.timings);
        if !voters.is_empty() {
            membership.voters = voters;
        }
        membership.timings = slice.federation.timings;
        if before != (membership.voters.clone(), membership.timings) {
            membership.write(&data_dir)?;
        }
    }
}

/// Runs one operator with this machine's sockets, clock and randomness until it is asked to stop.
pub async fn on_this_machine(arguments: RunArguments) -> anyhow::Result<()> {
    telemetry::init(arguments.log_format)?;
    // kube and tonic both bring rustls; naming the provider once keeps either from guessing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let network = TcpNetwork {
        via: arguments.via(),
    };
    let environment = Environment::of_this_machine(network, Some(client(&arguments).await?));
    let stop = stop_requested();
    tokio::pin!(stop);
    let operator = tokio::select! {
        // A joiner may wait for a voter for as long as it takes; it can be stopped meanwhile.
        () = &mut stop => return Ok(()),
        operator = Operator::start(arguments.settings()?, environment) => operator?,
    };
    operator.until(stop).await
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
