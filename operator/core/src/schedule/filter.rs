//! Filters: the members that may not host a workload, each with the first reason against it.

use super::{Exclusion, needs::Needs};
use crate::{
    grant::{Refusal, consent},
    id::WorkloadKey,
    state::{Lease, Member},
};

/// What the filters look at.
pub(super) struct Question<'a> {
    pub(super) key: &'a WorkloadKey,
    pub(super) needs: &'a Needs,
    pub(super) member: &'a Member,
    /// Whether the member runs it already.
    pub(super) placed: bool,
    /// Whether the member still has to remove an earlier workload of this name.
    pub(super) owes: bool,
    /// Whether the member has refused it for so long that it should leave.
    pub(super) refused: bool,
}

type Filter = fn(&Question<'_>) -> Option<Exclusion>;

/// The chain is the specification of when a member may host a workload. The most certain reasons come first: a
/// lost member's labels do not matter.
const CHAIN: &[Filter] = &[
    // Revoked: for good.
    not_revoked,
    // Its lease is over: what it runs is not known.
    lease_held,
    // What it has of an earlier workload of this name goes first.
    name_is_free,
    // Its owner wants nothing new there; what runs may stay.
    not_cordoned,
    // Its owner grants this owner, namespace and all kinds.
    granted,
    // Its API server serves all kinds.
    kinds_served,
    // It carries the labels asked for.
    labels_match,
    // It is where the law allows the workload to be.
    in_domicile,
];

/// The first objection to the member hosting the workload; `None` if it may.
pub(super) fn first_objection(question: &Question<'_>) -> Option<Exclusion> {
    CHAIN.iter().find_map(|filter| filter(question))
}

fn not_revoked(question: &Question<'_>) -> Option<Exclusion> {
    match question.member.lease {
        Lease::Revoked { .. } => Some(Exclusion::new("Revoked", "it was revoked")),
        Lease::Held { .. } | Lease::Lost { .. } => None,
    }
}

fn lease_held(question: &Question<'_>) -> Option<Exclusion> {
    if question.member.lease.is_held() {
        return None;
    }
    Some(Exclusion::new(
        "LeaseNotHeld",
        "its lease ended: no heartbeat arrived in time",
    ))
}

fn name_is_free(question: &Question<'_>) -> Option<Exclusion> {
    question.owes.then(|| {
        Exclusion::new(
            "StillRemoving",
            "it still removes an earlier workload of this name",
        )
    })
}

fn not_cordoned(question: &Question<'_>) -> Option<Exclusion> {
    if !question.member.attributes.cordoned || question.placed {
        return None;
    }
    Some(Exclusion::new(
        "Cordoned",
        "its owner cordoned it: set `spec.scheduling` of its Member to 'Enabled'",
    ))
}

fn granted(question: &Question<'_>) -> Option<Exclusion> {
    let refusal = consent(
        &question.member.owner,
        &question.member.grants,
        question.key,
        &question.needs.kinds,
    )
    .err()?;
    let reason = match refusal {
        Refusal::NoGrant { .. } => "NotGranted",
        Refusal::KindNotGranted { .. } => "KindNotGranted",
    };
    Some(Exclusion::new(reason, &refusal.to_string()))
}

/// What runs where a kind is no longer served stays until its host refuses it: other objects of it may be well.
fn kinds_served(question: &Question<'_>) -> Option<Exclusion> {
    let served = question.member.kinds.as_ref()?;
    let stays = question.placed && !question.refused;
    let mut missing = question.needs.needed.difference(served);
    let missing = missing.next().filter(|_| !stays)?;
    Some(Exclusion::new(
        "KindNotServed",
        &format!("it does not serve {missing}: its definition is not installed there"),
    ))
}

fn labels_match(question: &Question<'_>) -> Option<Exclusion> {
    let labels = &question.member.attributes.labels;
    let wanted = &question.needs.labels;
    let (name, value) = wanted
        .iter()
        .find(|(name, value)| labels.get(*name) != Some(value))?;
    Some(Exclusion::new(
        "LabelsDoNotMatch",
        &format!("its label '{name}' is not '{value}'"),
    ))
}

fn in_domicile(question: &Question<'_>) -> Option<Exclusion> {
    let domicile = &question.needs.domicile;
    let jurisdiction = &question.member.attributes.jurisdiction;
    if domicile.is_empty() || domicile.contains(jurisdiction) {
        return None;
    }
    let allowed = domicile
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    let message = if jurisdiction.is_empty() {
        format!("it names no jurisdiction, and the workload must stay in {allowed}")
    } else {
        format!("it is in {jurisdiction}, and the workload must stay in {allowed}")
    };
    Some(Exclusion::new("OutsideDomicile", &message))
}
