//! The header of RFC 3164, and what devices send in its place.
//!
//! [`header`] reads stamp, host and tag in the usual order; failing that, [`prefixed`] reads the
//! Cisco order, in which a sequence number, the host or a task stand before the stamp. [`tag`] takes
//! APP-NAME, process id and mnemonic off the front of what is left, which is the message.

use super::stamp::{quick, stamp};
use super::{Header, Shape, body, byte, fail, rfc5424, span, text_of};
use memchr::memchr;
use nom::bytes::complete::{take_while, take_while1};
use nom::character::complete::one_of;
use nom::combinator::opt;
use nom::{IResult, Parser};

type Parsed<'a, T> = IResult<&'a [u8], T>;

/// Reads a header without version; `None` if it has no stamp, nor a mnemonic behind the host.
pub(super) fn header(message: &[u8], input: &[u8], priority: Option<u8>) -> Option<Header> {
    let mut header = Header { shape: Shape::Rfc3164, priority, ..Header::default() };
    if let Ok((rest, (start, end))) = marked_stamp(input) {
        header.stamp = Some(span(message, start, end));
        if let Some(nested) = host(message, rest, &mut header) {
            return Some(nested);
        }
        return Some(header);
    }
    let rest = prefixed(message, input, &mut header)?;
    tag(message, rest, &mut header);
    Some(header)
}

/// Whether [`header`] reads this as RFC 3164: a stamp of the usual form, and behind the host no header
/// of RFC 5424; no says nothing.
#[inline]
pub(super) fn is_common(input: &[u8]) -> bool {
    let Some(rest) = quick(input).and_then(|length| input.get(length..)) else { return false };
    let start = skip_blanks(rest);
    let (word, mut after) = first_word(start);
    // Without a dot it is no severity before the host.
    if word.contains(&b'.') {
        after = first_word(severity_word_before_host(start)).1;
    }
    !is_wrapped(skip_blanks(after))
}

/// The word that stands where the host should be, and what follows it.
fn first_word(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.iter().position(|byte| *byte <= b' ').unwrap_or(input.len());
    input.split_at(end)
}

/// Whether RFC 5424 may follow the header of a relay.
fn is_wrapped(input: &[u8]) -> bool {
    matches!(input, [b'1', b' ', b'1' | b'2', ..])
}

/// Reads what follows a priority if there is neither a stamp nor a body that is known.
pub(super) fn untimed(message: &[u8], input: &[u8], priority: Option<u8>) -> Header {
    let mut header = Header { shape: Shape::Rfc3164, priority, ..Header::default() };
    match named_device(input) {
        Some((name, rest)) => {
            header.host = Some(span(message, input, &input[name..]));
            header.message = span(message, rest, &[]);
        }
        None => tag(message, input, &mut header),
    }
    header
}

/// A stamp that may be marked as unsynchronised (`*`, `.`) or stand in brackets; the second value is
/// where the stamp itself begins and ends.
fn marked_stamp(input: &[u8]) -> Parsed<'_, (&[u8], &[u8])> {
    if let Some((_, rest)) = quick(input).and_then(|length| input.split_at_checked(length)) {
        return Ok((rest, (input, rest)));
    }
    match input {
        [b'[', inside @ ..] => {
            let (end, _) = stamp(inside)?;
            let (rest, _) = byte(end, b']')?;
            Ok((rest, (inside, end)))
        }
        _ => {
            let start = if matches!(input, [b'*' | b'.' | b'!', ..]) { &input[1..] } else { input };
            let (rest, _) = stamp(start)?;
            Ok((rest, (start, rest)))
        }
    }
}

