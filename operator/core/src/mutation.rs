//! Faults that can be switched on in this code, to show that the simulator finds them.
//!
//! Only a build with the feature `mutations` has the switch; in all others [`is_on`] is false at compile time. No build
//! that is shipped has the feature.

/// One fault: what it leaves out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// A transaction is on stable storage before the engine hears that it is.
    Sync,
    /// A vote is stored before it is given.
    StoreVote,
    /// A volume without a replica gets a seat that no other volume had.
    FreshSeat,
    /// A command has the next number of its issuer.
    CheckSequence,
    /// A row of a plan is applied only while what it was decided on holds.
    CheckGeneration,
    /// A heartbeat is acknowledged only while a quorum answers the leader.
    HearQuorum,
    /// A member's own lease ends.
    EndLease,
    /// A lost member is fenced only after it has had the time to stop.
    WaitForFence,
    /// A `Single` waits until the copy of a lost member has stopped.
    WaitForStop,
    /// What is taken from a lost member is to be removed there.
    RequireRemoval,
    /// A host stops what is `Single` when its lease is over.
    StopSingles,
    /// A host confirms a removal only when nothing of it is left.
    SeeRemoval,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Sync,
        Self::StoreVote,
        Self::FreshSeat,
        Self::CheckSequence,
        Self::CheckGeneration,
        Self::HearQuorum,
        Self::EndLease,
        Self::WaitForFence,
        Self::WaitForStop,
        Self::RequireRemoval,
        Self::StopSingles,
        Self::SeeRemoval,
    ];
}

#[cfg(feature = "mutations")]
thread_local! {
    static ON: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// From now on this thread leaves out what `mutation` names, and nothing else.
#[cfg(feature = "mutations")]
pub fn switch_on(mutation: Option<Mutation>) {
    ON.set(mutation);
}

/// Whether this thread leaves it out.
#[cfg(feature = "mutations")]
#[must_use]
pub fn is_on(mutation: Mutation) -> bool {
    ON.get() == Some(mutation)
}

/// Whether this thread leaves it out: never, in a build without mutations.
#[cfg(not(feature = "mutations"))]
#[must_use]
pub const fn is_on(_: Mutation) -> bool {
    false
}
