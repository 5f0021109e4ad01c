//! Revoking a member: the annotation `hanse.dev/revoke: "true"` on another cluster's `Member` object.

use hanse_core::{
    command::Command,
    id::MemberName,
    slice::Slice,
    state::{Lease, Outcome},
};
use hanse_crds::{Member, names};
use kube::ResourceExt;
use tokio_util::sync::CancellationToken;

use super::{
    answered::{AnsweredRequests, PROPOSE_AGAIN},
    problems::{Problem, Problems},
};
use crate::{
    cluster::{
        agenda::{Agenda, Next},
        watched::{ObjectKey, Watched},
    },
    uplink::Uplink,
};

/// Observes until `stop`.
pub(super) async fn run(
    uplink: &Uplink,
    members: &Watched<Member>,
    problems: &Problems<MemberName>,
    stop: &CancellationToken,
) {
    let (agenda, answered) = (Agenda::new(), AnsweredRequests::default());
    members.completed().await;
    members.tell(&agenda);
    agenda
        .work(4, stop, |key| {
            round(uplink, members, problems, &answered, key)
        })
        .await;
}

async fn round(
    uplink: &Uplink,
    members: &Watched<Member>,
    problems: &Problems<MemberName>,
    answered: &AnsweredRequests<MemberName>,
    key: ObjectKey,
) -> Next {
    let Some(Ok(object)) = members.get(&key) else {
        return Next::Done;
    };
    if let Some(member) = without_request(&object) {
        problems.set(&member, None);
        answered.remove(&member);
    }
    if !requests_revocation(&object) {
        return Next::Done;
    }
    let Some(slice) = uplink.slice().borrow().clone() else {
        return Next::Retry;
    };
    let Some(member) = to_revoke(&object, &slice) else {
        return Next::Done;
    };
    let request = object.uid().unwrap_or_default();
    if let Some(wait) = answered.wait(&member, &request) {
        return Next::After(wait);
    }
    let command = Command::Revoke {
        member: member.clone(),
    };
    match uplink.propose(command).await {
        Ok(Outcome::Accepted { .. }) => {
            tracing::info!(%member, "revoked");
            problems.set(&member, None);
            answered.remove(&member);
            Next::Done
        }
        Ok(Outcome::Rejected { rejection }) => {
            tracing::warn!(%member, %rejection, "the ledger rejected the revocation");
            let problem = Problem {
                generation: object.metadata.generation,
                reason: "RevocationRejected",
                message: format!("the ledger rejected the revocation of this member: {rejection}"),
            };
            problems.set(&member, Some(problem));
            answered.add(&member, &request);
            Next::After(PROPOSE_AGAIN)
        }
        Err(_) => Next::Done,
    }
}

/// The member whose mirrored row does not request its revocation, or no longer does.
fn without_request(object: &Member) -> Option<MemberName> {
    let mirrored = object.labels().contains_key(names::MIRRORED_LABEL);
    (mirrored && !requests_revocation(object)).then(|| object.name_any().parse().ok())?
}

fn requests_revocation(object: &Member) -> bool {
    object
        .annotations()
        .get(names::REVOKE_ANNOTATION)
        .map(String::as_str)
        == Some(names::TRUE)
}

/// The member to revoke. Only a row that mirrors another cluster requests a revocation, and only until the ledger has
/// revoked the member.
fn to_revoke(object: &Member, slice: &Slice) -> Option<MemberName> {
    let name: MemberName = object.name_any().parse().ok()?;
    let mirrored = object.labels().contains_key(names::MIRRORED_LABEL);
    let row = slice.members.get(&name)?;
    let not_revoked = !matches!(row.lease, Lease::Revoked { .. });
    (mirrored && not_revoked).then_some(name)
}

#[cfg(test)]
mod tests {
    use hanse_core::id::Epoch;
    use hanse_crds::MemberSpec;

    use super::*;
    use crate::observe::fixture::slice;

    fn row(name: &str, mirrored: bool) -> Member {
        let mut object = Member::new(name, MemberSpec::default());
        if mirrored {
            object
                .labels_mut()
                .insert(names::MIRRORED_LABEL.into(), names::TRUE.into());
        }
        object
    }

    #[test]
    fn only_a_mirrored_row_of_a_member_that_is_not_revoked_revokes_it() {
        let before = slice("beta", "beta-1", 20);
        let mut after = before.clone();
        let name: MemberName = "beta-1".parse().unwrap();
        after.members.get_mut(&name).unwrap().lease = Lease::Revoked {
            epoch: Epoch(9),
            fenced: false,
        };
        assert_eq!(
            [
                to_revoke(&row("beta-1", true), &before),
                to_revoke(&row("beta-1", false), &before),
                to_revoke(&row("beta-2", true), &before),
                to_revoke(&row("beta-1", true), &after),
            ],
            [Some(name), None, None, None]
        );
    }

    #[test]
    fn a_request_that_was_withdrawn_clears_what_the_ledger_said_to_it() {
        let name: MemberName = "beta-1".parse().unwrap();
        let mut requested = row("beta-1", true);
        requested
            .annotations_mut()
            .insert(names::REVOKE_ANNOTATION.into(), names::TRUE.into());
        assert_eq!(
            [
                without_request(&row("beta-1", true)),
                without_request(&requested),
                without_request(&row("beta-1", false))
            ],
            [Some(name), None, None]
        );
    }
}
