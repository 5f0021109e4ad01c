//! The identity of this member: its private key, and the stored facts about its federation and its lease.
//!
//! All are stored in the data directory only:
//!
//! * `member.key` holds the Ed25519 key. It is generated once, when the directory is empty, and never leaves it. The
//!   key identifies the member, so a key that cannot be read is an error; no other one is generated.
//! * `membership.json` ([`Membership`]) holds the federation the member belongs to and the voters it may dial.
//! * `lease.json` ([`KeptLease`]) holds the end of this member's lease, for a process that is started before it.
//!
//! The calls here block: they read or write a few hundred bytes, at start and when the voters change.

mod error;
mod file;
mod kept_lease;
mod membership;

use std::path::Path;

use hanse_core::id::PrivateKey;

pub use error::IdentityError;
pub use kept_lease::KeptLease;
pub use membership::Membership;

/// The file in the data directory that holds the private key.
pub const KEY_FILE: &str = "member.key";

/// The start of a key file: the version of its format.
const KEY_PREFIX: &str = "hanse-key-v1 ";

/// The private key in `directory`. When the directory holds none, one is made from the 32 bytes of `seed` and is on
/// disk before this returns.
pub fn open_key(
    directory: &Path,
    seed: impl FnOnce() -> [u8; 32],
) -> Result<PrivateKey, IdentityError> {
    let path = directory.join(KEY_FILE);
    if let Some(key) = read_key(&path)? {
        return Ok(key);
    }
    let key = PrivateKey::from_seed(&seed());
    let line = format!("{KEY_PREFIX}{}\n", hex::encode(key.seed()));
    file::write(&path, line.as_bytes())?;
    Ok(key)
}

/// The key in `path`, or `None` if there is no such file.
fn read_key(path: &Path) -> Result<Option<PrivateKey>, IdentityError> {
    let Some(text) = file::read_private(path)? else {
        return Ok(None);
    };
    let mut seed = [0; 32];
    text.trim_end()
        .strip_prefix(KEY_PREFIX)
        .and_then(|digits| hex::decode_to_slice(digits, &mut seed).ok())
        .map(|()| Some(PrivateKey::from_seed(&seed)))
        .ok_or_else(|| IdentityError::MalformedKey {
            path: path.to_owned(),
        })
}

#[cfg(test)]
mod tests;
