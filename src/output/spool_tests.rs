//! Tests of the spool: a disk that stops in the middle, torn tails, damage, caps.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

const NAME: &str = "soc";

pub(super) fn names() -> Vec<String> {
    vec![NAME.to_owned()]
}

fn payload(n: u64) -> Vec<u8> {
    format!("alert {n} {}", "x".repeat((n as usize * 37) % 90)).into_bytes()
}

fn small() -> Limits {
    Limits { segment: 300, ..Limits::default() }
}

pub(super) fn open(dir: &Path) -> (Spool, Reader, Recovery) {
    let (spool, mut readers, recovery) = Spool::open_on(Arc::new(Unsynced), dir, &names(), small()).unwrap();
    (spool, readers.pop().unwrap(), recovery)
}

/// The file system without waiting for it, where only the bytes matter.
struct Unsynced;

impl Disk for Unsynced {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        FileSystem.create_dir(path)
    }
    fn create(&self, path: &Path) -> io::Result<File> {
        FileSystem.create(path)
    }
    fn write(&self, path: &Path, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileSystem.write(path, file, bytes, offset)
    }
    fn sync(&self, _path: &Path, _file: &File) -> io::Result<()> {
        Ok(())
    }
    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.set_len(length)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        FileSystem.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        FileSystem.remove(path)
    }
    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// Reads and passes everything.
fn drain(reader: &mut Reader) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let records = reader.read(3, 1000).unwrap();
        let Some(last) = records.last() else { return all };
        reader.advance(last.sequence + 1);
        reader.settle().unwrap();
        all.extend(records.iter().map(|record| record.payload.to_vec()));
    }
}

pub(super) fn payloads(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    range.map(payload).collect()
}

/// One operation of a disk.
enum Operation {
    Create(PathBuf),
    Write { path: PathBuf, offset: usize, bytes: Vec<u8> },
    Sync(PathBuf),
    Truncate(PathBuf, usize),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
    SyncDir(PathBuf),
}

/// A disk that dies at its n-th operation. It remembers every operation, so that [`Dying::remains`] can
/// tell what may be left of them: all that was synced, and anything of the rest.
struct Dying {
    left: Mutex<usize>,
    journal: Mutex<Vec<Operation>>,
}

impl Dying {
    fn new(operations: usize) -> Dying {
        Dying { left: Mutex::new(operations), journal: Mutex::default() }
    }

    fn dead(&self) -> bool {
        *self.left.lock().unwrap() == 0
    }

    /// Runs an operation, unless the disk is dead. The one at which it dies is begun: what is left of it
    /// is decided as for all that was not synced.
    fn act(&self, operation: Operation, run: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut left = self.left.lock().unwrap();
        if *left == 0 {
            return Err(io::Error::other("the disk is dead"));
        }
        *left -= 1;
        if *left == 0 {
            // A sync that never came back has made nothing sure.
            if !matches!(operation, Operation::Sync(_) | Operation::SyncDir(_)) {
                self.journal.lock().unwrap().push(operation);
            }
            return Err(io::Error::other("the disk dies"));
        }
        drop(left);
        run()?;
        self.journal.lock().unwrap().push(operation);
        Ok(())
    }

