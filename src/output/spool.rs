//! The spool: alerts on disk until every output has them.
//!
//! # Format, version 1
//!
//! One directory, mode 0700, holds segments, cursors and a lock. Integers are little-endian.
//!
//! ```text
//! 00000000000000000042.seg    a segment, named after the sequence number of its first record
//!     8 bytes   "ROJESPL" and the version, 1
//!     records, one behind the other:
//!     4 bytes   length of the payload, 1 to MAX_PAYLOAD
//!     4 bytes   CRC32C of everything of the record behind it
//!     8 bytes   sequence number, one more than the record before
//!     8 bytes   when it was appended, nanoseconds since 1970
//!     n bytes   payload: one alert as ECS JSON
//!     zeros     room for the next records, which no record's length is
//! soc.cursor                  a cursor: "roje cursor 1", the sequence number of the next record
//!                             that the output `soc` wants, CRC32C of both lines
//! damaged/                    segments that were set aside
//! lock                        held by the process that uses the directory
//! ```
//!
//! # Invariants
//!
//! - A batch of records is written, then synced once, before [`Spool::append`] returns `Ok`; a new
//!   segment's name is synced before that too. What returned `Ok` is there after a crash. The file has
//!   grown before: to sync bytes that take the place of others costs a fraction of what it takes
//!   when the length of the file, too, must reach the disk. A segment that is closed gives back the
//!   room that it did not use.
//! - Readers see a record only after its sync. A record of which the sync failed is cut off; its
//!   segment is not appended to again, since after a failed sync nobody knows what the disk holds.
//! - Sequence numbers rise by one and are never used twice for different alerts; those of alerts
//!   held in memory, while the disk refuses, are taken from the same row, and they are written in
//!   their order once it accepts again. A segment that cannot be read keeps its numbers.
//! - A cursor is replaced by renaming, so it is the old or the new one. It lags behind what was
//!   delivered, by a second or so, which means a second delivery after a crash, and never runs ahead
//!   of what the output has for good. One that the disk refused is tried again until it is there.
//! - A segment is deleted when every cursor has passed it, or to keep within the limits on bytes and
//!   age: then oldest first, and what an output did not have for good is counted as dropped there.
//! - Age is measured by a clock that only runs forward. Records of an earlier run are old if the clock
//!   of the day said so at the start and says so now, and not before `SETTLING` has passed: a clock
//!   that is set forward, or was wrong when the machine came up, drops nothing.
//! - A heartbeat ([`crate::output::heartbeat`]) is a record like any other, and never counted as an
//!   alert.
//!
//! # At the start
//!
//! Room behind the last record of a segment is given back, and an unfinished record there is cut off:
//! nobody was told that it was there. Anything else that does not check is taken for damage (a batch of
//! which a later block reached the disk before an earlier one, too): the segment is
//! copied to `damaged/`, reported, and what checks in it is delivered, as are all other segments. What
//! a crash left of a replacement (`*.new`) is removed. [`inspect`] tells the same without changing
//! anything.
//!
//! # While it runs
//!
//! A segment that is gone, or that ends before its records do, is lost and counted as dropped. Any
//! other error of reading (no descriptor left, a disk that hangs) is tried again, and only an error of
//! the disk itself gives up the segment after `READ_TRIES`.

use super::heartbeat;
use crate::input::{Nanos, Time};
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub mod inspect;

const MAGIC: &[u8; 8] = b"ROJESPL\x01";
/// Length, CRC, sequence number, time.
const FRAME: usize = 24;
/// A 64 KiB message, escaped twice and in base64, stays under 1 MiB; whoever appends cuts an alert on a
/// message of `max_message` bytes that does not fit.
pub(super) const MAX_PAYLOAD: usize = 16 << 20;
/// A sequence number further ahead than this is damage, not a gap.
const MAX_GAP: u64 = 1 << 32;
/// Bytes of alerts held while the disk refuses them: half a minute of the burst of alerts.
pub const MAX_HELD_BYTES: usize = 64 << 20;
/// Zeros that are written ahead of the records: a hundred alerts or so share the cost.
const AHEAD: u64 = 256 << 10;
/// After the disk refused, it is asked again this much later.
const RETRY_AFTER: Nanos = 1_000_000_000;
/// Records of an earlier run are not dropped for their age before: by then a clock that was wrong when
/// the machine came up has been set.
const SETTLING: Nanos = 600_000_000_000;
/// How often a segment is read in vain, with growing pauses between, before it is given up.
const READ_TRIES: u32 = 12;
/// How long the start waits for another process to let go of the directory: `roje spool` does at once.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// How much the spool may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all segments.
    pub bytes: u64,
    /// Age of the youngest record of a segment.
    pub age: Duration,
    /// Bytes after which a segment is closed; the unit in which space is given back.
    pub segment: u64,
}

impl Limits {
    /// Segments of 8 MiB, or an eighth of a small spool.
    pub fn new(bytes: u64, age: Duration) -> Limits {
        Limits { bytes, age, segment: (bytes / 8).clamp(64 << 10, 8 << 20) }
    }
}

impl Default for Limits {
    /// 1 GiB and 30 days: a receiver may be down for weeks, and no disk of a sensor is smaller.
    fn default() -> Limits {
        Limits::new(1 << 30, Duration::from_secs(30 * 86_400))
    }
}

