//! The language that the voters of a federation have in common, so that builds of different age apply every entry alike.
//!
//! Owners upgrade when they like, and a ledger is one state only if each of its replicas gives every command the same answer.
//! So a command that older builds cannot read, and a rule that they do not have, belong to a [`Level`], and are refused until
//! the federation has it. Rules:
//!
//! - Every operator reports the newest level it knows, with `Describe` and with `Volunteer`.
//! - The leader proposes `RaiseLevel` some time after all voters know a newer level ([`next`]): until then an upgrade can be
//!   taken back. A level never goes down.
//! - A command of a higher level than the federation's is refused as one that nobody can read: it changes nothing, not even
//!   its issuer's number ([`Command::level`](crate::command::Command::level)).
//! - A replica that meets a higher level than its build knows stops before it applies another entry, and a member that knows
//!   less than the federation's level gets no vote.
//!
//! A field added to a row of the state is left out of its encoding while it has its default value, so that a newer build
//! writes the same bytes until something of the newer level is used.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::state::State;

/// What commands a federation accepts, and by which rules it applies them. Starts at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Level(pub u32);

impl Level {
    /// The first: what every build knows.
    pub const FIRST: Self = Self(1);

    /// A leader's decision names its term, and is refused unless its issuer leads that term.
    pub const DECISIONS_OF_THE_LEADER: Self = Self(2);

    /// A custom kind may be scaled by the federation.
    pub const CUSTOM_KINDS_SCALE: Self = Self(2);

    /// A workload may say when its objects are healthy.
    pub const HEALTH_RULES: Self = Self(2);

    /// What one owner may have in all is bounded.
    pub const BOUNDED_OWNERS: Self = Self(2);

    /// The newest that this build knows.
    pub const NEWEST: Self = Self::DECISIONS_OF_THE_LEADER;

    /// For serde: the first is not written.
    #[must_use]
    pub fn is_first(&self) -> bool {
        *self == Self::FIRST
    }
}

impl Default for Level {
    fn default() -> Self {
        Self::FIRST
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The level that all voters know, if it is higher than the federation's.
#[must_use]
pub fn next(state: &State) -> Option<Level> {
    let voters = state.members.values().filter(|row| state.is_voter(row));
    let known = voters.map(|row| row.level).min()?;
    (known > state.level).then_some(known)
}
