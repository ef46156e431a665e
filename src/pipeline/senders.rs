//! Who sends, for `roje sources`, for the metrics, and for what must not fall silent.

use super::State;
use crate::alert::Heard;
use crate::decode::flow::ExporterStatus;
use crate::input::{Nanos, now};
use crate::sources::{self, Report, Sender, Totals};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

/// What senders are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// Most messages first.
    Messages,
    /// Most a second first.
    Rate,
    /// The longest silent first.
    LastSeen,
    /// Most messages that could not be decoded first.
    Errors,
    /// Most messages dropped or lost first.
    Drops,
    /// The clock that is off the most first.
    Skew,
    /// By name, then address.
    Name,
}

impl Sort {
    /// Every order, with its name.
    pub const ALL: [(&'static str, Sort); 7] = [
        ("messages", Sort::Messages),
        ("rate", Sort::Rate),
        ("last-seen", Sort::LastSeen),
        ("errors", Sort::Errors),
        ("drops", Sort::Drops),
        ("skew", Sort::Skew),
        ("name", Sort::Name),
    ];

    /// The order of a name.
    pub fn from_name(name: &str) -> Option<Sort> {
        Sort::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, sort)| sort)
    }

    fn apply(self, senders: &mut [Sender]) {
        // Where two are equal, the same order each time.
        senders.sort_by(|one, other| {
            (&one.name, one.address, one.input).cmp(&(&other.name, other.address, other.input))
        });
        match self {
            Sort::Messages => senders.sort_by_key(|one| Reverse(one.totals.messages)),
            Sort::Rate => senders.sort_by(|one, other| other.rate.total_cmp(&one.rate)),
            Sort::LastSeen => senders.sort_by_key(|one| one.totals.last),
            Sort::Errors => senders.sort_by_key(|one| Reverse(one.totals.errors)),
            Sort::Drops => senders.sort_by_key(|one| {
                Reverse(one.totals.dropped + one.totals.lost.saturating_sub(one.totals.late))
            }),
            Sort::Skew => senders.sort_by_key(|one| Reverse(one.skew.unwrap_or_default().unsigned_abs())),
            // Those without a name come last.
            Sort::Name => senders.sort_by_key(|one| one.name.is_none()),
        }
    }
}

/// What an exporter of flow records sent from one address to one input, in all its domains.
#[derive(Default)]
struct Exporter {
    domains: u64,
    untrusted: u64,
    records: u64,
    restarts: u64,
    lost_samples: u64,
    /// Of the domain that was heard last, if it told one.
    sampling_rate: u32,
    last: Nanos,
}

impl Exporter {
    fn add(&mut self, domain: &ExporterStatus) {
        self.domains += 1;
        self.untrusted += u64::from(domain.untrusted);
        self.records += domain.records;
        self.restarts += domain.restarts;
        self.lost_samples += domain.lost_samples;
        if domain.sampling_rate > 0 && domain.last_seen >= self.last {
            self.sampling_rate = domain.sampling_rate;
            self.last = domain.last_seen;
        }
    }

    fn json(&self) -> Value {
        json!({
            "domains": self.domains,
            "untrusted": self.untrusted,
            "records": self.records,
            "restarts": self.restarts,
            "lost_samples": self.lost_samples,
            "sampling_rate": (self.sampling_rate > 0).then_some(self.sampling_rate),
        })
    }
}

impl State {
    /// What exporters told, by the index of the input and the address that it came from; a few seconds old.
    fn exporters(&self) -> HashMap<(usize, IpAddr), Exporter> {
        let mut all: HashMap<_, Exporter> = HashMap::new();
        for (index, input) in self.inputs.iter().enumerate() {
            let told = input.exporters.as_ref().map(|report| report.exporters.load_full());
            for domain in told.iter().flat_map(|told| told.iter()) {
                all.entry((index, domain.sender.to_canonical())).or_default().add(domain);
            }
        }
        all
    }

    /// Tells the workers' tables which sources there are.
    pub(super) fn tell_senders(&self) {
        let directory = self.directory.load_full();
        for (_, table) in self.senders.get().into_iter().flatten() {
            sources::lock(table).set_directory(Arc::clone(&directory));
        }
    }

    fn report(&self, at: Nanos) -> Report {
        let zones: Vec<TimeZone> = {
            let config = self.config.lock().unwrap_or_else(PoisonError::into_inner);
            config.inputs.iter().map(|input| input.timezone.clone()).collect()
        };
        let tables = self.senders.get().into_iter().flatten();
        let tables = tables.map(|(input, table)| (*input, table.as_ref()));
        sources::report(tables, &self.directory.load(), &zones, at)
    }

    /// What came of each source, in the order of the directory.
    pub(super) fn heard(&self) -> Vec<Heard> {
        let mut heard = vec![Heard::default(); self.directory.load().sources().len()];
        for (_, table) in self.senders.get().into_iter().flatten() {
            sources::lock(table).heard(&mut heard);
        }
        heard
    }