    /// Puts into `dir` what a power cut leaves of `before` and of all operations since.
    fn remains(&self, before: &BTreeMap<PathBuf, Vec<u8>>, dir: &Path, dice: &mut Dice) {
        // Files by number; names and contents each have a part that is sure and one that is not.
        let mut sure: Vec<Vec<u8>> = before.values().cloned().collect();
        let mut unsure: Vec<Vec<(usize, Vec<u8>)>> = sure.iter().map(|_| Vec::new()).collect();
        let mut live: BTreeMap<PathBuf, usize> = before.keys().cloned().zip(0..).collect();
        let mut named = live.clone();
        let mut names: Vec<BTreeMap<PathBuf, usize>> = Vec::new();
        for operation in self.journal.lock().unwrap().iter() {
            match operation {
                Operation::Create(path) => {
                    sure.push(Vec::new());
                    unsure.push(Vec::new());
                    live.insert(path.clone(), sure.len() - 1);
                }
                Operation::Write { path, offset, bytes } => unsure[live[path]].push((*offset, bytes.clone())),
                Operation::Sync(path) => {
                    let number = live[path];
                    for (offset, bytes) in unsure[number].drain(..) {
                        put_at(&mut sure[number], offset, &bytes);
                    }
                }
                Operation::Truncate(path, length) => {
                    let number = live[path];
                    for (offset, bytes) in unsure[number].drain(..) {
                        put_at(&mut sure[number], offset, &bytes);
                    }
                    sure[number].resize(*length, 0);
                }
                Operation::Rename(from, to) => {
                    let number = live.remove(from).unwrap();
                    live.insert(to.clone(), number);
                }
                Operation::Remove(path) => {
                    live.remove(path);
                }
                // What was set aside is for people, and no part of what is looked at here.
                Operation::SyncDir(path) if path.ends_with("damaged") => continue,
                Operation::SyncDir(_) => {
                    named = live.clone();
                    names.clear();
                    continue;
                }
            }
            names.push(live.clone());
        }
        // Names change in their order, up to some change that reached the disk.
        let reached = dice.below(names.len() + 1);
        let names = reached.checked_sub(1).map_or(&named, |last| &names[last]);
        for (path, number) in names.iter().filter(|(path, _)| !path.parent().unwrap().ends_with("damaged")) {
            let mut bytes = sure[*number].clone();
            for (offset, written) in &unsure[*number] {
                match dice.below(4) {
                    0 => {}
                    1 => put_at(&mut bytes, *offset, written),
                    2 => put_at(&mut bytes, *offset, &written[..dice.below(written.len() + 1)]),
                    // Some blocks of it, as a disk that reorders writes them.
                    _ => {
                        for (block, part) in written.chunks(32).enumerate() {
                            if dice.below(2) == 0 {
                                put_at(&mut bytes, offset + block * 32, part);
                            }
                        }
                    }
                }
            }
            fs::write(dir.join(path.file_name().unwrap()), bytes).unwrap();
        }
    }
}

fn put_at(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    if file.len() < offset + bytes.len() {
        file.resize(offset + bytes.len(), 0);
    }
    file[offset..offset + bytes.len()].copy_from_slice(bytes);
}

/// Every file of a directory.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_file()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Numbers that are the same in each run of the tests.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

impl Disk for Dying {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        FileSystem.create_dir(path)
    }
    fn create(&self, path: &Path) -> io::Result<File> {
        self.act(Operation::Create(path.to_owned()), || FileSystem.create(path).map(|_| ()))?;
        OpenOptions::new().write(true).open(path)
    }
    fn write(&self, path: &Path, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let write =
            Operation::Write { path: path.to_owned(), offset: offset as usize, bytes: bytes.to_vec() };
        self.act(write, || FileSystem.write(path, file, bytes, offset))
    }
    fn sync(&self, path: &Path, _file: &File) -> io::Result<()> {
        self.act(Operation::Sync(path.to_owned()), || Ok(()))
    }
    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        self.act(Operation::Truncate(path.to_owned(), length as usize), || Unsynced.truncate(path, length))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.act(Operation::Rename(from.to_owned(), to.to_owned()), || FileSystem.rename(from, to))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.act(Operation::Remove(path.to_owned()), || FileSystem.remove(path))
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.act(Operation::SyncDir(path.to_owned()), || Ok(()))
    }
}

/// What alerts were raised over several lives, and what became of them.
#[derive(Default)]
struct Ledger {
    next: u64,
    raised: Vec<u64>,
    /// For each output: what it had, up to which number of a record, and how many a limit dropped.
    had: [BTreeSet<u64>; 2],
    reached: [u64; 2],
    dropped: [u64; 2],
}

fn expected(number: u64) -> Vec<u8> {
    payload(number)
}

fn number(payload: &[u8]) -> u64 {
    let text = std::str::from_utf8(payload).unwrap();
    let number = text.split(' ').nth(1).and_then(|number| number.parse().ok()).unwrap();
    assert_eq!(payload, expected(number), "none is corrupt");
    number
}

