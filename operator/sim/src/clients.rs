//! What the owner of a simulated member asks for: to put, change and remove workloads, and to cordon and drain the member.

use hanse_core::{
    command::{Command, Scheduling},
    id::{Generation, WorkloadKey},
    workload::{Mode, PlacementRules, WorkloadSpec},
};
use hanse_operator::uplink::Uplink;
use serde_json::json;

use crate::{member::SimulatedMember, seeded::Seeded};

/// The grace period of every pod.
pub const GRACE_MS: u64 = 1_000;

/// The jurisdictions of members, and what workloads are limited to.
pub const JURISDICTIONS: [&str; 3] = ["DE", "FR", "US"];

/// Asks until the simulation is to come to rest; then the member takes part again, so that everything can be placed.
pub async fn run(member: &SimulatedMember, uplink: &Uplink) {
    let random = &member.requests;
    let longest = if member.is_quiet { 120_000 } else { 1_500 };
    while member.scene.pause(random.millis(50, longest)).await {
        let command = next(member, uplink, random);
        member.ask(uplink, command).await;
    }
    member
        .ask(uplink, member.describe(Scheduling::Enabled))
        .await;
}

fn next(member: &SimulatedMember, uplink: &Uplink, random: &Seeded) -> Command {
    let key = key_of(&member.owner, random);
    match random.between(0, 10) {
        0 => {
            let choices = [
                Scheduling::Enabled,
                Scheduling::Cordoned,
                Scheduling::Drained,
            ];
            member.describe(*random.pick(&choices))
        }
        1 if mode_of(&key) != Mode::Single => {
            let seen = generation(uplink, &key);
            Command::RemoveWorkload {
                key,
                seen,
                orphan: false,
            }
        }
        _ => {
            // Now and then an edit of something that was changed meanwhile, which is refused.
            let base = if random.chance(10) {
                Generation(random.between(0, 50))
            } else {
                generation(uplink, &key)
            };
            let spec = spec_of(&key, random);
            Command::PutWorkload { key, base, spec }
        }
    }
}

fn generation(uplink: &Uplink, key: &WorkloadKey) -> Generation {
    let slice = uplink.slice().borrow().clone();
    let row = slice.and_then(|slice| slice.workloads.get(key).cloned());
    row.map_or(Generation(0), |row| row.generation)
}

/// A workload has one mode for life, by its name.
fn key_of(owner: &str, random: &Seeded) -> WorkloadKey {
    let name = random.pick(&["single-a", "single-b", "divided", "duplicated"]);
    format!("{owner}/shop/{name}")
        .parse()
        .expect("a key of a simulated workload")
}

/// The mode of the workload of this name.
#[must_use]
pub fn mode_of(key: &WorkloadKey) -> Mode {
    match key.name.as_str() {
        "divided" => Mode::Divided,
        "duplicated" => Mode::Duplicated,
        _ => Mode::Single,
    }
}

fn spec_of(key: &WorkloadKey, random: &Seeded) -> WorkloadSpec {
    let mode = mode_of(key);
    let replicas = (mode != Mode::Single).then(|| random.between(0, 9));
    let rules = PlacementRules {
        replicas: replicas.and_then(|replicas| u32::try_from(replicas).ok()),
        domicile: match random.between(0, 4) {
            0 => ["EU".to_owned()].into(),
            1 => [(*random.pick(&JURISDICTIONS)).to_owned()].into(),
            _ => [].into(),
        },
        ..PlacementRules::new(mode)
    };
    // What tells one edit from the next.
    let marker = random.between(0, u64::MAX).to_string();
    let pod = json!({"terminationGracePeriodSeconds": GRACE_MS / 1_000});
    let manifest = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": key.name.as_str(), "annotations": {"example.com/edit": marker}},
        "spec": {"replicas": 1, "template": {"spec": pod}},
    });
    WorkloadSpec::new(vec![manifest], rules, &key.namespace).expect("a valid specification")
}
