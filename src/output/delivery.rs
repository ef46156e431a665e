//! Runs the outputs: one thread for each reads the spool, releases, delivers, tries again.
//!
//! What an output may see whole, and writes as ECS, goes from the spool to it as it is; the rest is
//! read, released and written anew. What was delivered, withheld or set aside is counted once,
//! however often it is delivered again.
//!
//! [`Delivery`] is what the alert thread holds. An output's thread does nothing that another could
//! wait for; what it counts lies in its [`OutputStats`].

use super::heartbeat::{Pulse, PulseStats};
use super::release::{Release, Withheld, leaves_whole, release};
use super::spool::{
    Limits, MAX_HELD_BYTES, MAX_PAYLOAD, Reader, Record, Recovery, Shared, Spool, SpoolStatus, file_name,
};
use super::{DeliveryError, Destination, File, Http, Kafka, Line, Nats, Output, Remote, Stdout, Syslog};
use crate::alert::{Agent, Alert, Encoding, terminal_safe};
use crate::input::{Nanos, Time, time};
use arc_swap::ArcSwap;
use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Alerts handed to an output at once.
const BATCH: usize = 256;
/// Bytes of alerts in memory for each output.
const BATCH_BYTES: usize = 4 << 20;
/// First pause after an error.
const BACKOFF: Duration = Duration::from_millis(100);
/// Shortest pause, however the dice fall.
const LEAST_BACKOFF: Duration = Duration::from_millis(20);
/// Longest pause: what an operator waits after repairing a receiver.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Longest pause that a receiver may ask for.
const MAX_AFTER: Duration = Duration::from_secs(3600);
/// An idle thread looks up this often, to keep its figures fresh.
const IDLE: Duration = Duration::from_secs(1);
/// A stopping output that cannot make sure tries so often; what it delivered comes again at the start.
const LAST_TRIES: u32 = 3;
/// Bytes of alerts set aside for each output; beyond, they are counted, and logged by their ids.
const MAX_REJECTED_BYTES: u64 = 64 << 20;
/// A receiver that refuses every alert is logged this often.
const TELL_REJECTED: Duration = Duration::from_secs(60);
/// How often it is logged that a limit of the spool drops alerts; the metrics count each.
const DROPS_TOLD: Duration = Duration::from_secs(60);

/// One `[[output]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputSpec {
    /// Its name, the metric label `output`.
    pub name: String,
    /// Where it writes.
    pub destination: Destination,
    /// How it writes.
    pub encoding: Encoding,
    /// What it may see.
    pub release: Release,
    /// What a network output needs beside its address.
    pub remote: Remote,
    /// How often it gets a heartbeat, if it asks for them.
    pub heartbeat: Option<Duration>,
}

impl OutputSpec {
    /// The output; a network output opens nothing before there is something to deliver.
    fn open(&self) -> io::Result<Box<dyn Output>> {
        let (encoding, remote) = (self.encoding, || self.remote.clone());
        Ok(match &self.destination {
            Destination::Stdout => Box::new(Stdout::new(encoding)?),
            Destination::File(path) => Box::new(File::new(path.clone(), encoding)),
            Destination::Http(url) => Box::new(Http::new(url, encoding, remote())),
            Destination::Syslog { tls, host, port } => {
                Box::new(Syslog::new(host, *port, *tls, encoding, remote()))
            }
            Destination::Nats { hosts, subject } => Box::new(Nats::new(hosts, subject, encoding, remote())),
            Destination::Kafka { hosts, topic } => Box::new(Kafka::new(hosts, topic, encoding, remote())),
        })
    }
}

/// What delivery needs beside its outputs.
pub struct Settings {
    /// How much the spool may keep.
    pub limits: Limits,
    /// This sensor, as heartbeats name it.
    pub agent: Agent,
    /// What tells the time.
    pub clock: Clock,
}

/// What tells the time; a parameter, so that tests can set it back and forth.
pub type Clock = Arc<dyn Fn() -> Time + Send + Sync>;

impl From<Limits> for Settings {
    /// A sensor without a name.
    fn from(limits: Limits) -> Settings {
        let agent = Agent { name: String::new(), version: env!("CARGO_PKG_VERSION").to_owned() };
        Settings { limits, agent, clock: Arc::new(time) }
    }
}

/// What one output has done; read by the metrics at any time.
#[derive(Debug, Default)]
pub struct OutputStats {
    /// `roje_alerts_delivered_total`
    pub delivered: AtomicU64,
    /// `roje_alerts_rejected_total`
    pub rejected: AtomicU64,
    /// `roje_alerts_withheld_total{reason="tlp"}`
    pub withheld_tlp: AtomicU64,
    /// `roje_alerts_withheld_total{reason="sector"}`
    pub withheld_sector: AtomicU64,
    /// `roje_delivery_errors_total`
    pub errors: AtomicU64,
    /// `roje_alerts_pending`
    pub pending: AtomicU64,
    /// `roje_spool_bytes`
    pub spool_bytes: AtomicU64,
    /// `roje_spool_dropped_total`
    pub dropped: AtomicU64,
    /// `roje_alerts_unspooled_total`
    pub unspooled: AtomicU64,
    /// Its heartbeats.
    pub pulse: PulseStats,
    /// When the oldest pending alert was appended; 0 when none is.
    oldest: AtomicI64,
}

impl Recovery {
    /// Logs what an operator should know of it.
    fn tell(&self) {
        if self.torn > 0 {
            tracing::info!("spool: {} bytes of an unfinished alert were cut off", self.torn);
        }
        for path in &self.damaged {
            tracing::error!(
                "spool: {} is damaged and was set aside; what checks in it is delivered",
                path.display()
            );
        }
        for problem in &self.problems {
            tracing::warn!("spool: {problem}");
        }
    }
}

