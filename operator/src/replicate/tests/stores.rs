use std::sync::Arc;

use hanse_core::{id::NodeId, level::Level, state::FOUNDER_NODE};
use openraft::{
    StorageError,
    storage::RaftLogStorage as _,
    testing::log::{StoreBuilder, Suite},
};
use tempfile::TempDir;

use super::testbed::FEDERATION;
use crate::environment::FileDirectory;
use crate::replicate::{
    engine::{LeaderId, LogId, TypeConfig, Vote},
    log_store::{LogStore, OpenLogError},
    machine::Machine,
    state_store::StateStore,
    storage::Store,
};

struct OnDisk;

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for OnDisk {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().unwrap();
        let disk = FileDirectory(directory.path().to_owned());
        let log = LogStore::open(&disk, FEDERATION, FOUNDER_NODE, true).unwrap();
        let machine = Machine::open(StateStore::open(&disk, true).unwrap(), Level::NEWEST).unwrap();
        Ok((directory, log, machine))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stores_pass_the_test_suite_of_the_engine() {
    Suite::test_all(OnDisk).await.unwrap();
}

#[test]
fn a_log_cannot_be_opened_for_another_node() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FileDirectory(directory.path().to_owned());
    drop(LogStore::open(&disk, FEDERATION, NodeId(7), true).unwrap());
    let refused = LogStore::open(&disk, FEDERATION, NodeId(8), true).unwrap_err();
    let OpenLogError::BelongsToAnother { federation, node } = refused else {
        panic!("{refused}");
    };
    assert_eq!((federation, node), (FEDERATION, NodeId(7)));
}

#[tokio::test]
async fn the_committed_position_reaches_the_disk_with_the_next_write() {
    let directory = tempfile::tempdir().unwrap();
    let disk: Arc<FileDirectory> = Arc::new(FileDirectory(directory.path().to_owned()));
    let leader = LeaderId {
        term: 3,
        node_id: 1,
    };
    let committed = Some(LogId::new(leader, 9));
    let mut log = LogStore::open(disk.as_ref(), FEDERATION, FOUNDER_NODE, true).unwrap();
    log.save_committed(committed).await.unwrap();
    log.save_vote(&Vote::new(4, 1)).await.unwrap();
    drop(log);
    let mut log = LogStore::open(disk.as_ref(), FEDERATION, FOUNDER_NODE, false).unwrap();
    assert_eq!(log.read_committed().await.unwrap(), committed);
}

#[test]
fn a_replica_that_lost_its_log_or_its_snapshots_is_not_opened_as_an_empty_one() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FileDirectory(directory.path().to_owned());
    let open = |is_new| {
        let log = LogStore::open(&disk, FEDERATION, NodeId(7), is_new).map_err(|it| it.to_string());
        let state = StateStore::open(&disk, is_new).map_err(|it| it.to_string());
        (log.map(drop), state.map(drop))
    };
    let lost = (
        Err("this replica had a log, and it is gone".to_owned()),
        Err("this replica had snapshots, and they are gone".to_owned()),
    );
    assert_eq!(open(false), lost);
    assert_eq!(open(true), (Ok(()), Ok(())));
    assert_eq!(open(false), (Ok(()), Ok(())));
    for file in ["log.redb", "state.redb"] {
        std::fs::remove_file(directory.path().join(file)).unwrap();
    }
    assert_eq!(open(false), lost);
    // What was made by a process that ended before it wrote whose log it is.
    drop(Store::open(&disk, "log.redb").unwrap());
    assert_eq!(open(false).0, lost.0);
}
