//! What came of a command.

use serde::{Deserialize, Serialize};

use crate::{
    command::VerifyError,
    id::{Generation, MemberName, OwnerName},
    level::Level,
};

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Outcome {
    /// It is done. `index` is the log index of the entry that did it, which is also the epoch, generation or node id it
    /// allocated. Where nothing had to change, that is an earlier entry: a workload put again as it is keeps its
    /// generation.
    Accepted {
        /// Of that entry.
        index: u64,
    },
    /// It changed nothing.
    Rejected {
        /// Why.
        rejection: Rejection,
    },
}

/// Why a command changed nothing.
#[allow(
    missing_docs,
    reason = "the message of each variant is its documentation"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Rejection {
    #[error("the command is not acceptable: {reason}")]
    Unverified { reason: String },
    #[error("number {given} is not the next: the issuer is at {last}")]
    OutOfSequence { given: u64, last: u64 },
    #[error("the issuer with key {key} is not a member of this federation")]
    NotAMember { key: String },
    #[error("member '{member}' was revoked")]
    Revoked { member: MemberName },
    #[error("{what} may be asked only by {by}")]
    NotPermitted { what: String, by: String },
    #[error("a federation is founded once")]
    AlreadyFounded,
    #[error("the invitation is unknown or was used before; ask a member for a new one")]
    UnknownInvitation,
    #[error("the invitation has expired; ask a member for a new one")]
    ExpiredInvitation,
    #[error("the invitation is for owner '{invited}', not '{given}'")]
    InvitedAnother {
        invited: OwnerName,
        given: OwnerName,
    },
    #[error("the name '{name}' is taken; choose another")]
    NameTaken { name: MemberName },
    #[error(
        "the workload changed meanwhile: this edit was made on generation {base}, the current one is {current}"
    )]
    Conflict {
        base: Generation,
        current: Generation,
    },
    #[error("the workload is being removed; wait until it is gone")]
    BeingRemoved,
    #[error("there is no such {what}")]
    NotFound { what: String },
    #[error(
        "it needs level {needs}, and the federation is at level {level}: it is raised when all voters run an operator that knows it"
    )]
    AboveLevel { needs: Level, level: Level },
    #[error("{reason}")]
    Invalid { reason: String },
    #[error("{what}: at most {most} are kept; remove some first")]
    TooMany { what: String, most: usize },
}

impl From<VerifyError> for Rejection {
    fn from(error: VerifyError) -> Self {
        Self::Unverified {
            reason: error.to_string(),
        }
    }
}