/// HOSTNAME, if there is one, then the tag. Gives the inner header where a relay wrapped RFC 5424.
fn host(message: &[u8], input: &[u8], header: &mut Header) -> Option<Header> {
    let start = severity_word_before_host(skip_blanks(input));
    let (word, rest) = first_word(start);
    match place(word, rest) {
        Place::Host => {
            header.host = Some(span(message, start, rest));
            let after = skip_blanks(rest);
            // Some relays put a header of their own before RFC 5424 and drop its priority.
            if is_wrapped(after)
                && let Some(inner) = rfc5424::header(message, after, header.priority)
                && inner.shape == Shape::Rfc5424
                && inner.stamp.is_some()
            {
                // The relay knows a name where the device has but an address.
                let named = inner.host.and_then(|host| text_of(message, host)).is_some_and(is_address);
                let host = if named { header.host } else { inner.host };
                return Some(Header { host, ..inner });
            }
            tag(message, inner_stamp(message, after, header), header);
        }
        Place::HostInside(lead, trail) => {
            header.host = start
                .get(lead..)
                .zip(start.get(word.len() - trail..))
                .map(|(from, to)| span(message, from, to));
            tag(message, rest, header);
        }
        Place::Nowhere => tag(message, start, header),
    }
    None
}

/// `host : 2023 May  2 15:21:27.206 UTC: %AUTHPRIV-5-SYSTEM_MSG: …`: NX-OS behind a relay has a stamp
/// of its own, which is the better one. Gives what follows it.
fn inner_stamp<'a>(message: &[u8], input: &'a [u8], header: &mut Header) -> &'a [u8] {
    let start = skip_blanks(input.strip_prefix(b": ").unwrap_or(input));
    let digits = start.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let start = match start.get(digits..) {
        Some([b':', b' ', after @ ..]) if digits > 0 => after,
        _ => start,
    };
    if !matches!(start.first(), Some(b'0'..=b'9' | b'A'..=b'Z' | b'*' | b'.')) {
        return input;
    }
    match marked_stamp(start) {
        Ok(([b':', b' ', rest @ ..], (from, to))) => {
            header.stamp = Some(span(message, from, to));
            rest
        }
        _ => input,
    }
}

enum Place {
    /// The word is a host.
    Host,
    /// The word is a host but for some bytes before and after it.
    HostInside(usize, usize),
    /// There is no host; the word begins the tag or the message.
    Nowhere,
}

/// Judges the word that stands where the host should be.
fn place(word: &[u8], rest: &[u8]) -> Place {
    let Some((last, body)) = word.split_last() else { return Place::Nowhere };
    if *last == b':' {
        return place_with_colon(body, rest);
    }
    if !word.iter().all(|byte| HOST[*byte as usize]) {
        let inner = word.strip_prefix(b"[").and_then(|inner| inner.strip_suffix(b"]"));
        // Zscaler puts its address in brackets; anything else in brackets is a process id.
        return if inner.is_some_and(is_address) { Place::HostInside(1, 1) } else { Place::Nowhere };
    }
    // `--- last message repeated 1 time ---`, a lone dash for "no host", or a sentence of syslogd.
    let begins_well =
        word.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b':' || *byte == b'_');
    if !begins_well || word.len() > HOST_MAX || body::begins(word) {
        return Place::Nowhere;
    }
    if word == b"last" && rest.starts_with(b" message repeated ") {
        return Place::Nowhere;
    }
    // One word alone is what was said, not who said it; so is the first word of a sentence.
    let said = rest.iter().all(u8::is_ascii_whitespace) || begins_sentence(word, skip_blanks(rest));
    if said { Place::Nowhere } else { Place::Host }
}

/// Whether a word and what follows are a sentence rather than a host and its message: `Failed password
/// for root`, `Connection closed`, `User joe logged in`. The word is written as sentences begin, no
/// tag follows it, and the next words are small.
fn begins_sentence(word: &[u8], rest: &[u8]) -> bool {
    let capitalised = matches!(word, [b'A'..=b'Z', tail @ ..] if tail.len() >= 2 && tail.iter().all(u8::is_ascii_lowercase));
    if !capitalised || tag_length(rest).is_some() {
        return false;
    }
    let end = rest.iter().position(|byte| *byte <= b' ').unwrap_or(rest.len());
    let next = &rest[..end];
    next.len() >= 2 && next.iter().all(u8::is_ascii_lowercase)
}

