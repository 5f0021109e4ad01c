//! What the simulation itself sees: the running operators from outside, what clients asked, and what runs in the clusters.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hanse_core::state::State;
use hanse_operator::{invitation::Invitation, replicate::ledger::Ledger, uplink::Uplink};
use parking_lot::Mutex;
use tokio::{sync::watch, time::sleep};

use crate::{cluster::Cluster, history::History};

/// How often what waits looks again.
pub const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The time since the simulation began.
#[must_use]
pub fn elapsed() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}

/// The handles of one running operator.
pub struct Running {
    /// Its uplink.
    pub uplink: Uplink,
    /// Its replica of the ledger.
    pub ledger: watch::Receiver<Option<Ledger>>,
}

/// What is shared by the hosts of one simulation and the loop that runs them. One thread uses it.
#[derive(Clone, Default)]
pub struct Scene(Arc<Mutex<Seen>>);

/// The content of a [`Scene`].
#[derive(Default)]
pub struct Seen {
    /// The operators that run now, by member.
    pub running: BTreeMap<String, Running>,
    /// The invitations that were sent to newcomers, by member.
    pub invitations: BTreeMap<String, Invitation>,
    /// The processes that ended by themselves since the last look, each with its error.
    pub ended: Vec<(String, String)>,
    /// The clusters, by member.
    pub clusters: BTreeMap<String, Cluster>,
    /// What clients asked and were answered.
    pub history: History,
    /// Whether clients ask for nothing more.
    pub calm: bool,
}

impl Scene {
    /// Looks at what is there, or changes it.
    pub fn with<T>(&self, look: impl FnOnce(&mut Seen) -> T) -> T {
        look(&mut self.0.lock())
    }

    /// Waits for so long, or until clients are to ask for nothing more. Returns whether they may go on.
    pub async fn pause(&self, pause: Duration) -> bool {
        let ends = elapsed() + pause;
        while elapsed() < ends && !self.with(|seen| seen.calm) {
            sleep(LOOK_EVERY).await;
        }
        !self.with(|seen| seen.calm)
    }

    /// The leader of the newest term that any running replica knows of and that runs itself.
    #[must_use]
    pub fn leader(&self) -> Option<String> {
        self.with(|seen| {
            let leaders = seen.running.iter().filter_map(|(name, running)| {
                let ledger = running.ledger.borrow().clone()?;
                let leadership = *ledger.leadership().borrow();
                leadership.is_self.then(|| (leadership.term, name.clone()))
            });
            leaders.max().map(|(_, name)| name)
        })
    }

    /// What each running replica has applied.
    #[must_use]
    pub fn states(&self) -> BTreeMap<String, Arc<State>> {
        self.with(|seen| {
            let replicas = seen.running.iter().filter_map(|(name, running)| {
                let ledger = running.ledger.borrow();
                Some((name.clone(), ledger.as_ref()?.state()))
            });
            replicas.collect()
        })
    }
}
