//! Reading the status of an object.

use serde_json::Value;

/// A text; empty if there is none.
pub(super) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    let found = object.pointer(pointer).and_then(Value::as_str);
    found.unwrap_or_default()
}

/// A whole number.
pub(super) fn number(object: &Value, pointer: &str) -> Option<u64> {
    object.pointer(pointer).and_then(Value::as_u64)
}

/// The items of a list; none if there is no list.
pub(super) fn items<'a>(object: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    let found = object.pointer(pointer).and_then(Value::as_array);
    found.into_iter().flatten()
}

/// Status, reason and message of the condition of this type.
pub(super) fn condition<'a>(object: &'a Value, name: &str) -> Option<(&'a str, &'a str, &'a str)> {
    let mut conditions = items(object, "/status/conditions");
    let found = conditions.find(|condition| text(condition, "/type") == name)?;
    Some((
        text(found, "/status"),
        text(found, "/reason"),
        text(found, "/message"),
    ))
}

/// Whether the condition of this type is true.
pub(super) fn holds(object: &Value, name: &str) -> bool {
    condition(object, name).is_some_and(|(status, ..)| status == "True")
}
