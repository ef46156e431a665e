//! Reads the headers of a sampled packet: Ethernet, VLAN tags, MPLS labels, IPv4, IPv6, and the
//! ports, flags or type of what they carry.
//!
//! A sample is cut off somewhere; whatever was read before the cut counts, so that nothing here
//! fails: [`Packet`] holds what was found.

use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u128};
use nom::{IResult, Parser};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What the headers of a packet say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Packet {
    /// Hardware addresses, source first.
    pub(super) macs: Option<([u8; 6], [u8; 6])>,
    /// The outer VLAN.
    pub(super) vlan: Option<u16>,
    /// The VLAN inside the outer one.
    pub(super) inner_vlan: Option<u16>,
    /// The topmost MPLS label.
    pub(super) mpls_label: Option<u32>,
    pub(super) source: Option<IpAddr>,
    pub(super) destination: Option<IpAddr>,
    pub(super) protocol: u8,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) tcp_flags: u16,
    /// Type and code, of ICMP and ICMPv6.
    pub(super) icmp: Option<(u8, u8)>,
    /// Octets of the IP packet, header included; 0 when it has none.
    pub(super) length: u64,
    pub(super) tos: u8,
    pub(super) ttl: u8,
    pub(super) flow_label: u32,
    pub(super) fragment_id: u32,
    pub(super) fragment_offset: u16,
    /// The outermost addresses, source first, if the packet came in a tunnel: GRE, VXLAN, IP in IP.
    pub(super) tunnel: Option<(IpAddr, IpAddr)>,
}

/// Reads a packet that begins with its Ethernet header.
pub(super) fn ethernet(input: &[u8]) -> Packet {
    let mut packet = Packet::default();
    let _ = read_ethernet(input, &mut packet, 0);
    packet
}

/// Reads a packet that begins with its IP header.
pub(super) fn ip(input: &[u8]) -> Packet {
    let mut packet = Packet::default();
    let _ = read_ip(input, &mut packet, 0);
    packet
}

/// Reads a packet that begins with its MPLS labels.
pub(super) fn mpls(input: &[u8]) -> Packet {
    let mut packet = Packet::default();
    let _ = read_mpls(input, &mut packet, 0);
    packet
}

/// Headers of one kind in a row, and packets within packets. Networks use two or three; what is
/// stacked higher is made to exhaust the reader.
const MAX_TAGS: usize = 4;
const MAX_LABELS: usize = 16;
const MAX_EXTENSIONS: usize = 8;
const MAX_DEPTH: usize = 3;

/// A read that went as far as it could.
type Progress<'a> = IResult<&'a [u8], ()>;

fn read_ethernet<'a>(input: &'a [u8], packet: &mut Packet, depth: usize) -> Progress<'a> {
    let (rest, (destination, source, kind)) = (mac, mac, be_u16).parse(input)?;
    if packet.macs.is_none() {
        packet.macs = Some((source, destination));
    }
    read_payload(rest, kind, packet, depth)
}

fn read_payload<'a>(mut input: &'a [u8], mut kind: u16, packet: &mut Packet, depth: usize) -> Progress<'a> {
    for _ in 0..=MAX_TAGS {
        match kind {
            // 802.1Q, 802.1ad, and the numbers used before 802.1ad
            0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
                let (rest, (tag, next)) = (be_u16, be_u16).parse(input)?;
                let vlan = Some(tag & 0x0fff);
                if packet.vlan.is_none() {
                    packet.vlan = vlan;
                } else if packet.inner_vlan.is_none() {
                    packet.inner_vlan = vlan;
                }
                (input, kind) = (rest, next);
            }
            0x8847 | 0x8848 => return read_mpls(input, packet, depth),
            0x0800 | 0x86dd => return read_ip(input, packet, depth),
            // PPPoE session: its header, then the PPP protocol
            0x8864 => {
                let (rest, (_, protocol)) = (take(6usize), be_u16).parse(input)?;
                return if matches!(protocol, 0x0021 | 0x0057) {
                    read_ip(rest, packet, depth)
                } else {
                    Ok((rest, ()))
                };
            }
            _ => break,
        }
    }
    Ok((input, ()))
}

