//! Tests of the spool: a disk that stops in the middle, torn tails, damage, caps.

use super::*;
use std::collections::{HashMap, HashSet};

const NAME: &str = "soc";

fn names() -> Vec<String> {
    vec![NAME.to_owned()]
}

fn payload(n: u64) -> Vec<u8> {
    format!("alert {n} {}", "x".repeat((n as usize * 37) % 90)).into_bytes()
}

fn small() -> Limits {
    Limits { segment: 300, ..Limits::default() }
}

fn open(dir: &Path) -> (Spool, Reader, Recovery) {
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
        let records = reader.read(3, 1000);
        let Some(last) = records.last() else { return all };
        reader.advance(last.sequence + 1);
        reader.settle().unwrap();
        all.extend(records.iter().map(|record| record.payload.to_vec()));
    }
}

fn payloads(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    range.map(payload).collect()
}

/// A disk that dies at its n-th operation, and forgets what was not synced.
struct Dying {
    left: Mutex<usize>,
    /// What each file was when it was synced.
    synced: Mutex<HashMap<PathBuf, Vec<u8>>>,
    named: Mutex<HashSet<PathBuf>>,
}

impl Dying {
    fn new(operations: usize) -> Dying {
        Dying { left: Mutex::new(operations), synced: Mutex::default(), named: Mutex::default() }
    }

    fn alive(&self) -> io::Result<()> {
        let mut left = self.left.lock().unwrap();
        if *left == 0 {
            return Err(io::Error::other("the disk is dead"));
        }
        *left -= 1;
        Ok(())
    }

    fn dead(&self) -> bool {
        *self.left.lock().unwrap() == 0
    }

    /// What a power cut leaves of what was never synced: `kept` of 2 parts.
    fn power_cut(&self, dir: &Path, kept: u64) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "seg") {
                continue;
            }
            let old = self.synced.lock().unwrap().get(&path).cloned().unwrap_or_default();
            let new = fs::read(&path).unwrap();
            // Bytes that took the place of others may have reached the disk in part, too.
            let same = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
            let cut = same + (new.len() - same) * kept as usize / 2;
            let left = [&new[..cut], old.get(cut..).unwrap_or_default()].concat();
            if kept == 0 && !self.named.lock().unwrap().contains(&path) {
                fs::remove_file(&path).unwrap();
                continue;
            }
            fs::write(&path, left).unwrap();
        }
    }
}

impl Disk for Dying {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        FileSystem.create_dir(path)
    }
    fn create(&self, path: &Path) -> io::Result<File> {
        self.alive()?;
        self.synced.lock().unwrap().remove(path);
        FileSystem.create(path)
    }
    fn write(&self, path: &Path, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let alive = self.alive();
        let part = if alive.is_ok() { bytes.len() } else { bytes.len() / 2 };
        FileSystem.write(path, file, &bytes[..part], offset)?;
        alive
    }
    fn sync(&self, path: &Path, _file: &File) -> io::Result<()> {
        self.alive()?;
        self.synced.lock().unwrap().insert(path.to_owned(), fs::read(path)?);
        Ok(())
    }
    fn truncate(&self, path: &Path, length: u64) -> io::Result<()> {
        self.alive()?;
        Unsynced.truncate(path, length)?;
        self.synced.lock().unwrap().insert(path.to_owned(), fs::read(path)?);
        Ok(())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.alive()?;
        FileSystem.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.alive()?;
        FileSystem.remove(path)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.alive()?;
        let mut named = self.named.lock().unwrap();
        named.extend(fs::read_dir(path)?.map(|entry| entry.unwrap().path()));
        Ok(())
    }
}

#[test]
fn whatever_the_operation_a_crash_loses_nothing_that_was_raised() {
    let mut crashes = 0;
    for kept in 0..3 {
        for operations in 0.. {
            let dir = tempfile::tempdir().unwrap();
            let disk = Arc::new(Dying::new(operations));
            let (mut spool, mut readers, _) =
                Spool::open_on(Arc::clone(&disk) as _, dir.path(), &names(), small()).unwrap();
            let mut reader = readers.pop().unwrap();
            let (mut raised, mut passed, mut next) = (Vec::new(), 0, 0);
            // A dead disk that still held alerts in memory would prove nothing.
            for batch in 1..12u64 {
                let fresh = payloads(next..next + batch % 4 + 1);
                next += fresh.len() as u64;
                if disk.dead() {
                    break;
                }
                if spool.append(fresh.clone(), batch as Nanos * 2_000_000_000).is_ok() {
                    raised.extend(fresh);
                }
                if batch % 3 == 0 && !disk.dead() {
                    // Delivered, whether or not the cursor is saved.
                    let records = reader.read(3, 10_000);
                    if let Some(last) = records.last() {
                        reader.advance(last.sequence + 1);
                        let _ = reader.settle();
                        passed += records.len();
                    }
                }
            }
            let done = !disk.dead();
            crashes += usize::from(!done);
            drop((spool, reader));
            disk.power_cut(dir.path(), kept);
            let (_spool, mut reader, recovery) = open(dir.path());
            let found = drain(&mut reader);
            let name = format!("{kept} of 2 kept, {operations} operations: {recovery:?}");
            assert!(recovery.damaged.is_empty(), "{name}");
            let missing = raised[passed..].iter().find(|one| !found.contains(one));
            assert_eq!(missing, None, "{name}");
            let all: Vec<_> = payloads(0..next);
            assert!(found.iter().all(|one| all.contains(one)), "{name}");
            let mut sorted = found.clone();
            sorted.dedup();
            assert_eq!(sorted, found, "no record twice, {name}");
            let order: Vec<usize> =
                found.iter().map(|one| all.iter().position(|other| other == one).unwrap()).collect();
            assert!(order.is_sorted(), "{name}");
            if done {
                break;
            }
        }
    }
    assert!(crashes > 100, "{crashes}");
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
    let records = readers[1].read(7, usize::MAX);
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
    assert_eq!(readers[0].read(9, 9)[0].sequence, 20);
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
    let seen: Vec<_> = reader.read(2, 10_000).into_iter().map(|one| one.payload.to_vec()).collect();
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
