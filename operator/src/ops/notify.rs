//! Notifies this owner of what happens to its workloads: Kubernetes Events, and of failovers also a JSON event to
//! `--notify-url`.
//!
//! The input is the slice. A workload has failed over if a new row of it has the reason that another member was lost.
//! One member of the owner notifies: the home, or, while the home's lease is not held, the member with the lowest name
//! among those of the owner that hold their leases. So an owner of many clusters is notified once.
//!
//! What else is worth an Event is decided by [`news`]. Of one change of the slice at most [`MOST`] Events are published; of the
//! rest the log has the number.
//!
//! Each event is sent to the webhook at most three times, with a timeout of five seconds each. At most 256 events wait;
//! beyond that the oldest is dropped with a line in the log. The URL may contain a secret and is never logged.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use hanse_core::{
    id::{Epoch, MemberName, OwnerName, WorkloadKey},
    reason::Reason,
    slice::{OwnedWorkload, Slice},
    state::Lease,
};
use hanse_crds::names;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder};
use serde::{Serialize, Serializer};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::news::{MOST, news, publisher};
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

/// The longest note of an Event, in characters; Kubernetes takes 1024 bytes.
const MAX_NOTE: usize = 256;

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
    let webhook = url.and_then(Webhook::new);
    let following = Box::pin(follow(cluster, uplink, local, webhook));
    stop.run_until_cancelled(following).await;
}

