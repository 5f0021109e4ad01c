//! The generated wire protocol (`proto/*.proto`).

#![allow(
    clippy::pedantic,
    clippy::use_self,
    unreachable_pub,
    unused_qualifications,
    reason = "generated code"
)]

/// What a member says to a voter.
pub mod federation {
    tonic::include_proto!("hanse.federation.v1");
}

/// What voters say to one another.
pub mod raft {
    tonic::include_proto!("hanse.raft.v1");
}
