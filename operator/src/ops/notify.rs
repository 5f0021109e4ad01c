//! Notifies this owner of failovers of its workloads: Kubernetes Events, and a JSON event to `--notify-url`.
//!
//! The input is the slice. A workload has failed over if a new row of it has the reason that another member was lost.
//! One member of the owner notifies: the home, or, while the home's lease is not held, the member with the lowest name
//! among those of the owner that hold their leases. So an owner of many clusters is notified once.
//!
//! Each event is sent to the webhook at most three times, with a timeout of five seconds each. At most 256 events wait;
//! beyond that the oldest is dropped with a line in the log. The URL may contain a secret and is never logged.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use hanse_core::{
    id::{Epoch, MemberName, OwnerName, WorkloadKey},
    reason::Reason,
    slice::{OwnedWorkload, Slice},
};
use hanse_crds::names;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType};
use serde::{Serialize, Serializer};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    cluster::{Cluster, Local, bounded},
    observe::object_key,
    uplink::Uplink,
};

/// Events that wait for the webhook.
const QUEUE: usize = 256;

/// Tries per event.
const TRIES: u32 = 3;

/// The longest one try may take.
const TRY_WITHIN: Duration = Duration::from_secs(5);

/// One failover, as it is sent to the webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Failover {
    event: &'static str,
    workload: WorkloadKey,
    epoch: Epoch,
    #[serde(serialize_with = "as_text")]
    reason: Reason,
    /// The replicas of each member since the failover.
    placements: Vec<(String, u32)>,
}

fn as_text<S: Serializer>(reason: &Reason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(reason)
}

/// Notifies until `stop`.
pub async fn run(
    cluster: &Cluster,
    uplink: &Uplink,
    local: &Local,
    url: Option<String>,
    stop: &CancellationToken,
) {
    // Boxed because the webhook's client makes this future large.
    let following = Box::pin(follow(cluster, uplink, local, url));
    stop.run_until_cancelled(following).await;
}

async fn follow(cluster: &Cluster, uplink: &Uplink, local: &Local, url: Option<String>) {
    let http = reqwest::Client::builder().timeout(TRY_WITHIN).build();
    let http = http
        .inspect_err(|error| warn!(%error, "cannot notify over HTTP"))
        .ok();
    let mut slices = uplink.slice();
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
                .flat_map(|last| failovers(last, &slice, &cluster.member, &cluster.owner))
            {
                publish(cluster, local, &failover).await;
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

/// The failovers between two slices of which member `own` notifies.
fn failovers(before: &Slice, after: &Slice, own: &MemberName, owner: &OwnerName) -> Vec<Failover> {
    let is_notifier = |workload: &OwnedWorkload| {
        let holds = |name: &MemberName| {
            let row = after.members.get(name);
            row.is_some_and(|row| row.owner == *owner && row.lease.is_held())
        };
        if holds(&workload.home) {
            return workload.home == *own;
        }
        after.members.keys().find(|name| holds(name)) == Some(own)
    };
    let moved = |(key, workload): (&WorkloadKey, &OwnedWorkload)| {
        let old = before.workloads.get(key)?;
        let mut new = workload.hosts.iter().filter(|(member, host)| {
            let old = old.hosts.get(*member);
            !host.removing && old.is_none_or(|old| old.epoch < host.epoch)
        });
        let (epoch, reason) = new.find_map(|(_, host)| {
            let reason = host.reason.as_ref().filter(|it| it.is_failover())?;
            Some((host.epoch, reason.clone()))
        })?;
        let placed = workload.hosts.iter().filter(|(_, host)| !host.removing);
        Some(Failover {
            event: "failover",
            workload: key.clone(),
            epoch,
            reason,
            placements: placed
                .map(|(member, host)| (member.to_string(), host.replicas))
                .collect(),
        })
    };
    let workloads = after.workloads.iter();
    workloads
        .filter(|(_, workload)| is_notifier(workload))
        .filter_map(moved)
        .collect()
}

async fn publish(cluster: &Cluster, local: &Local, failover: &Failover) {
    let places = failover
        .placements
        .iter()
        .map(|(member, replicas)| format!("{member} {replicas}"));
    let lost = match &failover.reason {
        Reason::MemberLost { member } | Reason::MemberRevoked { member } => Some(member),
        Reason::FirstPlacement
        | Reason::WorkloadChanged
        | Reason::EveryMember
        | Reason::MemberExcluded { .. } => None,
    };
    let event = Event {
        type_: EventType::Warning,
        reason: "FailedOver".into(),
        note: Some(format!(
            "{}: runs on {} since",
            failover.reason,
            places.collect::<Vec<_>>().join(", ")
        )),
        action: "FailOver".into(),
        // Two losses are two Events. Without the lost member the second would only raise the count of the first.
        secondary: lost.map(|member| ObjectReference {
            api_version: Some(names::API_VERSION.into()),
            kind: Some("Member".into()),
            name: Some(member.to_string()),
            ..ObjectReference::default()
        }),
    };
    let object = reference(local, &failover.workload);
    let publishing = cluster.recorder.publish(&event, &object);
    if let Err(error) = bounded(publishing).await {
        warn!(workload = %failover.workload, %error, "could not publish an Event about a failover");
    }
    info!(workload = %failover.workload, reason = %failover.reason, "failed over");
}

/// The object of an Event, with its UID, because `kubectl describe` finds Events by UID.
fn reference(local: &Local, workload: &WorkloadKey) -> ObjectReference {
    let object = local
        .workloads
        .get(&object_key(workload))
        .and_then(Result::ok);
    ObjectReference {
        api_version: Some(names::API_VERSION.into()),
        kind: Some("FederatedWorkload".into()),
        namespace: Some(workload.namespace.to_string()),
        name: Some(workload.name.to_string()),
        uid: object.and_then(|object| object.metadata.uid.clone()),
        ..ObjectReference::default()
    }
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
        // Without the URL, which may contain a token.
        warn!(attempt, error = %error.without_url(), "the receiver at --notify-url did not accept an event");
        sleep(Duration::from_secs(1) * attempt).await;
    }
}
