//! Waits until a condition is true. This crate waits in no other way.
//!
//! A condition is an async closure that checks once. `Ok` means that it is met, `Err` contains what was found instead.
//! So conditions are written with `?` and `ensure!`, and a request that fails means that the condition is not met yet:
//!
//! ```no_run
//! # async fn example(fleet: &hanse_e2e::Fleet) -> anyhow::Result<()> {
//! use std::time::Duration;
//! use anyhow::ensure;
//! use hanse_e2e::await_condition;
//!
//! await_condition("lubeck leads", Duration::from_secs(10), async || {
//!     let leader = fleet.leader().await?;
//!     ensure!(leader == "lubeck", "{leader} leads");
//!     Ok(())
//! })
//! .await?;
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

/// Time between two checks. It is far below every timing that is tested (heartbeats of 300 ms and more). A check is one
/// request or two, so waiting takes a few percent of a core.
const POLL: Duration = Duration::from_millis(50);

/// A condition was not met in time.
#[derive(Debug, thiserror::Error)]
#[error("not within {} s: {description}; last seen: {last}", timeout.as_secs_f64())]
pub struct ConditionError {
    description: String,
    timeout: Duration,
    last: String,
}

/// Calls `look` until it returns `Ok`, at most for `timeout`. `description` completes the sentence "wait until …".
///
/// A call that does not return is cancelled at the end of `timeout`.
///
/// # Errors
/// When the time is over. The error contains `description` and the last error that `look` returned.
pub async fn await_condition<T>(
    description: impl Into<String>,
    timeout: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<T>,
) -> Result<T, ConditionError> {
    let deadline = Instant::now() + timeout;
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = "nothing: the first check did not end".to_owned();
    loop {
        ticks.tick().await;
        match timeout_at(deadline, look()).await {
            Ok(Ok(seen)) => return Ok(seen),
            Ok(Err(unmet)) => last = format!("{unmet:#}"),
            Err(_elapsed) => {}
        }
        if Instant::now() >= deadline {
            return Err(ConditionError {
                description: description.into(),
                timeout,
                last,
            });
        }
    }
}

/// Checks for `duration` that `look` returns `Ok` every time: for things that must not happen.
///
/// # Errors
/// The first error that `look` returned.
pub async fn hold_condition(
    description: impl Into<String>,
    duration: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let description = description.into();
    let deadline = Instant::now() + duration;
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while Instant::now() < deadline {
        ticks.tick().await;
        look()
            .await
            .map_err(|seen| seen.context(format!("it did not stay true that {description}")))?;
    }
    Ok(())
}