    /// How long the inputs that hold their senders back have done so, the longest of them.
    pub(super) fn held_back(&self) -> Nanos {
        let held = self.inputs.iter().filter_map(|input| input.connections.as_ref());
        held.map(|stats| stats.held_back()).max().unwrap_or_default()
    }

    /// Declared sources whose stamps are off by what zones are: name, seconds, the zone.
    pub(super) fn probable_zones(&self) -> Vec<(String, i64, String)> {
        if self.directory.load().sources().is_empty() {
            return Vec::new();
        }
        let mut senders = self.report(now()).senders;
        senders.retain(|sender| sender.source.is_some());
        Sort::LastSeen.apply(&mut senders);
        let mut found: Vec<(String, i64, String)> = Vec::new();
        // Of several senders, the one that was heard last speaks for the source.
        for sender in senders.into_iter().rev() {
            if let (Some(name), Some(skew), Some(zone)) = (sender.name, sender.skew, sender.zone)
                && !found.iter().any(|(known, ..)| *known == name)
            {
                found.push((name, skew, zone));
            }
        }
        found
    }

    /// What `roje sources --format json` prints.
    pub(super) fn senders_json(&self, sort: Sort, top: usize) -> Value {
        let at = now();
        let mut report = self.report(at);
        let silent = self.silent.load();
        let exporters = self.exporters();
        sort.apply(&mut report.senders);
        let known = report.senders.len();
        report.senders.truncate(top);
        let each: Vec<Value> = report
            .senders
            .iter()
            .map(|sender| {
                let input =
                    sender.input.and_then(|index| self.inputs.get(index)).map(|input| input.name.as_str());
                let mut one = json!({
                    "name": sender.name,
                    "address": sender.address.map(|address| address.to_string()),
                    "input": input,
                    "format": sender.format,
                    "messages": sender.totals.messages,
                    "rate": (sender.rate * 1000.0).round() / 1000.0,
                    "first_seen": stamp(sender.totals.first),
                    "last_seen": stamp(sender.totals.last),
                    "decode_errors": sender.totals.errors,
                    "drops": sender.totals.dropped,
                    "lost": sender.totals.lost.saturating_sub(sender.totals.late),
                    "late": sender.totals.late,
                    "skew_seconds": sender.skew,
                    "probable_timezone": sender.zone,
                });
                let key = sender.input.zip(sender.address.map(|address| address.to_canonical()));
                one["exporter"] = key.and_then(|key| exporters.get(&key)).map_or(Value::Null, Exporter::json);
                one["silent"] = json!(
                    sender.source.is_some() && sender.name.as_ref().is_some_and(|name| silent.contains(name))
                );
                one
            })
            .collect();
        let (forgotten, totals) = report.forgotten;
        json!({
            "at": stamp(at),
            "sources": each,
            "senders": known,
            "forgotten": {
                "senders": forgotten,
                "messages": totals.messages,
                "decode_errors": totals.errors,
                "drops": totals.dropped,
                "lost": totals.lost.saturating_sub(totals.late),
            },
        })
    }

    /// Brings the metrics of declared sources up to date.
    pub(super) fn count_sources(&self) {
        let _guard = self.refreshing.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = self.directory.load();
        let metrics = &self.metrics;
        for gauge in
            [&metrics.source_last_seen, &metrics.source_skew, &metrics.source_format, &metrics.source_silent]
        {
            gauge.reset();
        }
        if directory.sources().is_empty() {
            return;
        }
        let report = self.report(now());
        let silent = self.silent.load();
        for (index, source) in (0u16..).zip(directory.sources()) {
            let label = [source.name.as_str()];
            let Totals { messages, errors, dropped, lost, last, .. } =
                report.sources.get(usize::from(index)).copied().unwrap_or_default();
            for (family, count) in [
                (&metrics.source_messages, messages),
                (&metrics.source_errors, errors),
                (&metrics.source_dropped, dropped),
                (&metrics.source_lost, lost),
            ] {
                crate::metrics::raise(&family.with_label_values(&label), count);
            }
            if last > 0 {
                metrics.source_last_seen.with_label_values(&label).set(last / 1_000_000_000);
            }
            if source.expect_every.is_some() {
                let is_silent = silent.contains(&source.name);
                metrics.source_silent.with_label_values(&label).set(i64::from(is_silent));
            }
            // Of several senders, the one that was heard last speaks for the source.
            let own = report.senders.iter().filter(|sender| sender.source == Some(index));
            for sender in own.clone() {
                if let Some(format) = sender.format {
                    metrics.source_format.with_label_values(&[source.name.as_str(), format]).set(1);
                }
            }
            let latest = own.filter(|sender| sender.skew.is_some()).max_by_key(|sender| sender.totals.last);
            if let Some(skew) = latest.and_then(|sender| sender.skew) {
                metrics.source_skew.with_label_values(&label).set(skew);
            }
        }
    }
}

/// RFC 3339 in UTC, to the second; none for never.
fn stamp(at: Nanos) -> Option<String> {
    let at = (at > 0).then_some(at)?;
    Timestamp::from_second(at / 1_000_000_000).ok().map(|at| at.to_string())
}
