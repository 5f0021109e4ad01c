//! What the pods of a workload say, where its objects are not ready for longer than usual.
//!
//! A controller says how many of its pods are ready, and its pods say why they are not. Pods are not watched for this: those of a
//! workload that is not ready are listed, a few of them, as long as it lasts.

use std::time::Duration;

use hanse_core::{
    health::{bounded, labels_of_pods, pods_say},
    id::WorkloadKey,
    slice::{PlacementPhase, PlacementReport},
};
use kube::api::ListParams;
use tokio::time::Instant;
use tracing::debug;

use super::{host::Host, inventory::Inventory};

/// For how long objects may be not ready before their pods are asked, and how often they are asked then.
pub(super) const ASK_AFTER: Duration = Duration::from_secs(5);

/// The most pods that are asked of one object. Those of one template have mostly one reason.
const PODS: u32 = 20;

/// The most objects of a workload whose pods are asked in one round.
const OBJECTS: usize = 3;

impl Host {
    /// Adds what its pods say to the report of a workload that is not ready for longer than [`ASK_AFTER`]. Returns whether to look
    /// again although nothing changes.
    pub(super) async fn ask_pods(&self, key: &WorkloadKey, report: &mut PlacementReport) -> bool {
        let unready = match report.phase {
            PlacementPhase::Ready => Vec::new(),
            _ => self.unready(key),
        };
        if unready.is_empty() {
            self.unready_since.lock().remove(key);
            return false;
        }
        let now = Instant::now();
        let since = *self.unready_since.lock().entry(key.clone()).or_insert(now);
        if now.duration_since(since) >= ASK_AFTER
            && let Some(words) = self.words_of(key, unready).await
        {
            report.message = bounded(&format!("{}; {words}", report.message));
        }
        true
    }

    /// The namespaces and labels of the pods of its objects that are not ready.
    fn unready(&self, key: &WorkloadKey) -> Vec<(String, String)> {
        let rules = self.rules(key);
        let ids = self.inventories.lock().get(key).map(Inventory::marked);
        let unready = ids.into_iter().flatten().filter_map(|(id, _)| {
            let live = self.live.get(&id)?;
            let labels = labels_of_pods(&live, &rules.assess(&live))?;
            Some((id.namespace, labels))
        });
        unready.take(OBJECTS).collect()
    }

    /// What the first of these pods say that say anything.
    async fn words_of(&self, key: &WorkloadKey, pods: Vec<(String, String)>) -> Option<String> {
        for (namespace, labels) in pods {
            let which = ListParams::default().labels(&labels).limit(PODS);
            match self.objects.pods(&namespace, &which).await {
                Ok(pods) => {
                    let words = pods_say(&pods);
                    if words.is_some() {
                        return words;
                    }
                }
                Err(error) => debug!(workload = %key, %error, "cannot ask its pods"),
            }
        }
        None
    }
}
