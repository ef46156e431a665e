//! Alerts as lines in a file, appended, safe with log rotation.
//!
//! Rotation by renaming is noticed by SIGHUP or, without it, because the path no longer leads to
//! the file that is open. Rotation by copying and truncating is harmless, since every write goes
//! to the end. A line that did not fit is cut off again, so readers only see whole lines. What is
//! no regular file (a FIFO, a device) is written as a [`Stream`].

use super::stream::Stream;
use super::{DeliveryError, Encode, Line, Output};
use crate::alert::{Alert, Encoding};
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

/// Readable for the group, as a log shipper needs it, and for nobody else: alerts are marked.
const MODE: u32 = 0o640;
/// A remnant longer than this is no line of ours.
const MAX_REMNANT: u64 = 16 << 20;

/// A file that grows by a line for each alert.
pub struct File {
    path: PathBuf,
    encoding: Encoding,
    target: Option<Target>,
    /// Why what was written to a file that is closed may not be on the disk.
    lost: Option<io::Error>,
}

enum Target {
    Regular(Regular),
    Stream(Stream),
}

struct Regular {
    file: fs::File,
    /// The file ends within a line that could not be cut off.
    torn: bool,
}

impl File {
    /// Appends to the file at `path`, which is created when the first alert comes.
    pub fn new(path: PathBuf, encoding: Encoding) -> File {
        File { path, encoding, target: None, lost: None }
    }

    fn write(&mut self, batch: &[impl Encode]) -> Result<usize, DeliveryError> {
        if matches!(&self.target, Some(Target::Regular(open)) if !self.is_at_path(&open.file)) {
            self.close();
        }
        let target = match self.target.take() {
            Some(target) => target,
            None => self.open().map_err(|error| self.explain(&error))?,
        };
        match self.target.insert(target) {
            Target::Stream(stream) => stream.deliver(batch),
            Target::Regular(open) => {
                let result = open.append(batch, self.encoding);
                result.map_err(|error| self.explain(&error))
            }
        }
    }

    fn close(&mut self) {
        if let Some(Target::Regular(open)) = self.target.take()
            && let Err(error) = open.file.sync_data()
        {
            self.lost = Some(error);
        }
    }

    fn open(&self) -> io::Result<Target> {
        // Without O_NONBLOCK the opening of a FIFO would wait for its reader.
        let flags = nix::libc::O_NONBLOCK | nix::libc::O_CLOEXEC | nix::libc::O_NOCTTY;
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(MODE).custom_flags(flags);
        let file = options.open(&self.path)?;
        if !file.metadata()?.is_file() {
            return Ok(Target::Stream(Stream::new(file, self.encoding)));
        }
        let torn = !self.mend(&file)?;
        Ok(Target::Regular(Regular { file, torn }))
    }

    /// Cuts off a line of ours that a crash left unfinished; it is delivered again. False if the
    /// file ends within a line that is not ours to cut.
    fn mend(&self, file: &fs::File) -> io::Result<bool> {
        let length = file.metadata()?.len();
        // Unreadable to us (append-only rights): then nothing is known of its end.
        let Ok(mut reader) = fs::File::open(&self.path) else { return Ok(true) };
        let start = length.saturating_sub(MAX_REMNANT);
        reader.seek(SeekFrom::Start(length.saturating_sub(1)))?;
        let mut last = Vec::new();
        Read::by_ref(&mut reader).take(1).read_to_end(&mut last)?;
        if matches!(last.as_slice(), [] | [b'\n']) {
            return Ok(true);
        }
        reader.seek(SeekFrom::Start(start))?;
        let mut tail = Vec::new();
        reader.take(MAX_REMNANT).read_to_end(&mut tail)?;
        let begin = memchr::memrchr(b'\n', &tail).map_or(0, |at| at + 1);
        let remnant = tail.get(begin..).unwrap_or_default();
        let whole = begin > 0 || start == 0;
        if !whole || !remnant.starts_with(self.encoding.prefix()) {
            return Ok(false);
        }
        Ok(file.set_len(start + begin as u64).is_ok())
    }

    fn is_at_path(&self, file: &fs::File) -> bool {
        match (file.metadata(), fs::metadata(&self.path)) {
            (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
            _ => false,
        }
    }

    fn explain(&self, error: &io::Error) -> DeliveryError {
        DeliveryError::retry(format!("{}: {error}", self.path.display()))
    }
}

impl Output for File {
    fn deliver(&mut self, batch: &[Alert]) -> Result<usize, DeliveryError> {
        self.write(batch)
    }

    fn takes_lines(&self) -> bool {
        self.encoding == Encoding::Ecs
    }

    fn deliver_lines(&mut self, lines: &[Line]) -> Result<usize, DeliveryError> {
        self.write(lines)
    }

