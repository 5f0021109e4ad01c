//! Peers over a network in memory: which servers a client accepts, which callers a server accepts and for how long, and
//! how soon a silent peer is detected.
//!
//! Time is paused: it advances only while every task waits, and then at once.

mod wire;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::{
    StreamExt,
    future::{self, ready},
    stream::{self, BoxStream},
};
use hanse_core::{
    id::{PrivateKey, PublicKey},
    timings::Timings,
};
use tokio::{
    io::AsyncReadExt,
    time::{Instant, timeout},
};
use tonic::{Code, Request, Response, Status, Streaming, service::Routes, transport::Channel};

use super::{
    Credentials, MemberKeys, Network, Peer, Peers,
    connections::{MAX_PER_KEY, MAX_STRANGERS, STRANGER_LIMIT},
    peer_key,
    proto::federation::{
        Down, JoinRequest, JoinResponse, Up,
        federation_client::FederationClient,
        federation_server::{Federation, FederationServer},
    },
    serve,
};
use wire::Wire;

type Client = FederationClient<Channel>;

/// The voter's address.
const VOTER: &str = "voter:7443";

/// The seed of the voter's key.
const VOTER_SEED: u8 = 1;

/// A service that returns to callers the key they proved, and keeps their streams open.
struct Echo;

#[tonic::async_trait]
impl Federation for Echo {
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
        // Sends nothing, for as long as the caller's own stream is open.
        let silence = request.into_inner().filter_map(|_| ready(None));
        Ok(Response::new(silence.boxed()))
    }
}

/// A voter that serves [`Echo`], and the network to reach it.
struct Bench {
    wire: Arc<Wire>,
    members: MemberKeys,
}

impl Bench {
    /// The members are the holders of the keys of these seeds.
    async fn open(members: &[u8]) -> Self {
        let wire = Arc::new(Wire::new());
        let listener = wire.listen(VOTER).await.unwrap();
        let members = MemberKeys::new(keys(members));
        let known = members.clone();
        tokio::spawn(async move {
            let credentials = credentials(VOTER_SEED);
            let routes = Routes::new(FederationServer::new(Echo));
            serve(listener, &credentials, known, routes, future::pending()).await
        });
        Self { wire, members }
    }

    fn peers(&self, seed: u8) -> Peers {
        Peers::new(credentials(seed), self.wire.clone())
    }

    /// A client with a connection of its own.
    fn client(&self, seed: u8) -> Client {
        client(&self.peers(seed))
    }
}

fn key(seed: u8) -> PublicKey {
    PrivateKey::from_seed(&[seed; 32]).public()
}

fn keys(seeds: &[u8]) -> BTreeSet<PublicKey> {
    seeds.iter().copied().map(key).collect()
}

fn credentials(seed: u8) -> Arc<Credentials> {
    Arc::new(Credentials::of(PrivateKey::from_seed(&[seed; 32])).unwrap())
}

fn voter() -> Peer {
    Peer {
        address: VOTER.into(),
        key: key(VOTER_SEED),
    }
}

fn client(peers: &Peers) -> Client {
    Client::new(peers.channel(&voter()))
}

/// The caller's key, as the voter returns it.
async fn echo(client: &mut Client) -> Result<PublicKey, Status> {
    let answer = client.join(JoinRequest::default()).await?.into_inner();
    Ok(PublicKey(answer.outcome.try_into().unwrap()))
}

/// Why a call failed.
async fn refusal(client: &mut Client) -> (Code, String) {
    let status = echo(client).await.unwrap_err();
    (status.code(), status.message().to_owned())
}

/// An open stream.
async fn attached(client: &mut Client) -> Streaming<Down> {
    let attached = client.attach(stream::pending::<Up>()).await;
    attached.unwrap().into_inner()
}

/// To the nearest second, because every timer may be a millisecond late.
fn seconds_since(start: Instant) -> u64 {
    (start.elapsed() + Duration::from_millis(500)).as_secs()
}

