//! Files for `scan` and `decode`: logs on all cores in the order of the input, captures on one.

use super::{As, Exit, TimeArgs, terminal};
use crate::decode::flow::{DecodeError, Decoder, Record};
use crate::decode::syslog::Reference;
use crate::input::file::{self, Block, FileError, Kind, Progress, Source};
use crate::input::pcap::{Capture, CaptureStats};
use crate::input::{Format, MAX_MESSAGE, Message, now};
use anyhow::Context;
use crossbeam_channel::{Receiver, bounded};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use std::io::{IsTerminal, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
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
    out: &mut dyn Write,
) -> anyhow::Result<(Totals, Vec<J::Worker>)> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("threads")?;
    let mut session = Session {
        job,
        time,
        kind,
        threads: pool.current_num_threads(),
        workers: Mutex::default(),
        flows: Decoder::default(),
        read: Totals::default(),
    };
    for (index, path) in (0u16..).zip(inputs) {
        let outcome = file::open(path)
            .map_err(anyhow::Error::from)
            .and_then(|source| session.source(source, index, &pool, out));
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
    fn source(
        &mut self,
        source: Source,
        input: u16,
        pool: &rayon::ThreadPool,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let bar = bar(&source);
        let reference = self.time.reference(source.modified.unwrap_or_else(now));
        let result = match source.kind {
            Kind::Capture => self.capture(source, input, &reference, out),
            Kind::Log if self.kind == As::Flow => self.datagram(source, input, &reference, out),
            Kind::Log => self.log(source, input, &reference, pool, out),
        };
        bar.finish();
        result
    }

    /// Blocks go to all threads as they come; a pipe is never waited for to fill a round.
    fn log(
        &mut self,
        source: Source,
        input: u16,
        reference: &Reference,
        pool: &rayon::ThreadPool,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let path = source.path.clone();
        let (sender, receiver) = bounded::<Result<Block, FileError>>(2 * self.threads);
        std::thread::scope(|scope| {
            let mut blocks = source.blocks(MAX_MESSAGE);
            scope.spawn(move || {
                loop {
                    let block = match blocks.read() {
                        Ok(None) => break,
                        Ok(Some(block)) => Ok(block),
                        Err(error) => Err(error),
                    };
                    // Nobody listens once standard output is closed.
                    if sender.send(block).is_err() {
                        break;
                    }
                }
            });
            self.blocks(&path, input, &receiver, reference, pool, out)
        })
    }

    fn blocks(
        &mut self,
        path: &Path,
        input: u16,
        blocks: &Receiver<Result<Block, FileError>>,
        reference: &Reference,
        pool: &rayon::ThreadPool,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let (job, workers) = (self.job, &self.workers);
        while let Ok(first) = blocks.recv() {
            let mut failure = None;
            let mut round = Vec::new();
            for block in std::iter::once(first).chain(blocks.try_iter().take(2 * self.threads - 1)) {
                match block {
                    Ok(block) => round.push(block),
                    Err(error) => failure = Some(error),
                }
            }
            let printed: Vec<Vec<u8>> = pool.install(|| {
                round.par_iter().map(|block| in_block(job, workers, block, path, input, reference)).collect()
            });
            for text in printed {
                out.write_all(&text)?;
            }
            out.flush()?;
            self.read.messages += round.iter().map(|block| block.len() as u64).sum::<u64>();
            self.read.bytes += round.iter().map(|block| block.size() as u64).sum::<u64>();
            if let Some(error) = failure {
                return Err(error.into());
            }
        }
        Ok(())
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
                if let Err(error) = decoded {
                    self.job.undecodable(&mut worker, message, error, place, time, out);
                }
            }
        }
        give(&self.workers, worker);
    }
}

fn in_block<J: Job>(
    job: &J,
    workers: &Mutex<Vec<J::Worker>>,
    block: &Block,
    path: &Path,
    input: u16,
    reference: &Reference,
) -> Vec<u8> {
    let mut worker = take(workers, job);
    let mut out = Vec::new();
    for message in block.messages() {
        let place = Place { path, input, offset: Some(message.offset), number: message.number, record: 0 };
        let message = Message {
            bytes: message.bytes,
            peer: None,
            received: reference.now,
            truncated: message.truncated,
        };
        job.syslog(&mut worker, &message, place, reference, &mut out);
    }
    give(workers, worker);
    out
}

fn take<J: Job>(workers: &Mutex<Vec<J::Worker>>, job: &J) -> J::Worker {
    let free = workers.lock().unwrap_or_else(PoisonError::into_inner).pop();
    free.unwrap_or_else(|| job.worker())
}

fn give<W>(workers: &Mutex<Vec<W>>, worker: W) {
    workers.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
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
    if !std::io::stderr().is_terminal() || std::io::stdout().is_terminal() {
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
