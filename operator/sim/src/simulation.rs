//! One simulation from its seed: a federation grows, its clients ask, faults happen, all is repaired, and it comes to rest.

use std::{cell::Cell, collections::BTreeMap, sync::Arc, time::Duration};

use hanse_core::{
    command::Attributes,
    mutation::{self, Mutation},
};
use hanse_operator::replicate::runtime::seed_engines_of_this_thread;
use sha2::Digest as _;
use tempfile::TempDir;
use turmoil::Sim;

use crate::{
    api::ApiServer,
    clients::JURISDICTIONS,
    cluster::Cluster,
    disk::SimulatedDisk,
    faults::{self, Fault},
    member::SimulatedMember,
    oracle::{Oracle, one_copy_each},
    rest,
    scene::{Scene, Seen},
    seeded::Seeded,
};

/// How long a federation may take to have all its members and voters.
const GROWS_WITHIN: Duration = Duration::from_mins(1);

/// How long faults happen.
const TROUBLED: Duration = Duration::from_mins(1);

/// How long everything may take to come to rest once all is repaired.
const RESTS_WITHIN: Duration = Duration::from_secs(90);

/// How long a process that ended by itself is off before it is started again.
pub const STARTED_AGAIN_AFTER: Duration = Duration::from_secs(1);

/// The owners, in turn.
const OWNERS: [&str; 3] = ["acme", "beta", "gamma"];

/// How long an operator runs at least before it is killed again. What it has to stop when its lease is over is stopped in the
/// time that is allowed for one of its restarts, not for several (docs/robustness.md).
const BETWEEN_KILLS: Duration = Duration::from_secs(10);

/// How finely time is cut: what happens in one step on two hosts happens at the same time.
const STEP: Duration = Duration::from_millis(2);

/// What came of a simulation in which nothing went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How long it was in simulated time.
    pub simulated: Duration,
    /// The last index of the ledger.
    pub entries: u64,
    /// How many commands its clients asked for.
    pub asked: usize,
    /// How many of them were accepted.
    pub accepted: usize,
    /// The faults that happened.
    pub faults: usize,
    /// A digest of everything that every replica was seen to do.
    pub trace: String,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}, after {at:?}: {what}")]
pub struct Failure {
    /// The seed, which repeats it.
    pub seed: u64,
    /// The simulated time.
    pub at: Duration,
    /// What was seen.
    pub what: String,
}

thread_local! {
    static RUNNING: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The seed of the simulation that this thread runs, for whoever reports a panic.
#[must_use]
pub fn running() -> Option<u64> {
    RUNNING.get()
}

/// Runs the simulation of `seed`. Panics where an operator does.
pub fn run(seed: u64) -> Result<Report, Failure> {
    run_mutated(seed, None)
}

/// Runs the simulation of `seed` with `mutation` switched on.
pub fn run_mutated(seed: u64, mutation: Option<Mutation>) -> Result<Report, Failure> {
    mutation::switch_on(mutation);
    RUNNING.set(Some(seed));
    let files = tempfile::tempdir().map_err(|error| Failure {
        seed,
        at: Duration::ZERO,
        what: format!("no directory for the members' files: {error}"),
    })?;
    let mut simulation = Simulation::new(seed, &files);
    match simulation.run() {
        Ok(()) => Ok(simulation.report()),
        Err(what) => Err(Failure {
            seed,
            at: simulation.sim.elapsed(),
            what,
        }),
    }
}

struct Simulation<'a> {
    sim: Sim<'a>,
    scene: Scene,
    oracle: Oracle,
    members: BTreeMap<String, SimulatedMember>,
    names: Vec<String>,
    faults: Seeded,
    /// The machines that are off, each with when it is switched on by itself.
    off: BTreeMap<String, Option<Duration>>,
    /// When the operator of each was killed last.
    killed: BTreeMap<String, Duration>,
    happened: usize,
}

