//! The exact bytes that version 1 writes: every later version must read them.

use hanse_core::{
    command::{Command, SignedCommand},
    id::{FederationId, PrivateKey},
    level::Level,
    state::{self, State},
};
use openraft::EntryPayload;

use super::*;
use crate::replicate::engine::{LeaderId, Membership, StoredMembership, VoterNode, Write};

fn log_id() -> LogId {
    let leader = LeaderId {
        term: 3,
        node_id: 300,
    };
    LogId::new(leader, 70_000)
}

fn membership() -> Membership {
    let key = PrivateKey::from_seed(&[1; 32]).public();
    let nodes = [
        (1, VoterNode::new("a.example:7443", key)),
        (300, VoterNode::default()),
    ];
    let configurations = vec![[1].into(), [1, 300].into()];
    Membership::new(configurations, std::collections::BTreeMap::from(nodes)).unwrap()
}

fn entry(payload: EntryPayload<Write, u64, VoterNode>) -> Entry {
    Entry {
        log_id: log_id(),
        payload,
    }
}

fn write() -> Write {
    let command = Command::Volunteer {
        address: "a:1".into(),
        level: Level::FIRST,
    };
    let key = PrivateKey::from_seed(&[1; 32]);
    Write {
        time_ms: 1_700_000_000_000,
        command: SignedCommand::sign(&FederationId([7; 16]), &key, 2, &command),
    }
}

const ENTRIES: [&str; 3] = [
    "010a09080310ac0218f0a204",
    "010a09080310ac0218f0a20412b2020880d095ffbc3112a8027b22697373756572223a2238613838653364643734303966313935666435326462326433636261356437326361363730396266316439343132316266333734383830316234306636663563222c226c616e65223a226d656d626572222c2273657175656e6365223a322c22626f6479223a227b5c22766f6c756e746565725c223a7b5c22616464726573735c223a5c22613a315c227d7d222c227369676e6174757265223a226530333661336164396538343633303562333766333134663731346631376539623065643366373430623137663764383666633136333735336239373834323163333139373433386432393435333239643664373563653136613662336436306164616533626238613366376365613535306265396232376264656261663039227d",
    "010a09080310ac0218f0a2041a470a030a01010a050a0301ac0212340801120e612e6578616d706c653a373434331a208a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c120308ac02",
];
const VOTE: &str = "01080310ac021801";
const LOG_ID: &str = "01080310ac0218f0a204";
const SNAPSHOT_META: &str = "011a09080310ac0218f0a2042209080310ac0218f0a2042a470a030a01010a050a0301ac0212340801120e612e6578616d706c653a373434331a208a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c120308ac0232053730303030";

#[test]
fn entries_of_version_1_read_as_they_were_written() {
    let entries = [
        entry(EntryPayload::Blank),
        entry(EntryPayload::Normal(write())),
        entry(EntryPayload::Membership(membership())),
    ];
    assert_eq!(
        entries
            .clone()
            .map(|entry| hex::encode(encode_entry(&entry))),
        ENTRIES
    );
    assert_eq!(
        ENTRIES.map(|bytes| decode_entry(&hex::decode(bytes).unwrap()).unwrap()),
        entries
    );
}

#[test]
fn marks_of_version_1_read_as_they_were_written() {
    let vote = Vote {
        leader_id: LeaderId {
            term: 3,
            node_id: 300,
        },
        committed: true,
    };
    let meta = SnapshotMeta {
        last_log_id: Some(log_id()),
        last_membership: StoredMembership::new(Some(log_id()), membership()),
    };
    let written = [
        encode_vote(&vote),
        encode_log_id(&log_id()),
        encode_snapshot_meta(&meta),
    ];
    assert_eq!(written.map(hex::encode), [VOTE, LOG_ID, SNAPSHOT_META]);
    let bytes = |text| hex::decode(text).unwrap();
    assert_eq!(decode_vote(&bytes(VOTE)).unwrap(), vote);
    assert_eq!(decode_log_id(&bytes(LOG_ID)).unwrap(), log_id());
    assert_eq!(decode_snapshot_meta(&bytes(SNAPSHOT_META)).unwrap(), meta);
}

#[test]
fn a_state_reads_as_it_was_written() {
    let mut state = State::default();
    let found = write();
    let command = &found.command;
    let time_ms = found.time_ms;
    let id = state::LogId {
        index: 1,
        term: 1,
        leader: state::FOUNDER_NODE,
    };
    state.apply(id, state::Entry::Command { time_ms, command });
    let bytes = encode_state(&state).unwrap();
    assert_eq!(bytes[0], VERSION);
    assert_eq!(decode_state(&bytes, Level::FIRST).unwrap(), state);
}

#[test]
fn what_cannot_be_read_says_why() {
    let said = |bytes: &[u8]| decode_entry(bytes).unwrap_err().to_string();
    assert_eq!(
        [said(&[]), said(&[2, 0]), said(&[1, 0xff]), said(&[1])],
        [
            "the record is empty",
            "the record has version 2, this operator reads up to 1; upgrade it",
            "the record is damaged",
            "the record is inconsistent",
        ]
    );
}
