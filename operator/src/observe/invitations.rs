//! Answers the CLI's requests for invitations.
//!
//! The CLI reaches the federation only through the API server: it creates a `Secret` labelled `requested`. This module
//! makes a key pair, proposes its public half to the ledger, and writes the token with the private half into the same
//! `Secret`, labelled `issued`; or a reason, labelled `refused`. Only users who may read Secrets in the operator's
//! namespace can invite. The token is never logged.

use std::time::Duration;

use hanse_core::{
    command::Command,
    id::{OwnerName, PrivateKey},
    slice::Slice,
    state::Outcome,
};
use hanse_crds::names;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, ResourceExt, api::Patch, runtime::watcher};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{
        CallError, Cluster,
        agenda::{Agenda, Next},
        merging, optional,
        watched::{ObjectKey, Watched},
    },
    invitation::Invitation,
    peer::Peer,
    uplink::Uplink,
};

/// How long an invitation is valid if the request has no `expiresAfter`.
const DEFAULT_EXPIRY: Duration = Duration::from_hours(1);
/// The shortest validity leaves a person time to use the invitation. The longest limits how long a key in an inbox is
/// valid.
const EXPIRY_LIMITS: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(30 * 24));

/// A request for an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Request {
    owner: OwnerName,
    expires_after: Duration,
}

/// The answer to a request.
enum Answer {
    Issued(Box<Invitation>),
    Refused(String),
}

/// Observes until `stop`.
pub(super) async fn run(cluster: &Cluster, uplink: &Uplink, stop: &CancellationToken) {
    let (secrets, agenda) = (Watched::<Secret>::default(), Agenda::new());
    secrets.tell(&agenda);
    let requested = format!(
        "{}={}",
        names::INVITATION_LABEL,
        names::INVITATION_REQUESTED
    );
    let config = watcher::Config::default().labels(&requested);
    let api = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    tokio::join!(
        secrets.keep(api, config, stop),
        agenda.work(4, stop, |key| round(cluster, uplink, &secrets, key)),
    );
}

async fn round(
    cluster: &Cluster,
    uplink: &Uplink,
    secrets: &Watched<Secret>,
    key: ObjectKey,
) -> Next {
    let Some(Ok(secret)) = secrets.get(&key) else {
        return Next::Done;
    };
    // The answer is put into the cache before the watch shows it, so that no request is answered twice.
    let open = secret
        .labels()
        .get(names::INVITATION_LABEL)
        .map(String::as_str)
        == Some(names::INVITATION_REQUESTED);
    if !open || secret.type_.as_deref() != Some(names::INVITATION_SECRET_TYPE) {
        return Next::Done;
    }
    let Some(slice) = uplink.slice().borrow().clone() else {
        return Next::Retry;
    };
    let Some(answer) = answer(cluster, uplink, &secret, &slice).await else {
        return Next::Done;
    };
    match write(cluster, secrets, &secret, &answer).await {
        Ok(()) => Next::Done,
        Err(error) => {
            tracing::warn!(request = secret.name_any(), %error, "cannot answer the request for an invitation, trying again");
            Next::Retry
        }
    }
}

/// `None` when the operator is stopping.
async fn answer(
    cluster: &Cluster,
    uplink: &Uplink,
    secret: &Secret,
    slice: &Slice,
) -> Option<Answer> {
    let (request, voters) = match (read(secret), reachable_voters(slice)) {
        (Ok(request), voters) if !voters.is_empty() => (request, voters),
        (Ok(_), _) => {
            return Some(Answer::Refused(
                "no voter has an address that a newcomer could reach; start one with --peer-address".into(),
            ));
        }
        (Err(error), _) => return Some(Answer::Refused(error)),
    };
    let Request {
        owner,
        expires_after,
    } = request;
    let key = PrivateKey::from_seed(&cluster.entropy.bytes());
    let expires_after = u64::try_from(expires_after.as_millis()).unwrap_or(u64::MAX);
    let expires_ms = cluster.clock.now_ms().saturating_add(expires_after);
    let command = Command::Invite {
        invitation: key.public(),
        owner: owner.clone(),
        expires_ms,
    };
    match uplink.propose(command).await.ok()? {
        Outcome::Rejected { rejection } => Some(Answer::Refused(rejection.to_string())),
        Outcome::Accepted { .. } => Some(Answer::Issued(Box::new(Invitation {
            federation: slice.federation.id,
            owner,
            key,
            expires_ms,
            voters,
        }))),
    }
}

