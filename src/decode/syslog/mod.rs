//! Syslog: RFC 5424, and RFC 3164 as devices send it.
//!
//! [`header`] is what the hot path needs of every message; [`decode`] writes everything into
//! [`Fields`] for a hit, for `decode`, or for a rule that needs a field.
//!
//! A header is RFC 5424 (`rfc5424`), or a stamp and what surrounds it (`rfc3164`), or nothing but a
//! body that names itself (`body`). Bodies are CEF, LEEF, JSON and key=value, a file each, and those
//! of a few products (`body_…`). Whatever the dialect, the names of values meet in `vocabulary`,
//! which knows that `srcip`, `SRC` and `c-ip` are all `source.ip`.

mod access;
mod body;
mod cef;
mod cisco;
mod haproxy;
mod json;
mod kv;
mod leef;
mod linux;
mod priority;
mod rfc3164;
mod rfc5424;
mod squid;
mod stamp;
mod vocabulary;
mod weberror;

use super::{FieldId, Fields, Span, Value};
use crate::input::Nanos;
use jiff::tz::TimeZone;
use nom::IResult;
use nom::error::{Error, ErrorKind};
use std::borrow::Cow;
use vocabulary::Names;

/// What a message looks like; the name is the label `format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Shape {
    /// RFC 5424.
    Rfc5424,
    /// RFC 3164, or what calls itself that.
    #[default]
    Rfc3164,
    /// No header but perhaps a priority; a JSON object.
    Json,
    /// No header but perhaps a priority; ArcSight's Common Event Format.
    Cef,
    /// No header but perhaps a priority; QRadar's Log Event Extended Format.
    Leef,
    /// No header but perhaps a priority; key=value pairs.
    KeyValue,
    /// No header but perhaps a priority; a line of a web server's or proxy's access log.
    Access,
}

impl Shape {
    /// Every shape.
    pub const ALL: &[Shape] = &[
        Shape::Rfc5424,
        Shape::Rfc3164,
        Shape::Json,
        Shape::Cef,
        Shape::Leef,
        Shape::KeyValue,
        Shape::Access,
    ];

    /// The label `format`.
    pub fn name(self) -> &'static str {
        match self {
            Shape::Rfc5424 => "rfc5424",
            Shape::Rfc3164 => "rfc3164",
            Shape::Json => "json",
            Shape::Cef => "cef",
            Shape::Leef => "leef",
            Shape::KeyValue => "kv",
            Shape::Access => "access",
        }
    }
}

/// The parts of a header, as spans of the message. No two overlap, and [`Header::message`] lies
/// behind all others; Cisco puts the host before the stamp.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Header {
    /// What it looks like.
    pub shape: Shape,
    /// VERSION of RFC 5424.
    pub version: Option<u16>,
    /// PRI, 0 to 191, if present.
    pub priority: Option<u8>,
    /// The stamp as written.
    pub stamp: Option<Span>,
    /// HOSTNAME.
    pub host: Option<Span>,
    /// APP-NAME, or the tag.
    pub app: Option<Span>,
    /// PROCID, or what stands in brackets behind the tag.
    pub procid: Option<Span>,
    /// MSGID, or the mnemonic of Cisco, Huawei and H3C (`ASA-4-106023`).
    pub msgid: Option<Span>,
    /// STRUCTURED-DATA as written.
    pub structured_data: Option<Span>,
    /// MSG, without the BOM and without the line end or NUL that closes it.
    pub message: Span,
}

/// Why a message has no header; it is matched raw and kept. The name is the label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecodeError {
    /// No bytes, or white space only.
    Empty,
    /// Neither a priority nor a stamp nor a body that is known.
    NoHeader,
}

impl DecodeError {
    /// Every reason.
    pub const ALL: &[DecodeError] = &[DecodeError::Empty, DecodeError::NoHeader];

    /// The label `reason`.
    pub fn name(self) -> &'static str {
        match self {
            DecodeError::Empty => "empty",
            DecodeError::NoHeader => "no_header",
        }
    }
}

impl std::fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            DecodeError::Empty => "empty message",
            DecodeError::NoHeader => "no priority, no stamp and no body that is known",
        })
    }
}

impl std::error::Error for DecodeError {}

/// What a stamp without year or zone means.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The latest instant that the stamp may mean, less a day (INTERFACE: latest year not over 24 h after it).
    pub now: Nanos,
    /// The zone of stamps that carry none.
    pub timezone: TimeZone,
}

/// Reads the header of one message. Allocates nothing.
pub fn header(message: &[u8]) -> Result<Header, DecodeError> {
    let message = without_end(message);
    let start = octet_count(without_start(message));
    if start.is_empty() {
        return Err(DecodeError::Empty);
    }
    let (rest, priority) = priority::parse(start);
    let has_priority = rest.len() != start.len();
    let rest = without_start(rest);
    if rest.first().is_some_and(u8::is_ascii_digit)
        && let Some(header) = rfc5424::header(message, rest, priority)
        && (has_priority || (header.stamp.is_some() && header.shape == Shape::Rfc5424))
    {
        return Ok(header);
    }
    if let Some(after) = squid::sniff(rest) {
        let stamp = Some(span(message, rest, after));
        return Ok(Header { stamp, ..bare(message, after.trim_ascii_start(), Shape::Access, priority) });
    }
    if let Some(header) = rfc3164::header(message, rest, priority) {
        return Ok(header);
    }
    if access::sniff(rest) {
        return Ok(bare(message, rest, Shape::Access, priority));
    }
    if let Some((shape, text)) = body::sniff(rest, has_priority) {
        return Ok(bare(message, text, shape, priority));
    }
    if has_priority { Ok(rfc3164::untimed(message, rest, priority)) } else { Err(DecodeError::NoHeader) }
}

