//! Changes the federation's timings: the annotation `hanse.dev/timings: "8s/1s"` on the `Federation` object of any
//! cluster of the owner that founded it.
//!
//! The annotation is a request: it is removed once the ledger has accepted the timings. Otherwise two clusters with
//! different requests would change the timings in turn for ever. A rejected request stays, with the reason in the
//! condition `Configured`.

use hanse_core::{command::Command, state::Outcome, timings::Timings};
use hanse_crds::{Federation, names};
use kube::{Api, ResourceExt, api::Patch};
use parking_lot::Mutex;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    answered::{AnsweredRequests, PROPOSE_AGAIN},
    problems::{Problem, Problems},
};
use crate::{
    cluster::{
        CallError, Cluster,
        agenda::{Agenda, Next},
        merging, optional,
        watched::{ObjectKey, Watched},
    },
    uplink::Uplink,
};

/// How often the removal of a request is tried while the object changes at the same time.
const REMOVALS: usize = 8;

/// Observes until `stop`.
pub(super) async fn run(
    cluster: &Cluster,
    uplink: &Uplink,
    federations: &Watched<Federation>,
    problems: &Problems<()>,
    stop: &CancellationToken,
) {
    let (agenda, rejected) = (Agenda::new(), AnsweredRequests::default());
    let accepted = Mutex::default();
    federations.completed().await;
    federations.tell(&agenda);
    agenda
        .work(1, stop, |key| {
            let round = Round {
                cluster,
                uplink,
                federations,
                problems,
                rejected: &rejected,
                accepted: &accepted,
            };
            async move { round.run(key).await }
        })
        .await;
}

/// The inputs of one round.
struct Round<'a> {
    cluster: &'a Cluster,
    uplink: &'a Uplink,
    federations: &'a Watched<Federation>,
    problems: &'a Problems<()>,
    rejected: &'a AnsweredRequests<()>,
    /// The request that the ledger accepted and that is still to be removed. It is not proposed again: another cluster may
    /// have asked for other timings since.
    accepted: &'a Mutex<Option<String>>,
}

impl Round<'_> {
    async fn run(&self, key: ObjectKey) -> Next {
        let Some(Ok(object)) = self.federations.get(&key) else {
            return Next::Done;
        };
        let Some(asked) = object.annotations().get(names::TIMINGS_ANNOTATION) else {
            self.problems.set(&(), None);
            self.rejected.remove(&());
            *self.accepted.lock() = None;
            return Next::Done;
        };
        if self.accepted.lock().as_ref() == Some(asked) {
            return self.remove_request(&object.name_any(), asked).await;
        }
        if let Some(wait) = self.rejected.wait(&(), asked) {
            return Next::After(wait);
        }
        match parse(asked) {
            Ok(timings) => self.propose(&object, asked, timings).await,
            Err(message) => {
                self.set_problem(&object, "TimingsUnreadable", message);
                Next::Done
            }
        }
    }

    fn set_problem(&self, object: &Federation, reason: &'static str, message: String) {
        let problem = Problem {
            generation: object.metadata.generation,
            reason,
            message,
        };
        self.problems.set(&(), Some(problem));
    }

    async fn propose(&self, object: &Federation, asked: &str, timings: Timings) -> Next {
        match self.uplink.propose(Command::SetTimings { timings }).await {
            Ok(Outcome::Accepted { .. }) => {
                tracing::info!(
                    lease = ?timings.lease(),
                    heartbeat = ?timings.heartbeat(),
                    "the ledger accepted the federation's new timings"
                );
                self.problems.set(&(), None);
                *self.accepted.lock() = Some(asked.to_owned());
                self.remove_request(&object.name_any(), asked).await
            }
            Ok(Outcome::Rejected { rejection }) => {
                tracing::warn!(%rejection, "the ledger rejected the federation's new timings");
                let message = format!("the ledger rejected the timings '{asked}': {rejection}");
                self.set_problem(object, "TimingsRejected", message);
                self.rejected.add(&(), asked);
                Next::After(PROPOSE_AGAIN)
            }
            Err(_) => Next::Done,
        }
    }

    /// Removes the accepted request. A request written meanwhile stays and is handled on its own.
    async fn remove_request(&self, name: &str, asked: &str) -> Next {
        let api: Api<Federation> = Api::all(self.cluster.client.clone());
        for _ in 0..REMOVALS {
            match self.try_remove(&api, name, asked).await {
                Ok(()) => return Next::Done,
                // The status of this object changes with every entry of the ledger.
                Err(CallError::Conflict) => {}
                Err(error) => {
                    tracing::debug!(%error, "cannot remove the request for new timings, trying again");
                    return Next::Retry;
                }
            }
        }
        Next::Retry
    }

    async fn try_remove(
        &self,
        api: &Api<Federation>,
        name: &str,
        asked: &str,
    ) -> Result<(), CallError> {
        let Some(object) = optional(api.get(name)).await? else {
            return Ok(());
        };
        let stands = object.annotations().get(names::TIMINGS_ANNOTATION);
        if stands.map(String::as_str) != Some(asked) {
            return Ok(());
        }
        let patch = json!({"metadata": {
            "resourceVersion": object.metadata.resource_version,
            "annotations": {names::TIMINGS_ANNOTATION: null},
        }});
        let removed = optional(api.patch(name, &merging(), &Patch::Merge(&patch))).await?;
        removed
            .into_iter()
            .for_each(|object| self.federations.put(object));
        Ok(())
    }
}

/// `LEASE/HEARTBEAT`, each a duration such as `8s`.
fn parse(text: &str) -> Result<Timings, String> {
    let durations = text.split_once('/').and_then(|(lease, heartbeat)| {
        let lease = humantime::parse_duration(lease.trim()).ok()?;
        Some((lease, humantime::parse_duration(heartbeat.trim()).ok()?))
    });
    let (lease, heartbeat) = durations.ok_or_else(|| {
        format!(
            "the annotation '{}' must be LEASE/HEARTBEAT, such as '8s/1s', not '{text}'",
            names::TIMINGS_ANNOTATION
        )
    })?;
    Timings::new(lease, heartbeat).map_err(|error| {
        format!(
            "the annotation '{}' is '{text}': {error}",
            names::TIMINGS_ANNOTATION
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_two_durations_with_a_heartbeat_of_at_most_a_third_of_the_lease() {
        assert_eq!(
            parse("8s/1s"),
            Ok(Timings {
                lease_ms: 8_000,
                heartbeat_ms: 1_000
            })
        );
        assert_eq!(
            [parse("8s"), parse("8s/5s")].map(Result::unwrap_err),
            [
                "the annotation 'hanse.dev/timings' must be LEASE/HEARTBEAT, such as '8s/1s', not '8s'",
                "the annotation 'hanse.dev/timings' is '8s/5s': the heartbeat must be at least 50 ms and at most a third of \
                 the lease (8000 ms), because one lost heartbeat must not lose a member; it is 5000 ms"
            ]
        );
    }
}
