//! A federation of three clusters on this machine. It runs a workload, the leader's cluster is killed, and it recovers.
//!
//! `story` runs the steps and measures them, `stage` reads the state of the clusters, `event` is what `story` reports,
//! and `screen` shows state and events. `story` and `screen` do not import each other:
//!
//! ```text
//!         main
//!        /    \
//!    story    screen
//!     |  \    /  |
//!     |   \  /   |
//!   stage   event
//! ```

mod event;
mod screen;
mod stage;
mod story;

use std::{io::IsTerminal, process::ExitCode, sync::Arc};

use anyhow::Result;
use clap::Parser;
use hanse_e2e::{Fleet, Links, workspace};
use tokio::signal;

use self::{
    event::{Event, Events},
    screen::{Look, Screen},
    stage::Stage,
};

/// Name of the fleet, and of its directory.
const FLEET: &str = "demo";

/// Three clusters of three owners form a federation and run a workload. The leader's cluster is killed, and the other
/// clusters run its replicas. Then it is started again and rejoins.
#[derive(Debug, Parser)]
#[command(name = "cargo demo", bin_name = "cargo demo")]
struct Arguments {
    /// Print one JSON object per line; the last one is the summary.
    #[arg(long)]
    json: bool,
    /// Leave everything running at the end, and print the kubeconfigs.
    #[arg(long, conflicts_with = "stop")]
    keep: bool,
    /// End what an earlier run with --keep has left running, and do nothing else.
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
    let stage = Arc::new(Stage::default());
    let (events, inbox) = Events::channel();
    let screen = Screen::open(look, Arc::clone(&stage), inbox);
    if ended > 0 {
        events.say(&format!(
            "ended {ended} processes that an earlier demo had left running"
        ));
    }
    if arguments.stop {
        drop(events);
        screen.close().await?;
        return Ok(ExitCode::SUCCESS);
    }

    events.say(
        "starting three clusters: etcd, API server, controllers, scheduler and three nodes each",
    );
    let mut fleet = tokio::select! {
        fleet = Fleet::start(FLEET, story::plans(), Links::Direct) => fleet?,
        _ = signal::ctrl_c() => return Ok(interrupted()),
    };
    let measured = tokio::select! {
        summary = story::run(&mut fleet, &stage, &events) => summary,
        _ = signal::ctrl_c() => {
            fleet.end().await?;
            drop(events);
            screen.close().await?;
            return Ok(interrupted());
        }
    };
    let summary = measured?;
    if arguments.keep {
        events.send(Event::Kept(kubeconfigs(&fleet)?));
        fleet.leave_running()?;
    } else {
        fleet.end().await?;
    }
    events.send(Event::Summary(summary));
    drop(events);
    screen.close().await?;
    Ok(ExitCode::SUCCESS)
}

/// The name of each member and its kubeconfig.
fn kubeconfigs(fleet: &Fleet) -> Result<Vec<(String, String)>> {
    fleet
        .members()
        .map(|member| {
            let path = fleet.kubeconfig(member)?;
            Ok((member.to_owned(), path.display().to_string()))
        })
        .collect()
}

/// The exit code by convention after SIGINT: 128 + 2.
fn interrupted() -> ExitCode {
    ExitCode::from(130)
}
