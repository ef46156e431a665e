//! Builds the stages, starts and joins their threads.
//!
//! [`Sensor::start`] turns a configuration into a running sensor; [`Sensor::stop`] drains it and
//! tells the totals. Between the two, `control` serves signals, metrics and the watchdog, and
//! `reload` compiles rules on a thread of its own.

mod alerts;
mod control;
mod inputs;
mod reload;
mod senders;
mod templates;

use crate::admin::{self, Readiness, Report};
use crate::alert::{Agent, Alert, Directory};
use crate::config::{self, Config, Listen};
use crate::decode::flow::ExporterStatus;
use crate::detect::RuleSet;
use crate::detect::indicator::{Mode, Severity};
use crate::diagnostic::{Diagnostic, Level};
use crate::input::tls::Tls;
use crate::input::{Stop, now, stream, udp, unix};
use crate::metrics::{Metrics, raise};
use crate::output::spool::Limits;
use crate::output::{Delivery, OutputSpec, Release, Settings};
use crate::rules::{self, Generation, Problem, Store};
use crate::sources::Table;
use crate::worker::{FlowReport, InputPolicy, Shared};
use anyhow::Context;
use arc_swap::ArcSwap;
use inputs::{OpenInput, Running};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use control::serve;

/// What `roje sources` can sort by.
pub const SORTS: [(&str, senders::Sort); 7] = senders::Sort::ALL;

/// Hits on their way to the alert thread. A hit carries its message, 64 KiB at most and usually a
/// quarter of a kilobyte, so that a full channel is a megabyte in practice and 256 MiB at worst.
const CHANNEL: usize = 4096;

/// How long outputs may go on delivering once the sensor stops; the rest stays in the spool.
const DELIVERY_AT_STOP: Duration = Duration::from_secs(4);

/// What a verb may set that no configuration file does.
pub struct Options {
    /// Datagrams that one read takes at most.
    pub batch: usize,
    /// The configuration file, for reloading.
    pub config_path: Option<PathBuf>,
    /// Rule sets used where the configuration names no folder.
    pub embedded: &'static [(&'static str, &'static str)],
    /// Sees every alert as it is raised.
    pub observe: Option<Observe>,
}

impl Default for Options {
    fn default() -> Self {
        Options { batch: udp::MAX_BATCH, config_path: None, embedded: rules::EMBEDDED, observe: None }
    }
}

/// Sees an alert as it is raised.
pub type Observe = Box<dyn FnMut(&Alert) + Send>;

/// Why a sensor does not start.
#[derive(Debug)]
pub enum StartError {
    /// No rule set could be loaded, last good versions included.
    NoRules(Vec<Problem>),
    /// Anything else.
    Other(anyhow::Error),
}

impl From<anyhow::Error> for StartError {
    fn from(error: anyhow::Error) -> Self {
        StartError::Other(error)
    }
}

/// A running sensor.
pub struct Sensor {
    state: Arc<State>,
    workers: Vec<Running>,
    alerts: JoinHandle<()>,
    reload: reload::Reloader,
    templates: templates::Running,
    admin: TcpListener,
    /// The files of Unix sockets, which go with the sensor.
    places: Vec<unix::Place>,
}

/// What the threads of a sensor share beside the hot path.
struct State {
    config: Mutex<Config>,
    config_path: Option<PathBuf>,
    metrics: Metrics,
    rules: Arc<ArcSwap<RuleSet>>,
    generation: ArcSwap<Generation>,
    directory: ArcSwap<Directory>,
    delivery: Delivery,
    stop: Stop,
    /// Held while totals that are read elsewhere are added up: they must be added once.
    refreshing: Mutex<()>,
    inputs: Vec<InputState>,
    /// What each worker counted of each sender, with the index of its input.
    senders: OnceLock<Vec<(usize, Arc<Mutex<Table>>)>>,
    /// Sources that are silent though something is expected of them.
    silent: ArcSwap<Vec<String>>,
    listening: AtomicBool,
    alert_progress: Arc<AtomicU64>,
}