/// What the disk does for the spool; tests stop it in the middle.
pub(super) trait Disk: Send + Sync {
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    fn create(&self, path: &Path) -> io::Result<File>;
    fn write(&self, path: &Path, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn sync(&self, path: &Path, file: &File) -> io::Result<()>;
    fn truncate(&self, path: &Path, length: u64) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
}

/// The file system.
pub(super) struct FileSystem;

impl Disk for FileSystem {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
    }

    fn write(&self, _path: &Path, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, _path: &Path, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.set_len(length)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

/// Appends alerts; one for a directory.
pub struct Spool {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    limits: Limits,
    active: Option<Active>,
    shared: Arc<Shared>,
    /// When the disk is asked again, by the steady clock.
    retry_at: Option<Nanos>,
    /// When it was first told the time.
    opened: Option<Time>,
    /// Held as long as the spool lives, if the directory could be made.
    lock: Option<File>,
}

struct Active {
    path: PathBuf,
    file: File,
    /// Bytes that are synced.
    length: u64,
    /// Where the zeros behind them end.
    prepared: u64,
}

/// Reads the records that one output has not passed.
pub struct Reader {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    shared: Arc<Shared>,
    index: usize,
    open: Option<Open>,
    /// How often in a row a segment could not be read.
    failures: u32,
}

struct Open {
    first: u64,
    file: File,
    offset: u64,
    /// The record at `offset`.
    next: u64,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its sequence number.
    pub sequence: u64,
    /// When it was appended.
    pub appended: Nanos,
    /// One alert as ECS JSON.
    pub payload: Arc<[u8]>,
}

impl Record {
    /// It is a heartbeat, no alert.
    pub fn is_heartbeat(&self) -> bool {
        heartbeat::is_line(&self.payload)
    }
}

/// What the start found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of an unfinished record that were cut off.
    pub torn: u64,
    /// Segments that were set aside, or would have been if the disk had let us.
    pub damaged: Vec<PathBuf>,
    /// What else went wrong, for the log.
    pub problems: Vec<String>,
    /// Numbers below may be those of records that could not be read.
    floor: u64,
}

#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    segments: VecDeque<Segment>,
    /// Alerts that are on no disk; their numbers follow those of the last segment.
    held: VecDeque<Record>,
    held_bytes: usize,
    /// Why the disk refuses, while it does.
    refusal: Option<String>,
    /// Which of the records are heartbeats, in order.
    heartbeats: VecDeque<u64>,
    /// The next sequence number.
    next: u64,
    outputs: Vec<Position>,
    /// Changes whenever a reader should look again.
    generation: u64,
}

#[derive(Debug)]
struct Position {
    name: String,
    next: u64,
    /// Everything before it was delivered for good; the cursor says so, unless the disk refused it.
    settled: u64,
    /// The cursor on disk.
    saved: Option<u64>,
    /// Alerts that a limit dropped after they were delivered and before that was made sure of.
    doubtful: u64,
    dropped: u64,
    unspooled: u64,
    damaged: u64,
}

#[derive(Clone, Debug)]
struct Segment {
    path: PathBuf,
    first: u64,
    last: u64,
    length: u64,
    /// When its youngest record was appended, by the clock of the day.
    newest: Nanos,
    /// The same by the steady clock, if that was in this run.
    written: Option<Nanos>,
}

/// What an output has before it, for its metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Alerts it has not passed.
    pub pending: u64,
    /// Bytes of the segments that hold them.
    pub bytes: u64,
    /// Alerts that the limits dropped before it had them for good.
    pub dropped: u64,
    /// Alerts that were not on disk when they counted as raised.
    pub unspooled: u64,
    /// Alerts pending that are in memory only.
    pub held: u64,
}

impl Spool {
    /// Opens the spool in `dir` for the outputs named, and recovers what a crash left.
    ///
    /// Fails only if another process uses the directory: a disk that refuses everything else
    /// leaves a spool that holds alerts in memory.
    pub fn open(
        dir: &Path,
        outputs: &[String],
        limits: Limits,
    ) -> io::Result<(Spool, Vec<Reader>, Recovery)> {
        Spool::open_on(Arc::new(FileSystem), dir, outputs, limits)
    }

