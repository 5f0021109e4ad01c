mod wire;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    sync::Arc,
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};
use hanse_core::id::PrivateKey;
use rustls::{ClientConfig, crypto::ring, version::TLS13};
use tokio::{io::AsyncReadExt, sync::oneshot, task::JoinHandle, time::Instant};
use tokio_rustls::TlsConnector;
use tonic::{Code, Request, Response, Status, Streaming, service::Routes};

use super::{
    proto::federation::{
        Down, Heartbeat, JoinRequest, JoinResponse, Up, down,
        federation_client::FederationClient,
        federation_server::{Federation, FederationServer},
        up,
    },
    *,
};
use crate::identity::Identity;
use wire::Wire;

/// Answers a call with the caller's key, and a stream with what it said.
struct Mirror;

#[tonic::async_trait]
impl Federation for Mirror {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        Ok(Response::new(JoinResponse {
            outcome: peer_key(&request)?.0.to_vec(),
            voters: Vec::new(),
        }))
    }

    type AttachStream = BoxStream<'static, Result<Down, Status>>;

    async fn attach(
        &self,
        request: Request<Streaming<Up>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let answers = request.into_inner().map(|up| match up?.message {
            Some(up::Message::Heartbeat(heartbeat)) => Ok(heartbeat_down(heartbeat.number)),
            _ => Err(Status::invalid_argument("not a heartbeat")),
        });
        Ok(Response::new(answers.boxed()))
    }
}

fn heartbeat_up(number: u64) -> Up {
    let message = up::Message::Heartbeat(Heartbeat { number });
    Up {
        message: Some(message),
    }
}

fn heartbeat_down(number: u64) -> Down {
    let message = down::Message::Heartbeat(Heartbeat { number });
    Down {
        message: Some(message),
    }
}

fn identity(seed: u8) -> Arc<Identity> {
    Arc::new(Identity::from_key(PrivateKey::from_seed(&[seed; 32])).unwrap())
}

/// One operator's listening half.
struct Operator {
    peer: Peer,
    members: MemberKeys,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), rustls::Error>>,
}

impl Operator {
    /// Starts to serve as `seed`'s identity, for the members with the keys of `members`.
    async fn start(network: &dyn Network, address: &str, seed: u8, members: &[u8]) -> Self {
        let listener = network.listen(address).await.unwrap();
        let identity = identity(seed);
        let peer = Peer {
            address: listener.local_address().unwrap(),
            key: identity.public(),
        };
        let members = MemberKeys::new(keys(members));
        let (stop, stopped) = oneshot::channel();
        let served = members.clone();
        let serving = tokio::spawn(async move {
            let routes = Routes::new(FederationServer::new(Mirror));
            let stopped = async { drop(stopped.await) };
            serve(listener, &identity, served, routes, stopped).await
        });
        Self {
            peer,
            members,
            stop,
            serving,
        }
    }
}

fn keys(seeds: &[u8]) -> BTreeSet<PublicKey> {
    let key = |&seed| PrivateKey::from_seed(&[seed; 32]).public();
    seeds.iter().map(key).collect()
}

fn peers(seed: u8) -> Peers {
    Peers::new(identity(seed), Arc::new(TcpNetwork::default()))
}

/// The key that `peer` sees when `peers` calls it.
async fn seen_key(peers: &Peers, peer: &Peer) -> Result<PublicKey, Status> {
    let mut client = FederationClient::new(peers.channel(peer));
    let response = client.join(JoinRequest::default()).await?;
    let outcome = response.into_inner().outcome;
    Ok(PublicKey(outcome.try_into().unwrap()))
}

/// A stream on which the first heartbeat has been answered.
async fn attach(peers: &Peers, peer: &Peer) -> Streaming<Down> {
    let up = futures::stream::iter([heartbeat_up(1)]).chain(futures::stream::pending());
    let mut client = FederationClient::new(peers.channel(peer));
    let mut down = client.attach(up).await.unwrap().into_inner();
    assert_eq!(down.message().await.unwrap(), Some(heartbeat_down(1)));
    down
}

