//! How operators reach one another: gRPC over mutual TLS with pinned keys.

pub mod proto;
