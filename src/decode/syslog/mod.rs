//! Syslog: RFC 5424, and RFC 3164 as devices send it.
//!
//! [`shape`] is what the hot path needs of every message: what it is counted as. For a hit,
//! [`header`] finds the parts of the header; [`decode`] writes everything into [`Fields`] for a hit,
//! for `decode`, or for a rule that needs a field.
//!
//! A header is RFC 5424 (`rfc5424`), or a stamp and what surrounds it (`rfc3164`), or nothing but a
//! body that names itself (`body`). Bodies that name their values are CEF, LEEF, JSON, XML and
//! key=value, a file each; those of a few products have decoders of their own; what nobody wrote one
//! for is read by pairs, `columns` and `sentence`s. Whatever the dialect, the names of values meet in
//! `vocabulary`, which knows that `srcip`, `SRC` and `c-ip` are all `source.ip`.

mod access;
mod body;
mod cef;
mod cisco;
mod columns;
mod dns;
mod haproxy;
mod journal;
mod json;
mod kv;
mod leef;
mod linux;
mod priority;
mod rfc3164;
mod rfc5424;
mod sentence;
mod squid;
mod stamp;
mod vocabulary;
mod weberror;
mod windows;
mod xml;

use super::{FieldId, Fields, Span, Value};
use crate::input::Nanos;
use jiff::tz::TimeZone;
use nom::IResult;
use nom::error::{Error, ErrorKind};
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
    /// No header but perhaps a priority; columns in an order that a product is known for.
    Columns,
    /// An entry of systemd's journal, as exported.
    Journal,
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
        Shape::Columns,
        Shape::Journal,
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
            Shape::Columns => "columns",
            Shape::Journal => "journal",
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

/// What [`header`] would find the message to be, without reading more of it than that takes.
///
/// The headers that most senders write tell by their first bytes; the others are read whole.
pub fn shape(message: &[u8]) -> Result<Shape, DecodeError> {
    match common_shape(message) {
        Some(shape) => Ok(shape),
        None => header(message).map(|header| header.shape),
    }
}

/// The shape of a message with a priority and a stamp of the usual forms.
#[inline]
fn common_shape(message: &[u8]) -> Option<Shape> {
    let rest = priority::common(message)?;
    if rfc5424::is_common(rest) {
        return Some(Shape::Rfc5424);
    }
    rfc3164::is_common(rest).then_some(Shape::Rfc3164)
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
    if crate::input::journal::begins(rest).is_some() {
        return Ok(bare(message, rest, Shape::Journal, priority));
    }
    if let Some(after) = squid::sniff(rest) {
        let stamp = Some(span(message, rest, after));
        return Ok(Header { stamp, ..bare(message, after.trim_ascii_start(), Shape::Access, priority) });
    }
    if let Some(after) = columns::sniff_w3c(rest) {
        let stamp = Some(span(message, rest, after));
        return Ok(Header { stamp, ..bare(message, after.trim_ascii_start(), Shape::Access, priority) });
    }
    if let Some(header) = rfc3164::header(message, rest, priority) {
        return Ok(header);
    }
    if columns::sniff(rest) {
        return Ok(bare(message, rest, Shape::Columns, priority));
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
/// Without a header, `out` has the whole as `message`, and what its body tells. `@timestamp` is left unset if the message
/// tells no time.
pub fn decode(message: &[u8], reference: &Reference, out: &mut Fields) -> Result<Header, DecodeError> {
    decode_bodies(message, reference, Bodies::All, out)
}

/// Which decoders of bodies [`decode_bodies`] asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bodies {
    /// All.
    All,
    /// Those that know no vendor and no program: CEF, LEEF, JSON, key=value, sentences. Shows what is
    /// read of products that nobody has written a decoder for.
    Generic,
}

/// The same as [`decode`], with some decoders of bodies only.
pub fn decode_bodies(
    message: &[u8],
    reference: &Reference,
    bodies: Bodies,
    out: &mut Fields,
) -> Result<Header, DecodeError> {
    out.clear();
    let result = header(message);
    let message = without_end(message);
    let Ok(header) = result else {
        if result != Err(DecodeError::Empty) {
            // What is said without a header is read all the same.
            let whole = Header { message: span(message, message, &[]), ..Header::default() };
            out.push(FieldId::Message, Value::Raw(whole.message));
            let mut names = Names::new(message, reference, bodies);
            body::decode(message, &whole, &mut names, out);
            out.set(FieldId::Message, Value::Raw(whole.message));
            names.finish(&whole, out);
        }
        return result;
    };
    // RFC 5424: `[SP MSG]`; what is not there is no empty message.
    if header.message.start < header.message.end || header.shape != Shape::Rfc5424 {
        out.push(FieldId::Message, Value::Raw(header.message));
    }
    priority::decode(header.priority, out);
    if let Some(version) = header.version {
        out.push(FieldId::SyslogVersion, Value::Unsigned(u64::from(version)));
    }
    named(&header, message, out);
    let mut names = Names::new(message, reference, bodies);
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

/// The longest name of a pair that is kept; joined names of nested objects count whole. No device comes
/// near it; what is longer is a text that stands where a name would.
const NAME_MAX: usize = 256;

/// Bytes of names and values that may be copied for one message, where they are no spans of it: its
/// own text unescaped, and once more as what a carried body says.
fn copied_max(message: &[u8]) -> usize {
    2 * message.len() + 16 * 1024
}

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
    let start = message.strip_prefix(b"\xef\xbb\xbf").unwrap_or(message).trim_ascii_start();
    // RFC 7464, JSON text sequences, puts a record separator before each text.
    start.strip_prefix(b"\x1e").unwrap_or(start)
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
fn value(message: &[u8], text: &[u8], out: &mut Fields) -> Value {
    let offset = (text.as_ptr() as usize).wrapping_sub(message.as_ptr() as usize);
    match offset.checked_add(text.len()) {
        Some(end) if end <= message.len() => Value::Raw(Span { start: offset as u32, end: end as u32 }),
        _ => out.text(text),
    }
}

/// One byte.
fn byte(input: &[u8], wanted: u8) -> IResult<&[u8], u8> {
    match input.split_first() {
        Some((first, rest)) if *first == wanted => Ok((rest, wanted)),
        _ => fail(input),
    }
}

/// One byte of several.
fn one_byte<'a>(input: &'a [u8], wanted: &[u8]) -> IResult<&'a [u8], u8> {
    match input.split_first() {
        Some((first, rest)) if wanted.contains(first) => Ok((rest, *first)),
        _ => fail(input),
    }
}

/// The rest, and the digits before it.
fn digits(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(input.len());
    let (digits, rest) = input.split_at(end);
    (rest, digits)
}

fn fail<T>(input: &[u8]) -> IResult<&[u8], T> {
    Err(nom::Err::Error(Error::new(input, ErrorKind::Verify)))
}

#[cfg(test)]
mod tests {
    use super::super::ecs;
    use super::*;
    use serde_json::{Map, Value as Json};

    fn reference() -> Reference {
        // 2026-11-21T13:00:00Z
        Reference { now: 1_795_266_000_000_000_000, timezone: TimeZone::UTC }
    }

    fn words(message: &[u8], header: &Header) -> [Option<String>; 5] {
        [header.stamp, header.host, header.app, header.procid, header.msgid].map(|span| {
            span.map(|span| String::from_utf8_lossy(text_of(message, span).unwrap_or_default()).into_owned())
        })
    }

    /// Name, line, shape, and what stands for priority, stamp, host, app, process, id, message.
    type Case = (&'static str, &'static str, &'static str, Option<u8>, [&'static str; 5], &'static str);

