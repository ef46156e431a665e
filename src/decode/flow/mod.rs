//! Flow records: NetFlow v5, v7, v9, IPFIX and sFlow v5, told apart by the version field.
//!
//! [`Decoder`] owns the templates of the exporters that one worker reads and hands each
//! [`Record`] to a callback. Of a record only its length is known then; the addresses, the [`Flow`]
//! that every consumer understands, and all the rest are read when they are asked for, since of a
//! million records a handful match.

mod cache;
mod clock;
mod counters;
mod ecs;
mod element;
mod ipfix;
mod labels;
mod list;
mod lru;
mod names;
mod netflow5;
mod netflow9;
mod packet;
mod sampling;
mod senders;
mod sequence;
mod sets;
mod sflow;
mod status;
mod store;
mod template;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod vendor_tests;
mod waiting;

pub use cache::Counts;
pub use senders::{Sender, Senders};
pub use status::ExporterStatus;
pub use store::{StoreError, Stored};
pub use waiting::Counts as WaitingCounts;

use super::{FieldId, Fields};
use crate::input::Nanos;
use cache::{Boot, Cache, Domain, ExporterKey, Siblings, Told};
use clock::Clock;
use sampling::Rate;
use status::{Seen, TrackKey, Tracks};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use template::{Draft, Spec, Statement, Template};
use waiting::Waiting;

/// The values of a flow record that every consumer understands; fixed size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Flow {
    /// Source address (before translation).
    pub source: Option<IpAddr>,
    /// Destination address (before translation).
    pub destination: Option<IpAddr>,
    /// Source address after translation.
    pub translated_source: Option<IpAddr>,
    /// Destination address after translation.
    pub translated_destination: Option<IpAddr>,
    /// Source of the tunnel (GRE, VXLAN, IP in IP) that the flow was seen in.
    pub tunnel_source: Option<IpAddr>,
    /// Destination of the tunnel.
    pub tunnel_destination: Option<IpAddr>,
    /// Source port, 0 where the record has none.
    pub source_port: u16,
    /// Destination port, 0 where the record has none.
    pub destination_port: u16,
    /// IANA protocol number.
    pub protocol: u8,
    /// TCP control bits seen.
    pub tcp_flags: u16,
    /// Octets from the source, as exported.
    pub bytes: u64,
    /// Packets from the source, as exported.
    pub packets: u64,
    /// Octets from the destination (initiator and responder counters in one record).
    pub reverse_bytes: u64,
    /// Packets from the destination.
    pub reverse_packets: u64,
    /// First packet, if known.
    pub start: Option<Nanos>,
    /// Last packet, if known.
    pub end: Option<Nanos>,
    /// Packets that one sampled packet stands for; 0 when unknown.
    pub sampling: u32,
    /// The device that exported it.
    pub exporter: IpAddr,
    /// Source id (v9), observation domain (IPFIX), sub-agent (sFlow), engine (v5).
    pub domain: u32,
    /// 5, 7, 9 or 10 (IPFIX); sFlow is 5 with [`Flow::sflow`] set.
    pub version: u8,
    /// The record came by sFlow.
    pub sflow: bool,
    /// An options record or counter sample: state of the exporter, not traffic.
    pub state: bool,
    /// Something happened to a connection or a translation (NSEL, NAT events): other records count its
    /// traffic, or further ones of its kind count the rest.
    pub event: bool,
    /// The exporter refused or dropped it.
    pub denied: bool,
    /// A time was implausible, and was put within reason.
    pub clamped: bool,
}

impl Default for Flow {
    fn default() -> Self {
        Flow {
            source: None,
            destination: None,
            translated_source: None,
            translated_destination: None,
            tunnel_source: None,
            tunnel_destination: None,
            source_port: 0,
            destination_port: 0,
            protocol: 0,
            tcp_flags: 0,
            bytes: 0,
            packets: 0,
            reverse_bytes: 0,
            reverse_packets: 0,
            start: None,
            end: None,
            sampling: 0,
            exporter: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            domain: 0,
            version: 0,
            sflow: false,
            state: false,
            event: false,
            denied: false,
            clamped: false,
        }
    }
}

