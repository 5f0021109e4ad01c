//! The metrics of the whole operator: sizes and states, the process, the build.
//!
//! | family | kind | when |
//! |---|---|---|
//! | sizes and states (`metrics/census.rs`) | gauges | computed from a [`Census`] at each scrape, so never outdated |
//! | `process_*` | gauges | read from `/proc` at each scrape |
//! | commands, heartbeats | counter, histogram | as it happens, in `uplink` |
//! | failovers | counter | as it happens, in `voter` |
//! | realizing | histogram | as it happens, in `realize` |
//!
//! Every [`Registry`] is passed as a value; there is no global one, so several operators can run in one process. Labels
//! are bounded: their values come from enums, never from names or error texts.

use prometheus::{IntGaugeVec, Opts, Registry};

mod census;

pub use census::{Census, LeaseCounts, PlacementCounts};

/// Declares the families of this module on `registry`. `census` is called at each scrape and must not block.
pub fn register(
    registry: &Registry,
    census: impl Fn() -> Census + Send + Sync + 'static,
) -> Result<(), prometheus::Error> {
    registry.register(Box::new(census::Collector::new(Box::new(census))?))?;
    registry.register(Box::new(build_info()?))?;
    #[cfg(target_os = "linux")]
    registry.register(Box::new(
        prometheus::process_collector::ProcessCollector::for_self(),
    ))?;
    Ok(())
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
mod tests;
