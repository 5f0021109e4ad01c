//! In how many failure domains a workload runs, and how evenly.

use serde::{Deserialize, Serialize};

use super::Mode;
use crate::domain::FailureDomain;

/// The most rules of a workload; the CRD states the same bound.
pub const MAX_SPREAD: usize = 4;

/// A rule about the domains of one kind in which a workload runs. Its JSON is the one that users write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spread {
    /// Their kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<FailureDomain>,
    /// Instead: the label whose value is their name. A member without it is a domain of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// In how many of them it runs at least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u32>,
    /// In how many at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// By how many replicas those in which it runs differ at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_skew: Option<u32>,
}

impl Spread {
    /// So many of its domains in words, for example `1 provider` or `2 values of label 'rack'`.
    #[must_use]
    pub fn counted(&self, domains: usize) -> String {
        let plural = if domains == 1 { "" } else { "s" };
        match (&self.by, &self.label) {
            (Some(kind), _) => format!("{domains} {kind}{plural}"),
            (None, Some(label)) => format!("{domains} value{plural} of label '{label}'"),
            (None, None) => format!("{domains} domain{plural}"),
        }
    }

    /// What is wrong with it, in words that follow its name.
    pub(super) fn objection(&self, mode: Mode) -> Option<&'static str> {
        let limits = [self.min, self.max, self.max_skew];
        if self.by.is_some() == self.label.is_some() {
            Some("must have either `by` or `label`")
        } else if limits.iter().all(Option::is_none) {
            Some("must have `min`, `max` or `maxSkew`")
        } else if limits.contains(&Some(0)) {
            Some("must have numbers from 1")
        } else if self.min.zip(self.max).is_some_and(|(min, max)| min > max) {
            Some("must not have a `min` above its `max`")
        } else if self.max_skew.is_some() && mode != Mode::Divided {
            Some("must have `maxSkew` only in mode 'Divided'")
        } else if self.min.is_some_and(|min| min > 1) && mode == Mode::Single {
            Some("must not have a `min` above 1 in mode 'Single', which runs in one member")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_that_means_nothing_or_cannot_hold_is_refused() {
        let rule = |label: Option<&str>, min, max, max_skew| Spread {
            by: label.is_none().then_some(FailureDomain::Provider),
            label: label.map(str::to_owned),
            min,
            max,
            max_skew,
        };
        let objection = |rule: Spread, mode| rule.objection(mode).unwrap_or_default();
        let good = rule(Some("rack"), Some(2), Some(2), Some(1));
        assert_eq!(objection(good.clone(), Mode::Divided), "");
        assert_eq!(
            objection(good, Mode::Duplicated),
            "must have `maxSkew` only in mode 'Divided'"
        );
        let cases = [
            (Spread::default(), "must have either `by` or `label`"),
            (
                rule(None, None, None, None),
                "must have `min`, `max` or `maxSkew`",
            ),
            (rule(None, Some(0), None, None), "must have numbers from 1"),
            (
                rule(None, Some(3), Some(2), None),
                "must not have a `min` above its `max`",
            ),
        ];
        for (rule, expected) in cases {
            assert_eq!(objection(rule, Mode::Divided), expected);
        }
        assert_eq!(
            objection(rule(None, Some(2), None, None), Mode::Single),
            "must not have a `min` above 1 in mode 'Single', which runs in one member"
        );
    }
}
