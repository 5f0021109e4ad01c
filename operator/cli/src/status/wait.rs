//! `kubectl hanse status --wait`: reads the status again and again until everything that was asked for is ready.

use std::time::Duration;

use kube::Client;
use tokio::time::{MissedTickBehavior, interval};

use super::report::{Report, Safety, WorkloadRow};
use crate::{
    failure::Failure,
    output::Streams,
    prose::{clean, count},
};

/// Between the starts of two polls. A poll is three lists that the API server answers from its cache.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Reasons named in one line of progress. The status that is printed at the end has them all.
const MOST_REASONS: usize = 3;

/// What the polls have found so far.
#[derive(Debug, Default)]
pub(super) struct Wait {
    last: Option<Report>,
    /// What the last report lacks.
    pending: Vec<String>,
    failed_polls: usize,
    /// Why the last of the failed polls failed.
    error: Option<String>,
    /// The last line of progress, which is not written twice in a row.
    shown: String,
}

impl Wait {
    /// The last report that was read.
    pub(super) fn last(&self) -> Option<&Report> {
        self.last.as_ref()
    }

    /// Polls until nothing is pending, and writes what it waits for whenever that changes. It does not stop by itself
    /// otherwise: the caller sets the limit.
    pub(super) async fn until_ready(
        &mut self,
        client: &Client,
        namespace: Option<&str>,
        streams: &mut Streams<'_>,
    ) {
        let mut polls = interval(POLL_INTERVAL);
        polls.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            polls.tick().await;
            let missing = match super::read(client, namespace).await {
                Ok(report) => {
                    self.pending = pending(&report);
                    self.last = Some(report);
                    if self.pending.is_empty() {
                        return;
                    }
                    first_few(&self.pending)
                }
                Err(failure) => {
                    let error = clean(&failure.chain());
                    self.failed_polls += 1;
                    self.error = Some(error.clone());
                    format!("the status could not be read: {error}")
                }
            };
            self.show(format!("waiting: {missing}\n"), streams);
        }
    }

    /// The failure of a wait that took longer than `limit`.
    pub(super) fn timed_out(&self, limit: Duration) -> Failure {
        let mut hint = Vec::new();
        if !self.pending.is_empty() {
            hint.push(format!("Still waiting: {}", first_few(&self.pending)));
        }
        if let Some(error) = &self.error {
            let polls = count(self.failed_polls, "attempt");
            hint.push(format!(
                "{polls} to read the status failed; the last error: {error}"
            ));
        }
        if hint.is_empty() {
            hint.push("The API server has not answered.".to_owned());
        }
        Failure::TimedOut {
            what: "not everything became ready".into(),
            after: limit,
            hint: hint.join("\n"),
        }
    }

    fn show(&mut self, line: String, streams: &mut Streams<'_>) {
        if line != self.shown {
            // Waiting goes on when standard error is closed: the answer is written to standard output.
            drop(streams.explain(&line));
            self.shown = line;
        }
    }
}

/// What is missing until everything that was asked for is ready. Findings that are only `AtRisk` are not.
fn pending(report: &Report) -> Vec<String> {
    let failing = report
        .findings
        .iter()
        .filter(|finding| finding.safety == Safety::Failing)
        .map(|finding| finding.message.clone());
    let unready = report.workloads.iter().filter_map(unready);
    failing.chain(unready).collect()
}

/// What a workload lacks although its conditions are good: they may be about an earlier version of it.
fn unready(row: &WorkloadRow) -> Option<String> {
    let WorkloadRow {
        namespace,
        name,
        ready,
        desired,
        ..
    } = row;
    if !row.healthy {
        return None;
    }
    if !row.observed {
        return Some(format!(
            "the operator has not processed the last change of {namespace}/{name}"
        ));
    }
    (ready < desired)
        .then(|| format!("{namespace}/{name}: {ready} of {desired} replicas are ready"))
}

fn first_few(reasons: &[String]) -> String {
    let named = reasons.len().min(MOST_REASONS);
    let mut text = reasons[..named].join("; ");
    if reasons.len() > named {
        text = format!("{text}; and {} more", reasons.len() - named);
    }
    text
}