impl OutputStats {
    /// Alerts withheld for a reason.
    pub fn withheld(&self, reason: Withheld) -> u64 {
        self.counter(reason).load(Ordering::Relaxed)
    }

    /// `roje_spool_oldest_seconds` at an instant.
    pub fn oldest_seconds(&self, now: Nanos) -> f64 {
        match self.oldest.load(Ordering::Relaxed) {
            0 => 0.0,
            oldest => now.saturating_sub(oldest).max(0) as f64 / 1e9,
        }
    }

    fn counter(&self, reason: Withheld) -> &AtomicU64 {
        match reason {
            Withheld::Tlp => &self.withheld_tlp,
            Withheld::Sector => &self.withheld_sector,
        }
    }

    fn refresh(&self, shared: &Shared, index: usize) {
        let backlog = shared.backlog(index);
        self.pending.store(backlog.pending, Ordering::Relaxed);
        self.spool_bytes.store(backlog.bytes, Ordering::Relaxed);
        self.dropped.store(backlog.dropped, Ordering::Relaxed);
        self.unspooled.store(backlog.unspooled, Ordering::Relaxed);
        if backlog.pending == 0 {
            self.oldest.store(0, Ordering::Relaxed);
        }
    }
}

/// What a stop left behind; it is on disk and will be delivered after the next start, but for
/// `lost`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Undelivered {
    /// Alerts pending, summed over outputs.
    pub pending: u64,
    /// Those of them that were never on disk.
    pub lost: u64,
}

/// The spool and the threads of the outputs.
pub struct Delivery {
    spool: Mutex<Spool>,
    shared: Arc<Shared>,
    stop: Arc<Stop>,
    threads: Mutex<Vec<Running>>,
    outputs: Vec<Handle>,
    degraded: AtomicBool,
    agent: Agent,
    clock: Clock,
}

/// What one output holds up, and why.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct OutputStatus {
    /// Its name.
    pub output: String,
    /// `ok`, or `retrying` while it fails.
    pub state: &'static str,
    /// The same in a sentence.
    pub reason: String,
    /// Alerts that wait for it.
    pub pending: u64,
    /// Those of them that are in memory only.
    pub held: u64,
    /// How long the oldest has waited.
    pub oldest_seconds: f64,
    /// Alerts that limits dropped before it had them.
    pub dropped: u64,
    /// What it failed with last, while it fails.
    pub error: Option<String>,
    /// How often it failed in a row.
    pub failures: u32,
    /// How long it has been failing.
    pub failing_seconds: Option<f64>,
    /// When it is tried next.
    pub next_attempt_seconds: Option<f64>,
}

struct Handle {
    name: String,
    release: Arc<ArcSwap<Release>>,
    stats: Arc<OutputStats>,
    control: Arc<Control>,
    pulse: Option<Mutex<Pulse>>,
    /// Dropped alerts of which the log told, and when.
    told: Mutex<(u64, Option<Instant>)>,
}

struct Running {
    thread: JoinHandle<()>,
    name: String,
}

#[derive(Default)]
struct Stop {
    asked: AtomicBool,
}

#[derive(Default)]
struct Control {
    reopen: AtomicBool,
    /// What it is failing with.
    trouble: Mutex<Option<Trouble>>,
}

struct Trouble {
    reason: String,
    since: Instant,
    failures: u32,
    next: Option<Instant>,
}

impl Delivery {
    /// Opens the spool under `data_dir`, says what it found there, and starts the threads.
    ///
    /// Fails if another process uses the spool, or if the system grants no thread.
    pub fn start(
        data_dir: &Path,
        outputs: Vec<OutputSpec>,
        settings: impl Into<Settings>,
    ) -> io::Result<Delivery> {
        let mut ready: Vec<(OutputSpec, Box<dyn Output>)> = Vec::new();
        for spec in outputs {
            let output = spec.open()?;
            ready.push((spec, output));
        }
        let (delivery, recovery) = Delivery::start_with(data_dir, ready, settings)?;
        recovery.tell();
        Ok(delivery)
    }

    /// The same with outputs that were made elsewhere.
    pub fn start_with(
        data_dir: &Path,
        outputs: Vec<(OutputSpec, Box<dyn Output>)>,
        settings: impl Into<Settings>,
    ) -> io::Result<(Delivery, Recovery)> {
        let Settings { limits, agent, clock } = settings.into();
        let names: Vec<String> = outputs.iter().map(|(spec, _)| spec.name.clone()).collect();
        let (spool, readers, recovery) = Spool::open(&data_dir.join("spool"), &names, limits)?;
        let shared = spool.shared();
        let stop = Arc::new(Stop::default());
        let (mut handles, mut threads) = (Vec::new(), Vec::new());
        for (index, ((spec, output), reader)) in outputs.into_iter().zip(readers).enumerate() {
            let stats = Arc::new(OutputStats::default());
            stats.refresh(&shared, index);
            let control = Arc::new(Control::default());
            let allowed = Arc::new(ArcSwap::from_pointee(spec.release.clone()));
            handles.push(Handle {
                name: spec.name.clone(),
                release: Arc::clone(&allowed),
                stats: Arc::clone(&stats),
                control: Arc::clone(&control),
                pulse: spec.heartbeat.map(|interval| Mutex::new(Pulse::new(interval))),
                told: Mutex::default(),
            });
            let rejected = data_dir.join("rejected").join(format!("{}.ndjson", file_name(&spec.name)));
            let courier = Courier {
                release: allowed,
                // The first cursor is saved at once: a sensor that is killed again and again gets on.
                settled: Instant::now().checked_sub(output.settles_every()).unwrap_or_else(Instant::now),
                output,
                reader,
                unsettled: 0,
                told: None,
                unreadable: 0,
                counted: 0,
                set_aside: HashSet::new(),
                started: clock().day,
                clock: Arc::clone(&clock),
                index,
                shared: Arc::clone(&shared),
                stats,
                control,
                stop: Arc::clone(&stop),
                rejected,
                name: spec.name.clone(),
            };
            let thread = thread::Builder::new().name(format!("output {}", spec.name));
            threads.push(Running { thread: thread.spawn(move || courier.run())?, name: spec.name });
        }
        let delivery = Delivery {
            spool: Mutex::new(spool),
            shared,
            stop,
            threads: Mutex::new(threads),
            outputs: handles,
            degraded: AtomicBool::new(false),
            agent,
            clock,
        };
        Ok((delivery, recovery))
    }

