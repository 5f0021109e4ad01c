//! The rules by which a workload's author judges its objects.

use serde_json::Value;

use super::{Health, assess, bounded, unsettled};
use crate::{
    expression::{Expression, Subject},
    workload::{GroupKind, HealthRule, ManifestId},
};

/// The compiled rules of one workload.
#[derive(Debug, Default)]
pub struct Rules(Vec<Rule>);

/// A rule, or why this build cannot use it although another one could.
#[derive(Debug)]
struct Rule {
    about: HealthRule,
    compiled: Result<Compiled, String>,
}

#[derive(Debug)]
struct Compiled {
    ready: Expression,
    failed: Option<Expression>,
    message: Option<Expression>,
}

impl Rules {
    /// Compiles the rules of a workload.
    #[must_use]
    pub fn of(rules: &[HealthRule]) -> Self {
        let rules = rules.iter().map(|rule| Rule {
            about: rule.clone(),
            compiled: Compiled::of(rule),
        });
        Self(rules.collect())
    }

    /// How `object` is doing: by the first rule that is about it, or else by its kind.
    ///
    /// A kind of Kubernetes itself must be ready by its own rule as well. An expression that cannot be told, such as one about a
    /// status that is not there yet, is not true.
    #[must_use]
    pub fn assess(&self, object: &Value) -> Health {
        let by_kind = assess(object);
        let group_kind = GroupKind::of(object);
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let is_custom = group_kind.is_custom();
        let id = ManifestId {
            group_kind,
            name: name.to_owned(),
        };
        let Some(rule) = self.0.iter().find(|rule| rule.about.is_about(&id)) else {
            return by_kind;
        };
        let decides_alone = is_custom && unsettled(object).is_none();
        if by_kind == Health::Ready || decides_alone {
            rule.assess(object)
        } else {
            by_kind
        }
    }
}

impl Rule {
    fn assess(&self, object: &Value) -> Health {
        let rule = match &self.compiled {
            Ok(rule) => rule,
            Err(error) => {
                return Health::progressing(format!(
                    "cannot be judged by this member's operator: its rule {error}"
                ));
            }
        };
        let subject = Subject::from(object);
        let words = |otherwise: String| match &rule.message {
            Some(message) => message.text(&subject).unwrap_or(otherwise),
            None => otherwise,
        };
        if let Some(failed) = &rule.failed
            && failed.holds(&subject) == Ok(true)
        {
            return Health::failed(bounded(&words(format!("has failed: `{failed}`"))));
        }
        match rule.ready.holds(&subject) {
            Ok(true) => Health::Ready,
            Ok(false) => {
                let otherwise = format!("is not ready: `{}` is not true", rule.ready);
                Health::progressing(bounded(&words(otherwise)))
            }
            Err(error) => Health::progressing(bounded(&words(format!("is not ready: {error}")))),
        }
    }
}

impl Compiled {
    fn of(rule: &HealthRule) -> Result<Self, String> {
        let optional = |text: &Option<String>| text.as_deref().map(Expression::compile).transpose();
        Ok(Self {
            ready: Expression::compile(&rule.ready)?,
            failed: optional(&rule.failed)?,
            message: optional(&rule.message)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rule(kind: &str) -> HealthRule {
        HealthRule {
            kind: kind.into(),
            name: None,
            ready: "object.status.phase == 'Running'".into(),
            failed: Some("object.status.phase == 'Broken'".into()),
            message: Some("'is ' + object.status.phase".into()),
        }
    }

    fn object(api_version: &str, kind: &str, status: Value) -> Value {
        let mut object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "main", "generation": 2}});
        object["status"] = status;
        object
    }

    #[test]
    fn a_custom_object_is_judged_by_its_authors_rule_instead_of_its_conditions() {
        let rules = Rules::of(&[rule("Database")]);
        let assessed = |status: Value| rules.assess(&object("db.example/v1", "Database", status));
        let cases = [
            (
                json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}),
                Health::Ready,
            ),
            (
                json!({"phase": "Starting"}),
                Health::progressing("is Starting"),
            ),
            (json!({"phase": "Broken"}), Health::failed("is Broken")),
            (
                json!({}),
                Health::progressing(
                    "is not ready: `object.status.phase == 'Running'` cannot be told: No such key: phase",
                ),
            ),
            (
                json!({"phase": "Running", "observedGeneration": 1}),
                Health::progressing("its controller has not seen the newest change"),
            ),
        ];
        for (status, expected) in cases {
            assert_eq!(assessed(status.clone()), expected, "{status}");
        }
        let other = object("db.example/v1", "Backup", json!({}));
        assert_eq!(rules.assess(&other), Health::Ready);
    }

    #[test]
    fn a_kind_of_kubernetes_must_be_ready_by_its_own_rule_too() {
        let rules = Rules::of(&[rule("PersistentVolumeClaim")]);
        let assessed = |status| rules.assess(&object("v1", "PersistentVolumeClaim", status));
        assert!(matches!(
            assessed(json!({"phase": "Lost"})),
            Health::Failed { .. }
        ));
        assert_eq!(
            assessed(json!({"phase": "Bound"})),
            Health::progressing("is Bound")
        );
    }

    #[test]
    fn a_rule_of_another_build_is_said_to_be_unusable() {
        let unknown = HealthRule {
            ready: "object.status.phase.matches('R.*')".into(),
            ..rule("Database")
        };
        let object = object("db.example/v1", "Database", json!({}));
        let Health::Progressing { message } = Rules::of(&[unknown]).assess(&object) else {
            panic!("it is not ready");
        };
        assert!(
            message.starts_with(
                "cannot be judged by this member's operator: its rule must not call `matches`"
            ),
            "{message}"
        );
    }
}