/// `host:` before a Cisco mnemonic or, where it is an address or a full name, before a tag.
fn place_with_colon(name: &[u8], rest: &[u8]) -> Place {
    // Some relays put what they do not know in angle brackets.
    let bracketed = name.strip_prefix(b"<").and_then(|name| name.strip_suffix(b">"));
    if let Some(inner) = bracketed
        && inner.iter().all(|byte| HOST[*byte as usize])
        && mnemonic(skip_blanks(rest)).is_some()
    {
        return Place::HostInside(0, 1);
    }
    if name.is_empty() || !name.iter().all(|byte| HOST[*byte as usize]) {
        return Place::Nowhere;
    }
    let after = skip_blanks(rest);
    let qualified = is_address(name) || (memchr(b'.', name).is_some() && tag_length(after).is_some());
    if mnemonic(after).is_some() || qualified { Place::HostInside(0, 1) } else { Place::Nowhere }
}

/// DNS allows 253 bytes for a name.
const HOST_MAX: usize = 255;

/// Bytes of a host name, an address, or what chassis call their parts (`slot1/host`, `node0.fpc1`).
static HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let allowed = b"._-:/@+~";
        let mut index = 0;
        while index < allowed.len() {
            if allowed[index] as usize == byte {
                table[byte] = true;
            }
            index += 1;
        }
        // Names in national letters are legal in no RFC and found in every country.
        if (byte as u8).is_ascii_alphanumeric() || byte >= 0x80 {
            table[byte] = true;
        }
        byte += 1;
    }
    table
};

fn is_address(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<std::net::IpAddr>().is_ok())
}

/// `user.info` or `<local0.info>` that Citrix and Cisco MS put before the host.
fn severity_word_before_host(input: &[u8]) -> &[u8] {
    // All of them have a dot within 11 bytes; few hosts have.
    let Some(dot) = input.iter().take(11).position(|byte| *byte == b'.') else { return input };
    let end = input.iter().take(24).position(|byte| *byte == b' ').unwrap_or(0);
    let Some((word, rest)) = input.split_at_checked(end).filter(|_| dot < end) else { return input };
    let bare = word.strip_prefix(b"<").and_then(|word| word.strip_suffix(b">")).unwrap_or(word);
    let dot = dot - usize::from(bare.len() != word.len());
    let named = FACILITIES.contains(&&bare[..dot]) && SEVERITIES.contains(&&bare[dot + 1..]);
    if named { skip_blanks(rest) } else { input }
}

const FACILITIES: &[&[u8]] = &[
    b"kern",
    b"user",
    b"mail",
    b"daemon",
    b"auth",
    b"security",
    b"syslog",
    b"lpr",
    b"news",
    b"uucp",
    b"cron",
    b"authpriv",
    b"ftp",
    b"ntp",
    b"local0",
    b"local1",
    b"local2",
    b"local3",
    b"local4",
    b"local5",
    b"local6",
    b"local7",
];

const SEVERITIES: &[&[u8]] = &[
    b"emerg",
    b"panic",
    b"alert",
    b"crit",
    b"critical",
    b"err",
    b"error",
    b"warning",
    b"warn",
    b"notice",
    b"info",
    b"debug",
];

/// `7433: ASR920: 007439: *Mar  1 18:46:11.123 CET: %SYS-5-CONFIG_I: …`: a sequence number, the
/// host, another sequence number, a task, and an uptime where there is no clock. Gives what follows
/// the stamp, or the mnemonic if there is no stamp.
fn prefixed<'a>(message: &[u8], input: &'a [u8], header: &mut Header) -> Option<&'a [u8]> {
    let mut rest = skip_blanks(input);
    let (mut host, mut task) = (None, None);
    let mut something = false;
    for _ in 0..PREFIXES_MAX {
        rest = skip_blanks(rest.strip_prefix(b":").unwrap_or(rest));
        if let Ok((after, (start, end))) = marked_stamp(rest) {
            let follows = skip_blanks(after);
            let follows = without_zone(follows);
            let colon = follows.strip_prefix(b":");
            // `app: 2026-01-01 00:00:00 started` is a tag; Cisco ends the stamp or goes on with `%`.
            if (host.is_some() || task.is_some()) && colon.is_none() && mnemonic(follows).is_none() {
                return None;
            }
            header.stamp = Some(span(message, start, end));
            (header.host, header.app) = (host, task);
            return Some(skip_blanks(colon.unwrap_or(follows)));
        }
        if let Ok((after, start)) = uptime(rest) {
            header.stamp = Some(span(message, start, after));
            (header.host, header.app) = (host, task);
            return Some(skip_blanks(after.strip_prefix(b":").unwrap_or(after)));
        }
        if something && mnemonic(rest).is_some() {
            (header.host, header.app) = (host, task);
            return Some(rest);
        }
        let colon = memchr(b':', rest.get(..HOST_MAX.min(rest.len())).unwrap_or_default())?;
        let (name, after) = rest.split_at_checked(colon)?;
        let name = name.trim_ascii_end();
        if name.iter().all(u8::is_ascii_digit) {
            // A sequence number, or nothing.
        } else if let Some(bare) = name.strip_prefix(b"*") {
            if bare.len() > TASK_MAX || bare.iter().any(|byte| *byte < b' ') {
                return None;
            }
            let start = rest.get(1..)?;
            task = Some(span(message, start, start.get(bare.len()..)?));
        } else if name.iter().all(|byte| HOST[*byte as usize]) {
            host = Some(span(message, rest, rest.get(name.len()..)?));
        } else {
            return None;
        }
        something = true;
        rest = after;
    }
    None
}

