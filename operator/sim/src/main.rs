//! Runs simulations by the thousand: `cargo run --release -p hanse-sim -- --seeds 0..10000 --jobs 2`.

use clap::Parser;
use hanse_sim::simulation;

#[derive(Parser)]
struct Arguments {
    /// One seed.
    #[arg(long)]
    seed: u64,
}

fn main() {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .without_time()
        .init();
    let arguments = Arguments::parse();
    let began = tokio::time::Instant::now();
    match simulation::run(arguments.seed) {
        Ok(report) => println!("{report:?} in {:?}", began.elapsed()),
        Err(failure) => println!("{failure}"),
    }
}
