//! sFlow v5: samples of packets, and samples of counters.
//!
//! A flow sample is one event, whatever the number of records in it: [`FlowSample`] gathers what
//! they say. Records and samples have a length each, so one that is not known is stepped over.

use super::clock::Clock;
use super::counters;
use super::ecs::{Shown, push_extra, push_some};
use super::names;
use super::packet::{self, Packet};
use super::{
    Arrival, Datagram, DecodeError, Detail, Flow, Losses, Reader, Record, Seen, Tracks, Undecoded,
    is_more_than_padding,
};
use crate::decode::{FieldId, Fields, Value};
use crate::input::Nanos;
use nom::bytes::complete::take;
use nom::combinator::{map, verify};
use nom::multi::length_data;
use nom::number::complete::{be_u32, be_u64, be_u128};
use nom::{IResult, Parser};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Datagrams that may be missing in a row; a greater jump is a restart.
const REACH: u32 = 4096;
/// What stands for sFlow where versions of NetFlow are told apart.
const SFLOW: u8 = 0;

/// What a sample is, and what fields it has beyond a [`Flow`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// The agent that took it.
    agent: Option<IpAddr>,
    /// Enterprise and format of the sample.
    format: u32,
    /// Some record of it has names or URLs.
    named: bool,
}

/// Samples of the standard, enterprise 0.
const FLOW: u32 = 1;
const COUNTERS: u32 = 2;
const EXPANDED_FLOW: u32 = 3;
const EXPANDED_COUNTERS: u32 = 4;
const DISCARDED: u32 = 5;

/// Decodes one datagram.
pub(super) fn decode(
    tracks: &mut Tracks,
    arrival: Arrival<'_>,
    each: &mut impl Reader,
) -> Result<Datagram, Undecoded> {
    let (mut rest, header) = header(arrival.bytes).map_err(|_| DecodeError::Truncated)?;
    // The agent is whoever the datagram says, which is believed of a relay alone.
    let named = header.agent.filter(|agent| arrival.sender.relays && !agent.is_unspecified());
    let (key, known) = (arrival.track(SFLOW, header.sub_agent, named), arrival.sender.known);
    let base =
        Flow { version: 5, sflow: true, exporter: key.exporter, ..arrival.base(SFLOW, header.sub_agent) };
    let operators = arrival.operators_rate(named);
    let clock = Clock { exported: arrival.received, latest: arrival.received, ..Clock::default() };
    let mut records = 0;
    let mut sample_gap = 0;
    let (mut sample_late, mut unknown_records) = (0, 0);
    let (mut losses, mut unknown_samples) = (Losses::default(), 0);
    let mut rate = 0;
    // The count is the sender's word; each turn takes at least a header's octets off the input.
    for _ in 0..header.samples {
        let Ok((after, (format, bytes))) = block(rest) else {
            losses.cut = 1;
            rest = &[];
            break;
        };
        rest = after;
        let mut sample = Sample { agent: header.agent, format, named: false };
        if !sample.is_known() {
            unknown_samples += 1;
            continue;
        }
        if let Some((head, mut flow, found)) = sample.flow(bytes, &base) {
            records += 1;
            unknown_records += found.unknown;
            losses.records += u32::from(found.damaged);
            sample.named = found.named;
            if let Some(operators) = operators.filter(|_| !flow.state) {
                flow.sampling = operators.get();
            }
            rate = if flow.sampling > 0 { flow.sampling } else { rate };
            let source = (sample.series(), head.source_class, head.source_index);
            let account = tracks.sample(key, known, source, head.sequence, REACH, arrival.received);
            // Each is less than the reach, and a datagram holds a few thousand at most.
            sample_gap += account.skipped as u32;
            sample_late += account.late as u32;
            each.record(Record { bytes, clock: &clock, base: &flow, detail: Detail::Sflow(sample) }, true);
        } else {
            losses.records += 1;
        }
    }
    losses.trailing = u32::from(is_more_than_padding(rest));
    let seen = Seen {
        number: header.sequence,
        advance: Some(1),
        uptime: Some(header.uptime),
        exported: None,
        reach: REACH,
        records,
        received: arrival.received,
        sampling_rate: rate,
    };
    let account = tracks.take(key, known, seen);
    let mut datagram = Datagram {
        format: "sflow5",
        records,
        sets: records,
        sample_gap,
        sample_late,
        unknown_samples,
        unknown_records,
        losses,
        ..Datagram::default()
    };
    datagram.account(account);
    match losses.reason() {
        Some(reason) if records == 0 && unknown_samples == 0 => Err(Undecoded { reason, datagram }),
        _ => Ok(datagram),
    }
}

