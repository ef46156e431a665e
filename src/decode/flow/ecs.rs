//! Names the values of records: the Elastic Common Schema where it has a name, else the name of the
//! information element under `flow`.

use super::clock::{Clock, Unit};
use super::element::{self, Kind};
use super::labels::{Labelled, Labels};
use super::list;
use super::names;
use super::template::{FLOW_DENIED, Field, Target, Template, float, signed, unsigned};
use super::{Flow, Record, Set};
use crate::decode::{Extra, FieldId, Fields, Group, Value};
use crate::input::Nanos;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which values of a [`Flow`] the record really had, zero or not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) ports: bool,
    pub(super) protocol: bool,
    pub(super) tcp_flags: bool,
    pub(super) bytes: bool,
    pub(super) packets: bool,
    /// Counters of the other direction.
    pub(super) responder: bool,
    /// Sums of both directions; not for events whose traffic other records count.
    pub(super) sums: bool,
}

impl Shown {
    /// What records of a fixed shape have.
    pub(super) const ALL: Shown = Shown {
        ports: true,
        protocol: true,
        tcp_flags: true,
        bytes: true,
        packets: true,
        responder: false,
        sums: true,
    };
    /// What tells nothing of traffic.
    pub(super) const NONE: Shown = Shown {
        ports: false,
        protocol: false,
        tcp_flags: false,
        bytes: false,
        packets: false,
        responder: false,
        sums: false,
    };

    /// Writes what every flow has.
    pub(super) fn write(self, flow: &Flow, exported: Nanos, out: &mut Fields) {
        out.push(FieldId::Timestamp, Value::Time(flow.end.unwrap_or(exported)));
        if flow.state {
            out.push(FieldId::EventKind, Value::Static("state"));
        }
        if flow.denied {
            // Twice is an array, as ECS has it.
            out.push(FieldId::EventType, Value::Static("connection"));
            out.push(FieldId::EventType, Value::Static("denied"));
        }
        self.write_ends(flow, out);
        self.write_network(flow, out);
        let times = [(FieldId::EventStart, flow.start), (FieldId::EventEnd, flow.end)];
        for (id, time) in times {
            push_some(out, id, time.map(Value::Time));
        }
        if let (Some(start), Some(end)) = (flow.start, flow.end)
            && let Some(duration) = end.checked_sub(start)
            && let Ok(duration) = u64::try_from(duration)
        {
            out.push(FieldId::EventDuration, Value::Unsigned(duration));
        }
        out.push(FieldId::ObserverIp, Value::Ip(flow.exporter));
        out.push(FieldId::FlowVersion, Value::Unsigned(flow.version.into()));
        out.push(FieldId::FlowDomain, Value::Unsigned(flow.domain.into()));
        if flow.sampling > 0 {
            out.push(FieldId::FlowSamplingRate, Value::Unsigned(flow.sampling.into()));
        }
        if flow.clamped {
            push_extra(out, "timeClamped", Value::Flag(true));
        }
        for (name, address) in
            [(Flow::TUNNEL_SOURCE, flow.tunnel_source), (Flow::TUNNEL_DESTINATION, flow.tunnel_destination)]
        {
            if let (Some(key), Some(address)) = (name.strip_prefix("flow."), address) {
                push_extra(out, key, Value::Ip(address));
            }
        }
        if self.tcp_flags {
            out.push(FieldId::FlowTcpFlags, Value::Unsigned(flow.tcp_flags.into()));
        }
    }

    fn write_ends(self, flow: &Flow, out: &mut Fields) {
        push_some(out, FieldId::SourceIp, flow.source.map(Value::Ip));
        if self.ports {
            out.push(FieldId::SourcePort, Value::Unsigned(flow.source_port.into()));
        }
        if self.bytes {
            out.push(FieldId::SourceBytes, Value::Unsigned(flow.bytes));
        }
        if self.packets {
            out.push(FieldId::SourcePackets, Value::Unsigned(flow.packets));
        }
        push_some(out, FieldId::SourceNatIp, flow.translated_source.map(Value::Ip));
        push_some(out, FieldId::DestinationIp, flow.destination.map(Value::Ip));
        if self.ports {
            out.push(FieldId::DestinationPort, Value::Unsigned(flow.destination_port.into()));
        }
        if self.responder {
            out.push(FieldId::DestinationBytes, Value::Unsigned(flow.reverse_bytes));
            out.push(FieldId::DestinationPackets, Value::Unsigned(flow.reverse_packets));
        }
        push_some(out, FieldId::DestinationNatIp, flow.translated_destination.map(Value::Ip));
    }

