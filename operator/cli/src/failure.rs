//! Everything that can go wrong, each with what to do about it.

use std::{error::Error, io, path::PathBuf, time::Duration};

use humantime::format_duration;
use kube::{
    config::{InferConfigError, KubeconfigError},
    core::Status,
    runtime::watcher,
};

use crate::prose;

/// What was asked of the API server, in the words of RBAC.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Such as `list`.
    pub(crate) verb: &'static str,
    /// Plural and group, such as `members.hanse.dev`; only the plural for the core group.
    pub(crate) resource: &'static str,
    /// The namespace, where it was asked in one.
    pub(crate) namespace: Option<String>,
}

/// Why a command could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("failed to find a cluster to talk to")]
    FindCluster {
        #[source]
        source: InferConfigError,
    },
    #[error("failed to read the kubeconfig")]
    ReadKubeconfig {
        #[source]
        source: KubeconfigError,
    },
    #[error("failed to make a client for the cluster")]
    BuildClient {
        #[source]
        source: kube::Error,
    },
    #[error("failed to reach the API server")]
    Reach {
        #[source]
        source: kube::Error,
    },
    #[error("the API server did not accept the credentials: {words}")]
    Unauthorized { words: String },
    #[error("not allowed to {} {}: {words}", asked.verb, asked.resource)]
    Forbidden { asked: Asked, words: String },
    #[error("Hanse is not installed in this cluster: its API server has no {resource}")]
    NotInstalled { resource: &'static str },
    #[error("there is no namespace '{namespace}' in this cluster")]
    NoNamespace { namespace: String },
    #[error("the operator of this cluster has not reported yet")]
    NoFederation,
    #[error("the status is FAILING")]
    Failing,
    #[error("{} would not run as it should", prose::count(*workloads, "workload"))]
    WouldFail { workloads: usize },
    #[error("{} would have other objects, or refuse them", prose::count(*members, "member"))]
    Differs { members: usize },
    #[error("there is no FederatedWorkload '{name}' in namespace '{namespace}'")]
    NoWorkload { namespace: String, name: String },
    #[error("failed to make one workload of these objects: {why}")]
    Wrap { why: String },
    #[error("failed to read {}: {why}", path.display())]
    ReadFile { path: PathBuf, why: String },
    #[error("there is no member '{member}' in this federation")]
    NoMember { member: String },
    #[error("member '{member}' is this cluster itself")]
    OwnMember { member: String },
    #[error("member '{member}' is another cluster")]
    OtherMember { member: String },
    #[error("the operator refused: {reason}")]
    Refused { reason: String },
    #[error("failed to read the confirmation")]
    Confirm {
        #[source]
        source: io::Error,
    },
    #[error("nothing was changed")]
    Declined,
    #[error("{what} within {}", format_duration(*after))]
    TimedOut {
        what: String,
        after: Duration,
        hint: String,
    },
    #[error("failed to {} {}", asked.verb, asked.resource)]
    Request {
        asked: Asked,
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    #[error("failed to write the answer")]
    Write {
        #[source]
        source: io::Error,
    },
    #[error("interrupted")]
    Interrupted,
}

impl Asked {
    pub(crate) fn of(verb: &'static str, resource: &'static str) -> Self {
        Self {
            verb,
            resource,
            namespace: None,
        }
    }

    pub(crate) fn within(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// What the API server's refusal means for the person who asked.
    pub(crate) fn failed(self, error: kube::Error) -> Failure {
        match error {
            kube::Error::Api(status) => self.refused(&status),
            source @ (kube::Error::Service(_) | kube::Error::HyperError(_)) => {
                Failure::Reach { source }
            }
            source => Failure::Request {
                asked: self,
                source: source.into(),
            },
        }
    }

    /// The same of a watch, which is a list and then a watch. `self` says of what.
    pub(crate) fn failed_to_watch(self, error: watcher::Error) -> Failure {
        let asked = |verb| Self { verb, ..self };
        match error {
            watcher::Error::InitialListFailed(error) => asked("list").failed(error),
            watcher::Error::WatchStartFailed(error) | watcher::Error::WatchFailed(error) => {
                asked("watch").failed(error)
            }
            other => Failure::Request {
                asked: asked("watch"),
                source: other.into(),
            },
        }
    }

    fn refused(self, status: &Status) -> Failure {
        let words = status.message.clone();
        if status.code == 401 {
            return Failure::Unauthorized { words };
        }
        if status.code == 403 {
            return Failure::Forbidden { asked: self, words };
        }
        let kind_missing = status.details.as_ref().map(|details| details.kind.as_str());
        match (status.code, kind_missing, &self.namespace) {
            (404, Some("namespaces"), Some(namespace)) => Failure::NoNamespace {
                namespace: namespace.clone(),
            },
            // Only a list is asked of the kinds of Hanse before one object is, so a 404 means the kind.
            (404, ..) if self.verb == "list" => Failure::NotInstalled {
                resource: self.resource,
            },
            _ => Failure::Request {
                asked: self,
                source: words.into(),
            },
        }
    }
}

impl Failure {
    /// 124 as `timeout(1)` has it, 130 as shells have it.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::TimedOut { .. } => 124,
            Self::Interrupted => 130,
            // The reader closed the pipe, as in `kubectl hanse members | head -1`.
            Self::Write { source } if source.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::FindCluster { .. }
            | Self::ReadKubeconfig { .. }
            | Self::BuildClient { .. }
            | Self::Reach { .. }
            | Self::Unauthorized { .. }
            | Self::Forbidden { .. }
            | Self::NotInstalled { .. }
            | Self::NoNamespace { .. }
            | Self::NoFederation
            | Self::Failing
            | Self::WouldFail { .. }
            | Self::Differs { .. }
            | Self::NoWorkload { .. }
            | Self::ReadFile { .. }
            | Self::Wrap { .. }
            | Self::NoMember { .. }
            | Self::OwnMember { .. }
            | Self::OtherMember { .. }
            | Self::Refused { .. }
            | Self::Confirm { .. }
            | Self::Declined
            | Self::Request { .. }
            | Self::Write { .. } => 1,
        }
    }

    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::FindCluster { .. } | Self::ReadKubeconfig { .. } | Self::BuildClient { .. } => {
                "Name a kubeconfig with --kubeconfig or KUBECONFIG, and one of its contexts with --context.".into()
            }
            Self::Reach { .. } => {
                "Is the cluster up? Any other member of the same owner shows the same federation: try its --context.".into()
            }
            Self::Unauthorized { .. } => {
                "Log in again, or choose another user with --context.".into()
            }
            Self::Forbidden { asked, .. } => asked.grant(),
            Self::NotInstalled { .. } => {
                "Install it (helm install hanse charts/hanse --namespace hanse-system --create-namespace ...), or choose \
                 another cluster with --context."
                    .into()
            }
            Self::NoNamespace { .. } => "Name the namespace of the operator with --namespace.".into(),
            Self::NoFederation => {
                "Is it running? kubectl get pods --all-namespaces --selector app.kubernetes.io/name=hanse".into()
            }
            Self::NoWorkload { .. } => {
                "Name its namespace with --namespace, or as NAMESPACE/NAME. kubectl get fwl -A lists them all.".into()
            }
            Self::NoMember { .. } => "kubectl hanse members lists them.".into(),
            Self::OwnMember { .. } => {
                "A member cannot revoke itself: run this against another member's cluster, with --context.".into()
            }
            Self::OtherMember { .. } => {
                "Its owner decides what it takes: run this against that cluster, with --context. `kubectl hanse members` marks this \
                 cluster's own member with an asterisk."
                    .into()
            }
            Self::TimedOut { hint, .. } => hint.clone(),
            Self::Failing
            | Self::WouldFail { .. }
            | Self::Differs { .. }
            | Self::ReadFile { .. }
            | Self::Wrap { .. }
            | Self::Refused { .. }
            | Self::Confirm { .. }
            | Self::Declined
            | Self::Request { .. }
            | Self::Write { .. }
            | Self::Interrupted => return None,
        };
        Some(hint)
    }

    /// The error and its causes on one line.
    pub(crate) fn chain(&self) -> String {
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let words = error.to_string();
            // Some errors already end with the text of their cause.
            if !line.ends_with(&words) {
                line = format!("{line}: {words}");
            }
            cause = error.source();
        }
        line
    }
}

