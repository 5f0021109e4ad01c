//! Why a placement was made or taken away.
//!
//! A reason is data: the planner orders by it, the leader counts failovers by it, and a status shows its `Display`. It
//! stands in the ledger, so variants and fields may be added and never renamed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::MemberName;

/// The longest message of a reason, in characters: one sentence. A longer one is cut.
const MAX_MESSAGE_CHARACTERS: usize = 200;

/// Why a placement was made or taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Reason {
    /// The workload had no placement before.
    FirstPlacement,
    /// What was asked for, or who may host it, changed.
    WorkloadChanged,
    /// Mode `Duplicated` places it on every member that may host it.
    EveryMember,
    /// This member's lease ended while it had a share.
    MemberLost {
        /// The lost member.
        member: MemberName,
    },
    /// This member is silent while it has a share: as much is placed elsewhere in addition.
    MemberSilent {
        /// The silent member.
        member: MemberName,
    },
    /// This member was silent and is heard again: what was placed in addition goes.
    MemberHeardAgain {
        /// The member.
        member: MemberName,
    },
    /// The owner of this member drains it: as much is placed elsewhere first, then its share goes.
    MemberDrained {
        /// The member.
        member: MemberName,
    },
    /// This member was being drained and no longer is: what was placed in addition goes.
    MemberUncordoned {
        /// The member.
        member: MemberName,
    },
    /// This member is back, and gets the part again that others took over.
    MemberReturned {
        /// The member.
        member: MemberName,
    },
    /// This member was revoked while it had a share.
    MemberRevoked {
        /// The revoked member.
        member: MemberName,
    },
    /// This member may no longer host it.
    MemberExcluded {
        /// The excluded member.
        member: MemberName,
        /// What excludes it, as a sentence of at most 200 characters; empty where it is not known.
        message: String,
    },
    /// This member could not apply its share.
    MemberRefused {
        /// The member.
        member: MemberName,
        /// What it said, at most 200 characters.
        message: String,
    },
    /// This member does not keep its share ready, and others do.
    MemberUnready {
        /// The member.
        member: MemberName,
        /// How much is ready there and what it said, at most 200 characters.
        message: String,
    },
}

impl Reason {
    /// The same with a message that is no longer than the ledger keeps.
    #[must_use]
    pub fn bounded(self) -> Self {
        let cut = |message: String| message.chars().take(MAX_MESSAGE_CHARACTERS).collect();
        match self {
            Self::MemberExcluded { member, message } => Self::MemberExcluded {
                member,
                message: cut(message),
            },
            Self::MemberRefused { member, message } => Self::MemberRefused {
                member,
                message: cut(message),
            },
            Self::MemberUnready { member, message } => Self::MemberUnready {
                member,
                message: cut(message),
            },
            short => short,
        }
    }

    /// How soon a row for this reason should be committed.
    #[must_use]
    pub fn urgency(&self) -> Urgency {
        match self {
            _ if self.is_failover() => Urgency::Lost,
            Self::MemberSilent { .. } => Urgency::Silent,
            _ => Urgency::None,
        }
    }

    /// The member whose part others took over, if it may come back.
    #[must_use]
    pub fn gone(&self) -> Option<&MemberName> {
        match self {
            Self::MemberLost { member } | Self::MemberDrained { member } => Some(member),
            _ => None,
        }
    }

    /// Whether the placement is a failover: made because another member was lost or revoked.
    #[must_use]
    pub fn is_failover(&self) -> bool {
        match self {
            Self::MemberLost { .. } | Self::MemberRevoked { .. } => true,
            Self::FirstPlacement
            | Self::WorkloadChanged
            | Self::EveryMember
            | Self::MemberSilent { .. }
            | Self::MemberHeardAgain { .. }
            | Self::MemberDrained { .. }
            | Self::MemberUncordoned { .. }
            | Self::MemberReturned { .. }
            | Self::MemberExcluded { .. }
            | Self::MemberRefused { .. }
            | Self::MemberUnready { .. } => false,
        }
    }
}

/// How soon a row of a plan should be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Replicas are missing.
    Lost,
    /// Replicas may be missing.
    Silent,
    /// Nothing is missing that ran before.
    None,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstPlacement => write!(f, "placed for the first time"),
            Self::WorkloadChanged => write!(f, "the workload changed"),
            Self::EveryMember => write!(f, "every member that may host it runs it"),
            Self::MemberLost { member } => write!(f, "{member} was lost"),
            Self::MemberSilent { member } => write!(f, "{member} is silent"),
            Self::MemberHeardAgain { member } => write!(f, "{member} is heard again"),
            Self::MemberDrained { member } => write!(f, "{member} is drained"),
            Self::MemberUncordoned { member } => write!(f, "{member} is no longer drained"),
            Self::MemberReturned { member } => write!(f, "{member} is back"),
            Self::MemberRevoked { member } => write!(f, "{member} was revoked"),
            Self::MemberExcluded { member, message } if message.is_empty() => {
                write!(f, "{member} may no longer host it")
            }
            Self::MemberExcluded { member, message } => {
                write!(f, "{member} may no longer host it: {message}")
            }
            Self::MemberRefused { member, message } => {
                write!(f, "{member} refused it: {message}")
            }
            Self::MemberUnready { member, message } => {
                write!(f, "{member} does not keep it ready: {message}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_and_the_encoding_of_every_reason_do_not_change() {
        let member: MemberName = "eu-1".parse().unwrap();
        let reasons = [
            Reason::FirstPlacement,
            Reason::WorkloadChanged,
            Reason::EveryMember,
            Reason::MemberLost {
                member: member.clone(),
            },
            Reason::MemberSilent {
                member: member.clone(),
            },
            Reason::MemberHeardAgain {
                member: member.clone(),
            },
            Reason::MemberDrained {
                member: member.clone(),
            },
            Reason::MemberUncordoned {
                member: member.clone(),
            },
            Reason::MemberReturned {
                member: member.clone(),
            },
            Reason::MemberRevoked {
                member: member.clone(),
            },
            Reason::MemberExcluded {
                member: member.clone(),
                message: "no grant".into(),
            },
            Reason::MemberExcluded {
                member: member.clone(),
                message: String::new(),
            },
            Reason::MemberUnready {
                member: member.clone(),
                message: "only 1 of 3 are ready there after 60 s: Deployment 'web'".into(),
            },
            Reason::MemberRefused {
                member,
                message: "Service 'web': port 30080 is taken".into(),
            },
        ];
        let lines = reasons.map(|reason| {
            let encoded = serde_json::to_string(&reason).unwrap();
            assert_eq!(serde_json::from_str::<Reason>(&encoded).unwrap(), reason);
            format!("{} | {reason} | {encoded}", reason.is_failover())
        });
        insta::assert_snapshot!(lines.join("\n"));
    }
}
