//! The hot path: one message from the receiver's buffer to the alert channel.
//!
//! A [`Worker`] belongs to one thread. An input hands it the [`Message`]s of a batch and then ends
//! the batch: [`Worker::messages`] decodes and matches, [`Worker::end`] hands hits to the alert
//! thread and flushes counters. Nothing in between allocates for a message that does not match,
//! blocks, or writes memory that another thread reads.

use crate::alert::{self, Evidence, Hit, Overflow, Raised};
use crate::decode::flow::{Decoder, ExporterStatus, Flow, Reader, Record, Senders, Stored, Undecoded};
use crate::decode::syslog::{self, Header, Reference};
use crate::decode::{Fields, Span};
use crate::detect::indicator::Throttle;
use crate::detect::{Match, Matcher, RuleSet, Suppression, Validity, ValueId};
use crate::input::tls::Identity;
use crate::input::{Format, GROUP, Message, Nanos};
use crate::metrics::{Found, InputMetrics, Metrics, Tally};
use crate::sources::{Count, Table};
use arc_swap::{ArcSwap, ArcSwapOption, Cache};
use crossbeam_channel::{Sender, TrySendError};
use ipnet::IpNet;
use jiff::tz::TimeZone;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Hits of one sender that a batch passes on in a flood. A worker reads several hundred batches a
/// second, so that a flood still shows thousands of its hits one by one.
const SHARE: usize = 4;

/// Hits that a worker tells in a second before it takes them for a flood: the alert thread takes a few
/// hundredths of a core for them, and an analyst does not read them one by one.
const FLOOD: u32 = 5000;

const SECOND: Nanos = 1_000_000_000;

/// Hits that are held in a flood, at most: the victims of one indicator on a large network.
const HELD: usize = 1024;

/// Bytes of evidence that are held, at most.
const HELD_BYTES: usize = 1 << 20;

/// The exporter of a datagram whose sender is unknown.
const NO_EXPORTER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// What an input's configuration says about the messages it carries; replaced on reload.
#[derive(Debug)]
pub struct InputPolicy {
    /// Index of the input in the configuration.
    pub index: u16,
    /// What it carries.
    pub format: Format,
    /// Senders admitted; empty for all.
    pub allow: Vec<IpNet>,
    /// Zone of stamps that carry none.
    pub timezone: TimeZone,
    /// What the operator said of the senders of flow records.
    pub senders: Arc<Senders>,
}

impl InputPolicy {
    /// Whether the sender may be heard.
    pub fn admits(&self, peer: IpAddr) -> bool {
        self.allow.is_empty() || self.allow.iter().any(|network| network.contains(&peer.to_canonical()))
    }
}

/// What every worker of a sensor shares.
#[derive(Clone)]
pub struct Shared {
    /// The rule set in force.
    pub rules: Arc<ArcSwap<RuleSet>>,
    /// Where hits go.
    pub alerts: Sender<Raised>,
    /// The counters.
    pub metrics: Metrics,
}

/// What a worker of flow records tells of its exporters; it renews this every few seconds. Whoever wants
/// to know makes one, gives it to the worker ([`Worker::report_flows`]), and reads it from any thread.
#[derive(Debug, Default)]
pub struct FlowReport {
    /// What each exporter sent, and what of it was lost.
    pub exporters: ArcSwap<Vec<ExporterStatus>>,
    /// What is worth keeping over a restart; whoever keeps it takes it out.
    pub stored: ArcSwapOption<Stored>,
}

/// How often the exporters are told: it takes a look at each of them.
const REPORT: Nanos = 5 * SECOND;
/// How often templates are put down: after a crash those of the last minute come again by themselves.
const STORE: Nanos = 60 * SECOND;

/// Decodes and matches the messages of one input on one thread.
pub struct Worker {
    rules: Cache<Arc<ArcSwap<RuleSet>>, Arc<RuleSet>>,
    policy: Cache<Arc<ArcSwap<InputPolicy>>, Arc<InputPolicy>>,
    matcher: Matcher,
    flows: Decoder,
    report: Arc<FlowReport>,
    reported: Nanos,
    stored: Nanos,
    batch: Batch,
    tally: Tally,
    found: Found,
    senders: Count,
    counters: InputMetrics,
    shared: Shared,
    progress: Arc<AtomicU64>,
}

impl Worker {
    /// A worker with a number of its own, for one input.
    pub fn new(id: u16, input: &str, policy: Arc<ArcSwap<InputPolicy>>, shared: Shared) -> Worker {
        let mut rules = Cache::new(shared.rules.clone());
        let mut policy = Cache::new(policy);
        let counters = InputMetrics::new(&shared.metrics, input, policy.load().format);
        let mut flows = Decoder::default();
        flows.set_live();
        flows.set_senders(policy.load().senders.clone());
        Worker {
            batch: Batch::new(id, rules.load().clone(), policy.load().clone()),
            rules,
            policy,
            matcher: Matcher::default(),
            flows,
            report: Arc::default(),
            reported: 0,
            stored: 0,
            tally: Tally::default(),
            found: Found::default(),
            senders: Count::default(),
            counters,
            shared,
            progress: Arc::default(),
        }
    }

