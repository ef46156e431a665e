//! Every metric, defined once.
//!
//! Workers count in a plain [`Tally`] and flush it into the shared [`Metrics`] once for each batch,
//! so that no cache line is shared on the hot path. Label values come from the configuration, from
//! rule sets and from closed lists, never from what a sender chooses.

use crate::decode::{flow, syslog};
use crate::detect::indicator::Severity;
use crate::detect::{RuleSet, Suppression};
use crate::input::{Format, Nanos};
use crate::output::{OutputStats, Withheld};
use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Receive to alert: from a batch that is gathered for a millisecond to a disk that hangs.
const PROCESSING_BUCKETS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Why a received message was dropped; the name is the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// The sender stands outside `allow`.
    Denied,
}

impl Dropped {
    /// Every reason.
    pub const ALL: [Dropped; 1] = [Dropped::Denied];

    /// The label value.
    pub fn name(self) -> &'static str {
        match self {
            Dropped::Denied => "denied",
        }
    }
}

macro_rules! metrics {
    ($($field:ident: $kind:ident = $name:literal [$($label:literal),*] $help:literal;)*) => {
        /// The shared counters and gauges of a sensor, and the registry that serves them.
        #[derive(Clone)]
        pub struct Metrics {
            registry: Registry,
            $(#[doc = $help] pub $field: $kind,)*
            /// Receive to alert, in seconds.
            pub processing: Histogram,
        }

        impl Metrics {
            /// Registers every metric.
            pub fn new() -> Metrics {
                let registry = Registry::new();
                let processing = register(
                    &registry,
                    Histogram::with_opts(
                        HistogramOpts::new("roje_processing_seconds", "Time from receiving a message to its alert.")
                            .buckets(PROCESSING_BUCKETS.to_vec()),
                    ),
                );
                let metrics = Metrics {
                    $($field: register(&registry, metrics!(@new $kind, $name, $help, [$($label),*])),)*
                    processing,
                    registry,
                };
                // What alarms watch shows from the start: an increase from nothing is not seen.
                for result in ["success", "failure"] {
                    metrics.reload.with_label_values(&[result]);
                }
                for reason in Suppression::ALL {
                    metrics.suppressed.with_label_values(&[reason.name()]);
                }
                metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
                // On a system without /proc the process metrics are absent; nothing else depends on them.
                let process = prometheus::process_collector::ProcessCollector::for_self();
                metrics.registry.register(Box::new(process)).ok();
                metrics
            }
        }
    };
    (@new IntCounterVec, $name:literal, $help:literal, [$($label:literal),*]) => {
        IntCounterVec::new(Opts::new($name, $help), &[$($label),*])
    };
    (@new GaugeVec, $name:literal, $help:literal, [$($label:literal),*]) => {
        GaugeVec::new(Opts::new($name, $help), &[$($label),*])
    };
    (@new IntGaugeVec, $name:literal, $help:literal, [$($label:literal),*]) => {
        IntGaugeVec::new(Opts::new($name, $help), &[$($label),*])
    };
}

metrics! {
    input_messages: IntCounterVec = "roje_input_messages_total" ["input"] "Messages received.";
    input_bytes: IntCounterVec = "roje_input_bytes_total" ["input"] "Bytes of the messages received.";
    input_kernel_dropped: IntCounterVec = "roje_input_kernel_dropped_total" ["input"] "Datagrams that the kernel dropped before they were received.";
    input_dropped: IntCounterVec = "roje_input_dropped_total" ["input", "reason"] "Messages received and dropped.";
    input_truncated: IntCounterVec = "roje_input_truncated_total" ["input"] "Messages of which only the head was kept.";
    input_connections: IntGaugeVec = "roje_input_connections" ["input"] "Connections open now.";
    input_receive_buffer: IntGaugeVec = "roje_input_receive_buffer_bytes" ["input"] "Receive buffer granted by the kernel.";
    input_connections_closed: IntCounterVec = "roje_input_connections_closed_total" ["input", "reason"] "Connections that the sensor closed.";
    tls_certificate_expiry: IntGaugeVec = "roje_tls_certificate_expiry_timestamp_seconds" ["input", "file", "role"] "When the first certificate of a file ends, or a revocation list should have been replaced.";
    decoded: IntCounterVec = "roje_decoded_total" ["input", "format"] "Messages decoded.";
    decode_errors: IntCounterVec = "roje_decode_errors_total" ["input", "reason"] "Messages that could not be decoded; they are matched raw.";
    flow_records: IntCounterVec = "roje_flow_records_total" ["input"] "Flow records read, options records and counter samples included.";
    flow_templates: IntGaugeVec = "roje_flow_templates" ["input"] "Templates held.";
    flow_sequence_gaps: IntCounterVec = "roje_flow_sequence_gaps_total" ["input"] "Sequence numbers that exporters skipped.";
    flow_sequence_late: IntCounterVec = "roje_flow_sequence_late_total" ["input"] "Sequence numbers counted as skipped that came late.";
    flow_restarts: IntCounterVec = "roje_flow_exporter_restarts_total" ["input"] "Exporters that started anew, as their uptime or their numbers tell.";
    flow_untrusted: IntGaugeVec = "roje_flow_exporters_untrusted" ["input"] "Exporters whose sequence numbers make no sense, so that their losses are not told.";
    flow_sample_gaps: IntCounterVec = "roje_flow_sample_gaps_total" ["input"] "Samples that sFlow agents numbered and did not send, or that were lost.";
    flow_sample_late: IntCounterVec = "roje_flow_samples_late_total" ["input"] "Samples counted as skipped that came late.";
    flow_templates_restored: IntGaugeVec = "roje_flow_templates_restored" ["input"] "Templates of an earlier run that no exporter has repeated yet.";
    flow_templates_dropped: IntCounterVec = "roje_flow_templates_dropped_total" ["input", "reason"] "Templates refused or forgotten.";
    flow_waiting_sets: IntCounterVec = "roje_flow_waiting_sets_total" ["input", "outcome"] "Sets that came before their template: kept, then replayed, or lost for want of room (full) or time (expired).";
    flow_replayed: IntCounterVec = "roje_flow_replayed_records_total" ["input"] "Records read when their template came after them.";
    flow_implausible_times: IntCounterVec = "roje_flow_implausible_times_total" ["input"] "Export times for which the receive time stands, and times of matched flows put within reason.";
    flow_damaged: IntCounterVec = "roje_flow_damaged_total" ["input", "reason"] "Parts of datagrams that could not be read, the rest of which was: cut short, sets, templates and records that contradict their lengths, trailing octets, withdrawals that are not allowed.";
    flow_unknown_samples: IntCounterVec = "roje_flow_unknown_samples_total" ["input"] "Samples of sFlow agents whose kind is not known.";
    flow_unknown_records: IntCounterVec = "roje_flow_unknown_sample_records_total" ["input"] "Records in samples of sFlow agents whose kind is not decoded.";
    flow_domains_evicted: IntCounterVec = "roje_flow_domains_evicted_total" ["input"] "Domains of exporters, their sampling rates and sequences, forgotten to make room for others.";
    flow_missing_template: IntCounterVec = "roje_flow_missing_template_total" ["input"] "Sets whose template had not been seen.";
    source_messages: IntCounterVec = "roje_source_messages_total" ["source"] "Messages of a declared source.";
    source_errors: IntCounterVec = "roje_source_decode_errors_total" ["source"] "Messages of a declared source that could not be decoded.";
    source_dropped: IntCounterVec = "roje_source_dropped_total" ["source"] "Messages of a declared source that were dropped.";
    source_lost: IntCounterVec = "roje_source_lost_total" ["source"] "Units that the sequence numbers of a declared source say are missing.";
    source_last_seen: IntGaugeVec = "roje_source_last_seen_timestamp_seconds" ["source"] "When a declared source was last heard.";
    source_skew: IntGaugeVec = "roje_source_clock_skew_seconds" ["source"] "How far the clock of a declared source is ahead.";
    source_format: IntGaugeVec = "roje_source_format" ["source", "format"] "1 for each format that a declared source sends now.";
    source_silent: IntGaugeVec = "roje_source_silent" ["source"] "1 while a source with expect_every is silent.";
    matches: IntCounterVec = "roje_matches_total" ["ruleset", "severity"] "Indicator values found.";
    suppressed: IntCounterVec = "roje_suppressed_total" ["reason"] "Matches that raise no alert.";
    alerts: IntCounterVec = "roje_alerts_total" ["severity"] "Alerts raised: on disk, or in memory where the disk failed.";
    alerts_delivered: IntCounterVec = "roje_alerts_delivered_total" ["output"] "Alerts delivered.";
    alerts_rejected: IntCounterVec = "roje_alerts_rejected_total" ["output"] "Alerts that the receiver refused and that were set aside.";
    alerts_withheld: IntCounterVec = "roje_alerts_withheld_total" ["output", "reason"] "Alerts that the output may not carry.";
    alerts_pending: IntGaugeVec = "roje_alerts_pending" ["output"] "Alerts waiting for delivery.";
    delivery_errors: IntCounterVec = "roje_delivery_errors_total" ["output"] "Failed attempts at delivery.";
    spool_bytes: IntGaugeVec = "roje_spool_bytes" ["output"] "Bytes of the spool that wait for this output.";
    spool_oldest: GaugeVec = "roje_spool_oldest_seconds" ["output"] "Age of the oldest alert that waits for this output.";
    spool_dropped: IntCounterVec = "roje_spool_dropped_total" ["output"] "Alerts lost to the limits of the spool.";
    alerts_unspooled: IntCounterVec = "roje_alerts_unspooled_total" ["output"] "Alerts that could not be written to disk first.";
    heartbeats: IntCounterVec = "roje_heartbeats_total" ["output"] "Heartbeats raised for an output.";
    heartbeats_missed: IntCounterVec = "roje_heartbeats_missed_total" ["output"] "Heartbeats that were not delivered within an interval.";
    heartbeat_delivered: IntGaugeVec = "roje_heartbeat_delivered_timestamp_seconds" ["output"] "When the last heartbeat was delivered.";
    rules_loaded: IntGaugeVec = "roje_rules_loaded" ["ruleset"] "Entries in force.";
    rules_refused: IntGaugeVec = "roje_rules_refused" ["ruleset"] "Rows refused.";
    rules_expired: IntGaugeVec = "roje_rules_expired" ["ruleset"] "Entries that have expired.";
    ruleset_stale: IntGaugeVec = "roje_ruleset_stale" ["ruleset"] "1 while the last good version stands in for a broken file.";
    reload: IntCounterVec = "roje_reload_total" ["result"] "Reloads of rules and configuration.";
    reload_timestamp: IntGaugeVec = "roje_reload_timestamp_seconds" ["result"] "When rules were last reloaded.";
    reload_duration: GaugeVec = "roje_reload_duration_seconds" ["result"] "How long the last reload took.";
    build_info: IntGaugeVec = "roje_build_info" ["version"] "Always 1; the label tells the version.";
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, collector: prometheus::Result<C>) -> C {
    // Names, labels and buckets are literals of the table above, distinct and valid; a test builds it.
    let collector = collector.expect("a valid metric");
    registry.register(Box::new(collector.clone())).expect("a distinct metric");
    collector
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    /// The text exposition format of Prometheus.
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }

    /// Takes over what the outputs counted.
    pub fn outputs(&self, outputs: &[(String, Arc<OutputStats>)], now: Nanos) {
        for (name, stats) in outputs {
            let label = [name.as_str()];
            for (family, count) in [
                (&self.alerts_delivered, &stats.delivered),
                (&self.alerts_rejected, &stats.rejected),
                (&self.delivery_errors, &stats.errors),
                (&self.spool_dropped, &stats.dropped),
                (&self.alerts_unspooled, &stats.unspooled),
            ] {
                raise(&family.with_label_values(&label), count.load(Ordering::Relaxed));
            }
            for reason in Withheld::ALL {
                raise(
                    &self.alerts_withheld.with_label_values(&[name, reason.name()]),
                    stats.withheld(reason),
                );
            }
            self.alerts_pending.with_label_values(&label).set(stats.pending.load(Ordering::Relaxed) as i64);
            self.spool_bytes.with_label_values(&label).set(stats.spool_bytes.load(Ordering::Relaxed) as i64);
            self.spool_oldest.with_label_values(&label).set(stats.oldest_seconds(now));
            let pulse = &stats.pulse;
            let raised = pulse.raised.load(Ordering::Relaxed);
            // Of an output that asks for none nothing is told.
            if raised > 0 {
                raise(&self.heartbeats.with_label_values(&label), raised);
                let missed = pulse.missed.load(Ordering::Relaxed);
                raise(&self.heartbeats_missed.with_label_values(&label), missed);
                let at = pulse.delivered_at.load(Ordering::Relaxed);
                self.heartbeat_delivered.with_label_values(&label).set(at);
            }
        }
    }

    /// Notes the outcome of a reload.
    pub fn reloaded(&self, result: &str, at_seconds: i64, took: Duration) {
        self.reload.with_label_values(&[result]).inc();
        self.reload_timestamp.with_label_values(&[result]).set(at_seconds);
        self.reload_duration.with_label_values(&[result]).set(took.as_secs_f64());
    }
}

