//! What a plan costs, on one core and without anything around it.
//!
//! Members of twenty owners and ten providers host workloads of these owners: Deployments of two replicas, one in ten at the same time
//! in the EU only. Each line is one case at one size:
//!
//! | case | what is planned |
//! |---|---|
//! | `full` | everything, with nothing placed yet and a planner that knows nothing |
//! | `one_change` | one workload gets a third replica: the median of several |
//! | `member_lost` | one member is lost |
//! | `burst_1000` | a thousand workloads are new |
//! | `provider_lost` | all members of one provider are lost |
//! | `measured` | everything, with nothing placed yet and a planner that knows nothing; all members have reported what they can run |
//! | `one_report` | nothing: one member reports again, and has more room: the median of several |
//! | `simulate` | nothing: the question what the loss of another provider would mean, which takes two plans of everything and what follows |
//!
//! Each case comes after the one before has been taken over. The time is that of the plan alone; `peak_rss_mb` is that of the process
//! during the case, with the state.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Args;
use hanse_core::{
    capacity::{Capacities, Capacity, Resources, Shape},
    command::{Attributes, Command, PlacementChange, SignedCommand},
    domain::FailureDomain,
    grant::{Grant, GrantedNamespaces, Grantee, PodSecurity},
    id::{Epoch, FederationId, Generation, MemberName, PrivateKey, PublicKey, WorkloadKey},
    per_host::PerHost,
    schedule::{Change, Hearsay, Observations, Planner, simulate},
    state::{Lease, Member, Placement, State, Workload},
    workload::{GroupKind, Mode, PlacementRules, WorkloadSpec},
};
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

const MEMBERS: [usize; 4] = [10, 100, 1_000, 10_000];
const WORKLOADS: [usize; 3] = [1_000, 10_000, 100_000];
/// The largest of a quick run.
const QUICK: (usize, usize) = (1_000, 10_000);
const OWNERS: usize = 20;
const PROVIDERS: usize = 10;
/// How often a single change is made; the median counts.
const CHANGES: usize = 101;
const BURST: usize = 1_000;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only up to 1,000 members and 10,000 workloads.
    #[arg(long)]
    quick: bool,
    /// Print each result as one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Line {
    bench: &'static str,
    case: &'static str,
    members: usize,
    workloads: usize,
    seconds: f64,
    placements: usize,
    placements_per_s: f64,
    peak_rss_mb: f64,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let (most_members, most_workloads) = if arguments.quick {
        QUICK
    } else {
        (usize::MAX, usize::MAX)
    };
    for members in MEMBERS.into_iter().filter(|it| *it <= most_members) {
        for workloads in WORKLOADS.into_iter().filter(|it| *it <= most_workloads) {
            Fleet::new(members, workloads)?.measure(arguments.json)?;
        }
    }
    Ok(())
}

/// A federation in memory, and the planner that follows it.
struct Fleet {
    state: State,
    planner: Planner,
    index: u64,
    /// What members have reported.
    capacities: Capacities,
    /// Two specifications, each with another number of replicas in a second version.
    specs: [[Arc<WorkloadSpec>; 2]; 2],
    proof: Arc<SignedCommand>,
    members: usize,
    workloads: usize,
}

impl Fleet {
    fn new(members: usize, workloads: usize) -> Result<Self> {
        let mut fleet = Self {
            state: State::default(),
            planner: Planner::default(),
            index: 1,
            capacities: Capacities::default(),
            specs: [
                [spec(2, false)?, spec(3, false)?],
                [spec(2, true)?, spec(3, true)?],
            ],
            proof: proof()?,
            members,
            workloads,
        };
        for number in 0..members {
            let name: MemberName = format!("member-{number}").parse()?;
            fleet.state.members.insert(name, member(number)?);
        }
        for number in 0..workloads {
            fleet.put(number, 0)?;
        }
        Ok(fleet)
    }

    fn put(&mut self, number: usize, version: usize) -> Result<()> {
        self.index += 1;
        let key: WorkloadKey = format!("owner-{}/shop/web-{number}", number % OWNERS).parse()?;
        let in_eu = usize::from(number.is_multiple_of(10));
        let workload = Workload {
            proof: self.proof.clone(),
            spec: self.specs[in_eu][version].clone(),
            home: "member-0".parse()?,
            generation: Generation(self.index),
            born: Generation(1),
            removed: false,
            completed: BTreeMap::new(),
            avoided: BTreeMap::new(),
            longest_grace: 30,
        };
        self.state.workloads.insert(key, workload);
        Ok(())
    }

