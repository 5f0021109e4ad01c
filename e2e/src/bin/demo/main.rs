//! A federation of three clusters on this machine: it runs a workload, loses the cluster that leads it, and heals.
//!
//! `story` does it and measures, `stage` is what can be seen of it, `screen` shows that to whoever watches.

mod screen;
mod stage;
mod story;

use std::{io::IsTerminal, process::ExitCode};

use anyhow::Result;
use clap::Parser;
use hanse_e2e::{Fleet, Links, workspace};
use tokio::signal;

use self::screen::{Look, Screen};

/// Name of the fleet, and of its directory.
const FLEET: &str = "demo";

/// Three clusters of three owners form a federation and run a workload. The cluster that leads is killed, the others
/// take over, and it heals when it comes back.
#[derive(Debug, Parser)]
#[command(name = "cargo demo", bin_name = "cargo demo")]
struct Arguments {
    /// Print one JSON object per line; the last one is the summary.
    #[arg(long)]
    json: bool,
    /// Leave everything running at the end, and print how to reach it.
    #[arg(long, conflicts_with = "stop")]
    keep: bool,
    /// End what an earlier --keep has left running, and do nothing else.
    #[arg(long)]
    stop: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(code) => code,
        Err(error) => {
            screen::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let ended = workspace::end_kept(FLEET)?;
    let look = Look::chosen(arguments.json, std::io::stdout().is_terminal());
    let screen = Screen::open(look);
    if ended > 0 {
        screen.say(&format!(
            "ended {ended} processes that an earlier demo had left running"
        ));
    }
    if arguments.stop {
        screen.close().await?;
        return Ok(ExitCode::SUCCESS);
    }

    screen.say(
        "starting three clusters: etcd, API server, controllers, scheduler and three nodes each",
    );
    let mut fleet = tokio::select! {
        fleet = Fleet::start(FLEET, story::plans(), Links::Direct) => fleet?,
        _ = signal::ctrl_c() => return Ok(interrupted()),
    };
    let told = tokio::select! {
        told = story::tell(&mut fleet, &screen) => told,
        _ = signal::ctrl_c() => {
            fleet.end().await?;
            screen.close().await?;
            return Ok(interrupted());
        }
    };
    let summary = told?;
    if arguments.keep {
        screen.keep(&fleet)?;
        fleet.leave_running()?;
    } else {
        fleet.end().await?;
    }
    screen.summarise(summary);
    screen.close().await?;
    Ok(ExitCode::SUCCESS)
}

/// What a shell expects of a program that was interrupted.
fn interrupted() -> ExitCode {
    ExitCode::from(130)
}
