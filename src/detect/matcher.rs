//! The one matching function: what stands in a message or flow record, judged.
//!
//! [`Matcher`] collects occurrences of values: extraction with look-up, the text index, and URLs
//! whose host and path stand in separate fields. Only when an indicator is among them is the
//! message decoded, entries are held against side, port and comparison, and allow sets and
//! validity are judged.

use super::hash::Seed;
use super::indicator::{Kind, MatchMode, Meta, Mode};
use super::sieve::Sieve;
use super::token::{address_observable, extract_for};
use super::url::{self, MAX_URL};
use super::{EntryRef, Match, Observable, RuleSet, Side, Suppression, Validity, ValueId};
use crate::decode::flow::{Flow, Record};
use crate::decode::syslog::{self, Reference};
use crate::decode::{FieldId, Fields, Span, Value};
use std::cmp::Reverse;
use std::net::{IpAddr, Ipv6Addr};

/// The matching function and its reused memory; one for each worker.
#[derive(Debug, Default)]
pub struct Matcher {
    found: Vec<Occurrence>,
    /// Indices into `found` of what allow sets name, by kind and place.
    allows: Vec<usize>,
    fields: Fields,
    decoded: bool,
    composed: Vec<u8>,
    sieve: Sieve,
}

/// A value at one place.
#[derive(Clone, Copy, Debug)]
struct Occurrence {
    value: ValueId,
    kind: Kind,
    span: Span,
    /// What tells places of one kind apart: for domains the end of the host name, which all its
    /// suffixes share; for flows the endpoint; else the start.
    place: u32,
    /// How narrow the value is: labels of a domain, length of a prefix.
    rank: u16,
    /// Domains: the whole host name.
    whole: bool,
    /// Text: between borders.
    bordered: bool,
    address: Option<IpAddr>,
    side: Side,
    port: Port,
    field: Option<&'static str>,
}

/// What is known of the port at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Port {
    /// Not decoded: it binds nothing.
    Unknown,
    /// The protocol has none.
    Absent,
    Is(u16),
}

/// Ends that a flow has at most: its own, those after translation, those of a tunnel.
const ENDS: u32 = 6;

impl Matcher {
    /// Calls `each` once for every indicator value found in a syslog message.
    ///
    /// `reference` serves the decoding that a hit may need (sides, separate host and path).
    pub fn message(
        &mut self,
        rules: &RuleSet,
        message: &[u8],
        validity: Validity,
        reference: &Reference,
        each: &mut impl FnMut(Match),
    ) {
        if self.look(rules, message, reference) {
            self.tell(rules, message, validity, reference, each);
        }
    }

