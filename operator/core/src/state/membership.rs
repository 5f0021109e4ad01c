//! Who is in, who votes, who is alive.

use std::collections::BTreeSet;

use super::{Invitation, Lease, Member, Rejection, Seat, State};
use crate::{
    command::{Attributes, Newcomer, SignedCommand, admission_message},
    id::{Epoch, FederationId, Generation, MemberName, NodeId, OwnerName, PublicKey, Signature},
    level::Level,
    mutation::{Mutation, is_on},
    timings::Timings,
};

/// The most invitations open at once. Expired ones make room by themselves.
const MAX_INVITATIONS: usize = 1_000;

/// The node id of a founder: the index of the entry that makes it a voter is not known when it is made, and index 1 is
/// always the blank entry of the first term, which allocates nothing.
pub const FOUNDER_NODE: NodeId = NodeId(1);

impl State {
    pub(super) fn found(
        &mut self,
        index: u64,
        signed: &SignedCommand,
        federation: FederationId,
        founder: Newcomer,
        (timings, level): (Timings, Level),
    ) -> Result<(), Rejection> {
        if self.federation.is_some() {
            return Err(Rejection::AlreadyFounded);
        }
        own_key(signed, &founder)?;
        self.set_timings(index, timings)?;
        self.federation = Some(federation);
        self.level = level;
        self.enter(index, founder, None);
        Ok(())
    }

    pub(super) fn invite(
        &mut self,
        sponsor: MemberName,
        invitation: PublicKey,
        owner: OwnerName,
        expires_ms: u64,
    ) -> Result<(), Rejection> {
        let now = self.time_ms;
        self.keep_invitations(|invitation| invitation.expires_ms > now);
        // Every member can read the public half in the ledger. Issued again by another member, it would change the
        // newcomer's sponsor.
        if self.invitations.contains_key(&invitation) {
            return Err(Rejection::Invalid {
                reason: "`invitation` must be a new key: this one is open already".into(),
            });
        }
        if self.invitations.len() >= MAX_INVITATIONS {
            return Err(Rejection::TooMany {
                what: "open invitations".into(),
                most: MAX_INVITATIONS,
            });
        }
        self.invitations.insert(
            invitation,
            Invitation {
                sponsor,
                owner,
                expires_ms,
            },
        );
        Ok(())
    }

    fn keep_invitations(&mut self, keeps: impl Fn(&Invitation) -> bool) {
        let invitations = self.invitations.iter();
        let kept = invitations.filter(|(_, invitation)| keeps(invitation));
        self.invitations = kept.map(|(key, row)| (*key, row.clone())).collect();
    }

    pub(super) fn admit(
        &mut self,
        index: u64,
        signed: &SignedCommand,
        invitation: PublicKey,
        newcomer: Newcomer,
        proof: &Signature,
    ) -> Result<(), Rejection> {
        own_key(signed, &newcomer)?;
        self.may_enter(invitation, &newcomer, proof)?;
        let sponsor = self
            .invitations
            .remove(&invitation)
            .map(|invitation| invitation.sponsor);
        self.enter(index, newcomer, sponsor);
        Ok(())
    }

    /// Everything that must hold of a newcomer. Also asked before a command is proposed, so that a stranger is refused
    /// without an entry in the log.
    pub fn may_enter(
        &self,
        invitation: PublicKey,
        newcomer: &Newcomer,
        proof: &Signature,
    ) -> Result<(), Rejection> {
        let federation = self.federation.ok_or_else(|| Rejection::NotFound {
            what: "federation".into(),
        })?;
        let row = self
            .invitations
            .get(&invitation)
            .ok_or(Rejection::UnknownInvitation)?;
        if row.expires_ms <= self.time_ms {
            return Err(Rejection::ExpiredInvitation);
        }
        if row.owner != newcomer.owner {
            return Err(Rejection::InvitedAnother {
                invited: row.owner.clone(),
                given: newcomer.owner.clone(),
            });
        }
        self.may_vouch(row, newcomer)?;
        if !invitation.verifies(&admission_message(&federation, newcomer), proof) {
            return Err(Rejection::Unverified {
                reason: "the invitation does not cover this newcomer".into(),
            });
        }
        if let Some((name, _)) = self.member_of(&newcomer.key) {
            return Err(Rejection::Invalid {
                reason: format!(
                    "the newcomer's key is that of member '{name}'; start it with an empty data directory"
                ),
            });
        }
        if self.members.contains_key(&newcomer.name) {
            return Err(Rejection::NameTaken {
                name: newcomer.name.clone(),
            });
        }
        Ok(())
    }

    /// Two invitations may be open for a new owner. With the first that is used the owner enters, and from then on only its
    /// own members may invite for it: the other invitation would let a stranger act in its name.
    fn may_vouch(&self, invitation: &Invitation, newcomer: &Newcomer) -> Result<(), Rejection> {
        let sponsor = self.members.get(&invitation.sponsor);
        if sponsor.is_some_and(|sponsor| sponsor.owner == newcomer.owner)
            || !self.is_known_owner(&newcomer.owner)
        {
            return Ok(());
        }
        Err(Rejection::NotPermitted {
            what: format!("an admission for owner '{}'", newcomer.owner),
            by: "invitation of its own members, because it is in the federation already".into(),
        })
    }

