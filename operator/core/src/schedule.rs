//! What should run where: filter → score → select → divide, for one workload after the other.
//!
//! ```text
//!  State ─► filter (first reason against a member) ─► score ─► select and divide ─► rows for Assign
//!                     └──────► diagnosis (exclusions, failures that are survived)
//! ```
//!
//! Guarantees: deterministic (same state, same plan); a plan for a state that already is as planned is empty; only what
//! must move moves; nothing is placed on an excluded member. Where no member can take a workload, its placements stay
//! unchanged and the diagnosis says why. A plan costs what changed since the last one.
//!
//! In `schedule/`:
//!
//! - `planner`: what is kept from one plan to the next, and which workloads a change concerns.
//! - `needs`, `filter`, `candidates`: workloads with the same needs are filtered once, together.
//! - `case`, `score`, `select`, `divide`, `why`: one workload: who may have it, who comes first, who gets how much, and why.
//! - `observer`: what the leader sees of hosts over time. `refusals`: a member that could not apply its share is set aside;
//!   `unready`: so is one that does not keep it ready; `returns`: one that is back. `observations`: what a plan knows of them.
//! - `rooms`, `spare`: how much more a member can run; what is planned counts at once. `spread`: in how many domains, and how evenly.
//! - `surge`: while a member is silent or drained, as much as it has of a divided workload is placed elsewhere in addition.
//! - `failback`: what others took over moves back.
//! - `hearsay`: what a plan rests on besides the ledger. `drain`: what leaves a drained member when, and what is left there.
//! - `explain`: every member's answer about one workload, when somebody asks.
//! - `simulate`: what would happen if members were lost or added, or a workload changed.
//! - `diagnosis`: why not elsewhere. `survival`: which failures are survived. `proposed`: when the same plan is proposed again.
//!
//! Absent: clocks, liveness beyond the ledger's leases.

mod candidates;
mod case;
mod diagnosis;
mod divide;
mod drain;
mod explain;
mod failback;
mod filter;
mod hearsay;
mod needs;
mod observations;
mod observer;
mod planner;
mod proposed;
mod refusals;
mod returns;
mod rooms;
mod score;
mod select;
mod simulate;
mod spare;
mod spread;
mod surge;
mod survival;
#[cfg(test)]
mod tests;
mod unready;
mod why;

pub use diagnosis::{Diagnosis, Excluded, Exclusion, Exclusions, Findings};
pub use drain::{Drain, drain};
pub use explain::{Explanation, Verdict, explain};
pub use hearsay::Hearsay;
pub use observations::Observations;
pub use observer::{Observer, Seen};
pub use planner::Planner;
pub use proposed::Proposed;
pub use refusals::AVOIDED_FOR;
pub use simulate::{Change, Difference, Move, SimulateError, Simulation, simulate};
pub use survival::Gap;