    /// Tells apart which of up to [`GROUP`](crate::input::GROUP) syslog messages may hold a value: bit n is
    /// set if message n may. In the others [`Matcher::look`] finds nothing.
    #[inline]
    pub fn sift<'m>(&self, rules: &RuleSet, messages: impl Iterator<Item = &'m [u8]>) -> u32 {
        self.sieve.sift(rules, messages)
    }

    /// Whether a value of an indicator stands in a syslog message: the first half of
    /// [`Matcher::message`], and for nearly every message all of it.
    #[inline]
    pub fn look(&mut self, rules: &RuleSet, message: &[u8], reference: &Reference) -> bool {
        self.find(rules, message, &mut decoder(reference));
        self.raises(rules)
    }

    /// The values that [`Matcher::look`] found, those of allow sets too.
    pub fn found(&self) -> impl Iterator<Item = ValueId> {
        self.found.iter().map(|found| found.value)
    }

    /// Judges what [`Matcher::look`] found in the same message.
    pub fn tell(
        &mut self,
        rules: &RuleSet,
        message: &[u8],
        validity: Validity,
        reference: &Reference,
        each: &mut impl FnMut(Match),
    ) {
        self.decode(message, &mut decoder(reference));
        self.locate(message);
        self.judge(rules, validity, each);
    }

    /// The same for matches that will only be counted: the message is decoded only if an entry asks
    /// for a side or a port, or if an allow set may know better. Who contributes and what suppresses
    /// is the same; where the value stood is not looked at.
    pub fn count(
        &mut self,
        rules: &RuleSet,
        message: &[u8],
        validity: Validity,
        reference: &Reference,
        each: &mut impl FnMut(Match),
    ) {
        let asks = |entry: EntryRef| {
            let meta = rules.meta(entry);
            let sided = meta.where_source || meta.where_destination || !meta.ports.is_empty();
            sided || rules.mode(entry) != Mode::Indicators
        };
        match self.found.iter().any(|found| rules.entries(found.value).any(asks)) {
            true => self.tell(rules, message, validity, reference, each),
            false => self.judge(rules, validity, each),
        }
    }

    /// Whether an entry of a set applies somewhere in a syslog message: also one of an allow set,
    /// which by itself makes no match.
    pub fn applies(&mut self, rules: &RuleSet, set: u32, message: &[u8], reference: &Reference) -> bool {
        let mut decode = decoder(reference);
        self.find(rules, message, &mut decode);
        self.decode(message, &mut decode);
        self.locate(message);
        self.found.iter().any(|place| {
            let mut entries = rules.entries(place.value);
            entries.any(|entry| entry.set == set && applies(rules.meta(entry), place))
        })
    }

    /// Calls `each` once for every indicator value found among the addresses of a flow record, which
    /// is read only if some value may cover one of them, and among the names and URLs that it carries, if
    /// its template has any.
    #[inline]
    pub fn record(
        &mut self,
        rules: &RuleSet,
        record: &Record<'_>,
        validity: Validity,
        each: &mut impl FnMut(Match),
    ) {
        let covered = record.any_address(|address| rules.may_cover(address));
        if record.has_names() {
            self.named_record(rules, record, covered, validity, each);
        } else if covered {
            self.flow(rules, &record.flow(), validity, each);
        }
    }

    /// Calls `each` once for every indicator value found among the addresses of a flow.
    #[cold]
    pub fn flow(&mut self, rules: &RuleSet, flow: &Flow, validity: Validity, each: &mut impl FnMut(Match)) {
        self.found.clear();
        self.find_ends(rules, flow);
        if self.raises(rules) {
            self.judge(rules, validity, each);
        }
    }

    /// The same for a record that has names too; `covered` if some value may cover one of its addresses.
    fn named_record(
        &mut self,
        rules: &RuleSet,
        record: &Record<'_>,
        covered: bool,
        validity: Validity,
        each: &mut impl FnMut(Match),
    ) {
        self.found.clear();
        if covered {
            self.find_ends(rules, &record.flow());
        }
        if self.find_names(rules, record) {
            self.fields.clear();
            record.fields(&mut self.fields);
            self.separate_url(rules, record.bytes);
        }
        if self.raises(rules) {
            self.judge(rules, validity, each);
        }
    }

    /// Finds what the names and URLs of a record hold; true if a path among them may complete the URL of a
    /// host that is told elsewhere in the record.
    fn find_names(&mut self, rules: &RuleSet, record: &Record<'_>) -> bool {
        let found = &mut self.found;
        let (mut path, mut host) = (false, false);
        record.names(&mut |id, offset, text| {
            path |= text.starts_with(b"/");
            extract_for(text, rules, &mut |observable| {
                rules.lookup(text, &observable, &mut |value| {
                    let occurrence = Occurrence::new(rules, &observable, value);
                    let Span { mut start, end } = observable.span;
                    if observable.kind == Kind::Domain {
                        // All of the name: in a record there is no text around it to look it up in.
                        start = name_start(text, start as usize) as u32;
                    }
                    let span = Span { start: offset + start, end: offset + end };
                    // Behind the places of the ends, which are no places in the record.
                    let place = ENDS + if observable.kind == Kind::Domain { span.end } else { span.start };
                    found.push(Occurrence { span, place, field: Some(id.name()), ..occurrence });
                });
                host |= rules.is_url_host(&observable);
            });
        });
        // Where no name of the host is told, its address may stand in the URL.
        let at = |address| rules.is_url_host(&address_observable(Seed::current(), address, Span::default()));
        path && (host || record.flow().destination.is_some_and(at))
    }

    /// Finds the values that cover an end of a flow.
    fn find_ends(&mut self, rules: &RuleSet, flow: &Flow) {
        let port = |port: u16| match (port, flow.protocol) {
            // DCCP, SCTP, TCP, UDP, or a template without the protocol: the port was not exported.
            (0, 0 | 6 | 17 | 33 | 132) => Port::Unknown,
            (0, _) => Port::Absent,
            _ => Port::Is(port),
        };
        let (source, destination) = (port(flow.source_port), port(flow.destination_port));
        let translated_source = flow.translated_source.filter(|_| flow.translated_source != flow.source);
        let translated_destination =
            flow.translated_destination.filter(|_| flow.translated_destination != flow.destination);
        let ends: [_; ENDS as usize] = [
            (flow.source, Side::Source, source, FieldId::SourceIp.name()),
            (flow.destination, Side::Destination, destination, FieldId::DestinationIp.name()),
            (translated_source, Side::Source, source, FieldId::SourceNatIp.name()),
            (translated_destination, Side::Destination, destination, FieldId::DestinationNatIp.name()),
            // Ports are those of the packet inside.
            (flow.tunnel_source, Side::Source, Port::Unknown, Flow::TUNNEL_SOURCE),
            (flow.tunnel_destination, Side::Destination, Port::Unknown, Flow::TUNNEL_DESTINATION),
        ];
        for (place, (address, side, port, field)) in (0..).zip(ends) {
            let Some(address) = address else { continue };
            let observable = address_observable(Seed::current(), address, Span::default());
            let found = &mut self.found;
            rules.lookup(&[], &observable, &mut |value| {
                let occurrence = Occurrence::new(rules, &observable, value);
                found.push(Occurrence { place, side, port, field: Some(field), ..occurrence });
            });
        }
    }

    /// As [`Matcher::message`], with a decoder of the test's own.
    #[cfg(test)]
    fn text(
        &mut self,
        rules: &RuleSet,
        message: &[u8],
        validity: Validity,
        decode: &mut impl FnMut(&[u8], &mut Fields),
        each: &mut impl FnMut(Match),
    ) {
        self.find(rules, message, decode);
        if self.raises(rules) {
            self.decode(message, decode);
            self.locate(message);
            self.judge(rules, validity, each);
        }
    }

    /// Finds every value that the message holds, whatever the entries that name it ask for.
    #[inline]
    fn find(&mut self, rules: &RuleSet, message: &[u8], decode: &mut impl FnMut(&[u8], &mut Fields)) {
        self.found.clear();
        self.decoded = false;
        let found = &mut self.found;
        let mut url_host = false;
        extract_for(message, rules, &mut |observable| {
            rules.lookup(message, &observable, &mut |value| {
                found.push(Occurrence::new(rules, &observable, value));
            });
            url_host |= rules.is_url_host(&observable) && !has_path(message, observable.span);
        });
        rules.text().scan(message, &mut |text| {
            let span = Span { start: text.start as u32, end: text.end as u32 };
            let observable = Observable { kind: Kind::Text, span, hash: 0, address: None, whole: false };
            let occurrence = Occurrence::new(rules, &observable, ValueId(text.value));
            found.push(Occurrence { bordered: text.bordered, ..occurrence });
        });
        if url_host {
            self.decode(message, decode);
            self.separate_url(rules, message);
        }
    }

    /// Some indicator is among what was found, not only entries of allow sets.
    fn raises(&self, rules: &RuleSet) -> bool {
        self.found
            .iter()
            .any(|found| rules.entries(found.value).any(|entry| rules.mode(entry) == Mode::Indicators))
    }

    fn decode(&mut self, message: &[u8], decode: &mut impl FnMut(&[u8], &mut Fields)) {
        if !self.decoded {
            self.decoded = true;
            self.fields.clear();
            decode(message, &mut self.fields);
        }
    }

    // Separate fields --------------------------------------------------------------------------

    /// Looks up the URL whose host and path stand in separate fields.
    fn separate_url(&mut self, rules: &RuleSet, message: &[u8]) {
        let Matcher { fields, composed, found, .. } = self;
        let text = |id: FieldId| fields.find(id).map(|value| (value, fields.bytes(message, value)));
        let path = [FieldId::UrlPath, FieldId::UrlOriginal].into_iter().find_map(|id| {
            text(id).filter(|(_, path)| path.starts_with(b"/")).map(|(value, path)| (id, value, path))
        });
        let Some((field, value, path)) = path else { return };
        let hosts = [FieldId::UrlDomain, FieldId::DestinationDomain, FieldId::DestinationIp];
        let Some(host) = hosts.into_iter().find_map(|id| fields.find(id)) else { return };
        let port = fields.find(FieldId::DestinationPort).and_then(|value| number(fields, message, value));
        let query = text(FieldId::UrlQuery).map(|(_, query)| query).filter(|_| !path.contains(&b'?'));
        let span = match value {
            Value::Raw(span) => span,
            _ => Span::default(),
        };
        for port in [None, port.filter(|port| !matches!(port, 0 | 80 | 443))] {
            composed.clear();
            push_host(composed, fields, message, host);
            if let Some(port) = port {
                composed.extend_from_slice(format!(":{port}").as_bytes());
            }
            composed.extend_from_slice(path);
            if let Some(query) = query.filter(|query| !query.is_empty()) {
                composed.push(b'?');
                composed.extend_from_slice(query.strip_prefix(b"?").unwrap_or(query));
            }
            let mut buffer = [0; MAX_URL];
            let Ok(form) = url::normal(composed, &mut buffer) else { continue };
            let hash = Seed::current().hash(Kind::Url, &buffer[..form.length]);
            let whole = Span { start: 0, end: composed.len() as u32 };
            let observable = Observable { kind: Kind::Url, span: whole, hash, address: None, whole: false };
            rules.lookup(composed, &observable, &mut |value| {
                let occurrence = Occurrence::new(rules, &observable, value);
                found.push(Occurrence { span, place: span.start, field: Some(field.name()), ..occurrence });
            });
        }
    }

    /// Names the field of each occurrence and the sides of each address.
    fn locate(&mut self, message: &[u8]) {
        let Matcher { fields, found, .. } = self;
        let endpoints = endpoints(fields, message);
        for index in 0..found.len() {
            let here = found[index];
            let mut sides = endpoints.iter().flatten().filter(|end| Some(end.address) == here.address);
            if let Some(end) = sides.next() {
                found[index] = Occurrence { side: end.side, port: end.port, field: Some(end.field), ..here };
            } else {
                found[index].field = here.field.or_else(|| field_around(fields, here.span));
            }
            for end in sides {
                found.push(Occurrence { side: end.side, port: end.port, field: Some(end.field), ..here });
            }
        }
    }

    // Judgement --------------------------------------------------------------------------------

    fn judge(&mut self, rules: &RuleSet, validity: Validity, each: &mut impl FnMut(Match)) {
        let Matcher { found, allows, .. } = self;
        found.sort_unstable_by_key(|one| (one.value, one.span.start, one.place, one.side as u8, one.port));
        allows.clear();
        allows.extend((0..found.len()).filter(|index| {
            rules.entries(found[*index].value).any(|entry| rules.mode(entry) != Mode::Indicators)
        }));
        allows.sort_unstable_by_key(|index| (found[*index].kind, found[*index].place));
        let judge = Judge { rules, validity, found, allows };
        let mut matches: Vec<Match> = found
            .chunk_by(|one, other| one.value == other.value)
            .filter_map(|places| judge.value(places))
            .collect();
        matches.sort_by_key(|one| (one.span.start, one.value));
        matches.into_iter().for_each(each);
    }
}

