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
//!   when the length of the file, too, must reach the disk.
//! - Readers see a record only after its sync. A record of which the sync failed is cut off; its
//!   segment is not appended to again, since after a failed sync nobody knows what the disk holds.
//! - Sequence numbers rise by one and are never used twice for different alerts; those of alerts
//!   held in memory, while the disk refuses, are taken from the same row, and they are written in
//!   their order once it accepts again.
//! - A cursor is replaced by renaming, so it is the old or the new one. It lags behind what was
//!   delivered, by a second or so, which means a second delivery after a crash, and never runs ahead
//!   of what the output has for good.
//! - A segment is deleted when every cursor has passed it, or to keep within the caps on bytes and
//!   age: then oldest first, and what an output had not yet read is counted as dropped there.
//!
//! # At the start
//!
//! Room behind the last record of a segment is given back, and an unfinished record there is cut off:
//! nobody was told that it was there. Anything else that does not check is damage: the segment is copied to `damaged/`,
//! reported, and what checks in it is delivered, as are all other segments.

use crate::input::Nanos;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

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

impl Default for Limits {
    /// 1 GiB and 30 days: a receiver may be down for weeks, and no disk of a sensor is smaller.
    fn default() -> Limits {
        Limits { bytes: 1 << 30, age: Duration::from_secs(30 * 86_400), segment: 8 << 20 }
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
    retry_at: Option<Nanos>,
    /// Held as long as the spool lives, if the directory could be made.
    _lock: Option<File>,
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

/// What the start found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes of an unfinished record that were cut off.
    pub torn: u64,
    /// Segments that were set aside, or would have been if the disk had let us.
    pub damaged: Vec<PathBuf>,
    /// What else went wrong, for the log.
    pub problems: Vec<String>,
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
    newest: Nanos,
}

/// What an output has before it, for its metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Records it has not passed.
    pub pending: u64,
    /// Bytes of the segments that hold them.
    pub bytes: u64,
    /// Records that the caps dropped before it read them.
    pub dropped: u64,
    /// Records that never were on disk when they counted as raised.
    pub unspooled: u64,
    /// Records pending that are in memory only.
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
        let mut segments = VecDeque::new();
        for path in recovery.segments_in(dir) {
            segments.extend(recover(&*disk, dir, path, &mut recovery));
        }
        cut_overlaps(&mut segments);
        let next = segments.back().map_or(0, |last| last.last + 1);
        let positions = positions(&*disk, dir, outputs, &segments, next, &mut recovery);
        let next = positions.iter().map(|one| one.next).fold(next, u64::max);
        let state = State { segments, next, outputs: positions, ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), news: Condvar::new() });
        let reader = |index| Reader {
            disk: Arc::clone(&disk),
            dir: dir.to_owned(),
            shared: Arc::clone(&shared),
            index,
            open: None,
        };
        let mut readers: Vec<Reader> = (0..outputs.len()).map(reader).collect();
        // From now on a missing cursor means an output that is new.
        for reader in &mut readers {
            let next = reader.shared.lock().outputs.get(reader.index).map_or(0, |one| one.next);
            recovery.note("write the cursor in", dir, reader.save(next));
        }
        let spool =
            Spool { disk, dir: dir.to_owned(), limits, active: None, shared, retry_at: None, _lock: lock };
        spool.discard(None);
        Ok((spool, readers, recovery))
    }

    /// Appends alerts, durably if `Ok`. On an error they are held in memory, where outputs find
    /// them all the same, and written by a later call.
    pub fn append(&mut self, payloads: Vec<Vec<u8>>, now: Nanos) -> io::Result<()> {
        let mut state = self.shared.lock();
        if state.outputs.is_empty() || payloads.is_empty() {
            return Ok(());
        }
        let waiting = self.retry_at.is_some_and(|at| now < at && at - now <= RETRY_AFTER);
        let held = if waiting { VecDeque::new() } else { state.held.clone() };
        let first = state.next;
        state.next += payloads.len() as u64;
        drop(state);
        let fresh = (first..).zip(payloads).map(|(sequence, payload)| Record {
            sequence,
            appended: now,
            payload: payload.into(),
        });
        let fresh: Vec<Record> = fresh.collect();
        let result = if waiting {
            Err(io::Error::other("the spool refused a moment ago"))
        } else {
            self.write(held.iter().chain(&fresh), now)
        };
        match &result {
            Ok(()) => self.retry_at = None,
            Err(_) => {
                self.hold(fresh);
                if !waiting {
                    self.retry_at = Some(now + RETRY_AFTER);
                }
            }
        }
        self.shared.wake();
        result
    }

    /// Drops what is too old, and writes what is held; belongs on a timer.
    pub fn tick(&mut self, now: Nanos) {
        let age = Nanos::try_from(self.limits.age.as_nanos()).unwrap_or(Nanos::MAX);
        let horizon = now.saturating_sub(age);
        let mut old = |state: &State| state.segments.front().is_some_and(|one| one.newest < horizon);
        self.drop_while(&mut old);
        let held = self.shared.lock().held.clone();
        if !held.is_empty() && self.retry_at.is_none_or(|at| now >= at || at - now > RETRY_AFTER) {
            match self.write(held.iter(), now) {
                Ok(()) => self.retry_at = None,
                Err(_) => self.retry_at = Some(now + RETRY_AFTER),
            }
        }
    }

    /// Writes records behind each other and syncs them; readers see them from then on.
    fn write<'a>(&mut self, records: impl Iterator<Item = &'a Record>, now: Nanos) -> io::Result<()> {
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
            self.active = None;
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
                segment.newest = segment.newest.max(now);
            }
            None => {
                let path = active.path.clone();
                state.segments.push_back(Segment { path, first, last, length: active.length, newest: now });
            }
        }
        state.held.clear();
        state.held_bytes = 0;
        Ok(())
    }

    fn create(&self, path: PathBuf) -> io::Result<Active> {
        // The directory may be missing since the start, when the disk was full.
        if !self.dir.is_dir() {
            self.disk.create_dir(&self.dir)?;
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
        let count = fresh.len() as u64;
        for output in &mut state.outputs {
            output.unspooled += count;
        }
        state.held_bytes += fresh.iter().map(|record| record.payload.len()).sum::<usize>();
        state.held.extend(fresh);
        while state.held_bytes > MAX_HELD_BYTES {
            let Some(record) = state.held.pop_front() else { break };
            state.held_bytes -= record.payload.len();
            state.pass(record.sequence, record.sequence);
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
    pub fn read(&mut self, count: usize, bytes: usize) -> Vec<Record> {
        loop {
            let state = self.shared.lock();
            let Some(next) = state.outputs.get(self.index).map(|one| one.next) else { return Vec::new() };
            let Some(segment) = state.segments.iter().find(|one| one.last >= next).cloned() else {
                return take(state.held.iter().filter(|one| one.sequence >= next).cloned(), count, bytes);
            };
            drop(state);
            match self.read_segment(&segment, next, count, bytes) {
                Ok(records) if !records.is_empty() => return records,
                // Nothing of it can be read any more: on to the next one.
                _ => self.lose(&segment, next),
            }
        }
    }

    /// Marks everything before `next` as delivered; after a crash or [`Reader::rewind`] it comes again
    /// unless [`Reader::settle`] was called.
    pub fn advance(&mut self, next: u64) {
        let mut state = self.shared.lock();
        if let Some(position) = state.outputs.get_mut(self.index) {
            position.next = position.next.max(next);
        }
    }

    /// Whether something was delivered that is not settled.
    pub fn is_unsettled(&self) -> bool {
        self.shared.lock().outputs.get(self.index).is_some_and(|one| one.settled < one.next)
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
        let mut state = self.shared.lock();
        // Dropped meanwhile by a cap, and counted there?
        if !state.segments.iter().any(|one| one.first == segment.first) {
            return;
        }
        let Some(position) = state.outputs.get_mut(self.index) else { return };
        position.damaged += segment.last + 1 - next.max(segment.first);
        position.next = position.next.max(segment.last + 1);
    }

    fn save(&self, next: u64) -> io::Result<()> {
        let path = cursor_path(&self.dir, &self.name());
        let new = path.with_extension("new");
        let mut text = format!("roje cursor 1\n{next}\n");
        let sum = crc32c::crc32c(text.as_bytes());
        let _ = writeln!(text, "{sum:08x}");
        let file = self.disk.create(&new)?;
        self.disk.write(&new, &file, text.as_bytes(), 0)?;
        self.disk.sync(&new, &file)?;
        self.disk.rename(&new, &path)?;
        self.disk.sync_dir(&self.dir)
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
            backlog.pending += segment.last + 1 - segment.first.max(position.next);
            backlog.bytes += segment.length;
        }
        backlog.held = state.held.iter().filter(|one| one.sequence >= position.next).count() as u64;
        backlog.pending += backlog.held;
        backlog
    }
}

impl Spool {
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

impl State {
    /// Moves every output past records that are gone, counting what it had not read.
    fn pass(&mut self, first: u64, last: u64) {
        for output in &mut self.outputs {
            if output.next <= last {
                output.dropped += last + 1 - output.next.max(first);
                output.next = last + 1;
            }
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
        paths
    }
}

impl Recovery {
    fn note(&mut self, what: &str, path: &Path, result: io::Result<()>) {
        if let Err(error) = result {
            self.problems.push(format!("cannot {what} {}: {error}", path.display()));
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
    match file.try_lock() {
        Err(fs::TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("{} is used by another process", dir.display()),
        )),
        _ => Ok(Some(file)),
    }
}

/// Brings one segment into order; none if nothing is left of it.
fn recover(disk: &dyn Disk, dir: &Path, path: PathBuf, recovery: &mut Recovery) -> Option<Segment> {
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            recovery.problems.push(format!("cannot read {}: {error}", path.display()));
            return None;
        }
    };
    let name = path.file_stem().and_then(|name| name.to_str()?.parse::<u64>().ok());
    let scan = scan(&bytes, name.and_then(|first| first.checked_sub(1)));
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
    })
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
            Err(_) if !known.is_empty() => next,
            Err(_) => oldest,
        };
        let next = position.max(oldest);
        Position { name: name.clone(), next, settled: next, dropped: 0, unspooled: 0, damaged: 0 }
    });
    let positions = each.collect();
    for path in known {
        if !outputs.iter().any(|name| cursor_path(dir, name) == path) {
            recovery.note("remove", &path, disk.remove(&path));
        }
    }
    positions
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
