//! Lists of a specification that are the same JSON as a user writes them and as the ledger has them.

use hanse_core::{strict, workload::SpecError};
use serde::{Serialize, de::DeserializeOwned};

/// The items in the ledger's types. `wrong` says which one is not complete, and why.
pub(super) fn read<T: DeserializeOwned>(
    written: &[impl Serialize],
    wrong: impl Fn(usize, String) -> SpecError,
) -> Result<Vec<T>, SpecError> {
    let items = written.iter().enumerate().map(|(number, written)| {
        let read = serde_json::to_value(written).and_then(strict::read);
        read.map_err(|error| wrong(number, format!("is not complete: {error}")))
    });
    items.collect()
}

/// Items of the ledger in the object's types. Each was read from one of these, so that none is left out.
pub(super) fn write<T: DeserializeOwned>(items: &[impl Serialize]) -> Vec<T> {
    let written = items.iter().map(serde_json::to_value);
    let written = written.flatten().map(serde_json::from_value);
    written.flatten().collect()
}
