//! For tests: objects, minimal and different from one another where it matters, and an API server that answers by script.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use hanse_crds::{
    Condition, ConditionStatus, Exclusion, FederatedWorkload, FederatedWorkloadSpec,
    FederatedWorkloadStatus, Federation, FederationRole, FederationSpec, FederationStatus, Lease,
    Member, MemberSpec, MemberStatus, PlacementState, PlacementStatus, Quorum, Survives,
    set_condition,
};
use http::{Request, Response};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{Client, client::Body};
use serde_json::{Value, json};

use crate::{failure::Failure, output::Streams, table::Paint};

pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn seconds_ago(seconds: i64) -> Time {
    Time(Timestamp::from_second(1_800_000_000 - seconds).unwrap())
}

/// A federation whose first voter leads and is the member that is asked.
pub(crate) fn federation(quorum: Quorum, voters: &[&str]) -> Federation {
    let mut federation = Federation::new("hanse", FederationSpec {});
    federation.status = Some(FederationStatus {
        id: Some("4f1d2c3b5a697887a0b1c2d3e4f50617".into()),
        member: Some(voters[0].into()),
        role: Some(FederationRole::Leader),
        leader: (quorum != Quorum::Lost).then(|| voters[0].into()),
        quorum: Some(quorum),
        voters: voters.iter().map(ToString::to_string).collect(),
        voter_count: i32::try_from(voters.len()).unwrap(),
        term: Some(3),
        height: Some(1204),
        head: Some("9f2c41d7".repeat(8)),
        ..FederationStatus::default()
    });
    federation
}

pub(crate) fn member(name: &str, owner: &str, lease: Lease) -> Member {
    let mut member = Member::new(name, MemberSpec::default());
    member.status = Some(MemberStatus {
        owner: Some(owner.into()),
        key: Some("0a".repeat(32)),
        lease: Some(lease),
        lease_epoch: Some(7),
        lease_transition_time: Some(seconds_ago(42)),
        version: Some("0.1.0".into()),
        ..MemberStatus::default()
    });
    member
}

/// A workload that is ready if as many replicas are as are desired.
pub(crate) fn workload(
    namespace: &str,
    name: &str,
    ready: i32,
    desired: i32,
    survives: Survives,
) -> FederatedWorkload {
    let mut workload = FederatedWorkload::new(name, FederatedWorkloadSpec::default());
    workload.metadata.namespace = Some(namespace.into());
    workload.status = Some(FederatedWorkloadStatus {
        ready,
        desired,
        survives: Some(survives),
        epoch: Some(1187),
        ..FederatedWorkloadStatus::default()
    });
    condition(
        &mut workload,
        "Ready",
        (ready == desired).into(),
        "AllReady",
        "",
    );
    if survives == Survives::Nothing {
        let message = "would not survive the loss of any one cluster: without member 'acme-1' no other member may host it";
        condition(
            &mut workload,
            "Survivable",
            ConditionStatus::False,
            "NoOtherHost",
            message,
        );
    }
    workload
}

pub(crate) fn status(workload: &mut FederatedWorkload) -> &mut FederatedWorkloadStatus {
    workload.status.as_mut().unwrap()
}

pub(crate) fn condition(
    workload: &mut FederatedWorkload,
    type_: &str,
    status: ConditionStatus,
    reason: &str,
    message: &str,
) {
    let condition = Condition::new(type_, status, reason, message, seconds_ago(9));
    set_condition(&mut self::status(workload).conditions, condition);
}

pub(crate) fn placement(
    member: &str,
    replicas: i32,
    ready: i32,
    state: PlacementState,
) -> PlacementStatus {
    let owner = member.split('-').next().unwrap().into();
    PlacementStatus {
        member: member.into(),
        owner,
        replicas,
        surge: 0,
        ready,
        epoch: 1187,
        state,
        message: String::new(),
    }
}

pub(crate) fn exclusion(member: &str, reason: &str, message: &str) -> Exclusion {
    Exclusion {
        member: member.into(),
        reason: reason.into(),
        message: message.into(),
    }
}

/// What the scripted API server answers.
pub(crate) enum Reply {
    Json(Value),
    Status(u16, &'static str),
    /// No answer; the connection stays open.
    Never,
}

type Script = Box<dyn FnMut(&str, &str) -> Reply + Send>;

/// An API server that answers by script and remembers what it was asked.
#[derive(Clone)]
pub(crate) struct FakeApi {
    script: Arc<Mutex<Script>>,
    asked: Arc<Mutex<Vec<String>>>,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl FakeApi {
    /// `script` answers a method and a path without its query.
    pub(crate) fn new(script: impl FnMut(&str, &str) -> Reply + Send + 'static) -> Self {
        Self {
            script: Arc::new(Mutex::new(Box::new(script))),
            asked: Arc::default(),
            bodies: Arc::default(),
        }
    }

    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::new(service, "default")
    }

    /// Methods and paths, in the order they were asked.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// The bodies of the requests that had one.
    pub(crate) fn bodies(&self) -> Vec<String> {
        self.bodies.lock().unwrap().clone()
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let (method, path) = (head.method.as_str(), head.uri.path());
        self.asked.lock().unwrap().push(format!("{method} {path}"));
        let body = body.collect_bytes().await.unwrap();
        if !body.is_empty() {
            self.bodies
                .lock()
                .unwrap()
                .push(String::from_utf8(body.to_vec()).unwrap());
        }
        let watch = head
            .uri
            .query()
            .is_some_and(|query| query.contains("watch=true"));
        let reply = if watch {
            Reply::Never
        } else {
            (self.script.lock().unwrap())(method, path)
        };
        match reply {
            Reply::Json(value) => respond(200, &value),
            Reply::Status(code, message) => respond(
                code,
                &json!({"apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "message": message}),
            ),
            Reply::Never => std::future::pending().await,
        }
    }
}

fn respond(code: u16, body: &Value) -> Response<Body> {
    let body = Body::from(Bytes::from(body.to_string()));
    Response::builder().status(code).body(body).unwrap()
}

/// Runs `command` and returns what it came to, its answer and its explanation.
pub(crate) async fn captured(
    command: impl AsyncFnOnce(&mut Streams<'_>) -> Result<(), Failure>,
) -> (Result<(), Failure>, String, String) {
    let (mut answer, mut explanation) = (Vec::new(), Vec::new());
    let mut streams = Streams {
        answer: Box::new(&mut answer),
        explanation: Box::new(&mut explanation),
        paint: Paint::Plain,
    };
    let result = command(&mut streams).await;
    drop(streams);
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (result, text(answer), text(explanation))
}