    /// Rises whenever the worker ends a batch or finds nothing to do: what the watchdog watches.
    pub fn progress(&self) -> Arc<AtomicU64> {
        self.progress.clone()
    }

    /// Tells of its exporters there.
    pub fn report_flows(&mut self, report: Arc<FlowReport>) {
        self.report = report;
    }

    /// Takes up what an earlier run kept of its exporters; gives the templates that are still of use.
    pub fn restore_flows(&mut self, stored: &Stored, now: Nanos) -> usize {
        self.flows.restore(stored, now)
    }

    /// The messages come by connections, at most so many at one time, each with templates of its own.
    pub fn expect_streams(&mut self, connections: usize) {
        self.flows.set_streams(connections);
    }

    /// A connection has ended.
    pub fn closed(&mut self, peer: SocketAddr) {
        if self.batch.policy.format == Format::Flow {
            self.flows.close(peer);
            self.counters.templates(self.flows.templates());
        }
    }

    /// What it counted of each sender.
    pub fn senders(&self) -> Arc<Mutex<Table>> {
        self.senders.table()
    }

    /// Whether the sender may be heard; a connection is refused before it is read.
    pub fn admits(&mut self, peer: IpAddr) -> bool {
        self.policy.load().admits(peer)
    }

    /// Takes the rules and the policy in force; called once before each batch.
    pub fn begin(&mut self) {
        self.begin_from(None);
    }

    /// The same for a batch from the holder of a client certificate.
    pub fn begin_from(&mut self, identity: Option<&Arc<Identity>>) {
        let other_policy = self.batch.begin(self.rules.load(), self.policy.load());
        if other_policy {
            self.flows.set_senders(self.batch.policy.senders.clone());
        }
        let other_identity = self.batch.identity.as_ref().map(Arc::as_ptr) != identity.map(Arc::as_ptr);
        if other_identity {
            self.batch.identity = identity.cloned();
        }
        if (other_policy || other_identity) && self.batch.policy.format == Format::Flow {
            self.flows.set_names(identity.map_or(&[], |identity| identity.names()));
        }
        self.batch.hits.begin(&self.shared.alerts, self.batch.reference.now);
    }

    /// Takes the rules and the policy in force though nothing comes: a worker that hears nobody would keep the
    /// memory of old ones until its next message.
    pub fn refresh(&mut self) {
        if !self.holds() {
            let identity = self.batch.identity.clone();
            self.begin_from(identity.as_ref());
        }
    }

