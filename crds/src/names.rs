//! Fixed names: everything that two programs, or two clusters, must spell the same way.

/// API group of every kind in this crate.
pub const GROUP: &str = "hanse.dev";
/// The one version of the group.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of every kind in this crate.
pub const API_VERSION: &str = "hanse.dev/v1alpha1";

/// The name of the only `Federation` object of a cluster.
pub const FEDERATION_NAME: &str = "hanse";
/// Namespace the operator runs in unless it is told another.
pub const DEFAULT_NAMESPACE: &str = "hanse-system";
/// Field manager of everything the operator applies.
pub const FIELD_MANAGER: &str = "hanse";

/// Annotation on an object that a workload took over: it is never deleted with the workload.
pub const ADOPTED_ANNOTATION: &str = "hanse.dev/adopted";

/// Annotation of a user on a workload: `Orphan` leaves its objects in the hosts when it is deleted.
pub const ON_DELETE_ANNOTATION: &str = "hanse.dev/on-delete";

/// Label on every object applied in a host: a short id of the workload it was applied for, to select by.
pub const WORKLOAD_LABEL: &str = "hanse.dev/workload";
/// Annotation on every object applied in a host: the workload it was applied for, as `OWNER/NAMESPACE/NAME`. It decides whose
/// an object is.
pub const WORKLOAD_ANNOTATION: &str = "hanse.dev/workload";
/// Label on a namespace that Hanse made for a guest: the guest's owner.
pub const GUEST_LABEL: &str = "hanse.dev/guest";
/// Label on a `Member` that describes another cluster; its value is [`TRUE`]. Mirrored rows are read-only.
pub const MIRRORED_LABEL: &str = "hanse.dev/mirrored";
/// Label on the `ConfigMap` that lists what a placement applied in this host; its value is [`TRUE`].
pub const INVENTORY_LABEL: &str = "hanse.dev/inventory";
/// Value of the labels that only say yes.
pub const TRUE: &str = "true";

/// Annotation on every object applied in a host: the epoch of the placement it belongs to.
pub const EPOCH_ANNOTATION: &str = "hanse.dev/epoch";
/// Annotation on a workload: `<ledger generation>:<SHA-256 of the canonical spec>` of what the operator last wrote there.
/// A user's edit is an edit of that generation.
pub const SYNCED_ANNOTATION: &str = "hanse.dev/synced";
/// Annotation on the `Federation`: asks the operator to change the federation's timings; `LEASE/HEARTBEAT`, such as `8s/1s`.
pub const TIMINGS_ANNOTATION: &str = "hanse.dev/timings";
/// Annotation on a mirrored `Member`: its value [`TRUE`] asks the operator to revoke that member.
pub const REVOKE_ANNOTATION: &str = "hanse.dev/revoke";
/// Finalizer on a workload: its objects are removed from every host before it goes.
pub const PLACEMENTS_FINALIZER: &str = "hanse.dev/placements";

/// Label on the `ConfigMap` through which the CLI asks the operator a question: one of the two values below.
pub const QUESTION_LABEL: &str = "hanse.dev/question";
/// [`QUESTION_LABEL`]: written by the CLI, waits for the operator.
pub const QUESTION_ASKED: &str = "asked";
/// [`QUESTION_LABEL`]: the operator has filled in [`ANSWER_KEY`].
pub const QUESTION_ANSWERED: &str = "answered";
/// Data key of that `ConfigMap`, written by the CLI: a [`crate::Question`] as JSON.
pub const QUESTION_KEY: &str = "question";
/// Data key of that `ConfigMap`, written by the operator: an `Answer` of hanse-core as JSON.
pub const ANSWER_KEY: &str = "answer";

/// Type of the `Secret` through which the CLI asks the operator for an invitation.
pub const INVITATION_SECRET_TYPE: &str = "hanse.dev/invitation";
/// Label on that `Secret`: how far the request is, one of the three values below.
pub const INVITATION_LABEL: &str = "hanse.dev/invitation";
/// [`INVITATION_LABEL`]: written by the CLI, waits for the operator.
pub const INVITATION_REQUESTED: &str = "requested";
/// [`INVITATION_LABEL`]: the operator has filled in [`INVITATION_KEY`].
pub const INVITATION_ISSUED: &str = "issued";
/// [`INVITATION_LABEL`]: the operator has filled in [`INVITATION_ERROR_KEY`].
pub const INVITATION_REFUSED: &str = "refused";
/// Data key of that `Secret`, written by the CLI: the owner that is invited.
pub const INVITATION_OWNER_KEY: &str = "owner";
/// Data key of that `Secret`, written by the CLI: how long the invitation is good for, such as `1h`.
pub const INVITATION_EXPIRES_AFTER_KEY: &str = "expiresAfter";
/// Data key of that `Secret`, written by the operator: the invitation itself.
pub const INVITATION_KEY: &str = "invitation";
/// Data key of that `Secret`, written by the operator: why there is none.
pub const INVITATION_ERROR_KEY: &str = "error";
