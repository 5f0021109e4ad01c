//! Step 1 of the flow: what owners write into the local API server becomes commands.
//!
//! | module | watches | proposes |
//! |---|---|---|
//! | [`workloads`] | `FederatedWorkload`s of all namespaces | `PutWorkload`, `RemoveWorkload` |
//! | [`member`] | this cluster's own `Member` | `Describe` |
//! | [`hosting_policy`] | `HostingPolicy`s | `PublishGrants` |
//! | [`revocation`] | other clusters' `Member`s with the annotation `hanse.dev/revoke` | `Revoke` |
//! | [`invitations`] | `Secret`s through which the CLI asks for an invitation | `Invite` |
//!
//! Each compares what the API server has with what the ledger has and proposes the difference; none remembers an
//! event. What the watches teach about this cluster itself, its grants and its attributes, goes out through
//! [`Terms`], because a host decides on what its own API server says and on nothing else.
//!
//! Absent on purpose: status. What became of a workload is written by `report`; what is wrong with an object as it is
//! written goes there through [`Faults`].

use std::sync::Arc;

use hanse_core::{command::Attributes, grant::Grant, id::WorkloadKey};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{cluster::Cluster, local::Local, watched::ObjectKey};

mod edit;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod hosting_policy;
mod invitations;
pub(crate) mod member;
mod revocation;
mod workloads;

pub use edit::{Fault, Faults};
pub use hosting_policy::Publication;

/// Under which terms this cluster hosts, by the word of its own API server. `None` until that has been read.
#[derive(Debug, Clone)]
pub struct Terms {
    /// What other owners may run here.
    pub grants: watch::Receiver<Option<Arc<Vec<Grant>>>>,
    /// What this cluster is: its jurisdiction above all.
    pub attributes: watch::Receiver<Option<Arc<Attributes>>>,
    /// What became of the grants in the ledger.
    pub publication: watch::Receiver<Publication>,
}

/// The other side of [`Terms`], filled in by [`run`].
#[derive(Debug)]
pub struct TermsKept {
    grants: watch::Sender<Option<Arc<Vec<Grant>>>>,
    attributes: watch::Sender<Option<Arc<Attributes>>>,
    publication: watch::Sender<Publication>,
}

/// The terms, and what [`run`] needs to keep them.
#[must_use]
pub fn terms() -> (TermsKept, Terms) {
    let (grants, grants_out) = watch::channel(None);
    let (attributes, attributes_out) = watch::channel(None);
    let (publication, publication_out) = watch::channel(Publication::default());
    let kept = TermsKept {
        grants,
        attributes,
        publication,
    };
    let terms = Terms {
        grants: grants_out,
        attributes: attributes_out,
        publication: publication_out,
    };
    (kept, terms)
}

/// Observes until `stop`. `first` describes this member where its own `Member` object does not exist yet.
pub async fn run(
    cluster: &Cluster,
    local: &Local,
    terms: &TermsKept,
    faults: &Faults,
    first: &Attributes,
    stop: &CancellationToken,
) {
    tokio::join!(
        workloads::run(cluster, &local.workloads, faults, stop),
        member::run(cluster, &local.members, &terms.attributes, first, stop),
        hosting_policy::run(cluster, &local.policies, terms, stop),
        revocation::run(cluster, &local.members, stop),
        invitations::run(cluster, stop),
    );
}

/// Where the ledger's workload lives in the local API server.
pub(crate) fn object_key(workload: &WorkloadKey) -> ObjectKey {
    (workload.namespace.to_string(), workload.name.to_string())
}
