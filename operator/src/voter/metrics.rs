//! The metrics of a voter.

use prometheus::{IntCounter, Registry};

/// The handles with which a voter counts. Cheap to clone.
#[derive(Clone)]
pub struct VoterMetrics {
    failovers: IntCounter,
}

impl VoterMetrics {
    /// Declares the families of a voter on `registry`.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let failovers = IntCounter::new(
            "hanse_failovers_total",
            "Placements this operator, as leader, gave to another member because their host was lost.",
        )?;
        registry.register(Box::new(failovers.clone()))?;
        Ok(Self { failovers })
    }

    /// Counts `placements` that this operator, as leader, moved away from lost members.
    pub(crate) fn count_failovers(&self, placements: u64) {
        self.failovers.inc_by(placements);
    }
}
