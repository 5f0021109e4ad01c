//! The overrides of a specification as a user writes them, and as the ledger has them.

use hanse_core::workload::{Override, SpecError};
use hanse_crds::{OverriddenManifests, PatchOperation, Requirements};
use serde_json::Value;

use super::expressions::{expression, written_expression};

/// The overrides of an object, in the ledger's types.
pub(super) fn overrides_of(written: &[hanse_crds::Override]) -> Result<Vec<Override>, SpecError> {
    let overrides = written.iter().enumerate().map(|(number, it)| {
        override_of(it).map_err(|message| SpecError::Override { number, message })
    });
    overrides.collect()
}

fn override_of(written: &hanse_crds::Override) -> Result<Override, String> {
    let hanse_crds::Override {
        members: Requirements {
            match_labels,
            match_expressions,
        },
        manifests: OverriddenManifests { kind, name },
        image_registry,
        merge,
        patch,
    } = written;
    let operations = patch.iter().enumerate().map(|(number, operation)| {
        let written = serde_json::to_value(operation).unwrap_or_default();
        let read = serde_json::from_value(written);
        read.map_err(|error| format!("has an unusable operation `patch[{number}]`: {error}"))
    });
    Ok(Override {
        match_labels: match_labels.clone(),
        match_expressions: match_expressions.iter().map(expression).collect(),
        kind: kind.clone(),
        name: name.clone(),
        image_registry: image_registry.clone(),
        merge: merge.clone(),
        patch: operations
            .collect::<Result<_, String>>()
            .map(json_patch::Patch)?,
    })
}

/// An override of the ledger, in the object's types.
pub(super) fn written_override(change: &Override) -> hanse_crds::Override {
    let operations = change.patch.0.iter();
    // The ledger's operations are checked: each has an operator and what belongs to it.
    let operations = operations.filter_map(|operation| {
        let written: Value = serde_json::to_value(operation).ok()?;
        serde_json::from_value::<PatchOperation>(written).ok()
    });
    hanse_crds::Override {
        members: Requirements {
            match_labels: change.match_labels.clone(),
            match_expressions: change
                .match_expressions
                .iter()
                .map(written_expression)
                .collect(),
        },
        manifests: OverriddenManifests {
            kind: change.kind.clone(),
            name: change.name.clone(),
        },
        image_registry: change.image_registry.clone(),
        merge: change.merge.clone(),
        patch: operations.collect(),
    }
}
