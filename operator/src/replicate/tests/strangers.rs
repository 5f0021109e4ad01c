use std::sync::Arc;

use hanse_core::{command::Command, id::FederationId, state::FOUNDER_NODE};
use tonic::Code;

use super::testbed::{FEDERATION, PipeDialer, Pipes, Voter, describe, key, settings, three};
use crate::{
    environment::Clock,
    peer::proto::raft::{
        AppendRequest, Entry, LogId, Membership, SnapshotHeader, SnapshotPart, Target, VoteId,
        VoteRequest, raft_client::RaftClient, snapshot_part::Part,
    },
    replicate::{
        ledger::{Ledger, LedgerError},
        log_store::OpenLogError,
        network::Dialer as _,
    },
};

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_another_federation_is_rejected() {
    let pipes = Pipes::default();
    let founder = Voter::found(&pipes).await;
    let directory = founder.stopped().await;
    let mut settings = settings(&directory, FOUNDER_NODE, &[]);
    settings.federation = FederationId([8; 16]);
    let dialer = PipeDialer {
        pipes,
        caller: key(1).public(),
    };
    let refused = Ledger::open(settings, Arc::new(dialer), Clock::fixed(0)).await;
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
async fn a_message_in_the_name_of_another_voter_is_rejected() {
    let pipes = Pipes::default();
    let founder = Voter::found(&pipes).await;
    let term = founder.leads().await.term;
    let other = FederationId([8; 16]);
    // (caller, message, answer)
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
async fn a_message_that_would_stop_the_engine_is_rejected_before_it() {
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
        entries: vec![Entry {
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
        membership: Some(Membership::default()),
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
    founder.asks(describe("still-here")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_voter_loses_its_vote_and_its_messages_are_rejected() {
    let pipes = Pipes::default();
    let [founder, second, third] = three(&pipes).await;
    let member = "member-3".parse().unwrap();
    founder.asks(Command::Revoke { member }).await;
    // Two are left, and the number of voters must be odd.
    founder.has_voters(&[FOUNDER_NODE]).await;
    let caller = key(3).public();
    let channel = PipeDialer { pipes, caller }.channel("member-1:7443", key(1).public());
    let request = vote_request(FEDERATION, 1, third.ledger.node().0);
    let refused = RaftClient::new(channel).vote(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    drop(second);
}