impl Asked {
    /// How to grant the right that is missing, together with the others that the same command needs.
    fn grant(&self) -> String {
        let Self {
            verb,
            resource,
            namespace,
        } = self;
        let (verbs, resources) = match (*verb, *resource) {
            (_, "secrets") => ("create,list,watch,delete", "secrets"),
            ("patch", _) => ("patch", *resource),
            _ => (
                "get,list,watch",
                "federations.hanse.dev,members.hanse.dev,federatedworkloads.hanse.dev",
            ),
        };
        let (place, within, role) = match namespace {
            Some(namespace) => {
                let place = format!("in namespace '{namespace}'");
                (place, format!(" -n {namespace}"), "role")
            }
            None => (
                "in the whole cluster".to_owned(),
                String::new(),
                "clusterrole",
            ),
        };
        format!(
            "Missing in your RBAC: verb '{verb}' on '{resource}' {place}. To grant it and what goes with it:\n  \
             kubectl{within} create {role} hanse-user --verb={verbs} --resource={resources}\n  \
             kubectl{within} create {role}binding hanse-user --{role}=hanse-user --user=YOU"
        )
    }
}

#[cfg(test)]
mod tests {
    use kube::core::response::StatusDetails;

    use super::*;

    fn status(code: u16, reason: &str, message: &str) -> Status {
        Status::failure(message, reason).with_code(code)
    }