    /// Decodes messages and looks for indicators in them. This is the hot path.
    pub fn messages(&mut self, messages: &[Message<'_>]) {
        for group in messages.chunks(GROUP) {
            let suspects = self.sift(group);
            for (number, message) in group.iter().enumerate() {
                self.message(message, suspects >> number & 1 == 1);
            }
        }
    }

    /// Which of the messages are to be looked through: bit n for message n.
    fn sift(&mut self, group: &[Message<'_>]) -> u32 {
        let Worker { batch, matcher, .. } = self;
        // In a flood of hits nearly every message would be, and it would be extracted twice.
        if batch.policy.format == Format::Flow || batch.hits.flooded {
            return u32::MAX;
        }
        let Batch { rules, policy, admitted, .. } = batch;
        let heard = group.iter().map(|message| match admits(policy, admitted, message.peer) {
            true => message.bytes,
            false => &[],
        });
        matcher.sift(rules, heard)
    }

    /// Decodes one message that has a number of its own, by which it is known on every delivery. The
    /// worker must then have the same id on every sensor.
    pub fn numbered(&mut self, message: Message<'_>, number: u64) {
        // A datagram has fewer records than this leaves room for.
        self.batch.sequence = number << 16;
        self.messages(&[message]);
    }

    /// Asks the alert thread whether everything that was handed over is on disk; false if the channel
    /// has no room for the question.
    pub fn ask(&mut self, answer: &tokio::sync::mpsc::UnboundedSender<bool>) -> bool {
        self.shared.alerts.try_send(Raised::Mark(answer.clone())).is_ok()
    }

    fn message(&mut self, message: &Message<'_>, suspect: bool) {
        let Worker { batch, tally, matcher, found, senders, .. } = self;
        tally.messages += 1;
        tally.bytes += message.bytes.len() as u64;
        tally.truncated += u64::from(message.truncated);
        let Batch { rules, policy, admitted, reference, hits, sequence, identity } = batch;
        let identity = identity.as_ref();
        senders.message(message.peer, identity, message.received);
        if !admits(policy, admitted, message.peer) {
            tally.denied += 1;
            senders.dropped();
            return;
        }
        *sequence += 1;
        let seen =
            Seen { rules, message, identity, exporter: None, input: policy.index, sequence: *sequence };
        let validity = Validity::At(message.received);
        reference.now = message.received;
        match policy.format {
            Format::Syslog => {
                let shape = syslog::shape(message.bytes);
                tally.syslog(shape);
                senders.decoded(shape.ok().map(syslog::Shape::name));
                if senders.wants_time() {
                    senders.stamp(message.bytes, message.received);
                }
                if suspect && matcher.look(rules, message.bytes, reference) {
                    let header = syslog::header(message.bytes).ok();
                    hits.line(seen, header.as_ref(), matcher, reference, found);
                }
            }
            Format::Flow => {
                // Flow records come over IP, so that they have a sender.
                let exporter = message.peer.unwrap_or(NO_EXPORTER);
                let mut look = Look { seen, validity, matcher, hits, found, exported: None };
                let decoded = self.flows.read(message.bytes, exporter, message.received, &mut look);
                let exported = look.exported;
                *sequence = look.seen.sequence;
                tally.flow(&decoded);
                senders.decoded(decoded.as_ref().ok().map(|datagram| datagram.format));
                let (Ok(told) | Err(Undecoded { datagram: told, .. })) = &decoded;
                senders.lost(told.sequence_gap, told.sequence_late);
                // An sFlow agent tells no time but its own uptime: what it has is the receive time.
                if let Some(exported) = exported.filter(|at| *at != message.received && senders.wants_time())
                {
                    senders.time(exported, message.received, true);
                }
                if decoded.is_err() && matcher.look(rules, message.bytes, reference) {
                    hits.line(seen, None, matcher, reference, found);
                }
            }
        }
    }

    /// Ends the batch: hands over its hits, folding what the channel has no room for, and flushes
    /// the counters. For UDP, which cannot push back.
    pub fn end(&mut self) {
        self.flush();
        let hits = &mut self.batch.hits;
        hits.folds = true;
        hits.share(&self.shared.alerts);
        hits.offer(&self.shared.alerts);
        hits.fold();
        hits.offer_summaries(&self.shared.alerts);
    }

    /// Ends the batch and keeps what the channel has no room for; until [`Worker::clear`] says that
    /// there is room, no more may be read. For TCP, which pushes back.
    pub fn end_or_hold(&mut self) -> bool {
        self.flush();
        self.clear()
    }

    /// Offers what is kept once more; true when nothing is left, or only what is held.
    pub fn clear(&mut self) -> bool {
        self.idle();
        self.holds() || self.release()
    }

    /// In a flood, hits wait for more of their kind, so that many batches give one hit with a count;
    /// whoever ends batches calls [`Worker::release`] soon.
    pub fn holds(&self) -> bool {
        self.batch.hits.holds()
    }

    /// Offers what is held too; true when nothing is left.
    pub fn release(&mut self) -> bool {
        let hits = &mut self.batch.hits;
        hits.offer(&self.shared.alerts);
        hits.offer_summaries(&self.shared.alerts);
        hits.is_empty()
    }

    /// Notes that the worker is alive though nothing arrived, and offers what waits.
    pub fn idle(&mut self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
        self.batch.hits.offer_summaries(&self.shared.alerts);
    }

    /// Hands over everything, waiting for room: the last act of a worker that stops.
    pub fn finish(&mut self) {
        self.flush();
        if self.batch.policy.format == Format::Flow {
            self.report_exporters(self.batch.reference.now);
            self.report.stored.store(Some(Arc::new(self.flows.store())));
        }
        self.batch.hits.waiting.reverse();
        while let Some(raised) = self.batch.hits.take() {
            // The alert thread outlives the workers; if it died, the sensor is failing loudly already.
            if self.shared.alerts.send(raised).is_err() {
                break;
            }
        }
    }

    fn report_exporters(&mut self, now: Nanos) {
        let mut exporters = Vec::new();
        self.flows.exporters(|exporter| exporters.push(exporter));
        self.report.exporters.store(Arc::new(exporters));
        let (restored, untrusted) = self.flows.levels();
        self.counters.exporters(restored, untrusted);
        self.reported = now;
    }

    fn flush(&mut self) {
        self.progress.fetch_add(1, Ordering::Relaxed);
        if self.batch.policy.format == Format::Flow {
            self.tally.templates = self.flows.templates() as u64;
            let now = self.batch.reference.now;
            self.tally.implausible += std::mem::take(&mut self.batch.hits.implausible);
            self.counters.flows(self.flows.template_counts(), self.flows.waiting_counts());
            if now.saturating_sub(self.reported) >= REPORT || now < self.reported {
                self.report_exporters(now);
            }
            if now.saturating_sub(self.stored) >= STORE || now < self.stored {
                self.flows.expire(now);
                self.report.stored.store(Some(Arc::new(self.flows.store())));
                self.stored = now;
            }
        }
        self.counters.flush(&mut self.tally);
        self.senders.flush(self.batch.identity.as_ref());
        self.found.flush(&self.shared.metrics, &self.batch.rules);
    }
}

/// What stays the same for the messages of one batch, and the hits they gave.
struct Batch {
    rules: Arc<RuleSet>,
    policy: Arc<InputPolicy>,
    reference: Reference,
    /// A sender that the policy admits: the last one, which most often sends the next message too.
    admitted: Option<IpAddr>,
    /// Whose certificate came with the connection that the batch was read from.
    identity: Option<Arc<Identity>>,
    sequence: u64,
    hits: Hits,
}

impl Batch {
    fn new(worker: u16, rules: Arc<RuleSet>, policy: Arc<InputPolicy>) -> Batch {
        let reference = Reference { now: 0, timezone: policy.timezone.clone() };
        let hits = Hits { worker, ..Hits::default() };
        Batch { rules, policy, reference, admitted: None, identity: None, sequence: 0, hits }
    }

    /// True if the policy is another one.
    fn begin(&mut self, rules: &Arc<RuleSet>, policy: &Arc<InputPolicy>) -> bool {
        if !Arc::ptr_eq(&self.rules, rules) {
            self.rules = rules.clone();
            // A number of the old rules may stand for another value in the new ones.
            self.hits.coalesced.clear();
        }
        let other = !Arc::ptr_eq(&self.policy, policy);
        if other {
            self.policy = policy.clone();
            self.reference.timezone = policy.timezone.clone();
            self.admitted = None;
        }
        other
    }
}

/// Whether the sender may be heard; `last` is the last one that was.
fn admits(policy: &InputPolicy, last: &mut Option<IpAddr>, peer: Option<SocketAddr>) -> bool {
    let Some(peer) = peer.map(|peer| peer.ip()) else { return true };
    if *last == Some(peer) {
        return true;
    }
    let admits = policy.admits(peer);
    if admits {
        *last = Some(peer);
    }
    admits
}

/// The message in hand: what a hit of it must carry.
#[derive(Clone, Copy)]
struct Seen<'a> {
    rules: &'a Arc<RuleSet>,
    message: &'a Message<'a>,
    identity: Option<&'a Arc<Identity>>,
    /// Of a flow record, whom a relay may have named.
    exporter: Option<IpAddr>,
    input: u16,
    /// With the worker's number the identity of the message beside its receive time.
    sequence: u64,
}

impl Seen<'_> {
    fn sender(&self) -> Option<IpAddr> {
        self.exporter.or(self.message.peer.map(|peer| peer.ip()))
    }
}

