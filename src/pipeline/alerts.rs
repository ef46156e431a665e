//! The alert thread: hits become alerts, on disk before they count as raised.

use super::{Observe, State};
use crate::alert::{Alert, Alerter, Directory, Hit, Moment, Raised, SetSummary, Silences};
use crate::detect::indicator::Tlp;
use crate::input::{Nanos, now, time};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Hits that share one fsync at most; more would delay the first of them.
const GROUP: usize = 512;

/// Bytes of evidence that share one fsync at most: a message of 64 KiB with thousands of matches is
/// decoded and written for each of them.
const GROUP_BYTES: usize = 4 << 20;

/// How long a stopping sensor goes on telling hits one by one; what waits then is counted by set.
const STOP_TELLING: Duration = Duration::from_secs(3);

/// How often the spool looks at the age of its alerts and at a disk that refused them.
const SPOOL_TICK: Duration = Duration::from_secs(1);

/// How often summaries that are due are looked for when nothing arrives.
const TICK: Duration = Duration::from_millis(250);

/// Starts the thread; it ends when every worker has dropped its sender.
pub fn start(
    state: &Arc<State>,
    hits: Receiver<Raised>,
    observe: Option<Observe>,
) -> anyhow::Result<JoinHandle<()>> {
    let state = state.clone();
    Ok(std::thread::Builder::new().name("alerts".into()).spawn(move || run(&state, &hits, observe))?)
}

fn run(state: &State, hits: &Receiver<Raised>, mut observe: Option<Observe>) {
    let name = state.config.lock().unwrap_or_else(PoisonError::into_inner).sensor.name.clone();
    let mut directory = state.directory.load_full();
    let mut ears = Ears::new(Silences::new(super::agent(name.clone()), 0));
    let mut clocks = Clocks::default();
    let mut alerter = Alerter::new(super::agent(name), directory.clone());
    let (mut batch, mut received, mut tests) = (Vec::new(), Vec::new(), Tests::default());
    let mut marks = Vec::new();
    let (mut stopping, mut ticked) = (None::<Instant>, Instant::now());
    // The first heartbeats.
    state.delivery.tick();
    loop {
        if state.stop.is_set() {
            stopping.get_or_insert_with(Instant::now);
        }
        let late = stopping.is_some_and(|since| since.elapsed() > STOP_TELLING);
        state.alert_progress.fetch_add(1, Ordering::Relaxed);
        let first = hits.recv_timeout(TICK);
        if !Arc::ptr_eq(&directory, &state.directory.load()) {
            directory = state.directory.load_full();
            alerter.set_directory(directory.clone(), time(), &mut |alert| batch.push(alert));
        }
        let ended = matches!(first, Err(RecvTimeoutError::Disconnected));
        let mut bytes = 0;
        for raised in first.into_iter().chain(hits.try_iter().take(GROUP - 1)) {
            if let Raised::Hit(hit) = &raised {
                bytes += hit.evidence.bytes().len();
            }
            match raised {
                Raised::Mark(mark) => marks.push(mark),
                Raised::Hit(hit) if late && hit.matched.suppressed.is_none() => {
                    if let Some(summary) = SetSummary::of(&hit) {
                        alerter.offer(Raised::Summary(summary), time(), &mut |alert| batch.push(alert));
                    }
                }
                Raised::Hit(hit) if hit.matched.suppressed.is_some() => tests.log(&hit),
                raised => {
                    received.push(match &raised {
                        Raised::Hit(hit) => hit.received,
                        Raised::Summary(summary) => summary.last,
                        Raised::Mark(_) => now(),
                    });
                    alerter.offer(raised, time(), &mut |alert| batch.push(alert));
                }
            }
            if bytes > GROUP_BYTES {
                break;
            }
        }
        match ended {
            false => alerter.tick(time(), &mut |alert| batch.push(alert)),
            true => alerter.flush(time(), &mut |alert| batch.push(alert)),
        }
        tests.forget(now());
        raise(state, &mut batch, &mut observe);
        for mark in marks.drain(..) {
            // Whoever asked may have gone.
            let _ = mark.send(state.delivery.is_on_disk());
        }
        if ticked.elapsed() > SPOOL_TICK {
            ticked = Instant::now();
            state.delivery.tick();
            if stopping.is_none() {
                ears.listen(state, &directory, &mut batch);
                clocks.look(state);
                raise(state, &mut batch, &mut observe);
            }
        }
        let raised_at = now();
        for received in received.drain(..) {
            state.metrics.processing.observe((raised_at - received).max(0) as f64 / 1e9);
        }
        if ended {
            return;
        }
    }
}

