//! The calls that this voter accepts from other voters.
//!
//! A message is accepted only if it is addressed to this node of this federation, and if the caller's key is the key of
//! the node named as the sender. The engine checks neither: it follows any message with a high enough term.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hanse_core::{
    id::{FederationId, NodeId, PublicKey},
    level::Level,
    state::Lease,
};
use openraft::async_runtime::WatchReceiver as _;
use parking_lot::RwLock;
use tonic::{Extensions, Request, Response, Status, Streaming};

use super::{
    encoding,
    engine::Snapshot,
    machine::{Raft, SharedState},
    network::MAX_MESSAGE_BYTES,
    storage,
    wire::{self, WireError},
};
use crate::peer::proto::raft::{
    self as proto,
    raft_server::{Raft as RaftApi, RaftServer},
    snapshot_part::Part,
};

/// The largest snapshot accepted: a state of 100,000 workloads of 5 KiB each.
const MAX_SNAPSHOT_BYTES: usize = 512 * 1024 * 1024;

/// A snapshot must arrive within this time; the sender's limit is the same.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(30);

/// Returns the key that the transport has proved, from a request's extensions.
pub type CallerKey = fn(&Extensions) -> Result<PublicKey, Status>;

/// Keys of voters from another source than the ledger: an invitation, or the answer to `Join`. A joiner has no other
/// keys yet, and a voter that was away while all others were replaced has no newer ones.
#[derive(Debug, Clone, Default)]
pub struct KnownVoters(Arc<RwLock<BTreeSet<PublicKey>>>);

impl KnownVoters {
    /// Adds keys.
    pub fn learn(&self, keys: impl IntoIterator<Item = PublicKey>) {
        let mut known = self.0.write();
        known.extend(keys);
    }

    fn contains(&self, key: &PublicKey) -> bool {
        let known = self.0.read();
        known.contains(key)
    }
}

/// The service of this voter.
pub struct RaftService {
    pub(super) federation: FederationId,
    pub(super) node: NodeId,
    pub(super) raft: Raft,
    pub(super) state: SharedState,
    /// The newest level that this build knows.
    pub(super) level: Level,
    pub(super) known: KnownVoters,
    pub(super) caller: CallerKey,
}

impl RaftService {
    /// The gRPC service, with limited message sizes.
    #[must_use]
    pub fn into_server(self) -> RaftServer<Self> {
        RaftServer::new(self)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Whether the caller may send to `target` a message in the name of node `speaker`.
    fn admit(
        &self,
        extensions: &Extensions,
        target: Option<&proto::Target>,
        speaker: Option<u64>,
    ) -> Result<(), Status> {
        let key = (self.caller)(extensions)?;
        self.is_for_us(target)?;
        let speaker =
            speaker.ok_or_else(|| Status::invalid_argument("the message lacks its vote"))?;
        if self.may_speak(&key, NodeId(speaker)) {
            return Ok(());
        }
        tracing::warn!(key = %key.short(), node = speaker, "rejected a message: its sender has another key");
        Err(Status::permission_denied(format!(
            "the key {} is not that of voter {speaker}",
            key.short()
        )))
    }

    fn is_for_us(&self, target: Option<&proto::Target>) -> Result<(), Status> {
        let target =
            target.ok_or_else(|| Status::invalid_argument("the message lacks its target"))?;
        if target.federation != self.federation.0 {
            return Err(Status::failed_precondition(
                "this voter belongs to another federation",
            ));
        }
        if target.node != self.node.0 {
            return Err(Status::failed_precondition(format!(
                "this is node {}, not node {}",
                self.node, target.node
            )));
        }
        Ok(())
    }

    fn may_speak(&self, key: &PublicKey, speaker: NodeId) -> bool {
        let state = self.state.latest();
        let revoked = state
            .member_of(key)
            .is_some_and(|(_, member)| matches!(member.lease, Lease::Revoked { .. }));
        let seated = state.member_at(speaker).map(|(_, member)| member.key);
        if revoked {
            return false;
        }
        let voting = || {
            let metrics = self.raft.server_metrics();
            let metrics = metrics.borrow_watched();
            let node = metrics.membership_config.get_node(&speaker.0)?;
            node.public_key()
        };
        match seated.or_else(voting) {
            Some(expected) => expected == *key,
            None => self.known.contains(key),
        }
    }

    /// Reads the rest of a snapshot after its header.
    async fn receive(mut parts: Streaming<proto::SnapshotPart>) -> Result<Vec<u8>, Status> {
        let mut bytes = Vec::new();
        while let Some(part) = parts.message().await? {
            match part.part {
                Some(Part::Data(data)) => bytes.extend_from_slice(&data),
                Some(Part::Header(_)) | None => {
                    return Err(Status::invalid_argument("a part of a snapshot is not data"));
                }
            }
            if bytes.len() > MAX_SNAPSHOT_BYTES {
                return Err(Status::resource_exhausted(format!(
                    "a snapshot may have at most {MAX_SNAPSHOT_BYTES} bytes"
                )));
            }
        }
        Ok(bytes)
    }

    /// The engine stops permanently on an unreadable snapshot, so the snapshot is checked before the engine gets it.
    fn check(&self, snapshot: &Snapshot) -> Result<(), Status> {
        let state = storage::blocking(|| encoding::decode_state(&snapshot.snapshot, self.level))
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let covered = snapshot.meta.last_log_id.map_or(0, |id| id.index());
        let ours = state
            .federation
            .is_none_or(|federation| federation == self.federation);
        if state.index == covered && ours {
            Ok(())
        } else {
            Err(Status::invalid_argument(
                "the snapshot's state does not match its header",
            ))
        }
    }
}

impl From<WireError> for Status {
    fn from(error: WireError) -> Self {
        Self::invalid_argument(error.to_string())
    }
}

fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("this voter's ledger has stopped: {error}"))
}