/// After how many seconds the stream fails.
async fn fails_after(stream: &mut Streaming<Down>) -> u64 {
    let start = Instant::now();
    stream.message().await.unwrap_err();
    seconds_since(start)
}

async fn stays_open(stream: &mut Streaming<Down>, time: Duration) -> bool {
    timeout(time, stream.message()).await.is_err()
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_proves_its_key_is_accepted_and_gets_the_key_of_the_caller() {
    let bench = Bench::open(&[2]).await;
    for seed in [2, 3] {
        let answer = echo(&mut bench.client(seed)).await;
        assert_eq!(answer.unwrap(), key(seed));
    }
}

#[tokio::test(start_paused = true)]
async fn all_calls_to_a_peer_share_one_connection() {
    let bench = Bench::open(&[2]).await;
    let peers = bench.peers(2);
    let (mut first, mut second) = (client(&peers), client(&peers));
    let _stream = attached(&mut first).await;
    echo(&mut first).await.unwrap();
    echo(&mut second).await.unwrap();
    assert_eq!(bench.wire.dials(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_server_with_another_key_is_refused_and_both_keys_are_named() {
    let bench = Bench::open(&[2]).await;
    let pinned = Peer {
        key: key(9),
        ..voter()
    };
    let mut client = Client::new(bench.peers(2).channel(&pinned));
    let why = format!(
        "{VOTER} presented the wrong key: its key is {}, not the pinned {}",
        key(VOTER_SEED),
        key(9)
    );
    assert_eq!(refusal(&mut client).await, (Code::Unavailable, why));
}

#[tokio::test(start_paused = true)]
async fn an_address_without_a_listener_is_unreachable() {
    let bench = Bench::open(&[2]).await;
    let nobody = Peer {
        address: "nobody:7443".into(),
        ..voter()
    };
    let mut client = Client::new(bench.peers(2).channel(&nobody));
    let why = "nobody:7443 is unreachable: connection refused".to_owned();
    assert_eq!(refusal(&mut client).await, (Code::Unavailable, why));
}

#[tokio::test(start_paused = true)]
async fn when_a_key_is_no_longer_a_members_only_its_connections_are_closed() {
    let bench = Bench::open(&[2, 3]).await;
    let (mut two, mut three) = (bench.client(2), bench.client(3));
    let (mut removed, mut kept) = (attached(&mut two).await, attached(&mut three).await);
    bench.members.replace(keys(&[3]));
    assert_eq!(fails_after(&mut removed).await, 0);
    assert!(stays_open(&mut kept, 2 * STRANGER_LIMIT).await);
    // It may connect again as a stranger: each service decides which calls a key may make.
    assert_eq!(echo(&mut bench.client(2)).await.unwrap(), key(2));
}

#[tokio::test(start_paused = true)]
async fn a_strangers_connection_is_bounded_in_time_and_a_members_is_not() {
    let bench = Bench::open(&[2]).await;
    let (mut two, mut three) = (bench.client(2), bench.client(3));
    let (mut member, mut stranger) = (attached(&mut two).await, attached(&mut three).await);
    let limit = STRANGER_LIMIT.as_secs();
    assert_eq!(fails_after(&mut stranger).await, limit);
    assert!(stays_open(&mut member, 2 * STRANGER_LIMIT).await);
}

#[tokio::test(start_paused = true)]
async fn a_stranger_that_becomes_a_member_stays_connected_and_the_limit_of_others_is_unchanged() {
    let bench = Bench::open(&[2]).await;
    let (mut three, mut four) = (bench.client(3), bench.client(4));
    let (mut admitted, mut stranger) = (attached(&mut three).await, attached(&mut four).await);
    let half = STRANGER_LIMIT / 2;
    assert!(stays_open(&mut stranger, half).await);
    bench.members.replace(keys(&[2, 3]));
    assert_eq!(fails_after(&mut stranger).await, half.as_secs());
    assert!(stays_open(&mut admitted, 2 * STRANGER_LIMIT).await);
}

#[tokio::test(start_paused = true)]
async fn strangers_are_bounded_in_number_and_members_can_still_connect() {
    let bench = Bench::open(&[2]).await;
    let mut clients = Vec::new();
    let mut streams = Vec::new();
    for seed in (100..).take(MAX_STRANGERS / MAX_PER_KEY) {
        for _ in 0..MAX_PER_KEY {
            let mut client = bench.client(seed);
            streams.push(attached(&mut client).await);
            clients.push(client);
        }
    }
    echo(&mut bench.client(3)).await.unwrap_err();
    assert_eq!(echo(&mut bench.client(2)).await.unwrap(), key(2));
    for stream in &mut streams {
        assert!(stays_open(stream, Duration::ZERO).await);
    }
}

#[tokio::test(start_paused = true)]
async fn one_key_holds_a_bounded_number_of_connections() {
    let bench = Bench::open(&[2, 3]).await;
    let mut clients: Vec<_> = (0..MAX_PER_KEY).map(|_| bench.client(2)).collect();
    for client in &mut clients {
        echo(client).await.unwrap();
    }
    echo(&mut bench.client(2)).await.unwrap_err();
    assert_eq!(echo(&mut bench.client(3)).await.unwrap(), key(3));
}

#[tokio::test(start_paused = true)]
async fn the_connection_of_a_caller_that_sends_nothing_is_closed() {
    let bench = Bench::open(&[2]).await;
    let mut stream = bench.wire.dial(VOTER).await.unwrap();
    let start = Instant::now();
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    assert_eq!(seconds_since(start), 10);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_goes_silent_is_detected_within_three_fifths_of_a_lease_and_three_seconds() {
    let of = |lease_ms| Timings {
        lease_ms,
        ..Timings::default()
    };
    for (timings, seconds) in [(of(5_000), 3), (of(60_000), 3), (of(3_334), 2)] {
        let bench = Bench::open(&[2]).await;
        let peers = bench.peers(2);
        peers.follow(timings);
        let mut client = client(&peers);
        let mut stream = attached(&mut client).await;
        assert!(stays_open(&mut stream, timings.lease() * 10).await);
        bench.wire.swallow();
        let noticed = fails_after(&mut stream).await;
        let within = timings.keepalive_interval() + timings.answer_within();
        assert!(within <= Duration::from_millis(seconds * 1_000 + 1));
        assert!(noticed <= seconds, "detected after {noticed} s");
    }
}

#[tokio::test(start_paused = true)]
async fn dialling_a_silent_peer_fails_within_three_fifths_of_a_lease() {
    let bench = Bench::open(&[2]).await;
    bench.wire.swallow();
    let mut client = bench.client(2);
    let start = Instant::now();
    let why = format!("{VOTER} did not answer within 3s");
    assert_eq!(refusal(&mut client).await, (Code::Unavailable, why));
    assert_eq!(seconds_since(start), 3);
}

#[tokio::test(start_paused = true)]
async fn when_the_network_works_again_the_next_call_succeeds() {
    let bench = Bench::open(&[2]).await;
    let mut client = bench.client(2);
    let mut stream = attached(&mut client).await;
    bench.wire.swallow();
    stream.message().await.unwrap_err();
    echo(&mut client).await.unwrap_err();
    bench.wire.heal();
    assert_eq!(echo(&mut client).await.unwrap(), key(2));
}

#[tokio::test(start_paused = true)]
async fn forgetting_a_peer_closes_its_connection_and_the_next_channel_dials_again() {
    let bench = Bench::open(&[2]).await;
    let peers = bench.peers(2);
    let mut old = client(&peers);
    let mut stream = attached(&mut old).await;
    peers.forget(&voter());
    assert_eq!(fails_after(&mut stream).await, 0);
    assert_eq!(echo(&mut client(&peers)).await.unwrap(), key(2));
    assert_eq!(bench.wire.dials(), 2);
    echo(&mut old).await.unwrap_err();
}
