//! Label selectors: `key`, `!key`, `key=value`, `key!=value`, separated by commas.

use serde_json::Value;

/// Which objects are meant. Nothing selects everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Requirement {
    key: String,
    value: Option<String>,
    holds: bool,
}

impl Selector {
    /// The selector that `text` writes.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let parts = text.split(',').map(str::trim);
        let parse = |part: &str| {
            let requirement = |key: &str, value: Option<&str>, holds| Requirement {
                key: key.to_owned(),
                value: value.map(str::to_owned),
                holds,
            };
            if let Some((key, value)) = part.split_once("!=") {
                requirement(key, Some(value), false)
            } else if let Some((key, value)) = part.split_once('=') {
                requirement(key, Some(value.trim_start_matches('=')), true)
            } else if let Some(key) = part.strip_prefix('!') {
                requirement(key, None, false)
            } else {
                requirement(part, None, true)
            }
        };
        Self(parts.filter(|part| !part.is_empty()).map(parse).collect())
    }

    /// Whether `object` is meant.
    #[must_use]
    pub fn selects(&self, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        let fits = |requirement: &Requirement| match (
            &requirement.value,
            labels[&requirement.key].as_str(),
        ) {
            (None, found) => found.is_some(),
            (Some(value), found) => found == Some(value),
        };
        self.0.iter().all(|it| fits(it) == it.holds)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_selects_what_has_its_labels() {
        let object = json!({"metadata": {"labels": {"app": "web", "tier": "1"}}});
        let selects = |text: &str| Selector::parse(text).selects(&object);
        for text in [
            "",
            "app",
            "app=web",
            "app==web,tier=1",
            "!other",
            "app!=api",
            "other!=web",
        ] {
            assert!(selects(text), "{text}");
        }
        for text in ["other", "app=api", "app=web,tier=2", "!app", "app!=web"] {
            assert!(!selects(text), "{text}");
        }
    }
}
