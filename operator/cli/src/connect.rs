//! The client for the API server of the chosen context.

use std::time::Duration;

use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use crate::{arguments::Connection, failure::Failure};

/// A TCP connection across the world takes 0.3 s; a firewall that drops packets would otherwise hold the user for 30 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A client that gives up early: a person waits for the answer, and repeating is theirs to decide.
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
