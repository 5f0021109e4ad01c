//! How many replicas of what: the counts of a workload, and the part of them that one member runs.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::manifest::ManifestId;
use crate::id::text_form;

/// What a count of replicas is of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ScaleTarget {
    /// The workload as a whole, if none of its objects scales: a member runs all of it or nothing.
    Workload,
    /// One of its objects.
    Object(ManifestId),
    /// The most that an autoscaler among its objects may scale to. It is a limit, and counts nowhere.
    Limit(ManifestId),
    /// Whether one of its objects that runs and cannot be divided is run by this member, 1 or 0. It counts nowhere.
    Task(ManifestId),
}

/// The text that stands for [`ScaleTarget::Workload`]; no object has this id.
const WORKLOAD: &str = "*";

/// What follows the id of an autoscaler in the text of its limit; no name contains a colon.
const LIMIT: &str = ":max";

/// What follows the id of an object in the text of its task.
const TASK: &str = ":task";

impl ScaleTarget {
    /// Whether its count is one of replicas.
    #[must_use]
    pub fn has_replicas(&self) -> bool {
        matches!(self, Self::Workload | Self::Object(_))
    }
}

impl fmt::Display for ScaleTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Workload => f.write_str(WORKLOAD),
            Self::Object(id) => id.fmt(f),
            Self::Limit(id) => write!(f, "{id}{LIMIT}"),
            Self::Task(id) => write!(f, "{id}{TASK}"),
        }
    }
}

impl FromStr for ScaleTarget {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text == WORKLOAD {
            return Ok(Self::Workload);
        }
        if let Some(id) = text.strip_suffix(LIMIT) {
            return id.parse().map(Self::Limit);
        }
        if let Some(id) = text.strip_suffix(TASK) {
            return id.parse().map(Self::Task);
        }
        text.parse().map(Self::Object)
    }
}

text_form!(ScaleTarget);

/// Replicas by what they are of: everything a workload asks for, or the part that one member runs.
///
/// A count of zero means that the object exists and runs nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(BTreeMap<ScaleTarget, u32>);

impl Share {
    /// The replicas of `target`; 0 if it has none here.
    #[must_use]
    pub fn of(&self, target: &ScaleTarget) -> u32 {
        self.0.get(target).copied().unwrap_or(0)
    }

    /// Whether this member runs an object that cannot be divided. Where nobody has been chosen for it, every member does.
    #[must_use]
    pub fn runs_task(&self, id: &ManifestId) -> bool {
        let chosen = self.0.get(&ScaleTarget::Task(id.clone()));
        chosen.is_none_or(|count| *count > 0)
    }

    /// Whether there is no count at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many counts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The replicas of everything together.
    #[must_use]
    pub fn total(&self) -> u32 {
        let counts = self.0.iter();
        let counts = counts.filter(|(target, _)| target.has_replicas());
        counts.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// Each target with its replicas.
    pub fn iter(&self) -> impl Iterator<Item = (&ScaleTarget, u32)> {
        self.0.iter().map(|(target, count)| (target, *count))
    }

    /// Each count less that of `other`, at least 0.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let less = |(target, count): (&ScaleTarget, u32)| {
            (target.clone(), count.saturating_sub(other.of(target)))
        };
        self.iter().map(less).collect()
    }

    /// Each count of both, the larger one.
    #[must_use]
    pub fn at_least(&self, other: &Self) -> Self {
        let targets = self.0.keys().chain(other.0.keys());
        let larger = |target: &ScaleTarget| (target.clone(), self.of(target).max(other.of(target)));
        targets.map(larger).collect()
    }

    /// Has the same objects that cannot be divided as `other`, and no more.
    pub fn keep_tasks(&mut self, other: &Self) {
        for (target, count) in &mut self.0 {
            if matches!(target, ScaleTarget::Task(_)) {
                *count = other.of(target);
            }
        }
    }

    /// Sets the replicas of `target`.
    pub fn set(&mut self, target: ScaleTarget, replicas: u32) {
        self.0.insert(target, replicas);
    }
}

impl FromIterator<(ScaleTarget, u32)> for Share {
    fn from_iter<I: IntoIterator<Item = (ScaleTarget, u32)>>(counts: I) -> Self {
        Self(counts.into_iter().collect())
    }
}

/// As a person reads it: the one count of replicas, or each with what it is of.
impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.iter().filter(|(target, _)| target.has_replicas());
        let counts: Vec<_> = counts.collect();
        if let [(_, count)] = counts[..] {
            return count.fmt(f);
        }
        let counts = counts
            .iter()
            .map(|(target, count)| format!("{target} {count}"));
        f.write_str(&counts.collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_share_is_an_object_of_counts_on_the_wire() {
        let share: Share = [
            ("Deployment.apps/web", 2),
            ("Worker.jobs.example/w.1", 0),
            ("HorizontalPodAutoscaler.autoscaling/web:max", 5),
            ("Job.batch/migrate:task", 1),
        ]
        .map(|(target, count)| (target.parse().unwrap(), count))
        .into_iter()
        .collect();
        let wire = json!({
            "Deployment.apps/web": 2, "Worker.jobs.example/w.1": 0,
            "HorizontalPodAutoscaler.autoscaling/web:max": 5, "Job.batch/migrate:task": 1,
        });
        assert_eq!(share.total(), 2);
        assert_eq!(serde_json::to_value(&share).unwrap(), wire);
        assert_eq!(serde_json::from_value::<Share>(wire).unwrap(), share);
        let whole: Share = [(ScaleTarget::Workload, 1)].into_iter().collect();
        assert_eq!(serde_json::to_value(&whole).unwrap(), json!({"*": 1}));
        assert!(serde_json::from_value::<Share>(json!({"web": 1})).is_err());
    }
}
