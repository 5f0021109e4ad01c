use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hanse_core::{
    id::Epoch,
    schedule::Diagnosis,
    slice::{HostStanding, HostState},
    workload::{Adopt, Mode, OnImmutable, PlacementRules, Scales, VolumePolicy, Volumes},
};
use serde_json::json;

use super::*;
use crate::observe::spec::{object_of, spec_of};

fn spec(replicas: u32) -> WorkloadSpec {
    let rules = PlacementRules {
        replicas: Some(replicas),
        scales: Some(Scales {
            kind: "Deployment".to_owned(),
            name: "web".to_owned(),
        }),
        match_labels: BTreeMap::from([("gpu".to_owned(), "h200".to_owned())]),
        domicile: BTreeSet::from(["EU".to_owned()]),
        ..PlacementRules::new(Mode::Divided)
    };
    let manifest =
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}});
    let spec = WorkloadSpec::new(vec![manifest], rules, &"shop".parse().unwrap()).unwrap();
    WorkloadSpec {
        suspend: true,
        volumes: Volumes {
            on_move: VolumePolicy::Delete,
            on_delete: VolumePolicy::Retain,
        },
        adopt: Adopt::IfUnchanged,
        on_immutable: OnImmutable::Recreate,
        ..spec
    }
}

fn synced(generation: u64, replicas: u32) -> Synced {
    Synced {
        generation: Generation(generation),
        digest: spec(replicas).digest(),
    }
}

/// An object with a finalizer and this number of replicas.
fn object(replicas: u32, synced: Option<Synced>) -> Written {
    Written {
        deleting: false,
        evicted: false,
        guarded: true,
        synced,
        status_generation: Generation(0),
        spec: Ok(spec(replicas)),
    }
}

fn owned(generation: u64, replicas: u32) -> OwnedWorkload {
    OwnedWorkload {
        spec: Arc::new(spec(replicas)),
        generation: Generation(generation),
        home: "acme-1".parse().unwrap(),
        born: Generation(3),
        removed: false,
        hosts: BTreeMap::new(),
        diagnosis: Diagnosis::default(),
    }
}

fn removing(lease_held: bool) -> OwnedWorkload {
    let host = HostStanding {
        replicas: 0,
        surge: 0,
        host: HostState::Well,
        epoch: Epoch(9),
        reason: None,
        removing: true,
        lease_held,
        report: None,
    };
    OwnedWorkload {
        removed: true,
        hosts: BTreeMap::from([("beta-1".parse().unwrap(), host)]),
        ..owned(9, 1)
    }
}

fn decided(object: Option<&Written>, owned: Option<&OwnedWorkload>, index: u64) -> Decision {
    decide(object, &Memory::default(), View { index, owned })
}

fn put(base: u64, replicas: u32) -> Decision {
    Decision::Put {
        base: Generation(base),
        spec: Box::new(spec(replicas)),
    }
}

#[test]
fn a_new_object_is_guarded_then_proposed() {
    let new = object(1, None);
    let bare = Written {
        guarded: false,
        ..new.clone()
    };
    assert_eq!(decided(Some(&bare), None, 20), Decision::Guard);
    assert_eq!(decided(Some(&new), None, 20), put(0, 1));
}

#[test]
fn an_edit_is_proposed_on_top_of_the_generation_it_was_made_on() {
    let edited = object(2, Some(synced(5, 1)));
    assert_eq!(decided(Some(&edited), Some(&owned(5, 1)), 20), put(5, 2));
}

#[test]
fn an_edit_without_the_annotation_is_based_on_the_generation_in_the_status() {
    let replaced = Written {
        status_generation: Generation(5),
        ..object(2, None)
    };
    assert_eq!(decided(Some(&replaced), Some(&owned(5, 1)), 20), put(5, 2));
}

#[test]
fn an_edit_made_on_an_older_generation_is_overruled() {
    let edited = object(2, Some(synced(5, 1)));
    let base = Generation(5);
    assert_eq!(
        decided(Some(&edited), Some(&owned(7, 3)), 20),
        Decision::Overrule { base }
    );
}

#[test]
fn an_unedited_object_follows_the_ledger() {
    let at_5 = object(1, Some(synced(5, 1)));
    let decisions = [
        decided(Some(&at_5), Some(&owned(5, 1)), 20),
        decided(Some(&at_5), Some(&owned(7, 3)), 20),
        // Another author's edit made the same spec: only the annotation is outdated.
        decided(Some(&object(3, Some(synced(5, 1)))), Some(&owned(7, 3)), 20),
        decided(Some(&object(3, None)), Some(&owned(7, 3)), 20),
    ];
    assert_eq!(
        decisions,
        [
            Decision::Settled,
            Decision::Follow,
            Decision::Follow,
            Decision::Follow
        ]
    );
}

#[test]
fn a_slice_older_than_what_this_cluster_committed_decides_nothing() {
    let at_9 = object(1, Some(synced(9, 1)));
    assert_eq!(decided(Some(&at_9), None, 8), Decision::Wait);
    assert_eq!(decided(Some(&at_9), Some(&owned(5, 2)), 8), Decision::Wait);
    // A further edit does not wait: it is made on top of generation 9.
    let edited = object(2, Some(synced(9, 1)));
    assert_eq!(decided(Some(&edited), Some(&owned(5, 3)), 8), put(9, 2));
}

