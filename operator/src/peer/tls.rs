//! Mutual TLS 1.3 in which a peer is identified by its key alone.
//!
//! The client accepts exactly one key. The server accepts any key, because each call is authorized separately. Names,
//! dates and issuers in certificates are not checked.
//!
//! The signature of the handshake is verified with the same key that was read from the certificate: the certificate is
//! not parsed a second time, which could yield another key. No session is ever resumed: every connection proves its
//! key.

use std::{io, sync::Arc};

use hanse_core::id::PublicKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, OtherError,
    ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
    version::TLS13,
};
use x509_parser::{oid_registry::OID_SIG_ED25519, prelude::FromDer, prelude::X509Certificate};

use super::credentials::Credentials;

/// gRPC uses HTTP/2 only.
const ALPN: &[u8] = b"h2";

/// The DER of an Ed25519 `SubjectPublicKeyInfo` up to the 32 bytes of the key (RFC 8410, section 4).
const ED25519_SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// A certificate that no Hanse operator presents.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a certificate with an Ed25519 key")]
pub struct NotAPeerCertificate;

/// A server presented another key than the pinned one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("its key is {presented}, not the pinned {pinned}")]
pub struct WrongKey {
    /// The key in the ledger or the invitation.
    pub pinned: PublicKey,
    /// The key in the server's certificate.
    pub presented: PublicKey,
}

impl WrongKey {
    /// Extracts it from the error of a failed handshake.
    #[must_use]
    pub fn in_handshake(error: &io::Error) -> Option<Self> {
        let rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(cause))) =
            error.get_ref()?.downcast_ref::<rustls::Error>()?
        else {
            return None;
        };
        cause.downcast_ref::<Self>().cloned()
    }
}

/// The configuration of a server that authenticates with `credentials`.
pub fn server_config(credentials: &Credentials) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = AnyPeer(Signatures(Arc::clone(&provider)));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(vec![credentials.certificate()], credentials.tls_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// The configuration of a client that accepts only the server key `pinned` and authenticates with `credentials`.
pub fn client_config(
    credentials: &Credentials,
    pinned: PublicKey,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = PinnedPeer {
        pinned,
        signatures: Signatures(Arc::clone(&provider)),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_auth_cert(vec![credentials.certificate()], credentials.tls_key())?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The name to give to a TLS client. It is neither sent nor compared.
#[must_use]
pub fn no_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::IpAddr::from([0, 0, 0, 0]).into())
}

/// The Ed25519 key in `certificate` (DER).
pub fn key_of(certificate: &CertificateDer<'_>) -> Result<PublicKey, NotAPeerCertificate> {
    let (rest, certificate) =
        X509Certificate::from_der(certificate).map_err(|_| NotAPeerCertificate)?;
    let info = certificate.public_key();
    if !rest.is_empty() || info.algorithm.algorithm != OID_SIG_ED25519 {
        return Err(NotAPeerCertificate);
    }
    <[u8; 32]>::try_from(info.subject_public_key.data.as_ref())
        .map(PublicKey)
        .map_err(|_| NotAPeerCertificate)
}

fn refused(cause: impl std::error::Error + Send + Sync + 'static) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(cause))).into()
}

/// The check that the other side holds the private half of the key in its certificate.
#[derive(Debug)]
struct Signatures(Arc<CryptoProvider>);

impl Signatures {
    fn verify(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let key = key_of(certificate).map_err(refused)?;
        let info = SubjectPublicKeyInfoDer::from([&ED25519_SPKI[..], &key.0].concat());
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &info, signature, algorithms)
    }

    fn tls12_is_off() -> rustls::Error {
        rustls::Error::General("TLS 1.2 is not supported".into())
    }
}

/// Accepts one key.
#[derive(Debug)]
struct PinnedPeer {
    pinned: PublicKey,
    signatures: Signatures,
}

impl ServerCertVerifier for PinnedPeer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let presented = key_of(end_entity).map_err(refused)?;
        if presented == self.pinned {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(refused(WrongKey {
                pinned: self.pinned,
                presented,
            }))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(Signatures::tls12_is_off())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signatures.verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

/// Accepts every key; a certificate without an Ed25519 key is rejected.
#[derive(Debug)]
struct AnyPeer(Signatures);

impl ClientCertVerifier for AnyPeer {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        key_of(end_entity)
            .map(|_| ClientCertVerified::assertion())
            .map_err(refused)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(Signatures::tls12_is_off())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}