    fn write_network(self, flow: &Flow, out: &mut Fields) {
        let kind = flow.source.or(flow.destination).map(|address| match address {
            IpAddr::V4(_) => Value::Static("ipv4"),
            IpAddr::V6(_) => Value::Static("ipv6"),
        });
        push_some(out, FieldId::NetworkType, kind);
        if self.protocol {
            out.push(FieldId::NetworkIanaNumber, Value::Unsigned(flow.protocol.into()));
            push_some(out, FieldId::NetworkTransport, transport(flow.protocol).map(Value::Static));
        }
        if self.sums && (self.bytes || self.responder) {
            let sum = flow.bytes.saturating_add(flow.reverse_bytes);
            out.push(FieldId::NetworkBytes, Value::Unsigned(sum));
        }
        if self.sums && (self.packets || self.responder) {
            let sum = flow.packets.saturating_add(flow.reverse_packets);
            out.push(FieldId::NetworkPackets, Value::Unsigned(sum));
        }
    }
}

/// Writes the fields of a record that came by a template.
pub(super) fn template_fields(
    record: &Record<'_>,
    template: &Template,
    reversed: bool,
    set: &Set<'_>,
    out: &mut Fields,
) {
    let flow = &record.flow();
    let draft = &template.read(record.bytes);
    let (firewall, nat) = (template.firewall_event(draft), template.nat_event(draft));
    let framed = template.has(Target::Frame) || template.has(Target::IpHeader);
    let shown = Shown {
        ports: template.has(Target::SourcePort) || template.has(Target::DestinationPort) || framed,
        protocol: template.has(Target::Protocol) || framed,
        tcp_flags: template.has(Target::TcpFlags)
            || template.has(Target::InitialTcpFlags)
            || template.has(Target::UnionTcpFlags)
            || framed,
        bytes: template.has(Target::Bytes) || framed,
        packets: template.has(Target::Packets) || framed,
        responder: template.has(Target::ResponderBytes) || template.has(Target::ResponderPackets),
        sums: template.is_counted(draft),
    };
    let shown = if flow.state { Shown::NONE } else { shown };
    shown.write(flow, record.exported(), out);
    let action = firewall.and_then(firewall_event).or_else(|| nat.and_then(nat_event));
    if !flow.state {
        push_some(out, FieldId::EventAction, action.map(Value::Static));
    }
    for (field, octets) in template.values(record.bytes) {
        if octets.is_empty() || is_told(field, octets, flow) {
            continue;
        }
        if let (Some(kind), Some(element)) = (field.list(), field.element) {
            let parent = Some(Value::Static(element.name));
            let mut each =
                |inner: &Field, value: &[u8]| write_member(inner, value, record.clock, parent, out);
            if list::walk(kind, octets, set.siblings, &mut each) {
                continue;
            }
        }
        write_field(field, octets, record.clock, reversed, out);
        if !flow.state {
            write_label(field, octets, &set.domain.labels, out);
        }
    }
}

/// Writes what the exporter calls an application or an interface, where the record tells its number.
fn write_label(field: &Field, octets: &[u8], labels: &Labels, out: &mut Fields) {
    let Some(element) = field.element.filter(|element| element.enterprise == 0 && !field.reverse) else {
        return;
    };
    let (id, what) = match element.id {
        95 => (FieldId::NetworkApplication, Labelled::application(octets)),
        10 | 252 => (FieldId::ObserverIngressInterface, unsigned(octets).map(Labelled::Interface)),
        14 | 253 => (FieldId::ObserverEgressInterface, unsigned(octets).map(Labelled::Interface)),
        _ => return,
    };
    if out.find(id).is_none()
        && let Some(name) = what.and_then(|what| labels.find(what))
    {
        let name = out.text(name);
        out.push(id, name);
    }
}

/// What happened to a connection, by the registry of firewallEvent (IE 233).
fn firewall_event(event: u8) -> Option<&'static str> {
    Some(match event {
        1 => "flow_created",
        2 => "flow_deleted",
        FLOW_DENIED => "flow_denied",
        4 => "flow_alert",
        5 => "flow_update",
        _ => return None,
    })
}

