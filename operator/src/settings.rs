//! The configuration of the operator: flags and environment variables, and the settings they result in.
//!
//! [`RunArguments`] has the flags as given; [`Settings`] has the checked settings. All interpretation is in
//! [`RunArguments::settings`]; no other module uses a raw flag.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use hanse_core::{
    command::{Attributes, Scheduling},
    id::{MemberName, OwnerName},
    timings::{Timings, TimingsError},
};

use crate::invitation::Invitation;

/// Joins Kubernetes clusters of independent owners into one federation without a hub.
#[derive(Debug, Parser)]
#[command(name = "hanse-operator", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Run the operator of one cluster.
    Run(Box<RunArguments>),
    /// Print the custom resource definitions as YAML.
    Crds,
}

/// Each flag has an environment variable, which the Helm chart uses.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// This member's name, unique in the federation: a DNS label
    #[arg(long, env = "HANSE_NAME")]
    pub name: MemberName,
    /// The organisation this cluster belongs to: a DNS label
    #[arg(long, env = "HANSE_OWNER")]
    pub owner: OwnerName,
    /// The directory of this member's key and its replica of the ledger; must survive restarts
    #[arg(long, env = "HANSE_DATA_DIR")]
    pub data_dir: PathBuf,
    /// The kubeconfig for this cluster's API server; without it, the pod's service account or the default kubeconfig
    #[arg(long, env = "HANSE_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// The namespace of the operator's own objects: inventories and invitations
    #[arg(long, env = "HANSE_NAMESPACE", default_value = "hanse-system")]
    pub namespace: String,
    /// Where to listen for other operators
    #[arg(long, env = "HANSE_PEER_LISTEN", default_value = "0.0.0.0:7443")]
    pub peer_listen: String,
    /// HOST:PORT at which other operators reach this one; without it the member dials out only and never votes
    #[arg(long, env = "HANSE_PEER_ADDRESS")]
    pub peer_address: Option<String>,
    /// Dial the right side wherever the left side is advertised (ADDRESS=ADDRESS), for address translation
    #[arg(long, env = "HANSE_PEER_VIA", value_delimiter = ',', value_parser = pair)]
    pub peer_via: Vec<(String, String)>,
    /// Where to serve /healthz, /readyz and /metrics
    #[arg(long, env = "HANSE_ADMIN_LISTEN", default_value = "0.0.0.0:7444")]
    pub admin_listen: String,
    /// Found a federation if the data directory is empty
    #[arg(long, env = "HANSE_FOUND", conflicts_with_all = ["invitation", "invitation_file"])]
    pub found: bool,
    /// Join with this invitation if the data directory is empty
    #[arg(
        long,
        env = "HANSE_INVITATION",
        hide_env_values = true,
        conflicts_with = "invitation_file"
    )]
    pub invitation: Option<String>,
    /// Join with the invitation in this file if the data directory is empty
    #[arg(long, env = "HANSE_INVITATION_FILE")]
    pub invitation_file: Option<PathBuf>,
    /// First value of `spec.provider` of this cluster's Member object; afterwards the object is authoritative
    #[arg(long, env = "HANSE_PROVIDER", default_value = "")]
    pub provider: String,
    /// First value of `spec.region`
    #[arg(long, env = "HANSE_REGION", default_value = "")]
    pub region: String,
    /// First value of `spec.jurisdiction`
    #[arg(long, env = "HANSE_JURISDICTION", default_value = "")]
    pub jurisdiction: String,
    /// First values of `spec.labels` (KEY=VALUE, repeatable)
    #[arg(long = "label", env = "HANSE_LABELS", value_delimiter = ',', value_parser = pair)]
    pub labels: Vec<(String, String)>,
    /// Whether this cluster is full when its nodes are (Measured), or gets more nodes when pods wait for them (Elastic)
    #[arg(long, env = "HANSE_CAPACITY", value_enum, default_value_t)]
    pub capacity: CapacityPolicy,
    /// How long a member may send no heartbeat before it is lost, when this member founds a federation [default: 5s].
    /// Later the federation's own timings apply, and a flag that differs from them is reported and not used
    #[arg(long, env = "HANSE_LEASE", value_parser = humantime::parse_duration)]
    pub lease: Option<Duration>,
    /// How often members send a heartbeat, when this member founds a federation [default: a tenth of the lease, at least 50ms]; at
    /// most a third of the lease
    #[arg(long, env = "HANSE_HEARTBEAT", value_parser = humantime::parse_duration)]
    pub heartbeat: Option<Duration>,
    /// How often a leader sends a Raft heartbeat to the voters; more than 4/3 of the round trip between the farthest
    /// two plus a disk write
    #[arg(long, env = "HANSE_RAFT_HEARTBEAT", default_value = "300ms", value_parser = humantime::parse_duration)]
    pub raft_heartbeat: Duration,
    /// Shortest time without a Raft heartbeat after which a voter stands for election; at least three Raft heartbeats
    #[arg(long, env = "HANSE_ELECTION_MIN", default_value = "1s", value_parser = humantime::parse_duration)]
    pub election_min: Duration,
    /// Longest such time
    #[arg(long, env = "HANSE_ELECTION_MAX", default_value = "1500ms", value_parser = humantime::parse_duration)]
    pub election_max: Duration,
    /// Receives a JSON event for each failover that touches this owner's workloads
    #[arg(long, env = "HANSE_NOTIFY_URL", hide_env_values = true)]
    pub notify_url: Option<String>,
    /// The format of log lines; `RUST_LOG` selects what is logged
    #[arg(long, env = "HANSE_LOG_FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

