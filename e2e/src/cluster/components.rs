//! The flags of each component, and the order in which they start.

use std::{fs, path::Path};

use anyhow::Context;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, api::GetParams, core::Request};
use tokio::process::Command;

use super::{Cluster, ClusterError, STARTS_WITHIN};
use crate::{condition::await_condition, process::Process};

/// One program of a control plane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Component {
    /// The store. Without it the API server still answers from its caches; all other requests hang.
    Etcd,
    /// The API server.
    ApiServer,
    /// The controllers of Kubernetes.
    ControllerManager,
    /// The scheduler of Kubernetes.
    Scheduler,
    /// Simulates every kubelet.
    Kwok,
}

impl Component {
    /// The API server before its store, because it does not stop after its store has.
    pub(super) const STOP_ORDER: [Self; 5] = [
        Self::ApiServer,
        Self::ControllerManager,
        Self::Scheduler,
        Self::Kwok,
        Self::Etcd,
    ];

    /// Its name as an argument of the testbed's binary and in its log.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
            Self::Kwok => "kwok",
        }
    }
}

impl Cluster {
    /// Starts the components that do not run, and waits until pods can be created and run.
    pub(super) async fn start_components(&mut self) -> Result<(), ClusterError> {
        self.spawn(Component::Etcd)?;
        self.spawn(Component::ApiServer)?;
        self.await_ready("the API server is ready", async |cluster| {
            cluster.api_answers().await
        })
        .await?;
        self.spawn(Component::ControllerManager)?;
        self.spawn(Component::Scheduler)?;
        self.spawn(Component::Kwok)?;
        self.create_nodes().await?;
        self.await_ready("its nodes are ready", async |cluster| {
            cluster.nodes_ready().await
        })
        .await?;
        // The controller manager creates the default service account. Without it no pod can be created in a namespace.
        self.await_ready("pods can be created", async |cluster| {
            cluster.has_service_account().await
        })
        .await
    }

    fn spawn(&mut self, component: Component) -> Result<(), ClusterError> {
        if self.running.contains_key(&component) {
            return Ok(());
        }
        let name = component.name();
        let mut command = Command::new(self.testbed.binary());
        command
            .arg(name)
            .args(self.flags(component))
            .current_dir(&self.directory);
        let log = self.logs().join(format!("{name}.log"));
        let process = Process::spawn(name, command, &log, self.testbed.reaper())
            .map_err(self.process_error())?;
        self.running.insert(component, process);
        Ok(())
    }

    /// Waits until `look` returns `Ok`. Fails at once if a component has ended.
    async fn await_ready(
        &mut self,
        description: &str,
        look: impl AsyncFn(&Self) -> anyhow::Result<()>,
    ) -> Result<(), ClusterError> {
        let awaited = await_condition(description, STARTS_WITHIN, async || {
            match self
                .running
                .values_mut()
                .find_map(|process| process.ensure_running().err())
            {
                Some(ended) => Ok(Err(ended)),
                None => look(self).await.map(Ok),
            }
        })
        .await;
        match awaited {
            Ok(Ok(())) => Ok(()),
            Ok(Err(ended)) => Err(self.process_error()(ended)),
            Err(source) => Err(ClusterError::NotReady {
                cluster: self.name.clone(),
                logs: self.logs(),
                source,
            }),
        }
    }

    async fn api_answers(&self) -> anyhow::Result<()> {
        let request = Request::new("").get("readyz", &GetParams::default())?;
        self.client
            .request_text(request)
            .await
            .context("/readyz does not succeed")
            .map(drop)
    }

    async fn has_service_account(&self) -> anyhow::Result<()> {
        let accounts: Api<ServiceAccount> = Api::default_namespaced(self.client());
        accounts
            .get("default")
            .await
            .context("no service account in namespace default")
            .map(drop)
    }

    pub(super) async fn write_kwok_configuration(&self) -> Result<(), ClusterError> {
        let path = self.directory.join("kwok.yaml");
        let at = |source| ClusterError::Write {
            path: path.clone(),
            source,
        };
        let stages = self
            .testbed
            .command("kwok-stages")
            .output()
            .await
            .map_err(at)?;
        let stages = String::from_utf8_lossy(&stages.stdout);
        // kwok does not start if there is a space beside a separator or if a document is empty.
        fs::write(
            &path,
            format!("{}\n---\n{}\n", KWOK_OPTIONS.trim(), stages.trim()),
        )
        .map_err(at)
    }