    pub(super) fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        outputs: &[String],
        limits: Limits,
    ) -> io::Result<(Spool, Vec<Reader>, Recovery)> {
        let mut recovery = Recovery::default();
        recovery.note("create", dir, disk.create_dir(dir));
        let lock = lock(dir)?;
        recovery.remove_unfinished(&*disk, dir);
        let (mut segments, mut heartbeats) = (VecDeque::new(), VecDeque::new());
        for path in recovery.segments_in(dir) {
            segments.extend(recover(&*disk, dir, path, &mut recovery, &mut heartbeats));
        }
        cut_overlaps(&mut segments);
        heartbeats.make_contiguous().sort_unstable();
        let next = segments.back().map_or(0, |last: &Segment| last.last + 1).max(recovery.floor);
        let positions = positions(&*disk, dir, outputs, &segments, next, &mut recovery);
        let next = positions.iter().map(|one| one.next).fold(next, u64::max);
        let state = State { segments, heartbeats, next, outputs: positions, ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), news: Condvar::new() });
        let reader = |index| Reader {
            disk: Arc::clone(&disk),
            dir: dir.to_owned(),
            shared: Arc::clone(&shared),
            index,
            open: None,
            failures: 0,
        };
        let mut readers: Vec<Reader> = (0..outputs.len()).map(reader).collect();
        // From now on a missing cursor means an output that is new.
        for reader in &mut readers {
            let next = reader.shared.lock().outputs.get(reader.index).map_or(0, |one| one.next);
            recovery.note("write the cursor in", dir, reader.save(next));
        }
        let dir = dir.to_owned();
        let spool = Spool { disk, dir, limits, active: None, shared, retry_at: None, opened: None, lock };
        spool.discard(None);
        Ok((spool, readers, recovery))
    }

    /// Appends alerts, durably if `Ok`. On an error they are held in memory, where outputs find
    /// them all the same, and written by a later call.
    pub fn append(&mut self, payloads: Vec<Vec<u8>>, now: impl Into<Time>) -> io::Result<()> {
        let now = now.into();
        self.opened.get_or_insert(now);
        let mut state = self.shared.lock();
        if state.outputs.is_empty() || payloads.is_empty() {
            return Ok(());
        }
        let waiting = self.retry_at.is_some_and(|at| now.steady < at);
        let held = if waiting { VecDeque::new() } else { state.held.clone() };
        let first = state.next;
        state.next += payloads.len() as u64;
        drop(state);
        let fresh = (first..).zip(payloads).map(|(sequence, payload)| Record {
            sequence,
            appended: now.day,
            payload: payload.into(),
        });
        let fresh: Vec<Record> = fresh.collect();
        let beats = fresh.iter().filter(|one| one.is_heartbeat()).map(|one| one.sequence);
        self.shared.lock().heartbeats.extend(beats);
        let result = if waiting {
            Err(io::Error::other("the spool refused a moment ago"))
        } else {
            self.write(held.iter().chain(&fresh), now)
        };
        if result.is_err() {
            self.hold(fresh);
        }
        if !waiting {
            self.answered(&result, now);
        }
        self.shared.wake();
        result
    }

    /// Notes what the disk answered.
    fn answered(&mut self, result: &io::Result<()>, now: Time) {
        self.retry_at = result.is_err().then(|| now.steady.saturating_add(RETRY_AFTER));
        self.shared.lock().refusal = result.as_ref().err().map(io::Error::to_string);
    }

    /// Drops what is too old, and writes what is held; belongs on a timer.
    pub fn tick(&mut self, now: impl Into<Time>) {
        let now = now.into();
        let opened = *self.opened.get_or_insert(now);
        let age = Nanos::try_from(self.limits.age.as_nanos()).unwrap_or(Nanos::MAX);
        let mut old = |state: &State| state.segments.front().is_some_and(|one| one.age(opened, now) > age);
        self.drop_while(&mut old);
        let held = self.shared.lock().held.clone();
        if !held.is_empty() && self.retry_at.is_none_or(|at| now.steady >= at) {
            let result = self.write(held.iter(), now);
            self.answered(&result, now);
        }
    }

    /// Writes records behind each other and syncs them; readers see them from then on.
    fn write<'a>(&mut self, records: impl Iterator<Item = &'a Record>, now: Time) -> io::Result<()> {
        let (mut bytes, mut first, mut last) = (Vec::new(), None, 0);
        for record in records {
            encode(record, &mut bytes);
            first.get_or_insert(record.sequence);
            last = record.sequence;
        }
        let Some(first) = first else { return Ok(()) };
        let limit = self.limits.bytes.saturating_sub(bytes.len() as u64);
        let mut over = |state: &State| state.segments.iter().map(|one| one.length).sum::<u64>() > limit;
        self.drop_while(&mut over);
        if self.active.as_ref().is_some_and(|active| active.length >= self.limits.segment) {
            self.close();
        }
        let fresh = self.active.is_none();
        if fresh {
            let path = self.dir.join(format!("{first:020}.seg"));
            self.active = Some(self.create(path)?);
        }
        if let Err(error) = self.put(&bytes, fresh) {
            self.abandon(fresh);
            return Err(error);
        }
        let Some(active) = &mut self.active else { return Ok(()) };
        active.length += bytes.len() as u64;
        let mut state = self.shared.lock();
        match state.segments.back_mut().filter(|_| !fresh) {
            Some(segment) => {
                segment.last = last;
                segment.length = active.length;
                segment.newest = now.day;
                segment.written = Some(now.steady);
            }
            None => {
                let path = active.path.clone();
                let (length, newest, written) = (active.length, now.day, Some(now.steady));
                state.segments.push_back(Segment { path, first, last, length, newest, written });
            }
        }
        state.held.clear();
        state.held_bytes = 0;
        Ok(())
    }

    /// Ends the segment; what it did not use of the room written ahead is given back.
    fn close(&mut self) {
        let Some(active) = self.active.take() else { return };
        if active.prepared > active.length {
            // If the disk refuses, the start gives it back.
            let _ = self.disk.truncate(&active.path, active.length);
        }
    }

    fn create(&mut self, path: PathBuf) -> io::Result<Active> {
        // The directory may be missing since the start, when the disk was full.
        if !self.dir.is_dir() {
            self.disk.create_dir(&self.dir)?;
        }
        if self.lock.is_none() {
            self.lock = lock(&self.dir)?;
        }
        let file = self.disk.create(&path)?;
        if let Err(error) = self.disk.write(&path, &file, MAGIC, 0) {
            let _ = self.disk.remove(&path);
            return Err(error);
        }
        Ok(Active { path, file, length: MAGIC.len() as u64, prepared: 0 })
    }

    fn put(&mut self, bytes: &[u8], fresh: bool) -> io::Result<()> {
        let Some(active) = &mut self.active else { return Ok(()) };
        self.disk.write(&active.path, &active.file, bytes, active.length)?;
        let end = active.length + bytes.len() as u64;
        if end > active.prepared {
            // Where there is no room for them, records go on without.
            let zeros = vec![0; AHEAD.min(self.limits.segment) as usize];
            let written = self.disk.write(&active.path, &active.file, &zeros, end);
            active.prepared = if written.is_ok() { end + zeros.len() as u64 } else { end };
        }
        self.disk.sync(&active.path, &active.file)?;
        if fresh { self.disk.sync_dir(&self.dir) } else { Ok(()) }
    }

    /// Never appends to the segment again, and takes off it what was not synced.
    fn abandon(&mut self, fresh: bool) {
        let Some(active) = self.active.take() else { return };
        // If this fails too, the start finds the records twice and takes them once.
        let _ = if fresh {
            self.disk.remove(&active.path)
        } else {
            self.disk.truncate(&active.path, active.length)
        };
    }

    /// Keeps alerts that no disk took, the newest within the bound.
    fn hold(&self, fresh: Vec<Record>) {
        let mut state = self.shared.lock();
        let count = fresh.iter().filter(|one| !one.is_heartbeat()).count() as u64;
        for output in &mut state.outputs {
            output.unspooled += count;
        }
        state.held_bytes += fresh.iter().map(|record| record.payload.len()).sum::<usize>();
        state.held.extend(fresh);
        while state.held_bytes > MAX_HELD_BYTES {
            let Some(record) = state.held.pop_front() else { break };
            state.held_bytes -= record.payload.len();
            state.count_lost(record.sequence, record.sequence);
        }
    }

    /// Deletes the oldest segments as long as the condition holds.
    fn drop_while(&mut self, condition: &mut dyn FnMut(&State) -> bool) {
        loop {
            let mut state = self.shared.lock();
            if !condition(&state) {
                return;
            }
            let Some(segment) = state.segments.pop_front() else { return };
            state.pass(segment.first, segment.last);
            if state.segments.is_empty() {
                self.active = None;
            }
            drop(state);
            let _ = self.disk.remove(&segment.path);
        }
    }

    /// Deletes segments that every output has passed.
    fn discard(&self, keep: Option<&Path>) {
        for path in self.shared.lock().passed(keep) {
            let _ = self.disk.remove(&path);
        }
    }
}

