//! What the operator counts and measures, declared once.
//!
//! | family | kind | when |
//! |---|---|---|
//! | sizes and states (`metrics/census.rs`) | gauges | computed from a [`Census`] at each scrape, so they cannot go stale |
//! | [`Metrics::count_command`], [`Metrics::count_failovers`] | counters | as it happens |
//! | [`Metrics::observe_heartbeat`], [`Metrics::time_realize`] | histograms | as it happens |
//! | `process_*` | gauges | read from `/proc` at each scrape |
//!
//! Every [`Registry`] is a value that is passed on; there is no global one, so several operators fit into one process.
//! Labels are bounded: their values come from the enums of this module, never from names or error texts.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
};
use tokio::time::Instant;

mod census;

pub use census::{Census, LeaseCounts, PlacementCounts};

/// Heartbeats take 0.2 ms in a rack, 300 ms around the world, and are given up after a lease (5 s).
const HEARTBEAT_BUCKETS_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
];

/// Realizing is a handful of requests to the local API server, 5 ms each when it is idle; its timeout is 30 s.
const REALIZE_BUCKETS_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// Why the metrics could not be set up. Only a second registration of the same registry gets here.
#[derive(Debug, thiserror::Error)]
#[error("failed to register the metrics; give each operator a registry of its own")]
pub struct RegisterMetricsError(#[from] prometheus::Error);

/// What came of a command this member proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandOutcome {
    /// It is in the ledger and in force.
    Accepted,
    /// It is in the ledger and changed nothing.
    Rejected,
    /// No answer came in time; the same command is proposed again.
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

/// How a placement came out of being realized.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RealizeOutcome {
    /// Its objects are as decided.
    Applied,
    /// An object was refused or could not be written, or the work was abandoned half way.
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

/// The handles with which the rest of the operator counts and measures. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    commands: IntCounterVec,
    failovers: IntCounter,
    heartbeat: Histogram,
    realize: HistogramVec,
}

impl Metrics {
    /// Declares every family on `registry`. `census` is asked at each scrape and must not block.
    pub fn register(
        registry: &Registry,
        census: impl Fn() -> Census + Send + Sync + 'static,
    ) -> Result<Self, RegisterMetricsError> {
        let metrics = Self {
            commands: IntCounterVec::new(
                Opts::new(
                    "hanse_commands_total",
                    "Commands this member proposed to the ledger, by what came of them.",
                ),
                &["outcome"],
            )?,
            failovers: IntCounter::new(
                "hanse_failovers_total",
                "Placements this operator, as leader, gave to another member because their host was lost.",
            )?,
            heartbeat: Histogram::with_opts(
                HistogramOpts::new(
                    "hanse_heartbeat_round_trip_seconds",
                    "Time from sending a heartbeat to the quorum until its answer.",
                )
                .buckets(HEARTBEAT_BUCKETS_SECONDS.to_vec()),
            )?,
            realize: HistogramVec::new(
                HistogramOpts::new(
                    "hanse_realize_duration_seconds",
                    "Time to bring the objects of one placement to what was decided.",
                )
                .buckets(REALIZE_BUCKETS_SECONDS.to_vec()),
                &["outcome"],
            )?,
        };
        metrics.start_all_series_at_zero();
        registry.register(Box::new(metrics.commands.clone()))?;
        registry.register(Box::new(metrics.failovers.clone()))?;
        registry.register(Box::new(metrics.heartbeat.clone()))?;
        registry.register(Box::new(metrics.realize.clone()))?;
        registry.register(Box::new(census::Collector::new(Box::new(census))?))?;
        registry.register(Box::new(build_info()?))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        Ok(metrics)
    }

    /// A command of this member has come to an end, or to nothing.
    pub fn count_command(&self, outcome: CommandOutcome) {
        self.commands.with_label_values(&[outcome.label()]).inc();
    }

    /// This operator leads and has moved `placements` away from members that were lost.
    pub fn count_failovers(&self, placements: u64) {
        self.failovers.inc_by(placements);
    }

    /// A heartbeat was answered this long after it was sent.
    pub fn observe_heartbeat(&self, round_trip: Duration) {
        self.heartbeat.observe(round_trip.as_secs_f64());
    }

    /// Starts to measure the realizing of one placement. Dropped without [`RealizeTimer::applied`] it counts as failed.
    pub fn time_realize(&self) -> RealizeTimer {
        RealizeTimer {
            realize: self.realize.clone(),
            started: Instant::now(),
            outcome: RealizeOutcome::Failed,
        }
    }

