//! Why a call to the local API server failed, and whether a retry can succeed.

/// Why a call to the local API server failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The API server rejected the request; the same call fails again until something changes.
    #[error("{message}")]
    Refused { code: u16, message: String },
    /// The edit changes a field that cannot be changed once the object exists.
    #[error("{message}")]
    Immutable { message: String },
    /// Another field manager owns fields that were to be changed.
    #[error("{message}")]
    Owned {
        message: String,
        managers: Vec<String>,
    },
    /// The namespace is being deleted.
    #[error("{message}")]
    Terminating { message: String },
    /// The object changed since it was read; read it again.
    #[error("the object changed meanwhile")]
    Conflict,
    /// There is no such object (or no such namespace, or no such kind).
    #[error("{message}")]
    NotFound { message: String },
    /// The API server could not be reached or failed itself; retry later.
    #[error("failed to reach the API server: {0}")]
    Unavailable(String),
}

impl CallError {
    /// Whether there is no such namespace, or soon none.
    #[must_use]
    pub fn lacks_namespace(&self) -> bool {
        match self {
            Self::NotFound { message } => message.starts_with("namespaces \""),
            other => matches!(other, Self::Terminating { .. }),
        }
    }

    /// Whether the same call may succeed later without any change.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::NotFound { .. } => self.lacks_namespace(),
            Self::Refused { .. } | Self::Immutable { .. } | Self::Owned { .. } => false,
            Self::Conflict | Self::Terminating { .. } | Self::Unavailable(_) => true,
        }
    }
}