    fn told(failure: &Failure) -> String {
        let hint = failure.hint().unwrap_or_default();
        format!("{} | {}\n{hint}", failure.exit_code(), failure.chain())
    }

    #[test]
    fn a_missing_right_is_named_with_the_commands_that_grant_it() {
        let words = r#"members.hanse.dev is forbidden: User "jo" cannot list resource "members""#;
        let refusal = || kube::Error::Api(status(403, "Forbidden", words).boxed());
        insta::assert_snapshot!(told(
            &Asked::of("list", "members.hanse.dev").failed(refusal())
        ));
        let asked = Asked::of("create", "secrets").within("hanse-system");
        insta::assert_snapshot!(told(&asked.failed(refusal())));
    }

    #[test]
    fn an_unknown_kind_means_that_hanse_is_not_installed() {
        let error = kube::Error::Api(status(404, "NotFound", "404 page not found").boxed());
        insta::assert_snapshot!(told(
            &Asked::of("list", "federations.hanse.dev").failed(error)
        ));
    }

    #[test]
    fn a_missing_namespace_is_not_a_missing_installation() {
        let details: StatusDetails =
            serde_json::from_value(serde_json::json!({"kind": "namespaces"})).unwrap();
        let status = status(404, "NotFound", r#"namespaces "hanse-system" not found"#);
        let error = kube::Error::Api(status.with_details(details).boxed());
        let asked = Asked::of("create", "secrets").within("hanse-system");
        insta::assert_snapshot!(told(&asked.failed(error)));
    }

    #[test]
    fn an_unreachable_api_server_is_told_with_its_cause() {
        let error = kube::Error::Service("connection refused".into());
        insta::assert_snapshot!(told(&Asked::of("list", "members.hanse.dev").failed(error)));
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let source = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::Write { source }.exit_code(), 0);
    }
}
