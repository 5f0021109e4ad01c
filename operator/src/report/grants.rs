//! How this cluster's grants stand: whether the ledger has them, and which guests' workloads run under which.

use std::collections::{BTreeMap, BTreeSet};

use hanse_core::{
    command::Command,
    grant::{Grant, covering_grant},
    id::{Generation, OwnerName, WorkloadKey},
    slice::{AssignedPlacement, Slice},
    workload::GroupKind,
};
use hanse_crds::HostingPolicy;
use parking_lot::Mutex;

use super::policy::Published;
use crate::observe::{
    Publication,
    hosting_policy::{NamedGrant, grants_of},
};

/// The workloads that run under each grant, by the grant's name.
pub(super) type Uses = BTreeMap<String, BTreeSet<WorkloadKey>>;

/// The kinds in guests' workloads. With this cache a specification is parsed once per generation.
#[derive(Default)]
pub(super) struct GuestKinds(Mutex<BTreeMap<WorkloadKey, (Generation, BTreeSet<GroupKind>)>>);

impl GuestKinds {
    fn retain_placed(&self, slice: &Slice) {
        let placed = |key: &WorkloadKey| slice.placements.contains_key(key);
        self.0.lock().retain(|key, _| placed(key));
    }

    fn of(&self, key: &WorkloadKey, placement: &AssignedPlacement) -> BTreeSet<GroupKind> {
        let mut known = self.0.lock();
        match known.get(key) {
            Some((generation, kinds)) if *generation == placement.generation => kinds.clone(),
            _ => {
                let kinds = kinds_of(placement);
                known.insert(key.clone(), (placement.generation, kinds.clone()));
                kinds
            }
        }
    }
}

fn kinds_of(placement: &AssignedPlacement) -> BTreeSet<GroupKind> {
    match placement.proof.read() {
        Ok(Command::PutWorkload { spec, .. }) => spec.kinds(),
        Ok(_) | Err(_) => BTreeSet::new(),
    }
}

/// Whether the ledger has the grants of this cluster, for the status of `policy`, one of the policies they are from.
pub(super) fn published(
    publication: &Publication,
    policy: &HostingPolicy,
    all: &[NamedGrant],
) -> Published {
    if let Err(error) = grants_of(policy) {
        return Published::Unreadable(error.to_string());
    }
    let same = |grants: &[Grant]| grants.iter().eq(all.iter().map(|named| &named.grant));
    match publication {
        Publication::Published(grants) if same(grants) => Published::Yes,
        Publication::Rejected(grants, why) if same(grants) => Published::Rejected(why.clone()),
        Publication::Published(_) | Publication::Rejected(..) | Publication::Pending => {
            Published::NotYet
        }
    }
}

/// The workloads of other owners than `owner` that run under each grant, by policy and grant.
pub(super) fn uses(
    guest_kinds: &GuestKinds,
    owner: &OwnerName,
    slice: &Slice,
    all: &[NamedGrant],
) -> BTreeMap<String, Uses> {
    let mut uses: BTreeMap<String, Uses> = BTreeMap::new();
    for NamedGrant { policy, name, .. } in all {
        let of_policy = uses.entry(policy.clone()).or_default();
        of_policy.entry(name.clone()).or_default();
    }
    let grants: Vec<Grant> = all.iter().map(|named| named.grant.clone()).collect();
    guest_kinds.retain_placed(slice);
    let placements = slice.placements.iter();
    for (key, placement) in placements.filter(|(key, _)| key.owner != *owner) {
        let kinds = guest_kinds.of(key, placement);
        if let Ok((place, _)) = covering_grant(&grants, key, &kinds) {
            let NamedGrant { policy, name, .. } = &all[place];
            let of_policy = uses.entry(policy.clone()).or_default();
            let of_grant = of_policy.entry(name.clone()).or_default();
            of_grant.insert(key.clone());
        }
    }
    uses
}