struct InputState {
    name: String,
    listen: Listen,
    policy: Arc<ArcSwap<InputPolicy>>,
    drops: Vec<Arc<udp::KernelDrops>>,
    exporters: Option<Arc<FlowReport>>,
    connections: Option<Arc<stream::Stats>>,
    tls: Option<Arc<Tls>>,
    /// When it was last logged that peers are refused, for each reason.
    told: Mutex<HashMap<stream::Closed, Instant>>,
}

/// What a sensor received and what became of it, over its whole life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages received.
    pub received: u64,
    /// Decoded.
    pub decoded: u64,
    /// Not decoded, but matched raw.
    pub undecodable: u64,
    /// Received and dropped.
    pub dropped: u64,
    /// Dropped by the kernel before they were received.
    pub kernel_dropped: u64,
    /// Flow records read.
    pub records: u64,
    /// Indicator values found.
    pub matches: u64,
    /// Matches that raised no alert, for a reason that is counted.
    pub suppressed: u64,
    /// Alerts raised, summaries included.
    pub alerts: u64,
}

impl Sensor {
    /// Loads the rules, opens the sockets, starts every thread.
    pub fn start(config: Config, options: Options) -> Result<Sensor, StartError> {
        let watching = reload::watch(&config);
        let mut store = store(&config, options.embedded);
        let generation = store.load(now());
        if generation.sets.is_empty() {
            return Err(StartError::NoRules(generation.problems));
        }
        let metrics = Metrics::new();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = if config.sensor.workers == 0 { cores } else { config.sensor.workers };
        let admin = admin::bind(config.metrics.listen)
            .with_context(|| format!("metrics cannot listen on {}", config.metrics.listen))?;
        let mut inputs = inputs::open(&config, workers)?;
        let delivery = start_delivery(&config)?;
        let rules = Arc::new(ArcSwap::new(generation.rules.clone()));
        let (sender, receiver) = crossbeam_channel::bounded(CHANNEL);
        let shared = Shared { rules: rules.clone(), alerts: sender, metrics: metrics.clone() };
        let state = Arc::new(State {
            metrics,
            rules,
            generation: ArcSwap::from_pointee(generation),
            directory: ArcSwap::from_pointee(directory(&config)?),
            delivery,
            stop: Stop::new(),
            refreshing: Mutex::new(()),
            inputs: inputs.iter().map(InputState::of).collect(),
            senders: OnceLock::new(),
            silent: ArcSwap::default(),
            listening: AtomicBool::new(false),
            alert_progress: Arc::default(),
            config_path: options.config_path,
            config: Mutex::new(config),
        });
        state.tell_inputs(&inputs);
        state.tell_rules(true);
        let alerts = alerts::start(&state, receiver, options.observe)?;
        let data_dir = state.config.lock().unwrap_or_else(PoisonError::into_inner).sensor.data_dir.clone();
        let mut keeper = templates::Keeper::new(&data_dir);
        let workers = inputs::start(&mut inputs, &shared, &state.stop, options.batch, &mut keeper)?;
        let templates = keeper.start().context("the thread that keeps templates")?;
        // Set once, here.
        let _ = state.senders.set(workers.iter().map(|worker| worker.senders.clone()).collect());
        state.tell_senders();
        let places = inputs.iter_mut().filter_map(|input| input.place.take()).collect();
        let reload = reload::start(state.clone(), store, watching)?;
        state.listening.store(true, Ordering::Release);
        Ok(Sensor { state, workers, alerts, reload, templates, admin, places })
    }

    /// Where an input listens.
    pub fn address(&self, input: &str) -> Option<SocketAddr> {
        self.state.inputs.iter().find(|one| one.name == input).and_then(|one| one.listen.address())
    }

