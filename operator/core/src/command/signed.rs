//! The signed envelope in which a command travels.
//!
//! A command is bound to one federation, one issuer, one lane and one number in that lane, and signed over all of it:
//! a leader can delay or drop it, but not forge it, change it, play it twice or carry it to another federation. A decision of a
//! leader is bound to its term as well.

use serde::{Deserialize, Serialize};

use super::{Command, Lane, MAX_COMMAND_BYTES};
use crate::{
    id::{FederationId, PrivateKey, PublicKey, Signature},
    strict,
};

/// A command as it travels and as the log keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignedCommand {
    /// The key of the member that issues it.
    pub issuer: PublicKey,
    /// Which of the issuer's numberings `sequence` is of.
    pub lane: Lane,
    /// In the leader's lane, the term that it was decided in, from [`Level::DECISIONS_OF_THE_LEADER`] on. Otherwise 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub term: u64,
    /// One more than the issuer's last command in this lane; starts at 1.
    pub sequence: u64,
    /// The [`Command`] as JSON, exactly the bytes that were signed.
    pub body: String,
    /// Over everything above and the federation.
    pub signature: Signature,
}

/// For serde.
#[allow(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(term: &u64) -> bool {
    *term == 0
}

/// Why the bytes of a command are not acceptable.
#[allow(
    missing_docs,
    reason = "the message of each variant is its documentation"
)]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    #[error("the signature does not hold for issuer {0} in this federation")]
    BadSignature(String),
    #[error("the command is not one this version knows: {0}")]
    Unreadable(String),
    #[error("the command is issued in the wrong lane")]
    WrongLane,
    #[error("the command is larger than {MAX_COMMAND_BYTES} bytes")]
    TooLarge,
}

impl SignedCommand {
    /// Signs `command` as number `sequence` of the key's holder. It names no term, as only decisions do, and those from
    /// [`Level::DECISIONS_OF_THE_LEADER`] on.
    #[must_use]
    pub fn sign(
        federation: &FederationId,
        key: &PrivateKey,
        sequence: u64,
        command: &Command,
    ) -> Self {
        Self::sign_in(0, federation, key, sequence, command)
    }

    /// Signs `command` as a decision of the leader of `term`.
    #[must_use]
    pub fn sign_in(
        term: u64,
        federation: &FederationId,
        key: &PrivateKey,
        sequence: u64,
        command: &Command,
    ) -> Self {
        let mut signed = Self {
            issuer: key.public(),
            lane: command.lane(),
            term,
            sequence,
            body: serde_json::to_string(command).unwrap_or_default(),
            signature: Signature([0; 64]),
        };
        signed.signature = key.sign(&signed.message(federation));
        signed
    }

    /// What is signed.
    fn message(&self, federation: &FederationId) -> Vec<u8> {
        let mut message = b"hanse/command/v1\0".to_vec();
        message.extend_from_slice(&federation.0);
        message.extend_from_slice(&self.issuer.0);
        message.extend_from_slice(&self.position());
        message.extend_from_slice(self.body.as_bytes());
        message
    }

    /// Lane, term and number, so that no two have the same bytes.
    pub(crate) fn position(&self) -> Vec<u8> {
        let mut position = match (self.lane, self.term) {
            (Lane::Member, _) => vec![0],
            (Lane::Leader, 0) => vec![1],
            (Lane::Leader, term) => [&[2], &term.to_be_bytes()[..]].concat(),
        };
        position.extend_from_slice(&self.sequence.to_be_bytes());
        position
    }

    /// The same with another body, signed anew.
    #[cfg(test)]
    pub(crate) fn sign_body(federation: &FederationId, key: &PrivateKey, other: &Self) -> Self {
        Self {
            signature: key.sign(&other.message(federation)),
            ..other.clone()
        }
    }

    /// The command, if the issuer really signed it for this federation.
    pub fn verify(&self, federation: &FederationId) -> Result<Command, VerifyError> {
        if self.body.len() > MAX_COMMAND_BYTES {
            return Err(VerifyError::TooLarge);
        }
        if !self
            .issuer
            .verifies(&self.message(federation), &self.signature)
        {
            return Err(VerifyError::BadSignature(self.issuer.short()));
        }
        let command = self.read()?;
        let has_no_term = self.lane == Lane::Leader || self.term == 0;
        if command.lane() == self.lane && has_no_term {
            Ok(command)
        } else {
            Err(VerifyError::WrongLane)
        }
    }

    /// The command without the check of its signature: for what has already been verified. One with any part that is not known
    /// is not read at all.
    pub fn read(&self) -> Result<Command, VerifyError> {
        let mut json = serde_json::Deserializer::from_str(&self.body);
        let command = strict::read(&mut json).and_then(|command| json.end().map(|()| command));
        command.map_err(|error| VerifyError::Unreadable(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::level::Level;

    const FEDERATION: FederationId = FederationId([1; 16]);

    fn signed() -> SignedCommand {
        let command = Command::Volunteer {
            address: "eu-1.example:7443".into(),
            level: Level::FIRST,
        };
        SignedCommand::sign(&FEDERATION, &PrivateKey::from_seed(&[2; 32]), 7, &command)
    }

    #[test]
    fn a_signed_command_reads_back() {
        let expected = Command::Volunteer {
            address: "eu-1.example:7443".into(),
            level: Level::FIRST,
        };
        assert_eq!(signed().verify(&FEDERATION), Ok(expected));
    }

    #[test]
    fn whatever_is_changed_the_signature_no_longer_holds() {
        let refused = Err(VerifyError::BadSignature(signed().issuer.short()));
        let changed: [fn(&mut SignedCommand); 3] = [
            |c| c.sequence += 1,
            |c| c.lane = Lane::Leader,
            |c| c.body = c.body.replace("eu", "us"),
        ];
        for change in changed {
            let mut command = signed();
            change(&mut command);
            assert_eq!(command.verify(&FEDERATION), refused);
        }
        assert_eq!(signed().verify(&FederationId([9; 16])), refused);
    }

    #[test]
    fn the_encoding_of_a_command_does_not_change() {
        insta::assert_json_snapshot!(signed());
    }
}
