//! `kubectl hanse revoke`: puts a member out of the federation, by an annotation that the operator turns into a command.

use std::io::{self, BufRead, IsTerminal};

use hanse_crds::{
    Condition, ConditionStatus, Lease, Member, condition::SYNCED, names::MIRRORED_LABEL,
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    arguments::Revoke,
    failure::{Asked, Failure},
    federation::{self, MEMBERS},
    output::Streams,
    prose::{clean, count},
};

/// Annotation on a `Member` with which its revocation is asked for; its value is `true`.
pub(crate) const REVOKE_ANNOTATION: &str = "hanse.dev/revoke";

/// Asks the person, asks the operator, and waits until the federation has agreed.
pub(crate) async fn run(
    client: Client,
    revoke: &Revoke,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    let members = federation::members(&client).await?;
    let member = members
        .into_iter()
        .find(|member| member.name_any() == revoke.member);
    let member = member.ok_or_else(|| Failure::NoMember {
        member: revoke.member.clone(),
    })?;
    if is_revoked(Some(&member)) {
        return streams.answer_line(&format!("member {} was revoked before", revoke.member));
    }
    // Its own row is the only one that is no mirror.
    if !member.labels().contains_key(MIRRORED_LABEL) {
        return Err(Failure::OwnMember {
            member: revoke.member.clone(),
        });
    }
    if !revoke.yes && !confirmed(&member, streams)? {
        return Err(Failure::Declined);
    }
    let api: Api<Member> = Api::all(client);
    request(&api, &revoke.member).await?;
    agreement(&api, revoke).await?;
    streams.answer_line(&format!("member {} is revoked", revoke.member))
}

fn is_revoked(member: Option<&Member>) -> bool {
    let status = member.and_then(|member| member.status.as_ref());
    status.is_some_and(|status| status.lease == Some(Lease::Revoked))
}

fn confirmed(member: &Member, streams: &mut Streams<'_>) -> Result<bool, Failure> {
    streams.explain(&question(member))?;
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        streams
            .explain("\nThere is nobody to ask: standard input is not a terminal. Pass --yes.\n")?;
        return Ok(false);
    }
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    read.map_err(|source| Failure::Write { source })?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

/// What it means, before it is done.
fn question(member: &Member) -> String {
    let status = member.status.clone().unwrap_or_default();
    let owner = status.owner.as_deref().unwrap_or("unknown");
    let hosted = usize::try_from(status.workloads).unwrap_or_default();
    format!(
        "Member {} of owner {owner} hosts {}. It leaves the federation for good: its share moves elsewhere, and its\n\
         name and key never come back. Revoke it? [y/N] ",
        member.name_any(),
        count(hosted, "workload"),
    )
}

async fn request(api: &Api<Member>, name: &str) -> Result<(), Failure> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {REVOKE_ANNOTATION: "true"}}}));
    let parameters = PatchParams::default();
    let patched = api.patch_metadata(name, &parameters, &patch);
    federation::answer(Asked::of("patch", MEMBERS), patched)
        .await
        .map(drop)
}

/// Waits until the member's lease says that it is revoked.
async fn agreement(api: &Api<Member>, revoke: &Revoke) -> Result<(), Failure> {
    let mut said = None;
    let agreed = |member: Option<Member>| {
        said = member.as_ref().and_then(objection);
        // A row that is gone is that of a member that is gone.
        (member.is_none() || is_revoked(member.as_ref())).then_some(())
    };
    let watching = federation::watch(api, &revoke.member, Asked::of("watch", MEMBERS), agreed);
    match timeout(revoke.timeout, watching).await {
        Ok(watched) => watched,
        Err(_) => Err(unresolved(revoke, said)),
    }
}

fn unresolved(revoke: &Revoke, said: Option<String>) -> Failure {
    let said = said
        .map(|said| format!("The operator says: {said}\n"))
        .unwrap_or_default();
    Failure::TimedOut {
        what: format!("the federation did not revoke member {}", revoke.member),
        after: revoke.timeout,
        hint: format!(
            "{said}The request stands and is carried out once it can be. A member can be put out by a member of the same\n\
             owner and by the one that invited it, while there is a quorum: kubectl hanse status\n\
             The operator's log says why: kubectl -n hanse-system logs statefulset/hanse"
        ),
    }
}