    #[rustfmt::skip]
    const HEADERS: &[Case] = &[
        ("rfc 5424", "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog 12 ID47 [a@1 b=\"c\"] An event", "rfc5424", Some(165), ["2003-10-11T22:14:15.003Z", "mymachine.example.com", "evntslog", "12", "ID47"], "An event"),
        ("nil values", "<34>1 - - - - - -", "rfc5424", Some(34), ["", "", "", "", ""], ""),
        ("bom", "<34>1 - h a - - - \u{feff}caf\u{e9}", "rfc5424", Some(34), ["", "h", "a", "", ""], "caf\u{e9}"),
        ("two elements", "<34>1 - h a - - [a x=\"]\\\"\"][b] text", "rfc5424", Some(34), ["", "h", "a", "", ""], "text"),
        ("broken element", "<34>1 - h a - - [a x=\"1] text", "rfc5424", Some(34), ["", "h", "a", "", ""], "[a x=\"1] text"),
        ("check point", "<134>1 2020-03-29T13:19:20Z gw CheckPoint 1930 - [flags:\"1\"; a:\"b\"]", "rfc5424", Some(134), ["2020-03-29T13:19:20Z", "gw", "CheckPoint", "1930", ""], "[flags:\"1\"; a:\"b\"]"),
        ("cyberark", "<5>1 2021-03-08T18:24:49Z VAULT {\"a\":1}", "rfc5424", Some(5), ["2021-03-08T18:24:49Z", "VAULT", "", "", ""], "{\"a\":1}"),
        ("tag and sentence", "<165>1 2021-03-08T18:24:49Z h DriveArray: Smart Array - Drive is failed", "rfc5424", Some(165), ["2021-03-08T18:24:49Z", "h", "DriveArray", "", ""], "Smart Array - Drive is failed"),
        ("without priority", "1 2021-10-19T10:20:40+02:00 h app - - - text", "rfc5424", None, ["2021-10-19T10:20:40+02:00", "h", "app", "", ""], "text"),
        ("meraki", "<134>1 1647478988.289402144 MX84 flows allow src=10.0.2.170", "rfc3164", Some(134), ["1647478988.289402144", "MX84", "flows", "", ""], "allow src=10.0.2.170"),
        ("rfc 3164", "<34>Oct 11 22:14:15 mymachine su: 'su root' failed", "rfc3164", Some(34), ["Oct 11 22:14:15", "mymachine", "su", "", ""], "'su root' failed"),
        ("process id", "<85>Jan 24 15:50:41 h sudo[6040]: text", "rfc3164", Some(85), ["Jan 24 15:50:41", "h", "sudo", "6040", ""], "text"),
        ("without priority", "Jun 14 15:16:01 combo sshd(pam_unix)[19939]: text", "rfc3164", None, ["Jun 14 15:16:01", "combo", "sshd(pam_unix)", "19939", ""], "text"),
        ("without host", "<190>Jul  4 09:39:40 dhcpd[64305]: text", "rfc3164", Some(190), ["Jul  4 09:39:40", "", "dhcpd", "64305", ""], "text"),
        ("without host nor pid", "<30>Oct 11 22:14:15 dnsmasq: text", "rfc3164", Some(30), ["Oct 11 22:14:15", "", "dnsmasq", "", ""], "text"),
        ("without tag", "<30>Oct 11 22:14:15 host something happened here", "rfc3164", Some(30), ["Oct 11 22:14:15", "host", "", "", ""], "something happened here"),
        ("sentence", "<30>Oct 11 22:14:15 Failed password for root from 10.0.0.1", "rfc3164", Some(30), ["Oct 11 22:14:15", "", "", "", ""], "Failed password for root from 10.0.0.1"),
        ("capitalised host", "<30>Oct 11 22:14:15 Gateway kernel: text", "rfc3164", Some(30), ["Oct 11 22:14:15", "Gateway", "kernel", "", ""], "text"),
        ("unknown host in brackets", "Dec 11 2018 08:01:24 <IP>: %ASA-6-302015: Built", "rfc3164", None, ["Dec 11 2018 08:01:24", "<IP>", "", "", "ASA-6-302015"], "Built"),
        ("pan-os", "1,2021/10/25 20:25:39,,CONFIG,0", "columns", None, ["", "", "", "", ""], "1,2021/10/25 20:25:39,,CONFIG,0"),
        ("month/day", "09/04-21:45:37.536335 ,1,1000006,0,x", "rfc3164", None, ["09/04-21:45:37.536335", "", "", "", ""], ",1,1000006,0,x"),
        ("iis", "2018-12-31 12:02:53 10.44.0.136 GET / - 80 - 10.50.6.188 x 200 0 0 1", "access", None, ["2018-12-31 12:02:53", "", "", "", ""], "10.44.0.136 GET / - 80 - 10.50.6.188 x 200 0 0 1"),
        ("priority only", "<13>just some words", "rfc3164", Some(13), ["", "", "", "", ""], "just some words"),
        ("priority and tag", "<35>PAM-tacplus[12023]: auth failed", "rfc3164", Some(35), ["", "", "PAM-tacplus", "12023", ""], "auth failed"),
        ("doubled priority", "<13><134>Oct 11 22:14:15 h a: text", "rfc3164", Some(134), ["Oct 11 22:14:15", "h", "a", "", ""], "text"),
        ("zeros", "<0034>Oct 11 22:14:15 h a: text", "rfc3164", Some(34), ["Oct 11 22:14:15", "h", "a", "", ""], "text"),
        ("over 191", "<999>Oct 11 22:14:15 h a: text", "rfc3164", None, ["Oct 11 22:14:15", "h", "a", "", ""], "text"),
        ("octet count", "48 <34>Oct 11 22:14:15 h a: text", "rfc3164", Some(34), ["Oct 11 22:14:15", "h", "a", "", ""], "text"),
        ("iso stamp", "<13>2026-07-23T09:30:45.123+02:00 host daemon: text", "rfc3164", Some(13), ["2026-07-23T09:30:45.123+02:00", "host", "daemon", "", ""], "text"),
        ("iso stamp with blanks", "<129>2023-03-09 13:56:18.404 +0100  barracuda NF ALER", "rfc3164", Some(129), ["2023-03-09 13:56:18.404 +0100", "barracuda", "", "", ""], "NF ALER"),
        ("address in brackets", "<114>Dec 31 12:01:04 [175.16.199.1] ZscalerNSS: lost", "rfc3164", Some(114), ["Dec 31 12:01:04", "175.16.199.1", "ZscalerNSS", "", ""], "lost"),
        ("ipv6 host", "<13>Oct 11 22:14:15 2001:db8::1 app: text", "rfc3164", Some(13), ["Oct 11 22:14:15", "2001:db8::1", "app", "", ""], "text"),
        ("path as tag", "<78>Oct 11 22:14:15 /usr/sbin/cron[99]: (root) CMD", "rfc3164", Some(78), ["Oct 11 22:14:15", "", "/usr/sbin/cron", "99", ""], "(root) CMD"),
        ("tag with version", "Jun 14 15:16:01 combo syslogd 1.4.1: restart.", "rfc3164", None, ["Jun 14 15:16:01", "combo", "syslogd 1.4.1", "", ""], "restart."),
        ("tag with blanks", "Dec 13 11:35:28 mac Google Chrome[123]: text", "rfc3164", None, ["Dec 13 11:35:28", "mac", "Google Chrome", "123", ""], "text"),
        ("macos subject", "Dec 13 11:38:45 mac launchd[1] (com.apple.x[21]): text", "rfc3164", None, ["Dec 13 11:38:45", "mac", "launchd", "1", "com.apple.x[21]"], "text"),
        ("macos repeated", "Dec 13 11:38:45 --- last message repeated 1 time ---", "rfc3164", None, ["Dec 13 11:38:45", "", "", "", ""], "--- last message repeated 1 time ---"),
        ("repeated", "<5>Dec 13 11:38:45 last message repeated 3 times", "rfc3164", Some(5), ["Dec 13 11:38:45", "", "", "", ""], "last message repeated 3 times"),
        ("ios", "<189>2360957: Jan  6 2022 20:52:12.861: %SYS-5-CONFIG_I: Configured", "rfc3164", Some(189), ["Jan  6 2022 20:52:12.861", "", "", "", "SYS-5-CONFIG_I"], "Configured"),
        ("ios with host", "<190>2361044: sw01: Jan 16 2022 22:11:43 AEST: %FOO-6-BAR: Test", "rfc3164", Some(190), ["Jan 16 2022 22:11:43 AEST", "sw01", "", "", "FOO-6-BAR"], "Test"),
        ("ios unsynchronised", "<166>4711: h: 6340004: *Mar  1 18:46:11: %SEC-6-IPACCESSLOGP: list", "rfc3164", Some(166), ["Mar  1 18:46:11", "h", "", "", "SEC-6-IPACCESSLOGP"], "list"),
        ("ios uptime", "<165>7433: ASR920: 007439: 2y10w: %SEC_LOGIN-5-LOGIN_SUCCESS: ok", "rfc3164", Some(165), ["2y10w", "ASR920", "", "", "SEC_LOGIN-5-LOGIN_SUCCESS"], "ok"),
        ("ios uptime in hours", "<166>00:01:01: %SYSMGR-STANDBY-3-SHUTDOWN_START: ok", "rfc3164", Some(166), ["00:01:01", "", "", "", "SYSMGR-STANDBY-3-SHUTDOWN_START"], "ok"),
        ("ios xr", "<166>RP/0/RSP0/CPU0:Nov 21 13:00:05: config[65539]: %MGBL-SYS-5-CONFIG_I : ok", "rfc3164", Some(166), ["Nov 21 13:00:05", "RP/0/RSP0/CPU0", "config", "65539", "MGBL-SYS-5-CONFIG_I"], "ok"),
        ("nx-os", "<189>: 2023 May  2 12:57:15 UTC: %ETHPORT-5-IF_DOWN: down", "rfc3164", Some(189), ["2023 May  2 12:57:15 UTC", "", "", "", "ETHPORT-5-IF_DOWN"], "down"),
        ("nx-os behind a relay", "<189>May  2 15:21:27 10.100.0.33 : 2023 May  2 15:21:27.206 UTC: %AUTHPRIV-5-SYSTEM_MSG: ok", "rfc3164", Some(189), ["2023 May  2 15:21:27.206 UTC", "10.100.0.33", "", "", "AUTHPRIV-5-SYSTEM_MSG"], "ok"),
        ("wireless controller", "<132>WLC001: *dtlArpTask: Sep 06 22:42:10.514: %DTL-4-ARP: text", "rfc3164", Some(132), ["Sep 06 22:42:10.514", "WLC001", "dtlArpTask", "", "DTL-4-ARP"], "text"),
        ("asa", "<166>Apr 15 2013 09:36:50: %ASA-4-106023: Deny tcp", "rfc3164", Some(166), ["Apr 15 2013 09:36:50", "", "", "", "ASA-4-106023"], "Deny tcp"),
        ("asa with host", "<166>Apr 17 2020 14:08:08 FW-01 : %ASA-6-302016: Teardown", "rfc3164", Some(166), ["Apr 17 2020 14:08:08", "FW-01", "", "", "ASA-6-302016"], "Teardown"),
        ("asa behind a relay", "Oct 10 2018 12:34:56 localhost CiscoASA[999]: %ASA-4-113029: Group", "rfc3164", None, ["Oct 10 2018 12:34:56", "localhost", "CiscoASA", "999", "ASA-4-113029"], "Group"),
        ("host with colon", "<166>May  5 17:51:17 dev01: %FTD-6-302020: Built", "rfc3164", Some(166), ["May  5 17:51:17", "dev01", "", "", "FTD-6-302020"], "Built"),
        ("huawei", "<190>May 10 2013 09:55:31 HUAWEI %%01SHELL/5/LOGOUT(l)[4]:text", "rfc3164", Some(190), ["May 10 2013 09:55:31", "HUAWEI", "", "", "01SHELL/5/LOGOUT(l)"], "text"),
        ("f5", "<166>Nov 21 13:00:05 slot1/big notice tmsh[16322]: 01420002:5: AUDIT", "rfc3164", Some(166), ["Nov 21 13:00:05", "slot1/big", "tmsh", "16322", ""], "01420002:5: AUDIT"),
        ("facility before the host", "Jun 22 19:14:37 <local0.info> 81.2.69.144 text here", "rfc3164", None, ["Jun 22 19:14:37", "81.2.69.144", "", "", ""], "text here"),
        ("netscreen", "<134>ns5gt: NetScreen device_id=ns5gt  [Root]system: text", "rfc3164", Some(134), ["", "ns5gt", "", "", ""], "NetScreen device_id=ns5gt  [Root]system: text"),
        ("mikrotik", "<132>Nov 21 13:00:05 mt forward: in:ether1 out:bridge", "rfc3164", Some(132), ["Nov 21 13:00:05", "mt", "forward", "", ""], "in:ether1 out:bridge"),
        ("palo alto", "<14>Nov 30 16:09:33 PA-220 1,2021/11/11 15:42:44,007", "rfc3164", Some(14), ["Nov 30 16:09:33", "PA-220", "", "", ""], "1,2021/11/11 15:42:44,007"),
        ("palo alto without host", "Nov 30 16:09:08 1,2019/10/09 10:20:15,001", "rfc3164", None, ["Nov 30 16:09:08", "", "", "", ""], "1,2019/10/09 10:20:15,001"),
        ("sophos utm", "2019:04:08-11:21:55 galaxy ulogd[5009]: id=\"2002\"", "rfc3164", None, ["2019:04:08-11:21:55", "galaxy", "ulogd", "5009", ""], "id=\"2002\""),
        ("apache error", "[Sun Dec 04 04:47:44 2005] [notice] text", "rfc3164", None, ["Sun Dec 04 04:47:44 2005", "", "", "", ""], "[notice] text"),
        ("snare", "<14>Sep 22 23:08:01 WIN MSWinEventLog\t1\tSecurity", "rfc3164", Some(14), ["Sep 22 23:08:01", "WIN", "MSWinEventLog", "", ""], "1\tSecurity"),
        ("cef behind a name", "<134>Nov 21 13:00:05 h OPSWATPC CEF:0|a|b|c|d|e|f|", "rfc3164", Some(134), ["Nov 21 13:00:05", "h", "OPSWATPC", "", ""], "CEF:0|a|b|c|d|e|f|"),
        ("relayed rfc 5424", "Oct 19 10:20:40 pcs 1 2021-10-19T10:20:40+02:00 10.5.2.3 PulseSecure: - - - text", "rfc5424", None, ["2021-10-19T10:20:40+02:00", "pcs", "PulseSecure", "", ""], "text"),
        ("tag before a stamp", "<13>myapp: 2026-01-01 12:00:00 INFO started", "rfc3164", Some(13), ["", "", "myapp", "", ""], "2026-01-01 12:00:00 INFO started"),
        ("line end", "<34>Oct 11 22:14:15 h a: text\r\n\0", "rfc3164", Some(34), ["Oct 11 22:14:15", "h", "a", "", ""], "text"),
        ("fortigate", "<188>date=2020-04-23 time=12:17:48 srcip=10.0.0.1", "kv", Some(188), ["", "", "", "", ""], "date=2020-04-23 time=12:17:48 srcip=10.0.0.1"),
        ("bare pairs", "device=\"SFW\" date=2018-06-21", "kv", None, ["", "", "", "", ""], "device=\"SFW\" date=2018-06-21"),
        ("bare json", "{\"a\": 1}", "json", None, ["", "", "", "", ""], "{\"a\": 1}"),
        ("bare cef", "CEF:0|a|b|c|d|e|f|", "cef", None, ["", "", "", "", ""], "CEF:0|a|b|c|d|e|f|"),
        ("cef behind words", "Syslogdate Sysloghost CEF:0|a|b|c|d|e|f|", "cef", None, ["", "", "", "", ""], "CEF:0|a|b|c|d|e|f|"),
        ("bare leef", "LEEF:1.0|a|b|c|d|x=y", "leef", None, ["", "", "", "", ""], "LEEF:1.0|a|b|c|d|x=y"),
        ("access log", "::1 - - [26/Dec/2016:16:16:29 +0200] \"GET / HTTP/1.1\" 200 45", "access", None, ["", "", "", "", ""], "::1 - - [26/Dec/2016:16:16:29 +0200] \"GET / HTTP/1.1\" 200 45"),
        ("squid", "1157689312.049   5006 10.105.21.199 TCP_MISS/200 19763 CONNECT a:443 u DIRECT/1.2.3.4 -", "access", None, ["1157689312.049", "", "", "", ""], "5006 10.105.21.199 TCP_MISS/200 19763 CONNECT a:443 u DIRECT/1.2.3.4 -"),
    ];