/// What happened to a translation, by the registry of natEvent (IE 230).
fn nat_event(event: u8) -> Option<&'static str> {
    Some(match event {
        1 => "nat_translation_create",
        2 => "nat_translation_delete",
        3 => "nat_addresses_exhausted",
        4 => "nat44_session_create",
        5 => "nat44_session_delete",
        6 => "nat64_session_create",
        7 => "nat64_session_delete",
        8 => "nat44_bib_create",
        9 => "nat44_bib_delete",
        10 => "nat64_bib_create",
        11 => "nat64_bib_delete",
        12 => "nat_ports_exhausted",
        13 => "nat_quota_exceeded",
        14 => "nat_address_binding_create",
        15 => "nat_address_binding_delete",
        16 => "nat_port_block_allocation",
        17 => "nat_port_block_deallocation",
        18 => "nat_threshold_reached",
        _ => return None,
    })
}

/// Writes a value of a list under the list's name; one that is missing keeps its place, so that the arrays
/// of what stands beside each other go on side by side. Names of hosts and URLs have their ECS name too.
fn write_member(field: &Field, octets: &[u8], clock: &Clock, parent: Option<Value>, out: &mut Fields) {
    const PADDING: u16 = 210;
    if field.spec.enterprise == 0 && field.spec.id == PADDING {
        return;
    }
    let some = if octets.is_empty() { None } else { value(field, octets, clock, out) };
    if let (Some(value), Some(id)) = (some, name_of(field, octets).filter(|id| names::is_name(*id))) {
        out.push(id, value);
    }
    let value = some.unwrap_or(Value::Absent);
    let key = key(field, out);
    out.push_extra(Extra { group: Group::Flow, parent, key, value });
}

/// Whether what [`Shown::write`] wrote holds this value already.
fn is_told(field: &Field, octets: &[u8], flow: &Flow) -> bool {
    const PADDING: u16 = 210;
    let is_address = |known: Option<IpAddr>| {
        octets.iter().all(|octet| *octet == 0)
            || address(octets).is_some_and(|address| Some(address) == known)
    };
    match field.target {
        Target::SourceV4 | Target::SourceV6 | Target::DestinationV4 | Target::DestinationV6 => {
            [flow.source, flow.destination, flow.tunnel_source, flow.tunnel_destination]
                .into_iter()
                .any(is_address)
        }
        Target::TranslatedSourceV4
        | Target::TranslatedSourceV6
        | Target::TranslatedDestinationV4
        | Target::TranslatedDestinationV6 => {
            is_address(flow.translated_source) || is_address(flow.translated_destination)
        }
        Target::InnerSourceV4
        | Target::InnerSourceV6
        | Target::InnerDestinationV4
        | Target::InnerDestinationV6 => is_address(flow.source) || is_address(flow.destination),
        Target::SourcePort
        | Target::DestinationPort
        | Target::Protocol
        | Target::TcpFlags
        | Target::Bytes
        | Target::Packets
        | Target::ResponderBytes
        | Target::ResponderPackets
        | Target::ReverseBytes
        | Target::ReversePackets
        | Target::ReverseTcpFlags => !flow.state,
        Target::Start | Target::End | Target::ReverseStart | Target::ReverseEnd => !flow.state,
        _ => field.spec.enterprise == 0 && field.spec.id == PADDING,
    }
}

fn write_field(field: &Field, octets: &[u8], clock: &Clock, reversed: bool, out: &mut Fields) {
    match field.target {
        Target::Input => return push_some(out, FieldId::FlowInput, unsigned(octets).map(Value::Unsigned)),
        Target::Output => return push_some(out, FieldId::FlowOutput, unsigned(octets).map(Value::Unsigned)),
        _ => {}
    }
    let Some(value) = value(field, octets, clock, out) else { return };
    if let Some(id) = name_of(field, octets)
        && let Some(value) = suited(id, value)
    {
        return out.push(if reversed { turned(id) } else { id }, value);
    }
    let key = key(field, out);
    out.push_extra(Extra { group: Group::Flow, parent: None, key, value });
}