/// Skips an abbreviation of a zone that is in no table (`DST`, `VIENNA`), where `: %` follows it.
fn without_zone(input: &[u8]) -> &[u8] {
    let letters = input.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    match input.get(letters..) {
        Some(rest @ [b':', after @ ..]) if letters >= 2 && mnemonic(skip_blanks(after)).is_some() => rest,
        _ => input,
    }
}

/// Tasks of wireless controllers have up to three words: `SISF BT Process`.
const TASK_MAX: usize = 48;

/// Sequence number, host, second sequence number, task, stamp; one more for a colon of its own.
const PREFIXES_MAX: usize = 6;

/// `2y10w`, `1d02h` or `00:01:01` before `: %`; not an instant, but where one stands.
fn uptime(input: &[u8]) -> Parsed<'_, &[u8]> {
    let (start, _) = opt(one_of("*.")).parse(input)?;
    let (rest, text) =
        take_while1(|byte: u8| byte.is_ascii_digit() || b"ywdhms:".contains(&byte)).parse(start)?;
    let (text, rest) = match text.split_last() {
        Some((b':', text)) => (text, start.get(text.len()..).unwrap_or_default()),
        _ => (text, rest),
    };
    let well_formed =
        text.first().is_some_and(u8::is_ascii_digit) && text.iter().any(|byte| !byte.is_ascii_digit());
    let after = skip_blanks(rest.strip_prefix(b":").unwrap_or(rest));
    if well_formed && mnemonic(after).is_some() { Ok((rest, start)) } else { fail(input) }
}

/// `ns5gt: NetScreen device_id=…`: the name is the device's although a colon follows it. Gives its
/// length, and what follows.
fn named_device(input: &[u8]) -> Option<(usize, &[u8])> {
    let colon = memchr(b':', input.get(..HOST_MAX.min(input.len()))?)?;
    let (name, rest) = input.split_at(colon);
    let after = skip_blanks(rest.strip_prefix(b":")?);
    let device = after.starts_with(b"NetScreen device_id=");
    (device && !name.is_empty() && name.iter().all(|byte| HOST[*byte as usize])).then_some((colon, after))
}

/// Takes APP-NAME, PROCID and a mnemonic off the front; the rest is the message.
pub(super) fn tag(message: &[u8], input: &[u8], header: &mut Header) {
    let mut rest = skip_blanks(input);
    // `host : %ASA-…`
    if let [b':'] | [b':', b' ', ..] = rest {
        rest = skip_blanks(&rest[1..]);
    }
    if header.app.is_none() && !body::begins(rest) {
        // F5 and others put the severity's name before the tag.
        let start = severity_word(rest);
        if let Some(found) = tag_length(start) {
            header.app = Some(span(message, start, &start[found.name..]));
            if let Some((from, to)) = found.procid {
                header.procid =
                    start.get(from..).zip(start.get(to..)).map(|(from, to)| span(message, from, to));
            }
            rest = start.get(found.end..).unwrap_or_default();
            rest = rest.strip_prefix(b" ").unwrap_or(rest);
            rest = subject(message, rest, found.procid.is_some(), header);
        }
    }
    let lead = skip_blanks(rest);
    if let Some((end, after)) = mnemonic(lead) {
        let name = lead.iter().position(|byte| *byte != b'%').unwrap_or(0);
        header.msgid = lead.get(name..).zip(lead.get(end..)).map(|(from, to)| span(message, from, to));
        rest = after;
    }
    let rest = rest.strip_prefix(b"\xef\xbb\xbf").unwrap_or(rest);
    header.message = span(message, rest, &[]);
}