    /// Appends alerts: when it returns they are on disk. If the disk refuses them they are held in
    /// memory instead, still delivered, counted as unspooled, and the error is logged once.
    pub fn append(&self, alerts: &[Alert]) {
        let payloads = alerts.iter().map(|alert| alert.to_line_within(MAX_PAYLOAD)).collect();
        let result = self.spool().append(payloads, (self.clock)());
        for (index, handle) in self.outputs.iter().enumerate() {
            handle.stats.refresh(&self.shared, index);
        }
        let degraded = self.degraded.swap(result.is_err(), Ordering::Relaxed);
        match &result {
            Err(error) if !degraded => tracing::error!(
                "alerts cannot be written to the spool and are held in memory, up to {} MiB: {error}",
                MAX_HELD_BYTES >> 20
            ),
            Ok(()) if degraded => tracing::info!("alerts are written to the spool again"),
            _ => {}
        }
    }

    /// Drops what is too old and writes what is held; to be called about once a second.
    pub fn tick(&self) {
        let now = (self.clock)();
        self.spool().tick(now);
        let beat = |handle: &Handle| {
            let mut pulse = lock(handle.pulse.as_ref()?);
            pulse.beat(&self.agent, &handle.name, &handle.stats.pulse, now)
        };
        let beats: Vec<Alert> = self.outputs.iter().filter_map(beat).collect();
        if !beats.is_empty() {
            self.append(&beats);
        }
        for (index, handle) in self.outputs.iter().enumerate() {
            handle.stats.refresh(&self.shared, index);
            handle.tell_drops();
        }
    }

    /// Changes what an output may see; alerts that wait are judged by it when they are read.
    pub fn set_release(&self, output: &str, release: &Release) {
        for handle in self.outputs.iter().filter(|handle| handle.name == output) {
            handle.release.store(Arc::new(release.clone()));
        }
    }

    /// Makes every output open its destination anew.
    pub fn reopen(&self) {
        self.outputs.iter().for_each(|handle| handle.control.reopen.store(true, Ordering::Release));
        self.shared.wake();
    }

    /// The counters of each output, in the order of the configuration.
    pub fn stats(&self) -> Vec<(String, Arc<OutputStats>)> {
        self.outputs.iter().map(|handle| (handle.name.clone(), Arc::clone(&handle.stats))).collect()
    }

    /// What each output holds up, and why.
    pub fn status(&self) -> Vec<OutputStatus> {
        let now = (self.clock)().day;
        let each = self.outputs.iter().enumerate().map(|(index, handle)| {
            let backlog = self.shared.backlog(index);
            let pending = backlog.pending;
            let mut status = OutputStatus {
                output: handle.name.clone(),
                state: "ok",
                reason: format!("ok, {pending} pending"),
                pending,
                held: backlog.held,
                oldest_seconds: if pending == 0 { 0.0 } else { handle.stats.oldest_seconds(now) },
                dropped: backlog.dropped,
                error: None,
                failures: 0,
                failing_seconds: None,
                next_attempt_seconds: None,
            };
            if let Some(trouble) = &*lock(&handle.control.trouble) {
                status.state = "retrying";
                status.reason = format!("retrying, {pending} pending: {}", trouble.reason);
                status.error = Some(trouble.reason.clone());
                status.failures = trouble.failures;
                status.failing_seconds = Some(tenths(trouble.since.elapsed()));
                let left = |next: Instant| tenths(next.saturating_duration_since(Instant::now()));
                status.next_attempt_seconds = trouble.next.map(left);
            }
            status
        });
        each.collect()
    }

    /// Whether every alert that was appended is on disk.
    pub fn is_on_disk(&self) -> bool {
        let status = self.shared.status();
        status.refusal.is_none() && status.held_bytes == 0
    }

    /// What the spool holds, and whether the disk takes it.
    pub fn spool_status(&self) -> SpoolStatus {
        self.shared.status()
    }

    /// Lets the outputs deliver what is pending, until `deadline`; to be called once, after the
    /// last append. An output that fails stops at once, since its alerts are on disk, unless some
    /// are not. A thread that does not come back is left behind.
    pub fn stop(&self, deadline: Instant) -> Undelivered {
        self.spool().tick((self.clock)());
        self.stop.asked.store(true, Ordering::Release);
        let mut threads = std::mem::take(&mut *lock(&self.threads));
        while !threads.is_empty() && Instant::now() < deadline {
            // Again and again, since a thread may have looked just before it was asked.
            self.shared.wake();
            let (done, left): (Vec<_>, Vec<_>) =
                threads.into_iter().partition(|running| running.thread.is_finished());
            threads = left;
            for running in done {
                if running.thread.join().is_err() {
                    tracing::error!("output {} ended with a panic", running.name);
                }
            }
            if !threads.is_empty() {
                thread::sleep(Duration::from_millis(5));
            }
        }
        let mut left = Undelivered::default();
        for (index, handle) in self.outputs.iter().enumerate() {
            handle.stats.refresh(&self.shared, index);
            let backlog = self.shared.backlog(index);
            left.pending += backlog.pending;
            left.lost += backlog.held;
        }
        left
    }

