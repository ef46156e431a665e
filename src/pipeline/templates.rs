//! Keeps what exporters told over a restart: one file for each flow input, written on a thread of its own.
//!
//! A worker puts down the state of its decoder every minute and when it stops; the [`Keeper`] reads the
//! files before the workers start, and the thread that it becomes writes what they put down. A file is
//! written under another name, synced and renamed, so that a crash leaves the old one or the new one.

use crate::decode::flow::Stored;
use crate::input::now;
use crate::worker::{FlowReport, Worker};
use crossbeam_channel::{RecvTimeoutError, Sender};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// Reads the files, and knows who writes which.
pub struct Keeper {
    folder: PathBuf,
    kept: Vec<Kept>,
}

/// The thread that writes.
pub struct Running {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

struct Kept {
    input: String,
    path: PathBuf,
    report: Arc<FlowReport>,
    /// The last write failed; it is said once.
    failing: bool,
}

/// How often the thread looks for something to write.
const LOOK: Duration = Duration::from_secs(1);

/// The largest file that is read: ten times what a decoder holds as JSON.
const LARGEST: u64 = 256 << 20;

impl Keeper {
    /// A keeper of the files in a data directory.
    pub fn new(data_dir: &Path) -> Keeper {
        Keeper { folder: data_dir.join("templates"), kept: Vec::new() }
    }

    /// Gives a worker what an earlier run kept for its input, and keeps what it tells from now on. What
    /// cannot be read is said, and the exporters will tell it again.
    pub fn keep(&mut self, input: &str, worker: &mut Worker, report: &Arc<FlowReport>) {
        let path = self.folder.join(file_name(input));
        match read(&path) {
            Ok(Some(stored)) => {
                let templates = worker.restore_flows(&stored, now());
                tracing::info!(input, templates, "templates of the last run; they hold until repeated");
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(input, "{}: {error}; starting without it", path.display()),
        }
        self.kept.push(Kept { input: input.to_owned(), path, report: report.clone(), failing: false });
    }

    /// Starts writing.
    pub fn start(self) -> io::Result<Running> {
        let Keeper { folder, mut kept } = self;
        let (stop, stopped) = crossbeam_channel::bounded(1);
        if kept.is_empty() {
            return Ok(Running { stop, thread: None });
        }
        let run = move || {
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(LOOK) {
                kept.iter_mut().for_each(|one| one.write(&folder));
            }
            kept.iter_mut().for_each(|one| one.write(&folder));
        };
        let thread = std::thread::Builder::new().name("templates".into()).spawn(run)?;
        Ok(Running { stop, thread: Some(thread) })
    }
}

impl Running {
    /// Writes what the workers put down last, once they have ended.
    pub fn stop(self) {
        drop(self.stop);
        if let Some(thread) = self.thread
            && thread.join().is_err()
        {
            tracing::error!(thread = "templates", "panicked");
        }
    }
}

impl Kept {
    fn write(&mut self, folder: &Path) {
        let Some(stored) = self.report.stored.swap(None) else { return };
        match write(folder, &self.path, &stored.to_json()) {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                let path = self.path.display();
                tracing::warn!(input = self.input, "{path}: {error}; templates will not outlive a restart");
            }
            Err(_) => {}
        }
    }
}

/// A name of the input that is a file name too, and no other input's.
fn file_name(input: &str) -> String {
    let plain = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte),
        _ => '_',
    };
    let plain: String = input.bytes().take(64).map(plain).collect();
    format!("{plain}-{:08x}.json", crc32c::crc32c(input.as_bytes()))
}

fn read(path: &Path) -> io::Result<Option<Stored>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    if file.take(LARGEST + 1).read_to_end(&mut text)? as u64 > LARGEST {
        return Err(io::Error::other("too large"));
    }
    Stored::from_json(&text).map(Some).map_err(io::Error::other)
}

fn write(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let draft = path.with_extension("new");
    let mut file = File::create(&draft)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    // The rename is on disk when the folder is.
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart_and_stay_in_their_folder() {
        assert_ne!(file_name("a/b"), file_name("a_b"));
        assert!(!file_name("../../etc/passwd").contains("/"));
    }

    #[test]
    fn what_is_damaged_is_refused_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("templates").join(file_name("flow"));
        assert!(read(&path).unwrap().is_none());
        let empty = crate::decode::flow::Decoder::default().store();
        write(path.parent().unwrap(), &path, &empty.to_json()).unwrap();
        assert_eq!(read(&path).unwrap(), Some(empty.clone()));
        for damaged in [&b"{"[..], b"", b"{\"version\":2}", b"{\"version\":1,\"templates\":[{}]}"] {
            fs::write(&path, damaged).unwrap();
            assert!(read(&path).is_err());
        }
        write(path.parent().unwrap(), &path, &empty.to_json()).unwrap();
        assert!(read(&path).is_ok());
    }
}