/// Decodes a message into fields; what cannot be decoded is matched raw.
fn decoder(reference: &Reference) -> impl FnMut(&[u8], &mut Fields) {
    |message, fields| {
        let _ = syslog::decode(message, reference, fields);
    }
}

/// Whether a host is followed by its own path, also in JSON's spelling: then the URL stands whole in
/// the text, and no other field completes it.
fn has_path(message: &[u8], host: Span) -> bool {
    let rest = message.get(host.end as usize..).unwrap_or_default();
    rest.starts_with(b"/") || rest.starts_with(b"\\/")
}

/// Where the name begins whose end a listed domain is.
fn name_start(text: &[u8], domain: usize) -> usize {
    let before = text.get(..domain).unwrap_or_default();
    let part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | 0x80..);
    let name = before.len() - before.iter().rev().take_while(|byte| part(byte)).count();
    name + before.get(name..).unwrap_or_default().iter().take_while(|byte| **byte == b'.').count()
}

impl Occurrence {
    fn new(rules: &RuleSet, observable: &Observable, value: ValueId) -> Occurrence {
        let (kind, key) = rules.key(value);
        let rank = match kind {
            Kind::Domain => key.iter().filter(|byte| **byte == b'.').count() as u16,
            // An address has no length in its key, a prefix has.
            Kind::Ip => match key {
                [.., length] if matches!(key.len(), 5 | 17) => u16::from(*length),
                _ => 128,
            },
            _ => 0,
        };
        let span = observable.span;
        Occurrence {
            value,
            kind,
            span,
            place: if kind == Kind::Domain { span.end } else { span.start },
            rank,
            whole: observable.whole,
            bordered: true,
            address: observable.address,
            side: Side::Unknown,
            port: Port::Unknown,
            field: None,
        }
    }
}

struct Judge<'a> {
    rules: &'a RuleSet,
    validity: Validity,
    found: &'a [Occurrence],
    allows: &'a [usize],
}

impl Judge<'_> {
    /// Judges one value at all its places; none if no indicator applies at any.
    fn value(&self, places: &[Occurrence]) -> Option<Match> {
        let mut applying: Vec<(&Occurrence, bool)> = Vec::new();
        let mut entries: Vec<(EntryRef, bool)> = Vec::new();
        for place in places {
            let before = entries.len();
            let allowed = self.allow_entries(place, Mode::Block).next().is_some();
            entries.extend(self.applying(place, Mode::Indicators).map(|entry| (entry, allowed)));
            if entries.len() > before {
                applying.push((place, allowed));
            }
        }
        let allowed = applying.iter().all(|(_, allowed)| *allowed);
        // The first place, or rather the first in a field of its own, which says more than the message.
        let alike = applying.iter().filter(|(_, place_allowed)| *place_allowed == allowed);
        let (first, _) = alike
            .min_by_key(|(place, _)| place.field.is_none_or(|field| field == FieldId::Message.name()))?;
        // What only an allowed place contributes does not count where another is not allowed.
        let mut contributors: Vec<EntryRef> = entries
            .iter()
            .filter(|(_, place_allowed)| *place_allowed == allowed)
            .map(|(entry, _)| *entry)
            .collect();
        contributors.sort_unstable();
        contributors.dedup();
        self.rank(&mut contributors);
        let ended = |entry: &EntryRef| self.ended(self.rules.meta(*entry));
        let mut suppressed = allowed.then_some(Suppression::Allowed);
        if contributors.iter().any(|entry| ended(entry).is_none()) {
            contributors.retain(|entry| ended(entry).is_none());
        } else {
            suppressed = contributors.first().and_then(ended);
        }
        self.one_for_each_set(&mut contributors);
        let mut informs: Vec<EntryRef> =
            applying.iter().flat_map(|(place, _)| self.allow_entries(place, Mode::Inform)).collect();
        informs.sort_unstable();
        informs.dedup();
        self.rank(&mut informs);
        self.one_for_each_set(&mut informs);
        Some(Match {
            value: first.value,
            kind: first.kind,
            span: first.span,
            side: first.side,
            field: first.field.unwrap_or(FieldId::Message.name()),
            expired: contributors.iter().any(|entry| self.marked_expired(self.rules.meta(*entry))),
            contributors,
            informs,
            suppressed,
        })
    }

    /// Entries of sets of a mode that name the value and apply at the place.
    fn applying<'s>(&'s self, place: &'s Occurrence, mode: Mode) -> impl Iterator<Item = EntryRef> + 's {
        self.rules
            .entries(place.value)
            .filter(move |entry| self.rules.mode(*entry) == mode && applies(self.rules.meta(*entry), place))
    }

    /// Entries of allow sets that act at the place: those of the value itself, and those of
    /// narrower values that cover what was observed there.
    fn allow_entries<'s>(&'s self, place: &'s Occurrence, mode: Mode) -> impl Iterator<Item = EntryRef> + 's {
        let at = |index: &usize| (self.found[*index].kind, self.found[*index].place);
        let here = (place.kind, place.place);
        let from = self.allows.partition_point(|index| at(index) < here);
        self.allows[from..]
            .iter()
            .take_while(move |index| at(index) == here)
            .map(|index| &self.found[*index])
            .filter(|other| other.value == place.value || other.rank > place.rank)
            // An address that is both source and destination stands for each by itself.
            .filter(|other| other.side == place.side && other.port == place.port)
            .flat_map(move |other| self.applying(other, mode))
            .filter(|entry| self.ended(self.rules.meta(*entry)).is_none())
    }

    /// Highest severity first, then by set name; in one set the later entry first.
    fn rank(&self, entries: &mut [EntryRef]) {
        entries.sort_by(|one, other| {
            let key = |entry: &EntryRef| {
                (Reverse(self.rules.meta(*entry).severity), self.rules.contributor(*entry).set)
            };
            let ((severity, set), (other_severity, other_set)) = (key(one), key(other));
            (severity, &set.name, one.set, Reverse(one.entry)).cmp(&(
                other_severity,
                &other_set.name,
                other.set,
                Reverse(other.entry),
            ))
        });
    }

    /// Keeps the first entry of each set.
    fn one_for_each_set(&self, entries: &mut Vec<EntryRef>) {
        if entries.len() < 2 {
            return;
        }
        let mut seen = vec![false; self.rules.sets().len()];
        entries.retain(|entry| {
            seen.get_mut(entry.set as usize).is_some_and(|seen| !std::mem::replace(seen, true))
        });
    }

    /// Why an entry does not act, if it does not.
    fn ended(&self, meta: &Meta) -> Option<Suppression> {
        if meta.revoked {
            return Some(Suppression::Revoked);
        }
        if meta.test {
            return Some(Suppression::Test);
        }
        let Validity::At(now) = self.validity else { return None };
        if meta.valid_until.is_some_and(|until| until <= now) {
            return Some(Suppression::Expired);
        }
        meta.valid_from.is_some_and(|from| now < from).then_some(Suppression::NotYetValid)
    }

    fn marked_expired(&self, meta: &Meta) -> bool {
        matches!(self.validity, Validity::Mark(at) if meta.valid_until.is_some_and(|until| until <= at))
    }
}

/// The entry is about a value found like this.
fn applies(meta: &Meta, place: &Occurrence) -> bool {
    match place.kind {
        Kind::Domain => meta.matching != MatchMode::Exact || place.whole,
        Kind::Text => meta.matching == MatchMode::Substring || place.bordered,
        Kind::Ip => {
            let either = !meta.where_source && !meta.where_destination;
            let side = match place.side {
                Side::Source => either || meta.where_source,
                Side::Destination => either || meta.where_destination,
                Side::Unknown => true,
            };
            let port = match place.port {
                Port::Is(port) => meta.ports.is_empty() || meta.ports.contains(&port),
                Port::Absent => meta.ports.is_empty(),
                Port::Unknown => true,
            };
            side && port
        }
        _ => true,
    }
}

