//! Tells when rule files changed.
//!
//! Directories are watched, not files, so that editors and tools which write a new file and rename
//! it are seen. Changes settle: the callback comes when nothing moved for a while, so that a set
//! of several files is read whole. Where the kernel cannot tell, the files are polled.

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use notify::event::{AccessKind, AccessMode};
use notify::{Config, Event, EventKind, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long nothing must move.
pub const SETTLE: Duration = Duration::from_millis(500);

/// A directory that never rests is read anyway, this often.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often files are looked at where the kernel does not tell.
const POLL: Duration = Duration::from_secs(2);

/// A running watch; ends when dropped.
#[derive(Debug)]
pub struct Watch {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Watches files and directories and calls `changed` after each change has settled.
pub fn start(
    paths: Vec<PathBuf>,
    settle: Duration,
    changed: impl FnMut() + Send + 'static,
) -> std::io::Result<Watch> {
    let (stop, stopped) = bounded(0);
    let (events, moved) = unbounded();
    // Armed before the return, so that a change right after it is seen.
    let watchers = Watchers::arm(&paths, &events);
    let thread = std::thread::Builder::new()
        .name("rules-watch".to_owned())
        .spawn(move || run(&paths, settle, watchers, &events, &moved, &stopped, changed))?;
    Ok(Watch { stop: Some(stop), thread: Some(thread) })
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic in the callback was printed when it happened.
            let _ = thread.join();
        }
    }
}

fn run(
    paths: &[PathBuf],
    settle: Duration,
    mut watchers: Watchers,
    events: &Sender<()>,
    moved: &Receiver<()>,
    stopped: &Receiver<()>,
    mut changed: impl FnMut(),
) {
    loop {
        crossbeam_channel::select! {
            recv(moved) -> _ => {}
            recv(stopped) -> _ => return,
        }
        let patience = Instant::now() + PATIENCE;
        loop {
            match moved.recv_timeout(settle) {
                Ok(()) if Instant::now() < patience => {}
                Ok(()) | Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if let Err(crossbeam_channel::TryRecvError::Disconnected) = stopped.try_recv() {
                return;
            }
        }
        // Folders may have been replaced; a watch stays with the old one.
        drop(watchers);
        watchers = Watchers::arm(paths, events);
        while moved.try_recv().is_ok() {}
        changed();
    }
}

/// The kernel's notices, and polling for where there are none.
#[derive(Debug)]
struct Watchers {
    _native: Option<RecommendedWatcher>,
    _polling: Option<PollWatcher>,
}

impl Watchers {
    fn arm(paths: &[PathBuf], events: &Sender<()>) -> Watchers {
        let mut native = notify::recommended_watcher(handler(events.clone())).ok();
        let mut left = Vec::new();
        let mut places: Vec<(PathBuf, RecursiveMode)> = paths.iter().map(|path| place(path)).collect();
        for above in paths.iter().flat_map(|path| links(path)) {
            if !places.iter().any(|(place, _)| *place == above) {
                places.push((above, RecursiveMode::NonRecursive));
            }
        }
        for (place, mode) in places {
            let told = native.as_mut().is_some_and(|native| native.watch(&place, mode).is_ok());
            if !told || is_remote(&place) {
                left.push((place, mode));
            }
        }
        let mut polling = None;
        if !left.is_empty() {
            let config = Config::default().with_poll_interval(POLL);
            polling = PollWatcher::new(handler(events.clone()), config).ok();
            for (place, mode) in left {
                if let Some(polling) = &mut polling {
                    // What cannot be polled either is read at the next SIGHUP.
                    let _ = polling.watch(&place, mode);
                }
            }
        }
        Watchers { _native: native, _polling: polling }
    }
}

fn handler(events: Sender<()>) -> impl FnMut(notify::Result<Event>) {
    move |event| {
        let reading = match &event {
            // Loading opens and reads the files itself; that must not load them again.
            Ok(event) => match event.kind {
                EventKind::Access(AccessKind::Close(AccessMode::Write)) => false,
                EventKind::Access(_) => true,
                _ => false,
            },
            // Notices were lost: look.
            Err(_) => false,
        };
        if !reading {
            // The receiver is gone when the watch ends.
            let _ = events.send(());
        }
    }
}

/// A directory itself; for a file, or for what is not there yet, the directory above.
fn place(path: &Path) -> (PathBuf, RecursiveMode) {
    if path.is_dir() {
        return (path.to_owned(), RecursiveMode::Recursive);
    }
    let above = path.ancestors().skip(1).find(|above| above.is_dir() || above.as_os_str().is_empty());
    match above {
        Some(above) if !above.as_os_str().is_empty() => (above.to_owned(), RecursiveMode::NonRecursive),
        _ => (PathBuf::from("."), RecursiveMode::NonRecursive),
    }
}

/// The folders of the links that a path leads through: one that is made to lead elsewhere changes nothing
/// in the folder it led to.
fn links(path: &Path) -> impl Iterator<Item = PathBuf> {
    let links = path.ancestors().filter(|one| one.is_symlink());
    links.filter_map(Path::parent).map(|above| match above.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => above.to_owned(),
    })
}

