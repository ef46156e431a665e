//! Captures: pcap and pcapng, down to the datagrams and the messages of TCP streams.
//!
//! [`Capture::read`] takes one packet at a time and hands out each [`Datagram`] that it completes: UDP
//! payloads, reassembled where IP had fragmented them, and messages of TCP streams to syslog ports.
//! What a packet held otherwise is counted in [`CaptureStats`], so that nothing is silent.

use super::file::{FileError, Source};
use super::framing::{Assembler, Delimiters, Frame};
use super::{Format, MAX_MESSAGE, Message, Nanos};
use etherparse::defrag::IpDefragBuf;
use etherparse::{
    EtherType, IpFragOffset, IpNumber, Ipv6ExtensionSlice, LaxNetSlice, LaxSlicedPacket, TcpSlice, UdpSlice,
};
use pcap_parser::traits::{PcapNGPacketBlock, PcapReaderIterator};
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};
use std::collections::HashMap;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// A UDP payload, or a message of a TCP stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// The payload.
    pub bytes: &'a [u8],
    /// Who sent it.
    pub source: SocketAddr,
    /// Whom it was sent to.
    pub destination: SocketAddr,
    /// When its last packet was captured.
    pub time: Nanos,
    /// The capture holds only its head.
    pub truncated: bool,
    /// What it carries.
    pub format: Format,
}

impl<'a> Datagram<'a> {
    /// The datagram as a sensor would have received it.
    pub fn message(&self) -> Message<'a> {
        Message { bytes: self.bytes, peer: Some(self.source), received: self.time, truncated: self.truncated }
    }
}

/// What the packets of a capture held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureStats {
    /// Packets read.
    pub packets: u64,
    /// UDP datagrams handed out.
    pub datagrams: u64,
    /// Messages of TCP streams handed out.
    pub stream_messages: u64,
    /// Datagrams and messages handed out of which the capture holds only the head.
    pub truncated: u64,
    /// Packets of another protocol, TCP to other ports included.
    pub other: u64,
    /// Packets whose link layer is not known, or whose headers are broken or cut off.
    pub undecodable: u64,
    /// Fragmented datagrams of which a part is missing.
    pub incomplete: u64,
    /// Places where a TCP stream misses bytes.
    pub gaps: u64,
}

impl Format {
    /// What a datagram carries, by its first bytes and, where these are damaged, by its port.
    pub fn guess(bytes: &[u8], destination_port: u16) -> Format {
        // Every flow header begins with a version below 256; text never begins with NUL.
        let [0, version, a, b, ..] = bytes else { return Format::Syslog };
        if FLOW_PORTS.contains(&destination_port) {
            return Format::Flow;
        }
        let value = u16::from_be_bytes([*a, *b]);
        let flow = match version {
            // NetFlow v1 to v8: a count, of which a datagram of 1500 bytes holds 30.
            1 | 5..=8 => bytes.len() >= 16 && (1..=100).contains(&value),
            9 => bytes.len() >= 20 && value > 0,
            // IPFIX: the length of the message.
            10 => bytes.len() >= 16 && usize::from(value) == bytes.len(),
            // sFlow: a version of four bytes, then the kind of the agent's address.
            0 => matches!(value, 2 | 4 | 5) && matches!(bytes.get(4..8), Some([0, 0, 0, 1 | 2])),
            _ => false,
        };
        if flow { Format::Flow } else { Format::Syslog }
    }
}

/// NetFlow, IPFIX and sFlow: the registered ports and those that exporters have as default.
const FLOW_PORTS: [u16; 8] = [2055, 2056, 4432, 4739, 6343, 9555, 9995, 9996];

/// Syslog over plain TCP: the registered ports and common alternatives.
const SYSLOG_PORTS: [u16; 8] = [514, 601, 1468, 1514, 5140, 5514, 10514, 20514];

/// A capture being read.
pub struct Capture {
    path: PathBuf,
    reader: Box<dyn PcapReaderIterator + Send>,
    failure: Arc<Mutex<Option<io::Error>>>,
    capacity: usize,
    packets: Packets,
    ended: bool,
}

/// Read from the file at once; also the longest first block of a pcapng file.
const BUFFER: usize = 512 * 1024;

/// The longest block of a file; tools capture at most 256 KiB of a packet.
const MAX_BLOCK: usize = 16 << 20;

impl Capture {
    /// Reads the header of a source whose kind is a capture.
    pub fn new(source: Source) -> Result<Capture, FileError> {
        let path = source.path.clone();
        let failure = Arc::default();
        let reader = Filled { reader: source.into_reader(), failure: Arc::clone(&failure) };
        match create_reader(BUFFER, reader) {
            Ok(reader) => {
                let packets = Packets::default();
                Ok(Capture { path, reader, failure, capacity: BUFFER, packets, ended: false })
            }
            Err(error) => Err(FileError { path, source: explain(&error, &failure) }),
        }
    }

