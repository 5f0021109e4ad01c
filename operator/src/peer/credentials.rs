//! How this member authenticates: its private key, and the certificate that carries the public key.

use std::fmt;

use ed25519_dalek::{SigningKey, pkcs8::EncodePrivateKey};
use hanse_core::id::{PrivateKey, PublicKey};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Why a key cannot be used for TLS. Neither happens with a key that Hanse generated.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    #[error("failed to encode the member's key as PKCS#8")]
    EncodeKey(#[source] ed25519_dalek::pkcs8::Error),
    #[error("failed to make the member's certificate")]
    Certify(#[source] rcgen::Error),
}

/// The member's private key and the self-signed certificate made of it.
///
/// TLS requires the certificate as a container for the key. Its names and dates have no effect, and it is generated
/// anew at every start. Peers check only the key.
pub struct Credentials {
    /// The key that identifies this member.
    pub key: PrivateKey,
    certificate: CertificateDer<'static>,
    pkcs8: PrivatePkcs8KeyDer<'static>,
}

impl Credentials {
    /// The credentials of the member that `key` identifies.
    pub fn of(key: PrivateKey) -> Result<Self, CredentialsError> {
        let document = SigningKey::from_bytes(&key.seed())
            .to_pkcs8_der()
            .map_err(CredentialsError::EncodeKey)?;
        let pkcs8 = PrivatePkcs8KeyDer::from(document.as_bytes().to_vec());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8, &rcgen::PKCS_ED25519)
            .map_err(CredentialsError::Certify)?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters
            .distinguished_name
            .push(DnType::CommonName, key.public().to_string());
        let certificate = parameters
            .self_signed(&pair)
            .map_err(CredentialsError::Certify)?
            .der()
            .clone();
        Ok(Self {
            key,
            certificate,
            pkcs8,
        })
    }

    /// The key by which others identify this member.
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

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}
