//! The voter's side of members' streams: receives heartbeats and commands, sends acknowledgements, outcomes and slices.
//!
//! ```text
//!  Attach ──► is this node the leader? ──yes──► session: three tasks around one stream
//!                        │                          inbound   heartbeat → lessor, acknowledge; reports → standing
//!                        no                         commands  one after the other → ledger → outcome
//!                        ▼                          slices    on every change: what is new for this member
//!                  relay to the leader
//! ```
//!
//! Guarantees: a heartbeat is acknowledged only while this node leads and a quorum answers it. A session ends when the
//! term ends or when its member is revoked. A relay changes nothing and decides nothing: commands are signed by the
//! member. Only voters may relay.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use hanse_core::{
    command::{Command, SignedCommand},
    id::{FederationId, PublicKey},
    slice::Slice,
    state::{Outcome, Rejection, State},
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::{info, warn};

use super::{
    leader_state::LeaderState,
    session::{self, BUFFER, DownStream, admitted, unavailable},
};
use crate::{
    peer::{
        MAX_MESSAGE_BYTES, Peer, Peers, peer_key,
        proto::federation::{
            self, Hello, JoinRequest, JoinResponse, Up, federation_client::FederationClient,
            federation_server::Federation, up,
        },
        redirect::ask_instead,
    },
    replicate::ledger::Ledger,
    uplink::{LocalVoter, voters_of},
};

/// How long a member may take to send Hello after it opened a stream.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// The streams of the members that are attached to this voter.
pub(super) struct Sessions {
    /// The state shared with the leader's loop.
    pub(super) leader: Arc<LeaderState>,
    /// This voter's own key.
    pub(super) key: PublicKey,
    /// Connections to the leader.
    pub(super) peers: Arc<Peers>,
    /// How recent a quorum's answer must be for a heartbeat to be acknowledged.
    pub(super) quorum_within: Duration,
    /// What this voter's own member knows: the voters of today, also when this replica does not learn them any more.
    pub(super) slice: watch::Receiver<Option<Arc<Slice>>>,
}

impl Sessions {
    fn ledger(&self) -> &Ledger {
        &self.leader.ledger
    }

    /// Serves one member's stream, direct or relayed.
    async fn attach(
        self: Arc<Self>,
        caller: PublicKey,
        mut up: ReceiverStream<Up>,
    ) -> Result<DownStream, Status> {
        let first = timeout(HELLO_WITHIN, up.next()).await;
        let Ok(Some(Up {
            message: Some(up::Message::Hello(hello)),
        })) = first
        else {
            return Err(Status::invalid_argument("the first message must be Hello"));
        };
        let (member, relayed) = self.identify(caller, &hello)?;
        let leadership = *self.ledger().leadership().borrow();
        if leadership.is_self {
            let leader = self.leader.clone();
            return Ok(session::start(
                leader,
                self.quorum_within,
                member,
                leadership.term,
                up,
            ));
        }
        if relayed {
            return Err(Status::unavailable(
                "this voter does not lead, and a relayed stream is not relayed again",
            ));
        }
        let relayed = self.relay(member, up).await;
        relayed.map_err(|status| self.elsewhere(status))
    }

    /// The member whose stream this is: the caller, or, if the caller is a relaying voter, the member named in Hello.
    /// Also whether the stream is relayed.
    fn identify(&self, caller: PublicKey, hello: &Hello) -> Result<(PublicKey, bool), Status> {
        if hello.federation != self.ledger().federation().0 {
            return Err(Status::permission_denied(
                "this voter belongs to another federation",
            ));
        }
        let relayed = !hello.relayed_for.is_empty();
        let member = if relayed {
            self.ledger().read(|state| may_relay(state, &caller))?;
            PublicKey(
                hello
                    .relayed_for
                    .as_slice()
                    .try_into()
                    .map_err(|_| bad_key())?,
            )
        } else {
            caller
        };
        // A replica that lags behind may not have the newest member yet, so only the leader checks; a relay leaves the
        // check to it.
        if self.ledger().leadership().borrow().is_self {
            self.ledger()
                .read(|state| admitted(state, &member))
                .inspect_err(|status| {
                    warn!(
                        key = member.short(),
                        reason = status.message(),
                        "refused a stream"
                    );
                })?;
        }
        Ok((member, relayed))
    }

    async fn relay(&self, member: PublicKey, up: ReceiverStream<Up>) -> Result<DownStream, Status> {
        let leader = self.leader().ok_or_else(|| {
            Status::unavailable("no leader is known; an election may be going on")
        })?;
        let hello = Hello {
            federation: self.ledger().federation().0.to_vec(),
            relayed_for: member.0.to_vec(),
        };
        let first = futures::stream::iter([Up {
            message: Some(up::Message::Hello(hello)),
        }]);
        let mut client = self.client(&leader);
        let answer = timeout(self.answer_within(), client.attach(first.chain(up))).await;
        let response = answer.map_err(|_| Status::unavailable("the leader does not answer"))??;
        // The relay ends when the leader changes, so that the member looks for the new leader at once.
        let mut leadership = self.ledger().leadership();
        let leader_node = leadership.borrow_and_update().leader;
        let changed = async move {
            let _ = leadership.wait_for(|now| now.leader != leader_node).await;
        };
        Ok(response.into_inner().take_until(Box::pin(changed)).boxed())
    }

    /// `status`, which tells a caller whom to ask instead. Without that, a member that knows only voters of the past would
    /// ask them for ever: what is not replicated to them any more they do not know.
    fn elsewhere(&self, status: Status) -> Status {
        let slice = self.slice.borrow().clone();
        let voters = slice.map(|slice| voters_of(&slice, &self.key));
        ask_instead(status, voters.unwrap_or_default())
    }