impl Flow {
    /// The name of a tunnel's source in events and matches.
    pub const TUNNEL_SOURCE: &str = "flow.tunnelSourceAddress";
    /// The name of a tunnel's destination in events and matches.
    pub const TUNNEL_DESTINATION: &str = "flow.tunnelDestinationAddress";

    /// Every address in it.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let translated = [self.translated_source, self.translated_destination];
        let tunnel = [self.tunnel_source, self.tunnel_destination];
        [self.source, self.destination].into_iter().chain(translated).chain(tunnel).flatten()
    }
}

/// What one datagram held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Datagram {
    /// `netflow5`, `netflow7`, `netflow9`, `ipfix`, `sflow5`: the label `format`.
    pub format: &'static str,
    /// Records handed out, options records and counter samples included.
    pub records: u64,
    /// Sets that at least one record or template was read from.
    pub sets: u64,
    /// Sets whose template has not been seen.
    pub missing_templates: u64,
    /// Units of the protocol's sequence (flows, packets, data records, datagrams) that were skipped
    /// before this datagram.
    pub sequence_gap: u64,
    /// Units counted in the gap of an earlier datagram that came with this one after all.
    pub sequence_late: u64,
    /// The exporter started anew, as its uptime or its numbers tell.
    pub restarted: bool,
    /// Samples that the sources of an sFlow agent skipped before those of this datagram.
    pub sample_gap: u32,
    /// Samples once counted as skipped that this datagram brings after all.
    pub sample_late: u32,
    /// Samples of sFlow whose kind is not known; they are stepped over.
    pub unknown_samples: u32,
    /// Records in samples of sFlow whose kind is not decoded; they are stepped over.
    pub unknown_records: u32,
    /// Records of earlier datagrams, whose template came with this one; they are among `records`.
    pub replayed: u64,
    /// The export time was implausible, and the receive time stands for it.
    pub clock_unset: bool,
    /// What of it could not be read; everything else was.
    pub losses: Losses,
}

/// Parts of a datagram that could not be read, by what is wrong with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// The datagram ends before what its header, a set or a sample says.
    pub cut: u32,
    /// Sets whose length or id cannot be; what follows such a length is lost with it.
    pub sets: u32,
    /// Template sets that count more fields than they hold, or end with what is no template.
    pub templates: u32,
    /// Data sets and samples that end with what is no whole record.
    pub records: u32,
    /// Octets follow the last message or record that are neither.
    pub trailing: u32,
    /// Templates withdrawn where that is not allowed, which is ignored (RFC 7011, section 8.4).
    pub withdrawals: u32,
}

impl Losses {
    /// The reasons, as metric labels.
    pub const REASONS: [&'static str; 6] = ["cut", "set", "template", "record", "trailing", "withdrawal"];

    /// The counts, in the order of [`Losses::REASONS`].
    pub fn counts(&self) -> [u32; Losses::REASONS.len()] {
        let Losses { cut, sets, templates, records, trailing, withdrawals } = *self;
        [cut, sets, templates, records, trailing, withdrawals]
    }

    /// Whether nothing was lost.
    pub fn is_none(&self) -> bool {
        self.counts().iter().all(|count| *count == 0)
    }

    fn add(&mut self, other: &Losses) {
        self.cut += other.cut;
        self.sets += other.sets;
        self.templates += other.templates;
        self.records += other.records;
        self.trailing += other.trailing;
        self.withdrawals += other.withdrawals;
    }

    /// Why nothing could be read of a datagram of which this much was lost; none if nothing was.
    fn reason(&self) -> Option<DecodeError> {
        if self.sets + self.templates + self.records + self.trailing > 0 {
            return Some(DecodeError::Malformed);
        }
        (self.cut > 0).then_some(DecodeError::Truncated)
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WORDS: [&str; Losses::REASONS.len()] = [
            "cut short",
            "sets whose length or id cannot be",
            "template sets that do not hold what they count",
            "data sets or samples that end with what is no whole record",
            "octets behind the last message or record",
            "withdrawals of templates where the protocol has none, ignored",
        ];
        out.write_str("not all of the datagram could be read")?;
        let some = self.counts().into_iter().zip(WORDS).filter(|(count, _)| *count > 0);
        for (number, (count, words)) in some.enumerate() {
            write!(out, "{}{words} ({count})", if number == 0 { ": " } else { ", " })?;
        }
        Ok(())
    }
}

/// Whether octets are more than padding.
fn is_more_than_padding(octets: &[u8]) -> bool {
    octets.iter().any(|octet| *octet != 0)
}

impl Datagram {
    /// Adds what another message of the same datagram held.
    fn add(&mut self, other: &Datagram) {
        self.records += other.records;
        self.sets += other.sets;
        self.missing_templates += other.missing_templates;
        self.sequence_gap += other.sequence_gap;
        self.sequence_late += other.sequence_late;
        self.restarted |= other.restarted;
        self.sample_gap += other.sample_gap;
        self.sample_late += other.sample_late;
        self.unknown_samples += other.unknown_samples;
        self.unknown_records += other.unknown_records;
        self.replayed += other.replayed;
        self.clock_unset |= other.clock_unset;
        self.losses.add(&other.losses);
    }

