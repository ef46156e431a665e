//! NetFlow v9 (RFC 3954): the header; its sets are read in [`sets`].

use super::cache::{Cache, ExporterKey, Scope};
use super::clock::{Clock, SECOND};
use super::sets::{self, Message};
use super::template::Spec;
use super::{Datagram, DecodeError, Flow, Record};
use crate::input::Nanos;
use nom::number::complete::{be_u16, be_u32};
use nom::{IResult, Parser};
use std::net::SocketAddr;

/// Packets that may be missing in a row; a greater jump is a restart.
const REACH: u32 = 4096;

/// Decodes one datagram.
pub(super) fn decode(
    cache: &mut Cache,
    specs: &mut Vec<Spec>,
    datagram: &[u8],
    exporter: SocketAddr,
    each: &mut impl FnMut(Record<'_>),
) -> Result<Datagram, DecodeError> {
    let (body, header) = header(datagram).map_err(|_| DecodeError::Truncated)?;
    let exported = Nanos::from(header.seconds) * SECOND;
    let message = Message {
        scope: Scope {
            exporter: ExporterKey { address: exporter.ip(), version: 9 },
            session: 0,
            domain: header.source_id,
        },
        clock: Clock { exported, uptime: Some(header.uptime), boot: None },
        base: Flow { exporter: exporter.ip(), domain: header.source_id, version: 9, ..Flow::default() },
        body,
        truncated: false,
    };
    let outcome = sets::decode(cache, specs, &message, each);
    // The number counts packets, so that one which could not be read has its place too.
    let account = match cache.sequence(message.scope) {
        Some(sequence) => sequence.account(header.sequence, Some(1), Some(header.uptime), REACH),
        None => Default::default(),
    };
    let outcome = outcome?;
    Ok(Datagram {
        format: "netflow9",
        records: outcome.records,
        sets: outcome.sets,
        missing_templates: outcome.missing_templates,
        sequence_gap: account.skipped,
        sequence_late: account.late,
        truncated: outcome.truncated,
    })
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
