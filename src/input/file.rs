//! Files and standard input: plain, gzip, zstd or xz by content, as logs or as captures.
//!
//! [`open`] looks at the first bytes and gives a [`Source`], whose [`Kind`] says how to go on: a log is
//! read through [`Source::blocks`], in [`Block`]s of whole messages that may be worked on in any order
//! and by any thread; a capture goes to [`super::pcap::Capture`]. [`Progress`] can be read meanwhile.

use super::Nanos;
use super::framing::{Delimiters, Framer};
use flate2::bufread::MultiGzDecoder;
use liblzma::read::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::UNIX_EPOCH;

/// A file that could not be read; says which.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct FileError {
    /// The file as it was named.
    pub path: PathBuf,
    /// What went wrong.
    pub source: io::Error,
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Messages: lines, or counted as a TCP stream has them.
    Log,
    /// Packets: pcap or pcapng.
    Capture,
}

/// How much of a file was read, in bytes as they lie on disk.
#[derive(Debug, Default)]
pub struct Progress {
    read: AtomicU64,
    total: Option<u64>,
}

impl Progress {
    /// Bytes read so far.
    pub fn read(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// Size of the file; none for a pipe.
    pub fn total(&self) -> Option<u64> {
        self.total
    }
}

/// An open file, decompressed.
pub struct Source {
    /// The file as it was named; `-` is standard input.
    pub path: PathBuf,
    /// What it holds.
    pub kind: Kind,
    /// When it was last modified: the reference for stamps without a year. None for a pipe.
    pub modified: Option<Nanos>,
    /// How much was read.
    pub progress: Arc<Progress>,
    reader: Box<dyn Read + Send>,
}

/// Opens a file, or standard input for `-`, and finds out what it is.
pub fn open(path: &Path) -> Result<Source, FileError> {
    let failed = |source| FileError { path: path.to_owned(), source };
    if path == Path::new("-") {
        let progress = Progress::default();
        return Source::new(path, Box::new(io::stdin()), None, progress).map_err(failed);
    }
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let modified = metadata.modified().ok().and_then(|time| {
        // Before 1970 is a broken clock, not a reference.
        Nanos::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_nanos()).ok()
    });
    let total = metadata.is_file().then_some(metadata.len());
    let progress = Progress { total, ..Progress::default() };
    Source::new(path, Box::new(file), modified.filter(|_| total.is_some()), progress).map_err(failed)
}

/// Reads a log or capture from memory, under a name.
pub fn from_bytes(name: &str, bytes: Vec<u8>) -> Result<Source, FileError> {
    let progress = Progress { total: Some(bytes.len() as u64), ..Progress::default() };
    Source::new(Path::new(name), Box::new(Cursor::new(bytes)), None, progress)
        .map_err(|source| FileError { path: name.into(), source })
}

/// Compressed bytes are read in pieces of this size.
const COMPRESSED: usize = 128 * 1024;

/// Memory that an xz file may ask for; its strongest preset needs 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;

/// The zstd window that a file may ask for, as a power of two: 128 MiB, the limit of the zstd tool.
const ZSTD_WINDOW: u32 = 27;

impl Source {
    fn new(
        path: &Path,
        reader: Box<dyn Read + Send>,
        modified: Option<Nanos>,
        progress: Progress,
    ) -> io::Result<Source> {
        let progress = Arc::new(progress);
        let (start, reader) = peek(Counted { reader, progress: Arc::clone(&progress) })?;
        let reader: Box<dyn Read + Send> = match Compression::of(&start) {
            None => Box::new(reader),
            Some(Compression::Gzip) => {
                Box::new(MultiGzDecoder::new(BufReader::with_capacity(COMPRESSED, reader)))
            }
            Some(Compression::Zstd) => {
                let mut decoder = zstd::Decoder::with_buffer(BufReader::with_capacity(COMPRESSED, reader))?;
                decoder.window_log_max(ZSTD_WINDOW)?;
                Box::new(decoder)
            }
            Some(Compression::Xz) => {
                let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?;
                Box::new(XzDecoder::new_stream(BufReader::with_capacity(COMPRESSED, reader), stream))
            }
        };
        let (start, reader) = peek(reader)?;
        let kind = if is_capture(&start) { Kind::Capture } else { Kind::Log };
        Ok(Source { path: path.to_owned(), kind, modified, progress, reader: Box::new(reader) })
    }

    /// The decompressed bytes.
    pub fn into_reader(self) -> Box<dyn Read + Send> {
        self.reader
    }

