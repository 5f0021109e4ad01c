//! The command line as a whole: the options of every command and the commands.

use clap::{Parser, Subcommand};
use hanse_crds::names::DEFAULT_NAMESPACE;

use crate::{
    connect, cordon, diff, drain, explain, failure::Failure, invite, members, output::Streams,
    revoke, simulate, status, wrap,
};

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed or the status is FAILING, 2 wrong usage, 124 no answer in time, \
                          130 interrupted.";

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
    pub(crate) connection: connect::Connection,
    #[command(subcommand)]
    command: Command,
}

// The help of each command is the documentation of its arguments.
#[derive(Debug, Subcommand)]
enum Command {
    Status(status::Status),
    Members(members::Members),
    Explain(explain::Explain),
    Simulate(simulate::Simulate),
    Diff(diff::Diff),
    Wrap(wrap::Wrap),
    Invite(invite::Invite),
    Revoke(revoke::Revoke),
    Cordon(cordon::Cordon),
    Uncordon(cordon::Uncordon),
    Drain(drain::Drain),
}

impl Arguments {
    pub(crate) async fn run(self, streams: &mut Streams<'_>) -> Result<(), Failure> {
        let namespace = self.connection.namespace.as_deref();
        if let Command::Wrap(wrap) = &self.command {
            return wrap::run(namespace, wrap, streams);
        }
        let client = connect::client(&self.connection).await?;
        let of_operator = namespace.unwrap_or(DEFAULT_NAMESPACE);
        match self.command {
            Command::Status(status) => status::run(client, namespace, &status, streams).await,
            Command::Members(members) => members::run(client, &members, streams).await,
            Command::Explain(explain) => explain::run(client, namespace, &explain, streams).await,
            Command::Simulate(simulate) => simulate::run(client, &simulate, streams).await,
            Command::Diff(diff) => diff::run(client, namespace, &diff, streams).await,
            Command::Wrap(wrap) => wrap::run(namespace, &wrap, streams),
            Command::Invite(invite) => invite::run(client, of_operator, &invite, streams).await,
            Command::Cordon(cordon) => cordon::cordon(client, &cordon, streams).await,
            Command::Uncordon(uncordon) => cordon::uncordon(client, &uncordon, streams).await,
            Command::Drain(drain) => drain::run(client, of_operator, &drain, streams).await,
            Command::Revoke(revoke) => revoke::run(client, of_operator, &revoke, streams).await,
        }
    }
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
        insta::assert_snapshot!("help_status", help(&["status"]));
        insta::assert_snapshot!("help_invite", help(&["invite"]));
        insta::assert_snapshot!("help_revoke", help(&["revoke"]));
        insta::assert_snapshot!("help_explain", help(&["explain"]));
        insta::assert_snapshot!("help_simulate", help(&["simulate"]));
        insta::assert_snapshot!("help_diff", help(&["diff"]));
        insta::assert_snapshot!("help_wrap", help(&["wrap"]));
        insta::assert_snapshot!("help_uncordon", help(&["uncordon"]));
        insta::assert_snapshot!("help_drain", help(&["drain"]));
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
            (vec!["status", "--timeout", "1m"], "--wait"),
            (vec!["simulate", "--lose", "acme"], "must be KIND=NAME"),
            (vec!["simulate", "--lose", "zone=a"], "is not one of"),
            (vec!["simulate", "--lose", "member=a,"], "a name is missing"),
        ] {
            let arguments = ["kubectl-hanse"].into_iter().chain(arguments);
            let error = Arguments::try_parse_from(arguments).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(told), "{error}");
        }
    }
}