    fn spool(&self) -> MutexGuard<'_, Spool> {
        lock(&self.spool)
    }
}

impl Handle {
    /// Logs that limits drop what this output has not taken, once in a while.
    fn tell_drops(&self) {
        let dropped = self.stats.dropped.load(Ordering::Relaxed);
        let mut told = lock(&self.told);
        if dropped > told.0 && told.1.is_none_or(|at| at.elapsed() >= DROPS_TOLD) {
            tracing::error!(
                output = self.name,
                "{} alerts are lost to this output: the spool is full or they are too old, and it has not taken them",
                dropped - told.0
            );
            *told = (dropped, Some(Instant::now()));
        }
    }
}

/// Seconds, to the tenth.
fn tenths(span: Duration) -> f64 {
    (span.as_secs_f64() * 10.0).round() / 10.0
}

/// The thread of one output.
struct Courier {
    name: String,
    release: Arc<ArcSwap<Release>>,
    output: Box<dyn Output>,
    reader: Reader,
    /// When the cursor was last saved.
    settled: Instant,
    /// How often in a row the output could not make sure of what it took.
    unsettled: u32,
    /// When a rejected alert was last logged.
    told: Option<Instant>,
    /// How often in a row the spool could not be read.
    unreadable: u32,
    /// Everything before it was counted: what is delivered again is not counted again.
    counted: u64,
    /// What was set aside since the output last made sure.
    set_aside: HashSet<u64>,
    /// When this run began, by the clock of the day.
    started: Nanos,
    clock: Clock,
    index: usize,
    shared: Arc<Shared>,
    stats: Arc<OutputStats>,
    control: Arc<Control>,
    stop: Arc<Stop>,
    rejected: PathBuf,
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Next {
    Go,
    /// From what was delivered for good.
    Again,
    Stop,
}

/// Alerts that an output may see, in the form in which it takes them.
enum Ready {
    Alerts(Vec<Alert>),
    Lines(Vec<Line>),
}

/// Some that follow each other in one form, with their numbers.
struct Run {
    ready: Ready,
    sequences: Vec<u64>,
}

impl Run {
    fn deliver(&self, from: usize, output: &mut dyn Output) -> Result<usize, DeliveryError> {
        match &self.ready {
            Ready::Alerts(alerts) => output.deliver(alerts.get(from..).unwrap_or_default()),
            Ready::Lines(lines) => output.deliver_lines(lines.get(from..).unwrap_or_default()),
        }
    }

    /// The alert at a place, if it was read.
    fn alert(&self, at: usize) -> Option<&Alert> {
        match &self.ready {
            Ready::Alerts(alerts) => alerts.get(at),
            Ready::Lines(_) => None,
        }
    }

    fn line(&self, at: usize) -> Option<Vec<u8>> {
        match &self.ready {
            Ready::Alerts(alerts) => alerts.get(at).map(Alert::to_line),
            Ready::Lines(lines) => lines.get(at).map(|line| line.to_vec()),
        }
    }
}

/// Adds what is ready; in a run of its own if it has another form than the one before.
fn push_alert(runs: &mut Vec<Run>, alert: Alert, sequence: u64) {
    match runs.last_mut() {
        Some(Run { ready: Ready::Alerts(alerts), sequences }) => {
            alerts.push(alert);
            sequences.push(sequence);
        }
        _ => runs.push(Run { ready: Ready::Alerts(vec![alert]), sequences: vec![sequence] }),
    }
}

/// The same for a line.
fn push_line(runs: &mut Vec<Run>, line: Line, sequence: u64) {
    match runs.last_mut() {
        Some(Run { ready: Ready::Lines(lines), sequences }) => {
            lines.push(line);
            sequences.push(sequence);
        }
        _ => runs.push(Run { ready: Ready::Lines(vec![line]), sequences: vec![sequence] }),
    }
}

impl Courier {
    fn run(mut self) {
        loop {
            let seen = self.reader.generation();
            let stopping = self.stopping();
            self.reopen_if_asked();
            let batch = match self.reader.read(BATCH, BATCH_BYTES) {
                Ok(batch) => batch,
                Err(error) => {
                    self.failed(&format!("the spool cannot be read: {error}"), self.unreadable);
                    if stopping {
                        self.settle(true);
                        return;
                    }
                    self.pause(self.unreadable, None);
                    self.unreadable += 1;
                    continue;
                }
            };
            let mut unreadable = std::mem::take(&mut self.unreadable);
            if unreadable > 0 {
                self.recovered(&mut unreadable);
            }
            let Some(oldest) = batch.first() else {
                let settled = self.settle(stopping) != Next::Stop;
                if stopping && (settled || self.unsettled >= LAST_TRIES) {
                    return;
                }
                self.stats.refresh(&self.shared, self.index);
                if settled {
                    self.reader.wait(seen, IDLE);
                }
                continue;
            };
            self.stats.oldest.store(oldest.appended, Ordering::Relaxed);
            // What is not on disk anywhere is not put off, and after a failure each batch is tried alone.
            let at_once = self.unsettled > 0 || self.reader.backlog().held > 0;
            match self.carry(&batch) {
                Next::Go => _ = self.settle(at_once),
                Next::Again => {}
                Next::Stop => {
                    self.settle(true);
                    return;
                }
            }
        }
    }

