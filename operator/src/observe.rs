//! Step 1 of the flow: what owners write into the local API server becomes commands.
//!
//! | module | watches | proposes |
//! |---|---|---|
//! | [`workloads`] | `FederatedWorkload`s of all namespaces | `PutWorkload`, `RemoveWorkload` |
//! | [`member`] | this cluster's own `Member` | `Describe` |
//! | [`hosting_policy`] | `HostingPolicy`s | `PublishGrants` |
//! | [`definitions`] | definitions of custom kinds | nothing: they say which of them scale |
//! | [`kinds`] | the same, and the API server's discovery | `PublishKinds` |
//! | [`revocation`] | other clusters' `Member`s with the annotation `hanse.dev/revoke` | `Revoke` |
//! | [`timings`] | this cluster's `Federation` with the annotation `hanse.dev/timings` | `SetTimings` |
//! | [`invitations`] | `Secret`s through which the CLI asks for an invitation | `Invite` |
//! | [`questions`] | `ConfigMap`s through which the CLI asks why and what if | nothing |
//! | [`capacity`] | `Node`s and `Pod`s | nothing: it reports how much this cluster can still run |
//!
//! Each module compares what the API server has with what the ledger has and proposes the difference; none keeps
//! events. [`edit`] decides about a workload, [`round`] executes the decision, [`copy`] writes the
//! copy of it, [`memory`] is the state kept between
//! rounds. This cluster's own grants and attributes, read from the watches, are published through [`terms`], because a
//! host decides by its own API server's objects only.
//!
//! Not here: status. `report` writes the status of a workload; it receives the problems of objects through
//! [`problems`].

use hanse_core::{
    command::Attributes,
    id::{MemberName, WorkloadKey},
    level::Level,
};
use tokio_util::sync::CancellationToken;

use self::definitions::Definitions;
use crate::{
    cluster::{Cluster, Local},
    uplink::Uplink,
};

mod answered;
mod capacity;
mod copy;
mod definitions;
mod edit;
mod expressions;
#[cfg(test)]
pub(crate) mod fixture;
pub(crate) mod hosting_policy;
mod invitations;
mod kinds;
pub(crate) mod member;
mod memory;
mod problems;
mod questions;
mod revocation;
mod round;
mod same;
mod spec;
mod terms;
mod timings;
mod workloads;

pub use capacity::report_capacity;
pub use problems::{Accepted, Problem, Problems};
pub use terms::{Publication, Terms, TermsSender, terms};
pub(crate) use workloads::object_key;

/// What is known of all observed objects: their problems, and what the ledger has of them.
#[derive(Debug, Clone, Default)]
pub struct AllProblems {
    /// Problems of workloads.
    pub workloads: Problems<WorkloadKey>,
    /// The generation of each workload that the ledger has.
    pub accepted: Accepted<WorkloadKey>,
    /// The problem of a request to change the federation's timings.
    pub timings: Problems<()>,
    /// Problems of `Member` objects: this member's own description, and requests to revoke others.
    pub members: Problems<MemberName>,
}

/// Observes until `stop`. `first` describes this member if its own `Member` object does not exist yet; `level` is the newest
/// that this build knows.
pub async fn run(
    cluster: &Cluster,
    uplink: &Uplink,
    local: &Local,
    terms: &TermsSender,
    problems: &AllProblems,
    (first, level): (&Attributes, Level),
    stop: &CancellationToken,
) {
    let own = member::Own {
        cluster,
        uplink,
        members: &local.members,
        published: terms.attributes(),
        problems: &problems.members,
        first,
        level,
    };
    let definitions = Definitions::default();
    tokio::join!(
        definitions.keep(&cluster.client, stop),
        workloads::run(
            cluster,
            uplink,
            &local.workloads,
            &definitions,
            problems,
            stop
        ),
        own.run(stop),
        kinds::run(&cluster.client, uplink, &definitions, stop),
        hosting_policy::run(uplink, &local.policies, terms, stop),
        revocation::run(uplink, &local.members, &problems.members, stop),
        timings::run(cluster, uplink, &local.federations, &problems.timings, stop),
        invitations::run(cluster, uplink, stop),
        questions::run(cluster, uplink, &definitions, stop),
    );
}