    fn settle(&mut self) -> Result<(), DeliveryError> {
        let result = match (self.lost.take(), &self.target) {
            (Some(error), _) => Err(error),
            (None, Some(Target::Regular(open))) => open.file.sync_data(),
            (None, _) => Ok(()),
        };
        result.map_err(|error| self.explain(&error))
    }

    fn reopen(&mut self) {
        if let Some(Target::Regular(_)) = self.target {
            self.close();
        }
    }
}

impl Regular {
    /// Appends whole lines; says how many alerts are in the file.
    fn append(&mut self, batch: &[impl Encode], encoding: Encoding) -> io::Result<usize> {
        let mut bytes = Vec::new();
        if self.torn {
            bytes.push(b'\n');
        }
        let mut ends = Vec::with_capacity(batch.len());
        for alert in batch {
            alert.encode(encoding, &mut bytes);
            bytes.push(b'\n');
            ends.push(bytes.len());
        }
        let before = self.file.metadata()?.len();
        let (written, error) = self.write_all(&bytes);
        let whole = ends.iter().take_while(|end| **end <= written).count();
        let keep = whole.checked_sub(1).and_then(|at| ends.get(at)).copied().unwrap_or(0);
        if written > 0 {
            self.torn = written > keep && !self.cut(before, keep as u64, written as u64);
        }
        match error {
            Some(error) if whole == 0 => Err(error),
            _ => Ok(whole),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> (usize, Option<io::Error>) {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match self.file.write(rest) {
                Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (written, Some(error)),
            }
        }
        (written, None)
    }

    /// Takes an unfinished line off the end, unless somebody else changed the file meanwhile.
    fn cut(&self, before: u64, keep: u64, written: u64) -> bool {
        let untouched = self.file.metadata().is_ok_and(|now| now.len() == before + written);
        untouched && self.file.set_len(before + keep).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::tests::sample;

    fn alerts(ids: std::ops::Range<u32>) -> Vec<Alert> {
        ids.map(|n| Alert { id: n.to_string(), ..sample() }).collect()
    }

    fn ids(path: &std::path::Path) -> Vec<String> {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().map(|line| Alert::from_line(line.as_bytes()).unwrap().id).collect()
    }

    #[test]
    fn rotation_by_renaming_and_by_truncating_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alerts.ndjson");
        let mut output = File::new(path.clone(), Encoding::Ecs);
        assert_eq!(output.deliver(&alerts(0..2)).unwrap(), 2);
        let rotated = dir.path().join("alerts.1");
        fs::rename(&path, &rotated).unwrap();
        output.deliver(&alerts(2..3)).unwrap();
        assert_eq!((ids(&rotated), ids(&path)), (vec!["0".into(), "1".into()], vec!["2".into()]));
        fs::copy(&path, dir.path().join("alerts.2")).unwrap();
        OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
        output.deliver(&alerts(3..5)).unwrap();
        assert_eq!(ids(&path), ["3", "4"]);
        fs::remove_file(&path).unwrap();
        output.reopen();
        output.deliver(&alerts(5..6)).unwrap();
        assert_eq!(ids(&path), ["5"]);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777 & !MODE, 0);
    }

    #[test]
    fn an_unfinished_line_is_cut_off_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alerts.ndjson");
        File::new(path.clone(), Encoding::Ecs).deliver(&alerts(0..2)).unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in 1..60 {
            fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            File::new(path.clone(), Encoding::Ecs).deliver(&alerts(7..8)).unwrap();
            assert_eq!(ids(&path), ["0", "7"], "cut by {cut}");
        }
    }

    #[test]
    fn a_line_of_somebody_else_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notes");
        fs::write(&path, "not ours").unwrap();
        File::new(path.clone(), Encoding::Ecs).deliver(&alerts(0..1)).unwrap();
        assert!(fs::read_to_string(&path).unwrap().starts_with("not ours\n{"));
    }

    #[test]
    fn what_cannot_be_written_is_an_error_to_retry() {
        let dir = tempfile::tempdir().unwrap();
        for (name, path, expected) in [
            ("full", "/dev/full".into(), "No space left on device"),
            ("no directory", dir.path().join("a/b"), "No such file or directory"),
            ("a directory", dir.path().to_owned(), "Is a directory"),
        ] {
            let mut output = File::new(path, Encoding::Ecs);
            for _ in 0..2 {
                match output.deliver(&alerts(0..1)) {
                    Err(DeliveryError::Retry { reason, .. }) => {
                        assert!(reason.contains(expected), "{name}: {reason}");
                    }
                    other => panic!("{name}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn a_fifo_without_reader_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut output = File::new(path, Encoding::Ecs);
        assert!(matches!(output.deliver(&alerts(0..1)), Err(DeliveryError::Retry { .. })));
    }
}