    /// Reads the next packet and hands out what it completes; false at the end.
    ///
    /// An error comes after everything before it was handed out, and ends the capture.
    pub fn read(&mut self, each: &mut impl FnMut(Datagram<'_>)) -> Result<bool, FileError> {
        while !self.ended {
            let problem = match self.reader.next() {
                Ok((length, block)) => {
                    let packet = self.packets.block(block, each);
                    self.reader.consume(length);
                    if packet {
                        return Ok(true);
                    }
                    continue;
                }
                // The end may be that of what could be read.
                Err(PcapError::Eof) => self.failure.lock().unwrap_or_else(PoisonError::into_inner).take(),
                Err(PcapError::Incomplete(_)) => match self.reader.refill() {
                    Ok(()) => continue,
                    Err(error) => Some(explain(&error, &self.failure)),
                },
                Err(PcapError::BufferTooSmall) if self.capacity < MAX_BLOCK => {
                    self.capacity *= 2;
                    self.reader.grow(self.capacity);
                    match self.reader.refill() {
                        Ok(()) => continue,
                        Err(error) => Some(explain(&error, &self.failure)),
                    }
                }
                Err(error) => Some(explain(&error, &self.failure)),
            };
            self.ended = true;
            self.packets.finish(each);
            if let Some(source) = problem {
                return Err(FileError { path: self.path.clone(), source });
            }
        }
        Ok(false)
    }

    /// What was read so far.
    pub fn stats(&self) -> CaptureStats {
        self.packets.stats
    }
}

fn explain<I>(error: &PcapError<I>, failure: &Mutex<Option<io::Error>>) -> io::Error {
    if let Some(error) = failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return error;
    }
    let (kind, text) = match error {
        PcapError::Eof | PcapError::UnexpectedEof | PcapError::Incomplete(_) => {
            (io::ErrorKind::UnexpectedEof, "the capture ends inside a packet")
        }
        PcapError::BufferTooSmall => (io::ErrorKind::InvalidData, "a block of the capture is too long"),
        _ => (io::ErrorKind::InvalidData, "the capture is damaged"),
    };
    io::Error::new(kind, text)
}

/// Fills what it is asked to fill, as the parser expects of its first read, and remembers why it
/// failed, which the parser does not.
struct Filled {
    reader: Box<dyn Read + Send>,
    failure: Arc<Mutex<Option<io::Error>>>,
}

impl Read for Filled {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                // What was read counts; the error comes again, or the end does.
                Err(error) if filled > 0 => {
                    *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    break;
                }
                Err(error) => {
                    let kind = error.kind();
                    *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return Err(kind.into());
                }
            }
        }
        Ok(filled)
    }
}

/// The state that packets are read in.
#[derive(Default)]
struct Packets {
    nanoseconds: bool,
    interfaces: Vec<Interface>,
    /// The time of the packet before, for packets without their own.
    time: Nanos,
    fragments: HashMap<FragmentKey, Fragments>,
    streams: HashMap<(SocketAddr, SocketAddr), Stream>,
    /// Bytes that wait in all streams for those before them.
    waiting: usize,
    stats: CaptureStats,
}

/// One interface of a pcapng section, or the only one of a pcap file.
struct Interface {
    link: Linktype,
    snaplen: usize,
    units_per_second: u64,
    offset_seconds: i64,
}

/// Interfaces of one section; a file that has more is not of this world.
const MAX_INTERFACES: usize = 4096;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