    fn lose(&mut self, members: impl Iterator<Item = usize>) -> Result<()> {
        self.index += 1;
        for number in members {
            let name: MemberName = format!("member-{number}").parse()?;
            let row = self
                .state
                .members
                .get_mut(&name)
                .context("no such member")?;
            row.lease = Lease::Lost {
                epoch: Epoch(self.index),
                fenced: false,
            };
            row.generation = Generation(self.index);
        }
        Ok(())
    }

    /// Plans and takes the plan over. Returns how long the plan took, and how many rows it has.
    fn plan(&mut self) -> (Duration, usize) {
        let observations = Observations::default();
        let hearsay = Hearsay::of_all_heard(&observations, &self.capacities);
        let begun = Instant::now();
        let changes = self.planner.plan(&self.state, hearsay);
        let took = begun.elapsed();
        let rows = changes.len();
        for row in changes {
            self.take_over(row);
        }
        (took, rows)
    }

    fn take_over(&mut self, row: PlacementChange) {
        self.index += 1;
        match row.share {
            Some(share) => {
                let placement = Placement {
                    share,
                    surge: row.surge,
                    epoch: Epoch(self.index),
                    reason: row.reason,
                };
                let placements = &mut self.state.placements;
                placements.insert(row.workload, row.member, placement.into());
            }
            None => drop(self.state.placements.remove(&row.workload, &row.member)),
        }
    }

    fn measure(mut self, json: bool) -> Result<()> {
        forget_peak()?;
        let full = self.plan();
        self.print("full", full, json)?;
        forget_peak()?;
        let mut changes = Vec::new();
        for number in 0..CHANGES {
            self.put(number % self.workloads, 1)?;
            changes.push(self.plan());
        }
        changes.sort_unstable();
        self.print("one_change", changes[CHANGES / 2], json)?;
        forget_peak()?;
        self.lose(1..2)?;
        let lost = self.plan();
        self.print("member_lost", lost, json)?;
        forget_peak()?;
        for number in 0..BURST {
            self.put(self.workloads + number, 0)?;
        }
        let burst = self.plan();
        self.print("burst_1000", burst, json)?;
        forget_peak()?;
        self.lose((2..self.members).step_by(PROVIDERS))?;
        let lost = self.plan();
        self.print("provider_lost", lost, json)?;
        forget_peak()?;
        let simulated = self.simulate()?;
        self.print("simulate", simulated, json)?;
        forget_peak()?;
        self.planner = Planner::default();
        self.state.placements = PerHost::default();
        for number in 0..self.members {
            self.report(number, 1_000)?;
        }
        let measured = self.plan();
        self.print("measured", measured, json)?;
        forget_peak()?;
        let mut reports = Vec::new();
        for (number, nodes) in (0..CHANGES).zip(1_001..) {
            self.report(number % self.members, nodes)?;
            reports.push(self.plan());
        }
        reports.sort_unstable();
        self.print("one_report", reports[CHANGES / 2], json)
    }

    /// A member reports: ten kinds of nodes, and so many of each. All that is placed there is part of it.
    fn report(&mut self, number: usize, nodes: u32) -> Result<()> {
        let shapes = (1..=10).map(|kind| Shape {
            nodes,
            free: Resources::of(
                &json!({"cpu": kind * 4, "memory": format!("{}Gi", kind * 8), "pods": 110}),
            ),
            taints: Vec::new(),
        });
        let capacity = Capacity {
            covers: self.index,
            shapes: shapes.collect(),
            waiting: Vec::new(),
        };
        let name = format!("member-{number}").parse()?;
        self.capacities.insert(name, Arc::new(capacity));
        Ok(())
    }

