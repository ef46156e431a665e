//! The one matching function: what stands in a message or flow record, judged.
//!
//! [`Matcher`] collects occurrences of values: extraction with look-up, the text index, and URLs
//! whose host and path stand in separate fields. Only when an indicator is among them is the
//! message decoded, entries are held against side, port and comparison, and allow sets and
//! validity are judged.

use super::hash::Seed;
use super::indicator::{Kind, MatchMode, Meta, Mode};
use super::token::{address_observable, extract};
use super::url::{self, MAX_URL};
use super::{EntryRef, Match, Observable, RuleSet, Side, Suppression, Validity, ValueId};
use crate::decode::flow::Flow;
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
        let mut decode = |message: &[u8], fields: &mut Fields| {
            // What cannot be decoded is matched raw.
            let _ = syslog::decode(message, reference, fields);
        };
        self.text(rules, message, validity, &mut decode, each);
    }

    /// Calls `each` once for every indicator value found among the addresses of a flow.
    pub fn flow(&mut self, rules: &RuleSet, flow: &Flow, validity: Validity, each: &mut impl FnMut(Match)) {
        self.found.clear();
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
        for (place, address, side, port, field) in [
            (0, flow.source, Side::Source, source, FieldId::SourceIp),
            (1, flow.destination, Side::Destination, destination, FieldId::DestinationIp),
            (2, translated_source, Side::Source, source, FieldId::SourceNatIp),
            (3, translated_destination, Side::Destination, destination, FieldId::DestinationNatIp),
        ] {
            let Some(address) = address else { continue };
            let observable = address_observable(Seed::current(), address, Span::default());
            let found = &mut self.found;
            rules.lookup(&[], &observable, &mut |value| {
                let occurrence = Occurrence::new(rules, &observable, value);
                found.push(Occurrence { place, side, port, field: Some(field.name()), ..occurrence });
            });
        }
        if self.raises(rules) {
            self.judge(rules, validity, each);
        }
    }

    fn text(
        &mut self,
        rules: &RuleSet,
        message: &[u8],
        validity: Validity,
        decode: &mut impl FnMut(&[u8], &mut Fields),
        each: &mut impl FnMut(Match),
    ) {
        self.found.clear();
        self.decoded = false;
        let found = &mut self.found;
        let mut url_host = false;
        extract(message, &mut |observable| {
            rules.lookup(message, &observable, &mut |value| {
                found.push(Occurrence::new(rules, &observable, value))
            });
            url_host |= rules.is_url_host(&observable);
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
        if self.raises(rules) {
            self.decode(message, decode);
            self.locate(message);
            self.judge(rules, validity, each);
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
        for index in 0..found.len() {
            let mut sides = [None; 4];
            if let Some(address) = found[index].address {
                sides = endpoints(fields, message, address);
            }
            let mut sides = sides.into_iter().flatten();
            if let Some((side, port, field)) = sides.next() {
                found[index] = Occurrence { side, port, field: Some(field), ..found[index] };
            }
            for (side, port, field) in sides {
                found.push(Occurrence { side, port, field: Some(field), ..found[index] });
            }
            let place = &mut found[index];
            place.field = place.field.or_else(|| field_around(fields, place.span));
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
        let (first, _) = applying.iter().find(|(_, place_allowed)| *place_allowed == allowed)?;
        // What only an allowed place contributes does not count where another is not allowed.
        let mut contributors: Vec<EntryRef> = entries
            .iter()
            .filter(|(_, place_allowed)| *place_allowed == allowed)
            .map(|(entry, _)| *entry)
            .collect();
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

type Endpoint = (Side, Port, &'static str);

/// The decoded endpoints that have this address.
fn endpoints(fields: &Fields, message: &[u8], address: IpAddr) -> [Option<Endpoint>; 4] {
    [
        (FieldId::SourceIp, FieldId::SourcePort, Side::Source),
        (FieldId::DestinationIp, FieldId::DestinationPort, Side::Destination),
        (FieldId::SourceNatIp, FieldId::SourceNatPort, Side::Source),
        (FieldId::DestinationNatIp, FieldId::DestinationNatPort, Side::Destination),
    ]
    .map(|(ip, port, side)| {
        let value = fields.find(ip)?;
        let here = match value {
            Value::Ip(found) => Some(found),
            _ => std::str::from_utf8(fields.bytes(message, value))
                .ok()
                .and_then(|text| text.trim().parse().ok()),
        };
        if here.map(|found| found.to_canonical()) != Some(address) {
            return None;
        }
        let port = fields
            .find(port)
            .and_then(|value| number(fields, message, value))
            .map_or(Port::Unknown, Port::Is);
        Some((side, port, ip.name()))
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