/// A decoded endpoint.
struct Endpoint {
    address: IpAddr,
    side: Side,
    port: Port,
    field: &'static str,
}

fn endpoints(fields: &Fields, message: &[u8]) -> [Option<Endpoint>; 4] {
    [
        (FieldId::SourceIp, FieldId::SourcePort, Side::Source),
        (FieldId::DestinationIp, FieldId::DestinationPort, Side::Destination),
        (FieldId::SourceNatIp, FieldId::SourceNatPort, Side::Source),
        (FieldId::DestinationNatIp, FieldId::DestinationNatPort, Side::Destination),
    ]
    .map(|(ip, port, side)| {
        let value = fields.find(ip)?;
        let address: IpAddr = match value {
            Value::Ip(address) => address,
            _ => std::str::from_utf8(fields.bytes(message, value)).ok()?.trim().parse().ok()?,
        };
        let port = fields
            .find(port)
            .and_then(|value| number(fields, message, value))
            .map_or(Port::Unknown, Port::Is);
        Some(Endpoint { address: address.to_canonical(), side, port, field: ip.name() })
    })
}

fn number(fields: &Fields, message: &[u8], value: Value) -> Option<u16> {
    match value {
        Value::Unsigned(number) => u16::try_from(number).ok(),
        Value::Signed(number) => u16::try_from(number).ok(),
        _ => std::str::from_utf8(fields.bytes(message, value)).ok()?.trim().parse().ok(),
    }
}

/// The narrowest decoded field that holds the span.
fn field_around(fields: &Fields, span: Span) -> Option<&'static str> {
    let holds = |value: &Value| match value {
        Value::Raw(field) if field.start <= span.start && span.end <= field.end => {
            Some(field.end - field.start)
        }
        _ => None,
    };
    fields
        .entries()
        .iter()
        .filter_map(|(id, value)| holds(value).map(|length| (length, id.name())))
        .min_by_key(|(length, _)| *length)
        .map(|(_, name)| name)
}

