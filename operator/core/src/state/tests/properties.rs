//! What holds after every entry, whatever the members ask for and in whatever order.

use crate::{command::Scheduling, invariants};
use proptest::prelude::*;

use super::*;

/// A workload that may run in several places, next to [`WEB`], which is a `Single` here.
pub(super) const POOL: &str = "acme/shop/pool";

/// One thing a member asks for. What exactly follows from the state it is asked in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    act: u8,
    /// Who asks, from 1.
    number: u8,
    /// A member as an index into [`MEMBERS`]; also the version of a specification.
    target: u8,
    /// Which of two variants of the act.
    variant: bool,
    /// Whether it is asked on an epoch or generation that is not the current one.
    stale: bool,
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let stale = prop::bool::weighted(0.2);
    (0_u8..13, 1_u8..=4, 0_u8..4, any::<bool>(), stale).prop_map(
        |(act, number, target, variant, stale)| Step {
            act,
            number,
            target,
            variant,
            stale,
        },
    )
}

impl Step {
    /// Who asks, and for what.
    pub(super) fn command(self, ledger: &Ledger) -> (u8, Command) {
        let leases = || self.leases(ledger);
        match self.act {
            0 => (self.number, self.describe()),
            1 => (self.number, self.timings()),
            2 => (self.number, self.put(ledger)),
            3 => (self.number, remove(self.workload())),
            4 | 5 => (self.number, self.confirm(ledger)),
            6 => (1, Command::ExpireLeases { leases: leases() }),
            7 => (1, Command::RenewLeases { leases: leases() }),
            8 => (1, Command::Fence { leases: leases() }),
            // Rarely: a member that was revoked does not come back.
            9 if self.variant && self.stale => (self.number, revoke(self.host())),
            12 => (
                1,
                Command::RaiseLevel {
                    to: Level(1 + u32::from(self.target)),
                },
            ),
            _ => (1, self.assign(ledger)),
        }
    }

    fn host(self) -> &'static str {
        MEMBERS[usize::from(self.target)].0
    }

    fn workload(self) -> &'static str {
        if self.variant { WEB } else { POOL }
    }

    /// `number`, or one that is not current.
    fn on(self, number: u64) -> u64 {
        if self.stale {
            number.wrapping_sub(1)
        } else {
            number
        }
    }

    fn describe(self) -> Command {
        let attributes = Attributes {
            scheduling: if self.variant {
                Scheduling::Drained
            } else {
                Scheduling::Enabled
            },
            ..Attributes::default()
        };
        Command::Describe {
            attributes,
            version: format!("0.{}.0", self.target),
            level: Level(1 + u32::from(self.target)),
        }
    }

    fn timings(self) -> Command {
        let timings = Timings {
            lease_ms: 1_000 * (1 + u64::from(self.target)),
            heartbeat_ms: 300,
        };
        Command::SetTimings { timings }
    }

    fn put(self, ledger: &Ledger) -> Command {
        let mode = if self.variant {
            Mode::Single
        } else {
            Mode::Divided
        };
        Command::PutWorkload {
            key: workload(self.workload()),
            base: Generation(self.on(ledger.generation(self.workload()).0)),
            spec: spec(mode, u32::from(self.target)),
        }
    }

    fn confirm(self, ledger: &Ledger) -> Command {
        let key = workload(self.workload());
        let host = member(MEMBERS[usize::from(self.number) - 1].0);
        let epoch = ledger.state.removals.get(&key, &host);
        Command::ConfirmRemoval {
            workload: key,
            epoch: Epoch(self.on(epoch.map_or(1, |removal| removal.epoch.0))),
        }
    }

    fn leases(self, ledger: &Ledger) -> BTreeSet<(MemberName, Epoch)> {
        let leases = ledger.leases(&[self.host()]).into_iter();
        let on = |(name, epoch): (MemberName, Epoch)| (name, Epoch(self.on(epoch.0)));
        leases.map(on).collect()
    }

    /// A plan that places the workload on two members; with an even number it also takes it away from the others.
    fn assign(self, ledger: &Ledger) -> Command {
        let neighbour = |distance: u8| MEMBERS[usize::from((self.target + distance) % 4)].0;
        let row = |host, replicas| {
            let row = ledger.row(host, replicas);
            PlacementChange {
                workload: workload(self.workload()),
                workload_generation: Generation(self.on(ledger.generation(self.workload()).0)),
                ..row
            }
        };
        let mut changes = vec![row(neighbour(0), Some(1)), row(neighbour(1), Some(1))];
        if self.number.is_multiple_of(2) {
            changes.push(row(neighbour(2), None));
            changes.push(row(neighbour(3), None));
        }
        Command::Assign { changes }
    }
}

/// The state as another replica has it that starts from a snapshot.
fn restored(state: &State) -> State {
    serde_json::from_slice(&serde_json::to_vec(state).unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_rules_hold_after_every_entry_and_every_replica_agrees(
        steps in prop::collection::vec(step(), 1..60),
        snapshot_after in 0_usize..60,
    ) {
        let mut ledger = Ledger::of(4);
        let mut replica = Ledger { state: ledger.state.clone() };
        for (number, step) in steps.into_iter().enumerate() {
            let before = ledger.state.clone();
            let (issuer, command) = step.command(&ledger);
            let signed = ledger.sign(issuer, &command);
            let outcome = ledger.apply(&signed);
            prop_assert_eq!(invariants::check(&ledger.state), Ok(()));
            prop_assert_eq!(invariants::check_step(&before, &ledger.state), Ok(()));
            // None of these commands settles the timings.
            prop_assert!(before.longest_lease() <= ledger.state.longest_lease());

            let first = ledger.state.clone();
            prop_assert_eq!(ledger.apply(&signed), outcome);
            let expected = State { index: ledger.state.index, head: ledger.state.head, ..first };
            prop_assert_eq!(&ledger.state, &expected);

            replica.apply(&signed);
            replica.apply(&signed);
            if number == snapshot_after {
                replica.state = restored(&replica.state);
            }
            prop_assert_eq!(&replica.state, &ledger.state);
        }
    }
}
