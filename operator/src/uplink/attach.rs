//! How a stream to a voter is opened, and why one ends.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use hanse_core::{
    id::{FederationId, PrivateKey, PublicKey},
    slice::Slice,
    timings::Timings,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::warn;

use super::{
    feed::{FeedError, voters_of},
    metrics::UplinkMetrics,
};
use crate::{
    cluster::Answers,
    peer::{
        MAX_MESSAGE_BYTES, Peer, Peers,
        proto::federation::{
            Down, Hello, Up, Welcome, down, federation_client::FederationClient, up,
        },
        redirect::named_by,
    },
};

/// Messages buffered for a voter. A full buffer shows that the voter does not read its stream.
const BUFFER: usize = 64;

/// The messages from the voter to the member.
pub(super) type DownStream = BoxStream<'static, Result<Down, Status>>;

/// The voter of this process, if this member votes. A stream to it needs no network.
pub trait LocalVoter: Send + Sync {
    /// Like the remote procedure call `Attach`, without a socket.
    fn attach(&self, up: ReceiverStream<Up>) -> BoxStream<'static, Result<Down, Status>>;
}

/// The inputs of the uplink.
pub struct UplinkSettings {
    /// The federation this member belongs to.
    pub federation: FederationId,
    /// This member's key.
    pub key: PrivateKey,
    /// The federation's timings that this member last received. The voter it attaches to sends the newest.
    pub timings: Timings,
    /// Connections to other members.
    pub peers: Arc<Peers>,
    /// This member's own voter; `None` until it runs.
    pub local: watch::Receiver<Option<Arc<dyn LocalVoter>>>,
    /// When the lease of an earlier process on this machine ends.
    pub lease_ends: Option<Instant>,
    /// Voters to try until the first slice names the current ones.
    pub voters: Vec<Peer>,
    /// When this cluster's API server last answered; `None` without one.
    pub answers: Option<Answers>,
    /// The metrics of the uplink.
    pub metrics: UplinkMetrics,
}

/// Why a stream ended, or was not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamEnd {
    #[error("the voter ended the stream: {0}")]
    Closed(String),
    #[error("no answer within {0:?}")]
    Silent(Duration),
    #[error("the voter sent a message that this version cannot read: {0}")]
    Unreadable(String),
    #[error(transparent)]
    Slice(#[from] FeedError),
    #[error("no voter to attach to is known")]
    NoVoter,
    #[error("the voter refused and names {} to ask instead: {why}", voters.len())]
    Elsewhere { why: String, voters: Vec<Peer> },
}

impl StreamEnd {
    /// The end of a stream that a voter closed with `status`.
    pub(super) fn of(status: &Status) -> Self {
        if status.code() == tonic::Code::PermissionDenied {
            warn!(
                reason = status.message(),
                "a voter of the federation refused the stream"
            );
        }
        let why = format!("{}: {}", status.code(), status.message());
        match named_by(status) {
            voters if voters.is_empty() => Self::Closed(why),
            voters => Self::Elsewhere { why, voters },
        }
    }
}

/// The sending half of an open stream.
pub(super) struct UpStream(mpsc::Sender<Up>);

impl UpStream {
    /// Sends without waiting. A full buffer ends the stream: the voter does not read it, so the member attaches again.
    pub(super) fn send(&self, message: up::Message) -> Result<(), StreamEnd> {
        let sent = self.0.try_send(Up {
            message: Some(message),
        });
        sent.map_err(|_| StreamEnd::Closed("it does not read its messages".into()))
    }
}

/// An open stream on which the voter sent Welcome.
pub(super) struct Attached {
    pub(super) up: UpStream,
    pub(super) down: DownStream,
    pub(super) welcome: Welcome,
}

/// Opens a stream to one voter. The first `turn` tries this member's own voter, the following ones the others in order.
pub(super) async fn attach(
    settings: &UplinkSettings,
    voters: &[Peer],
    timings: Timings,
    turn: usize,
) -> Result<Attached, StreamEnd> {
    let (up, up_rx) = mpsc::channel(BUFFER);
    let up = UpStream(up);
    up.send(up::Message::Hello(Hello {
        federation: settings.federation.0.to_vec(),
        relayed_for: Vec::new(),
    }))?;
    let within = timings.answer_within();
    let opening = connect(settings, voters, turn, ReceiverStream::new(up_rx));
    let mut down = timeout(within, opening)
        .await
        .map_err(|_| StreamEnd::Silent(within))??;
    let first = timeout(within, down.next())
        .await
        .map_err(|_| StreamEnd::Silent(within))?;
    match first {
        Some(Ok(Down {
            message: Some(down::Message::Welcome(welcome)),
        })) => Ok(Attached { up, down, welcome }),
        Some(Ok(_)) => Err(StreamEnd::Unreadable(
            "the first message is not Welcome".into(),
        )),
        Some(Err(status)) => Err(StreamEnd::of(&status)),
        None => Err(StreamEnd::Closed("it gave no reason".into())),
    }
}

async fn connect(
    settings: &UplinkSettings,
    voters: &[Peer],
    turn: usize,
    up: ReceiverStream<Up>,
) -> Result<DownStream, StreamEnd> {
    let local = settings.local.borrow().clone();
    let own = usize::from(local.is_some());
    let turn = turn % (voters.len() + own).max(1);
    if let (Some(local), 0) = (&local, turn) {
        return Ok(local.attach(up));
    }
    let voter = voters.get(turn - own).ok_or(StreamEnd::NoVoter)?;
    let response = FederationClient::new(settings.peers.channel(voter))
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .attach(up)
        .await
        .map_err(|status| StreamEnd::of(&status))?;
    Ok(response.into_inner().boxed())
}

/// The other voters: from the newest slice or, before the first slice, from the settings; then those that a refusal named.
pub(super) fn voters(
    settings: &UplinkSettings,
    newest: Option<&Slice>,
    named: &[Peer],
) -> Vec<Peer> {
    let own = settings.key.public();
    let mut voters = match newest {
        Some(slice) => voters_of(slice, &own),
        None => settings.voters.clone(),
    };
    let known: BTreeSet<PublicKey> = voters.iter().map(|voter| voter.key).collect();
    let more = named.iter().filter(|voter| !known.contains(&voter.key));
    voters.extend(more.cloned());
    voters.retain(|voter| voter.key != own);
    voters
}
