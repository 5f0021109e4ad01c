use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hanse_core::{
    command::{Attributes, Command, Lane, MAX_COMMAND_BYTES, SignedCommand, VerifyError},
    id::FederationId,
    state::{FOUNDER_NODE, Outcome},
};
use openraft::{RaftLogReader as _, storage::RaftLogStorage as _};
use tonic::Code;

use super::testbed::{FEDERATION, PipeDialer, Pipes, Voter, accepted, key, settings, until};
use crate::{
    peer::proto::raft::{
        AppendRequest, LogId, SnapshotHeader, SnapshotPart, Target, VoteId, VoteRequest,
        raft_client::RaftClient, snapshot_part::Part,
    },
    replicate::{
        ledger::{Ledger, LedgerError},
        log_store::{LogStore, OpenLogError},
        network::Dialer as _,
        propose::ProposeError,
        storage::Directory,
    },
};

fn describe(region: &str) -> Command {
    let attributes = Attributes {
        region: region.into(),
        ..Attributes::default()
    };
    Command::Describe { attributes }
}

/// A federation whose ledger is kept by three.
async fn three(pipes: &Pipes) -> [Voter; 3] {
    let founder = Voter::found(pipes).await;
    let second = founder.welcome(2).await;
    let third = founder.welcome(3).await;
    let nodes = [&founder, &second, &third].map(|voter| voter.ledger.node());
    for voter in [&founder, &second, &third] {
        voter.has_voters(&nodes).await;
    }
    [founder, second, third]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_founder_alone_decides_and_finds_everything_again_after_a_restart() {
    let pipes = Pipes::default();
    let founder = Voter::found(&pipes).await;
    founder.asks(describe("north")).await;
    founder.ledger.confirm_leadership().await.unwrap();
    assert!(founder.ledger.hears_quorum(Duration::ZERO));
    let before = founder.replica();
    let term = founder.leads().await.term;

    let directory = founder.stopped().await;
    let founder = Voter::open(&pipes, 1, FOUNDER_NODE, directory, &[]).await;
    assert_eq!(founder.replica(), before);
    assert!(!founder.ledger.is_pristine().await.unwrap());
    assert!(founder.leads().await.term > term);
    assert!(matches!(
        founder.ledger.found("", founder.key.public()).await,
        Err(LedgerError::AlreadyFounded)
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_killed_while_it_wrote_comes_back_to_the_same_chain() {
    let pipes = Pipes::default();
    let founder = Voter::found(&pipes).await;
    let index = founder.asks(describe("north")).await;
    let head = founder.ledger.read(|state| state.head);

    let directory = founder.killed().await;
    let mut disk = LogStore::open(
        &Directory(directory.path().to_owned()),
        FEDERATION,
        FOUNDER_NODE,
    )
    .unwrap();
    let last = disk.get_log_state().await.unwrap().last_log_id.unwrap();
    let vote = disk.read_vote().await.unwrap().unwrap();
    drop(disk);
    assert_eq!((last.index(), vote.leader_id.node_id), (index, 1));

    let founder = Voter::open(&pipes, 1, FOUNDER_NODE, directory, &[]).await;
    founder.has_applied(index + 1).await;
    // The new term adds an entry of its own; what came before is as it was.
    let expected = hanse_core::chain::extend(&head, index + 1, 2, hanse_core::chain::Link::Blank);
    assert_eq!(founder.ledger.read(|state| state.head), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_agree_and_go_on_when_the_leader_is_killed() {
    let pipes = Pipes::default();
    let [founder, second, third] = three(&pipes).await;
    let index = founder.asks(describe("north")).await;
    for voter in [&second, &third] {
        voter.has_applied(index).await;
        assert_eq!(voter.replica(), founder.replica());
    }
    founder.ledger.confirm_leadership().await.unwrap();
    assert!(founder.ledger.hears_quorum(Duration::from_secs(10)));
    assert!(!second.ledger.hears_quorum(Duration::from_secs(10)));
    let elsewhere = second.ledger.propose(second.sign(&describe("x"))).await;
    let leader = Some(FOUNDER_NODE);
    assert_eq!(elsewhere, Err(ProposeError::NotLeader { leader }));

    founder.killed().await;
    let left = [second.ledger.node(), third.ledger.node()];
    let elected = until(second.ledger.leadership(), |leadership| {
        leadership
            .leader
            .is_some_and(|leader| left.contains(&leader))
    })
    .await;
    let (leader, follower) = if elected.is_self {
        (second, third)
    } else {
        (third, second)
    };
    leader.leads().await;
    // The number of the command above was never used up: its proposal reached no log.
    let command = SignedCommand::sign(&FEDERATION, &leader.key, 3, &describe("south"));
    let index = accepted(leader.ledger.propose(command).await.unwrap());
    follower.has_applied(index).await;
    assert_eq!(follower.replica(), leader.replica());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_enters_by_snapshot_and_never_sees_the_history_behind_it() {
    let pipes = Pipes::default();
    let [founder, second, third] = three(&pipes).await;
    let nodes = [&founder, &second, &third].map(|voter| voter.ledger.node());
    founder.has_voters(&nodes).await;
    let directory = second.killed().await;
    let disk = Directory(directory.path().to_owned());
    let mut log = LogStore::open(&disk, FEDERATION, nodes[1]).unwrap();
    let purged = log.get_log_state().await.unwrap().last_purged_log_id;
    let entries = log.try_get_log_entries(..).await.unwrap();
    // Its own offer to vote is in the snapshot, so the log begins after it.
    assert!(purged.unwrap().index() >= nodes[1].0);
    assert!(entries[0].log_id.index() > nodes[1].0);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_three_stop_and_start_again_as_they_were() {
    let pipes = Pipes::default();
    let [founder, second, third] = three(&pipes).await;
    let nodes = [&founder, &second, &third].map(|voter| voter.ledger.node());
    let index = founder.asks(describe("north")).await;
    for voter in [&second, &third] {
        voter.has_applied(index).await;
    }
    let before = founder.ledger.read(|state| state.members.clone());
    let mut directories = Vec::new();
    for voter in [founder, second, third] {
        directories.push(voter.killed().await);
    }
    let mut voters = Vec::new();
    for (number, (node, directory)) in (1..).zip(nodes.into_iter().zip(directories)) {
        voters.push(Voter::open(&pipes, number, node, directory, &[]).await);
    }
    for voter in &voters {
        voter.has_applied(index + 1).await;
        assert_eq!(voter.ledger.read(|state| state.members.clone()), before);
    }
    let heads: BTreeSet<_> = voters
        .iter()
        .filter(|voter| voter.ledger.read(|state| state.index) == index + 1)
        .map(|voter| voter.ledger.read(|state| state.head))
        .collect();
    assert!(heads.len() <= 1, "{heads:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_shuts_down_hands_over_first() {
    let pipes = Pipes::default();
    let [founder, second, third] = three(&pipes).await;
    let index = founder.ledger.read(|state| state.index);
    for voter in [&second, &third] {
        voter.has_applied(index).await;
    }
    let began = tokio::time::Instant::now();
    founder.stopped().await;
    let successor = until(second.ledger.leadership(), |leadership| {
        leadership
            .leader
            .is_some_and(|leader| leader != FOUNDER_NODE)
    });
    successor.await;
    // Unasked, nobody would have stood before the old leader's lease was over.
    assert!(began.elapsed() < Duration::from_millis(900));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_made_in_an_earlier_term_is_not_proposed() {
    let pipes = Pipes::default();
    let founder = Voter::found(&pipes).await;
    let term = founder.leads().await.term;
    let height = founder.ledger.read(|state| state.index);
    let leases = BTreeSet::new();
    let decision = Command::ExpireLeases { leases };
    assert_eq!(decision.lane(), Lane::Leader);
    let signed = SignedCommand::sign(&FEDERATION, &founder.key, 1, &decision);
    let late = founder
        .ledger
        .propose_as_leader(term - 1, signed.clone())
        .await;
    assert!(
        matches!(late, Err(ProposeError::NotLeader { .. })),
        "{late:?}"
    );
    assert_eq!(founder.ledger.read(|state| state.index), height);
    let in_time = founder.ledger.propose_as_leader(term, signed).await;
    assert_eq!(accepted(in_time.unwrap()), height + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_too_large_never_reaches_the_log() {
    let pipes = Pipes::default();
    let founder = Voter::found(&pipes).await;
    let height = founder.ledger.read(|state| state.index);
    let huge = founder.sign(&describe(&"x".repeat(MAX_COMMAND_BYTES)));
    let rejection = VerifyError::TooLarge.into();
    let outcome = founder.ledger.propose(huge).await;
    assert_eq!(outcome, Ok(Outcome::Rejected { rejection }));
    assert_eq!(founder.ledger.read(|state| state.index), height);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_another_federation_is_refused() {
    let pipes = Pipes::default();
    let founder = Voter::found(&pipes).await;
    let directory = founder.stopped().await;
    let mut settings = settings(&directory, FOUNDER_NODE, &[]);
    settings.federation = FederationId([8; 16]);
    let dialer = PipeDialer {
        pipes,
        caller: key(1).public(),
    };
    let refused = Ledger::open(settings, Arc::new(dialer), Arc::new(|| 0)).await;
    assert!(matches!(
        refused.err(),
        Some(LedgerError::OpenLog(OpenLogError::BelongsToAnother { federation, node }))
            if federation == FEDERATION && node == FOUNDER_NODE
    ));
}

/// A vote for `speaker` that is meant for the founder of `federation`.
fn vote_request(federation: FederationId, to: u64, speaker: u64) -> VoteRequest {
    VoteRequest {
        target: Some(Target {
            federation: federation.0.to_vec(),
            node: to,
        }),
        vote: Some(VoteId {
            term: 900,
            node: speaker,
            committed: false,
        }),
        last_log: None,
        leader_transfer: false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_not_the_voter_it_speaks_for_is_refused() {
    let pipes = Pipes::default();
    let founder = Voter::found(&pipes).await;
    let term = founder.leads().await.term;
    let other = FederationId([8; 16]);
    // (who calls, what it says, the answer)
    let cases = [
        (1, vote_request(other, 1, 1), Code::FailedPrecondition),
        (1, vote_request(FEDERATION, 2, 1), Code::FailedPrecondition),
        (9, vote_request(FEDERATION, 1, 1), Code::PermissionDenied),
        (9, vote_request(FEDERATION, 1, 9), Code::PermissionDenied),
        (1, vote_request(FEDERATION, 1, 9), Code::PermissionDenied),
        (
            1,
            VoteRequest {
                target: None,
                ..vote_request(FEDERATION, 1, 1)
            },
            Code::InvalidArgument,
        ),
    ];
    for (number, request, expected) in cases {
        let caller = key(number).public();
        let pipes = pipes.clone();
        let channel = PipeDialer { pipes, caller }.channel("member-1:7443", key(1).public());
        let refused = RaftClient::new(channel).vote(request.clone()).await;
        assert_eq!(refused.unwrap_err().code(), expected, "{request:?}");
    }
    assert_eq!(founder.leads().await.term, term);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_stop_the_engine_is_refused_before_it_gets_there() {
    let pipes = Pipes::default();
    let founder = Voter::found(&pipes).await;
    let caller = key(1).public();
    let channel = PipeDialer { pipes, caller }.channel("member-1:7443", caller);
    let mut client = RaftClient::new(channel);
    let VoteRequest { target, vote, .. } = vote_request(FEDERATION, 1, 1);

    let mut endless = vote_request(FEDERATION, 1, 1);
    endless.vote.as_mut().unwrap().term = u64::MAX;
    let gap = AppendRequest {
        target: target.clone(),
        vote,
        previous: Some(LogId {
            term: 1,
            node: 1,
            index: 3,
        }),
        entries: vec![crate::peer::proto::raft::Entry {
            id: Some(LogId {
                term: 1,
                node: 1,
                index: 5,
            }),
            payload: None,
        }],
        committed: None,
    };
    let header = SnapshotHeader {
        target,
        vote,
        membership: Some(crate::peer::proto::raft::Membership::default()),
        ..SnapshotHeader::default()
    };
    let nonsense = [Part::Header(header), Part::Data(b"\x01{}".to_vec())]
        .map(|part| SnapshotPart { part: Some(part) });
    let answers = [
        client.vote(endless).await.unwrap_err().code(),
        client.append(gap).await.unwrap_err().code(),
        client
            .install_snapshot(futures::stream::iter(nonsense))
            .await
            .unwrap_err()
            .code(),
    ];
    assert_eq!(answers, [Code::InvalidArgument; 3]);
    founder.asks(describe("still here")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_put_out_loses_its_vote_and_is_no_longer_heard() {
    let pipes = Pipes::default();
    let [founder, second, third] = three(&pipes).await;
    let member = "member-3".parse().unwrap();
    founder.asks(Command::Revoke { member }).await;
    // Two are left, and an even number is no place to rest.
    founder.has_voters(&[FOUNDER_NODE]).await;
    let caller = key(3).public();
    let channel = PipeDialer { pipes, caller }.channel("member-1:7443", key(1).public());
    let request = vote_request(FEDERATION, 1, third.ledger.node().0);
    let refused = RaftClient::new(channel).vote(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    drop(second);
}

/// The numbers behind the timings: what one commit costs on this disk.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn measure_how_long_a_commit_takes() {
    let pipes = Pipes::default();
    let founder = Voter::found(&pipes).await;
    let alone = sample(&founder).await;
    let second = founder.welcome(2).await;
    let third = founder.welcome(3).await;
    let nodes = [&founder, &second, &third].map(|voter| voter.ledger.node());
    founder.has_voters(&nodes).await;
    let of_three = sample(&founder).await;
    eprintln!("alone: {alone}\nof three, on one disk: {of_three}");
}

async fn sample(voter: &Voter) -> String {
    let mut samples = Vec::new();
    for number in 0..300 {
        let began = tokio::time::Instant::now();
        voter.asks(describe(&format!("region-{number}"))).await;
        samples.push(began.elapsed());
    }
    samples.sort();
    format!(
        "p50 {:?} p99 {:?} max {:?}",
        samples[150], samples[297], samples[299]
    )
}