fn read(secret: &Secret) -> Result<Request, String> {
    let text = |key: &str| {
        let bytes = secret.data.as_ref().and_then(|data| data.get(key))?;
        Some(String::from_utf8_lossy(&bytes.0).trim().to_owned())
    };
    let owner = text(names::INVITATION_OWNER_KEY)
        .ok_or("the request must name an `owner`")?
        .parse()
        .map_err(|error: hanse_core::id::ParseIdError| error.to_string())?;
    let expires_after = match text(names::INVITATION_EXPIRES_AFTER_KEY) {
        None => DEFAULT_EXPIRY,
        Some(text) => humantime::parse_duration(&text)
            .map_err(|error| format!("`expiresAfter` must be a duration such as '1h': {error}"))?,
    };
    let (least, most) = EXPIRY_LIMITS;
    if expires_after < least || expires_after > most {
        return Err("`expiresAfter` must be between 1m and 30d".into());
    }
    Ok(Request {
        owner,
        expires_after,
    })
}

/// The voters that a newcomer can reach.
fn reachable_voters(slice: &Slice) -> Vec<Peer> {
    let voters = slice.federation.voters.iter();
    let reachable_voters = voters.filter_map(|name| {
        let member = slice.members.get(name)?;
        let address = member.seat.as_ref()?.address.clone();
        let key = member.key;
        (!address.is_empty()).then_some(Peer { address, key })
    });
    reachable_voters.collect()
}

async fn write(
    cluster: &Cluster,
    secrets: &Watched<Secret>,
    secret: &Secret,
    answer: &Answer,
) -> Result<(), CallError> {
    let (label, key, text) = match answer {
        Answer::Issued(invitation) => {
            tracing::info!(owner = %invitation.owner, key = invitation.key.public().short(), "issued an invitation");
            (
                names::INVITATION_ISSUED,
                names::INVITATION_KEY,
                invitation.to_string(),
            )
        }
        Answer::Refused(reason) => {
            tracing::warn!(reason, "refused a request for an invitation");
            (
                names::INVITATION_REFUSED,
                names::INVITATION_ERROR_KEY,
                reason.clone(),
            )
        }
    };
    let patch = json!({
        "metadata": {"uid": secret.metadata.uid, "labels": {names::INVITATION_LABEL: label}},
        "stringData": {key: text},
    });
    let api: Api<Secret> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    let name = secret.name_any();
    if let Some(answered) = optional(api.patch(&name, &merging(), &Patch::Merge(&patch))).await? {
        secrets.put(answered);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;

    use super::*;
    use crate::observe::fixture::slice;

    fn asked(data: &[(&str, &str)]) -> Result<Request, String> {
        let data = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
        read(&Secret {
            data: Some(data.collect::<BTreeMap<_, _>>()),
            ..Secret::default()
        })
    }

    #[test]
    fn a_request_names_an_owner_and_optionally_a_validity() {
        let request = |seconds| {
            Ok(Request {
                owner: "beta".parse().unwrap(),
                expires_after: Duration::from_secs(seconds),
            })
        };
        assert_eq!(asked(&[("owner", "beta\n")]), request(3600));
        assert_eq!(
            asked(&[("owner", "beta"), ("expiresAfter", "10m")]),
            request(600)
        );
    }

    #[test]
    fn an_invalid_request_is_refused_with_the_reason() {
        let limits = Err("`expiresAfter` must be between 1m and 30d".to_owned());
        assert_eq!(asked(&[]), Err("the request must name an `owner`".into()));
        assert_eq!(asked(&[("owner", "beta"), ("expiresAfter", "1s")]), limits);
        assert_eq!(asked(&[("owner", "beta"), ("expiresAfter", "1y")]), limits);
        assert!(asked(&[("owner", "Beta")]).is_err());
    }

    #[test]
    fn an_invitation_names_the_voters_with_an_address() {
        let open = slice("acme", "acme-1", 20);
        let mut shut = open.clone();
        let only = shut
            .members
            .get_mut(&"acme-1".parse::<hanse_core::id::MemberName>().unwrap());
        only.unwrap().seat = None;
        let voter = Peer {
            address: "acme-1.example:7443".into(),
            key: PrivateKey::from_seed(&[1; 32]).public(),
        };
        assert_eq!(
            (reachable_voters(&open), reachable_voters(&shut)),
            (vec![voter], vec![])
        );
    }
}
