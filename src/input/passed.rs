//! The one place that turns descriptor numbers from the environment into owned sockets.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Takes over the descriptors of `$LISTEN_FDS` with their names; a second call gives none.
pub(super) fn sockets() -> io::Result<Vec<(String, OwnedFd)>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return Ok(Vec::new());
    }
    let passed = sd_notify::listen_fds_with_names()?;
    Ok(passed
        .map(|(fd, name)| {
            // SAFETY: `listen_fds_with_names` checked that `$LISTEN_PID` is this process, so the service
            // manager opened the descriptor for it before it started, and that it is open. Nothing else
            // in the process knows its number, and `TAKEN` lets this run once, so nobody else owns it.
            (name, unsafe { OwnedFd::from_raw_fd(fd) })
        })
        .collect())
}
