//! Conversion between the engine's types and the messages of `raft.proto`.
//!
//! Messages come from other owners. Reading one never panics, and rejects values that the engine does not check and
//! that would make it fail (a term that has no successor, a gap in the log, a configuration without voters).

use std::collections::{BTreeMap, BTreeSet};

use hanse_core::{command::MAX_COMMAND_BYTES, id::PublicKey};
use openraft::{
    EntryPayload,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        VoteRequest, VoteResponse,
    },
};

use super::engine::{
    Entry, LeaderId, LogId, Membership, SnapshotMeta, StoredMembership, TypeConfig, Vote,
    VoterNode, Write,
};
use crate::peer::proto::raft as proto;

/// The largest term and log index accepted: at one per microsecond they are reached in nine thousand years. Without
/// this limit a hostile voter could send a number to which adding one overflows.
const MAX_NUMBER: u64 = 1 << 58;

/// Voters and learners together: far more than 7 voters and the few learners that are being added.
const MAX_NODES: usize = 64;

/// Why a message is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("the message lacks its {0}")]
    Missing(&'static str),
    #[error("a {0} is out of range")]
    OutOfRange(&'static str),
    #[error("a command is unreadable: {0}")]
    UnreadableCommand(String),
    #[error("a command is larger than {MAX_COMMAND_BYTES} bytes")]
    CommandTooLarge,
    #[error("the entries do not follow one another")]
    Gap,
    #[error("a configuration is not usable: {0}")]
    BadMembership(String),
}

fn bounded(number: u64, what: &'static str) -> Result<u64, WireError> {
    if number <= MAX_NUMBER {
        Ok(number)
    } else {
        Err(WireError::OutOfRange(what))
    }
}

pub(super) fn write_vote(vote: &Vote) -> proto::VoteId {
    proto::VoteId {
        term: vote.leader_id.term,
        node: vote.leader_id.node_id,
        committed: vote.committed,
    }
}

pub(super) fn read_vote(vote: Option<proto::VoteId>) -> Result<Vote, WireError> {
    let vote = vote.ok_or(WireError::Missing("vote"))?;
    let term = bounded(vote.term, "term")?;
    Ok(Vote {
        leader_id: LeaderId {
            term,
            node_id: vote.node,
        },
        committed: vote.committed,
    })
}

pub(super) fn write_log_id(id: &LogId) -> proto::LogId {
    proto::LogId {
        term: id.committed_leader_id().term,
        node: id.committed_leader_id().node_id,
        index: id.index(),
    }
}

pub(super) fn read_log_id(id: proto::LogId) -> Result<LogId, WireError> {
    let leader = LeaderId {
        term: bounded(id.term, "term")?,
        node_id: id.node,
    };
    Ok(LogId::new(leader, bounded(id.index, "log index")?))
}

fn read_log_id_option(id: Option<proto::LogId>) -> Result<Option<LogId>, WireError> {
    id.map(read_log_id).transpose()
}

pub(super) fn write_membership(membership: &Membership) -> proto::Membership {
    let configurations = membership
        .get_joint_config()
        .iter()
        .map(|voters| proto::Configuration {
            voters: voters.iter().copied().collect(),
        })
        .collect();
    let nodes = membership
        .nodes()
        .map(|(id, node)| proto::Node {
            id: *id,
            address: node.address.clone(),
            key: node
                .public_key()
                .map(|key| key.0.to_vec())
                .unwrap_or_default(),
        })
        .collect();
    proto::Membership {
        configurations,
        nodes,
    }
}

pub(super) fn read_membership(membership: proto::Membership) -> Result<Membership, WireError> {
    if membership.nodes.len() > MAX_NODES || membership.configurations.len() > 2 {
        return Err(WireError::OutOfRange("number of voters"));
    }
    let configurations = membership
        .configurations
        .into_iter()
        .map(|configuration| configuration.voters.into_iter().collect())
        .collect::<Vec<BTreeSet<u64>>>();
    let nodes = membership
        .nodes
        .into_iter()
        .map(|node| Ok((node.id, read_node(node)?)))
        .collect::<Result<BTreeMap<_, _>, WireError>>()?;
    Membership::new(configurations, nodes)
        .map_err(|error| WireError::BadMembership(error.to_string()))
}

fn read_node(node: proto::Node) -> Result<VoterNode, WireError> {
    let key = match <[u8; 32]>::try_from(node.key.as_slice()) {
        Ok(key) => PublicKey(key).to_string(),
        Err(_) if node.key.is_empty() => String::new(),
        Err(_) => return Err(WireError::OutOfRange("key")),
    };
    Ok(VoterNode {
        address: node.address,
        key,
    })
}

pub(super) fn write_entry(entry: &Entry) -> proto::Entry {
    use proto::entry::Payload;
    let payload = match &entry.payload {
        EntryPayload::Blank => None,
        EntryPayload::Normal(Write { time_ms, command }) => {
            Some(Payload::Command(proto::Command {
                time_ms: *time_ms,
                // Plain strings and numbers always have a JSON form.
                command: serde_json::to_vec(command).unwrap_or_default(),
            }))
        }
        EntryPayload::Membership(membership) => {
            Some(Payload::Membership(write_membership(membership)))
        }
    };
    proto::Entry {
        id: Some(write_log_id(&entry.log_id)),
        payload,
    }
}

pub(super) fn read_entry(entry: proto::Entry) -> Result<Entry, WireError> {
    use proto::entry::Payload;
    let log_id = read_log_id(entry.id.ok_or(WireError::Missing("log id"))?)?;
    let payload = match entry.payload {
        None => EntryPayload::Blank,
        Some(Payload::Command(command)) => EntryPayload::Normal(read_command(&command)?),
        Some(Payload::Membership(membership)) => {
            let membership = read_membership(membership)?;
            if membership.get_joint_config().is_empty() {
                return Err(WireError::BadMembership("it has no voters".into()));
            }
            EntryPayload::Membership(membership)
        }
    };
    Ok(Entry { log_id, payload })
}

fn read_command(command: &proto::Command) -> Result<Write, WireError> {
    let signed: hanse_core::command::SignedCommand = serde_json::from_slice(&command.command)
        .map_err(|error| WireError::UnreadableCommand(error.to_string()))?;
    if signed.body.len() > MAX_COMMAND_BYTES {
        return Err(WireError::CommandTooLarge);
    }
    Ok(Write {
        time_ms: command.time_ms,
        command: signed,
    })
}

pub(super) fn write_append(
    target: proto::Target,
    request: &AppendEntriesRequest<TypeConfig>,
) -> proto::AppendRequest {
    proto::AppendRequest {
        target: Some(target),
        vote: Some(write_vote(&request.vote)),
        previous: request.prev_log_id.as_ref().map(write_log_id),
        entries: request.entries.iter().map(write_entry).collect(),
        committed: request.leader_commit.as_ref().map(write_log_id),
    }
}

pub(super) fn read_append(
    request: proto::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, WireError> {
    let prev_log_id = read_log_id_option(request.previous)?;
    let entries = request
        .entries
        .into_iter()
        .map(read_entry)
        .collect::<Result<Vec<_>, _>>()?;
    let first = prev_log_id.map_or(0, |id| id.index() + 1);
    let mut expected = (first..).zip(&entries);
    if expected.any(|(index, entry)| entry.log_id.index() != index) {
        return Err(WireError::Gap);
    }
    Ok(AppendEntriesRequest {
        vote: read_vote(request.vote)?,
        prev_log_id,
        entries,
        leader_commit: read_log_id_option(request.committed)?,
    })
}

pub(super) fn write_append_response(
    response: &AppendEntriesResponse<TypeConfig>,
) -> proto::AppendResponse {
    use proto::append_response::Result as Answer;
    let result = match response {
        AppendEntriesResponse::Success => Answer::Success(true),
        AppendEntriesResponse::PartialSuccess(matching) => {
            Answer::PartialSuccess(proto::PartialSuccess {
                matching: matching.as_ref().map(write_log_id),
            })
        }
        AppendEntriesResponse::Conflict => Answer::Conflict(true),
        AppendEntriesResponse::HigherVote(vote) => Answer::HigherVote(write_vote(vote)),
    };
    proto::AppendResponse {
        result: Some(result),
    }
}

/// Reads the answer to an append that followed `previous` and ended at `last`: an answer with a position outside that
/// range would stop the engine.
pub(super) fn read_append_response(
    response: proto::AppendResponse,
    previous: Option<LogId>,
    last: Option<LogId>,
) -> Result<AppendEntriesResponse<TypeConfig>, WireError> {
    use proto::append_response::Result as Answer;
    match response.result.ok_or(WireError::Missing("result"))? {
        Answer::Success(_) => Ok(AppendEntriesResponse::Success),
        Answer::Conflict(_) if previous.is_none() => {
            Err(WireError::OutOfRange("conflict before the first entry"))
        }
        Answer::Conflict(_) => Ok(AppendEntriesResponse::Conflict),
        Answer::HigherVote(vote) => Ok(AppendEntriesResponse::HigherVote(read_vote(Some(vote))?)),
        Answer::PartialSuccess(partial) => {
            let matching = read_log_id_option(partial.matching)?;
            if matching < previous || matching > last {
                return Err(WireError::OutOfRange("partial success"));
            }
            Ok(AppendEntriesResponse::PartialSuccess(matching))
        }
    }
}

pub(super) fn write_vote_request(
    target: proto::Target,
    request: &VoteRequest<TypeConfig>,
) -> proto::VoteRequest {
    proto::VoteRequest {
        target: Some(target),
        vote: Some(write_vote(&request.vote)),
        last_log: request.last_log_id.as_ref().map(write_log_id),
        leader_transfer: request.leadership_transfer,
    }
}

pub(super) fn read_vote_request(
    request: &proto::VoteRequest,
) -> Result<VoteRequest<TypeConfig>, WireError> {
    Ok(VoteRequest {
        vote: read_vote(request.vote)?,
        last_log_id: read_log_id_option(request.last_log)?,
        leadership_transfer: request.leader_transfer,
    })
}

pub(super) fn write_vote_response(response: &VoteResponse<TypeConfig>) -> proto::VoteResponse {
    proto::VoteResponse {
        vote: Some(write_vote(&response.vote)),
        granted: response.vote_granted,
        last_log: response.last_log_id.as_ref().map(write_log_id),
    }
}

pub(super) fn read_vote_response(
    response: proto::VoteResponse,
) -> Result<VoteResponse<TypeConfig>, WireError> {
    Ok(VoteResponse {
        vote: read_vote(response.vote)?,
        vote_granted: response.granted,
        last_log_id: read_log_id_option(response.last_log)?,
    })
}

pub(super) fn write_snapshot_header(
    target: Option<proto::Target>,
    vote: Option<&Vote>,
    meta: &SnapshotMeta,
) -> proto::SnapshotHeader {
    proto::SnapshotHeader {
        target,
        vote: vote.map(write_vote),
        last_log: meta.last_log_id.as_ref().map(write_log_id),
        membership_id: meta.last_membership.log_id().as_ref().map(write_log_id),
        membership: Some(write_membership(meta.last_membership.membership())),
        // The engine does not name snapshots; the position they cover identifies them for people who read the messages.
        snapshot_id: meta
            .last_log_id
            .map_or_else(String::new, |id| id.index().to_string()),
    }
}

/// What a snapshot covers, from `header`, without its target and vote.
pub(super) fn read_snapshot_meta(header: proto::SnapshotHeader) -> Result<SnapshotMeta, WireError> {
    let membership = header.membership.ok_or(WireError::Missing("membership"))?;
    let membership_id = read_log_id_option(header.membership_id)?;
    Ok(SnapshotMeta {
        last_log_id: read_log_id_option(header.last_log)?,
        last_membership: StoredMembership::new(membership_id, read_membership(membership)?),
    })
}

pub(super) fn write_snapshot_response(
    response: &SnapshotResponse<TypeConfig>,
) -> proto::SnapshotResponse {
    proto::SnapshotResponse {
        vote: Some(write_vote(&response.vote)),
    }
}

pub(super) fn read_snapshot_response(
    response: proto::SnapshotResponse,
) -> Result<SnapshotResponse<TypeConfig>, WireError> {
    Ok(SnapshotResponse::new(read_vote(response.vote)?))
}

pub(super) fn write_transfer(
    target: proto::Target,
    request: &TransferLeaderRequest<TypeConfig>,
) -> proto::TransferLeaderRequest {
    proto::TransferLeaderRequest {
        target: Some(target),
        from: Some(write_vote(request.from_leader())),
        to: *request.to_node_id(),
        last_log: request.last_log_id().map(write_log_id),
    }
}

pub(super) fn read_transfer(
    request: &proto::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<TypeConfig>, WireError> {
    Ok(TransferLeaderRequest::new(
        read_vote(request.from)?,
        request.to,
        read_log_id_option(request.last_log)?,
    ))
}
