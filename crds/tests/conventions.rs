//! Every definition keeps the conventions of the Kubernetes API.
//!
//! One walk over all schemas collects a line per breach, `kind.path: what is wrong`; each test compares the lines of its
//! rule with none, so that a failure names every field to be mended.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test is allowed to stop at what it did not expect"
)]

use std::collections::BTreeSet;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};

/// More than this does not fit into the annotation that a client-side `kubectl apply` keeps its last version in.
const MAX_ANNOTATION_BYTES: usize = 256 * 1024;

const NONE: [String; 0] = [];

/// What is copied into objects of other kinds: these may have any fields, and values of any type.
const PARTS_OF_OTHERS: [&str; 2] = [
    "FederatedWorkload.spec.overrides[].merge",
    "FederatedWorkload.spec.overrides[].patch[].value",
];

/// The operators of a JSON patch are those of RFC 6902.
const OF_ANOTHER_STANDARD: &str = "FederatedWorkload.spec.overrides[].patch[].op";

/// One schema and where it is, such as `Member.spec.labels`. Items end in `[]`, values of a map in `{}`.
type Located<'a> = (String, &'a JSONSchemaProps);

fn walk<'a>(path: String, schema: &'a JSONSchemaProps, found: &mut Vec<Located<'a>>) {
    for (name, property) in schema.properties.iter().flatten() {
        walk(format!("{path}.{name}"), property, found);
    }
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => walk(format!("{path}[]"), items, found),
        Some(JSONSchemaPropsOrArray::Schemas(_)) => {
            panic!("{path}: a list has one schema for all its items")
        }
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &schema.additional_properties {
        walk(format!("{path}{{}}"), values, found);
    }
    found.push((path, schema));
}

fn root(crd: &CustomResourceDefinition) -> &JSONSchemaProps {
    crd.spec.versions[0]
        .schema
        .as_ref()
        .unwrap()
        .open_api_v3_schema
        .as_ref()
        .unwrap()
}

/// The paths of all schemas, of all kinds, for which the rule is broken.
fn breaches(broken: impl Fn(&str, &JSONSchemaProps) -> bool) -> Vec<String> {
    let crds = hanse_crds::all();
    let mut found = Vec::new();
    for crd in &crds {
        walk(crd.spec.names.kind.clone(), root(crd), &mut found);
    }
    found
        .into_iter()
        .filter(|(path, schema)| broken(path, schema))
        .map(|(path, _)| path)
        .collect()
}

fn is(schema: &JSONSchemaProps, type_: &str) -> bool {
    schema.type_.as_deref() == Some(type_)
}

#[test]
fn every_schema_has_a_type_the_api_server_can_prune_by() {
    let types = ["array", "boolean", "integer", "object", "string"];
    assert_eq!(
        breaches(|_, schema| !types.iter().any(|type_| is(schema, type_))),
        [PARTS_OF_OTHERS[1]]
    );
}

#[test]
fn every_list_is_bounded_and_says_how_it_merges() {
    let broken = |_: &str, schema: &JSONSchemaProps| {
        is(schema, "array")
            && (schema.max_items.is_none() || schema.x_kubernetes_list_type.is_none())
    };
    assert_eq!(breaches(broken), NONE);
}

#[test]
fn every_key_of_a_list_that_merges_by_key_is_always_there() {
    let broken = |_: &str, schema: &JSONSchemaProps| {
        let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items else {
            return false;
        };
        let has_default = |key: &String| {
            items
                .properties
                .as_ref()
                .is_some_and(|all| all[key].default.is_some())
        };
        let is_required = |key: &String| {
            items
                .required
                .iter()
                .flatten()
                .any(|required| required == key)
        };
        let keys = schema.x_kubernetes_list_map_keys.iter().flatten();
        let is_map = schema.x_kubernetes_list_type.as_deref() == Some("map");
        is_map != schema.x_kubernetes_list_map_keys.is_some()
            || !keys
                .into_iter()
                .all(|key| is_required(key) || has_default(key))
    };
    assert_eq!(breaches(broken), NONE);
}

