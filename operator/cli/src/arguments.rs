//! What can be asked for on the command line.

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use hanse_crds::names::DEFAULT_NAMESPACE;

use crate::{connect, failure::Failure, invite, members, output::Streams, revoke, status};

const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 124 no answer in time, 130 interrupted.";

/// See and change a federation of Kubernetes clusters, from any of its members.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-hanse",
    bin_name = "kubectl hanse",
    version,
    after_help = EXIT_CODES,
    disable_help_subcommand = true
)]
pub(crate) struct Arguments {
    #[command(flatten, next_help_heading = "Options of every command")]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    command: Command,
}

/// Where to connect, and how the answer looks.
#[derive(Debug, Args)]
pub(crate) struct Connection {
    /// Kubeconfig file; else `$KUBECONFIG`, `~/.kube/config`, or the pod's own service account.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; else its current one.
    #[arg(long, global = true)]
    pub(crate) context: Option<String>,
    /// `status`: show only workloads of this namespace. `invite`: where the operator runs [default: hanse-system].
    #[arg(short, long, global = true)]
    pub(crate) namespace: Option<String>,
    /// When to colour the answer; `auto` means on a terminal, unless `NO_COLOR` is set.
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub(crate) color: Color,
}

/// When to colour.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    #[default]
    Auto,
    Always,
    Never,
}

/// How an answer is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
    Yaml,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Is it safe, where is it, and why: the quorum, this member and every workload on one screen.
    Status {
        /// How the answer is written.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// List the members of the federation.
    Members {
        /// How the answer is written.
        #[arg(short, long, value_enum, default_value_t)]
        output: Format,
    },
    /// Invite one cluster into the federation; prints the invitation and nothing else.
    ///
    /// Asks the operator of this cluster by way of a Secret in its namespace, which is deleted again. The invitation can
    /// be used once. Only a member of an owner can invite further members of that owner.
    Invite(Invite),
    /// Put a member out of the federation, for good: its name and its key never come back.
    ///
    /// A member can be put out by a member of the same owner and by the member that invited it. Its share of the
    /// workloads moves elsewhere.
    Revoke(Revoke),
}

#[derive(Debug, Args)]
pub(crate) struct Invite {
    /// Name of the owner the new cluster belongs to.
    #[arg(long, value_name = "NAME", value_parser = dns_label)]
    pub(crate) owner: String,
    /// How long the invitation is good for.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    pub(crate) expires_after: Duration,
    /// Leave the Secret with the invitation in the cluster.
    #[arg(long, action = ArgAction::SetTrue)]
    pub(crate) keep_secret: bool,
    /// How long to wait for the operator.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Name of the member.
    #[arg(value_parser = dns_label)]
    pub(crate) member: String,
    /// Do not ask.
    #[arg(short, long, action = ArgAction::SetTrue)]
    pub(crate) yes: bool,
    /// How long to wait for the federation to agree.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,
}

impl Arguments {
    pub(crate) async fn run(self, streams: &mut Streams<'_>) -> Result<(), Failure> {
        let client = connect::client(&self.connection).await?;
        let namespace = self.connection.namespace;
        match self.command {
            Command::Status { output } => {
                status::run(client, namespace.as_deref(), output, streams).await
            }
            Command::Members { output } => members::run(client, output, streams).await,
            Command::Invite(invite) => {
                let namespace = namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
                invite::run(client, namespace, &invite, streams).await
            }
            Command::Revoke(revoke) => revoke::run(client, &revoke, streams).await,
        }
    }
}

fn dns_label(value: &str) -> Result<String, String> {
    let alphanumeric = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let inside = value.bytes().all(|c| alphanumeric(c) || c == b'-');
    let ends = value.bytes().next().is_some_and(alphanumeric)
        && value.bytes().last().is_some_and(alphanumeric);
    if inside && ends && value.len() <= 63 {
        return Ok(value.to_owned());
    }
    Err("must be a DNS label: 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit".into())
}

fn duration(value: &str) -> Result<Duration, String> {
    let duration: Duration = humantime::parse_duration(value)
        .map_err(|error| format!("must be a duration such as '30s' or '1h': {error}"))?;
    if duration.is_zero() {
        return Err("must be more than zero".into());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn help(path: &[&str]) -> String {
        let arguments = ["kubectl-hanse"].iter().chain(path).chain(&["--help"]);
        Arguments::try_parse_from(arguments)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_help_speaks_of_kubectl_hanse() {
        insta::assert_snapshot!("help", help(&[]));
        insta::assert_snapshot!("help_invite", help(&["invite"]));
        insta::assert_snapshot!("help_revoke", help(&["revoke"]));
    }

    #[test]
    fn wrong_usage_exits_with_2_and_says_what_is_right() {
        for (arguments, told) in [
            (vec!["invite", "--owner", "Acme"], "must be a DNS label"),
            (
                vec!["invite", "--owner", "acme", "--timeout", "0s"],
                "must be more than zero",
            ),
            (
                vec!["invite", "--owner", "acme", "--timeout", "soon"],
                "must be a duration such as",
            ),
        ] {
            let arguments = ["kubectl-hanse"].into_iter().chain(arguments);
            let error = Arguments::try_parse_from(arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(told), "{error}");
        }
    }
}
