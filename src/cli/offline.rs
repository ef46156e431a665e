//! Files for `scan` and `decode`: logs on all cores in the order of the input, captures on one.

use super::{As, Exit, TimeArgs, terminal};
use crate::decode::flow::{DecodeError, Decoder, Losses, Record};
use crate::decode::syslog::Reference;
use crate::input::file::{self, Block, Blocks, FileError, Kind, Progress, Source};
use crate::input::pcap::{Capture, CaptureStats};
use crate::input::{Format, GROUP, MAX_MESSAGE, Message, now};
use crossbeam_channel::bounded;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The exporter of a datagram that lies in a file by itself.
const NO_EXPORTER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// Where a message stands.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The file as it was named.
    pub path: &'a Path,
    /// Its position among the inputs.
    pub input: u16,
    /// Byte offset in the decompressed file, where it is a log.
    pub offset: Option<u64>,
    /// Its number in the file, from 1.
    pub number: u64,
    /// The number of the flow record in it, from 1; 0 for what has none.
    pub record: u64,
}

/// What a verb does with each message.
pub trait Job: Sync {
    /// The reused memory of one thread, and what it counted.
    type Worker: Send;

    /// A worker that has seen nothing.
    fn worker(&self) -> Self::Worker;

    /// Which of up to [`GROUP`] syslog messages are worth taking: bit n for message n.
    fn sift<'m>(&self, _worker: &mut Self::Worker, _messages: impl Iterator<Item = &'m [u8]>) -> u32 {
        u32::MAX
    }

    /// Takes a syslog message; what is to be printed goes to `out`.
    fn syslog(
        &self,
        worker: &mut Self::Worker,
        message: &Message<'_>,
        place: Place<'_>,
        time: &Reference,
        out: &mut Vec<u8>,
    );

    /// Takes a flow record.
    fn record(
        &self,
        worker: &mut Self::Worker,
        message: &Message<'_>,
        record: &Record<'_>,
        place: Place<'_>,
        out: &mut Vec<u8>,
    );

    /// Takes a datagram that is no flow datagram though it was taken for one.
    fn undecodable(
        &self,
        worker: &mut Self::Worker,
        message: &Message<'_>,
        error: DecodeError,
        place: Place<'_>,
        time: &Reference,
        out: &mut Vec<u8>,
    );

    /// Takes a flow datagram of which a part could not be read, after the records of the rest.
    fn damaged(
        &self,
        _worker: &mut Self::Worker,
        _message: &Message<'_>,
        _losses: Losses,
        _place: Place<'_>,
        _out: &mut Vec<u8>,
    ) {
    }
}

/// What was read.
#[derive(Debug, Default)]
pub struct Totals {
    /// Messages and datagrams.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Inputs that could not be read to their end.
    pub failed: u64,
    /// What captures held beside messages.
    pub captures: CaptureStats,
}

/// Runs a job over the inputs and writes what it prints, in input order. Returns its workers.
pub fn run<J: Job>(
    job: &J,
    inputs: &[PathBuf],
    kind: As,
    time: &TimeArgs,
    threads: usize,
    out: &mut (dyn Write + Send),
) -> anyhow::Result<(Totals, Vec<J::Worker>)> {
    let mut session = Session {
        job,
        time,
        kind,
        threads,
        workers: Mutex::default(),
        flows: Decoder::default(),
        read: Totals::default(),
    };
    for (index, path) in (0u16..).zip(inputs) {
        let outcome = file::open(path)
            .map_err(anyhow::Error::from)
            .and_then(|source| session.source(source, index, out));
        if let Err(error) = outcome {
            if error.downcast_ref::<FileError>().is_none() {
                return Err(error.context(Exit(2)));
            }
            session.read.failed += 1;
            terminal::error(&error);
        }
    }
    Ok((session.read, session.workers.into_inner().unwrap_or_else(PoisonError::into_inner)))
}

struct Session<'a, J: Job> {
    job: &'a J,
    time: &'a TimeArgs,
    kind: As,
    threads: usize,
    workers: Mutex<Vec<J::Worker>>,
    flows: Decoder,
    read: Totals,
}