/// One life: alerts are raised, one output is quick and one slow, segments rotate, limits drop; until
/// the disk dies or the script ends. True if it ended.
fn live(disk: &Arc<Dying>, dir: &Path, limits: Limits, batches: u64, ledger: &mut Ledger) -> bool {
    let outputs = [NAME.to_owned(), "slow".to_owned()];
    let opened = Spool::open_on(Arc::clone(disk) as _, dir, &outputs, limits);
    let (mut spool, mut readers, _) = opened.unwrap();
    for batch in 1..=batches {
        // A dead disk that still held alerts in memory would prove nothing.
        if disk.dead() {
            break;
        }
        let fresh = ledger.next..ledger.next + batch % 4 + 1;
        ledger.next = fresh.end;
        if spool.append(payloads(fresh.clone()), batch as Nanos * 2_000_000_000).is_ok() {
            ledger.raised.extend(fresh);
        }
        for (index, reader) in readers.iter_mut().enumerate() {
            if disk.dead() || batch % (2 + 3 * index as u64) != 0 {
                continue;
            }
            // Delivered, whether or not the cursor is saved.
            let records = reader.read(4, 10_000).unwrap();
            if let Some(last) = records.last() {
                ledger.had[index].extend(records.iter().map(|record| number(&record.payload)));
                ledger.reached[index] = ledger.reached[index].max(last.sequence + 1);
                reader.advance(last.sequence + 1);
                let _ = reader.settle();
            }
        }
    }
    for (index, reader) in readers.iter().enumerate() {
        ledger.dropped[index] += reader.backlog().dropped;
    }
    !disk.dead()
}

/// Asserts what must hold after a crash, whatever was left of what was not synced.
fn assert_recovered(dir: &Path, ledger: &Ledger, limits: Limits, name: &str) {
    if limits.bytes == u64::MAX {
        for (output, reached) in [NAME, "slow"].iter().zip(ledger.reached) {
            let cursor =
                fs::read(dir.join(format!("{output}.cursor"))).ok().and_then(|text| read_cursor(&text));
            assert!(cursor.unwrap_or(0) <= reached, "a cursor is ahead of what was delivered: {name}");
        }
    }
    let outputs = [NAME.to_owned(), "slow".to_owned()];
    let (_spool, mut readers, recovery) = Spool::open_on(Arc::new(Unsynced), dir, &outputs, limits).unwrap();
    // Of a batch that was not synced a later block may be there without an earlier one; that cannot be
    // told from damage, and the segment is set aside. What was raised is there all the same.
    assert_eq!(recovery.problems, Vec::<String>::new(), "{name}");
    for (index, reader) in readers.iter_mut().enumerate() {
        let found: Vec<u64> = drain(reader).iter().map(|payload| number(payload)).collect();
        assert!(found.is_sorted_by(|a, b| a < b), "in order, and none twice: {found:?}: {name}");
        let missing: Vec<_> = ledger
            .raised
            .iter()
            .filter(|one| !found.contains(one) && !ledger.had[index].contains(one))
            .collect();
        let dropped = ledger.dropped[index] as usize;
        assert!(missing.len() <= dropped, "missing {missing:?}, dropped {dropped}: {name}");
    }
}

#[test]
fn whatever_the_operation_a_crash_loses_nothing_that_was_raised() {
    let unlimited = Limits { bytes: u64::MAX, ..small() };
    let tight = Limits { bytes: 900, ..small() };
    let mut crashes = 0;
    for (limits, kind) in [(unlimited, "unlimited"), (tight, "tight")] {
        for seed in 0..3u64 {
            for operations in 1.. {
                let mut dice = Dice(seed << 32 | operations as u64);
                let mut ledger = Ledger::default();
                let first = tempfile::tempdir().unwrap();
                let disk = Arc::new(Dying::new(operations));
                let done = live(&disk, first.path(), limits, 16, &mut ledger);
                let second = tempfile::tempdir().unwrap();
                disk.remains(&BTreeMap::new(), second.path(), &mut dice);
                // A second life, which may end while it recovers from the first.
                let again = 1 + dice.below(24);
                let before = files(second.path());
                let disk = Arc::new(Dying::new(again));
                live(&disk, second.path(), limits, 4, &mut ledger);
                let third = tempfile::tempdir().unwrap();
                disk.remains(&before, third.path(), &mut dice);
                let name = format!("{kind}, seed {seed}, {operations} operations, then {again}");
                assert_recovered(third.path(), &ledger, limits, &name);
                crashes += 1;
                if done {
                    break;
                }
            }
        }
    }
    assert!(crashes > 300, "{crashes}");
}

