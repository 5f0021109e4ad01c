//! How the objects of a workload are applied and removed, where its author has a choice.

use serde::{Deserialize, Serialize};

use super::{Manifest, SpecError, WorkloadSpec};
use crate::state::Keep;

/// What becomes of the `PersistentVolumeClaim`s of a workload. Only manifests: what a `StatefulSet` makes by its
/// templates follows its own `persistentVolumeClaimRetentionPolicy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volumes {
    /// When a placement is taken away from a member.
    pub on_move: VolumePolicy,
    /// When the workload is deleted.
    pub on_delete: VolumePolicy,
}

impl Default for Volumes {
    fn default() -> Self {
        Self {
            on_move: VolumePolicy::Retain,
            on_delete: VolumePolicy::Delete,
        }
    }
}

/// What becomes of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumePolicy {
    /// Its claim stays, with the data.
    Retain,
    /// Its claim is deleted; the reclaim policy of the volume says what becomes of the data.
    Delete,
}

impl From<VolumePolicy> for Keep {
    fn from(policy: VolumePolicy) -> Self {
        match policy {
            VolumePolicy::Retain => Self::Volumes,
            VolumePolicy::Delete => Self::Nothing,
        }
    }
}

/// What becomes of an object that exists already and was not made for the workload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Adopt {
    /// It is left alone, and the workload says so.
    #[default]
    Never,
    /// It is taken over if applying the manifest changes nothing that anybody set.
    IfUnchanged,
    /// It is taken over.
    Always,
}

/// What becomes of a field that another manager has set to another value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Conflicts {
    /// It is left alone, and the workload says so. What somebody set with kubectl in a host is corrected.
    #[default]
    Refuse,
    /// It is taken over.
    Force,
}

/// What becomes of an object of which an edit changes a field that cannot be changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnImmutable {
    /// It stays as it is, and the workload says so.
    #[default]
    Fail,
    /// It is deleted with what it runs, and made again.
    Recreate,
}

/// The annotation of a manifest that says it for this object alone.
pub const ON_IMMUTABLE_ANNOTATION: &str = "hanse.dev/on-immutable";

impl WorkloadSpec {
    /// What becomes of this object when an edit changes a field that cannot be changed: what its annotation says, or else the workload.
    #[must_use]
    pub fn on_immutable_of(&self, manifest: &Manifest) -> OnImmutable {
        let own = manifest.own_on_immutable().ok().flatten();
        own.unwrap_or(self.on_immutable)
    }

    /// Checks what manifests say of themselves. The author's operator does, and the ledger does not: builds that do not know the
    /// annotation apply a workload alike.
    pub fn check_on_immutable(&self) -> Result<(), SpecError> {
        let mut manifests = self.manifests.iter();
        manifests.try_for_each(|manifest| manifest.own_on_immutable().map(drop))
    }
}

impl Manifest {
    fn own_on_immutable(&self) -> Result<Option<OnImmutable>, SpecError> {
        match self.annotation(ON_IMMUTABLE_ANNOTATION) {
            None => Ok(None),
            Some("Fail") => Ok(Some(OnImmutable::Fail)),
            Some("Recreate") => Ok(Some(OnImmutable::Recreate)),
            Some(other) => Err(SpecError::Annotation {
                object: self.to_string(),
                annotation: ON_IMMUTABLE_ANNOTATION,
                expected: "'Fail' or 'Recreate'",
                actual: other.to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        OnImmutable::{Fail, Recreate},
        *,
    };
    use crate::workload::{Mode, PlacementRules};

    #[test]
    fn an_object_may_say_what_becomes_of_it_when_it_cannot_be_changed() {
        let of = |annotation: Option<&str>, workload: OnImmutable| {
            let annotations = annotation.map(|it| json!({ON_IMMUTABLE_ANNOTATION: it}));
            let job = json!({
                "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x", "annotations": annotations.unwrap_or_default()},
            });
            let rules = PlacementRules::new(Mode::Divided);
            let mut spec = WorkloadSpec::new(vec![job], rules, &"shop".parse().unwrap()).unwrap();
            spec.on_immutable = workload;
            spec.check_on_immutable()
                .map_err(|error| error.to_string())?;
            Ok::<_, String>(spec.on_immutable_of(&spec.manifests[0]))
        };
        assert_eq!(of(None, Fail), Ok(Fail));
        assert_eq!(of(None, Recreate), Ok(Recreate));
        assert_eq!(of(Some("Recreate"), Fail), Ok(Recreate));
        assert_eq!(of(Some("Fail"), Recreate), Ok(Fail));
        let words = "manifest Job 'x' must have 'Fail' or 'Recreate' in annotation 'hanse.dev/on-immutable', not 'recreate'";
        assert_eq!(of(Some("recreate"), Fail), Err(words.to_owned()));
    }
}
