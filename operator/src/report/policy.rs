//! The status of a `HostingPolicy`: whether the federation plans with it, and who uses which grant. Pure.

use std::collections::{BTreeMap, BTreeSet};

use hanse_core::id::WorkloadKey;
use hanse_crds::{
    Condition, ConditionStatus, GrantStatus, HostingPolicyStatus,
    condition::{PUBLISHED, set_condition},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::number::length;

/// Workloads named for one grant, by the CRD; more are counted.
const NAMED_WORKLOADS: usize = 32;

/// Whether the ledger has what this cluster grants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Published {
    /// It has exactly this.
    Yes,
    /// It has not taken in the newest grants yet.
    NotYet,
    /// It rejected them, for this reason.
    Rejected(String),
    /// This policy cannot be read and grants nothing, for this reason.
    Unreadable(String),
}

/// What the status depends on.
pub(super) struct Question<'a> {
    pub(super) generation: Option<i64>,
    pub(super) published: &'a Published,
    /// Each grant of the policy, by its name, and the workloads that run under it.
    pub(super) uses: &'a BTreeMap<String, BTreeSet<WorkloadKey>>,
}

/// What the status says after `before`.
pub(super) fn status(
    before: &HostingPolicyStatus,
    question: &Question<'_>,
    now: &Time,
) -> HostingPolicyStatus {
    let mut status = before.clone();
    status.observed_generation = question.generation;
    status.hosting = question.uses.values().map(|used| length(used.len())).sum();
    let grants = question.uses.iter();
    status.grants = grants
        .map(|(name, used)| GrantStatus {
            name: name.clone(),
            hosting: length(used.len()),
            workloads: used
                .iter()
                .take(NAMED_WORKLOADS)
                .map(ToString::to_string)
                .collect(),
        })
        .collect();
    let (holds, reason, message) = said(question.published);
    let condition = Condition::new(PUBLISHED, holds, reason, message, now.clone());
    set_condition(
        &mut status.conditions,
        condition.observed_at(question.generation),
    );
    status
}

fn said(published: &Published) -> (ConditionStatus, &'static str, String) {
    match published {
        Published::Yes => (
            ConditionStatus::True,
            "InLedger",
            "the federation plans with these grants".to_owned(),
        ),
        Published::NotYet => (
            ConditionStatus::Unknown,
            "Replicating",
            "the ledger has not taken in the newest grants yet; they are enforced here already"
                .to_owned(),
        ),
        Published::Rejected(reason) => (
            ConditionStatus::False,
            "Rejected",
            format!("the ledger rejected the grants of this cluster: {reason}"),
        ),
        Published::Unreadable(reason) => (
            ConditionStatus::False,
            "Unreadable",
            format!("this policy grants nothing, because it cannot be read: {reason}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn told(published: &Published, uses: &[(&str, &[&str])]) -> HostingPolicyStatus {
        let uses = uses.iter().map(|(name, workloads)| {
            let workloads = workloads.iter().map(|key| key.parse().unwrap());
            ((*name).to_owned(), workloads.collect())
        });
        let question = Question {
            generation: Some(2),
            published,
            uses: &uses.collect(),
        };
        let now = Time(Timestamp::from_second(1).unwrap());
        status(&HostingPolicyStatus::default(), &question, &now)
    }

    #[test]
    fn it_says_who_uses_which_grant() {
        let status = told(
            &Published::Yes,
            &[
                ("north", &["north/shop/web", "north/shop/api"]),
                ("others", &[]),
            ],
        );
        let grant = |name: &str, hosting, workloads: &[&str]| GrantStatus {
            name: name.to_owned(),
            hosting,
            workloads: workloads.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(
            (status.hosting, status.grants),
            (
                2,
                vec![
                    grant("north", 2, &["north/shop/api", "north/shop/web"]),
                    grant("others", 0, &[])
                ]
            )
        );
    }

    #[test]
    fn it_says_whether_the_federation_plans_with_it() {
        let said = |published| {
            let condition = told(&published, &[]).conditions.remove(0);
            format!(
                "{:?} {}: {}",
                condition.status, condition.reason, condition.message
            )
        };
        assert_eq!(
            [
                said(Published::Yes),
                said(Published::NotYet),
                said(Published::Rejected("too many".into())),
                said(Published::Unreadable("no such owner".into()))
            ],
            [
                "True InLedger: the federation plans with these grants",
                "Unknown Replicating: the ledger has not taken in the newest grants yet; they are enforced here already",
                "False Rejected: the ledger rejected the grants of this cluster: too many",
                "False Unreadable: this policy grants nothing, because it cannot be read: no such owner"
            ]
        );
    }

    #[test]
    fn the_first_thirty_two_workloads_are_named_and_all_are_counted() {
        let keys: Vec<String> = (10..50).map(|n| format!("north/shop/w{n}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let status = told(&Published::Yes, &[("north", &keys)]);
        assert_eq!(
            (status.grants[0].hosting, status.grants[0].workloads.len()),
            (40, 32)
        );
    }
}