#[test]
fn a_torn_tail_is_cut_at_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits::default();
    let (mut spool, _, _) = Spool::open_on(Arc::new(Unsynced), dir.path(), &names(), limits).unwrap();
    let mut ends = vec![0, MAGIC.len()];
    let path = dir.path().join(format!("{:020}.seg", 0));
    for n in 0..4 {
        spool.append(payloads(n..n + 1), 0).unwrap();
        ends.push(ends[ends.len() - 1] + FRAME + payload(n).len());
    }
    drop(spool);
    let whole = fs::read(&path).unwrap();
    let end = ends[ends.len() - 1];
    assert!(whole.len() > end + 1000 && whole[end..].iter().all(|byte| *byte == 0), "room");
    for length in (0..=end + 30).chain([whole.len()]) {
        fs::remove_file(dir.path().join("soc.cursor")).unwrap();
        fs::write(&path, &whole[..length]).unwrap();
        let (mut spool, mut readers, recovery) =
            Spool::open_on(Arc::new(Unsynced), dir.path(), &names(), limits).unwrap();
        let intact = ends[2..].iter().filter(|end| **end <= length).count() as u64;
        assert_eq!(recovery.torn > 0, length < end && !ends.contains(&length), "{length}");
        assert_eq!(recovery.damaged, Vec::<PathBuf>::new(), "{length}");
        assert_eq!(recovery.problems, Vec::<String>::new(), "{length}");
        spool.append(vec![b"behind".to_vec()], 0).unwrap();
        let mut expected = payloads(0..intact);
        expected.push(b"behind".to_vec());
        assert_eq!(drain(&mut readers[0]), expected, "{length}");
        drop(spool);
        for entry in fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "seg") {
                fs::remove_file(path).unwrap();
            }
        }
    }
}

#[test]
fn a_damaged_segment_is_set_aside_and_the_rest_delivered() {
    let pristine = tempfile::tempdir().unwrap();
    let (mut spool, _, _) = open(pristine.path());
    for n in 0..8 {
        spool.append(payloads(n..n + 1), 0).unwrap();
    }
    drop(spool);
    let first = pristine.path().join(format!("{:020}.seg", 0));
    let whole = fs::read(&first).unwrap();
    assert!(whole.len() > 250);
    for at in 0..whole.len() {
        let dir = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(pristine.path()).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        fs::write(dir.path().join(first.file_name().unwrap()), &bytes).unwrap();
        let (_spool, mut reader, recovery) = open(dir.path());
        let found = drain(&mut reader);
        // One record is lost; or the whole segment if it no longer says that it is one. What stood in
        // the room behind the records was nobody's.
        let missing = payloads(0..8).iter().filter(|one| !found.contains(one)).count();
        assert_eq!(found.len() + missing, 8, "{at}");
        let records = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let lost = if at < 8 { missing >= 1 } else { missing == usize::from(at < records) };
        assert!(lost, "{at}: {missing}");
        assert_eq!(recovery.damaged.len() + usize::from(recovery.torn > 0), 1, "{at}: {recovery:?}");
        if recovery.damaged.len() == 1 {
            let kept = dir.path().join("damaged").join(first.file_name().unwrap());
            assert_eq!(fs::read(kept).unwrap(), bytes);
        }
    }
}

#[test]
fn damage_while_running_costs_the_record_only() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, mut readers, _) = Spool::open(dir.path(), &names(), Limits::default()).unwrap();
    spool.append(payloads(0..5), 0).unwrap();
    let path = dir.path().join(format!("{:020}.seg", 0));
    let mut bytes = fs::read(&path).unwrap();
    bytes[8 + FRAME + 3] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(drain(&mut readers[0]), payloads(1..5));
}

