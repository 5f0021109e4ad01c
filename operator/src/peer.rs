//! How operators reach one another: gRPC over mutual TLS with pinned keys.
//!
//! ```text
//!   Peers ── Channel ──▶ Network::dial ─── TLS 1.3 ───▶ Listener::accept ── serve ──▶ services
//!   (client)   pins the server's key                     takes any key, and hands it to every call (peer_key)
//! ```
//!
//! There is no authority and no name to trust: a peer is its Ed25519 key. Who dials knows the key it wants and talks to no
//! other. Who is dialled learns the caller's key, proven by TLS, and each service decides what that key may ask for.
//! [`MemberKeys`] adds the one rule that holds for all services: when a key leaves the ledger, its connections are cut.
//!
//! * [`network`]: the one place sockets come from, and what a simulator replaces.
//! * [`tls`]: what a certificate has to be, and nothing about who owns it.
//! * [`server`] and [`connections`]: accepting, and how many.
//! * [`client`]: dialling, and noticing that a peer is gone.
//! * [`proto`]: the messages.

pub mod client;
pub mod connections;
pub mod network;
pub mod proto;
pub mod server;
pub mod tls;

#[cfg(test)]
mod tests;

use std::fmt;

use hanse_core::id::PublicKey;
use serde::{Deserialize, Serialize};
use tonic::Status;

pub use client::Peers;
pub use connections::MemberKeys;
pub use network::{Network, TcpNetwork};
pub use server::serve;

/// The largest message either side takes: a whole slice of 10,000 workloads of 5 KiB. A larger one ends its stream.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// Where a peer is reached, and the key it must prove.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// `host:port`.
    pub address: String,
    /// Whoever cannot prove this key is not the peer.
    pub key: PublicKey,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (key {})", self.address, self.key.short())
    }
}

impl From<Peer> for proto::federation::Peer {
    fn from(peer: Peer) -> Self {
        Self {
            address: peer.address,
            key: peer.key.0.to_vec(),
        }
    }
}

/// A peer on the wire whose key is not 32 bytes long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key of peer '{address}' has {bytes} bytes instead of 32")]
pub struct MalformedPeer {
    address: String,
    bytes: usize,
}

impl TryFrom<proto::federation::Peer> for Peer {
    type Error = MalformedPeer;
    fn try_from(peer: proto::federation::Peer) -> Result<Self, Self::Error> {
        let proto::federation::Peer { address, key } = peer;
        match <[u8; 32]>::try_from(key) {
            Ok(key) => Ok(Self {
                address,
                key: PublicKey(key),
            }),
            Err(key) => Err(MalformedPeer {
                address,
                bytes: key.len(),
            }),
        }
    }
}

/// The extension every served request carries: the key its caller proved. Says who is asking, not what it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerKey(pub PublicKey);

/// The key the caller of `request` proved.
pub fn peer_key<T>(request: &tonic::Request<T>) -> Result<PublicKey, Status> {
    request
        .extensions()
        .get::<PeerKey>()
        .map(|&PeerKey(key)| key)
        .ok_or_else(|| Status::unauthenticated("the caller proved no key"))
}
