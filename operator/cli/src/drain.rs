//! `kubectl hanse drain`: what runs in this cluster goes to other members. The leader does it; this asks for it and follows it.

use std::time::Duration;

use clap::Args;
use hanse_core::{command, inquiry::Answer, schedule::Drain as Progress};
use hanse_crds::{Question, Scheduling};
use kube::Client;
use tokio::time::{sleep, timeout};

use crate::{
    cordon,
    failure::Failure,
    output::Streams,
    parsers::{dns_label, duration},
    prose::{clean, count},
    question::{self, Asking},
};

/// Between an answer and the next question.
const PAUSE: Duration = Duration::from_secs(1);

/// For the federation to take over that the member is drained, and for one answer.
const ANSWER: Duration = Duration::from_secs(30);

/// Workloads named in one line of progress.
const MOST_NAMED: usize = 3;

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
    let asking = Asking::within(namespace, ANSWER);
    let mut wait = Wait::default();
    let outcome = tokio::select! {
        outcome = timeout(drain.timeout, wait.until_drained(client, &asking, streams)) => outcome,
        _ = tokio::signal::ctrl_c() => Ok(Err(Failure::Interrupted)),
    };
    match outcome {
        Ok(Ok(())) => streams.answer_line(&format!(
            "member {member} is drained: nothing is left on it"
        )),
        Ok(Err(Failure::Interrupted)) => {
            let end = format!("kubectl hanse uncordon {member}");
            streams.explain(&format!("The drain goes on. To end it: {end}\n"))?;
            Err(Failure::Interrupted)
        }
        Ok(Err(failure)) => Err(failure),
        Err(_) => Err(Failure::TimedOut {
            what: format!("member {member} was not drained"),
            after: drain.timeout,
            hint: format!(
                "The drain goes on. To end it: kubectl hanse uncordon {member}\nWhat is left:\n{}",
                wait.left
            ),
        }),
    }
}

/// What was seen so far.
#[derive(Debug, Default)]
struct Wait {
    /// What is left, a line each.
    left: String,
    /// The last line of progress, which is not written twice in a row.
    shown: String,
}

impl Wait {
    async fn until_drained(
        &mut self,
        client: Client,
        asking: &Asking,
        streams: &mut Streams<'_>,
    ) -> Result<(), Failure> {
        loop {
            let line = match question::ask(client.clone(), asking, &Question::Drain {}).await {
                Ok(Answer::Drained { drain }) => {
                    if drain.scheduling != command::Scheduling::Drained {
                        return Err(Failure::Refused {
                            reason: "the member is no longer to be drained: somebody changed its `spec.scheduling`".to_owned(),
                        });
                    }
                    if drain.left.is_empty() {
                        return Ok(());
                    }
                    self.left = lines(&drain);
                    progress(&drain)
                }
                Ok(_) => {
                    return Err(Failure::Refused {
                        reason: "it answered another question".to_owned(),
                    });
                }
                // Nobody answers while a leader is elected.
                Err(failure @ (Failure::Refused { .. } | Failure::TimedOut { .. })) => {
                    format!("no answer, asking again: {}", clean(&failure.chain()))
                }
                Err(failure) => return Err(failure),
            };
            self.show(format!("waiting: {line}\n"), streams);
            sleep(PAUSE).await;
        }
    }

    fn show(&mut self, line: String, streams: &mut Streams<'_>) {
        if line != self.shown {
            // Waiting goes on when standard error is closed: the answer is written to standard output.
            drop(streams.explain(&line));
            self.shown = line;
        }
    }
}

fn progress(drain: &Progress) -> String {
    let all = drain.left.len() + drain.more;
    let named = drain.left.iter().take(MOST_NAMED);
    let named = named.map(|(key, why)| format!("{key} {}", clean(why)));
    let named: Vec<_> = named.collect();
    let others = match all - named.len() {
        0 => String::new(),
        others => format!("; and {others} more"),
    };
    let left = count(all, "workload");
    format!("{left} left: {}{others}", named.join("; "))
}

fn lines(drain: &Progress) -> String {
    let lines = drain.left.iter();
    let lines = lines.map(|(key, why)| format!("  {key} {}\n", clean(why)));
    let more = match drain.more {
        0 => String::new(),
        more => format!("  and {more} more\n"),
    };
    lines.collect::<String>() + &more
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
        let drain = Progress {
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