/// Brings a counter up to a total that is counted elsewhere.
pub fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// What one worker counted of one input since the last flush.
#[derive(Debug, Default)]
pub struct Tally {
    /// Messages received.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of which only the head was kept.
    pub truncated: u64,
    /// From senders outside `allow`.
    pub denied: u64,
    /// Decoded, by format.
    pub decoded: [u64; DECODED],
    /// Not decoded, by reason.
    pub undecoded: [u64; UNDECODED],
    /// Flow records.
    pub records: u64,
    /// Sequence numbers skipped.
    pub gaps: u64,
    /// Sets without template.
    pub missing: u64,
    /// Templates held (a level, not a count).
    pub templates: u64,
    /// Sequence numbers that came late.
    pub late: u64,
    /// Exporters that started anew.
    pub restarts: u64,
    /// Samples that sFlow agents skipped.
    pub sample_gaps: u64,
    /// Records whose template came after them.
    pub replayed: u64,
    /// Times that were put within reason.
    pub implausible: u64,
    /// Parts of datagrams that could not be read, in the order of [`flow::Losses::REASONS`].
    pub damaged: [u64; flow::Losses::REASONS.len()],
    /// Samples of sFlow of unknown kinds.
    pub unknown_samples: u64,
    /// Records in samples of sFlow, of unknown kinds.
    pub unknown_records: u64,
    /// Samples that came late.
    pub samples_late: u64,
}

