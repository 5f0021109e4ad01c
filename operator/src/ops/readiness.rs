//! Whether the operator is ready, and what it waits for otherwise.
//!
//! It is ready while all of this holds: it is a member, it has received a slice, and a leader with a quorum and its own
//! API server have answered it within a lease. An operator that is not ready is not restarted, and no workload is moved
//! because of it. Readiness is for rolling upgrades and for people who inspect the pod.

use std::time::Duration;

use hanse_core::timings::Timings;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{cluster::Answers, uplink::Uplink};

/// How often readiness is computed: a fifth of the shortest useful lease, and fast enough for a probe.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The API server is called once per second. With a shorter lease, three answers must be missing.
const API_PATIENCE: Duration = Duration::from_secs(3);

/// Whether the operator is ready.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readiness {
    /// What it waits for, one phrase each. Empty if it is ready.
    pub waiting_for: Vec<String>,
}

impl Readiness {
    /// Not ready, for one reason.
    #[must_use]
    pub fn waiting_for(reason: impl Into<String>) -> Self {
        Self {
            waiting_for: vec![reason.into()],
        }
    }

    /// Whether it waits for nothing.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.waiting_for.is_empty()
    }
}

/// What readiness looks at beside the uplink.
#[derive(Debug, Clone)]
pub struct Sources {
    /// When this cluster's API server last answered; `None` without one.
    pub answers: Option<Answers>,
    /// Why this member's replica of the ledger is not open, if it should be.
    pub seat: watch::Receiver<Option<String>>,
}

/// The inputs of readiness.
#[derive(Debug, Clone)]
struct Facts {
    /// The federation's timings; `None` before the first slice.
    timings: Option<Timings>,
    /// How long ago this member's lease ended; `None` while it is held.
    lease_over: Option<Duration>,
    /// How long ago this cluster's API server answered; `None` if there is no API server.
    api_answered: Option<Duration>,
    /// Why this member's replica of the ledger is not open.
    seat: Option<String>,
}

fn judge(facts: &Facts) -> Readiness {
    let Some(timings) = facts.timings else {
        return Readiness::waiting_for("the federation's first answer to this member");
    };
    let mut waiting_for = Vec::new();
    if let Some(over) = facts.lease_over {
        waiting_for.push(format!(
            "a leader with a quorum: the lease of this member ended {} s ago",
            over.as_secs()
        ));
    }
    let patience = timings.lease().max(API_PATIENCE);
    if let Some(ago) = facts.api_answered.filter(|ago| *ago > patience) {
        waiting_for.push(format!(
            "this cluster's API server: its last answer was {} s ago",
            ago.as_secs()
        ));
    }
    if let Some(why) = &facts.seat {
        waiting_for.push(format!("its replica of the ledger: {why}"));
    }
    Readiness { waiting_for }
}

/// Keeps `readiness` up to date until `stop`.
pub async fn keep(
    uplink: Uplink,
    known: Sources,
    readiness: watch::Sender<Readiness>,
    stop: CancellationToken,
) {
    let started = Instant::now();
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(look.tick()).await.is_some() {
        let slice = uplink.slice().borrow().clone();
        let ends = uplink.standing().borrow().lease_ends;
        let over = ends.unwrap_or(started).elapsed();
        let facts = Facts {
            timings: slice.map(|slice| slice.federation.timings),
            lease_over: Some(over).filter(|over| !over.is_zero()),
            api_answered: known.answers.as_ref().map(Answers::elapsed),
            seat: known.seat.borrow().clone(),
        };
        let now = judge(&facts);
        readiness.send_if_modified(|before| {
            let changed = before.is_ready() != now.is_ready();
            if changed && now.is_ready() {
                info!("ready");
            } else if changed {
                warn!(waiting_for = now.waiting_for.join("; "), "not ready");
            }
            std::mem::replace(before, now.clone()) != now
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Option<Duration> {
        Some(Duration::from_secs(seconds))
    }

    #[test]
    fn it_is_ready_while_the_quorum_and_the_api_server_answer_within_a_lease() {
        let facts = Facts {
            timings: Some(Timings::default()),
            lease_over: None,
            api_answered: seconds(5),
            seat: None,
        };
        assert_eq!(judge(&facts), Readiness::default());
        let without_cluster = Facts {
            api_answered: None,
            ..facts
        };
        assert_eq!(judge(&without_cluster), Readiness::default());
    }

    #[test]
    fn it_lists_what_it_waits_for_and_for_how_long() {
        let facts = Facts {
            timings: Some(Timings::default()),
            lease_over: seconds(3),
            api_answered: seconds(6),
            seat: Some("no space left on device".to_owned()),
        };
        assert_eq!(
            judge(&facts).waiting_for,
            [
                "a leader with a quorum: the lease of this member ended 3 s ago",
                "this cluster's API server: its last answer was 6 s ago",
                "its replica of the ledger: no space left on device"
            ]
        );
        let new = Facts {
            timings: None,
            ..facts
        };
        assert_eq!(
            judge(&new).waiting_for,
            ["the federation's first answer to this member"]
        );
    }
}