fn node_of(vote: Option<&proto::VoteId>) -> Option<u64> {
    vote.map(|vote| vote.node)
}

#[tonic::async_trait]
impl RaftApi for RaftService {
    async fn append(
        &self,
        request: Request<proto::AppendRequest>,
    ) -> Result<Response<proto::AppendResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let speaker = node_of(message.vote.as_ref());
        self.admit(&extensions, message.target.as_ref(), speaker)?;
        let rpc = wire::read_append(message)?;
        let response = self.raft.append_entries(rpc).await.map_err(stopped)?;
        Ok(Response::new(wire::write_append_response(&response)))
    }

    async fn vote(
        &self,
        request: Request<proto::VoteRequest>,
    ) -> Result<Response<proto::VoteResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let speaker = node_of(message.vote.as_ref());
        self.admit(&extensions, message.target.as_ref(), speaker)?;
        let rpc = wire::read_vote_request(&message)?;
        let response = self.raft.vote(rpc).await.map_err(stopped)?;
        Ok(Response::new(wire::write_vote_response(&response)))
    }

    async fn pre_vote(
        &self,
        request: Request<proto::VoteRequest>,
    ) -> Result<Response<proto::VoteResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let speaker = node_of(message.vote.as_ref());
        self.admit(&extensions, message.target.as_ref(), speaker)?;
        let rpc = wire::read_vote_request(&message)?;
        let response = self.raft.pre_vote(rpc).await.map_err(stopped)?;
        Ok(Response::new(wire::write_vote_response(&response)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<proto::SnapshotPart>>,
    ) -> Result<Response<proto::SnapshotResponse>, Status> {
        let (_, extensions, mut parts) = request.into_parts();
        let late = |_| Status::deadline_exceeded("the snapshot took too long to arrive");
        let first = tokio::time::timeout(RECEIVE_TIMEOUT, parts.message())
            .await
            .map_err(late)??;
        let Some(Part::Header(header)) = first.and_then(|part| part.part) else {
            return Err(Status::invalid_argument(
                "a snapshot starts with its header",
            ));
        };
        let speaker = node_of(header.vote.as_ref());
        self.admit(&extensions, header.target.as_ref(), speaker)?;
        let vote = wire::read_vote(header.vote)?;
        let meta = wire::read_snapshot_meta(header)?;
        let bytes = tokio::time::timeout(RECEIVE_TIMEOUT, Self::receive(parts))
            .await
            .map_err(late)??;
        let snapshot = Snapshot {
            meta,
            snapshot: bytes.into(),
        };
        self.check(&snapshot)?;
        let response = self
            .raft
            .install_full_snapshot(vote, snapshot)
            .await
            .map_err(stopped)?;
        Ok(Response::new(wire::write_snapshot_response(&response)))
    }

    async fn transfer_leader(
        &self,
        request: Request<proto::TransferLeaderRequest>,
    ) -> Result<Response<proto::TransferLeaderResponse>, Status> {
        let (_, extensions, message) = request.into_parts();
        let speaker = node_of(message.from.as_ref());
        self.admit(&extensions, message.target.as_ref(), speaker)?;
        let rpc = wire::read_transfer(&message)?;
        let answer = self
            .raft
            .handle_transfer_leader(rpc)
            .await
            .map_err(stopped)?;
        answer.map_err(|error| Status::failed_precondition(error.to_string()))?;
        Ok(Response::new(proto::TransferLeaderResponse {}))
    }
}