impl Simulation<'_> {
    fn new(seed: u64, files: &TempDir) -> Self {
        let random = Seeded::new(seed, "federation");
        seed_engines_of_this_thread(random.between(0, u64::MAX));
        // The Kubernetes client draws the jitter of its backoff from it.
        fastrand::seed(random.between(0, u64::MAX));
        let (fastest, slowest) = (random.between(1, 20), random.between(20, 60));
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .enable_random_order()
            .tick_duration(STEP)
            .simulation_duration(Duration::MAX)
            .min_message_latency(Duration::from_millis(fastest))
            .max_message_latency(Duration::from_millis(slowest))
            .tcp_capacity(4_096)
            .build();
        let scene = Scene::default();
        let members = members(seed, &random, &scene, files);
        for (name, member) in &members {
            let cluster = Cluster::new(member.api.clone(), member.delays.clone());
            scene.with(|seen| seen.clusters.insert(name.clone(), cluster));
            let member = member.clone();
            sim.host(name.as_str(), move || member.clone().run());
        }
        Self {
            sim,
            scene,
            oracle: Oracle::default(),
            names: members.keys().cloned().collect(),
            members,
            faults: Seeded::new(seed, "faults"),
            off: BTreeMap::new(),
            killed: BTreeMap::new(),
            happened: 0,
        }
    }

    fn run(&mut self) -> Result<(), String> {
        // Some federations have to grow while things fail.
        let grown = self.faults.chance(70);
        if grown {
            self.until(GROWS_WITHIN, "grown", rest::not_grown)?;
        }
        let from = self.sim.elapsed();
        let mut planned = faults::plan(&self.faults, &self.names, from, from + TROUBLED);
        if grown && self.faults.chance(30) {
            let lost = faults::loss(&self.faults, &self.names, from, from + TROUBLED);
            planned.extend(lost);
            planned.sort();
        }
        for (at, fault) in planned {
            while self.sim.elapsed() < at {
                self.step()?;
            }
            self.happen(&fault);
        }
        self.scene.with(|seen| seen.calm = true);
        self.until(RESTS_WITHIN, "at rest", rest::not_at_rest)?;
        rest::answers_hold(&self.scene)
    }

    /// Steps until nothing is missing.
    fn until(
        &mut self,
        within: Duration,
        what: &str,
        missing: fn(&Scene, &[String]) -> Option<String>,
    ) -> Result<(), String> {
        let deadline = self.sim.elapsed() + within;
        while let Some(why) = missing(&self.scene, &self.names) {
            if self.sim.elapsed() >= deadline {
                return Err(format!("not {what} within {within:?}: {why}"));
            }
            self.step()?;
        }
        Ok(())
    }

    /// One step of all machines, and a look at what came of it.
    fn step(&mut self) -> Result<(), String> {
        self.sim.step().map_err(|error| error.to_string())?;
        self.oracle.look(self.scene.states())?;
        let now = self.sim.elapsed();
        self.scene.with(|seen| {
            let clusters = seen.clusters.values_mut();
            clusters.for_each(|cluster| cluster.step(now));
            one_copy_each(seen)
        })?;
        self.start_again();
        Ok(())
    }

    /// What ended by itself is started again, as a kubelet does.
    fn start_again(&mut self) {
        let now = self.sim.elapsed();
        for (name, why) in self.scene.with(|seen| std::mem::take(&mut seen.ended)) {
            tracing::info!(at = ?now, name, why, "ended by itself");
            if !self.off.contains_key(&name) {
                self.end_process(&name);
            }
        }
        let due = self.off.iter();
        let due = due.filter(|(_, at)| at.is_some_and(|at| at <= now));
        for name in due.map(|(name, _)| name.clone()).collect::<Vec<_>>() {
            self.switch_on(&name);
        }
    }

    fn happen(&mut self, fault: &Fault) {
        tracing::info!(at = ?self.sim.elapsed(), %fault, "fault");
        self.happened += 1;
        match fault {
            Fault::Kill(name) => self.kill(name),
            Fault::CutPower(name) => self.cut_power(name),
            Fault::LoseReplica(name, files) => {
                self.cut_power(name);
                self.members[name].disk.lose(files);
            }
            Fault::PowerOn(name) => self.switch_on(name),
            Fault::IsolateLeader => {
                if let Some(leader) = self.scene.leader() {
                    let others = self.names.iter().filter(|other| **other != leader);
                    others.for_each(|other| self.sim.partition(leader.as_str(), other.as_str()));
                }
            }
            Fault::Reconnect => {
                for (at, name) in self.names.iter().enumerate() {
                    let others = self.names[at + 1..].iter();
                    others.for_each(|other| self.sim.repair(name.as_str(), other.as_str()));
                }
            }
            Fault::Block(from, to) => self.sim.partition_oneway(from.as_str(), to.as_str()),
            Fault::Unblock(from, to) => self.sim.repair_oneway(from.as_str(), to.as_str()),
            Fault::Hold(a, b) => self.sim.hold(a.as_str(), b.as_str()),
            Fault::Release(a, b) => self.sim.release(a.as_str(), b.as_str()),
            Fault::FillDisk(name) => self.members[name].disk.take_writes(false),
            Fault::FreeDisk(name) => self.members[name].disk.take_writes(true),
            Fault::Serve(name, how) => self.members[name].api.serve(*how),
            Fault::Slow(a, b, most) => {
                let most = Duration::from_millis(*most);
                self.sim
                    .set_link_max_message_latency(a.as_str(), b.as_str(), most);
            }
        }
    }

    fn kill(&mut self, name: &str) {
        let now = self.sim.elapsed();
        let recently = |at: &Duration| *at + BETWEEN_KILLS > now;
        if self.off.contains_key(name) || self.killed.get(name).is_some_and(recently) {
            return;
        }
        self.killed.insert(name.to_owned(), now);
        self.end_process(name);
    }

    /// Ends the operator of a member, which is started again soon.
    fn end_process(&mut self, name: &str) {
        let again = self.sim.elapsed() + STARTED_AGAIN_AFTER;
        self.off.insert(name.to_owned(), Some(again));
        self.members[name].disk.kill();
        self.end(name);
    }

    fn cut_power(&mut self, name: &str) {
        self.off.insert(name.to_owned(), None);
        self.members[name].disk.cut_power();
        self.with_cluster(name, |cluster, _| cluster.lose_power());
        self.end(name);
    }

    fn end(&mut self, name: &str) {
        self.scene.with(|seen| seen.running.remove(name));
        self.sim.crash(name);
    }

    fn switch_on(&mut self, name: &str) {
        if self.off.remove(name).is_some() {
            self.with_cluster(name, Cluster::power_on);
            self.sim.bounce(name);
        }
    }

    fn with_cluster(&self, name: &str, act: impl FnOnce(&mut Cluster, Duration)) {
        let now = self.sim.elapsed();
        let cluster =
            |seen: &mut Seen| seen.clusters.get_mut(name).map(|cluster| act(cluster, now));
        self.scene.with(cluster);
    }

    fn report(&self) -> Report {
        let states = self.scene.states();
        let (asked, accepted) = self.scene.with(|seen| seen.history.counts());
        let trace = self.oracle.trace.clone().finalize();
        Report {
            simulated: self.sim.elapsed(),
            entries: states.values().map(|state| state.index).max().unwrap_or(0),
            asked,
            accepted,
            faults: self.happened,
            trace: hex::encode(&trace[..8]),
        }
    }
}