#[test]
fn cursors_last_and_segments_go_when_all_have_passed() {
    let dir = tempfile::tempdir().unwrap();
    let outputs = vec!["a/b".to_owned(), "c".to_owned()];
    let segments = || {
        let paths = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).count()
    };
    let (mut spool, mut readers, _) = Spool::open(dir.path(), &outputs, small()).unwrap();
    for n in 0..20 {
        spool.append(payloads(n..n + 1), 0).unwrap();
    }
    assert!(segments() > 3);
    assert_eq!(drain(&mut readers[0]), payloads(0..20));
    assert!(segments() > 3, "the other one has passed nothing");
    assert_eq!(readers[1].backlog().pending, 20);
    let records = readers[1].read(7, usize::MAX).unwrap();
    readers[1].advance(records.last().unwrap().sequence + 1);
    readers[1].settle().unwrap();
    let passed = records.len() as u64;
    drop((spool, readers));
    let (mut spool, mut readers, recovery) = Spool::open(dir.path(), &outputs, small()).unwrap();
    assert_eq!(recovery, Recovery::default());
    assert_eq!(drain(&mut readers[0]), payloads(0..0));
    assert_eq!(drain(&mut readers[1]), payloads(passed..20));
    assert_eq!(segments(), 1);
    spool.append(payloads(20..21), 0).unwrap();
    assert_eq!(readers[0].read(9, 9).unwrap()[0].sequence, 20);
    assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_new_output_starts_now_and_a_broken_cursor_starts_over() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, reader, _) = open(dir.path());
    spool.append(payloads(0..3), 0).unwrap();
    drop((spool, reader));
    let outputs = vec![NAME.to_owned(), "new".to_owned()];
    let (spool, mut readers, _) = Spool::open(dir.path(), &outputs, small()).unwrap();
    assert_eq!(drain(&mut readers[1]), payloads(0..0));
    readers[0].advance(2);
    readers[0].settle().unwrap();
    drop((spool, readers));
    let path = dir.path().join("soc.cursor");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("2\n", "3\n")).unwrap();
    let (_spool, mut readers, recovery) = Spool::open(dir.path(), &outputs, small()).unwrap();
    assert_eq!(recovery.problems.len(), 1);
    assert_eq!(drain(&mut readers[0]), payloads(0..3));
}

#[test]
fn caps_drop_the_oldest_and_count_them() {
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { bytes: 2000, segment: 300, age: Duration::from_secs(100) };
    let (mut spool, mut readers, _) = Spool::open(dir.path(), &names(), limits).unwrap();
    for n in 0..100 {
        spool.append(payloads(n..n + 1), 0).unwrap();
    }
    let backlog = readers[0].backlog();
    assert!(backlog.bytes <= 2000 && backlog.dropped > 0);
    assert_eq!(backlog.dropped + backlog.pending, 100);
    spool.tick(101_000_000_000);
    let backlog = readers[0].backlog();
    assert_eq!((backlog.dropped, backlog.pending), (100, 0));
    spool.append(payloads(100..101), 101_000_000_000).unwrap();
    assert_eq!(drain(&mut readers[0]), payloads(100..101));
}

/// A disk that is full while told so.
#[derive(Default)]
struct Full(Mutex<bool>);

impl Disk for Full {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        FileSystem.create_dir(path)
    }
    fn create(&self, path: &Path) -> io::Result<File> {
        FileSystem.create(path)
    }
    fn write(&self, path: &Path, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if *self.0.lock().unwrap() {
            FileSystem.write(path, file, &bytes[..bytes.len() / 3], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        FileSystem.write(path, file, bytes, offset)
    }
    fn sync(&self, path: &Path, file: &File) -> io::Result<()> {
        FileSystem.sync(path, file)
    }
    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        FileSystem.truncate(path, length)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        FileSystem.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        FileSystem.remove(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        FileSystem.sync_dir(path)
    }
}

#[test]
fn a_full_disk_holds_alerts_in_memory_and_writes_them_later() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Full::default());
    let (mut spool, mut readers, _) =
        Spool::open_on(Arc::clone(&disk) as _, dir.path(), &names(), Limits::default()).unwrap();
    let reader = &mut readers[0];
    spool.append(payloads(0..2), 0).unwrap();
    *disk.0.lock().unwrap() = true;
    assert!(spool.append(payloads(2..4), 1).is_err());
    assert!(spool.append(payloads(4..5), 2).is_err());
    let backlog = reader.backlog();
    assert_eq!((backlog.pending, backlog.held, backlog.unspooled), (5, 3, 3));
    let seen: Vec<_> = reader.read(2, 10_000).unwrap().into_iter().map(|one| one.payload.to_vec()).collect();
    assert_eq!(seen, payloads(0..2));
    *disk.0.lock().unwrap() = false;
    reader.advance(3);
    reader.settle().unwrap();
    assert!(spool.append(payloads(5..6), 3).is_err(), "asked a moment ago");
    spool.append(payloads(6..7), 2 * RETRY_AFTER).unwrap();
    assert_eq!(reader.backlog().held, 0);
    assert_eq!(drain(reader), payloads(3..7));
    drop((spool, readers));
    let (_spool, mut reader, recovery) = open(dir.path());
    assert_eq!(recovery, Recovery::default());
    assert_eq!(drain(&mut reader), payloads(0..0));
}

