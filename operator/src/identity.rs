//! Who this member is: its private key, and what it remembers of its federation.
//!
//! Both live in the data directory and nowhere else:
//!
//! * `member.key` holds the Ed25519 key. It is made once, when the directory is empty, and never leaves it. A member
//!   *is* its key, so a key that cannot be read is an error and never a reason to make another one.
//! * `membership.json` ([`Membership`]) says which federation the member belongs to and whom it may dial.
//!
//! The calls here block: they touch a few hundred bytes, at start and when the voters change.

mod error;
mod file;
mod membership;

use std::path::Path;

use hanse_core::id::PrivateKey;

pub use error::IdentityError;
pub use membership::Membership;

/// The file in the data directory that holds the private key.
pub const KEY_FILE: &str = "member.key";

/// What a key file starts with: the version of its format.
const KEY_PREFIX: &str = "hanse-key-v1 ";

/// The private key in `directory`. When the directory holds none, the 32 bytes of `seed` become one, and the key is on
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

/// The key in `path`, or `None` where there is no such file.
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