    fn flags(&self, component: Component) -> Vec<String> {
        match component {
            Component::Etcd => self.etcd_flags(),
            Component::ApiServer => self.api_server_flags(),
            Component::ControllerManager => self.controller_manager_flags(),
            Component::Scheduler => self.scheduler_flags(),
            Component::Kwok => self.kwok_flags(),
        }
    }

    fn etcd_flags(&self) -> Vec<String> {
        let clients = format!("http://127.0.0.1:{}", self.ports.etcd);
        let peers = format!("http://127.0.0.1:{}", self.ports.etcd_peer);
        flags([
            ("name", "n0".to_owned()),
            ("data-dir", self.path("etcd")),
            ("listen-client-urls", clients.clone()),
            ("advertise-client-urls", clients),
            ("listen-peer-urls", peers.clone()),
            ("initial-advertise-peer-urls", peers.clone()),
            ("initial-cluster", format!("n0={peers}")),
            ("log-level", "warn".to_owned()),
            // The kernel keeps what a killed process has written. Only a machine's crash loses it, which is not tested.
            ("unsafe-no-fsync", "true".to_owned()),
        ])
    }

    fn api_server_flags(&self) -> Vec<String> {
        let server = self.pki.certified_key("server");
        flags([
            (
                "etcd-servers",
                format!("http://127.0.0.1:{}", self.ports.etcd),
            ),
            ("bind-address", "127.0.0.1".to_owned()),
            ("secure-port", self.ports.api.to_string()),
            ("tls-cert-file", text(&server.certificate)),
            ("tls-private-key-file", text(&server.key)),
            ("client-ca-file", text(&self.pki.authority())),
            (
                "service-account-issuer",
                "https://kubernetes.default.svc.cluster.local".to_owned(),
            ),
            (
                "service-account-key-file",
                text(&self.pki.service_accounts_public_key()),
            ),
            (
                "service-account-signing-key-file",
                text(&self.pki.service_accounts_key()),
            ),
            ("service-cluster-ip-range", "10.96.0.0/16".to_owned()),
            ("authorization-mode", "Node,RBAC".to_owned()),
            ("allow-privileged", "true".to_owned()),
            ("endpoint-reconciler-type", "none".to_owned()),
            // Not used. Without it the API server looks for an address, and a machine without a network has none.
            ("advertise-address", "127.0.0.1".to_owned()),
            // Open watches would otherwise delay the end by a minute.
            ("shutdown-watch-termination-grace-period", "1s".to_owned()),
        ])
    }

    fn controller_manager_flags(&self) -> Vec<String> {
        flags([
            ("kubeconfig", self.path("controller-manager.kubeconfig")),
            ("bind-address", "127.0.0.1".to_owned()),
            ("secure-port", self.ports.controller_manager.to_string()),
            ("leader-elect", "false".to_owned()),
            ("root-ca-file", text(&self.pki.authority())),
            (
                "service-account-private-key-file",
                text(&self.pki.service_accounts_key()),
            ),
            ("use-service-account-credentials", "true".to_owned()),
            // A dead node is detected in seconds, so that a test of it does not take a minute.
            ("node-monitor-period", "1s".to_owned()),
            ("node-monitor-grace-period", "5s".to_owned()),
            ("node-startup-grace-period", "10s".to_owned()),
        ])
    }

    fn scheduler_flags(&self) -> Vec<String> {
        flags([
            ("kubeconfig", self.path("scheduler.kubeconfig")),
            ("bind-address", "127.0.0.1".to_owned()),
            ("secure-port", self.ports.scheduler.to_string()),
            ("leader-elect", "false".to_owned()),
        ])
    }

    fn kwok_flags(&self) -> Vec<String> {
        flags([
            ("kubeconfig", self.path("admin.kubeconfig")),
            ("config", self.path("kwok.yaml")),
            ("node-ip", "127.0.0.1".to_owned()),
            ("cidr", "10.244.0.0/16".to_owned()),
        ])
    }

    fn path(&self, name: &str) -> String {
        text(&self.directory.join(name))
    }
}

/// A node lease of four seconds, because a restarted kwok waits until the old lease has ended.
const KWOK_OPTIONS: &str = "
apiVersion: config.kwok.x-k8s.io/v1alpha1
kind: KwokConfiguration
options:
  manageAllNodes: true
  nodeLeaseDurationSeconds: 4
  nodeLeaseParallelism: 4
  podPlayStageParallelism: 4
  nodePlayStageParallelism: 4
  podsOnNodeSyncParallelism: 4
  enablePodsOnNodeSyncStreamWatch: true
";

fn flags<const N: usize>(flags: [(&str, String); N]) -> Vec<String> {
    flags
        .into_iter()
        .map(|(name, value)| format!("--{name}={value}"))
        .collect()
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
