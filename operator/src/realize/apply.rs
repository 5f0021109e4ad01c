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

use std::collections::BTreeSet;

use hanse_core::{
    health::{self, Health},
    id::WorkloadKey,
    slice::PlacementPhase,
    state::Keep,
};
use serde_json::Value;

use super::{
    build::{Built, BuiltObject},
    host::Host,
    inventory::{self, Entry, Inventory},
    marks::workload_of,
    namespace,
    object_id::ObjectId,
    objects::Kind,
    owned::{fingerprint, scaled_by},
    record::Record,
    remove::remove,
    used::is_standard,
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

    fn refuse(&mut self, subject: impl std::fmt::Display, error: &CallError) {
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
        if self.refused.is_empty() {
            PlacementPhase::Applied
        } else {
            PlacementPhase::Failed
        }
    }

    /// Whether everything is done.
    pub(super) fn is_empty(&self) -> bool {
        self.refused.is_empty() && self.waiting.is_none()
    }
}

/// One round of applying.
struct Round<'a> {
    host: &'a Host,
    verified: &'a Verified<'a>,
    record: Record,
    inventory: Inventory,
    findings: Findings,
    busy: bool,
}

impl Host {
    /// Applies everything that is not as it was applied.
    pub(super) async fn apply(&self, built: Built<'_>) -> Applied {
        let Built {
            mut verified,
            stopped,
            objects,
            absent,
            done,
        } = built;
        let wanted = Record::of(verified.placement(), stopped);
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
        round.run(objects, &absent, &done).await;
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
    fn key(&self) -> &WorkloadKey {
        self.verified.key()
    }

    async fn run(
        &mut self,
        mut objects: Vec<BuiltObject>,
        absent: &[ObjectId],
        done: &BTreeSet<ObjectId>,
    ) {
        self.count_first(&objects, absent).await;
        self.admit(&mut objects).await;
        while let Some(wave) = objects.first().map(|built| built.wave) {
            let later = objects.partition_point(|built| built.wave == wave);
            let rest = objects.split_off(later);
            for built in &objects {
                self.apply_one(built).await;
            }
            self.await_wave(&objects);
            if !self.findings.is_empty() {
                return;
            }
            objects = rest;
        }
        self.prune(done).await;
    }

    /// Scales and stops what exists. Nothing that is wrong with any object may hold this up.
    async fn count_first(&mut self, objects: &[BuiltObject], absent: &[ObjectId]) {
        for built in objects {
            let Some(count) = built.count else { continue };
            let live = self.host.live.get(&built.id);
            let Some(live) = live.filter(|live| live["spec"]["replicas"] != count) else {
                continue;
            };
            if count > 0 && scaled_by(&live).is_some() {
                continue;
            }
            let scaled = self
                .host
                .objects
                .scale(&built.id, &built.version, count)
                .await;
            if let Err(error) = scaled {
                self.findings.refuse(&built.id, &error);
            }
        }
        let absent: BTreeSet<ObjectId> = absent.iter().cloned().collect();
        if !absent.is_empty() {
            self.remove(&absent, Keep::Nothing).await;
        }
    }

    /// Finds out what each object is here, refuses foreign ones, and writes the inventory and the namespace.
    async fn admit(&mut self, objects: &mut Vec<BuiltObject>) {
        let before = self.inventory.clone();
        for built in objects.iter_mut() {
            // A kind that is not served yet may be by the time of its wave.
            if let Ok(kind) = self.kind_of(built).await {
                self.admit_one(built, &kind).await;
            }
        }
        if self.record.prepared && before == self.inventory {
            return;
        }
        self.busy = true;
        match self.prepare().await {
            Ok(()) => self.record.prepared = true,
            Err((subject, error)) => {
                self.findings.refuse(subject, &error);
                objects.clear();
            }
        }
    }

    /// The kind of an object, if this host serves it and the workload may bring it.
    async fn kind_of(&self, built: &BuiltObject) -> Result<Kind, CallError> {
        let objects = &self.host.objects;
        let kind = objects.kind(&built.id.group_kind(), &built.version).await?;
        if !kind.namespaced && self.verified.is_guest() {
            let message = "a guest must not place a cluster-scoped object".to_owned();
            return Err(CallError::Refused { code: 403, message });
        }
        Ok(kind)
    }

    /// Enters an object into the inventory, unless somebody else made it.
    async fn admit_one(&mut self, built: &mut BuiltObject, kind: &Kind) {
        if !kind.namespaced {
            built.id.namespace.clear();
            if let Some(metadata) = built.object["metadata"].as_object_mut() {
                metadata.remove("namespace");
            }
        }
        let entry = |made| Entry {
            version: built.version.clone(),
            wave: built.wave,
            made,
        };
        if let Some(known) = self.inventory.objects.get_mut(&built.id) {
            *known = entry(known.made);
            return;
        }
        let found = self.host.objects.get(&built.id, &built.version).await;
        let made = match found {
            Ok(None) => true,
            Ok(Some(found)) => workload_of(&found.metadata).as_ref() == Some(self.key()),
            Err(_) => return,
        };
        if made || built.id.is("", "Namespace") {
            self.inventory.objects.insert(built.id.clone(), entry(made));
        }
    }

    /// Writes the inventory, then makes the namespace, so that the inventory always names a namespace made for a guest. No
    /// namespace is removed meanwhile.
    async fn prepare(&mut self) -> Result<(), (String, CallError)> {
        let _namespaces = self.host.namespaces.lock().await;
        let client = &self.host.cluster.client;
        let consent = self.verified.consent();
        let subject = || format!("Namespace '{}'", consent.namespace);
        let ours = namespace::is_ours(client, &consent.namespace).await;
        let ours = ours.map_err(|error| (subject(), error))?;
        if ours && consent.pod_security.is_some() && self.inventory.made_namespace.is_none() {
            self.inventory.made_namespace = Some(consent.namespace.clone());
        }
        self.write_inventory().await?;
        namespace::make(client, &self.key().owner, self.verified, ours)
            .await
            .map_err(|error| (subject(), error))
    }

    async fn write_inventory(&self) -> Result<(), (String, CallError)> {
        let written = inventory::write(&self.host.cluster, self.key(), &self.inventory).await;
        written.map_err(|error| ("inventory".to_owned(), error))
    }

    async fn apply_one(&mut self, built: &BuiltObject) {
        if let Err(error) = self.try_apply(built).await {
            self.record.objects.remove(&built.id);
            // The namespace may have been deleted under the workload.
            self.record.prepared &= !error.lacks_namespace();
            self.findings
                .refuse_object(&built.id, &built.version, &error);
        }
    }

    async fn try_apply(&mut self, built: &BuiltObject) -> Result<(), CallError> {
        let mut built = built.clone();
        if !self.inventory.objects.contains_key(&built.id) {
            self.admit_late(&mut built).await?;
        }
        let id = &built.id;
        let live = self.host.live.get(id);
        if let Some(applied) = self.record.objects.get(id)
            // An object that the watch has not shown yet counts as unchanged.
            && live.as_ref().is_none_or(|live| fingerprint(live) == *applied)
        {
            return Ok(());
        }
        if let Some(live) = &live
            && built.count.is_some_and(|count| count > 0)
            && scaled_by(live).is_some()
            && let Some(spec) = built.object["spec"].as_object_mut()
        {
            spec.remove("replicas");
        }
        if self
            .inventory
            .objects
            .get(id)
            .is_some_and(|entry| !entry.made)
        {
            take_marks_off(&mut built.object);
        }
        self.busy = true;
        let answer = self
            .host
            .objects
            .apply(id, &built.version, &built.object)
            .await?;
        if id.is("apiextensions.k8s.io", "CustomResourceDefinition") {
            let group = answer["spec"]["group"].as_str().unwrap_or_default();
            self.host.objects.forget_group(group);
        }
        let digest = fingerprint(&answer);
        self.record.objects.insert(id.clone(), digest);
        Ok(())
    }

    /// Admits an object whose kind was not served when the round began, or says why it cannot be.
    async fn admit_late(&mut self, built: &mut BuiltObject) -> Result<(), CallError> {
        let kind = self.kind_of(built).await?;
        self.admit_one(built, &kind).await;
        if self.inventory.objects.contains_key(&built.id) {
            return self.write_inventory().await.map_err(|(_, error)| error);
        }
        let message = match self.host.objects.get(&built.id, &built.version).await? {
            Some(_) if is_standard(&built.id.kind, &built.id.name) => {
                "Kubernetes makes an object of this name in every namespace; choose another name".to_owned()
            }
            Some(found) => match workload_of(&found.metadata) {
                Some(other) => format!("workload '{other}' has an object of this name here; take it out of one of them"),
                None => "an object of this name exists already and was not made for this workload; choose another name, or \
                         delete it if nobody needs it".to_owned(),
            },
            None => return Err(CallError::Conflict),
        };
        Err(CallError::Refused { code: 409, message })
    }

    /// Notes what has to be ready before the next wave: definitions, and what its author gave a wave.
    fn await_wave(&mut self, objects: &[BuiltObject]) {
        let awaited = objects.iter().filter(|built| {
            built.awaited
                || built
                    .id
                    .is("apiextensions.k8s.io", "CustomResourceDefinition")
        });
        let missing = awaited.filter_map(|built| {
            let live = self.host.live.get(&built.id);
            let health = live.map(|live| health::assess_awaited(&live));
            match health {
                Some(Health::Ready) => None,
                Some(Health::Progressing { message } | Health::Failed { message }) => {
                    Some(format!("{} {message}", built.id))
                }
                None => Some(format!("{} is not there yet", built.id)),
            }
        });
        self.findings.waiting = missing.into_iter().next();
    }

    /// Removes the objects that the inventory names and the placement no longer contains.
    async fn prune(&mut self, done: &BTreeSet<ObjectId>) {
        let wanted = &self.record.objects;
        let left_behind = self.inventory.objects.keys();
        let left_behind: BTreeSet<ObjectId> = left_behind
            .filter(|id| !wanted.contains_key(id) && !done.contains(id))
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
        let removed = remove(&self.host.objects, key, &mut self.inventory, ids, keep).await;
        match removed {
            Ok(removal) => {
                self.findings.waiting = removal.pending.into_iter().next();
                self.record.left.extend(removal.left);
            }
            Err(error) => self.findings.refuse("removal", &error),
        }
    }
}

/// An object that existed before its workload is not Hanse's.
fn take_marks_off(object: &mut Value) {
    use hanse_crds::names;
    let metadata = &mut object["metadata"];
    for (field, names) in [
        ("labels", &[names::WORKLOAD_LABEL][..]),
        (
            "annotations",
            &[names::WORKLOAD_ANNOTATION, names::EPOCH_ANNOTATION][..],
        ),
    ] {
        if let Some(map) = metadata[field].as_object_mut() {
            map.retain(|name, _| !names.contains(&name.as_str()));
        }
    }
}
