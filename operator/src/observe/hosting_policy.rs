//! The grants of this cluster: what its owner allows other owners to run here.
//!
//! The grants of all `HostingPolicy` objects, in the order of their names, are published twice: at once to the host's
//! own enforcement ([`Terms`](super::Terms)), and through the ledger to the planner. The first never waits for the
//! second. Nothing is published until the watch has read the first list.

use std::sync::Arc;

use hanse_core::{
    command::Command,
    grant::{Grant, GrantedNamespaces, Grantee, PodSecurity},
    id::ParseIdError,
    state::Outcome,
    workload::GroupKind,
};
use hanse_crds::{Grant as WrittenGrant, GrantedKind, HostingPolicy, PodSecurity as WrittenLevel};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    answered::PROPOSE_AGAIN,
    terms::{Publication, TermsSender},
};
use crate::{cluster::watched::Watched, uplink::Uplink};

/// Observes until `stop`.
pub(super) async fn run(
    uplink: &Uplink,
    policies: &Watched<HostingPolicy>,
    terms: &TermsSender,
    stop: &CancellationToken,
) {
    let observe = async {
        tokio::join!(
            collect(policies, terms.grants()),
            publish(uplink, terms.grants().subscribe(), terms.publication())
        )
    };
    stop.run_until_cancelled(observe).await;
}

async fn collect(
    policies: &Watched<HostingPolicy>,
    grants: &watch::Sender<Option<Arc<Vec<Grant>>>>,
) {
    policies.completed().await;
    let mut version = policies.version();
    loop {
        version.borrow_and_update();
        let all = all_grants(policies);
        grants.send_if_modified(|known| {
            let changed = known.as_deref() != Some(&all);
            if changed {
                tracing::info!(grants = all.len(), "the grants of this cluster changed");
                *known = Some(Arc::new(all));
            }
            changed
        });
        if version.changed().await.is_err() {
            return;
        }
    }
}

/// One grant of one policy.
pub(crate) struct NamedGrant {
    /// The name of the `HostingPolicy`.
    pub(crate) policy: String,
    /// The name of the grant in it.
    pub(crate) name: String,
    pub(crate) grant: Grant,
}

/// All grants of this cluster, in the order in which they are evaluated: by the names of the policies, and within a
/// policy as written. A policy that cannot be read grants nothing.
pub(crate) fn named_grants(policies: &Watched<HostingPolicy>) -> Vec<NamedGrant> {
    let mut all = Vec::new();
    for ((_, name), policy) in policies.all() {
        let Ok(policy) = policy else { continue };
        let Ok(grants) = grants_of(&policy) else {
            continue;
        };
        let names = policy.spec.grants.iter().map(|grant| grant.name.clone());
        all.extend(
            grants
                .into_iter()
                .zip(names)
                .map(|(grant, grant_name)| NamedGrant {
                    policy: name.clone(),
                    name: grant_name,
                    grant,
                }),
        );
    }
    all
}

fn all_grants(policies: &Watched<HostingPolicy>) -> Vec<Grant> {
    for ((_, name), policy) in policies.all() {
        let read = policy.and_then(|policy| grants_of(&policy).map_err(|error| error.to_string()));
        if let Err(error) = read {
            tracing::warn!(
                policy = name,
                error,
                "the policy cannot be read and grants nothing"
            );
        }
    }
    let named = named_grants(policies).into_iter();
    named.map(|named| named.grant).collect()
}

