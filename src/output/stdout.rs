//! Alerts as lines on standard output.
//!
//! Nobody may read it, and whoever reads may stop: then the output waits, and only the output.

use super::stream::Stream;
use super::{DeliveryError, Line, Output};
use crate::alert::{Alert, Encoding};
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

/// Standard output.
pub struct Stdout {
    stream: Stream,
}

impl Stdout {
    /// Writes to the standard output of this process.
    pub fn new(encoding: Encoding) -> io::Result<Stdout> {
        // A descriptor of its own, since the buffer of the standard library blocks and locks.
        Ok(Stdout::over(File::from(io::stdout().as_fd().try_clone_to_owned()?), encoding))
    }

    fn over(file: File, encoding: Encoding) -> Stdout {
        Stdout { stream: Stream::new(file, encoding) }
    }
}

impl Output for Stdout {
    fn deliver(&mut self, batch: &[Alert]) -> Result<usize, DeliveryError> {
        self.stream.deliver(batch)
    }

    fn takes_lines(&self) -> bool {
        self.stream.takes_lines()
    }

    fn deliver_lines(&mut self, lines: &[Line]) -> Result<usize, DeliveryError> {
        self.stream.deliver(lines)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::tests::sample;
    use std::io::{BufRead, BufReader, Read};
    use std::os::fd::OwnedFd;

    fn pipe(encoding: Encoding) -> (io::PipeReader, Stdout) {
        let (reader, writer) = io::pipe().unwrap();
        (reader, Stdout::over(File::from(OwnedFd::from(writer)), encoding))
    }

    /// Alerts longer than a pipe takes at once.
    fn long(count: usize) -> Vec<Alert> {
        let each = (0..count).map(|n| {
            let mut alert = sample();
            alert.id = format!("{n}");
            alert.event.insert("message".to_owned(), "x".repeat(30_000).into());
            alert
        });
        each.collect()
    }

    #[test]
    fn a_reader_that_is_gone_is_an_error_to_retry() {
        let (reader, mut output) = pipe(Encoding::Ecs);
        drop(reader);
        let Err(DeliveryError::Retry { reason, .. }) = output.deliver(&[sample()]) else { panic!() };
        assert_eq!(reason, "the reader is gone");
    }

    #[test]
    fn a_reader_that_pauses_gets_whole_lines() {
        let (mut reader, mut output) = pipe(Encoding::Ecs);
        let alerts = long(9);
        let mut done = output.deliver(&alerts).unwrap();
        assert!(done < alerts.len(), "the pipe is full");
        let Err(DeliveryError::Retry { reason, .. }) = output.deliver(&alerts[done..]) else { panic!() };
        assert_eq!(reason, "the reader does not read");
        let mut seen = Vec::new();
        while done < alerts.len() {
            let mut some = [0u8; 50_000];
            let count = reader.read(&mut some).unwrap();
            seen.extend_from_slice(&some[..count]);
            done += output.deliver(&alerts[done..]).unwrap_or(0);
        }
        drop(output);
        reader.read_to_end(&mut seen).unwrap();
        let lines: Vec<String> = BufReader::new(seen.as_slice()).lines().map(Result::unwrap).collect();
        let back: Vec<Alert> = lines.iter().map(|line| Alert::from_line(line.as_bytes()).unwrap()).collect();
        assert_eq!(back, alerts);
    }
}
