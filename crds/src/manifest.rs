//! The definitions of all kinds, as objects and as the YAML committed in `manifests/`.
//!
//! ```text
//! types ──derive──► crd() ──as_installed()──► all() ──YAML──► manifests()  one file per kind
//!                                                            └──► manifest_yaml()  all in one stream
//! ```

use std::collections::BTreeMap;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_yaml::Value;

use crate::{FederatedWorkload, Federation, HostingPolicy, Member, schema::MAX_SAFE_INTEGER};

/// The first line of every definition: a warning against editing it by hand.
const HEADER: &str =
    "# Generated from the types of crate hanse-crds by `hanse-operator crds`. Do not edit.\n";

/// One file of `manifests/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its name, `<group>_<plural>.yaml`.
    pub file_name: String,
    /// Its content, one YAML document.
    pub yaml: String,
}

/// The definitions of all kinds, always in the same order.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    [
        FederatedWorkload::crd(),
        Member::crd(),
        HostingPolicy::crd(),
        Federation::crd(),
    ]
    .into_iter()
    .map(as_installed)
    .collect()
}

/// Each definition as the file it is committed as, in the order of [`all`].
pub fn manifests() -> Result<Vec<Manifest>, serde_yaml::Error> {
    all()
        .into_iter()
        .map(|crd| {
            let file_name = format!("{}_{}.yaml", crd.spec.group, crd.spec.names.plural);
            Ok(Manifest {
                file_name,
                yaml: to_yaml(&crd)?,
            })
        })
        .collect()
}

/// All definitions as one YAML stream, in the order of [`all`].
pub fn manifest_yaml() -> Result<String, serde_yaml::Error> {
    let documents: Vec<String> = manifests()?
        .into_iter()
        .map(|manifest| manifest.yaml)
        .collect();
    Ok(documents.join("---\n"))
}

fn to_yaml(crd: &CustomResourceDefinition) -> Result<String, serde_yaml::Error> {
    let mut value = serde_yaml::to_value(crd)?;
    write_whole_numbers_whole(&mut value);
    Ok(format!("{HEADER}{}", serde_yaml::to_string(&value)?))
}

/// Corrects what the derive cannot be told, in every schema of a definition.
fn as_installed(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    crd.spec
        .versions
        .iter_mut()
        .filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut())
        .for_each(correct);
    crd
}

/// Takes out `nullable`, which the derive puts on every `Option`: in this API absent is the only way to say nothing, as a
/// merge patch cannot write a null. Joins the lines of each paragraph, which break where the source does and not where
/// the terminal of whoever runs `kubectl explain` does.
fn correct(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if let Some(description) = &mut schema.description {
        *description = description
            .split("\n\n")
            .map(|paragraph| paragraph.replace('\n', " "))
            .collect::<Vec<_>>()
            .join("\n\n");
    }
    schema
        .properties
        .iter_mut()
        .flat_map(BTreeMap::values_mut)
        .for_each(correct);
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        correct(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        correct(values);
    }
}

/// Bounds are floating point in the type of a definition; a reader of the file expects `minimum: 1`, not `1.0`.
fn write_whole_numbers_whole(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(whole) = number.as_f64().and_then(whole) {
                *number = whole.into();
            }
        }
        Value::Sequence(items) => items.iter_mut().for_each(write_whole_numbers_whole),
        Value::Mapping(entries) => entries
            .iter_mut()
            .for_each(|(_, value)| write_whole_numbers_whole(value)),
        Value::Tagged(tagged) => write_whole_numbers_whole(&mut tagged.value),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

/// The integer a float stands for, if it stands for one exactly.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "compared with the original"
)]
fn whole(float: f64) -> Option<i64> {
    let whole = float as i64;
    (whole.abs() <= MAX_SAFE_INTEGER && (whole as f64).total_cmp(&float).is_eq()).then_some(whole)
}
