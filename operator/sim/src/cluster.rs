//! The cluster of a simulated member: a model of what `realize` does with `Single` workloads.
//!
//! It starts a copy that it is given while it holds its lease, stops all copies when the lease is over, within the time
//! that the federation allows for it, and confirms a removal once nothing runs. It follows the uplink of the real operator
//! and knows nothing else. A power cut ends its copies, and they do not start again before the operator does: with real
//! machines a kubelet is faster (docs/robustness.md).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hanse_core::{
    command::Command,
    id::WorkloadKey,
    lease::STOP_CALLS,
    slice::{AssignedPlacement, Slice},
    workload::Mode,
};
use hanse_operator::uplink::Uplink;
use tokio::time::{Instant, sleep};

use crate::{clients::GRACE, member::SimulatedMember, seeded::Seeded};

/// How often it looks at what it is told.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs the cluster until its machine is switched off.
pub async fn run(member: &SimulatedMember, uplink: &Uplink) {
    tokio::join!(run_copies(member, uplink), confirm_removals(member, uplink));
}

async fn run_copies(member: &SimulatedMember, uplink: &Uplink) {
    // What an earlier process of the operator started runs on.
    let before = member
        .scene
        .with(|seen| seen.copies.get(&member.name).cloned());
    let before = before.into_iter().flatten();
    let mut copies = Copies(before.map(|key| (key, None)).collect());
    let (slices, standing) = (uplink.slice(), uplink.standing());
    loop {
        let (now, ends) = (Instant::now(), standing.borrow().lease_ends);
        let held = ends.is_some_and(|ends| ends > now);
        copies.follow(slices.borrow().as_deref(), held, now, &member.delays);
        copies
            .0
            .retain(|_, ends| ends.is_none_or(|ends| ends > now));
        let running = copies.0.keys().cloned().collect();
        member
            .scene
            .with(|seen| seen.copies.insert(member.name.clone(), running));
        sleep(LOOK_EVERY).await;
    }
}

/// The copies that run, each with the time at which it has ended, once it was asked to.
struct Copies(BTreeMap<WorkloadKey, Option<Instant>>);

impl Copies {
    fn follow(&mut self, slice: Option<&Slice>, held: bool, now: Instant, random: &Seeded) {
        let placed = slice.into_iter().flat_map(|slice| &slice.placements);
        let placed = placed.filter(|(_, row)| is_single(row));
        for (key, _) in placed.filter(|_| held) {
            self.0.entry(key.clone()).or_insert(None);
        }
        for (key, ends) in &mut self.0 {
            let removed = slice.is_some_and(|slice| slice.removals.contains_key(key));
            let stays = held && !removed;
            if !stays && ends.is_none() {
                let most = u64::try_from((STOP_CALLS + GRACE).as_millis()).unwrap_or(u64::MAX);
                *ends = Some(now + random.millis(0, most));
            }
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
            let gone = gone.filter(|(key, _)| !running.contains(*key));
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

fn is_single(placement: &AssignedPlacement) -> bool {
    matches!(
        placement.proof.read(),
        Ok(Command::PutWorkload { spec, .. }) if spec.placement.mode == Mode::Single
    )
}
