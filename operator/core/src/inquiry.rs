//! What a member may ask the leader: why a workload runs where it does, and what would happen. A question changes nothing, and its
//! answer is about the workloads of the owner who asks.

use serde::{Deserialize, Serialize};

use crate::{
    id::{MemberName, WorkloadKey},
    schedule::{Change, Drain, Explanation, Hearsay, Simulation, drain, explain, simulate},
    state::State,
};

/// The changes that one question may have.
pub const MAX_CHANGES: usize = 16;

/// A question of a member.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Question {
    /// Why a workload runs where it does and not elsewhere.
    Explain {
        /// A workload of the member's owner.
        workload: WorkloadKey,
    },
    /// How far the drain of the asking member has come.
    Drain,
    /// What would change after all of these.
    Simulate {
        /// At most [`MAX_CHANGES`].
        changes: Vec<Change>,
    },
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Answer {
    /// To [`Question::Explain`].
    Explained {
        /// Every member's part.
        explanation: Box<Explanation>,
    },
    /// To [`Question::Drain`].
    Drained {
        /// What is left.
        drain: Drain,
    },
    /// To [`Question::Simulate`].
    Simulated {
        /// What would change.
        simulation: Box<Simulation>,
    },
    /// There is none.
    Refused {
        /// What is wrong with the question, and what to do.
        reason: String,
    },
}

/// Answers a question of `asker`.
#[must_use]
pub fn answer(
    state: &State,
    hearsay: Hearsay<'_>,
    asker: &MemberName,
    question: &Question,
) -> Answer {
    let refused = |reason: String| Answer::Refused { reason };
    let Some(owner) = state.members.get(asker).map(|row| &row.owner) else {
        return refused(format!("'{asker}' is not a member of this federation"));
    };
    match question {
        Question::Explain { workload } if workload.owner != *owner => refused(format!(
            "'{workload}' is of another owner: ask in one of its clusters"
        )),
        Question::Explain { workload } => match explain(state, hearsay, workload) {
            Some(explanation) => Answer::Explained {
                explanation: Box::new(explanation),
            },
            None => refused(format!("the federation has no workload '{workload}'")),
        },
        Question::Drain => match drain(state, hearsay, asker) {
            Some(drain) => Answer::Drained { drain },
            None => refused(format!("'{asker}' is not a member of this federation")),
        },
        Question::Simulate { changes } if changes.len() > MAX_CHANGES => refused(format!(
            "at most {MAX_CHANGES} changes at once, not {}",
            changes.len()
        )),
        Question::Simulate { changes } => match simulate(state, hearsay, (asker, owner), changes) {
            Ok(simulation) => Answer::Simulated {
                simulation: Box::new(simulation),
            },
            Err(error) => refused(error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        capacity::Capacities,
        command::Attributes,
        id::{Epoch, Generation, PublicKey},
        schedule::Observations,
        state::{Lease, Member},
    };

    fn reason(asker: &str, question: &Question) -> String {
        let mut state = State::default();
        let member = Member {
            owner: "acme".parse().unwrap(),
            key: PublicKey([1; 32]),
            sponsor: None,
            attributes: Attributes::default(),
            version: String::new(),
            level: crate::level::Level::FIRST,
            grants: Vec::new(),
            kinds: None,
            seat: None,
            lease: Lease::Held { epoch: Epoch(1) },
            generation: Generation(1),
        };
        state.members.insert("acme-1".parse().unwrap(), member);
        let asker = asker.parse().unwrap();
        let (observations, capacities) = (Observations::default(), Capacities::new());
        let hearsay = Hearsay::of_all_heard(&observations, &capacities);
        match answer(&state, hearsay, &asker, question) {
            Answer::Refused { reason } => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_question_that_has_no_answer_is_refused_with_the_reason() {
        let explain = |workload: &str| Question::Explain {
            workload: workload.parse().unwrap(),
        };
        assert_eq!(
            reason("beta-1", &explain("beta/shop/web")),
            "'beta-1' is not a member of this federation"
        );
        assert_eq!(
            reason("acme-1", &explain("beta/shop/web")),
            "'beta/shop/web' is of another owner: ask in one of its clusters"
        );
        assert_eq!(
            reason("acme-1", &explain("acme/shop/web")),
            "the federation has no workload 'acme/shop/web'"
        );
        let lose = Change::Lose {
            domain: crate::domain::FailureDomain::Owner,
            name: "beta".to_owned(),
        };
        let changes = vec![lose.clone()];
        assert_eq!(
            reason("acme-1", &Question::Simulate { changes }),
            "no member that holds its lease belongs to owner 'beta'"
        );
        let changes = vec![lose; 17];
        assert_eq!(
            reason("acme-1", &Question::Simulate { changes }),
            "at most 16 changes at once, not 17"
        );
    }
}
