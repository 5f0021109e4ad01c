//! The rounds of a host. A round realizes or removes one placement and reports it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hanse_core::{
    command::Command,
    health::{self, Observed, bounded},
    id::{Digest, Epoch, Generation, WorkloadKey},
    mutation::{Mutation, is_on},
    slice::{AssignedPlacement, PlacementPhase, PlacementReport, Slice},
    state::{Keep, Removal},
    workload::ManifestId,
};
use tokio::time::timeout;
use tracing::{info, warn};

use super::{
    apply::{Applied, Findings},
    build::{Built, build},
    host::Host,
    inventory::{self, Inventory},
    namespace,
    object_id::ObjectId,
    owned::scaled_by,
    pods::ASK_AFTER,
    remove::{Removing, remove},
    verify::{Dereferenced, Verified, verify},
};
use crate::cluster::{CallError, agenda::Next};

/// How soon a confirmation is sent again while no uplink is attached, and a `Single` is looked at again while the lease is over.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How soon a round that waits for objects checks them without an event of their watch.
const WATCH_FAILED: Duration = Duration::from_secs(5);

/// How soon a placement that the API server refused is applied again, if nothing that is watched changed.
const APPLY_AGAIN: Duration = Duration::from_mins(5);

/// How long a round waits for the ledger's answer to a confirmation before another workload gets its turn.
const CONFIRM_WITHIN: Duration = Duration::from_secs(10);

impl Host {
    pub(super) async fn round(&self, key: WorkloadKey) -> Next {
        let Some(slice) = self.slice() else {
            return Next::Retry;
        };
        match (slice.placements.get(&key), slice.removals.get(&key)) {
            (Some(placement), _) => self.realize(&slice, &key, placement).await,
            (None, Some(removal)) => self.remove(&key, *removal).await,
            // A workload without a row in the slice is not deleted.
            (None, None) => {
                self.forget_reports(&slice, std::iter::once(&key));
                Next::Done
            }
        }
    }

    /// Realizes one placement in five steps.
    async fn realize(
        &self,
        slice: &Slice,
        key: &WorkloadKey,
        placement: &AssignedPlacement,
    ) -> Next {
        // Whatever else is wrong with it: it is being stopped beside this round.
        let runs_single = self
            .inventories
            .lock()
            .get(key)
            .is_some_and(Inventory::is_single);
        if runs_single && !self.holds_lease() {
            return self.report_stopped(key, placement);
        }
        let Some(dereferenced) = self.dereference(slice, key, placement) else {
            return Next::Retry;
        };
        let verified = match verify(dereferenced) {
            Ok(verified) => verified,
            Err(refusal) => {
                let mut report = self.assess(key, placement);
                report.phase = PlacementPhase::Refused;
                report.message = bounded(&refusal.to_string());
                self.report(key, report);
                return Next::Done;
            }
        };
        if verified.is_single() && !self.holds_lease() {
            return self.report_stopped(key, placement);
        }
        let manifests = manifests_here(&verified);
        self.learn_rules(&verified);
        let findings = self.apply_and_note(key, build(verified)).await;
        let mut report = self.assess(key, placement);
        let mut asks_again = false;
        if let Some(message) = findings.words() {
            report.phase = findings.phase();
            report.message = bounded(&message);
        } else {
            asks_again = self.ask_pods(key, &mut report).await;
        }
        self.report(key, report);
        let completed = self.newly_completed(key, placement, manifests);
        if !completed.is_empty() && !self.confirm_completed(key, completed).await {
            return Next::Retry;
        }
        match findings {
            Findings { transient, .. } if transient => Next::Retry,
            Findings { refused, .. } if !refused.is_empty() => Next::After(APPLY_AGAIN),
            Findings { waiting, .. } if waiting.is_some() => Next::After(WATCH_FAILED),
            _ if asks_again => Next::After(ASK_AFTER),
            _ => Next::Done,
        }
    }

