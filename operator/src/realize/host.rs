//! The rounds of a host. A round realizes or removes one placement and reports it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hanse_core::{
    command::Command,
    health,
    id::{Epoch, WorkloadKey},
    slice::{AssignedPlacement, PlacementPhase, PlacementReport, Reports, Slice},
};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::{
    apply::{ApplyError, Record, apply, prune},
    build::{Built, build},
    inventory::Inventory,
    live::Live,
    metrics::RealizeMetrics,
    objects::Objects,
    remove::remove,
    verify::{Dereferenced, verify},
};
use crate::{
    cluster::{Cluster, agenda::Next},
    observe::Terms,
    uplink::Uplink,
};

/// How soon a removal checks again whether its objects are gone, without an event of a watch.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How soon a placement that the API server refused is applied again, without a known change.
const APPLY_AGAIN: Duration = Duration::from_secs(30);

/// How long a round waits for the ledger's answer to a confirmation before another workload gets its turn.
const CONFIRM_WITHIN: Duration = Duration::from_secs(10);

/// The state that all rounds share.
pub(super) struct Host {
    pub(super) cluster: Cluster,
    pub(super) uplink: Uplink,
    pub(super) terms: Terms,
    pub(super) objects: Objects,
    pub(super) live: Live,
    /// The inventories of what this process or an earlier one applied here.
    pub(super) inventories: Mutex<BTreeMap<WorkloadKey, Inventory>>,
    /// What this process applied last, so that an unchanged workload needs no call.
    pub(super) applied: Arc<Mutex<BTreeMap<WorkloadKey, Record>>>,
    pub(super) reports: Mutex<Reports>,
    pub(super) metrics: RealizeMetrics,
    /// When this process started.
    pub(super) started: Instant,
}

impl Host {
    pub(super) fn slice(&self) -> Option<Arc<Slice>> {
        self.uplink.slice().borrow().clone()
    }

    /// Whether `Single` workloads may run. A process that has just started has no acknowledged heartbeat yet. For one lease
    /// from its start what runs keeps running, if the ledger has this member's lease as held: otherwise every restart of an
    /// operator would stop it. The slice comes from a leader that was confirmed after this process started, so a loss that
    /// the slice does not show is later than the start, and what runs stops before the wait for a `Single` is over.
    fn holds_lease(&self, slice: &Slice) -> bool {
        if let Some(ends) = self.uplink.standing().borrow().lease_ends {
            return ends > Instant::now();
        }
        let own = slice.members.get(&self.cluster.member);
        own.is_some_and(|row| row.lease.is_held())
            && self.started.elapsed() < slice.federation.timings.lease()
    }

    pub(super) async fn round(&self, key: WorkloadKey) -> Next {
        let Some(slice) = self.slice() else {
            return Next::Retry;
        };
        match (slice.placements.get(&key), slice.removals.get(&key)) {
            (Some(placement), _) => self.realize(&slice, &key, placement).await,
            (None, Some(epoch)) => self.remove(&key, *epoch).await,
            // A workload without a row in the slice is not deleted.
            (None, None) => Next::Done,
        }
    }

    /// Realizes one placement in five steps.
    async fn realize(
        &self,
        slice: &Slice,
        key: &WorkloadKey,
        placement: &AssignedPlacement,
    ) -> Next {
        let Some(dereferenced) = self.dereference(slice, key, placement) else {
            return Next::Retry;
        };
        let verified = match verify(dereferenced) {
            Ok(verified) => verified,
            Err(refusal) => {
                self.report(key, failed(placement, &refusal.to_string()));
                return Next::Done;
            }
        };
        let single = verified.is_single();
        let stopped = single && !self.holds_lease(slice);
        let built = build(verified, stopped);
        let wanted = Record::of(placement, stopped);
        if !self.live.is_as_applied(key, &wanted, &built.objects)
            && let Err(error) = self.apply_and_prune(key, built).await
        {
            return self.not_applied(key, placement, error);
        }
        self.report(key, self.assess(key, placement, stopped));
        let unacknowledged = self.uplink.standing().borrow().lease_ends.is_none();
        if unacknowledged && single {
            Next::After(LOOK_AGAIN)
        } else {
            Next::Done
        }
    }

