//! Several clusters, each with its operator, and every link between them. End-to-end tests are written with this type.
//!
//! ```text
//!        lubeck                                   bergen
//! ┌──────────────────┐   link(lubeck, bergen)   ┌──────────────────┐
//! │ operator ────────┼──────────[P]────────────►│ operator         │
//! │    │    ◄────────┼──────────[P]─────────────┼───     │         │
//! │   [P] API link   │   link(bergen, lubeck)   │       [P]        │
//! │    ▼             │                          │        ▼         │
//! │ API server …     │                          │ API server …     │
//! └──────────────────┘                          └──────────────────┘
//! ```
//!
//! Each `[P]` is a [`Proxy`] of this process. The test itself, its kubectl and its clients connect to the API servers
//! directly, so a link that the test has broken does not change what the test observes.
//!
//! A fleet that is dropped without [`end`](Fleet::end), which happens when a test fails, prints its state and leaves
//! its logs in the build directory.

mod dump;
mod federate;
mod links;
mod objects;
mod plan;
mod workload;

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Context, Result};
use futures::future::{try_join, try_join_all};
use kube::Client;

use self::links::PeerLinks;
pub use self::{
    plan::{Links, MemberPlan},
    workload::{Shares, Workload},
};
use crate::{
    binaries::Binaries,
    cluster::Cluster,
    lock::FileLock,
    operator::Operator,
    port::free_ports,
    proxy::Proxy,
    testbed::Testbed,
    workspace::{self, WorkDir},
};

/// Fleets that run at once on this machine. With two cores, a third one would make the others exceed their timings.
const FLEETS_AT_ONCE: usize = 2;

/// A cluster with its operator.
struct Seat {
    plan: MemberPlan,
    cluster: Cluster,
    operator: Option<Operator>,
    /// The link over which the operator connects to its API server; `None` if it connects directly.
    api_link: Option<Proxy>,
    /// The address on which the operator listens for peers and which it advertises.
    peer_address: SocketAddr,
    admin_address: SocketAddr,
    directory: PathBuf,
}

/// Several clusters and their operators.
pub struct Fleet {
    name: String,
    seats: Vec<Seat>,
    links: PeerLinks,
    testbed: Testbed,
    binaries: Binaries,
    work: WorkDir,
    ended: bool,
    _turn: FileLock,
}

