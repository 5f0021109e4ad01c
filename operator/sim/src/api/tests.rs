//! What the operator's own client sees of the API server.

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace},
};
use kube::{
    Api, Client,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::ObjectMeta,
    discovery::{self, Discovery},
    runtime::watcher,
};
use serde_json::json;

use super::*;
use crate::api::store::FOREGROUND;

/// An API server without mishaps, with namespace `shop`, and a client of it.
async fn cluster() -> (ApiServer, Client) {
    let server = ApiServer::new(Seeded::new(3, "an API server without mishaps"));
    let client = server.client();
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some("shop".to_owned()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap();
    (server, client)
}

fn named(name: &str) -> ConfigMap {
    ConfigMap {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some([("app".to_owned(), name.to_owned())].into()),
            ..ObjectMeta::default()
        },
        ..ConfigMap::default()
    }
}

#[tokio::test(start_paused = true)]
async fn objects_are_made_read_listed_patched_and_deleted() {
    let (_server, client) = cluster().await;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "shop");
    maps.create(&PostParams::default(), &named("a"))
        .await
        .unwrap();
    maps.create(&PostParams::default(), &named("b"))
        .await
        .unwrap();
    let one = maps
        .list(&ListParams::default().labels("app=a"))
        .await
        .unwrap();
    assert_eq!(one.items.len(), 1);
    let all = Api::<ConfigMap>::all(client)
        .list_metadata(&ListParams::default())
        .await
        .unwrap();
    assert_eq!(all.items.len(), 2);
    let patch = Patch::Merge(json!({"data": {"key": "value"}}));
    maps.patch("a", &PatchParams::default(), &patch)
        .await
        .unwrap();
    assert_eq!(maps.get("a").await.unwrap().data.unwrap()["key"], "value");
    maps.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(maps.get_opt("a").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn what_is_applied_is_owned_and_its_deletion_in_the_foreground_waits() {
    let (server, client) = cluster().await;
    let deployments: Api<Deployment> = Api::namespaced(client, "shop");
    let wanted = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": {"replicas": 2}});
    let apply = PatchParams::apply("hanse");
    let web = deployments
        .patch("web", &apply, &Patch::Apply(&wanted))
        .await;
    let web = web.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        web.metadata.managed_fields.unwrap()[0].manager.as_deref(),
        Some("hanse")
    );
    let how = DeleteParams::foreground();
    deployments.delete("web", &how).await.unwrap();
    let going = deployments.get("web").await.unwrap();
    assert_eq!(going.metadata.finalizers, Some(vec![FOREGROUND.to_owned()]));
    server.with(|store| {
        let id = Id {
            kind: store.kind("apps", "Deployment"),
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
        };
        store.let_go(&id);
    });
    assert!(deployments.get_opt("web").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn kinds_are_discovered_in_both_forms() {
    let (_server, client) = cluster().await;
    let deployment = kube::core::GroupVersionKind::gvk("apps", "v1", "Deployment");
    let (resource, _) = discovery::pinned_kind(&client, &deployment).await.unwrap();
    assert_eq!(resource.plural, "deployments");
    let plain = Discovery::new(client.clone()).run().await.unwrap();
    let aggregated = Discovery::new(client.clone())
        .run_aggregated()
        .await
        .unwrap();
    for discovery in [plain, aggregated] {
        let mut kinds: Vec<String> = discovery
            .groups()
            .flat_map(discovery::ApiGroup::recommended_resources)
            .map(|(resource, _)| resource.kind)
            .collect();
        kinds.sort();
        assert_eq!(
            kinds.join(" "),
            "ConfigMap CustomResourceDefinition Deployment Event FederatedWorkload Federation HostingPolicy Member Namespace \
             Node Pod Secret"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_through_an_outage_and_past_its_own_end() {
    let (server, client) = cluster().await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "shop");
    let mut events = watcher(maps.clone(), watcher::Config::default()).boxed();
    let mut next = async |name: &str| loop {
        match events.next().await.unwrap() {
            Ok(watcher::Event::Apply(map) | watcher::Event::InitApply(map))
                if map.metadata.name.as_deref() == Some(name) =>
            {
                return;
            }
            // An interrupted watch begins again.
            Ok(_) | Err(_) => {}
        }
    };
    let make = async |name: &str| maps.create(&PostParams::default(), &named(name)).await;
    make("first").await.unwrap();
    next("first").await;
    server.serve(Service::Down);
    assert!(make("refused").await.is_err());
    server.serve(Service::Up);
    make("second").await.unwrap();
    next("second").await;
    sleep(Duration::from_secs(61)).await;
    make("third").await.unwrap();
    next("third").await;
}

#[tokio::test(start_paused = true)]
async fn while_it_is_stuck_a_request_waits() {
    let (server, client) = cluster().await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "shop");
    server.serve(Service::Stuck);
    let asked = tokio::time::timeout(Duration::from_secs(9), maps.get_opt("a")).await;
    assert!(asked.is_err());
    let release = async {
        sleep(Duration::from_secs(1)).await;
        server.serve(Service::Up);
    };
    let (asked, ()) = tokio::join!(maps.get_opt("a"), release);
    assert!(asked.unwrap().is_none());
}