struct Header {
    agent: Option<IpAddr>,
    sub_agent: u32,
    sequence: u32,
    uptime: u32,
    samples: u32,
}

fn header(input: &[u8]) -> IResult<&[u8], Header> {
    let (rest, (_version, agent, sub_agent, sequence, uptime, samples)) =
        (be_u32, address, be_u32, be_u32, be_u32, be_u32).parse(input)?;
    Ok((rest, Header { agent, sub_agent, sequence, uptime, samples }))
}

/// An address behind its type; none for type 0.
fn address(input: &[u8]) -> IResult<&[u8], Option<IpAddr>> {
    let (rest, kind) = verify(be_u32, |kind| *kind <= 2).parse(input)?;
    match kind {
        1 => map(be_u32, |bits| Some(IpAddr::V4(Ipv4Addr::from_bits(bits)))).parse(rest),
        2 => map(be_u128, |bits| Some(IpAddr::V6(Ipv6Addr::from_bits(bits)))).parse(rest),
        _ => Ok((rest, None)),
    }
}

/// A format, a length, and as many octets: a sample, or a record of one.
fn block(input: &[u8]) -> IResult<&[u8], (u32, &[u8])> {
    (be_u32, length_data(be_u32)).parse(input)
}

/// Calls `each` with the blocks of an input, up to the first that is not whole; gives what is left.
fn blocks<'a>(mut input: &'a [u8], mut each: impl FnMut(u32, &'a [u8])) -> &'a [u8] {
    while let Ok((after, (format, found))) = block(input) {
        each(format, found);
        input = after;
    }
    input
}

/// What of the records in a sample is counted.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    /// Records of kinds that are not decoded.
    unknown: u32,
    /// Some record is not whole, or shorter than its kind.
    damaged: bool,
    /// Some record has names or URLs.
    named: bool,
}

/// The head of a sample, the shapes of which differ, and its records.
#[derive(Clone, Copy, Debug, Default)]
struct Head<'a> {
    sequence: u32,
    source_class: u32,
    source_index: u32,
    rate: u32,
    pool: u32,
    drops: u32,
    input: Interface,
    output: Interface,
    /// Why the packet was discarded, where it was.
    reason: Option<u32>,
    records: &'a [u8],
}

/// An interface: 0 and its index, 1 and why the packet was dropped, 2 and how many there are.
#[derive(Clone, Copy, Debug, Default)]
struct Interface {
    format: u32,
    value: u32,
}

/// The format of an output that says why the packet was dropped.
const DISCARDED_OUTPUT: u32 = 1;

/// What the records of a flow sample say.
#[derive(Clone, Copy, Debug, Default)]
struct FlowSample {
    packet: Packet,
    /// Octets of the frame on the wire.
    frame_length: Option<u32>,
    translated: (Option<IpAddr>, Option<IpAddr>),
    translated_ports: Option<(u32, u32)>,
    vlans: Option<(u32, u32)>,
    next_hop: Option<IpAddr>,
    masks: Option<(u32, u32)>,
    systems: Option<(u32, u32)>,
    /// When the packet was seen, of an agent that says so.
    seen: Option<Nanos>,
}

/// Records of a flow sample that say something of no [`Flow`]: read for an event, and for names, only.
const USER: u32 = 1004;
const URL: u32 = 1005;
const HTTP: u32 = 2206;
/// Numbers of four octets, by the format of the record that holds nothing else.
const NUMBERS: &[(u32, &str)] = &[
    (1029, "egressVni"),
    (1030, "ingressVni"),
    (1036, "egressQueueId"),
    (1039, "transitDelayNanoseconds"),
    (1040, "queueDepth"),
];
/// Texts, by the format of the record that holds nothing else, in their order.
const TEXTS: &[(u32, &[&str])] = &[
    (1038, &["functionSymbol"]),
    (1041, &["hardwareTrapGroup", "hardwareTrap"]),
    (1042, &["linuxDropReason"]),
];