    /// Delivers one batch, however often it takes.
    fn carry(&mut self, batch: &[Record]) -> Next {
        let Some(end) = batch.last().map(|record| record.sequence + 1) else { return Next::Go };
        let allowed = self.release.load_full();
        let runs = self.prepare(batch, &allowed);
        for (index, run) in runs.iter().enumerate() {
            // Behind the last of a run is what was withheld before the next, too.
            let behind = runs.get(index + 1).and_then(|next| next.sequences.first());
            let next = self.carry_run(run, &allowed, behind.copied().unwrap_or(end));
            if next != Next::Go {
                return next;
            }
        }
        if runs.is_empty() {
            self.advance(end);
        }
        Next::Go
    }

    fn carry_run(&mut self, run: &Run, allowed: &Arc<Release>, end: u64) -> Next {
        let (mut done, mut failures) = (0, 0);
        while let Some(rest) = run.sequences.get(done..).filter(|rest| !rest.is_empty()) {
            // It may have waited for days, and what may leave was decided anew meanwhile.
            if !Arc::ptr_eq(allowed, &self.release.load()) {
                return Next::Again;
            }
            let result = match run.deliver(done, &mut *self.output) {
                Ok(0) => Err(DeliveryError::retry("nothing was taken")),
                other => other,
            };
            match result {
                Ok(count) => {
                    let count = count.min(rest.len());
                    self.count_delivered(run, done, count);
                    done += count;
                    self.recovered(&mut failures);
                }
                Err(DeliveryError::Reject { reason }) => {
                    if let (Some(line), Some(sequence)) = (run.line(done), rest.first()) {
                        self.reject(&reason, &line, *sequence);
                    }
                    done += 1;
                    self.recovered(&mut failures);
                }
                Err(DeliveryError::Lost { reason }) => {
                    self.lost(&reason);
                    return if self.stopping() && self.reader.backlog().held == 0 {
                        Next::Stop
                    } else {
                        Next::Again
                    };
                }
                Err(DeliveryError::Retry { reason, after }) => {
                    self.failed(&reason, failures);
                    if self.stopping() && self.reader.backlog().held == 0 {
                        return Next::Stop;
                    }
                    self.pause(failures, after);
                    failures += 1;
                    self.reopen_if_asked();
                    continue;
                }
            }
            // At the end of the run this is its end, what was withheld behind the last one included.
            self.advance(run.sequences.get(done).copied().unwrap_or(end));
        }
        Next::Go
    }

    /// Counts what arrived, unless it was counted when it arrived before.
    fn count_delivered(&self, run: &Run, from: usize, count: usize) {
        let mut alerts = 0;
        for (at, sequence) in run.sequences.iter().enumerate().skip(from).take(count) {
            match run.alert(at).filter(|alert| alert.heartbeat().is_some()) {
                Some(beat) => self.stats.pulse.arrived(beat, self.started, (self.clock)().day),
                None => alerts += u64::from(*sequence >= self.counted),
            }
        }
        self.stats.delivered.fetch_add(alerts, Ordering::Relaxed);
    }