/// How often the clocks of sources are looked at.
const CLOCKS: Duration = Duration::from_secs(10);

/// Zones that stamps of declared sources are probably in, as they were told: each is told once.
#[derive(Default)]
struct Clocks {
    told: HashMap<String, String>,
    looked: Option<Instant>,
}

impl Clocks {
    fn look(&mut self, state: &State) {
        if self.looked.is_some_and(|looked| looked.elapsed() < CLOCKS) {
            return;
        }
        self.looked = Some(Instant::now());
        let zones = state.probable_zones();
        self.told.retain(|name, _| zones.iter().any(|(known, ..)| known == name));
        for (name, skew, zone) in zones {
            if self.told.get(&name) != Some(&zone) {
                tracing::warn!(
                    source = name,
                    skew_seconds = skew,
                    "its stamps are probably {zone}; give its [[source]] that timezone"
                );
                self.told.insert(name, zone);
            }
        }
    }
}

/// Listens for those of whom something is expected.
struct Ears {
    silences: Silences,
    started: Instant,
    /// How long the sensor had held senders back when it last looked.
    held: Nanos,
    directory: Option<Arc<Directory>>,
}

impl Ears {
    fn new(silences: Silences) -> Ears {
        Ears { silences, started: Instant::now(), held: 0, directory: None }
    }

    /// Looks who has fallen silent.
    fn listen(&mut self, state: &State, directory: &Arc<Directory>, batch: &mut Vec<Alert>) {
        // Counts of a directory that is being replaced belong to other numbers; the next look is soon
        // enough.
        let same = |one: &Arc<Directory>| Arc::ptr_eq(one, directory);
        if !same(&state.directory.load()) || !self.directory.as_ref().is_some_and(same) {
            self.directory = Some(Arc::clone(directory));
            return;
        }
        let silences = &mut self.silences;
        if !directory.sources().iter().any(|source| source.expect_every.is_some())
            && silences.silent().next().is_none()
        {
            return;
        }
        let heard = state.heard();
        if heard.len() != directory.sources().len() {
            return;
        }
        let held = std::mem::replace(&mut self.held, state.held_back());
        let now = Moment {
            day: now(),
            steady: Nanos::try_from(self.started.elapsed().as_nanos()).unwrap_or(Nanos::MAX),
            deaf: self.held - held,
        };
        let mut again = |name: &str| tracing::info!(source = name, "is heard again");
        silences.check(directory, &heard, now, &mut |alert| batch.push(alert), &mut again);
        let mut silent: Vec<String> = silences.silent().map(str::to_owned).collect();
        silent.sort_unstable();
        if **state.silent.load() != silent {
            state.silent.store(Arc::new(silent));
        }
    }
}

/// Appends alerts to the spool in one group; only then they count as raised.
fn raise(state: &State, batch: &mut Vec<Alert>, observe: &mut Option<Observe>) {
    if batch.is_empty() {
        return;
    }
    state.delivery.append(batch);
    for alert in batch.drain(..) {
        state.metrics.alerts.with_label_values(&[alert.severity().name()]).inc();
        if let Some(observe) = observe {
            observe(&alert);
        }
    }
}

/// Indicators with `status: test` that matched lately: each is logged at most once an hour.
#[derive(Default)]
struct Tests {
    logged: HashMap<(String, String), Nanos>,
}

/// How long a test indicator stays silent after it was logged.
const TEST_INTERVAL: Nanos = 3_600_000_000_000;

/// Test indicators remembered; a set that tests more is told of in part.
const TESTS: usize = 4096;

impl Tests {
    /// Makes room, when it is needed, by what may be logged again.
    fn forget(&mut self, now: Nanos) {
        if self.logged.len() >= TESTS {
            self.logged.retain(|_, logged| now - *logged < TEST_INTERVAL);
        }
    }

    fn log(&mut self, hit: &Hit) {
        let Some(entry) = hit.matched.contributors.first() else { return };
        let contributor = hit.rules.contributor(*entry);
        let value = hit.rules.value(hit.matched.value);
        let key = (contributor.set.name.clone(), value);
        let recent = |logged: &Nanos| hit.received - *logged < TEST_INTERVAL;
        if self.logged.get(&key).is_some_and(recent) || self.logged.len() >= TESTS {
            return;
        }
        let value = if contributor.meta.tlp == Tlp::Clear { key.1.as_str() } else { "(masked)" };
        tracing::info!(
            set = contributor.set.name,
            id = contributor.id,
            sender = hit.peer.map(|peer| peer.ip().to_string()),
            "test indicator matched: {} {}",
            hit.matched.kind.name(),
            value.escape_debug()
        );
        self.logged.insert(key, hit.received);
    }
}