impl Sample {
    fn is_known(self) -> bool {
        matches!(self.format, FLOW | EXPANDED_FLOW | COUNTERS | EXPANDED_COUNTERS | DISCARDED)
    }

    /// Samples are numbered by their source and by what they are: of packets, of counters, of packets that
    /// were discarded (sflow.org/sflow_drops.txt).
    fn series(self) -> u32 {
        match self.format {
            FLOW | EXPANDED_FLOW => FLOW,
            COUNTERS | EXPANDED_COUNTERS => COUNTERS,
            other => other,
        }
    }

    /// The head of a sample, its flow, and what is counted of its records; none if its kind is not known or
    /// its head not whole.
    fn flow<'a>(self, bytes: &'a [u8], base: &Flow) -> Option<(Head<'a>, Flow, Found)> {
        match self.format {
            FLOW | EXPANDED_FLOW | DISCARDED => {
                let (_, head) = self.head(bytes).ok()?;
                let (sample, found) = FlowSample::of(head.records);
                let packet = &sample.packet;
                let flow = Flow {
                    source: packet.source,
                    destination: packet.destination,
                    translated_source: sample.translated.0,
                    translated_destination: sample.translated.1,
                    tunnel_source: packet.tunnel.map(|(source, _)| source),
                    tunnel_destination: packet.tunnel.map(|(_, destination)| destination),
                    source_port: packet.source_port,
                    destination_port: packet.destination_port,
                    protocol: packet.protocol,
                    tcp_flags: packet.tcp_flags,
                    // As NetFlow counts: octets of the IP packet, without the frame around it.
                    bytes: if packet.length > 0 {
                        packet.length
                    } else {
                        sample.frame_length.unwrap_or(0).into()
                    },
                    packets: 1,
                    sampling: head.rate,
                    denied: head.reason.is_some() || head.output.format == DISCARDED_OUTPUT,
                    start: sample.seen,
                    end: sample.seen,
                    ..*base
                };
                Some((head, flow, found))
            }
            COUNTERS | EXPANDED_COUNTERS => {
                let (_, head) = self.head(bytes).ok()?;
                let mut found = Found::default();
                let rest = blocks(head.records, |format, _| {
                    found.unknown += u32::from(!counters::is_known(format));
                });
                found.damaged = is_more_than_padding(rest);
                Some((head, Flow { state: true, ..*base }, found))
            }
            _ => None,
        }
    }

    fn head(self, input: &[u8]) -> IResult<&[u8], Head<'_>> {
        /// A short source: class in the upper octet, index in the others.
        fn short_source(input: &[u8]) -> IResult<&[u8], (u32, u32)> {
            map(be_u32, |source| (source >> 24, source & 0x00ff_ffff)).parse(input)
        }
        /// A short interface: format in the two upper bits.
        fn short_interface(input: &[u8]) -> IResult<&[u8], Interface> {
            map(be_u32, |short| Interface { format: short >> 30, value: short & 0x3fff_ffff }).parse(input)
        }
        fn interface(input: &[u8]) -> IResult<&[u8], Interface> {
            map((be_u32, be_u32), |(format, value)| Interface { format, value }).parse(input)
        }
        let (rest, sequence) = be_u32(input)?;
        let expanded = matches!(self.format, EXPANDED_FLOW | EXPANDED_COUNTERS | DISCARDED);
        let (rest, (source_class, source_index)) =
            if expanded { (be_u32, be_u32).parse(rest)? } else { short_source(rest)? };
        let head = Head { sequence, source_class, source_index, ..Head::default() };
        match self.format {
            FLOW | EXPANDED_FLOW => {
                let (rest, (rate, pool, drops)) = (be_u32, be_u32, be_u32).parse(rest)?;
                let (rest, (input, output)) = if expanded {
                    (interface, interface).parse(rest)?
                } else {
                    (short_interface, short_interface).parse(rest)?
                };
                let (records, _count) = be_u32(rest)?;
                Ok((&[], Head { rate, pool, drops, input, output, records, ..head }))
            }
            DISCARDED => {
                let (records, (drops, input, output, reason, _count)) =
                    (be_u32, be_u32, be_u32, be_u32, be_u32).parse(rest)?;
                let (input, output) =
                    (Interface { format: 0, value: input }, Interface { format: 0, value: output });
                Ok((&[], Head { drops, input, output, reason: Some(reason), records, ..head }))
            }
            _ => {
                let (records, _count) = be_u32(rest)?;
                Ok((&[], Head { records, ..head }))
            }
        }
    }

    /// Whether some record of it has names or URLs.
    #[inline]
    pub(super) fn is_named(self) -> bool {
        self.named
    }

    /// Calls `each` with the names and URLs in the records of a sample, and where they begin.
    pub(super) fn names(self, bytes: &[u8], each: &mut impl FnMut(FieldId, u32, &[u8])) {
        let Ok((_, head)) = self.head(bytes) else { return };
        blocks(head.records, |format, record| {
            each_name(format, record, &mut |id, text| {
                if names::is_name(id) {
                    each(id, names::offset(text, bytes), text);
                }
            });
        });
    }

    /// Writes the fields of a sample.
    pub(super) fn fields(self, record: &Record<'_>, out: &mut Fields) {
        let Ok((_, head)) = self.head(record.bytes) else { return };
        let traffic = !record.base.state;
        if traffic {
            let (sample, _) = FlowSample::of(head.records);
            let ip = sample.packet.source.is_some();
            let shown =
                Shown { ports: ip, protocol: ip, tcp_flags: sample.packet.protocol == 6, ..Shown::ALL };
            shown.write(record.base, record.exported(), out);
            head.write_interfaces(out);
            sample.write(out);
            blocks(head.records, |format, record| {
                write_record(format, record, out);
            });
        } else {
            Shown::NONE.write(record.base, record.exported(), out);
        }
        push_agent(self.agent, out);
        push_extra(out, "sampleSequence", Value::Unsigned(head.sequence.into()));
        push_extra(out, "sourceIdClass", Value::Unsigned(head.source_class.into()));
        push_extra(out, "sourceIdIndex", Value::Unsigned(head.source_index.into()));
        if !traffic {
            blocks(head.records, |format, record| counters::write(format, record, out));
            return;
        }
        push_extra(out, "drops", Value::Unsigned(head.drops.into()));
        match head.reason {
            Some(reason) => push_extra(out, "discardReason", Value::Unsigned(reason.into())),
            None => push_extra(out, "samplePool", Value::Unsigned(head.pool.into())),
        }
    }
}

