//! How operators reach one another: gRPC over mutual TLS with pinned keys.
//!
//! ```text
//!   Peers ── Channel ──▶ Network::dial ─── TLS 1.3 ───▶ Listener::accept ── serve ──▶ services
//!   (client)   pins the server's key                     accepts any key, passes it to every call (peer_key)
//! ```
//!
//! There is no certificate authority, and names are not checked: a peer is identified by its Ed25519 key. The client
//! pins the server's key and accepts no other. The server reads the caller's key, proven by TLS, and each service
//! decides which calls that key may make. [`MemberKeys`] adds the one rule that holds for all services: when a key
//! leaves the ledger, its connections are closed.
//!
//! * [`address`] and [`credentials`]: a peer's address and key; this member's own key and certificate.
//! * [`network`]: opens every socket; a simulator replaces it.
//! * [`tls`]: which certificates are accepted.
//! * [`server`] and [`connections`]: accepting connections, and limiting their number.
//! * [`client`]: dialling, and detecting that a peer is gone.
//! * [`redirect`]: a refusal that names the voters to ask instead.
//! * [`proto`]: the messages.

pub mod address;
pub mod client;
pub mod connections;
pub mod credentials;
pub mod network;
pub mod proto;
pub mod redirect;
pub mod server;
pub mod tls;

#[cfg(test)]
mod tests;

pub use address::{MAX_MESSAGE_BYTES, MAX_SLICE_BYTES, Peer, PeerKey, SLICE_PART_BYTES, peer_key};
pub use client::Peers;
pub use connections::MemberKeys;
pub use credentials::Credentials;
pub use network::{BoxedStream, Listener, Network, TcpNetwork};
pub use server::serve;