#[test]
fn a_directory_has_one_user() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let Err(error) = Spool::open(dir.path(), &names(), small()) else { panic!() };
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    drop(first);
    open(dir.path());
}

#[test]
fn without_outputs_nothing_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _, _) = Spool::open(dir.path(), &[], small()).unwrap();
    spool.append(payloads(0..9), 0).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "the lock");
}

#[test]
fn any_bytes_are_survived() {
    let mut seed = 7u64;
    for _ in 0..100 {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = MAGIC.to_vec();
        for n in 0..3 {
            encode(&Record { sequence: n, appended: 0, payload: payload(n).into() }, &mut bytes);
        }
        for _ in 0..4 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) as usize % bytes.len();
            bytes[at] = (seed >> 20) as u8;
        }
        fs::write(dir.path().join(format!("{:020}.seg", 0)), &bytes).unwrap();
        let (_spool, mut reader, _) = open(dir.path());
        assert!(drain(&mut reader).iter().all(|found| payloads(0..3).contains(found)));
    }
}

#[test]
fn a_limit_counts_what_was_delivered_only_if_it_is_lost() {
    for lost in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let limits = Limits { bytes: 1500, ..small() };
        let (mut spool, mut readers, _) =
            Spool::open_on(Arc::new(Unsynced), dir.path(), &names(), limits).unwrap();
        let reader = &mut readers[0];
        for n in 0..8 {
            spool.append(payloads(n..n + 1), 0).unwrap();
        }
        let delivered = reader.read(6, 10_000).unwrap();
        let next = delivered.last().unwrap().sequence + 1;
        reader.advance(next);
        for n in 8..60 {
            spool.append(payloads(n..n + 1), 0).unwrap();
        }
        let unread = reader.backlog().dropped;
        assert_eq!(unread + reader.backlog().pending, 60 - next);
        match lost {
            // The output lost what it took: nobody has it any more.
            true => {
                reader.rewind();
                assert_eq!(reader.backlog().dropped, unread + next);
            }
            false => {
                reader.settle().unwrap();
                reader.rewind();
                assert_eq!(reader.backlog().dropped, unread);
            }
        }
        assert_eq!(drain(reader), payloads(next + unread..60));
    }
}

#[test]
fn memory_that_is_full_drops_its_oldest_and_nothing_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Full::default());
    let (mut spool, mut readers, _) =
        Spool::open_on(Arc::clone(&disk) as _, dir.path(), &names(), Limits::default()).unwrap();
    spool.append(payloads(0..3), 0).unwrap();
    *disk.0.lock().unwrap() = true;
    let large = |n: u8| vec![n; 12 << 20];
    for n in 0..8 {
        assert!(spool.append(vec![large(n)], 1).is_err());
    }
    let backlog = readers[0].backlog();
    assert_eq!((backlog.dropped, backlog.held, backlog.pending), (3, 5, 8));
    assert_eq!(spool.shared().status().held, 5);
    assert!(spool.shared().status().refusal.is_some());
    *disk.0.lock().unwrap() = false;
    spool.tick(3 * RETRY_AFTER);
    assert_eq!(spool.shared().status().refusal, None);
    let found = drain(&mut readers[0]);
    assert_eq!(found[..3], payloads(0..3));
    assert_eq!(found[3..], (3..8).map(large).collect::<Vec<_>>());
}