/// Formats that are counted: the syslog shapes, then the flow protocols.
pub const DECODED: usize = syslog::Shape::ALL.len() + FLOW_FORMATS.len();

/// Reasons that are counted: those of syslog, then those of flows.
pub const UNDECODED: usize = syslog::DecodeError::ALL.len() + flow::DecodeError::ALL.len();

const FLOW_FORMATS: [&str; 5] = ["netflow5", "netflow7", "netflow9", "ipfix", "sflow5"];

impl Tally {
    /// Counts a message that is syslog.
    #[inline]
    pub fn syslog(&mut self, decoded: Result<syslog::Shape, syslog::DecodeError>) {
        match decoded {
            Ok(shape) => self.decoded[shape as usize] += 1,
            Err(error) => self.undecoded[error as usize] += 1,
        }
    }

    /// Counts a datagram that is flow.
    #[inline]
    pub fn flow(&mut self, decoded: &Result<flow::Datagram, flow::Undecoded>) {
        let datagram = match decoded {
            Ok(datagram) => {
                let format = FLOW_FORMATS.iter().position(|name| *name == datagram.format).unwrap_or(0);
                self.decoded[syslog::Shape::ALL.len() + format] += 1;
                datagram
            }
            Err(flow::Undecoded { reason, datagram }) => {
                self.undecoded[syslog::DecodeError::ALL.len() + *reason as usize] += 1;
                datagram
            }
        };
        self.records += datagram.records;
        self.gaps += datagram.sequence_gap;
        self.missing += datagram.missing_templates;
        self.late += datagram.sequence_late;
        self.restarts += u64::from(datagram.restarted);
        self.sample_gaps += u64::from(datagram.sample_gap);
        self.replayed += datagram.replayed;
        self.implausible += u64::from(datagram.clock_unset);
        self.unknown_samples += u64::from(datagram.unknown_samples);
        self.unknown_records += u64::from(datagram.unknown_records);
        self.samples_late += u64::from(datagram.sample_late);
        for (sum, count) in self.damaged.iter_mut().zip(datagram.losses.counts()) {
            *sum += u64::from(count);
        }
    }
}