async fn follow(cluster: &Cluster, uplink: &Uplink, local: &Local, webhook: Option<Webhook>) {
    let mut slices = uplink.slice();
    let mut last: Option<Arc<Slice>> = None;
    let mut waiting: VecDeque<Failover> = VecDeque::new();
    loop {
        let next = waiting.pop_front();
        let sending = async {
            match (&webhook, &next) {
                (Some(webhook), Some(failover)) => webhook.send(failover).await,
                (None, Some(_)) => {}
                (_, None) => std::future::pending().await,
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
                publish_failover(cluster, local, &failover).await;
                waiting.push_back(failover);
                if waiting.len() > QUEUE {
                    waiting.pop_front();
                    warn!("too many events wait for --notify-url; dropped the oldest");
                }
            }
            if let Some(last) = &last {
                publish_news(cluster, local, last, &slice).await;
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
    let is_notifier = |workload: &OwnedWorkload, failover: &Failover| {
        // A lease that was renewed after the failover does not count: members see renewals at different times, and all of
        // them must come to the same answer.
        let counts = |lease: Lease| lease.is_held() && lease.epoch() < failover.epoch;
        publisher(after, &workload.home, owner, counts) == Some(own)
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
    let changed = after.changed_workloads(before);
    let changed = changed.filter_map(|key| Some((key, after.workload(key)?)));
    changed
        .filter_map(|(key, workload)| {
            moved((key, workload)).filter(|failover| is_notifier(workload, failover))
        })
        .collect()
}

async fn publish_news(cluster: &Cluster, local: &Local, before: &Slice, after: &Slice) {
    let news = news(before, after, &cluster.member, &cluster.owner);
    if let Some(more) = news.len().checked_sub(MOST).filter(|more| *more > 0) {
        warn!(
            more,
            "too much happened at once for an Event about each workload"
        );
    }
    for news in news.into_iter().take(MOST) {
        let event = Event {
            type_: if news.is_warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason: news.reason.into(),
            note: Some(news.note.chars().take(MAX_NOTE).collect()),
            action: news.reason.into(),
            secondary: news.member.as_ref().map(member_reference),
        };
        let recorder = if news.is_decision {
            &Cluster::new_recorder(&cluster.client, &cluster.member)
        } else {
            &cluster.recorder
        };
        publish(recorder, local, &news.workload, &event).await;
    }
}

async fn publish(recorder: &Recorder, local: &Local, workload: &WorkloadKey, event: &Event) {
    let object = reference(local, workload);
    if let Err(error) = bounded(recorder.publish(event, &object)).await {
        warn!(%workload, reason = event.reason, %error, "could not publish an Event");
    }
}

async fn publish_failover(cluster: &Cluster, local: &Local, failover: &Failover) {
    let places = failover
        .placements
        .iter()
        .map(|(member, replicas)| format!("{member} {replicas}"));
    let lost = match &failover.reason {
        Reason::MemberLost { member } | Reason::MemberRevoked { member } => Some(member),
        Reason::FirstPlacement
        | Reason::WorkloadChanged
        | Reason::EveryMember
        | Reason::MemberSilent { .. }
        | Reason::MemberHeardAgain { .. }
        | Reason::MemberDrained { .. }
        | Reason::MemberUncordoned { .. }
        | Reason::MemberReturned { .. }
        | Reason::MemberExcluded { .. }
        | Reason::MemberRefused { .. }
        | Reason::MemberUnready { .. } => None,
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
        secondary: lost.map(member_reference),
    };
    publish(&cluster.recorder, local, &failover.workload, &event).await;
    info!(workload = %failover.workload, reason = %failover.reason, "failed over");
}

fn member_reference(member: &MemberName) -> ObjectReference {
    ObjectReference {
        api_version: Some(names::API_VERSION.into()),
        kind: Some("Member".into()),
        name: Some(member.to_string()),
        ..ObjectReference::default()
    }
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

/// The receiver of failovers outside of the cluster.
struct Webhook {
    http: reqwest::Client,
    url: String,
}

impl Webhook {
    fn new(url: String) -> Option<Self> {
        let http = reqwest::Client::builder().timeout(TRY_WITHIN).build();
        let http = http.inspect_err(|error| warn!(%error, "cannot notify over HTTP"));
        Some(Self {
            http: http.ok()?,
            url,
        })
    }

    async fn send(&self, failover: &Failover) {
        for attempt in 1..=TRIES {
            let sending = self.http.post(&self.url).json(failover).send();
            let answer = sending.await.and_then(reqwest::Response::error_for_status);
            let Err(error) = answer else { return };
            // Without the URL, which may contain a token.
            warn!(attempt, error = %error.without_url(), "the receiver at --notify-url did not accept an event");
            sleep(Duration::from_secs(1) * attempt).await;
        }
    }
}

#[cfg(test)]
mod tests {

    use hanse_core::{
        slice::{HostStanding, HostState},
        state::Lease,
    };

    use super::*;
    use crate::observe::fixture::{owned, slice};

    fn held(epoch: u64) -> Lease {
        Lease::Held {
            epoch: Epoch(epoch),
        }
    }

    fn lost(epoch: u64) -> Lease {
        Lease::Lost {
            epoch: Epoch(epoch),
            fenced: false,
        }
    }

    /// Members of owner `acme` with these leases, and a workload of home `acme-1` that runs on `beta-1` since `epoch`.
    fn seen(leases: &[(&str, Lease)], epoch: u64, reason: Reason) -> Slice {
        let mut slice = slice("acme", "acme-1", epoch);
        let row = slice.members.values().next().unwrap().clone();
        slice.members = leases
            .iter()
            .map(|(name, lease)| {
                let mut row = row.clone();
                row.lease = *lease;
                (name.parse().unwrap(), row)
            })
            .collect();
        let key: WorkloadKey = "acme/shop/web".parse().unwrap();
        let host = HostStanding {
            replicas: 2,
            surge: 0,
            host: HostState::Well,
            epoch: Epoch(epoch),
            reason: Some(reason),
            removing: false,
            lease_held: true,
            report: None,
        };
        let workload = owned([("beta-1".parse().unwrap(), host)].into());
        slice.workloads.insert(key, workload.into());
        slice
    }

    fn loss() -> Reason {
        Reason::MemberLost {
            member: "gamma-1".parse().unwrap(),
        }
    }

    /// Which of the owner's members publishes the failover of epoch 20.
    fn notifiers(leases: &[(&str, Lease)]) -> Vec<String> {
        let before = seen(leases, 10, Reason::FirstPlacement);
        let after = seen(leases, 20, loss());
        let owner = "acme".parse().unwrap();
        let names = ["acme-1", "acme-2", "acme-3"];
        let publishes = |name: &&str| {
            let own = name.parse().unwrap();
            !failovers(&before, &after, &own, &owner).is_empty()
        };
        names
            .into_iter()
            .filter(publishes)
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn the_home_publishes_a_failover_and_without_it_the_first_member_that_holds_its_lease() {
        assert_eq!(
            notifiers(&[("acme-1", held(3)), ("acme-2", held(4))]),
            ["acme-1"]
        );
        assert_eq!(
            notifiers(&[
                ("acme-1", lost(18)),
                ("acme-2", lost(18)),
                ("acme-3", held(5))
            ]),
            ["acme-3"]
        );
    }

    #[test]
    fn a_home_whose_lease_was_renewed_after_the_failover_leaves_it_to_the_others() {
        assert_eq!(
            notifiers(&[("acme-1", held(22)), ("acme-2", held(4))]),
            ["acme-2"]
        );
    }

    #[test]
    fn a_move_for_another_reason_is_no_failover() {
        let leases = [("acme-1", held(3))];
        let before = seen(&leases, 10, Reason::FirstPlacement);
        let after = seen(&leases, 20, Reason::WorkloadChanged);
        let (own, owner) = ("acme-1".parse().unwrap(), "acme".parse().unwrap());
        assert_eq!(failovers(&before, &after, &own, &owner), vec![]);
    }
}