/// The ECS name of a field with this value, if it has one.
fn name_of(field: &Field, octets: &[u8]) -> Option<FieldId> {
    let element = field.element.filter(|_| !field.reverse)?;
    named(element.enterprise, element.id).map(|id| names::spelled(id, names::text(field, octets)))
}

/// The name of an element without an ECS name.
fn key(field: &Field, out: &mut Fields) -> Value {
    let spec = field.spec;
    match (field.element, spec.scope && spec.enterprise == 0) {
        (Some(element), _) if !field.reverse => Value::Static(element.name),
        // RFC 5103, section 6.1: "reverse" before the name, which goes on with a capital.
        (Some(element), _) => {
            let mut name = element.name.chars();
            let first = name.next().map(|first| first.to_ascii_uppercase());
            let first: String = first.into_iter().collect();
            let text = format!("reverse{first}{}", name.as_str());
            out.text(text.as_bytes())
        }
        // RFC 3954, section 6.1
        (None, true) => match spec.id {
            1 => Value::Static("scopeSystem"),
            2 => Value::Static("scopeInterface"),
            3 => Value::Static("scopeLineCard"),
            4 => Value::Static("scopeCache"),
            5 => Value::Static("scopeTemplate"),
            id => out.text(format!("scope_{id}").as_bytes()),
        },
        (None, false) => out.text(format!("enterprise_{}_{}", spec.enterprise, spec.id).as_bytes()),
    }
}

fn value(field: &Field, octets: &[u8], clock: &Clock, out: &mut Fields) -> Option<Value> {
    let time = |unit| clock.resolve(unit, unsigned(octets)?).map(Value::Time);
    let value = match field.element.map(|element| element.kind) {
        Some(Kind::Unsigned) => unsigned(octets).map(Value::Unsigned),
        Some(Kind::Signed) => signed(octets).map(Value::Signed),
        Some(Kind::Float) => float(octets).map(Value::Float),
        // RFC 7011, section 6.1.5
        Some(Kind::Boolean) => match octets {
            [1] => Some(Value::Flag(true)),
            [2] => Some(Value::Flag(false)),
            _ => None,
        },
        Some(Kind::Mac) => <[u8; 6]>::try_from(octets).ok().map(Value::Mac),
        Some(Kind::Ipv4 | Kind::Ipv6) => address(octets).map(Value::Ip),
        Some(Kind::Text) => {
            let text = names::text(field, octets);
            return if text.is_empty() { None } else { Some(out.text(text)) };
        }
        // An instant of zero is none.
        Some(Kind::Seconds) => return time(Unit::Seconds),
        Some(Kind::Milliseconds) => return time(Unit::Milliseconds),
        Some(Kind::Microseconds) => return time(Unit::Microseconds),
        Some(Kind::Nanoseconds) => return time(Unit::Nanoseconds),
        Some(Kind::Octets | Kind::BasicList | Kind::SubTemplateList | Kind::SubTemplateMultiList) => None,
        None if field.spec.scope => unsigned(octets).map(Value::Unsigned),
        None => None,
    };
    Some(value.unwrap_or_else(|| hexadecimal(octets, out)))
}

/// The enterprises whose elements have ECS names: their exporters see what a web server's log would tell.
const CISCO: u32 = 9;
const IXIA: u32 = 3054;
const NETSCALER: u32 = 5951;
const CERT: u32 = 6871;
const CESNET: u32 = 8057;
const PROCERA: u32 = 15397;
const MASARYK: u32 = 16982;
const GIGAMON: u32 = 26866;
const NTOP: u32 = 35632;
const FLOWMON: u32 = 39499;

