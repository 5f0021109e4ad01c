//! The terms under which this cluster hosts, read from its own API server.

use std::sync::Arc;

use hanse_core::{command::Attributes, grant::Grant};
use tokio::sync::watch;

/// Whether the ledger has this cluster's grants.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Publication {
    /// The ledger does not have the newest grants yet.
    #[default]
    Pending,
    /// The ledger has exactly these grants.
    Published(Arc<Vec<Grant>>),
    /// The ledger rejected these grants, for this reason.
    Rejected(Arc<Vec<Grant>>, String),
}

impl Publication {
    /// The grants that the ledger has answered.
    pub(super) fn grants(&self) -> Option<&Arc<Vec<Grant>>> {
        match self {
            Self::Pending => None,
            Self::Published(grants) | Self::Rejected(grants, _) => Some(grants),
        }
    }
}

/// The terms under which this cluster hosts. `None` until its API server has been read.
#[derive(Debug, Clone)]
pub struct Terms {
    /// What other owners may run here.
    pub grants: watch::Receiver<Option<Arc<Vec<Grant>>>>,
    /// The attributes of this cluster, in particular its jurisdiction.
    pub attributes: watch::Receiver<Option<Arc<Attributes>>>,
    /// Whether the ledger has the grants.
    pub publication: watch::Receiver<Publication>,
}

/// The sending side of [`Terms`].
#[derive(Debug)]
pub struct TermsSender {
    grants: watch::Sender<Option<Arc<Vec<Grant>>>>,
    attributes: watch::Sender<Option<Arc<Attributes>>>,
    publication: watch::Sender<Publication>,
}

impl TermsSender {
    pub(super) fn grants(&self) -> &watch::Sender<Option<Arc<Vec<Grant>>>> {
        &self.grants
    }

    pub(super) fn attributes(&self) -> &watch::Sender<Option<Arc<Attributes>>> {
        &self.attributes
    }

    pub(super) fn publication(&self) -> &watch::Sender<Publication> {
        &self.publication
    }
}

/// Both sides of the terms.
#[must_use]
pub fn terms() -> (TermsSender, Terms) {
    let (grants, grants_out) = watch::channel(None);
    let (attributes, attributes_out) = watch::channel(None);
    let (publication, publication_out) = watch::channel(Publication::default());
    let sender = TermsSender {
        grants,
        attributes,
        publication,
    };
    let terms = Terms {
        grants: grants_out,
        attributes: attributes_out,
        publication: publication_out,
    };
    (sender, terms)
}