/// What the operator says against it, if anything.
fn objection(member: &Member) -> Option<String> {
    let conditions: &[Condition] = &member.status.as_ref()?.conditions;
    let objects = |condition: &&Condition| {
        condition.type_ == SYNCED && condition.status == ConditionStatus::False
    };
    conditions
        .iter()
        .find(objects)
        .map(|condition| clean(&condition.message))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::Value;

    use super::*;
    use crate::testing::{self, FakeApi, Reply, captured};

    fn revoke() -> Revoke {
        Revoke {
            member: "beta-us-1".into(),
            yes: true,
            timeout: Duration::from_secs(30),
        }
    }

    fn listed(member: &Member) -> Reply {
        Reply::Json(json!({
            "apiVersion": "hanse.dev/v1alpha1", "kind": "MemberList", "metadata": {"resourceVersion": "2"},
            "items": [member],
        }))
    }

    /// An API server that shows `before` until it is asked for the revocation, then `after`.
    fn api(before: Member, after: Member) -> FakeApi {
        let mut shown = before;
        FakeApi::new(move |method, path| match (method, path) {
            ("GET", "/apis/hanse.dev/v1alpha1/members") => listed(&shown),
            ("PATCH", "/apis/hanse.dev/v1alpha1/members/beta-us-1") => {
                shown = after.clone();
                Reply::Json(
                    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                                   "metadata": {"name": "beta-us-1"}}),
                )
            }
            _ => Reply::Never,
        })
    }

    fn member(lease: Lease) -> Member {
        let mut member = testing::member("beta-us-1", "beta", lease);
        member.metadata.resource_version = Some("1".into());
        member
            .labels_mut()
            .insert(MIRRORED_LABEL.into(), "true".into());
        member.status.as_mut().unwrap().workloads = 2;
        member
    }

    async fn run_against(api: &FakeApi, revoke: &Revoke) -> (Result<(), Failure>, String, String) {
        captured(async |streams| run(api.client(), revoke, streams).await).await
    }

    #[tokio::test]
    async fn it_asks_by_an_annotation_and_waits_for_the_federation() {
        let api = api(member(Lease::Held), member(Lease::Revoked));
        let (result, answer, _) = run_against(&api, &revoke()).await;
        result.unwrap();
        assert_eq!(answer, "member beta-us-1 is revoked\n");
        let patch: Value = serde_json::from_str(&api.bodies()[0]).unwrap();
        assert_eq!(
            patch,
            json!({"metadata": {"annotations": {"hanse.dev/revoke": "true"}}})
        );
    }

    #[tokio::test]
    async fn nothing_is_asked_of_a_member_that_was_revoked_before() {
        let api = api(member(Lease::Revoked), member(Lease::Revoked));
        let (result, answer, _) = run_against(&api, &revoke()).await;
        result.unwrap();
        assert_eq!(answer, "member beta-us-1 was revoked before\n");
        assert_eq!(api.asked(), ["GET /apis/hanse.dev/v1alpha1/members"]);
    }

    #[tokio::test]
    async fn a_member_that_does_not_exist_is_said_to_be_missing() {
        let api = api(member(Lease::Held), member(Lease::Revoked));
        let (result, ..) = run_against(
            &api,
            &Revoke {
                member: "beta-2".into(),
                ..revoke()
            },
        )
        .await;
        assert_eq!(
            result.unwrap_err().chain(),
            "there is no member 'beta-2' in this federation"
        );
    }

    #[tokio::test]
    async fn a_cluster_does_not_revoke_itself() {
        let mut own = member(Lease::Held);
        own.labels_mut().clear();
        let api = api(own.clone(), own);
        let (result, ..) = run_against(&api, &revoke()).await;
        assert_eq!(
            result.unwrap_err().chain(),
            "member 'beta-us-1' is this cluster itself"
        );
        assert_eq!(api.asked(), ["GET /apis/hanse.dev/v1alpha1/members"]);
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_federation_does_not_agree_it_says_why_as_far_as_it_knows() {
        let mut refused = member(Lease::Held);
        let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(testing::now());
        let words = "revoking may be asked only by a member of owner 'beta' or by its sponsor";
        let objection = Condition::new(SYNCED, false, "RevocationRefused", words, now);
        refused.status.as_mut().unwrap().conditions = vec![objection];
        let (result, ..) = run_against(&api(member(Lease::Held), refused), &revoke()).await;
        let failure = result.unwrap_err();
        insta::assert_snapshot!(format!(
            "{} | {}\n{}",
            failure.exit_code(),
            failure.chain(),
            failure.hint().unwrap()
        ));
    }

    #[test]
    fn the_question_says_what_it_means() {
        insta::assert_snapshot!(question(&member(Lease::Held)));
    }
}
