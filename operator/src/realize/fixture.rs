//! One placement of a guest's workload, as a host of owner `host` receives it, for tests to change.

use std::{collections::BTreeMap, sync::Arc};

use hanse_core::{
    command::{Attributes, Command, SignedCommand},
    grant::{Grant, GrantedNamespaces, Grantee, PodSecurity},
    id::{Epoch, FederationId, Generation, MemberName, OwnerName, PrivateKey, WorkloadKey},
    slice::{AssignedPlacement, Slice},
    workload::{GroupKind, Mode, PlacementRules, WorkloadSpec},
};
use serde_json::Value;

use super::{inventory::Inventory, verify::Dereferenced};

/// The values that [`Dereferenced`] borrows.
pub(super) struct Case {
    pub(super) slice: Slice,
    pub(super) key: WorkloadKey,
    pub(super) spec: WorkloadSpec,
    pub(super) placement: AssignedPlacement,
    pub(super) member: MemberName,
    pub(super) owner: OwnerName,
    pub(super) inventory: Option<Inventory>,
    pub(super) grants: Vec<Grant>,
    pub(super) attributes: Attributes,
}

/// Signs as the author of every case does: member `acme-1` of owner `acme`.
pub(super) fn sign(federation: &FederationId, command: &Command) -> Arc<SignedCommand> {
    let key = PrivateKey::from_seed(&[1; 32]);
    Arc::new(SignedCommand::sign(federation, &key, 1, command))
}

impl Case {
    /// Workload `acme/shop/web` with this manifest, all of it placed here at epoch 12. The host's grants allow it.
    pub(super) fn of(manifest: Value) -> Self {
        let slice = crate::observe::fixture::slice("acme", "acme-1", 20);
        let key: WorkloadKey = "acme/shop/web".parse().unwrap();
        let rules = PlacementRules::new(Mode::Divided);
        let spec = WorkloadSpec::new(vec![manifest], rules, &key.namespace).unwrap();
        let placement = AssignedPlacement {
            share: spec.counts(),
            epoch: Epoch(12),
            generation: Generation(7),
            proof: sign(&slice.federation.id, &put(&key, &spec)),
            home: "acme-1".parse().unwrap(),
            completed: BTreeMap::new(),
        };
        let granted = Grant {
            grantee: Grantee::Any,
            namespaces: GrantedNamespaces::Any,
            kinds: spec.kinds(),
            host_namespace: None,
            pod_security: PodSecurity::Restricted,
        };
        Self {
            slice,
            key,
            spec,
            placement,
            member: "host-1".parse().unwrap(),
            owner: "host".parse().unwrap(),
            inventory: None,
            grants: vec![granted],
            attributes: Attributes::default(),
        }
    }

    /// The same case with a changed specification, signed again by its author.
    pub(super) fn with_spec(mut self, change: impl FnOnce(&mut WorkloadSpec)) -> Self {
        change(&mut self.spec);
        let federation = self.slice.federation.id;
        self.placement.proof = sign(&federation, &put(&self.key, &self.spec));
        self
    }

    pub(super) fn dereferenced(&self) -> Dereferenced<'_> {
        Dereferenced {
            slice: &self.slice,
            key: &self.key,
            placement: &self.placement,
            member: &self.member,
            owner: &self.owner,
            inventory: self.inventory.clone(),
            grants: Arc::new(self.grants.clone()),
            attributes: Arc::new(self.attributes.clone()),
        }
    }
}

/// The command that puts a workload into the ledger.
pub(super) fn put(key: &WorkloadKey, spec: &WorkloadSpec) -> Command {
    Command::PutWorkload {
        key: key.clone(),
        base: Generation(0),
        spec: spec.clone(),
    }
}

/// A kind without a group.
pub(super) fn core_kind(kind: &str) -> GroupKind {
    GroupKind {
        group: String::new(),
        kind: kind.to_owned(),
    }
}
