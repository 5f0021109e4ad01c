//! Verifies whether this host may run a placement. Pure, from the ledger's rows of other members and this cluster's own
//! terms.

use std::sync::Arc;

use hanse_core::{
    command::{Attributes, Command, VerifyError},
    grant::{self, Consent, Grant, consent},
    id::{Epoch, MemberName, OwnerName, WorkloadKey},
    jurisdiction::allows,
    slice::{AssignedPlacement, Slice},
    workload::{Manifest, Mode, SpecError, WorkloadSpec},
};

use super::inventory::Inventory;

/// A placement with all inputs of its verification. The first of five steps.
pub(super) struct Dereferenced<'a> {
    pub(super) slice: &'a Slice,
    pub(super) key: &'a WorkloadKey,
    pub(super) placement: &'a AssignedPlacement,
    /// This host.
    pub(super) member: &'a MemberName,
    /// Its owner.
    pub(super) owner: &'a OwnerName,
    /// The inventory of what was applied here for it before.
    pub(super) inventory: Option<Inventory>,
    /// This cluster's own terms.
    pub(super) grants: Arc<Vec<Grant>>,
    pub(super) attributes: Arc<Attributes>,
}

/// A placement that this host does not refuse. The second step; only [`verify`] makes it.
pub(super) struct Verified<'a> {
    key: &'a WorkloadKey,
    placement: &'a AssignedPlacement,
    inventory: Option<Inventory>,
    written: WorkloadSpec,
    /// With the overrides that are for this member.
    overridden: Option<WorkloadSpec>,
    consent: Consent,
    guest: bool,
}

impl<'a> Verified<'a> {
    pub(super) fn key(&self) -> &'a WorkloadKey {
        self.key
    }

    pub(super) fn placement(&self) -> &'a AssignedPlacement {
        self.placement
    }

    /// What is to run in this member.
    pub(super) fn spec(&self) -> &WorkloadSpec {
        self.overridden.as_ref().unwrap_or(&self.written)
    }

    /// Its manifests as they are here, each with the one that it was written as, by which all members know it.
    pub(super) fn manifests(&self) -> impl Iterator<Item = (&Manifest, &Manifest)> {
        self.spec().manifests.iter().zip(&self.written.manifests)
    }

    /// This host's terms for the workload.
    pub(super) fn consent(&self) -> &Consent {
        &self.consent
    }

    /// Whether the workload is another owner's.
    pub(super) fn is_guest(&self) -> bool {
        self.guest
    }

    pub(super) fn is_single(&self) -> bool {
        self.written.placement.mode == Mode::Single
    }

    /// The inventory of what was applied here for it before; empty if nothing was.
    pub(super) fn take_inventory(&mut self) -> Inventory {
        self.inventory.take().unwrap_or_default()
    }
}

/// Why this host refuses a placement.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("its author '{0}' is not a member of this federation")]
    UnknownAuthor(MemberName),
    #[error("its author '{author}' is a member of owner '{actual}', not '{claimed}'")]
    ForeignAuthor {
        author: MemberName,
        actual: OwnerName,
        claimed: OwnerName,
    },
    #[error("it was signed by another key than that of '{0}'")]
    ForeignKey(MemberName),
    #[error("its author's signature is not valid: {0}")]
    Unverified(#[from] VerifyError),
    #[error("its author signed something else than this workload")]
    ForeignProof,
    #[error("its specification breaks a rule: {0}")]
    Invalid(#[from] SpecError),
    #[error("this host's policies do not allow it: {0}")]
    NotGranted(#[from] grant::Refusal),
    #[error("this host is in '{0}', outside the workload's domicile")]
    OutsideDomicile(String),
    #[error("epoch {given} is older than epoch {applied}, which was applied here already")]
    Stale { given: Epoch, applied: Epoch },
}

/// Every check that a host makes by itself, independently of the plan.
pub(super) fn verify(asked: Dereferenced<'_>) -> Result<Verified<'_>, Refusal> {
    let spec = proven_spec(&asked)?;
    let Dereferenced {
        key,
        placement,
        member,
        owner,
        inventory,
        grants,
        attributes,
        slice: _,
    } = asked;
    spec.check(&key.namespace)?;
    let consent = consent(owner, &grants, key, &spec.kinds())?;
    if !allows(&spec.placement.domicile, &attributes.jurisdiction) {
        return Err(Refusal::OutsideDomicile(attributes.jurisdiction.clone()));
    }
    let overridden = spec.in_member(|key| attributes.label((member, owner), key))?;
    let (given, applied) = (placement.epoch, inventory.as_ref().map(|it| it.epoch));
    if let Some(applied) = applied.filter(|applied| *applied > given) {
        return Err(Refusal::Stale { given, applied });
    }
    Ok(Verified {
        guest: *owner != key.owner,
        key,
        placement,
        inventory,
        written: spec,
        overridden,
        consent,
    })
}

/// The specification, if a member of the workload's owner signed it.
fn proven_spec(asked: &Dereferenced<'_>) -> Result<WorkloadSpec, Refusal> {
    let Dereferenced {
        slice,
        key,
        placement,
        ..
    } = asked;
    let author = &placement.home;
    let row = slice
        .members
        .get(author)
        .ok_or_else(|| Refusal::UnknownAuthor(author.clone()))?;
    if row.owner != key.owner {
        return Err(Refusal::ForeignAuthor {
            author: author.clone(),
            actual: row.owner.clone(),
            claimed: key.owner.clone(),
        });
    }
    if row.key != placement.proof.issuer {
        return Err(Refusal::ForeignKey(author.clone()));
    }
    match placement.proof.verify(&slice.federation.id)? {
        Command::PutWorkload {
            key: proven, spec, ..
        } if proven == **key => Ok(spec),
        _ => Err(Refusal::ForeignProof),
    }
}

#[cfg(test)]
mod tests;