/// Looks for indicators in the records of one datagram.
struct Look<'a> {
    /// Each record has a sequence number of its own.
    seen: Seen<'a>,
    validity: Validity,
    matcher: &'a mut Matcher,
    hits: &'a mut Hits,
    found: &'a mut Found,
    /// When the last record was exported.
    exported: Option<Nanos>,
}

impl Reader for Look<'_> {
    #[inline]
    fn may_matter(&mut self, address: u128) -> bool {
        self.seen.rules.may_know(address)
    }

    #[inline]
    fn record(&mut self, record: Record<'_>, suspect: bool) {
        self.seen.sequence += 1;
        // One that came before its template tells the time of an earlier datagram.
        if !record.is_replayed() {
            self.exported = Some(record.exported());
        }
        if suspect {
            let Look { seen, validity, matcher, hits, found, .. } = self;
            let rules = seen.rules;
            matcher.record(rules, &record, *validity, &mut |matched| {
                hits.flow(*seen, &record, matched, found);
            });
        }
    }
}

/// The hits of one batch, coalesced by indicator, sender, and what was said of whom (for flows the two
/// addresses), and what was folded because the alert channel had no room.
///
/// In a flood counting comes before telling, so that neither a worker nor the alert thread decodes
/// what changes nothing but a count: hits of one indicator, sender and host are one whatever else they
/// say; where the transport can push back they wait for more of their kind; and where it cannot, while
/// the alert thread is behind, the hits of a sender beyond its share are counted by set.
#[derive(Default)]
struct Hits {
    worker: u16,
    waiting: Vec<Hit>,
    /// Bytes of evidence that `waiting` has.
    bytes: usize,
    /// The last offer found no room for some of them.
    refused: bool,
    coalesced: HashMap<(ValueId, Option<IpAddr>, u64), usize>,
    /// Counting comes before telling: in this second many hits were told already, or the channel was
    /// more than half full when the batch began.
    flooded: bool,
    /// The channel was more than half full when the batch began.
    behind: bool,
    /// Hits told since `second`.
    told: u32,
    second: Nanos,
    /// The transport cannot push back, as the end of its first batch has told.
    folds: bool,
    /// How many hits of each sender wait, in a flood.
    given: HashMap<Option<IpAddr>, usize>,
    /// Seeded: a sender cannot choose lines that are taken for one.
    hasher: RandomState,
    overflow: Overflow,
    /// Flows whose times were put within reason: those that were looked at, which is for a match.
    implausible: u64,
    /// The record of which that was counted last, which may have several matches.
    judged: u64,
}

impl Hits {
    /// `now`: when the last message was received.
    fn begin(&mut self, alerts: &Sender<Raised>, now: Nanos) {
        if now.saturating_sub(self.second) >= SECOND || now < self.second {
            (self.second, self.told) = (now, 0);
        }
        self.behind = behind(alerts);
        self.flooded = self.told >= FLOOD || self.behind;
        self.given.clear();
    }

