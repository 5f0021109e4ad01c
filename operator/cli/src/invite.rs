//! `kubectl hanse invite`: asks the operator of this cluster for an invitation, by way of a Secret.
//!
//! ```text
//! create Secret (requested) ──► operator signs ──► Secret (issued | refused) ──► print ──► delete Secret
//! ```
//!
//! An invitation is a credential: it is written to standard output only, and the Secret is deleted however the command
//! ends.

use std::time::Duration;

use clap::Args;
use hanse_crds::names::{
    DEFAULT_NAMESPACE, INVITATION_ERROR_KEY, INVITATION_EXPIRES_AFTER_KEY, INVITATION_ISSUED,
    INVITATION_KEY, INVITATION_LABEL, INVITATION_OWNER_KEY, INVITATION_REFUSED,
    INVITATION_REQUESTED, INVITATION_SECRET_TYPE,
};
use humantime::format_duration;
use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, ResourceExt, api::PostParams};
use tokio::time::timeout;

use crate::{
    failure::{Asked, Failure},
    federation,
    output::Streams,
    parsers::{dns_label, duration},
    prose,
};

const SECRETS: &str = "secrets";

/// Invite one cluster into the federation, and print the invitation.
///
/// Standard output has the invitation and nothing else; standard error has the commands that install Hanse with it. The
/// operator of this cluster is asked by way of a Secret in its namespace, which is deleted again. The invitation can be
/// used once. Only a member of an owner can invite further members of that owner.
#[derive(Debug, Args)]
pub(crate) struct Invite {
    /// Name of the owner the new cluster belongs to.
    #[arg(long, value_name = "NAME", value_parser = dns_label)]
    owner: String,
    /// How long the invitation is good for.
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = duration)]
    expires_after: Duration,
    /// Leave the Secret with the invitation in the cluster.
    #[arg(long)]
    keep_secret: bool,
    /// How long to wait for the operator.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    timeout: Duration,
}

/// Requests, waits, prints and cleans up.
pub(crate) async fn run(
    client: Client,
    namespace: &str,
    invite: &Invite,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    let secrets: Api<Secret> = Api::namespaced(client, namespace);
    let asked = Asked::of("create", SECRETS).within(namespace);
    let request = request(invite);
    let parameters = PostParams::default();
    let created = secrets.create(&parameters, &request);
    let name = federation::answer(asked, created).await?.name_any();
    let outcome = tokio::select! {
        outcome = decision(&secrets, &name, namespace, invite) => outcome,
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
    };
    let printed = match outcome {
        Ok(invitation) => print(&invitation, invite, streams),
        Err(failure) => Err(failure),
    };
    let deleted = if invite.keep_secret {
        streams.explain(&format!(
            "The invitation is kept in Secret {namespace}/{name}.\n"
        ))
    } else {
        let asked = Asked::of("delete", SECRETS).within(namespace);
        federation::delete(&secrets, &name, asked).await
    };
    printed.and(deleted)
}

/// The Secret that asks.
fn request(
    Invite {
        owner,
        expires_after,
        ..
    }: &Invite,
) -> Secret {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    // `1h 30m` is how it is printed; a machine reads it without the space.
    let expires_after = format_duration(*expires_after).to_string().replace(' ', "");
    Secret {
        metadata: ObjectMeta {
            generate_name: Some("invitation-".into()),
            labels: Some([pair(INVITATION_LABEL, INVITATION_REQUESTED)].into()),
            ..ObjectMeta::default()
        },
        type_: Some(INVITATION_SECRET_TYPE.into()),
        string_data: Some(
            [
                pair(INVITATION_OWNER_KEY, owner),
                pair(INVITATION_EXPIRES_AFTER_KEY, &expires_after),
            ]
            .into(),
        ),
        ..Secret::default()
    }
}

/// What the operator has answered, once it has.
fn answer(secret: Option<&Secret>) -> Option<Result<String, Failure>> {
    let refused = |reason: &str| {
        Some(Err(Failure::Refused {
            reason: prose::clean(reason),
        }))
    };
    let Some(secret) = secret else {
        return refused("the request was deleted before it was answered");
    };
    let data = |key: &str| {
        let value = secret.data.as_ref().and_then(|data| data.get(key));
        value.map(|value| String::from_utf8_lossy(&value.0).trim().to_owned())
    };
    match secret.labels().get(INVITATION_LABEL).map(String::as_str) {
        Some(INVITATION_ISSUED) => match data(INVITATION_KEY) {
            Some(invitation) => Some(Ok(invitation)),
            None => refused("the invitation it issued is empty"),
        },
        Some(INVITATION_REFUSED) => refused(
            data(INVITATION_ERROR_KEY)
                .as_deref()
                .unwrap_or("it gave no reason"),
        ),
        Some(_) | None => None,
    }
}