    fn account(&mut self, account: sequence::Account) {
        self.sequence_gap = account.skipped;
        self.sequence_late = account.late;
        self.restarted = account.restarted;
    }
}

/// Takes the records of a datagram.
///
/// Whether somebody listed an address is asked of tables that no cache holds. So the addresses of a
/// group of records are asked about before the first of them is handed out: the processor then waits
/// for many answers at once, and not once for each record.
pub trait Reader {
    /// Whether an address may matter: a number of IPv6, or of IPv4 mapped into it. Best without branches.
    fn may_matter(&mut self, address: u128) -> bool;
    /// Takes a record; `suspect` is false if none of its addresses may matter and it has no names.
    fn record(&mut self, record: Record<'_>, suspect: bool);
}

impl<F: FnMut(Record<'_>)> Reader for F {
    #[inline]
    fn may_matter(&mut self, _: u128) -> bool {
        true
    }

    #[inline]
    fn record(&mut self, record: Record<'_>, _: bool) {
        self(record);
    }
}

/// The records that were asked about together and are handed out one by one.
#[derive(Debug, Default)]
struct Group {
    /// A bit for each that may matter, the next one lowest.
    suspects: u64,
    left: usize,
}

impl Group {
    /// A bit for each.
    const RECORDS: usize = u64::BITS as usize;

    /// Whether the next record may matter; `ask` asks about it and those behind it.
    #[inline]
    fn next(&mut self, ask: impl FnOnce() -> u64) -> bool {
        if self.left == 0 {
            *self = Group { suspects: ask(), left: Group::RECORDS };
        }
        let suspect = self.suspects & 1 == 1;
        self.suspects >>= 1;
        self.left -= 1;
        suspect
    }
}

/// One decoded record.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The bytes of the record.
    pub bytes: &'a [u8],
    clock: &'a Clock,
    /// The parts of a flow that the records around it share; for sFlow the flow itself.
    base: &'a Flow,
    detail: Detail<'a>,
}

/// How to read a record.
#[derive(Clone, Copy, Debug)]
enum Detail<'a> {
    /// The fixed shape of NetFlow v5 or v7.
    Netflow5,
    /// By a template; `reversed` if it is the second record of a biflow.
    Template {
        template: &'a Template,
        set: &'a Set<'a>,
        reversed: bool,
    },
    Sflow(sflow::Sample),
}

/// What the records of one data set share, beside their template.
#[derive(Clone, Copy, Debug)]
struct Set<'a> {
    /// The template's.
    id: u16,
    domain: &'a Domain,
    /// Where that says nothing, what holds for all domains, if it is known.
    default_rate: Option<Rate>,
    /// The template was told to an earlier run of the sensor, and not repeated since.
    restored: bool,
    /// It came before its template.
    replayed: bool,
    sender: Sender,
    senders: &'a Senders,
    siblings: Siblings<'a>,
}

impl<'a> Set<'a> {
    /// Whose record it is, if a relay says so in the record or of its domain.
    fn exporter(&self, template: &Template, record: &[u8]) -> Option<IpAddr> {
        if !self.sender.relays {
            return None;
        }
        template.exporter(record).or(self.domain.exporter)
    }

