//! What a member may say about itself: what the `Member` that shows it in every other cluster can hold. Something that it
//! cannot hold would be refused there, by API servers that its author does not see.

use std::collections::BTreeSet;

use crate::{
    command::Attributes,
    selector::{MAX_RULES, Taint},
};

/// The most labels.
pub const MAX_LABELS: usize = 64;

/// The longest value of a label, and of what is compared with one.
const MAX_VALUE: usize = 63;

/// The longest key of a label: a prefix of 253 characters, a slash, and a name of 63.
const MAX_KEY: usize = 317;

/// The longest jurisdiction.
const MAX_JURISDICTION: usize = 32;

/// Why a description cannot be shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionError {
    /// A text that is none of a label.
    #[error(
        "`{field}` must be a label value of at most {MAX_VALUE} characters, letters and digits with '-', '_' and '.' in between, not '{value}'"
    )]
    Value {
        /// Which field.
        field: String,
        /// What it says, cut.
        value: String,
    },
    /// A jurisdiction that no domicile could name.
    #[error(
        "`jurisdiction` must have at most {MAX_JURISDICTION} capital letters, digits and '-', and begin with a letter, not be '{0}'"
    )]
    Jurisdiction(String),
    /// A key that no label or taint can have.
    #[error(
        "a key of `{field}` must have 1 to {MAX_KEY} characters and not begin with 'hanse.dev/', not be '{key}'"
    )]
    Key {
        /// Of which field.
        field: &'static str,
        /// The key, cut.
        key: String,
    },
    /// Too many of something.
    #[error("`{field}` must have at most {most} items, not {actual}")]
    TooMany {
        /// Of what.
        field: &'static str,
        /// The bound.
        most: usize,
        /// How many there are.
        actual: usize,
    },
    /// A taint that is there twice.
    #[error("`taints` must not have '{0}' twice with one effect")]
    TwiceTainted(String),
    /// A taint with a long value.
    #[error("the value of the taint '{0}' must have at most {MAX_VALUE} characters")]
    TaintValue(String),
}

impl Attributes {
    /// Whether the `Member` of every other cluster can hold it. Limits and patterns are those of the definition of `Member`.
    pub fn check(&self) -> Result<(), DescriptionError> {
        for (field, value) in [("provider", &self.provider), ("region", &self.region)] {
            check_value(field, value)?;
        }
        if !self.jurisdiction.is_empty() && !is_jurisdiction(&self.jurisdiction) {
            return Err(DescriptionError::Jurisdiction(cut(&self.jurisdiction)));
        }
        check_count("labels", self.labels.len(), MAX_LABELS)?;
        for (key, value) in &self.labels {
            if !is_key(key) || key.starts_with("hanse.dev/") {
                return Err(DescriptionError::Key {
                    field: "labels",
                    key: cut(key),
                });
            }
            check_value(&format!("labels.{key}"), value)?;
        }
        self.check_taints()
    }

    fn check_taints(&self) -> Result<(), DescriptionError> {
        check_count("taints", self.taints.len(), MAX_RULES)?;
        let mut seen = BTreeSet::new();
        for Taint { key, value, effect } in &self.taints {
            if !is_key(key) {
                return Err(DescriptionError::Key {
                    field: "taints",
                    key: cut(key),
                });
            }
            if value.chars().count() > MAX_VALUE {
                return Err(DescriptionError::TaintValue(cut(key)));
            }
            if !seen.insert((key, effect)) {
                return Err(DescriptionError::TwiceTainted(cut(key)));
            }
        }
        Ok(())
    }
}

fn check_count(field: &'static str, actual: usize, most: usize) -> Result<(), DescriptionError> {
    if actual <= most {
        return Ok(());
    }
    Err(DescriptionError::TooMany {
        field,
        most,
        actual,
    })
}

fn check_value(field: &str, value: &str) -> Result<(), DescriptionError> {
    if value.is_empty() || is_label_value(value) {
        return Ok(());
    }
    Err(DescriptionError::Value {
        field: cut(field),
        value: cut(value),
    })
}

fn is_key(key: &str) -> bool {
    (1..=MAX_KEY).contains(&key.chars().count())
}

/// `[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?`
fn is_label_value(value: &str) -> bool {
    let bytes = value.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let outer = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    bytes.len() <= MAX_VALUE
        && bytes.iter().all(inner)
        && outer(bytes.first())
        && outer(bytes.last())
}

/// `[A-Z][A-Z0-9-]{0,31}`
fn is_jurisdiction(value: &str) -> bool {
    let bytes = value.as_bytes();
    let inner = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'-';
    bytes.len() <= MAX_JURISDICTION
        && bytes.iter().all(inner)
        && bytes.first().is_some_and(u8::is_ascii_uppercase)
}

/// The beginning of a text, for people.
fn cut(text: &str) -> String {
    text.chars().take(MAX_VALUE + 1).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::Effect;

    fn labels(count: usize) -> Attributes {
        let labels = (0..count).map(|at| (format!("example.com/{at}"), "x".to_owned()));
        Attributes {
            labels: labels.collect(),
            ..Attributes::default()
        }
    }

    fn taint(key: &str, value: &str) -> Taint {
        Taint {
            key: key.to_owned(),
            value: value.to_owned(),
            effect: Effect::NoExecute,
        }
    }

    fn why(attributes: &Attributes) -> String {
        let checked = attributes.check();
        checked.map_or_else(|error| error.to_string(), |()| "it can be shown".to_owned())
    }

    #[test]
    fn what_a_member_can_hold_may_be_said() {
        let full = Attributes {
            provider: "a".repeat(63),
            region: "eu-central_1.a".to_owned(),
            jurisdiction: "US-CA".to_owned(),
            taints: (0..16).map(|at| taint(&format!("gpu-{at}"), "")).collect(),
            ..labels(64)
        };
        for attributes in [Attributes::default(), full] {
            assert_eq!(why(&attributes), "it can be shown");
        }
    }

    #[test]
    fn what_a_member_cannot_hold_is_refused_in_words() {
        let long = "a".repeat(64);
        let some = |change: &dyn Fn(&mut Attributes)| {
            let mut attributes = Attributes::default();
            change(&mut attributes);
            why(&attributes)
        };
        let label = |key: &str, value: &str| {
            some(&|it| {
                it.labels.insert(key.to_owned(), value.to_owned());
            })
        };
        let told = [
            some(&|it| it.provider.clone_from(&long)),
            some(&|it| "-fsn1".clone_into(&mut it.region)),
            some(&|it| "eu".clone_into(&mut it.jurisdiction)),
            why(&labels(65)),
            label("", "x"),
            label("hanse.dev/region", "x"),
            label("tier", "not a value"),
            some(&|it| it.taints = (0..17).map(|at| taint(&at.to_string(), "")).collect()),
            some(&|it| it.taints = [taint("gpu", "a"), taint("gpu", "b")].into()),
            some(&|it| it.taints = [taint("gpu", &long)].into()),
        ];
        insta::assert_snapshot!(told.join("\n"));
    }
}
