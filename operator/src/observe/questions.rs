//! Answers the CLI's questions: why something runs where it does, and what would happen.
//!
//! The CLI reaches the federation only through the API server: it creates a `ConfigMap` labelled `asked`. This module asks the
//! leader, writes the answer into the same `ConfigMap`, and labels it `answered`. Nothing is changed by a question, and the leader
//! answers about workloads of this member's owner only.

use hanse_core::{
    command::Attributes,
    grant::Grant,
    id::{MemberName, OwnerName, WorkloadKey},
    inquiry::{self, Answer},
    schedule::Change,
    slice::Slice,
};
use hanse_crds::{FederatedWorkload, HostingPolicy, Loss, Member, Question, names};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, ResourceExt, api::Patch, runtime::watcher};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::{
    definitions::Definitions, hosting_policy::grants_of, member::attributes_of, spec::domain_of,
};
use crate::{
    cluster::{
        CallError, Cluster,
        agenda::{Agenda, Next},
        merging, optional,
        watched::{ObjectKey, Watched},
    },
    uplink::Uplink,
};

/// The largest answer, in bytes: with it the `ConfigMap` is below the 1 MiB that an API server takes.
const MAX_ANSWER_BYTES: usize = 900 * 1024;

/// Observes until `stop`.
pub(super) async fn run(
    cluster: &Cluster,
    uplink: &Uplink,
    definitions: &Definitions,
    stop: &CancellationToken,
) {
    let (maps, agenda) = (Watched::<ConfigMap>::default(), Agenda::new());
    maps.tell(&agenda);
    let asked = format!("{}={}", names::QUESTION_LABEL, names::QUESTION_ASKED);
    let config = watcher::Config::default().labels(&asked);
    let api = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    tokio::join!(
        maps.keep(api, config, stop),
        agenda.work(1, stop, |key| round(
            cluster,
            uplink,
            definitions,
            &maps,
            key
        )),
    );
}

async fn round(
    cluster: &Cluster,
    uplink: &Uplink,
    definitions: &Definitions,
    maps: &Watched<ConfigMap>,
    key: ObjectKey,
) -> Next {
    let Some(Ok(map)) = maps.get(&key) else {
        return Next::Done;
    };
    // The answer is put into the cache before the watch shows it, so that no question is answered twice.
    let label = map.labels().get(names::QUESTION_LABEL);
    if label.map(String::as_str) != Some(names::QUESTION_ASKED) {
        return Next::Done;
    }
    let Some(slice) = uplink.slice().borrow().clone() else {
        return Next::Retry;
    };
    let known = Known {
        slice: &slice,
        definitions,
    };
    let answer = answer(cluster, uplink, &map, &known).await;
    match write(cluster, maps, &map, &answer).await {
        Ok(()) => Next::Done,
        Err(error) => {
            tracing::warn!(question = map.name_any(), %error, "cannot answer a question, trying again");
            Next::Retry
        }
    }
}

/// What is known when a question is read.
struct Known<'a> {
    slice: &'a Slice,
    definitions: &'a Definitions,
}

async fn answer(cluster: &Cluster, uplink: &Uplink, map: &ConfigMap, known: &Known<'_>) -> Answer {
    let text = map
        .data
        .as_ref()
        .and_then(|data| data.get(names::QUESTION_KEY));
    let question = match read(text.map_or("", String::as_str), &cluster.member, known) {
        Ok(question) => question,
        Err(reason) => return Answer::Refused { reason },
    };
    match uplink.ask(question).await {
        Ok(answer) => answer,
        Err(error) => Answer::Refused {
            reason: error.to_string(),
        },
    }
}

/// The question in the ledger's types.
fn read(text: &str, member: &MemberName, known: &Known<'_>) -> Result<inquiry::Question, String> {
    let question = serde_json::from_str(text)
        .map_err(|error| format!("the question is not readable: {error}"))?;
    let own = known.slice.members.get(member);
    let owner = own.map(|row| row.owner.clone());
    let owner = owner.ok_or("this cluster is not a member of the federation any more")?;
    match question {
        Question::Explain { namespace, name } => {
            let workload = key(&owner, &namespace, &name)?;
            Ok(inquiry::Question::Explain { workload })
        }
        Question::Drain {} => Ok(inquiry::Question::Drain),
        Question::Simulate { lose, objects } => {
            let mut changes: Vec<_> = lose.into_iter().map(loss).collect();
            changes.extend(applied(&owner, &objects, known)?);
            Ok(inquiry::Question::Simulate { changes })
        }
    }
}

fn key(owner: &OwnerName, namespace: &str, name: &str) -> Result<WorkloadKey, String> {
    let key = format!("{owner}/{namespace}/{name}").parse();
    key.map_err(|error: hanse_core::id::ParseIdError| error.to_string())
}

fn loss(Loss { domain, name }: Loss) -> Change {
    Change::Lose {
        domain: domain_of(domain),
        name,
    }
}

/// The changes that applying these objects would make.
fn applied(owner: &OwnerName, objects: &[Value], known: &Known<'_>) -> Result<Vec<Change>, String> {
    let mut grants: Vec<Grant> = Vec::new();
    let mut changes = Vec::new();
    for object in objects {
        match object["kind"].as_str() {
            Some("HostingPolicy") => {
                let policy: HostingPolicy = parsed(object)?;
                grants.extend(grants_of(&policy).map_err(|error| error.to_string())?);
            }
            Some("Member") => changes.push(added(owner, &parsed(object)?)?),
            Some("FederatedWorkload") => changes.push(put(owner, &parsed(object)?, known)?),
            kind => {
                return Err(format!(
                    "'{}' is of no kind that can be tried: Member, HostingPolicy or FederatedWorkload",
                    kind.unwrap_or_default()
                ));
            }
        }
    }
    let mut members = 0;
    for change in &mut changes {
        if let Change::Add { grants: own, .. } = change {
            own.clone_from(&grants);
            members += 1;
        }
    }
    if members == 0 && !grants.is_empty() {
        return Err("a HostingPolicy is tried with the Member that has it".to_owned());
    }
    Ok(changes)
}

