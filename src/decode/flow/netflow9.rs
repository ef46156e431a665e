//! NetFlow v9 (RFC 3954): the header; its sets are read in [`sets`].

use super::cache::Scope;
use super::clock::{Clock, SECOND};
use super::sets::{self, Message};
use super::{Arrival, Datagram, DecodeError, Reader, Seen, Templates, Undecoded};
use crate::input::Nanos;
use nom::number::complete::{be_u16, be_u32};
use nom::{IResult, Parser};

/// Packets that may be missing in a row; a greater jump is a restart.
const REACH: u32 = 4096;

/// Decodes one datagram.
pub(super) fn decode(
    templates: &mut Templates,
    arrival: Arrival<'_>,
    each: &mut impl Reader,
) -> Result<Datagram, Undecoded> {
    let (body, header) = header(arrival.bytes).map_err(|_| DecodeError::Truncated)?;
    let told = Nanos::from(header.seconds) * SECOND;
    let (clock, set) = Clock::new(told, Some(header.uptime), arrival.received, arrival.live);
    let message = Message {
        scope: Scope { exporter: arrival.key(9), session: 0, domain: header.source_id },
        clock,
        base: arrival.base(9, header.source_id),
        sender: arrival.sender,
        senders: arrival.senders,
        received: arrival.received,
        body,
        cut: false,
    };
    // The number counts packets, so that one which could not be read has its place too.
    let mut seen = Seen {
        number: header.sequence,
        advance: Some(1),
        uptime: Some(header.uptime),
        exported: set.then_some(told),
        reach: REACH,
        records: 0,
        received: arrival.received,
        sampling_rate: 0,
    };
    templates.cache.prepare(message.scope, &seen);
    let outcome = sets::decode(templates, &message, each);
    seen.records = outcome.records;
    let account = templates.cache.account(message.scope, seen).unwrap_or_default();
    let mut datagram = outcome.datagram("netflow9");
    datagram.account(account);
    datagram.clock_unset = !set;
    match outcome.error() {
        Some(reason) => Err(Undecoded { reason, datagram }),
        None => Ok(datagram),
    }
}

struct Header {
    uptime: u32,
    seconds: u32,
    sequence: u32,
    source_id: u32,
}

fn header(input: &[u8]) -> IResult<&[u8], Header> {
    // The count of records is of no use: exporters disagree on what it counts.
    let (rest, (_version, _count, uptime, seconds, sequence, source_id)) =
        (be_u16, be_u16, be_u32, be_u32, be_u32, be_u32).parse(input)?;
    Ok((rest, Header { uptime, seconds, sequence, source_id }))
}