#[test]
fn what_this_process_wrote_is_used_before_the_watch_shows_it() {
    let memory = Memory {
        synced: Some(synced(9, 2)),
        ..Memory::default()
    };
    let owned = owned(9, 2);
    let view = View {
        index: 9,
        owned: Some(&owned),
    };
    let seen = object(2, Some(synced(5, 1)));
    assert_eq!(decide(Some(&seen), &memory, view), Decision::Settled);
}

#[test]
fn a_workload_of_another_cluster_is_mirrored() {
    assert_eq!(decided(None, Some(&owned(5, 1)), 20), Decision::Mirror);
    assert_eq!(decided(None, Some(&removing(true)), 20), Decision::Settled);
    assert_eq!(decided(None, None, 20), Decision::Settled);
}

#[test]
fn a_copy_is_deleted_only_if_the_ledger_provably_had_the_workload() {
    let copy = object(1, Some(synced(9, 1)));
    let decisions = [
        decided(Some(&copy), None, 9),
        decided(Some(&copy), Some(&removing(true)), 20),
        // It was never committed: a new object, although the slice has no row for it.
        decided(Some(&object(1, None)), None, 9),
    ];
    assert_eq!(decisions, [Decision::Drop, Decision::Drop, put(0, 1)]);
}

#[test]
fn a_new_object_is_another_workload_than_the_one_of_its_name_that_is_removed() {
    let new = object(1, None);
    assert_eq!(decided(Some(&new), Some(&removing(true)), 20), put(0, 1));
    // The copy of the earlier one goes without a word about the new one.
    let earlier = Written {
        deleting: true,
        ..object(1, Some(synced(2, 1)))
    };
    assert_eq!(
        decided(Some(&earlier), Some(&owned(5, 1)), 20),
        Decision::Release
    );
}

#[test]
fn a_copy_that_goes_with_its_namespace_deletes_nothing() {
    let evicted = Written {
        deleting: true,
        evicted: true,
        ..object(1, Some(synced(5, 1)))
    };
    let owned = owned(5, 1);
    assert_eq!(decided(Some(&evicted), Some(&owned), 20), Decision::Evict);
    assert_eq!(decided(None, Some(&owned), 20), Decision::Mirror);
}

#[test]
fn a_deletion_is_proposed_and_released_when_no_host_with_a_lease_has_the_workload() {
    let deleting = Written {
        deleting: true,
        ..object(1, Some(synced(5, 1)))
    };
    let decisions = [
        decided(Some(&deleting), Some(&owned(5, 1)), 20),
        decided(Some(&deleting), Some(&removing(true)), 20),
        decided(Some(&deleting), Some(&removing(false)), 20),
        decided(Some(&deleting), None, 20),
        // A slice that does not have the workload yet does not prevent the proposal of its removal.
        decided(Some(&deleting), None, 4),
    ];
    assert_eq!(
        decisions,
        [
            Decision::Remove {
                seen: Generation(5)
            },
            Decision::Wait,
            Decision::Release,
            Decision::Release,
            Decision::Remove {
                seen: Generation(5)
            }
        ]
    );
}

#[test]
fn after_a_removal_was_accepted_an_older_slice_does_not_restore_the_workload() {
    let memory = Memory {
        decided: 12,
        ..Memory::default()
    };
    let owned = owned(5, 1);
    let view = |index| View {
        index,
        owned: Some(&owned),
    };
    assert_eq!(decide(None, &memory, view(11)), Decision::Wait);
    assert_eq!(
        decide(Some(&object(1, None)), &memory, view(11)),
        Decision::Wait
    );
}

#[test]
fn an_invalid_object_is_reported_and_not_proposed() {
    let nameless = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    let rules = spec(1).placement;
    let error = WorkloadSpec::new(vec![nameless], rules, &"shop".parse().unwrap()).unwrap_err();
    let invalid = Written {
        spec: Err(error),
        ..object(1, None)
    };
    let rejected = Memory {
        rejected: Some((spec(1).digest(), "no".into())),
        ..Memory::default()
    };
    let view = View {
        index: 20,
        owned: None,
    };
    assert_eq!(
        [
            decided(Some(&invalid), None, 20),
            decide(Some(&object(1, None)), &rejected, view)
        ],
        [
            Decision::Invalid {
                message: "a manifest must have `metadata.name`, a non-empty string".into()
            },
            Decision::Invalid {
                message: "no".into()
            }
        ]
    );
}

#[test]
fn a_spec_converted_to_an_object_and_back_is_unchanged() {
    let back = spec_of(&object_of(&spec(3)), &"shop".parse().unwrap());
    assert_eq!(back, Ok(spec(3)));
}

#[test]
fn the_annotation_is_read_back_in_its_own_federation_only() {
    let federation = FederationId([1; 16]);
    let mut object = FederatedWorkload::new("web", object_of(&spec(1)));
    let annotations = object.annotations_mut();
    annotations.insert(names::SYNCED_ANNOTATION.into(), synced(5, 1).to_string());
    annotations.insert(FEDERATION_ANNOTATION.into(), federation.to_string());
    let read = |federation| Written::read(&object, &federation, Ok(spec(1))).synced;
    assert_eq!(read(federation), Some(synced(5, 1)));
    assert_eq!(read(FederationId([2; 16])), None);
}
