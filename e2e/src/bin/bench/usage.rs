//! What the processes of the operators use.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use hanse_e2e::{Fleet, hold_condition};
use rustix::param::clock_ticks_per_second;
use tokio::time::Instant;

use super::rounded;

/// What the operators use while nothing happens, in the order of the members.
pub(super) struct AtRest {
    /// Anonymous resident memory, in MiB: without the pages of the program's file.
    pub(super) rss_mb: Vec<f64>,
    pub(super) millicores: Vec<f64>,
}

impl AtRest {
    /// Measures for this long. An operator that ends meanwhile is an error.
    pub(super) async fn measure(fleet: &mut Fleet, period: Duration) -> Result<Self> {
        let before = used(fleet)?;
        let started = Instant::now();
        hold_condition("all operators run", period, async || running(fleet)).await?;
        let after = used(fleet)?;
        let period = started.elapsed().as_secs_f64();
        let share = |(before, after): (&Used, &Used)| {
            after.cpu.saturating_sub(before.cpu).as_secs_f64() / period * 1000.0
        };
        Ok(Self {
            rss_mb: after
                .iter()
                .map(|used| rounded(used.anonymous_mb))
                .collect(),
            millicores: before.iter().zip(&after).map(share).map(rounded).collect(),
        })
    }
}

/// What a process has used.
struct Used {
    /// Anonymous resident memory: without the pages of the program's file.
    anonymous_mb: f64,
    /// Processor time since it started.
    cpu: Duration,
}

fn used(fleet: &mut Fleet) -> Result<Vec<Used>> {
    let members: Vec<_> = fleet.members().map(str::to_owned).collect();
    members
        .iter()
        .map(|member| {
            let process = fleet.operator(member)?.process();
            used_by(
                process
                    .with_context(|| format!("the operator of {member} does not run"))?
                    .id(),
            )
        })
        .collect()
}

fn used_by(process: u32) -> Result<Used> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let anonymous_kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix("kB"))
        .context("no RssAnon in /proc/PID/status")?
        .trim()
        .parse()?;
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // Field 3 follows the name, which may contain spaces and brackets. Fields 14 and 15 are user and system time.
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
    let ticks = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse::<u64>)
        .sum::<Result<u64, _>>()?;
    Ok(Used {
        anonymous_mb: anonymous_kib / 1024.0,
        cpu: Duration::from_millis(ticks * 1000 / clock_ticks_per_second()),
    })
}

fn running(fleet: &mut Fleet) -> Result<()> {
    let members: Vec<_> = fleet.members().map(str::to_owned).collect();
    for member in &members {
        fleet.operator(member)?.ensure_running()?;
    }
    Ok(())
}