/// The counters of one input with their labels resolved.
pub struct InputMetrics {
    name: String,
    metrics: Metrics,
    messages: IntCounter,
    bytes: IntCounter,
    truncated: IntCounter,
    denied: IntCounter,
    decoded: [Option<IntCounter>; DECODED],
    undecoded: [Option<IntCounter>; UNDECODED],
    flows: Option<FlowMetrics>,
}

/// What only an input of flows counts.
struct FlowMetrics {
    records: IntCounter,
    gaps: IntCounter,
    missing: IntCounter,
    templates: IntGauge,
    late: IntCounter,
    restarts: IntCounter,
    sample_gaps: IntCounter,
    replayed: IntCounter,
    implausible: IntCounter,
    unknown_samples: IntCounter,
    unknown_records: IntCounter,
    samples_late: IntCounter,
    domains: IntCounter,
    restored: IntGauge,
    untrusted: IntGauge,
    /// By the order of [`flow::Losses::REASONS`].
    damaged: [IntCounter; flow::Losses::REASONS.len()],
    /// By the order of [`DROPPED_TEMPLATES`] and [`WAITING_SETS`].
    dropped: [IntCounter; DROPPED_TEMPLATES.len()],
    waiting: [IntCounter; WAITING_SETS.len()],
}

const DROPPED_TEMPLATES: [&str; 4] = ["evicted", "refused", "withdrawn", "expired"];
const WAITING_SETS: [&str; 4] = ["kept", "replayed", "full", "expired"];