    /// Looks again soon: a heartbeat may be acknowledged just after the lease was over.
    fn report_stopped(&self, key: &WorkloadKey, placement: &AssignedPlacement) -> Next {
        let mut report = self.assess(key, placement);
        report.phase = PlacementPhase::Stopped;
        "stopped: this member's lease ended".clone_into(&mut report.message);
        self.report(key, report);
        Next::After(LOOK_AGAIN)
    }

    /// The objects applied from these manifests that have completed, and of which the ledger does not know it yet.
    fn newly_completed(
        &self,
        key: &WorkloadKey,
        placement: &AssignedPlacement,
        manifests: Vec<(ObjectId, Digest)>,
    ) -> BTreeMap<ManifestId, Digest> {
        let applied = self.applied.lock();
        let Some(record) = applied.get(key) else {
            return BTreeMap::new();
        };
        let completed = manifests
            .into_iter()
            .filter(|(id, _)| record.objects.contains_key(id) && self.live.has_completed(id));
        let completed = completed.map(|(id, digest)| (id.manifest(), digest));
        completed
            .filter(|(id, digest)| placement.completed.get(id) != Some(digest))
            .collect()
    }

    /// Tells the ledger what has completed. Returns whether it answered.
    async fn confirm_completed(
        &self,
        key: &WorkloadKey,
        objects: BTreeMap<ManifestId, Digest>,
    ) -> bool {
        if !self.uplink.standing().borrow().attached {
            return false;
        }
        info!(workload = %key, objects = objects.len(), "completed");
        let command = Command::Complete {
            workload: key.clone(),
            objects,
        };
        timeout(CONFIRM_WITHIN, self.uplink.propose(command))
            .await
            .is_ok()
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
            member: &self.cluster.member,
            owner: &self.cluster.owner,
            inventory: self.inventories.lock().get(key).cloned(),
            grants: self.terms.grants.borrow().clone()?,
            attributes: self.terms.attributes.borrow().clone()?,
        })
    }

    /// Applies, watches what was applied, and keeps what is known of it for the next round.
    async fn apply_and_note(&self, key: &WorkloadKey, built: Built<'_>) -> Findings {
        let timer = self.metrics.time();
        let Applied {
            record,
            inventory,
            findings,
            busy,
        } = self.apply(built).await;
        match (findings.refused.is_empty(), busy) {
            (true, true) => timer.applied(),
            (true, false) => timer.idle(),
            (false, _) => drop(timer),
        }
        self.live.watch(inventory.kinds());
        self.waits.set(key, &findings.waits_for);
        self.inventories.lock().insert(key.clone(), inventory);
        self.applied.lock().insert(key.clone(), record);
        findings
    }

    /// The report about the objects of a placement.
    fn assess(&self, key: &WorkloadKey, placement: &AssignedPlacement) -> PlacementReport {
        let ids = self.inventories.lock().get(key).map(Inventory::marked);
        let live: Vec<_> = ids
            .unwrap_or_default()
            .into_iter()
            .filter(|(id, _)| !placement.completed.contains_key(&id.manifest()))
            .map(|(id, scale)| (id.manifest(), scale, self.live.get(&id)))
            .collect();
        let objects: Vec<_> = live
            .iter()
            .map(|(id, scale, object)| Observed {
                id: id.clone(),
                object: object.as_deref(),
                scale: scale.clone(),
                scaled_by: object.as_deref().and_then(|it| scaled_by(it, scale)),
            })
            .collect();
        let (epoch, generation) = (placement.epoch, placement.generation);
        let mut report = health::report(
            epoch,
            generation,
            &placement.share,
            &objects,
            &self.rules(key),
        );
        let left = self
            .applied
            .lock()
            .get(key)
            .map(|record| record.left.clone());
        if let (PlacementPhase::Ready, Some(left)) = (report.phase, left) {
            report.message = bounded(&left.join("; "));
        }
        report
    }

    /// Removes the objects that the inventory names, then confirms the removal to the ledger.
    async fn remove(&self, key: &WorkloadKey, removal: Removal) -> Next {
        let inventory = match self.inventory_to_remove(key).await {
            Ok(inventory) => inventory,
            Err(error) => {
                self.report_removal(key, removal.epoch, &error.to_string());
                return Next::Retry;
            }
        };
        if let Some(inventory) = inventory.filter(|_| !is_on(Mutation::SeeRemoval)) {
            if inventory.epoch > removal.epoch {
                warn!(workload = %key, "ignored a removal that is older than what runs");
                return Next::Done;
            }
            let pending = match self.remove_objects(key, inventory, removal.keep).await {
                Ok(pending) => pending,
                Err(error) => {
                    self.report_removal(key, removal.epoch, &error.to_string());
                    return Next::Retry;
                }
            };
            if !pending.is_empty() {
                self.report_removal(key, removal.epoch, &pending.join("; "));
                return Next::After(WATCH_FAILED);
            }
            info!(workload = %key, "removed");
        }
        // A detached uplink sends no proposals. Each retry would add one more to its queue.
        if !self.uplink.standing().borrow().attached {
            return Next::After(LOOK_AGAIN);
        }
        let confirm = Command::ConfirmRemoval {
            workload: key.clone(),
            epoch: removal.epoch,
        };
        match timeout(CONFIRM_WITHIN, self.uplink.propose(confirm)).await {
            Ok(_) => Next::Done,
            Err(_) => Next::Retry,
        }
    }

    /// Removes the objects, then the inventory, then the namespace made for a guest. Returns what is still there.
    async fn remove_objects(
        &self,
        key: &WorkloadKey,
        mut inventory: Inventory,
        keep: Keep,
    ) -> Result<Vec<String>, CallError> {
        self.live.watch(inventory.kinds());
        let all: BTreeSet<_> = inventory.objects.keys().cloned().collect();
        self.live.forget_completed(&all);
        let heirs = self.heirs(key);
        let removing = Removing { key, keep, heirs };
        let removed = remove(&self.objects, &removing, &mut inventory, &all).await;
        self.forget(key);
        let left = removed.as_ref().map(|removal| removal.left.clone());
        for left in left.unwrap_or_default() {
            info!(workload = %key, left, "left behind");
        }
        let pending = removed?.pending;
        if !pending.is_empty() {
            self.inventories.lock().insert(key.clone(), inventory);
            return Ok(pending);
        }
        self.waits.set(key, &BTreeSet::new());
        let _namespaces = self.namespaces.remove().await;
        inventory::delete(&self.cluster, key).await?;
        // Another workload of this guest uses the same namespace or is about to.
        let shared = self.slice().is_some_and(|slice| {
            let mut placed = slice.placements.keys();
            placed.any(|other| other.owner == key.owner && other.namespace == key.namespace)
        });
        if let Some(made) = inventory.made_namespace.filter(|_| !shared) {
            namespace::remove_unused(&self.cluster, &made).await?;
        }
        self.inventories.lock().remove(key);
        Ok(Vec::new())
    }

    fn report_removal(&self, key: &WorkloadKey, epoch: Epoch, message: &str) {
        let report = PlacementReport {
            epoch,
            generation: Generation(0),
            phase: PlacementPhase::Removing,
            ready: 0,
            runs: true,
            rolls_out: false,
            desired: None,
            scaled_by: None,
            message: bounded(message),
        };
        self.report(key, report);
    }
}

/// The object of each manifest that can complete, with the digest of the manifest.
fn manifests_here(verified: &Verified<'_>) -> Vec<(ObjectId, Digest)> {
    let namespace = &verified.consent().namespace;
    let manifests = verified.manifests();
    manifests
        .filter(|(manifest, _)| manifest.can_complete())
        .map(|(manifest, written)| (ObjectId::of(manifest, namespace), written.digest()))
        .collect()
}
