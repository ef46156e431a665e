//! Delivers alerts: on disk first, then to each output at its own pace.

use std::time::Duration;

/// Why a batch, or its next alert, was not delivered.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// The output cannot take it now; try again, not before `after` if given.
    #[error("{reason}")]
    Retry {
        /// What happened.
        reason: String,
        /// The receiver's wish.
        after: Option<Duration>,
    },
    /// The output will never take this alert; set it aside.
    #[error("{reason}")]
    Reject {
        /// What happened.
        reason: String,
    },
}