#[allow(clippy::large_enum_variant, reason = "made once per process")]
/// How this cluster becomes a member, if its data directory is empty.
#[derive(Debug, Clone)]
pub enum Entry {
    /// It founds a federation.
    Found,
    /// It joins with an invitation.
    Join(Invitation),
    /// It is a member already; an empty data directory is an error.
    Resume,
}

/// How fast a voter detects the loss of a leader: settings of this voter alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RaftTimings {
    /// How often a leader sends a Raft heartbeat to the voters.
    pub heartbeat: Duration,
    /// Shortest time without a Raft heartbeat before an election.
    pub election_min: Duration,
    /// Longest such time.
    pub election_max: Duration,
}

/// The timings in this member's flags. A federation is founded with them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AskedTimings {
    /// How long a member may send no heartbeat before it is lost.
    pub lease: Option<Duration>,
    /// How often a member sends a heartbeat.
    pub heartbeat: Option<Duration>,
}

/// The heartbeat that goes with a lease if no other is asked for.
fn heartbeat_for(lease: Duration) -> Duration {
    (lease / 10).max(Duration::from_millis(50))
}

impl AskedTimings {
    /// The timings of a federation that is founded with these flags.
    pub fn to_found(self) -> Result<Timings, TimingsError> {
        let lease = self.lease.unwrap_or_else(|| Timings::default().lease());
        Timings::new(
            lease,
            self.heartbeat.unwrap_or_else(|| heartbeat_for(lease)),
        )
    }

    /// A sentence for each flag that differs from the federation's timings.
    #[must_use]
    pub fn differences(self, timings: Timings) -> Option<String> {
        let flags = [
            ("--lease", self.lease, timings.lease()),
            ("--heartbeat", self.heartbeat, timings.heartbeat()),
        ];
        let different = flags
            .into_iter()
            .filter_map(|(flag, asked, used)| Some((flag, asked.filter(|it| *it != used)?, used)));
        let sentences: Vec<String> = different
            .map(|(flag, asked, used)| format!("{flag} is {asked:?}, the federation uses {used:?}"))
            .collect();
        (!sentences.is_empty()).then(|| sentences.join("; "))
    }
}

/// Whether this cluster can be full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "PascalCase")]
pub enum CapacityPolicy {
    /// It can run what its nodes have room for.
    #[default]
    Measured,
    /// It is never full: its nodes are added when pods wait for them.
    Elastic,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line, for log collectors.
    Json,
}

/// The checked settings of one operator.
#[derive(Debug, Clone)]
pub struct Settings {
    pub name: MemberName,
    pub owner: OwnerName,
    pub data_dir: PathBuf,
    pub namespace: String,
    pub peer_listen: String,
    pub peer_address: Option<String>,
    pub admin_listen: String,
    pub entry: Entry,
    pub attributes: Attributes,
    pub capacity: CapacityPolicy,
    pub timings: AskedTimings,
    pub raft: RaftTimings,
    pub notify_url: Option<String>,
}