    /// What was told of the exporter that a relay names.
    fn told(&self, exporter: Option<IpAddr>) -> Option<&'a Told> {
        exporter.and_then(|exporter| self.domain.named(exporter))
    }

    /// The rate that the operator stated for the exporter that a relay names, or for the sender.
    fn operators_rate(&self, exporter: Option<IpAddr>) -> Option<NonZeroU32> {
        let named = exporter.and_then(|exporter| self.senders.find(exporter).sampling_rate);
        named.or(self.sender.sampling_rate)
    }

    /// The rate of a record that states none itself.
    fn rate(&self, named: Option<&Told>, template: &Template, draft: &Draft<'_>) -> Option<Rate> {
        let own = &self.domain.own.sampling;
        if named.is_none() && !own.has_scopes() {
            return own.of_domain().or(self.default_rate);
        }
        let asked = template.asked(draft, self.id);
        let named = named.and_then(|told| told.sampling.rate(&asked));
        named.or_else(|| own.rate(&asked)).or(self.default_rate)
    }

    /// The start-up time that is known of the exporter of a record that states none itself.
    fn boot(&self, named: Option<&Told>) -> Option<Boot> {
        named.and_then(|told| told.boot).or(self.domain.own.boot)
    }

    /// The flow of a record.
    fn flow(&self, record: &Record<'_>, template: &Template, reversed: bool) -> Flow {
        let exporter = self.exporter(template, record.bytes);
        let named = self.told(exporter);
        let boot = named.and_then(|told| told.boot);
        let clock = boot.map(|boot| Clock { boot: Some(boot.at), ..*record.clock });
        let clock = clock.as_ref().unwrap_or(record.clock);
        let rate = |template: &Template, draft: &Draft<'_>| {
            self.rate(named, template, draft).map_or(0, |rate| rate.value)
        };
        let mut flow = template.flow(record.bytes, reversed, record.base, clock, rate);
        // The ladder begins with what the operator knows better.
        if let Some(rate) = self.operators_rate(exporter) {
            flow.sampling = rate.get();
        }
        if let Some(exporter) = exporter {
            flow.exporter = exporter;
        }
        flow
    }

    /// Whether the rate and the times of a record rest on what an earlier run of the sensor was told.
    fn restored(&self, record: &Record<'_>, template: &Template) -> (bool, bool) {
        let exporter = self.exporter(template, record.bytes);
        let named = self.told(exporter);
        let draft = template.read(record.bytes);
        // What the operator or the record itself states was told just now.
        let rate = self.operators_rate(exporter).is_none()
            && template.stated(&draft).rate() == 0
            && self.rate(named, template, &draft).is_some_and(|rate| rate.restored);
        let boot = record.clock.uptime.is_none()
            && template.counts_from_boot()
            && self.boot(named).is_some_and(|boot| boot.restored);
        (rate, boot)
    }
}