    /// The inputs for verifying a placement. Only the terms can be missing, and only for a moment: everything else was
    /// read when this process started.
    fn dereference<'a>(
        &'a self,
        slice: &'a Slice,
        key: &'a WorkloadKey,
        placement: &'a AssignedPlacement,
    ) -> Option<Dereferenced<'a>> {
        Some(Dereferenced {
            slice,
            key,
            placement,
            owner: &self.cluster.owner,
            inventory: self.inventories.lock().get(key).cloned(),
            grants: self.terms.grants.borrow().clone()?,
            attributes: self.terms.attributes.borrow().clone()?,
        })
    }

    async fn apply_and_prune(&self, key: &WorkloadKey, built: Built<'_>) -> Result<(), ApplyError> {
        let timer = self.metrics.time();
        let applied = apply(&self.cluster, &self.objects, built).await?;
        let pruned = prune(&self.cluster, &self.objects, applied).await?;
        timer.applied();
        self.live.watch(pruned.record.kinds());
        self.inventories
            .lock()
            .insert(key.clone(), pruned.inventory);
        self.applied.lock().insert(key.clone(), pruned.record);
        Ok(())
    }

    fn not_applied(
        &self,
        key: &WorkloadKey,
        placement: &AssignedPlacement,
        error: ApplyError,
    ) -> Next {
        let ApplyError {
            transient,
            message,
            inventory,
        } = error;
        if let Some(inventory) = inventory {
            self.inventories.lock().insert(key.clone(), inventory);
        }
        self.report(key, failed(placement, &message));
        warn!(workload = %key, message, "failed to apply");
        if transient {
            Next::Retry
        } else {
            Next::After(APPLY_AGAIN)
        }
    }

    /// The report about the objects of a placement.
    fn assess(
        &self,
        key: &WorkloadKey,
        placement: &AssignedPlacement,
        stopped: bool,
    ) -> PlacementReport {
        let ids: Vec<_> = match self.applied.lock().get(key) {
            Some(record) => record.objects.keys().cloned().collect(),
            None => Vec::new(),
        };
        let live: Vec<_> = ids
            .into_iter()
            .map(|id| (id.manifest(), self.live.get(&id)))
            .collect();
        let objects: Vec<_> = live
            .iter()
            .map(|(id, object)| (id.clone(), object.as_deref()))
            .collect();
        let (epoch, generation) = (placement.epoch, placement.generation);
        let mut report = health::report(epoch, generation, &placement.share, &objects);
        if stopped {
            report.phase = PlacementPhase::Stopped;
            "stopped: this member's lease ended".clone_into(&mut report.message);
        }
        report
    }

    /// Removes the objects that the inventory names, then confirms the removal to the ledger.
    async fn remove(&self, key: &WorkloadKey, epoch: Epoch) -> Next {
        let inventory = self.inventories.lock().get(key).cloned();
        if let Some(inventory) = inventory {
            if inventory.epoch > epoch {
                warn!(workload = %key, "ignored a removal that is older than what runs");
                return Next::Done;
            }
            match remove(&self.cluster, &self.objects, key, &inventory).await {
                Ok(true) => {}
                Ok(false) => return Next::After(LOOK_AGAIN),
                Err(error) => {
                    warn!(workload = %key, %error, "failed to remove, trying again");
                    return Next::Retry;
                }
            }
            self.inventories.lock().remove(key);
            self.applied.lock().remove(key);
            info!(workload = %key, "removed");
        }
        // A detached uplink sends no proposals. Each retry would add one more to its queue.
        if !self.uplink.standing().borrow().attached {
            return Next::After(LOOK_AGAIN);
        }
        let confirm = Command::ConfirmRemoval {
            workload: key.clone(),
            epoch,
        };
        match timeout(CONFIRM_WITHIN, self.uplink.propose(confirm)).await {
            Ok(_) => Next::Done,
            Err(_) => Next::Retry,
        }
    }

    fn report(&self, key: &WorkloadKey, report: PlacementReport) {
        let mut reports = self.reports.lock();
        reports.placements.insert(key.clone(), report);
        self.uplink.report(reports.clone());
    }

    /// Drops the reports of workloads that are neither placed here nor pending removal here.
    pub(super) fn forget_reports(&self, slice: &Slice) {
        let mut reports = self.reports.lock();
        let before = reports.placements.len();
        reports.placements.retain(|key, _| {
            slice.placements.contains_key(key) || slice.removals.contains_key(key)
        });
        if reports.placements.len() != before {
            self.uplink.report(reports.clone());
        }
    }
}

fn failed(placement: &AssignedPlacement, message: &str) -> PlacementReport {
    PlacementReport {
        epoch: placement.epoch,
        generation: placement.generation,
        phase: PlacementPhase::Failed,
        ready: 0,
        message: message
            .chars()
            .take(health::MAX_MESSAGE_CHARACTERS)
            .collect(),
    }
}