    /// Takes the matches of a line that was looked through.
    fn line(
        &mut self,
        seen: Seen<'_>,
        header: Option<&Header>,
        matcher: &mut Matcher,
        reference: &Reference,
        found: &mut Found,
    ) {
        let Seen { rules, message, .. } = seen;
        let validity = Validity::At(message.received);
        // Once for all of them: a line of 64 KiB may have thousands.
        let same = self.same(seen, header);
        let counted = self.only_count(seen.sender(), same, matcher.found());
        let mut each = |matched| {
            self.add(seen, same, None, matched, found, || Evidence::Syslog { bytes: message.bytes.into() });
        };
        match counted {
            true => matcher.count(rules, message.bytes, validity, reference, &mut each),
            false => matcher.tell(rules, message.bytes, validity, reference, &mut each),
        }
    }

    /// Whether every match of a message with these values will be counted and none told.
    fn only_count(
        &self,
        sender: Option<IpAddr>,
        same: u64,
        mut values: impl Iterator<Item = ValueId>,
    ) -> bool {
        let known = |value| self.coalesced.contains_key(&(value, sender, same));
        self.flooded && (self.exhausted(sender) || values.all(known))
    }

    /// Hits wait for more of their kind.
    fn holds(&self) -> bool {
        let some = (1..HELD).contains(&self.waiting.len()) && self.bytes < HELD_BYTES;
        some && self.flooded && !self.folds && !self.refused
    }

    /// The sender has as many hits waiting as it may, and the others are folded.
    fn exhausted(&self, sender: Option<IpAddr>) -> bool {
        self.behind && self.folds && self.given.get(&sender).is_some_and(|given| *given >= SHARE)
    }

    /// What hits of one indicator and one sender must have in common to be one.
    fn same(&self, seen: Seen<'_>, header: Option<&Header>) -> u64 {
        let part = |span: Span| seen.message.bytes.get(span.start as usize..span.end as usize);
        let host = header.and_then(|header| header.host).and_then(part);
        // Two holders of certificates may share an address.
        let host = (host, seen.identity.map(|identity| identity.number()));
        if self.flooded {
            return self.hasher.hash_one(host);
        }
        // Two lines that say different things may name different victims; only repetitions of one
        // line, whatever its stamp, are one.
        let said = header.map(|header| header.message).and_then(part).unwrap_or(seen.message.bytes);
        self.hasher.hash_one((host, said))
    }

    fn flow(&mut self, seen: Seen<'_>, record: &Record<'_>, matched: Match, found: &mut Found) {
        let flow = record.flow();
        if std::mem::replace(&mut self.judged, seen.sequence) != seen.sequence {
            self.implausible += u64::from(flow.clamped);
        }
        let seen =
            Seen { exporter: Some(flow.exporter).filter(|exporter| !exporter.is_unspecified()), ..seen };
        let same = self.hasher.hash_one((flow.source, flow.destination, flow.denied));
        self.add(seen, same, Some(&flow), matched, found, || {
            let mut fields = Fields::default();
            record.fields(&mut fields);
            Evidence::Flow { flow, fields: Arc::new(fields), bytes: record.bytes.into() }
        });
    }

    fn add(
        &mut self,
        seen: Seen<'_>,
        same: u64,
        flow: Option<&Flow>,
        matched: Match,
        found: &mut Found,
        evidence: impl FnOnce() -> Evidence,
    ) {
        let Seen { rules, message, identity, input, sequence, .. } = seen;
        let Some(&first) = matched.contributors.first() else { return };
        found.matched(first.set, rules.contributor(first).meta.severity, matched.suppressed);
        // What has status test is logged by the alert thread; the rest is only counted.
        let test = matched.suppressed == Some(Suppression::Test);
        if matched.suppressed.is_some() && !test {
            return;
        }
        let sender = seen.sender();
        let key = (test || alert::throttle(rules, &matched) != Throttle::None).then_some((
            matched.value,
            sender,
            same,
        ));
        let known = key.and_then(|key| self.coalesced.get(&key)).copied();
        if let Some(hit) = known.and_then(|index| self.waiting.get_mut(index)) {
            hit.count += 1;
            hit.last = message.received;
            return;
        }
        if !test && self.exhausted(sender) {
            let client = alert::client(&matched, flow, message.peer);
            let denied = flow.is_some_and(|flow| flow.denied);
            self.overflow.count(rules, &matched, input, client, denied, message.received);
            return;
        }
        self.told = self.told.saturating_add(1);
        self.flooded |= self.told >= FLOOD;
        if self.behind {
            *self.given.entry(sender).or_default() += 1;
        }
        if let Some(key) = key {
            self.coalesced.insert(key, self.waiting.len());
        }
        // A message of 64 KiB can hold thousands of indicators; it is copied once.
        let shared = self.waiting.last().filter(|last| last.sequence == sequence);
        let evidence = shared.map_or_else(evidence, |last| last.evidence.clone());
        self.bytes += evidence.bytes().len();
        self.waiting.push(Hit {
            rules: rules.clone(),
            matched,
            evidence,
            input,
            peer: message.peer,
            identity: identity.cloned(),
            received: message.received,
            last: message.received,
            count: 1,
            worker: self.worker,
            sequence,
        });
    }