    fn enter(
        &mut self,
        index: u64,
        Newcomer { name, owner, key }: Newcomer,
        sponsor: Option<MemberName>,
    ) {
        // A founder votes from the start, at the level that it chose: it is the first configuration.
        let (seat, level) = match sponsor {
            None => {
                let address = String::new();
                let node = FOUNDER_NODE;
                (Some(Seat { node, address }), self.level)
            }
            Some(_) => (None, Level::FIRST),
        };
        let member = Member {
            owner,
            key,
            sponsor,
            attributes: Attributes::default(),
            version: String::new(),
            level,
            grants: Vec::new(),
            kinds: None,
            seat,
            lease: Lease::Held {
                epoch: Epoch(index),
            },
            generation: Generation(index),
        };
        self.members.insert(name, member);
    }

    pub(super) fn revoke(&mut self, index: u64, name: &MemberName) -> Result<(), Rejection> {
        let mut voters = self
            .members
            .iter()
            .filter(|(_, row)| !row.lease.is_revoked() && self.is_voter(row));
        let last = voters.next().is_some_and(|(voter, _)| voter == name) && voters.next().is_none();
        let member = self.member_mut(name)?;
        if member.lease.is_revoked() {
            return Ok(());
        }
        if last {
            return Err(Rejection::Invalid {
                reason: format!(
                    "'{name}' is the last voter, and without one nothing can be decided any more: let another member vote first"
                ),
            });
        }
        let fenced = member.lease.is_fenced();
        member.lease = Lease::Revoked {
            epoch: Epoch(index),
            fenced,
        };
        member.generation = Generation(index);
        self.keep_invitations(|invitation| invitation.sponsor != *name);
        self.release_revoked(name);
        Ok(())
    }

    /// A member that already sits keeps neither its seat nor its node id: it asks again only when its volume is new
    /// (docs/adr/0003), and a node id belongs to one volume for ever. The exception is a founder telling its address.
    pub(super) fn volunteer(
        &mut self,
        index: u64,
        issuer: &MemberName,
        address: String,
        level: Level,
    ) -> Result<(), Rejection> {
        if address.is_empty() || address.len() > 260 {
            return Err(Rejection::Invalid {
                reason: "`address` must be HOST:PORT, at most 260 characters".into(),
            });
        }
        let member = self.member_mut(issuer)?;
        let node = match &member.seat {
            Some(Seat { node, address }) if *node == FOUNDER_NODE && address.is_empty() => {
                FOUNDER_NODE
            }
            Some(Seat { node, .. }) if is_on(Mutation::FreshSeat) => *node,
            Some(_) | None => NodeId(index),
        };
        member.seat = Some(Seat { node, address });
        member.level = level;
        member.generation = Generation(index);
        Ok(())
    }

    pub(super) fn expire_leases(
        &mut self,
        index: u64,
        leases: &BTreeSet<(MemberName, Epoch)>,
    ) -> Result<(), Rejection> {
        self.change_leases(index, leases, |lease| match lease {
            Lease::Held { .. } => Some(Lease::Lost {
                epoch: Epoch(index),
                fenced: false,
            }),
            Lease::Lost { .. } | Lease::Revoked { .. } => None,
        });
        Ok(())
    }

    pub(super) fn renew_leases(
        &mut self,
        index: u64,
        leases: &BTreeSet<(MemberName, Epoch)>,
    ) -> Result<(), Rejection> {
        self.change_leases(index, leases, |lease| match lease {
            Lease::Lost { .. } => Some(Lease::Held {
                epoch: Epoch(index),
            }),
            Lease::Held { .. } | Lease::Revoked { .. } => None,
        });
        Ok(())
    }

    pub(super) fn fence(
        &mut self,
        index: u64,
        leases: &BTreeSet<(MemberName, Epoch)>,
    ) -> Result<(), Rejection> {
        self.change_leases(index, leases, |lease| match lease {
            Lease::Lost {
                epoch,
                fenced: false,
            } => Some(Lease::Lost {
                epoch,
                fenced: true,
            }),
            Lease::Revoked {
                epoch,
                fenced: false,
            } => Some(Lease::Revoked {
                epoch,
                fenced: true,
            }),
            Lease::Held { .. } | Lease::Lost { .. } | Lease::Revoked { .. } => None,
        });
        for (name, _) in leases {
            self.release_revoked(name);
        }
        Ok(())
    }

    /// Changes the leases that are still the ones the leader spoke of.
    fn change_leases(
        &mut self,
        index: u64,
        leases: &BTreeSet<(MemberName, Epoch)>,
        change: impl Fn(Lease) -> Option<Lease>,
    ) {
        for (name, epoch) in leases {
            let Some(member) = self.members.get_mut(name) else {
                continue;
            };
            if member.lease.epoch() != *epoch {
                continue;
            }
            if let Some(lease) = change(member.lease) {
                member.lease = lease;
                member.generation = Generation(index);
            }
        }
    }

    pub(super) fn member_mut(&mut self, name: &MemberName) -> Result<&mut Member, Rejection> {
        self.members
            .get_mut(name)
            .ok_or_else(|| Rejection::NotFound {
                what: format!("member '{name}'"),
            })
    }
}

fn own_key(signed: &SignedCommand, newcomer: &Newcomer) -> Result<(), Rejection> {
    if newcomer.key == signed.issuer {
        return Ok(());
    }
    Err(Rejection::NotPermitted {
        what: "an admission".into(),
        by: "the newcomer's own key".into(),
    })
}
