//! Runs simulations by the thousand: `cargo run --release -p hanse-sim -- --seeds 0..10000 --jobs 2`.

use clap::Parser;
use hanse_sim::simulation;

struct SimulatedTime;

impl tracing_subscriber::fmt::time::FormatTime for SimulatedTime {
    fn format_time(
        &self,
        writer: &mut tracing_subscriber::fmt::format::Writer<'_>,
    ) -> std::fmt::Result {
        write!(writer, "{:>9.3}", hanse_sim::scene::elapsed().as_secs_f64())
    }
}

#[derive(Parser)]
struct Arguments {
    /// One seed.
    #[arg(long)]
    seed: u64,
}

fn main() {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_timer(SimulatedTime)
        .with_ansi(false)
        .init();
    let arguments = Arguments::parse();
    let began = tokio::time::Instant::now();
    match simulation::run(arguments.seed) {
        Ok(report) => println!("{report:?} in {:?}", began.elapsed()),
        Err(failure) => println!("{failure}"),
    }
}