#[test]
fn every_string_is_bounded() {
    let broken = |_: &str, schema: &JSONSchemaProps| {
        is(schema, "string")
            && schema.max_length.is_none()
            && schema.enum_.is_none()
            && schema.format.is_none()
    };
    assert_eq!(breaches(broken), NONE);
}

#[test]
fn every_value_of_an_enum_is_camel_case_with_a_capital() {
    let broken = |_: &str, schema: &JSONSchemaProps| {
        schema.enum_.iter().flatten().any(|value| {
            let name = value.0.as_str().unwrap_or_default();
            !name.starts_with(|first: char| first.is_ascii_uppercase())
                || !name.chars().all(|c| c.is_ascii_alphanumeric())
        })
    };
    assert_eq!(breaches(broken), [OF_ANOTHER_STANDARD]);
}

#[test]
fn every_integer_is_bounded_and_signed() {
    let broken = |_: &str, schema: &JSONSchemaProps| {
        let format = schema.format.as_deref().unwrap_or_default();
        let is_bounded = schema.minimum.is_some() && schema.maximum.is_some();
        is(schema, "integer") && (!is_bounded || !["int32", "int64"].contains(&format))
    };
    assert_eq!(breaches(broken), NONE);
}

#[test]
fn every_map_is_bounded() {
    let broken = |_: &str, schema: &JSONSchemaProps| {
        schema.additional_properties.is_some() && schema.max_properties.is_none()
    };
    assert_eq!(breaches(broken), NONE);
}

#[test]
fn an_object_is_described_unless_it_is_a_whole_object_of_another_kind() {
    let broken = |_: &str, schema: &JSONSchemaProps| {
        schema.x_kubernetes_preserve_unknown_fields == Some(true)
            && schema.x_kubernetes_embedded_resource != Some(true)
    };
    assert_eq!(breaches(broken), PARTS_OF_OTHERS);
}

#[test]
fn nothing_is_nullable() {
    assert_eq!(breaches(|_, schema| schema.nullable == Some(true)), NONE);
    let text = serde_json::to_string(&hanse_crds::all()).unwrap();
    assert_eq!(
        ["nullable", "anyOf", "oneOf", "null"].map(|word| text.contains(&format!("\"{word}\""))),
        [false; 4]
    );
}

#[test]
fn every_property_has_a_description_somebody_wrote() {
    let broken = |path: &str, schema: &JSONSchemaProps| {
        let description = schema.description.as_deref().unwrap_or_default();
        let is_value = path.ends_with("[]") && !is(schema, "object") || path.ends_with("{}");
        !is_value && (!description.ends_with('.') || description.contains("Auto-generated"))
    };
    assert_eq!(breaches(broken), NONE);
}

#[test]
fn no_description_breaks_a_line_within_a_paragraph() {
    let broken = |_: &str, schema: &JSONSchemaProps| {
        schema
            .description
            .iter()
            .any(|description| description.replace("\n\n", "").contains('\n'))
    };
    assert_eq!(breaches(broken), NONE);
}

#[test]
fn every_field_is_named_in_camel_case() {
    let broken = |path: &str, _: &JSONSchemaProps| {
        let Some((_, name)) = path.rsplit_once('.') else {
            return false;
        };
        let name = name.trim_end_matches("[]").trim_end_matches("{}");
        !name.starts_with(|first: char| first.is_ascii_lowercase())
            || !name.chars().all(|c| c.is_ascii_alphanumeric())
    };
    assert_eq!(breaches(broken), NONE);
}

#[test]
fn every_rule_says_what_must_be_so() {
    let broken = |_: &str, schema: &JSONSchemaProps| {
        schema
            .x_kubernetes_validations
            .iter()
            .flatten()
            .any(|rule| {
                let message = rule.message.as_deref().unwrap_or_default();
                !message.contains("must ") || message.contains("should")
            })
    };
    assert_eq!(breaches(broken), NONE);
}

