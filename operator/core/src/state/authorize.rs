//! Who may ask what.

use super::{Member, Rejection, State};
use crate::{
    command::{Command, SignedCommand},
    id::MemberName,
};

impl State {
    /// Who may ask what. Returns the member that asks.
    pub(super) fn authorize(
        &self,
        signed: &SignedCommand,
        command: &Command,
    ) -> Result<MemberName, Rejection> {
        let Some((name, member)) = self.member_of(&signed.issuer) else {
            return Err(Rejection::NotAMember {
                key: signed.issuer.short(),
            });
        };
        if member.lease.is_revoked() {
            return Err(Rejection::Revoked {
                member: name.clone(),
            });
        }
        let permission = self.permission(name, member, command);
        if permission.granted {
            Ok(name.clone())
        } else {
            Err(Rejection::NotPermitted {
                what: permission.what,
                by: permission.by,
            })
        }
    }

    /// Whether `member`, called `name`, may ask `command`.
    fn permission(&self, name: &MemberName, member: &Member, command: &Command) -> Permission {
        match command {
            Command::PutWorkload { key, .. } | Command::RemoveWorkload { key, .. } => {
                Permission::of(
                    key.owner == member.owner,
                    format!("workload '{key}'"),
                    format!("members of owner '{}'", key.owner),
                )
            }
            // Otherwise a member of another owner could bring in a cluster that speaks for this owner.
            Command::Invite { owner, .. } => Permission::of(
                member.owner == *owner || !self.is_known_owner(owner),
                format!("an invitation for owner '{owner}'"),
                format!("members of owner '{owner}', because it is in the federation already"),
            ),
            Command::Revoke { member: revoked } => Permission::of(
                self.members.get(revoked).is_some_and(|row| {
                    row.owner == member.owner || row.sponsor.as_ref() == Some(name)
                }),
                format!("the removal of '{revoked}'"),
                "its owner's members or its sponsor",
            ),
            // No majority of owners can approve it yet; until then the owner that chose the first timings changes them.
            Command::SetTimings { .. } => Permission::of(
                self.founder()
                    .is_some_and(|founder| founder.owner == member.owner),
                "a change of the federation's timings",
                "members of the owner that founded it",
            ),
            Command::Complete { workload, .. } => Permission::of(
                self.placements.get(workload, name).is_some(),
                format!("the completion of workload '{workload}'"),
                "its hosts",
            ),
            Command::RaiseLevel { .. }
            | Command::SettleTimings { .. }
            | Command::ExpireLeases { .. }
            | Command::RenewLeases { .. }
            | Command::Fence { .. }
            | Command::Assign { .. } => {
                Permission::of(self.is_voter(member), "a leader's decision", "voters")
            }
            Command::Found { .. }
            | Command::Admit { .. }
            | Command::Describe { .. }
            | Command::Volunteer { .. }
            | Command::PublishGrants { .. }
            | Command::PublishKinds { .. }
            | Command::ConfirmRemoval { .. } => Permission::of(true, "", ""),
        }
    }
}

/// Whether a member may ask something; where it may not, `what` was asked and `by` whom it may be asked.
struct Permission {
    granted: bool,
    what: String,
    by: String,
}

impl Permission {
    fn of(granted: bool, what: impl Into<String>, by: impl Into<String>) -> Self {
        Self {
            granted,
            what: what.into(),
            by: by.into(),
        }
    }
}