impl InputMetrics {
    /// Resolves the labels of an input; its main counters show from the start, at zero.
    pub fn new(metrics: &Metrics, input: &str, format: Format) -> InputMetrics {
        let flows = || FlowMetrics {
            records: metrics.flow_records.with_label_values(&[input]),
            gaps: metrics.flow_sequence_gaps.with_label_values(&[input]),
            missing: metrics.flow_missing_template.with_label_values(&[input]),
            templates: metrics.flow_templates.with_label_values(&[input]),
            late: metrics.flow_sequence_late.with_label_values(&[input]),
            restarts: metrics.flow_restarts.with_label_values(&[input]),
            sample_gaps: metrics.flow_sample_gaps.with_label_values(&[input]),
            replayed: metrics.flow_replayed.with_label_values(&[input]),
            implausible: metrics.flow_implausible_times.with_label_values(&[input]),
            unknown_samples: metrics.flow_unknown_samples.with_label_values(&[input]),
            unknown_records: metrics.flow_unknown_records.with_label_values(&[input]),
            samples_late: metrics.flow_sample_late.with_label_values(&[input]),
            domains: metrics.flow_domains_evicted.with_label_values(&[input]),
            damaged: flow::Losses::REASONS
                .map(|reason| metrics.flow_damaged.with_label_values(&[input, reason])),
            restored: metrics.flow_templates_restored.with_label_values(&[input]),
            untrusted: metrics.flow_untrusted.with_label_values(&[input]),
            dropped: DROPPED_TEMPLATES
                .map(|reason| metrics.flow_templates_dropped.with_label_values(&[input, reason])),
            waiting: WAITING_SETS
                .map(|outcome| metrics.flow_waiting_sets.with_label_values(&[input, outcome])),
        };
        InputMetrics {
            name: input.to_string(),
            metrics: metrics.clone(),
            messages: metrics.input_messages.with_label_values(&[input]),
            bytes: metrics.input_bytes.with_label_values(&[input]),
            truncated: metrics.input_truncated.with_label_values(&[input]),
            denied: metrics.input_dropped.with_label_values(&[input, Dropped::Denied.name()]),
            decoded: [const { None }; DECODED],
            undecoded: [const { None }; UNDECODED],
            flows: (format == Format::Flow).then(flows),
        }
    }

    /// Brings up to date what the decoder of a flow input, which has one worker, counted in its life.
    pub fn flows(&self, templates: flow::Counts, waiting: flow::WaitingCounts) {
        let Some(flows) = &self.flows else { return };
        let dropped = [templates.evicted, templates.refused, templates.withdrawn, templates.expired];
        let waited = [waiting.kept, waiting.replayed, waiting.full, waiting.expired];
        let counters = flows.dropped.iter().zip(dropped).chain(flows.waiting.iter().zip(waited));
        let counters = counters.chain([(&flows.domains, templates.domains)]);
        for (counter, total) in counters {
            if counter.get() < total {
                raise(counter, total);
            }
        }
    }

    /// Sets the number of templates held, where no message says so.
    pub fn templates(&self, held: usize) {
        if let Some(flows) = &self.flows {
            flows.templates.set(held as i64);
        }
    }

    /// Sets the levels that take a look at every exporter.
    pub fn exporters(&self, restored: usize, untrusted: usize) {
        let Some(flows) = &self.flows else { return };
        flows.restored.set(restored as i64);
        flows.untrusted.set(untrusted as i64);
    }