fn push_agent(agent: Option<IpAddr>, out: &mut Fields) {
    if let Some(agent) = agent {
        push_extra(out, "agentAddress", Value::Ip(agent));
    }
}

impl Head<'_> {
    fn write_interfaces(&self, out: &mut Fields) {
        for (id, key, interface) in [
            (FieldId::FlowInput, "inputFormat", self.input),
            (FieldId::FlowOutput, "outputFormat", self.output),
        ] {
            const INDEX: u32 = 0;
            if interface.format == INDEX {
                out.push(id, Value::Unsigned(interface.value.into()));
            } else {
                push_extra(out, key, Value::Unsigned(interface.format.into()));
            }
        }
    }
}

impl FlowSample {
    fn of(records: &[u8]) -> (FlowSample, Found) {
        let (mut sample, mut found) = (FlowSample::default(), Found::default());
        let rest = blocks(records, |format, record| {
            found.unknown += u32::from(!is_known_record(format));
            found.named |= matches!(format, URL | HTTP);
            // A record that is cut short contributes nothing; the others do.
            found.damaged |= sample.read(format, record).is_err();
        });
        found.damaged |= is_more_than_padding(rest);
        (sample, found)
    }

    fn read<'a>(&mut self, format: u32, input: &'a [u8]) -> IResult<&'a [u8], ()> {
        match format {
            1 => self.read_header(input),
            2 => self.read_frame(input),
            3 => self.read_ipv4(input),
            4 => self.read_ipv6(input),
            // extended switch data: VLAN and priority, incoming and outgoing
            1001 => {
                let (rest, (incoming, _, outgoing, _)) = (be_u32, be_u32, be_u32, be_u32).parse(input)?;
                self.vlans = Some((incoming, outgoing));
                Ok((rest, ()))
            }
            // extended router data
            1002 => {
                let (rest, (next_hop, source, destination)) = (address, be_u32, be_u32).parse(input)?;
                self.next_hop = next_hop;
                self.masks = Some((source, destination));
                Ok((rest, ()))
            }
            // extended gateway data: next hop, own system, source system, its peer, segments of a path
            1003 => {
                let (rest, (_, own, source, _, segments)) =
                    (address, be_u32, be_u32, be_u32, be_u32).parse(input)?;
                self.systems = Some((source, last_system(rest, segments).unwrap_or(own)));
                Ok((rest, ()))
            }
            // extended NAT data: addresses and ports after translation
            1007 => {
                let (rest, (source, destination)) = (address, address).parse(input)?;
                self.translated = (source, destination);
                Ok((rest, ()))
            }
            1020 => {
                let (rest, (source, destination)) = (be_u32, be_u32).parse(input)?;
                self.translated_ports = Some((source, destination));
                Ok((rest, ()))
            }
            // the header around the packet, of a tunnel that it leaves or comes by: as in sampled IPv4 and IPv6
            1023 | 1024 => self.read_tunnel(input, false),
            1025 | 1026 => self.read_tunnel(input, true),
            // precise time: nanoseconds since 1970
            1043 => {
                let (rest, nanoseconds) = be_u64(input)?;
                self.seen = Nanos::try_from(nanoseconds).ok().filter(|seen| *seen > 0);
                Ok((rest, ()))
            }
            // the socket of a transaction: of the server, and of whom it serves
            2100 | 2101 => self.read_socket(input, format == 2101),
            _ => Ok((input, ())),
        }
    }

    fn read_tunnel<'a>(&mut self, input: &'a [u8], six: bool) -> IResult<&'a [u8], ()> {
        let (rest, (_length, _protocol)) = (be_u32, be_u32).parse(input)?;
        let (rest, ends) = ends(rest, six)?;
        self.packet.tunnel.get_or_insert(ends);
        Ok((rest, ()))
    }

    fn read_socket<'a>(&mut self, input: &'a [u8], six: bool) -> IResult<&'a [u8], ()> {
        let (rest, protocol) = be_u32(input)?;
        let (rest, (local, remote)) = ends(rest, six)?;
        let (rest, (local_port, remote_port)) = (be_u32, be_u32).parse(rest)?;
        if self.packet.source.is_none() {
            self.packet = Packet {
                source: Some(remote),
                destination: Some(local),
                protocol: protocol as u8,
                source_port: remote_port as u16,
                destination_port: local_port as u16,
                ..self.packet
            };
        }
        Ok((rest, ()))
    }

    /// The beginning of the packet itself.
    fn read_header<'a>(&mut self, input: &'a [u8]) -> IResult<&'a [u8], ()> {
        let (rest, (protocol, length, _stripped, header_length)) =
            (be_u32, be_u32, be_u32, be_u32).parse(input)?;
        let header = rest.get(..header_length as usize).unwrap_or(rest);
        self.frame_length = Some(length);
        // Header protocols: 1 is Ethernet, 11 IPv4, 12 IPv6, 13 MPLS.
        let packet = match protocol {
            1 => packet::ethernet(header),
            11 | 12 => packet::ip(header),
            13 => packet::mpls(header),
            _ => Packet::default(),
        };
        if packet.source.is_some() || self.packet.source.is_none() {
            let macs = packet.macs.or(self.packet.macs);
            self.packet = Packet { macs, ..packet };
        }
        Ok((rest, ()))
    }

    fn read_frame<'a>(&mut self, input: &'a [u8]) -> IResult<&'a [u8], ()> {
        // Hardware addresses are padded to eight octets.
        let (rest, (length, source, destination, _kind)) = (be_u32, be_u64, be_u64, be_u32).parse(input)?;
        self.frame_length.get_or_insert(length);
        let octets = |mac: u64| {
            let [a, b, c, d, e, f, ..] = mac.to_be_bytes();
            [a, b, c, d, e, f]
        };
        self.packet.macs.get_or_insert((octets(source), octets(destination)));
        Ok((rest, ()))
    }

    fn read_ipv4<'a>(&mut self, input: &'a [u8]) -> IResult<&'a [u8], ()> {
        let (rest, (length, protocol, source, destination)) =
            (be_u32, be_u32, be_u32, be_u32).parse(input)?;
        let ends = (Ipv4Addr::from_bits(source).into(), Ipv4Addr::from_bits(destination).into());
        self.read_ip(rest, length, protocol, ends)
    }

    fn read_ipv6<'a>(&mut self, input: &'a [u8]) -> IResult<&'a [u8], ()> {
        let (rest, (length, protocol, source, destination)) =
            (be_u32, be_u32, be_u128, be_u128).parse(input)?;
        let ends = (Ipv6Addr::from_bits(source).into(), Ipv6Addr::from_bits(destination).into());
        self.read_ip(rest, length, protocol, ends)
    }

    /// The rest of an IPv4 or IPv6 record, whose headers the agent has read itself. Some agents send
    /// it beside the packet's own headers, which then count.
    fn read_ip<'a>(
        &mut self,
        input: &'a [u8],
        length: u32,
        protocol: u32,
        (source, destination): (IpAddr, IpAddr),
    ) -> IResult<&'a [u8], ()> {
        let (rest, (source_port, destination_port, flags, tos)) =
            (be_u32, be_u32, be_u32, be_u32).parse(input)?;
        if self.packet.source.is_none() {
            self.packet = Packet {
                source: Some(source),
                destination: Some(destination),
                protocol: protocol as u8,
                source_port: source_port as u16,
                destination_port: destination_port as u16,
                tcp_flags: flags as u16,
                length: length.into(),
                tos: tos as u8,
                ..self.packet
            };
        }
        Ok((rest, ()))
    }

    fn write(&self, out: &mut Fields) {
        let packet = &self.packet;
        push_some(out, FieldId::SourceMac, packet.macs.map(|(source, _)| Value::Mac(source)));
        push_some(out, FieldId::DestinationMac, packet.macs.map(|(_, destination)| Value::Mac(destination)));
        let incoming = self.vlans.map(|(incoming, _)| incoming).filter(|vlan| *vlan > 0);
        let vlan = packet.vlan.map(u32::from).or(incoming);
        push_some(out, FieldId::NetworkVlanId, vlan.map(|vlan| Value::Unsigned(vlan.into())));
        if let Some((source, destination)) = self.systems {
            out.push(FieldId::SourceAsNumber, Value::Unsigned(source.into()));
            out.push(FieldId::DestinationAsNumber, Value::Unsigned(destination.into()));
        }
        if let Some((source, destination)) = self.translated_ports {
            out.push(FieldId::SourceNatPort, Value::Unsigned(source.into()));
            out.push(FieldId::DestinationNatPort, Value::Unsigned(destination.into()));
        }
        let number = |value: Option<u32>| value.map(|value| Value::Unsigned(value.into()));
        let ip = packet.source.is_some();
        let extras = [
            ("frameLength", number(self.frame_length)),
            ("vlanId", number(incoming)),
            ("postVlanId", number(self.vlans.map(|(_, outgoing)| outgoing))),
            ("customerVlanId", number(packet.inner_vlan.map(u32::from))),
            ("mplsTopLabel", number(packet.mpls_label)),
            ("nextHop", self.next_hop.map(Value::Ip)),
            ("sourcePrefixLength", number(self.masks.map(|(source, _)| source))),
            ("destinationPrefixLength", number(self.masks.map(|(_, destination)| destination))),
            ("ipClassOfService", number(ip.then_some(packet.tos.into()))),
            ("ipTTL", number((packet.ttl > 0).then_some(packet.ttl.into()))),
            ("flowLabelIPv6", number((packet.flow_label > 0).then_some(packet.flow_label))),
            ("fragmentIdentification", number((packet.fragment_id > 0).then_some(packet.fragment_id))),
            ("fragmentOffset", number((packet.fragment_offset > 0).then_some(packet.fragment_offset.into()))),
            ("icmpType", number(packet.icmp.map(|(kind, _)| kind.into()))),
            ("icmpCode", number(packet.icmp.map(|(_, code)| code.into()))),
        ];
        for (key, value) in extras {
            if let Some(value) = value {
                push_extra(out, key, value);
            }
        }
    }
}

