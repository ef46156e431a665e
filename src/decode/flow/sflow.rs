//! sFlow v5: samples of packets, and samples of counters.
//!
//! A flow sample is one event, whatever the number of records in it: [`FlowSample`] gathers what
//! they say. Records and samples have a length each, so one that is not known is stepped over.

use super::clock::Clock;
use super::ecs::{Shown, push_extra, push_some};
use super::packet::{self, Packet};
use super::{
    Arrival, Datagram, DecodeError, Detail, Flow, Losses, Reader, Record, Seen, Tracks, Undecoded,
    is_more_than_padding,
};
use crate::decode::{FieldId, Fields, Value};
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
        let sample = Sample { agent: header.agent, format };
        if !sample.is_known() {
            unknown_samples += 1;
            continue;
        }
        if let Some((head, mut flow)) = sample.flow(bytes, &base) {
            records += 1;
            if let Some(operators) = operators.filter(|_| !flow.state) {
                flow.sampling = operators.get();
            }
            rate = if flow.sampling > 0 { flow.sampling } else { rate };
            let source = (flow.state, head.source_class, head.source_index);
            sample_gap += tracks.sample(key, known, source, head.sequence, REACH, arrival.received);
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
        unknown_samples,
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

/// The blocks of an input, up to the first that is not whole.
fn blocks(input: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = input;
    std::iter::from_fn(move || {
        let (after, found) = block(rest).ok()?;
        rest = after;
        Some(found)
    })
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
}

impl Sample {
    fn is_known(self) -> bool {
        matches!(self.format, FLOW | EXPANDED_FLOW | COUNTERS | EXPANDED_COUNTERS | DISCARDED)
    }

    /// The head of a sample and its flow; none if its kind is not known or its head not whole.
    fn flow<'a>(self, bytes: &'a [u8], base: &Flow) -> Option<(Head<'a>, Flow)> {
        match self.format {
            FLOW | EXPANDED_FLOW | DISCARDED => {
                let (_, head) = self.head(bytes).ok()?;
                let sample = FlowSample::of(head.records);
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
                    ..*base
                };
                Some((head, flow))
            }
            COUNTERS | EXPANDED_COUNTERS => {
                let (_, head) = self.head(bytes).ok()?;
                Some((head, Flow { state: true, ..*base }))
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

    /// Writes the fields of a sample.
    pub(super) fn fields(self, record: &Record<'_>, out: &mut Fields) {
        let Ok((_, head)) = self.head(record.bytes) else { return };
        let traffic = !record.base.state;
        if traffic {
            let sample = FlowSample::of(head.records);
            let ip = sample.packet.source.is_some();
            let shown =
                Shown { ports: ip, protocol: ip, tcp_flags: sample.packet.protocol == 6, ..Shown::ALL };
            shown.write(record.base, record.exported(), out);
            head.write_interfaces(out);
            sample.write(out);
        } else {
            Shown::NONE.write(record.base, record.exported(), out);
        }
        push_agent(self.agent, out);
        push_extra(out, "sampleSequence", Value::Unsigned(head.sequence.into()));
        push_extra(out, "sourceIdClass", Value::Unsigned(head.source_class.into()));
        push_extra(out, "sourceIdIndex", Value::Unsigned(head.source_index.into()));
        if !traffic {
            return blocks(head.records).for_each(|(format, counters)| write_counters(format, counters, out));
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
    fn of(records: &[u8]) -> FlowSample {
        let mut sample = FlowSample::default();
        for (format, record) in blocks(records) {
            // A record that is cut short contributes nothing; the others do.
            let _ = sample.read(format, record);
        }
        sample
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
            _ => Ok((input, ())),
        }
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

/// Counters by the names of the MIBs they come from; the number of octets of each.
type Counters = &'static [(&'static str, usize)];

/// Generic interface counters.
const INTERFACE: Counters = &[
    ("ifIndex", 4),
    ("ifType", 4),
    ("ifSpeed", 8),
    ("ifDirection", 4),
    ("ifStatus", 4),
    ("ifInOctets", 8),
    ("ifInUcastPkts", 4),
    ("ifInMulticastPkts", 4),
    ("ifInBroadcastPkts", 4),
    ("ifInDiscards", 4),
    ("ifInErrors", 4),
    ("ifInUnknownProtos", 4),
    ("ifOutOctets", 8),
    ("ifOutUcastPkts", 4),
    ("ifOutMulticastPkts", 4),
    ("ifOutBroadcastPkts", 4),
    ("ifOutDiscards", 4),
    ("ifOutErrors", 4),
    ("ifPromiscuousMode", 4),
];
/// Ethernet interface counters.
const ETHERNET: Counters = &[
    ("dot3StatsAlignmentErrors", 4),
    ("dot3StatsFCSErrors", 4),
    ("dot3StatsSingleCollisionFrames", 4),
    ("dot3StatsMultipleCollisionFrames", 4),
    ("dot3StatsSQETestErrors", 4),
    ("dot3StatsDeferredTransmissions", 4),
    ("dot3StatsLateCollisions", 4),
    ("dot3StatsExcessiveCollisions", 4),
    ("dot3StatsInternalMacTransmitErrors", 4),
    ("dot3StatsCarrierSenseErrors", 4),
    ("dot3StatsFrameTooLongs", 4),
    ("dot3StatsInternalMacReceiveErrors", 4),
    ("dot3StatsSymbolErrors", 4),
];
/// VLAN counters.
const VLAN: Counters = &[
    ("vlanId", 4),
    ("vlanOctets", 8),
    ("vlanUcastPkts", 4),
    ("vlanMulticastPkts", 4),
    ("vlanBroadcastPkts", 4),
    ("vlanDiscards", 4),
];
/// Processor information.
const PROCESSOR: Counters =
    &[("cpu5s", 4), ("cpu1m", 4), ("cpu5m", 4), ("totalMemory", 8), ("freeMemory", 8)];

fn write_counters(format: u32, mut input: &[u8], out: &mut Fields) {
    let counters = match format {
        1 => INTERFACE,
        2 => ETHERNET,
        5 => VLAN,
        1001 => PROCESSOR,
        1005 => return write_port_name(input, out),
        _ => return,
    };
    for (name, length) in counters {
        let Some((octets, rest)) = input.split_at_checked(*length) else { return };
        if let Some(value) = super::template::unsigned(octets) {
            push_extra(out, name, Value::Unsigned(value));
        }
        input = rest;
    }
}

fn write_port_name(input: &[u8], out: &mut Fields) {
    let name: IResult<&[u8], &[u8]> = length_data(be_u32).parse(input);
    if let Ok((_, name)) = name {
        let name = out.text(name);
        push_extra(out, "portName", name);
    }
}
