//! The metrics of the uplink.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounterVec, Opts, Registry};

/// A heartbeat takes 0.2 ms in a rack and 300 ms around the world. The stream ends after a lease (5 s by default)
/// without an answer.
const HEARTBEAT_BUCKETS_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// A commit takes two writes to a disk and a round trip: 2 ms in a rack, 400 ms around the world; one that survives an
/// election takes seconds.
const COMMAND_BUCKETS_SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The result of a command that this member proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandOutcome {
    /// It is in the ledger and in force.
    Accepted,
    /// It is in the ledger and changed nothing.
    Rejected,
    /// No answer came before the stream ended; the same command is sent again.
    Unanswered,
}

impl CommandOutcome {
    const ALL: [Self; 3] = [Self::Accepted, Self::Rejected, Self::Unanswered];

    fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Unanswered => "unanswered",
        }
    }
}

/// The handles with which the uplink counts and measures. Cheap to clone.
#[derive(Clone)]
pub struct UplinkMetrics {
    commands: IntCounterVec,
    command: Histogram,
    heartbeat: Histogram,
}

impl UplinkMetrics {
    /// Declares the families of the uplink on `registry`, each series at zero: `rate()` does not count the first event
    /// of a series that appears only with that event.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            commands: IntCounterVec::new(
                Opts::new(
                    "hanse_commands_total",
                    "Commands this member proposed to the ledger, by what came of them.",
                ),
                &["outcome"],
            )?,
            command: Histogram::with_opts(
                HistogramOpts::new(
                    "hanse_command_duration_seconds",
                    "Time from sending a command to the quorum until its outcome: a commit, and the way there and back.",
                )
                .buckets(COMMAND_BUCKETS_SECONDS.to_vec()),
            )?,
            heartbeat: Histogram::with_opts(
                HistogramOpts::new(
                    "hanse_heartbeat_round_trip_seconds",
                    "Time from sending a heartbeat to the quorum until its answer.",
                )
                .buckets(HEARTBEAT_BUCKETS_SECONDS.to_vec()),
            )?,
        };
        for outcome in CommandOutcome::ALL {
            metrics.commands.with_label_values(&[outcome.label()]);
        }
        registry.register(Box::new(metrics.commands.clone()))?;
        registry.register(Box::new(metrics.command.clone()))?;
        registry.register(Box::new(metrics.heartbeat.clone()))?;
        Ok(metrics)
    }

    /// Counts a command of this member that was answered, or whose stream ended before the answer.
    pub fn count_command(&self, outcome: CommandOutcome) {
        self.commands.with_label_values(&[outcome.label()]).inc();
    }

    /// Records how long after its first sending a command's outcome arrived.
    pub fn observe_command(&self, took: Duration) {
        self.command.observe(took.as_secs_f64());
    }

    /// Records how long after its sending a heartbeat was acknowledged.
    pub fn observe_heartbeat(&self, round_trip: Duration) {
        self.heartbeat.observe(round_trip.as_secs_f64());
    }
}
