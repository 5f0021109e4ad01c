//! What the CLI asks the operator of a cluster, as JSON in a `ConfigMap` ([`crate::names::QUESTION_LABEL`]).

use serde::{Deserialize, Serialize};

use crate::FailureDomain;

/// A question. It changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Question {
    /// Why a workload runs where it does and not elsewhere.
    Explain {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// How far the drain of this cluster's member has come.
    Drain {},
    /// What would change.
    Simulate {
        /// If all of these were lost.
        lose: Vec<Loss>,
        /// If these were applied: `FederatedWorkload`s; and `Member`s that are admitted, with the `HostingPolicy`s that they have.
        objects: Vec<serde_json::Value>,
    },
}

/// A failure domain that is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Loss {
    /// Its kind.
    pub domain: FailureDomain,
    /// The name of the member, region, provider or owner.
    pub name: String,
}
