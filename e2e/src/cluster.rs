//! One Kubernetes cluster: a real control plane, and fake nodes whose pods are ready at once.
//!
//! Input: the testbed's binary, a name and a directory. Output: a cluster that answers, with its kubeconfig.
//!
//! ```text
//! etcd ◄── kube-apiserver ◄─┬─ kube-controller-manager
//!                           ├─ kube-scheduler
//!                           └─ kwok (simulates every kubelet)
//! ```
//!
//! No container runs, on purpose. A pod of a fake node is only an object whose status is `Ready`.

mod components;
mod nodes;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, ensure};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use tokio::{io::AsyncWriteExt, time::timeout};

pub use self::{components::Component, nodes::Nodes};
use crate::{
    condition::ConditionError,
    pki::{Pki, PkiError},
    port::{PortError, free_ports},
    process::{Process, ProcessError},
    testbed::Testbed,
};

/// Ten times what an API server needs to start on two idle cores, because other tests may run meanwhile.
const STARTS_WITHIN: Duration = Duration::from_secs(90);
/// A component ends within a second or two after SIGTERM.
const STOPS_WITHIN: Duration = Duration::from_secs(15);
/// Longer than any wait of kubectl or helm that a test asks for.
const TOOL_WITHIN: Duration = Duration::from_mins(3);

/// A cluster could not be started or stopped, or a request to it failed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Keys and certificates could not be made.
    #[error("failed to make the keys of cluster {cluster}")]
    Pki {
        /// Which cluster.
        cluster: String,
        /// Why not.
        source: PkiError,
    },
    /// No ports.
    #[error("failed to find ports for cluster {cluster}")]
    Ports {
        /// Which cluster.
        cluster: String,
        /// Why not.
        source: PortError,
    },
    /// A file could not be written.
    #[error("failed to write {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A component did not start or stop.
    #[error("cluster {cluster}")]
    Process {
        /// Which cluster.
        cluster: String,
        /// Which component, and why not.
        source: ProcessError,
    },
    /// The kubeconfig that was just written cannot be read.
    #[error("failed to read {path}")]
    Kubeconfig {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: KubeconfigError,
    },
    /// The client could not be made.
    #[error("failed to make a client of cluster {cluster}")]
    Client {
        /// Which cluster.
        cluster: String,
        /// Why not.
        source: kube::Error,
    },
    /// It did not become ready.
    #[error("cluster {cluster} is not ready; its logs are in {logs}")]
    NotReady {
        /// Which cluster.
        cluster: String,
        /// Where its logs are.
        logs: PathBuf,
        /// The condition that was not met.
        source: ConditionError,
    },
}

#[derive(Clone, Copy, Debug)]
struct Ports {
    etcd: u16,
    etcd_peer: u16,
    api: u16,
    controller_manager: u16,
    scheduler: u16,
}

/// One cluster. Its processes are killed when this is dropped.
pub struct Cluster {
    name: String,
    directory: PathBuf,
    nodes: Nodes,
    testbed: Testbed,
    ports: Ports,
    pki: Pki,
    client: Client,
    running: BTreeMap<Component, Process>,
}

impl Cluster {
    /// Starts a new cluster with its data, keys and logs below `directory`, and waits until it can run pods.
    pub async fn start(
        testbed: &Testbed,
        name: &str,
        directory: &Path,
        nodes: Nodes,
    ) -> Result<Self, ClusterError> {
        let pki = Pki::create(&directory.join("pki")).map_err(|source| ClusterError::Pki {
            cluster: name.to_owned(),
            source,
        })?;
        let [etcd, etcd_peer, api, controller_manager, scheduler] =
            free_ports().await.map_err(|source| ClusterError::Ports {
                cluster: name.to_owned(),
                source,
            })?;
        let ports = Ports {
            etcd,
            etcd_peer,
            api,
            controller_manager,
            scheduler,
        };
        write_files(directory, &pki, ports)?;
        let mut cluster = Self {
            name: name.to_owned(),
            directory: directory.to_owned(),
            nodes,
            testbed: testbed.clone(),
            ports,
            client: client(name, &directory.join("admin.kubeconfig")).await?,
            pki,
            running: BTreeMap::new(),
        };
        cluster.write_kwok_configuration().await?;
        cluster.start_components().await?;
        Ok(cluster)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A kubeconfig of a cluster administrator.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("admin.kubeconfig")
    }

    /// A kubeconfig of a cluster administrator who reaches the API server through `port`.
    pub fn kubeconfig_through(&self, port: u16) -> Result<PathBuf, ClusterError> {
        write_kubeconfig(
            &self.directory,
            &self.pki,
            "admin",
            &format!("admin-{port}"),
            port,
        )
    }

    /// The port of the API server.
    #[must_use]
    pub fn api_port(&self) -> u16 {
        self.ports.api
    }

