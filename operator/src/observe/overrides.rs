//! The overrides of a specification as a user writes them, and as the ledger has them: the same JSON.

use hanse_core::workload::{Override, SpecError};

/// The overrides of an object, in the ledger's types.
pub(super) fn overrides_of(written: &[hanse_crds::Override]) -> Result<Vec<Override>, SpecError> {
    let overrides = written.iter().enumerate().map(|(number, written)| {
        let read = serde_json::to_value(written).and_then(serde_json::from_value);
        read.map_err(|error| {
            let message = format!("is not complete: {error}");
            SpecError::Override { number, message }
        })
    });
    overrides.collect()
}

/// The overrides of the ledger, in the object's types. Each was read from one of these.
pub(super) fn written_overrides(overrides: &[Override]) -> Vec<hanse_crds::Override> {
    let written = overrides.iter().map(serde_json::to_value);
    let written = written.flatten().map(serde_json::from_value);
    written.flatten().collect()
}
