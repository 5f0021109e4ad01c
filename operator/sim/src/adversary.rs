//! A voter that is not honest: it proposes again what others have signed, as if they had just asked for it.

use std::time::Duration;

use hanse_core::command::SignedCommand;
use hanse_operator::replicate::ledger::Ledger;
use tokio::{sync::watch, time::timeout};

use crate::{member::SimulatedMember, seeded::Seeded};

/// How many signed commands it remembers.
const REMEMBERED: usize = 50;

/// How long it waits for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Replays until the simulation is to come to rest.
pub async fn run(member: &SimulatedMember, ledger: watch::Receiver<Option<Ledger>>) {
    let random = &member.requests;
    let mut remembered = Vec::new();
    while member.scene.pause(random.millis(1_000, 5_000)).await {
        let Some(ledger) = ledger.borrow().clone() else {
            continue;
        };
        remember(&ledger, &mut remembered, random);
        if !remembered.is_empty() {
            let replayed: SignedCommand = random.pick(&remembered).clone();
            // Whether it is refused is for the oracle to see, in the state.
            let _ = timeout(PATIENCE, ledger.propose(replayed)).await;
        }
    }
}

fn remember(ledger: &Ledger, remembered: &mut Vec<SignedCommand>, random: &Seeded) {
    let state = ledger.state();
    for workload in state.workloads.values() {
        if !remembered.contains(&workload.proof) {
            remembered.push((*workload.proof).clone());
        }
    }
    while remembered.len() > REMEMBERED {
        let at = random.between(0, remembered.len() as u64);
        remembered.swap_remove(usize::try_from(at).unwrap_or(0));
    }
}