impl Reader {
    /// Name of the output.
    pub fn name(&self) -> String {
        self.shared.lock().outputs.get(self.index).map(|one| one.name.clone()).unwrap_or_default()
    }

    /// The next records, at most `count` and, beyond the first, at most `bytes` of payload.
    ///
    /// # Errors
    ///
    /// The disk does not let us read now; to be tried again.
    pub fn read(&mut self, count: usize, bytes: usize) -> io::Result<Vec<Record>> {
        loop {
            let state = self.shared.lock();
            let Some(next) = state.outputs.get(self.index).map(|one| one.next) else {
                return Ok(Vec::new());
            };
            let Some(segment) = state.segments.iter().find(|one| one.last >= next).cloned() else {
                let held = state.held.iter().filter(|one| one.sequence >= next).cloned();
                return Ok(take(held, count, bytes));
            };
            drop(state);
            match self.read_segment(&segment, next, count, bytes) {
                Ok(records) if !records.is_empty() => {
                    self.failures = 0;
                    return Ok(records);
                }
                Err(error) if self.may_pass(&error) => {
                    self.open = None;
                    self.failures += 1;
                    return Err(error);
                }
                // Nothing of it can be read any more: on to the next one.
                _ => self.lose(&segment, next),
            }
        }
    }

    /// Whether another try may succeed: a file that is gone or too short stays so.
    fn may_pass(&self, error: &io::Error) -> bool {
        let of_the_disk = error.raw_os_error() == Some(nix::libc::EIO);
        let stays = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof);
        !stays && (!of_the_disk || self.failures < READ_TRIES)
    }

    /// Marks everything before `next` as delivered; after a crash or [`Reader::rewind`] it comes again
    /// unless [`Reader::settle`] was called.
    pub fn advance(&mut self, next: u64) {
        let mut state = self.shared.lock();
        if let Some(position) = state.outputs.get_mut(self.index) {
            position.next = position.next.max(next);
        }
    }

    /// Whether something was delivered that is not settled, or the cursor on disk lags behind.
    pub fn is_unsettled(&self) -> bool {
        let state = self.shared.lock();
        state.outputs.get(self.index).is_some_and(|one| one.settled < one.next || one.saved != Some(one.next))
    }

    /// Lets go what was delivered, durably if `Ok`.
    pub fn settle(&mut self) -> io::Result<()> {
        let Some(next) = self.shared.lock().outputs.get(self.index).map(|one| one.next) else {
            return Ok(());
        };
        let saved = self.save(next);
        let mut state = self.shared.lock();
        if let Some(position) = state.outputs.get_mut(self.index) {
            position.settled = position.settled.max(next);
            // Whoever makes sure makes sure of all that it took.
            position.doubtful = 0;
        }
        let least = state.outputs.iter().map(|one| one.settled).min().unwrap_or(u64::MAX);
        while state.held.front().is_some_and(|one| one.sequence < least) {
            if let Some(record) = state.held.pop_front() {
                state.held_bytes -= record.payload.len();
            }
        }
        // The last segment may be the one that is appended to.
        let keep = state.segments.back().map(|one| one.path.clone());
        let passed = state.passed(keep.as_deref());
        drop(state);
        for path in passed {
            let _ = self.disk.remove(&path);
        }
        saved
    }

    /// Goes back to what is not settled: the output lost it.
    pub fn rewind(&mut self) {
        let mut state = self.shared.lock();
        if let Some(position) = state.outputs.get_mut(self.index) {
            position.next = position.settled;
            position.dropped += std::mem::take(&mut position.doubtful);
        }
    }

    /// What this output has before it.
    pub fn backlog(&self) -> Backlog {
        self.shared.backlog(self.index)
    }

    /// Waits for an append or a wake-up, at most `patience`; `seen` is what it last returned.
    pub fn wait(&self, seen: u64, patience: Duration) -> u64 {
        let state = self.shared.lock();
        let waited = self.shared.news.wait_timeout_while(state, patience, |state| state.generation == seen);
        waited.unwrap_or_else(PoisonError::into_inner).0.generation
    }

    /// What [`Reader::wait`] compares with; to be read before looking for work.
    pub fn generation(&self) -> u64 {
        self.shared.lock().generation
    }

    fn read_segment(
        &mut self,
        segment: &Segment,
        next: u64,
        count: usize,
        bytes: usize,
    ) -> io::Result<Vec<Record>> {
        let mut open = match self.open.take().filter(|open| open.first == segment.first && open.next == next)
        {
            Some(open) => open,
            None => Open {
                first: segment.first,
                file: File::open(&segment.path)?,
                offset: MAGIC.len() as u64,
                next,
            },
        };
        let mut records = Vec::new();
        let mut size = 0;
        open.file.seek(SeekFrom::Start(open.offset))?;
        while records.len() < count && open.offset < segment.length {
            let left = segment.length - open.offset;
            let Some((record, length)) = read_record(&mut open.file, left)? else {
                if !records.is_empty() {
                    break;
                }
                open.offset += resynchronise(&mut open.file, open.offset, segment)?;
                open.file.seek(SeekFrom::Start(open.offset))?;
                continue;
            };
            if record.sequence >= next && record.sequence <= segment.last {
                size += record.payload.len();
                if size > bytes && !records.is_empty() {
                    break;
                }
                open.next = record.sequence + 1;
                records.push(record);
            }
            open.offset += length;
        }
        self.open = Some(open);
        Ok(records)
    }

    /// Gives up the rest of a segment that cannot be read.
    fn lose(&mut self, segment: &Segment, next: u64) {
        self.open = None;
        self.failures = 0;
        let mut state = self.shared.lock();
        // Dropped meanwhile by a limit, and counted there?
        if !state.segments.iter().any(|one| one.first == segment.first) {
            return;
        }
        let lost = state.alerts(next.max(segment.first), segment.last);
        let Some(position) = state.outputs.get_mut(self.index) else { return };
        position.damaged += lost;
        position.next = position.next.max(segment.last + 1);
    }

    fn save(&self, next: u64) -> io::Result<()> {
        save_cursor(&*self.disk, &self.dir, &self.name(), next)?;
        if let Some(position) = self.shared.lock().outputs.get_mut(self.index) {
            position.saved = Some(next);
        }
        Ok(())
    }
}

