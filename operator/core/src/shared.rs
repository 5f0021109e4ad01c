//! Large specifications are held once in a process.
//!
//! A member that votes has every workload in the ledger's state, and what it hosts or owns again in its slice, which arrives on its own
//! way. Both are the same text. So whoever makes one asks here whether the other has it already. What is small is not worth the
//! question. Entries do not keep alive what they name.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use serde::{Deserialize, Deserializer};
use sha2::{Digest as _, Sha256};

use crate::{command::SignedCommand, id::Digest, workload::WorkloadSpec};

/// What is shorter, in bytes, is held as often as it comes.
const WORTH: usize = 16 * 1024;

/// Values by a digest of what they are.
struct Pool<T> {
    entries: Mutex<BTreeMap<Digest, Weak<T>>>,
}

impl<T: PartialEq> Pool<T> {
    const fn new() -> Self {
        Self {
            entries: Mutex::new(BTreeMap::new()),
        }
    }

    /// The value that is there already if it is equal, or else this one.
    fn share(&self, digest: Digest, value: T) -> Arc<T> {
        let mut entries = self.lock();
        let found = entries.get(&digest).and_then(Weak::upgrade);
        if let Some(found) = found.filter(|found| **found == value) {
            return found;
        }
        entries.retain(|_, entry| entry.strong_count() > 0);
        let value = Arc::new(value);
        entries.insert(digest, Arc::downgrade(&value));
        value
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Digest, Weak<T>>> {
        // Each entry is whole at any moment.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static COMMANDS: Pool<SignedCommand> = Pool::new();
static SPECS: Pool<WorkloadSpec> = Pool::new();

/// The command, held once.
pub(crate) fn command(signed: SignedCommand) -> Arc<SignedCommand> {
    if signed.body.len() < WORTH {
        return Arc::new(signed);
    }
    let digest = Sha256::new()
        .chain_update(signed.issuer.0)
        .chain_update(signed.sequence.to_be_bytes())
        .chain_update(&signed.body);
    COMMANDS.share(Digest(digest.finalize().into()), signed)
}

/// The specification of a signed command, held once.
pub(crate) fn spec_of(signed: &SignedCommand, spec: WorkloadSpec) -> Arc<WorkloadSpec> {
    // It is no longer than what was signed, so a small one need not be written to be measured.
    if signed.body.len() < WORTH {
        return Arc::new(spec);
    }
    self::spec(spec)
}

fn spec(spec: WorkloadSpec) -> Arc<WorkloadSpec> {
    let text = spec.canonical();
    if text.len() < WORTH {
        return Arc::new(spec);
    }
    SPECS.share(Digest(Sha256::digest(text).into()), spec)
}

pub(crate) fn read_command<'de, D>(deserializer: D) -> Result<Arc<SignedCommand>, D::Error>
where
    D: Deserializer<'de>,
{
    SignedCommand::deserialize(deserializer).map(command)
}

pub(crate) fn read_spec<'de, D>(deserializer: D) -> Result<Arc<WorkloadSpec>, D::Error>
where
    D: Deserializer<'de>,
{
    WorkloadSpec::deserialize(deserializer).map(spec)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::workload::{Mode, PlacementRules};

    fn of(bytes: usize, name: &str) -> WorkloadSpec {
        let config = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": "x".repeat(bytes)},
        });
        let rules = PlacementRules::new(Mode::Divided);
        WorkloadSpec::new(vec![config], rules, &"shop".parse().unwrap()).unwrap()
    }

    #[test]
    fn equal_large_specifications_are_one_as_long_as_anybody_has_one() {
        let first = spec(of(WORTH, "a"));
        let again = serde_json::to_value(&*first).unwrap();
        assert!(Arc::ptr_eq(&first, &read_spec(again).unwrap()));
        assert!(!Arc::ptr_eq(&first, &spec(of(WORTH, "b"))));
        assert!(!Arc::ptr_eq(&spec(of(1, "a")), &spec(of(1, "a"))));
        let weak = Arc::downgrade(&first);
        drop(first);
        assert_eq!(weak.strong_count(), 0);
        assert_eq!(*spec(of(WORTH, "a")), of(WORTH, "a"));
    }

    #[test]
    fn values_of_equal_digests_that_are_not_equal_stay_apart() {
        let pool = Pool::new();
        let digest = Digest([1; 32]);
        let (one, two) = (pool.share(digest, 1), pool.share(digest, 2));
        assert_eq!((*one, *two), (1, 2));
    }
}