#[test]
fn every_kind_reports_conditions_and_the_generation_they_are_about() {
    for crd in hanse_crds::all() {
        let status = &root(&crd).properties.as_ref().unwrap()["status"];
        let fields = status.properties.as_ref().unwrap();
        let conditions = &fields["conditions"];
        let keys = conditions
            .x_kubernetes_list_map_keys
            .clone()
            .unwrap_or_default();
        let kind = &crd.spec.names.kind;
        assert!(fields.contains_key("observedGeneration"), "{kind}");
        assert_eq!(keys, ["type"], "{kind}");
        assert!(
            crd.spec.versions[0]
                .subresources
                .as_ref()
                .unwrap()
                .status
                .is_some(),
            "{kind}"
        );
    }
}

#[test]
fn a_kind_has_nothing_beside_spec_and_status() {
    for crd in hanse_crds::all() {
        let fields: BTreeSet<_> = root(&crd)
            .properties
            .iter()
            .flatten()
            .map(|(name, _)| name.clone())
            .collect();
        assert!(
            fields.is_subset(&["spec", "status"].map(String::from).into()),
            "{}: {fields:?}",
            crd.spec.names.kind
        );
    }
}

#[test]
fn every_kind_is_listed_by_one_category_a_short_name_and_columns_that_end_in_its_age() {
    for crd in hanse_crds::all() {
        let kind = &crd.spec.names.kind;
        assert_eq!(
            crd.spec.names.categories.as_deref(),
            Some(["hanse".to_owned()].as_slice()),
            "{kind}"
        );
        assert!(
            crd.spec
                .names
                .short_names
                .iter()
                .flatten()
                .all(|name| name.len() >= 3),
            "{kind}"
        );
        let columns = crd.spec.versions[0]
            .additional_printer_columns
            .clone()
            .unwrap_or_default();
        let last_narrow = columns
            .iter()
            .rfind(|column| column.priority.unwrap_or_default() == 0)
            .unwrap();
        assert_eq!(last_narrow.name, "Age", "{kind}");
    }
}

#[test]
fn every_column_reads_a_field_that_exists() {
    for crd in hanse_crds::all() {
        let mut found = Vec::new();
        walk(String::new(), root(&crd), &mut found);
        let paths: BTreeSet<_> = found.into_iter().map(|(path, _)| path).collect();
        for column in crd.spec.versions[0]
            .additional_printer_columns
            .iter()
            .flatten()
        {
            let path = column
                .json_path
                .replace("[*]", "[]")
                .replace("[?(@.type==\"Ready\")]", "[]");
            let path = path.replace("[?(@.type==\"Published\")]", "[]");
            assert!(
                path.starts_with(".metadata.") || paths.contains(&path),
                "{}: {path}",
                crd.spec.names.kind
            );
        }
    }
}

#[test]
fn every_definition_fits_into_the_annotation_of_a_client_side_apply() {
    for crd in hanse_crds::all() {
        let bytes = serde_json::to_vec(&crd).unwrap().len();
        assert!(
            bytes < MAX_ANNOTATION_BYTES,
            "{}: {bytes} bytes",
            crd.spec.names.kind
        );
    }
}

#[test]
fn labels_annotations_and_finalizers_are_under_the_group_of_the_kinds() {
    use hanse_crds::names;
    let own = [
        names::WORKLOAD_LABEL,
        names::GUEST_LABEL,
        names::MIRRORED_LABEL,
        names::INVENTORY_LABEL,
        names::INVITATION_LABEL,
        names::EPOCH_ANNOTATION,
        names::SYNCED_ANNOTATION,
        names::PLACEMENTS_FINALIZER,
    ];
    let elsewhere: Vec<_> = own
        .iter()
        .filter(|name| name.split('/').next() != Some(names::GROUP))
        .collect();
    assert_eq!(elsewhere, Vec::<&&str>::new());
    for crd in hanse_crds::all() {
        let api_version = format!("{}/{}", crd.spec.group, crd.spec.versions[0].name);
        assert_eq!(
            (crd.spec.group.as_str(), api_version.as_str()),
            (names::GROUP, names::API_VERSION)
        );
        assert_eq!(crd.spec.versions[0].name, names::VERSION);
    }
}
