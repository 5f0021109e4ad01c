//! The client for the API server of the chosen context.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use crate::{failure::Failure, output::Color};

/// A TCP connection across the world takes 0.3 s. Without this limit a firewall that drops packets delays the answer by
/// 30 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Where to connect, and how the answer looks.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// Kubeconfig file; else `$KUBECONFIG`, `~/.kube/config`, or the pod's own service account.
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; else its current one.
    #[arg(long, global = true)]
    context: Option<String>,
    /// `status`: show only workloads of this namespace. `explain`, `diff`, `wrap`: the namespace of the workload. `invite`,
    /// `revoke`, `drain`: the operator's namespace, hanse-system unless given. Others: ignored.
    #[arg(short, long, global = true)]
    pub(crate) namespace: Option<String>,
    /// When to colour the answer; `auto` means on a terminal, unless `NO_COLOR` is set.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub(crate) color: Color,
}

/// A client that does not retry: the user can run the command again.
pub(crate) async fn client(connection: &Connection) -> Result<Client, Failure> {
    let mut config = config(connection).await?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.default_retry = false;
    Client::try_from(config).map_err(|source| Failure::BuildClient { source })
}

async fn config(
    Connection {
        kubeconfig,
        context,
        ..
    }: &Connection,
) -> Result<Config, Failure> {
    if kubeconfig.is_none() && context.is_none() {
        return Config::infer()
            .await
            .map_err(|source| Failure::FindCluster { source });
    }
    let read = || match kubeconfig {
        Some(path) => Kubeconfig::read_from(path),
        None => Kubeconfig::read(),
    };
    let options = KubeConfigOptions {
        context: context.clone(),
        ..KubeConfigOptions::default()
    };
    let config = async { Config::from_custom_kubeconfig(read()?, &options).await };
    config
        .await
        .map_err(|source: KubeconfigError| Failure::ReadKubeconfig { source })
}
