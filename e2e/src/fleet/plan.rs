//! The plan of a fleet: its members and the kind of its links.

use std::collections::BTreeMap;

use crate::cluster::Nodes;

/// How operators connect to peers and API servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Through proxies of this process, which can fail.
    Proxied,
    /// Directly, so that the connections do not depend on this process.
    Direct,
}

/// The plan of one cluster and its operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberPlan {
    /// Name of the member.
    pub name: String,
    /// Owner of the member.
    pub owner: String,
    /// Provider of its machines.
    pub provider: String,
    /// Region of the machines.
    pub region: String,
    /// Jurisdiction of that region.
    pub jurisdiction: String,
    /// Labels of the member.
    pub labels: BTreeMap<String, String>,
    /// Whether its operator has no address for peers: it dials out and never votes.
    pub dials_out_only: bool,
    /// How many nodes it has.
    pub nodes: u32,
    /// Further flags of its operator.
    pub operator_flags: Vec<String>,
}

impl MemberPlan {
    /// A member with an owner, a provider and a region of its own, in the EU, with three nodes.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            owner: name.to_owned(),
            provider: format!("{name}-hosting"),
            region: format!("{name}-1"),
            jurisdiction: "EU".to_owned(),
            labels: BTreeMap::new(),
            dials_out_only: false,
            nodes: 3,
            operator_flags: Vec::new(),
        }
    }

    /// With this owner.
    #[must_use]
    pub fn owner(self, owner: &str) -> Self {
        Self {
            owner: owner.to_owned(),
            ..self
        }
    }

    /// With this provider and this region of it.
    #[must_use]
    pub fn located(self, provider: &str, region: &str) -> Self {
        Self {
            provider: provider.to_owned(),
            region: region.to_owned(),
            ..self
        }
    }

    /// In this jurisdiction.
    #[must_use]
    pub fn jurisdiction(self, jurisdiction: &str) -> Self {
        Self {
            jurisdiction: jurisdiction.to_owned(),
            ..self
        }
    }

    /// With one more label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Without an address for peers, as behind a network that accepts no incoming connections.
    #[must_use]
    pub fn dials_out_only(self) -> Self {
        Self {
            dials_out_only: true,
            ..self
        }
    }

    pub(super) fn nodes(&self) -> Nodes {
        Nodes {
            count: self.nodes,
            region: self.region.clone(),
        }
    }

    pub(super) fn flags(&self) -> Vec<String> {
        let Self {
            provider,
            region,
            jurisdiction,
            labels,
            operator_flags,
            ..
        } = self;
        let mut flags = vec![
            format!("--provider={provider}"),
            format!("--region={region}"),
            format!("--jurisdiction={jurisdiction}"),
        ];
        flags.extend(
            labels
                .iter()
                .map(|(key, value)| format!("--label={key}={value}")),
        );
        flags.extend(operator_flags.iter().cloned());
        flags
    }
}
