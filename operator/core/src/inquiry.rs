//! What a member may ask the leader: why something runs where it does, and what would happen. Nothing is decided by it, and an answer is
//! about the workloads of the owner who asks.

use serde::{Deserialize, Serialize};

use crate::{
    id::{MemberName, WorkloadKey},
    schedule::{Change, Explanation, Objections, Simulation, explain, simulate},
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
    /// What would be otherwise after all of these.
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
    /// To [`Question::Simulate`].
    Simulated {
        /// What would be otherwise.
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
    objections: &Objections,
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
        Question::Explain { workload } => match explain(state, objections, workload) {
            Some(explanation) => Answer::Explained {
                explanation: Box::new(explanation),
            },
            None => refused(format!("the federation has no workload '{workload}'")),
        },
        Question::Simulate { changes } if changes.len() > MAX_CHANGES => refused(format!(
            "at most {MAX_CHANGES} changes at once, not {}",
            changes.len()
        )),
        Question::Simulate { changes } => match simulate(state, objections, owner, changes) {
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

    #[test]
    fn questions_of_strangers_and_about_others_are_refused() {
        let state = State::default();
        let asked = |question: &Question| {
            answer(
                &state,
                &Objections::default(),
                &"acme-1".parse().unwrap(),
                question,
            )
        };
        let workload = "beta/shop/web".parse().unwrap();
        assert_eq!(
            asked(&Question::Explain { workload }),
            Answer::Refused {
                reason: "'acme-1' is not a member of this federation".to_owned()
            }
        );
    }
}