impl Packets {
    /// Takes one block; whether it was a packet.
    fn block(&mut self, block: PcapBlockOwned<'_>, each: &mut impl FnMut(Datagram<'_>)) -> bool {
        match block {
            PcapBlockOwned::LegacyHeader(header) => {
                self.nanoseconds = header.is_nanosecond_precision();
                self.interfaces.push(Interface {
                    link: header.network,
                    snaplen: header.snaplen as usize,
                    units_per_second: 1_000_000,
                    offset_seconds: 0,
                });
                false
            }
            PcapBlockOwned::Legacy(packet) => {
                let fraction = i64::from(packet.ts_usec) * if self.nanoseconds { 1 } else { 1000 };
                self.time = i64::from(packet.ts_sec) * NANOS_PER_SECOND + fraction;
                let data = packet.data.get(..packet.caplen as usize).unwrap_or(packet.data);
                self.packet(0, data, packet.origlen, each);
                true
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => {
                self.interfaces.clear();
                false
            }
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                if self.interfaces.len() < MAX_INTERFACES {
                    self.interfaces.push(Interface {
                        link: interface.linktype,
                        snaplen: interface.snaplen as usize,
                        units_per_second: units_per_second(interface.if_tsresol),
                        offset_seconds: interface.if_tsoffset,
                    });
                }
                false
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                if let Some(interface) = self.interfaces.get(packet.if_id as usize) {
                    let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
                    self.time = interface.time(units);
                }
                let data = packet.data.get(..packet.caplen as usize).unwrap_or(packet.data);
                self.packet(packet.if_id as usize, data, packet.orig_len(), each);
                true
            }
            PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
                // The length captured is not written; padding is cut off by what is.
                let snaplen = self.interfaces.first().map_or(0, |interface| interface.snaplen);
                let limit = if snaplen == 0 { usize::MAX } else { snaplen };
                let length = (packet.origlen as usize).min(limit);
                let data = packet.data.get(..length).unwrap_or(packet.data);
                self.packet(0, data, packet.origlen, each);
                true
            }
            PcapBlockOwned::NG(_) => false,
        }
    }

    fn packet(&mut self, interface: usize, data: &[u8], original: u32, each: &mut impl FnMut(Datagram<'_>)) {
        self.stats.packets += 1;
        let link = self.interfaces.get(interface).map(|interface| interface.link);
        let Some(packet) = link.and_then(|link| network(link, data)) else {
            self.stats.undecodable += 1;
            return;
        };
        let cut = data.len() < original as usize;
        match packet.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                let header = ip.header();
                let payload = ip.payload();
                let part = Part {
                    source: header.source_addr().into(),
                    destination: header.destination_addr().into(),
                    protocol: payload.ip_number,
                    bytes: payload.payload,
                    cut: payload.incomplete && cut,
                };
                let fragment = payload.fragmented.then(|| Fragment {
                    id: header.identification().into(),
                    offset: header.fragments_offset(),
                    more: header.more_fragments(),
                });
                self.part(&part, fragment, each);
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                let header = ip.header();
                let payload = ip.payload();
                let part = Part {
                    source: header.source_addr().into(),
                    destination: header.destination_addr().into(),
                    protocol: payload.ip_number,
                    bytes: payload.payload,
                    cut: payload.incomplete && cut,
                };
                let fragment = ip.extensions().clone().into_iter().find_map(|extension| match extension {
                    Ipv6ExtensionSlice::Fragment(header) if payload.fragmented => Some(Fragment {
                        id: header.identification(),
                        offset: header.fragment_offset(),
                        more: header.more_fragments(),
                    }),
                    _ => None,
                });
                self.part(&part, fragment, each);
            }
            Some(LaxNetSlice::Arp(_)) => self.stats.other += 1,
            None if packet.stop_err.is_some() => self.stats.undecodable += 1,
            None => self.stats.other += 1,
        }
    }

    fn part(&mut self, part: &Part<'_>, fragment: Option<Fragment>, each: &mut impl FnMut(Datagram<'_>)) {
        if !matches!(part.protocol, IpNumber::UDP | IpNumber::TCP) {
            self.stats.other += 1;
            return;
        }
        match fragment {
            None => self.transport(part, each),
            Some(_) if part.cut => self.stats.incomplete += 1,
            Some(fragment) => {
                if let Some(bytes) = self.reassemble(part, fragment) {
                    self.transport(&Part { bytes: &bytes, ..*part }, each);
                }
            }
        }
    }

    fn transport(&mut self, part: &Part<'_>, each: &mut impl FnMut(Datagram<'_>)) {
        if part.protocol == IpNumber::TCP {
            return match TcpSlice::from_slice(part.bytes) {
                Ok(segment) => self.segment(part, &segment, each),
                Err(_) => self.stats.undecodable += 1,
            };
        }
        let Ok(udp) = UdpSlice::from_slice_lax(part.bytes) else {
            self.stats.undecodable += 1;
            return;
        };
        let truncated = part.cut || part.bytes.len() < usize::from(udp.length());
        self.stats.datagrams += 1;
        self.stats.truncated += u64::from(truncated);
        each(Datagram {
            bytes: udp.payload(),
            source: SocketAddr::new(part.source, udp.source_port()),
            destination: SocketAddr::new(part.destination, udp.destination_port()),
            time: self.time,
            truncated,
            format: Format::guess(udp.payload(), udp.destination_port()),
        });
    }

    /// Hands out what still waits, at the end of the capture.
    fn finish(&mut self, each: &mut impl FnMut(Datagram<'_>)) {
        self.stats.incomplete += self.fragments.len() as u64;
        self.fragments.clear();
        let mut streams: Vec<_> = self.streams.drain().collect();
        streams.sort_by_key(|(_, stream)| stream.number);
        for (ends, mut stream) in streams {
            self.end(ends, &mut stream, each);
        }
    }
}

/// The payload of an IP packet.
#[derive(Clone, Copy)]
struct Part<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: IpNumber,
    bytes: &'a [u8],
    /// The capture holds only its head.
    cut: bool,
}

/// Finds the network packet in a frame; none for a link layer that is not known.
fn network(link: Linktype, data: &[u8]) -> Option<LaxSlicedPacket<'_>> {
    let ether_type = |at: usize, start: usize| {
        let bytes = data.get(at..at + 2)?.try_into().ok()?;
        let payload = data.get(start..)?;
        Some(LaxSlicedPacket::from_ether_type(EtherType(u16::from_be_bytes(bytes)), payload))
    };
    // The upper half of the field says how long the checksum of a frame is.
    match link.0 & 0xffff {
        // Ethernet, with any VLAN tags.
        1 => LaxSlicedPacket::from_ethernet(data).ok(),
        // BSD loopback: an address family in either byte order, which the packet itself says better.
        0 | 108 => LaxSlicedPacket::from_ip(data.get(4..)?).ok(),
        // Raw IP under its old and new numbers.
        12 | 14 | 101 | 228 | 229 => LaxSlicedPacket::from_ip(data).ok(),
        // Linux cooked captures, v1 and v2.
        113 => ether_type(14, 16),
        276 => ether_type(0, 20),
        _ => None,
    }
}

impl Interface {
    fn time(&self, units: u64) -> Nanos {
        let seconds = units / self.units_per_second;
        let rest = u128::from(units % self.units_per_second);
        let nanos = rest * NANOS_PER_SECOND as u128 / u128::from(self.units_per_second);
        // The offset comes from the file; a time out of range is as good as any.
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_add(self.offset_seconds);
        seconds.saturating_mul(NANOS_PER_SECOND).saturating_add(nanos as i64)
    }
}

/// `if_tsresol`: a negative power of ten, or of two if the first bit is set.
fn units_per_second(resolution: u8) -> u64 {
    let exponent = u32::from(resolution & 0x7f);
    let base: u64 = if resolution & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(exponent).unwrap_or(u64::MAX)
}

