//! Compiles rules off the hot path and swaps them in; reads the configuration again.
//!
//! One thread, so that reloads never overlap. It is woken by SIGHUP, by a change under the rule
//! folders, and by nothing else.

use super::{State, directory, inputs, rule_paths};
use crate::config::{self, Config};
use crate::detect::indicator::Tlp;
use crate::diagnostic::{Diagnostic, Level};
use crate::input::now;
use crate::rules::watch::{self, SETTLE, Watch};
use crate::rules::{Generation, Store};
use crossbeam_channel::{Receiver, Sender};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// Single changes that are logged; of more, the counts are.
const CHANGES_LOGGED: usize = 20;

/// What to read again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The rule sets: something under their folders changed.
    Rules,
    /// Certificates, keys and revocation lists: one of their files changed.
    Certificates,
    /// The configuration and the rule sets: SIGHUP.
    All,
    /// Nothing more: the sensor stops.
    Stop,
}

/// The thread that reloads.
pub struct Reloader {
    requests: Sender<Request>,
}

/// Rule folders that are watched already, though nothing reloads yet.
pub struct Watching {
    watch: Option<Watch>,
    sender: Sender<Request>,
    requests: Receiver<Request>,
}

/// Watches the rule folders. Called before they are read for the first time: what changes between that
/// reading and the start of the thread is loaded by the thread, not missed.
pub fn watch(config: &Config) -> Watching {
    let (sender, requests) = crossbeam_channel::unbounded();
    Watching { watch: watch_rules(config, &sender), sender, requests }
}

impl Reloader {
    /// Where requests go.
    pub fn requests(&self) -> Sender<Request> {
        self.requests.clone()
    }

    /// Ends the thread after a reload under way, which nobody waits for: it holds nothing that would
    /// be lost.
    pub fn stop(self) {
        self.requests.send(Request::Stop).ok();
    }
}

/// Starts waiting for requests.
pub fn start(state: Arc<State>, store: Store, watching: Watching) -> anyhow::Result<Reloader> {
    let requests = watching.sender.clone();
    let run = move || run(&state, store, watching);
    std::thread::Builder::new().name("reload".into()).spawn(run)?;
    Ok(Reloader { requests })
}

fn run(state: &State, mut store: Store, watching: Watching) {
    let Watching { watch: mut watcher, sender, requests } = watching;
    let own = &sender;
    // Held for as long as it is to watch.
    let mut _certificates = watch_certificates(state, own);
    // They may have changed between the start and the watch.
    reload_certificates(state, false);
    keep(&mut store);
    while let Ok(request) = requests.recv() {
        // A burst of requests is one reload; the widest of them.
        let waiting: Vec<Request> = std::iter::once(request).chain(requests.try_iter()).collect();
        if waiting.contains(&Request::Stop) {
            return;
        }
        let all = waiting.contains(&Request::All);
        if !waiting.iter().any(|request| matches!(request, Request::Rules | Request::All)) {
            let start = Instant::now();
            let result = if reload_certificates(state, false) { "success" } else { "failure" };
            state.metrics.reloaded(result, now() / 1_000_000_000, start.elapsed());
            continue;
        }
        notify_reloading();
        let start = Instant::now();
        let mut result = "success";
        if all && !reload_configuration(state, &mut store, &mut watcher, own) {
            result = "failure";
        }
        if !reload_rules(state, &mut store, all) {
            result = "failure";
        }
        if all {
            // Other files may have been named.
            _certificates = watch_certificates(state, own);
        }
        if (all || waiting.contains(&Request::Certificates)) && !reload_certificates(state, all) {
            result = "failure";
        }
        if all {
            state.delivery.reopen();
        }
        state.metrics.reloaded(result, now() / 1_000_000_000, start.elapsed());
        sd_notify::notify(&[sd_notify::NotifyState::Ready]).ok();
        keep(&mut store);
    }
}

