//! Who may ask what.

use super::{Rejection, State};
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
        let votes = self.is_voter(member);
        let (may, what, by) = match command {
            Command::PutWorkload { key, .. } | Command::RemoveWorkload { key } => (
                key.owner == member.owner,
                format!("workload '{key}'"),
                format!("members of owner '{}'", key.owner),
            ),
            // An owner is vouched for by its own: only its members can bring in more of it.
            Command::Invite { owner, .. } => (
                member.owner == *owner || !self.is_known_owner(owner),
                format!("an invitation for owner '{owner}'"),
                format!("members of owner '{owner}', because it is in the federation already"),
            ),
            Command::Revoke { member: revoked } => {
                let row = self.members.get(revoked);
                let may = row.is_some_and(|row| {
                    row.owner == member.owner || row.sponsor.as_ref() == Some(name)
                });
                (
                    may,
                    format!("the removal of '{revoked}'"),
                    "its owner's members or its sponsor".to_owned(),
                )
            }
            // Until a majority of owners can approve it, it is for those who founded the federation with its first timings.
            Command::SetTimings { .. } => (
                self.founder()
                    .is_some_and(|founder| founder.owner == member.owner),
                "a change of the federation's timings".to_owned(),
                "members of the owner that founded it".to_owned(),
            ),
            Command::SettleTimings { .. }
            | Command::ExpireLeases { .. }
            | Command::RenewLeases { .. }
            | Command::Fence { .. }
            | Command::Assign { .. } => {
                (votes, "a leader's decision".to_owned(), "voters".to_owned())
            }
            Command::Found { .. }
            | Command::Admit { .. }
            | Command::Describe { .. }
            | Command::Volunteer { .. }
            | Command::PublishGrants { .. }
            | Command::ConfirmRemoval { .. } => (true, String::new(), String::new()),
        };
        if may {
            Ok(name.clone())
        } else {
            Err(Rejection::NotPermitted { what, by })
        }
    }
}