impl<J: Job> Session<'_, J> {
    fn source(&mut self, source: Source, input: u16, out: &mut (dyn Write + Send)) -> anyhow::Result<()> {
        let bar = bar(&source);
        let reference = self.time.reference(source.modified.unwrap_or_else(now));
        let result = match source.kind {
            Kind::Capture => self.capture(source, input, &reference, out),
            Kind::Log if self.kind == As::Flow => self.datagram(source, input, &reference, out),
            Kind::Log => self.log(source, input, &reference, out),
        };
        bar.finish();
        result
    }

    /// Each thread reads a block, works on it, and hands in what it prints, which is put in order. A
    /// pipe is never waited for while something is to be printed.
    fn log(
        &mut self,
        source: Source,
        input: u16,
        reference: &Reference,
        out: &mut (dyn Write + Send),
    ) -> anyhow::Result<()> {
        let path = source.path.clone();
        let queue = Mutex::new(Queue { blocks: source.blocks(MAX_MESSAGE), taken: 0, stopped: None });
        let printer = Printer {
            turn: Mutex::new(Turn { out, next: 0, early: BTreeMap::new(), failed: false }),
            moved: Condvar::new(),
        };
        let read = Mutex::new((0, 0));
        let (job, workers, threads) = (self.job, &self.workers, self.threads);
        std::thread::scope(|scope| {
            let work = || {
                let mut worker = take(workers, job);
                let (mut messages, mut bytes) = (0, 0);
                let mut block = Block::default();
                while let Some(number) = next(&queue, &mut block) {
                    let turn = Missed { printer: &printer, number };
                    let text = in_block(job, &mut worker, &block, &path, input, reference);
                    std::mem::forget(turn);
                    messages += block.len() as u64;
                    bytes += block.size() as u64;
                    if let Err(error) = printer.print(number, text, threads as u64) {
                        lock(&queue).stop(error.into());
                    }
                }
                give(workers, worker);
                let mut read = lock(&read);
                (read.0, read.1) = (read.0 + messages, read.1 + bytes);
            };
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        let (messages, bytes) = *lock(&read);
        self.read.messages += messages;
        self.read.bytes += bytes;
        let stopped = lock(&queue).stopped.take();
        stopped.map_or(Ok(()), Err)
    }

    fn capture(
        &mut self,
        source: Source,
        input: u16,
        reference: &Reference,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let path = source.path.clone();
        let mut capture = Capture::new(source)?;
        let mut printed = Vec::new();
        let mut number = 0;
        loop {
            let more = capture.read(&mut |datagram| {
                number += 1;
                let place = Place { path: &path, input, offset: None, number, record: 0 };
                let format = match self.kind {
                    As::Auto => datagram.format,
                    As::Flow => Format::Flow,
                    As::Syslog => Format::Syslog,
                };
                let time = match self.time.reference_time {
                    Some(_) => reference.clone(),
                    None => self.time.reference(datagram.time),
                };
                self.message(&datagram.message(), format, place, &time, &mut printed);
            });
            out.write_all(&printed)?;
            printed.clear();
            if !more? {
                break;
            }
        }
        add(&mut self.read.captures, capture.stats());
        Ok(())
    }

    /// A file that is one flow datagram.
    fn datagram(
        &mut self,
        source: Source,
        input: u16,
        reference: &Reference,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let path = source.path.clone();
        let mut bytes = Vec::new();
        source
            .into_reader()
            .take(MAX_MESSAGE as u64)
            .read_to_end(&mut bytes)
            .map_err(|error| FileError { path: path.clone(), source: error })?;
        let mut printed = Vec::new();
        let message =
            Message { bytes: &bytes, peer: Some(NO_EXPORTER), received: reference.now, truncated: false };
        let place = Place { path: &path, input, offset: None, number: 1, record: 0 };
        self.message(&message, Format::Flow, place, reference, &mut printed);
        out.write_all(&printed)?;
        Ok(())
    }

    fn message(
        &mut self,
        message: &Message<'_>,
        format: Format,
        place: Place<'_>,
        time: &Reference,
        out: &mut Vec<u8>,
    ) {
        self.read.messages += 1;
        self.read.bytes += message.bytes.len() as u64;
        let mut worker = take(&self.workers, self.job);
        match format {
            Format::Syslog => self.job.syslog(&mut worker, message, place, time, out),
            Format::Flow => {
                let exporter = message.peer.unwrap_or(NO_EXPORTER);
                let mut record_number = 0;
                let decoded = self.flows.decode(message.bytes, exporter, message.received, &mut |record| {
                    record_number += 1;
                    let place = Place { record: record_number, ..place };
                    self.job.record(&mut worker, message, &record, place, out);
                });
                match decoded {
                    Err(error) => {
                        self.job.undecodable(&mut worker, message, error.reason, place, time, out);
                    }
                    Ok(datagram) if !datagram.losses.is_none() => {
                        self.job.damaged(&mut worker, message, datagram.losses, place, out);
                    }
                    Ok(_) => {}
                }
            }
        }
        give(&self.workers, worker);
    }
}

/// The blocks of a log that nobody has taken.
struct Queue {
    blocks: Blocks,
    taken: u64,
    /// Why nothing more is read.
    stopped: Option<anyhow::Error>,
}

impl Queue {
    /// Reads the next block into the memory of one that is done with; its number.
    fn next(&mut self, block: &mut Block) -> Option<u64> {
        if self.stopped.is_some() {
            return None;
        }
        self.blocks.recycle(std::mem::take(block));
        match self.blocks.read() {
            Ok(Some(read)) => *block = read,
            Ok(None) => return None,
            Err(error) => {
                self.stop(error.into());
                return None;
            }
        }
        self.taken += 1;
        Some(self.taken - 1)
    }

    fn stop(&mut self, error: anyhow::Error) {
        self.stopped.get_or_insert(error);
    }
}

/// Prints what threads hand in, in the order of blocks.
struct Printer<'a> {
    turn: Mutex<Turn<'a>>,
    moved: Condvar,
}

