//! What owners want: put, changed, removed.

use super::*;
use crate::{
    slice::{Slice, Standing},
    workload::{VolumePolicy, Volumes},
};

fn put(key: &str, base: u64, spec: WorkloadSpec) -> Command {
    Command::PutWorkload {
        key: workload(key),
        base: Generation(base),
        spec,
    }
}

fn divided(version: u32) -> WorkloadSpec {
    spec(Mode::Divided, version)
}

/// A specification of one object that carries `bytes` bytes of data.
fn heavy(bytes: usize) -> WorkloadSpec {
    let manifest = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "web"},
        "data": {"x": "x".repeat(bytes)},
    });
    WorkloadSpec {
        manifests: vec![Manifest::try_from(manifest).unwrap()],
        ..divided(1)
    }
}

#[test]
fn a_workload_is_created_with_its_authors_signature() {
    let mut ledger = Ledger::of(4);
    let signed = ledger.sign(4, &put(WEB, 0, divided(1)));
    let index = accepted(ledger.apply(&signed));
    let web = Workload {
        born: Generation(index),
        completed: BTreeMap::new(),
        avoided: BTreeMap::new(),
        longest_grace: 30,
        proof: Arc::new(signed),
        spec: Arc::new(divided(1)),
        home: member("four"),
        generation: Generation(index),
        removed: false,
    };
    assert_eq!(*ledger.state.workloads, OrdMap::unit(workload(WEB), web));
}

#[test]
fn every_member_of_its_owner_changes_a_workload_on_the_generation_it_saw() {
    let mut ledger = Ledger::of(4);
    let created = accepted(ledger.ask(1, &put(WEB, 0, divided(1))));
    let signed = ledger.sign(4, &put(WEB, created, divided(2)));
    let changed = accepted(ledger.apply(&signed));
    let web = Workload {
        born: Generation(created),
        completed: BTreeMap::new(),
        avoided: BTreeMap::new(),
        longest_grace: 30,
        proof: Arc::new(signed),
        spec: Arc::new(divided(2)),
        home: member("four"),
        generation: Generation(changed),
        removed: false,
    };
    assert_eq!(ledger.state.workloads[&workload(WEB)], web);
}

#[test]
fn an_edit_on_another_generation_is_a_conflict_that_names_both() {
    let mut ledger = Ledger::of(1);
    let conflict = |base: u64, current: u64| {
        format!(
            "the workload changed meanwhile: this edit was made on generation {base}, the current one is {current}"
        )
    };
    assert_eq!(ledger.refused(1, &put(WEB, 7, divided(1))), conflict(7, 0));
    let first = accepted(ledger.ask(1, &put(WEB, 0, divided(1))));
    let second = accepted(ledger.ask(1, &put(WEB, first, divided(2))));
    for base in [0, first, second + 1] {
        assert_eq!(
            ledger.refused(1, &put(WEB, base, divided(3))),
            conflict(base, second)
        );
    }
}

#[test]
fn the_same_specification_again_keeps_its_generation_whatever_it_was_made_on() {
    let mut ledger = Ledger::of(4);
    let created = accepted(ledger.ask(1, &put(WEB, 0, divided(1))));
    let before = ledger.decided();
    for (number, base) in [(1, created), (4, 0), (4, 99)] {
        assert_eq!(
            ledger.ask(number, &put(WEB, base, divided(1))),
            Outcome::Accepted { index: created }
        );
    }
    assert_eq!(ledger.decided(), before);
}

#[test]
fn a_workload_is_its_owners_alone() {
    let mut ledger = Ledger::of(2);
    accepted(ledger.ask(1, &put(WEB, 0, divided(1))));
    for command in [put(WEB, 0, divided(2)), remove(WEB)] {
        assert_eq!(
            ledger.refused(2, &command),
            "workload 'acme/shop/web' may be asked only by members of owner 'acme'"
        );
    }
    accepted(ledger.ask(2, &put("beta/shop/web", 0, divided(1))));
}