/// The ECS name of an element, beyond those that a [`Flow`] has.
pub(super) fn named(enterprise: u32, id: u16) -> Option<FieldId> {
    Some(match (enterprise, id) {
        (0, 16) => FieldId::SourceAsNumber,
        (0, 17) => FieldId::DestinationAsNumber,
        (0, 56) => FieldId::SourceMac,
        (0, 80) => FieldId::DestinationMac,
        (0, 227) | (element::NETFLOW9, 40003) => FieldId::SourceNatPort,
        (0, 228) | (element::NETFLOW9, 40004) => FieldId::DestinationNatPort,
        (0, 58) => FieldId::NetworkVlanId,
        (0, 61) => FieldId::NetworkDirection,
        (0, 96) => FieldId::NetworkApplication,
        (0, 371) | (element::NETFLOW9, 40000) => FieldId::UserName,
        (0, 457) => FieldId::HttpResponseStatusCode,
        (0, 459) => FieldId::HttpRequestMethod,
        (0, 460) => FieldId::UrlDomain,
        (0, 461) => FieldId::UrlOriginal,
        (0, 468) => FieldId::UserAgentOriginal,
        (CISCO, 12235) => FieldId::UrlDomain,
        (IXIA, 111) => FieldId::NetworkApplication,
        (IXIA, 182) => FieldId::UserAgentOriginal,
        (IXIA, 183) => FieldId::UrlDomain,
        (IXIA, 184) => FieldId::UrlOriginal,
        (IXIA, 189 | 198 | 273) => FieldId::DnsQuestionName,
        (IXIA, 201) => FieldId::TlsServerName,
        (IXIA, 227) => FieldId::HttpRequestReferrer,
        (IXIA, 232) => FieldId::EmailSubject,
        (IXIA, 233) => FieldId::EmailToAddress,
        (IXIA, 234) => FieldId::EmailFromAddress,
        (NETSCALER, 130) => FieldId::UrlOriginal,
        (NETSCALER, 140) => FieldId::HttpRequestReferrer,
        (NETSCALER, 141) => FieldId::HttpRequestMethod,
        (NETSCALER, 142) => FieldId::UrlDomain,
        (NETSCALER, 143) => FieldId::UserAgentOriginal,
        (NETSCALER, 144) => FieldId::HttpResponseStatusCode,
        (CERT, 111) => FieldId::UserAgentOriginal,
        (CERT, 115) => FieldId::HttpRequestReferrer,
        (CERT, 117) => FieldId::UrlDomain,
        (CERT, 143) => FieldId::UrlOriginal,
        (CERT, 163) => FieldId::EmailFromAddress,
        (CERT, 164) => FieldId::EmailToAddress,
        (CERT, 166) => FieldId::EmailSubject,
        (CERT, 179) => FieldId::DnsQuestionName,
        (CERT, 294) => FieldId::TlsServerName,
        (CESNET, 2) => FieldId::DnsQuestionName,
        (CESNET, 200) => FieldId::HttpRequestMethod,
        (CESNET, 808 | 890) => FieldId::TlsServerName,
        (CESNET, 813) => FieldId::EmailFromAddress,
        (CESNET, 814) => FieldId::EmailToAddress,
        (PROCERA, 18) => FieldId::UrlDomain,
        (PROCERA, 19) => FieldId::HttpRequestMethod,
        (PROCERA, 20) => FieldId::UserAgentOriginal,
        (PROCERA, 22) => FieldId::UrlOriginal,
        (PROCERA, 23) => FieldId::HttpRequestReferrer,
        (PROCERA, 24) => FieldId::HttpResponseStatusCode,
        (MASARYK, 102 | 501) => FieldId::UrlDomain,
        (MASARYK, 103 | 505) => FieldId::HttpRequestReferrer,
        (MASARYK, 105 | 502) => FieldId::UrlOriginal,
        (MASARYK, 106 | 506) => FieldId::HttpResponseStatusCode,
        (MASARYK, 504) => FieldId::UserAgentOriginal,
        (MASARYK, 811) => FieldId::TlsServerName,
        (GIGAMON, 1 | 4681 | 4721 | 4745) => FieldId::UrlOriginal,
        (GIGAMON, 2) => FieldId::HttpResponseStatusCode,
        (GIGAMON, 3 | 2250) => FieldId::UserAgentOriginal,
        (GIGAMON, 112 | 2539 | 2548) => FieldId::TlsServerName,
        (GIGAMON, 204 | 1958) => FieldId::DnsQuestionName,
        (GIGAMON, 2237) => FieldId::HttpRequestMethod,
        (GIGAMON, 4676) => FieldId::UrlDomain,
        (NTOP, 119) => FieldId::NetworkApplication,
        (NTOP, 180) => FieldId::UrlOriginal,
        (NTOP, 181) => FieldId::HttpResponseStatusCode,
        (NTOP, 182) => FieldId::HttpRequestReferrer,
        (NTOP, 183) => FieldId::UserAgentOriginal,
        (NTOP, 185) => FieldId::EmailFromAddress,
        (NTOP, 186) => FieldId::EmailToAddress,
        (NTOP, 187) => FieldId::UrlDomain,
        (NTOP, 188) => FieldId::TlsServerName,
        (NTOP, 205) => FieldId::DnsQuestionName,
        (NTOP, 360) => FieldId::HttpRequestMethod,
        // The site that the host belongs to.
        (NTOP, 361 | 492 | 591) => FieldId::DestinationDomain,
        (NTOP, 489) => FieldId::TlsJa3,
        (NTOP, 491) => FieldId::SourceDomain,
        (FLOWMON, 1) => FieldId::UrlDomain,
        (FLOWMON, 2) => FieldId::UrlOriginal,
        (FLOWMON, 3) => FieldId::HttpRequestReferrer,
        (FLOWMON, 12) => FieldId::HttpResponseStatusCode,
        (FLOWMON, 20) => FieldId::UserAgentOriginal,
        (FLOWMON, 121) => FieldId::DnsQuestionName,
        (FLOWMON, 251) => FieldId::EmailFromAddress,
        (FLOWMON, 338) => FieldId::TlsServerName,
        (element::NETFLOW9, 8256) => FieldId::UrlDomain,
        (element::NETFLOW9, 8257) => FieldId::UrlPath,
        (element::NETFLOW9, 56701) => FieldId::NetworkApplication,
        (element::NETFLOW9, 56702) => FieldId::UserName,
        _ => return None,
    })
}