impl RunArguments {
    /// The settings that the flags result in.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        Ok(Settings {
            name: self.name.clone(),
            owner: self.owner.clone(),
            data_dir: self.data_dir.clone(),
            namespace: self.namespace.clone(),
            peer_listen: self.peer_listen.clone(),
            peer_address: self.peer_address.clone(),
            admin_listen: self.admin_listen.clone(),
            entry: self.entry()?,
            attributes: Attributes {
                provider: self.provider.clone(),
                region: self.region.clone(),
                jurisdiction: self.jurisdiction.clone(),
                labels: self.labels.iter().cloned().collect(),
                scheduling: Scheduling::Enabled,
                taints: BTreeSet::new(),
            },
            capacity: self.capacity,
            timings: self.timings()?,
            raft: self.raft_timings()?,
            notify_url: self.notify_url.clone(),
        })
    }

    /// Which advertised addresses to dial elsewhere.
    #[must_use]
    pub fn via(&self) -> BTreeMap<String, String> {
        self.peer_via.iter().cloned().collect()
    }

    fn entry(&self) -> anyhow::Result<Entry> {
        let token = match (&self.invitation, &self.invitation_file) {
            (Some(token), _) => token.clone(),
            // A member that has joined no longer needs the file, so the file may be deleted.
            (None, Some(path)) => match std::fs::read_to_string(path) {
                Ok(token) => token,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    return Ok(Entry::Resume);
                }
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("failed to read the invitation from {}", path.display())
                    });
                }
            },
            (None, None) => {
                return Ok(if self.found {
                    Entry::Found
                } else {
                    Entry::Resume
                });
            }
        };
        let invitation = token
            .trim()
            .parse()
            .context("the invitation is not readable; ask for a new one")?;
        Ok(Entry::Join(invitation))
    }

    fn timings(&self) -> anyhow::Result<AskedTimings> {
        let asked = AskedTimings {
            lease: self.lease,
            heartbeat: self.heartbeat,
        };
        // One flag alone is compared with the federation's timings, which may fit it although the default ones do not.
        if self.found || (self.lease.is_some() && self.heartbeat.is_some()) {
            asked
                .to_found()
                .context("--lease and --heartbeat contradict each other")?;
        }
        Ok(asked)
    }

    fn raft_timings(&self) -> anyhow::Result<RaftTimings> {
        let timings = RaftTimings {
            heartbeat: self.raft_heartbeat,
            election_min: self.election_min,
            election_max: self.election_max,
        };
        timings.check().map(|()| timings)
    }
}

impl RaftTimings {
    /// Checks the relations without which elections do not end.
    fn check(self) -> anyhow::Result<()> {
        if self.heartbeat.is_zero() {
            bail!("--raft-heartbeat must be more than zero");
        }
        if self.heartbeat * 3 > self.election_min {
            bail!(
                "--election-min must be at least three times --raft-heartbeat: one lost message must not cost a leader"
            );
        }
        if self.election_max <= self.election_min {
            bail!(
                "--election-max must be longer than --election-min: voters that wait equally long stand for election at once"
            );
        }
        Ok(())
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (left, right) = text
        .split_once('=')
        .ok_or_else(|| format!("'{text}' must be LEFT=RIGHT"))?;
    Ok((left.to_owned(), right.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(more: &[&str]) -> anyhow::Result<Settings> {
        let base = [
            "hanse-operator",
            "run",
            "--name",
            "eu-1",
            "--owner",
            "acme",
            "--data-dir",
            "/data",
        ];
        let arguments = Arguments::try_parse_from(base.iter().chain(more))?;
        match arguments.action {
            Action::Run(run) => run.settings(),
            Action::Crds => bail!("not a run"),
        }
    }

    #[test]
    fn the_defaults_are_valid() {
        let settings = parse(&["--found"]).unwrap();
        assert!(matches!(settings.entry, Entry::Found));
        assert_eq!(settings.timings.to_found(), Ok(Timings::default()));
    }

    #[test]
    fn invalid_timings_are_an_error_with_the_reason() {
        let refused = |more: &[&str]| format!("{:#}", parse(more).unwrap_err());
        assert!(
            refused(&["--found", "--heartbeat", "2s"]).contains("at most a third of the lease")
        );
        assert!(
            refused(&["--raft-heartbeat", "500ms"])
                .contains("at least three times --raft-heartbeat")
        );
        assert!(refused(&["--election-max", "1s"]).contains("longer than --election-min"));
    }

    #[test]
    fn flags_that_differ_from_the_federations_timings_are_named() {
        let asked = parse(&["--lease", "8s", "--heartbeat", "500ms"])
            .unwrap()
            .timings;
        assert_eq!(
            asked.differences(Timings::default()).as_deref(),
            Some("--lease is 8s, the federation uses 5s")
        );
        assert_eq!(
            AskedTimings::default().differences(Timings::default()),
            None
        );
    }

    #[test]
    fn founding_and_joining_exclude_each_other() {
        assert!(parse(&["--found", "--invitation", "hanse1.x"]).is_err());
    }
}
