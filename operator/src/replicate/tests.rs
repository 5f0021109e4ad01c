//! Tests of the whole ledger: real databases on real disks, and a network of pipes in memory.

mod federation;
mod stores;
mod strangers;
mod testbed;