    /// What the leader does when a member asks what the loss of a provider would mean. Counts workloads, not rows.
    fn simulate(&self) -> Result<(Duration, usize)> {
        let lose = Change::Lose {
            domain: FailureDomain::Provider,
            name: "provider-3".to_owned(),
        };
        let (asker, owner) = ("member-3".parse()?, "owner-3".parse()?);
        let begun = Instant::now();
        let asked = (&asker, &owner);
        let observations = Observations::default();
        let hearsay = Hearsay::of_all_heard(&observations, &self.capacities);
        let simulation = simulate(&self.state, hearsay, asked, &[lose])?;
        Ok((begun.elapsed(), simulation.workloads.len()))
    }

    fn print(&self, case: &'static str, (took, rows): (Duration, usize), json: bool) -> Result<()> {
        let seconds = took.as_secs_f64();
        let per_s = f64::from(u32::try_from(rows)?) / seconds;
        let line = Line {
            bench: "planner",
            case,
            members: self.members,
            workloads: self.workloads,
            seconds: (seconds * 1e6).round() / 1e6,
            placements: rows,
            placements_per_s: per_s.round(),
            peak_rss_mb: peak_rss_mb()?,
        };
        let mut stdout = io::stdout().lock();
        if json {
            writeln!(stdout, "{}", serde_json::to_string(&line)?)?;
        } else {
            let Line {
                case,
                members,
                workloads,
                placements,
                peak_rss_mb,
                ..
            } = line;
            writeln!(
                stdout,
                "{case:13}  {members:6} members  {workloads:7} workloads  {seconds:11.6} s  {placements:7} rows  {per_s:9.0}/s  {peak_rss_mb:6.0} MB"
            )?;
        }
        Ok(())
    }
}

fn member(number: usize) -> Result<Member> {
    let granted = Grant {
        grantee: Grantee::Any,
        namespaces: GrantedNamespaces::Any,
        kinds: BTreeSet::from([GroupKind {
            group: "apps".into(),
            kind: "Deployment".into(),
        }]),
        host_namespace: None,
        pod_security: PodSecurity::Restricted,
    };
    let mut key = [0; 32];
    key[..8].copy_from_slice(&u64::try_from(number)?.to_be_bytes());
    Ok(Member {
        owner: format!("owner-{}", number % OWNERS).parse()?,
        key: PublicKey(key),
        sponsor: None,
        attributes: Attributes {
            provider: format!("provider-{}", number % PROVIDERS),
            region: format!("region-{}", number % 97),
            jurisdiction: if number.is_multiple_of(3) { "EU" } else { "CH" }.into(),
            ..Attributes::default()
        },
        version: String::new(),
        level: hanse_core::level::Level::NEWEST,
        grants: vec![granted],
        kinds: None,
        seat: None,
        lease: Lease::Held { epoch: Epoch(1) },
        generation: Generation(1),
    })
}

fn spec(replicas: u32, in_eu: bool) -> Result<Arc<WorkloadSpec>> {
    let mut placement = PlacementRules::new(Mode::Divided);
    if in_eu {
        placement.domicile = BTreeSet::from(["EU".to_owned()]);
    }
    let containers =
        json!([{"name": "app", "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}]);
    let template = json!({"spec": {"containers": containers}});
    let web = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
        "spec": {"replicas": replicas, "template": template},
    });
    let spec = WorkloadSpec::new(vec![web], placement, &"shop".parse()?);
    Ok(Arc::new(spec.context("the example is not valid")?))
}

/// A signed command. The planner does not look at it.
fn proof() -> Result<Arc<SignedCommand>> {
    let command = Command::Revoke {
        member: "member-0".parse()?,
    };
    let key = PrivateKey::from_seed(&[1; 32]);
    Ok(Arc::new(SignedCommand::sign(
        &FederationId([0; 16]),
        &key,
        1,
        &command,
    )))
}

/// Makes the peak of the process's memory what it is now (proc(5), `clear_refs`).
fn forget_peak() -> Result<()> {
    fs::write("/proc/self/clear_refs", "5").context("failed to reset the peak of the memory")
}

fn peak_rss_mb() -> Result<f64> {
    let status = fs::read_to_string("/proc/self/status").context("failed to read the memory")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|it| it.trim().strip_suffix(" kB"));
    let kilobytes: u32 = peak.context("the kernel gives no VmHWM")?.parse()?;
    Ok((f64::from(kilobytes) / 1_024.0).round())
}
