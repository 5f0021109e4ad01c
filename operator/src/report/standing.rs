//! This member's attachment and lease, for its status.

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::uplink::UplinkStanding;

/// The two facts that are not in the slice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// This member's stream to the leader is open.
    pub(super) attached: bool,
    /// A leader with a quorum acknowledged a heartbeat within the lease.
    pub(super) quorate: bool,
}

impl Standing {
    pub(super) fn of(standing: &UplinkStanding) -> Self {
        let ends = standing.lease_ends;
        Self {
            attached: standing.attached,
            quorate: ends.is_some_and(|ends| ends > Instant::now()),
        }
    }
}

/// Waits until the standing differs from `seen`. Returns `false` when the uplink has ended.
pub(super) async fn differs(
    standing: &mut watch::Receiver<UplinkStanding>,
    seen: Standing,
) -> bool {
    loop {
        let now = *standing.borrow_and_update();
        if Standing::of(&now) != seen {
            return true;
        }
        // Every heartbeat extends the lease; only its end changes the standing.
        let over = async {
            match now.lease_ends.filter(|_| seen.quorate) {
                Some(ends) => sleep_until(ends).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => {}
            changed = standing.changed() => if changed.is_err() { return false },
        }
    }
}
