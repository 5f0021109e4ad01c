//! Numbers of the ledger in the API's types: signed, because Kubernetes' conventions have no unsigned ones. A number
//! that does not fit becomes the largest.

/// An index, epoch, generation or term.
pub(super) fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number of replicas, or a level.
pub(super) fn small(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The length of a list.
pub(super) fn length(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}