/// Two addresses of one family.
fn ends(input: &[u8], six: bool) -> IResult<&[u8], (IpAddr, IpAddr)> {
    let one = |input| match six {
        true => map(be_u128, |bits| Ipv6Addr::from_bits(bits).into()).parse(input),
        false => map(be_u32, |bits| Ipv4Addr::from_bits(bits).into()).parse(input),
    };
    let (rest, first) = one(input)?;
    let (rest, second) = one(rest)?;
    Ok((rest, (first, second)))
}

/// Whether records of a flow sample of this format are decoded.
fn is_known_record(format: u32) -> bool {
    matches!(format, 1..=4 | 1001..=1005 | 1007 | 1020 | 1023..=1026 | 1043 | 2100 | 2101 | HTTP)
        || NUMBERS.iter().any(|(known, _)| *known == format)
        || TEXTS.iter().any(|(known, _)| *known == format)
}

/// Writes what a record of a flow sample says that is of no [`Flow`].
fn write_record<'a>(format: u32, mut input: &'a [u8], out: &mut Fields) -> Option<()> {
    let text = |input: &mut &'a [u8]| {
        let (text, rest) = counters::text(input)?;
        *input = rest;
        Some(text)
    };
    match format {
        // character set and name, of the source and of the destination
        USER => {
            for id in [FieldId::SourceUserName, FieldId::DestinationUserName] {
                input = input.get(4..)?;
                push_text(out, id, text(&mut input)?);
            }
        }
        URL | HTTP => each_name(format, input, &mut |id, name| push_text(out, id, name))?,
        _ => {
            if let Some((_, name)) = NUMBERS.iter().find(|(known, _)| *known == format) {
                push_extra(out, name, Value::Unsigned(u32::from_be_bytes(*input.first_chunk()?).into()));
            }
            let names = TEXTS.iter().find(|(known, _)| *known == format);
            for name in names.map_or(&[][..], |(_, names)| *names) {
                let value = out.text(text(&mut input)?);
                push_extra(out, name, value);
            }
        }
    }
    if format == HTTP {
        let mut rest = input.get(8..)?;
        for _ in 0..7 {
            text(&mut rest)?;
        }
        let status = u32::from_be_bytes(*rest.get(20..)?.first_chunk()?);
        out.push(FieldId::HttpResponseStatusCode, Value::Unsigned(status.into()));
    }
    Some(())
}

