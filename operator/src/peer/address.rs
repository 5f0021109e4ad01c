//! The address and the key of a peer, and the proven key of a caller.

use std::fmt;

use hanse_core::id::PublicKey;
use serde::{Deserialize, Serialize};
use tonic::Status;

use super::proto::federation as proto;

/// The largest message either side accepts. A larger one ends its stream.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;

/// A slice that is larger travels in parts of this size, with other messages between them: an acknowledgement waits behind no more
/// than what the stream's buffer holds, which is 64 of them.
pub const SLICE_PART_BYTES: usize = 256 * 1024;

/// The largest slice that a member accepts. A larger one ends its stream, and the member says so in its log.
pub const MAX_SLICE_BYTES: usize = 1024 * 1024 * 1024;

/// The address of a peer, and the key it must prove.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// `host:port`.
    pub address: String,
    /// The peer's key. A connection to a server with another key fails.
    pub key: PublicKey,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (key {})", self.address, self.key.short())
    }
}

impl From<Peer> for proto::Peer {
    fn from(peer: Peer) -> Self {
        Self {
            address: peer.address,
            key: peer.key.0.to_vec(),
        }
    }
}

/// A received peer whose key is not 32 bytes long.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the key of peer '{address}' has {bytes} bytes instead of 32")]
pub struct MalformedPeer {
    address: String,
    bytes: usize,
}

impl TryFrom<proto::Peer> for Peer {
    type Error = MalformedPeer;
    fn try_from(peer: proto::Peer) -> Result<Self, Self::Error> {
        let proto::Peer { address, key } = peer;
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

/// The extension every served request carries: the key its caller proved. It identifies the caller; it grants nothing.
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
