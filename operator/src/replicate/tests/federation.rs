use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hanse_core::{
    command::{Command, Lane, MAX_COMMAND_BYTES, SignedCommand, VerifyError},
    level::Level,
    state::{FOUNDER_NODE, Outcome},
};
use openraft::{Instant, RaftLogReader as _, storage::RaftLogStorage as _};
use redb::{Builder, Database, DatabaseError, backends::InMemoryBackend};

use super::testbed::{
    FEDERATION, PATIENCE, PipeDialer, Pipes, TIMING, Voter, accepted, describe, key, newcomer,
    settings, three, until,
};
use crate::environment::{Clock, Directory, FileDirectory};
use crate::replicate::{
    ledger::{Ledger, LedgerError, Settings},
    log_store::LogStore,
    propose::ProposeError,
};

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
        &FileDirectory(directory.path().to_owned()),
        FEDERATION,
        FOUNDER_NODE,
        false,
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
async fn a_voter_whose_engine_ended_is_replaced_although_its_member_does_well() {
    let pipes = Pipes::default();
    let [founder, second, third] = three(&pipes).await;
    let nodes = [&founder, &second, &third].map(|voter| voter.ledger.node());
    founder.has_voters(&nodes).await;
    let fourth = founder.welcome(4).await;
    let _third = third.killed().await;
    let held = founder.ledger.read(|state| {
        let mut members = state.members.values();
        members.all(|member| member.lease.is_held())
    });
    assert!(held, "nobody takes its lease here");
    founder
        .has_voters(&[nodes[0], nodes[1], fourth.ledger.node()])
        .await;
}

/// One thread and no file: what a simulator offers.
#[tokio::test]
async fn a_ledger_needs_neither_a_second_thread_nor_a_file_system() {
    let settings = Settings {
        directory: Arc::new(InMemory),
        ..settings(&tempfile::tempdir().unwrap(), FOUNDER_NODE, &[])
    };
    let key = key(1);
    let dialer = PipeDialer {
        pipes: Pipes::default(),
        caller: key.public(),
    };
    let ledger = Ledger::open(settings, Arc::new(dialer), Clock::fixed(5))
        .await
        .unwrap();
    ledger.found("member-1:7443", key.public()).await.unwrap();
    let found = Command::Found {
        federation: FEDERATION,
        founder: newcomer(1),
        timings: hanse_core::timings::Timings::default(),
        level: Level::NEWEST,
    };
    let signed = SignedCommand::sign(&FEDERATION, &key, 1, &found);
    let index = accepted(ledger.propose(signed).await.unwrap());
    let state = ledger.read(|state| (state.index, state.time_ms, state.federation));
    assert_eq!(state, (index, 5, Some(FEDERATION)));
    ledger.shutdown().await.unwrap();
}

#[derive(Debug)]
struct InMemory;

impl Directory for InMemory {
    fn open(&self, _: &str, builder: &Builder) -> Result<Database, DatabaseError> {
        builder.create_with_backend(InMemoryBackend::new())
    }

    fn names(&self) -> std::io::Result<Vec<String>> {
        Ok(Vec::new())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_leader_knows_that_it_is_still_heard() {
    let pipes = Pipes::default();
    let [founder, _second, _third] = three(&pipes).await;
    // Growing ends with an entry of its own, which says that the old configuration is over.
    let growing = founder.ledger.raft().wait(Some(PATIENCE));
    let settled = growing.metrics(
        |metrics| {
            let uniform = metrics
                .membership_config
                .membership()
                .get_joint_config()
                .len()
                == 1;
            let applied = metrics.last_applied.as_ref();
            uniform && applied.is_some_and(|id| Some(id.index()) == metrics.last_log_index)
        },
        "the end of the growth",
    );
    settled.await.unwrap();
    let height = founder.ledger.read(|state| state.index);
    let now = tokio::time::Instant::now();
    let waiting = founder.ledger.raft().wait(Some(PATIENCE));
    let heard = waiting.metrics(
        |metrics| {
            metrics
                .last_quorum_acked
                .is_some_and(|acked| Instant::elapsed(&*acked) < now.elapsed())
        },
        "an answer of the quorum",
    );
    heard.await.unwrap();
    assert!(founder.ledger.hears_quorum(now.elapsed()));
    assert_eq!(founder.ledger.read(|state| state.index), height);
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
    let disk = FileDirectory(directory.path().to_owned());
    let mut log = LogStore::open(&disk, FEDERATION, nodes[1], false).unwrap();
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
    // Unasked, nobody would have stood so early: first the old leader's lease ends, then a follower waits.
    assert!(began.elapsed() < TIMING.election_max + TIMING.election_min);
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
