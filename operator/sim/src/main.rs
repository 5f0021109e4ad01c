//! Runs simulations by the thousand: `cargo run --release -p hanse-sim -- --seeds 0..10000 --jobs 2`.
//!
//! One line for each that fails, with its seed. `--seed N --trace` runs one and shows what its operators and the
//! simulation said, by simulated time. Fails if any simulation does.

#![allow(clippy::print_stdout, reason = "a report on the terminal")]

use std::{
    fmt, io,
    ops::Range,
    panic,
    process::{self, ExitCode},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use clap::Parser;
use hanse_core::mutation::Mutation;
use hanse_sim::{
    scene::elapsed,
    simulation::{self, Failure, Report},
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{format::Writer, time::FormatTime},
};

/// Simulates federations: real operators on simulated machines, disks and networks. A seed decides everything.
#[derive(Parser)]
#[command(name = "hanse-sim")]
struct Arguments {
    /// The seeds to run, for example 0..10000; the last is not run.
    #[arg(long, value_parser = seeds, default_value = "0..100", conflicts_with = "seed")]
    seeds: Range<u64>,
    /// The one seed to run.
    #[arg(long)]
    seed: Option<u64>,
    /// How many run at once.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: u16,
    /// Ends with the first that fails.
    #[arg(long)]
    first: bool,
    /// Switches on a fault in the code, to see that it is found: a name of `hanse_core::mutation::Mutation`.
    #[arg(long, value_parser = mutation)]
    mutation: Option<Mutation>,
    /// Shows what is said, by simulated time; `RUST_LOG` chooses otherwise.
    #[arg(long, requires = "seed")]
    trace: bool,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || format!("'{text}' is not FIRST..END, such as 0..100");
    let (first, end) = text.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str| text.parse().map_err(|_| wrong());
    Ok(number(first)?..number(end)?)
}

fn mutation(text: &str) -> Result<Mutation, String> {
    let known = Mutation::ALL.map(|known| format!("{known:?}"));
    let at = known.iter().position(|known| known == text);
    at.map(|at| Mutation::ALL[at])
        .ok_or_else(|| format!("'{text}' is none of {}", known.join(", ")))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.trace {
        show_what_is_said();
    }
    report_panics();
    let seeds = arguments
        .seed
        .map_or(arguments.seeds, |seed| seed..seed.saturating_add(1));
    let counted = Mutex::new(Counted::default());
    let next = AtomicU64::new(seeds.start);
    thread::scope(|scope| {
        for _ in 0..arguments.jobs {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let is_over = || counted.lock().is_ok_and(|it| it.failed > 0);
                    if seed >= seeds.end || arguments.first && is_over() {
                        return;
                    }
                    let result = simulation::run_mutated(seed, arguments.mutation);
                    if let Ok(mut counted) = counted.lock() {
                        counted.count(seed, result);
                    }
                }
            });
        }
    });
    let Ok(counted) = counted.into_inner() else {
        return ExitCode::FAILURE;
    };
    println!("{counted}");
    if counted.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// A panic in one of many runtimes ends the process in ways that tell nothing. This tells the seed first.
fn report_panics() {
    panic::set_hook(Box::new(|panic| {
        let seed = simulation::running().map_or_else(String::new, |seed| format!("seed {seed}: "));
        println!("{seed}{panic}");
        process::exit(1);
    }));
}

/// What came of all of them.
#[derive(Default)]
struct Counted {
    passed: u64,
    failed: u64,
    hours: f64,
    entries: u64,
    asked: usize,
    faults: usize,
}

impl Counted {
    fn count(&mut self, seed: u64, result: Result<Report, Failure>) {
        match result {
            Err(failure) => {
                self.failed += 1;
                println!("{failure}");
            }
            Ok(report) => {
                tracing::info!(seed, ?report, "passed");
                self.passed += 1;
                self.hours += report.simulated.as_secs_f64() / 3_600.0;
                self.entries += report.entries;
                self.asked += report.asked;
                self.faults += report.faults;
            }
        }
        let done = self.passed + self.failed;
        if done.is_multiple_of(1_000) {
            println!("{done} done, {} failed", self.failed);
        }
    }
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            hours,
            entries,
            asked,
            faults,
        } = self;
        write!(
            f,
            "{passed} passed, {failed} failed; {hours:.1} simulated hours, {faults} faults, {asked} commands of clients, {entries} entries"
        )
    }
}

fn show_what_is_said() {
    let chosen = EnvFilter::try_from_default_env();
    let usual = || EnvFilter::new("warn,hanse_operator=info,hanse_sim=info,openraft=error");
    tracing_subscriber::fmt()
        .with_env_filter(chosen.unwrap_or_else(|_| usual()))
        .with_timer(SimulatedTime)
        .with_ansi(false)
        .with_writer(io::stderr)
        .init();
}

/// Shows the simulated time, which is zero between two steps.
struct SimulatedTime;

impl FormatTime for SimulatedTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{:>9.3}", elapsed().as_secs_f64())
    }
}
