//! How the objects of a workload are applied and removed, where its author has a choice.

use std::time::Duration;

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

/// When a workload leaves a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Failover {
    /// How long a share stays with a member that refuses it, in seconds.
    pub unplaceable_after_seconds: u32,
    /// Whether a share of a silent member is placed elsewhere in addition, before its lease ends.
    #[serde(skip_serializing_if = "is_default")]
    pub surge: SurgeWhen,
    /// How long replicas stay with a member that does not keep them ready, in seconds; 0 is for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unhealthy_after_seconds: Option<u32>,
    /// How long a member that is back must be well before it gets its part again, in seconds; 0 is never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failback_after_seconds: Option<u32>,
}

/// When replicas are placed in addition to what was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SurgeWhen {
    /// While a member that has some is silent.
    #[default]
    MemberSilent,
    /// Never.
    Never,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Default for Failover {
    fn default() -> Self {
        Self {
            unplaceable_after_seconds: 60,
            surge: SurgeWhen::default(),
            unhealthy_after_seconds: None,
            failback_after_seconds: None,
        }
    }
}

impl Failover {
    /// How long a share stays with a member that refuses it.
    #[must_use]
    pub fn unplaceable_after(self) -> Duration {
        Duration::from_secs(self.unplaceable_after_seconds.into())
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
