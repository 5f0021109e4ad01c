//! When the objects of a kind are healthy, in the words of their author.

use serde::{Deserialize, Serialize};

use super::{ManifestId, SpecError, WorkloadSpec};
use crate::expression::{Expression, MAX_EXPRESSION};

/// The most rules of a workload; the CRD states the same bound.
pub const MAX_HEALTH: usize = 16;

/// When some objects of a workload are healthy. Its JSON is the one that users write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HealthRule {
    /// Their kind.
    pub kind: String,
    /// Their name; `None` for all of that kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The expression that is true while such an object is ready.
    pub ready: String,
    /// The expression that is true once it will not become ready without a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// The expression that says in words how it is doing while it is not ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl HealthRule {
    /// Whether it is about this object.
    #[must_use]
    pub fn is_about(&self, ManifestId { group_kind, name }: &ManifestId) -> bool {
        self.kind == group_kind.kind && self.name.as_ref().is_none_or(|it| it == name)
    }

    /// Its expressions, each with the field that it is in.
    fn expressions(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let optional = [("failed", &self.failed), ("message", &self.message)];
        let optional = optional.into_iter();
        let optional = optional.filter_map(|(field, text)| Some((field, text.as_deref()?)));
        [("ready", self.ready.as_str())].into_iter().chain(optional)
    }

    /// What is wrong with it, in words that follow its name, as far as all builds agree on it.
    fn objection(&self, spec: &WorkloadSpec) -> Option<String> {
        let is_bounded = |text: &str| (1..=MAX_EXPRESSION).contains(&text.chars().count());
        let mut expressions = self.expressions();
        if let Some((field, _)) = expressions.find(|(_, text)| !is_bounded(text)) {
            return Some(format!(
                "must have 1 to {MAX_EXPRESSION} characters in `{field}`"
            ));
        }
        if !spec.manifests.iter().any(|it| self.is_about(&it.id())) {
            let name = self.name.as_ref().map(|name| format!(" '{name}'"));
            let name = name.unwrap_or_default();
            return Some(format!(
                "is about {}{name}, which is no manifest",
                self.kind
            ));
        }
        None
    }
}

impl WorkloadSpec {
    /// Checks the rules as far as all builds agree on them: part of [`WorkloadSpec::check`].
    pub(super) fn check_health_rules(&self) -> Result<(), SpecError> {
        let actual = self.health.len();
        if actual > MAX_HEALTH {
            return Err(SpecError::TooManyHealth { actual });
        }
        let mut rules = self.health.iter().enumerate();
        let wrong = rules.find_map(|(number, rule)| Some((number, rule.objection(self)?)));
        wrong.map_or(Ok(()), |(number, message)| {
            Err(SpecError::Health { number, message })
        })
    }

    /// Checks the rules with their expressions. The ledger does not: two builds may differ in what they can compile.
    pub fn check_health(&self) -> Result<(), SpecError> {
        self.check_health_rules()?;
        for (number, rule) in self.health.iter().enumerate() {
            for (field, text) in rule.expressions() {
                let compiled = Expression::compile(text);
                compiled.map_err(|error| SpecError::Health {
                    number,
                    message: format!("has a `{field}` that {error}"),
                })?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::workload::{Mode, PlacementRules};

    fn checked(rules: Vec<HealthRule>) -> Result<(), String> {
        let database = json!({"apiVersion": "db.example/v1", "kind": "Database", "metadata": {"name": "main"}});
        let placement = PlacementRules::new(Mode::Divided);
        let spec = WorkloadSpec::new(vec![database], placement, &"shop".parse().unwrap());
        let spec = WorkloadSpec {
            health: rules,
            ..spec.unwrap()
        };
        let checked = spec.check(&"shop".parse().unwrap());
        checked
            .and_then(|()| spec.check_health())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_rule_is_about_a_manifest_and_has_expressions_that_can_be_used() {
        let rule = HealthRule {
            kind: "Database".into(),
            ready: "object.status.phase == 'Running'".into(),
            ..HealthRule::default()
        };
        let with = |change: &dyn Fn(&mut HealthRule)| {
            let mut changed = rule.clone();
            change(&mut changed);
            checked(vec![rule.clone(), changed])
        };
        assert_eq!(with(&|_| {}), Ok(()));
        let cases = [
            (
                with(&|it| it.name = Some("other".into())),
                "`health[1]` is about Database 'other', which is no manifest",
            ),
            (
                with(&|it| it.ready.clear()),
                "`health[1]` must have 1 to 1024 characters in `ready`",
            ),
            (
                with(&|it| it.failed = Some("phase == 'Broken'".into())),
                "`health[1]` has a `failed` that must not use `phase` here, where only `object` may be used",
            ),
            (
                checked(vec![rule.clone(); 17]),
                "`health` must have at most 16 items, not 17",
            ),
        ];
        for (found, expected) in cases {
            assert_eq!(found.unwrap_err(), expected);
        }
    }
}
