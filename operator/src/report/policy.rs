//! The status of a `HostingPolicy`: whether the federation plans with it, and which workloads use which grant. Pure.

use std::collections::{BTreeMap, BTreeSet};

use hanse_core::id::WorkloadKey;
use hanse_crds::{
    Condition, ConditionStatus, GrantStatus, HostingPolicyStatus,
    condition::{PUBLISHED, set_condition},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::number::length;

/// Workloads named for one grant; a limit of the CRD. All are counted.
const NAMED_WORKLOADS: usize = 32;

/// Whether the ledger has the grants of this cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Published {
    /// It has exactly these grants.
    Yes,
    /// It does not have the newest grants yet.
    NotYet,
    /// It rejected them, for this reason.
    Rejected(String),
    /// This policy cannot be read and grants nothing, for this reason.
    Unreadable(String),
}

/// The inputs of the status.
pub(super) struct Question<'a> {
    pub(super) generation: Option<i64>,
    pub(super) published: &'a Published,
    /// Each grant of the policy, by its name, and the workloads that run under it.
    pub(super) uses: &'a BTreeMap<String, BTreeSet<WorkloadKey>>,
}

/// The new status. `before` is the old one, from which conditions keep the times of their last change.
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
    let (holds, reason, message) = publication(question.published);
    let condition = Condition::new(PUBLISHED, holds, reason, message, now.clone());
    set_condition(
        &mut status.conditions,
        condition.observed_at(question.generation),
    );
    status
}

fn publication(published: &Published) -> (ConditionStatus, &'static str, String) {
    match published {
        Published::Yes => (
            ConditionStatus::True,
            "InLedger",
            "the federation plans with these grants".to_owned(),
        ),
        Published::NotYet => (
            ConditionStatus::Unknown,
            "Replicating",
            "the ledger does not have the newest grants yet; they are enforced here already"
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

    fn status_of(published: &Published, uses: &[(&str, &[&str])]) -> HostingPolicyStatus {
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
    fn the_status_lists_which_workloads_use_which_grant() {
        let status = status_of(
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
    fn the_status_reports_whether_the_federation_plans_with_the_policy() {
        let condition_text = |published| {
            let condition = status_of(&published, &[]).conditions.remove(0);
            format!(
                "{:?} {}: {}",
                condition.status, condition.reason, condition.message
            )
        };
        assert_eq!(
            [
                condition_text(Published::Yes),
                condition_text(Published::NotYet),
                condition_text(Published::Rejected("too many".into())),
                condition_text(Published::Unreadable("no such owner".into()))
            ],
            [
                "True InLedger: the federation plans with these grants",
                "Unknown Replicating: the ledger does not have the newest grants yet; they are enforced here already",
                "False Rejected: the ledger rejected the grants of this cluster: too many",
                "False Unreadable: this policy grants nothing, because it cannot be read: no such owner"
            ]
        );
    }

    #[test]
    fn the_first_thirty_two_workloads_are_named_and_all_are_counted() {
        let keys: Vec<String> = (10..50).map(|n| format!("north/shop/w{n}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let status = status_of(&Published::Yes, &[("north", &keys)]);
        assert_eq!(
            (status.grants[0].hosting, status.grants[0].workloads.len()),
            (40, 32)
        );
    }
}