fn push_host(out: &mut Vec<u8>, fields: &Fields, message: &[u8], host: Value) {
    let text = match host {
        Value::Ip(address) => address.to_string().into_bytes(),
        _ => fields.bytes(message, host).to_vec(),
    };
    let long = std::str::from_utf8(&text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    if long {
        out.push(b'[');
    }
    out.extend_from_slice(&text);
    if long {
        out.push(b']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::flow::Decoder;
    use crate::detect::CompiledSet;
    use crate::detect::indicator::{SetBuilder, SetInfo, Severity, normalise};
    use std::sync::Arc;

    const NOW: i64 = 1_000;

    type Row<'a> = (Kind, &'a str, Meta);

    fn meta(change: impl FnOnce(&mut Meta)) -> Meta {
        let mut meta = Meta::default();
        change(&mut meta);
        meta
    }

    fn plain() -> Meta {
        Meta::default()
    }

    fn set(name: &str, mode: Mode, rows: &[Row<'_>]) -> Arc<CompiledSet> {
        let mut builder = SetBuilder::new(SetInfo {
            name: name.into(),
            producer: None,
            feed: None,
            reference: None,
            mode,
            path: name.into(),
            digest: name.into(),
        });
        for (kind, value, meta) in rows {
            let id = builder.meta(meta);
            builder.add(&normalise(*kind, value, meta.nocase).unwrap(), id, Some(value));
        }
        Arc::new(builder.build())
    }

    fn rules(rows: &[Row<'_>]) -> RuleSet {
        RuleSet::new(vec![set("s", Mode::Indicators, rows)])
    }

    /// Matches, the given fields standing for what the decoder would write.
    fn matches_with(
        rules: &RuleSet,
        message: &str,
        validity: Validity,
        fields: &[(FieldId, Value)],
    ) -> Vec<Match> {
        let mut all = Vec::new();
        let mut decode =
            |_: &[u8], out: &mut Fields| fields.iter().for_each(|(id, value)| out.push(*id, *value));
        Matcher::default()
            .text(rules, message.as_bytes(), validity, &mut decode, &mut |found| all.push(found));
        all
    }

    fn matches(rules: &RuleSet, message: &str) -> Vec<Match> {
        matches_with(rules, message, Validity::At(NOW), &[])
    }

    #[test]
    fn meaning_of_each_kind() {
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        for (kind, value, message, hit) in [
            (Kind::Domain, "evil.example", "query: evil.example IN A", true),
            (Kind::Domain, "evil.example", "query: a.b.EVIL.example. IN A", true),
            (Kind::Domain, "evil.example", "query: notevil.example", false),
            (Kind::Domain, "evil.example", "query: evil.example.org", false),
            (Kind::Domain, "evil.example", "_evil.example x_evil.example", false),
            (Kind::Domain, "evil.example", "-evil.example-", true),
            (Kind::Domain, "evil.example", "GET http://u:p@www.evil.example:8080/x", true),
            (Kind::Domain, "evil.example", "from=<x@evil.example>", true),
            (Kind::Domain, "evil.example", "hxxp://evil[.]example", true),
            (Kind::Domain, "evil.example", "u=http%3A%2F%2Fevil%2Eexample%2F", true),
            (Kind::Domain, "evil.example", r#"{"q":"a\nevil.example\r\n"}"#, true),
            (Kind::Domain, "evil.example", "a#011evil.example#012", true),
            (Kind::Domain, "t.co", "https://t.co/x", true),
            (Kind::Domain, "t.co", "at.com", false),
            (Kind::Domain, "bücher.example", "www.Bücher.example,", true),
            (Kind::Domain, "bücher.example", "xn--bcher-kva.example", true),
            (Kind::Domain, "vil.example", "évil.example", false),
            (Kind::Domain, "evil.example", "访问evil.example时", true),
            (Kind::Domain, "evil.example", "„evil.example“", true),
            (Kind::Domain, "x.example", &format!("{}.x.example", ["a"; 123].join(".")), true),
            (Kind::Url, "http://evil.example", "http://evil.example/", true),
            (Kind::Url, "http://evil.example/", "see http://evil.example.", true),
            (Kind::Url, "http://evil.example/a", "GET HTTP://Evil.Example:80/a#frag HTTP/1.1", true),
            (Kind::Url, "http://evil.example/a", "(http://evil.example/a).", true),
            (Kind::Url, "http://evil.example/a", "evil.example/a", true),
            (Kind::Url, "http://evil.example/a", "http://evil.example/A", false),
            (Kind::Url, "http://evil.example/a", "http://evil.example/ab", false),
            (Kind::Url, "http://evil.example/a", "http://evil.example/", false),
            (Kind::Url, "http://evil.example/a", "http://evil.example/a?x", false),
            (Kind::Url, "http://evil.example/a", "https://evil.example/a", false),
            (Kind::Url, "http://evil.example/a", "http://www.evil.example/a", false),
            (Kind::Url, "http://evil.example/a", "http://good.example/evil.example/a", false),
            (Kind::Url, "http://evil.example/a", "http://good.example/?u=http://evil.example/a", true),
            (Kind::Url, "http://evil.example/a", r#"{"u":"http:\/\/evil.example\/a"}"#, true),
            (Kind::Url, "http://evil.example/a", "u=http%3A%2F%2Fevil.example%2Fa&x=1", true),
            (Kind::Url, "http://evil.example", "query evil.example", false),
            (Kind::Url, "evil.example/a", "https://evil.example/a", true),
            (Kind::Url, "https://evil.example/a", "evil.example:443/a", true),
            (Kind::Url, "http://evil.example:443/a", "evil.example:443/a", true),
            (Kind::Url, "http://1.2.3.4/443", "1.2.3.4/443 ", false),
            (Kind::Url, "http://1.2.3.4/x.sh", "wget 1.2.3.4/x.sh", true),
            (Kind::Url, "http://[2001:db8::1]/a", "http://[2001:DB8:0::1]:80/a", true),
            (Kind::Email, "x@evil.example", "from=<X@Evil.Example>", true),
            (Kind::Email, "x@evil.example", "user=x[@]evil[.]example", true),
            (Kind::Email, "x@evil.example", "to=x@evil.example,", true),
            (Kind::Email, "x@evil.example", "xx@evil.example", false),
            (Kind::Email, "x@evil.example", "x@a.evil.example", false),
            (Kind::Email, "x@evil.example", "m=x%40evil.example", true),
            (Kind::Ip, "1.2.3.4", "src=1.2.3.4:443", true),
            (Kind::Ip, "1.2.3.4", "1.2.3.4.", true),
            (Kind::Ip, "1.2.3.4", "1.2.3.4-1.2.3.9", true),
            (Kind::Ip, "1.2.3.4", "11.2.3.4 1.2.3.45 1.2.3.4.5 4.1.2.3.4 v1.2.3.4 1.2.3.4x", false),
            (Kind::Ip, "1.2.3.4", "4.3.2.1.in-addr.arpa 1.2.3.4.nip.io", false),
            (Kind::Ip, "1.2.3.4", "1.2.3.4.50123 > 5.6.7.8.53", true),
            (Kind::Ip, "1.2.3.4", "1[.]2[.]3[.]4", true),
            (Kind::Ip, "1.2.3.4", "::ffff:1.2.3.4", true),
            (Kind::Ip, "1.2.3.4", "::ffff:102:304", true),
            (Kind::Ip, "1.2.3.0/24", "1.2.3.77/24", true),
            (Kind::Ip, "1.2.3.0/24", "1.2.4.77", false),
            (Kind::Ip, "2001:db8::1", "[2001:0DB8:0:0:0:0:0:1]:443", true),
            (Kind::Ip, "2001:db8::1", "2001:db8::1%eth0 up", true),
            (Kind::Ip, "2001:db8::1", "addr:2001:db8::1.", true),
            (Kind::Ip, "2001:db8::1", "2001:db8::1.443 >", true),
            (Kind::Ip, "2001:db8::1", "2001:db8::12 x2001:db8::1", false),
            (Kind::Ip, "2001:db8::/32", "dst 2001:db8:1::5", true),
            (Kind::Ip, "1:2:3:4:5:6:7:8", "a 1:2:3:4:5:6:7:8 b", true),
            (Kind::Ip, "1:2:3:4:5:6:102:304", "a 1:2:3:4:5:6:1.2.3.4 b", true),
            (Kind::Ip, "1:2:3:4:5:6:102:304", "a :1:2:3:4:5:6:1.2.3.4. b", true),
            (Kind::Md5, md5, &format!("MD5={}", md5.to_uppercase()), true),
            (Kind::Md5, md5, &format!("x{md5}"), false),
            (Kind::Md5, md5, &format!("{md5}0"), false),
            (Kind::Md5, md5, &format!("/a/{md5}.exe"), true),
            (Kind::Text, "evil tool", "ran Evil Tool.", true),
            (Kind::Text, "evil tool", "devil tool", false),
        ] {
            let found = matches(&rules(&[(kind, value, plain())]), message);
            assert_eq!(found.len(), usize::from(hit), "{value} in {message}");
            for one in found {
                assert_eq!(
                    (one.kind, one.suppressed, one.contributors.len()),
                    (kind, None, 1),
                    "{value} in {message}"
                );
            }
        }
    }

    #[test]
    fn one_match_for_each_value() {
        let rules = RuleSet::new(vec![
            set(
                "b",
                Mode::Indicators,
                &[(Kind::Domain, "evil.example", meta(|meta| meta.severity = Severity::Low))],
            ),
            set(
                "c",
                Mode::Indicators,
                &[(Kind::Domain, "evil.example", meta(|meta| meta.severity = Severity::High))],
            ),
            set(
                "a",
                Mode::Indicators,
                &[(Kind::Domain, "evil.example", meta(|meta| meta.severity = Severity::Low))],
            ),
            set("d", Mode::Indicators, &[(Kind::Domain, "a.evil.example", plain())]),
        ]);
        let found = matches(&rules, "x.a.evil.example evil.example a.evil.example");
        assert_eq!(found.len(), 2);
        let names = |one: &Match| -> Vec<&str> {
            one.contributors.iter().map(|entry| rules.contributor(*entry).set.name.as_str()).collect()
        };
        assert_eq!((names(&found[0]), rules.value(found[0].value)), (vec!["d"], "a.evil.example".into()));
        assert_eq!(
            (names(&found[1]), rules.value(found[1].value)),
            (vec!["c", "a", "b"], "evil.example".into())
        );
        assert_eq!(found[1].span, Span { start: 4, end: 16 });
    }

    #[test]
    fn exact_and_substring() {
        let exact = meta(|meta| meta.matching = MatchMode::Exact);
        let substring = meta(|meta| meta.matching = MatchMode::Substring);
        for (kind, value, policy, message, hit) in [
            (Kind::Domain, "evil.example", &exact, "evil.example", true),
            (Kind::Domain, "evil.example", &exact, "http://evil.example/a", true),
            (Kind::Domain, "evil.example", &exact, "a.evil.example", false),
            (Kind::Domain, "evil.example", &exact, r"x\nevil.example", true),
            (Kind::Text, "evil tool", &substring, "devil tools", true),
        ] {
            assert_eq!(
                matches(&rules(&[(kind, value, policy.clone())]), message).len(),
                usize::from(hit),
                "{message}"
            );
        }
    }

    #[test]
    fn allow_sets() {
        for (name, indicator, allow, message, suppressed) in [
            ("equal", "evil.example", "evil.example", "evil.example", true),
            ("narrower allow", "evil.example", "ok.evil.example", "a.ok.evil.example", true),
            ("narrower allow elsewhere", "evil.example", "ok.evil.example", "evil.example", false),
            ("wider allow", "a.evil.example", "evil.example", "a.evil.example", false),
            (
                "one occurrence free",
                "evil.example",
                "ok.evil.example",
                "ok.evil.example x.evil.example",
                false,
            ),
            ("address in allowed prefix", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", true),
            ("indicator narrower than prefix", "10.1.2.3", "10.1.0.0/16", "10.1.2.3", false),
            ("equal address", "10.1.2.3", "10.1.2.3", "10.1.2.3", true),
            ("other address", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3 10.2.2.3", false),
        ] {
            let kind = if indicator.ends_with("example") { Kind::Domain } else { Kind::Ip };
            for mode in [Mode::Block, Mode::Inform] {
                let rules = RuleSet::new(vec![
                    set("allow", mode, &[(kind, allow, plain())]),
                    set("s", Mode::Indicators, &[(kind, indicator, plain())]),
                ]);
                let found = matches(&rules, message);
                assert_eq!(found.len(), 1, "{name}");
                let expected = (mode == Mode::Block && suppressed).then_some(Suppression::Allowed);
                assert_eq!(found[0].suppressed, expected, "{name}");
                if mode == Mode::Inform && suppressed {
                    assert_eq!(found[0].informs.len(), 1, "{name}");
                }
                assert_eq!(found[0].contributors.len(), 1, "{name}");
            }
        }
        let own_kind = RuleSet::new(vec![
            set("allow", Mode::Block, &[(Kind::Domain, "evil.example", plain())]),
            set("s", Mode::Indicators, &[(Kind::Url, "http://evil.example/a", plain())]),
        ]);
        assert_eq!(matches(&own_kind, "http://evil.example/a")[0].suppressed, None);
        assert!(matches(&own_kind, "evil.example").is_empty(), "an allow set raises nothing");
        let ended = RuleSet::new(vec![
            set(
                "allow",
                Mode::Block,
                &[(Kind::Domain, "evil.example", meta(|meta| meta.valid_until = Some(NOW)))],
            ),
            set("s", Mode::Indicators, &[(Kind::Domain, "evil.example", plain())]),
        ]);
        assert_eq!(
            matches(&ended, "evil.example")[0].suppressed,
            None,
            "an expired allow entry does not act"
        );
    }

    #[test]
    fn validity() {
        let from = |at| meta(|meta| meta.valid_from = Some(at));
        let until = |at| meta(|meta| meta.valid_until = Some(at));
        for (name, policy, at, mark) in [
            ("from now", from(NOW), None, (None, false)),
            ("from later", from(NOW + 1), Some(Suppression::NotYetValid), (None, false)),
            ("until later", until(NOW + 1), None, (None, false)),
            ("until now", until(NOW), Some(Suppression::Expired), (None, true)),
            (
                "revoked",
                meta(|meta| meta.revoked = true),
                Some(Suppression::Revoked),
                (Some(Suppression::Revoked), false),
            ),
            (
                "test",
                meta(|meta| meta.test = true),
                Some(Suppression::Test),
                (Some(Suppression::Test), false),
            ),
        ] {
            let rules = rules(&[(Kind::Domain, "evil.example", policy.clone())]);
            let found = matches(&rules, "evil.example");
            assert_eq!((found[0].suppressed, found[0].expired), (at, false), "{name}");
            assert_eq!(found[0].contributors.len(), 1, "{name}");
            let found = matches_with(&rules, "evil.example", Validity::Mark(NOW), &[]);
            assert_eq!((found[0].suppressed, found[0].expired), mark, "{name}");
            let two = RuleSet::new(vec![
                set("ended", Mode::Indicators, &[(Kind::Domain, "evil.example", policy)]),
                set("live", Mode::Indicators, &[(Kind::Domain, "evil.example", plain())]),
            ]);
            let found = matches(&two, "evil.example");
            assert_eq!(found[0].suppressed, None, "{name}: a live one decides");
            assert_eq!(found[0].contributors.len(), 1 + usize::from(at.is_none()), "{name}");
        }
    }

    #[test]
    fn sides_and_ports_of_decoded_messages() {
        let source = meta(|meta| meta.where_source = true);
        let destination = meta(|meta| (meta.where_destination, meta.ports) = (true, vec![443]));
        let message = "10.0.0.1 1.2.3.4 443";
        let address = |text: &str| Value::Ip(text.parse().unwrap());
        let outbound = [
            (FieldId::SourceIp, address("10.0.0.1")),
            (FieldId::DestinationIp, Value::Raw(Span { start: 9, end: 16 })),
            (FieldId::DestinationPort, Value::Raw(Span { start: 17, end: 20 })),
        ];
        let inbound =
            [(FieldId::SourceIp, address("::ffff:1.2.3.4")), (FieldId::SourcePort, Value::Unsigned(443))];
        let other_port =
            [(FieldId::DestinationIp, address("1.2.3.4")), (FieldId::DestinationPort, Value::Unsigned(80))];
        let both = [(FieldId::SourceIp, address("1.2.3.4")), (FieldId::DestinationIp, address("1.2.3.4"))];
        for (name, fields, policy, side) in [
            ("outbound", &outbound[..], &destination, Some((Side::Destination, "destination.ip"))),
            ("outbound, source wanted", &outbound[..], &source, None),
            ("inbound", &inbound[..], &source, Some((Side::Source, "source.ip"))),
            ("inbound, destination wanted", &inbound[..], &destination, None),
            ("other port", &other_port[..], &destination, None),
            ("both", &both[..], &destination, Some((Side::Destination, "destination.ip"))),
            ("text", &[][..], &destination, Some((Side::Unknown, "message"))),
        ] {
            let found = matches_with(
                &rules(&[(Kind::Ip, "1.2.3.4", policy.clone())]),
                message,
                Validity::At(NOW),
                fields,
            );
            assert_eq!(found.first().map(|one| (one.side, one.field)), side, "{name}");
        }
    }

    #[test]
    fn scopes_of_one_set_stand_apart() {
        let port = |port| meta(|meta| meta.ports = vec![port]);
        let rules = rules(&[
            (Kind::Ip, "1.2.3.4", port(80)),
            (Kind::Ip, "1.2.3.4", port(443)),
            (Kind::Ip, "1.2.3.4", port(443)),
        ]);
        assert_eq!((rules.sets()[0].len(), rules.len()), (2, 1));
        for (port, hit) in [(80, true), (443, true), (25, false)] {
            let fields = [
                (FieldId::DestinationIp, Value::Ip("1.2.3.4".parse().unwrap())),
                (FieldId::DestinationPort, Value::Unsigned(port)),
            ];
            let found = matches_with(&rules, "1.2.3.4", Validity::At(NOW), &fields);
            assert_eq!(found.len(), usize::from(hit), "{port}");
            assert!(found.iter().all(|one| one.contributors.len() == 1), "one contributor for each set");
        }
    }

    #[test]
    fn host_and_path_in_separate_fields() {
        let message = "host=Evil.example uri=/a/b?q=1 dport=8080";
        let raw = |start, end| Value::Raw(Span { start, end });
        let fields = [
            (FieldId::UrlDomain, raw(5, 17)),
            (FieldId::UrlPath, raw(22, 26)),
            (FieldId::UrlQuery, raw(27, 30)),
            (FieldId::DestinationPort, raw(37, 41)),
        ];
        for (value, hit) in [
            ("http://evil.example/a/b?q=1", true),
            ("https://evil.example/a/b?q=1", true),
            ("http://evil.example:8080/a/b?q=1", true),
            ("http://evil.example/a/b", false),
            ("http://evil.example/", false),
        ] {
            let rules = rules(&[(Kind::Url, value, plain())]);
            let found = matches_with(&rules, message, Validity::At(NOW), &fields);
            assert_eq!(found.len(), usize::from(hit), "{value}");
            for one in found {
                assert_eq!((one.field, one.span), ("url.path", Span { start: 22, end: 26 }));
            }
        }
    }

    #[test]
    fn flows() {
        let address = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let tcp = Flow {
            source: address("10.0.0.1"),
            destination: address("1.2.3.4"),
            destination_port: 443,
            source_port: 50_000,
            protocol: 6,
            ..Flow::default()
        };
        let reversed = Flow {
            source: tcp.destination,
            destination: tcp.source,
            source_port: 443,
            destination_port: 50_000,
            ..tcp
        };
        let translated = Flow {
            destination: address("10.9.9.9"),
            translated_destination: address("::ffff:1.2.3.4"),
            ..tcp
        };
        let icmp = Flow { protocol: 1, source_port: 0, destination_port: 0, ..tcp };
        let without_ports = Flow { source_port: 0, destination_port: 0, ..tcp };
        let bound = meta(|meta| (meta.where_destination, meta.ports) = (true, vec![443]));
        for (name, flow, value, policy, side) in [
            ("destination", tcp, "1.2.3.4", plain(), Some((Side::Destination, "destination.ip"))),
            ("prefix", tcp, "1.2.0.0/16", plain(), Some((Side::Destination, "destination.ip"))),
            ("source", reversed, "1.2.3.4", plain(), Some((Side::Source, "source.ip"))),
            ("translated", translated, "1.2.3.4", plain(), Some((Side::Destination, "destination.nat.ip"))),
            ("bound", tcp, "1.2.3.4", bound.clone(), Some((Side::Destination, "destination.ip"))),
            ("bound, reversed", reversed, "1.2.3.4", bound.clone(), None),
            ("bound, other port", Flow { destination_port: 80, ..tcp }, "1.2.3.4", bound.clone(), None),
            ("bound, no ports", icmp, "1.2.3.4", bound.clone(), None),
            (
                "bound, ports not exported",
                without_ports,
                "1.2.3.4",
                bound,
                Some((Side::Destination, "destination.ip")),
            ),
            ("neither", tcp, "1.2.3.5", plain(), None),
            (
                "tunnel source",
                Flow { tunnel_source: address("203.0.113.1"), ..tcp },
                "203.0.113.1",
                plain(),
                Some((Side::Source, "flow.tunnelSourceAddress")),
            ),
            (
                "tunnel destination, whose port is not that of the packet inside",
                Flow { tunnel_destination: address("203.0.113.2"), ..tcp },
                "203.0.113.2",
                meta(|meta| (meta.where_destination, meta.ports) = (true, vec![53])),
                Some((Side::Destination, "flow.tunnelDestinationAddress")),
            ),
            (
                "inside and outside",
                Flow { tunnel_destination: tcp.destination, ..tcp },
                "1.2.3.4",
                plain(),
                Some((Side::Destination, "destination.ip")),
            ),
        ] {
            let mut found = Vec::new();
            Matcher::default().flow(
                &rules(&[(Kind::Ip, value, policy)]),
                &flow,
                Validity::At(NOW),
                &mut |one| found.push(one),
            );
            assert!(found.len() <= 1, "{name}");
            assert_eq!(found.first().map(|one| (one.side, one.field)), side, "{name}");
        }
        let both = RuleSet::new(vec![
            set("allow", Mode::Block, &[(Kind::Ip, "10.0.0.1", plain())]),
            set("s", Mode::Indicators, &[(Kind::Ip, "10.0.0.0/8", plain())]),
        ]);
        let mut found = Vec::new();
        let inside = Flow { destination: address("10.0.0.2"), ..tcp };
        let mut matcher = Matcher::default();
        matcher.flow(&both, &inside, Validity::At(NOW), &mut |one| found.push(one));
        matcher.flow(&both, &tcp, Validity::At(NOW), &mut |one| found.push(one));
        let outcome: Vec<_> = found.iter().map(|one| (one.side, one.suppressed)).collect();
        assert_eq!(outcome, [(Side::Destination, None), (Side::Source, Some(Suppression::Allowed))]);
    }

    /// An IPFIX message: a template of enterprise, number and length, and one record of it.
    fn message(fields: &[(u32, u16, u16)], record: &[&[u8]]) -> Vec<u8> {
        let set = |id: u16, body: &[u8]| {
            [&id.to_be_bytes()[..], &(4 + body.len() as u16).to_be_bytes(), body].concat()
        };
        let mut template = [256u16.to_be_bytes(), (fields.len() as u16).to_be_bytes()].concat();
        for (enterprise, number, length) in fields {
            let bit = if *enterprise > 0 { 0x8000 } else { 0 };
            template.extend([(number | bit).to_be_bytes(), length.to_be_bytes()].concat());
            if *enterprise > 0 {
                template.extend(enterprise.to_be_bytes());
            }
        }
        let sets = [set(2, &template), set(256, &record.concat())].concat();
        let length = (16 + sets.len() as u16).to_be_bytes();
        [&[0, 10][..], &length, &[0x65, 0x53, 0xf1, 0], &[0; 8], &sets].concat()
    }

    #[test]
    fn names_and_urls_in_flow_records() {
        const TEXT: u16 = 0xffff;
        let ends = [(0, 8, 4), (0, 12, 4)];
        let addresses: &[u8] = &[10, 0, 0, 1, 1, 2, 3, 4];
        let text = |text: &str| [&[text.len() as u8][..], text.as_bytes()].concat();
        let host = [(0, 460, TEXT)];
        let request = [(0, 460, TEXT), (0, 461, TEXT)];
        let none: Option<(&str, &str)> = None;
        for (name, more, values, kind, value, expected) in [
            // A length of "0", a letter of a name in its own right, stands before the name.
            (
                "domain",
                &host[..],
                vec![text(&format!("{}.evil.example", "a".repeat(35)))],
                Kind::Domain,
                "evil.example",
                Some(("url.domain", &*format!("{}.evil.example", "a".repeat(35)))),
            ),
            ("domain, other", &host, vec![text("evil.example.org")], Kind::Domain, "evil.example", none),
            (
                "host of an address",
                &host,
                vec![text("198.51.100.7:8080")],
                Kind::Ip,
                "198.51.100.7",
                Some(("url.domain", "198.51.100.7")),
            ),
            (
                "URL",
                &[(35632, 180, TEXT)],
                vec![text("http://evil.example/a?b=c")],
                Kind::Url,
                "http://evil.example/a?b=c",
                Some(("url.full", "http://evil.example/a?b=c")),
            ),
            (
                "host and path",
                &request,
                vec![text("evil.example"), text("/a?b=c")],
                Kind::Url,
                "https://evil.example/a?b=c",
                Some(("url.original", "")),
            ),
            (
                "host and another path",
                &request,
                vec![text("evil.example"), text("/a")],
                Kind::Url,
                "https://evil.example/a?b=c",
                none,
            ),
            (
                "address and path",
                &[(0, 461, TEXT)],
                vec![text("/gate.php")],
                Kind::Url,
                "http://1.2.3.4/gate.php",
                Some(("url.original", "")),
            ),
            (
                "query",
                &[(35632, 205, TEXT)],
                vec![text("c2.evil.example")],
                Kind::Domain,
                "evil.example",
                Some(("dns.question.name", "c2.evil.example")),
            ),
            (
                "TLS",
                &[(35632, 188, TEXT)],
                vec![text("c2.evil.example")],
                Kind::Domain,
                "c2.evil.example",
                Some(("tls.client.server_name", "c2.evil.example")),
            ),
            (
                "mail",
                &[(6871, 163, TEXT)],
                vec![text("<x@evil.example>")],
                Kind::Email,
                "x@evil.example",
                Some(("email.from.address", "x@evil.example")),
            ),
            (
                "NetScaler",
                &[(5951, 142, TEXT), (5951, 130, TEXT)],
                vec![text("evil.example"), text("/x")],
                Kind::Url,
                "http://evil.example/x",
                Some(("url.original", "")),
            ),
            (
                "address",
                &host,
                vec![text("other.example")],
                Kind::Ip,
                "1.2.3.4",
                Some(("destination.ip", "")),
            ),
            (
                "no name of a host",
                &[(0, 82, TEXT)],
                vec![text("evil.example")],
                Kind::Domain,
                "evil.example",
                none,
            ),
        ] {
            let rules = rules(&[(kind, value, plain())]);
            let values: Vec<&[u8]> =
                std::iter::once(addresses).chain(values.iter().map(Vec::as_slice)).collect();
            let datagram = message(&[&ends[..], more].concat(), &values);
            let mut found = Vec::new();
            let mut matcher = Matcher::default();
            let exporter = "192.0.2.1:4739".parse().unwrap();
            let mut each = |record: Record<'_>| {
                matcher.record(&rules, &record, Validity::At(NOW), &mut |one| {
                    let there = &record.bytes[one.span.start as usize..one.span.end as usize];
                    found.push((one.field, String::from_utf8_lossy(there).into_owned()));
                });
            };
            Decoder::default().decode(&datagram, exporter, NOW, &mut each).unwrap();
            let expected: Vec<_> =
                expected.iter().map(|(field, text)| (*field, (*text).to_owned())).collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    /// What an allow set knows of a name holds for it in a record too, and not for the addresses beside.
    #[test]
    fn allowed_names_in_flow_records() {
        let rules = RuleSet::new(vec![
            set("allow", Mode::Block, &[(Kind::Domain, "good.evil.example", plain())]),
            set(
                "s",
                Mode::Indicators,
                &[(Kind::Domain, "evil.example", plain()), (Kind::Ip, "1.2.3.4", plain())],
            ),
        ]);
        let name = [&[17][..], b"good.evil.example"].concat();
        let datagram =
            message(&[(0, 8, 4), (0, 12, 4), (0, 460, 0xffff)], &[&[10, 0, 0, 1, 1, 2, 3, 4], &name]);
        let mut found = Vec::new();
        let mut matcher = Matcher::default();
        let mut each = |record: Record<'_>| {
            matcher.record(&rules, &record, Validity::At(NOW), &mut |one| {
                found.push((one.field, one.suppressed));
            });
        };
        Decoder::default().decode(&datagram, "192.0.2.1:4739".parse().unwrap(), NOW, &mut each).unwrap();
        assert_eq!(found, [("destination.ip", None), ("url.domain", Some(Suppression::Allowed))]);
    }

    /// Records of real exporters, matched as records and as the flows that they are.
    #[test]
    fn records_are_matched_as_their_flows() {
        let captures: [&[u8]; 6] = [
            include_bytes!("../../tests/data/flows/netflow5_test_microtik.dat"),
            include_bytes!("../../tests/data/flows/netflow9_test_cisco_asa_1_tpl.dat"),
            include_bytes!("../../tests/data/flows/netflow9_test_cisco_asa_1_data.dat"),
            include_bytes!("../../tests/data/flows/ipfix_test_yaf_tpl45841.dat"),
            include_bytes!("../../tests/data/flows/ipfix_test_yaf_data45841.dat"),
            include_bytes!("../../tests/data/flows/sflow_issue_15918.bin"),
        ];
        let mut flows = Vec::new();
        let each = |act: &mut dyn FnMut(Record<'_>)| {
            let mut decoder = Decoder::default();
            for capture in captures {
                let exporter = "192.0.2.1:2055".parse().unwrap();
                decoder.decode(capture, exporter, NOW, &mut |record| act(record)).unwrap();
            }
        };
        each(&mut |record| flows.push(record.flow()));
        assert_eq!(flows.len(), 30 + 14 + 2 + 7);
        let mut values: Vec<String> =
            flows.iter().step_by(3).flat_map(Flow::addresses).map(|address| address.to_string()).collect();
        values.sort();
        values.dedup();
        values.push("198.51.100.0/24".into());
        let listed: Vec<_> = values.iter().map(|value| (Kind::Ip, value.as_str(), plain())).collect();
        let rules = rules(&listed);
        let (mut as_records, mut as_flows) = (Vec::new(), Vec::new());
        let mut matcher = Matcher::default();
        let mut number = 0;
        each(&mut |record| {
            matcher.record(&rules, &record, Validity::At(NOW), &mut |one| as_records.push((number, one)));
            number += 1;
        });
        for (number, flow) in flows.iter().enumerate() {
            matcher.flow(&rules, flow, Validity::At(NOW), &mut |one| as_flows.push((number, one)));
        }
        assert!(as_flows.len() > flows.len() / 3 && as_flows.len() < 2 * flows.len());
        assert_eq!(as_records, as_flows);
    }

    #[test]
    fn every_token_at_every_offset() {
        let sha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let values = [
            (Kind::Ip, "203.0.113.77"),
            (Kind::Ip, "2001:db8:1:2:3:4:5:6"),
            (Kind::Ip, "2001:db8::77"),
            (Kind::Domain, "t.co"),
            (Kind::Domain, "a-rather-long-name.of-a-host.which-crosses-blocks.evil.example"),
            (Kind::Url, "http://evil.example/path?query=1"),
            (Kind::Email, "someone@evil.example"),
            (Kind::Md5, "d41d8cd98f00b204e9800998ecf8427e"),
            (Kind::Sha256, sha256),
            (Kind::Text, "vssadmin delete shadows"),
        ];
        for (kind, value) in values {
            let rules = rules(&[(kind, value, plain())]);
            for before in 0..130 {
                for after in [0, 1, 63, 64] {
                    let line = format!("{}{value}{}", " ".repeat(before), " ".repeat(after));
                    let found = matches(&rules, &line);
                    assert_eq!(found.len(), 1, "{value} at {before}");
                    assert_eq!(
                        found[0].span,
                        Span { start: before as u32, end: (before + value.len()) as u32 }
                    );
                    let joined = format!("{}x{value}", " ".repeat(before));
                    assert!(matches(&rules, &joined).is_empty() || kind == Kind::Url, "{joined}");
                }
            }
        }
    }

    #[test]
    fn counts_and_lists() {
        let set = set(
            "s",
            Mode::Indicators,
            &[
                (Kind::Ip, "1.2.3.0/24", plain()),
                (Kind::Domain, "evil.example", meta(|meta| meta.valid_until = Some(5))),
                (Kind::Domain, "old.example", meta(|meta| meta.revoked = true)),
                (Kind::Sha1, "DA39A3EE5E6B4B0D3255BFEF95601890AFD80709", plain()),
                (Kind::Text, "Evil Tool", meta(|meta| meta.nocase = false)),
            ],
        );
        assert_eq!(
            (set.len(), set.count(Kind::Domain), set.count(Kind::Ip), set.expired(5), set.expired(4)),
            (5, 1, 1, 1, 0)
        );
        let values: Vec<_> =
            set.entries().map(|entry| (entry.kind, entry.value.to_string(), entry.id.unwrap())).collect();
        assert_eq!(values[0], (Kind::Ip, "1.2.3.0/24".into(), "1.2.3.0/24"));
        assert_eq!(values[3].1, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
        assert_eq!(values[4].1, "Evil Tool");
        assert!(!Seed::fix(1), "the seed was drawn");
    }

    /// Any bytes, any result, never a panic.
    #[test]
    fn mutated_lines() {
        let lines = [
            "<34>Oct 11 22:14:15 ns1 named[1]: client 10.0.0.1#53: query: a.evil.example IN A hxxp://evil[.]example/a",
            r#"{"u":"http:\/\/evil.example\/a?b=1.2.3.4","h":"d41d8cd98f00b204e9800998ecf8427e","m":"x@evil.example\n2001:db8::1"}"#,
            "http%3A%2F%2Fevil%2Eexample%2Fa b\u{fc}cher.example ::ffff:1.2.3.4 [::1]:80 evil[dot]example(at)x",
        ];
        let rules = rules(&[
            (Kind::Domain, "evil.example", plain()),
            (Kind::Ip, "0.0.0.0/1", plain()),
            (Kind::Url, "http://evil.example/a", plain()),
            (Kind::Text, "query: a", meta(|meta| meta.matching = MatchMode::Substring)),
        ]);
        let mut state = 0x1234_5678_9abc_def1u64;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as usize
        };
        let mut matcher = Matcher::default();
        let mut total = 0;
        for round in 0..30_000 {
            let mut line = lines[round % lines.len()].as_bytes().to_vec();
            for _ in 0..random() % 6 {
                let at = random() % line.len();
                match random() % 4 {
                    0 => line[at] = random() as u8,
                    1 => line.truncate(at + 1),
                    2 => line.insert(at, b".:%[]@\\/"[random() % 8]),
                    _ => drop(line.remove(at)),
                }
                if line.is_empty() {
                    line.push(b'.');
                }
            }
            matcher.text(&rules, &line, Validity::At(NOW), &mut |_, _| {}, &mut |found| {
                assert!(found.span.start < found.span.end && found.span.end as usize <= line.len());
                total += 1;
            });
        }
        assert!(total > 30_000, "{total}");
    }
}