#[tokio::test]
async fn three_operators_in_one_process_each_see_the_key_their_caller_proved() {
    let network = TcpNetwork::default();
    let mut operators = BTreeMap::new();
    for seed in 1..=3 {
        let operator = Operator::start(&network, "127.0.0.1:0", seed, &[1, 2, 3]).await;
        operators.insert(seed, operator);
    }
    for caller in 1..=3 {
        let peers = peers(caller);
        for operator in operators.values() {
            let seen = seen_key(&peers, &operator.peer).await.unwrap();
            assert_eq!(seen, identity(caller).public());
        }
    }
}

#[tokio::test]
async fn a_server_with_another_key_is_refused_and_the_error_names_both() {
    let operator = Operator::start(&TcpNetwork::default(), "127.0.0.1:0", 1, &[2]).await;
    let impostor = Peer {
        key: identity(9).public(),
        ..operator.peer.clone()
    };
    let error = seen_key(&peers(2), &impostor).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message().to_owned()),
        (
            Code::Unavailable,
            format!(
                "{} is not who it should be: its key is {}, not the pinned {}",
                impostor.address, operator.peer.key, impostor.key
            )
        )
    );
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_unreachable() {
    let address = {
        let unused = TcpListener::bind("127.0.0.1:0").unwrap();
        unused.local_addr().unwrap().to_string()
    };
    let nobody = Peer {
        address: address.clone(),
        key: identity(1).public(),
    };
    let error = seen_key(&peers(2), &nobody).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message().to_owned()),
        (
            Code::Unavailable,
            format!("{address} is unreachable: Connection refused (os error 111)")
        )
    );
}

#[tokio::test]
async fn a_server_that_does_not_speak_tls_is_told_from_one_with_a_wrong_key() {
    let network = TcpNetwork::default();
    let mut listener = network.listen("127.0.0.1:0").await.unwrap();
    let address = listener.local_address().unwrap();
    let hangs_up = tokio::spawn(async move { drop(listener.accept().await) });
    let peer = Peer {
        address: address.clone(),
        key: identity(1).public(),
    };
    let error = seen_key(&peers(2), &peer).await.unwrap_err();
    hangs_up.await.unwrap();
    let prefix = format!("{address} does not speak as a peer: ");
    assert!(error.message().starts_with(&prefix), "{error}");
}

#[tokio::test]
async fn a_caller_without_a_certificate_is_refused() {
    let network = TcpNetwork::default();
    let operator = Operator::start(&network, "127.0.0.1:0", 1, &[2]).await;
    let mut config = tls::client_config(&identity(2), operator.peer.key).unwrap();
    let anonymous = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.client_auth_cert_resolver = anonymous.client_auth_cert_resolver;

    // In TLS 1.3 the dialling side is done before the other has seen its certificate: the refusal is the first thing read.
    let stream = network.dial(&operator.peer.address).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    let mut stream = connector.connect(tls::no_name(), stream).await.unwrap();
    let error = stream.read(&mut [0; 1024]).await.unwrap_err();

    assert_eq!(
        error.to_string(),
        "received fatal alert: CertificateRequired"
    );
}

#[tokio::test]
async fn a_key_that_leaves_the_ledger_loses_its_open_connection_and_no_other_does() {
    let operator = Operator::start(&TcpNetwork::default(), "127.0.0.1:0", 1, &[2, 3]).await;
    let (removed, kept) = (peers(2), peers(3));
    let mut cut = attach(&removed, &operator.peer).await;
    let mut open = attach(&kept, &operator.peer).await;

    operator.members.replace(keys(&[3]));

    cut.message().await.unwrap_err();
    // It may come back, as the stranger it now is: each service decides what a stranger may ask for.
    let seen = seen_key(&removed, &operator.peer).await.unwrap();
    assert_eq!(seen, identity(2).public());
    assert!(futures::poll!(open.next()).is_pending());
}

