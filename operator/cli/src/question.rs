//! Asks the operator of this cluster a question, by way of a `ConfigMap` in its namespace.
//!
//! ```text
//! create ConfigMap (asked) ──► operator ──► leader ──► ConfigMap (answered) ──► read ──► delete ConfigMap
//! ```
//!
//! Nothing is changed by a question, and the `ConfigMap` is deleted however the command ends.

use std::time::Duration;

use clap::Args;
use hanse_core::inquiry::Answer;
use hanse_crds::{
    Question,
    names::{
        ANSWER_KEY, DEFAULT_NAMESPACE, QUESTION_ANSWERED, QUESTION_ASKED, QUESTION_KEY,
        QUESTION_LABEL,
    },
};
use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Api, Client, ResourceExt, api::PostParams};
use tokio::time::timeout;

use crate::{
    failure::{Asked, Failure},
    federation,
    parsers::duration,
    prose,
};

const CONFIG_MAPS: &str = "configmaps";

/// How the operator is asked.
#[derive(Debug, Args)]
pub(crate) struct Asking {
    /// The namespace of the operator.
    #[arg(long, value_name = "NAMESPACE", default_value = DEFAULT_NAMESPACE)]
    operator_namespace: String,
    /// How long to wait for the answer.
    #[arg(long, value_name = "DURATION", default_value = "45s", value_parser = duration)]
    timeout: Duration,
}

impl Asking {
    /// The operator in `namespace`, which has to answer by `timeout`.
    pub(crate) fn within(namespace: &str, timeout: Duration) -> Self {
        Self {
            operator_namespace: namespace.to_owned(),
            timeout,
        }
    }
}

/// The answer of the leader. One that refuses is a failure.
pub(crate) async fn ask(
    client: Client,
    asking: &Asking,
    question: &Question,
) -> Result<Answer, Failure> {
    let namespace = &asking.operator_namespace;
    let maps: Api<ConfigMap> = Api::namespaced(client, namespace);
    let asked = Asked::of("create", CONFIG_MAPS).within(namespace);
    let (parameters, request) = (PostParams::default(), request(question));
    let name = federation::answer(asked, maps.create(&parameters, &request))
        .await?
        .name_any();
    let outcome = tokio::select! {
        outcome = answered(&maps, &name, asking) => outcome,
        _ = tokio::signal::ctrl_c() => Err(Failure::Interrupted),
    };
    let asked = Asked::of("delete", CONFIG_MAPS).within(namespace);
    federation::delete(&maps, &name, asked).await?;
    match outcome? {
        Answer::Refused { reason } => Err(Failure::Refused {
            reason: prose::clean(&reason),
        }),
        answer => Ok(answer),
    }
}

fn request(question: &Question) -> ConfigMap {
    let label = (QUESTION_LABEL.to_owned(), QUESTION_ASKED.to_owned());
    // The types of hanse-crds have string keys and no fallible serialisers.
    let question = serde_json::to_string(question).unwrap_or_default();
    ConfigMap {
        metadata: ObjectMeta {
            generate_name: Some("question-".into()),
            labels: Some([label].into()),
            ..ObjectMeta::default()
        },
        data: Some([(QUESTION_KEY.to_owned(), question)].into()),
        ..ConfigMap::default()
    }
}

async fn answered(maps: &Api<ConfigMap>, name: &str, asking: &Asking) -> Result<Answer, Failure> {
    let namespace = &asking.operator_namespace;
    let asked = Asked::of("watch", CONFIG_MAPS).within(namespace);
    let watching = federation::watch(maps, name, asked, |map| read(map.as_ref()));
    match timeout(asking.timeout, watching).await {
        Ok(answer) => answer?,
        Err(_) => Err(Failure::TimedOut {
            what: "the operator did not answer".into(),
            after: asking.timeout,
            hint: format!(
                "Does it run in namespace '{namespace}'? If not, name its namespace with --operator-namespace.\n  \
                 kubectl -n {namespace} get pods --selector app.kubernetes.io/name=hanse\n\
                 Without a quorum nobody answers: kubectl hanse status"
            ),
        }),
    }
}

/// What the operator has answered, once it has.
fn read(map: Option<&ConfigMap>) -> Option<Result<Answer, Failure>> {
    let refused = |reason: String| Some(Err(Failure::Refused { reason }));
    let Some(map) = map else {
        return refused("the question was deleted before it was answered".to_owned());
    };
    if map.labels().get(QUESTION_LABEL).map(String::as_str) != Some(QUESTION_ANSWERED) {
        return None;
    }
    let text = map.data.as_ref().and_then(|data| data.get(ANSWER_KEY));
    match serde_json::from_str(text.map_or("", String::as_str)) {
        Ok(answer) => Some(Ok(answer)),
        Err(error) => refused(format!(
            "its answer is not readable by this version of kubectl hanse: {error}"
        )),
    }
}