/// `launchd[1] (com.apple.quicklook[21498]): …`: whom macOS speaks of stands behind the tag; it is
/// kept as the message's id.
fn subject<'a>(message: &[u8], rest: &'a [u8], tagged: bool, header: &mut Header) -> &'a [u8] {
    let Some(inside) = rest.strip_prefix(b"(").filter(|_| tagged) else { return rest };
    let window = inside.get(..TAG_MAX.min(inside.len())).unwrap_or_default();
    let Some(close) = memchr::memmem::find(window, b"): ") else { return rest };
    if window[..close].contains(&b' ') {
        return rest;
    }
    header.msgid = inside.get(close..).map(|after| span(message, inside, after));
    inside.get(close + 3..).unwrap_or_default()
}

/// A tag: where its name ends, where the process id lies, and where the message begins.
struct Tag {
    name: usize,
    procid: Option<(usize, usize)>,
    end: usize,
}

/// Finds the tag at the start of `input`.
fn tag_length(input: &[u8]) -> Option<Tag> {
    let begins_well =
        |byte: &u8| byte.is_ascii_alphanumeric() || b"/_.#(-@\\~".contains(byte) || *byte >= 0x80;
    if !input.first().is_some_and(begins_well) {
        return None;
    }
    let window = input.get(..TAG_MAX.min(input.len()))?;
    let mut name = window.iter().position(|byte| TAG_ENDS[*byte as usize])?;
    // Snare separates everything by tabs.
    if &window[..name] == b"MSWinEventLog" && window[name] == b'\t' {
        return Some(Tag { name, procid: None, end: name + 1 });
    }
    if window[name] == b' ' {
        match after_space(input, window, name)? {
            Ok(end) => name = end,
            Err(tag) => return Some(tag),
        }
    }
    match window.get(name)? {
        b':' => {
            let colon_ends = matches!(window.get(name + 1), None | Some(b' ' | b'\t'));
            colon_ends.then_some(Tag { name, procid: None, end: name + 1 })
        }
        b'[' => {
            let inside = window.get(name + 1..)?;
            let close = memchr(b']', inside)?;
            let pid = &inside[..close];
            let end = name + 1 + close + 1;
            let plain = !pid.is_empty()
                && pid.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'=' && *byte != b'"');
            let (end, closed) = match window.get(end..)? {
                [b':', ..] => (end + 1, true),
                [b' ', b':', ..] => (end + 2, true),
                _ => (end, false),
            };
            // Without a colon only a number is a process id: `[dmz]` may be part of the message.
            let sure = closed || pid.iter().all(u8::is_ascii_digit);
            (plain && sure).then_some(Tag { name, procid: Some((name + 1, name + 1 + close)), end })
        }
        _ => None,
    }
}

/// RFC 3164 allows 32 bytes; systemd units and Java classes are longer.
const TAG_MAX: usize = 128;

