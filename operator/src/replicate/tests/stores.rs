use std::sync::Arc;

use hanse_core::{id::NodeId, state::FOUNDER_NODE};
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
};

struct OnDisk;

impl StoreBuilder<TypeConfig, LogStore, Machine, TempDir> for OnDisk {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<TypeConfig>> {
        let directory = tempfile::tempdir().unwrap();
        let disk = FileDirectory(directory.path().to_owned());
        let log = LogStore::open(&disk, FEDERATION, FOUNDER_NODE).unwrap();
        let machine = Machine::open(StateStore::open(&disk).unwrap()).unwrap();
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
    drop(LogStore::open(&disk, FEDERATION, NodeId(7)).unwrap());
    let refused = LogStore::open(&disk, FEDERATION, NodeId(8)).unwrap_err();
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
    let mut log = LogStore::open(disk.as_ref(), FEDERATION, FOUNDER_NODE).unwrap();
    log.save_committed(committed).await.unwrap();
    log.save_vote(&Vote::new(4, 1)).await.unwrap();
    drop(log);
    let mut log = LogStore::open(disk.as_ref(), FEDERATION, FOUNDER_NODE).unwrap();
    assert_eq!(log.read_committed().await.unwrap(), committed);
}