    /// Where metrics are served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.admin.local_addr().ok()
    }

    /// Every input: its name, and where it listens.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, &Listen)> {
        self.state.inputs.iter().map(|input| (input.name.as_str(), &input.listen))
    }

    /// What the exporters of each flow input sent, and what of it was lost; a few seconds old.
    pub fn exporters(&self) -> Vec<(&str, Arc<Vec<ExporterStatus>>)> {
        let told = |input: &InputState| input.exporters.as_ref().map(|report| report.exporters.load_full());
        self.state.inputs.iter().filter_map(|input| Some((input.name.as_str(), told(input)?))).collect()
    }

    /// The rule sets in force.
    pub fn generation(&self) -> Arc<Generation> {
        self.state.generation.load_full()
    }

    /// Tells what was counted so far, also from another thread.
    pub fn counter(&self) -> impl Fn() -> Totals + Send + use<> {
        let state = self.state.clone();
        move || {
            state.refresh();
            state.totals()
        }
    }

    /// Stops reading, drains, flushes, and tells the totals. What an output could not take in time
    /// stays in the spool.
    ///
    /// # Errors
    ///
    /// Alerts were lost: neither the disk nor an output took them.
    pub fn stop(self) -> anyhow::Result<Totals> {
        self.state.listening.store(false, Ordering::Release);
        self.state.stop.set();
        self.reload.stop();
        for worker in self.workers {
            join(worker.thread, &worker.name);
        }
        self.templates.stop();
        drop(self.places);
        // The workers held the senders; without them the alert thread flushes and ends.
        join(self.alerts, "alert thread");
        let left = self.state.delivery.stop(Instant::now() + DELIVERY_AT_STOP);
        self.state.refresh();
        let totals = self.state.totals();
        if left.pending > left.lost {
            tracing::warn!(alerts = left.pending - left.lost, "stay in the spool for the next start");
        }
        if left.lost > 0 {
            tracing::error!("{totals}");
            anyhow::bail!("{} alerts are lost: neither the disk nor an output took them", left.lost);
        }
        Ok(totals)
    }

    /// A thread that ended though nobody stopped it.
    fn dead(&self) -> Option<&str> {
        let worker = self.workers.iter().find(|worker| worker.thread.is_finished());
        let alerts = self.alerts.is_finished().then_some("alert thread");
        worker.map(|worker| worker.name.as_str()).or(alerts)
    }
}

fn join(thread: JoinHandle<()>, name: &str) {
    if thread.join().is_err() {
        tracing::error!(thread = name, "panicked");
    }
}

/// Everything that is wrong with a configuration, and with the rules it names; nothing is started.
pub fn check(path: Option<&Path>) -> (Vec<Diagnostic>, Vec<Problem>) {
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(problems) => return (problems, Vec::new()),
    };
    // Without a data directory: last good versions must not hide what a file holds now.
    let mut store = match &config.sensor.rules {
        config::Rules::Embedded => Store::embedded(rules::EMBEDDED),
        config::Rules::Paths(paths) => Store::new(paths.clone(), None, Some(config.sensor.memory_limit)),
    };
    let generation = store.load(now());
    let mut problems = config.warnings.clone();
    problems.extend(unreachable_sets(&config, &generation));
    if generation.sets.is_empty() {
        let message = "no rule set could be loaded; `run` refuses to start without one";
        problems.push(of_configuration(&config, Level::Error, "no-rules", message.to_owned()));
    }
    (problems, generation.problems)
}

/// Sets whose marking is stricter than what any output may carry: their alerts would go nowhere.
fn unreachable_sets(config: &Config, generation: &Generation) -> Vec<Diagnostic> {
    let widest = config.outputs.iter().map(|output| output.tlp).max();
    let mut problems = Vec::new();
    for set in &generation.sets {
        let mildest = set.markings().first().copied();
        if set.info.mode == Mode::Indicators
            && let (Some(mildest), Some(widest)) = (mildest, widest)
            && mildest > widest
        {
            problems.push(Diagnostic {
                level: Level::Warning,
                code: "no-output",
                path: set.info.path.clone(),
                line: 0,
                column: 0,
                span: 0..0,
                message: format!(
                    "no output may carry set {:?}: it is {}, and the strictest marking that may leave is {}",
                    set.info.name,
                    mildest.name(),
                    widest.name()
                ),
                label: None,
                help: Some(format!("give an output `tlp = \"{}\"`", mildest.name())),
            });
        }
    }
    for output in &config.outputs {
        let carried = generation
            .sets
            .iter()
            .filter(|set| set.info.mode == Mode::Indicators)
            .any(|set| set.markings().first().is_some_and(|mildest| *mildest <= output.tlp));
        if !carried && !generation.sets.is_empty() {
            let message = format!(
                "output {:?} gets nothing: no set is marked {} or milder",
                output.name,
                output.tlp.name()
            );
            problems.push(of_configuration(config, Level::Warning, "gets-nothing", message));
        }
    }
    problems
}

