//! Waiting for something to become true, the only way this crate waits.
//!
//! A condition is an async closure that looks once: `Ok` is what it waited for, `Err` says what it saw instead. So
//! conditions compose with `?` and `ensure!`, and an API server that does not answer is one more thing that was seen:
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

/// Time between two looks. Far below every timing that is tested (heartbeats of 300 ms and more), and a look is a
/// request or two, so that waiting costs a few percent of a core.
const POLL: Duration = Duration::from_millis(50);

/// What was waited for did not happen in time.
#[derive(Debug, thiserror::Error)]
#[error("waited {} s in vain until {description}; last seen: {last}", timeout.as_secs_f64())]
pub struct ConditionError {
    description: String,
    timeout: Duration,
    last: String,
}

/// Looks until `look` returns `Ok`, at most for `timeout`. `description` completes the sentence "wait until …".
///
/// A look that hangs is cut off at the end of `timeout`.
///
/// # Errors
/// When the time is over: what was waited for, and what the last complete look saw.
pub async fn await_condition<T>(
    description: impl Into<String>,
    timeout: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<T>,
) -> Result<T, ConditionError> {
    let deadline = Instant::now() + timeout;
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = "nothing: the first look did not come back".to_owned();
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

/// Watches for `duration` that `look` stays `Ok`: for things that must not happen.
///
/// # Errors
/// What the first look saw that was not `Ok`.
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
            .map_err(|seen| seen.context(format!("it did not last that {description}")))?;
    }
    Ok(())
}
