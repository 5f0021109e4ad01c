//! Step 5 of the flow: what was placed on this member becomes objects in its cluster.
//!
//! ```text
//!  slice, terms, lease, watches of what was applied ──mark──► agenda ──► one round per workload, at most 16 at once:
//!
//!    dereference (IO) ─► verify (pure) ─► build (pure) ─► apply (IO) ─► prune (IO) ─► report
//!    removals only by a row of the slice: remove (IO) ─► confirm
//! ```
//!
//! Guarantees. Nothing is changed before the first slice of this process has arrived and this cluster's own terms are
//! known. An epoch lower than the last one applied is refused. An object is deleted only if the inventory says that it
//! was applied here for this workload, and only by a committed removal or because a newer specification left it out; a
//! placement that is merely no longer in view stays. A `Single` workload is scaled to zero when the own lease ends, by a
//! timer that needs no network.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hanse_core::{
    command::Command,
    health,
    id::{Epoch, WorkloadKey},
    slice::{AssignedPlacement, PlacementPhase, PlacementReport, Reports, Slice},
    workload::Mode,
};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    agenda::{Agenda, Next},
    cluster::{CallError, Cluster},
    observe::Terms,
};

mod apply;
mod build;
mod inventory;
mod live;
mod verify;

use apply::{Applied, ApplyError, Hands};
use inventory::Inventory;
use live::Live;

/// Workloads worked on at once: enough to hide the latency of an API server, few enough not to be its only client.
const ROUNDS: usize = 16;

/// How soon a removal looks again whether its objects are gone, where no watch says so.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// How long a process that has just begun may take to get its first heartbeat acknowledged: the default lease.
const HEARS_WITHIN: Duration = Duration::from_secs(5);

/// How long a round waits for the ledger to take a confirmation before it gives its place to another.
const CONFIRM_WITHIN: Duration = Duration::from_secs(10);

/// What all rounds share.
struct Host {
    cluster: Cluster,
    terms: Terms,
    hands: Hands,
    live: Live,
    /// What was applied here, by this process or an earlier one.
    inventories: Mutex<BTreeMap<WorkloadKey, Inventory>>,
    /// What this process applied last, so that an unchanged workload costs no call.
    applied: Arc<Mutex<BTreeMap<WorkloadKey, Applied>>>,
    reports: Mutex<Reports>,
    /// When this process began.
    began: Instant,
}

/// Realizes until `stop`.
pub async fn run(cluster: &Cluster, terms: &Terms, stop: &CancellationToken) {
    let agenda: Agenda<WorkloadKey> = Agenda::new();
    let applied = Arc::new(Mutex::new(BTreeMap::new()));
    let host = Host {
        cluster: cluster.clone(),
        terms: terms.clone(),
        hands: Hands::new(cluster.client.clone()),
        live: Live::new(
            cluster.client.clone(),
            agenda.clone(),
            applied.clone(),
            stop.clone(),
        ),
        inventories: Mutex::default(),
        applied,
        reports: Mutex::default(),
        began: Instant::now(),
    };
    let Some(()) = stop.run_until_cancelled(host.begin()).await else {
        return;
    };
    tokio::join!(
        agenda.work(ROUNDS, stop, |key| host.round(key)),
        stop.run_until_cancelled(host.follow_slice(&agenda)),
        stop.run_until_cancelled(host.follow_terms(&agenda)),
        stop.run_until_cancelled(host.follow_lease(&agenda)),
    );
}

impl Host {
    /// Waits for everything without which nothing may be changed.
    async fn begin(&self) {
        let mut slices = self.cluster.uplink.slice();
        let _ = slices.wait_for(Option::is_some).await;
        let _ = self.terms.grants.clone().wait_for(Option::is_some).await;
        let _ = self
            .terms
            .attributes
            .clone()
            .wait_for(Option::is_some)
            .await;
        let mut failures = 0;
        loop {
            match inventory::list(&self.cluster).await {
                Ok(found) => {
                    *locked(&self.inventories) = found;
                    return;
                }
                Err(error) => {
                    warn!(%error, "cannot read what was applied here before, trying again");
                    tokio::time::sleep(crate::agenda::backoff(failures)).await;
                    failures += 1;
                }
            }
        }
    }

