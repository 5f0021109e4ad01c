//! The metrics of a voter.

use hanse_core::{command::PlacementChange, reason::Urgency, suspicion::Suspects};
use prometheus::{IntCounter, IntGauge, Registry};

/// The handles with which a voter counts. Cheap to clone.
#[derive(Clone)]
pub struct VoterMetrics {
    failovers: IntCounter,
    surges: IntCounter,
    silent: IntGauge,
    held_back: IntGauge,
    not_open: IntGauge,
}

impl VoterMetrics {
    /// Declares the families of a voter on `registry`.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let failovers = IntCounter::new(
            "hanse_failovers_total",
            "Placements this operator, as leader, gave to another member because their host was lost.",
        )?;
        let surges = IntCounter::new(
            "hanse_surges_total",
            "Placements this operator, as leader, enlarged or made in addition because another member was silent.",
        )?;
        let silent = IntGauge::new(
            "hanse_silent_members",
            "Members that this operator, as leader, has not heard for longer than usual and that are not lost yet.",
        )?;
        let held_back = IntGauge::new(
            "hanse_silent_members_held_back",
            "Of these, the members whose replicas are not placed elsewhere in addition, because too many are silent at once.",
        )?;
        let not_open = IntGauge::new(
            "hanse_ledger_not_open",
            "1 while this member's own replica of the ledger should be open and is not; 0 otherwise.",
        )?;
        registry.register(Box::new(not_open.clone()))?;
        registry.register(Box::new(failovers.clone()))?;
        registry.register(Box::new(surges.clone()))?;
        registry.register(Box::new(silent.clone()))?;
        registry.register(Box::new(held_back.clone()))?;
        Ok(Self {
            failovers,
            surges,
            silent,
            held_back,
            not_open,
        })
    }

    /// Counts the failovers and surges among rows that this operator, as leader, has decided.
    pub(crate) fn count(&self, rows: &[PlacementChange]) {
        let failovers = rows
            .iter()
            .filter(|row| row.share.is_some() && row.reason.is_failover());
        let surges = rows
            .iter()
            .filter(|row| row.surge.is_some() && row.reason.urgency() == Urgency::Silent);
        self.failovers.inc_by(failovers.count() as u64);
        self.surges.inc_by(surges.count() as u64);
    }

    /// Shows whether this member's replica of the ledger fails to open.
    pub(crate) fn ledger_fails(&self, fails: bool) {
        self.not_open.set(i64::from(fails));
    }

    /// Shows who is silent; nobody, once this operator no longer leads.
    pub(crate) fn show(&self, suspects: &Suspects) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.silent.set(number(suspects.silent.len()));
        self.held_back.set(number(suspects.held_back().count()));
    }
}
