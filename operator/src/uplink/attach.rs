//! How a stream to a voter is opened, and why one ends.

use std::sync::Arc;

use futures::{StreamExt, stream::BoxStream};
use hanse_core::{
    id::{FederationId, PrivateKey},
    slice::Slice,
    timings::Timings,
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::warn;

use super::{
    feed::{FeedError, voters_of},
    metrics::UplinkMetrics,
};
use crate::peer::{
    MAX_MESSAGE_BYTES, Peer, Peers,
    proto::federation::{Down, Hello, Up, Welcome, down, federation_client::FederationClient, up},
};

/// Messages on their way up a stream. A full buffer means the voter does not read; the heartbeat then times out.
const BUFFER: usize = 64;

/// What comes down a stream.
pub(super) type DownStream = BoxStream<'static, Result<Down, Status>>;

/// Where a stream to a leader may start inside this very process: the own voter, if this member votes.
pub trait LocalVoter: Send + Sync {
    /// The same as the remote procedure call `Attach`, without a socket.
    fn attach(&self, up: ReceiverStream<Up>) -> BoxStream<'static, Result<Down, Status>>;
}

/// What the uplink needs to know and to have.
pub struct UplinkSettings {
    /// The federation this member belongs to.
    pub federation: FederationId,
    /// Its key.
    pub key: PrivateKey,
    /// The federation's timings as this member last knew them; the voter it attaches to tells it the newest.
    pub timings: Timings,
    /// How to reach other members.
    pub peers: Arc<Peers>,
    /// The own voter, once there is one.
    pub local: watch::Receiver<Option<Arc<dyn LocalVoter>>>,
    /// Voters to try before the first slice has told better ones.
    pub voters: Vec<Peer>,
    /// What is counted.
    pub metrics: UplinkMetrics,
}

/// Why a stream ended, or was not opened.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamEnd {
    #[error("the voter ended the stream: {0}")]
    Closed(String),
    #[error("no answer within {0:?}")]
    Silent(std::time::Duration),
    #[error("the voter sent what this version cannot read: {0}")]
    Unreadable(String),
    #[error(transparent)]
    Slice(#[from] FeedError),
    #[error("no voter to attach to is known")]
    NoVoter,
}

impl StreamEnd {
    /// The end that a voter's status means.
    pub(super) fn of(status: &Status) -> Self {
        if status.code() == tonic::Code::PermissionDenied {
            warn!(
                reason = status.message(),
                "refused by a voter of the federation"
            );
        }
        Self::Closed(format!("{}: {}", status.code(), status.message()))
    }
}

/// The sending half of an open stream.
pub(super) struct UpStream(mpsc::Sender<Up>);

impl UpStream {
    /// Sends without waiting: a voter that does not read is as good as gone.
    pub(super) fn send(&self, message: up::Message) -> Result<(), StreamEnd> {
        let sent = self.0.try_send(Up {
            message: Some(message),
        });
        sent.map_err(|_| StreamEnd::Closed("it no longer takes messages".into()))
    }
}

/// A stream that a voter has welcomed.
pub(super) struct Attached {
    pub(super) up: UpStream,
    pub(super) down: DownStream,
    pub(super) welcome: Welcome,
}

/// Opens a stream to one voter: in the first of `turn`s the own one, then the others one after the other.
pub(super) async fn attach(
    settings: &UplinkSettings,
    newest: Option<&Slice>,
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
    let opening = connect(settings, newest, turn, ReceiverStream::new(up_rx));
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
    newest: Option<&Slice>,
    turn: usize,
    up: ReceiverStream<Up>,
) -> Result<DownStream, StreamEnd> {
    let local = settings.local.borrow().clone();
    let voters = voters(settings, newest);
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

/// The other voters, from the newest slice or, before the first, as remembered.
fn voters(settings: &UplinkSettings, newest: Option<&Slice>) -> Vec<Peer> {
    let own = settings.key.public();
    match newest {
        Some(slice) => voters_of(slice, &own),
        None => settings
            .voters
            .iter()
            .filter(|voter| voter.key != own)
            .cloned()
            .collect(),
    }
}
