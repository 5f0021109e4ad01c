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
//! * [`address`] and [`credentials`]: where a peer is and which key it must prove; what this member proves itself with.
//! * [`network`]: the one place sockets come from, and what a simulator replaces.
//! * [`tls`]: what a certificate has to be, and nothing about who owns it.
//! * [`server`] and [`connections`]: accepting, and how many.
//! * [`client`]: dialling, and noticing that a peer is gone.
//! * [`proto`]: the messages.

pub mod address;
pub mod client;
pub mod connections;
pub mod credentials;
pub mod network;
pub mod proto;
pub mod server;
pub mod tls;

#[cfg(test)]
mod tests;

pub use address::{MAX_MESSAGE_BYTES, Peer, PeerKey, peer_key};
pub use client::Peers;
pub use connections::MemberKeys;
pub use credentials::Credentials;
pub use network::{Network, TcpNetwork};
pub use server::serve;
