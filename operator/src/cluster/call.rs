//! One call to the local API server: limited in time, in the name of the operator, with an error that tells whether a
//! retry can succeed.

use std::{future::Future, time::Duration};

use hanse_crds::names;
use kube::api::{PatchParams, PostParams};

use super::{error::CallError, status::error_of};

/// The longest a call to the local API server may take. The client itself has no timeout; an API server that takes
/// longer than this for one object is treated as unreachable, and a retry is cheap.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(10);

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => error_of(*status),
            other => Self::Unavailable(chain(&other)),
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

    #[tokio::test(start_paused = true)]
    async fn every_call_ends_within_its_time_limit() {
        let answer: Result<(), _> = bounded(std::future::pending()).await;
        assert_eq!(
            answer.map_err(|error| error.to_string()),
            Err("failed to reach the API server: no answer within 10 s".to_owned())
        );
    }
}
