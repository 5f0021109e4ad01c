//! Tells this owner about failovers that touch its workloads: Kubernetes Events, and a JSON event to `--notify-url`.
//!
//! Comes in: the slice. A workload whose replicas appear on members because another was lost has failed over; the new
//! rows say so in their `because`. Told by its home alone, so that an owner of many clusters hears of it once.
//!
//! The webhook gets three tries per event with a timeout of five seconds each; at most 256 events wait, and beyond that
//! the oldest is dropped with a line in the log. The URL may hold a secret and is never logged.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use hanse_core::{
    id::{Epoch, WorkloadKey},
    slice::{OwnedWorkload, Slice},
};
use hanse_crds::names;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType};
use serde::Serialize;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cluster::Cluster;

/// Events that wait for the webhook.
const QUEUE: usize = 256;

/// Tries per event.
const TRIES: u32 = 3;

/// The longest one try may take.
const TRY_WITHIN: Duration = Duration::from_secs(5);

/// One failover, as the webhook gets it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failover {
    event: &'static str,
    workload: WorkloadKey,
    epoch: Epoch,
    reason: String,
    /// What each member runs since.
    placements: Vec<(String, u32)>,
}

/// Tells until `stop`.
pub async fn run(cluster: &Cluster, url: Option<String>, stop: &CancellationToken) {
    stop.run_until_cancelled(follow(cluster, url)).await;
}

async fn follow(cluster: &Cluster, url: Option<String>) {
    let http = reqwest::Client::builder().timeout(TRY_WITHIN).build();
    let http = http
        .inspect_err(|error| warn!(%error, "cannot notify over HTTP"))
        .ok();
    let mut slices = cluster.uplink.slice();
    let mut last: Option<Arc<Slice>> = None;
    let mut waiting: VecDeque<Failover> = VecDeque::new();
    loop {
        let next = waiting.pop_front();
        let sending = async {
            match (&http, &url, &next) {
                (Some(http), Some(url), Some(failover)) => send(http, url, failover).await,
                (_, None, Some(_)) | (None, _, Some(_)) => {}
                (_, _, None) => std::future::pending().await,
            }
        };
        tokio::pin!(sending);
        loop {
            tokio::select! {
                () = &mut sending => break,
                changed = slices.changed() => if changed.is_err() { return },
            }
            let Some(slice) = slices.borrow_and_update().clone() else {
                continue;
            };
            for failover in last
                .iter()
                .flat_map(|last| failovers(last, &slice, cluster))
            {
                publish(cluster, &failover).await;
                waiting.push_back(failover);
                if waiting.len() > QUEUE {
                    waiting.pop_front();
                    warn!("too many events wait for --notify-url; dropped the oldest");
                }
            }
            last = Some(slice);
            if next.is_none() && !waiting.is_empty() {
                break;
            }
        }
    }
}

/// The failovers between two slices, of the workloads this member is the home of, or whose home is lost.
fn failovers(before: &Slice, after: &Slice, cluster: &Cluster) -> Vec<Failover> {
    let ours = |workload: &OwnedWorkload| {
        let home = after.members.get(&workload.home);
        workload.home == cluster.member || home.is_none_or(|row| !row.lease.is_held())
    };
    let moved = |(key, workload): (&WorkloadKey, &OwnedWorkload)| {
        let old = before.workloads.get(key)?;
        let mut new = workload.hosts.iter().filter(|(member, host)| {
            !host.removing
                && old
                    .hosts
                    .get(*member)
                    .is_none_or(|old| old.epoch < host.epoch)
        });
        let (_, host) = new.find(|(_, host)| host.because.ends_with("was lost"))?;
        let placed = workload.hosts.iter().filter(|(_, host)| !host.removing);
        Some(Failover {
            event: "failover",
            workload: key.clone(),
            epoch: host.epoch,
            reason: host.because.clone(),
            placements: placed
                .map(|(member, host)| (member.to_string(), host.replicas))
                .collect(),
        })
    };
    after
        .workloads
        .iter()
        .filter(|(_, workload)| ours(workload))
        .filter_map(moved)
        .collect()
}

async fn publish(cluster: &Cluster, failover: &Failover) {
    let places = failover
        .placements
        .iter()
        .map(|(member, replicas)| format!("{member} {replicas}"));
    let event = Event {
        type_: EventType::Warning,
        reason: "FailedOver".into(),
        note: Some(format!(
            "{}: runs on {} since",
            failover.reason,
            places.collect::<Vec<_>>().join(", ")
        )),
        action: "FailOver".into(),
        secondary: None,
    };
    let object = ObjectReference {
        api_version: Some(names::API_VERSION.into()),
        kind: Some("FederatedWorkload".into()),
        namespace: Some(failover.workload.namespace.to_string()),
        name: Some(failover.workload.name.to_string()),
        ..ObjectReference::default()
    };
    let published =
        tokio::time::timeout(TRY_WITHIN, cluster.recorder.publish(&event, &object)).await;
    if !matches!(published, Ok(Ok(()))) {
        warn!(workload = %failover.workload, "could not publish an Event about a failover");
    }
    info!(workload = %failover.workload, reason = failover.reason, "failed over");
}

async fn send(http: &reqwest::Client, url: &str, failover: &Failover) {
    for attempt in 1..=TRIES {
        let answer = http
            .post(url)
            .json(failover)
            .send()
            .await
            .and_then(reqwest::Response::error_for_status);
        let Err(error) = answer else { return };
        // Without the URL, which may hold a token.
        warn!(attempt, error = %error.without_url(), "the receiver at --notify-url did not take an event");
        sleep(Duration::from_secs(1) * attempt).await;
    }
}