/// A problem of the configuration as a whole.
fn of_configuration(config: &Config, level: Level, code: &'static str, message: String) -> Diagnostic {
    let path = config.files.first().cloned().unwrap_or_default();
    Diagnostic { level, code, path, line: 0, column: 0, span: 0..0, message, label: None, help: None }
}

fn rule_paths(config: &Config) -> Vec<PathBuf> {
    match &config.sensor.rules {
        config::Rules::Embedded => Vec::new(),
        config::Rules::Paths(paths) => paths.clone(),
    }
}

fn store(config: &Config, embedded: &'static [(&'static str, &'static str)]) -> Store {
    match &config.sensor.rules {
        config::Rules::Embedded => Store::embedded(embedded),
        config::Rules::Paths(paths) => {
            Store::new(paths.clone(), Some(config.sensor.data_dir.clone()), Some(config.sensor.memory_limit))
        }
    }
}

fn directory(config: &Config) -> anyhow::Result<Directory> {
    let listeners = config.inputs.iter().map(|input| crate::alert::Listener {
        timezone: Some(input.timezone.clone()),
        exercise: input.exercise,
    });
    let sources = config.sources.iter().map(|source| crate::alert::Source {
        name: source.name.clone(),
        networks: source.networks.clone(),
        certificates: source.certificates.clone(),
        expect_every: source.expect_every.map(|span| span.as_secs()),
        timezone: source.timezone.clone(),
        constituent: config.constituent_of(source).map(|constituent| constituent.name.clone()),
    });
    let directory = Directory::new(listeners.collect(), sources.collect(), config.constituents.clone());
    directory.map_err(|unknown| {
        anyhow::anyhow!("source {:?}: no constituent {:?}", unknown.source_name, unknown.constituent)
    })
}

/// This sensor, as its alerts name it.
pub fn agent(name: String) -> Agent {
    Agent { name, version: env!("CARGO_PKG_VERSION").to_string() }
}

/// What an output may see.
fn release_of(output: &config::Output) -> Release {
    Release { tlp: output.tlp, sectors: (!output.sectors.is_empty()).then(|| output.sectors.clone()) }
}

fn start_delivery(config: &Config) -> anyhow::Result<Delivery> {
    let outputs = config.outputs.iter().map(|output| OutputSpec {
        name: output.name.clone(),
        destination: output.to.clone(),
        encoding: output.encoding,
        release: release_of(output),
        remote: output.remote.clone(),
        heartbeat: output.heartbeat,
    });
    let folder = &config.sensor.data_dir;
    let limits = Limits::new(config.sensor.spool_limit, config.sensor.spool_max_age);
    let settings = Settings { agent: agent(config.sensor.name.clone()), ..Settings::from(limits) };
    Delivery::start(folder, outputs.collect(), settings)
        .with_context(|| format!("spool in {}", folder.display()))
}

/// How often it is logged that an input refuses peers for one reason; the metrics count each.
const REFUSALS: Duration = Duration::from_secs(60);

impl InputState {
    /// Logs who was refused and why, since a device that cannot connect is found by its address.
    fn tell_refused(&self) {
        let Some(stats) = &self.connections else { return };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for (reason, peer) in stats.take_refused() {
            if told.get(&reason).is_none_or(|told| told.elapsed() >= REFUSALS) {
                told.insert(reason, Instant::now());
                let (reason, count) = (reason.name(), stats.closed(reason));
                tracing::warn!(
                    input = self.name,
                    reason,
                    count,
                    "connections are closed, the last from {}",
                    peer.ip()
                );
            }
        }
    }

