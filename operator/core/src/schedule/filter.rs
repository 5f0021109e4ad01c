//! Filters: the members that may not host a workload, each with the first reason against it.

use super::{Exclusion, needs::Needs};
use crate::{
    command::Scheduling,
    grant::{Refusal, consent},
    id::{MemberName, WorkloadKey},
    jurisdiction::objection,
    selector::{Effect, Taint},
    state::{Lease, Member},
};

/// What the filters look at.
pub(super) struct Question<'a> {
    pub(super) key: &'a WorkloadKey,
    pub(super) needs: &'a Needs,
    pub(super) name: &'a MemberName,
    pub(super) member: &'a Member,
    /// What is known of its part, if it runs it already.
    pub(super) placed: Option<Part>,
    /// Whether the member still has to remove an earlier workload of this name.
    pub(super) owes: bool,
}

/// What a member already has of a workload.
#[derive(Clone, Copy)]
pub(super) struct Part {
    /// Whether the member has refused it for so long that it should leave.
    pub(super) refused: bool,
    /// Whether it may leave the member at once, should that be drained.
    pub(super) relieved: bool,
}

impl Question<'_> {
    fn label(&self, key: &str) -> Option<&str> {
        self.member.label(self.name, key)
    }
}

/// The reason against a member that is drained.
pub(super) const DRAINED: &str = "Drained";

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
    // Its owner wants nothing new there; what runs may stay, unless the owner drains it.
    not_cordoned,
    // It has no taint that the workload does not tolerate; what runs stays, unless the taint says otherwise.
    taints_tolerated,
    // Its operator understands what the workload asks for.
    operator_knows,
    // Its owner grants this owner, namespace and all kinds.
    granted,
    // Its API server serves all kinds.
    kinds_served,
    // It carries the labels asked for.
    labels_match,
    expressions_hold,
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
    match question.member.attributes.scheduling {
        Scheduling::Enabled => None,
        Scheduling::Cordoned if question.placed.is_some() => None,
        Scheduling::Drained if question.placed.is_some_and(|part| !part.relieved) => None,
        Scheduling::Cordoned => Some(Exclusion::new(
            "Cordoned",
            "its owner cordoned it: set `spec.scheduling` of its Member to 'Enabled'",
        )),
        Scheduling::Drained => Some(Exclusion::new(
            DRAINED,
            "its owner drains it: what runs there goes to other members",
        )),
    }
}

fn taints_tolerated(question: &Question<'_>) -> Option<Exclusion> {
    let tolerations = &question.needs.tolerations;
    let mut taints = question.member.attributes.taints.iter();
    let Taint { key, value, effect } = taints.find(|taint| {
        let stays = question.placed.is_some() && taint.effect == Effect::NoSchedule;
        !stays && !tolerations.iter().any(|it| it.tolerates(taint))
    })?;
    let equals = if value.is_empty() { "" } else { "=" };
    Some(Exclusion::new(
        "Tainted",
        &format!("the workload does not tolerate its taint '{key}{equals}{value}:{effect:?}'"),
    ))
}

/// An operator that does not know a part of a specification would run something else.
fn operator_knows(question: &Question<'_>) -> Option<Exclusion> {
    let (needed, known) = (question.needs.level, question.member.level);
    (known < needed).then(|| {
        Exclusion::new(
            "OperatorTooOld",
            &format!(
                "its operator knows level {known}, and the workload uses level {needed}: upgrade it"
            ),
        )
    })
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
    let stays = question.placed.is_some_and(|part| !part.refused);
    let mut missing = question.needs.needed.difference(served);
    let missing = missing.next().filter(|_| !stays)?;
    Some(Exclusion::new(
        "KindNotServed",
        &format!("it does not serve {missing}: its definition is not installed there"),
    ))
}

fn labels_match(question: &Question<'_>) -> Option<Exclusion> {
    let mut wanted = question.needs.labels.iter();
    let (name, value) =
        wanted.find(|(name, value)| question.label(name) != Some(value.as_str()))?;
    Some(Exclusion::new(
        "LabelsDoNotMatch",
        &format!("its label '{name}' is not '{value}'"),
    ))
}

fn expressions_hold(question: &Question<'_>) -> Option<Exclusion> {
    let mut expressions = question.needs.expressions.iter();
    let broken = expressions.find(|it| !it.accepts(question.label(&it.key)))?;
    Some(Exclusion::new(
        "LabelsDoNotMatch",
        &format!("its label {}", broken.objection()),
    ))
}

fn in_domicile(question: &Question<'_>) -> Option<Exclusion> {
    let jurisdiction = &question.member.attributes.jurisdiction;
    let objection = objection(&question.needs.domicile, jurisdiction)?;
    Some(Exclusion::new("OutsideDomicile", &objection))
}
