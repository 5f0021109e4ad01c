//! `kubectl hanse revoke`: removes a member from the federation, by an annotation that the operator turns into a command.

use std::{
    io::{self, BufRead, IsTerminal},
    time::Duration,
};

use clap::Args;
use hanse_crds::{
    Condition, ConditionStatus, Lease, Member,
    condition::SYNCED,
    names::{REVOKE_ANNOTATION, TRUE},
};
use kube::{
    Api, Client, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    failure::{Asked, Failure},
    federation::{self, MEMBERS},
    output::Streams,
    parsers::{dns_label, duration},
    prose::{clean, count},
};

/// Revoke a member for good: its name and its key cannot be used again.
///
/// A member can be revoked by a member of the same owner and by the member that invited it. Its share of the workloads
/// is moved to other members.
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    /// Name of the member.
    #[arg(value_parser = dns_label)]
    member: String,
    /// Do not ask for confirmation.
    #[arg(short, long)]
    yes: bool,
    /// How long to wait for the federation to agree.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    timeout: Duration,
}

/// Asks for confirmation, asks the operator, and waits until the federation has agreed. `namespace` is the operator's.
pub(crate) async fn run(
    client: Client,
    namespace: &str,
    revoke: &Revoke,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    let member = federation::member(&client, &revoke.member).await?;
    if is_revoked(Some(&member)) {
        return streams.answer_line(&format!("member {} was revoked before", revoke.member));
    }
    if federation::is_own(&member) {
        return Err(Failure::OwnMember {
            member: revoke.member.clone(),
        });
    }
    if !revoke.yes && !confirmed(&member, streams)? {
        return Err(Failure::Declined);
    }
    let api: Api<Member> = Api::all(client);
    request(&api, &revoke.member).await?;
    agreement(&api, namespace, revoke).await?;
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
        streams.explain(
            "\nStandard input is not a terminal, so no confirmation can be read; pass --yes.\n",
        )?;
        return Ok(false);
    }
    let mut answer = String::new();
    let read = stdin.lock().read_line(&mut answer);
    read.map_err(|source| Failure::Confirm { source })?;
    Ok(["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str()))
}

/// Names the consequences and asks for confirmation.
fn question(member: &Member) -> String {
    let status = member.status.clone().unwrap_or_default();
    let owner = status.owner.as_deref().unwrap_or("unknown");
    let hosted = usize::try_from(status.workloads).unwrap_or_default();
    format!(
        "Member {} of owner {owner} hosts {}. Revoking it removes it from the federation for good: its share of\n\
         the workloads is moved to other members, and its name and key cannot be used again. Revoke it? [y/N] ",
        member.name_any(),
        count(hosted, "workload"),
    )
}

async fn request(api: &Api<Member>, name: &str) -> Result<(), Failure> {
    let patch = Patch::Merge(json!({"metadata": {"annotations": {REVOKE_ANNOTATION: TRUE}}}));
    let parameters = PatchParams::default();
    let patched = api.patch_metadata(name, &parameters, &patch);
    federation::answer(Asked::of("patch", MEMBERS), patched)
        .await
        .map(drop)
}

/// Waits until the member's lease says that it is revoked.
async fn agreement(api: &Api<Member>, namespace: &str, revoke: &Revoke) -> Result<(), Failure> {
    let mut reported = None;
    let agreed = |member: Option<Member>| {
        reported = member.as_ref().and_then(objection);
        // The operator deletes the row of a member that is no longer in the federation.
        (member.is_none() || is_revoked(member.as_ref())).then_some(())
    };
    let watching = federation::watch(api, &revoke.member, Asked::of("watch", MEMBERS), agreed);
    match timeout(revoke.timeout, watching).await {
        Ok(watched) => watched,
        Err(_) => Err(unresolved(namespace, revoke, reported)),
    }
}

fn unresolved(namespace: &str, revoke: &Revoke, reported: Option<String>) -> Failure {
    let reported = reported
        .map(|reported| format!("The operator reports: {reported}\n"))
        .unwrap_or_default();
    Failure::TimedOut {
        what: format!("the federation did not revoke member {}", revoke.member),
        after: revoke.timeout,
        hint: format!(
            "{reported}The request stays and is carried out as soon as that is possible. A member can be revoked by a member of\n\
             the same owner and by the one that invited it, while there is a quorum: kubectl hanse status\n\
             The reason is in the log of the operator's StatefulSet. If that is not in namespace '{namespace}', name its\n\
             namespace with --namespace.\n  \
               kubectl -n {namespace} logs --selector app.kubernetes.io/name=hanse --tail=100"
        ),
    }
}

/// Why the operator refuses, if it does.
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
    use serde_json::Value;

    use hanse_crds::names::MIRRORED_LABEL;

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
        captured(async |streams| run(api.client(), "edge", revoke, streams).await).await
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
        let objection = Condition::new(SYNCED, false, "RevocationRejected", words, now);
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