    /// Adds what a worker counted and sets its tally back to zero.
    pub fn flush(&mut self, tally: &mut Tally) {
        if tally.messages == 0 {
            return;
        }
        self.messages.inc_by(tally.messages);
        self.bytes.inc_by(tally.bytes);
        // Adding nothing would take the counter's cache line from the other workers all the same.
        for (counter, count) in [(&self.truncated, tally.truncated), (&self.denied, tally.denied)] {
            if count > 0 {
                counter.inc_by(count);
            }
        }
        if let Some(flows) = &self.flows {
            flows.records.inc_by(tally.records);
            flows.gaps.inc_by(tally.gaps);
            flows.missing.inc_by(tally.missing);
            flows.templates.set(tally.templates as i64);
            for (counter, count) in [
                (&flows.late, tally.late),
                (&flows.restarts, tally.restarts),
                (&flows.sample_gaps, tally.sample_gaps),
                (&flows.replayed, tally.replayed),
                (&flows.implausible, tally.implausible),
                (&flows.unknown_samples, tally.unknown_samples),
                (&flows.unknown_records, tally.unknown_records),
                (&flows.samples_late, tally.samples_late),
            ]
            .into_iter()
            .chain(flows.damaged.iter().zip(tally.damaged))
            {
                if count > 0 {
                    counter.inc_by(count);
                }
            }
        }
        for (index, count) in tally.decoded.iter().enumerate().filter(|(_, count)| **count > 0) {
            let counter = &mut self.decoded[index];
            let (family, name) = (&self.metrics.decoded, format_name(index));
            counter
                .get_or_insert_with(|| family.with_label_values(&[self.name.as_str(), name]))
                .inc_by(*count);
        }
        for (index, count) in tally.undecoded.iter().enumerate().filter(|(_, count)| **count > 0) {
            let counter = &mut self.undecoded[index];
            let (family, name) = (&self.metrics.decode_errors, error_name(index));
            counter
                .get_or_insert_with(|| family.with_label_values(&[self.name.as_str(), name]))
                .inc_by(*count);
        }
        *tally = Tally { templates: tally.templates, ..Tally::default() };
    }
}

fn format_name(index: usize) -> &'static str {
    match index.checked_sub(syslog::Shape::ALL.len()) {
        None => syslog::Shape::ALL[index].name(),
        Some(flow) => FLOW_FORMATS[flow],
    }
}

fn error_name(index: usize) -> &'static str {
    match index.checked_sub(syslog::DecodeError::ALL.len()) {
        None => syslog::DecodeError::ALL[index].name(),
        Some(flow) => flow::DecodeError::ALL[flow].name(),
    }
}

/// What one worker found since the last flush: matches by set and severity, suppressions by reason.
#[derive(Debug, Default)]
pub struct Found {
    matches: HashMap<(u32, Severity), u64>,
    suppressed: [u64; Suppression::ALL.len()],
}

impl Found {
    /// Counts one match under the set that names its rule.
    pub fn matched(&mut self, set: u32, severity: Severity, suppressed: Option<Suppression>) {
        *self.matches.entry((set, severity)).or_default() += 1;
        if let Some(reason) = suppressed {
            self.suppressed[reason as usize] += 1;
        }
    }

    /// Adds what was found to the shared counters; `rules` is the generation it was found with.
    pub fn flush(&mut self, metrics: &Metrics, rules: &RuleSet) {
        for ((set, severity), count) in self.matches.drain() {
            if let Some(set) = rules.sets().get(set as usize) {
                metrics.matches.with_label_values(&[set.info.name.as_str(), severity.name()]).inc_by(count);
            }
        }
        for (reason, count) in Suppression::ALL.into_iter().zip(&mut self.suppressed) {
            if *count > 0 {
                metrics.suppressed.with_label_values(&[reason.name()]).inc_by(std::mem::take(count));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_registers_and_renders() {
        let metrics = Metrics::new();
        let mut input = InputMetrics::new(&metrics, "syslog-udp", Format::Syslog);
        let mut tally = Tally { messages: 3, bytes: 300, ..Tally::default() };
        tally.decoded[0] = 2;
        tally.undecoded[0] = 1;
        input.flush(&mut tally);
        assert_eq!(tally.messages, 0);
        let text = metrics.render();
        assert!(text.contains("roje_input_messages_total{input=\"syslog-udp\"} 3"), "{text}");
        assert!(text.contains("roje_decode_errors_total{input=\"syslog-udp\""), "{text}");
        assert!(text.contains("roje_build_info"), "{text}");
    }
}