impl Segment {
    /// How old its youngest record is, however the clock of the day was set.
    fn age(&self, opened: Time, now: Time) -> Nanos {
        if let Some(written) = self.written {
            return now.steady.saturating_sub(written);
        }
        let ran = now.steady.saturating_sub(opened.steady);
        if ran < SETTLING {
            return 0;
        }
        let by_start = opened.day.saturating_add(ran).saturating_sub(self.newest);
        by_start.min(now.day.saturating_sub(self.newest))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; if it did, the state is consistent between statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes every waiting reader look again.
    pub(super) fn wake(&self) {
        self.lock().generation += 1;
        self.news.notify_all();
    }

    pub(super) fn backlog(&self, index: usize) -> Backlog {
        let state = self.lock();
        let Some(position) = state.outputs.get(index) else { return Backlog::default() };
        let ahead = state.segments.iter().filter(|one| one.last >= position.next);
        let mut backlog = Backlog {
            dropped: position.dropped + position.damaged,
            unspooled: position.unspooled,
            ..Backlog::default()
        };
        for segment in ahead {
            backlog.pending += state.alerts(segment.first.max(position.next), segment.last);
            backlog.bytes += segment.length;
        }
        let held = state.held.iter().filter(|one| one.sequence >= position.next && !one.is_heartbeat());
        backlog.held = held.count() as u64;
        backlog.pending += backlog.held;
        backlog
    }

    /// What lies where.
    pub(super) fn status(&self) -> SpoolStatus {
        let state = self.lock();
        SpoolStatus {
            bytes: state.segments.iter().map(|one| one.length).sum(),
            segments: state.segments.len(),
            held: state.held.iter().filter(|one| !one.is_heartbeat()).count() as u64,
            held_bytes: state.held_bytes as u64,
            refusal: state.refusal.clone(),
        }
    }
}

/// What the spool holds, for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SpoolStatus {
    /// Bytes of all segments.
    pub bytes: u64,
    /// How many there are.
    pub segments: usize,
    /// Alerts in memory only.
    pub held: u64,
    /// Their bytes.
    pub held_bytes: u64,
    /// Why alerts are not written, if they are not.
    pub refusal: Option<String>,
}

