//! The header of RFC 5424, and its structured data.
//!
//! Names longer than the RFC allows are taken as they are. A message that begins like RFC 5424 and
//! then goes on otherwise (Check Point, Palo Alto, CyberArk, Meraki) keeps what was read and hands
//! the rest to the legacy reading.

use super::stamp::{self, Stamp};
use super::{Header, PAIRS_MAX, Shape, body, byte, digits, fail, rfc3164, span, value};
use crate::decode::{Extra, Fields, Group, Span, Value};
use nom::bytes::complete::{tag, take_while, take_while_m_n, take_while1};
use nom::character::complete::char;
use nom::combinator::opt;
use nom::{IResult, Parser};
use std::borrow::Cow;

type Parsed<'a, T> = IResult<&'a [u8], T>;

/// Reads what follows PRI if it begins with a version and a stamp.
pub(super) fn header(message: &[u8], input: &[u8], priority: Option<u8>) -> Option<Header> {
    let (rest, version) = version(input).ok()?;
    let (rest, stamp) = match rest {
        [b'-', b' ', ..] => (&rest[1..], None),
        _ => {
            let (after, parsed) = lenient_stamp(rest).ok()?;
            // Cisco Meraki writes the version, an epoch and no other field of the RFC.
            if matches!(parsed, Some(Stamp::Epoch(_))) {
                return Some(meraki(message, rest, after, priority));
            }
            (after, Some(span(message, rest, after)))
        }
    };
    let (host, rest) = field(message, rest)?;
    let mut header =
        Header { shape: Shape::Rfc5424, version: Some(version), priority, stamp, host, ..Header::default() };
    match fields_and_data(message, rest) {
        Some((names, data, text)) => {
            [header.app, header.procid, header.msgid] = names;
            // `PulseSecure: - - -` has the colon of a tag.
            if let Some(app) = &mut header.app
                && ends_in_colon(message, *app)
                && app.end > app.start + 1
            {
                app.end -= 1;
            }
            header.structured_data = data;
            header.message = span(message, without_bom(text), &[]);
        }
        None => rfc3164::tag(message, rest, &mut header),
    }
    Some(header)
}

/// Whether [`header`] reads this as RFC 5424: version 1, no stamp or one of the usual form, a host;
/// no says nothing.
#[inline]
pub(super) fn is_common(input: &[u8]) -> bool {
    let Some(rest) = input.strip_prefix(b"1 ") else { return false };
    let stamp = if rest.starts_with(b"- ") { Some(1) } else { stamp::quick(rest) };
    // The stamp is followed by a space, or would not be one.
    stamp.and_then(|stamp| rest.get(stamp + 1)).is_some_and(|host| *host > b' ')
}

/// 1 to 999, no leading zero.
fn version(input: &[u8]) -> Parsed<'_, u16> {
    let (rest, digits) = digits(input);
    let (rest, _) = byte(rest, b' ')?;
    if digits.is_empty() || digits.len() > 3 || digits.first() == Some(&b'0') {
        return fail(input);
    }
    Ok((rest, digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))))
}

/// A stamp, or a word that was meant as one: it begins like a date, and the header goes on behind it.
fn lenient_stamp(input: &[u8]) -> Parsed<'_, Option<Stamp>> {
    if let Some((_, rest)) = stamp::quick(input).and_then(|length| input.split_at_checked(length)) {
        return Ok((rest, None));
    }
    match stamp::stamp(input) {
        Ok((rest @ ([] | [b' ', ..]), stamp)) => Ok((rest, Some(stamp))),
        _ => {
            let (rest, _) = take_while_m_n(4, 4, |byte: u8| byte.is_ascii_digit()).parse(input)?;
            let (rest, _) = char('-').parse(rest)?;
            let (rest, _) = take_while1(|byte: u8| byte.is_ascii_graphic()).parse(rest)?;
            Ok((rest, None))
        }
    }
}

/// `1647479604.334549372 MX84 flows src=…`
fn meraki(message: &[u8], stamp: &[u8], after: &[u8], priority: Option<u8>) -> Header {
    let mut header = Header {
        shape: Shape::Rfc3164,
        priority,
        stamp: Some(span(message, stamp, after)),
        ..Header::default()
    };
    let Some((host, rest)) = field(message, after) else {
        header.message = span(message, &[], &[]);
        return header;
    };
    header.host = host;
    let text = rest.trim_ascii_start();
    let (after, kind) = word(text);
    let named = kind.len() <= NAME_MAX
        && kind.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte));
    if named && !kind.is_empty() {
        header.app = Some(span(message, text, after));
        header.message = span(message, after.trim_ascii_start(), &[]);
    } else {
        header.message = span(message, text, &[]);
    }
    header
}

/// Event types of Meraki have up to 32 bytes.
const NAME_MAX: usize = 48;

type Names = [Option<Span>; 3];

/// APP-NAME, PROCID, MSGID, STRUCTURED-DATA and MSG; `None` if this is not what follows.
fn fields_and_data<'a>(message: &[u8], input: &'a [u8]) -> Option<(Names, Option<Span>, &'a [u8])> {
    let start = input.strip_prefix(b" ").unwrap_or(input);
    if body::begins(start) {
        return None;
    }
    let (app, rest) = field(message, input)?;
    let (procid, rest) = field(message, rest)?;
    // `DriveArray: Smart Array - Drive is failed` is a tag and a sentence, not four fields.
    let tagged = app.is_some_and(|app| ends_in_colon(message, app));
    if tagged && procid.is_some_and(|pid| !is_number(message, pid)) {
        return None;
    }
    let (msgid, rest) = field(message, rest)?;
    let rest = rest.strip_prefix(b" ")?;
    match rest {
        [b'-'] => Some(([app, procid, msgid], None, &[])),
        [b'-', b' ', text @ ..] => Some(([app, procid, msgid], None, text)),
        [b'[', ..] => match elements(rest, &mut |_, _| {}) {
            Some(after) => {
                let text = after.strip_prefix(b" ").unwrap_or(after);
                Some(([app, procid, msgid], Some(span(message, rest, after)), text))
            }
            // Broken or foreign data (`[flags:"1"; …]` of Check Point) stays in the message.
            None => Some(([app, procid, msgid], None, rest)),
        },
        _ => None,
    }
}

