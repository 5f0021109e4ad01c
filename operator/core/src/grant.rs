//! Consent: what the owner of a host lets other owners run there.
//!
//! The same [`Grant`] is evaluated twice. The planner reads the summary in the ledger, so that it plans nothing that
//! would be refused; the host's operator reads the `HostingPolicy` objects of its own cluster, and that decides.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    id::{Namespace, OwnerName, WorkloadKey},
    workload::GroupKind,
};

/// The most grants one member publishes, over all its `HostingPolicy` objects. More are rejected as a whole: a
/// shorter list would permit something else than what was written.
pub const MAX_GRANTS: usize = 256;

/// Whose workloads a grant is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Grantee {
    /// Every owner of the federation, those to come included.
    Any,
    /// One owner.
    Owner(OwnerName),
}

/// Which of the grantee's namespaces a grant is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GrantedNamespaces {
    /// All of them.
    Any,
    /// Those named.
    Named(BTreeSet<Namespace>),
}

/// The pod-security level of a namespace made for a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PodSecurity {
    /// Hardened pods only.
    Restricted,
    /// No known way to gain privileges.
    Baseline,
    /// Everything is allowed.
    Privileged,
}

impl PodSecurity {
    /// The value of the label `pod-security.kubernetes.io/enforce`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Restricted => "restricted",
            Self::Baseline => "baseline",
            Self::Privileged => "privileged",
        }
    }
}

/// One permission: this owner's workloads of these namespaces may run objects of these kinds here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// Whose workloads.
    pub grantee: Grantee,
    /// Which of their namespaces.
    pub namespaces: GrantedNamespaces,
    /// Which kinds of objects.
    pub kinds: BTreeSet<GroupKind>,
    /// The host's namespace to use instead of `<owner>--<namespace>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_namespace: Option<Namespace>,
    /// The pod-security level of the namespace made for the guest.
    pub pod_security: PodSecurity,
}

impl Grant {
    fn is_about(&self, workload: &WorkloadKey) -> bool {
        let owner = match &self.grantee {
            Grantee::Any => true,
            Grantee::Owner(owner) => *owner == workload.owner,
        };
        let namespace = match &self.namespaces {
            GrantedNamespaces::Any => true,
            GrantedNamespaces::Named(names) => names.contains(&workload.namespace),
        };
        owner && namespace
    }
}

/// Why a host does not consent to a workload.
#[allow(
    missing_docs,
    reason = "the message of each variant is its documentation"
)]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("no HostingPolicy there grants owner '{owner}' namespace '{namespace}'")]
    NoGrant {
        owner: OwnerName,
        namespace: Namespace,
    },
    #[error("no HostingPolicy there grants owner '{owner}' the kind {kind}")]
    KindNotGranted { owner: OwnerName, kind: GroupKind },
}

/// The host's terms for one workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    /// The namespace its objects go to.
    pub namespace: String,
    /// Set where the namespace is the guest's own and Hanse makes it.
    pub pod_security: Option<PodSecurity>,
}

/// Whether a member of `host` consents to `workload` with objects of `kinds`, and on which terms.
///
/// An owner's own workloads need no grant on its own members and keep their namespace. For everyone else one single
/// grant must cover all kinds; two that cover half each do not add up. The first covering grant in order decides.
pub fn consent(
    host: &OwnerName,
    grants: &[Grant],
    workload: &WorkloadKey,
    kinds: &BTreeSet<GroupKind>,
) -> Result<Consent, Refusal> {
    if *host == workload.owner {
        return Ok(Consent {
            namespace: workload.namespace.to_string(),
            pod_security: None,
        });
    }
    covering_grant(grants, workload, kinds).map(|(_, grant)| terms(grant, workload))
}

/// The first grant in order that covers a guest's `workload` with objects of `kinds`, with its place in the order.
pub fn covering_grant<'a>(
    grants: &'a [Grant],
    workload: &WorkloadKey,
    kinds: &BTreeSet<GroupKind>,
) -> Result<(usize, &'a Grant), Refusal> {
    let mut missing = None;
    let about = grants.iter().enumerate();
    for (place, grant) in about.filter(|(_, grant)| grant.is_about(workload)) {
        match kinds.difference(&grant.kinds).next() {
            None => return Ok((place, grant)),
            Some(kind) => missing = missing.or(Some(kind)),
        }
    }
    let owner = workload.owner.clone();
    Err(match missing {
        Some(kind) => Refusal::KindNotGranted {
            owner,
            kind: kind.clone(),
        },
        None => Refusal::NoGrant {
            owner,
            namespace: workload.namespace.clone(),
        },
    })
}