/// Three to five members of three owners; the first founds the federation.
fn members(
    seed: u64,
    random: &Seeded,
    scene: &Scene,
    files: &TempDir,
) -> BTreeMap<String, SimulatedMember> {
    let count = *random.pick(&[3, 3, 4, 5]);
    let names: Vec<String> = ["amber", "birch", "cedar", "dune", "elm"]
        .into_iter()
        .take(count)
        .map(str::to_owned)
        .collect();
    let owner = |at: usize| OWNERS[at % OWNERS.len()].to_owned();
    // The founder invites one member of each owner, and they invite the others of theirs.
    let invites = |at: usize| {
        let invited = (1..count).filter(|other| match at {
            0 => *other < OWNERS.len() || other % OWNERS.len() == 0,
            _ => *other != at && other % OWNERS.len() == at,
        });
        invited
            .map(|other| (names[other].clone(), owner(other)))
            .collect()
    };
    // Where the founder is up to date, so is everybody: an older build could not vote.
    let upgrades = random.chance(50);
    let member = |(at, name): (usize, &String)| {
        let seeded = |purpose: &str| Seeded::new(seed, &format!("{purpose} of {name}"));
        let member = SimulatedMember {
            name: name.clone(),
            owner: owner(at),
            attributes: Attributes {
                jurisdiction: JURISDICTIONS[at % 3].to_owned(),
                ..Attributes::default()
            },
            founds: at == 0,
            is_quiet: random.chance(25),
            invites: invites(at),
            disk: SimulatedDisk::new(seeded("the disk")),
            files: files.path().join(name),
            starts: Arc::default(),
            is_outdated: upgrades && (at == 0 || random.chance(50)),
            keys: seeded("the keys"),
            requests: seeded("the requests"),
            orders: seeded("the orders"),
            delays: seeded("the delays"),
            api: ApiServer::new(seeded("the API server")),
            scene: scene.clone(),
        };
        (name.clone(), member)
    };
    names.iter().enumerate().map(member).collect()
}