#[test]
fn no_step_of_the_clock_of_the_day_makes_an_alert_old() {
    const DAY: Nanos = 86_400_000_000_000;
    let noon = 20_000 * DAY;
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits { age: Duration::from_secs(10 * 86_400), ..small() };
    let open = || Spool::open_on(Arc::new(Unsynced), dir.path(), &names(), limits).unwrap();
    let (mut spool, readers, _) = open();
    let at = |day: Nanos, steady: Nanos| Time { day: noon + day * DAY, steady: steady * DAY };
    spool.append(payloads(0..1), at(0, 0)).unwrap();
    for step in [5000, -5000, 0] {
        spool.tick(at(step, 9));
        spool.append(payloads(1..2), at(step, 9)).unwrap();
    }
    assert_eq!((readers[0].backlog().dropped, readers[0].backlog().pending), (0, 4));
    drop((spool, readers));
    // After a restart with a clock that is wrong until it is set.
    let (mut spool, readers, _) = open();
    spool.tick(at(5000, 0));
    spool.tick(at(5000, 0) /* nothing has settled */);
    spool.tick(at(1, 1));
    assert_eq!(readers[0].backlog().dropped, 0);
    drop((spool, readers));
    // They do grow old, by either clock.
    let (mut spool, readers, _) = open();
    spool.tick(at(1, 0));
    spool.tick(at(30, 29));
    assert_eq!((readers[0].backlog().dropped, readers[0].backlog().pending), (4, 0));
    spool.append(payloads(9..10), at(30, 29)).unwrap();
    spool.tick(at(-30, 38));
    assert_eq!(readers[0].backlog().pending, 1);
    spool.tick(at(-30, 40));
    assert_eq!(readers[0].backlog().pending, 0);
}

#[test]
fn a_segment_that_cannot_be_read_now_is_read_later() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, mut reader, _) = open(dir.path());
    spool.append(payloads(0..3), 0).unwrap();
    let (path, away) = (dir.path().join(format!("{:020}.seg", 0)), dir.path().join("away"));
    fs::rename(&path, &away).unwrap();
    fs::create_dir(&path).unwrap();
    for _ in 0..2 * READ_TRIES {
        assert!(reader.read(9, 9000).is_err());
    }
    assert_eq!(reader.backlog().dropped, 0);
    drop((spool, reader));
    // Neither a start gives its numbers to others.
    let (mut spool, reader, recovery) = open(dir.path());
    assert_eq!(recovery.problems.len(), 1, "{recovery:?}");
    spool.append(payloads(3..5), 0).unwrap();
    drop((spool, reader));
    fs::remove_dir(&path).unwrap();
    fs::rename(&away, &path).unwrap();
    fs::remove_file(dir.path().join("soc.cursor")).unwrap();
    let (_spool, mut reader, recovery) = open(dir.path());
    assert_eq!(recovery, Recovery::default());
    assert_eq!(drain(&mut reader), payloads(0..5));
}

#[test]
fn a_cursor_that_the_disk_refused_is_saved_later() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Full::default());
    *disk.0.lock().unwrap() = true;
    let (mut spool, mut readers, recovery) =
        Spool::open_on(Arc::clone(&disk) as _, dir.path(), &names(), Limits::default()).unwrap();
    assert!(!recovery.problems.is_empty());
    assert!(readers[0].is_unsettled(), "a start would take the output for a new one");
    assert!(readers[0].settle().is_err());
    assert!(readers[0].is_unsettled());
    *disk.0.lock().unwrap() = false;
    readers[0].settle().unwrap();
    assert!(!readers[0].is_unsettled());
    spool.append(payloads(0..1), 0).unwrap();
    assert_eq!(read_cursor(&fs::read(dir.path().join("soc.cursor")).unwrap()), Some(0));
}

#[test]
fn a_heartbeat_is_delivered_and_never_counted_as_an_alert() {
    let dir = tempfile::tempdir().unwrap();
    let beat = br#"{"roje":{"heartbeat":{"output":"soc"}}}"#.to_vec();
    let (mut spool, reader, _) = open(dir.path());
    spool.append(vec![payload(0), beat.clone(), payload(1)], 0).unwrap();
    assert_eq!(reader.backlog().pending, 2);
    drop((spool, reader));
    let (mut spool, mut reader, _) = open(dir.path());
    assert_eq!(reader.backlog().pending, 2);
    spool.append(vec![beat.clone()], 0).unwrap();
    assert_eq!(reader.backlog().pending, 2);
    assert_eq!(drain(&mut reader), [payload(0), beat.clone(), payload(1), beat]);
    assert_eq!(reader.backlog().pending, 0);
}