/// The value in the form that ECS wants; none where it has no such form.
fn suited(id: FieldId, value: Value) -> Option<Value> {
    match (id, value) {
        (FieldId::NetworkDirection, Value::Unsigned(0)) => Some(Value::Static("ingress")),
        (FieldId::NetworkDirection, Value::Unsigned(1)) => Some(Value::Static("egress")),
        (FieldId::NetworkDirection, _) => None,
        _ => Some(value),
    }
}

/// The same name, seen from the other end.
fn turned(id: FieldId) -> FieldId {
    match id {
        FieldId::SourceAsNumber => FieldId::DestinationAsNumber,
        FieldId::DestinationAsNumber => FieldId::SourceAsNumber,
        FieldId::SourceMac => FieldId::DestinationMac,
        FieldId::DestinationMac => FieldId::SourceMac,
        FieldId::SourceNatPort => FieldId::DestinationNatPort,
        FieldId::DestinationNatPort => FieldId::SourceNatPort,
        other => other,
    }
}

/// The keyword of a protocol number, for those that flows are full of.
fn transport(protocol: u8) -> Option<&'static str> {
    Some(match protocol {
        1 => "icmp",
        2 => "igmp",
        4 => "ipv4",
        6 => "tcp",
        8 => "egp",
        17 => "udp",
        33 => "dccp",
        41 => "ipv6",
        46 => "rsvp",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "ipv6-icmp",
        88 => "eigrp",
        89 => "ospf",
        94 => "ipip",
        103 => "pim",
        112 => "vrrp",
        115 => "l2tp",
        132 => "sctp",
        136 => "udplite",
        _ => return None,
    })
}

/// An address of four or sixteen octets.
fn address(octets: &[u8]) -> Option<IpAddr> {
    match octets.len() {
        4 => <[u8; 4]>::try_from(octets).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets))),
        16 => <[u8; 16]>::try_from(octets).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets))),
        _ => None,
    }
}

/// Octets as hexadecimal digits.
pub(super) fn hexadecimal(octets: &[u8], out: &mut Fields) -> Value {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let value = out.text(&[]);
    let scratch = out.scratch();
    for octet in octets {
        scratch.push(DIGITS[usize::from(octet >> 4)]);
        scratch.push(DIGITS[usize::from(octet & 15)]);
    }
    let end = scratch.len() as u32;
    match value {
        Value::Text(mut span) => {
            span.end = end;
            Value::Text(span)
        }
        other => other,
    }
}

/// Adds a value under `flow`.
pub(super) fn push_extra(out: &mut Fields, key: &'static str, value: Value) {
    out.push_extra(Extra { group: Group::Flow, parent: None, key: Value::Static(key), value });
}

/// Adds a value if there is one.
pub(super) fn push_some(out: &mut Fields, id: FieldId, value: Option<Value>) {
    if let Some(value) = value {
        out.push(id, value);
    }
}