    #[test]
    fn headers() {
        for (name, line, shape, priority, expected, text) in HEADERS {
            let message = line.as_bytes();
            let found = header(message).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(found.shape.name(), *shape, "{name}");
            assert_eq!(found.priority, *priority, "{name}");
            let expected = expected.map(|word| Some(word.to_owned()).filter(|word| !word.is_empty()));
            assert_eq!(words(message, &found), expected, "{name}");
            assert_eq!(text_of(message, found.message), Some(text.as_bytes()), "{name}");
        }
    }

    #[test]
    fn refused() {
        for (name, line, expected) in [
            ("nothing", "", DecodeError::Empty),
            ("blanks", " \r\n", DecodeError::Empty),
            ("words", "something happened", DecodeError::NoHeader),
            ("tag alone", "ntpd[1001]: kernel time sync enabled", DecodeError::NoHeader),
            ("one pair", "a=1", DecodeError::NoHeader),
            ("brace", "{not json", DecodeError::NoHeader),
        ] {
            assert_eq!(header(line.as_bytes()), Err(expected), "{name}");
        }
        let mut fields = Fields::default();
        assert_eq!(decode(b"something happened\n", &reference(), &mut fields), Err(DecodeError::NoHeader));
        let message =
            fields.find(FieldId::Message).map(|value| fields.bytes(b"something happened\n", value).to_vec());
        assert_eq!(message.as_deref(), Some(b"something happened".as_slice()));
    }

    fn decoded(line: &str) -> Json {
        let mut fields = Fields::default();
        let _ = decode(line.as_bytes(), &reference(), &mut fields);
        let mut out = Map::new();
        ecs::to_json(&fields, line.as_bytes(), &mut out);
        Json::Object(out)
    }