    /// Cuts a log into blocks of whole messages, each at most `max_message` long.
    pub fn blocks(self, max_message: usize) -> Blocks {
        let pipe = self.progress.total().is_none();
        Blocks {
            path: self.path,
            reader: self.reader,
            framer: Framer::new(Delimiters::Lines, max_message),
            tail: Vec::new(),
            spare: None,
            offset: 0,
            number: 1,
            ended: false,
            failed: None,
            pipe,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Gzip,
    Zstd,
    Xz,
}

impl Compression {
    fn of(start: &[u8]) -> Option<Compression> {
        match start {
            // The method after the magic bytes is deflate in every gzip file.
            [0x1f, 0x8b, 8, ..] => Some(Compression::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Compression::Zstd),
            // A skippable frame may come first.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Compression::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Compression::Xz),
            _ => None,
        }
    }
}

/// The magic bytes of pcap (micro- and nanoseconds, both byte orders) and pcapng.
fn is_capture(start: &[u8]) -> bool {
    matches!(
        start,
        [0xa1, 0xb2, 0xc3, 0xd4, ..]
            | [0xd4, 0xc3, 0xb2, 0xa1, ..]
            | [0xa1, 0xb2, 0x3c, 0x4d, ..]
            | [0x4d, 0x3c, 0xb2, 0xa1, ..]
            | [0x0a, 0x0d, 0x0d, 0x0a, ..]
    )
}

/// Reads the first bytes and puts them back.
fn peek<R: Read>(mut reader: R) -> io::Result<(Vec<u8>, Peeked<R>)> {
    let mut start = Vec::new();
    reader.by_ref().take(MAGIC).read_to_end(&mut start)?;
    Ok((start.clone(), Cursor::new(start).chain(reader)))
}

/// A reader whose first bytes were looked at.
type Peeked<R> = io::Chain<Cursor<Vec<u8>>, R>;

/// The longest sequence of magic bytes.
const MAGIC: u64 = 6;

/// Counts what passes.
struct Counted<R> {
    reader: R,
    progress: Arc<Progress>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.progress.read.fetch_add(count as u64, Relaxed);
        Ok(count)
    }
}

/// Whole messages from one place of a log.
#[derive(Clone, Debug, Default)]
pub struct Block {
    bytes: Vec<u8>,
    /// Bytes in use; what is behind them keeps its memory for the next time.
    length: usize,
    messages: Vec<Entry>,
    /// Where the block begins in the decompressed file.
    pub first_offset: u64,
    /// The number of its first message, from 1.
    pub first_number: u64,
}

/// Where a message lies in its block.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    length: u32,
    truncated: bool,
}

/// One message of a [`Block`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockMessage<'a> {
    /// The bytes, without framing.
    pub bytes: &'a [u8],
    /// Where it begins in the decompressed file.
    pub offset: u64,
    /// Its number in the file, from 1; the number of the line where each message is one.
    pub number: u64,
    /// It was longer than the limit, or the file ended inside it.
    pub truncated: bool,
}

impl Block {
    /// Makes room for more bytes behind those in use. Memory is cleared once, when it is new.
    fn make_room(&mut self, more: usize) {
        if self.bytes.len() < self.length + more {
            self.bytes.resize(self.length + more, 0);
        }
    }

    /// Its messages, in the order of the file.
    pub fn messages(&self) -> impl Iterator<Item = BlockMessage<'_>> + Clone {
        self.messages.iter().zip(self.first_number..).map(|(entry, number)| {
            let start = entry.start as usize;
            BlockMessage {
                bytes: self.bytes.get(start..start + entry.length as usize).unwrap_or_default(),
                offset: self.first_offset + u64::from(entry.start),
                number,
                truncated: entry.truncated,
            }
        })
    }

    /// How many messages it holds.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// The bytes that it covers in the decompressed file.
    pub fn size(&self) -> usize {
        self.length
    }
}

/// The blocks of a log, in order.
pub struct Blocks {
    path: PathBuf,
    reader: Box<dyn Read + Send>,
    framer: Framer,
    /// What the last block left: the unfinished message.
    tail: Vec<u8>,
    /// The memory of a block that is done with.
    spare: Option<Block>,
    /// Where the tail begins in the decompressed file.
    offset: u64,
    number: u64,
    ended: bool,
    failed: Option<io::Error>,
    pipe: bool,
}

/// Bytes read for a block: large enough that handing it to a thread costs nothing beside the work in
/// it, small enough that a block stays in the cache of the core that works on it.
const BLOCK: usize = 256 * 1024;