fn read_mpls<'a>(mut input: &'a [u8], packet: &mut Packet, depth: usize) -> Progress<'a> {
    for _ in 0..MAX_LABELS {
        let (rest, entry) = be_u32(input)?;
        input = rest;
        if packet.mpls_label.is_none() {
            packet.mpls_label = Some(entry >> 12);
        }
        const BOTTOM: u32 = 0x100;
        if entry & BOTTOM == 0 {
            continue;
        }
        // MPLS does not name what it carries: the first four bits of an IP packet do, and zero is
        // the control word of an Ethernet pseudowire (RFC 4448).
        return match input.first().map(|first| first >> 4) {
            Some(4 | 6) => read_ip(input, packet, depth),
            Some(0) if depth < MAX_DEPTH => {
                let (rest, _) = take(4usize)(input)?;
                read_ethernet(rest, packet, depth + 1)
            }
            _ => Ok((input, ())),
        };
    }
    Ok((input, ()))
}

fn read_ip<'a>(input: &'a [u8], packet: &mut Packet, depth: usize) -> Progress<'a> {
    match input.first().map(|first| first >> 4) {
        Some(4) => read_ipv4(input, packet, depth),
        Some(6) => read_ipv6(input, packet, depth),
        _ => Ok((input, ())),
    }
}

fn read_ipv4<'a>(input: &'a [u8], packet: &mut Packet, depth: usize) -> Progress<'a> {
    let (rest, (version, tos, length, id, fragment, ttl, protocol, _checksum)) =
        (be_u8, be_u8, be_u16, be_u16, be_u16, be_u8, be_u8, be_u16).parse(input)?;
    let (rest, (source, destination)) = (be_u32, be_u32).parse(rest)?;
    let addresses = (Ipv4Addr::from(source).into(), Ipv4Addr::from(destination).into());
    let options = usize::from(version & 0x0f).saturating_sub(5) * 4;
    let offset = fragment & 0x1fff;
    if !packet.take_addresses(addresses) {
        return Ok((rest, ()));
    }
    packet.protocol = protocol;
    packet.length = length.into();
    packet.tos = tos;
    packet.ttl = ttl;
    packet.fragment_id = id.into();
    packet.fragment_offset = offset;
    let (rest, _) = take(options)(rest)?;
    if offset == 0 { read_transport(rest, protocol, packet, depth) } else { Ok((rest, ())) }
}

fn read_ipv6<'a>(input: &'a [u8], packet: &mut Packet, depth: usize) -> Progress<'a> {
    let (rest, (first, length, next, hops, source, destination)) =
        (be_u32, be_u16, be_u8, be_u8, be_u128, be_u128).parse(input)?;
    let addresses = (Ipv6Addr::from(source).into(), Ipv6Addr::from(destination).into());
    if !packet.take_addresses(addresses) {
        return Ok((rest, ()));
    }
    const HEADER: u64 = 40;
    packet.length = u64::from(length) + HEADER;
    packet.tos = (first >> 20) as u8;
    packet.flow_label = first & 0x000f_ffff;
    packet.ttl = hops;
    read_extensions(rest, next, packet, depth)
}

/// Walks the extension headers of IPv6 to the protocol they end in.
fn read_extensions<'a>(mut input: &'a [u8], mut next: u8, packet: &mut Packet, depth: usize) -> Progress<'a> {
    for _ in 0..MAX_EXTENSIONS {
        packet.protocol = next;
        let (rest, after) = match next {
            // hop-by-hop options, routing, destination options, mobility: length in units of eight
            0 | 43 | 60 | 135 => {
                let (rest, (after, length)) = (be_u8, be_u8).parse(input)?;
                let (rest, _) = take(usize::from(length) * 8 + 6)(rest)?;
                (rest, after)
            }
            44 => {
                let (rest, (after, _, fragment, id)) = (be_u8, be_u8, be_u16, be_u32).parse(input)?;
                packet.fragment_id = id;
                packet.fragment_offset = fragment >> 3;
                if packet.fragment_offset > 0 {
                    packet.protocol = after;
                    return Ok((rest, ()));
                }
                (rest, after)
            }
            // authentication header: length in units of four
            51 => {
                let (rest, (after, length)) = (be_u8, be_u8).parse(input)?;
                let (rest, _) = take(usize::from(length) * 4 + 6)(rest)?;
                (rest, after)
            }
            protocol => return read_transport(input, protocol, packet, depth),
        };
        (input, next) = (rest, after);
    }
    Ok((input, ()))
}