    /// Name, line, and values of its ECS form by JSON pointer.
    type Body = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

    #[rustfmt::skip]
    const BODIES: &[Body] = &[
        ("header", "<165>1 2003-10-11T22:14:15.003Z 192.0.2.1 evntslog 12 ID47 [a@1 b=\"c\\]\" src=\"10.0.0.9\"] An event", &[
            ("/@timestamp", "2003-10-11T22:14:15.003Z"), ("/log/syslog/facility/name", "local4"), ("/log/syslog/severity/name", "notice"),
            ("/log/syslog/version", "1"), ("/log/syslog/msgid", "ID47"), ("/host/name", "192.0.2.1"), ("/host/ip/0", "192.0.2.1"),
            ("/process/name", "evntslog"), ("/process/pid", "12"), ("/message", "An event"),
            ("/log/syslog/structured_data/a@1/b", "c]"), ("/source/ip", "10.0.0.9"), ("/log/syslog/structured_data/a@1/src", "10.0.0.9")]),
        ("year inferred", "<34>Dec 31 23:59:59 h a: x", &[("/@timestamp", "2025-12-31T23:59:59.000Z")]),
        ("fortigate", "<188>date=2020-04-23 time=12:17:48 devname=\"fw\" logid=\"0316013056\" eventtime=1587230269052907555 tz=\"-0500\" user=\"u\" srcip=192.168.2.1 srcport=61930 dstip=67.43.156.13 dstport=443 proto=6 service=\"HTTPS\" hostname=\"elastic.co\" url=\"/config/?a=b\" action=\"blocked\" sentbyte=1152 msg=\"denied\" crlevel=\"high\"", &[
            ("/@timestamp", "2020-04-23T17:17:48.000Z"), ("/source/ip", "192.168.2.1"), ("/source/port", "61930"), ("/destination/ip", "67.43.156.13"),
            ("/destination/port", "443"), ("/network/transport", "tcp"), ("/network/iana_number", "6"), ("/url/domain", "elastic.co"),
            ("/url/path", "/config/"), ("/url/query", "a=b"), ("/event/action", "blocked"), ("/source/bytes", "1152"), ("/message", "denied"),
            ("/kv/crlevel", "high"), ("/kv/service", "HTTPS"), ("/user/name", "u"), ("/observer/name", "fw")]),
        ("iptables", "<4>Oct 10 07:25:12 h kernel: [12.3] [wan-D]IN=eth0 OUT= MAC=90:10:20:76:8d:20:90:10:65:29:b6:2a:08:00 SRC=67.43.156.15 DST=10.4.0.5 LEN=52 PROTO=TCP SPT=38842 DPT=443", &[
            ("/source/ip", "67.43.156.15"), ("/destination/ip", "10.4.0.5"), ("/source/port", "38842"), ("/destination/port", "443"),
            ("/network/transport", "tcp"), ("/observer/ingress/interface/name", "eth0"), ("/process/name", "kernel"), ("/kv/LEN", "52")]),
        ("sonicwall", "<134>id=firewall sn=0040 time=\"2022-05-16 08:19:21\" fw=10.0.0.96 src=10.0.0.96:54606:X1 dst=1.1.1.1:53:X3 proto=udp/dns", &[
            ("/@timestamp", "2022-05-16T08:19:21.000Z"), ("/source/ip", "10.0.0.96"), ("/source/port", "54606"), ("/destination/port", "53"),
            ("/network/transport", "udp"), ("/network/protocol", "dns"), ("/observer/ip", "10.0.0.96")]),
        ("cef", "<134>Nov 21 13:00:05 h CEF:0|Vendor\\|x|Product|1.0|100|Name|10|src=10.0.0.192 spt=1232 dst=12.121.122.82 suser=CORP\\\\joe request=http://a.example/b?c\\=d fileHash=44D88612FEA8A8F36DE82E1278ABB02F in=5 msg=two\\nlines cs1=x y cs1Label=z", &[
            ("/observer/vendor", "Vendor|x"), ("/event/code", "100"), ("/event/severity", "10"), ("/source/ip", "10.0.0.192"), ("/source/user/name", "joe"),
            ("/user/domain", "CORP"), ("/url/original", "http://a.example/b?c=d"), ("/file/hash/md5", "44D88612FEA8A8F36DE82E1278ABB02F"),
            ("/source/bytes", "5"), ("/message", "two\nlines"), ("/cef/cs1", "x y"), ("/cef/version", "0")]),
        ("leef", "<134>Nov 21 13:00:05 h LEEF:2.0|Vendor|Product|1|Event|^|src=192.0.2.0^dst=172.50.123.1^srcPort=81^usrName=joe.black^sev=5", &[
            ("/source/ip", "192.0.2.0"), ("/source/port", "81"), ("/user/name", "joe.black"), ("/leef/sev", "5"), ("/event/code", "Event")]),
        ("json", "{\"timestamp\":\"2021-01-27T01:28:11.488362+0100\",\"src_ip\":\"175.16.199.1\",\"src_port\":80,\"proto\":\"TCP\",\"http\":{\"hostname\":\"a.example\",\"url\":\"/x?y\"},\"alert\":{\"gid\":1}}", &[
            ("/@timestamp", "2021-01-27T00:28:11.488362Z"), ("/source/ip", "175.16.199.1"), ("/source/port", "80"), ("/network/transport", "tcp"),
            ("/url/domain", "a.example"), ("/url/path", "/x"), ("/url/query", "y"), ("/json/alert.gid", "1")]),
        ("ecs json", "<13>Nov 21 13:00:05 relay filebeat: {\"@timestamp\":\"2026-01-02T03:04:05Z\",\"host\":{\"name\":\"web\"},\"source\":{\"ip\":\"10.0.0.1\"},\"file\":{\"hash\":{\"sha1\":\"da39a3ee5e6b4b0d3255bfef95601890afd80709\"}},\"message\":\"hi\"}", &[
            ("/@timestamp", "2026-01-02T03:04:05.000Z"), ("/source/ip", "10.0.0.1"), ("/message", "hi"), ("/host/name", "relay"),
            ("/file/hash/sha1", "da39a3ee5e6b4b0d3255bfef95601890afd80709")]),
        ("host and path apart", "{\"host\":\"a.example:8080\",\"uri\":\"/x\"}", &[("/url/domain", "a.example"), ("/url/path", "/x")]),
        ("host without path", "{\"host\":\"web1\",\"user\":\"x\"}", &[("/host/name", "web1")]),
        ("asa", "<166>Apr 15 2013 09:36:50: %ASA-4-106023: Deny tcp src dmz:10.1.2.30/63016 dst outside:192.168.0.8/53 by access-group", &[
            ("/source/ip", "10.1.2.30"), ("/source/port", "63016"), ("/destination/ip", "192.168.0.8"), ("/destination/port", "53"),
            ("/network/transport", "tcp"), ("/event/code", "106023"), ("/event/severity", "4"), ("/event/action", "deny")]),
        ("asa outbound", "<166>Apr 15 2013 09:36:50: %ASA-6-302013: Built outbound TCP connection 1 for outside:192.0.2.1/443 (192.0.2.1/443) to inside:10.0.0.1/4952 (10.123.3.42/12834)", &[
            ("/source/ip", "10.0.0.1"), ("/source/port", "4952"), ("/destination/ip", "192.0.2.1"), ("/destination/port", "443")]),
        ("sshd", "<38>Nov 21 13:00:05 h sshd[1]: Failed password for invalid user admin from 203.0.113.5 port 4711 ssh2", &[
            ("/source/ip", "203.0.113.5"), ("/source/port", "4711"), ("/user/name", "admin"), ("/event/outcome", "failure")]),
        ("pam", "<38>Nov 21 13:00:05 h sshd[1]: authentication failure; logname= uid=0 tty=ssh rhost=218.188.2.4 user=root", &[
            ("/source/ip", "218.188.2.4"), ("/user/name", "root")]),
        ("named", "<30>Nov 21 13:00:05 ns1 named[7]: client @0x7f 192.168.1.3#61568 (abc.com): query: abc.com IN A + (192.168.1.2)", &[
            ("/source/ip", "192.168.1.3"), ("/source/port", "61568"), ("/dns/question/name", "abc.com"), ("/dns/question/type", "A")]),
        ("combined", "vhost.example 192.0.2.2 - joe [26/Dec/2016:16:22:14 +0000] \"GET /hello?a HTTP/1.1\" 404 499 \"http://r/\" \"curl/8\"", &[
            ("/@timestamp", "2016-12-26T16:22:14.000Z"), ("/source/ip", "192.0.2.2"), ("/user/name", "joe"), ("/url/domain", "vhost.example"),
            ("/url/path", "/hello"), ("/url/query", "a"), ("/http/request/method", "GET"), ("/http/response/status_code", "404"), ("/user_agent/original", "curl/8")]),
        ("squid", "1157689312.049   5006 10.105.21.199 TCP_MISS/200 19763 GET http://a.example/b joe DIRECT/209.73.177.115 -", &[
            ("/@timestamp", "2006-09-08T04:21:52.049Z"), ("/source/ip", "10.105.21.199"), ("/destination/ip", "209.73.177.115"),
            ("/url/original", "http://a.example/b"), ("/user/name", "joe"), ("/http/response/status_code", "200")]),
        ("auditd", "type=ADD_GROUP msg=audit(1610903553.686:584): pid=2940 uid=0 msg='op=add acct=\"x\" exe=\"/usr/sbin/groupadd\" addr=127.0.0.1 res=success'", &[
            ("/@timestamp", "2021-01-17T17:12:33.686Z"), ("/process/pid", "2940"), ("/process/executable", "/usr/sbin/groupadd"), ("/source/ip", "127.0.0.1"),
            ("/event/outcome", "success"), ("/user/name", "x")]),
        ("asa translated", "<166>Apr 15 2013 09:36:50: %ASA-6-302013: Built outbound TCP connection 1 for outside:192.0.2.1/443 (192.0.2.1/443) to inside:10.0.0.1/4952 (198.51.100.7/12834)", &[
            ("/source/ip", "10.0.0.1"), ("/source/nat/ip", "198.51.100.7"), ("/source/nat/port", "12834"), ("/destination/ip", "192.0.2.1"),
            ("/observer/ingress/interface/name", "inside")]),
        ("asa vpn", "<166>Apr 15 2013 09:36:50: %ASA-6-722051: Group <G> User <joe> IP <192.0.2.9> IPv4 Address <10.0.0.1> assigned", &[
            ("/source/ip", "192.0.2.9"), ("/user/name", "joe"), ("/source/user/name", "joe")]),
        ("filterlog", "<134>Oct 11 22:14:15 fw filterlog[97530]: 146,,,1535324496,igb1.12,match,block,in,4,0x0,,63,12617,0,DF,6,tcp,60,10.170.12.50,192.0.2.1,49724,853,0,S,1891286705,,64240,,mss", &[
            ("/source/ip", "10.170.12.50"), ("/source/port", "49724"), ("/destination/ip", "192.0.2.1"), ("/destination/port", "853"),
            ("/network/transport", "tcp"), ("/event/action", "block"), ("/network/direction", "inbound"), ("/observer/ingress/interface/name", "igb1.12")]),
        ("filterlog ipv6", "<134>Oct 11 22:14:15 fw filterlog: 5,,,1000000003,em0,match,pass,out,6,0x00,0x00000,255,ICMPv6,58,32,2001:db8::1,2001:db8::2,", &[
            ("/source/ip", "2001:db8::1"), ("/destination/ip", "2001:db8::2"), ("/network/type", "ipv6")]),
        ("pan-os traffic", "<14>Nov 21 13:00:05 PA-220 1,2026/11/21 13:00:05,007051000184334,TRAFFIC,end,2561,2026/11/21 13:00:05,10.0.0.5,192.0.2.1,198.51.100.2,0.0.0.0,rule1,corp\\joe,,ssl,vsys1,LAN,WAN,ethernet1/2,ethernet1/1,log,2026/11/21 13:00:05,33288,1,49908,443,20077,0,0x1400000,tcp,allow,1200,700,500,9", &[
            ("/source/ip", "10.0.0.5"), ("/source/nat/ip", "198.51.100.2"), ("/source/nat/port", "20077"), ("/destination/ip", "192.0.2.1"),
            ("/source/port", "49908"), ("/destination/port", "443"), ("/rule/name", "rule1"), ("/source/user/name", "joe"), ("/network/application", "ssl"),
            ("/source/bytes", "700"), ("/event/action", "allow"), ("/host/name", "PA-220")]),
        ("pan-os url, without header", "1,2026/11/21 13:00:05,007051000184334,THREAT,url,2561,2026/11/21 13:00:05,10.0.0.5,192.0.2.1,,,rule1,,,web-browsing,vsys1,LAN,WAN,e1,e2,log,,1,1,49908,80,0,0,0x0,tcp,alert,\"evil.example/a,b\",(9999),malware", &[
            ("/@timestamp", "2026-11-21T13:00:05.000Z"), ("/url/original", "evil.example/a,b"), ("/url/domain", "evil.example"), ("/url/path", "/a,b")]),
        ("iis", "2018-12-31 12:02:53 10.44.0.136 GET /a/cmd.exe /c+dir 8080 CORP\\joe 10.50.6.188 Mozilla/4.0+(compatible) - 404 0 64 0", &[
            ("/@timestamp", "2018-12-31T12:02:53.000Z"), ("/source/ip", "10.50.6.188"), ("/destination/ip", "10.44.0.136"), ("/destination/port", "8080"),
            ("/url/path", "/a/cmd.exe"), ("/url/query", "/c+dir"), ("/user/name", "joe"), ("/user_agent/original", "Mozilla/4.0 (compatible)"),
            ("/http/response/status_code", "404"), ("/http/request/method", "GET")]),
        ("http.sys", "2018-05-05 05:05:55 203.0.113.9 12345 192.0.2.1 443 HTTP/1.1 GET /x 403 - Forbidden -", &[
            ("/source/ip", "203.0.113.9"), ("/source/port", "12345"), ("/destination/ip", "192.0.2.1"), ("/url/original", "/x"), ("/http/response/status_code", "403")]),
        ("microsoft dhcp", "30,09/20/21,09:16:15,DNS Update Request,172.28.43.169,pc7.example.com,0A1B2C3D4E5F,,0,6,,,,,,,,,0", &[
            ("/@timestamp", "2021-09-20T09:16:15.000Z"), ("/host/ip/0", "172.28.43.169"), ("/host/name", "pc7.example.com"), ("/source/mac", "0A-1B-2C-3D-4E-5F")]),
        ("snort", "<33>Nov 21 13:00:05 ids snort[12]: [1:2100498:7] GPL ATTACK id check [Classification: Bad Traffic] [Priority: 2] {TCP} 192.0.2.1:80 -> 10.0.0.1:1234", &[
            ("/rule/id", "2100498"), ("/rule/name", "GPL ATTACK id check"), ("/source/ip", "192.0.2.1"), ("/source/port", "80"), ("/destination/port", "1234"), ("/network/transport", "tcp")]),
        ("suricata fast", "08/10/2019-11:51:43.123456  [**] [1:2013028:4] ET POLICY curl [**] [Classification: x] [Priority: 1] {TCP} 10.0.0.1:51334 -> 192.0.2.1:80", &[
            ("/@timestamp", "2019-08-10T11:51:43.123456Z"), ("/rule/id", "2013028"), ("/source/ip", "10.0.0.1"), ("/destination/ip", "192.0.2.1")]),
        ("windows xml", "<13>Nov 21 13:00:05 relay agent: <Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='Microsoft-Windows-Security-Auditing'/><EventID>4625</EventID><Computer>dc1.example</Computer></System><EventData><Data Name='TargetUserName'>joe</Data><Data Name='IpAddress'>192.0.2.7</Data><Data Name='IpPort'>50123</Data><Data Name='NewProcessName'>C:\\Windows\\a.exe</Data></EventData></Event>", &[
            ("/event/code", "4625"), ("/event/provider", "Microsoft-Windows-Security-Auditing"), ("/source/ip", "192.0.2.7"), ("/source/port", "50123"),
            ("/destination/user/name", "joe"), ("/process/executable", "C:\\Windows\\a.exe")]),
        ("windows json", "<13>Nov 21 13:00:05 relay nxlog: {\"EventTime\":\"2026-11-21 12:59:58\",\"Hostname\":\"dc1\",\"EventID\":4624,\"IpAddress\":\"192.0.2.7\",\"Hashes\":\"MD5=44D88612FEA8A8F36DE82E1278ABB02F,IMPHASH=44D88612FEA8A8F36DE82E1278ABB02E\"}", &[
            ("/@timestamp", "2026-11-21T12:59:58.000Z"), ("/source/ip", "192.0.2.7"), ("/event/code", "4624"), ("/file/hash/md5", "44D88612FEA8A8F36DE82E1278ABB02F")]),
        ("a body's time beside the header's", "<13>2026-11-21T13:00:05Z relay nxlog: {\"EventTime\":\"2026-11-21 12:59:58\",\"a\":1}", &[
            ("/@timestamp", "2026-11-21T13:00:05.000Z"), ("/json/EventTime", "2026-11-21 12:59:58")]),
        ("snare", "<13>Nov 21 13:00:05 dc1 MSWinEventLog\t1\tSecurity\t7\tSat Nov 21 13:00:05 2026\t4625\tMicrosoft-Windows-Security-Auditing\tN/A\tN/A\tFailure Audit\tdc1.example\tLogon\t\tAn account failed to log on.    Subject:   Account Name:  -    Account For Which Logon Failed:   Account Name:  joe    Network Information:   Source Network Address: 192.0.2.7   Source Port:  50123", &[
            ("/event/code", "4625"), ("/user/name", "joe"), ("/source/ip", "192.0.2.7"), ("/source/port", "50123")]),
        ("postfix", "<22>Nov 21 13:00:05 mx postfix/smtpd[9]: 4F1: client=mail.example[192.0.2.8], sasl_username=joe", &[
            ("/source/ip", "192.0.2.8"), ("/source/domain", "mail.example")]),
        ("postfix, pairs behind a comma", "<22>Nov 21 13:00:05 mx postfix/smtpd[9]: NOQUEUE: client=mail.example[192.0.2.8], from=<a@evil.example> to=<b@example.org> proto=ESMTP", &[
            ("/source/ip", "192.0.2.8"), ("/email/from/address", "a@evil.example")]),
        ("postfix queue", "<22>Nov 21 13:00:05 mx postfix/smtp[9]: 4F1: to=<b@evil.example>, relay=mx.example[192.0.2.8]:25, delay=1, status=sent (250 ok)", &[
            ("/email/to/address", "b@evil.example"), ("/destination/ip", "192.0.2.8"), ("/destination/port", "25"), ("/destination/domain", "mx.example")]),
        ("windows dns", "6/5/2013 10:00:32 AM 0E70 PACKET  00000000033397A0 UDP Rcv 10.161.60.71    5b47   Q [0001   D   NOERROR] A      (4)evil(7)example(0)", &[
            ("/@timestamp", "2013-06-05T10:00:32.000Z"), ("/source/ip", "10.161.60.71"), ("/dns/question/name", "evil.example"), ("/dns/question/type", "A")]),
        ("coredns", "<30>Nov 21 13:00:05 k8s coredns: [INFO] 172.17.0.4:36413 - 21583 \"A IN evil.example. udp 43 false 512\" NXDOMAIN qr,rd,ra 136 0.0001s", &[
            ("/source/ip", "172.17.0.4"), ("/dns/question/name", "evil.example"), ("/network/transport", "udp")]),
        ("mikrotik", "<30>Nov 21 13:00:05 router firewall,info forward: in:bridge out:ether1, src-mac 00:1b:44:11:3a:b7, proto TCP (SYN), 10.0.0.1:51331->192.0.2.4:443, len 52", &[
            ("/source/ip", "10.0.0.1"), ("/source/port", "51331"), ("/destination/ip", "192.0.2.4"), ("/destination/port", "443"), ("/network/transport", "tcp")]),
        ("columns of nobody", "<134>Nov 21 13:00:05 fw ACT,7,deny,udp,10.0.0.1,192.0.2.4,5353,53,x", &[
            ("/source/ip", "10.0.0.1"), ("/source/port", "5353"), ("/destination/ip", "192.0.2.4"), ("/destination/port", "53"), ("/network/transport", "udp")]),
        ("pairs with blanks around the sign", "<134>Nov 21 13:00:05 fw vpn: Group = Staff, Username = joe, IP = 192.0.2.4, connected", &[
            ("/source/ip", "192.0.2.4"), ("/user/name", "joe")]),
        ("peers, inbound", "<134>Nov 21 13:00:05 h sep: Local Host IP: 10.0.0.1,Local Port: 445,Remote Host IP: 192.0.2.4,Remote Port: 50123,Inbound,TCP", &[
            ("/source/ip", "192.0.2.4"), ("/source/port", "50123"), ("/destination/ip", "10.0.0.1"), ("/destination/port", "445"), ("/network/transport", "tcp")]),
        ("operator", "<189>Nov 21 13:00:05 sw %SYS-5-CONFIG_I: Configured from console by admin on vty0 (192.0.2.4)", &[
            ("/source/ip", "192.0.2.4"), ("/user/name", "admin")]),
        ("user and host in one", "<134>Nov 21 13:00:05 esx Hostd: Event 12 : User root@192.0.2.4 logged in as x", &[
            ("/source/ip", "192.0.2.4"), ("/user/name", "root")]),
        ("huawei", "<190>Nov 21 2026 13:00:05 USG %%01SECLOG/6/SESSION(l):IPVer=4,Protocol=tcp,SourceIP=10.1.1.7,DestinationIP=192.0.2.4,SourcePort=50011,DestinationPort=443", &[
            ("/source/ip", "10.1.1.7"), ("/destination/ip", "192.0.2.4"), ("/destination/port", "443"), ("/network/transport", "tcp")]),
        ("proxysg", "<134>1 2026-11-21T12:00:05Z p proxy - - - 2026-11-21 12:00:05 123 10.1.1.7 joe - OBSERVED \"Technology\" http://ref/ 200 TCP_MISS GET text/html http evil.example 80 /a ?b=1 html \"Mozilla/5.0\" 10.2.2.2 400 300", &[
            ("/source/ip", "10.1.1.7"), ("/user/name", "joe"), ("/url/domain", "evil.example"), ("/url/path", "/a"), ("/url/query", "b=1"), ("/user_agent/original", "Mozilla/5.0")]),
        ("journald", "{\"__REALTIME_TIMESTAMP\":\"1795266005000000\",\"_HOSTNAME\":\"srv\",\"SYSLOG_IDENTIFIER\":\"sshd\",\"MESSAGE\":\"Failed password for root from 192.0.2.4 port 50000 ssh2\"}", &[
            ("/@timestamp", "2026-11-21T13:00:05.000Z"), ("/host/name", "srv"), ("/process/name", "sshd"), ("/source/ip", "192.0.2.4"), ("/user/name", "root")]),
        ("journald, what it does not take for text", "{\"__CURSOR\":\"s\",\"PRIORITY\":\"3\",\"SYSLOG_FACILITY\":\"10\",\"SYSLOG_PID\":\"7\",\"MESSAGE\":[27,91,109,83,82,67,61,49,57,50,46,48,46,50,46,52]}", &[
            ("/log/syslog/priority", "83"), ("/log/syslog/severity/name", "err"), ("/log/syslog/facility/name", "authpriv"),
            ("/log/syslog/procid", "7"), ("/message", "\u{1b}[mSRC=192.0.2.4"),
        ]),
        ("journald in a text sequence", "\u{1e}{\"__CURSOR\":\"s\",\"MESSAGE\":\"hello\"}", &[("/message", "hello")]),
        ("h3c", "<189>Nov 21 13:00:05 2026 fw %%10FILTER/6/ZONE: SrcZoneName(1025)=Trust;Protocol(1001)=TCP;SrcIPAddr(1003)=192.0.2.4;SrcPort(1004)=51234;DstIPAddr(1007)=10.0.0.1;DstPort(1008)=443;", &[
            ("/source/ip", "192.0.2.4"), ("/source/port", "51234"), ("/destination/ip", "10.0.0.1"), ("/network/transport", "tcp"),
        ]),
        ("h3c login", "<189>Nov 21 13:00:05 2026 sw %%10SHELL/5/SHELL_LOGIN: admin logged in from 192.0.2.4.", &[("/user/name", "admin"), ("/source/ip", "192.0.2.4")]),
        ("meraki", "<134>1 1795266005.017255 MX84 urls src=192.0.2.4:63735 dst=10.0.0.1:80 mac=58:1F:AA:CE:61:F2 request: GET https://a.example/b?c=d", &[
            ("/url/original", "https://a.example/b?c=d"), ("/http/request/method", "GET"), ("/url/domain", "a.example"),
        ]),
        ("netscaler", "<134> 11/21/2026:13:00:05 GMT ns1 0-PPE-0 : default TCP CONN_DELINK 12346 0 :  Source 192.0.2.4:51234 - Vserver 10.0.0.1:443 - NatIP 10.0.0.3:6001", &[
            ("/@timestamp", "2026-11-21T13:00:05.000Z"), ("/host/name", "ns1"), ("/source/ip", "192.0.2.4"), ("/destination/ip", "10.0.0.1"),
        ]),
        ("oracle", "<110>Nov 21 13:00:05 ora1 Oracle Audit[1234]: LENGTH : '160' ACTION :[7] 'CONNECT' DATABASE USER:[5] 'SCOTT' CLIENT ADDRESS:[55] '(ADDRESS=(PROTOCOL=tcp)(HOST=192.0.2.4)(PORT=51234))'", &[
            ("/user/name", "SCOTT"), ("/source/ip", "192.0.2.4"), ("/source/port", "51234"), ("/event/action", "CONNECT"),
        ]),
        ("stormshield", "id=firewall time=\"2026-11-21 13:00:05\" fw=\"fw1\" tz=+0100 src=192.0.2.4 dst=10.0.0.1 srcifname=\"in\"", &[
            ("/@timestamp", "2026-11-21T12:00:05.000Z"), ("/source/ip", "192.0.2.4"),
        ]),
        ("asterisk", "<14>Nov 21 13:00:05 pbx asterisk[999]: NOTICE[1234] chan_sip.c: Registration from '\"100\" <sip:100@10.0.0.1>' failed for '192.0.2.4:5060' - Wrong password", &[("/source/ip", "192.0.2.4")]),
        ("extreme", "<189>Nov 21 13:00:05 sw XOS: <Info:AAA.authPass> MSM-A: Login passed for user admin through telnet (192.0.2.4)", &[("/user/name", "admin"), ("/source/ip", "192.0.2.4")]),
        ("who connected, in brackets", "<22>Nov 21 13:00:05 mx inbound/pass1[1]: mail.example[192.0.2.4] 1795266005-0b1b RECV a@a.example b@b.example 2 62", &[("/source/ip", "192.0.2.4")]),
        ("an entry of a journal", "__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1795266005000000\nPRIORITY=6\n_PID=78\n_HOSTNAME=srv\n_COMM=sshd\nSYSLOG_IDENTIFIER=sshd\nMESSAGE=Failed password for root from 192.0.2.4 port 50000 ssh2\n_SYSTEMD_UNIT=ssh.service", &[
            ("/@timestamp", "2026-11-21T13:00:05.000Z"), ("/host/name", "srv"), ("/process/name", "sshd"), ("/process/pid", "78"),
            ("/log/syslog/appname", "sshd"), ("/log/syslog/severity/name", "info"), ("/source/ip", "192.0.2.4"), ("/user/name", "root"),
            ("/message", "Failed password for root from 192.0.2.4 port 50000 ssh2"), ("/kv/_SYSTEMD_UNIT", "ssh.service"),
        ]),
        ("an entry with a message of several lines", "__CURSOR=s\nMESSAGE\n\x1c\0\0\0\0\0\0\0a\nSRC=192.0.2.4 DST=10.0.0.1\n_UID=0", &[
            ("/message", "a\nSRC=192.0.2.4 DST=10.0.0.1"), ("/source/ip", "192.0.2.4"), ("/user/id", "0"),
        ]),
        ("an entry whose message is JSON", "__CURSOR=s\n_COMM=app\nMESSAGE={\"client_ip\":\"192.0.2.4\"}\n", &[("/source/ip", "192.0.2.4"), ("/process/name", "app")]),
        ("journald export", "<13>Nov 21 13:00:05 h journal: _HOSTNAME=srv\nSYSLOG_IDENTIFIER=sshd\nsrc=192.0.2.4", &[("/source/ip", "192.0.2.4")]),
        ("a lone address has no side", "<13>Nov 21 13:00:05 h ips: Blocked malicious IP 192.0.2.4 of the list", &[("/message", "Blocked malicious IP 192.0.2.4 of the list")]),
        ("json inside json", "{\"log\":\"src=10.0.0.1 dst=192.0.2.4 spt=1 dpt=2\",\"stream\":\"stdout\"}", &[
            ("/source/ip", "10.0.0.1"), ("/destination/ip", "192.0.2.4")]),
        ("a name that tells an address", "<38>Nov 21 13:00:05 h vpnd: login failed for user x from 6.6.6.6 port 9 from 10.0.0.1 port 22", &[
            ("/source/ip", "10.0.0.1"), ("/source/port", "22"), ("/user/name", "x")]),
        ("zeek", "{\"ts\":1795266005.1,\"uid\":\"CAcJw21BbVedgFnYH5\",\"id.orig_h\":\"10.0.0.1\",\"id.orig_p\":50000,\"id.resp_h\":\"192.0.2.4\",\"id.resp_p\":53,\"proto\":\"udp\"}", &[
            ("/source/ip", "10.0.0.1"), ("/json/uid", "CAcJw21BbVedgFnYH5")]),
        ("uid of somebody", "{\"uid\":\"1000\",\"src\":\"10.0.0.1\"}", &[("/user/id", "1000")]),
        ("transport by name", "<13>Nov 21 13:00:05 h a: src=10.0.0.1 dst=192.0.2.4 transport=tcp", &[("/network/transport", "tcp")]),
        ("transport by port", "<13>Nov 21 13:00:05 h a: src=10.0.0.1 dst=192.0.2.4 transport=4711", &[("/source/nat/port", "4711")]),
        ("a program's log", "{\"file\":\"main.go:12\",\"agent\":\"filebeat\",\"image\":\"nginx:1.25\",\"src\":\"10.0.0.1\"}", &[
            ("/json/file", "main.go:12"), ("/json/agent", "filebeat"), ("/json/image", "nginx:1.25")]),
        ("a program's log, the line apart", "{\"file\":\"app.py\",\"line\":12,\"src\":\"10.0.0.1\"}", &[("/json/file", "app.py")]),
        ("file, agent and image", "{\"file\":\"invoice.exe\",\"agent\":\"curl/8.5\",\"image\":\"C:\\\\a\\\\b.exe\"}", &[
            ("/file/name", "invoice.exe"), ("/user_agent/original", "curl/8.5"), ("/process/name", "b.exe")]),
        ("cef path", "CEF:0|a|b|c|d|e|f|filePath=C:\\new\\readme.txt src=10.0.0.1", &[("/file/path", "C:\\new\\readme.txt")]),
        ("basic auth with a blank", "192.0.2.2 - joe doe [26/Dec/2016:16:22:14 +0000] \"GET /hello HTTP/1.1\" 404 499", &[
            ("/source/ip", "192.0.2.2"), ("/user/name", "joe doe"), ("/url/path", "/hello")]),
        ("without header", "gateway, Source IP: 10.0.0.1, Destination IP: 192.0.2.4, Action: deny", &[
            ("/message", "gateway, Source IP: 10.0.0.1, Destination IP: 192.0.2.4, Action: deny"), ("/source/ip", "10.0.0.1"), ("/destination/ip", "192.0.2.4")]),
    ];

