//! `roje scan`: indicators in files.

use super::offline::{self, Job, Place};
use super::{As, ScanArgs, loading, terminal};
use crate::alert::{Composer, Directory, Evidence, Hit, Listener};
use crate::decode::Fields;
use crate::decode::flow::{DecodeError, Record};
use crate::decode::syslog::Reference;
use crate::detect::{Match, Matcher, RuleSet, Validity};
use crate::input::{Message, Nanos, now};
use crate::pipeline;
use serde_json::{Map, Value, json};
use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// Matches files; every hit is an alert.
pub fn run(args: &ScanArgs) -> anyhow::Result<ExitCode> {
    let generation = loading::rules(&args.rules)?;
    let listener = Listener { timezone: args.time.timezone.clone(), exercise: false };
    let directory = Directory::new(vec![listener], Vec::new(), Vec::new())?;
    let scan = Scan {
        rules: generation.rules.clone(),
        composer: Composer::new(pipeline::agent(crate::config::host_name()), Arc::new(directory)),
        valid_only: args.valid_only,
        now: now(),
    };
    let start = Instant::now();
    let mut out = BufWriter::new(std::io::stdout());
    let threads = offline::threads(args.workers);
    let (read, workers) = offline::run(&scan, &args.inputs, As::Auto, &args.time, threads, &mut out)?;
    out.flush()?;
    let (mut alerts, mut suppressed, mut undecodable) = (0, 0, 0);
    for worker in &workers {
        alerts += worker.alerts;
        suppressed += worker.suppressed;
        undecodable += worker.undecodable;
    }
    let seconds = start.elapsed().as_secs_f64().max(1e-9);
    let mut notes = String::new();
    for (count, what) in [
        (suppressed, "suppressed"),
        (undecodable, "undecodable"),
        (read.captures.truncated, "truncated in capture"),
        (read.captures.undecodable, "unknown packets"),
        (read.captures.incomplete, "incomplete fragments"),
        (read.captures.gaps, "stream gaps"),
        (read.failed, "inputs failed"),
    ] {
        if count > 0 {
            notes.push_str(&format!(", {} {what}", terminal::count(count)));
        }
    }
    eprintln!(
        "{} messages, {:.1} MB in {seconds:.2} s ({:.0} MB/s): {} hits{notes}",
        terminal::count(read.messages),
        read.bytes as f64 / 1e6,
        read.bytes as f64 / 1e6 / seconds,
        terminal::count(alerts),
    );
    Ok(ExitCode::from(match (read.failed, alerts) {
        (1.., _) => 2,
        (0, 0) => 1,
        _ => 0,
    }))
}

struct Scan {
    rules: Arc<RuleSet>,
    composer: Composer,
    valid_only: bool,
    now: Nanos,
}

/// One thread's matcher, and what it counted.
struct Worker {
    matcher: Matcher,
    composer: Composer,
    found: Vec<Match>,
    alerts: u64,
    suppressed: u64,
    undecodable: u64,
}

impl Job for Scan {
    type Worker = Worker;

    fn worker(&self) -> Worker {
        Worker {
            matcher: Matcher::default(),
            composer: self.composer.clone(),
            found: Vec::new(),
            alerts: 0,
            suppressed: 0,
            undecodable: 0,
        }
    }

    fn sift<'m>(&self, worker: &mut Worker, messages: impl Iterator<Item = &'m [u8]>) -> u32 {
        worker.matcher.sift(&self.rules, messages)
    }

    fn syslog(
        &self,
        worker: &mut Worker,
        message: &Message<'_>,
        place: Place<'_>,
        time: &Reference,
        out: &mut Vec<u8>,
    ) {
        let found = &mut worker.found;
        let validity = Validity::Mark(self.now);
        worker
            .matcher
            .message(&self.rules, message.bytes, validity, time, &mut |matched| found.push(matched));
        if !worker.found.is_empty() {
            let evidence = Evidence::Syslog { bytes: message.bytes.into() };
            self.tell(worker, message, &evidence, place, out);
        }
    }

    fn record(
        &self,
        worker: &mut Worker,
        message: &Message<'_>,
        record: &Record<'_>,
        place: Place<'_>,
        out: &mut Vec<u8>,
    ) {
        let found = &mut worker.found;
        worker
            .matcher
            .record(&self.rules, record, Validity::Mark(self.now), &mut |matched| found.push(matched));
        if !worker.found.is_empty() {
            let mut fields = Fields::default();
            record.fields(&mut fields);
            let evidence =
                Evidence::Flow { flow: record.flow(), fields: Arc::new(fields), bytes: record.bytes.into() };
            self.tell(worker, message, &evidence, place, out);
        }
    }

    fn undecodable(
        &self,
        worker: &mut Worker,
        message: &Message<'_>,
        _error: DecodeError,
        place: Place<'_>,
        time: &Reference,
        out: &mut Vec<u8>,
    ) {
        worker.undecodable += 1;
        self.syslog(worker, message, place, time, out);
    }
}

impl Scan {
    /// Makes an alert of each match found in one message.
    fn tell(
        &self,
        worker: &mut Worker,
        message: &Message<'_>,
        evidence: &Evidence,
        place: Place<'_>,
        out: &mut Vec<u8>,
    ) {
        for mut matched in std::mem::take(&mut worker.found) {
            if self.valid_only && matched.expired {
                let expired = |meta: &crate::detect::indicator::Meta| {
                    meta.valid_until.is_some_and(|until| until <= self.now)
                };
                matched.contributors.retain(|entry| !expired(self.rules.contributor(*entry).meta));
                matched.expired = false;
            }
            if matched.suppressed.is_some() || matched.contributors.is_empty() {
                worker.suppressed += 1;
                continue;
            }
            let hit = Hit {
                rules: self.rules.clone(),
                matched,
                evidence: evidence.clone(),
                input: 0,
                peer: message.peer,
                identity: None,
                received: message.received,
                last: message.received,
                count: 1,
                worker: place.input,
                // A datagram holds less than 2^16 records.
                sequence: (place.number << 16) | place.record,
            };
            let Some(mut alert) = worker.composer.compose(&hit, self.now) else {
                worker.suppressed += 1;
                continue;
            };
            // A file was received at no particular time: what counts is when it happened.
            if message.peer.is_none()
                && let Some(happened) = happened(&alert.event)
            {
                (alert.first_seen, alert.last_seen) = (happened, happened);
            }
            put_place(&mut alert.event, place);
            out.extend_from_slice(&alert.into_line());
            out.push(b'\n');
            worker.alerts += 1;
        }
    }
}

/// The time of the event, if it tells one.
fn happened(event: &Map<String, Value>) -> Option<Nanos> {
    let stamp: jiff::Timestamp = event.get("@timestamp")?.as_str()?.parse().ok()?;
    Nanos::try_from(stamp.as_nanosecond()).ok()
}

/// Names the file and the place in it: `log.file.path`, `log.offset`.
pub fn put_place(event: &mut Map<String, Value>, place: Place<'_>) {
    let log = event.entry("log").or_insert_with(|| json!({}));
    log["file"] = json!({ "path": place.path.display().to_string() });
    if let Some(offset) = place.offset {
        log["offset"] = json!(offset);
    }
}
