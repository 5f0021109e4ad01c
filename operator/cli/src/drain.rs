//! `kubectl hanse drain`: what runs in this cluster goes to other members. The leader does it; this asks for it and follows it.

use std::{pin::pin, time::Duration};

use clap::Args;
use hanse_core::{command, inquiry::Answer};
use hanse_crds::{Question, Scheduling};
use kube::Client;
use tokio::time::{Instant, sleep};

use crate::{
    cordon,
    failure::Failure,
    output::{Progress, Streams},
    parsers::{dns_label, duration},
    prose::{clean, count, first_few},
    question::{self, Asking},
};

/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_secs(1);

/// For the federation to take over that the member is drained, and for one answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Move what runs in this cluster to other members, and take nothing new.
///
/// A divided workload leaves once the others are ready with all of it; a single-instance workload stops, and then starts
/// elsewhere. What no other member may host or has room for stays. The member keeps its vote. To end it: kubectl hanse uncordon.
#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// Name of this cluster's member.
    #[arg(value_parser = dns_label)]
    member: String,
    /// Wait until nothing is left, and show what is. To stop waiting does not stop the drain.
    #[arg(long)]
    wait: bool,
    /// How long to wait.
    #[arg(
        long,
        requires = "wait",
        value_name = "DURATION",
        default_value = "15m",
        value_parser = duration
    )]
    timeout: Duration,
}