#[derive(Clone, Copy)]
struct Fragment {
    id: u32,
    offset: IpFragOffset,
    more: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct FragmentKey {
    source: IpAddr,
    destination: IpAddr,
    id: u32,
    protocol: u8,
}

/// A fragmented datagram, so far.
struct Fragments {
    buffer: IpDefragBuf,
    count: usize,
    first: Nanos,
}

/// Fragmented datagrams kept at a time; each has 64 KiB at most.
const MAX_FRAGMENTED: usize = 1024;

/// Fragments of one datagram: 64 KiB in the smallest packets that IPv4 must carry are 120.
const MAX_FRAGMENTS: usize = 256;

/// A datagram whose fragments take longer is given up, as kernels do.
const FRAGMENT_TIMEOUT: Nanos = 30 * NANOS_PER_SECOND;

impl Packets {
    /// Adds a fragment; gives the payload of the datagram if it was the last one missing.
    fn reassemble(&mut self, part: &Part<'_>, fragment: Fragment) -> Option<Vec<u8>> {
        let key = FragmentKey {
            source: part.source,
            destination: part.destination,
            id: fragment.id,
            protocol: part.protocol.0,
        };
        let now = self.time;
        let stale = |fragments: &Fragments| now.saturating_sub(fragments.first) > FRAGMENT_TIMEOUT;
        if self.fragments.get(&key).is_some_and(stale) {
            self.give_up(key);
        }
        if !self.fragments.contains_key(&key) && self.fragments.len() >= MAX_FRAGMENTED {
            let oldest = self.fragments.iter().min_by_key(|(_, fragments)| fragments.first);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.give_up(oldest);
            }
        }
        let fragments = self.fragments.entry(key).or_insert_with(|| Fragments {
            buffer: IpDefragBuf::new(part.protocol, Vec::new(), Vec::new()),
            count: 0,
            first: now,
        });
        fragments.count += 1;
        let added = fragments.buffer.add(fragment.offset, fragment.more, part.bytes);
        if added.is_err() || fragments.count > MAX_FRAGMENTS {
            self.give_up(key);
            return None;
        }
        if !fragments.buffer.is_complete() {
            return None;
        }
        let complete = self.fragments.remove(&key)?;
        Some(complete.buffer.take_bufs().0)
    }

    fn give_up(&mut self, key: FragmentKey) {
        self.fragments.remove(&key);
        self.stats.incomplete += 1;
    }
}

/// One direction of a TCP connection.
struct Stream {
    /// Streams end in the order in which they began.
    number: u64,
    /// The sequence number of its first byte.
    first: u32,
    /// The sequence number that comes next.
    next: u32,
    assembler: Assembler,
    /// Segments that came before those in front of them.
    waiting: Vec<(u32, Vec<u8>)>,
    /// A segment was cut by the capture, so bytes that are missing will not come.
    cut: bool,
    last: Nanos,
}

/// Streams followed at a time.
const MAX_STREAMS: usize = 4096;

/// Segments of one stream, and bytes of all, that wait for missing ones: a window or two, and memory.
const MAX_WAITING_SEGMENTS: usize = 512;
const MAX_WAITING: usize = 64 << 20;

