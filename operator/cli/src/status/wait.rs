//! `kubectl hanse status --wait`: reads the status again and again until everything that was asked for is ready.

use std::time::Duration;

use kube::Client;
use tokio::time::{MissedTickBehavior, interval};

use super::report::{Report, Safety, WorkloadRow};
use crate::{
    failure::Failure,
    output::{Progress, Streams},
    prose::{clean, count, first_few},
};

/// Between the starts of two polls. A poll is three lists that the API server answers from its cache.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// What the polls have found so far.
#[derive(Debug, Default)]
pub(super) struct Wait {
    last: Option<Report>,
    /// What the last report lacks.
    pending: Vec<String>,
    failed_polls: usize,
    /// Why the last of the failed polls failed.
    error: Option<String>,
    progress: Progress,
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
                    first_few(&self.pending, 0)
                }
                Err(failure) => {
                    let error = clean(&failure.chain());
                    self.failed_polls += 1;
                    self.error = Some(error.clone());
                    format!("the status could not be read: {error}")
                }
            };
            self.progress.show(&missing, streams);
        }
    }

    /// The failure of a wait that took longer than `limit`.
    pub(super) fn timed_out(&self, limit: Duration) -> Failure {
        let mut hint = Vec::new();
        if !self.pending.is_empty() {
            hint.push(format!("Still waiting: {}", first_few(&self.pending, 0)));
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
