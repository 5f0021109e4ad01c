//! Changing the federation's timings: the annotation `hanse.dev/timings: "8s/1s"` on the `Federation` object of any cluster of
//! the owner that founded it.
//!
//! The annotation is a request: it is removed once the ledger has taken the timings in, so that two clusters that ask for
//! different ones do not take turns for ever. A rejected request stays, with the reason in the condition `Configured`.

use hanse_core::{command::Command, state::Outcome, timings::Timings};
use hanse_crds::{Federation, names};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::{
    problems::{Problem, Problems},
    round::REFUSED_RETRY,
};
use crate::{
    cluster::{
        Cluster,
        agenda::{Agenda, Next},
        optional,
        watched::{ObjectKey, Watched},
    },
    uplink::Uplink,
};

/// Observes until `stop`.
pub(super) async fn run(
    cluster: &Cluster,
    uplink: &Uplink,
    federations: &Watched<Federation>,
    problems: &Problems<()>,
    stop: &CancellationToken,
) {
    let agenda = Agenda::new();
    federations.completed().await;
    federations.tell(&agenda);
    agenda
        .work(1, stop, |key| {
            round(cluster, uplink, federations, problems, key)
        })
        .await;
}

async fn round(
    cluster: &Cluster,
    uplink: &Uplink,
    federations: &Watched<Federation>,
    problems: &Problems<()>,
    key: ObjectKey,
) -> Next {
    let Some(Ok(object)) = federations.get(&key) else {
        return Next::Done;
    };
    let Some(asked) = object.annotations().get(names::TIMINGS_ANNOTATION) else {
        problems.set(&(), None);
        return Next::Done;
    };
    let problem = |reason, message| Problem {
        generation: object.metadata.generation,
        reason,
        message,
    };
    let timings = match parse(asked) {
        Ok(timings) => timings,
        Err(message) => {
            problems.set(&(), Some(problem("TimingsUnreadable", message)));
            return Next::Done;
        }
    };
    match uplink.propose(Command::SetTimings { timings }).await {
        Ok(Outcome::Accepted { .. }) => {
            tracing::info!(
                lease = ?timings.lease(),
                heartbeat = ?timings.heartbeat(),
                "the ledger took the federation's new timings in"
            );
            problems.set(&(), None);
            remove_request(cluster, federations, &object).await
        }
        Ok(Outcome::Rejected { rejection }) => {
            tracing::warn!(%rejection, "the ledger rejected the federation's new timings");
            let message = format!("the ledger rejected the timings '{asked}': {rejection}");
            problems.set(&(), Some(problem("TimingsRejected", message)));
            Next::After(REFUSED_RETRY)
        }
        Err(_) => Next::Done,
    }
}

/// Only the request that was carried out: one written meanwhile stays and is a request of its own.
async fn remove_request(
    cluster: &Cluster,
    federations: &Watched<Federation>,
    object: &Federation,
) -> Next {
    let patch = json!({"metadata": {
        "resourceVersion": object.metadata.resource_version,
        "annotations": {names::TIMINGS_ANNOTATION: null},
    }});
    let api: Api<Federation> = Api::all(cluster.client.clone());
    let params = PatchParams {
        field_manager: Some(names::FIELD_MANAGER.into()),
        ..PatchParams::default()
    };
    let name = object.name_any();
    match optional(api.patch(&name, &params, &Patch::Merge(&patch))).await {
        Ok(answer) => {
            answer
                .into_iter()
                .for_each(|object| federations.put(object));
            Next::Done
        }
        Err(error) => {
            tracing::debug!(%error, "cannot remove the request for new timings, trying again");
            Next::Retry
        }
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
    fn a_request_is_two_durations_that_fit_one_another() {
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