fn read_transport<'a>(input: &'a [u8], protocol: u8, packet: &mut Packet, depth: usize) -> Progress<'a> {
    match protocol {
        // ICMP, ICMPv6
        1 | 58 => {
            let (rest, icmp) = (be_u8, be_u8).parse(input)?;
            packet.icmp = Some(icmp);
            Ok((rest, ()))
        }
        // TCP
        6 => {
            let rest = read_ports(input, packet)?.0;
            let (rest, (_, _, offset_and_flags)) = (be_u32, be_u32, be_u16).parse(rest)?;
            packet.tcp_flags = offset_and_flags & 0x0fff;
            Ok((rest, ()))
        }
        // UDP; DCCP, SCTP and UDP-Lite begin alike
        17 => {
            let rest = read_ports(input, packet)?.0;
            let (rest, _) = take(4usize)(rest)?;
            const VXLAN: u16 = 4789;
            if packet.destination_port == VXLAN && depth < MAX_DEPTH {
                let (inside, _) = take(8usize)(rest)?;
                return read_inside(inside, packet, |inside, packet| {
                    read_ethernet(inside, packet, depth + 1)
                });
            }
            Ok((rest, ()))
        }
        33 | 132 | 136 => read_ports(input, packet),
        // IPv4 and IPv6 in IP
        4 | 41 if depth < MAX_DEPTH => {
            read_inside(input, packet, |inside, packet| read_ip(inside, packet, depth + 1))
        }
        // GRE: checksum, key and sequence number are there when their bit is
        47 if depth < MAX_DEPTH => {
            let (rest, (flags, kind)) = (be_u16, be_u16).parse(input)?;
            let options = [0x8000, 0x2000, 0x1000].iter().filter(|bit| flags & **bit != 0).count() * 4;
            let (rest, _) = take(options)(rest)?;
            const TRANSPARENT_ETHERNET: u16 = 0x6558;
            read_inside(rest, packet, |inside, packet| match kind {
                TRANSPARENT_ETHERNET => read_ethernet(inside, packet, depth + 1),
                _ => read_payload(inside, kind, packet, depth + 1),
            })
        }
        _ => Ok((input, ())),
    }
}

/// Reads a packet inside a tunnel, which then is what the packet says; the tunnel's own addresses
/// stand beside it.
fn read_inside<'a>(
    input: &'a [u8],
    packet: &mut Packet,
    read: impl Fn(&'a [u8], &mut Packet) -> Progress<'a>,
) -> Progress<'a> {
    let mut inside = Packet::default();
    let progress = read(input, &mut inside);
    if inside.source.is_some() {
        *packet = Packet {
            macs: packet.macs,
            vlan: packet.vlan,
            inner_vlan: packet.inner_vlan,
            mpls_label: packet.mpls_label,
            tunnel: packet.source.zip(packet.destination),
            ..inside
        };
    }
    progress
}

fn read_ports<'a>(input: &'a [u8], packet: &mut Packet) -> Progress<'a> {
    let (rest, (source, destination)) = (be_u16, be_u16).parse(input)?;
    packet.source_port = source;
    packet.destination_port = destination;
    Ok((rest, ()))
}

fn mac(input: &[u8]) -> IResult<&[u8], [u8; 6]> {
    let (rest, octets) = take(6usize)(input)?;
    Ok((rest, octets.try_into().unwrap_or_default()))
}