/// What a name with a space behind it is: `Ok` gives the real end of the name, `Err` the whole tag.
fn after_space(input: &[u8], window: &[u8], name: usize) -> Option<Result<usize, Tag>> {
    let rest = input.get(name..)?;
    let after = skip_blanks(rest);
    // `OPSWATPC CEF:0|…`, `darktrace {"…`: the name of the application, then a body that says so.
    if body::is_json(after) || body::is_cef(after) || body::is_leef(after) {
        return Some(Err(Tag { name, procid: None, end: input.len() - after.len() }));
    }
    // `name : message`, `vectra_json_v2 -: {…`
    for lead in [b" : ".as_slice(), b" -: "] {
        if rest.starts_with(lead) {
            return Some(Err(Tag { name, procid: None, end: name + lead.len() - 1 }));
        }
    }
    // Cisco ISE and ACS write the category, then the counters of the segment.
    let head = &input[..name];
    if (head.starts_with(b"CISE_") || head.starts_with(b"CSCOacs_") || head.starts_with(b"CPPM_"))
        && after.first().is_some_and(u8::is_ascii_digit)
    {
        return Some(Err(Tag { name, procid: None, end: name }));
    }
    // `syslogd 1.4.1: restart.`
    let version = window.get(name + 1..)?;
    let length = version.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.')?;
    if length > 2 && version.get(length..)?.starts_with(b": ") && version[..length].contains(&b'.') {
        return Some(Ok(name + 1 + length));
    }
    // `Google Chrome[123]:`: more words only if a number in brackets and a colon end them.
    let bracket = memchr(b'[', window)?;
    let words = &window[..bracket];
    let wordy = words.iter().all(|byte| byte.is_ascii_alphanumeric() || b" ._-/()".contains(byte));
    let number = window.get(bracket + 1..)?;
    let digits = number.iter().position(|byte| !byte.is_ascii_digit())?;
    let few = words.iter().filter(|byte| **byte == b' ').count() <= 3;
    (wordy && few && digits > 0 && number.get(digits..)?.starts_with(b"]:"))
        .then_some(Ok(words.trim_ascii_end().len()))
        .map(
            |found| if window.get(words.trim_ascii_end().len()) == Some(&b'[') { found } else { Ok(bracket) },
        )
}

/// Bytes that end the name in a tag.
static TAG_ENDS: [bool; 256] = {
    let mut table = [false; 256];
    let ends = b":[ \t=\"'{};<>|]";
    let mut index = 0;
    while index < ends.len() {
        table[ends[index] as usize] = true;
        index += 1;
    }
    let mut byte = 0;
    while byte < b' ' as usize {
        table[byte] = true;
        byte += 1;
    }
    table
};

fn severity_word(input: &[u8]) -> &[u8] {
    if !matches!(input, [b'a' | b'c' | b'd' | b'e' | b'i' | b'n' | b'p' | b'w', ..]) {
        return input;
    }
    let Some(space) = input.iter().take(10).position(|byte| *byte == b' ') else { return input };
    let (word, rest) = input.split_at(space);
    let after = skip_blanks(rest);
    if SEVERITIES.contains(&word) && tag_length(after).is_some() { after } else { input }
}

/// `%ASA-4-106023: `, `%LOG_LOCAL0-2-SYSTEM_MSG `, `%%01SHELL/5/LOGOUT(l)[12]:`: where the name ends,
/// and what follows.
pub(super) fn mnemonic(input: &[u8]) -> Option<(usize, &[u8])> {
    let after = input.strip_prefix(b"%")?;
    let separator = if after.first() == Some(&b'%') { b'/' } else { b'-' };
    let (rest, name) = mnemonic_name(input).ok()?;
    let leveled = name
        .windows(3)
        .any(|window| window[0] == separator && window[1].is_ascii_digit() && window[2] == separator);
    if !leveled || name.len() > TAG_MAX {
        return None;
    }
    // Huawei closes with the number of the module: `(l)[4]:`.
    let mut after = rest;
    if let [b'[', inside @ ..] = after {
        let close = memchr(b']', inside.get(..16.min(inside.len()))?)?;
        after = inside.get(close + 1..)?;
    }
    let spaced = skip_blanks(after);
    let after = match (after, spaced) {
        ([b':', rest @ ..], _) | (_, [b':', rest @ ..]) => rest,
        ([b' ', rest @ ..], _) => rest,
        ([], _) => after,
        _ => return None,
    };
    Some((name.len(), skip_blanks(after)))
}

fn mnemonic_name(input: &[u8]) -> Parsed<'_, &[u8]> {
    take_while(|byte: u8| byte.is_ascii_alphanumeric() || b"%_-/().".contains(&byte)).parse(input)
}

fn skip_blanks(mut input: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = input {
        input = rest;
    }
    input
}
