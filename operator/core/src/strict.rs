//! Reading a value of which nothing may be skipped.

use serde::{Deserialize, Deserializer, de::Error as _};

/// Reads a value. A part that its type does not know is an error: who skipped it would do something else than asked.
pub fn read<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    let mut unknown = None;
    let value = serde_ignored::deserialize(from, |path| {
        unknown.get_or_insert_with(|| path.to_string());
    })?;
    match unknown {
        Some(path) => Err(D::Error::custom(format!("unknown field `{path}`"))),
        None => Ok(value),
    }
}