    fn of(input: &OpenInput) -> InputState {
        InputState {
            name: input.name.clone(),
            listen: input.listen.clone(),
            policy: input.policy.clone(),
            drops: input.drops.clone(),
            exporters: input.exporters.clone(),
            connections: input.connections.clone(),
            tls: input.tls.clone(),
            told: Mutex::default(),
        }
    }
}

impl State {
    fn tell_inputs(&self, inputs: &[OpenInput]) {
        for input in inputs {
            tracing::info!(input = input.name, "listens on {}", input.listen);
            if let Some(buffer) = input.buffer {
                let gauge = self.metrics.input_receive_buffer.with_label_values(&[&input.name]);
                gauge.set(buffer.granted as i64);
                if buffer.is_short() {
                    tracing::warn!(
                        input = input.name,
                        asked = buffer.asked,
                        granted = buffer.granted,
                        "the kernel granted a smaller receive buffer; raise it with: sysctl -w net.core.rmem_max={}",
                        buffer.asked
                    );
                }
            }
        }
    }

    /// Sets the gauges of the rule sets in force, and warns of what no output may carry.
    fn tell_rules(&self, warn: bool) {
        let generation = self.generation.load();
        let (metrics, now) = (&self.metrics, now());
        for gauge in
            [&metrics.rules_loaded, &metrics.rules_refused, &metrics.rules_expired, &metrics.ruleset_stale]
        {
            gauge.reset();
        }
        for set in &generation.sets {
            let label = [set.info.name.as_str()];
            metrics.rules_loaded.with_label_values(&label).set(set.entries() as i64);
            // A file refused whole counts 1, also where its last good version stands in.
            let refused: i64 = set.refused.iter().map(|refused| refused.count as i64).sum();
            metrics.rules_refused.with_label_values(&label).set(refused + i64::from(set.stale.is_some()));
            metrics.rules_expired.with_label_values(&label).set(set.expired(now) as i64);
            metrics.ruleset_stale.with_label_values(&label).set(i64::from(set.stale.is_some()));
        }
        let config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        for problem in unreachable_sets(&config, &generation).iter().filter(|_| warn) {
            tracing::warn!("{}", problem.message);
        }
    }

    /// Brings up to date what is read rather than counted: kernel drops, connections, the spool.
    fn refresh(&self) {
        let _guard = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        // Files that are no longer named have no end that matters.
        self.metrics.tls_certificate_expiry.reset();
        for input in &self.inputs {
            let label = [input.name.as_str()];
            let counter = self.metrics.input_kernel_dropped.with_label_values(&label);
            let drops: u64 = input.drops.iter().filter_map(|drops| drops.read().ok()).sum();
            raise(&counter, drops);
            if let Some(stats) = &input.connections {
                let open = stats.connections.load(Ordering::Relaxed);
                self.metrics.input_connections.with_label_values(&label).set(open as i64);
                for reason in stream::Closed::ALL {
                    let count = stats.closed(reason);
                    // Of what cannot happen here nothing is told.
                    if count > 0 || input.tls.is_some() || !reason.is_of_opening() {
                        let label = [input.name.as_str(), reason.name()];
                        raise(&self.metrics.input_connections_closed.with_label_values(&label), count);
                    }
                }
            }
            input.tell_refused();
            for (role, path, end) in input.tls.iter().flat_map(|tls| tls.expiry()) {
                let path = path.to_string_lossy();
                let label = [input.name.as_str(), &path, role.name()];
                self.metrics.tls_certificate_expiry.with_label_values(&label).set(end);
            }
        }
        self.metrics.outputs(&self.delivery.stats(), now());
    }

