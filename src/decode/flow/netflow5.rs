//! NetFlow v5, and v7 as the Catalyst 5000 sends it: records of a fixed shape.

use super::clock::{Clock, SECOND, Unit};
use super::ecs::{Shown, push_extra};
use super::{
    Arrival, Datagram, DecodeError, Detail, Flow, Group, Losses, MAPPED, Reader, Record, Seen, Tracks,
    Undecoded, is_more_than_padding,
};
use crate::decode::{FieldId, Fields, Value};
use crate::input::Nanos;
use nom::number::complete::{be_u16, be_u32};
use nom::{IResult, Parser};
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;

/// Flows that may be missing in a row; a greater jump is a restart.
const REACH: u32 = 1 << 17;

const RECORD5: usize = 48;
const RECORD7: usize = 52;

/// The octets that the records of both versions share, nearly to the end.
const SHARED: usize = 48;

/// Decodes one datagram.
pub(super) fn decode(
    tracks: &mut Tracks,
    arrival: Arrival<'_>,
    version: u8,
    each: &mut impl Reader,
) -> Result<Datagram, Undecoded> {
    let (body, header) = header(arrival.bytes).map_err(|_| DecodeError::Truncated)?;
    // v7 has four reserved octets where v5 has its engine and sampling.
    let (engine, sampling) = if version == 5 { (header.engine, header.sampling) } else { (0, 0) };
    let (length, format) = if version == 5 { (RECORD5, "netflow5") } else { (RECORD7, "netflow7") };
    let fraction = Nanos::from(header.nanoseconds).min(SECOND - 1);
    let told = Nanos::from(header.seconds) * SECOND + fraction;
    let (clock, set) = Clock::new(told, Some(header.uptime), arrival.received, arrival.live);
    /// The two upper bits are the mode of sampling.
    const INTERVAL: u16 = 0x3fff;
    let stated = u32::from(sampling & INTERVAL);
    let sampling = arrival.sender.sampling_rate.map_or(stated, NonZeroU32::get);
    let base = Flow { sampling, ..arrival.base(version, engine.into()) };
    let count = u64::from(header.count);
    let mut records = 0;
    let mut group = Group::default();
    let mut rest = body.chunks_exact(length).take(header.count.into());
    loop {
        let suspect = group.next(|| suspects(rest.clone(), each));
        let Some(bytes) = rest.next() else { break };
        records += 1;
        each.record(Record { bytes, clock: &clock, base: &base, detail: Detail::Netflow5 }, suspect);
    }
    let more = usize::from(header.count).checked_mul(length).and_then(|whole| body.get(whole..));
    let losses = Losses {
        cut: u32::from(records < count),
        trailing: u32::from(more.is_some_and(is_more_than_padding)),
        ..Losses::default()
    };
    let seen = Seen {
        number: header.sequence,
        advance: Some(header.count.into()),
        uptime: Some(header.uptime),
        exported: set.then_some(told),
        reach: REACH,
        records,
        received: arrival.received,
        sampling_rate: sampling,
    };
    let account = tracks.take(arrival.track(version, engine.into(), None), arrival.sender.known, seen);
    let mut datagram = Datagram {
        format,
        records,
        sets: u64::from(records > 0),
        losses,
        clock_unset: !set,
        ..Datagram::default()
    };
    datagram.account(account);
    match losses.reason() {
        Some(reason) if records == 0 => Err(Undecoded { reason, datagram }),
        _ => Ok(datagram),
    }
}

struct Header {
    count: u16,
    uptime: u32,
    seconds: u32,
    nanoseconds: u32,
    sequence: u32,
    engine: u16,
    sampling: u16,
}

fn header(input: &[u8]) -> IResult<&[u8], Header> {
    let (rest, (_version, count, uptime, seconds, nanoseconds, sequence, engine, sampling)) =
        (be_u16, be_u16, be_u32, be_u32, be_u32, be_u32, be_u16, be_u16).parse(input)?;
    Ok((rest, Header { count, uptime, seconds, nanoseconds, sequence, engine, sampling }))
}

/// Which records of the group that comes next may matter.
fn suspects<'a>(records: impl Iterator<Item = &'a [u8]>, each: &mut impl Reader) -> u64 {
    records.take(Group::RECORDS).enumerate().fold(0, |suspects, (number, record)| {
        let mut any = false;
        any_address(record, |address| {
            any |= each.may_matter(address);
            false
        });
        suspects | u64::from(any) << number
    })
}

/// Whether `holds` says yes to the source or the destination.
#[inline]
pub(super) fn any_address(record: &[u8], mut holds: impl FnMut(u128) -> bool) -> bool {
    let mut holds_at = |record, at| holds(MAPPED | u128::from(u32_at(record, at)));
    record.first_chunk().is_some_and(|record| holds_at(record, 0) || holds_at(record, 4))
}

/// The flow of a record.
pub(super) fn flow(record: &[u8], base: &Flow, clock: &Clock) -> Flow {
    // The length was seen to; a shorter one would have no flow in it.
    let Some(record) = record.first_chunk::<SHARED>() else { return *base };
    let time = |at| clock.resolve(Unit::Uptime, u32_at(record, at).into());
    Flow {
        source: Some(address_at(record, 0)),
        destination: Some(address_at(record, 4)),
        packets: u32_at(record, 16).into(),
        bytes: u32_at(record, 20).into(),
        start: time(24),
        end: time(28),
        source_port: u16_at(record, 32),
        destination_port: u16_at(record, 34),
        tcp_flags: record[37].into(),
        protocol: record[38],
        ..*base
    }
}

/// Writes the fields of a record.
pub(super) fn fields(record: &Record<'_>, out: &mut Fields) {
    Shown::ALL.write(&record.flow(), record.exported(), out);
    let Some(octets) = record.bytes.first_chunk::<SHARED>() else { return };
    out.push(FieldId::FlowInput, Value::Unsigned(u16_at(octets, 12).into()));
    out.push(FieldId::FlowOutput, Value::Unsigned(u16_at(octets, 14).into()));
    out.push(FieldId::SourceAsNumber, Value::Unsigned(u16_at(octets, 40).into()));
    out.push(FieldId::DestinationAsNumber, Value::Unsigned(u16_at(octets, 42).into()));
    push_extra(out, "ipNextHopIPv4Address", Value::Ip(address_at(octets, 8)));
    push_extra(out, "ipClassOfService", Value::Unsigned(octets[39].into()));
    push_extra(out, "sourceIPv4PrefixLength", Value::Unsigned(octets[44].into()));
    push_extra(out, "destinationIPv4PrefixLength", Value::Unsigned(octets[45].into()));
    if let Some(router) = record.bytes.get(SHARED..RECORD7).and_then(|tail| tail.first_chunk()) {
        push_extra(out, "bypassedRouter", Value::Ip(IpAddr::V4(Ipv4Addr::from(*router))));
    }
}

#[inline]
fn u16_at(record: &[u8; SHARED], at: usize) -> u16 {
    u16::from_be_bytes([record[at], record[at + 1]])
}

#[inline]
fn u32_at(record: &[u8; SHARED], at: usize) -> u32 {
    u32::from_be_bytes([record[at], record[at + 1], record[at + 2], record[at + 3]])
}

#[inline]
fn address_at(record: &[u8; SHARED], at: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits(u32_at(record, at)))
}