impl Packets {
    fn segment(&mut self, part: &Part<'_>, segment: &TcpSlice<'_>, each: &mut impl FnMut(Datagram<'_>)) {
        if !SYSLOG_PORTS.contains(&segment.destination_port()) {
            self.stats.other += 1;
            return;
        }
        let source = SocketAddr::new(part.source, segment.source_port());
        let destination = SocketAddr::new(part.destination, segment.destination_port());
        let ends = (source, destination);
        let payload = segment.payload();
        let begins = segment.syn();
        let first = segment.sequence_number().wrapping_add(u32::from(begins));
        let mut stream = match self.streams.remove(&ends) {
            // The same ports for a new connection; a repeated SYN is not one.
            Some(mut old) if begins && old.first != first => {
                self.end(ends, &mut old, each);
                self.stream(first)
            }
            Some(stream) => stream,
            None if begins || !payload.is_empty() => {
                self.evict_stream(each);
                self.stream(first)
            }
            None => return,
        };
        stream.last = self.time;
        self.take(ends, &mut stream, first, payload, each);
        if part.cut {
            stream.cut = true;
        }
        let over = stream.waiting.len() > MAX_WAITING_SEGMENTS || self.waiting > MAX_WAITING;
        if (stream.cut || over) && !stream.waiting.is_empty() {
            self.jump(ends, &mut stream, each);
        }
        let after = first.wrapping_add(payload.len() as u32);
        if segment.rst() || (segment.fin() && after == stream.next) {
            self.end(ends, &mut stream, each);
        } else {
            self.streams.insert(ends, stream);
        }
    }

    fn stream(&self, next: u32) -> Stream {
        Stream {
            number: self.stats.packets,
            first: next,
            next,
            assembler: Assembler::new(Delimiters::Stream, MAX_MESSAGE),
            waiting: Vec::new(),
            cut: false,
            last: self.time,
        }
    }

    fn evict_stream(&mut self, each: &mut impl FnMut(Datagram<'_>)) {
        if self.streams.len() < MAX_STREAMS {
            return;
        }
        let oldest = self.streams.iter().min_by_key(|(_, stream)| stream.last).map(|(ends, _)| *ends);
        if let Some(ends) = oldest
            && let Some(mut stream) = self.streams.remove(&ends)
        {
            self.end(ends, &mut stream, each);
        }
    }

    /// Takes a segment in its place: at once, later, or not again.
    fn take(
        &mut self,
        ends: (SocketAddr, SocketAddr),
        stream: &mut Stream,
        first: u32,
        payload: &[u8],
        each: &mut impl FnMut(Datagram<'_>),
    ) {
        if payload.is_empty() {
            return;
        }
        // Sequence numbers wrap; what is nearer than half their range ahead comes later.
        let distance = first.wrapping_sub(stream.next).cast_signed();
        if distance > 0 {
            self.waiting += payload.len();
            stream.waiting.push((first, payload.to_vec()));
            return;
        }
        self.push(ends, stream, first, payload, each);
        while let Some(index) =
            stream.waiting.iter().position(|(first, _)| first.wrapping_sub(stream.next).cast_signed() <= 0)
        {
            let (first, payload) = stream.waiting.swap_remove(index);
            self.waiting = self.waiting.saturating_sub(payload.len());
            self.push(ends, stream, first, &payload, each);
        }
    }

    /// Frames a segment that begins at the next byte or before it.
    fn push(
        &mut self,
        ends: (SocketAddr, SocketAddr),
        stream: &mut Stream,
        first: u32,
        payload: &[u8],
        each: &mut impl FnMut(Datagram<'_>),
    ) {
        let seen = stream.next.wrapping_sub(first) as usize;
        let Some(new) = payload.get(seen..).filter(|new| !new.is_empty()) else { return };
        stream.next = stream.next.wrapping_add(new.len() as u32);
        let emit = &mut self.emit(ends, false, each);
        stream.assembler.push(new, emit);
    }

    /// Gives up the bytes that are missing and goes on with those that wait.
    fn jump(
        &mut self,
        ends: (SocketAddr, SocketAddr),
        stream: &mut Stream,
        each: &mut impl FnMut(Datagram<'_>),
    ) {
        let next = stream.next;
        let nearest = stream.waiting.iter().enumerate();
        let nearest = nearest.min_by_key(|(_, (first, _))| first.wrapping_sub(next)).map(|(index, _)| index);
        let Some(index) = nearest else { return };
        let (first, payload) = stream.waiting.swap_remove(index);
        self.waiting = self.waiting.saturating_sub(payload.len());
        self.stats.gaps += 1;
        stream.assembler.finish(&mut self.emit(ends, true, each));
        stream.next = first;
        stream.cut = false;
        self.take(ends, stream, first, &payload, each);
    }

    /// Hands out all that a stream holds.
    fn end(
        &mut self,
        ends: (SocketAddr, SocketAddr),
        stream: &mut Stream,
        each: &mut impl FnMut(Datagram<'_>),
    ) {
        while !stream.waiting.is_empty() {
            self.jump(ends, stream, each);
        }
        stream.assembler.finish(&mut self.emit(ends, stream.cut, each));
    }

    /// Hands a message of a stream out; `broken` says that bytes of it are missing.
    fn emit<'a>(
        &'a mut self,
        (source, destination): (SocketAddr, SocketAddr),
        broken: bool,
        each: &'a mut impl FnMut(Datagram<'_>),
    ) -> impl FnMut(Frame<'_>) + 'a {
        move |frame| {
            let truncated = frame.truncated || broken;
            self.stats.stream_messages += 1;
            self.stats.truncated += u64::from(truncated);
            let (bytes, time) = (frame.bytes, self.time);
            each(Datagram { bytes, source, destination, time, truncated, format: Format::Syslog });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::from_bytes;
    use super::*;
    use etherparse::{Ipv4Header, PacketBuilder, TcpHeader, UdpHeader};

    const SOURCE: &str = "192.0.2.1:4444";
    const DESTINATION: &str = "192.0.2.2:514";

    /// A pcap file of packets, each with its original length.
    fn pcap(link: u32, packets: &[(Vec<u8>, usize)]) -> Vec<u8> {
        let mut file = Vec::new();
        for field in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, link] {
            file.extend(field.to_le_bytes());
        }
        for (index, (packet, original)) in packets.iter().enumerate() {
            // Seconds, microseconds, length captured, original length.
            for field in [1_700_000_000 + index as u32, 5, packet.len() as u32, *original as u32] {
                file.extend(field.to_le_bytes());
            }
            file.extend(packet);
        }
        file
    }

    fn whole(packets: Vec<Vec<u8>>) -> Vec<(Vec<u8>, usize)> {
        packets.into_iter().map(|packet| (packet.clone(), packet.len())).collect()
    }

    #[derive(Debug, PartialEq, Eq)]
    struct Found {
        text: String,
        source: SocketAddr,
        destination: SocketAddr,
        time: Nanos,
        truncated: bool,
    }

    fn read(file: Vec<u8>) -> (Vec<Found>, CaptureStats, Option<FileError>) {
        let mut found = Vec::new();
        let mut capture = match from_bytes("test.pcap", file).and_then(Capture::new) {
            Ok(capture) => capture,
            Err(error) => return (found, CaptureStats::default(), Some(error)),
        };
        let mut each = |datagram: Datagram<'_>| {
            found.push(Found {
                text: String::from_utf8_lossy(datagram.bytes).into_owned(),
                source: datagram.source,
                destination: datagram.destination,
                time: datagram.time,
                truncated: datagram.truncated,
            });
        };
        let error = loop {
            match capture.read(&mut each) {
                Ok(true) => (),
                Ok(false) => break None,
                Err(error) => break Some(error),
            }
        };
        assert!(matches!(capture.read(&mut each), Ok(false)), "nothing follows the end");
        (found, capture.stats(), error)
    }

    /// An IPv4 packet with a UDP datagram.
    fn ipv4(payload: &[u8]) -> Vec<u8> {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64).udp(4444, 514);
        builder.write(&mut packet, payload).unwrap();
        packet
    }

    fn ethernet(tags: &[u16], packet: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        for tag in tags {
            frame.extend(tag.to_be_bytes());
            frame.extend([0, 7]);
        }
        frame.extend(if packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] });
        frame.extend(packet);
        frame
    }

    #[test]
    fn every_link_layer() {
        let packet = ipv4(b"<1>a");
        // Frames are padded to their least length; the padding is not the datagram's.
        let padded = [ethernet(&[], &packet), vec![0; 20]].concat();
        let sll = [&[0; 14][..], &[8, 0], &packet].concat();
        let sll2 = [&[8, 0][..], &[0; 18], &packet].concat();
        for (name, link, frame) in [
            ("Ethernet", 1, ethernet(&[], &packet)),
            ("padded", 1, padded),
            ("VLAN", 1, ethernet(&[0x8100], &packet)),
            ("QinQ", 1, ethernet(&[0x88a8, 0x8100], &packet)),
            ("old QinQ", 1, ethernet(&[0x9100, 0x8100], &packet)),
            ("loopback, little endian", 0, [&[2, 0, 0, 0][..], &packet].concat()),
            ("loopback, big endian", 108, [&[0, 0, 0, 2][..], &packet].concat()),
            ("raw", 101, packet.clone()),
            ("raw IPv4", 228, packet.clone()),
            ("cooked", 113, sll),
            ("cooked v2", 276, sll2),
            ("with FCS length", 1 | 0x2400_0000, ethernet(&[], &packet)),
        ] {
            let (found, stats, error) = read(pcap(link, &whole(vec![frame])));
            assert!(error.is_none());
            let expected = Found {
                text: "<1>a".to_owned(),
                source: SOURCE.parse().unwrap(),
                destination: DESTINATION.parse().unwrap(),
                time: 1_700_000_000_000_005_000,
                truncated: false,
            };
            assert_eq!(found, [expected], "{name}");
            assert_eq!(stats, CaptureStats { packets: 1, datagrams: 1, ..CaptureStats::default() });
        }
    }

    #[test]
    fn what_is_not_handed_out_is_counted() {
        let mut icmp = ipv4(b"x");
        icmp[9] = 1;
        let mut web = Vec::new();
        let builder = PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64).tcp(4444, 80, 1, 1);
        builder.write(&mut web, b"GET /").unwrap();
        let arp = [&[2; 12][..], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[0; 20]].concat();
        let short = vec![1, 2, 3];
        let cut_header = ethernet(&[], &ipv4(b"x")[..12]);
        let cut_udp = ethernet(&[], &ipv4(b"x")[..24]);
        let packets = vec![ethernet(&[], &icmp), ethernet(&[], &web), arp, short, cut_header, cut_udp];
        let (found, stats, error) = read(pcap(1, &whole(packets)));
        assert!(found.is_empty() && error.is_none());
        assert_eq!(stats, CaptureStats { packets: 6, other: 3, undecodable: 3, ..CaptureStats::default() });
        let (_, stats, _) = read(pcap(195, &whole(vec![vec![0; 60]])));
        assert_eq!(stats, CaptureStats { packets: 1, undecodable: 1, ..CaptureStats::default() });
    }

    #[test]
    fn ipv6_and_packets_cut_by_the_capture() {
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv6([1; 16], [2; 16], 64).udp(9, 514);
        builder.write(&mut packet, b"<1>abcdef").unwrap();
        let mut packets = whole(vec![packet.clone()]);
        packets.push((packet[..packet.len() - 2].to_vec(), packet.len()));
        let (found, stats, _) = read(pcap(229, &packets));
        let texts: Vec<_> = found.iter().map(|found| (found.text.as_str(), found.truncated)).collect();
        assert_eq!(texts, [("<1>abcdef", false), ("<1>abcd", true)]);
        assert_eq!(found[0].source, "[101:101:101:101:101:101:101:101]:9".parse().unwrap());
        assert_eq!((stats.datagrams, stats.truncated), (2, 1));
    }

    /// The fragments of a UDP datagram, of `size` bytes each.
    fn fragments(id: u16, payload: &[u8], size: usize) -> Vec<Vec<u8>> {
        let udp = UdpHeader::without_ipv4_checksum(4444, 514, payload.len()).unwrap().to_bytes();
        let datagram = [&udp[..], payload].concat();
        let count = datagram.len().div_ceil(size);
        let parts = datagram.chunks(size).enumerate();
        parts
            .map(|(index, part)| {
                let mut header =
                    Ipv4Header::new(part.len() as u16, 64, IpNumber::UDP, [192, 0, 2, 1], [192, 0, 2, 2])
                        .unwrap();
                header.identification = id;
                header.more_fragments = index + 1 < count;
                header.fragment_offset = IpFragOffset::try_new((index * size / 8) as u16).unwrap();
                let mut packet = Vec::new();
                header.write(&mut packet).unwrap();
                packet.extend(part);
                packet
            })
            .collect()
    }

    #[test]
    fn fragments_are_reassembled_or_counted() {
        let long = "y".repeat(5000);
        let mut packets = fragments(1, long.as_bytes(), 1480);
        packets.reverse();
        let mut lost = fragments(2, b"never complete, a part is lost", 16);
        lost.remove(1);
        packets.splice(2..2, lost);
        packets.splice(1..1, fragments(3, b"<1>between", 8));
        let (found, stats, _) = read(pcap(101, &whole(packets)));
        let texts: Vec<_> = found.iter().map(|found| found.text.as_str()).collect();
        assert_eq!(texts, ["<1>between", &long]);
        assert_eq!((stats.datagrams, stats.incomplete, stats.truncated), (2, 1, 0));
    }

    #[test]
    fn a_flood_of_fragments_is_bounded() {
        let mut packets: Vec<_> = (0..5000).map(|id| fragments(id, &[b'x'; 64], 32).remove(0)).collect();
        packets.extend(fragments(6000, b"<1>not lost", 8));
        let (found, stats, _) = read(pcap(101, &whole(packets)));
        assert_eq!(found.len(), 1);
        assert_eq!(stats.incomplete, 5000);
    }

    /// A TCP segment; flags are any of `S`, `F`, `R`.
    fn segment(sequence: u32, flags: &str, payload: &[u8]) -> Vec<u8> {
        let mut header = TcpHeader::new(4444, 514, sequence, 1000);
        header.syn = flags.contains('S');
        header.fin = flags.contains('F');
        header.rst = flags.contains('R');
        let mut packet = Vec::new();
        let builder = PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64).tcp_header(header);
        builder.write(&mut packet, payload).unwrap();
        packet
    }

