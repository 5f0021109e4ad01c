//! Marks workloads for a round when the slice, this cluster's terms or its lease change.

use std::sync::Arc;

use hanse_core::{id::WorkloadKey, slice::Slice};
use parking_lot::Mutex;
use tokio::{
    sync::OnceCell,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    host::Host,
    inventory::{self, Inventory},
    live::Live,
    metrics::RealizeMetrics,
    namespace::Namespaces,
    objects::Objects,
    waits::Waits,
};
use crate::{
    cluster::{
        Cluster,
        agenda::{Agenda, backoff},
    },
    observe::Terms,
    uplink::Uplink,
};

/// Workloads processed at once: enough to hide the latency of an API server, few enough to leave it capacity for its
/// other clients.
const ROUNDS: usize = 16;

/// Realizes until `stop`.
pub async fn run(
    cluster: &Cluster,
    uplink: &Uplink,
    terms: &Terms,
    metrics: RealizeMetrics,
    stop: &CancellationToken,
) {
    let agenda: Agenda<WorkloadKey> = Agenda::new();
    let host = Host {
        cluster: cluster.clone(),
        uplink: uplink.clone(),
        terms: terms.clone(),
        objects: Objects::new(cluster.client.clone()),
        live: Live::new(cluster.client.clone(), agenda.clone(), stop.clone()),
        waits: Waits::new(cluster.client.clone(), agenda.clone()),
        namespaces: Namespaces::default(),
        inventories: Mutex::default(),
        unlisted: OnceCell::new(),
        applied: Mutex::default(),
        rules: Mutex::default(),
        unready_since: Mutex::default(),
        reports: Mutex::default(),
        metrics,
    };
    let Some(()) = stop.run_until_cancelled(host.read_inventories()).await else {
        return;
    };
    tokio::join!(
        stop.run_until_cancelled(host.keep_stopped()),
        host.follow(&agenda, stop),
    );
}

impl Host {
    /// Realizes once the slice and the terms are known. Without them nothing may be applied or removed.
    async fn follow(&self, agenda: &Agenda<WorkloadKey>, stop: &CancellationToken) {
        let known = async {
            // The senders live as long as this process, so the waits end only with a value.
            let _ = self.uplink.slice().wait_for(Option::is_some).await;
            let (mut grants, mut attributes) =
                (self.terms.grants.clone(), self.terms.attributes.clone());
            let _ = grants.wait_for(Option::is_some).await;
            let _ = attributes.wait_for(Option::is_some).await;
        };
        let Some(()) = stop.run_until_cancelled(known).await else {
            return;
        };
        tokio::join!(
            agenda.work(ROUNDS, stop, |key| self.round(key)),
            stop.run_until_cancelled(self.follow_slice(agenda)),
            stop.run_until_cancelled(self.follow_terms(agenda)),
            stop.run_until_cancelled(self.follow_lease(agenda)),
        );
    }

    /// Reads what was applied here before, and watches it.
    async fn read_inventories(&self) {
        let mut failures = 0;
        loop {
            match inventory::list(&self.cluster).await {
                Ok(found) => {
                    let kinds = found.values().flat_map(Inventory::kinds);
                    self.live.watch(kinds.collect());
                    *self.inventories.lock() = found;
                    return;
                }
                Err(error) => {
                    warn!(%error, "cannot read what was applied here before, trying again");
                    sleep(backoff(failures)).await;
                    failures += 1;
                }
            }
        }
    }

    /// Marks the workloads whose placement or removal is new in the slice.
    async fn follow_slice(&self, agenda: &Agenda<WorkloadKey>) {
        let mut slices = self.uplink.slice();
        slices.mark_changed();
        let mut last: Option<Arc<Slice>> = None;
        while slices.changed().await.is_ok() {
            let Some(slice) = slices.borrow_and_update().clone() else {
                continue;
            };
            // Workloads whose row is gone are marked too: their round drops their report and deletes nothing.
            if let Some(last) = &last {
                agenda.mark_all(slice.changed_here(last).cloned());
                self.forget_reports(&slice, slice.changed_here(last));
            } else {
                let here = slice.placements.keys().chain(slice.removals.keys());
                agenda.mark_all(here.cloned());
            }
            last = Some(slice);
        }
    }

    /// Marks all placements when the terms of this cluster change.
    async fn follow_terms(&self, agenda: &Agenda<WorkloadKey>) {
        let (mut grants, mut attributes) =
            (self.terms.grants.clone(), self.terms.attributes.clone());
        loop {
            let changed = tokio::select! {
                changed = grants.changed() => changed,
                changed = attributes.changed() => changed,
            };
            if changed.is_err() {
                return;
            }
            self.applied.lock().clear();
            agenda.mark_all(
                self.slice()
                    .iter()
                    .flat_map(|slice| slice.placements.keys().cloned()),
            );
        }
    }

    /// Marks `Single` workloads before all others when this member's lease ends, and when it is held again.
    async fn follow_lease(&self, agenda: &Agenda<WorkloadKey>) {
        let mut standing = self.uplink.standing();
        let mut held = false;
        loop {
            let ends = standing.borrow_and_update().lease_ends;
            let now_held = ends.is_some_and(|ends| ends > Instant::now());
            if now_held != held {
                held = now_held;
                let inventories = self.inventories.lock();
                let singles = inventories.iter().filter(|(_, it)| it.is_single());
                singles.for_each(|(key, _)| agenda.mark_urgent(key.clone()));
            }
            let over = async {
                match ends.filter(|_| held) {
                    Some(ends) => sleep_until(ends).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => {}
                changed = standing.changed() => if changed.is_err() { return },
            }
        }
    }
}
