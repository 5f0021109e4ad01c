//! Keys and certificates of one control plane, as files that its components read.

use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

/// Keys or certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// Making one failed.
    #[error("failed to make the certificate of {name}")]
    Make {
        /// Whose certificate.
        name: String,
        /// Why not.
        source: rcgen::Error,
    },
    /// Writing one failed.
    #[error("failed to write {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// The certificate authority of one cluster and the certificates that it has issued, in one directory.
#[derive(Debug)]
pub(crate) struct Pki {
    directory: PathBuf,
}

/// A certificate and its key.
pub(crate) struct CertifiedKeyFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pki {
    /// Creates all keys and certificates in `directory`.
    pub(crate) fn create(directory: &Path) -> Result<Self, PkiError> {
        let pki = Self {
            directory: directory.to_owned(),
        };
        fs::create_dir_all(directory).map_err(|source| PkiError::Write {
            path: directory.to_owned(),
            source,
        })?;
        let authority = authority()?;
        pki.write("ca.crt", &authority.pem())?;
        pki.issue(&authority, "server", &server_params()?)?;
        for (file, user, group) in [
            ("admin", "admin", "system:masters"),
            (
                "controller-manager",
                "system:kube-controller-manager",
                "system:kube-controller-manager",
            ),
            (
                "scheduler",
                "system:kube-scheduler",
                "system:kube-scheduler",
            ),
        ] {
            pki.issue(&authority, file, &client_params(user, group))?;
        }
        let accounts = KeyPair::generate().map_err(making("service accounts"))?;
        pki.write("service-accounts.key", &accounts.serialize_pem())?;
        pki.write("service-accounts.pub", &accounts.public_key_pem())?;
        Ok(pki)
    }

    /// The authority's certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.directory.join("ca.crt")
    }

    /// The certificate and key issued as `name`: `server`, `admin`, `controller-manager` or `scheduler`.
    pub(crate) fn certified_key(&self, name: &str) -> CertifiedKeyFiles {
        CertifiedKeyFiles {
            certificate: self.directory.join(format!("{name}.crt")),
            key: self.directory.join(format!("{name}.key")),
        }
    }

    /// The key that signs the tokens of service accounts.
    pub(crate) fn service_accounts_key(&self) -> PathBuf {
        self.directory.join("service-accounts.key")
    }

    /// The key that verifies the tokens of service accounts.
    pub(crate) fn service_accounts_public_key(&self) -> PathBuf {
        self.directory.join("service-accounts.pub")
    }

    fn issue(
        &self,
        authority: &CertifiedIssuer<'_, KeyPair>,
        name: &str,
        params: &CertificateParams,
    ) -> Result<(), PkiError> {
        let key = KeyPair::generate().map_err(making(name))?;
        let certificate = params.signed_by(&key, authority).map_err(making(name))?;
        self.write(&format!("{name}.crt"), &certificate.pem())?;
        self.write(&format!("{name}.key"), &key.serialize_pem())
    }

    fn write(&self, name: &str, content: &str) -> Result<(), PkiError> {
        let path = self.directory.join(name);
        fs::write(&path, content).map_err(|source| PkiError::Write { path, source })
    }
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>, PkiError> {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "hanse-testbed");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().map_err(making("the authority"))?;
    CertifiedIssuer::self_signed(params, key).map_err(making("the authority"))
}

fn server_params() -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::new(["localhost".to_owned()]).map_err(making("server"))?;
    params
        .subject_alt_names
        .push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    params
        .distinguished_name
        .push(DnType::CommonName, "kube-apiserver");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    Ok(params)
}

/// Kubernetes reads the user from the common name and the groups from the organisations.
fn client_params(user: &str, group: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, user);
    params
        .distinguished_name
        .push(DnType::OrganizationName, group);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params
}

fn making(name: &str) -> impl FnOnce(rcgen::Error) -> PkiError {
    move |source| PkiError::Make {
        name: name.to_owned(),
        source,
    }
}
