//! Step 1 of the flow: what owners write into the local API server becomes commands.
//!
//! | module | watches | proposes |
//! |---|---|---|
//! | [`workloads`] | `FederatedWorkload`s of all namespaces | `PutWorkload`, `RemoveWorkload` |
//! | [`member`] | this cluster's own `Member` | `Describe` |
//! | [`hosting_policy`] | `HostingPolicy`s | `PublishGrants` |
//! | [`revocation`] | other clusters' `Member`s with the annotation `hanse.dev/revoke` | `Revoke` |
//! | [`timings`] | this cluster's `Federation` with the annotation `hanse.dev/timings` | `SetTimings` |
//! | [`invitations`] | `Secret`s through which the CLI asks for an invitation | `Invite` |
//!
//! Each compares what the API server has with what the ledger has and proposes the difference; none remembers an
//! event. [`edit`] decides about a workload, [`round`] carries it out, [`memory`] is what rounds remember. What the watches
//! teach about this cluster itself, its grants and its attributes, goes out through [`terms`], because a host decides on
//! what its own API server says and on nothing else.
//!
//! Absent on purpose: status. What became of a workload is written by `report`; what keeps an object from being what it
//! asks for goes there through [`problems`].

use hanse_core::{
    command::Attributes,
    id::{MemberName, WorkloadKey},
};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{Cluster, Local},
    uplink::Uplink,
};

mod answered;
mod edit;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod hosting_policy;
mod invitations;
pub(crate) mod member;
mod memory;
mod problems;
mod revocation;
mod round;
mod terms;
mod timings;
mod workloads;

pub use problems::{Problem, Problems};
pub use terms::{Publication, Terms, TermsSender, terms};
pub(crate) use workloads::object_key;

/// The problems of everything that is observed.
#[derive(Debug, Clone, Default)]
pub struct AllProblems {
    /// Of workloads.
    pub workloads: Problems<WorkloadKey>,
    /// Of a request to change the federation's timings.
    pub timings: Problems<()>,
    /// Of `Member` rows: this member's own description, and requests to revoke others.
    pub members: Problems<MemberName>,
}

/// Observes until `stop`. `first` describes this member where its own `Member` object does not exist yet.
pub async fn run(
    cluster: &Cluster,
    uplink: &Uplink,
    local: &Local,
    terms: &TermsSender,
    problems: &AllProblems,
    first: &Attributes,
    stop: &CancellationToken,
) {
    let own = member::Own {
        cluster,
        uplink,
        members: &local.members,
        published: terms.attributes(),
        problems: &problems.members,
        first,
    };
    tokio::join!(
        workloads::run(cluster, uplink, &local.workloads, &problems.workloads, stop),
        own.run(stop),
        hosting_policy::run(uplink, &local.policies, terms, stop),
        revocation::run(uplink, &local.members, &problems.members, stop),
        timings::run(cluster, uplink, &local.federations, &problems.timings, stop),
        invitations::run(cluster, uplink, stop),
    );
}
