//! Who this member is: its private key, the certificate that carries the key, and what it remembers of its federation.
//!
//! Both live in the data directory and nowhere else:
//!
//! * `member.key` holds the Ed25519 key. It is made once, when the directory is empty, and never leaves it. A member
//!   *is* its key, so a key that cannot be read is an error and never a reason to make another one.
//! * `membership.json` ([`Membership`]) says which federation the member belongs to and whom it may dial.
//!
//! The calls here block: they touch a few hundred bytes, at start and when the voters change.

mod file;
mod membership;

use std::{fmt, io, path::Path, path::PathBuf};

use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey};
use hanse_core::id::{PrivateKey, PublicKey};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

pub use membership::Membership;

/// The file in the data directory that holds the private key.
pub const KEY_FILE: &str = "member.key";

/// What a key file starts with: the version of its format.
const KEY_PREFIX: &str = "hanse-key-v1 ";

/// Why the member cannot say who it is, or to which federation it belongs.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("failed to read {}: check that it exists and belongs to the operator's user", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("failed to write {}: check that the data directory is writable and not full", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "{} is readable by others (mode {mode:o}): run `chmod 600` on it, and remove the member if someone may have copied the key",
        path.display()
    )]
    TooOpen { path: PathBuf, mode: u32 },
    #[error(
        "{} is not a member key of this version: restore it from a backup, or empty the data directory to join as a new member",
        path.display()
    )]
    MalformedKey { path: PathBuf },
    #[error(
        "{} is not a membership: restore it from a backup, or empty the data directory to join as a new member",
        path.display()
    )]
    MalformedMembership {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error(
        "{} has format version {found}, this operator reads version {known}: run the newer operator again",
        path.display()
    )]
    UnknownVersion {
        path: PathBuf,
        found: u64,
        known: u64,
    },
    #[error("failed to encode the member's key as PKCS#8")]
    EncodeKey(#[source] ed25519_dalek::pkcs8::Error),
    #[error("failed to make the member's certificate")]
    Certify(#[source] rcgen::Error),
}

/// The member's private key and the self-signed certificate made of it.
///
/// The certificate is only the envelope TLS asks for: no name and no date in it means anything, and it is made afresh at
/// every start. Peers look at the key alone.
pub struct Identity {
    /// The key that this member is.
    pub key: PrivateKey,
    certificate: CertificateDer<'static>,
    pkcs8: PrivatePkcs8KeyDer<'static>,
}

impl Identity {
    /// The identity in `directory`. When the directory holds no key, the 32 bytes of `seed` become one, and the key is on
    /// disk before this returns.
    pub fn open(directory: &Path, seed: impl FnOnce() -> [u8; 32]) -> Result<Self, IdentityError> {
        let path = directory.join(KEY_FILE);
        let key = if let Some(key) = read_key(&path)? {
            key
        } else {
            let key = PrivateKey::from_seed(&seed());
            let line = format!("{KEY_PREFIX}{}\n", hex::encode(key.seed()));
            file::write(&path, line.as_bytes())?;
            key
        };
        Self::from_key(key)
    }

    /// The identity that `key` stands for, without a file.
    pub fn from_key(key: PrivateKey) -> Result<Self, IdentityError> {
        let document = SigningKey::from_bytes(&key.seed())
            .to_pkcs8_der()
            .map_err(IdentityError::EncodeKey)?;
        let pkcs8 = PrivatePkcs8KeyDer::from(document.as_bytes().to_vec());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &rcgen::PKCS_ED25519)
            .map_err(IdentityError::Certify)?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters
            .distinguished_name
            .push(DnType::CommonName, key.public().to_string());
        let certificate = parameters
            .self_signed(&pair)
            .map_err(IdentityError::Certify)?
            .der()
            .clone();
        Ok(Self {
            key,
            certificate,
            pkcs8,
        })
    }

    /// What others know this member by.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.key.public()
    }

    /// The certificate to present, in DER.
    #[must_use]
    pub fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// The key of [`certificate`](Self::certificate), for TLS.
    #[must_use]
    pub fn tls_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.pkcs8.clone_key())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
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
