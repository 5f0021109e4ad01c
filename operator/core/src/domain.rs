//! What can be lost at once.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A kind of failure domain, smallest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FailureDomain {
    /// One member.
    Cluster,
    /// The members of one provider in one region.
    Region,
    /// The members of one provider.
    Provider,
    /// The members of one owner.
    Owner,
}

impl FailureDomain {
    /// All kinds, smallest first.
    pub const ALL: [Self; 4] = [Self::Cluster, Self::Region, Self::Provider, Self::Owner];

    /// The label of a member whose value is the name of its domain ([`crate::state::Member::label`]).
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Cluster => "hanse.dev/member",
            Self::Region => "hanse.dev/region",
            Self::Provider => "hanse.dev/provider",
            Self::Owner => "hanse.dev/owner",
        }
    }
}

/// In words, for example `region`.
impl fmt::Display for FailureDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cluster => "cluster",
            Self::Region => "region",
            Self::Provider => "provider",
            Self::Owner => "owner",
        })
    }
}
