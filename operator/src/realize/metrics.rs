//! The metrics of realizing.

use prometheus::{HistogramOpts, HistogramVec, Registry};
use tokio::time::Instant;

/// Realizing takes a few requests to the local API server, 5 ms each when it is idle. Each times out after 10 s.
const REALIZE_BUCKETS_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// The result of realizing a placement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RealizeOutcome {
    /// Its objects are applied as decided.
    Applied,
    /// An object was refused or could not be written, or the round was cancelled.
    Failed,
}

impl RealizeOutcome {
    const ALL: [Self; 2] = [Self::Applied, Self::Failed];

    fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Failed => "failed",
        }
    }
}

/// The handles with which realizing is measured. Cheap to clone.
#[derive(Clone)]
pub struct RealizeMetrics {
    realize: HistogramVec,
}

impl RealizeMetrics {
    /// Declares the families of this module on `registry`, each series at zero.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let realize = HistogramVec::new(
            HistogramOpts::new(
                "hanse_realize_duration_seconds",
                "Time to bring the objects of one placement to what was decided.",
            )
            .buckets(REALIZE_BUCKETS_SECONDS.to_vec()),
            &["outcome"],
        )?;
        for outcome in RealizeOutcome::ALL {
            realize.with_label_values(&[outcome.label()]);
        }
        registry.register(Box::new(realize.clone()))?;
        Ok(Self { realize })
    }

    /// Starts to measure one placement. Dropped without [`RealizeTimer::applied`] it counts as failed.
    pub fn time(&self) -> RealizeTimer {
        RealizeTimer {
            realize: self.realize.clone(),
            started: Instant::now(),
            outcome: Some(RealizeOutcome::Failed),
        }
    }
}

/// Measures from its creation to its drop, on tokio's clock.
#[must_use = "it measures until it is dropped"]
pub struct RealizeTimer {
    realize: HistogramVec,
    started: Instant,
    outcome: Option<RealizeOutcome>,
}

impl RealizeTimer {
    /// Ends the measurement as applied.
    pub fn applied(mut self) {
        self.outcome = Some(RealizeOutcome::Applied);
    }

    /// Ends the measurement without a result: nothing had to be done.
    pub fn idle(mut self) {
        self.outcome = None;
    }
}

impl Drop for RealizeTimer {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome {
            let elapsed = self.started.elapsed().as_secs_f64();
            let series = self.realize.with_label_values(&[outcome.label()]);
            series.observe(elapsed);
        }
    }
}
