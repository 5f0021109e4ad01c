//! The probes of an operator that is not a member yet.

#![allow(
    clippy::unwrap_used,
    reason = "a test is allowed to stop at what it did not expect"
)]

mod loopback;

use std::time::Duration;

use hanse_core::{
    command::Attributes,
    id::{FederationId, PrivateKey},
};
use hanse_operator::{
    environment::Environment,
    invitation::Invitation,
    peer::{Peer, TcpNetwork},
    run::Operator,
    settings::{AskedTimings, CapacityPolicy, Entry, RaftTimings, Settings},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{interval, timeout},
};

use loopback::free_address;

/// Longer than the step takes on a loaded machine. Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// A newcomer whose only voter cannot be reached.
fn newcomer(data_dir: &std::path::Path) -> Settings {
    Settings {
        name: "two".parse().unwrap(),
        owner: "beta".parse().unwrap(),
        data_dir: data_dir.to_owned(),
        namespace: "hanse-system".into(),
        peer_listen: free_address(),
        peer_address: None,
        admin_listen: free_address(),
        entry: Entry::Join(Invitation {
            federation: FederationId([1; 16]),
            owner: "beta".parse().unwrap(),
            key: PrivateKey::from_seed(&[7; 32]),
            expires_ms: u64::MAX,
            voters: vec![Peer {
                address: free_address(),
                key: PrivateKey::from_seed(&[1; 32]).public(),
            }],
        }),
        attributes: Attributes::default(),
        timings: AskedTimings::default(),
        raft: RaftTimings {
            heartbeat: Duration::from_millis(200),
            election_min: Duration::from_millis(800),
            election_max: Duration::from_millis(1_400),
        },
        capacity: CapacityPolicy::default(),
        notify_url: None,
    }
}

/// The answer to a request; empty if nothing listens yet.
async fn get(address: &str, path: &str) -> String {
    let mut answer = String::new();
    if let Ok(mut stream) = TcpStream::connect(address).await {
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_to_string(&mut answer).await.unwrap();
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_that_waits_for_a_voter_is_healthy_and_reports_what_it_waits_for() {
    let directory = tempfile::tempdir().unwrap();
    let settings = newcomer(directory.path());
    let (admin, voter) = match &settings.entry {
        Entry::Join(invitation) => (
            settings.admin_listen.clone(),
            invitation.voters[0].address.clone(),
        ),
        Entry::Found | Entry::Resume => unreachable!("it joins"),
    };
    let environment = Environment::of_this_machine(TcpNetwork::default(), None);
    let starting = tokio::spawn(Operator::start(settings, environment));
    let waiting = async {
        let mut look = interval(Duration::from_millis(50));
        loop {
            look.tick().await;
            let answer = get(&admin, "/readyz").await;
            if answer.contains("waiting for a voter to admit this member") {
                return answer;
            }
        }
    };
    let answer = timeout(PATIENCE, waiting).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.0 503") && answer.contains(&voter),
        "{answer}"
    );
    assert!(get(&admin, "/healthz").await.starts_with("HTTP/1.0 200"));
    assert!(!starting.is_finished(), "it waits without a time limit");
    starting.abort();
}