/// A decompressor gives its bytes in small pieces; reading goes on until there are this many.
///
/// A pipe is not waited for: it must not hold back messages that are complete.
const ENOUGH: usize = 64 * 1024;

impl Blocks {
    /// The next block, which holds at least one message; none at the end.
    ///
    /// What could be read before an error is handed out before it; nothing follows the error.
    pub fn read(&mut self) -> Result<Option<Block>, FileError> {
        let mut block = self.spare.take().unwrap_or_default();
        block.messages.clear();
        block.length = self.tail.len();
        block.make_room(0);
        if let Some(start) = block.bytes.get_mut(..self.tail.len()) {
            start.copy_from_slice(&self.tail);
        }
        self.tail.clear();
        block.first_offset = self.offset;
        block.first_number = self.number;
        let mut done = 0;
        loop {
            done = self.frame(&mut block, done);
            if !block.is_empty() || self.ended {
                break;
            }
            // Empty messages, or bytes of one whose head was handed out; they need not be kept.
            block.bytes.copy_within(done..block.length, 0);
            block.length -= done;
            block.first_offset += done as u64;
            done = 0;
            self.fill(&mut block);
        }
        self.tail.extend_from_slice(block.bytes.get(done..block.length).unwrap_or_default());
        block.length = done;
        self.offset = block.first_offset + done as u64;
        self.number += block.len() as u64;
        if !block.is_empty() {
            return Ok(Some(block));
        }
        match self.failed.take() {
            Some(source) => Err(FileError { path: self.path.clone(), source }),
            None => Ok(None),
        }
    }

    /// Takes back a block that is done with, for its memory.
    pub fn recycle(&mut self, block: Block) {
        self.spare = Some(block);
    }

