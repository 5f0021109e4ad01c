use serde_json::json;

use super::*;
use crate::api::kinds::served;

fn author(manager: &str) -> Author {
    Author {
        manager: manager.to_owned(),
        status: false,
        dry_run: false,
    }
}

fn store() -> (Store, Id, Id) {
    let mut store = Store::new(served());
    let namespace = Id {
        kind: store.kind("", "Namespace"),
        namespace: String::new(),
        name: "shop".to_owned(),
    };
    store
        .create(&namespace, json!({}), &author("kubectl"))
        .unwrap();
    let web = Id {
        kind: store.kind("apps", "Deployment"),
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
    };
    (store, namespace, web)
}

fn told(store: &Store, revision: u64, id: &Id, selector: &str) -> Vec<(&'static str, String)> {
    let missed = store.since(revision, id.kind, "", &Selector::parse(selector));
    let words = |event: Event| {
        (
            event.what,
            event.object["metadata"]["resourceVersion"]
                .as_str()
                .unwrap()
                .to_owned(),
        )
    };
    missed.unwrap().into_iter().map(words).collect()
}

#[test]
fn a_write_that_changes_something_is_a_revision_and_only_a_spec_is_a_generation() {
    let (mut store, _, web) = store();
    let wanted = json!({"metadata": {"name": "web"}, "spec": {"replicas": 1}});
    let numbers = |object: &Value| {
        (
            object["metadata"]["resourceVersion"]
                .as_str()
                .unwrap()
                .to_owned(),
            object["metadata"]["generation"].as_i64().unwrap(),
        )
    };
    let made = store.apply(&web, &wanted, false, &author("hanse")).unwrap();
    assert_eq!(numbers(&made), ("3".to_owned(), 1));
    let same = store.apply(&web, &wanted, false, &author("hanse")).unwrap();
    assert_eq!(numbers(&same), ("3".to_owned(), 1));
    let labelled = store
        .merge(
            &web,
            &json!({"metadata": {"labels": {"a": "b"}}}),
            &author("kubectl"),
        )
        .unwrap();
    assert_eq!(numbers(&labelled), ("4".to_owned(), 1));
    let scaled = store
        .merge(&web, &json!({"spec": {"replicas": 0}}), &author("hanse"))
        .unwrap();
    assert_eq!(numbers(&scaled), ("5".to_owned(), 2));
    let status = Author {
        status: true,
        ..author("hanse")
    };
    let shown = json!({"spec": {"replicas": 9}, "status": {"replicas": 1}});
    let shown = store.apply(&web, &shown, true, &status).unwrap();
    assert_eq!(numbers(&shown), ("6".to_owned(), 2));
    assert_eq!(shown["spec"]["replicas"], 0);
    let again = store
        .merge(&web, &json!({"spec": {"replicas": 1}}), &author("hanse"))
        .unwrap();
    assert_eq!(again["status"]["replicas"], 1);
}

#[test]
fn a_write_on_an_old_revision_or_another_identity_is_refused() {
    let (mut store, _, web) = store();
    let made = store
        .create(&web, json!({"spec": {}}), &author("kubectl"))
        .unwrap();
    store
        .merge(&web, &json!({"spec": {"replicas": 2}}), &author("kubectl"))
        .unwrap();
    let refused = store
        .replace(&web, (*made).clone(), &author("hanse"))
        .unwrap_err();
    assert_eq!((refused.code, refused.reason), (409, "Conflict"));
    let other = Deletion {
        uid: Some("another".to_owned()),
        ..Deletion::default()
    };
    assert_eq!(store.delete(&web, &other).unwrap_err().reason, "Conflict");
    let twice = store
        .create(&web, json!({}), &author("kubectl"))
        .unwrap_err();
    assert_eq!((twice.code, twice.reason), (409, "AlreadyExists"));
}

#[test]
fn what_is_deleted_waits_for_its_finalizers() {
    let (mut store, _, web) = store();
    let object = json!({"metadata": {"finalizers": ["hanse.dev/placements"]}, "spec": {}});
    store.create(&web, object, &author("hanse")).unwrap();
    let before = store.revision();
    store
        .delete(
            &web,
            &Deletion {
                foreground: true,
                ..Deletion::default()
            },
        )
        .unwrap();
    store
        .merge(
            &web,
            &json!({"metadata": {"finalizers": [FOREGROUND]}}),
            &author("hanse"),
        )
        .unwrap();
    assert!(store.get(&web).is_ok());
    store.let_go(&web);
    assert_eq!(store.get(&web).unwrap_err().code, 404);
    let told = told(&store, before, &web, "");
    let what: Vec<_> = told.iter().map(|(what, _)| *what).collect();
    assert_eq!(what, ["MODIFIED", "MODIFIED", "DELETED"]);
}

#[test]
fn nothing_is_made_in_a_namespace_that_is_not_there_or_ends() {
    let (mut store, namespace, web) = store();
    let elsewhere = Id {
        namespace: "elsewhere".to_owned(),
        ..web.clone()
    };
    let refused = store
        .create(&elsewhere, json!({}), &author("kubectl"))
        .unwrap_err();
    assert_eq!(
        (refused.code, refused.message.as_str()),
        (404, "namespaces \"elsewhere\" not found")
    );
    store.delete(&namespace, &Deletion::default()).unwrap();
    let refused = store
        .create(&web, json!({}), &author("kubectl"))
        .unwrap_err();
    assert_eq!(
        (refused.code, &refused.causes[0]["reason"]),
        (403, &json!("NamespaceTerminating"))
    );
}

#[test]
fn a_watch_of_some_labels_is_told_of_what_gets_or_loses_them() {
    let (mut store, _, web) = store();
    let from = store.revision();
    store
        .create(&web, json!({"spec": {}}), &author("kubectl"))
        .unwrap();
    let label = |value: Value| json!({"metadata": {"labels": {"app": value}}});
    store
        .merge(&web, &label(json!("web")), &author("kubectl"))
        .unwrap();
    store
        .merge(&web, &json!({"spec": {"replicas": 2}}), &author("kubectl"))
        .unwrap();
    store
        .merge(&web, &label(Value::Null), &author("kubectl"))
        .unwrap();
    let what: Vec<_> = told(&store, from, &web, "app=web")
        .into_iter()
        .map(|(what, _)| what)
        .collect();
    assert_eq!(what, ["ADDED", "MODIFIED", "DELETED"]);
    assert_eq!(told(&store, from, &web, "").len(), 4);
    assert_eq!(told(&store, store.revision(), &web, "").len(), 0);
}

#[test]
fn a_watch_that_missed_too_much_begins_anew() {
    let (mut store, _, web) = store();
    let from = store.revision();
    store
        .create(&web, json!({"spec": {}}), &author("kubectl"))
        .unwrap();
    for count in 0..KEPT_CHANGES {
        store
            .merge(
                &web,
                &json!({"spec": {"replicas": count + 1}}),
                &author("kubectl"),
            )
            .unwrap();
    }
    assert_eq!(store.since(from, web.kind, "", &Selector::default()), None);
    assert_eq!(
        store
            .since(from + 1, web.kind, "", &Selector::default())
            .map(|it| it.len()),
        Some(KEPT_CHANGES)
    );
}