    /// Logs what each output holds up, and why: the answer to SIGUSR1.
    fn tell_outputs(&self) {
        let spool = self.delivery.spool_status();
        match &spool.refusal {
            None => tracing::info!(bytes = spool.bytes, segments = spool.segments, "spool: ok"),
            Some(reason) => tracing::warn!(
                bytes = spool.bytes,
                segments = spool.segments,
                held = spool.held,
                held_bytes = spool.held_bytes,
                "spool: alerts are held in memory: {reason}"
            ),
        }
        for status in self.delivery.status() {
            tracing::info!(
                output = status.output,
                pending = status.pending,
                held = status.held,
                dropped = status.dropped,
                oldest_seconds = status.oldest_seconds,
                failures = status.failures,
                failing_seconds = status.failing_seconds,
                next_attempt_seconds = status.next_attempt_seconds,
                "output: {}",
                status.reason
            );
        }
    }

    /// One line for `systemctl status`.
    fn status(&self) -> String {
        let generation = self.generation.load();
        let entries: usize = generation.sets.iter().map(|set| set.entries()).sum();
        let stale: Vec<&str> = generation
            .sets
            .iter()
            .filter(|set| set.stale.is_some())
            .map(|set| set.info.name.as_str())
            .collect();
        let Totals { received, alerts, .. } = self.totals();
        let stale = if stale.is_empty() { String::new() } else { format!("; stale: {}", stale.join(", ")) };
        format!(
            "{received} messages, {alerts} alerts; {} sets, {entries} entries{stale}",
            generation.sets.len()
        )
    }

    fn totals(&self) -> Totals {
        let metrics = &self.metrics;
        let alerts = Severity::ALL.map(|s| metrics.alerts.with_label_values(&[s.name()]).get());
        Totals {
            received: sum(&metrics.input_messages),
            decoded: sum(&metrics.decoded),
            undecodable: sum(&metrics.decode_errors),
            dropped: sum(&metrics.input_dropped),
            kernel_dropped: sum(&metrics.input_kernel_dropped),
            records: sum(&metrics.flow_records),
            matches: sum(&metrics.matches),
            suppressed: sum(&metrics.suppressed),
            alerts: alerts.iter().sum(),
        }
    }
}

/// The sum over all labels of a counter.
fn sum(family: &prometheus::IntCounterVec) -> u64 {
    use prometheus::core::Collector;
    let families = family.collect();
    families
        .iter()
        .flat_map(|family| family.get_metric())
        .map(|metric| metric.get_counter().get_value() as u64)
        .sum()
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "received={} decoded={} undecodable={} dropped={} kernel_dropped={} records={} matches={} suppressed={} alerts={}",
            self.received,
            self.decoded,
            self.undecodable,
            self.dropped,
            self.kernel_dropped,
            self.records,
            self.matches,
            self.suppressed,
            self.alerts
        )
    }
}

impl Report for State {
    fn metrics(&self) -> String {
        self.refresh();
        self.count_sources();
        self.metrics.render()
    }

    fn readiness(&self) -> Readiness {
        let generation = self.generation.load();
        let stale = generation
            .sets
            .iter()
            .filter_map(|set| set.stale.as_ref().map(|reason| (set.info.name.clone(), reason.clone())));
        Readiness {
            listening: self.listening.load(Ordering::Acquire),
            rules: !generation.sets.is_empty(),
            stale: stale.collect(),
            refused: generation
                .refused
                .iter()
                .map(|file| {
                    let name = file.set.clone().unwrap_or_else(|| file.path.display().to_string());
                    (name, format!("{}: {}", file.refused.first, file.refused.reason))
                })
                .collect(),
            outputs: json!(self.delivery.status()),
            spool: json!(self.delivery.spool_status()),
        }
    }

    fn sources(&self, sort: &str, top: usize) -> Option<Value> {
        self.senders_json(senders::Sort::from_name(sort)?, top).into()
    }

    fn rules(&self) -> Value {
        let generation = self.generation.load();
        let hits = |set: &str| {
            let severities = Severity::ALL.into_iter();
            severities
                .map(|severity| self.metrics.matches.with_label_values(&[set, severity.name()]).get())
                .sum()
        };
        let hits: HashMap<String, u64> =
            generation.sets.iter().map(|set| (set.info.name.clone(), hits(&set.info.name))).collect();
        rules::report(&generation, now(), Some(&hits))
    }
}