    /// A client of a cluster administrator. It works again after a restart.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Where its logs are.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.directory.join("logs")
    }

    /// Runs the real kubectl and returns what it prints.
    pub async fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.kubectl_with_input(arguments, "").await
    }

    /// Applies manifests as a user would, with `kubectl apply -f -`.
    pub async fn apply(&self, yaml: &str) -> anyhow::Result<String> {
        self.kubectl_with_input(&["apply", "-f", "-"], yaml).await
    }

    /// Runs the real helm against this cluster and returns what it prints.
    pub async fn helm(&self, arguments: &[&str]) -> anyhow::Result<String> {
        self.run("helm", arguments, "").await
    }

    async fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        self.run("kubectl", arguments, input).await
    }

    async fn run(&self, tool: &str, arguments: &[&str], input: &str) -> anyhow::Result<String> {
        let mut child = self
            .testbed
            .command(tool)
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig())
            // The home directory of the user who runs the tests is neither read nor written.
            .env("HOME", &self.directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("failed to start {tool}"))?;
        let mut stdin = child
            .stdin
            .take()
            .context("a piped standard input is there")?;
        let running = async {
            // Writing fails if the tool does not read its input. That is an error only if its exit code is one.
            let _ = stdin.write_all(input.as_bytes()).await;
            drop(stdin);
            child.wait_with_output().await
        };
        let output = timeout(TOOL_WITHIN, running).await.with_context(|| {
            format!(
                "{tool} {arguments:?} in {} did not end within {TOOL_WITHIN:?}",
                self.name
            )
        })??;
        ensure!(
            output.status.success(),
            "{tool} {arguments:?} in {} ended with {}: {}",
            self.name,
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A component, to pause it or to kill it alone.
    #[must_use]
    pub fn component(&mut self, component: Component) -> Option<&mut Process> {
        self.running.get_mut(&component)
    }

    /// Kills all components at once, as a power cut would.
    pub async fn kill(&mut self) -> Result<(), ClusterError> {
        let killed = self.running.values_mut().map(Process::kill);
        let ended = futures::future::try_join_all(killed).await.map(drop);
        self.running.clear();
        ended.map_err(self.process_error())
    }

    /// Stops all components, the store last, so that no write is lost.
    pub async fn stop(&mut self) -> Result<(), ClusterError> {
        for component in Component::STOP_ORDER {
            if let Some(mut process) = self.running.remove(&component) {
                process
                    .stop(STOPS_WITHIN)
                    .await
                    .map_err(self.process_error())?;
            }
        }
        Ok(())
    }

    /// Starts the components that do not run, on the same data and the same ports.
    pub async fn restart(&mut self) -> Result<(), ClusterError> {
        self.start_components().await
    }

    /// Keeps its processes running when this is dropped and when this process ends.
    pub fn leave_running(&mut self) {
        self.running.values_mut().for_each(Process::leave_running);
    }

    /// The ids of its processes. Each is the leader of its own process group.
    pub fn process_ids(&self) -> impl Iterator<Item = u32> {
        self.running.values().map(Process::id)
    }

    fn process_error(&self) -> impl Fn(ProcessError) -> ClusterError + use<> {
        let cluster = self.name.clone();
        move |source| ClusterError::Process {
            cluster: cluster.clone(),
            source,
        }
    }
}

fn write_files(directory: &Path, pki: &Pki, ports: Ports) -> Result<(), ClusterError> {
    let logs = directory.join("logs");
    fs::create_dir_all(&logs).map_err(|source| ClusterError::Write { path: logs, source })?;
    for user in ["admin", "controller-manager", "scheduler"] {
        write_kubeconfig(directory, pki, user, user, ports.api)?;
    }
    Ok(())
}

fn write_kubeconfig(
    directory: &Path,
    pki: &Pki,
    user: &str,
    name: &str,
    port: u16,
) -> Result<PathBuf, ClusterError> {
    let path = directory.join(format!("{name}.kubeconfig"));
    let files = pki.certified_key(user);
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "hanse",
        "contexts": [{"name": "hanse", "context": {"cluster": "hanse", "user": user}}],
        "clusters": [{"name": "hanse", "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority": pki.authority(),
        }}],
        "users": [{"name": user, "user": {
            "client-certificate": files.certificate,
            "client-key": files.key,
        }}],
    });
    // JSON is YAML.
    fs::write(&path, kubeconfig.to_string()).map_err(|source| ClusterError::Write {
        path: path.clone(),
        source,
    })?;
    Ok(path)
}

async fn client(cluster: &str, path: &Path) -> Result<Client, ClusterError> {
    let at = |source| ClusterError::Kubeconfig {
        path: path.to_owned(),
        source,
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(at)?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .map_err(at)?;
    // On the loopback, an API server that has not answered by then is dead or paused.
    config.connect_timeout = Some(Duration::from_secs(2));
    Client::try_from(config).map_err(|source| ClusterError::Client {
        cluster: cluster.to_owned(),
        source,
    })
}