impl Spool {
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

impl State {
    /// Alerts among the records of these numbers, both included.
    fn alerts(&self, first: u64, last: u64) -> u64 {
        if first > last {
            return 0;
        }
        let before = |number: u64| self.heartbeats.partition_point(|one| *one < number) as u64;
        last + 1 - first - (before(last + 1) - before(first))
    }

    /// Counts records that are gone with each output that did not have them for good.
    fn count_lost(&mut self, first: u64, last: u64) {
        let counts: Vec<(u64, u64)> = self
            .outputs
            .iter()
            .map(|one| {
                let unread = self.alerts(one.next.max(first), last);
                let read_to = one.next.min(last + 1);
                let doubtful = match read_to.checked_sub(1) {
                    Some(read) => self.alerts(one.settled.max(first), read),
                    None => 0,
                };
                (unread, doubtful)
            })
            .collect();
        for (output, (unread, doubtful)) in self.outputs.iter_mut().zip(counts) {
            output.dropped += unread;
            output.doubtful += doubtful;
        }
    }

    /// Moves every output past the oldest records, which are gone.
    fn pass(&mut self, first: u64, last: u64) {
        self.count_lost(first, last);
        for output in &mut self.outputs {
            output.next = output.next.max(last + 1);
            output.settled = output.settled.max(last + 1);
        }
    }

    /// Forgets the segments that every output has passed and returns their paths.
    fn passed(&mut self, keep: Option<&Path>) -> Vec<PathBuf> {
        let least = self.outputs.iter().map(|one| one.settled).min().unwrap_or(u64::MAX);
        let mut paths = Vec::new();
        while self.segments.front().is_some_and(|one| one.last < least && Some(one.path.as_path()) != keep) {
            paths.extend(self.segments.pop_front().map(|one| one.path));
        }
        let first = self.segments.front().map(|one| one.first).or(self.held.front().map(|one| one.sequence));
        let first = first.unwrap_or(self.next).min(least);
        while self.heartbeats.front().is_some_and(|one| *one < first) {
            self.heartbeats.pop_front();
        }
        paths
    }
}

impl Recovery {
    fn note(&mut self, what: &str, path: &Path, result: io::Result<()>) {
        if let Err(error) = result {
            self.problems.push(format!("cannot {what} {}: {error}", path.display()));
        }
    }

    /// Removes what a crash left of files that were to replace others.
    fn remove_unfinished(&mut self, disk: &dyn Disk, dir: &Path) {
        let Ok(entries) = fs::read_dir(dir) else { return };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.extension().is_some_and(|extension| extension == "new") {
                self.note("remove", &path, disk.remove(&path));
            }
        }
    }

    fn segments_in(&mut self, dir: &Path) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        match fs::read_dir(dir) {
            Ok(entries) => paths.extend(entries.filter_map(|entry| Some(entry.ok()?.path()))),
            Err(error) => self.problems.push(format!("cannot list {}: {error}", dir.display())),
        }
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
        paths.sort_unstable();
        paths
    }
}

fn lock(dir: &Path) -> io::Result<Option<File>> {
    let options = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).to_owned();
    let Ok(file) = options.open(dir.join("lock")) else { return Ok(None) };
    let begun = Instant::now();
    while let Err(fs::TryLockError::WouldBlock) = file.try_lock() {
        if begun.elapsed() >= LOCK_PATIENCE {
            let message = format!("{} is used by another process", dir.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        std::thread::sleep(LOCK_PATIENCE / 20);
    }
    Ok(Some(file))
}

/// Brings one segment into order; none if nothing is left of it.
fn recover(
    disk: &dyn Disk,
    dir: &Path,
    path: PathBuf,
    recovery: &mut Recovery,
    heartbeats: &mut VecDeque<u64>,
) -> Option<Segment> {
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            recovery.problems.push(format!("cannot read {}: {error}", path.display()));
            // It may be readable at the next start: its numbers are not given away.
            let most = fs::metadata(&path).map_or(0, |file| file.len() / (FRAME as u64 + 1) + 1);
            let floor = number_of(&path).unwrap_or(0).saturating_add(most);
            recovery.floor = recovery.floor.max(floor);
            return None;
        }
    };
    let scan = scan_segment(&path, &bytes);
    heartbeats.extend(scan.heartbeats());
    let kept = match scan.tail {
        Tail::Clean => scan.records.last().map_or(0, |last| last.2 as u64),
        Tail::Torn(at) => {
            let tail = bytes.get(at..).unwrap_or_default();
            recovery.torn += tail.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
            if scan.records.is_empty() {
                recovery.note("remove", &path, disk.remove(&path));
            } else {
                recovery.note("cut", &path, disk.truncate(&path, at as u64));
            }
            at as u64
        }
        Tail::Damaged => {
            recovery.damaged.push(path.clone());
            let result = set_aside(disk, dir, &path, &bytes, &scan);
            let failed = result.is_err();
            recovery.note("set aside", &path, result);
            // The reader steps over what does not check.
            if failed { bytes.len() as u64 } else { scan.length() }
        }
    };
    let (first, last) = (scan.records.first()?, scan.records.last()?);
    Some(Segment {
        path,
        first: first.0.sequence,
        last: last.0.sequence,
        length: kept,
        newest: last.0.appended,
        written: None,
    })
}