/// Decodes one message entirely into `out`, which it empties first: header, stamp, body.
///
/// Without a header, `out` has the whole as `message`. `@timestamp` is left unset if the message
/// tells no time.
pub fn decode(message: &[u8], reference: &Reference, out: &mut Fields) -> Result<Header, DecodeError> {
    out.clear();
    let result = header(message);
    let message = without_end(message);
    let Ok(header) = result else {
        if result != Err(DecodeError::Empty) {
            out.push(FieldId::Message, Value::Raw(span(message, message, &[])));
        }
        return result;
    };
    out.push(FieldId::Message, Value::Raw(header.message));
    priority::decode(header.priority, out);
    if let Some(version) = header.version {
        out.push(FieldId::SyslogVersion, Value::Unsigned(u64::from(version)));
    }
    named(&header, message, out);
    let mut names = Names::new(message, reference);
    if let Some(stamp) = header.stamp.and_then(|stamp| text_of(message, stamp)) {
        names.header_stamp(stamp);
    }
    if let Some(data) = header.structured_data {
        rfc5424::structured_data(message, data, out, |out, key, value| {
            names.also(out, key, value);
        });
    }
    body::decode(message, &header, &mut names, out);
    names.finish(&header, out);
    Ok(header)
}

/// Host, application, process and message id under the names of syslog and of ECS.
fn named(header: &Header, message: &[u8], out: &mut Fields) {
    if let Some(host) = header.host {
        out.push(FieldId::SyslogHostname, Value::Raw(host));
        out.push(FieldId::HostName, Value::Raw(host));
        if let Some(address) = text_of(message, host).and_then(vocabulary::address) {
            out.push(FieldId::HostIp, Value::Ip(address));
        }
    }
    if let Some(app) = header.app {
        out.push(FieldId::SyslogAppname, Value::Raw(app));
        out.push(FieldId::ProcessName, Value::Raw(app));
    }
    if let Some(procid) = header.procid {
        out.push(FieldId::SyslogProcid, Value::Raw(procid));
        if let Some(pid) = text_of(message, procid).and_then(vocabulary::number) {
            out.push(FieldId::ProcessPid, Value::Unsigned(pid));
        }
    }
    if let Some(msgid) = header.msgid {
        out.push(FieldId::SyslogMsgid, Value::Raw(msgid));
    }
}

/// Pairs of one message that become fields; a message of 64 KiB could hold thirty thousand, and an
/// index refuses objects of more than a thousand keys. The rest stays in `event.original`.
const PAIRS_MAX: usize = 512;

fn bare(message: &[u8], text: &[u8], shape: Shape, priority: Option<u8>) -> Header {
    Header { shape, priority, message: span(message, text, &[]), ..Header::default() }
}

/// The line end or NUL that closes a message is framing that the transport left.
fn without_end(message: &[u8]) -> &[u8] {
    // A span has 32 bits.
    let mut message = message.get(..u32::MAX as usize).unwrap_or(message);
    while let [head @ .., b'\n' | b'\r' | b'\0'] = message {
        message = head;
    }
    message
}

fn without_start(message: &[u8]) -> &[u8] {
    message.strip_prefix(b"\xef\xbb\xbf").unwrap_or(message).trim_ascii_start()
}

/// Skips the octet count of a stream that was captured or sent as datagrams.
fn octet_count(message: &[u8]) -> &[u8] {
    if !message.first().is_some_and(u8::is_ascii_digit) {
        return message;
    }
    let digits = message.iter().take(COUNT_DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
    match message.get(digits..) {
        Some([b' ', rest @ ..]) if digits <= COUNT_DIGITS && rest.first() == Some(&b'<') => rest,
        _ => message,
    }
}

/// INTERFACE: octet counting is one to seven digits.
const COUNT_DIGITS: usize = 7;

/// The span from where `from` begins to where `to` begins; both are tails of `message`.
fn span(message: &[u8], from: &[u8], to: &[u8]) -> Span {
    let offset = |tail: &[u8]| message.len().saturating_sub(tail.len()) as u32;
    Span { start: offset(from), end: offset(to) }
}

fn text_of(message: &[u8], span: Span) -> Option<&[u8]> {
    message.get(span.start as usize..span.end as usize)
}

/// Text as a value: a span if it lies in the message, else copied.
fn value(message: &[u8], text: &Cow<'_, [u8]>, out: &mut Fields) -> Value {
    if let Cow::Borrowed(slice) = text {
        let offset = (slice.as_ptr() as usize).wrapping_sub(message.as_ptr() as usize);
        if offset.checked_add(slice.len()).is_some_and(|end| end <= message.len()) {
            return Value::Raw(Span { start: offset as u32, end: (offset + slice.len()) as u32 });
        }
    }
    out.text(text)
}

fn fail<T>(input: &[u8]) -> IResult<&[u8], T> {
    Err(nom::Err::Error(Error::new(input, ErrorKind::Verify)))
}