impl Packet {
    /// Takes the addresses, unless there are some.
    fn take_addresses(&mut self, (source, destination): (IpAddr, IpAddr)) -> bool {
        let first = self.source.is_none();
        if first {
            self.source = Some(source);
            self.destination = Some(destination);
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACS: &[u8] = &[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    #[rustfmt::skip]
    const IPV4_TCP: &[u8] = &[
        0x45, 0x10, 0x00, 0x3c, // version and header length, type of service, total length 60
        0x12, 0x34, 0x40, 0x00, // identification, flags and fragment offset
        0x40, 0x06, 0x00, 0x00, // time to live 64, TCP, checksum
        192, 0, 2, 1,           // source
        198, 51, 100, 2,        // destination
        0x01, 0xbb, 0xc0, 0x00, // ports 443 and 49152
        0, 0, 0, 1, 0, 0, 0, 2, // sequence and acknowledgement
        0x50, 0x12,             // offset and flags: SYN, ACK
    ];
    #[rustfmt::skip]
    const IPV6_UDP: &[u8] = &[
        0x60, 0x51, 0x23, 0x45, // version, traffic class 5, flow label 0x12345
        0x00, 0x20, 0x00, 0x40, // payload length 32, hop-by-hop options, hop limit
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
        17, 0, 0, 0, 0, 0, 0, 0, // hop-by-hop options: next is UDP, length 0
        0x00, 0x35, 0x30, 0x39, // ports 53 and 12345
        0, 24, 0, 0,            // length and checksum
    ];

    fn joined(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn headers_are_read() {
        let tcp = |packet: Packet| {
            assert_eq!(packet.source, Some("192.0.2.1".parse().unwrap()));
            assert_eq!(packet.destination, Some("198.51.100.2".parse().unwrap()));
            assert_eq!((packet.protocol, packet.source_port, packet.destination_port), (6, 443, 49152));
            assert_eq!((packet.tcp_flags, packet.length, packet.tos, packet.ttl), (0x12, 60, 0x10, 64));
        };
        let plain = ethernet(&joined(&[MACS, &[0x08, 0x00], IPV4_TCP]));
        tcp(plain);
        assert_eq!(plain.macs, Some(([2, 0, 0, 0, 0, 2], [2, 0, 0, 0, 0, 1])));
        let tagged = ethernet(&joined(&[MACS, &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 9, 0x08, 0x00], IPV4_TCP]));
        tcp(tagged);
        assert_eq!((tagged.vlan, tagged.inner_vlan), (Some(7), Some(9)));
        let mpls = ethernet(&joined(&[MACS, &[0x88, 0x47, 0, 1, 0, 1, 0, 2, 1, 1], IPV4_TCP]));
        tcp(mpls);
        assert_eq!(mpls.mpls_label, Some(16));
        let wire = [MACS, &[0x88, 0x47, 0, 2, 1, 1, 0, 0, 0, 0], MACS, &[0x08, 0x00], IPV4_TCP].concat();
        tcp(ethernet(&wire));

        let udp = ip(IPV6_UDP);
        assert_eq!(udp.source, Some("2001:db8::1".parse().unwrap()));
        assert_eq!((udp.protocol, udp.source_port, udp.destination_port), (17, 53, 12345));
        assert_eq!((udp.length, udp.tos, udp.flow_label), (72, 5, 0x12345));
    }

    #[test]
    fn a_tunnel_is_entered() {
        let outer = |protocol| joined(&[&IPV4_TCP[..9], &[protocol], &IPV4_TCP[10..20]]);
        let gre = ip(&joined(&[&outer(47), &[0x20, 0, 0x86, 0xdd, 0, 0, 0, 1], IPV6_UDP]));
        assert_eq!(gre, Packet { tunnel: gre.tunnel, ..ip(IPV6_UDP) });
        assert_eq!(gre.tunnel, Some(("192.0.2.1".parse().unwrap(), "198.51.100.2".parse().unwrap())));
        let twice = ip(&joined(&[&outer(4), &outer(41), IPV6_UDP]));
        assert_eq!(twice, gre);
        let vxlan: &[u8] = &[0xd4, 0x31, 0x12, 0xb5, 0, 8, 0, 0, 8, 0, 0, 0, 0, 0, 7, 0];
        let vxlan = ip(&joined(&[&outer(17), vxlan, MACS, &[0x08, 0x00], IPV4_TCP]));
        assert_eq!((vxlan.source_port, vxlan.protocol, vxlan.tunnel), (443, 6, gre.tunnel));
        let cut = ip(&joined(&[&outer(47), &[0, 0, 0x86, 0xdd, 0x60]]));
        assert_eq!((cut.protocol, cut.tunnel), (47, None));
    }

    #[test]
    fn a_cut_keeps_what_came_before() {
        let whole = [MACS, &[0x08, 0x00], IPV4_TCP].concat();
        for cut in 0..=whole.len() {
            let packet = ethernet(&whole[..cut]);
            assert_eq!(packet.source.is_some(), cut >= 34, "{cut}");
            assert_eq!(packet.source_port == 443, cut >= 38, "{cut}");
        }
    }
}