/// The number in the name of a segment.
fn number_of(path: &Path) -> Option<u64> {
    path.file_stem().and_then(|name| name.to_str()?.parse().ok())
}

fn scan_segment<'a>(path: &Path, bytes: &'a [u8]) -> Scan<'a> {
    scan(bytes, number_of(path).and_then(|first| first.checked_sub(1)))
}

/// Keeps the damaged segment for whoever wants to look, and puts what checks in its place.
fn set_aside(disk: &dyn Disk, dir: &Path, path: &Path, bytes: &[u8], scan: &Scan<'_>) -> io::Result<()> {
    let damaged = dir.join("damaged");
    disk.create_dir(&damaged)?;
    if scan.records.is_empty() {
        return match path.file_name() {
            Some(name) => disk.rename(path, &damaged.join(name)),
            None => Ok(()),
        };
    }
    let new = path.with_extension("new");
    let file = disk.create(&new)?;
    let mut whole = MAGIC.to_vec();
    for (_, start, end) in &scan.records {
        whole.extend_from_slice(bytes.get(*start..*end).unwrap_or_default());
    }
    disk.write(&new, &file, &whole, 0)?;
    disk.sync(&new, &file)?;
    if let Some(name) = path.file_name() {
        let copy = damaged.join(name);
        let file = disk.create(&copy)?;
        disk.write(&copy, &file, bytes, 0)?;
        disk.sync(&copy, &file)?;
        disk.sync_dir(&damaged)?;
    }
    disk.rename(&new, path)?;
    disk.sync_dir(dir)
}

/// What a segment holds.
struct Scan<'a> {
    /// Header of each record that checks, and where it lies.
    records: Vec<(Header<'a>, usize, usize)>,
    tail: Tail,
}

enum Tail {
    Clean,
    /// From here on nothing checks.
    Torn(usize),
    /// Something does not check, and behind it something does; or it is no segment at all.
    Damaged,
}

impl Scan<'_> {
    fn heartbeats(&self) -> impl Iterator<Item = u64> {
        let beats = self.records.iter().filter(|(header, ..)| heartbeat::is_line(header.payload));
        beats.map(|(header, ..)| header.sequence)
    }

    /// Bytes of a segment that holds nothing but the records that check.
    fn length(&self) -> u64 {
        let records: usize = self.records.iter().map(|(_, start, end)| end - start).sum();
        (MAGIC.len() + records) as u64
    }
}

#[derive(Clone, Copy)]
struct Header<'a> {
    sequence: u64,
    appended: Nanos,
    payload: &'a [u8],
}

/// Finds the records of a segment; `after` is the sequence number before its first, if known.
fn scan(bytes: &[u8], after: Option<u64>) -> Scan<'_> {
    let mut records: Vec<(Header<'_>, usize, usize)> = Vec::new();
    if !bytes.starts_with(MAGIC) {
        // A crash between creating and writing leaves a beginning of the header.
        let tail = if MAGIC.starts_with(bytes) { Tail::Torn(0) } else { Tail::Damaged };
        return Scan { records, tail };
    }
    let (mut at, mut hole) = (MAGIC.len(), None);
    let mut damaged = false;
    while at < bytes.len() {
        let after = records.last().map(|(header, ..)| header.sequence).or(after);
        match decode(bytes.get(at..).unwrap_or_default(), after) {
            Some((header, length)) => {
                records.push((header, at, at + length));
                damaged |= hole.take().is_some();
                at += length;
            }
            None => {
                hole.get_or_insert(at);
                at += 1;
            }
        }
    }
    let tail = match (damaged, hole) {
        (true, _) => Tail::Damaged,
        (false, Some(at)) => Tail::Torn(at),
        (false, None) if records.is_empty() => Tail::Torn(bytes.len()),
        (false, None) => Tail::Clean,
    };
    Scan { records, tail }
}

fn encode(record: &Record, out: &mut Vec<u8>) {
    let length = u32::try_from(record.payload.len()).unwrap_or(u32::MAX);
    let start = out.len();
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&record.sequence.to_le_bytes());
    out.extend_from_slice(&record.appended.to_le_bytes());
    out.extend_from_slice(&record.payload);
    let sum = crc32c::crc32c(out.get(start + 8..).unwrap_or_default());
    if let Some(slot) = out.get_mut(start + 4..start + 8) {
        slot.copy_from_slice(&sum.to_le_bytes());
    }
}

/// The record at the beginning of `bytes`, if it checks, and its length.
fn decode(bytes: &[u8], after: Option<u64>) -> Option<(Header<'_>, usize)> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    if length == 0 || length > MAX_PAYLOAD {
        return None;
    }
    let sum = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
    let sequence = u64::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
    let appended = Nanos::from_le_bytes(*bytes.get(16..)?.first_chunk()?);
    // Cheap, so that looking for the next record behind damage stays cheap too.
    if after.is_some_and(|after| sequence <= after || sequence - after > MAX_GAP) {
        return None;
    }
    let checked = bytes.get(8..FRAME.checked_add(length)?)?;
    if crc32c::crc32c(checked) != sum {
        return None;
    }
    Some((Header { sequence, appended, payload: checked.get(FRAME - 8..)? }, FRAME + length))
}