#[test]
fn a_specification_that_breaks_a_rule_is_refused_with_the_rules_own_words() {
    let empty = WorkloadSpec {
        manifests: Vec::new(),
        ..divided(1)
    };
    let mut twice = divided(1);
    twice.manifests.push(twice.manifests[0].clone());
    let mut doubled = spec(Mode::Single, 1);
    doubled.placement.replicas = Some(2);
    let large = heavy(900 * 1024);
    let bytes = large.canonical().len();
    let cases = [
        (empty, "`manifests` must have 1 to 64 items, not 0".into()),
        (
            twice,
            "manifest Deployment 'web' must appear once, not twice".into(),
        ),
        (
            doubled,
            "`placement.replicas` must be 0, 1 or absent with mode 'Single', not 2".into(),
        ),
        (
            large,
            format!("the specification must be at most 921600 bytes of JSON, not {bytes}"),
        ),
        (
            heavy(1024 * 1024),
            "the command is not acceptable: the command is larger than 1048576 bytes".into(),
        ),
    ];
    let mut ledger = Ledger::of(1);
    for (spec, why) in cases {
        assert_eq!(ledger.refused(1, &put(WEB, 0, spec)), why);
    }
    accepted(ledger.ask(1, &put(WEB, 0, heavy(899 * 1024))));
}

#[test]
fn the_number_of_workloads_is_bounded_and_those_there_still_change() {
    let mut ledger = Ledger::of(1);
    let generation = ledger.put(divided(1));
    let web = ledger.state.workloads[&workload(WEB)].clone();
    let others = (1..100_000).map(|n| (workload(&format!("acme/shop/web-{n}")), web.clone()));
    for (key, row) in others {
        ledger.state.workloads.insert(key, row);
    }
    assert_eq!(
        rejection(ledger.ask(1, &put("acme/shop/one-more", 0, divided(1)))),
        "workloads: at most 100000 are kept; remove some first"
    );
    accepted(ledger.ask(1, &put(WEB, generation, divided(2))));
}

#[test]
fn a_workload_that_runs_nowhere_is_gone_at_once() {
    let mut ledger = Ledger::of(4);
    ledger.put(divided(1));
    accepted(ledger.ask(4, &remove(WEB)));
    assert!(ledger.state.workloads.is_empty());
}

#[test]
fn a_removed_workload_stays_until_every_host_has_confirmed() {
    let mut ledger = Ledger::of(2);
    ledger.put(divided(1));
    ledger.place(&["one", "two"]);
    let index = accepted(ledger.ask(1, &remove(WEB)));
    let web = &ledger.state.workloads[&workload(WEB)];
    assert_eq!((web.removed, web.generation), (true, Generation(index)));
    assert_eq!(
        ledger.hosts(),
        format!("one removes since {index}; two removes since {index}")
    );
    accepted(ledger.ask(1, &confirm(index)));
    assert!(ledger.state.workloads.contains_key(&workload(WEB)));
    assert_eq!(ledger.hosts(), format!("two removes since {index}"));
    accepted(ledger.ask(2, &confirm(index)));
    assert_eq!(
        (&ledger.state.workloads, &ledger.state.removals),
        (&Workloads::default(), &PerHost::default())
    );
}

#[test]
fn what_was_taken_away_before_the_removal_keeps_the_row_too() {
    let mut ledger = Ledger::of(2);
    ledger.put(divided(1));
    ledger.place(&["two"]);
    let taken = ledger.take_away(&["two"]);
    accepted(ledger.ask(1, &remove(WEB)));
    assert!(ledger.state.workloads.contains_key(&workload(WEB)));
    assert_eq!(ledger.hosts(), format!("two removes since {taken}"));
    accepted(ledger.ask(2, &confirm(taken)));
    assert!(ledger.state.workloads.is_empty());
}

#[test]
fn removing_what_is_being_removed_or_was_never_there_is_accepted_and_changes_nothing() {
    let mut ledger = Ledger::of(2);
    ledger.put(divided(1));
    ledger.place(&["two"]);
    accepted(ledger.ask(1, &remove(WEB)));
    let before = ledger.decided();
    accepted(ledger.ask(1, &remove(WEB)));
    accepted(ledger.ask(1, &remove("acme/shop/never-there")));
    assert_eq!(ledger.decided(), before);
}

