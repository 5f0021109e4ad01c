//! What must never be seen, looked for after every step.

use std::{collections::BTreeMap, sync::Arc};

use hanse_core::{invariants, state::State, workload::Mode};
use sha2::{Digest as _, Sha256};

use crate::{clients::mode_of, scene::Seen};

/// Remembers what each replica was seen to have applied.
#[derive(Default)]
pub struct Oracle {
    /// The last state of each replica since it was switched on.
    last: BTreeMap<String, Arc<State>>,
    /// The state at each index that was seen, and who was seen with it first.
    known: BTreeMap<u64, (Arc<State>, String)>,
    /// Everything seen, as one number: two runs of a seed must agree on it.
    pub trace: Sha256,
}

impl Oracle {
    /// Looks at what each running replica has applied.
    pub fn look(&mut self, states: BTreeMap<String, Arc<State>>) -> Result<(), String> {
        self.last.retain(|name, _| states.contains_key(name));
        for (name, state) in states {
            let before = self.last.get(&name);
            if before.is_some_and(|before| before.head == state.head) {
                continue;
            }
            let about = |violation| format!("on {name} at {}: {violation}", state.index);
            invariants::check(&state).map_err(about)?;
            invariants::check_plan(&state).map_err(about)?;
            if let Some(before) = before {
                invariants::check_step(before, &state).map_err(about)?;
            }
            self.agree(&name, &state)?;
            tracing::debug!(name, index = state.index, head = %state.head, "applied");
            self.trace.update(name.as_bytes());
            self.trace.update(state.head.0);
            self.last.insert(name, state);
        }
        Ok(())
    }

    /// Every replica has the same state at an index.
    fn agree(&mut self, name: &str, state: &Arc<State>) -> Result<(), String> {
        let known = self.known.entry(state.index);
        let (known, first) = known.or_insert_with(|| (state.clone(), name.to_owned()));
        if known == state {
            return Ok(());
        }
        let what = if known.head == state.head {
            "the same history and another state"
        } else {
            "another history"
        };
        Err(format!(
            "invariant 4: {name} and {first} have {what} at {}",
            state.index
        ))
    }
}

/// No `Single` workload runs in two clusters.
pub fn one_copy_each(seen: &Seen) -> Result<(), String> {
    let mut running = BTreeMap::new();
    for (member, cluster) in &seen.clusters {
        for key in cluster.runs().filter(|key| mode_of(key) == Mode::Single) {
            if let Some(other) = running.insert(key, member) {
                return Err(format!(
                    "invariant 1: {key} runs on {other} and on {member}"
                ));
            }
        }
    }
    Ok(())
}
