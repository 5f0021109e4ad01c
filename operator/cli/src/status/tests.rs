use std::io::{self, Write};

use hanse_crds::{ConditionStatus::False, Lease, Quorum, Survives};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;
use crate::{
    table::Paint,
    testing::{self, FakeApi, Reply, captured},
};

const VOTERS: [&str; 3] = ["acme-eu-1", "beta-us-1", "gamma-ap-1"];

fn status(wait: bool) -> Status {
    Status {
        output: Format::Table,
        wait,
        timeout: Duration::from_mins(5),
    }
}

fn web(ready: i32) -> FederatedWorkload {
    let mut web = testing::workload("shop", "web", ready, 6, Survives::Owner);
    if ready < 6 {
        testing::condition(&mut web, "Ready", False, "Starting", "");
    }
    web
}

fn list(kind: &str, items: &Value) -> Reply {
    Reply::Json(json!({
        "apiVersion": "hanse.dev/v1alpha1", "kind": kind, "metadata": {"resourceVersion": "1"}, "items": items,
    }))
}

/// An API server that answers the n-th list of workloads, from 0, as `workloads` says.
fn api(mut workloads: impl FnMut(usize) -> Reply + Send + 'static) -> FakeApi {
    let mut polls = 0;
    FakeApi::new(move |_, path| match path {
        "/apis/hanse.dev/v1alpha1/federations" => list(
            "FederationList",
            &json!([testing::federation(Quorum::Healthy, &VOTERS)]),
        ),
        "/apis/hanse.dev/v1alpha1/members" => {
            let members = VOTERS.map(|name| testing::member(name, "acme", Lease::Held));
            list("MemberList", &json!(members))
        }
        "/apis/hanse.dev/v1alpha1/federatedworkloads" => {
            polls += 1;
            workloads(polls - 1)
        }
        _ => Reply::Never,
    })
}

fn of(workload: &FederatedWorkload) -> Reply {
    list("FederatedWorkloadList", &json!([workload]))
}

async fn run_against(api: &FakeApi, status: &Status) -> (Result<(), Failure>, String, String) {
    captured(async |streams| run(api.client(), None, status, streams).await).await
}

#[tokio::test]
async fn a_failing_answer_is_printed_and_exits_with_1() {
    for output in [Format::Table, Format::Json, Format::Yaml] {
        let status = Status {
            output,
            ..status(false)
        };
        let (result, answer, _) = run_against(&api(|_| of(&web(3))), &status).await;
        assert_eq!(result.unwrap_err().exit_code(), 1);
        assert!(answer.contains("shop/web is not healthy"), "{answer}");
    }
}

/// A pipe whose reader is gone.
struct ClosedPipe;

impl Write for ClosedPipe {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_closed_pipe_does_not_hide_that_the_status_is_failing() {
    let mut streams = Streams {
        answer: Box::new(ClosedPipe),
        explanation: Box::new(io::sink()),
        paint: Paint::Plain,
    };
    let client = api(|_| of(&web(3))).client();
    let result = run(client, None, &status(false), &mut streams).await;
    assert_eq!(result.unwrap_err().exit_code(), 1);
}

#[tokio::test]
async fn what_is_only_at_risk_exits_with_0() {
    let at_risk = || testing::workload("shop", "web", 6, 6, Survives::Nothing);
    for wait in [false, true] {
        let (result, answer, explanation) =
            run_against(&api(move |_| of(&at_risk())), &status(wait)).await;
        result.unwrap();
        assert!(answer.starts_with("AT RISK\n"), "{answer}");
        assert_eq!(explanation, "");
    }
}

#[tokio::test(start_paused = true)]
async fn it_waits_until_all_is_ready_and_tells_each_change_once() {
    let started = Instant::now();
    let api = api(|poll| match poll {
        0..=2 => of(&web(3)),
        3 => Reply::Status(503, "the server is starting"),
        4 => of(&web(4)),
        _ => of(&web(6)),
    });
    let (result, answer, explanation) = run_against(&api, &status(true)).await;
    result.unwrap();
    assert!(
        answer.starts_with("SAFE: "),
        "only the last status is printed: {answer}"
    );
    let told: Vec<&str> = explanation.lines().collect();
    assert_eq!(
        (told[0], told[2], told.len()),
        (
            "waiting: shop/web is not healthy: Starting",
            "waiting: shop/web is not healthy: Starting",
            3
        )
    );
    assert!(
        told[1].starts_with("waiting: the status could not be read: "),
        "{explanation}"
    );
    assert_eq!(started.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_change_that_the_operator_has_not_processed_is_waited_for() {
    let api = api(|poll| {
        let mut web = web(6);
        web.metadata.generation = Some(2);
        testing::status(&mut web).observed_generation = Some(if poll == 0 { 1 } else { 2 });
        of(&web)
    });
    let (result, _, explanation) = run_against(&api, &status(true)).await;
    result.unwrap();
    assert_eq!(
        explanation,
        "waiting: the operator has not processed the last change of shop/web\n"
    );
}

#[tokio::test(start_paused = true)]
async fn when_the_time_runs_out_the_last_status_is_printed_and_the_errors_are_named() {
    let api = api(|poll| match poll {
        0 => of(&web(3)),
        _ => Reply::Status(503, "the server is starting"),
    });
    let started = Instant::now();
    let (result, answer, _) = run_against(&api, &status(true)).await;
    assert_eq!(started.elapsed().as_secs(), 300);
    assert!(answer.starts_with("FAILING\n"), "{answer}");
    let failure = result.unwrap_err();
    assert_eq!(
        (failure.exit_code(), failure.chain().as_str()),
        (124, "not everything became ready within 5m")
    );
    let hint = failure.hint().unwrap();
    assert!(
        hint.starts_with("Still waiting: shop/web is not healthy: Starting\n"),
        "{hint}"
    );
    assert!(hint.contains("the server is starting"), "{hint}");
}

#[tokio::test(start_paused = true)]
async fn without_any_answer_there_is_no_status_to_print() {
    let (result, answer, _) = run_against(&FakeApi::new(|_, _| Reply::Never), &status(true)).await;
    let failure = result.unwrap_err();
    assert_eq!((failure.exit_code(), answer.as_str()), (124, ""));
    assert!(
        failure
            .hint()
            .unwrap()
            .contains("the API server did not answer")
    );
}