    /// Lets go what may leave; the rest is counted.
    fn prepare(&mut self, batch: &[Record], allowed: &Release) -> Vec<Run> {
        let mut runs = Vec::new();
        let lines = self.output.takes_lines();
        for record in batch {
            let whole = if lines { leaves_whole(&record.payload, allowed) } else { None };
            let released = match whole {
                Some(Ok(())) => {
                    push_line(&mut runs, Arc::clone(&record.payload), record.sequence);
                    continue;
                }
                Some(Err(reason)) => Err(reason),
                None => match Alert::from_line(&record.payload) {
                    // It is for one output; the others pass it by.
                    Ok(alert) if alert.heartbeat().is_some_and(|(output, _)| output != self.name) => continue,
                    Ok(alert) => release(&alert, allowed),
                    Err(error) => {
                        self.reject(&error.to_string(), &record.payload, record.sequence);
                        continue;
                    }
                },
            };
            match released {
                Ok(alert) => push_alert(&mut runs, alert, record.sequence),
                Err(reason) if record.sequence >= self.counted => {
                    self.stats.counter(reason).fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => {}
            }
        }
        runs
    }

    fn advance(&mut self, next: u64) {
        self.counted = self.counted.max(next);
        self.reader.advance(next);
        self.stats.refresh(&self.shared, self.index);
    }

    /// Makes sure of what was delivered and saves the cursor, once in a while or at once if `now`.
    /// [`Next::Stop`] says that it was lost and, after a pause, comes again.
    fn settle(&mut self, now: bool) -> Next {
        let due = now || self.settled.elapsed() >= self.output.settles_every();
        if !due || !self.reader.is_unsettled() {
            return Next::Go;
        }
        self.settled = Instant::now();
        if let Err(error) = self.output.settle() {
            self.lost(&error.to_string());
            return Next::Stop;
        }
        let mut failures = std::mem::take(&mut self.unsettled);
        self.recovered(&mut failures);
        self.set_aside.clear();
        if let Err(error) = self.reader.settle() {
            // Only a second delivery after a restart is at stake.
            tracing::debug!("output {}: cannot save the cursor: {error}", self.name);
        }
        Next::Go
    }

    /// Goes back to what was delivered for good, and waits a while.
    fn lost(&mut self, reason: &str) {
        self.failed(reason, self.unsettled);
        self.reader.rewind();
        self.stats.refresh(&self.shared, self.index);
        self.pause(self.unsettled, None);
        self.unsettled += 1;
    }

    fn failed(&self, reason: &str, failures: u32) {
        self.stats.errors.fetch_add(1, Ordering::Relaxed);
        let reason = terminal_safe(reason, 500);
        if failures == 0 {
            tracing::warn!("output {}: {reason}; trying again", self.name);
        }
        let mut trouble = lock(&self.control.trouble);
        let since = trouble.as_ref().map_or_else(Instant::now, |trouble| trouble.since);
        *trouble = Some(Trouble { reason, since, failures: failures + 1, next: None });
    }

    fn recovered(&self, failures: &mut u32) {
        if std::mem::take(failures) > 0 {
            tracing::info!("output {}: delivering again", self.name);
        }
        // Taken is not enough while it cannot make sure.
        if self.unsettled == 0 {
            *lock(&self.control.trouble) = None;
        }
    }

    /// Sets aside what the output will never take.
    fn reject(&mut self, reason: &str, line: &[u8], sequence: u64) {
        // It was, before the output lost what it took.
        if !self.set_aside.insert(sequence) {
            return;
        }
        let rejected = self.stats.rejected.fetch_add(1, Ordering::Relaxed) + 1;
        let quiet = self.told.is_some_and(|told| told.elapsed() < TELL_REJECTED);
        if !quiet {
            self.told = Some(Instant::now());
            // The reason may repeat what the alert holds, which not everybody who reads logs may see.
            tracing::warn!(
                "output {}: {rejected} alerts so far will never be taken; they and the reasons are in {}",
                self.name,
                self.rejected.display()
            );
        }
        let alert: serde_json::Value = serde_json::from_slice(line)
            .unwrap_or_else(|_| String::from_utf8_lossy(line).into_owned().into());
        let mut text = serde_json::json!({ "reason": reason, "alert": &alert }).to_string();
        text.push('\n');
        if let Err(error) = set_aside(&self.rejected, text.as_bytes()) {
            let id = terminal_safe(alert["event"]["id"].as_str().unwrap_or_default(), 100);
            tracing::error!("output {}: cannot set the rejected alert {id} aside: {error}", self.name);
        }
    }

    /// Waits for the backoff to pass; a stop or a reopening ends it.
    fn pause(&self, failures: u32, after: Option<Duration>) {
        // Behind the time that the receiver asks for too: it asks every sensor for the same.
        let backoff = backoff(failures) + after.unwrap_or_default().min(MAX_AFTER);
        let until = Instant::now() + backoff;
        if let Some(trouble) = &mut *lock(&self.control.trouble) {
            trouble.next = Some(until);
        }
        loop {
            let seen = self.reader.generation();
            if self.control.reopen.load(Ordering::Acquire) {
                return;
            }
            let left = until.saturating_duration_since(Instant::now());
            // What is not on disk is worth trying until the very end.
            let left = if self.stopping() { left.min(BACKOFF) } else { left };
            if left.is_zero() {
                return;
            }
            self.reader.wait(seen, left);
            if self.stopping() {
                thread::sleep(left.min(Duration::from_millis(20)));
                return;
            }
        }
    }

    fn reopen_if_asked(&mut self) {
        if self.control.reopen.swap(false, Ordering::AcqRel) {
            self.output.reopen();
        }
    }

    fn stopping(&self) -> bool {
        self.stop.asked.load(Ordering::Acquire)
    }
}

/// Anything up to a time that doubles up to [`MAX_BACKOFF`] (full jitter), so that sensors that lost one
/// receiver at once come back spread over all of it.
fn backoff(failures: u32) -> Duration {
    let whole = BACKOFF.saturating_mul(1 << failures.min(16)).min(MAX_BACKOFF);
    let random = RandomState::new().hash_one(failures) % 1000;
    LEAST_BACKOFF.max(whole.mul_f64(random as f64 / 1000.0))
}

fn set_aside(path: &Path, line: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    }
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    if file.metadata()?.len() + line.len() as u64 > MAX_REJECTED_BYTES {
        return Err(io::Error::other(format!("{} is full", path.display())));
    }
    file.write_all(line)?;
    // The cursor passes it next, and then it is nowhere else.
    file.sync_data()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::tests::sample;
    use crate::detect::indicator::Tlp;
    use std::sync::mpsc;

    fn spec(name: &str, tlp: Tlp) -> OutputSpec {
        OutputSpec {
            name: name.to_owned(),
            destination: Destination::Stdout,
            encoding: Encoding::Ecs,
            release: Release { tlp, sectors: None },
            remote: Remote::default(),
            heartbeat: None,
        }
    }

    fn alerts(ids: std::ops::Range<u32>) -> Vec<Alert> {
        ids.map(|n| Alert { id: n.to_string(), ..sample() }).collect()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    /// Takes a few at a time, and answers as its script says before that.
    struct Scripted {
        script: Vec<DeliveryError>,
        seen: mpsc::Sender<String>,
    }

    impl Output for Scripted {
        fn deliver(&mut self, batch: &[Alert]) -> Result<usize, DeliveryError> {
            if let Some(error) = self.script.pop() {
                return Err(error);
            }
            let count = batch.len().min(3);
            batch[..count].iter().for_each(|alert| self.seen.send(alert.id.clone()).unwrap());
            Ok(count)
        }
    }

    fn scripted(script: Vec<DeliveryError>) -> (Box<dyn Output>, mpsc::Receiver<String>) {
        let (seen, received) = mpsc::channel();
        (Box::new(Scripted { script, seen }), received)
    }

    /// Never returns in time.
    struct Stuck;

    impl Output for Stuck {
        fn deliver(&mut self, _batch: &[Alert]) -> Result<usize, DeliveryError> {
            thread::sleep(Duration::from_secs(3600));
            Ok(0)
        }
    }

    #[test]
    fn everything_arrives_in_order_through_errors() {
        let dir = tempfile::tempdir().unwrap();
        let reject = DeliveryError::Reject { reason: "too long".into() };
        let (output, received) =
            scripted(vec![reject, DeliveryError::retry("down"), DeliveryError::retry("down")]);
        let (delivery, _) =
            Delivery::start_with(dir.path(), vec![(spec("a", Tlp::Red), output)], Limits::default()).unwrap();
        for n in 0..10 {
            delivery.append(&alerts(n * 10..n * 10 + 10));
        }
        let expected: Vec<String> = (1..100).map(|n| n.to_string()).collect();
        let seen: Vec<String> =
            (0..99).map(|_| received.recv_timeout(Duration::from_secs(20)).unwrap()).collect();
        assert_eq!(seen, expected);
        assert_eq!(delivery.stop(soon()), Undelivered::default());
        let (_, stats) = &delivery.stats()[0];
        assert_eq!(stats.delivered.load(Ordering::Relaxed), 99);
        assert_eq!(stats.rejected.load(Ordering::Relaxed), 1);
        assert_eq!(stats.errors.load(Ordering::Relaxed), 2);
        assert_eq!(stats.pending.load(Ordering::Relaxed), 0);
        assert_eq!((delivery.status()[0].state, delivery.status()[0].pending), ("ok", 0));
        let line = fs::read_to_string(dir.path().join("rejected/a.ndjson")).unwrap();
        let set_aside: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&set_aside["reason"], &set_aside["alert"]["event"]["id"]),
            (&"too long".into(), &"0".into())
        );
    }