async fn publish(
    uplink: &Uplink,
    mut grants: watch::Receiver<Option<Arc<Vec<Grant>>>>,
    publication: &watch::Sender<Publication>,
) {
    loop {
        let newest = grants.borrow_and_update().clone();
        let mut settled = true;
        if let Some(newest) = newest {
            publication.send_if_modified(|publication| {
                let answered = publication.grants() == Some(&newest);
                if !answered {
                    *publication = Publication::Pending;
                }
                !answered
            });
            let command = Command::PublishGrants {
                grants: newest.to_vec(),
            };
            match uplink.propose(command).await {
                Ok(Outcome::Accepted { .. }) => {
                    publication.send_replace(Publication::Published(newest));
                }
                Ok(Outcome::Rejected { rejection }) => {
                    tracing::warn!(%rejection, "the ledger rejected the grants");
                    publication.send_replace(Publication::Rejected(newest, rejection.to_string()));
                    settled = false;
                }
                Err(_) => return,
            }
        }
        tokio::select! {
            changed = grants.changed() => if changed.is_err() { return },
            () = sleep(PROPOSE_AGAIN), if !settled => {}
        }
    }
}

/// The grants of one policy.
pub(crate) fn grants_of(policy: &HostingPolicy) -> Result<Vec<Grant>, ParseIdError> {
    policy.spec.grants.iter().map(grant_of).collect()
}

fn grant_of(written: &WrittenGrant) -> Result<Grant, ParseIdError> {
    let WrittenGrant {
        name: _,
        owner,
        namespaces,
        kinds,
        namespace,
        pod_security,
    } = written;
    let named = || {
        namespaces
            .iter()
            .map(|name| name.parse())
            .collect::<Result<_, ParseIdError>>()
    };
    let kinds = kinds.iter().map(|GrantedKind { group, kind }| GroupKind {
        group: group.clone(),
        kind: kind.clone(),
    });
    Ok(Grant {
        grantee: match owner.as_str() {
            "*" => Grantee::Any,
            owner => Grantee::Owner(owner.parse()?),
        },
        namespaces: if namespaces.contains("*") {
            GrantedNamespaces::Any
        } else {
            GrantedNamespaces::Named(named()?)
        },
        kinds: kinds.collect(),
        host_namespace: namespace.as_deref().map(str::parse).transpose()?,
        pod_security: match pod_security {
            WrittenLevel::Restricted => PodSecurity::Restricted,
            WrittenLevel::Baseline => PodSecurity::Baseline,
            WrittenLevel::Privileged => PodSecurity::Privileged,
        },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hanse_crds::HostingPolicySpec;

    use super::*;

    fn policy(owner: &str, namespaces: &[&str], namespace: Option<&str>) -> HostingPolicy {
        let grant = WrittenGrant {
            name: "guests".into(),
            owner: owner.into(),
            namespaces: namespaces.iter().map(ToString::to_string).collect(),
            kinds: vec![GrantedKind {
                group: "apps".into(),
                kind: "Deployment".into(),
            }],
            namespace: namespace.map(str::to_owned),
            pod_security: WrittenLevel::Baseline,
        };
        HostingPolicy::new(
            "guests",
            HostingPolicySpec {
                grants: vec![grant],
            },
        )
    }

    fn granted(grantee: Grantee, namespaces: GrantedNamespaces, host: Option<&str>) -> Grant {
        Grant {
            grantee,
            namespaces,
            kinds: BTreeSet::from([GroupKind {
                group: "apps".into(),
                kind: "Deployment".into(),
            }]),
            host_namespace: host.map(|name| name.parse().unwrap()),
            pod_security: PodSecurity::Baseline,
        }
    }

    #[test]
    fn a_policy_becomes_grants_without_changes() {
        let shop = GrantedNamespaces::Named(BTreeSet::from(["shop".parse().unwrap()]));
        assert_eq!(
            [
                grants_of(&policy("acme", &["shop"], Some("guests"))),
                grants_of(&policy("*", &["*", "shop"], None))
            ],
            [
                Ok(vec![granted(
                    Grantee::Owner("acme".parse().unwrap()),
                    shop,
                    Some("guests")
                )]),
                Ok(vec![granted(Grantee::Any, GrantedNamespaces::Any, None)])
            ]
        );
    }

    #[test]
    fn a_policy_with_an_invalid_name_grants_nothing() {
        assert!(grants_of(&policy("Acme", &["shop"], None)).is_err());
    }
}
