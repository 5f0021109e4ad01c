//! The cluster this operator runs in, as every module that talks to its API server sees it.
//!
//! [`Cluster`] carries what they share: the client, who this member is, the way to the federation, the clock and the
//! source of randomness. [`bounded`] is how they call: no call outlives [`CALL_TIMEOUT`], and an error says at once
//! whether waiting can help ([`CallError`]).

use std::{fmt, future::Future, sync::Arc, time::Duration};

use hanse_core::id::{MemberName, OwnerName};
use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};
use kube::{Client, runtime::events::Recorder};

use crate::replicate::uplink::Uplink;

/// The longest a call to the local API server may take. The client itself has no limit; an API server that takes
/// longer than this for one object is as good as gone, and its retry is cheap.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// What every module that talks to the local API server needs. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    /// The local API server.
    pub client: Client,
    /// Where this operator keeps its own objects.
    pub namespace: String,
    /// This member.
    pub member: MemberName,
    /// Its owner.
    pub owner: OwnerName,
    /// The way to the federation.
    pub uplink: Uplink,
    /// Publishes Kubernetes events.
    pub recorder: Recorder,
    /// The wall clock: for times that people read and for expiry dates, never for a decision about leases.
    pub clock: Clock,
    /// Secret bytes.
    pub entropy: Entropy,
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cluster({} of {})", self.member, self.owner)
    }
}

/// A wall clock handed in.
#[derive(Clone)]
pub struct Clock(pub Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's own clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Timestamp::now))
    }

    /// Now, as Kubernetes writes it: whole seconds, because that is all that survives a round trip.
    #[must_use]
    pub fn now(&self) -> Time {
        let now = (self.0)();
        Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
    }

    /// Now, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        u64::try_from((self.0)().as_millisecond()).unwrap_or(0)
    }
}

/// A source of secret bytes handed in.
#[derive(Clone)]
pub struct Entropy(pub Arc<dyn Fn() -> [u8; 32] + Send + Sync>);

/// Why a call to the local API server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server understood and said no; the same call will be refused again until something changes.
    #[error("{message}")]
    Refused { code: u16, message: String },
    /// The object changed since it was read; look again.
    #[error("the object changed meanwhile")]
    Conflict,
    /// There is no such object (or no such namespace, or no such kind).
    #[error("{message}")]
    NotFound { message: String },
    /// The API server could not be reached or is in trouble itself; try again later.
    #[error("failed to reach the API server: {0}")]
    Unavailable(String),
}

impl CallError {
    /// Whether the same call may succeed later without anyone changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::NotFound { .. } => false,
            Self::Conflict | Self::Unavailable(_) => true,
        }
    }
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(status.code, status.message),
            other => Self::Unavailable(chain(&other)),
        }
    }
}

impl CallError {
    fn of_status(code: u16, message: String) -> Self {
        match code {
            404 => Self::NotFound { message },
            409 => Self::Conflict,
            // Too early, too many, and a token that is just being renewed: all of these pass by themselves.
            401 | 408 | 425 | 429 => Self::Unavailable(message),
            400..=499 => Self::Refused { code, message },
            _ => Self::Unavailable(message),
        }
    }
}

/// An error with everything it was caused by, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_line = cause.to_string();
        if !line.contains(&cause_line) {
            line = format!("{line}: {cause_line}");
        }
        source = cause.source();
    }
    line
}

/// Calls the local API server, for at most [`CALL_TIMEOUT`].
pub async fn bounded<T>(
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(CALL_TIMEOUT, call).await {
        Ok(answer) => answer.map_err(CallError::from),
        Err(_) => Err(CallError::Unavailable(format!(
            "no answer within {} s",
            CALL_TIMEOUT.as_secs()
        ))),
    }
}

/// [`bounded`], where the object's absence is an answer.
pub async fn optional<T>(
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<Option<T>, CallError> {
    match bounded(call).await {
        Ok(found) => Ok(Some(found)),
        Err(CallError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_says_whether_waiting_can_help() {
        let transient = |code| CallError::of_status(code, String::new()).is_transient();
        let cases =
            [400, 401, 403, 404, 409, 422, 429, 500, 503].map(|code| (code, transient(code)));
        assert_eq!(
            cases,
            [
                (400, false),
                (401, true),
                (403, false),
                (404, false),
                (409, true),
                (422, false),
                (429, true),
                (500, true),
                (503, true)
            ]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_call_outlives_its_limit() {
        let answer: Result<(), _> = bounded(std::future::pending()).await;
        assert_eq!(
            answer.map_err(|error| error.to_string()),
            Err("failed to reach the API server: no answer within 10 s".to_owned())
        );
    }
}