    /// While the channel is more than half full, leaves each sender a few hits of the batch and folds
    /// the rest, so that a flood does not fold the alert of another sender.
    fn share(&mut self, alerts: &Sender<Raised>) {
        if !behind(alerts) {
            return;
        }
        let mut given: HashMap<Option<IpAddr>, usize> = HashMap::new();
        let (waiting, overflow) = (&mut self.waiting, &mut self.overflow);
        waiting.retain(|hit| {
            let given = given.entry(hit.sender()).or_default();
            *given += 1;
            if *given > SHARE {
                overflow.fold(hit);
            }
            *given <= SHARE
        });
        self.coalesced.clear();
    }

    /// Sends hits, in order, as long as there is room.
    fn offer(&mut self, alerts: &Sender<Raised>) {
        self.coalesced.clear();
        let mut rest = std::mem::take(&mut self.waiting).into_iter();
        for hit in rest.by_ref() {
            if let Err(TrySendError::Full(Raised::Hit(hit))) = alerts.try_send(Raised::Hit(Box::new(hit))) {
                self.waiting.push(*hit);
                break;
            }
        }
        self.waiting.extend(rest);
        self.refused = !self.waiting.is_empty();
        self.bytes = self.waiting.iter().map(|hit| hit.evidence.bytes().len()).sum();
    }

    /// Folds the hits that found no room into one summary for each set, with exact counts.
    fn fold(&mut self) {
        for hit in self.waiting.drain(..) {
            self.overflow.fold(&hit);
        }
    }

    /// Sends folded summaries as long as there is room.
    fn offer_summaries(&mut self, alerts: &Sender<Raised>) {
        while let Some(summary) = self.overflow.take() {
            if let Err(TrySendError::Full(Raised::Summary(summary))) =
                alerts.try_send(Raised::Summary(summary))
            {
                self.overflow.put_back(summary);
                break;
            }
        }
    }

    /// The next of what is left, hits first.
    fn take(&mut self) -> Option<Raised> {
        let hit = self.waiting.pop().map(|hit| Raised::Hit(Box::new(hit)));
        hit.or_else(|| self.overflow.take().map(Raised::Summary))
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.overflow.is_empty()
    }
}