    /// A series that appears only with its first event hides that event from `rate()`.
    fn start_all_series_at_zero(&self) {
        for outcome in CommandOutcome::ALL {
            self.commands.with_label_values(&[outcome.label()]);
        }
        for outcome in RealizeOutcome::ALL {
            self.realize.with_label_values(&[outcome.label()]);
        }
    }
}

/// Measures from its creation to its drop, on tokio's clock.
#[must_use = "it measures until it is dropped"]
pub struct RealizeTimer {
    realize: HistogramVec,
    started: Instant,
    outcome: RealizeOutcome,
}

impl RealizeTimer {
    /// The objects are as decided.
    pub fn applied(mut self) {
        self.outcome = RealizeOutcome::Applied;
    }
}

impl Drop for RealizeTimer {
    fn drop(&mut self) {
        self.realize
            .with_label_values(&[self.outcome.label()])
            .observe(self.started.elapsed().as_secs_f64());
    }
}

fn build_info() -> Result<IntGaugeVec, prometheus::Error> {
    let info = IntGaugeVec::new(
        Opts::new(
            "hanse_build_info",
            "Always 1; the version of the operator is in the label.",
        ),
        &["version"],
    )?;
    info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
    Ok(info)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prometheus::TextEncoder;

    use super::*;

    fn registered(census: Census) -> (Registry, Metrics) {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry, move || census.clone()).unwrap();
        (registry, metrics)
    }

    /// The samples of one family, without comments.
    fn samples(registry: &Registry, family: &str) -> Vec<String> {
        let text = TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap();
        let mine = |line: &&str| line.starts_with(family);
        text.lines().filter(mine).map(str::to_owned).collect()
    }

    /// The version changes with every release; that it is told does not.
    fn label_text(label: &prometheus::proto::LabelPair) -> String {
        match label.name() {
            "version" => "version".to_owned(),
            name => format!("{name}={}", label.value()),
        }
    }

    #[test]
    fn the_names_and_meanings_of_the_families_do_not_change_unnoticed() {
        let (registry, _metrics) = registered(Census::default());
        let families: Vec<String> = registry
            .gather()
            .iter()
            .filter(|family| !family.name().starts_with("process_"))
            .map(|family| {
                let labels: BTreeSet<String> = family
                    .get_metric()
                    .iter()
                    .flat_map(prometheus::proto::Metric::get_label)
                    .map(label_text)
                    .collect();
                let labels: Vec<String> = labels.into_iter().collect();
                format!(
                    "{} {:?} {{{}}}\n    {}",
                    family.name(),
                    family.get_field_type(),
                    labels.join(", "),
                    family.help()
                )
            })
            .collect();
        insta::assert_snapshot!(families.join("\n"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_is_measured_too() {
        let (registry, _metrics) = registered(Census::default());
        assert_eq!(
            samples(&registry, "process_resident_memory_bytes ").len(),
            1
        );
    }

    #[test]
    fn a_command_counts_under_its_outcome() {
        let (registry, metrics) = registered(Census::default());
        metrics.count_command(CommandOutcome::Accepted);
        metrics.count_command(CommandOutcome::Accepted);
        metrics.count_command(CommandOutcome::Unanswered);
        assert_eq!(
            samples(&registry, "hanse_commands_total"),
            [
                r#"hanse_commands_total{outcome="accepted"} 2"#,
                r#"hanse_commands_total{outcome="rejected"} 0"#,
                r#"hanse_commands_total{outcome="unanswered"} 1"#,
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn realizing_is_measured_on_the_clock_of_tokio_and_fails_unless_told_otherwise() {
        let (registry, metrics) = registered(Census::default());
        let applied = metrics.time_realize();
        tokio::time::advance(Duration::from_secs(2)).await;
        applied.applied();
        let abandoned = metrics.time_realize();
        tokio::time::advance(Duration::from_secs(3)).await;
        drop(abandoned);
        assert_eq!(
            samples(&registry, "hanse_realize_duration_seconds_sum"),
            [
                r#"hanse_realize_duration_seconds_sum{outcome="applied"} 2"#,
                r#"hanse_realize_duration_seconds_sum{outcome="failed"} 3"#,
            ]
        );
    }

    #[test]
    fn two_operators_in_one_process_count_apart() {
        let (one, metrics) = registered(Census::default());
        let (other, _metrics) = registered(Census::default());
        metrics.count_failovers(3);
        assert_eq!(
            samples(&one, "hanse_failovers_total"),
            ["hanse_failovers_total 3"]
        );
        assert_eq!(
            samples(&other, "hanse_failovers_total"),
            ["hanse_failovers_total 0"]
        );
    }

    #[test]
    fn a_registry_takes_one_operator() {
        let (registry, _metrics) = registered(Census::default());
        assert!(Metrics::register(&registry, Census::default).is_err());
    }
}