    #[test]
    fn streams_are_put_in_order_and_framed() {
        // The numbers wrap in the middle.
        let start = u32::MAX - 5;
        let at = |offset: u32| start.wrapping_add(1 + offset);
        for (name, packets, expected, gaps) in [
            (
                "in order",
                vec![
                    segment(start, "S", b""),
                    segment(at(0), "", b"<1>a\n6 <"),
                    segment(at(8), "", b"1>b\nb<1>c"),
                    segment(at(17), "F", b""),
                ],
                vec![("<1>a", false), ("<1>b\nb", false), ("<1>c", false)],
                0,
            ),
            (
                "reordered and repeated",
                vec![
                    segment(start, "S", b""),
                    segment(at(10), "", b"<1>c\n"),
                    segment(at(5), "", b"<1>b\n"),
                    segment(at(0), "", b"<1>a\n"),
                    segment(start, "S", b""),
                    segment(at(0), "", b"<1>a\n<1>b\n<1>c\n<1>d\n"),
                    segment(at(5), "", b"<1>b\n"),
                ],
                vec![("<1>a", false), ("<1>b", false), ("<1>c", false), ("<1>d", false)],
                0,
            ),
            (
                "a segment is missing",
                vec![
                    segment(start, "S", b""),
                    segment(at(0), "", b"<1>a\n<1>bro"),
                    segment(at(20), "", b"ken\n<1>c\n"),
                    segment(at(30), "R", b""),
                ],
                vec![("<1>a", false), ("<1>bro", true), ("ken", false), ("<1>c", false)],
                1,
            ),
            (
                "the beginning is not in the capture",
                vec![segment(at(0), "", b"a\n<1>b\n")],
                vec![("a", false), ("<1>b", false)],
                0,
            ),
            (
                "the ports are used again",
                vec![
                    segment(start, "S", b""),
                    segment(at(0), "", b"<1>a"),
                    segment(77, "S", b""),
                    segment(78, "", b"<1>b"),
                ],
                vec![("<1>a", false), ("<1>b", false)],
                0,
            ),
        ] {
            let (found, stats, _) = read(pcap(101, &whole(packets)));
            let texts: Vec<_> = found.iter().map(|found| (found.text.as_str(), found.truncated)).collect();
            assert_eq!(texts, expected, "{name}");
            assert_eq!((stats.gaps, stats.stream_messages), (gaps, expected.len() as u64), "{name}");
        }
    }

