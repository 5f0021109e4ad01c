//! The fourth step: apply the built objects, wave by wave, then remove those of an earlier specification.
//!
//! ```text
//!  counts of what exists ─► inventory, namespace ─► wave 0 ─► … ─► wave 100 ─► what is left behind, in reverse
//! ```
//!
//! - What runs is scaled or stopped first, whatever else is wrong.
//! - The inventory names at any moment at least every object that may exist: it is written before the first object is
//!   applied, and trimmed after the last is removed.
//! - An object that cannot be applied does not hold up the others of its wave, and holds up later waves.
//! - An object that is as applied needs no call, so a round that changes nothing makes none.

use std::collections::{BTreeMap, BTreeSet};

use hanse_core::{
    health::{self, Health},
    id::{Digest, WorkloadKey},
    slice::PlacementPhase,
    state::Keep,
    workload::{Conflicts, OnImmutable},
};
use serde_json::Value;

use super::{
    build::{Built, BuiltObject, Count},
    host::Host,
    inventory::Inventory,
    object_id::ObjectId,
    owned::{fingerprint, is_drift, light, scaled_by},
    record::Record,
    remove::{Removing, remove},
    verify::Verified,
    waits::{self, Watch},
};
use crate::cluster::CallError;

/// How far a round came.
pub(super) struct Applied {
    pub(super) record: Record,
    pub(super) inventory: Inventory,
    pub(super) findings: Findings,
    /// Whether anything had to be done.
    pub(super) busy: bool,
}

/// What is not as it should be.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Objects that could not be applied, and why.
    pub(super) refused: Vec<String>,
    /// Whether the same calls may succeed without any change.
    pub(super) transient: bool,
    /// What the next step waits for.
    pub(super) waiting: Option<String>,
    /// The kinds of which an object has to change before what was refused can succeed.
    pub(super) waits_for: BTreeSet<Watch>,
}

impl Findings {
    fn refuse_object(&mut self, id: &ObjectId, version: &str, error: &CallError) {
        self.waits_for.extend(waits::reasons(id, version, error));
        self.refuse(id, error);
    }

    pub(super) fn refuse(&mut self, subject: impl std::fmt::Display, error: &CallError) {
        self.transient |= error.is_transient();
        self.refused.push(format!("{subject}: {error}"));
    }

    /// What is wrong or waited for, in one line; `None` if everything is done.
    pub(super) fn words(&self) -> Option<String> {
        if self.refused.is_empty() {
            return self.waiting.as_ref().map(|what| format!("waiting: {what}"));
        }
        Some(self.refused.join("; "))
    }

    pub(super) fn phase(&self) -> PlacementPhase {
        match (self.refused.is_empty(), self.transient) {
            (true, _) => PlacementPhase::Applied,
            (false, true) => PlacementPhase::Failed,
            (false, false) => PlacementPhase::Refused,
        }
    }

    /// Whether everything is done.
    pub(super) fn is_empty(&self) -> bool {
        self.refused.is_empty() && self.waiting.is_none()
    }
}

/// One round of applying.
pub(super) struct Round<'a> {
    pub(super) host: &'a Host,
    pub(super) verified: &'a Verified<'a>,
    pub(super) record: Record,
    pub(super) inventory: Inventory,
    pub(super) findings: Findings,
    pub(super) busy: bool,
}

impl Host {
    /// Applies everything that is not as it was applied.
    pub(super) async fn apply(&self, built: Built<'_>) -> Applied {
        let Built {
            mut verified,
            objects,
            absent,
            done,
            elsewhere,
        } = built;
        let wanted = Record::of(verified.placement());
        let before = self.applied.lock().get(verified.key()).cloned();
        let mut inventory = verified.take_inventory();
        inventory.epoch = verified.placement().epoch;
        let mut round = Round {
            host: self,
            verified: &verified,
            record: match before {
                Some(before) => before.or(wanted),
                None => wanted,
            },
            inventory,
            findings: Findings::default(),
            busy: false,
        };
        round.run(objects, &absent, &done, &elsewhere).await;
        let Round {
            record,
            inventory,
            findings,
            busy,
            ..
        } = round;
        Applied {
            record,
            inventory,
            findings,
            busy,
        }
    }
}

