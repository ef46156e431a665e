//! Looks into a spool from outside: what lies there, whether it checks, and puts in order what does
//! not.
//!
//! [`inspect`] changes nothing and works beside a running sensor: of the segment that is appended to,
//! the end is then being written and is no damage. [`repair`] does what the start of a sensor does, to
//! segments and cursors, and needs the directory for itself.

use super::{
    FRAME, FileSystem, MAGIC, Recovery, Tail, cut_overlaps, lock, read_cursor, recover, save_cursor,
    scan_segment,
};
use crate::input::Nanos;
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What lies in a spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// A process holds the lock.
    pub in_use: bool,
    /// The segments, oldest first.
    pub segments: Vec<SegmentContents>,
    /// The cursors, by name.
    pub outputs: Vec<Cursor>,
    /// Segments that were set aside, with their sizes.
    pub set_aside: Vec<(PathBuf, u64)>,
    /// What an operator should know; empty if everything checks.
    pub problems: Vec<String>,
}

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentContents {
    /// Its file.
    pub path: PathBuf,
    /// Size of the file, room for more records included.
    pub bytes: u64,
    /// Numbers of its first and last record; none if none checks.
    pub numbers: Option<(u64, u64)>,
    /// Records that check.
    pub records: u64,
    /// Heartbeats among them.
    pub heartbeats: u64,
    /// When its first and last record were appended.
    pub appended: Option<(Nanos, Nanos)>,
    /// What of it checks.
    pub state: State,
    /// The numbers of its records, in order.
    sequences: Vec<u64>,
}

/// What of a segment checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Everything.
    Sound,
    /// An unfinished record of so many bytes stands at its end.
    Torn(u64),
    /// Something in it does not check, and something behind that does; or it is no segment.
    Damaged,
    /// The disk does not let us read it.
    Unreadable(String),
}

impl State {
    /// In one word.
    pub fn name(&self) -> &'static str {
        match self {
            State::Sound => "sound",
            State::Torn(_) => "torn",
            State::Damaged => "damaged",
            State::Unreadable(_) => "unreadable",
        }
    }
}

/// How far one output is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Name of the output.
    pub output: String,
    /// The number that it wants next; none if the cursor does not check.
    pub next: Option<u64>,
    /// Records that wait for it.
    pub pending: u64,
    /// When the oldest of them was appended.
    pub oldest: Option<Nanos>,
}

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Bytes of unfinished records that were cut off.
    pub torn: u64,
    /// Segments that were set aside; what checks in them is in their place.
    pub set_aside: Vec<PathBuf>,
    /// Cursors that did not check and begin again with the oldest record.
    pub cursors: Vec<String>,
    /// What could not be put in order.
    pub problems: Vec<String>,
}

/// Says what lies in the spool in `dir`, without changing anything.
///
/// # Errors
///
/// The directory cannot be listed.
pub fn inspect(dir: &Path) -> io::Result<Contents> {
    let mut contents = Contents { in_use: in_use(dir), ..Contents::default() };
    let (mut segments, mut cursors) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("seg") => segments.push(path),
            Some("cursor") => cursors.push(path),
            Some("new") if !contents.in_use => {
                contents.problems.push(format!("{} is left of a crash", path.display()));
            }
            _ => {}
        }
    }
    segments.sort_unstable();
    cursors.sort_unstable();
    let last = segments.last().cloned();
    for path in segments {
        let written = contents.in_use && Some(&path) == last.as_ref();
        // One that has been delivered meanwhile is gone.
        if let Some(segment) = segment(path, written) {
            contents.problems.extend(segment.problem());
            contents.segments.push(segment);
        }
    }
    for path in cursors {
        let cursor = cursor(&path, &contents.segments);
        if cursor.next.is_none() {
            contents.problems.push(format!(
                "{} does not check: output {} would begin again with the oldest record",
                path.display(),
                cursor.output
            ));
        }
        contents.outputs.push(cursor);
    }
    if let Ok(entries) = fs::read_dir(dir.join("damaged")) {
        let aside = entries.filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.path(), entry.metadata().ok()?.len()))
        });
        contents.set_aside = aside.collect();
        contents.set_aside.sort_unstable();
    }
    Ok(contents)
}

