//! The hash chain over every entry of the ledger.
//!
//! `h_i = SHA-256(h_{i-1} ‖ "hanse/entry/v1" ‖ canonical bytes of entry i)`, with `h` of nothing
//! being 32 zero bytes. The bytes are ours, not the consensus engine's: index, term, a kind byte and the payload, each
//! with its length, so that no two entries share an encoding and a change of engine changes no hash.

use sha2::{Digest as _, Sha256};

use crate::id::{Digest, NodeId};

/// The head of an empty ledger.
pub const GENESIS: Digest = Digest([0; 32]);

/// What the chain sees of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link<'a> {
    /// The entry with which a leader starts its term.
    Blank,
    /// A change of the voters: those of every configuration in force, old first.
    Membership(&'a [Vec<NodeId>]),
    /// A command, as the canonical bytes of its envelope.
    Command(&'a [u8]),
}

/// The head after the entry at `index`.
#[must_use]
pub fn extend(head: &Digest, index: u64, term: u64, link: Link<'_>) -> Digest {
    let mut hash = Sha256::new();
    hash.update(head.0);
    hash.update(b"hanse/entry/v1");
    hash.update(index.to_be_bytes());
    hash.update(term.to_be_bytes());
    match link {
        Link::Blank => hash.update([0]),
        Link::Membership(configurations) => {
            hash.update([1]);
            for voters in configurations {
                hash.update((voters.len() as u64).to_be_bytes());
                voters
                    .iter()
                    .for_each(|voter| hash.update(voter.0.to_be_bytes()));
            }
        }
        Link::Command(bytes) => {
            hash.update([2]);
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        }
    }
    Digest(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_known_entries_does_not_change() {
        let one = extend(&GENESIS, 1, 1, Link::Blank);
        let two = extend(&one, 2, 1, Link::Command(b"{}"));
        let three = extend(
            &two,
            3,
            1,
            Link::Membership(&[vec![NodeId(1)], vec![NodeId(1), NodeId(9)]]),
        );
        insta::assert_snapshot!(format!("{one}\n{two}\n{three}"));
    }

    #[test]
    fn every_part_of_an_entry_counts() {
        let base = extend(&GENESIS, 1, 1, Link::Command(b"a"));
        let others = [
            extend(&base, 1, 1, Link::Command(b"a")),
            extend(&GENESIS, 2, 1, Link::Command(b"a")),
            extend(&GENESIS, 1, 2, Link::Command(b"a")),
            extend(&GENESIS, 1, 1, Link::Command(b"b")),
            extend(&GENESIS, 1, 1, Link::Blank),
        ];
        for other in others {
            assert_ne!(base, other);
        }
    }
}
