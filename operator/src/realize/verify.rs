//! Whether this host runs what it was given. Pure, on what the ledger says of others and this cluster says of itself.

use std::sync::Arc;

use hanse_core::{
    command::{Attributes, Command, VerifyError},
    grant::{Consent, Grant, Refusal, consent},
    id::{Epoch, MemberName, OwnerName, WorkloadKey},
    slice::{AssignedPlacement, Slice},
    workload::{SpecError, WorkloadSpec},
};

use super::inventory::Inventory;

/// What the answer depends on.
pub(super) struct Question<'a> {
    pub(super) slice: &'a Slice,
    pub(super) key: &'a WorkloadKey,
    pub(super) placement: &'a AssignedPlacement,
    /// This host's owner.
    pub(super) owner: &'a OwnerName,
    pub(super) inventory: Option<&'a Inventory>,
    /// This cluster's own terms; `None` where they are not known yet.
    pub(super) grants: Option<Arc<Vec<Grant>>>,
    pub(super) attributes: Option<Arc<Attributes>>,
}

/// A placement this host agrees to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Verified {
    pub(super) spec: WorkloadSpec,
    pub(super) consent: Consent,
    /// Whether the workload is another owner's.
    pub(super) guest: bool,
}

/// Why this host does not run what it was given.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
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
    #[error("its author's word does not hold: {0}")]
    Unverified(#[from] VerifyError),
    #[error("its author's word is about something else")]
    ForeignProof,
    #[error("its specification breaks a rule: {0}")]
    Invalid(#[from] SpecError),
    #[error("this host does not consent: {0}")]
    NotGranted(#[from] Refusal),
    #[error("this host is in '{0}', outside the workload's domicile")]
    OutsideDomicile(String),
    #[error("epoch {given} is older than {applied}, which was applied here already")]
    Stale { given: Epoch, applied: Epoch },
    #[error("this cluster's own terms are not known yet")]
    TermsUnknown,
}

/// Every check a host makes for itself, whatever a plan says.
pub(super) fn verify(question: &Question<'_>) -> Result<Verified, Refused> {
    let spec = proven_spec(question)?;
    spec.check(&question.key.namespace)?;
    let (Some(grants), Some(attributes)) = (&question.grants, &question.attributes) else {
        return Err(Refused::TermsUnknown);
    };
    let consent = consent(question.owner, grants, question.key, &spec.kinds())?;
    let domicile = &spec.placement.domicile;
    if !domicile.is_empty() && !domicile.contains(&attributes.jurisdiction) {
        return Err(Refused::OutsideDomicile(attributes.jurisdiction.clone()));
    }
    if let Some(inventory) = question
        .inventory
        .filter(|inventory| inventory.epoch > question.placement.epoch)
    {
        return Err(Refused::Stale {
            given: question.placement.epoch,
            applied: inventory.epoch,
        });
    }
    Ok(Verified {
        spec,
        consent,
        guest: *question.owner != question.key.owner,
    })
}

/// The specification, if a member of the workload's owner really signed it.
fn proven_spec(question: &Question<'_>) -> Result<WorkloadSpec, Refused> {
    let Question {
        slice,
        key,
        placement,
        ..
    } = question;
    let author = &placement.home;
    let row = slice
        .members
        .get(author)
        .ok_or_else(|| Refused::UnknownAuthor(author.clone()))?;
    if row.owner != key.owner {
        return Err(Refused::ForeignAuthor {
            author: author.clone(),
            actual: row.owner.clone(),
            claimed: key.owner.clone(),
        });
    }
    if row.key != placement.proof.issuer {
        return Err(Refused::ForeignKey(author.clone()));
    }
    match placement.proof.verify(&slice.federation.id)? {
        Command::PutWorkload {
            key: proven, spec, ..
        } if proven == **key => Ok(spec),
        _ => Err(Refused::ForeignProof),
    }
}
