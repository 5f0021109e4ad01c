//! The kinds that this cluster serves, published to the planner, so that nothing is placed here that cannot exist here.
//!
//! A watch of definitions says when to look: at once, and again while the API server catches up with a definition that is
//! established. Kinds of an aggregated API are looked for with [`LOOK_AGAIN`]. Where the API server says that its
//! knowledge of a group is out of date, what was known of that group stays.

use std::{collections::BTreeSet, time::Duration};

use hanse_core::{command::Command, state::Outcome, workload::GroupKind};
use kube::{
    Client,
    core::discovery::v2::{APIGroupDiscovery, APIGroupDiscoveryList},
};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use super::definitions::Definitions;
use crate::{
    cluster::{CallError, agenda::backoff, bounded},
    uplink::Uplink,
};

/// When to look after a definition changed: its kind is served a moment after it is established.
const SETTLING: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(4),
];

/// How often to look without a change of a definition.
const LOOK_AGAIN: Duration = Duration::from_mins(5);

/// Observes until `stop`.
pub(super) async fn run(
    client: &Client,
    uplink: &Uplink,
    definitions: &Definitions,
    stop: &CancellationToken,
) {
    let publish = publish(client, uplink, definitions.changes());
    stop.run_until_cancelled(publish).await;
}

async fn publish(client: &Client, uplink: &Uplink, mut definitions: watch::Receiver<u64>) {
    let (mut known, mut published, mut failures) = (BTreeSet::new(), None, 0);
    let mut looks = SETTLING.iter();
    loop {
        let again = match look(client, &known).await {
            Ok(kinds) => {
                known = kinds;
                failures = 0;
                if published.as_ref() != Some(&known) && propose(uplink, &known).await {
                    published = Some(known.clone());
                }
                looks.next().copied().unwrap_or(LOOK_AGAIN)
            }
            Err(error) => {
                if failures == 0 {
                    tracing::warn!(%error, "cannot tell which kinds this cluster serves, trying again");
                }
                failures += 1;
                backoff(failures)
            }
        };
        tokio::select! {
            Ok(()) = definitions.changed() => {
                looks = SETTLING.iter();
                // A definition changes several times while it is established.
                sleep(SETTLING[0]).await;
            }
            () = sleep(again) => {}
        }
    }
}

/// Returns whether the ledger has the kinds.
async fn propose(uplink: &Uplink, kinds: &BTreeSet<GroupKind>) -> bool {
    let command = Command::PublishKinds {
        kinds: kinds.clone(),
    };
    match uplink.propose(command).await {
        Ok(Outcome::Accepted { .. }) => true,
        Ok(Outcome::Rejected { rejection }) => {
            tracing::warn!(%rejection, "the ledger rejected the kinds that this cluster serves");
            false
        }
        Err(_) => false,
    }
}

async fn look(
    client: &Client,
    known: &BTreeSet<GroupKind>,
) -> Result<BTreeSet<GroupKind>, CallError> {
    let groups = bounded(client.list_api_groups_aggregated()).await?;
    let core = bounded(client.list_core_api_versions_aggregated()).await?;
    Ok(kinds(&[groups, core], known))
}

/// The kinds in these documents.
fn kinds(documents: &[APIGroupDiscoveryList], known: &BTreeSet<GroupKind>) -> BTreeSet<GroupKind> {
    let groups = documents.iter().flat_map(|document| &document.items);
    groups.flat_map(|group| kinds_of(group, known)).collect()
}

fn kinds_of(discovered: &APIGroupDiscovery, known: &BTreeSet<GroupKind>) -> Vec<GroupKind> {
    let name = discovered.metadata.as_ref().and_then(|it| it.name.clone());
    let group = name.unwrap_or_default();
    let versions = &discovered.versions;
    let stale = versions
        .iter()
        .any(|it| it.freshness.as_deref() == Some("Stale"));
    let resources = versions.iter().flat_map(|version| &version.resources);
    let served = resources.filter_map(|resource| resource.response_kind.as_ref()?.kind.as_ref());
    let served = served.map(|kind| GroupKind {
        group: group.clone(),
        kind: kind.clone(),
    });
    let before = known.iter().filter(|it| stale && it.group == group);
    served.chain(before.cloned()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A group with one kind, as the API server describes it.
    fn document(group: &Value, kind: &str, freshness: &str) -> APIGroupDiscoveryList {
        let resource = json!({
            "resource": "things", "responseKind": {"group": "", "version": "", "kind": kind}, "verbs": ["get"],
            "subresources": [{"subresource": "status", "responseKind": {"group": "", "version": "", "kind": "Part"}}],
        });
        let version = json!({"version": "v1", "resources": [resource], "freshness": freshness});
        let item = json!({"metadata": {"name": group}, "versions": [version]});
        serde_json::from_value(json!({"items": [item]})).unwrap()
    }

    fn words(kinds: &BTreeSet<GroupKind>) -> String {
        let words: Vec<_> = kinds.iter().map(ToString::to_string).collect();
        words.join(" ")
    }

    #[test]
    fn kinds_are_those_of_all_groups_and_what_is_out_of_date_stays() {
        let first = kinds(
            &[
                document(&Value::Null, "Pod", "Current"),
                document(&json!("shop.example"), "Sale", "Current"),
                document(&json!("metrics.example"), "Meter", "Current"),
            ],
            &BTreeSet::new(),
        );
        assert_eq!(words(&first), "Pod metrics.example/Meter shop.example/Sale");
        let second = kinds(
            &[
                document(&Value::Null, "Pod", "Current"),
                document(&json!("metrics.example"), "Gauge", "Stale"),
            ],
            &first,
        );
        assert_eq!(
            words(&second),
            "Pod metrics.example/Gauge metrics.example/Meter"
        );
    }
}