    #[test]
    fn a_stream_does_not_wait_for_ever() {
        let mut packets = vec![segment(0, "S", b""), segment(1, "", b"<1>a\n")];
        packets.extend((0..600).map(|index| segment(100 + index * 5, "", b"<1>b\n")));
        let mut capture = Capture::new(from_bytes("x", pcap(101, &whole(packets))).unwrap()).unwrap();
        let mut count = 0;
        let mut before_the_end = 0;
        while capture.read(&mut |_| count += 1).unwrap() {
            before_the_end = count;
        }
        assert_eq!((before_the_end, count, capture.stats().gaps), (601, 601, 1));
        assert_eq!(capture.packets.waiting, 0);
    }

    #[test]
    fn a_segment_cut_by_the_capture_is_a_gap() {
        let first = segment(1, "", b"<1>a\n<1>bcdef\n");
        let mut packets = vec![(first[..first.len() - 5].to_vec(), first.len())];
        packets.extend(whole(vec![segment(15, "", b"<1>g\n"), segment(20, "", b"<1>h\n")]));
        let (found, stats, _) = read(pcap(101, &packets));
        let texts: Vec<_> = found.iter().map(|found| (found.text.as_str(), found.truncated)).collect();
        assert_eq!(texts, [("<1>a", false), ("<1>b", true), ("<1>g", false), ("<1>h", false)]);
        assert_eq!(stats.gaps, 1);
    }