    /// Has the leader decide about a newcomer's admission.
    async fn relay_join(&self, request: JoinRequest) -> Result<Response<JoinResponse>, Status> {
        let leader = self
            .leader()
            .ok_or_else(|| Status::unavailable("no leader is known; try again"))?;
        let answer = timeout(self.answer_within(), self.client(&leader).join(request)).await;
        answer.map_err(|_| Status::unavailable("the leader does not answer; try again"))?
    }

    /// How long the leader may take to answer a relay.
    fn answer_within(&self) -> Duration {
        self.ledger().read(|state| state.timings.answer_within())
    }

    /// The leader's address and key, if the leader is another node.
    fn leader(&self) -> Option<Peer> {
        let node = self.ledger().leadership().borrow().leader?;
        self.ledger().read(|state| {
            let (_, member) = state.member_at(node)?;
            let address = member.seat.as_ref()?.address.clone();
            (member.key != self.key && !address.is_empty()).then_some(Peer {
                address,
                key: member.key,
            })
        })
    }

    fn client(&self, peer: &Peer) -> FederationClient<tonic::transport::Channel> {
        FederationClient::new(self.peers.channel(peer)).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Decides about a newcomer's admission, on the leader.
    async fn admit(&self, signed: SignedCommand) -> Result<Outcome, Status> {
        let refused = self
            .ledger()
            .read(|state| precheck(state, &self.ledger().federation(), &signed))
            .err();
        if let Some(rejection) = refused {
            warn!(key = signed.issuer.short(), reason = %rejection, "rejected a newcomer");
            return Ok(Outcome::Rejected { rejection });
        }
        let key = signed.issuer.short();
        let outcome = self
            .ledger()
            .propose(signed)
            .await
            .map_err(|error| unavailable(&error))?;
        match &outcome {
            Outcome::Accepted { .. } => info!(key, "admitted a newcomer"),
            Outcome::Rejected { rejection } => {
                warn!(key, reason = %rejection, "rejected a newcomer");
            }
        }
        Ok(outcome)
    }

    fn voters(&self) -> Vec<federation::Peer> {
        self.ledger().read(|state| {
            let seats = state
                .voters
                .iter()
                .filter_map(|node| state.member_at(*node));
            let peer = |member: &hanse_core::state::Member| {
                let address = member.seat.as_ref()?.address.clone();
                (!address.is_empty()).then(|| federation::Peer {
                    address,
                    key: member.key.0.to_vec(),
                })
            };
            seats.filter_map(|(_, member)| peer(member)).collect()
        })
    }
}

/// Only voters may relay: any other member could prolong the lease of a lost member.
fn may_relay(state: &State, caller: &PublicKey) -> Result<(), Status> {
    let seat = state
        .member_of(caller)
        .and_then(|(_, member)| member.seat.as_ref());
    if seat.is_some_and(|seat| state.voters.contains(&seat.node)) {
        return Ok(());
    }
    Err(Status::permission_denied("only voters may relay"))
}

/// Rejects a newcomer before anything reaches the log. A member that is admitted already may ask again, because its
/// first answer may have been lost.
fn precheck(
    state: &State,
    federation: &FederationId,
    signed: &SignedCommand,
) -> Result<(), Rejection> {
    if state.member_of(&signed.issuer).is_some() {
        return Ok(());
    }
    match signed.verify(federation)? {
        Command::Admit {
            invitation,
            newcomer,
            proof,
        } => state.may_enter(invitation, &newcomer, &proof),
        _ => Err(Rejection::NotAMember {
            key: signed.issuer.short(),
        }),
    }
}

fn bad_key() -> Status {
    Status::invalid_argument("a key must be 32 bytes")
}

/// The gRPC service in front of the sessions.
#[derive(Clone)]
pub(super) struct FederationService(pub Arc<Sessions>);

#[tonic::async_trait]
impl Federation for FederationService {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let request = request.into_inner();
        let signed: SignedCommand = serde_json::from_slice(&request.command).map_err(|error| {
            Status::invalid_argument(format!("the command is not readable: {error}"))
        })?;
        if self.0.ledger().leadership().borrow().is_self {
            let outcome = serde_json::to_vec(&self.0.admit(signed).await?).unwrap_or_default();
            return Ok(Response::new(JoinResponse {
                outcome,
                voters: self.0.voters(),
            }));
        }
        let relayed = self.0.relay_join(request).await;
        relayed.map_err(|status| self.0.elsewhere(status))
    }

    type AttachStream = DownStream;

    async fn attach(
        &self,
        request: Request<Streaming<Up>>,
    ) -> Result<Response<DownStream>, Status> {
        let caller = peer_key(&request)?;
        let up = received(request.into_inner());
        Ok(Response::new(self.0.clone().attach(caller, up).await?))
    }
}

/// Connects a voter's own member to the voter, inside the process.
pub(super) struct OwnVoter(pub Arc<Sessions>);

impl LocalVoter for OwnVoter {
    fn attach(&self, up: ReceiverStream<Up>) -> DownStream {
        let sessions = self.0.clone();
        let caller = sessions.key;
        let opened = async move { sessions.attach(caller, up).await };
        let flattened = futures::stream::once(opened).flat_map(|opened| match opened {
            Ok(down) => down,
            Err(status) => futures::stream::once(futures::future::ready(Err(status))).boxed(),
        });
        flattened.boxed()
    }
}

/// A member's messages as they arrive. A broken stream ends without an error: the member opens another.
fn received(mut stream: Streaming<Up>) -> ReceiverStream<Up> {
    let (sender, receiver) = mpsc::channel(BUFFER);
    tokio::spawn(async move {
        while let Ok(Some(up)) = stream.message().await {
            if sender.send(up).await.is_err() {
                return;
            }
        }
    });
    ReceiverStream::new(receiver)
}
