//! Type aliases for the consensus engine, and its settings. Only the alias of the engine itself is elsewhere
//! ([`super::machine::Raft`]), because it is generic over the state machine.

use std::{fmt, time::Duration};

use hanse_core::{command::SignedCommand, id::PublicKey, state::Outcome};
use openraft::{Config, SnapshotPolicy};
use serde::{Deserialize, Serialize};

use super::runtime::Runtime;

openraft::declare_raft_types!(
    /// The engine as Hanse uses it.
    pub TypeConfig:
        D = Write,
        R = Option<Outcome>,
        NodeId = u64,
        Node = VoterNode,
        AsyncRuntime = Runtime,
);

/// An entry of the log.
pub type Entry = openraft::alias::EntryOf<TypeConfig>;
/// A position in the log.
pub type LogId = openraft::alias::LogIdOf<TypeConfig>;
/// A leader, elected or not: a term and a node.
pub type LeaderId = openraft::alias::LeaderIdOf<TypeConfig>;
/// A vote.
pub type Vote = openraft::alias::VoteOf<TypeConfig>;
/// Voters and learners.
pub type Membership = openraft::Membership<u64, VoterNode>;
/// Voters and learners, with the log entry that set them.
pub type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
/// What a snapshot covers.
pub type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
/// A snapshot: what it covers, and the encoded state.
pub type Snapshot = openraft::alias::SnapshotOf<TypeConfig, bytes::Bytes>;

/// The content of a log entry: a command, and the wall clock of the leader that received it.
///
/// The engine requires serde's traits; nothing on disk or on the network is written with them (see [`super::encoding`]
/// and [`super::wire`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    /// Milliseconds since 1970.
    pub time_ms: u64,
    /// The command, signed by its issuer.
    pub command: SignedCommand,
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SignedCommand {
            issuer, sequence, ..
        } = &self.command;
        write!(f, "command {sequence} of {}", issuer.short())
    }
}

/// The address and the key of a voter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VoterNode {
    /// `HOST:PORT`; empty for a founder that has not set its address.
    pub address: String,
    /// The member's public key as 64 hexadecimal digits. Text, because the engine requires a default value.
    pub key: String,
}

impl VoterNode {
    /// A voter with this key.
    #[must_use]
    pub fn new(address: impl Into<String>, key: PublicKey) -> Self {
        Self {
            address: address.into(),
            key: key.to_string(),
        }
    }

    /// The key, if this node was ever given one.
    #[must_use]
    pub fn public_key(&self) -> Option<PublicKey> {
        self.key.parse().ok()
    }
}

/// How fast voters detect that a leader is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// The interval of the leader's heartbeats. Also the time limit of one append, of which three quarters are used: it
    /// must exceed 4/3 of a round trip plus a follower's write to disk, or no entry is ever replicated.
    pub heartbeat: Duration,
    /// A follower stands for election after a random time between this …
    pub election_min: Duration,
    /// … and this, counted from the end of the leader's lease, which lasts as long.
    pub election_max: Duration,
}

/// A snapshot is taken after this many entries: replaying them takes well under a second.
const SNAPSHOT_EVERY_ENTRIES: u64 = 5_000;

/// A follower this many entries behind gets a snapshot. More than [`SNAPSHOT_EVERY_ENTRIES`], so that the leader has
/// one.
const SNAPSHOT_LAG_ENTRIES: u64 = 10_000;

/// Entries in one message; their bytes are limited by the log store.
const APPEND_ENTRIES: u64 = 128;

/// A whole snapshot must travel in this time: 500 MB over 150 Mbit/s.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(30);

/// The engine's settings.
pub(super) fn config(timing: Timing) -> Result<Config, openraft::ConfigError> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Config {
        cluster_name: "hanse".into(),
        heartbeat_interval: millis(timing.heartbeat),
        election_timeout_min: millis(timing.election_min),
        election_timeout_max: millis(timing.election_max),
        install_snapshot_timeout: millis(SNAPSHOT_TIMEOUT),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY_ENTRIES),
        replication_lag_threshold: SNAPSHOT_LAG_ENTRIES,
        max_payload_entries: APPEND_ENTRIES,
        // A voter that was partitioned asks for a pre-vote first, so that it does not disturb a working leader.
        enable_pre_vote: Some(true),
        // `membership` decides who votes; a store that has never voted must not stand for election by itself.
        enable_elect: false,
        // A leader that restarts has lost its decisions and its followers' leases: it starts a new term.
        enable_leader_restore: Some(false),
        ..Config::default()
    }
    .validate()
}
