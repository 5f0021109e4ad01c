//! Numbers of the ledger as the API has them: signed, because Kubernetes' conventions have no unsigned ones. One that did
//! not fit would show as the largest.

/// An index, epoch, generation or term.
pub(super) fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number of replicas.
pub(super) fn small(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// How many there are.
pub(super) fn length(length: usize) -> i32 {
    i32::try_from(length).unwrap_or(i32::MAX)
}