    fn slice(&self) -> Option<Arc<Slice>> {
        self.cluster.uplink.slice().borrow().clone()
    }

    /// Marks what is new in the slice.
    async fn follow_slice(&self, agenda: &Agenda<WorkloadKey>) {
        let mut slices = self.cluster.uplink.slice();
        slices.mark_changed();
        let mut last: Option<Arc<Slice>> = None;
        while slices.changed().await.is_ok() {
            let Some(slice) = slices.borrow_and_update().clone() else {
                continue;
            };
            let before =
                |key: &WorkloadKey| last.as_ref().and_then(|last| last.placements.get(key));
            let placed = slice
                .placements
                .iter()
                .filter(|(key, row)| before(key) != Some(row));
            agenda.mark_all(placed.map(|(key, _)| key.clone()));
            let owed = |key: &WorkloadKey| last.as_ref().and_then(|last| last.removals.get(key));
            let removed = slice
                .removals
                .iter()
                .filter(|(key, epoch)| owed(key) != Some(epoch));
            agenda.mark_all(removed.map(|(key, _)| key.clone()));
            self.forget_reports(&slice);
            last = Some(slice);
        }
    }

    /// Marks everything when the terms of this cluster change.
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
            locked(&self.applied).clear();
            agenda.mark_all(
                self.slice()
                    .iter()
                    .flat_map(|slice| slice.placements.keys().cloned()),
            );
        }
    }

    /// Marks `Single` workloads before all others when the own lease ends, and when it begins again.
    async fn follow_lease(&self, agenda: &Agenda<WorkloadKey>) {
        let mut standing = self.cluster.uplink.standing();
        let mut held = false;
        loop {
            let ends = standing.borrow_and_update().lease_ends;
            let now_held = ends.is_some_and(|ends| ends > Instant::now());
            if now_held != held {
                held = now_held;
                let slice = self.slice();
                let singles = slice
                    .iter()
                    .flat_map(|slice| &slice.placements)
                    .filter(|(_, row)| is_single(row));
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

    /// Whether `Single` workloads may run. A process that has just begun has not had the time to hear: what runs keeps
    /// running for a moment, or every restart of an operator would stop it.
    fn holds_lease(&self) -> bool {
        let ends = self.cluster.uplink.standing().borrow().lease_ends;
        ends.map_or_else(
            || self.began.elapsed() < HEARS_WITHIN,
            |ends| ends > Instant::now(),
        )
    }

    async fn round(&self, key: WorkloadKey) -> Next {
        let Some(slice) = self.slice() else {
            return Next::Retry;
        };
        match (slice.placements.get(&key), slice.removals.get(&key)) {
            (Some(placement), _) => self.realize(&slice, &key, placement).await,
            (None, Some(epoch)) => self.remove(&key, *epoch).await,
            // No longer in view is not deleted.
            (None, None) => Next::Done,
        }
    }

    /// One placement, in five steps.
    async fn realize(
        &self,
        slice: &Slice,
        key: &WorkloadKey,
        placement: &AssignedPlacement,
    ) -> Next {
        // 1. dereference (IO happened when this process began)
        let inventory = locked(&self.inventories).get(key).cloned();
        // 2. verify (pure)
        let question = verify::Question {
            slice,
            key,
            placement,
            owner: &self.cluster.owner,
            inventory: inventory.as_ref(),
            grants: self.terms.grants.borrow().clone(),
            attributes: self.terms.attributes.borrow().clone(),
        };
        let verified = match verify::verify(&question) {
            Ok(verified) => verified,
            Err(refusal) => {
                self.report(key, failed(placement, &refusal.to_string()));
                return Next::Done;
            }
        };
        // 3. build (pure)
        let stopped = verified.spec.placement.mode == Mode::Single && !self.holds_lease();
        let objects = build::build(key, &verified, placement, stopped);
        // 4. apply and 5. prune (IO)
        let wanted = Applied::wanted(placement, stopped);
        if !self.live.is_as_applied(key, &wanted, &objects) {
            match self
                .hands
                .apply(
                    &self.cluster,
                    key,
                    &verified,
                    objects.clone(),
                    inventory,
                    wanted,
                )
                .await
            {
                Ok((applied, inventory)) => {
                    self.live.watch(applied.kinds());
                    locked(&self.inventories).insert(key.clone(), inventory);
                    locked(&self.applied).insert(key.clone(), applied);
                }
                Err(ApplyError {
                    transient,
                    message,
                    inventory,
                }) => {
                    if let Some(inventory) = inventory {
                        locked(&self.inventories).insert(key.clone(), inventory);
                    }
                    self.report(key, failed(placement, &message));
                    warn!(workload = %key, message, "failed to apply");
                    return if transient {
                        Next::Retry
                    } else {
                        Next::After(Duration::from_secs(30))
                    };
                }
            }
        }
        self.report(key, self.assess(key, placement, stopped));
        let unheard = self.cluster.uplink.standing().borrow().lease_ends.is_none();
        if unheard && verified.spec.placement.mode == Mode::Single {
            Next::After(LOOK_AGAIN)
        } else {
            Next::Done
        }
    }

    /// How the objects of a placement are doing.
    fn assess(
        &self,
        key: &WorkloadKey,
        placement: &AssignedPlacement,
        stopped: bool,
    ) -> PlacementReport {
        let applied = locked(&self.applied);
        let ids = applied
            .get(key)
            .map(|applied| applied.objects.keys().cloned().collect::<Vec<_>>());
        let live: Vec<_> = ids
            .unwrap_or_default()
            .into_iter()
            .map(|id| (id.to_string(), self.live.get(&id)))
            .collect();
        drop(applied);
        let objects: Vec<_> = live
            .iter()
            .map(|(name, object)| (name.clone(), object.as_deref()))
            .collect();
        let mut report = health::report(placement.epoch, placement.generation, &objects);
        if stopped {
            report.phase = PlacementPhase::Stopped;
            "stopped: this member's lease is over".clone_into(&mut report.message);
        }
        report
    }

    /// Removes what the inventory says was applied here, then tells the ledger.
    async fn remove(&self, key: &WorkloadKey, epoch: Epoch) -> Next {
        let inventory = locked(&self.inventories).get(key).cloned();
        if let Some(inventory) = inventory {
            if inventory.epoch > epoch {
                warn!(workload = %key, "ignored a removal that is older than what runs");
                return Next::Done;
            }
            match self.hands.remove(&self.cluster, key, &inventory).await {
                Ok(true) => {}
                Ok(false) => return Next::After(LOOK_AGAIN),
                Err(error) => {
                    warn!(workload = %key, %error, "failed to remove, trying again");
                    return Next::Retry;
                }
            }
            locked(&self.inventories).remove(key);
            locked(&self.applied).remove(key);
            info!(workload = %key, "removed");
        }
        // A proposal waits in a queue until it is taken; while nobody takes any, one more would only pile up.
        if !self.cluster.uplink.standing().borrow().attached {
            return Next::After(LOOK_AGAIN);
        }
        let confirm = Command::ConfirmRemoval {
            workload: key.clone(),
            epoch,
        };
        match timeout(CONFIRM_WITHIN, self.cluster.uplink.propose(confirm)).await {
            Ok(_) => Next::Done,
            Err(_) => Next::Retry,
        }
    }

    fn report(&self, key: &WorkloadKey, report: PlacementReport) {
        let mut reports = locked(&self.reports);
        reports.placements.insert(key.clone(), report);
        self.cluster.uplink.report(reports.clone());
    }

    /// Says nothing any more of what is neither placed nor to be removed here.
    fn forget_reports(&self, slice: &Slice) {
        let mut reports = locked(&self.reports);
        let before = reports.placements.len();
        reports.placements.retain(|key, _| {
            slice.placements.contains_key(key) || slice.removals.contains_key(key)
        });
        if reports.placements.len() != before {
            self.cluster.uplink.report(reports.clone());
        }
    }
}

fn is_single(placement: &AssignedPlacement) -> bool {
    match placement.proof.read() {
        Ok(Command::PutWorkload { spec, .. }) => spec.placement.mode == Mode::Single,
        Ok(_) | Err(_) => false,
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

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A transient failure is worth a retry; anything else waits for somebody to change something.
fn is_transient(error: &CallError) -> bool {
    error.is_transient()
}