    fn block(big: bool, kind: u32, body: &[u8]) -> Vec<u8> {
        let length = (12 + body.len()) as u32;
        let number = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        [&number(kind)[..], &number(length), body, &number(length)].concat()
    }

    /// A pcapng file with one interface and one packet.
    fn pcapng(big: bool, resolution: u8, units: u64, packet: &[u8]) -> Vec<u8> {
        let short = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let number = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let padding = vec![0; packet.len().next_multiple_of(4) - packet.len()];
        // Byte order, version, length of the section unknown.
        let section = [&number(0x1a2b_3c4d)[..], &short(1), &short(0), &[0xff; 8]].concat();
        // Link type, reserved, snaplen, option if_tsresol, end of options.
        let interface = [
            &short(101)[..],
            &short(0),
            &number(65_535),
            &short(9),
            &short(1),
            &[resolution, 0, 0, 0],
            &short(0),
            &short(0),
        ]
        .concat();
        // Interface, time, lengths, data.
        let enhanced = [
            &number(0)[..],
            &number((units >> 32) as u32),
            &number(units as u32),
            &number(packet.len() as u32),
            &number(packet.len() as u32),
            packet,
            &padding,
        ]
        .concat();
        let simple = [&number(packet.len() as u32)[..], packet, &padding].concat();
        [
            block(big, 0x0a0d_0d0a, &section),
            block(big, 1, &interface),
            block(big, 6, &enhanced),
            block(big, 3, &simple),
            block(big, 0x0bad, &[0; 8]),
        ]
        .concat()
    }

    #[test]
    fn pcapng_in_both_byte_orders_with_any_resolution() {
        let packet = ipv4(b"<1>ab");
        for (big, resolution, units, time) in [
            (false, 6, 1_700_000_000_000_005, 1_700_000_000_000_005_000),
            (true, 9, 1_700_000_000_000_005_001, 1_700_000_000_000_005_001),
            (false, 0x80 | 10, 1_700_000_000 * 1024 + 512, 1_700_000_000_500_000_000),
            (false, 0xff, u64::MAX, NANOS_PER_SECOND),
        ] {
            let (found, stats, error) = read(pcapng(big, resolution, units, &packet));
            assert!(error.is_none(), "{error:?}");
            assert_eq!(stats.packets, 2);
            assert_eq!(found.iter().map(|found| found.text.as_str()).collect::<Vec<_>>(), ["<1>ab"; 2]);
            assert_eq!(found[0].time, time, "{resolution}");
        }
    }

    #[test]
    fn damaged_files_say_so_after_what_could_be_read() {
        let file = pcap(101, &whole(vec![ipv4(b"<1>a"), ipv4(b"<1>b")]));
        let (found, _, error) = read(file[..file.len() - 3].to_vec());
        assert_eq!(found.len(), 1);
        assert_eq!(error.unwrap().to_string(), "test.pcap: the capture ends inside a packet");
        let (_, _, error) = read(file[..10].to_vec());
        assert_eq!(error.unwrap().to_string(), "test.pcap: the capture ends inside a packet");
        let mut long = file.clone();
        long[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
        let (found, _, error) = read(long);
        assert!(found.is_empty() && error.is_some());
    }

    #[test]
    fn mutated_captures_never_panic() {
        let tcp = whole(vec![segment(9, "S", b""), segment(10, "", b"<1>a\n"), segment(99, "F", b"<1>b")]);
        let samples = [
            pcap(101, &whole(fragments(1, &[b'x'; 100], 16))),
            pcap(1, &whole(vec![ethernet(&[0x88a8, 0x8100], &ipv4(b"<1>a"))])),
            pcap(101, &tcp),
            pcapng(true, 6, 1, &ipv4(b"<1>a")),
            pcapng(false, 0x8a, 1, &ipv4(b"<1>a")),
        ];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut handed_out = 0;
        for round in 0..20_000 {
            let mut file = samples[round % samples.len()].clone();
            for _ in 0..=random(4) {
                let at = random(file.len());
                file[at] = [0, 1, 0x7f, 0x80, 0xff, random(256) as u8][random(6)];
            }
            if random(8) == 0 {
                file.truncate(random(file.len()));
            }
            handed_out += read(file).0.len();
        }
        assert!(handed_out > 1000, "{handed_out}");
    }

    #[test]
    fn formats_are_guessed() {
        let of = |start: &[u8], length: usize| [start, &vec![0; length - start.len()]].concat();
        for (name, bytes, port, format) in [
            ("text", b"<34>Oct".to_vec(), 2055, Format::Syslog),
            ("nothing", Vec::new(), 2055, Format::Syslog),
            ("v5 anywhere", of(&[0, 5, 0, 1], 72), 9991, Format::Flow),
            ("v9 anywhere", of(&[0, 9, 0, 1], 60), 9991, Format::Flow),
            ("IPFIX anywhere", of(&[0, 10, 0, 60], 60), 9991, Format::Flow),
            ("IPFIX with a false length", of(&[0, 10, 0, 61], 60), 9991, Format::Syslog),
            ("IPFIX with a false length at its port", of(&[0, 10, 0, 61], 60), 4739, Format::Flow),
            ("sFlow", of(&[0, 0, 0, 5, 0, 0, 0, 1], 100), 9991, Format::Flow),
            ("a DNS query", of(&[0, 5, 1, 0], 40), 53, Format::Syslog),
        ] {
            assert_eq!(Format::guess(&bytes, port), format, "{name}");
        }
    }
}
