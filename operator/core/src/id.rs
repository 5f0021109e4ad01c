//! Names, keys and numbers: the types that make an ill-formed identifier unrepresentable.
//!
//! Everything here is checked once, in `FromStr` (or on deserialisation, which calls it), so that no later code
//! has to ask again. All of it serialises to JSON as a plain string or number and can be a JSON object's key.

use std::{fmt, str::FromStr, sync::Arc};

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Why a string is not the identifier it was meant to be.
#[allow(
    missing_docs,
    reason = "the message of each variant is its documentation"
)]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    #[error(
        "{kind} '{value}' must be a DNS label: 1 to 63 of a-z, 0-9 and '-', starting and ending with a letter or digit"
    )]
    NotADnsLabel { kind: &'static str, value: String },
    #[error(
        "{kind} '{value}' must be a DNS subdomain: 1 to 253 of a-z, 0-9, '-' and '.', each part starting and ending with a letter or digit"
    )]
    NotADnsSubdomain { kind: &'static str, value: String },
    #[error(
        "{kind} '{value}' must be a DNS label of 1 to 40 of a-z, 0-9 and '-' without '--', which ends the owner in the names of guests' namespaces"
    )]
    NotAnOwnerName { kind: &'static str, value: String },
    #[error("{kind} must be {bytes} bytes as {digits} hexadecimal digits")]
    NotHex {
        kind: &'static str,
        bytes: usize,
        digits: usize,
    },
    #[error("public key is not a point on the Ed25519 curve")]
    NotAPublicKey,
    #[error("workload '{0}' must be OWNER/NAMESPACE/NAME")]
    NotAWorkloadKey(String),
}

fn is_dns_label(value: &str) -> bool {
    let alphanumeric = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let bytes = value.as_bytes();
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(|&c| alphanumeric(c) || c == b'-')
        && alphanumeric(bytes[0])
        && alphanumeric(bytes[bytes.len() - 1])
}

/// The conversions with which serde writes a type as its text, from its `Display` and `FromStr`.
macro_rules! text_form {
    ($name:ty) => {
        impl TryFrom<String> for $name {
            type Error = <Self as std::str::FromStr>::Err;
            fn try_from(text: String) -> Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}
pub(crate) use text_form;

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $valid:expr, $error:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(value: &str) -> Result<Self, Self::Err> {
                let valid: fn(&str) -> bool = $valid;
                if valid(value) {
                    Ok(Self(value.into()))
                } else {
                    Err(ParseIdError::$error { kind: $kind, value: value.chars().take(80).collect() })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;
            fn try_from(value: String) -> Result<Self, Self::Error> {
                value.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.0)
            }
        }
    };
}

string_id!(
    /// An organisation's name, for example `acme`. A DNS label of at most 40 characters without `--`.
    ///
    /// A guest's namespace is `<owner>--<namespace>`: with a shorter rule owner `a` could choose the namespace `b--c` and
    /// land in the one of owner `a--b`. With this one the first `--` always ends the owner, also where a long name is cut.
    OwnerName,
    "owner",
    |value| value.len() <= 40 && !value.contains("--") && is_dns_label(value),
    NotAnOwnerName
);
string_id!(
    /// A member's name, unique in its federation, for example `acme-eu-1`. A DNS label.
    MemberName, "member", is_dns_label, NotADnsLabel
);
string_id!(
    /// A Kubernetes namespace, for example `shop`. A DNS label.
    Namespace, "namespace", is_dns_label, NotADnsLabel
);
string_id!(
    /// A Kubernetes object's name, for example `web`. A DNS subdomain.
    ObjectName,
    "name",
    |value| value.len() <= 253 && value.split('.').all(is_dns_label),
    NotADnsSubdomain
);

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $bytes:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(pub [u8; $bytes]);

        impl FromStr for $name {
            type Err = ParseIdError;
            fn from_str(value: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; $bytes];
                hex::decode_to_slice(value, &mut bytes)
                    .map_err(|_| ParseIdError::NotHex { kind: $kind, bytes: $bytes, digits: 2 * $bytes })?;
                Ok(Self(bytes))
            }
        }

        impl TryFrom<String> for $name {
            type Error = ParseIdError;
            fn try_from(value: String) -> Result<Self, Self::Error> {
                value.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                hex::encode(id.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }
    };
}

byte_id!(
    /// A federation: 16 random bytes chosen by its founder.
    FederationId, "federation id", 16
);
byte_id!(
    /// An Ed25519 public key. It identifies a member; names are looked up.
    PublicKey, "public key", 32
);
byte_id!(
    /// An Ed25519 signature.
    Signature, "signature", 64
);
byte_id!(
    /// A SHA-256 digest.
    Digest, "digest", 32
);

