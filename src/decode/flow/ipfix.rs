//! IPFIX (RFC 7011): the message header; its sets are read in [`sets`].

use super::cache::Scope;
use super::clock::{Clock, SECOND};
use super::sets::{self, Message};
use super::{Arrival, Datagram, DecodeError, Reader, Seen, Templates, Undecoded, is_more_than_padding};
use crate::input::Nanos;
use nom::number::complete::{be_u16, be_u32};
use nom::{IResult, Parser};

/// Data records that may be missing in a row; a greater jump is a restart.
const REACH: u32 = 1 << 17;
const VERSION: u16 = 10;
const HEADER: usize = 16;

/// Decodes one datagram: one message, or several in a row as some relays pack them. One that cannot be
/// read does not lose those around it, and is an error where no other was read.
pub(super) fn decode(
    templates: &mut Templates,
    arrival: Arrival<'_>,
    each: &mut impl Reader,
) -> Result<Datagram, Undecoded> {
    let (mut rest, mut whole) = decode_message(templates, arrival, each)?;
    while rest.starts_with(&VERSION.to_be_bytes()) {
        let next = Arrival { bytes: rest, ..arrival };
        // A header that is not whole, or whose length is less than its own, ends what can be followed.
        let Ok((after, message)) = decode_message(templates, next, each) else { break };
        rest = after;
        whole = match (whole, message) {
            (Ok(mut whole), Ok(message) | Err(Undecoded { datagram: message, .. })) => {
                whole.add(&message);
                Ok(whole)
            }
            (Err(Undecoded { datagram, .. }), Ok(mut message)) => {
                message.add(&datagram);
                Ok(message)
            }
            (Err(mut first), Err(message)) => {
                first.datagram.add(&message.datagram);
                Err(first)
            }
        };
    }
    let (Ok(datagram) | Err(Undecoded { datagram, .. })) = &mut whole;
    datagram.losses.trailing += u32::from(is_more_than_padding(rest));
    whole
}

/// What follows a message, and what was read of it.
type Read<'a> = (&'a [u8], Result<Datagram, Undecoded>);

/// Decodes the message that the input begins with; an error if its end cannot be known.
fn decode_message<'a>(
    templates: &mut Templates,
    arrival: Arrival<'a>,
    each: &mut impl Reader,
) -> Result<Read<'a>, DecodeError> {
    let (body, header) = header(arrival.bytes).map_err(|_| DecodeError::Truncated)?;
    let length = usize::from(header.length).checked_sub(HEADER).ok_or(DecodeError::Malformed)?;
    let (body, rest) = body.split_at_checked(length).unwrap_or((body, &[]));
    let told = Nanos::from(header.seconds) * SECOND;
    let (clock, set) = Clock::new(told, None, arrival.received, arrival.live);
    let exporter = arrival.key(10);
    let message = Message {
        scope: Scope {
            exporter,
            // A connection is told apart by its exporter's key.
            session: if arrival.stream { 0 } else { arrival.exporter.port() },
            domain: header.domain,
        },
        clock,
        base: arrival.base(10, header.domain),
        sender: arrival.sender,
        senders: arrival.senders,
        received: arrival.received,
        body,
        cut: body.len() < length,
    };
    let mut seen = Seen {
        number: header.sequence,
        advance: None,
        uptime: None,
        exported: None,
        reach: REACH,
        records: 0,
        received: arrival.received,
        sampling_rate: 0,
    };
    templates.cache.prepare(message.scope, &seen);
    let outcome = sets::decode(templates, &message, each);
    // The number counts data records (section 3.1): how many there are in a set that could not be
    // read is not known, nor then the next number.
    seen.advance = outcome.is_whole().then_some(outcome.exported);
    seen.records = outcome.records;
    let account = templates.cache.account(message.scope, seen).unwrap_or_default();
    let mut datagram = outcome.datagram("ipfix");
    datagram.account(account);
    datagram.clock_unset = !set;
    let read = match outcome.error() {
        Some(reason) => Err(Undecoded { reason, datagram }),
        None => Ok(datagram),
    };
    Ok((rest, read))
}

struct Header {
    length: u16,
    seconds: u32,
    sequence: u32,
    domain: u32,
}

fn header(input: &[u8]) -> IResult<&[u8], Header> {
    let (rest, (_version, length, seconds, sequence, domain)) =
        (be_u16, be_u16, be_u32, be_u32, be_u32).parse(input)?;
    Ok((rest, Header { length, seconds, sequence, domain }))
}
