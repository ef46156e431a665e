//! Lines into what cannot be cut back: pipes, terminals, devices.
//!
//! A line that was begun is finished before anything else is written, however long its reader
//! pauses, so a reader only ever sees whole lines.

use super::{DeliveryError, Encode};
use crate::alert::Encoding;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;

/// A pipe that polls writable takes this much without blocking (POSIX).
const PIPE_BUF: usize = 4096;
/// Milliseconds to wait for a reader before giving the thread back to its caller.
const PATIENCE: u16 = 100;

/// Writes lines to a descriptor without ever blocking for long.
pub(super) struct Stream {
    file: File,
    encoding: Encoding,
    line: Vec<u8>,
    written: usize,
}

impl Stream {
    /// It writes ECS.
    pub(super) fn takes_lines(&self) -> bool {
        self.encoding == Encoding::Ecs
    }

    pub(super) fn new(file: File, encoding: Encoding) -> Stream {
        Stream { file, encoding, line: Vec::new(), written: 0 }
    }

    /// Writes as many alerts as the reader takes.
    pub(super) fn deliver(&mut self, batch: &[impl Encode]) -> Result<usize, DeliveryError> {
        for (done, alert) in batch.iter().enumerate() {
            let mut line = Vec::new();
            alert.encode(self.encoding, &mut line);
            line.push(b'\n');
            if self.written > 0 && self.line != line {
                // Not the alert that was begun: its line is completed and counts for nothing.
                if let Err(error) = self.finish() {
                    return taken(done, &error);
                }
            }
            if self.written == 0 {
                self.line = line;
            }
            if let Err(error) = self.finish() {
                return taken(done, &error);
            }
        }
        Ok(batch.len())
    }

    /// Writes what is left of the line.
    fn finish(&mut self) -> io::Result<()> {
        while let Some(rest) = self.line.get(self.written..).filter(|rest| !rest.is_empty()) {
            if !writable(&self.file)? {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            match self.file.write(rest.get(..PIPE_BUF).unwrap_or(rest)) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.line.clear();
        self.written = 0;
        Ok(())
    }
}

fn writable(file: &File) -> io::Result<bool> {
    let mut watched = [PollFd::new(file.as_fd(), PollFlags::POLLOUT)];
    match poll(&mut watched, PollTimeout::from(PATIENCE)) {
        // An error condition (the reader is gone) makes the write say what it is.
        Ok(count) => Ok(count > 0),
        Err(Errno::EINTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn taken(done: usize, error: &io::Error) -> Result<usize, DeliveryError> {
    if done > 0 {
        return Ok(done);
    }
    Err(DeliveryError::retry(match error.kind() {
        io::ErrorKind::WouldBlock => "the reader does not read".to_owned(),
        io::ErrorKind::BrokenPipe => "the reader is gone".to_owned(),
        _ => error.to_string(),
    }))
}