#[test]
fn what_is_put_under_the_name_of_a_removed_workload_is_another_one() {
    let mut ledger = Ledger::of(3);
    let created = ledger.put(divided(1));
    ledger.place(&["two"]);
    let removed = accepted(ledger.ask(1, &remove(WEB)));
    for base in [created, removed] {
        assert_eq!(
            ledger.refused(1, &put(WEB, base, divided(2))),
            "the workload is being removed; wait until it is gone"
        );
    }
    let again = accepted(ledger.ask(1, &put(WEB, 0, divided(1))));
    assert_eq!(
        ledger.state.workloads[&workload(WEB)].born,
        Generation(again)
    );

    // A host takes the new one only after it has removed the old one; the others take it at once.
    let placed = ledger.place(&["two", "three"]);
    let owed = format!("three runs 1 since {placed}; two removes since {removed}");
    assert_eq!(ledger.hosts(), owed);
    accepted(ledger.ask(2, &confirm(removed)));
    let placed_later = ledger.place(&["two"]);
    assert_eq!(
        ledger.hosts(),
        format!("three runs 1 since {placed}; two runs 1 since {placed_later}")
    );

    // Whoever deletes the old one has not seen the new one.
    let removal = |seen| Command::RemoveWorkload {
        key: workload(WEB),
        seen: Generation(seen),
        orphan: false,
    };
    accepted(ledger.ask(1, &removal(created)));
    assert!(!ledger.state.workloads[&workload(WEB)].removed);
    accepted(ledger.ask(1, &removal(again)));
    assert!(ledger.state.workloads[&workload(WEB)].removed);
}

/// A Job named after its image, and a Deployment of this version.
fn with_job(image: &str, version: u32, mode: Mode) -> WorkloadSpec {
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "migrate"}, "spec": {"image": image},
    });
    let mut spec = spec(mode, version);
    spec.manifests.push(job.try_into().unwrap());
    spec
}