/// An address as a number of IPv6, where one of IPv4 is mapped (RFC 4291, section 2.5.5.2).
fn mapped(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => MAPPED | u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// What an IPv4 address has before it in IPv6.
const MAPPED: u128 = 0xffff_0000_0000;

impl Record<'_> {
    /// Whether `holds` says yes to some address of the record: as for those of its [`Flow`], but
    /// without reading more than the addresses, and perhaps to one that the flow does not show.
    /// Addresses are numbers of IPv6, those of IPv4 mapped: so they stay in registers, and through
    /// memory they took most of the time.
    #[inline]
    pub fn any_address(&self, mut holds: impl FnMut(u128) -> bool) -> bool {
        match self.detail {
            Detail::Netflow5 => netflow5::any_address(self.bytes, holds),
            Detail::Template { template, .. } => match template.places() {
                Some(places) => places.iter().any(|place| place.address(self.bytes).is_some_and(&mut holds)),
                None => self.flow().addresses().any(|address| holds(mapped(address))),
            },
            Detail::Sflow(_) => self.base.addresses().any(|address| holds(mapped(address))),
        }
    }

    /// What every consumer understands.
    pub fn flow(&self) -> Flow {
        let mut flow = match self.detail {
            Detail::Netflow5 => netflow5::flow(self.bytes, self.base, self.clock),
            Detail::Template { template, set, reversed } => set.flow(self, template, reversed),
            Detail::Sflow(_) => *self.base,
        };
        flow.clamped = self.clock.clamp(&mut flow.start, &mut flow.end);
        flow
    }

    /// Whether its template has names or URLs, which the record then may carry.
    #[inline]
    pub fn has_names(&self) -> bool {
        match self.detail {
            Detail::Netflow5 => false,
            // The second record of a biflow repeats what the first one told.
            Detail::Template { template, reversed, .. } => !reversed && template.names().is_some(),
            Detail::Sflow(sample) => sample.is_named(),
        }
    }

    /// Calls `each` with the names and URLs of the record: what they are, and where in its bytes they begin.
    pub fn names(&self, each: &mut impl FnMut(FieldId, u32, &[u8])) {
        match self.detail {
            Detail::Template { template, set, reversed: false } => {
                if let Some(names) = template.names() {
                    names.each(self.bytes, set.siblings, each);
                }
            }
            Detail::Sflow(sample) => sample.names(self.bytes, each),
            _ => {}
        }
    }

    /// Writes every field of the record, named and unnamed, into `out`.
    pub fn fields(&self, out: &mut Fields) {
        match self.detail {
            Detail::Netflow5 => netflow5::fields(self, out),
            Detail::Template { template, set, reversed } => {
                let (rate_restored, boot_restored) = set.restored(self, template);
                ecs::template_fields(self, template, reversed, set, out);
                for (name, holds) in [
                    ("templateRestored", set.restored),
                    ("samplingRestored", rate_restored),
                    ("timeRestored", boot_restored),
                    ("replayed", set.replayed),
                ] {
                    if holds {
                        ecs::push_extra(out, name, super::Value::Flag(true));
                    }
                }
            }
            Detail::Sflow(sample) => sample.fields(self, out),
        }
    }

    /// Whether it is the second record of a biflow (RFC 5103), from the destination to the source.
    pub fn is_reverse(&self) -> bool {
        matches!(self.detail, Detail::Template { reversed: true, .. })
    }

    /// Whether it came before its template, with an earlier datagram.
    pub fn is_replayed(&self) -> bool {
        matches!(self.detail, Detail::Template { set: Set { replayed: true, .. }, .. })
    }

    /// When the exporter sent it; the receive time for sFlow, which does not say.
    pub fn exported(&self) -> Nanos {
        self.clock.exported
    }
}

/// A datagram of which nothing could be read, and what it tells nevertheless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undecoded {
    /// Why.
    pub reason: DecodeError,
    /// Its place in the sequence of its exporter, the sets that wait, and what was lost.
    pub datagram: Datagram,
}

impl From<DecodeError> for Undecoded {
    fn from(reason: DecodeError) -> Undecoded {
        Undecoded { reason, datagram: Datagram::default() }
    }
}

impl fmt::Display for Undecoded {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reason.fmt(out)
    }
}

impl std::error::Error for Undecoded {}

/// Why a datagram could not be decoded at all; the name is the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecodeError {
    /// Shorter than its header, or than its header says.
    Truncated,
    /// A version that is not decoded.
    Version,
    /// Every set in it lacks its template.
    MissingTemplate,
    /// A length or count contradicts another.
    Malformed,
}

impl DecodeError {
    /// Every reason.
    pub const ALL: [DecodeError; 4] =
        [DecodeError::Truncated, DecodeError::Version, DecodeError::MissingTemplate, DecodeError::Malformed];

    /// The reason as a metric label.
    pub fn name(self) -> &'static str {
        match self {
            DecodeError::Truncated => "truncated",
            DecodeError::Version => "version",
            DecodeError::MissingTemplate => "missing_template",
            DecodeError::Malformed => "malformed",
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            DecodeError::Truncated => "the datagram is shorter than its header says",
            DecodeError::Version => "the version is none of NetFlow 5, 7, 9, IPFIX and sFlow 5",
            DecodeError::MissingTemplate => "no template has been seen for any of its sets",
            DecodeError::Malformed => "a length or count contradicts another",
        })
    }
}

impl std::error::Error for DecodeError {}

/// How much a decoder remembers. Any source address can be forged: what is told is kept only up to
/// these bounds, and what was used longest ago goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Exporters with templates.
    pub exporters: usize,
    /// Templates of one exporter, in all its domains.
    pub templates: usize,
    /// Domains of one exporter whose sampling and sequence are kept.
    pub domains: usize,
    /// Fields of one template; more and the template is refused.
    pub fields: usize,
    /// Memory of all this, in octets.
    pub bytes: usize,
    /// Memory of one exporter.
    pub exporter_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            // One sensor serves the routers and firewalls of some institutions.
            exporters: 4096,
            // A chassis exports a dozen templates from each of its line cards.
            templates: 2048,
            domains: 256,
            // Real templates reach 285.
            fields: 1024,
            bytes: 64 << 20,
            // A thousand templates of a usual size.
            exporter_bytes: 4 << 20,
        }
    }
}