#[tokio::test(start_paused = true)]
async fn a_stranger_has_to_be_done_within_a_minute_unless_it_became_a_member() {
    let wire = Arc::new(Wire::new());
    let operator = Operator::start(&*wire, "memory", 1, &[]).await;
    let network: Arc<dyn Network> = wire;
    let start = Instant::now();
    let stranger = Peers::new(identity(2), Arc::clone(&network));
    let newcomer = Peers::new(identity(3), network);
    let mut cut = attach(&stranger, &operator.peer).await;
    let mut open = attach(&newcomer, &operator.peer).await;

    operator.members.replace(keys(&[3]));

    cut.message().await.unwrap_err();
    assert_eq!(
        start.elapsed().as_secs(),
        connections::STRANGER_LIMIT.as_secs()
    );
    assert!(futures::poll!(open.next()).is_pending());
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_says_nothing_is_sent_away_after_ten_seconds() {
    let wire = Wire::new();
    let _operator = Operator::start(&wire, "memory", 1, &[]).await;
    let start = Instant::now();
    let mut stream = wire.dial("memory").await.unwrap();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_is_noticed_within_three_seconds_and_dialled_again() {
    let wire = Arc::new(Wire::new());
    let operator = Operator::start(&*wire, "memory", 1, &[2]).await;
    let network: Arc<dyn Network> = Arc::clone(&wire) as Arc<dyn Network>;
    let peers = Peers::new(identity(2), network);
    let mut lost = attach(&peers, &operator.peer).await;

    wire.swallow();
    let silence = Instant::now();
    lost.message().await.unwrap_err();
    let noticed = silence.elapsed();
    assert!(
        noticed <= client::KEEPALIVE_INTERVAL + client::KEEPALIVE_TIMEOUT + TIMER_GRAIN,
        "{noticed:?}"
    );

    let error = seen_key(&peers, &operator.peer).await.unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (Code::Unavailable, "memory did not answer within 3s")
    );

    wire.heal();
    let seen = seen_key(&peers, &operator.peer).await.unwrap();
    assert_eq!((seen, wire.dials()), (identity(2).public(), 3));
}

/// Timers fire at the next millisecond, and two of them follow one another.
const TIMER_GRAIN: Duration = Duration::from_millis(2);

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_and_shared_until_its_peer_is_forgotten() {
    let wire = Arc::new(Wire::new());
    let operator = Operator::start(&*wire, "memory", 1, &[2]).await;
    let network: Arc<dyn Network> = Arc::clone(&wire) as Arc<dyn Network>;
    let peers = Peers::new(identity(2), network);
    let mut cut = attach(&peers, &operator.peer).await;
    tokio::time::advance(Duration::from_mins(10)).await;
    seen_key(&peers, &operator.peer).await.unwrap();
    assert_eq!(wire.dials(), 1);

    let held = peers.channel(&operator.peer);
    peers.forget(&operator.peer);

    cut.message().await.unwrap_err();
    let error = FederationClient::new(held)
        .join(JoinRequest::default())
        .await
        .unwrap_err();
    assert_eq!(
        error.message(),
        "memory was forgotten: take a new channel to talk to it again"
    );
    seen_key(&peers, &operator.peer).await.unwrap();
    assert_eq!(wire.dials(), 2);
}

#[tokio::test]
async fn an_advertised_address_can_be_dialled_by_another_way() {
    let operator = Operator::start(&TcpNetwork::default(), "127.0.0.1:0", 1, &[2]).await;
    let advertised = Peer {
        address: "eu.acme.example:7443".into(),
        key: operator.peer.key,
    };
    let via = BTreeMap::from([(advertised.address.clone(), operator.peer.address)]);
    let peers = Peers::new(identity(2), Arc::new(TcpNetwork { via }));
    let seen = seen_key(&peers, &advertised).await.unwrap();
    assert_eq!(seen, identity(2).public());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_streams_that_never_end() {
    let wire = Arc::new(Wire::new());
    let operator = Operator::start(&*wire, "memory", 1, &[2]).await;
    let peers = Peers::new(identity(2), wire);
    let mut open = attach(&peers, &operator.peer).await;

    let start = Instant::now();
    operator.stop.send(()).unwrap();

    operator.serving.await.unwrap().unwrap();
    assert_eq!(start.elapsed().as_secs(), 1);
    open.message().await.unwrap_err();
}

#[test]
fn a_peer_on_the_wire_is_refused_when_its_key_has_another_length() {
    let peer = Peer {
        address: "eu.acme.example:7443".into(),
        key: PublicKey([1; 32]),
    };
    let mut sent = proto::federation::Peer::from(peer.clone());
    assert_eq!(Peer::try_from(sent.clone()), Ok(peer));
    sent.key.pop();
    assert_eq!(
        Peer::try_from(sent).unwrap_err().to_string(),
        "the key of peer 'eu.acme.example:7443' has 31 bytes instead of 32"
    );
}