/// The channel to the alert thread is more than half full.
fn behind(alerts: &Sender<Raised>) -> bool {
    alerts.len() * 2 >= alerts.capacity().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::indicator::{Kind, Meta, Mode, SetBuilder, SetInfo, normalise};
    use crossbeam_channel::Receiver;

    const NOON: Nanos = 1_760_000_000_000_000_000;

    /// Domains, and behind them an address that counts as destination only.
    fn rules(domains: &[&str]) -> RuleSet {
        let mut set = SetBuilder::new(SetInfo {
            name: "set".into(),
            producer: None,
            feed: None,
            reference: None,
            mode: Mode::Indicators,
            path: "set".into(),
            digest: "set".into(),
        });
        let meta = set.meta(&Meta::default());
        for domain in domains {
            set.add(&normalise(Kind::Domain, domain, true).unwrap(), meta, None);
        }
        let destination = set.meta(&Meta { where_destination: true, ..Meta::default() });
        set.add(&normalise(Kind::Ip, "192.0.2.66", true).unwrap(), destination, None);
        RuleSet::new(vec![Arc::new(set.build())])
    }

    fn worker(room: usize) -> (Worker, Receiver<Raised>) {
        let rules = Arc::new(rules(&["evil.example"]));
        let (alerts, hits) = crossbeam_channel::bounded(room);
        let policy = InputPolicy {
            index: 0,
            format: Format::Syslog,
            allow: Vec::new(),
            timezone: TimeZone::UTC,
            senders: Arc::default(),
        };
        let shared = Shared { rules: Arc::new(ArcSwap::new(rules)), alerts, metrics: Metrics::new() };
        (Worker::new(0, "test", Arc::new(ArcSwap::from_pointee(policy)), shared), hits)
    }

    fn send(worker: &mut Worker, sender: u8, line: &str) {
        let peer = Some(SocketAddr::from(([192, 0, 2, sender], 514)));
        let message = Message { bytes: line.as_bytes(), peer, received: NOON, truncated: false };
        worker.messages(&[message]);
    }

    fn query(host: &str, number: usize) -> String {
        format!("<34>Oct 11 22:14:15 {host} named: client 10.0.0.{number}#53: query: a.evil.example IN A")
    }

    /// How many hits of each sender came, and how many matches were counted without one.
    fn told(hits: &Receiver<Raised>) -> (HashMap<u8, (usize, u64)>, u64) {
        let (mut told, mut counted) = (HashMap::new(), 0);
        for raised in hits.try_iter() {
            match raised {
                Raised::Hit(hit) => {
                    let Some(IpAddr::V4(sender)) = hit.peer.map(|peer| peer.ip()) else { panic!() };
                    let told: &mut (usize, u64) = told.entry(sender.octets()[3]).or_default();
                    *told = (told.0 + 1, told.1 + hit.count);
                }
                Raised::Summary(summary) => counted += summary.count,
                Raised::Mark(_) => panic!("nobody asked"),
            }
        }
        (told, counted)
    }

    fn matches(worker: &Worker) -> u64 {
        worker.shared.metrics.matches.with_label_values(&["set", "medium"]).get()
    }

    #[test]
    fn a_worker_that_hears_nobody_lets_go_of_old_rules() {
        let (mut worker, _hits) = worker(10);
        let old = Arc::downgrade(&worker.shared.rules.load_full());
        worker.shared.rules.store(Arc::new(rules(&["b.example"])));
        assert!(old.upgrade().is_some());
        worker.refresh();
        assert!(old.upgrade().is_none());
    }

    #[test]
    fn exporters_are_reported_while_the_worker_runs() {
        let (mut worker, _hits) = worker(10);
        let policy = InputPolicy {
            index: 0,
            format: Format::Flow,
            allow: Vec::new(),
            timezone: TimeZone::UTC,
            senders: Arc::default(),
        };
        worker.policy = Cache::new(Arc::new(ArcSwap::from_pointee(policy)));
        let report = Arc::<FlowReport>::default();
        worker.report_flows(report.clone());
        let datagram = include_bytes!("../tests/data/flows/netflow5_test_microtik.dat");
        let mut receive = |seconds: i64| {
            worker.begin();
            let received = NOON + seconds * SECOND;
            let peer = Some(SocketAddr::from(([192, 0, 2, 1], 2055)));
            worker.messages(&[Message { bytes: datagram, peer, received, truncated: false }]);
            worker.end();
            let exporters = report.exporters.load();
            let [exporter] = exporters[..] else { panic!("{exporters:?}") };
            (exporter.address, exporter.format, exporter.messages, exporter.records, exporter.last_seen)
        };
        let sender = IpAddr::from([192, 0, 2, 1]);
        assert_eq!(receive(0), (sender, "netflow5", 1, 30, NOON));
        assert_eq!(receive(1).2, 1, "not for each batch");
        assert_eq!(receive(6), (sender, "netflow5", 3, 90, NOON + 6 * SECOND));
        assert!(report.stored.swap(None).is_some());
        receive(30);
        assert!(report.stored.load().is_none(), "once a minute");
        worker.finish();
        assert!(report.stored.load().is_some(), "and at the end");
    }

    /// A sample of sFlow by some agent, of a packet to the address that is listed.
    fn sampled(agent: u8) -> Vec<u8> {
        let packet = [100, 6, 0x0a01_0101, 0xc000_0242, 50_000, 443, 0, 0];
        let sample = [1, 5, 1, 0, 0, 5, 6, 1, 3, 4 * packet.len() as u32];
        let header = [
            5,
            1,
            0x0a00_0000 + u32::from(agent),
            0,
            1,
            1000,
            1,
            1,
            4 * (packet.len() + sample.len()) as u32,
        ];
        let words = [&header[..], &sample, &packet].concat();
        words.into_iter().flat_map(u32::to_be_bytes).collect()
    }

    #[test]
    fn hits_of_the_agents_behind_a_relay_are_told_apart() {
        for (relays, expected) in
            [(true, vec![("10.0.0.1", 2), ("10.0.0.2", 1)]), (false, vec![("192.0.2.1", 3)])]
        {
            let (mut worker, hits) = worker(10);
            let sender = crate::decode::flow::Sender { known: true, relays, sampling_rate: None };
            let policy = InputPolicy {
                index: 0,
                format: Format::Flow,
                allow: Vec::new(),
                timezone: TimeZone::UTC,
                senders: Arc::new(Senders::new([("192.0.2.1/32".parse().unwrap(), sender)])),
            };
            worker.policy = Cache::new(Arc::new(ArcSwap::from_pointee(policy)));
            worker.begin();
            for agent in [1, 2, 1] {
                let peer = Some(SocketAddr::from(([192, 0, 2, 1], 6343)));
                let bytes = &sampled(agent)[..];
                worker.messages(&[Message { bytes, peer, received: NOON, truncated: false }]);
            }
            worker.end();
            let told = hits.try_iter().map(|raised| match raised {
                Raised::Hit(hit) => (hit.sender().unwrap().to_string(), hit.count),
                Raised::Summary(_) | Raised::Mark(_) => panic!("there was room"),
            });
            let expected: Vec<_> =
                expected.into_iter().map(|(agent, count)| (agent.to_string(), count)).collect();
            assert_eq!(told.collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn lines_that_differ_are_told_one_by_one_and_repetitions_once() {
        let (mut worker, hits) = worker(1000);
        worker.begin();
        for number in 0..20 {
            send(&mut worker, 1, &query("ns1", number % 10));
        }
        worker.end();
        assert_eq!(told(&hits), (HashMap::from([(1, (10, 20))]), 0));
    }

    #[test]
    fn while_the_channel_is_more_than_half_full_each_sender_has_a_share() {
        let (mut worker, hits) = worker(40);
        worker.begin();
        (0..20).for_each(|number| send(&mut worker, 1, &query("ns1", number)));
        worker.end();
        // Each line claims another host; the other sender comes last.
        worker.begin();
        for number in 0..500 {
            send(&mut worker, 1, &query(&format!("host{number}"), number));
        }
        (0..3).for_each(|number| send(&mut worker, 2, &query("ministry", number)));
        worker.end();
        let (told, counted) = told(&hits);
        // In a flood the lines of one host are one hit.
        assert_eq!((told[&1].0, told[&2]), (20 + SHARE, (1, 3)));
        assert_eq!(told[&1].1 + told[&2].1 + counted, 523);
        assert_eq!(matches(&worker), 523);
    }

    #[test]
    fn a_channel_that_others_fill_leaves_a_share_to_each_sender() {
        let (mut worker, hits) = worker(40);
        worker.begin();
        (0..20).for_each(|number| send(&mut worker, 1, &query("ns1", number)));
        worker.end();
        let earlier: Vec<Raised> = hits.try_iter().collect();
        worker.begin();
        (0..30).for_each(|number| send(&mut worker, 1, &query("ns1", number)));
        (0..5).for_each(|number| send(&mut worker, 2, &query("ns2", number)));
        earlier.into_iter().for_each(|hit| worker.shared.alerts.send(hit).expect("there is room"));
        worker.end();
        let (told, counted) = told(&hits);
        assert_eq!((told[&1].0, told[&2].0), (20 + SHARE, SHARE));
        assert_eq!(told[&1].1 + told[&2].1 + counted, 55);
    }

    #[test]
    fn in_a_flood_the_lines_of_one_host_are_one_hit_for_each_batch() {
        let (mut worker, hits) = worker(100_000);
        let mut sent = 0;
        for batch in 0..200usize {
            worker.begin();
            for number in 0..100 {
                send(&mut worker, 1, &query(&format!("host{}", number % 10), batch * 100 + number));
                sent += 1;
            }
            worker.end();
        }
        let (told, counted) = told(&hits);
        let flood = FLOOD as usize;
        assert!((flood..flood + 100 + 200 * 10).contains(&told[&1].0), "{told:?}");
        assert_eq!((told[&1].1, counted), (sent, 0));
    }

    #[test]
    fn what_is_held_is_not_mistaken_for_a_value_of_new_rules() {
        let (mut worker, hits) = worker(100_000);
        for number in 0..200usize {
            worker.begin();
            (0..50).for_each(|host| send(&mut worker, 1, &query(&format!("host{host}"), number)));
            worker.end_or_hold();
        }
        assert!(worker.holds());
        let others = rules(&["other.example", "evil.example"]);
        worker.shared.rules.store(Arc::new(others));
        worker.begin();
        send(&mut worker, 1, &query("host1", 0).replace("a.evil", "other"));
        worker.end_or_hold();
        worker.release();
        let values = |raised: &Raised| match raised {
            Raised::Hit(hit) => hit.rules.value(hit.matched.value),
            Raised::Summary(_) | Raised::Mark(_) => String::new(),
        };
        let last = hits.try_iter().last().expect("hits");
        assert_eq!(values(&last), "other.example");
    }

    #[test]
    fn in_a_flood_hits_wait_for_more_of_their_kind_where_the_transport_pushes_back() {
        let (mut worker, hits) = worker(100_000);
        let mut sent = 0;
        for number in 0..400usize {
            worker.begin();
            for host in 0..50 {
                send(&mut worker, 1, &query(&format!("host{host}"), number));
                sent += 1;
            }
            assert!(worker.end_or_hold());
        }
        assert!(worker.holds());
        assert!(worker.release() && !worker.holds());
        let (told, counted) = told(&hits);
        let flood = FLOOD as usize;
        // The first batch belongs to an earlier second.
        assert!((flood..=flood + 100).contains(&told[&1].0), "{told:?}");
        assert_eq!((told[&1].1, counted), (sent, 0));
        assert_eq!(matches(&worker), sent);
    }

    #[test]
    fn what_only_counts_still_asks_for_the_side() {
        let (mut worker, hits) = worker(2);
        let line = |source: &str, destination: &str, number: usize| {
            format!("<134>Oct 11 22:14:15 fw{number} kernel: DROP SRC={source} DST={destination} PROTO=TCP")
        };
        worker.begin();
        (0..3).for_each(|number| send(&mut worker, 1, &line("10.0.0.1", "192.0.2.66", number)));
        worker.end();
        worker.begin();
        for number in 0..100 {
            send(&mut worker, 1, &line("10.0.0.1", "192.0.2.66", number));
            send(&mut worker, 1, &line("192.0.2.66", "10.0.0.1", number));
        }
        worker.end();
        assert_eq!(matches(&worker), 103);
        let (told, counted) = told(&hits);
        let summaries: u64 = worker.batch.hits.overflow.take().map_or(0, |summary| summary.count);
        assert_eq!(told[&1].1 + counted + summaries, 103);
    }

    #[test]
    fn a_transport_that_pushes_back_waits_for_room_and_loses_nothing() {
        let (mut worker, hits) = worker(4);
        worker.begin();
        (0..10).for_each(|number| send(&mut worker, 1, &query(&format!("host{number}"), number)));
        assert!(!worker.end_or_hold(), "six wait");
        assert!(!worker.clear(), "still no room");
        let mut all = 0;
        while !worker.clear() {
            all += told(&hits).0[&1].1;
        }
        all += told(&hits).0[&1].1;
        assert_eq!(all, 10);
    }
}
