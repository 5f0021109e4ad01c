//! What the answer of an API server means: whose fault it is, and the reason in one line. Pure.
//!
//! An API server reports a field that the schema does not have, or a value of the wrong type, as an internal error if it
//! finds it in a server-side apply. It puts the reason for an invalid field behind a dump of the whole value. Both are
//! put right here, so that nobody else has to read messages.

use kube::core::Status;

use super::error::CallError;

/// How the message about a manifest that does not fit its schema begins. Source: `CreateTypedPatch` in
/// `k8s.io/apimachinery/pkg/util/managedfields/internal`.
const UNTYPED: &str = "failed to create typed patch object (";

/// The longest value that is worth repeating, in characters. A longer one is a dump.
const LONGEST_VALUE: usize = 80;

/// The fields named in one line; the others are counted.
const NAMED_FIELDS: usize = 3;

/// The error that this answer is.
pub(super) fn error_of(status: Status) -> CallError {
    let Status {
        code,
        message,
        reason,
        details,
        ..
    } = status;
    let causes = details.map(|details| details.causes).unwrap_or_default();
    let fields = || {
        let lines = causes
            .iter()
            .filter(|cause| !cause.field.is_empty())
            .map(|cause| format!("{}: {}", field(&cause.field), why(&cause.message)));
        summed_up(&lines.collect::<Vec<_>>(), &message)
    };
    match code {
        404 => CallError::NotFound { message },
        409 if causes.iter().any(|it| it.reason == "FieldManagerConflict") => {
            let owned = causes.iter().map(|cause| {
                let field = field(&cause.field);
                format!("{field} is owned by '{}'", manager(&cause.message))
            });
            CallError::Owned {
                message: summed_up(&owned.collect::<Vec<_>>(), &message),
                managers: causes
                    .iter()
                    .map(|it| manager(&it.message).to_owned())
                    .collect(),
            }
        }
        409 => CallError::Conflict,
        422 if causes.iter().any(|it| it.message.contains("immutable")) => {
            CallError::Immutable { message: fields() }
        }
        422 => CallError::Refused {
            code,
            message: fields(),
        },
        // Too early, too many requests, and a token that is being renewed: all of these are temporary.
        401 | 408 | 425 | 429 => CallError::Unavailable(message),
        // The namespace is going; what waits for it looks again.
        403 if reason == "Forbidden" && message.contains("is being terminated") => {
            CallError::Terminating { message }
        }
        400..=499 => CallError::Refused { code, message },
        _ => match untyped(&message) {
            Some(message) => CallError::Refused { code: 400, message },
            None => CallError::Unavailable(message),
        },
    }
}

/// The reason why a manifest does not fit its schema, if this is about that:
/// `failed to create typed patch object (<namespace>/<name>; <version>, Kind=<kind>): <path>: <reason>`.
fn untyped(message: &str) -> Option<String> {
    let (_, reasons) = message.strip_prefix(UNTYPED)?.split_once("): ")?;
    let lines = reasons.lines().map(|line| {
        let line = line.trim();
        let Some((path, reason)) = line.split_once(": ").filter(|_| line.starts_with('.')) else {
            return line.to_owned();
        };
        let reason = match reason {
            "field not declared in schema" => "there is no such field; is it misspelt?".to_owned(),
            other => expected(other).unwrap_or_else(|| other.to_owned()),
        };
        format!("{}: {reason}", field(path))
    });
    Some(summed_up(&lines.collect::<Vec<_>>(), message))
}

/// `expected string, got &value.valueUnstructured{Value:true}` in words.
fn expected(reason: &str) -> Option<String> {
    let (kind, got) = reason.strip_prefix("expected ")?.split_once(", got ")?;
    let value = got
        .strip_prefix("&value.valueUnstructured{Value:")
        .and_then(|rest| rest.strip_suffix('}'))?;
    let hint = if kind == "string" { " (quote it)" } else { "" };
    Some(format!("must be a {kind}, not {value}{hint}"))
}

/// The reason behind a dump of the value: `Invalid value: <dump>: <reason>`.
fn why(message: &str) -> &str {
    match message.rsplit_once(": ") {
        Some((before, reason)) if before.chars().count() > LONGEST_VALUE => reason,
        Some(_) | None => message,
    }
}

/// `conflict with "kubectl" with subresource "scale" using apps/v1` names its manager in quotes.
fn manager(message: &str) -> &str {
    message.split('"').nth(1).unwrap_or("another manager")
}

fn field(path: &str) -> &str {
    path.strip_prefix('.').unwrap_or(path)
}

fn summed_up(lines: &[String], otherwise: &str) -> String {
    if lines.is_empty() {
        return otherwise.to_owned();
    }
    let named = lines.iter().take(NAMED_FIELDS).cloned();
    let named = named.collect::<Vec<_>>().join("; ");
    match lines.len().checked_sub(NAMED_FIELDS) {
        None | Some(0) => named,
        Some(more) => format!("{named}; and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::response::{StatusCause, StatusDetails};

    use super::*;

    fn answer(code: u16, message: &str, causes: &[(&str, &str, &str)]) -> CallError {
        let causes = causes.iter().map(|(reason, field, message)| StatusCause {
            reason: (*reason).to_owned(),
            field: (*field).to_owned(),
            message: (*message).to_owned(),
        });
        let details = StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: causes.collect(),
            retry_after_seconds: 0,
        };
        let status = Status::failure(message, "").with_code(code);
        error_of(status.with_details(details))
    }

    #[test]
    fn the_status_code_tells_whether_a_retry_can_succeed() {
        let transient = |code| answer(code, "", &[]).is_transient();
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

    #[test]
    fn a_manifest_that_does_not_fit_its_schema_is_the_users_fault_although_the_code_is_500() {
        let words = |reasons: &str| {
            let message = format!(
                "failed to create typed patch object (default/x; apps/v1, Kind=Deployment): {reasons}"
            );
            let error = answer(500, &message, &[]);
            (error.is_transient(), error.to_string())
        };
        assert_eq!(
            words(".data.flag: expected string, got &value.valueUnstructured{Value:true}"),
            (
                false,
                "data.flag: must be a string, not true (quote it)".into()
            )
        );
        assert_eq!(
            words(".spec.selectr: field not declared in schema"),
            (
                false,
                "spec.selectr: there is no such field; is it misspelt?".into()
            )
        );
    }

    #[test]
    fn an_invalid_field_is_named_without_a_dump_of_its_value() {
        let dump = format!(
            "Invalid value: {{\"labels\":{:?}}}: field is immutable",
            "x".repeat(500)
        );
        let error = answer(
            422,
            "",
            &[("FieldValueInvalid", "spec.template", dump.as_str())],
        );
        assert!(matches!(error, CallError::Immutable { .. }));
        assert_eq!(error.to_string(), "spec.template: field is immutable");
        let port = "Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767";
        let error = answer(
            422,
            "",
            &[("FieldValueInvalid", "spec.ports[0].nodePort", port)],
        );
        assert_eq!(error.to_string(), format!("spec.ports[0].nodePort: {port}"));
    }

    #[test]
    fn a_field_of_another_manager_is_named_with_its_manager() {
        let cause = (
            "FieldManagerConflict",
            ".spec.replicas",
            "conflict with \"kubectl\" with subresource \"scale\" using apps/v1",
        );
        let error = answer(409, "", &[cause]);
        assert!(!error.is_transient());
        assert_eq!(error.to_string(), "spec.replicas is owned by 'kubectl'");
    }
}
