//! The generated wire protocol (`proto/*.proto`).

#![allow(
    clippy::pedantic,
    clippy::use_self,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]

/// The messages between a member and a voter.
pub mod federation {
    tonic::include_proto!("hanse.federation.v1");
}

/// The messages between voters.
pub mod raft {
    tonic::include_proto!("hanse.raft.v1");
}
