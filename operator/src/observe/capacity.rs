//! How much this cluster can still run, measured from its nodes and pods and reported to the planner.
//!
//! ```text
//!  watch of nodes ─┐
//!  watch of pods  ─┼─► measure ─► at most one report per second, and only one that differs from the last
//!  slice, reports ─┘   (hanse-core)
//! ```
//!
//! While a list is incomplete nothing is reported, and the last report stays: what is missing in a list is not free. Pods that have
//! ended are not in the watch.

use std::{pin::pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt, stream::select};
use hanse_core::{
    capacity::{Capacity, Covered, MAX_WAITING, Measure, Node},
    slice::{Reports, Slice},
    workload::Demands,
};
use k8s_openapi::api::core::v1;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    runtime::{WatchStreamExt, watcher},
};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::{
    settings::CapacityPolicy,
    uplink::{OwnCapacity, Uplink},
};

/// The shortest time between two reports.
const PACE: Duration = Duration::from_secs(1);

/// The most rows of pods that could not be made; as many more may wait for a node.
const MAX_ABSENT: usize = MAX_WAITING / 2;

/// Leaves out what runs no longer.
const NOT_ENDED: &str = "status.phase!=Succeeded,status.phase!=Failed";

/// Reports how much this cluster can still run, until `stop`.
pub async fn report_capacity(
    client: &Client,
    uplink: &Uplink,
    policy: CapacityPolicy,
    stop: &CancellationToken,
) {
    match policy {
        CapacityPolicy::Elastic => uplink.report_capacity(OwnCapacity::Elastic),
        CapacityPolicy::Measured => {
            let reporter = Reporter::new(uplink);
            stop.run_until_cancelled(reporter.run(client)).await;
        }
    }
}

/// What a watch says.
enum Seen {
    Node(watcher::Event<DynamicObject>),
    Pod(watcher::Event<DynamicObject>),
}

struct Reporter<'a> {
    uplink: &'a Uplink,
    measure: Measure,
    covered: Covered,
    /// Whether the lists of nodes and of pods are complete.
    complete: (bool, bool),
    /// The origin of this clock.
    started: Instant,
}

impl<'a> Reporter<'a> {
    fn new(uplink: &'a Uplink) -> Self {
        Self {
            uplink,
            measure: Measure::default(),
            covered: Covered::default(),
            complete: (false, false),
            started: Instant::now(),
        }
    }

    async fn run(mut self, client: &Client) {
        let nodes = events::<v1::Node>(client, watcher::Config::default()).map(Seen::Node);
        let pods = watcher::Config::default().fields(NOT_ENDED);
        let pods = events::<v1::Pod>(client, pods).map(Seen::Pod);
        let mut events = pin!(select(nodes, pods));
        let (mut slice, mut reports) = (self.uplink.slice(), self.uplink.report_changes());
        let mut next = Instant::now();
        let mut is_due = false;
        loop {
            tokio::select! {
                seen = events.next() => match seen {
                    Some(seen) => self.take(seen),
                    None => return,
                },
                changed = slice.changed() => if changed.is_err() { return },
                changed = reports.changed() => if changed.is_err() { return },
                () = sleep_until(next), if is_due => {
                    let again = self.report();
                    let earliest = Instant::now() + PACE;
                    is_due = again.is_some();
                    next = again.map_or(earliest, |again| again.max(earliest));
                    continue;
                }
            }
            is_due = true;
        }
    }

    fn take(&mut self, seen: Seen) {
        use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
        match seen {
            Seen::Node(Init) => {
                self.complete.0 = false;
                self.measure.forget_nodes();
            }
            Seen::Node(InitApply(node) | Apply(node)) => {
                let name = node.metadata.name.unwrap_or_default();
                self.measure.set_node(&name, Some(Node::of(&node.data)));
            }
            Seen::Node(Delete(node)) => {
                let name = node.metadata.name.unwrap_or_default();
                self.measure.set_node(&name, None);
            }
            Seen::Node(InitDone) => self.complete.0 = true,
            Seen::Pod(Init) => {
                self.complete.1 = false;
                self.measure.forget_pods();
            }
            Seen::Pod(InitApply(pod) | Apply(pod)) => {
                let uid = pod.metadata.uid.unwrap_or_default();
                self.measure.set_pod(&uid, &pod.data);
            }
            Seen::Pod(Delete(pod)) => {
                self.measure
                    .remove_pod(&pod.metadata.uid.unwrap_or_default());
            }
            Seen::Pod(InitDone) => self.complete.1 = true,
        }
    }

    /// Reports what is measured. Returns when to do so again though nothing changes.
    fn report(&mut self) -> Option<Instant> {
        let now = self.started.elapsed();
        let mut waiting = self.measure.waiting();
        if let Some(slice) = self.uplink.slice().borrow().as_ref() {
            let reports = self.uplink.reports();
            waiting.extend(absent_pods(slice, &reports));
            let rows = slice.placements.iter().map(|(key, placement)| {
                let applied = reports.placements.get(key).map(|report| report.epoch);
                (placement.epoch, applied)
            });
            self.covered.observe(now, rows);
        }
        let (covers, again) = self.covered.covers(now);
        if self.complete == (true, true) {
            self.uplink.report_capacity(match self.measure.shapes() {
                // A cluster without nodes runs its pods elsewhere, or is not one that pods are seen in.
                None => OwnCapacity::Elastic,
                Some(shapes) => OwnCapacity::Measured(Arc::new(Capacity {
                    covers,
                    shapes,
                    waiting,
                })),
            });
        }
        again.map(|again| self.started + again)
    }
}

/// The pods that should run here and could not be made. Each kind is a row of its own; more rows than may be reported are left out.
fn absent_pods(slice: &Slice, reports: &Reports) -> Demands {
    let placements = slice.placements.iter();
    let absent = placements.filter_map(|(key, placement)| {
        let report = reports.placements.get(key)?;
        let absent = placement.absent_pods(report);
        (!absent.is_empty()).then_some(absent)
    });
    absent.take(MAX_ABSENT).flatten().take(MAX_ABSENT).collect()
}

/// What happens to the objects of kind `K`.
fn events<K: kube::Resource<DynamicType = ()>>(
    client: &Client,
    config: watcher::Config,
) -> impl Stream<Item = watcher::Event<DynamicObject>> + use<K> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::erase::<K>(&()));
    let mut failed = false;
    let events = watcher(api, config).default_backoff();
    events.filter_map(move |event| {
        let event = match event {
            Ok(event) => {
                failed = false;
                Some(event)
            }
            Err(error) => {
                if !std::mem::replace(&mut failed, true) {
                    tracing::warn!(
                        %error,
                        kind = %K::kind(&()),
                        "cannot measure how much this cluster can still run, trying again; until then its last report counts. \
                         The operator needs list and watch on nodes and pods, or --capacity=Elastic"
                    );
                }
                None
            }
        };
        std::future::ready(event)
    })
}
