//! Reading the objects of the federation from the API server.

use std::{fmt::Debug, pin::pin, time::Duration};

use futures::TryStreamExt;
use hanse_crds::{FederatedWorkload, Federation, Member, names::MIRRORED_LABEL};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams},
    runtime::watcher,
};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::failure::{Asked, Failure};

/// For one request. A working API server answers a list in a second.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) const FEDERATIONS: &str = "federations.hanse.dev";
pub(crate) const MEMBERS: &str = "members.hanse.dev";
pub(crate) const WORKLOADS: &str = "federatedworkloads.hanse.dev";

/// The federation as the operator of this cluster last reported it.
pub(crate) async fn federation(client: &Client) -> Result<Federation, Failure> {
    let federations = list(Api::all(client.clone()), Asked::of("list", FEDERATIONS)).await?;
    federations.into_iter().next().ok_or(Failure::NoFederation)
}

/// All members, by name.
pub(crate) async fn members(client: &Client) -> Result<Vec<Member>, Failure> {
    list(Api::all(client.clone()), Asked::of("list", MEMBERS)).await
}

/// One member, by name.
pub(crate) async fn member(client: &Client, name: &str) -> Result<Member, Failure> {
    let members = members(client).await?;
    let mut members = members.into_iter();
    let member = members.find(|member| member.name_any() == name);
    member.ok_or_else(|| Failure::NoMember {
        member: name.to_owned(),
    })
}

/// Whether it is the member of the cluster that the client is connected to: only the rows of the others are mirrored.
pub(crate) fn is_own(member: &Member) -> bool {
    !member.labels().contains_key(MIRRORED_LABEL)
}

/// The workloads of this cluster's owner, by namespace and name; those of one namespace if one is given.
pub(crate) async fn workloads(
    client: &Client,
    namespace: Option<&str>,
) -> Result<Vec<FederatedWorkload>, Failure> {
    let asked = Asked::of("list", WORKLOADS);
    match namespace {
        None => list(Api::all(client.clone()), asked).await,
        Some(namespace) => {
            list(
                Api::namespaced(client.clone(), namespace),
                asked.within(namespace),
            )
            .await
        }
    }
}

/// The answer to `request`, within the time one may take.
pub(crate) async fn answer<T>(
    asked: Asked,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, Failure> {
    match timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|error| asked.failed(error)),
        Err(_) => Err(Failure::TimedOut {
            what: format!("the API server did not answer ({} {})", asked.verb, asked.resource),
            after: REQUEST_TIMEOUT,
            hint: "Is the cluster up? Any other member of the same owner shows the same federation: try its --context."
                .into(),
        }),
    }
}

/// Watches one object until `found` returns something; it is given `None` while the object does not exist. Waits without
/// limit: the caller sets one.
pub(crate) async fn watch<K, T>(
    api: &Api<K>,
    name: &str,
    asked: Asked,
    mut found: impl FnMut(Option<K>) -> Option<T>,
) -> Result<T, Failure>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut seen = pin!(watcher::watch_object(api.clone(), name));
    loop {
        match seen.try_next().await {
            Ok(object) => {
                if let Some(answer) = found(object.flatten()) {
                    return Ok(answer);
                }
            }
            Err(error) => return Err(asked.failed_to_watch(error)),
        }
    }
}

/// Deletes an object. One that is gone already is as good as deleted.
pub(crate) async fn delete<K>(api: &Api<K>, name: &str, asked: Asked) -> Result<(), Failure>
where
    K: Clone + DeserializeOwned + Debug,
{
    let parameters = DeleteParams::default();
    let deletion = async {
        match api.delete(name, &parameters).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            other => other.map(drop),
        }
    };
    answer(asked, deletion).await
}

async fn list<K>(api: Api<K>, asked: Asked) -> Result<Vec<K>, Failure>
where
    K: Clone + DeserializeOwned + Debug,
{
    // Answered from the API server's cache, in the order of namespace and name.
    let parameters = ListParams::default().match_any();
    Ok(answer(asked, api.list(&parameters)).await?.items)
}
