//! How many connections each key may hold, and for how long.
//!
//! TLS accepts every key, because a newcomer must be able to send its join request. So that strangers cannot use up the
//! sockets that members need, members and strangers have separate limits, a stranger's connection is closed after
//! [`STRANGER_LIMIT`], and the connections of a key are closed when it is no longer a member's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use hanse_core::id::PublicKey;
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::watch;

/// Connections of members at once: each of some thousands of members attaches to one voter with one connection.
pub const MAX_MEMBERS: usize = 4096;

/// Connections of keys that belong to no member. Only newcomers need them, for one call each.
pub const MAX_STRANGERS: usize = 256;

/// Connections of one key. Normally there is one; an operator that changes its address leaves others open until
/// keepalive closes them, and two replicas may overlap.
pub const MAX_PER_KEY: usize = 16;

/// How long a stranger may stay connected. Joining is one committed entry, a second at most; the rest is for a slow
/// election.
pub const STRANGER_LIMIT: Duration = Duration::from_mins(1);

/// The keys of the federation's members, as of the entries applied to this operator's ledger. The code that applies the
/// ledger keeps it up to date; clones share one set.
#[derive(Debug, Clone)]
pub struct MemberKeys(watch::Sender<Arc<BTreeSet<PublicKey>>>);

impl MemberKeys {
    /// Starts with `keys`: those of the ledger on disk, or, for a newcomer, of the voters in its invitation.
    #[must_use]
    pub fn new(keys: BTreeSet<PublicKey>) -> Self {
        Self(watch::Sender::new(Arc::new(keys)))
    }

    /// Replaces the set by `keys`. Open connections of a key that is no longer in the set are closed.
    pub fn replace(&self, keys: BTreeSet<PublicKey>) {
        self.0.send_if_modified(|known| {
            let changed = **known != keys;
            if changed {
                *known = Arc::new(keys);
            }
            changed
        });
    }

    /// Whether `key` is a member's.
    #[must_use]
    pub fn contains(&self, key: &PublicKey) -> bool {
        self.0.borrow().contains(key)
    }

    pub(super) fn watch(&self) -> watch::Receiver<Arc<BTreeSet<PublicKey>>> {
        self.0.subscribe()
    }
}

/// Why a connection was refused or closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoPlace {
    #[error("its key already holds {MAX_PER_KEY} connections")]
    TooManyOfKey,
    #[error("{MAX_MEMBERS} connections of members are open")]
    TooManyMembers,
    #[error("{MAX_STRANGERS} connections of strangers are open")]
    TooManyStrangers,
}

/// Whether a connection counts as a member's or as a stranger's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Member,
    Stranger,
}

impl Standing {
    pub(super) fn of(key: &PublicKey, members: &BTreeSet<PublicKey>) -> Self {
        if members.contains(key) {
            Self::Member
        } else {
            Self::Stranger
        }
    }
}

/// Counts the open connections.
#[derive(Debug, Clone, Default)]
pub(super) struct Connections(Arc<Mutex<Count>>);

#[derive(Debug, Default)]
struct Count {
    members: usize,
    strangers: usize,
    per_key: BTreeMap<PublicKey, usize>,
}

impl Connections {
    /// Counts one more connection of `key` until the returned place is dropped.
    pub(super) fn take(&self, key: PublicKey, standing: Standing) -> Result<Place, NoPlace> {
        let mut count = self.lock();
        if count.per_key.get(&key).is_some_and(|&n| n >= MAX_PER_KEY) {
            return Err(NoPlace::TooManyOfKey);
        }
        count.enter(standing)?;
        *count.per_key.entry(key).or_default() += 1;
        drop(count);
        Ok(Place {
            connections: self.clone(),
            key,
            standing,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Count> {
        self.0.lock()
    }
}

impl Count {
    fn enter(&mut self, standing: Standing) -> Result<(), NoPlace> {
        let (count, limit, full) = match standing {
            Standing::Member => (&mut self.members, MAX_MEMBERS, NoPlace::TooManyMembers),
            Standing::Stranger => (
                &mut self.strangers,
                MAX_STRANGERS,
                NoPlace::TooManyStrangers,
            ),
        };
        if *count >= limit {
            return Err(full);
        }
        *count += 1;
        Ok(())
    }

    fn leave(&mut self, standing: Standing) {
        match standing {
            Standing::Member => self.members -= 1,
            Standing::Stranger => self.strangers -= 1,
        }
    }
}

/// One open connection, counted.
#[derive(Debug)]
pub(super) struct Place {
    connections: Connections,
    key: PublicKey,
    standing: Standing,
}

impl Place {
    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    /// The stranger has become a member.
    pub(super) fn promote(&mut self) -> Result<(), NoPlace> {
        let mut count = self.connections.lock();
        count.enter(Standing::Member)?;
        count.leave(self.standing);
        self.standing = Standing::Member;
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut count = self.connections.lock();
        count.leave(self.standing);
        if let Some(n) = count.per_key.get_mut(&self.key) {
            *n -= 1;
            if *n == 0 {
                count.per_key.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> PublicKey {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        PublicKey(bytes)
    }

    #[test]
    fn strangers_cannot_use_up_the_connections_of_members() {
        let connections = Connections::default();
        let strangers: Vec<Place> = (0..MAX_STRANGERS)
            .map(|n| connections.take(key(n), Standing::Stranger).unwrap())
            .collect();
        let another = key(MAX_STRANGERS);
        assert_eq!(
            connections.take(another, Standing::Stranger).unwrap_err(),
            NoPlace::TooManyStrangers
        );
        assert!(connections.take(another, Standing::Member).is_ok());
        drop(strangers);
        assert!(connections.take(another, Standing::Stranger).is_ok());
    }

    #[test]
    fn one_key_holds_a_bounded_number_of_connections() {
        let connections = Connections::default();
        let mut places: Vec<Place> = (0..MAX_PER_KEY)
            .map(|_| connections.take(key(1), Standing::Member).unwrap())
            .collect();
        assert_eq!(
            connections.take(key(1), Standing::Member).unwrap_err(),
            NoPlace::TooManyOfKey
        );
        assert!(connections.take(key(2), Standing::Member).is_ok());
        places.pop();
        assert!(connections.take(key(1), Standing::Member).is_ok());
    }

    #[test]
    fn a_stranger_that_becomes_a_member_no_longer_counts_as_a_stranger() {
        let connections = Connections::default();
        let mut places: Vec<Place> = (0..MAX_STRANGERS)
            .map(|n| connections.take(key(n), Standing::Stranger).unwrap())
            .collect();
        places[0].promote().unwrap();
        assert_eq!(places[0].standing(), Standing::Member);
        assert!(
            connections
                .take(key(MAX_STRANGERS), Standing::Stranger)
                .is_ok()
        );
    }
}
