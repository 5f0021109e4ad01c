//! Loopback addresses for tests.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicU8, Ordering},
};

/// A loopback address that nobody else has: a port that was free a moment ago may be taken by then, also by an outgoing
/// connection.
pub(crate) fn free_address() -> String {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let host = Ipv4Addr::new(127, high, low, NEXT.fetch_add(1, Ordering::Relaxed));
    format!("{host}:7443")
}
