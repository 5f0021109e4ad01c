//! Which members a workload asks for by their labels, and which taints it tolerates. As with the nodes of a cluster.
//!
//! Besides the labels that its owner gives it, each member has those by what it is ([`crate::state::Member::label`]), so that one rule
//! serves for names, owners, places and labels.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The most expressions, tolerations or taints; the CRDs state the same bounds.
pub const MAX_RULES: usize = 16;

/// One condition on the value of a label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expression {
    /// The label.
    pub key: String,
    /// What of it.
    pub operator: Operator,
    /// What `In` and `NotIn` compare with; otherwise none.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub values: BTreeSet<String>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Operator {
    /// It is there, with one of the values.
    In,
    /// It is absent, or has none of the values.
    NotIn,
    /// It is there.
    Exists,
    /// It is absent.
    DoesNotExist,
}

impl Expression {
    /// Whether a label with this value satisfies it.
    #[must_use]
    pub fn accepts(&self, value: Option<&str>) -> bool {
        let is_one = value.is_some_and(|value| self.values.contains(value));
        match self.operator {
            Operator::In => is_one,
            Operator::NotIn => !is_one,
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }

    /// Whether it has values exactly if its operator compares with some.
    pub(crate) fn is_complete(&self) -> bool {
        let compares = matches!(self.operator, Operator::In | Operator::NotIn);
        compares != self.values.is_empty()
    }

    /// What is wrong with a label that it does not accept, after the words "its label".
    pub(crate) fn objection(&self) -> String {
        let values: Vec<_> = self.values.iter().map(|it| format!("'{it}'")).collect();
        let (key, values) = (&self.key, values.join(", "));
        match self.operator {
            Operator::In if self.values.len() == 1 => format!("'{key}' is not {values}"),
            Operator::In => format!("'{key}' is none of {values}"),
            Operator::NotIn if self.values.len() == 1 => format!("'{key}' is {values}"),
            Operator::NotIn => format!("'{key}' is one of {values}"),
            Operator::Exists => format!("'{key}' is missing"),
            Operator::DoesNotExist => format!("'{key}' is set"),
        }
    }
}

/// The first label on which no member can satisfy everything that is asked of it.
pub(crate) fn contradiction<'a>(
    labels: &'a BTreeMap<String, String>,
    expressions: &'a [Expression],
) -> Option<&'a str> {
    let keys = labels.keys().chain(expressions.iter().map(|it| &it.key));
    keys.map(String::as_str).find(|key| {
        let about: Vec<_> = expressions.iter().filter(|it| it.key == *key).collect();
        let accepted = |value| about.iter().all(|it| it.accepts(value));
        let wanted = labels.get(*key).map(String::as_str);
        let offered = about.iter().filter(|it| it.operator == Operator::In);
        let offered = offered.flat_map(|it| it.values.iter().map(String::as_str));
        match wanted {
            Some(value) => !accepted(Some(value)),
            // A value that nobody names, and none at all, stand for all those that no `In` names.
            None => !(accepted(None) || accepted(Some("")) || offered.map(Some).any(accepted)),
        }
    })
}

/// A mark with which the owner of a member keeps away what does not tolerate it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    /// Its name.
    pub key: String,
    /// More about it; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub value: String,
    /// What it does.
    pub effect: Effect,
}

/// What a taint does to workloads that do not tolerate it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Effect {
    /// They do not come; what runs there stays.
    NoSchedule,
    /// They do not come, and what runs there leaves, if any other member may host it.
    NoExecute,
}

impl Effect {
    /// That of a taint of a node; `None` for one that keeps nobody away for certain.
    pub(crate) fn read(written: &str) -> Option<Self> {
        serde_json::from_value(written.into()).ok()
    }
}

/// The taints that do not keep a workload away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Toleration {
    /// The name of the taint; `None` for all names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Its value; `None` for all values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// Its effect; `None` for both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<Effect>,
}

impl Toleration {
    /// Whether the taint does nothing to a workload with this toleration.
    #[must_use]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.key.as_ref().is_none_or(|key| *key == taint.key)
            && self.value.as_ref().is_none_or(|it| *it == taint.value)
            && self.effect.is_none_or(|effect| effect == taint.effect)
    }
}

#[cfg(test)]
mod tests {
    use Operator::{DoesNotExist, Exists, In, NotIn};

    use super::*;

    fn rule(operator: Operator, values: &[&str]) -> Expression {
        Expression {
            key: "tier".to_owned(),
            operator,
            values: values.iter().map(|&it| it.to_owned()).collect(),
        }
    }

    #[test]
    fn an_absent_label_is_in_nothing_and_not_in_everything() {
        let accepts = |expression: Expression| {
            [None, Some("gold"), Some("tin")].map(|value| expression.accepts(value))
        };
        assert_eq!(accepts(rule(In, &["gold"])), [false, true, false]);
        assert_eq!(accepts(rule(NotIn, &["gold"])), [true, false, true]);
        assert_eq!(accepts(rule(Exists, &[])), [false, true, true]);
        assert_eq!(accepts(rule(DoesNotExist, &[])), [true, false, false]);
    }

    #[test]
    fn a_contradiction_is_what_no_value_satisfies() {
        let clash = |label: Option<&str>, expressions: &[Expression]| {
            let label = label.map(|value| ("tier".to_owned(), value.to_owned()));
            contradiction(&label.into_iter().collect(), expressions).is_some()
        };
        let (gold, not_gold) = (rule(In, &["gold"]), rule(NotIn, &["gold"]));
        let (there, absent) = (rule(Exists, &[]), rule(DoesNotExist, &[]));
        assert!(clash(None, &[gold.clone(), not_gold.clone()]));
        assert!(clash(None, &[gold.clone(), rule(In, &["tin"])]));
        assert!(clash(None, &[gold.clone(), absent.clone()]));
        assert!(clash(None, &[there.clone(), absent.clone()]));
        assert!(clash(Some("gold"), std::slice::from_ref(&not_gold)));
        assert!(clash(Some("gold"), std::slice::from_ref(&absent)));
        assert!(!clash(
            None,
            &[rule(In, &["gold", "tin"]), not_gold.clone(), there.clone()]
        ));
        assert!(!clash(None, &[not_gold, there]));
        assert!(!clash(Some("gold"), &[gold]));
        assert!(!clash(None, &[absent]));
    }

    #[test]
    fn a_toleration_without_a_part_is_for_every_part() {
        let taint = Taint {
            key: "gpu".to_owned(),
            value: "h200".to_owned(),
            effect: Effect::NoExecute,
        };
        let tolerates = |key: Option<&str>, value: Option<&str>, effect| {
            let (key, value) = (key.map(str::to_owned), value.map(str::to_owned));
            Toleration { key, value, effect }.tolerates(&taint)
        };
        assert!(tolerates(None, None, None));
        assert!(tolerates(Some("gpu"), None, None));
        assert!(tolerates(
            Some("gpu"),
            Some("h200"),
            Some(Effect::NoExecute)
        ));
        assert!(!tolerates(Some("cpu"), None, None));
        assert!(!tolerates(Some("gpu"), Some("a100"), None));
        assert!(!tolerates(Some("gpu"), None, Some(Effect::NoSchedule)));
    }
}
