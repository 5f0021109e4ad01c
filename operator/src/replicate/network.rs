//! The calls of this voter to the others. One [`Line`] calls one node; connections are opened when first used.
//!
//! Every failure of a peer is reported to the engine as *unreachable*. The engine then waits before it retries: without
//! the wait, a peer that rejects the calls would be called in a tight loop.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use hanse_core::id::{FederationId, NodeId, PublicKey};
use openraft::{
    RPCTypes, RaftNetworkFactory, RaftNetworkV2,
    errors::{RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::RPCOption,
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use tonic::{Response, Status, transport::Channel};

use super::{
    engine::{Snapshot, TypeConfig, Vote, VoterNode},
    machine::SharedState,
    wire::{self, WireError},
};
use crate::peer::proto::raft::{
    SnapshotPart, Target, raft_client::RaftClient, snapshot_part::Part,
};

/// The largest message between voters. The log store stops reading for a message after 4 MiB; the entry that exceeds
/// the limit may hold a command of 1 MiB, or twice that when every character of it needs an escape.
pub const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;

/// The size of a snapshot's parts.
const PART_BYTES: usize = 1024 * 1024;

/// Connections to other members, opened when first used and then kept.
pub trait Dialer: Send + Sync + 'static {
    /// A connection to `address`, pinned to `key`.
    fn channel(&self, address: &str, key: PublicKey) -> Channel;
}

/// Creates the lines to the other voters.
pub struct Network {
    pub(super) federation: FederationId,
    pub(super) from: NodeId,
    pub(super) state: SharedState,
    pub(super) dialer: Arc<dyn Dialer>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Line;

    async fn new_client(&mut self, target: u64, node: &VoterNode) -> Line {
        Line {
            federation: self.federation,
            from: self.from,
            to: NodeId(target),
            node: node.clone(),
            state: self.state.clone(),
            dialer: self.dialer.clone(),
            client: None,
        }
    }
}

/// Calls one node.
pub struct Line {
    federation: FederationId,
    from: NodeId,
    to: NodeId,
    node: VoterNode,
    state: SharedState,
    dialer: Arc<dyn Dialer>,
    client: Option<RaftClient<Channel>>,
}

impl Line {
    fn target(&self) -> Target {
        Target {
            federation: self.federation.0.to_vec(),
            node: self.to.0,
        }
    }

    fn client(&mut self) -> Result<RaftClient<Channel>, Unreachable<TypeConfig>> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let unknown = |what| {
            let to = self.to;
            Unreachable::from_string(format!("the {what} of node {to} is not known"))
        };
        let key = self.node.public_key().ok_or_else(|| unknown("key"))?;
        let address = self.address().ok_or_else(|| unknown("address"))?;
        let client = RaftClient::new(self.dialer.channel(&address, key))
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(self.client.insert(client).clone())
    }

    /// A founder may have set its address after it became a voter; then the state has it and Raft's membership has not.
    fn address(&self) -> Option<String> {
        if !self.node.address.is_empty() {
            return Some(self.node.address.clone());
        }
        let state = self.state.latest();
        let (_, member) = state.member_at(self.to)?;
        let seat = member.seat.as_ref()?;
        (!seat.address.is_empty()).then(|| seat.address.clone())
    }

    /// Waits for an answer, at most until the engine's time limit for the call.
    async fn ask<T>(
        &self,
        action: RPCTypes,
        limit: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, RPCError<TypeConfig>> {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(Unreachable::new(&status).into()),
            Err(_) => Err(Timeout {
                action,
                id: self.from.0,
                target: self.to.0,
                timeout: limit,
            }
            .into()),
        }
    }
}

impl From<WireError> for RPCError<TypeConfig> {
    fn from(error: WireError) -> Self {
        Unreachable::new(&error).into()
    }
}

impl RaftNetworkV2<TypeConfig> for Line {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.client()?;
        let request = wire::write_append(self.target(), &rpc);
        let response = self
            .ask(
                RPCTypes::AppendEntries,
                option.soft_ttl(),
                client.append(request),
            )
            .await?;
        let last = rpc.entries.last().map(|entry| entry.log_id);
        Ok(wire::read_append_response(
            response,
            rpc.prev_log_id,
            last.or(rpc.prev_log_id),
        )?)
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.client()?;
        let request = wire::write_vote_request(self.target(), &rpc);
        let response = self
            .ask(RPCTypes::Vote, option.soft_ttl(), client.vote(request))
            .await?;
        Ok(wire::read_vote_response(response)?)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.client()?;
        let request = wire::write_vote_request(self.target(), &rpc);
        let response = self
            .ask(RPCTypes::Vote, option.soft_ttl(), client.pre_vote(request))
            .await?;
        Ok(wire::read_vote_response(response)?)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let mut client = self.client()?;
        let parts = parts(self.target(), &vote, snapshot);
        let call = client.install_snapshot(futures::stream::iter(parts));
        // The engine's time limit is for the whole snapshot, and nothing else waits for this call.
        let sent = self.ask(RPCTypes::InstallSnapshot, option.hard_ttl(), call);
        let response = tokio::select! {
            response = sent => response?,
            closed = cancel => return Err(closed.into()),
        };
        Ok(wire::read_snapshot_response(response).map_err(RPCError::from)?)
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.client()?;
        let message = wire::write_transfer(self.target(), &request);
        // A rejected call returns an error status; the engine only logs either.
        self.ask(
            RPCTypes::TransferLeader,
            option.soft_ttl(),
            client.transfer_leader(message),
        )
        .await?;
        Ok(Ok(()))
    }
}

/// The header, then the bytes in order.
fn parts(target: Target, vote: &Vote, snapshot: Snapshot) -> Vec<SnapshotPart> {
    let Snapshot {
        meta,
        snapshot: mut rest,
    } = snapshot;
    let header = wire::write_snapshot_header(Some(target), Some(vote), &meta);
    let mut parts = vec![Part::Header(header)];
    while !rest.is_empty() {
        let data = rest.split_to(rest.len().min(PART_BYTES));
        parts.push(Part::Data(data.to_vec()));
    }
    parts
        .into_iter()
        .map(|part| SnapshotPart { part: Some(part) })
        .collect()
}
