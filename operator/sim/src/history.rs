//! What clients asked of the ledger and were answered, and whether that holds.
//!
//! An accepted command has the index of its entry, which orders all of them: the history is linearizable if that order
//! does not contradict the times at which they were asked and answered, if no entry is two answers, and if what was
//! accepted is found in the state that follows.

use std::{collections::BTreeMap, fmt, time::Duration};

use hanse_core::{
    command::Command,
    id::WorkloadKey,
    state::{Outcome, State},
};

/// One command.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The member whose operator was asked.
    pub member: String,
    /// What for.
    pub command: Command,
    /// When.
    pub asked: Duration,
    /// When it was answered, and what; `None` while it is not, and for ever if its operator ended first.
    pub answered: Option<(Duration, Outcome)>,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            member,
            command,
            asked,
            answered,
        } = self;
        let what = serde_json::to_string(command).unwrap_or_default();
        write!(f, "at {asked:?} {member} asked {what:.200}, and was ")?;
        match answered {
            Some((at, outcome)) => write!(f, "answered at {at:?}: {outcome:?}"),
            None => f.write_str("not answered"),
        }
    }
}

/// All of them, in the order in which they were asked.
#[derive(Debug, Default)]
pub struct History(Vec<Asked>);

impl History {
    /// A member is asked; returns the number of the command.
    pub fn ask(&mut self, member: &str, command: Command, asked: Duration) -> usize {
        self.0.push(Asked {
            member: member.to_owned(),
            command,
            asked,
            answered: None,
        });
        self.0.len() - 1
    }

    /// The command with this number is answered.
    pub fn answer(&mut self, number: usize, at: Duration, outcome: Outcome) {
        if let Some(asked) = self.0.get_mut(number) {
            asked.answered = Some((at, outcome));
        }
    }

    /// How many were asked and how many accepted.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        (self.0.len(), self.accepted().count())
    }

    fn accepted(&self) -> impl Iterator<Item = (u64, Duration, &Asked)> {
        self.0.iter().filter_map(|asked| match &asked.answered {
            Some((at, Outcome::Accepted { index })) => Some((*index, *at, asked)),
            Some((_, Outcome::Rejected { .. })) | None => None,
        })
    }

    /// Whether the order of the entries is one that the clients' clocks allow.
    pub fn is_linearizable(&self) -> Result<(), String> {
        let mut entries: BTreeMap<u64, (Duration, &Asked)> = BTreeMap::new();
        for (index, answered, asked) in self.accepted() {
            if let Some((_, other)) = entries.insert(index, (answered, asked)) {
                return Err(format!(
                    "the entry {index} is the answer to two commands: {other} and {asked}"
                ));
            }
        }
        // Going back from the newest entry: nothing may be answered before what is older in the log was asked.
        let mut earliest_answer = Duration::MAX;
        for (index, (answered, asked)) in entries.iter().rev() {
            if earliest_answer < asked.asked {
                return Err(format!(
                    "the entry {index} was asked for at {:?}, after a later entry was answered at {earliest_answer:?}",
                    asked.asked
                ));
            }
            earliest_answer = earliest_answer.min(*answered);
        }
        Ok(())
    }

    /// Whether `state`, which follows all of it, still knows what was accepted.
    pub fn is_kept_by(&self, state: &State) -> Result<(), String> {
        let mut newest: BTreeMap<&WorkloadKey, (u64, &Command)> = BTreeMap::new();
        for (index, _, asked) in self.accepted() {
            if let Command::PutWorkload { key, .. } = &asked.command {
                let entry = newest.entry(key).or_insert((index, &asked.command));
                if entry.0 < index {
                    *entry = (index, &asked.command);
                }
            }
        }
        for (key, (index, command)) in newest {
            let Some(row) = state.workloads.get(key) else {
                if self.may_be_removed(key) {
                    continue;
                }
                return Err(format!(
                    "{key} is gone, though it was put by the entry {index}"
                ));
            };
            if row.generation.0 < index {
                return Err(format!(
                    "{key} has the generation {}, older than the accepted {index}",
                    row.generation.0
                ));
            }
            let Command::PutWorkload { spec, .. } = command else {
                continue;
            };
            if row.generation.0 == index && *row.spec != *spec {
                return Err(format!("{key} is not what the entry {index} put"));
            }
        }
        Ok(())
    }

    fn may_be_removed(&self, removed: &WorkloadKey) -> bool {
        self.0.iter().any(
            |asked| matches!(&asked.command, Command::RemoveWorkload { key, .. } if key == removed),
        )
    }
}

#[cfg(test)]
mod tests {
    use hanse_core::timings::Timings;

    use super::*;

    fn asked(history: &mut History, from: u64, to: u64, index: u64) {
        let command = Command::SetTimings {
            timings: Timings::default(),
        };
        let number = history.ask("one", command, Duration::from_secs(from));
        history.answer(number, Duration::from_secs(to), Outcome::Accepted { index });
    }

    #[test]
    fn commands_that_overlap_may_be_in_either_order() {
        let mut history = History::default();
        asked(&mut history, 0, 10, 7);
        asked(&mut history, 1, 2, 6);
        asked(&mut history, 3, 4, 8);
        assert_eq!(history.is_linearizable(), Ok(()));
    }

    #[test]
    fn a_command_asked_after_the_answer_to_another_has_the_later_entry() {
        let mut history = History::default();
        asked(&mut history, 0, 1, 7);
        asked(&mut history, 2, 3, 6);
        assert_eq!(
            history.is_linearizable().unwrap_err(),
            "the entry 6 was asked for at 2s, after a later entry was answered at 1s"
        );
    }

    #[test]
    fn an_entry_answers_one_command() {
        let mut history = History::default();
        asked(&mut history, 0, 1, 7);
        asked(&mut history, 0, 1, 7);
        let one = "at 0ns one asked {\"setTimings\":{\"timings\":{\"leaseMs\":5000,\"heartbeatMs\":500}}}, and was \
                   answered at 1s: Accepted { index: 7 }";
        assert_eq!(
            history.is_linearizable().unwrap_err(),
            format!("the entry 7 is the answer to two commands: {one} and {one}")
        );
    }
}