/// Decodes the datagrams of the exporters that one worker reads.
#[derive(Debug)]
pub struct Decoder {
    templates: Templates,
    tracks: Tracks,
    senders: Arc<Senders>,
    /// What the operator said of the sender of the last datagram, which most often sends the next too.
    last: Option<(IpAddr, Sender)>,
    /// What holds for the holder of the certificate that the connection at hand began with.
    certified: Option<Sender>,
    live: bool,
    streams: bool,
}

/// What NetFlow v9 and IPFIX need beyond a datagram.
#[derive(Debug)]
struct Templates {
    cache: Cache,
    /// The fields of a template while it is read.
    specs: Vec<Spec>,
    /// What a message has announced, while it is read.
    announced: Vec<u16>,
    /// What the options records of a set told of other domains, while it is read.
    others: Vec<(u32, Statement)>,
    waiting: Waiting,
}

/// One datagram and what is known of it before it is read.
#[derive(Clone, Copy)]
struct Arrival<'a> {
    bytes: &'a [u8],
    exporter: SocketAddr,
    sender: Sender,
    senders: &'a Senders,
    received: Nanos,
    /// The receive time is that of the datagram, not that of some file.
    live: bool,
    /// The exporter's port stands for a connection.
    stream: bool,
}

impl Arrival<'_> {
    fn key(&self, version: u8) -> ExporterKey {
        let session = if self.stream { self.exporter.port() } else { 0 };
        ExporterKey { address: self.exporter.ip(), version, session, known: self.sender.known }
    }

    /// Who numbers a datagram of a protocol without templates: the sender, or whom it names.
    fn track(&self, version: u8, domain: u32, named: Option<IpAddr>) -> TrackKey {
        let sender = self.exporter.ip();
        TrackKey { sender, exporter: named.unwrap_or(sender), version, domain }
    }

    /// The rate that the operator stated for the exporter that a relay names, or for the sender.
    fn operators_rate(&self, named: Option<IpAddr>) -> Option<NonZeroU32> {
        let named = named.and_then(|exporter| self.senders.find(exporter).sampling_rate);
        named.or(self.sender.sampling_rate)
    }

    fn base(&self, version: u8, domain: u32) -> Flow {
        Flow { exporter: self.exporter.ip(), domain, version, ..Flow::default() }
    }
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder::new(Limits::default())
    }
}

impl Decoder {
    /// Makes a decoder that has seen nothing, for datagrams whose time of arrival is not known well, such
    /// as those of a file.
    pub fn new(limits: Limits) -> Decoder {
        Decoder {
            templates: Templates {
                cache: Cache::new(limits),
                specs: Vec::new(),
                announced: Vec::new(),
                others: Vec::new(),
                waiting: Waiting::default(),
            },
            tracks: Tracks::default(),
            senders: Arc::default(),
            last: None,
            certified: None,
            live: false,
            streams: false,
        }
    }

    /// Datagrams are decoded as they arrive, so that an exporter whose clock runs days ahead is told by
    /// the receive time.
    pub fn set_live(&mut self) {
        self.live = true;
    }

    /// What is decoded are the messages of connections, at most so many at one time: templates belong to
    /// the connection that announced them, until [`Decoder::close`]. Each connection counts as an exporter,
    /// so that the limits grow with them: templates come once in a connection, and what is forgotten of one
    /// that stands does not come again.
    pub fn set_streams(&mut self, connections: usize) {
        self.streams = true;
        self.templates.cache.expect_exporters(connections);
    }

    /// Replaces what the operator said of senders.
    pub fn set_senders(&mut self, senders: Arc<Senders>) {
        self.senders = senders;
        self.last = None;
    }

    /// The names of the client certificate that what comes next was sent under; none without. The source
    /// that it selects goes before that of the address.
    pub fn set_names(&mut self, names: &[String]) {
        self.certified = self.senders.find_certified(names);
    }

