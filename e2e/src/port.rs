//! Free loopback ports, each given to one process only.
//!
//! A port that the kernel chose for a listener and that was closed again is soon used by another test or by an outgoing
//! connection. So ports are taken from below the range of outgoing connections, with a counter in a file under a lock.
//! A port also stays free between the end of a process and its restart.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    path::PathBuf,
};

use rustix::process::getuid;

use crate::lock::FileLock;

/// Below Linux's default range for outgoing connections (32768 and up), above the usual services.
const RANGE: Range<u16> = 20_000..32_000;

/// No port could be found.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The counter cannot be used.
    #[error("failed to use {path}, the counter of used ports: make it writable or delete it")]
    Counter {
        /// The counter's file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// All are taken.
    #[error("no free port on 127.0.0.1 from {} to {}", RANGE.start, RANGE.end - 1)]
    Exhausted,
}

/// `N` ports on which no process listens.
pub async fn free_ports<const N: usize>() -> Result<[u16; N], PortError> {
    let path = std::env::temp_dir().join(format!("hanse-e2e-ports-{}", getuid().as_raw()));
    let at = |source| PortError::Counter {
        path: path.clone(),
        source,
    };

    let _lock = FileLock::acquire(&path.with_extension("lock"))
        .await
        .map_err(at)?;
    let mut next = fs::read_to_string(&path)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .filter(|port| RANGE.contains(port))
        .unwrap_or(RANGE.start);
    let mut ports = [0; N];
    for port in &mut ports {
        *port = next_free(&mut next)?;
    }
    fs::write(&path, next.to_string()).map_err(at)?;
    Ok(ports)
}

fn next_free(next: &mut u16) -> Result<u16, PortError> {
    for _ in RANGE {
        let port = *next;
        *next = if port + 1 < RANGE.end {
            port + 1
        } else {
            RANGE.start
        };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(PortError::Exhausted)
}