impl PublicKey {
    /// Whether `signature` over `message` was made by this key. Uses strict verification, which also refuses
    /// small-order keys and malleable signatures, so that every replica gives the same answer.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &Signature) -> bool {
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| {
            let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
            key.verify_strict(message, &signature).is_ok()
        })
    }

    /// The first eight hexadecimal digits: enough for a person to tell keys apart in a log line, never for a decision.
    #[must_use]
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

/// A private Ed25519 key. Never serialised, never printed: `Debug` shows the public half.
#[derive(Clone)]
pub struct PrivateKey(SigningKey);

impl PrivateKey {
    /// The key that 32 secret bytes stand for.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The secret bytes, for the one file or token that has to hold them.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs `message`. Deterministic: Ed25519 needs no randomness to sign.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {})", self.public().short())
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id!(
    /// A fencing token: the log index of the entry that granted a lease or decided a placement. Only grows.
    Epoch
);
number_id!(
    /// The log index of the entry that last changed a row. 0 means "does not exist yet". Only grows.
    Generation
);
number_id!(
    /// A voter in the Raft group: the log index of the entry that allocated it, so it is never used twice.
    NodeId
);

/// One workload of the federation, for example `acme/shop/web`. Serialises as that text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkloadKey {
    /// Whose workload it is.
    pub owner: OwnerName,
    /// Its namespace in the clusters of that owner.
    pub namespace: Namespace,
    /// The name of its `FederatedWorkload`.
    pub name: ObjectName,
}

impl WorkloadKey {
    /// A short stable id of this workload: the first 16 hexadecimal digits of the SHA-256 of its text. Fits where the text
    /// does not, such as a label's value. With 100,000 workloads two share one with a probability below one in a billion;
    /// so it selects, and the text decides.
    #[must_use]
    pub fn id(&self) -> String {
        hex::encode(&Sha256::digest(self.to_string())[..8])
    }
}

impl fmt::Display for WorkloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.owner, self.namespace, self.name)
    }
}

impl FromStr for WorkloadKey {
    type Err = ParseIdError;
    fn from_str(value: &str) -> Result<Self, Self::Err> {
        let mut parts = value.splitn(3, '/');
        let (Some(owner), Some(namespace), Some(name)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(ParseIdError::NotAWorkloadKey(
                value.chars().take(80).collect(),
            ));
        };
        Ok(Self {
            owner: owner.parse()?,
            namespace: namespace.parse()?,
            name: name.parse()?,
        })
    }
}

text_form!(WorkloadKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels_and_say_so_when_they_are_not() {
        assert_eq!(
            "acme-eu-1".parse::<MemberName>().unwrap().as_str(),
            "acme-eu-1"
        );
        for bad in ["", "-a", "a-", "A", "a_b", "a.b", &"a".repeat(64)] {
            assert!(
                bad.parse::<MemberName>().is_err(),
                "{bad:?} must be refused"
            );
        }
    }

    #[test]
    fn an_owner_leaves_room_and_a_mark_for_the_namespaces_of_guests() {
        assert!("a".repeat(40).parse::<OwnerName>().is_ok());
        assert_eq!(
            "a--b".parse::<OwnerName>().unwrap_err().to_string(),
            "owner 'a--b' must be a DNS label of 1 to 40 of a-z, 0-9 and '-' without '--', which ends the owner in the \
             names of guests' namespaces"
        );
        assert!("a".repeat(41).parse::<OwnerName>().is_err());
    }

    #[test]
    fn a_workload_key_is_text_in_both_directions() {
        let key: WorkloadKey = "acme/shop/web.v1".parse().unwrap();
        assert_eq!(key.to_string(), "acme/shop/web.v1");
        assert_eq!(
            "acme/shop".parse::<WorkloadKey>(),
            Err(ParseIdError::NotAWorkloadKey("acme/shop".into()))
        );
    }

    #[test]
    fn a_workloads_id_is_short_and_does_not_change() {
        let key: WorkloadKey = format!("acme/shop/{}", ["a"; 64].join("."))
            .parse()
            .unwrap();
        assert_eq!(key.id(), "6b756819ae47f12d");
    }

    #[test]
    fn a_signature_holds_for_its_key_and_message_only() {
        let (key, other) = (
            PrivateKey::from_seed(&[1; 32]),
            PrivateKey::from_seed(&[2; 32]),
        );
        let signature = key.sign(b"message");
        assert!(key.public().verifies(b"message", &signature));
        assert!(!key.public().verifies(b"massage", &signature));
        assert!(!other.public().verifies(b"message", &signature));
    }

    #[test]
    fn a_private_key_never_prints_its_secret() {
        let key = PrivateKey::from_seed(&[7; 32]);
        assert!(!format!("{key:?}").contains(&hex::encode([7; 4])));
    }
}
