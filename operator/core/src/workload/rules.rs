//! How the objects of a workload are applied and removed, where its author has a choice.

use serde::{Deserialize, Serialize};

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
