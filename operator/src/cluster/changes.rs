//! That objects of a kind changed, for those who then look for themselves.

use futures::{Stream, StreamExt};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject},
    core::PartialObjectMeta,
    runtime::{WatchStreamExt, watcher},
};

/// An item for every change of an object of this kind, and one when the first list was read. Reads only metadata; a watch
/// that fails begins again with a backoff.
pub(crate) fn changes(client: &Client, kind: &ApiResource) -> impl Stream<Item = ()> + use<> {
    let api: Api<PartialObjectMeta<DynamicObject>> = Api::all_with(client.clone(), kind);
    let events = watcher(api, watcher::Config::default()).default_backoff();
    events.filter_map(async |event| match event {
        Ok(watcher::Event::InitDone | watcher::Event::Apply(_) | watcher::Event::Delete(_)) => {
            Some(())
        }
        Ok(watcher::Event::Init | watcher::Event::InitApply(_)) | Err(_) => None,
    })
}