    /// Reads behind what is there; at the end, or after an error, nothing will follow.
    fn fill(&mut self, block: &mut Block) {
        let enough = block.length + ENOUGH;
        block.make_room(BLOCK);
        while block.length < enough {
            match self.reader.read(block.bytes.get_mut(block.length..).unwrap_or_default()) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(count) => block.length += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => {
                    self.ended = true;
                    self.failed = Some(error);
                    break;
                }
            }
            if self.pipe {
                break;
            }
        }
    }

    /// Finds the messages; returns how many bytes are done with.
    fn frame(&mut self, block: &mut Block, mut at: usize) -> usize {
        loop {
            let rest = block.bytes.get(at..block.length).unwrap_or_default();
            let step = self.framer.next(rest, self.ended);
            let Some(frame) = step.frame else { return at + step.consumed };
            let start = at + step.start;
            at += step.consumed;
            block.messages.push(Entry {
                // A block is a few megabytes at most.
                start: start as u32,
                length: frame.bytes.len() as u32,
                truncated: frame.truncated,
            });
            if frame.truncated && !self.ended {
                // What is skipped now lies between two blocks, so that offsets stay within 32 bits.
                return at;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).unwrap()
    }

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    type Found = (String, u64, u64, bool);

    fn read(blocks: &mut Blocks) -> (Vec<Found>, Option<FileError>) {
        let mut found = Vec::new();
        loop {
            match blocks.read() {
                Ok(Some(block)) => {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    found.extend(block.messages().map(|m| (text(m.bytes), m.offset, m.number, m.truncated)));
                    blocks.recycle(block);
                }
                Ok(None) => return (found, None),
                Err(error) => return (found, Some(error)),
            }
        }
    }

    fn messages(bytes: Vec<u8>, max_message: usize) -> Vec<Found> {
        let (found, error) = read(&mut from_bytes("test", bytes).unwrap().blocks(max_message));
        assert!(error.is_none(), "{error:?}");
        found
    }

    fn lines(count: usize) -> String {
        (0..count).map(|line| format!("<13>Oct 11 22:14:15 host app: line {line}\n")).collect()
    }

    #[test]
    fn every_compression_gives_the_same_messages() {
        // Several blocks of each, and two members.
        let (first, second) = (lines(60_000), lines(10));
        let plain = [first.as_bytes(), second.as_bytes()].concat();
        let expected: Vec<Found> = String::from_utf8(plain.clone())
            .unwrap()
            .split_inclusive('\n')
            .scan(0, |offset, line| {
                let start = *offset;
                *offset += line.len() as u64;
                Some((line.trim_end().to_owned(), start))
            })
            .zip(1..)
            .map(|((line, offset), number)| (line, offset, number, false))
            .collect();
        assert!(plain.len() > 2 * BLOCK);
        for (name, compress) in
            [("plain", <[u8]>::to_vec as fn(&[u8]) -> Vec<u8>), ("gzip", gzip), ("zstd", zstd), ("xz", xz)]
        {
            let file = [compress(first.as_bytes()), compress(second.as_bytes())].concat();
            let source = from_bytes(name, file.clone()).unwrap();
            assert_eq!(source.kind, Kind::Log);
            let progress = Arc::clone(&source.progress);
            let mut blocks = source.blocks(1 << 16);
            let (found, error) = read(&mut blocks);
            assert!(error.is_none(), "{name}: {error:?}");
            assert!(found == expected, "{name}: {} messages", found.len());
            assert_eq!(progress.read(), progress.total().unwrap());
        }
    }

    #[test]
    fn offsets_and_numbers_count_messages_of_any_framing() {
        let found = messages(b"\n<1>a\n6 <1>b\nb\n<1>c\0\r\n\n<1>d".to_vec(), 64);
        let expected = [("<1>a", 1, 1), ("<1>b\nb", 8, 2), ("<1>c\0", 15, 3), ("<1>d", 23, 4)];
        assert_eq!(found, expected.map(|(text, offset, number)| (text.to_owned(), offset, number, false)));
    }

    #[test]
    fn long_messages_keep_their_head_and_what_follows_its_place() {
        let long = "x".repeat(3 * BLOCK);
        let input = format!("<1>a\n<1>{long}\n<1>b\n{} <1>{long}<1>c\n", long.len() + 3);
        let found = messages(input.clone().into_bytes(), 8);
        let expected =
            [("<1>a", false), ("<1>xxxxx", true), ("<1>b", false), ("<1>xxxxx", true), ("<1>c", false)];
        for ((text, offset, number, cut), (index, (expected, truncated))) in
            found.iter().zip(expected.iter().enumerate())
        {
            assert_eq!((text.as_str(), *cut, *number), (*expected, *truncated, index as u64 + 1));
            assert!(input[*offset as usize..].starts_with(expected));
        }
        assert_eq!(found.len(), expected.len());
    }

    #[test]
    fn captures_are_known_by_their_content() {
        for (magic, kind) in [
            (&b"\xa1\xb2\xc3\xd4...."[..], Kind::Capture),
            (b"\xd4\xc3\xb2\xa1....", Kind::Capture),
            (b"\xa1\xb2\x3c\x4d....", Kind::Capture),
            (b"\x4d\x3c\xb2\xa1....", Kind::Capture),
            (b"\x0a\x0d\x0d\x0a....", Kind::Capture),
            (b"\n\r\n", Kind::Log),
            (b"", Kind::Log),
            (b"<1>", Kind::Log),
        ] {
            assert_eq!(from_bytes("test", magic.to_vec()).unwrap().kind, kind);
            let mut bytes = Vec::new();
            let source = from_bytes("test", gzip(magic)).unwrap();
            assert_eq!(source.kind, kind);
            source.into_reader().read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, magic);
        }
    }

    #[test]
    fn errors_name_the_file_and_come_after_what_was_read() {
        let text = lines(60_000);
        for (name, mut file) in
            [("a.gz", gzip(text.as_bytes())), ("a.zst", zstd(text.as_bytes())), ("a.xz", xz(text.as_bytes()))]
        {
            file.truncate(file.len() / 2);
            let mut blocks = from_bytes(name, file).unwrap().blocks(1 << 16);
            let (found, error) = read(&mut blocks);
            assert!(error.unwrap().to_string().starts_with(&format!("{name}: ")));
            assert!(found.len() > 10_000, "{name}: {}", found.len());
            assert!(matches!(blocks.read(), Ok(None)));
        }
        let error = open(Path::new("/nonexistent/x.log")).err().unwrap();
        assert!(error.to_string().starts_with("/nonexistent/x.log: No such file"));
        let directory = tempfile::tempdir().unwrap();
        assert!(open(directory.path()).err().unwrap().to_string().contains("s a directory"));
    }

    #[test]
    fn files_have_a_time_and_a_size() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        std::fs::write(&path, "<1>a\n<1>b").unwrap();
        let source = open(&path).unwrap();
        assert!(source.modified.unwrap() > 0);
        assert_eq!(source.progress.total(), Some(9));
        assert_eq!(read(&mut source.blocks(64)).0.len(), 2);
    }
}
