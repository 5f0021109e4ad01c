//! One operator process, started as its owner would start it by hand.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::ensure;
use tokio::process::Command;

use crate::{
    process::{Process, ProcessError, tail},
    testbed::Testbed,
};

/// Longer than the operator takes to transfer leadership and end.
const STOPS_WITHIN: Duration = Duration::from_secs(20);

/// How an operator with an empty data directory becomes a member of a federation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It founds one.
    Found,
    /// It joins one with this invitation.
    Join(String),
}

/// The flags of `hanse-operator run`.
#[derive(Clone, Debug)]
pub struct OperatorFlags {
    /// Name of the member.
    pub name: String,
    /// Owner of the member.
    pub owner: String,
    /// The directory of the ledger and of its key.
    pub data_dir: PathBuf,
    /// The kubeconfig for its API server.
    pub kubeconfig: PathBuf,
    /// The address on which it listens for peers.
    pub peer_listen: SocketAddr,
    /// The address that it advertises to peers. `None`: it only dials out and never votes.
    pub peer_address: Option<SocketAddr>,
    /// Advertised addresses of peers, each with the address to dial instead.
    pub peer_via: Vec<(SocketAddr, SocketAddr)>,
    /// The address of its probes and its metrics.
    pub admin_listen: SocketAddr,
    /// Any other flag.
    pub others: Vec<String>,
}

impl OperatorFlags {
    fn arguments(&self, entry: Option<&Entry>) -> Vec<String> {
        let Self {
            name,
            owner,
            data_dir,
            kubeconfig,
            peer_listen,
            peer_address,
            peer_via,
            admin_listen,
            others,
        } = self;
        let mut arguments = vec![
            "run".to_owned(),
            format!("--name={name}"),
            format!("--owner={owner}"),
            format!("--data-dir={}", data_dir.display()),
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--peer-listen={peer_listen}"),
            format!("--admin-listen={admin_listen}"),
        ];
        arguments.extend(peer_address.map(|address| format!("--peer-address={address}")));
        arguments.extend(
            peer_via
                .iter()
                .map(|(address, dialled)| format!("--peer-via={address}={dialled}")),
        );
        arguments.extend(others.iter().cloned());
        arguments.extend(entry.map(|entry| match entry {
            Entry::Found => "--found".to_owned(),
            Entry::Join(invitation) => format!("--invitation={invitation}"),
        }));
        arguments
    }
}

/// An operator. It is killed when this is dropped.
#[derive(Debug)]
pub struct Operator {
    binary: PathBuf,
    testbed: Testbed,
    flags: OperatorFlags,
    log: PathBuf,
    process: Option<Process>,
}

impl Operator {
    /// Starts one whose data directory is empty.
    pub fn start(
        binary: &Path,
        testbed: &Testbed,
        flags: OperatorFlags,
        entry: &Entry,
        log: PathBuf,
    ) -> Result<Self, ProcessError> {
        let mut operator = Self {
            binary: binary.to_owned(),
            testbed: testbed.clone(),
            flags,
            log,
            process: None,
        };
        operator.spawn(Some(entry))?;
        Ok(operator)
    }

    /// Kills it at once with SIGKILL.
    pub async fn kill(&mut self) -> Result<(), ProcessError> {
        match self.process.take() {
            Some(mut process) => process.kill().await,
            None => Ok(()),
        }
    }

    /// Sends SIGTERM, as a rolling update does.
    pub async fn stop(&mut self) -> Result<(), ProcessError> {
        match self.process.take() {
            Some(mut process) => process.stop(STOPS_WITHIN).await,
            None => Ok(()),
        }
    }

    /// Starts it again with its data directory.
    pub fn restart(&mut self) -> Result<(), ProcessError> {
        if self.process.is_none() {
            self.spawn(None)
        } else {
            Ok(())
        }
    }

    /// Stops it and starts it again with one more flag.
    pub async fn restart_with(&mut self, flag: &str) -> Result<(), ProcessError> {
        self.stop().await?;
        self.flags.others.push(flag.to_owned());
        self.restart()
    }

    /// The running process, to pause it or to look at it.
    #[must_use]
    pub fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Keeps it running when this is dropped and when this process ends.
    pub fn leave_running(&mut self) {
        self.process.iter_mut().for_each(Process::leave_running);
    }

    /// An error if it has ended unexpectedly.
    pub fn ensure_running(&mut self) -> Result<(), ProcessError> {
        self.process
            .as_mut()
            .map_or(Ok(()), Process::ensure_running)
    }

    /// An error unless its readiness probe succeeds.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let answer = reqwest::get(format!("http://{}/readyz", self.flags.admin_listen)).await?;
        let status = answer.status();
        ensure!(
            status.is_success(),
            "/readyz answers {status}: {}",
            answer.text().await?.trim()
        );
        Ok(())
    }

    /// The text of its metrics endpoint.
    pub async fn metrics(&self) -> anyhow::Result<String> {
        Ok(
            reqwest::get(format!("http://{}/metrics", self.flags.admin_listen))
                .await?
                .text()
                .await?,
        )
    }

    /// Its log since its first start.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log.
    #[must_use]
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines)
    }

    fn spawn(&mut self, entry: Option<&Entry>) -> Result<(), ProcessError> {
        let mut command = Command::new(&self.binary);
        command.args(self.flags.arguments(entry));
        let name = format!("the operator of {}", self.flags.name);
        self.process = Some(Process::spawn(
            &name,
            command,
            &self.log,
            self.testbed.reaper(),
        )?);
        Ok(())
    }
}
