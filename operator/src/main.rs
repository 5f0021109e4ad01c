//! The operator's executable: parses arguments, returns an exit code, and gives the operator access to this machine.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use hanse_operator::{
    environment::Environment,
    ops::telemetry,
    peer::TcpNetwork,
    run::Operator,
    settings::{Action, Arguments, RunArguments},
};
use tracing::info;

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Arguments::parse().action {
        Action::Run(arguments) => run(*arguments).await,
        Action::Crds => print_crds(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hanse-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the custom resource definitions.
#[allow(clippy::print_stdout, reason = "the output is what the command is for")]
fn print_crds() -> anyhow::Result<()> {
    print!("{}", hanse_crds::manifest_yaml()?);
    Ok(())
}

/// Runs one operator with this machine's sockets, clock and randomness until it is asked to stop.
async fn run(arguments: RunArguments) -> anyhow::Result<()> {
    telemetry::init(arguments.log_format)?;
    // kube and tonic both use rustls. Installing the provider here keeps either from selecting one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let network = TcpNetwork {
        via: arguments.via(),
    };
    let environment = Environment::of_this_machine(network, Some(client(&arguments).await?));
    let stop = stop_requested();
    tokio::pin!(stop);
    let operator = tokio::select! {
        // A newcomer waits for a voter without a time limit; it can be stopped meanwhile.
        () = &mut stop => return Ok(()),
        operator = Operator::start(arguments.settings()?, environment) => operator?,
    };
    operator.until(stop).await
}

/// A client of the API server that the arguments or the environment name.
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
    // The callers retry by themselves, with the current state. Retries in the client would send an outdated request.
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
