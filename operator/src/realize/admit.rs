//! Which objects a round may apply: what each is in this cluster, whose it is, and that the inventory names it before it is
//! made.

use hanse_core::workload::{Adopt, ScalePath};
use hanse_crds::names;
use kube::api::DynamicObject;
use serde_json::{Value, json};

use super::{
    apply::Round,
    build::BuiltObject,
    inventory::{self, Entry},
    marks::workload_of,
    objects::Kind,
    used::is_standard,
};
use crate::cluster::CallError;

impl Round<'_> {
    /// Finds out what each object is here, refuses foreign ones, and writes the inventory and the namespace.
    pub(super) async fn admit(
        &mut self,
        objects: &mut [BuiltObject],
    ) -> Result<(), (String, CallError)> {
        let before = self.inventory.clone();
        for built in objects.iter_mut() {
            // A kind that is not served yet may be by the time of its wave.
            if let Ok(kind) = self.kind_of(built).await {
                self.admit_one(built, &kind).await;
            }
        }
        if self.record.prepared && before == self.inventory {
            return Ok(());
        }
        self.busy = true;
        self.prepare().await?;
        self.record.prepared = true;
        Ok(())
    }

    /// The kind of an object, if this host serves it and the workload may bring it.
    pub(super) async fn kind_of(&self, built: &BuiltObject) -> Result<Kind, CallError> {
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
            stop: built.stop,
            scale: built
                .count
                .as_ref()
                .map_or_else(ScalePath::default, |count| count.path.clone()),
        };
        if let Some(known) = self.inventory.objects.get_mut(&built.id) {
            *known = entry(known.made);
            return;
        }
        let Ok(found) = self.host.objects.get(&built.id, &built.version).await else {
            return;
        };
        let is_namespace = built.id.is("", "Namespace");
        let made = match found {
            None => true,
            Some(found) => match workload_of(&found.metadata) {
                Some(owner) if owner == *self.key() => !is_adopted(&found),
                Some(_) if is_namespace => {
                    built.shared = true;
                    return;
                }
                None if is_namespace || self.may_adopt(built, &found).await => false,
                Some(_) | None => return,
            },
        };
        self.inventory.objects.insert(built.id.clone(), entry(made));
    }

    /// Whether an object that nobody's workload made may be taken over.
    async fn may_adopt(&self, built: &BuiltObject, found: &DynamicObject) -> bool {
        match self.verified.spec().adopt {
            // What a host has in a namespace is not a guest's to take, whatever the guest writes.
            _ if self.verified.is_guest() || is_standard(&built.id.kind, &built.id.name) => false,
            Adopt::Never => false,
            Adopt::Always => true,
            Adopt::IfUnchanged => {
                let BuiltObject {
                    id,
                    version,
                    object,
                    ..
                } = built;
                let applied = self.host.objects.try_out(id, version, object).await;
                let found = serde_json::to_value(found).unwrap_or_default();
                applied.is_ok_and(|applied| content(applied) == content(found))
            }
        }
    }

    /// Marks an object that existed before as adopted. A Namespace that existed before gets no marks at all: any number of
    /// workloads may bring it.
    pub(super) fn mark_as_found(&self, built: &mut BuiltObject) {
        let entry = self.inventory.objects.get(&built.id);
        if entry.is_none_or(|entry| entry.made) {
            return;
        }
        if built.id.is("", "Namespace") {
            take_marks_off(&mut built.object);
        } else {
            built.object["metadata"]["annotations"][names::ADOPTED_ANNOTATION] = json!(names::TRUE);
        }
    }

    /// Writes the inventory, then makes the namespace, so that the inventory always names a namespace made for a guest. No
    /// namespace is removed meanwhile.
    async fn prepare(&mut self) -> Result<(), (String, CallError)> {
        let namespaces = &self.host.namespaces;
        let _kept = namespaces.keep().await;
        let client = &self.host.cluster.client;
        let consent = self.verified.consent();
        let subject = || format!("Namespace '{}'", consent.namespace);
        let ours = namespaces.is_ours(client, &consent.namespace).await;
        let ours = ours.map_err(|error| (subject(), error))?;
        if ours && consent.pod_security.is_some() && self.inventory.made_namespace.is_none() {
            self.inventory.made_namespace = Some(consent.namespace.clone());
        }
        self.write_inventory().await?;
        namespaces
            .make(client, &self.key().owner, self.verified, ours)
            .await
            .map_err(|error| (subject(), error))
    }

    /// Writes the inventory. This process knows it before the API server does, so that it can stop what it is about to apply.
    pub(super) async fn write_inventory(&self) -> Result<(), (String, CallError)> {
        let known = self.inventory.clone();
        self.host
            .inventories
            .lock()
            .insert(self.key().clone(), known);
        let written = inventory::write(&self.host.cluster, self.key(), &self.inventory).await;
        written.map_err(|error| ("inventory".to_owned(), error))
    }

    /// Admits an object whose kind was not served when the round began, or says why it cannot be.
    pub(super) async fn admit_late(&mut self, built: &mut BuiltObject) -> Result<(), CallError> {
        let kind = self.kind_of(built).await?;
        self.admit_one(built, &kind).await;
        if built.shared {
            return Ok(());
        }
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
                         set `spec.adopt` to take it over".to_owned(),
            },
            None => return Err(CallError::Conflict),
        };
        Err(CallError::Refused { code: 409, message })
    }
}

fn is_adopted(object: &DynamicObject) -> bool {
    let annotations = object.metadata.annotations.as_ref();
    annotations.is_some_and(|it| it.contains_key(names::ADOPTED_ANNOTATION))
}

/// An object without what the API server sets and without Hanse's marks.
fn content(mut object: Value) -> Value {
    take_marks_off(&mut object);
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["managedFields", "resourceVersion", "generation"] {
            metadata.remove(field);
        }
        // An empty map is none.
        metadata.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
    }
    object
}

fn take_marks_off(object: &mut Value) {
    const MARKS: [&str; 4] = [
        names::WORKLOAD_LABEL,
        names::WORKLOAD_ANNOTATION,
        names::EPOCH_ANNOTATION,
        names::ADOPTED_ANNOTATION,
    ];
    for field in ["labels", "annotations"] {
        let map = object.pointer_mut(&format!("/metadata/{field}"));
        if let Some(map) = map.and_then(Value::as_object_mut) {
            map.retain(|name, _| !MARKS.contains(&name.as_str()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_what_the_api_server_sets_are_no_content() {
        let found = json!({
            "kind": "ConfigMap", "data": {"a": "b"},
            "metadata": {"name": "x", "resourceVersion": "7", "managedFields": []},
        });
        let applied = json!({
            "kind": "ConfigMap", "data": {"a": "b"}, "status": {},
            "metadata": {
                "name": "x", "resourceVersion": "8", "labels": {"hanse.dev/workload": "1"},
                "annotations": {"hanse.dev/workload": "a/b/c", "hanse.dev/epoch": "3"},
            },
        });
        let expected = json!({"kind": "ConfigMap", "data": {"a": "b"}, "metadata": {"name": "x"}});
        assert_eq!(content(found), expected);
        assert_eq!(content(applied), expected);
    }
}