/// Reads one record of at most `left` bytes; none if it does not check.
fn read_record(file: &mut File, left: u64) -> io::Result<Option<(Record, u64)>> {
    let mut bytes = vec![0; FRAME];
    if left < FRAME as u64 {
        return Ok(None);
    }
    file.read_exact(&mut bytes)?;
    let length = bytes.first_chunk().map_or(0, |length| u32::from_le_bytes(*length)) as usize;
    if length == 0 || length > MAX_PAYLOAD || (FRAME + length) as u64 > left {
        return Ok(None);
    }
    bytes.resize(FRAME + length, 0);
    file.read_exact(bytes.get_mut(FRAME..).unwrap_or_default())?;
    Ok(decode(&bytes, None).map(|(header, length)| {
        let payload = header.payload.into();
        (Record { sequence: header.sequence, appended: header.appended, payload }, length as u64)
    }))
}

/// Bytes to step over until the next record that checks: the disk went bad under us.
fn resynchronise(file: &mut File, offset: u64, segment: &Segment) -> io::Result<u64> {
    let left = segment.length.saturating_sub(offset);
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(left).read_to_end(&mut bytes)?;
    let fits = |header: &Header<'_>| (segment.first..=segment.last).contains(&header.sequence);
    let found = (1..bytes.len()).find(|at| {
        let plausible = bytes
            .get(at + 8..)
            .and_then(<[u8]>::first_chunk)
            .is_some_and(|number| (segment.first..=segment.last).contains(&u64::from_le_bytes(*number)));
        plausible
            && decode(bytes.get(*at..).unwrap_or_default(), None).is_some_and(|(header, _)| fits(&header))
    });
    Ok(found.map_or(left, |at| at as u64))
}

/// A segment ends where the next begins: what follows there was written again.
fn cut_overlaps(segments: &mut VecDeque<Segment>) {
    let firsts: Vec<u64> = segments.iter().skip(1).map(|one| one.first).collect();
    for (segment, next) in segments.iter_mut().zip(firsts) {
        if next > segment.first {
            segment.last = segment.last.min(next - 1);
        }
    }
}

fn positions(
    disk: &dyn Disk,
    dir: &Path,
    outputs: &[String],
    segments: &VecDeque<Segment>,
    next: u64,
    recovery: &mut Recovery,
) -> Vec<Position> {
    let mut known = Vec::new();
    if let Ok(entries) = fs::read_dir(dir) {
        known.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    known.retain(|path| path.extension().is_some_and(|extension| extension == "cursor"));
    let oldest = segments.front().map_or(next, |one| one.first);
    let each = outputs.iter().map(|name| {
        let path = cursor_path(dir, name);
        let position = match fs::read(&path) {
            Ok(text) => read_cursor(&text).unwrap_or_else(|| {
                recovery.problems.push(format!("{} does not check: starting over", path.display()));
                oldest
            }),
            // New beside others: from now on. Without any cursor the first start was cut short.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !known.is_empty() => next,
            Err(error) if error.kind() == io::ErrorKind::NotFound => oldest,
            Err(error) => {
                recovery.problems.push(format!("cannot read {}: {error}: starting over", path.display()));
                oldest
            }
        };
        let next = position.max(oldest);
        let name = name.clone();
        Position { name, next, settled: next, saved: None, doubtful: 0, dropped: 0, unspooled: 0, damaged: 0 }
    });
    let positions = each.collect();
    for path in known {
        if !outputs.iter().any(|name| cursor_path(dir, name) == path) {
            recovery.note("remove", &path, disk.remove(&path));
        }
    }
    positions
}

fn save_cursor(disk: &dyn Disk, dir: &Path, output: &str, next: u64) -> io::Result<()> {
    let path = cursor_path(dir, output);
    let new = path.with_extension("new");
    let mut text = format!("roje cursor 1\n{next}\n");
    let sum = crc32c::crc32c(text.as_bytes());
    let _ = writeln!(text, "{sum:08x}");
    let file = disk.create(&new)?;
    disk.write(&new, &file, text.as_bytes(), 0)?;
    disk.sync(&new, &file)?;
    disk.rename(&new, &path)?;
    disk.sync_dir(dir)
}

fn read_cursor(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let (body, sum) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let body = format!("{body}\n");
    if sum != format!("{:08x}", crc32c::crc32c(body.as_bytes())) {
        return None;
    }
    body.strip_prefix("roje cursor 1\n")?.trim_end().parse().ok()
}

fn cursor_path(dir: &Path, output: &str) -> PathBuf {
    dir.join(format!("{}.cursor", file_name(output)))
}

/// A name of the configuration as a file name: what is no plain letter is written in hexadecimal.
pub(super) fn file_name(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02x}");
            }
        }
    }
    out
}

fn take(records: impl Iterator<Item = Record>, count: usize, bytes: usize) -> Vec<Record> {
    let mut size = 0;
    let mut fits = |record: &Record| {
        let first = size == 0;
        size += record.payload.len();
        first || size <= bytes
    };
    records.take(count).take_while(|record| fits(record)).collect()
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