/// A member is of the owner in its status, or of this owner.
fn added(own: &OwnerName, member: &Member) -> Result<Change, String> {
    let named = |error: hanse_core::id::ParseIdError| error.to_string();
    let status = member.status.as_ref();
    let owner = match status.and_then(|status| status.owner.as_deref()) {
        Some(owner) => owner.parse().map_err(named)?,
        None => own.clone(),
    };
    let attributes: Attributes = attributes_of(&member.spec);
    Ok(Change::Add {
        name: member.name_any().parse().map_err(named)?,
        owner,
        attributes,
        grants: Vec::new(),
    })
}

fn put(
    owner: &OwnerName,
    workload: &FederatedWorkload,
    known: &Known<'_>,
) -> Result<Change, String> {
    let namespace = workload.namespace().unwrap_or_else(|| "default".to_owned());
    let key = key(owner, &namespace, &workload.name_any())?;
    let before = known.slice.workload(&key).map(|owned| &*owned.spec);
    let level = known.slice.federation.level;
    let definitions = known.definitions;
    let spec = definitions.spec_of(&workload.spec, &key.namespace, before, level);
    let spec = spec.map_err(|error| error.to_string())?;
    Ok(Change::Put { key, spec })
}

fn parsed<T: DeserializeOwned>(object: &Value) -> Result<T, String> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    T::deserialize(object).map_err(|error| {
        format!(
            "{} '{name}' is not readable: {error}",
            object["kind"].as_str().unwrap_or_default()
        )
    })
}

async fn write(
    cluster: &Cluster,
    maps: &Watched<ConfigMap>,
    map: &ConfigMap,
    answer: &Answer,
) -> Result<(), CallError> {
    let mut text = serde_json::to_string(answer).unwrap_or_default();
    if text.len() > MAX_ANSWER_BYTES {
        let reason = format!(
            "the answer has {} bytes, and at most {MAX_ANSWER_BYTES} fit into a ConfigMap: ask about less at once",
            text.len()
        );
        text = serde_json::to_string(&Answer::Refused { reason }).unwrap_or_default();
    }
    let patch = json!({
        "metadata": {"uid": map.metadata.uid, "labels": {names::QUESTION_LABEL: names::QUESTION_ANSWERED}},
        "data": {names::ANSWER_KEY: text},
    });
    let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let name = map.name_any();
    if let Some(answered) = optional(api.patch(&name, &merging(), &Patch::Merge(&patch))).await? {
        maps.put(answered);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::fixture::slice;

    fn asked(question: &Value) -> Result<inquiry::Question, String> {
        let member = "acme-1".parse().unwrap();
        let known = Known {
            slice: &slice("acme", "acme-1", 20),
            definitions: &Definitions::default(),
        };
        read(&question.to_string(), &member, &known)
    }

    #[test]
    fn a_question_about_a_workload_is_about_one_of_this_owner() {
        let question = json!({"explain": {"namespace": "shop", "name": "web"}});
        let workload = "acme/shop/web".parse().unwrap();
        assert_eq!(
            asked(&question),
            Ok(inquiry::Question::Explain { workload })
        );
    }

    #[test]
    fn a_policy_is_of_the_member_that_is_tried_with_it() {
        let member = json!({
            "apiVersion": "hanse.dev/v1alpha1", "kind": "Member", "metadata": {"name": "beta-1"},
            "spec": {"provider": "ovh"}, "status": {"owner": "beta"},
        });
        let policy = json!({
            "apiVersion": "hanse.dev/v1alpha1", "kind": "HostingPolicy", "metadata": {"name": "all"},
            "spec": {"grants": [{"name": "all", "owner": "*", "namespaces": ["*"], "kinds": [{"group": "apps", "kind": "Deployment"}]}]},
        });
        let simulate =
            |objects: &[&Value]| asked(&json!({"simulate": {"lose": [], "objects": objects}}));
        let Ok(inquiry::Question::Simulate { changes }) = simulate(&[&member, &policy]) else {
            panic!("{:?}", simulate(&[&member, &policy]));
        };
        let [
            Change::Add {
                name,
                owner,
                attributes,
                grants,
            },
        ] = changes.as_slice()
        else {
            panic!("{changes:?}");
        };
        let provider = attributes.provider.as_str();
        assert_eq!(
            (name.as_str(), owner.as_str(), provider, grants.len()),
            ("beta-1", "beta", "ovh", 1)
        );
        assert_eq!(
            simulate(&[&policy]),
            Err("a HostingPolicy is tried with the Member that has it".to_owned())
        );
    }

    #[test]
    fn what_cannot_be_tried_is_named() {
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}});
        let question = json!({"simulate": {"lose": [], "objects": [pod]}});
        assert_eq!(
            asked(&question),
            Err(
                "'Pod' is of no kind that can be tried: Member, HostingPolicy or FederatedWorkload"
                    .to_owned()
            )
        );
        let broken = asked(&json!({"sing": {}})).unwrap_err();
        assert!(
            broken.starts_with("the question is not readable: unknown variant `sing`"),
            "{broken}"
        );
    }
}