fn ends_in_colon(message: &[u8], span: Span) -> bool {
    message.get(..span.end as usize).is_some_and(|text| text.ends_with(b":"))
}

fn is_number(message: &[u8], span: Span) -> bool {
    message
        .get(span.start as usize..span.end as usize)
        .is_some_and(|text| text.iter().all(u8::is_ascii_digit))
}

/// A space, then a word; `-` is no value.
fn field<'a>(message: &[u8], input: &'a [u8]) -> Option<(Option<Span>, &'a [u8])> {
    let start = input.strip_prefix(b" ")?;
    let (rest, text) = word(start);
    match text {
        b"" => None,
        b"-" => Some((None, rest)),
        _ => Some((Some(span(message, start, rest)), rest)),
    }
}

fn word(input: &[u8]) -> (&[u8], &[u8]) {
    let end = input.iter().position(|byte| *byte <= b' ').unwrap_or(input.len());
    let (word, rest) = input.split_at(end);
    (rest, word)
}

fn without_bom(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// Walks SD-ELEMENTs and calls `each` with the SD-ID and every parameter (name, value as written);
/// with `None` for an element without parameters. `None` if the data are broken.
fn elements<'a>(
    input: &'a [u8],
    each: &mut impl FnMut(&'a [u8], Option<(&'a [u8], &'a [u8])>),
) -> Option<&'a [u8]> {
    let mut rest = input;
    while let Some(inside) = rest.strip_prefix(b"[") {
        let (after, id) = name(inside).ok()?;
        rest = after;
        let mut empty = true;
        loop {
            (rest, _) = spaces(rest).ok()?;
            if let Some(after) = rest.strip_prefix(b"]") {
                rest = after;
                break;
            }
            let (after, parameter) = parameter(rest).ok()?;
            each(id, Some(parameter));
            empty = false;
            rest = after;
        }
        if empty {
            each(id, None);
        }
        // `[id x="1"][ not an element` : what cannot be one belongs to the message.
        if !matches!(rest, [b'[', b'!'..=b'~', ..]) {
            break;
        }
        if element_is_broken(rest) {
            break;
        }
    }
    Some(rest)
}

/// Looks ahead only as far as the name and what must follow it.
fn element_is_broken(input: &[u8]) -> bool {
    match input.strip_prefix(b"[").map(name) {
        Some(Ok((rest, _))) => !matches!(rest, [b' ' | b']', ..]),
        _ => true,
    }
}

fn name(input: &[u8]) -> Parsed<'_, &[u8]> {
    take_while1(|byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'=' | b']' | b'"')).parse(input)
}

fn spaces(input: &[u8]) -> Parsed<'_, &[u8]> {
    take_while(|byte| byte == b' ').parse(input)
}

/// `name="value"`; a space around `=` is tolerated.
fn parameter(input: &[u8]) -> Parsed<'_, (&[u8], &[u8])> {
    let (rest, key) = name(input)?;
    let (rest, _) = opt(char(' ')).parse(rest)?;
    let (rest, _) = tag("=").parse(rest)?;
    let (rest, _) = spaces(rest)?;
    let (rest, _) = char('"').parse(rest)?;
    let mut at = 0;
    loop {
        match memchr::memchr2(b'"', b'\\', rest.get(at..).unwrap_or_default()) {
            Some(offset) if rest.get(at + offset) == Some(&b'\\') => at += offset + 2,
            Some(offset) => {
                let (value, after) = rest.split_at(at + offset);
                return Ok((&after[1..], (key, value)));
            }
            None => return fail(rest),
        }
    }
}

/// Writes structured data into `out`; `each` also sees every parameter, for its common names.
pub(super) fn structured_data<'a>(
    message: &'a [u8],
    data: Span,
    out: &mut Fields,
    mut each: impl FnMut(&mut Fields, &'a [u8], &Cow<'a, [u8]>),
) {
    let Some(text) = message.get(data.start as usize..data.end as usize) else { return };
    let mut budget = PAIRS_MAX;
    elements(text, &mut |id, parameter| {
        if budget == 0 {
            return;
        }
        budget -= 1;
        let parent = Some(value(message, id, out));
        let (key, value) = match parameter {
            Some((key, written)) => {
                let text = unescaped(written);
                each(out, key, &text);
                (value(message, key, out), value(message, &text, out))
            }
            None => (Value::Static(""), Value::Static("")),
        };
        out.push_extra(Extra { group: Group::StructuredData, parent, key, value });
    });
}

/// `\"`, `\\` and `\]` stand for the second character; any other backslash is itself (section 6.3.3).
fn unescaped(text: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr(b'\\', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (before, escape) = rest.split_at(at);
        plain.extend_from_slice(before);
        rest = match escape {
            [b'\\', escaped @ (b'"' | b'\\' | b']'), after @ ..] => {
                plain.push(*escaped);
                after
            }
            [_, after @ ..] => {
                plain.push(b'\\');
                after
            }
            [] => &[],
        };
    }
    plain.extend_from_slice(rest);
    Cow::Owned(plain)
}