struct Turn<'a> {
    out: &'a mut (dyn Write + Send),
    /// The block whose text comes next.
    next: u64,
    /// What was ready before its turn.
    early: BTreeMap<u64, Vec<u8>>,
    /// Writing failed once: after a line cut short nothing may follow.
    failed: bool,
}

impl Printer<'_> {
    /// Takes the text of a block; waits while more than `ahead` blocks before it are missing.
    fn print(&self, number: u64, text: Vec<u8>, ahead: u64) -> io::Result<()> {
        let turn = lock(&self.turn);
        let mut turn = self
            .moved
            .wait_while(turn, |turn| number > turn.next.saturating_add(ahead))
            .unwrap_or_else(PoisonError::into_inner);
        turn.early.insert(number, text);
        let mut result = Ok(());
        let Turn { out, next, early, failed } = &mut *turn;
        while let Some(text) = early.remove(next) {
            *next += 1;
            // Nobody may wait for a turn that never comes, also where nothing can be written any more.
            if !text.is_empty() && !*failed {
                result = out.write_all(&text).and_then(|()| out.flush());
                *failed = result.is_err();
            }
        }
        self.moved.notify_all();
        result
    }
}

/// Lets the others go on where the work on a block panicked.
struct Missed<'a, 'b> {
    printer: &'a Printer<'b>,
    number: u64,
}

impl Drop for Missed<'_, '_> {
    fn drop(&mut self) {
        self.printer.print(self.number, Vec::new(), u64::MAX).ok();
    }
}

fn next(queue: &Mutex<Queue>, block: &mut Block) -> Option<u64> {
    lock(queue).next(block)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn in_block<J: Job>(
    job: &J,
    worker: &mut J::Worker,
    block: &Block,
    path: &Path,
    input: u16,
    reference: &Reference,
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = block.messages().peekable();
    while rest.peek().is_some() {
        let worth = job.sift(worker, rest.clone().take(GROUP).map(|message| message.bytes));
        for (number, message) in rest.by_ref().take(GROUP).enumerate() {
            if worth >> number & 1 == 0 {
                continue;
            }
            let place =
                Place { path, input, offset: Some(message.offset), number: message.number, record: 0 };
            let message = Message {
                bytes: message.bytes,
                peer: None,
                received: reference.now,
                truncated: message.truncated,
            };
            job.syslog(worker, &message, place, reference, &mut out);
        }
    }
    out
}

fn take<J: Job>(workers: &Mutex<Vec<J::Worker>>, job: &J) -> J::Worker {
    let free = lock(workers).pop();
    free.unwrap_or_else(|| job.worker())
}

fn give<W>(workers: &Mutex<Vec<W>>, worker: W) {
    lock(workers).push(worker);
}

fn add(sum: &mut CaptureStats, other: CaptureStats) {
    sum.packets += other.packets;
    sum.datagrams += other.datagrams;
    sum.stream_messages += other.stream_messages;
    sum.truncated += other.truncated;
    sum.other += other.other;
    sum.undecodable += other.undecodable;
    sum.incomplete += other.incomplete;
    sum.gaps += other.gaps;
}

/// A progress bar on a terminal, nothing elsewhere.
struct Bar {
    stop: Option<(crossbeam_channel::Sender<()>, std::thread::JoinHandle<()>)>,
}

/// How often the bar moves.
const FRAME: Duration = Duration::from_millis(100);

fn bar(source: &Source) -> Bar {
    let Some(total) = source.progress.total() else { return Bar { stop: None } };
    if !io::stderr().is_terminal() || io::stdout().is_terminal() {
        return Bar { stop: None };
    }
    let progress: Arc<Progress> = source.progress.clone();
    let name = terminal::escape(&source.path.display().to_string());
    let (stop, stopped) = bounded::<()>(0);
    let thread = std::thread::spawn(move || {
        let bar = ProgressBar::new(total);
        if let Ok(style) =
            ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {binary_bytes_per_sec} {eta}")
        {
            bar.set_style(style);
        }
        bar.set_message(name);
        while stopped.recv_timeout(FRAME) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            bar.set_position(progress.read().min(total));
        }
        bar.finish_and_clear();
    });
    Bar { stop: Some((stop, thread)) }
}

impl Bar {
    fn finish(self) {
        if let Some((stop, thread)) = self.stop {
            drop(stop);
            thread.join().ok();
        }
    }
}

/// Threads to use where none were asked for.
pub fn threads(asked: Option<usize>) -> usize {
    asked
        .filter(|count| *count > 0)
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}
