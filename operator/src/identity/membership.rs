//! What a member stores about its federation between two starts.

use std::{collections::BTreeSet, path::Path};

use hanse_core::{
    id::{FederationId, MemberName, OwnerName},
    timings::Timings,
};
use serde::{Deserialize, Serialize};

use super::{error::IdentityError, file};
use crate::peer::Peer;

/// The file in the data directory that holds the membership.
const FILE: &str = "membership.json";

/// The version of the file format that this operator writes and reads.
const VERSION: u64 = 1;

/// The federation of this member, its name and owner in it, and the voters it may dial after a restart.
///
/// Written when the member enters and whenever the voters change. So a member fails to reconnect only if every voter in
/// the file was replaced while it was away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Membership {
    /// The federation.
    pub federation: FederationId,
    /// This member's name in it.
    pub name: MemberName,
    /// This member's owner.
    pub owner: OwnerName,
    /// True until the first entry of a federation founded here is committed. A member that loses its ledger afterwards
    /// must never found the same federation a second time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub founding: bool,
    /// The federation's timings as last seen, so that the first dial after a restart uses the federation's timeouts.
    #[serde(default)]
    pub timings: Timings,
    /// The voters as last seen.
    pub voters: BTreeSet<Peer>,
}

#[derive(Deserialize)]
struct Version {
    v: u64,
}

#[derive(Serialize)]
struct Versioned<'a> {
    v: u64,
    #[serde(flatten)]
    membership: &'a Membership,
}

impl Membership {
    /// The membership stored in `directory`, or `None` if the member has not entered a federation yet.
    pub fn read(directory: &Path) -> Result<Option<Self>, IdentityError> {
        let path = directory.join(FILE);
        let Some(text) = file::read(&path)? else {
            return Ok(None);
        };
        let malformed = |source| IdentityError::MalformedMembership {
            path: path.clone(),
            source,
        };
        let Version { v: found } = serde_json::from_str(&text).map_err(malformed)?;
        if found != VERSION {
            return Err(IdentityError::UnknownVersion {
                path,
                found,
                known: VERSION,
            });
        }
        serde_json::from_str(&text).map(Some).map_err(malformed)
    }

    /// Stores this in `directory`, in place of the previous membership. On disk when it returns.
    pub fn write(&self, directory: &Path) -> Result<(), IdentityError> {
        let path = directory.join(FILE);
        let versioned = Versioned {
            v: VERSION,
            membership: self,
        };
        let mut text = serde_json::to_vec_pretty(&versioned).map_err(|source| {
            IdentityError::MalformedMembership {
                path: path.clone(),
                source,
            }
        })?;
        text.push(b'\n');
        file::write(&path, &text)
    }
}