fn terms(grant: &Grant, workload: &WorkloadKey) -> Consent {
    match &grant.host_namespace {
        Some(namespace) => Consent {
            namespace: namespace.to_string(),
            pod_security: None,
        },
        None => Consent {
            namespace: guest_namespace(workload),
            pod_security: Some(grant.pod_security),
        },
    }
}

/// The namespace of a guest: `<owner>--<namespace>`, cut to a DNS label with a digest of the whole where it is longer.
#[must_use]
pub fn guest_namespace(workload: &WorkloadKey) -> String {
    use sha2::{Digest as _, Sha256};
    let whole = format!("{}--{}", workload.owner, workload.namespace);
    if whole.len() <= 63 {
        return whole;
    }
    // 54 characters, a hyphen and 8 hexadecimal digits make the 63 that a DNS label may have.
    let digest = hex::encode(Sha256::digest(&whole));
    format!("{}-{}", whole[..54].trim_end_matches('-'), &digest[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(kinds: &[(&str, &str)]) -> BTreeSet<GroupKind> {
        kinds
            .iter()
            .map(|(group, kind)| GroupKind {
                group: (*group).into(),
                kind: (*kind).into(),
            })
            .collect()
    }

    fn grant(owner: &str, namespaces: &[&str], granted: &[(&str, &str)]) -> Grant {
        Grant {
            grantee: if owner == "*" {
                Grantee::Any
            } else {
                Grantee::Owner(owner.parse().unwrap())
            },
            namespaces: if namespaces == ["*"] {
                GrantedNamespaces::Any
            } else {
                GrantedNamespaces::Named(
                    namespaces
                        .iter()
                        .map(|name| name.parse().unwrap())
                        .collect(),
                )
            },
            kinds: kinds(granted),
            host_namespace: None,
            pod_security: PodSecurity::Restricted,
        }
    }

    fn asked(grants: &[Grant], workload: &str) -> Result<Consent, String> {
        let wanted = kinds(&[("", "ConfigMap"), ("apps", "Deployment")]);
        consent(
            &"host".parse().unwrap(),
            grants,
            &workload.parse().unwrap(),
            &wanted,
        )
        .map_err(|e| e.to_string())
    }

    #[test]
    fn an_owner_needs_no_grant_on_its_own_members_and_keeps_its_namespace() {
        assert_eq!(
            asked(&[], "host/shop/web"),
            Ok(Consent {
                namespace: "shop".into(),
                pod_security: None
            })
        );
    }

    #[test]
    fn without_a_grant_there_is_no_hosting() {
        let refused = Err("no HostingPolicy there grants owner 'acme' namespace 'shop'".to_owned());
        let all = [("", "ConfigMap"), ("apps", "Deployment")];
        assert_eq!(asked(&[], "acme/shop/web"), refused);
        assert_eq!(
            asked(&[grant("beta", &["*"], &all)], "acme/shop/web"),
            refused
        );
        assert_eq!(
            asked(&[grant("acme", &["bank"], &all)], "acme/shop/web"),
            refused
        );
    }

    #[test]
    fn one_grant_must_cover_every_kind() {
        let halves = [
            grant("acme", &["*"], &[("", "ConfigMap")]),
            grant("*", &["*"], &[("apps", "Deployment")]),
        ];
        assert_eq!(
            asked(&halves, "acme/shop/web"),
            Err("no HostingPolicy there grants owner 'acme' the kind apps/Deployment".to_owned())
        );
    }

    #[test]
    fn a_guest_gets_a_restricted_namespace_of_its_own_unless_the_grant_names_one() {
        let mut granted = grant("*", &["*"], &[("", "ConfigMap"), ("apps", "Deployment")]);
        let own = Consent {
            namespace: "acme--shop".into(),
            pod_security: Some(PodSecurity::Restricted),
        };
        assert_eq!(
            asked(std::slice::from_ref(&granted), "acme/shop/web"),
            Ok(own)
        );
        granted.host_namespace = Some("guests".parse().unwrap());
        assert_eq!(
            asked(&[granted], "acme/shop/web"),
            Ok(Consent {
                namespace: "guests".into(),
                pod_security: None
            })
        );
    }

    #[test]
    fn a_long_guest_namespace_stays_a_dns_label_and_distinct() {
        let key = |end: &str| {
            format!("{}/{}{end}/web", "o".repeat(40), "n".repeat(40))
                .parse()
                .unwrap()
        };
        let (left, right) = (guest_namespace(&key("a")), guest_namespace(&key("b")));
        assert!(
            left.len() <= 63 && left.parse::<Namespace>().is_ok(),
            "{left}"
        );
        assert_ne!(left, right);
    }
}