impl Contents {
    /// Records that check.
    pub fn records(&self) -> u64 {
        self.segments.iter().map(|one| one.records).sum()
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|one| one.bytes).sum()
    }
}

impl SegmentContents {
    fn problem(&self) -> Option<String> {
        let path = self.path.display();
        match &self.state {
            State::Sound => None,
            State::Torn(bytes) => Some(format!("{path}: an unfinished record of {bytes} bytes at its end")),
            State::Damaged => Some(format!("{path}: damaged; {} records of it check", self.records)),
            State::Unreadable(reason) => Some(format!("{path} cannot be read: {reason}")),
        }
    }
}

/// Puts in order what does not check, as the start of a sensor does.
///
/// # Errors
///
/// A process uses the directory, or it cannot be listed.
pub fn repair(dir: &Path) -> io::Result<Repaired> {
    fs::read_dir(dir)?;
    let _held = lock(dir)?;
    let disk = FileSystem;
    let mut recovery = Recovery::default();
    recovery.remove_unfinished(&disk, dir);
    let (mut segments, mut heartbeats) = (VecDeque::new(), VecDeque::new());
    for path in recovery.segments_in(dir) {
        segments.extend(recover(&disk, dir, path, &mut recovery, &mut heartbeats));
    }
    cut_overlaps(&mut segments);
    let mut repaired = Repaired { torn: recovery.torn, set_aside: recovery.damaged, ..Repaired::default() };
    repaired.problems = recovery.problems;
    let oldest = segments.front().map_or(0, |first| first.first);
    for entry in fs::read_dir(dir)?.filter_map(Result::ok) {
        let path = entry.path();
        let is_cursor = path.extension().is_some_and(|extension| extension == "cursor");
        if !is_cursor || fs::read(&path).is_ok_and(|text| read_cursor(&text).is_some()) {
            continue;
        }
        let name = name_of(&path);
        match save_cursor(&disk, dir, &name, oldest) {
            Ok(()) => repaired.cursors.push(name),
            Err(error) => repaired.problems.push(format!("cannot write {}: {error}", path.display())),
        }
    }
    Ok(repaired)
}

/// Whether a process holds the lock. Asking takes it for an instant, which a start outwaits.
fn in_use(dir: &Path) -> bool {
    let Ok(file) = fs::File::open(dir.join("lock")) else { return false };
    matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock))
}

fn segment(path: PathBuf, written: bool) -> Option<SegmentContents> {
    let mut segment = SegmentContents {
        bytes: 0,
        numbers: None,
        records: 0,
        heartbeats: 0,
        appended: None,
        state: State::Sound,
        sequences: Vec::new(),
        path,
    };
    let bytes = match fs::read(&segment.path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            segment.state = State::Unreadable(error.to_string());
            return Some(segment);
        }
    };
    let scan = scan_segment(&segment.path, &bytes);
    segment.bytes = bytes.len() as u64;
    segment.sequences = scan.records.iter().map(|(header, ..)| header.sequence).collect();
    segment.records = scan.records.len() as u64;
    segment.heartbeats = scan.heartbeats().count() as u64;
    if let (Some((first, ..)), Some((last, ..))) = (scan.records.first(), scan.records.last()) {
        segment.numbers = Some((first.sequence, last.sequence));
        segment.appended = Some((first.appended, last.appended));
    }
    segment.state = match scan.tail {
        Tail::Damaged => State::Damaged,
        Tail::Clean => State::Sound,
        Tail::Torn(at) => {
            let tail = bytes.get(at..).unwrap_or_default();
            let torn = tail.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
            let fresh = scan.records.is_empty() && bytes.len() <= MAGIC.len() + FRAME;
            if torn == 0 || written || (fresh && bytes.starts_with(MAGIC)) {
                State::Sound
            } else {
                State::Torn(torn)
            }
        }
    };
    Some(segment)
}

