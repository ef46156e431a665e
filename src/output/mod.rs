//! Delivers alerts: on disk first, then to each output at its own pace.
//!
//! [`Delivery`] appends alerts to the [`spool`] and runs one thread for each output, which reads
//! at its own cursor, lets [`mod@release`] decide what may leave, and hands the rest to its
//! [`Output`]. A slow or dead output holds up neither the input nor another output.

pub mod delivery;
mod file;
pub mod release;
pub mod spool;
mod stdout;
mod stream;

pub use delivery::{Delivery, OutputSpec, OutputStats, Undelivered};
pub use file::File;
pub use release::{Release, Withheld, release};
pub use stdout::Stdout;

use crate::alert::Alert;
use std::path::PathBuf;
use std::time::Duration;

/// Where alerts go.
///
/// Implementations know one protocol. What may leave was decided before, what comes back decides
/// whether to try again; order, backoff and bookkeeping are the caller's.
pub trait Output: Send {
    /// Delivers alerts in order; `Ok(n)` says that the first `n` arrived, and the caller comes again
    /// with the rest. An error says that none of them did, and concerns the first.
    fn deliver(&mut self, batch: &[Alert]) -> Result<usize, DeliveryError>;

    /// Makes sure of what arrived, where somebody between could still lose it. The caller asks about
    /// once a second; after an error it delivers again what arrived since it last asked.
    fn settle(&mut self) -> Result<(), DeliveryError> {
        Ok(())
    }

    /// Opens its destination anew, after SIGHUP.
    fn reopen(&mut self) {}
}

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

impl DeliveryError {
    fn retry(reason: impl Into<String>) -> DeliveryError {
        DeliveryError::Retry { reason: reason.into(), after: None }
    }
}

/// Where an output writes; the destinations of this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// `stdout:`
    Stdout,
    /// `file:///…`
    File(PathBuf),
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Destination::Stdout => f.write_str("stdout:"),
            Destination::File(path) => write!(f, "file://{}", path.display()),
        }
    }
}
