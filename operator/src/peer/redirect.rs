//! A refusal that names the voters to ask instead, in the metadata of its status: a caller that does not know of it sees the
//! refusal alone.

use hanse_core::quorum::MAX_VOTERS;
use prost::Message as _;
use tonic::{Status, metadata::MetadataValue};

use super::{address::Peer, proto::federation as proto};

/// The key of the metadata: a `Voters`, encoded.
const VOTERS: &str = "hanse-voters-bin";

/// `status`, which tells the caller to ask one of `voters` instead. More than a federation can have are left out, so that a
/// header can hold them.
#[must_use]
pub fn ask_instead(mut status: Status, voters: Vec<Peer>) -> Status {
    if voters.is_empty() {
        return status;
    }
    let voters = voters.into_iter().take(MAX_VOTERS).map(Into::into);
    let encoded = proto::Voters {
        voters: voters.collect(),
    };
    let value = MetadataValue::from_bytes(&encoded.encode_to_vec());
    status.metadata_mut().insert_bin(VOTERS, value);
    status
}

/// The voters that `status` tells the caller to ask instead, at most as many as a federation can have; none if it names none
/// that can be read.
#[must_use]
pub fn named_by(status: &Status) -> Vec<Peer> {
    let value = status.metadata().get_bin(VOTERS);
    let bytes = value.and_then(|value| value.to_bytes().ok());
    let named = bytes.and_then(|bytes| proto::Voters::decode(bytes).ok());
    let voters = named.into_iter().flat_map(|named| named.voters);
    voters
        .take(MAX_VOTERS)
        .filter_map(|voter| voter.try_into().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use hanse_core::id::PublicKey;

    use super::*;

    fn peer(number: u8) -> Peer {
        Peer {
            address: format!("voter-{number}.example:7443"),
            key: PublicKey([number; 32]),
        }
    }

    #[test]
    fn a_refusal_names_the_voters_that_were_put_into_it() {
        let refusal = Status::unavailable("this member does not vote");
        assert_eq!(named_by(&refusal), []);
        assert_eq!(named_by(&ask_instead(refusal.clone(), Vec::new())), []);
        let named = vec![peer(1), peer(2)];
        assert_eq!(named_by(&ask_instead(refusal, named.clone())), named);
    }

    #[test]
    fn more_voters_than_a_federation_can_have_are_left_out() {
        let many: Vec<Peer> = (0..40).map(peer).collect();
        let refusal = ask_instead(Status::unavailable(""), many.clone());
        assert_eq!(named_by(&refusal), many[..MAX_VOTERS]);
    }

    #[test]
    fn metadata_that_is_no_list_of_voters_names_none() {
        let mut refusal = Status::unavailable("");
        let garbage = MetadataValue::from_bytes(&[0xff; 7]);
        refusal.metadata_mut().insert_bin(VOTERS, garbage);
        assert_eq!(named_by(&refusal), []);
    }
}