#[test]
fn what_a_host_completed_is_remembered_until_its_manifest_changes() {
    let mut ledger = Ledger::of(3);
    let spec = with_job("v1", 1, Mode::Divided);
    let complete = Command::Complete {
        workload: workload(WEB),
        objects: [(spec.manifests[1].id(), spec.manifests[1].digest())].into(),
    };
    accepted(ledger.ask(1, &put(WEB, 0, spec)));
    ledger.place(&["one"]);
    assert_eq!(
        ledger.refused(2, &complete),
        "the completion of workload 'acme/shop/web' may be asked only by its hosts"
    );
    accepted(ledger.ask(1, &complete));
    let completed = |ledger: &Ledger, host: &str| {
        let slice = Slice::of(
            &ledger.state,
            &Standing::default(),
            &member(host),
            &member("one"),
            1,
        );
        let placed = slice.unwrap().placements.remove(&workload(WEB)).unwrap();
        placed
            .completed
            .keys()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    // Whoever takes over does not run it again.
    ledger.place(&["two"]);
    assert_eq!(completed(&ledger, "two"), ["Job.batch/migrate"]);

    let base = ledger.generation(WEB).0;
    let edited = accepted(ledger.ask(1, &put(WEB, base, with_job("v1", 2, Mode::Divided))));
    assert_eq!(completed(&ledger, "one"), ["Job.batch/migrate"]);
    accepted(ledger.ask(1, &put(WEB, edited, with_job("v2", 2, Mode::Divided))));
    assert_eq!(completed(&ledger, "one"), [""; 0]);
}

#[test]
fn a_duplicated_workload_completes_in_each_member_by_itself() {
    let mut ledger = Ledger::of(3);
    let spec = with_job("v1", 1, Mode::Duplicated);
    let complete = Command::Complete {
        workload: workload(WEB),
        objects: [(spec.manifests[1].id(), spec.manifests[1].digest())].into(),
    };
    accepted(ledger.ask(1, &put(WEB, 0, spec)));
    ledger.place(&["one", "two"]);
    accepted(ledger.ask(1, &complete));
    let completed = ["one", "two"].map(|host| {
        let slice = Slice::of(
            &ledger.state,
            &Standing::default(),
            &member(host),
            &member("one"),
            1,
        );
        slice.unwrap().placements[&workload(WEB)].completed.len()
    });
    assert_eq!(completed, [1, 0]);
}

#[test]
fn a_host_keeps_volumes_on_a_move_and_deletes_them_with_the_workload_unless_told_otherwise() {
    let keeps = |volumes: Volumes, gone: fn(&mut Ledger)| {
        let mut ledger = Ledger::of(2);
        let spec = WorkloadSpec {
            volumes,
            ..divided(1)
        };
        accepted(ledger.ask(1, &put(WEB, 0, spec)));
        ledger.place(&["one", "two"]);
        gone(&mut ledger);
        ledger
            .state
            .removals
            .get(&workload(WEB), &member("two"))
            .unwrap()
            .keep
    };
    let moved: fn(&mut Ledger) = |ledger| {
        ledger.take_away(&["two"]);
    };
    let deleted: fn(&mut Ledger) = |ledger| {
        accepted(ledger.ask(1, &remove(WEB)));
    };
    let lost: fn(&mut Ledger) = |ledger| {
        let leases = ledger.leases(&["two"]);
        accepted(ledger.ask(1, &Command::ExpireLeases { leases }));
        accepted(ledger.ask(1, &remove(WEB)));
    };
    let orphaned: fn(&mut Ledger) = |ledger| {
        let key = workload(WEB);
        accepted(ledger.ask(
            1,
            &Command::RemoveWorkload {
                key,
                seen: Generation(0),
                orphan: true,
            },
        ));
    };
    let other = Volumes {
        on_move: VolumePolicy::Delete,
        on_delete: VolumePolicy::Retain,
    };
    assert_eq!(
        [moved, deleted, lost, orphaned].map(|gone| keeps(Volumes::default(), gone)),
        [
            Keep::Volumes,
            Keep::Nothing,
            Keep::Volumes,
            Keep::Everything
        ]
    );
    assert_eq!(
        [moved, deleted, lost, orphaned].map(|gone| keeps(other, gone)),
        [
            Keep::Nothing,
            Keep::Volumes,
            Keep::Volumes,
            Keep::Everything
        ]
    );
}

#[test]
fn what_one_owner_has_in_all_is_bounded() {
    let mut ledger = Ledger::of(4);
    let created = accepted(ledger.ask(1, &put(WEB, 0, divided(1))));
    // Each has an eighth of what an owner may have.
    let mut large = ledger.sign(4, &put(WEB, created, divided(2)));
    large.body = " ".repeat(MAX_OWNER_BYTES / 8);
    let mut row = ledger.state.workloads[&workload(WEB)].clone();
    row.proof = Arc::new(large);
    let web = workload(WEB);
    for number in 0..8 {
        let name = format!("{}/{}/w{number}", web.owner, web.namespace);
        ledger
            .state
            .workloads
            .insert(name.parse().unwrap(), row.clone());
    }
    let owned = ledger.state.workloads.bytes_of(&web.owner);
    assert!(owned > MAX_OWNER_BYTES);

    let other = format!("{}/{}/other", web.owner, web.namespace);
    let put_other = |replicas| put(&other, 0, divided(replicas));
    // Before its level, the rule is not known to all.
    accepted(ledger.ask(1, &put_other(1)));
    ledger.state.level = Level::BOUNDED_OWNERS;
    let words = "bytes of workloads of owner 'acme': at most 268435456 are kept; remove some first";
    assert_eq!(
        ledger.refused(1, &put(&format!("{other}2"), 0, divided(1))),
        words
    );
    // What does not become larger may change.
    accepted(ledger.ask(1, &put(WEB, created, divided(3))));
    // A restored state has the same.
    let text = serde_json::to_string(
        &ledger
            .state
            .workloads
            .iter()
            .take(1)
            .collect::<BTreeMap<_, _>>(),
    );
    let restored: Workloads = serde_json::from_str(&text.unwrap()).unwrap();
    let (_, first) = restored.iter().next().unwrap();
    assert_eq!(restored.bytes_of(&web.owner), first.proof.body.len());
    // Room is made by removal.
    let first = format!("{}/{}/w0", web.owner, web.namespace);
    ledger.state.workloads.remove(&first.parse().unwrap());
    accepted(ledger.ask(1, &put(&format!("{other}2"), 0, divided(1))));
}