/// Copies what is good, after it is in force: nobody waits for the disk.
fn keep(store: &mut Store) {
    tell(store.keep().as_slice());
}

fn notify_reloading() {
    if let Ok(monotonic) = sd_notify::NotifyState::monotonic_usec_now() {
        sd_notify::notify(&[sd_notify::NotifyState::Reloading, monotonic]).ok();
    }
}

fn watch_rules(config: &Config, own: &Sender<Request>) -> Option<Watch> {
    let paths = rule_paths(config);
    if paths.is_empty() {
        return None;
    }
    let own = own.clone();
    let changed = move || {
        own.send(Request::Rules).ok();
    };
    match watch::start(paths, SETTLE, changed) {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(%error, "rule folders cannot be watched; SIGHUP reloads them");
            None
        }
    }
}

/// Watches the files of TLS inputs that the configuration names now.
fn watch_certificates(state: &State, own: &Sender<Request>) -> Option<Watch> {
    let paths: Vec<_> = {
        let config = state.config.lock().unwrap_or_else(PoisonError::into_inner);
        let files = config.inputs.iter().filter_map(|input| input.tls.as_ref());
        files.flat_map(|files| files.paths()).map(|(_, path)| path.clone()).collect()
    };
    if paths.is_empty() {
        return None;
    }
    let own = own.clone();
    let changed = move || {
        own.send(Request::Certificates).ok();
    };
    match watch::start(paths, SETTLE, changed) {
        Ok(watcher) => Some(watcher),
        Err(error) => {
            tracing::warn!(%error, "certificates cannot be watched; SIGHUP reloads them");
            None
        }
    }
}

/// Reads the certificates of TLS inputs again, from the files that the configuration names now.
/// Connections go on with those they began with; what cannot be used changes nothing.
fn reload_certificates(state: &State, asked: bool) -> bool {
    let mut success = true;
    for input in &state.inputs {
        let Some(tls) = &input.tls else { continue };
        let files = {
            let config = state.config.lock().unwrap_or_else(PoisonError::into_inner);
            config.inputs.iter().find(|one| one.name == input.name).and_then(|one| one.tls.clone())
        };
        match tls.reload(files) {
            Ok(true) => {
                tracing::info!(input = input.name, "certificates reloaded");
                for warning in tls.warnings() {
                    tracing::warn!(input = input.name, "{warning}");
                }
            }
            Ok(false) if asked => tracing::info!(input = input.name, "certificates unchanged"),
            Ok(false) => (),
            Err(error) => {
                tracing::error!(input = input.name, %error, "certificates cannot be used; the old ones stay in force");
                success = false;
            }
        }
    }
    success
}

