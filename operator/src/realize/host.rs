//! The state of a host: what its rounds share, and what it reports.

use std::{collections::BTreeMap, sync::Arc};

use hanse_core::{
    command::Command,
    health::Rules,
    id::{Generation, WorkloadKey},
    slice::{PlacementPhase, PlacementReport, Reports, Slice},
    workload::ManifestId,
};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::warn;

use super::{
    inventory::Inventory, live::Live, marked, metrics::RealizeMetrics, namespace::Namespaces,
    objects::Objects, record::Record, verify::Verified, waits::Waits,
};
use crate::{
    cluster::{CallError, Cluster},
    observe::Terms,
    uplink::Uplink,
};

/// The state that all rounds share.
pub(super) struct Host {
    pub(super) cluster: Cluster,
    pub(super) uplink: Uplink,
    pub(super) terms: Terms,
    pub(super) objects: Objects,
    pub(super) live: Live,
    pub(super) waits: Waits,
    pub(super) namespaces: Namespaces,
    /// The inventories of what this process or an earlier one applied here.
    pub(super) inventories: Mutex<BTreeMap<WorkloadKey, Inventory>>,
    /// What carries Hanse's marks and is in no inventory, once that was asked.
    pub(super) unlisted: tokio::sync::OnceCell<Mutex<BTreeMap<WorkloadKey, Inventory>>>,
    /// What this process applied last, so that an unchanged workload needs no call.
    pub(super) applied: Mutex<BTreeMap<WorkloadKey, Record>>,
    /// By what rules of their authors the objects of workloads are judged, and of which generation these are.
    pub(super) rules: Mutex<BTreeMap<WorkloadKey, (Generation, Arc<Rules>)>>,
    /// Since when objects of a workload whose pods could be asked are not ready.
    pub(super) unready_since: Mutex<BTreeMap<WorkloadKey, Instant>>,
    pub(super) reports: Mutex<Reports>,
    pub(super) metrics: RealizeMetrics,
}

impl Host {
    /// Compiles the rules of a verified placement, unless they are those that were compiled last.
    pub(super) fn learn_rules(&self, verified: &Verified<'_>) {
        let generation = verified.placement().generation;
        let mut known = self.rules.lock();
        let last = known.get(verified.key());
        if last.is_none_or(|(of, _)| *of != generation) {
            let rules = Arc::new(Rules::of(&verified.spec().health));
            known.insert(verified.key().clone(), (generation, rules));
        }
    }

    /// The rules that were compiled last for a workload.
    pub(super) fn rules(&self, key: &WorkloadKey) -> Arc<Rules> {
        let known = self.rules.lock();
        let rules = known.get(key).map(|(_, rules)| rules.clone());
        rules.unwrap_or_default()
    }

    /// Forgets what this process applied of a workload.
    pub(super) fn forget(&self, key: &WorkloadKey) {
        self.applied.lock().remove(key);
        self.rules.lock().remove(key);
        self.unready_since.lock().remove(key);
    }

    pub(super) fn slice(&self) -> Option<Arc<Slice>> {
        self.uplink.slice().borrow().clone()
    }

    /// Whether `Single` workloads may run. A process that has just started has the lease of the one before it, if that ran on
    /// this machine; otherwise none, whatever the ledger says, until its first heartbeat is acknowledged.
    pub(super) fn holds_lease(&self) -> bool {
        let ends = self.uplink.standing().borrow().lease_ends;
        ends.is_some_and(|ends| ends > Instant::now())
    }

    /// What is here of a workload that is to be removed; `None` if nothing is.
    pub(super) async fn inventory_to_remove(
        &self,
        key: &WorkloadKey,
    ) -> Result<Option<Inventory>, CallError> {
        if let Some(known) = self.inventories.lock().get(key) {
            return Ok(Some(known.clone()));
        }
        let find = async || {
            let is_unknown = |key: &WorkloadKey| !self.inventories.lock().contains_key(key);
            marked::find(&self.objects, is_unknown)
                .await
                .map(Mutex::new)
        };
        let unlisted = self.unlisted.get_or_try_init(find).await?;
        let found = unlisted.lock().remove(key);
        if let Some(found) = &found {
            self.inventories.lock().insert(key.clone(), found.clone());
        }
        Ok(found)
    }

    /// The objects that other workloads of the same tenant want here.
    pub(super) fn heirs(&self, key: &WorkloadKey) -> BTreeMap<ManifestId, WorkloadKey> {
        let slice = self.slice();
        let placements = slice.iter().flat_map(|slice| &slice.placements);
        let others = placements.filter(|(other, _)| {
            *other != key && other.owner == key.owner && other.namespace == key.namespace
        });
        let mut heirs = BTreeMap::new();
        for (other, placement) in others {
            if let Ok(Command::PutWorkload { spec, .. }) = placement.proof.read() {
                let manifests = spec.manifests.iter();
                heirs.extend(manifests.map(|manifest| (manifest.id(), other.clone())));
            }
        }
        heirs
    }

    /// Reports a placement. A failure is logged once, not with each attempt.
    pub(super) fn report(&self, key: &WorkloadKey, report: PlacementReport) {
        let mut reports = self.reports.lock();
        let before = reports.placements.get(key);
        if before.is_some_and(|before| **before == report) {
            return;
        }
        let news = before.is_none_or(|before| before.message != report.message);
        if news
            && matches!(
                report.phase,
                PlacementPhase::Failed | PlacementPhase::Refused
            )
        {
            warn!(workload = %key, message = report.message, "not as it should be");
        }
        reports.placements.insert(key.clone(), report.into());
        self.uplink.report(reports.clone());
    }

    /// Drops the reports of those of `workloads` that are neither placed here nor pending removal here.
    pub(super) fn forget_reports<'a>(
        &self,
        slice: &Slice,
        workloads: impl Iterator<Item = &'a WorkloadKey>,
    ) {
        let is_here = |key: &WorkloadKey| {
            slice.placements.contains_key(key) || slice.removals.contains_key(key)
        };
        let mut reports = self.reports.lock();
        let before = reports.placements.len();
        for key in workloads.filter(|key| !is_here(key)) {
            reports.placements.remove(key);
        }
        if reports.placements.len() != before {
            self.live
                .forget_gone(|key| slice.placements.contains_key(key));
            self.uplink.report(reports.clone());
        }
    }
}