/// Asks for the drain, and follows it if asked to. `namespace` is the operator's.
pub(crate) async fn run(
    client: Client,
    namespace: &str,
    drain: &Drain,
    streams: &mut Streams<'_>,
) -> Result<(), Failure> {
    let member = &drain.member;
    cordon::set(&client, member, Scheduling::Drained, ANSWER).await?;
    if !drain.wait {
        return streams.answer_line(&format!(
            "member {member} is being drained: what it runs goes to other members\n\
             To follow it: kubectl hanse drain {member} --wait\n\
             To end it:    kubectl hanse uncordon {member}"
        ));
    }
    let mut wait = Wait::default();
    match wait
        .until_drained(client, namespace, drain.timeout, streams)
        .await
    {
        Ok(true) => streams.answer_line(&format!(
            "member {member} is drained: nothing is left on it"
        )),
        Ok(false) => Err(Failure::TimedOut {
            what: format!("member {member} was not drained"),
            after: drain.timeout,
            hint: format!(
                "The drain goes on. To end it: kubectl hanse uncordon {member}\nWhat is left:\n  {}",
                wait.left.join("\n  ")
            ),
        }),
        Err(Failure::Interrupted) => {
            let end = format!("kubectl hanse uncordon {member}");
            streams.explain(&format!("The drain goes on. To end it: {end}\n"))?;
            Err(Failure::Interrupted)
        }
        Err(failure) => Err(failure),
    }
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Wait {
    /// What is left, a line each.
    left: Vec<String>,
    progress: Progress,
}

impl Wait {
    /// Asks until nothing is left, or for `limit`; returns whether nothing is. It is never dropped while it asks, so that no question
    /// stays in the cluster.
    async fn until_drained(
        &mut self,
        client: Client,
        namespace: &str,
        limit: Duration,
        streams: &mut Streams<'_>,
    ) -> Result<bool, Failure> {
        let deadline = Instant::now() + limit;
        // One for all pauses, because it remembers a signal that came in between.
        let mut interrupted = pin!(tokio::signal::ctrl_c());
        loop {
            let time_left = deadline.saturating_duration_since(Instant::now());
            if time_left.is_zero() {
                return Ok(false);
            }
            let asking = Asking::within(namespace, time_left.min(ANSWER));
            let waits_for = match question::ask(client.clone(), &asking, &Question::Drain {}).await
            {
                Ok(answer) => match self.take(answer)? {
                    Some(waits_for) => waits_for,
                    None => return Ok(true),
                },
                // Nobody answers while a leader is elected.
                Err(failure @ (Failure::Refused { .. } | Failure::TimedOut { .. })) => {
                    format!("no answer, asking again: {}", clean(&failure.chain()))
                }
                Err(failure) => return Err(failure),
            };
            self.progress.show(&waits_for, streams);
            tokio::select! {
                () = sleep(PAUSE.min(time_left)) => {}
                _ = &mut interrupted => return Err(Failure::Interrupted),
            }
        }
    }

    /// Takes over an answer. Returns what is waited for; `None` if nothing is left.
    fn take(&mut self, answer: Answer) -> Result<Option<String>, Failure> {
        let refused = |reason: &str| {
            Err(Failure::Refused {
                reason: reason.to_owned(),
            })
        };
        let Answer::Drained { drain } = answer else {
            return refused("it answered another question");
        };
        if drain.scheduling != command::Scheduling::Drained {
            return refused(
                "the member is no longer to be drained: somebody changed its `spec.scheduling`",
            );
        }
        let left = drain.left.iter();
        let left = left.map(|(key, why)| format!("{key} {}", clean(why)));
        self.left = left.collect();
        if self.left.is_empty() {
            return Ok(None);
        }
        let all = count(self.left.len() + drain.more, "workload");
        let named = first_few(&self.left, drain.more);
        if drain.more > 0 {
            self.left.push(format!("and {} more", drain.more));
        }
        Ok(Some(format!("{all} left: {named}")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hanse_crds::{Condition, Lease, Member, condition::SYNCED, names::MIRRORED_LABEL};
    use kube::ResourceExt;
    use serde_json::json;

    use super::*;
    use crate::testing::{self, FakeApi, Reply};

    fn member(scheduling: Scheduling) -> Member {
        let mut member = testing::member("acme-1", "acme", Lease::Held);
        member.spec.scheduling = scheduling;
        member.metadata.generation = Some(2);
        let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(testing::now());
        let mut synced = Condition::new(SYNCED, true, "InLedger", "", now);
        synced.observed_generation = Some(2);
        member.status.as_mut().unwrap().conditions = vec![synced];
        member
    }

    fn left(words: &[(&str, &str)], more: usize) -> Answer {
        let left = words.iter();
        let left = left.map(|(key, why)| (key.parse().unwrap(), (*why).to_owned()));
        let drain = hanse_core::schedule::Drain {
            scheduling: command::Scheduling::Drained,
            left: left.collect::<BTreeMap<_, _>>(),
            more,
        };
        Answer::Drained { drain }
    }

    /// A cluster in which the leader answers like this, the last for ever.
    fn api(member: &Member, answers: Vec<Answer>) -> FakeApi {
        let member = json!(member);
        let mut answers = answers.into_iter();
        let mut last = None;
        FakeApi::new(move |method, path| {
            let list = |item: &serde_json::Value| json!({"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": [item]});
            match (method, path.contains("/configmaps")) {
                ("GET", false) => Reply::Json(list(&member)),
                (_, false) => Reply::Json(member.clone()),
                ("GET", true) => {
                    last = answers.next().or_else(|| last.take());
                    let answer = serde_json::to_string(&last).unwrap();
                    let labels = json!({"hanse.dev/question": "answered"});
                    Reply::Json(list(&json!({
                        "apiVersion": "v1", "kind": "ConfigMap",
                        "metadata": {"name": "question-1", "labels": labels},
                        "data": {"answer": answer},
                    })))
                }
                (_, true) => Reply::Json(
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "question-1"}}),
                ),
            }
        })
    }

    async fn drain(api: &FakeApi, wait: bool) -> (Result<(), Failure>, String, String) {
        let drain = Drain {
            member: "acme-1".into(),
            wait,
            timeout: Duration::from_mins(1),
        };
        testing::captured(async |streams| run(api.client(), "hanse-system", &drain, streams).await)
            .await
    }

    #[tokio::test(start_paused = true)]
    async fn it_shows_what_is_left_until_nothing_is() {
        let refused = Answer::Refused {
            reason: "no leader is known".into(),
        };
        let answers = vec![
            left(
                &[
                    ("acme/shop/web", "waits for beta-1: 0 of 2 are ready"),
                    ("beta/shop/db", "stopping"),
                ],
                3,
            ),
            refused,
            left(&[("beta/shop/db", "stopping")], 0),
            left(&[("beta/shop/db", "stopping")], 0),
            left(&[], 0),
        ];
        let api = api(&member(Scheduling::Drained), answers);
        let (result, answer, explained) = drain(&api, true).await;
        result.unwrap();
        assert_eq!(answer, "member acme-1 is drained: nothing is left on it\n");
        insta::assert_snapshot!(explained);
        assert_eq!(api.bodies()[0], r#"{"spec":{"scheduling":"Drained"}}"#);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_that_takes_too_long_says_what_is_left_and_how_to_end_it() {
        let answers = vec![left(
            &[("acme/shop/web", "stays: the only member may not host it")],
            0,
        )];
        let (result, answer, _) = drain(&api(&member(Scheduling::Drained), answers), true).await;
        let failure = result.unwrap_err();
        assert_eq!((answer.as_str(), failure.exit_code()), ("", 124));
        insta::assert_snapshot!(format!("{}\n{}", failure.chain(), failure.hint().unwrap()));
    }

    #[tokio::test]
    async fn without_wait_it_says_how_to_follow_and_end_it() {
        let api = api(&member(Scheduling::Drained), Vec::new());
        let (result, answer, _) = drain(&api, false).await;
        result.unwrap();
        insta::assert_snapshot!(answer);
    }

    #[tokio::test]
    async fn another_owners_decision_is_not_taken() {
        let mut mirrored = member(Scheduling::Enabled);
        mirrored
            .labels_mut()
            .insert(MIRRORED_LABEL.into(), "true".into());
        let api = api(&mirrored, Vec::new());
        let (result, ..) = drain(&api, true).await;
        assert_eq!(
            result.unwrap_err().chain(),
            "member 'acme-1' is another cluster"
        );
        assert_eq!(api.bodies(), [""; 0]);
    }
}
