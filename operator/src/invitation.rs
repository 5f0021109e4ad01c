//! Invitations: the only secret that one owner gives to another.
//!
//! An [`Invitation`] holds the federation, the addresses and keys of its voters, and the private half of a key pair.
//! With that key the ledger admits one newcomer, once, until the invitation expires. The text form is `hanse1.` and
//! base64url of JSON: one word that can be copied and pasted. `Debug` never shows the secret.

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hanse_core::id::{FederationId, OwnerName, PrivateKey};
use serde::{Deserialize, Serialize};

use crate::peer::Peer;

/// The start of every token of this version.
const PREFIX: &str = "hanse1.";

/// The longest token that is read: seven voters with the longest addresses make about 4 KiB.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// What a newcomer needs to join.
#[derive(Debug, Clone)]
pub struct Invitation {
    /// The federation to join.
    pub federation: FederationId,
    /// The owner that the newcomer must have.
    pub owner: OwnerName,
    /// The private half of the invitation's key.
    pub key: PrivateKey,
    /// Milliseconds since 1970.
    pub expires_ms: u64,
    /// The voters to send the join request to, at least one.
    pub voters: Vec<Peer>,
}

/// Why a text is not an invitation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseInvitationError {
    #[error("an invitation must start with '{PREFIX}'; was it copied whole?")]
    Prefix,
    #[error("the invitation is damaged, copy it again from where it was issued: {0}")]
    Damaged(String),
    #[error("the invitation is of version {0}, which this operator does not know; upgrade it")]
    Version(u32),
    #[error("the invitation contains no voter address; ask for a new one")]
    NoVoters,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    v: u32,
    federation: FederationId,
    owner: OwnerName,
    seed: String,
    expires_ms: u64,
    voters: Vec<Peer>,
}

impl fmt::Display for Invitation {
    /// The token. Anyone who reads it can join: store it in a `Secret` only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            federation,
            owner,
            key,
            expires_ms,
            voters,
        } = self;
        let written = Written {
            v: 1,
            federation: *federation,
            owner: owner.clone(),
            seed: hex::encode(key.seed()),
            expires_ms: *expires_ms,
            voters: voters.clone(),
        };
        let json = serde_json::to_vec(&written).map_err(|_| fmt::Error)?;
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
    }
}

impl FromStr for Invitation {
    type Err = ParseInvitationError;

    fn from_str(token: &str) -> Result<Self, Self::Err> {
        let body = token
            .trim()
            .strip_prefix(PREFIX)
            .ok_or(ParseInvitationError::Prefix)?;
        if body.len() > MAX_TOKEN_BYTES {
            return Err(ParseInvitationError::Damaged("it is too long".into()));
        }
        let json = URL_SAFE_NO_PAD
            .decode(body)
            .map_err(|error| ParseInvitationError::Damaged(error.to_string()))?;
        let Written {
            v,
            federation,
            owner,
            seed,
            expires_ms,
            voters,
        } = serde_json::from_slice(&json).map_err(|error| damaged(&error))?;
        if v != 1 {
            return Err(ParseInvitationError::Version(v));
        }
        if voters.is_empty() {
            return Err(ParseInvitationError::NoVoters);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(&seed, &mut bytes)
            .map_err(|_| ParseInvitationError::Damaged("its key is not 32 bytes".into()))?;
        Ok(Self {
            federation,
            owner,
            key: PrivateKey::from_seed(&bytes),
            expires_ms,
            voters,
        })
    }
}

/// Names the position of the error in the JSON, but never the text there: it may be the secret.
fn damaged(error: &serde_json::Error) -> ParseInvitationError {
    let place = format!("line {} column {}", error.line(), error.column());
    ParseInvitationError::Damaged(format!("unexpected content at {place}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invitation() -> Invitation {
        Invitation {
            federation: FederationId([1; 16]),
            owner: "acme".parse().unwrap(),
            key: PrivateKey::from_seed(&[7; 32]),
            expires_ms: 1_700_000_000_000,
            voters: vec![Peer {
                address: "eu-1.example:7443".into(),
                key: PrivateKey::from_seed(&[2; 32]).public(),
            }],
        }
    }

    fn token_of(json: &serde_json::Value) -> String {
        format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json.to_string()))
    }

    #[test]
    fn a_token_reads_back_and_its_form_does_not_change() {
        let token = invitation().to_string();
        insta::assert_snapshot!(token);
        let read: Invitation = format!(" {token}\n").parse().unwrap();
        assert_eq!(read.to_string(), token);
        assert_eq!(read.key.public(), invitation().key.public());
    }

    #[test]
    fn the_error_of_a_token_does_not_show_the_token() {
        let mut nobody = serde_json::json!({
            "v": 1, "federation": "01".repeat(16), "owner": "acme", "seed": "07".repeat(32), "expiresMs": 1, "voters": []
        });
        let refusal = |token: &str| token.parse::<Invitation>().unwrap_err();
        assert_eq!(refusal("hello"), ParseInvitationError::Prefix);
        assert_eq!(refusal(&token_of(&nobody)), ParseInvitationError::NoVoters);
        nobody["v"] = 2.into();
        assert_eq!(
            refusal(&token_of(&nobody)),
            ParseInvitationError::Version(2)
        );
        nobody["seed"] = 5.into();
        assert_eq!(
            refusal(&token_of(&nobody)),
            ParseInvitationError::Damaged("unexpected content at line 1 column 86".into())
        );
        assert!(matches!(
            refusal("hanse1.%"),
            ParseInvitationError::Damaged(_)
        ));
    }

    #[test]
    fn the_secret_is_in_the_token_only() {
        assert!(!format!("{:?}", invitation()).contains("0707"));
    }
}