impl Fleet {
    /// Starts the clusters, without operators. Builds missing binaries first. Waits while two other fleets run.
    pub async fn start(
        name: &str,
        plans: impl IntoIterator<Item = MemberPlan>,
        links: Links,
    ) -> Result<Self> {
        let testbed = Testbed::ready().await?;
        let binaries = Binaries::ready().await?;
        let turn = turn()
            .await
            .context("failed to get a lock to start a fleet")?;
        let work = WorkDir::create(name).context("failed to create a directory for the run")?;
        let seats = plans.into_iter().map(|plan| {
            let directory = work.path().join(&plan.name);
            take_seat(&testbed, plan, directory, links)
        });
        let seats = try_join_all(seats).await?;
        let links = match links {
            Links::Proxied => PeerLinks::between(&seats).await?,
            Links::Direct => PeerLinks::default(),
        };
        // reqwest requires a default provider of cryptography even for plain HTTP. Installing it again has no effect.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self {
            name: name.to_owned(),
            seats,
            links,
            testbed,
            binaries,
            work,
            ended: false,
            _turn: turn,
        })
    }

    /// Starts the clusters and makes them one federation, founded by the first.
    pub async fn federated(
        name: &str,
        plans: impl IntoIterator<Item = MemberPlan>,
    ) -> Result<Self> {
        let mut fleet = Self::start(name, plans, Links::Proxied).await?;
        fleet.federate().await?;
        Ok(fleet)
    }

    /// A federation of the clusters of one owner, each with this namespace.
    pub async fn of_one_owner(
        name: &str,
        owner: &str,
        members: [&str; 3],
        namespace: &str,
    ) -> Result<Self> {
        let plans = members.map(|name| MemberPlan::new(name).owner(owner));
        let fleet = Self::federated(name, plans).await?;
        for member in members {
            fleet.create_namespaces(member, &[namespace]).await?;
        }
        Ok(fleet)
    }

    /// The names of the members, in the order of the plans.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.seats.iter().map(|seat| seat.plan.name.as_str())
    }

    /// The plan of a member.
    pub fn plan(&self, member: &str) -> Result<&MemberPlan> {
        Ok(&self.seat(member)?.plan)
    }

    /// The cluster of a member.
    pub fn cluster(&mut self, member: &str) -> Result<&mut Cluster> {
        Ok(&mut self.seat_mut(member)?.cluster)
    }

    /// The operator of a member.
    pub fn operator(&mut self, member: &str) -> Result<&mut Operator> {
        let seat = self.seat_mut(member)?;
        seat.operator
            .as_mut()
            .with_context(|| format!("{member} has no operator yet"))
    }

    /// The operator of a member, read only.
    pub fn operator_of(&self, member: &str) -> Result<&Operator> {
        let operator = self.seat(member)?.operator.as_ref();
        operator.with_context(|| format!("{member} has no operator yet"))
    }

    /// A client of a member's API server.
    pub fn client(&self, member: &str) -> Result<Client> {
        Ok(self.seat(member)?.cluster.client())
    }

    /// A kubeconfig of a member's API server.
    pub fn kubeconfig(&self, member: &str) -> Result<PathBuf> {
        Ok(self.seat(member)?.cluster.kubeconfig())
    }

    /// Runs the real kubectl in a member and returns what it prints.
    pub async fn kubectl(&self, member: &str, arguments: &[&str]) -> Result<String> {
        self.seat(member)?.cluster.kubectl(arguments).await
    }

    /// Applies manifests in a member, as a user would.
    pub async fn apply_yaml(&self, member: &str, yaml: &str) -> Result<String> {
        self.seat(member)?.cluster.apply(yaml).await
    }

    /// The namespace in `host` of the objects that an owner has in `namespace`, if no grant names another.
    pub fn namespace_in(&self, host: &str, owner: &str, namespace: &str) -> Result<String> {
        let same = self.plan(host)?.owner == owner;
        Ok(if same {
            namespace.to_owned()
        } else {
            format!("{owner}--{namespace}")
        })
    }

    /// Kills a whole member at once, cluster and operator, as a power cut would.
    pub async fn kill(&mut self, member: &str) -> Result<()> {
        self.kill_all(&[member]).await
    }

    /// Kills several members at the same time.
    pub async fn kill_all(&mut self, members: &[&str]) -> Result<()> {
        let seats = self
            .seats
            .iter_mut()
            .filter(|seat| members.contains(&seat.plan.name.as_str()));
        try_join_all(seats.map(Seat::kill)).await.map(drop)
    }

    /// Starts a killed member again with its data.
    pub async fn restart(&mut self, member: &str) -> Result<()> {
        let seat = self.seat_mut(member)?;
        // The operator first: after a power cut nothing delays its start until the API server runs.
        if let Some(operator) = &mut seat.operator {
            operator.restart()?;
        }
        seat.cluster.restart().await?;
        Ok(())
    }

    /// The link over which the operator of `from` dials the operator of `to`.
    pub fn link(&self, from: &str, to: &str) -> Result<&Proxy> {
        self.links.get(from, to)
    }

    /// The link over which the operator of a member connects to its API server.
    pub fn api_link(&self, member: &str) -> Result<&Proxy> {
        let link = self.seat(member)?.api_link.as_ref();
        link.with_context(|| {
            format!("the operator of {member} connects to its API server directly")
        })
    }

    /// No byte arrives from `a` at `b` or back, and neither gets an error.
    pub fn partition(&self, a: &str, b: &str) -> Result<()> {
        self.block(a, b)?;
        self.block(b, a)
    }

    /// No byte that `from` sends arrives at `to`, whichever of them has dialled, and neither gets an error.
    pub fn block(&self, from: &str, to: &str) -> Result<()> {
        self.links.block(from, to)
    }

    /// No byte arrives from a member at any other or back.
    pub fn isolate(&self, member: &str) -> Result<()> {
        self.members()
            .filter(|other| *other != member)
            .try_for_each(|other| self.partition(member, other))
    }

    /// Everything passes between `a` and `b` again.
    pub fn heal(&self, a: &str, b: &str) -> Result<()> {
        self.link(a, b)?.heal();
        self.link(b, a)?.heal();
        Ok(())
    }

    /// Everything passes everywhere again.
    pub fn heal_all(&self) {
        self.links.heal();
        self.seats
            .iter()
            .filter_map(|seat| seat.api_link.as_ref())
            .for_each(Proxy::heal);
    }

    /// Kills all processes and deletes their files. A test that gets here has succeeded.
    pub async fn end(mut self) -> Result<()> {
        self.ended = true;
        try_join_all(self.seats.iter_mut().map(Seat::kill))
            .await
            .map(drop)
    }

    /// Keeps all processes running when this process ends, until [`workspace::end_kept`] ends them by the fleet's name.
    pub fn leave_running(mut self) -> Result<()> {
        self.ended = true;
        let mut processes = Vec::new();
        for seat in &mut self.seats {
            seat.cluster.leave_running();
            processes.extend(seat.cluster.process_ids());
            if let Some(operator) = &mut seat.operator {
                operator.leave_running();
                processes.extend(operator.process().map(crate::Process::id));
            }
        }
        self.work
            .keep_with(&processes)
            .context("failed to write the list of processes left running")
    }

    fn seat(&self, member: &str) -> Result<&Seat> {
        let seat = self.seats.iter().find(|seat| seat.plan.name == member);
        seat.with_context(|| format!("no member is called {member}"))
    }

    fn seat_mut(&mut self, member: &str) -> Result<&mut Seat> {
        let seat = self.seats.iter_mut().find(|seat| seat.plan.name == member);
        seat.with_context(|| format!("no member is called {member}"))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if !self.ended {
            self.dump();
            self.work.keep();
        }
    }
}

impl Seat {
    async fn kill(&mut self) -> Result<()> {
        let operator = async {
            match &mut self.operator {
                Some(operator) => operator.kill().await.map_err(anyhow::Error::from),
                None => Ok(()),
            }
        };
        let cluster = async { self.cluster.kill().await.map_err(anyhow::Error::from) };
        try_join(operator, cluster).await.map(drop)
    }
}

async fn take_seat(
    testbed: &Testbed,
    plan: MemberPlan,
    directory: PathBuf,
    links: Links,
) -> Result<Seat> {
    let cluster = Cluster::start(testbed, &plan.name, &directory, plan.nodes()).await?;
    let [peer, admin, api] = free_ports().await?.map(loopback);
    let api_link = match links {
        Links::Proxied => Some(Proxy::start(api, loopback(cluster.api_port())).await?),
        Links::Direct => None,
    };
    Ok(Seat {
        plan,
        cluster,
        operator: None,
        api_link,
        peer_address: peer,
        admin_address: admin,
        directory,
    })
}

async fn turn() -> std::io::Result<FileLock> {
    let turns: Vec<_> = (0..FLEETS_AT_ONCE)
        .map(|turn| {
            workspace::target_dir()
                .join("e2e")
                .join(format!("turn-{turn}.lock"))
        })
        .collect();
    let turns: Vec<_> = turns.iter().map(PathBuf::as_path).collect();
    FileLock::acquire_any(&turns).await
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}