/// The kernel is silent about what other machines change.
// The type of the number differs between C libraries.
#[allow(clippy::useless_conversion)]
fn is_remote(path: &Path) -> bool {
    use nix::sys::statfs::{FsType, statfs};
    const NFS: i64 = 0x6969;
    const SMB: i64 = 0x517b;
    const CIFS: i64 = 0xff53_4d42;
    const SMB2: i64 = 0xfe53_4d42;
    const FUSE: i64 = 0x6573_5546;
    const V9FS: i64 = 0x0102_1997;
    const CEPH: i64 = 0x00c3_6400;
    let Ok(FsType(kind)) = statfs(path).map(|found| found.filesystem_type()) else { return false };
    [NFS, SMB, CIFS, SMB2, FUSE, V9FS, CEPH].contains(&i64::from(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Waits for one callback; none within the time is a failure of the caller's expectation.
    fn wait(calls: &Receiver<()>) -> bool {
        calls.recv_timeout(Duration::from_secs(20)).is_ok()
    }

    #[test]
    fn changes_are_told_and_reading_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sub/a.yaml");
        fs::create_dir(dir.path().join("sub")).unwrap();
        fs::write(&file, "one").unwrap();
        let (told, calls) = unbounded();
        let (seen, settle) = (file.clone(), Duration::from_millis(50));
        let watch = start(vec![dir.path().to_owned()], settle, move || {
            let _ = fs::read(&seen);
            let _ = told.send(());
        })
        .unwrap();
        for (name, change) in [
            ("write", (|file| fs::write(file, "two").unwrap()) as fn(&Path)),
            ("rename over", |file| {
                fs::write(file.with_extension("tmp"), "three").unwrap();
                fs::rename(file.with_extension("tmp"), file).unwrap();
            }),
            ("new folder", |file| fs::create_dir(file.with_extension("d")).unwrap()),
            ("file in the new folder", |file| fs::write(file.with_extension("d").join("b"), "x").unwrap()),
            ("removal", |file| fs::remove_file(file).unwrap()),
        ] {
            change(&file);
            assert!(wait(&calls), "{name}");
        }
        // The reads of the callback would call again for ever; a slow machine may cut one change
        // in two.
        let further = (0..20).take_while(|_| calls.recv_timeout(Duration::from_millis(500)).is_ok()).count();
        assert!(further < 20);
        drop(watch);
    }

    #[test]
    fn a_folder_that_is_replaced_by_its_link_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        for version in ["v1", "v2", "v3"] {
            fs::create_dir(dir.path().join(version)).unwrap();
            fs::write(dir.path().join(version).join("cert.pem"), version).unwrap();
        }
        let current = dir.path().join("current");
        std::os::unix::fs::symlink("v1", &current).unwrap();
        let (told, calls) = unbounded();
        let changed = move || {
            let _ = told.send(());
        };
        let watch = start(vec![current.join("cert.pem")], Duration::from_millis(50), changed).unwrap();
        for version in ["v2", "v3"] {
            // As those do who renew: all files at once.
            std::os::unix::fs::symlink(version, dir.path().join("next")).unwrap();
            fs::rename(dir.path().join("next"), &current).unwrap();
            assert!(wait(&calls), "{version}");
            while calls.recv_timeout(Duration::from_millis(300)).is_ok() {}
        }
        drop(watch);
    }

    #[test]
    fn a_file_and_a_missing_directory_are_watched_from_above() {
        let dir = tempfile::tempdir().unwrap();
        let (file, missing) = (dir.path().join("a.yaml"), dir.path().join("later"));
        fs::write(&file, "one").unwrap();
        let (told, calls) = unbounded();
        let changed = move || {
            let _ = told.send(());
        };
        let watch = start(vec![file.clone(), missing.clone()], Duration::from_millis(50), changed).unwrap();
        fs::write(&file, "two").unwrap();
        assert!(wait(&calls));
        fs::create_dir(&missing).unwrap();
        assert!(wait(&calls));
        fs::write(missing.join("b.yaml"), "x").unwrap();
        assert!(wait(&calls));
        drop(watch);
    }
}