impl Round<'_> {
    pub(super) fn key(&self) -> &WorkloadKey {
        self.verified.key()
    }

    async fn run(
        &mut self,
        mut objects: Vec<BuiltObject>,
        absent: &[ObjectId],
        done: &BTreeSet<ObjectId>,
        elsewhere: &BTreeMap<u8, ObjectId>,
    ) {
        self.count_first(&objects, absent).await;
        if let Err((subject, error)) = self.admit(&mut objects).await {
            return self.findings.refuse(subject, &error);
        }
        let mut kept: BTreeSet<ObjectId> = objects.iter().map(|built| built.id.clone()).collect();
        kept.extend(done.iter().cloned());
        while let Some(wave) = objects.first().map(|built| built.wave) {
            if let Some((_, job)) = elsewhere.range(..wave).next() {
                let what = format!("{job} to succeed in the member that runs it");
                self.findings.waiting = Some(what);
                return;
            }
            let later = objects.partition_point(|built| built.wave == wave);
            let rest = objects.split_off(later);
            for built in &objects {
                if self.must_stop() {
                    self.findings.waiting = Some("this member's lease to be held again".to_owned());
                    return;
                }
                self.apply_one(built).await;
            }
            self.await_wave(&objects);
            if !self.findings.is_empty() {
                return;
            }
            objects = rest;
        }
        self.prune(&kept).await;
    }

    /// Whether the workload must not run here any more, because the lease ended during this round.
    fn must_stop(&self) -> bool {
        self.verified.is_single() && !self.host.holds_lease()
    }

    /// Scales and stops what exists. Nothing that is wrong with any object may hold this up.
    async fn count_first(&mut self, objects: &[BuiltObject], absent: &[ObjectId]) {
        for built in objects {
            let Some(count) = &built.count else { continue };
            let Count { path, replicas } = count;
            let live = self.host.live.get(&built.id);
            let is_other = |live: &Value| path.of(live).is_none_or(|found| found != replicas);
            let Some(live) = live.filter(|live| is_other(live)) else {
                continue;
            };
            if *replicas > 0 && (is_left_to_others(built, count, &live) || self.must_stop()) {
                continue;
            }
            let objects = &self.host.objects;
            let scaled = objects.scale(&built.id, &built.version, path, *replicas);
            let scaled = scaled.await;
            if let Err(error) = scaled {
                self.findings.refuse(&built.id, &error);
            }
        }
        let exists = |id: &&ObjectId| self.inventory.objects.contains_key(*id);
        let absent: BTreeSet<ObjectId> = absent.iter().filter(exists).cloned().collect();
        if !absent.is_empty() {
            self.remove(&absent, Keep::Nothing).await;
        }
    }

    async fn apply_one(&mut self, built: &BuiltObject) {
        if let Err(error) = self.try_apply(built).await {
            self.record.objects.remove(&built.id);
            // The namespace may have been deleted under the workload.
            if error.lacks_namespace() {
                self.record.prepared = false;
                let namespace = &self.verified.consent().namespace;
                self.host.namespaces.forget(namespace);
            }
            self.findings
                .refuse_object(&built.id, &built.version, &error);
        }
    }

    async fn try_apply(&mut self, built: &BuiltObject) -> Result<(), CallError> {
        let mut built = built.clone();
        if !built.shared && !self.inventory.objects.contains_key(&built.id) {
            self.admit_late(&mut built).await?;
        }
        if built.shared {
            return Ok(());
        }
        let live = self.host.live.get(&built.id);
        let unchanged = |applied: &Digest| match &live {
            Some(live) => fingerprint(live) == *applied,
            // The watch has not shown it yet.
            None => !self.host.live.is_gone(&built.id),
        };
        if self.record.objects.get(&built.id).is_some_and(unchanged) {
            return Ok(());
        }
        if let Some(live) = &live {
            leave_count(&mut built, live);
        }
        self.mark_as_found(&mut built);
        self.busy = true;
        let BuiltObject { id, version, .. } = &built;
        let answer = match self.apply_fields(&built).await {
            Err(CallError::Immutable { .. }) if self.may_recreate(&built) => {
                return self.recreate(id, version).await;
            }
            answer => answer?,
        };
        if id.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            let group = answer["spec"]["group"].as_str().unwrap_or_default();
            self.host.objects.forget_group(group);
        }
        let digest = fingerprint(&light(answer));
        self.record.objects.insert(built.id, digest);
        Ok(())
    }

    /// Applies an object, and takes over fields of other managers where the author of the workload wants that or where it is
    /// drift.
    async fn apply_fields(&self, built: &BuiltObject) -> Result<Value, CallError> {
        let BuiltObject {
            id,
            version,
            object,
            ..
        } = built;
        let objects = &self.host.objects;
        let force = self.verified.spec().conflicts == Conflicts::Force;
        match objects.apply(id, version, object, force).await {
            Err(CallError::Owned { managers, .. }) if managers.iter().all(|it| is_drift(it)) => {
                objects.apply(id, version, object, true).await
            }
            Err(CallError::Owned { message, managers }) => Err(CallError::Owned {
                message: format!("{message}; set `spec.conflicts: Force` to take it over"),
                managers,
            }),
            answer => answer,
        }
    }

    /// Whether the user wants an object that cannot be changed to be made again. What holds data or other objects never is.
    fn may_recreate(&self, built: &BuiltObject) -> bool {
        const NEVER: [(&str, &str); 4] = [
            ("", "PersistentVolumeClaim"),
            ("", "PersistentVolume"),
            ("", "Namespace"),
            ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ];
        let id = &built.id;
        let made = self.inventory.objects.get(id).is_some_and(|it| it.made);
        made && built.on_immutable == OnImmutable::Recreate
            && !NEVER.iter().any(|(group, kind)| id.is(group, kind))
    }

    /// Deletes an object. When it is gone, the next round makes it again.
    async fn recreate(&mut self, id: &ObjectId, version: &str) -> Result<(), CallError> {
        let found = self.host.objects.get(id, version).await?;
        if let Some(found) = found.filter(|found| found.metadata.deletion_timestamp.is_none()) {
            self.host.objects.delete(id, version, &found).await?;
        }
        self.findings.waiting = Some(format!("{id} is deleted, to be made again"));
        Ok(())
    }

    /// Notes what has to be ready before the next wave: definitions, and what its author gave a wave.
    fn await_wave(&mut self, objects: &[BuiltObject]) {
        let rules = self.host.rules(self.key());
        let awaited = objects.iter().filter(|built| {
            built.awaited
                || built
                    .id
                    .is("apiextensions.k8s.io", "CustomResourceDefinition")
        });
        let missing = awaited.filter_map(|built| {
            let live = self.host.live.get(&built.id);
            let health = live.map(|live| health::assess_awaited(&live, &rules));
            match health {
                Some(Health::Ready) => None,
                Some(
                    Health::Progressing { message }
                    | Health::Refused { message }
                    | Health::Failed { message },
                ) => Some(format!("{} {message}", built.id)),
                None => Some(format!("{} is not there yet", built.id)),
            }
        });
        let missing = missing.into_iter().next();
        let waiting = self.findings.waiting.take();
        self.findings.waiting = waiting.or(missing);
    }

    /// Removes the objects that the inventory names, and that the placement neither contains nor keeps.
    async fn prune(&mut self, kept: &BTreeSet<ObjectId>) {
        let applied = &self.record.objects;
        let left_behind = self.inventory.objects.keys();
        let left_behind: BTreeSet<ObjectId> = left_behind
            .filter(|id| !applied.contains_key(id) && !kept.contains(id))
            .cloned()
            .collect();
        if left_behind.is_empty() {
            return;
        }
        self.remove(&left_behind, Keep::Nothing).await;
        if let Err((subject, error)) = self.write_inventory().await {
            self.findings.refuse(subject, &error);
        }
    }

    async fn remove(&mut self, ids: &BTreeSet<ObjectId>, keep: Keep) {
        let key = self.verified.key();
        self.host.live.forget_completed(ids);
        let heirs = self.host.heirs(key);
        let removing = Removing { key, keep, heirs };
        let removed = remove(&self.host.objects, &removing, &mut self.inventory, ids).await;
        match removed {
            Ok(removal) => {
                self.findings.waiting = removal.pending.into_iter().next();
                self.record.left.extend(removal.left);
            }
            Err(error) => self.findings.refuse("removal", &error),
        }
    }
}

/// Whether another controller decides the replicas of an object that should run.
fn is_left_to_others(built: &BuiltObject, Count { path, .. }: &Count, live: &Value) -> bool {
    let runs = path.of(live).is_none_or(|count| *count != 0);
    scaled_by(live, path).is_some() || (built.autoscaled && runs)
}

/// Leaves the count of an object that runs to whoever decides it.
fn leave_count(built: &mut BuiltObject, live: &Value) {
    let Some(count) = built.count.as_ref().filter(|count| count.replicas > 0) else {
        return;
    };
    if !is_left_to_others(built, count, live) {
        return;
    }
    let path = &count.path;
    match path.of(live) {
        // Nobody but Hanse has set it so far: a field that its only owner lets go of falls back to its default.
        Some(found) if scaled_by(live, path).is_none() => {
            path.set(&mut built.object, found.clone());
        }
        Some(_) | None => path.clear(&mut built.object),
    }
}