    #[test]
    fn sentences_without_sides_have_none() {
        for line in [
            "<13>Nov 21 13:00:05 h ips: Blocked malicious IP 192.0.2.4 of the list",
            "<13>Nov 21 13:00:05 h dns: lookup for 192.0.2.4",
            "<13>Nov 21 13:00:05 h app: from now on every new request will be counted, 192.0.2.4",
        ] {
            let json = decoded(line);
            assert!(json.get("source").is_none() && json.get("destination").is_none(), "{json}");
        }
    }

    #[test]
    fn bodies() {
        let mut wrong = Vec::new();
        for (name, line, expected) in BODIES {
            let json = decoded(line);
            for (pointer, want) in *expected {
                let have = json
                    .pointer(pointer)
                    .map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
                if have.as_deref() != Some(*want) {
                    wrong.push(format!("{name}: {pointer} is {have:?}, not {want:?}, of {json}"));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    /// Spans lie in the message, do not overlap, and the message part is the last.
    fn check(message: &[u8], header: &Header) {
        let parts =
            [header.stamp, header.host, header.app, header.procid, header.msgid, header.structured_data];
        let mut parts: Vec<_> = parts.into_iter().flatten().chain([header.message]).collect();
        let last = header.message;
        parts.sort_by_key(|span| (span.start, span.end));
        for pair in parts.windows(2) {
            assert!(pair[0].end <= pair[1].start, "{pair:?} of {:?}", String::from_utf8_lossy(message));
        }
        for span in &parts {
            assert!(span.start <= span.end && span.end as usize <= message.len());
            assert!(
                span.end <= last.start || *span == last,
                "{header:?} of {:?}",
                String::from_utf8_lossy(message)
            );
        }
    }

    /// A small generator, so that the same cases come on every machine.
    struct Random(u64);

    impl Random {
        fn next(&mut self, below: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.0 >> 33) as usize) % below.max(1)
        }
    }

    #[test]
    fn mutated_lines_never_panic_and_spans_hold() {
        let lines: Vec<&str> =
            HEADERS.iter().map(|case| case.1).chain(BODIES.iter().map(|case| case.1)).collect();
        let sharp = b"<>[]:=\"'\\{}|,;% \n\0/*-.1Z\xff\xe2";
        let mut random = Random(0x5eed);
        let mut fields = Fields::default();
        for round in 0..30_000 {
            let mut message = lines[random.next(lines.len())].as_bytes().to_vec();
            for _ in 0..1 + random.next(6) {
                let at = random.next(message.len() + 1);
                match random.next(5) {
                    0 => message.truncate(at),
                    1 => message.insert(at.min(message.len()), sharp[random.next(sharp.len())]),
                    2 if at < message.len() => message[at] = sharp[random.next(sharp.len())],
                    3 if at < message.len() => drop(message.remove(at)),
                    _ => {
                        let other = lines[random.next(lines.len())].as_bytes();
                        let cut = random.next(other.len());
                        message.splice(at..at, other[cut..].iter().copied());
                    }
                }
            }
            let found = header(&message);
            assert_eq!(shape(&message), found.map(|header| header.shape), "round {round}");
            if let Ok(found) = found {
                check(&message, &found);
            }
            let result = decode(&message, &reference(), &mut fields);
            let silent = result.is_ok_and(|header| header.message.start == header.message.end);
            if !silent && result != Err(DecodeError::Empty) {
                assert!(fields.find(FieldId::Message).is_some(), "round {round}");
            }
            let mut out = Map::new();
            ecs::to_json(&fields, &message, &mut out);
        }
    }

    #[test]
    fn every_prefix_and_suffix_holds() {
        for line in HEADERS.iter().map(|case| case.1).chain(BODIES.iter().map(|case| case.1)) {
            for at in 0..line.len() {
                for part in [&line.as_bytes()[..at], &line.as_bytes()[at..]] {
                    let found = header(part);
                    assert_eq!(shape(part), found.map(|header| header.shape));
                    if let Ok(found) = found {
                        check(part, &found);
                    }
                }
            }
        }
    }

    /// What headers are made of, and what comes between.
    const PARTS: [&str; 45] = [
        "<34>",
        "<165>",
        "<5>",
        "<0034>",
        "<999>",
        "<>",
        "12 <13>",
        "\u{feff}",
        "1",
        "1 ",
        "2 ",
        "- ",
        " - ",
        "-",
        " ",
        "  ",
        "\t",
        "\n",
        "\0",
        ":",
        ".",
        "Oct 11 22:14:15",
        "Oct  1 22:14:60 ",
        "Oct 32 22:14:15 ",
        "Sep 11 22:14:15 2003",
        "2003-10-11T22:14:15Z",
        "2003-10-11T22:14:15.003Z ",
        "2003-10-11T22:14:15.003+02:00 ",
        "2003-10-11T24:14:15Z ",
        "1647478988.289402144 ",
        "host ",
        "host",
        "user.info ",
        "<local0.info> ",
        "10.0.0.1 ",
        "1 2003-10-11T22:14:15Z inner app - - - ",
        "CEF:0|a|b|c|d|e|f|",
        "LEEF:1.0|a|b|c|d|",
        "10.0.0.1 - - [26/Dec/2016:16:16:29 +0200] \"GET / HTTP/1.1\" 200 1",
        "{\"a\":1}",
        "a=1 b=2",
        "su[12]: text",
        "1,2021/10/25 20:25:39,,CONFIG,",
        "30,09/20/21,09:16:15,x",
        "__CURSOR=s\nMESSAGE=a",
    ];

    #[test]
    fn the_shape_is_that_of_the_header() {
        let mut random = Random(0x5a9e);
        let (mut common, mut shapes) = (0, std::collections::HashMap::new());
        for _ in 0..200_000 {
            let mut message = String::new();
            for _ in 0..1 + random.next(9) {
                message.push_str(PARTS[random.next(PARTS.len())]);
            }
            // Most messages begin well.
            let message =
                ["<34>", "<34>1 ", "<34>Oct 11 22:14:15 ", ""][random.next(4)].to_owned() + &message;
            let expected = header(message.as_bytes()).map(|header| header.shape);
            assert_eq!(shape(message.as_bytes()), expected, "{message:?}");
            common += usize::from(common_shape(message.as_bytes()).is_some());
            *shapes.entry(expected).or_insert(0) += 1;
        }
        assert!(common > 20_000, "{common}");
        assert_eq!(shapes.len(), Shape::ALL.len() + DecodeError::ALL.len(), "{shapes:?}");
    }

    #[test]
    fn hostile_bodies_stay_bounded() {
        let mut fields = Fields::default();
        let many = format!("<13>{}", "a=1 ".repeat(16_000));
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(5_000), "]".repeat(5_000));
        let nested = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
        let wide = format!("{{{}\"z\":1}}", (0..5_000).map(|n| format!("\"k{n}\":{n},")).collect::<String>());
        let elements = format!("<13>1 - - - - - {}", "[a b=\"c\"]".repeat(7_000));
        let equals = format!("CEF:0|a|b|c|d|e|f|{}", "=".repeat(60_000));
        let quotes = format!("<13>a=\"{}", "\\\"".repeat(30_000));
        let carried =
            format!("{{{}\"z\":1}}", format!("\"log\":{{\"raw\":\"{}\"}},", "a=1 ".repeat(600)).repeat(40));
        let carriers: String =
            (0..500).map(|n| format!("\"k{n}\":{{\"raw\":\"{}\"}},", "a=1 b=2 c=3 d=4 ".repeat(4))).collect();
        let carriers = format!("{{{carriers}\"z\":1}}");
        let xml = format!("<13>{}", "<a b='c'>".repeat(8_000));
        let labels = format!("<13>{}", "Account Name: User: Image: ".repeat(2_000));
        let sentence = format!("<13>{}", "from 10.0.0.1 user ".repeat(4_000));
        let columns = format!("<13>1,2026/11/21 13:00:05,1,TRAFFIC,{}", "\"\"\"".repeat(20_000));
        for text in [
            many, deep, nested, wide, elements, equals, quotes, carried, carriers, xml, labels, sentence,
            columns,
        ] {
            // Deep JSON is no JSON for the parser; it is kept as a message all the same.
            let _ = decode(text.as_bytes(), &reference(), &mut fields);
            assert!(fields.extras().len() + fields.entries().len() <= 2 * PAIRS_MAX + 64);
            assert!(fields.find(FieldId::Message).is_some() || text.ends_with(']'));
            let mut out = Map::new();
            ecs::to_json(&fields, text.as_bytes(), &mut out);
            let event = serde_json::to_string(&out).unwrap();
            assert!(event.len() <= 8 * text.len() + 64 * 1024, "{} of {}", event.len(), text.len());
        }
    }

    #[test]
    fn names_and_values_are_not_multiplied() {
        let long = "k".repeat(30_000);
        let many: String = (0..400).map(|n| format!("\"{n}\":1,")).collect();
        let array = "1,".repeat(400);
        let attributes: String = (0..400).map(|n| format!(" a{n}='1'")).collect();
        let half = "h".repeat(100);
        let keys: String = (0..500).map(|n| format!("\"{n}{half}\":[1,2,3,4,5],")).collect();
        let carried = format!("\"raw\":\"{}\",", "a=\\\"x\\\" ".repeat(1_000)).repeat(5);
        for (name, line) in [
            ("long key over an object", format!("{{\"{long}\":{{{many}\"z\":1}}}}")),
            ("long key over an array", format!("{{\"{long}\":[{array}1]}}")),
            ("long key within an object", format!("{{\"a\":{{\"{long}\":{{{many}\"z\":1}}}}}}")),
            ("many keys over arrays", format!("{{\"a\":{{{keys}\"z\":1}}}}")),
            ("long element with attributes", format!("<13><{long}{attributes}/><b>1</b>")),
            ("long name of an element", format!("<13><a><Data Name='{long}'>1</Data></a>").repeat(2)),
            ("carried bodies", format!("{{{carried}\"z\":1}}")),
            ("long key of a pair", format!("CEF:0|a|b|c|d|e|f|{long}=1 src=10.0.0.1")),
        ] {
            let mut fields = Fields::default();
            let _ = decode(line.as_bytes(), &reference(), &mut fields);
            assert!(
                fields.scratch().len() <= 3 * line.len() + 32 * 1024,
                "{name}: {}",
                fields.scratch().len()
            );
            let mut out = Map::new();
            ecs::to_json(&fields, line.as_bytes(), &mut out);
            let event = serde_json::to_string(&out).unwrap();
            assert!(event.len() <= 4 * line.len() + 64 * 1024, "{name}: {} of {}", event.len(), line.len());
            let cef =
                fields.extras().iter().map(|extra| fields.bytes(line.as_bytes(), extra.key).len()).max();
            assert!(cef.unwrap_or_default() <= NAME_MAX, "{name}");
            fields.clear();
            assert!(fields.scratch().capacity() <= 64 * 1024, "{name}");
        }
    }

    #[test]
    fn names_are_labels() {
        for name in Shape::ALL
            .iter()
            .map(|shape| shape.name())
            .chain(DecodeError::ALL.iter().map(|error| error.name()))
        {
            assert!(
                name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            );
        }
    }
}
