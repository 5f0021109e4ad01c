//! A slice that is kept up to date by what changed is the slice of the newest state.

use std::sync::Arc;

use proptest::prelude::*;

use super::{
    properties::{POOL, Step, step},
    *,
};
use crate::{
    capacity::Capacities,
    schedule::{Hearsay, Observations, Planner},
    slice::{PlacementPhase, PlacementReport, Slice, SliceUpdate, Standing, View},
    suspicion::Suspects,
};

/// What happens besides the entry.
#[derive(Debug, Clone, Copy)]
struct Soft {
    kind: u8,
    host: usize,
    pool: bool,
    ready: u32,
    /// The member whose slice is brought up to date after it; the others wait.
    follower: usize,
}

fn soft() -> impl Strategy<Value = Soft> {
    (0_u8..6, 0_usize..4, any::<bool>(), 0_u32..4, 0_usize..5).prop_map(
        |(kind, host, pool, ready, follower)| Soft {
            kind,
            host,
            pool,
            ready,
            follower,
        },
    )
}

impl Soft {
    fn happen(self, state: &State, planner: &mut Planner, standing: &mut Standing) {
        let host = member(MEMBERS[self.host].0);
        let key = workload(if self.pool { POOL } else { WEB });
        match self.kind {
            0 => {
                let report = PlacementReport {
                    epoch: Epoch(self.ready.into()),
                    generation: Generation(1),
                    phase: PlacementPhase::Applied,
                    ready: self.ready,
                    runs: true,
                    rolls_out: false,
                    desired: None,
                    scaled_by: None,
                    message: String::new(),
                };
                standing.reports.insert(key, host, report.into());
            }
            1 => drop(standing.reports.remove_all_at(&host)),
            2 => {
                standing.suspects = Suspects {
                    silent: [host].into(),
                    ..Suspects::default()
                }
            }
            3 if self.pool => drop(standing.control_planes_down.insert(host)),
            4 if self.pool => drop(standing.silent_voters.insert(FOUNDER_NODE)),
            3 => {
                standing.suspects = Suspects::default();
                standing.control_planes_down.clear();
                standing.silent_voters.clear();
            }
            _ => {
                let (observations, capacities) = (Observations::default(), Capacities::new());
                let hearsay = Hearsay {
                    silent: &standing.suspects.silent,
                    ..Hearsay::of_all_heard(&observations, &capacities)
                };
                planner.plan(state, hearsay);
                standing.diagnoses = planner.diagnoses().clone();
                standing.findings = planner.findings().clone();
            }
        }
    }
}

/// A member's slice on the leader, and as the member has it.
struct Follower {
    view: View,
    received: Slice,
}

impl Follower {
    fn new(name: &str, state: &State, standing: &Standing) -> Self {
        let (state, standing) = (Arc::new(state.clone()), Arc::new(standing.clone()));
        let view = View::new(state, standing, &member(name), &member("one"), 1).unwrap();
        let received = view.slice().clone();
        Self { view, received }
    }

    fn advance(&mut self, state: &State, standing: &Standing) {
        let (state, standing) = (Arc::new(state.clone()), Arc::new(standing.clone()));
        let Some((difference, _)) = self.view.advance(state, standing) else {
            return;
        };
        let sent = serde_json::to_vec(&SliceUpdate::Difference(difference)).unwrap();
        let update: SliceUpdate = serde_json::from_slice(&sent).unwrap();
        self.received = Slice::update(Some(&self.received), update).unwrap();
    }
}

/// Revoked members have no slice.
fn is_revoked(step: Step) -> bool {
    matches!(step.command(&Ledger::of(4)).1, Command::Revoke { .. })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_changed_makes_the_newest_slice_of_any_older_one(
        steps in prop::collection::vec((step(), soft()), 1..50),
    ) {
        let mut ledger = Ledger::of(4);
        let (mut planner, mut standing) = (Planner::default(), Standing::default());
        let mut followers = MEMBERS.map(|(name, ..)| Follower::new(name, &ledger.state, &standing));
        let followed = steps.into_iter().filter(|(step, _)| !is_revoked(*step));
        for (step, soft) in followed {
            let (issuer, command) = step.command(&ledger);
            ledger.ask(issuer, &command);
            soft.happen(&ledger.state, &mut planner, &mut standing);
            let everyone = soft.follower == MEMBERS.len();
            for (number, follower) in followers.iter_mut().enumerate() {
                if everyone || number == soft.follower {
                    follower.advance(&ledger.state, &standing);
                    let name = member(MEMBERS[number].0);
                    let whole = Slice::of(&ledger.state, &standing, &name, &member("one"), 1);
                    prop_assert_eq!(follower.view.slice(), &whole.unwrap());
                    prop_assert_eq!(&follower.received, follower.view.slice());
                }
            }
        }
    }

    #[test]
    fn an_entry_that_does_not_concern_a_member_changes_only_the_height(steps in prop::collection::vec(step(), 1..20)) {
        let mut ledger = Ledger::of(4);
        let standing = Standing::default();
        for step in steps {
            let before = (Slice::of(&ledger.state, &standing, &member("two"), &member("one"), 1), ledger.state.clone());
            let (Some(slice), state) = before else { return Ok(()); };
            let mut follower = Follower::new("two", &state, &standing);
            let (issuer, command) = step.command(&ledger);
            ledger.ask(issuer, &command);
            let (state, standing) = (Arc::new(ledger.state.clone()), Arc::new(standing.clone()));
            let Some(mut now) = Slice::of(&state, &standing, &member("two"), &member("one"), 1) else { return Ok(()); };
            let (_, news) = follower.view.advance(state, standing).unwrap();
            (now.federation.index, now.federation.head) = (slice.federation.index, slice.federation.head);
            prop_assert_eq!(news, now != slice);
        }
    }
}
