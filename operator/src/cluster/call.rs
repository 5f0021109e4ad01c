//! One call to the local API server: limited in time, in the name of the operator, with an error that tells whether a
//! retry can succeed.

use std::{future::Future, time::Duration};

use hanse_crds::names;
use kube::api::{PatchParams, PostParams};

/// The longest a call to the local API server may take. The client itself has no timeout; an API server that takes
/// longer than this for one object is treated as unreachable, and a retry is cheap.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a call to the local API server failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server rejected the request; the same call fails again until something changes.
    #[error("{message}")]
    Refused { code: u16, message: String },
    /// The object changed since it was read; read it again.
    #[error("the object changed meanwhile")]
    Conflict,
    /// There is no such object (or no such namespace, or no such kind).
    #[error("{message}")]
    NotFound { message: String },
    /// The API server could not be reached or failed itself; retry later.
    #[error("failed to reach the API server: {0}")]
    Unavailable(String),
}

impl CallError {
    /// Whether the same call may succeed later without any change.
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
            // Too early, too many requests, and a token that is being renewed: all of these are temporary.
            401 | 408 | 425 | 429 => Self::Unavailable(message),
            400..=499 => Self::Refused { code, message },
            _ => Self::Unavailable(message),
        }
    }
}

/// An error and its causes, on one line.
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

/// [`bounded`], with `None` if the object does not exist.
pub(crate) async fn optional<T>(
    call: impl Future<Output = Result<T, kube::Error>>,
) -> Result<Option<T>, CallError> {
    match bounded(call).await {
        Ok(found) => Ok(Some(found)),
        Err(CallError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// For a merge patch: the API server records the operator as the manager of the patched fields.
pub(crate) fn merging() -> PatchParams {
    PatchParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    }
}

/// For server-side apply: the operator takes over the applied fields, also from another manager.
pub(crate) fn applying() -> PatchParams {
    PatchParams::apply(names::FIELD_MANAGER).force()
}

/// For a new object: the API server records the operator as the manager of its fields.
pub(crate) fn creating() -> PostParams {
    PostParams {
        field_manager: Some(names::FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_code_tells_whether_a_retry_can_succeed() {
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
    async fn every_call_ends_within_its_time_limit() {
        let answer: Result<(), _> = bounded(std::future::pending()).await;
        assert_eq!(
            answer.map_err(|error| error.to_string()),
            Err("failed to reach the API server: no answer within 10 s".to_owned())
        );
    }
}
