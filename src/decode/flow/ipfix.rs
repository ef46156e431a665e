//! IPFIX (RFC 7011): the message header; its sets are read in [`sets`].

use super::cache::{Cache, ExporterKey, Scope};
use super::clock::{Clock, SECOND};
use super::sets::{self, Message};
use super::template::Spec;
use super::{Datagram, DecodeError, Flow, Record};
use crate::input::Nanos;
use nom::number::complete::{be_u16, be_u32};
use nom::{IResult, Parser};
use std::net::SocketAddr;

/// Data records that may be missing in a row; a greater jump is a restart.
const REACH: u32 = 1 << 17;
const VERSION: u16 = 10;
const HEADER: usize = 16;

/// Decodes one datagram: one message, or several in a row as some relays pack them.
pub(super) fn decode(
    cache: &mut Cache,
    specs: &mut Vec<Spec>,
    datagram: &[u8],
    exporter: SocketAddr,
    each: &mut impl FnMut(Record<'_>),
) -> Result<Datagram, DecodeError> {
    let (mut rest, mut whole) = decode_message(cache, specs, datagram, exporter, each)?;
    while rest.len() >= HEADER && rest.starts_with(&VERSION.to_be_bytes()) {
        let Ok((after, message)) = decode_message(cache, specs, rest, exporter, each) else { break };
        rest = after;
        whole.records += message.records;
        whole.sets += message.sets;
        whole.missing_templates += message.missing_templates;
        whole.sequence_gap += message.sequence_gap;
        whole.sequence_late += message.sequence_late;
        whole.truncated |= message.truncated;
    }
    Ok(whole)
}

/// Decodes the message that the input begins with; gives what follows it.
fn decode_message<'a>(
    cache: &mut Cache,
    specs: &mut Vec<Spec>,
    input: &'a [u8],
    exporter: SocketAddr,
    each: &mut impl FnMut(Record<'_>),
) -> Result<(&'a [u8], Datagram), DecodeError> {
    let (body, header) = header(input).map_err(|_| DecodeError::Truncated)?;
    let length = usize::from(header.length).checked_sub(HEADER).ok_or(DecodeError::Malformed)?;
    let (body, rest) = body.split_at_checked(length).unwrap_or((body, &[]));
    let exported = Nanos::from(header.seconds) * SECOND;
    let message = Message {
        scope: Scope {
            exporter: ExporterKey { address: exporter.ip(), version: 10 },
            session: exporter.port(),
            domain: header.domain,
        },
        clock: Clock { exported, uptime: None, boot: None },
        base: Flow { exporter: exporter.ip(), domain: header.domain, version: 10, ..Flow::default() },
        body,
        truncated: body.len() < length,
    };
    let outcome = sets::decode(cache, specs, &message, each);
    // The number counts data records (section 3.1): how many there are in a set that could not be
    // read is not known, nor then the next number.
    let advance = match &outcome {
        Ok(outcome) if outcome.missing_templates == 0 && !outcome.truncated => Some(outcome.exported),
        _ => None,
    };
    let account = match cache.sequence(message.scope) {
        Some(sequence) => sequence.account(header.sequence, advance, None, REACH),
        None => Default::default(),
    };
    let outcome = outcome?;
    let datagram = Datagram {
        format: "ipfix",
        records: outcome.records,
        sets: outcome.sets,
        missing_templates: outcome.missing_templates,
        sequence_gap: account.skipped,
        sequence_late: account.late,
        truncated: outcome.truncated,
    };
    Ok((rest, datagram))
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