fn cursor(path: &Path, segments: &[SegmentContents]) -> Cursor {
    let next = fs::read(path).ok().and_then(|text| read_cursor(&text));
    let from = next.unwrap_or(0);
    let pending =
        segments.iter().map(|one| one.sequences.len() - one.sequences.partition_point(|n| *n < from));
    let oldest = segments.iter().find(|one| one.numbers.is_some_and(|(_, last)| last >= from));
    Cursor {
        output: name_of(path),
        next,
        pending: pending.sum::<usize>() as u64,
        oldest: oldest.and_then(|one| one.appended).map(|(first, _)| first),
    }
}

/// The output whose cursor this is.
fn name_of(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().as_encoded_bytes();
    let mut name = Vec::new();
    let mut rest = stem;
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| *first == b'%');
        let byte = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match byte {
            Some(byte) => {
                name.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                name.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::super::cursor_path;
    use super::super::tests::{names, open, payloads};
    use super::*;

    fn spool(dir: &Path, count: u64) {
        let (mut spool, mut reader, _) = open(dir);
        for n in 0..count {
            spool.append(payloads(n..n + 1), 1_000 + n as Nanos).unwrap();
        }
        reader.advance(2);
        reader.settle().unwrap();
    }

    #[test]
    fn what_lies_there_is_told_beside_a_running_sensor_and_without_one() {
        let dir = tempfile::tempdir().unwrap();
        let held = open(dir.path());
        assert!(inspect(dir.path()).unwrap().in_use);
        drop(held);
        spool(dir.path(), 9);
        let contents = inspect(dir.path()).unwrap();
        assert_eq!((contents.in_use, contents.records()), (false, 9));
        assert_eq!(contents.problems, Vec::<String>::new());
        let cursor = &contents.outputs[0];
        assert_eq!((cursor.output.as_str(), cursor.next, cursor.pending), ("soc", Some(2), 7));
        assert_eq!(cursor.oldest, Some(1_000), "its segment begins there");
        assert!(contents.segments.len() > 1);
        assert!(contents.segments.iter().all(|one| one.state == State::Sound));
    }

    #[test]
    fn what_does_not_check_is_told_and_repaired() {
        let dir = tempfile::tempdir().unwrap();
        spool(dir.path(), 9);
        let before = inspect(dir.path()).unwrap();
        let (first, last) = (before.segments[0].path.clone(), before.segments.last().unwrap().path.clone());
        let mut bytes = fs::read(&first).unwrap();
        bytes[40] ^= 1;
        fs::write(&first, &bytes).unwrap();
        let (mut torn, records) = (fs::read(&last).unwrap(), before.segments.last().unwrap().records);
        let end = torn.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        torn.truncate(end);
        torn.extend([9; 30]);
        fs::write(&last, &torn).unwrap();
        fs::write(dir.path().join("soc.cursor"), "roje cursor 1\n99\n00000000\n").unwrap();
        fs::write(dir.path().join("x.new"), "half").unwrap();

        let found = inspect(dir.path()).unwrap();
        assert_eq!(found.segments[0].state, State::Damaged);
        assert_eq!(found.segments.last().unwrap().state, State::Torn(30));
        assert_eq!(found.problems.len(), 4, "{:?}", found.problems);
        assert_eq!(fs::read(&first).unwrap(), bytes, "nothing was changed");

        let repaired = repair(dir.path()).unwrap();
        assert_eq!((repaired.torn, repaired.set_aside.len()), (30, 1));
        assert_eq!((repaired.cursors, repaired.problems), (vec!["soc".to_owned()], Vec::<String>::new()));
        let after = inspect(dir.path()).unwrap();
        assert_eq!(after.problems, Vec::<String>::new());
        assert_eq!((after.records(), after.set_aside.len()), (8, 1));
        assert_eq!(after.segments.last().unwrap().records, records);
        assert_eq!(repair(dir.path()).unwrap(), Repaired::default(), "once is enough");

        let held = open(dir.path());
        assert_eq!(repair(dir.path()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(held);
    }

    #[test]
    fn names_of_outputs_come_back_from_their_files() {
        for name in
            ["soc", "a.b", "National SOC", "ë%2f"].into_iter().chain(names().iter().map(String::as_str))
        {
            assert_eq!(name_of(&cursor_path(Path::new("/s"), name)), name);
        }
    }
}