    #[test]
    fn a_full_file_and_a_stuck_output_hold_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let (output, received) = scripted(vec![]);
        let full = Box::new(File::new("/dev/full".into(), Encoding::Ecs));
        let (delivery, _) = Delivery::start_with(
            dir.path(),
            vec![
                (spec("full", Tlp::Red), full),
                (spec("stuck", Tlp::Red), Box::new(Stuck)),
                (spec("well", Tlp::Red), output),
            ],
            Limits::default(),
        )
        .unwrap();
        delivery.append(&alerts(0..500));
        for n in 0..500 {
            assert_eq!(received.recv_timeout(Duration::from_secs(20)).unwrap(), n.to_string());
        }
        let stats = delivery.stats();
        while stats[0].1.errors.load(Ordering::Relaxed) < 2 {
            thread::sleep(Duration::from_millis(5));
        }
        let status = &delivery.status()[0];
        assert!(status.error.as_ref().unwrap().contains("No space left on device"), "{status:?}");
        assert_eq!((status.state, status.pending), ("retrying", 500));
        let begun = Instant::now();
        let left = delivery.stop(begun + Duration::from_millis(300));
        assert!(begun.elapsed() < Duration::from_secs(5));
        assert_eq!(left, Undelivered { pending: 1000, lost: 0 });
        assert!(stats[0].1.oldest_seconds(crate::input::now()) > 0.0);
    }

    /// Loses once what it took.
    struct Forgetful {
        lost: bool,
        taken: Vec<String>,
        safe: mpsc::Sender<String>,
    }

    impl Output for Forgetful {
        fn deliver(&mut self, batch: &[Alert]) -> Result<usize, DeliveryError> {
            self.taken.extend(batch.iter().map(|alert| alert.id.clone()));
            Ok(batch.len())
        }

        fn settle(&mut self) -> Result<(), DeliveryError> {
            let taken = std::mem::take(&mut self.taken);
            if !std::mem::replace(&mut self.lost, true) {
                return Err(DeliveryError::retry("lost"));
            }
            taken.into_iter().for_each(|id| self.safe.send(id).unwrap());
            Ok(())
        }
    }

    #[test]
    fn what_an_output_lost_is_delivered_again() {
        let dir = tempfile::tempdir().unwrap();
        let (safe, received) = mpsc::channel();
        let output = Box::new(Forgetful { lost: false, taken: Vec::new(), safe });
        let outputs: Vec<(OutputSpec, Box<dyn Output>)> = vec![(spec("a", Tlp::Red), output)];
        let (delivery, _) = Delivery::start_with(dir.path(), outputs, Limits::default()).unwrap();
        delivery.append(&alerts(0..9));
        assert_eq!(delivery.stop(soon()), Undelivered::default());
        let seen: Vec<String> = received.try_iter().collect();
        assert_eq!(seen, (0..9).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(delivery.stats()[0].1.errors.load(Ordering::Relaxed), 1);
    }

    /// Takes nothing before it is up.
    struct Down {
        up: Arc<AtomicBool>,
        seen: mpsc::Sender<String>,
    }

    impl Output for Down {
        fn deliver(&mut self, batch: &[Alert]) -> Result<usize, DeliveryError> {
            if !self.up.load(Ordering::Acquire) {
                return Err(DeliveryError::retry("down"));
            }
            batch.iter().for_each(|alert| self.seen.send(alert.id.clone()).unwrap());
            Ok(batch.len())
        }
    }

    #[test]
    fn what_may_leave_no_more_does_not_leave_though_it_was_under_way() {
        let dir = tempfile::tempdir().unwrap();
        let (seen, received) = mpsc::channel();
        let up = Arc::new(AtomicBool::new(false));
        let output = Box::new(Down { up: up.clone(), seen });
        let outputs: Vec<(OutputSpec, Box<dyn Output>)> = vec![(spec("a", Tlp::Red), output)];
        let (delivery, _) = Delivery::start_with(dir.path(), outputs, Limits::default()).unwrap();
        delivery.append(&alerts(0..9));
        let stats = delivery.stats()[0].1.clone();
        while stats.errors.load(Ordering::Relaxed) == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        delivery.set_release("a", &Release { tlp: Tlp::Clear, sectors: None });
        up.store(true, Ordering::Release);
        assert_eq!(delivery.stop(soon()), Undelivered::default());
        assert_eq!(received.try_iter().count(), 0);
        assert_eq!(stats.withheld(Withheld::Tlp), 9);
    }

    /// Loses everything since it was last settled, once, when it sees an alert.
    struct Breaking {
        at: &'static str,
        taken: Vec<String>,
        seen: mpsc::Sender<String>,
    }

    impl Output for Breaking {
        fn deliver(&mut self, batch: &[Alert]) -> Result<usize, DeliveryError> {
            if batch.iter().any(|alert| alert.id == self.at) {
                self.at = "";
                self.taken.clear();
                return Err(DeliveryError::lost("broken"));
            }
            self.taken.extend(batch.iter().map(|alert| alert.id.clone()));
            Ok(batch.len())
        }

        fn settle(&mut self) -> Result<(), DeliveryError> {
            self.taken.drain(..).for_each(|id| self.seen.send(id).unwrap());
            Ok(())
        }

        fn settles_every(&self) -> Duration {
            Duration::from_secs(3600)
        }
    }

    #[test]
    fn what_a_broken_connection_took_comes_again_before_anything_newer() {
        let dir = tempfile::tempdir().unwrap();
        let (seen, received) = mpsc::channel();
        let output = Box::new(Breaking { at: "700", taken: Vec::new(), seen });
        let outputs: Vec<(OutputSpec, Box<dyn Output>)> = vec![(spec("a", Tlp::Amber), output)];
        let (delivery, _) = Delivery::start_with(dir.path(), outputs, Limits::default()).unwrap();
        let mut batch = alerts(0..1000);
        batch[5].contributors[0].tlp = Tlp::Red;
        batch.iter_mut().skip(6).for_each(|alert| alert.contributors[0].tlp = Tlp::Amber);
        batch.iter_mut().take(5).for_each(|alert| alert.contributors[0].tlp = Tlp::Amber);
        delivery.append(&batch);
        let expected: Vec<String> = (0..1000).filter(|n| *n != 5).map(|n| n.to_string()).collect();
        // The stop settles what was not; to stop at once would leave the lost ones for the next start.
        let begun = Instant::now();
        let (_, stats) = &delivery.stats()[0];
        while stats.delivered.load(Ordering::Relaxed) < 999 {
            assert!(begun.elapsed() < Duration::from_secs(60));
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(delivery.stop(soon()), Undelivered::default());
        assert_eq!(received.try_iter().collect::<Vec<_>>(), expected);
        assert_eq!(stats.delivered.load(Ordering::Relaxed), 999, "what came again is not counted again");
        assert_eq!(stats.withheld(Withheld::Tlp), 1);
        assert_eq!(stats.errors.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn what_was_not_delivered_is_delivered_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let down = (0..10_000).map(|_| DeliveryError::retry("down")).collect();
        let (output, _received) = scripted(down);
        let outputs = vec![(spec("a", Tlp::Red), output)];
        let (delivery, _) = Delivery::start_with(dir.path(), outputs, Limits::default()).unwrap();
        delivery.append(&alerts(0..9));
        assert_eq!(delivery.stop(soon()), Undelivered { pending: 9, lost: 0 });
        drop(delivery);
        let (output, received) = scripted(vec![]);
        let outputs = vec![(spec("a", Tlp::Red), output)];
        let (delivery, _) = Delivery::start_with(dir.path(), outputs, Limits::default()).unwrap();
        assert_eq!(delivery.stop(soon()), Undelivered::default());
        assert_eq!(received.try_iter().count(), 9);
    }

    #[test]
    fn what_may_not_leave_is_counted_and_passed() {
        let dir = tempfile::tempdir().unwrap();
        let (output, received) = scripted(vec![]);
        let outputs = vec![(spec("a", Tlp::Clear), output)];
        let (delivery, _) = Delivery::start_with(dir.path(), outputs, Limits::default()).unwrap();
        let mut batch = alerts(0..3);
        batch[1].contributors[0].tlp = Tlp::Clear;
        delivery.append(&batch);
        assert_eq!(delivery.stop(soon()), Undelivered::default());
        assert_eq!(received.try_iter().collect::<Vec<_>>(), ["1"]);
        let (_, stats) = &delivery.stats()[0];
        assert_eq!((stats.withheld(Withheld::Tlp), stats.withheld(Withheld::Sector)), (2, 0));
    }

    #[test]
    fn a_file_is_reopened_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.ndjson");
        let spec = OutputSpec { destination: Destination::File(path.clone()), ..spec("f", Tlp::Red) };
        let delivery = Delivery::start(&dir.path().join("data"), vec![spec], Limits::default()).unwrap();
        let delivered = |count| {
            let stats = delivery.stats();
            let begun = Instant::now();
            while stats[0].1.delivered.load(Ordering::Relaxed) < count {
                assert!(begun.elapsed() < Duration::from_secs(20));
                thread::sleep(Duration::from_millis(2));
            }
        };
        delivery.append(&alerts(0..2));
        delivered(2);
        fs::rename(&path, dir.path().join("out.1")).unwrap();
        delivery.reopen();
        delivery.append(&alerts(2..3));
        delivered(3);
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 1);
        assert_eq!(delivery.stop(soon()), Undelivered::default());
    }

    #[test]
    fn backoff_grows_and_is_bounded() {
        for failures in 0..40 {
            let pauses: Vec<Duration> = (0..100).map(|_| backoff(failures)).collect();
            let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
            assert!(*least >= LEAST_BACKOFF && *most <= MAX_BACKOFF);
            assert!(*most <= BACKOFF * (1 << failures.min(16)));
            // That a hundred throws all land in one half happens once in 10^30 runs.
            assert!(failures < 9 || *most >= MAX_BACKOFF / 2 && *least <= MAX_BACKOFF / 2);
        }
    }
}
