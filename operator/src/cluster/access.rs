//! What every module that talks to the local API server shares.

use std::fmt;

use hanse_core::id::{MemberName, OwnerName};
use hanse_crds::names;
use kube::{
    Client,
    runtime::events::{Recorder, Reporter},
};

use crate::environment::{Clock, Entropy};

/// What every module that talks to the local API server needs. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    /// The local API server.
    pub client: Client,
    /// The namespace of this operator's own objects.
    pub namespace: String,
    /// This member.
    pub member: MemberName,
    /// Its owner.
    pub owner: OwnerName,
    /// Publishes Kubernetes events.
    pub recorder: Recorder,
    /// The wall clock: for times shown to people and for expiry dates, never for leases.
    pub clock: Clock,
    /// The source of secret bytes.
    pub entropy: Entropy,
}

impl Cluster {
    /// A recorder that knows no earlier Event. One that does counts an Event with the same reason as another occurrence of
    /// the first, and keeps the note of the first.
    #[must_use]
    pub fn new_recorder(client: &Client, member: &MemberName) -> Recorder {
        let reporter = Reporter {
            controller: names::FIELD_MANAGER.to_owned(),
            instance: Some(member.to_string()),
        };
        Recorder::new(client.clone(), reporter)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster({} of {})", self.member, self.owner)
    }
}
