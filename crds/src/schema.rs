//! Pieces of schema that several kinds share.

use schemars::{Schema, SchemaGenerator, json_schema};

/// The largest integer that survives a reader that keeps numbers as floating point, such as JavaScript.
pub(crate) const MAX_SAFE_INTEGER: i64 = (1 << 53) - 1;

/// A DNS label: the names of owners, members and namespaces.
pub(crate) const DNS_LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// A DNS label, or `*` for all of them.
pub(crate) const DNS_LABEL_OR_ALL: &str = r"^(\*|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$";
/// A label value that is not empty.
pub(crate) const LABEL_VALUE: &str = "^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$";
/// A jurisdiction, such as `EU`, `CH` or `US-CA`.
pub(crate) const JURISDICTION: &str = "^[A-Z][A-Z0-9-]{0,31}$";
/// A SHA-256 hash or an Ed25519 public key: 32 bytes in hexadecimal.
pub(crate) const HEX_32_BYTES: &str = "^[0-9a-f]{64}$";
/// A duration in whole seconds, minutes or hours, such as `90s`.
pub(crate) const DURATION: &str = "^[0-9]{1,5}[smh]$";
/// The same, or no time at all.
pub(crate) const DURATION_OR_NEVER: &str = "^([0-9]{1,5}[smh]|Never)$";
/// A CamelCase word for programs.
pub(crate) const REASON: &str = "^[A-Z][A-Za-z0-9]*$";

/// The host of a registry of images, or a path in one.
pub(crate) const IMAGE_REGISTRY: &str = "^[A-Za-z0-9]([A-Za-z0-9.:/_-]*[A-Za-z0-9])?$";

/// An object with any fields, kept as they are.
pub(crate) fn object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// Any value, kept as it is.
pub(crate) fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-preserve-unknown-fields": true})
}

/// Labels. A structural schema cannot name a pattern for keys, and a rule that matches them costs more than the API
/// server allows: a key is only held to its length here, and one that no label can have simply never matches.
pub(crate) fn labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 64,
        "additionalProperties": {
            "type": "string",
            "maxLength": 63,
            "pattern": "^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$",
        },
        "x-kubernetes-validations": [{
            "rule": "self.all(key, size(key) > 0 && size(key) <= 317)",
            "message": "a key must have 1 to 317 characters",
        }],
    })
}

/// Whole Kubernetes objects of any kind, kept as they are. The API server checks `apiVersion`, `kind` and `metadata` of
/// each and prunes nothing; rules can only see those and the name.
pub(crate) fn manifests(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": 1,
        "maxItems": 64,
        "x-kubernetes-list-type": "atomic",
        "items": {
            "type": "object",
            "description": "A Kubernetes object with `apiVersion`, `kind` and `metadata.name`. Its namespace is that of \
                            the workload and must be absent or the same.",
            "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true,
            "x-kubernetes-validations": [
                {
                    "rule": "has(self.metadata) && has(self.metadata.name) && size(self.metadata.name) > 0",
                    "message": "`metadata.name` must be set: every host creates the object under the same name",
                },
                {
                    "rule": "!self.apiVersion.startsWith('hanse.dev/')",
                    "message": "must not be an object of group 'hanse.dev': a workload cannot change the federation",
                },
            ],
        },
    })
}