    /// As [`Decoder::read`], for whoever wants all records.
    pub fn decode(
        &mut self,
        datagram: &[u8],
        exporter: SocketAddr,
        received: Nanos,
        each: &mut impl FnMut(Record<'_>),
    ) -> Result<Datagram, Undecoded> {
        self.read(datagram, exporter, received, each)
    }

    /// Decodes one datagram, or one message of a connection; records found before an error were handed
    /// out.
    pub fn read(
        &mut self,
        datagram: &[u8],
        exporter: SocketAddr,
        received: Nanos,
        each: &mut impl Reader,
    ) -> Result<Datagram, Undecoded> {
        let sender = self.sender(exporter.ip());
        let Decoder { templates, tracks, senders, live, streams, .. } = self;
        let (live, stream) = (*live, *streams);
        let arrival = Arrival { bytes: datagram, exporter, sender, senders, received, live, stream };
        let version: [u8; 2] = *datagram.first_chunk().ok_or(DecodeError::Truncated)?;
        match u16::from_be_bytes(version) {
            version @ (5 | 7) => netflow5::decode(tracks, arrival, version as u8, each),
            9 => netflow9::decode(templates, arrival, each),
            10 => ipfix::decode(templates, arrival, each),
            // sFlow alone writes its version in four octets.
            0 if datagram.get(2..4) == Some(&[0, 5]) => sflow::decode(tracks, arrival, each),
            _ => Err(DecodeError::Version.into()),
        }
    }

    fn sender(&mut self, address: IpAddr) -> Sender {
        match (self.certified, self.last) {
            (Some(sender), _) => sender,
            (None, Some((last, sender))) if last == address => sender,
            _ => {
                let sender = self.senders.find(address);
                self.last = Some((address, sender));
                sender
            }
        }
    }

    /// Forgets what a connection told, which has ended.
    pub fn close(&mut self, exporter: SocketAddr) {
        let (address, session) = (exporter.ip(), exporter.port());
        for version in [9, 10] {
            let key = ExporterKey { address, version, session, known: false };
            self.templates.cache.close(&key);
            self.templates.waiting.forget(&key);
        }
    }

    /// Forgets the templates that have not been announced again for too long, and the sets that have waited
    /// too long for theirs; the work of a moment, to be
    /// done every few minutes. Those that are used expire by themselves.
    pub fn expire(&mut self, now: Nanos) {
        self.templates.cache.expire(now);
        self.templates.waiting.expire(now);
    }

    /// Templates held now, of all exporters.
    pub fn templates(&self) -> usize {
        self.templates.cache.templates()
    }

    /// Memory that templates and what belongs to them take, about.
    pub fn template_bytes(&self) -> usize {
        self.templates.cache.bytes()
    }

    /// Memory that sets take which wait for their template.
    pub fn waiting_bytes(&self) -> usize {
        self.templates.waiting.bytes()
    }

    /// Sets that wait for their template now. Looks at every exporter.
    pub fn waiting_sets(&self) -> u64 {
        self.templates.waiting.len()
    }

    /// Templates evicted, refused, withdrawn and expired so far.
    pub fn template_counts(&self) -> Counts {
        self.templates.cache.counts()
    }

    /// Sets that came before their template, and what became of them so far.
    pub fn waiting_counts(&self) -> WaitingCounts {
        self.templates.waiting.counts()
    }

    /// How many templates an earlier run was told and no exporter has repeated, and how many exporters
    /// number their messages so that nothing can be concluded. Looks at every one.
    pub fn levels(&self) -> (usize, usize) {
        let (restored, untrusted) = self.templates.cache.levels();
        (restored, untrusted + self.tracks.untrusted())
    }

    /// What each exporter sent, and what of it was lost: one for each of its domains.
    pub fn exporters(&self, mut each: impl FnMut(ExporterStatus)) {
        self.templates.cache.each(&mut each);
        self.tracks.each(&mut each);
    }

    /// Everything that a restart should not lose: templates, sampling rates and start-up times.
    pub fn store(&self) -> Stored {
        store::store(&self.templates.cache)
    }

    /// Takes up what an earlier run stored; it holds until exporters say otherwise. Gives the number of
    /// templates that were still of use.
    pub fn restore(&mut self, stored: &Stored, now: Nanos) -> usize {
        let senders = self.senders.clone();
        store::restore(&mut self.templates.cache, stored, now, |address| senders.find(address).known)
    }
}
