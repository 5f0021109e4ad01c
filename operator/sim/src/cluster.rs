//! The cluster of a simulated member: a model of what `realize` does with `Single` workloads.
//!
//! It starts a copy that it is given while it holds its lease, stops all copies when the lease is over, and confirms a
//! removal once nothing runs. It follows the uplink of the real operator and knows nothing else. Where its operator is dead
//! its copies run on; those that were asked to end do end.
//!
//! Two things are easier than with real machines: its API server answers within a second, and after a power cut nothing
//! runs before the operator says so, though a kubelet may be faster (docs/robustness.md).

use std::collections::BTreeSet;

use hanse_core::{command::Command, slice::Slice, workload::Mode};
use hanse_operator::uplink::Uplink;
use tokio::time::{Instant, sleep};
use tracing::info;

use crate::{
    clients::{GRACE_MS, mode_of},
    member::SimulatedMember,
    scene::{Copies, LOOK_EVERY, elapsed},
    seeded::Seeded,
};

/// Runs the cluster until its machine is switched off.
pub async fn run(member: &SimulatedMember, uplink: &Uplink) {
    tokio::join!(run_copies(member, uplink), confirm_removals(member, uplink));
}

async fn run_copies(member: &SimulatedMember, uplink: &Uplink) {
    let (slices, standing) = (uplink.slice(), uplink.standing());
    loop {
        let ends = standing.borrow().lease_ends;
        let held = ends.is_some_and(|ends| ends > Instant::now());
        let slice = slices.borrow().clone();
        member.scene.with(|seen| {
            let copies = seen.copies.entry(member.name.clone()).or_default();
            follow(copies, slice.as_deref(), held, &member.delays);
        });
        sleep(LOOK_EVERY).await;
    }
}

fn follow(copies: &mut Copies, slice: Option<&Slice>, held: bool, delays: &Seeded) {
    let now = elapsed();
    copies.retain(|key, ends| {
        let runs = ends.is_none_or(|ends| ends > now);
        if !runs {
            info!(workload = %key, "its copy has ended");
        }
        runs
    });
    let placed = slice.into_iter().flat_map(|slice| slice.placements.keys());
    let placed = placed.filter(|key| mode_of(key) == Mode::Single);
    for key in placed.filter(|_| held) {
        copies.entry(key.clone()).or_insert_with(|| {
            info!(workload = %key, "its copy starts");
            None
        });
    }
    for (key, ends) in copies {
        let removed = slice.is_some_and(|slice| slice.removals.contains_key(key));
        if (removed || !held) && ends.is_none() {
            info!(workload = %key, removed, held, "its copy is to end");
            *ends = Some(now + delays.millis(0, 1_000) + delays.millis(0, GRACE_MS));
        }
    }
}

/// Confirms the removals of what does not run any more, each once.
async fn confirm_removals(member: &SimulatedMember, uplink: &Uplink) {
    let mut confirmed = BTreeSet::new();
    loop {
        let slice = uplink.slice().borrow().clone();
        let running = member
            .scene
            .with(|seen| seen.copies.get(&member.name).cloned());
        // Before the cluster has looked for the first time, nothing is known to have stopped.
        if let (Some(slice), Some(running)) = (slice, running) {
            let gone = slice.removals.iter();
            let gone = gone.filter(|(key, _)| !running.contains_key(*key));
            for (key, removal) in gone {
                if confirmed.insert((key.clone(), removal.epoch)) {
                    let command = Command::ConfirmRemoval {
                        workload: key.clone(),
                        epoch: removal.epoch,
                    };
                    member.ask(uplink, command).await;
                }
            }
        }
        sleep(LOOK_EVERY).await;
    }
}