/// Waits for the operator to answer.
async fn decision(
    secrets: &Api<Secret>,
    name: &str,
    namespace: &str,
    invite: &Invite,
) -> Result<String, Failure> {
    let asked = Asked::of("watch", SECRETS).within(namespace);
    let watching = federation::watch(secrets, name, asked, |secret| answer(secret.as_ref()));
    match timeout(invite.timeout, watching).await {
        Ok(answered) => answered?,
        Err(_) => Err(silent(namespace, invite)),
    }
}

fn silent(namespace: &str, invite: &Invite) -> Failure {
    Failure::TimedOut {
        what: "the operator did not answer".into(),
        after: invite.timeout,
        hint: format!(
            "Does it run in namespace '{namespace}'? If not, name its namespace with --namespace.\n  \
             kubectl -n {namespace} get pods --selector app.kubernetes.io/name=hanse\n\
             Without a quorum it cannot invite anyone: kubectl hanse status"
        ),
    }
}

fn print(invitation: &str, invite: &Invite, streams: &mut Streams<'_>) -> Result<(), Failure> {
    streams.answer_line(invitation)?;
    streams.explain(&explanation(invite))
}

/// How to join with it. The Secret is made from a file: on a command line the invitation would get into the history of
/// the shell and the list of processes, and a terminal may cut a line of that length when it is pasted as input.
fn explanation(
    Invite {
        owner,
        expires_after,
        ..
    }: &Invite,
) -> String {
    let good_for = format_duration(*expires_after);
    format!(
        r"
This invitation lets one cluster of owner '{owner}' join, once, within {good_for}. Whoever has it can use it: hand it
over as you would a password.

Put the line above into a file invitation.txt with an editor, so that it does not get into the history of a shell. Run
these commands against the new cluster, in a checkout of Hanse: the chart is in its folder charts/hanse.

  kubectl create namespace {DEFAULT_NAMESPACE}
  kubectl -n {DEFAULT_NAMESPACE} create secret generic hanse-invitation --from-file={INVITATION_KEY}=invitation.txt
  rm invitation.txt
  helm install hanse charts/hanse --namespace {DEFAULT_NAMESPACE} \
    --set image.repository=IMAGE --set image.tag=TAG \
    --set member.name=MEMBER-NAME --set member.owner={owner} \
    --set peer.address=HOST:PORT --set peer.service.type=SERVICE-TYPE \
    --set federation.invitationSecret.name=hanse-invitation

  IMAGE, TAG    the image you built with operator/Dockerfile and pushed to a registry that the new cluster pulls from;
                no image of Hanse is published yet
  MEMBER-NAME   the name of the new member: lower-case letters, digits and '-'; none that a member has or has had
  HOST:PORT     where the other members reach the new one; without peer.address it connects to them and never votes
  SERVICE-TYPE  how HOST:PORT gets to the operator: LoadBalancer, NodePort, or ClusterIP if something of yours forwards
                it to the Service hanse-peer

"
    )
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{FakeApi, Reply, captured};

    fn invite() -> Invite {
        Invite {
            owner: "beta".into(),
            expires_after: Duration::from_mins(90),
            keep_secret: false,
            timeout: Duration::from_secs(30),
        }
    }

    fn secret(label: &str, data: &Value) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Secret", "type": "hanse.dev/invitation",
            "metadata": {"name": "invitation-x7k2p", "namespace": "hanse-system", "resourceVersion": "1",
                         "labels": {"hanse.dev/invitation": label}},
            "data": data,
        })
    }

    /// An API server whose operator has answered with this Secret by the time it is listed.
    fn api(answered: Value) -> FakeApi {
        FakeApi::new(move |method, path| match (method, path) {
            ("POST", "/api/v1/namespaces/hanse-system/secrets") => {
                Reply::Json(secret("requested", &json!({})))
            }
            ("GET", "/api/v1/namespaces/hanse-system/secrets") => Reply::Json(json!({
                "apiVersion": "v1", "kind": "SecretList", "metadata": {"resourceVersion": "2"},
                "items": [answered],
            })),
            ("DELETE", "/api/v1/namespaces/hanse-system/secrets/invitation-x7k2p") => {
                Reply::Json(json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
            }
            // The watch that follows the list: nothing ever happens.
            _ => Reply::Never,
        })
    }

    async fn run_against(api: &FakeApi, invite: &Invite) -> (Result<(), Failure>, String, String) {
        captured(async |streams| run(api.client(), "hanse-system", invite, streams).await).await
    }

    #[test]
    fn the_request_says_who_is_invited_and_for_how_long() {
        insta::assert_json_snapshot!(request(&invite()));
    }

    #[test]
    fn the_install_command_sets_values_that_the_chart_has() {
        let chart = concat!(env!("CARGO_MANIFEST_DIR"), "/../../charts/hanse");
        let read = |file: &str| fs::read_to_string(format!("{chart}/{file}")).unwrap();
        let values: Value = serde_yaml::from_str(&read("values.yaml")).unwrap();
        let schema: Value = serde_json::from_str(&read("values.schema.json")).unwrap();
        let explanation = explanation(&invite());
        let keys: Vec<&str> = explanation
            .split("--set ")
            .skip(1)
            .filter_map(|rest| rest.split('=').next())
            .collect();
        assert_eq!(keys.len(), 7, "{keys:?}");
        for key in keys {
            let value = format!("/{}", key.replace('.', "/"));
            assert!(values.pointer(&value).is_some(), "values.yaml lacks {key}");
            let property = format!("/properties/{}", key.replace('.', "/properties/"));
            assert!(
                schema.pointer(&property).is_some(),
                "the schema lacks {key}"
            );
        }
    }

    #[tokio::test]
    async fn the_invitation_is_all_there_is_on_standard_output_and_the_secret_is_deleted() {
        // "aGFuc2UxLmFiYw==" is "hanse1.abc".
        let api = api(secret("issued", &json!({"invitation": "aGFuc2UxLmFiYw=="})));
        let (result, answer, explanation) = run_against(&api, &invite()).await;
        result.unwrap();
        assert_eq!(answer, "hanse1.abc\n");
        insta::assert_snapshot!(explanation);
        assert_eq!(
            api.asked().last().unwrap(),
            "DELETE /api/v1/namespaces/hanse-system/secrets/invitation-x7k2p"
        );
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_words_of_the_operator_and_the_secret_is_deleted() {
        // "bm8gcXVvcnVt" is "no quorum".
        let api = api(secret("refused", &json!({"error": "bm8gcXVvcnVt"})));
        let (result, answer, _) = run_against(&api, &invite()).await;
        let failure = result.unwrap_err();
        assert_eq!(
            (failure.exit_code(), failure.chain().as_str()),
            (1, "the operator refused: no quorum")
        );
        assert_eq!(answer, "");
        assert!(api.asked().last().unwrap().starts_with("DELETE"));
    }

    #[tokio::test(start_paused = true)]
    async fn without_an_answer_it_gives_up_in_time_and_deletes_the_secret() {
        let api = api(secret("requested", &json!({})));
        let (result, answer, _) = run_against(&api, &invite()).await;
        let failure = result.unwrap_err();
        insta::assert_snapshot!(format!(
            "{} | {}\n{}",
            failure.exit_code(),
            failure.chain(),
            failure.hint().unwrap()
        ));
        assert_eq!(answer, "");
        assert!(api.asked().last().unwrap().starts_with("DELETE"));
    }

    #[tokio::test]
    async fn the_secret_is_kept_on_request() {
        let api = api(secret("issued", &json!({"invitation": "aGFuc2UxLmFiYw=="})));
        let (result, _, explanation) = run_against(
            &api,
            &Invite {
                keep_secret: true,
                ..invite()
            },
        )
        .await;
        result.unwrap();
        assert!(
            explanation
                .ends_with("The invitation is kept in Secret hanse-system/invitation-x7k2p.\n")
        );
        assert!(!api.asked().iter().any(|asked| asked.starts_with("DELETE")));
    }

    #[tokio::test]
    async fn a_missing_right_is_named() {
        let api = FakeApi::new(|_, _| {
            Reply::Status(403, r#"User "jo" cannot create resource "secrets""#)
        });
        let (result, ..) = run_against(&api, &invite()).await;
        let failure = result.unwrap_err();
        assert!(
            failure
                .hint()
                .unwrap()
                .contains("verb 'create' on 'secrets' in namespace 'hanse-system'")
        );
    }
}
