//! The format of the ledger on disk: one byte for the version, then a message of `raft.proto`, or JSON for the state.
//! The consensus engine's types are never written to disk, so that an upgraded engine can read existing files.

use hanse_core::{level::Level, state::State};
use serde::Deserialize;

use super::{
    engine::{Entry, LogId, SnapshotMeta, Vote},
    wire::{self, WireError},
};
use crate::peer::proto::raft as proto;

/// The version this code writes. It reads this version and any older ones.
const VERSION: u8 = 1;

/// Why bytes on disk (or a received state) cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("the record is empty")]
    Empty,
    #[error("the record has version {0}, this operator reads up to {VERSION}; upgrade it")]
    NewerVersion(u8),
    #[error("the record is damaged")]
    Damaged(#[source] prost::DecodeError),
    #[error("the record is inconsistent")]
    Inconsistent(#[source] WireError),
    #[error("the state is not readable")]
    State(#[source] serde_json::Error),
    #[error(transparent)]
    AboveLevel(#[from] AboveLevel),
}

/// Why a replica cannot go on: it would apply entries by rules that it does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the federation is at level {level}, and this operator knows up to {known}: upgrade it")]
pub struct AboveLevel {
    level: Level,
    known: Level,
}

impl AboveLevel {
    /// Checks that a build that knows levels up to `known` can apply entries at this level.
    pub(super) fn check(level: Level, known: Level) -> Result<(), Self> {
        if level > known {
            Err(Self { level, known })
        } else {
            Ok(())
        }
    }
}

impl From<DecodeError> for std::io::Error {
    fn from(error: DecodeError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

fn versioned(message: &impl prost::Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + message.encoded_len());
    bytes.push(VERSION);
    message.encode_raw(&mut bytes);
    bytes
}

fn body(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    match bytes.split_first() {
        None => Err(DecodeError::Empty),
        Some((&VERSION, body)) => Ok(body),
        Some((&version, _)) => Err(DecodeError::NewerVersion(version)),
    }
}

fn message<M: prost::Message + Default>(bytes: &[u8]) -> Result<M, DecodeError> {
    M::decode(body(bytes)?).map_err(DecodeError::Damaged)
}

pub(super) fn encode_entry(entry: &Entry) -> Vec<u8> {
    versioned(&wire::write_entry(entry))
}

pub(super) fn decode_entry(bytes: &[u8]) -> Result<Entry, DecodeError> {
    wire::read_entry(message(bytes)?).map_err(DecodeError::Inconsistent)
}

pub(super) fn encode_vote(vote: &Vote) -> Vec<u8> {
    versioned(&wire::write_vote(vote))
}

pub(super) fn decode_vote(bytes: &[u8]) -> Result<Vote, DecodeError> {
    wire::read_vote(Some(message(bytes)?)).map_err(DecodeError::Inconsistent)
}

pub(super) fn encode_log_id(id: &LogId) -> Vec<u8> {
    versioned(&wire::write_log_id(id))
}

pub(super) fn decode_log_id(bytes: &[u8]) -> Result<LogId, DecodeError> {
    wire::read_log_id(message(bytes)?).map_err(DecodeError::Inconsistent)
}

pub(super) fn encode_snapshot_meta(meta: &SnapshotMeta) -> Vec<u8> {
    versioned(&wire::write_snapshot_header(None, None, meta))
}

pub(super) fn decode_snapshot_meta(bytes: &[u8]) -> Result<SnapshotMeta, DecodeError> {
    let header: proto::SnapshotHeader = message(bytes)?;
    wire::read_snapshot_meta(header).map_err(DecodeError::Inconsistent)
}

pub(super) fn encode_state(state: &State) -> Result<Vec<u8>, DecodeError> {
    let mut bytes = vec![VERSION];
    serde_json::to_writer(&mut bytes, state).map_err(DecodeError::State)?;
    Ok(bytes)
}

pub(super) fn decode_state(bytes: &[u8], known: Level) -> Result<State, DecodeError> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        level: Level,
    }
    let body = body(bytes)?;
    // First its level: the rest may be written as only newer builds can read it.
    let Head { level } = serde_json::from_slice(body).map_err(DecodeError::State)?;
    AboveLevel::check(level, known)?;
    serde_json::from_slice(body).map_err(DecodeError::State)
}

#[cfg(test)]
mod tests;