fn push_text(out: &mut Fields, id: FieldId, text: &[u8]) {
    if !text.is_empty() {
        let value = out.text(text);
        out.push(id, value);
    }
}

/// Calls `each` with the names in a record of a URL, or of a request to a web server
/// (sflow.org/sflow_http.txt), as far as it goes.
fn each_name<'a>(format: u32, input: &'a [u8], each: &mut impl FnMut(FieldId, &'a [u8])) -> Option<()> {
    // Direction; method and version of the protocol.
    let (skip, kinds): (usize, &[Option<FieldId>]) = match format {
        URL => (4, &[Some(FieldId::UrlOriginal), Some(FieldId::UrlDomain)]),
        HTTP => (
            8,
            &[
                Some(FieldId::UrlOriginal),
                Some(FieldId::UrlDomain),
                Some(FieldId::HttpRequestReferrer),
                Some(FieldId::UserAgentOriginal),
                // X-Forwarded-For
                None,
                Some(FieldId::UserName),
            ],
        ),
        _ => return Some(()),
    };
    let mut rest = input.get(skip..)?;
    for kind in kinds {
        let (text, next) = counters::text(rest)?;
        rest = next;
        if let Some(id) = *kind
            && !text.is_empty()
        {
            each(names::spelled(id, text), text);
        }
    }
    Some(())
}

/// The last system of a path, which is the destination's.
fn last_system(mut input: &[u8], segments: u32) -> Option<u32> {
    let mut last = None;
    for _ in 0..segments {
        let (rest, (_kind, length)) = segment(input).ok()?;
        let (rest, path) = take::<_, _, nom::error::Error<&[u8]>>(length.checked_mul(4)?)(rest).ok()?;
        last = path.last_chunk().map(|octets| u32::from_be_bytes(*octets)).or(last);
        input = rest;
    }
    last
}

fn segment(input: &[u8]) -> IResult<&[u8], (u32, u32)> {
    (be_u32, be_u32).parse(input)
}
