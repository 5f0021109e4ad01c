//! `kubectl hanse status`: whether the federation is safe, where workloads run, and why they do not.

use std::time::Duration;

use clap::Args;
use hanse_crds::{FederatedWorkload, Federation, Member};
use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::time::timeout;

use crate::{
    failure::Failure,
    federation,
    output::{Format, Streams},
    parsers::duration,
};

mod report;
mod screen;
mod wait;

use report::{Report, Safety};
use wait::Wait;

const EXIT_CODES: &str = "Exit codes: 1 if the answer is FAILING, 124 if --wait timed out; the \
                          last answer is printed all the same. The others are those of every command: \
                          kubectl hanse --help";

/// Show whether the federation is safe, and why: its quorum, its members and every workload on one screen.
///
/// The answer begins with SAFE, AT RISK (everything runs, but one more loss would stop some of it) or FAILING (something
/// does not run, or nothing can be decided), with the reasons under it.
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Status {
    /// How the answer is written.
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Wait until nothing is FAILING and every workload shown has all its replicas ready. A finding that is
    /// AT RISK does not prolong the wait.
    #[arg(long)]
    wait: bool,
    /// How long to wait.
    #[arg(
        long,
        requires = "wait",
        value_name = "DURATION",
        default_value = "5m",
        value_parser = duration
    )]
    timeout: Duration,
}

/// Reads the objects, judges them and writes the answer. A FAILING answer is a failure of the command, too.
pub(crate) async fn run(
    client: Client,
    namespace: Option<&str>,
    status: &Status,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    if status.wait {
        return run_waiting(&client, namespace, status, streams).await;
    }
    let report = read(&client, namespace).await?;
    print(&report, status.output, streams)?;
    match report.safety {
        Safety::Failing => Err(Failure::Failing),
        Safety::Safe | Safety::AtRisk => Ok(()),
    }
}

/// Waits, and writes the last answer there was, whether or not it is the one that was waited for.
async fn run_waiting(
    client: &Client,
    namespace: Option<&str>,
    status: &Status,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    let mut wait = Wait::default();
    let waiting = wait.until_ready(client, namespace, streams);
    let waited = timeout(status.timeout, waiting).await;
    if let Some(report) = wait.last() {
        print(report, status.output, streams)?;
    }
    waited.map_err(|_| wait.timed_out(status.timeout))
}

async fn read(client: &Client, namespace: Option<&str>) -> Result<Report, Failure> {
    let (federation, members, workloads) = futures::try_join!(
        federation::federation(client),
        federation::members(client),
        federation::workloads(client, namespace),
    )?;
    Ok(Report::of(Objects {
        federation,
        members,
        workloads,
    }))
}

/// Writes the report. A reader that closes the pipe early, as `head` does, has no effect on the exit code.
fn print(report: &Report, format: Format, streams: &mut Streams<'_>) -> Result<(), Failure> {
    let printed = streams.answer(report, format, |report, paint| {
        screen::render(report, Timestamp::now(), paint)
    });
    match printed {
        Err(failure) if failure.exit_code() == 0 => Ok(()),
        printed => printed,
    }
}

/// What the report is made from.
struct Objects {
    federation: Federation,
    members: Vec<Member>,
    workloads: Vec<FederatedWorkload>,
}

#[cfg(test)]
mod tests;