/// Reads the configuration again. What can act at once acts; what needs a restart is said.
fn reload_configuration(
    state: &State,
    store: &mut Store,
    watcher: &mut Option<Watch>,
    own: &Sender<Request>,
) -> bool {
    let Some(path) = &state.config_path else { return true };
    let mut new = match Config::load(Some(path)) {
        Ok(new) => new,
        Err(problems) => {
            tell(&problems);
            tracing::error!("the configuration has errors; the old one stays in force");
            return false;
        }
    };
    let (changes, folders) = {
        let mut current = state.config.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = config::diff(&current, &new);
        // In force is what runs: inputs in the order in which hits name them, outputs as they are.
        let find =
            |inputs: &[config::Input], name: &str| inputs.iter().find(|input| input.name == name).cloned();
        new.inputs = state
            .inputs
            .iter()
            .filter_map(|one| find(&new.inputs, &one.name).or_else(|| find(&current.inputs, &one.name)))
            .collect();
        let named = |name: &str| new.outputs.iter().find(|output| output.name == name);
        let outputs = current.outputs.iter().map(|one| match named(&one.name) {
            Some(output) => config::Output { to: one.to.clone(), encoding: one.encoding, ..output.clone() },
            None => one.clone(),
        });
        new.outputs = outputs.collect();
        let embedded = |config: &Config| config.sensor.rules == config::Rules::Embedded;
        if embedded(&current) != embedded(&new) {
            tracing::warn!(
                "configuration: sensor: from the rule sets of the binary to folders or back acts after a restart"
            );
            new.sensor.rules = current.sensor.rules.clone();
        }
        let folders = current.sensor.rules != new.sensor.rules;
        let directory = match directory(&new) {
            Ok(directory) => directory,
            Err(error) => {
                tracing::error!("{error:#}; the old configuration stays in force");
                return false;
            }
        };
        let senders = inputs::senders(&new);
        // Inputs that stand in both keep their sockets and take the new policy.
        for (index, input) in new.inputs.iter().enumerate() {
            let known = state.inputs.iter().position(|one| one.name == input.name);
            if let Some(state) = known.and_then(|known| state.inputs.get(known)) {
                let known = state.policy.load().index;
                let mut policy = inputs::policy(index, input, &senders);
                policy.index = known;
                policy.format = state.policy.load().format;
                state.policy.store(Arc::new(policy));
            }
        }
        // Another directory ends every throttle window, so only a different one is another.
        if **state.directory.load() != directory {
            state.directory.store(Arc::new(directory));
            state.tell_senders();
        }
        for output in &new.outputs {
            state.delivery.set_release(&output.name, &super::release_of(output));
        }
        *current = new;
        (changes, folders)
    };
    for change in &changes {
        match change.restart {
            true => tracing::warn!("configuration: {change}"),
            false => tracing::info!("configuration: {change}"),
        }
    }
    if folders {
        let current = state.config.lock().unwrap_or_else(PoisonError::into_inner).clone();
        store.set_paths(rule_paths(&current));
        *watcher = watch_rules(&current, own);
    }
    true
}

/// Compiles what changed and swaps it in; a set that fails keeps its last good version.
fn reload_rules(state: &State, store: &mut Store, asked: bool) -> bool {
    let start = Instant::now();
    let generation = store.load(now());
    let failed = generation.diagnostics.iter().any(|problem| problem.level == Level::Error);
    // Something else in a watched folder may have changed, such as a log: a line for each such change
    // would be a change itself.
    let before = state.generation.load();
    if asked || !generation.changes.is_empty() || generation.diagnostics != before.diagnostics {
        tell(&generation.diagnostics);
        for set in generation.sets.iter().filter(|set| set.stale.is_some()) {
            tracing::warn!(set = set.info.name, "the file is refused; the last good version stays in force");
        }
        for file in &generation.refused {
            tracing::error!("{} is refused and nothing of it is in force", file.path.display());
        }
        tell_changes(&generation, start.elapsed());
    }
    state.rules.store(generation.rules.clone());
    state.generation.store(Arc::new(generation));
    state.tell_rules(asked);
    !failed
}

/// Logs each problem as `file:line:column: message`.
fn tell(problems: &[Diagnostic]) {
    for problem in problems {
        match problem.level {
            Level::Error => tracing::error!("{}", problem.one_line()),
            Level::Warning => tracing::warn!("{}", problem.one_line()),
            Level::Note => tracing::info!("{}", problem.one_line()),
        }
    }
}

/// Logs what was added, removed and changed; values stricter than `clear` are masked.
fn tell_changes(generation: &Generation, took: Duration) {
    for set in &generation.changes {
        for change in set.list.iter().take(CHANGES_LOGGED) {
            let shown = match change.tlp {
                Tlp::Clear => change.value.as_str(),
                _ => "(masked)",
            };
            tracing::info!(set = set.set, "{} {} {shown}", change.change.name(), change.kind.name());
        }
        tracing::info!(
            set = set.set,
            added = set.added,
            removed = set.removed,
            changed = set.changed,
            "set changed"
        );
    }
    tracing::info!(sets = generation.sets.len(), milliseconds = took.as_millis() as u64, "rules loaded");
}
