//! QRadar's Log Event Extended Format, 1.0 and 2.0.

use super::PAIRS_MAX;
use super::vocabulary::{Form, Names};
use crate::decode::{FieldId, Fields, Group};
use memchr::memchr;
use nom::bytes::complete::{tag, take_while};
use nom::{IResult, Parser};
use std::borrow::Cow;

/// Decodes a body that begins with `LEEF:`.
pub(super) fn decode<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let Ok((rest, version)) = version(text) else { return false };
    names.keep(out, Group::Leef, &Cow::Borrowed(b"version"), &Cow::Borrowed(version));
    let mut rest = rest;
    for field in HEADER {
        let (text, after) = until_pipe(rest);
        rest = after;
        names.put(out, None, field, Form::Word, &Cow::Borrowed(b""), &Cow::Borrowed(text));
    }
    let (delimiter, attributes) = delimiter(version, rest);
    let parts = |byte: &u8| *byte == delimiter;
    for part in attributes.split(parts).take(PAIRS_MAX) {
        let Some(equals) = memchr(b'=', part) else { continue };
        let (key, value) = part.split_at(equals);
        let (key, value) = (Cow::Borrowed(key.trim_ascii()), Cow::Borrowed(value[1..].trim_ascii()));
        if !key.is_empty() {
            names.pair(out, Group::Leef, &key, &value);
        }
    }
    true
}

const HEADER: [FieldId; 4] =
    [FieldId::ObserverVendor, FieldId::ObserverProduct, FieldId::ObserverVersion, FieldId::EventCode];

fn version(text: &[u8]) -> IResult<&[u8], &[u8]> {
    let (rest, _) = tag("LEEF:").parse(text)?;
    let (rest, _) = take_while(|byte| byte == b' ').parse(rest)?;
    let (rest, version) = take_while(|byte: u8| byte.is_ascii_digit() || byte == b'.').parse(rest)?;
    let (rest, _) = tag("|").parse(rest)?;
    Ok((rest, version))
}

fn until_pipe(text: &[u8]) -> (&[u8], &[u8]) {
    match memchr(b'|', text) {
        Some(at) => (text[..at].trim_ascii(), &text[at + 1..]),
        None => (text.trim_ascii(), &[]),
    }
}

/// LEEF 1.0 has tabs; 2.0 names its delimiter in a sixth field: a character, or its code as `0x5e`,
/// `x5e`. An empty or missing one is the tab. Where a sender says tabs and writes blanks or carets,
/// the attributes tell.
fn delimiter<'a>(version: &[u8], rest: &'a [u8]) -> (u8, &'a [u8]) {
    let (field, after) = until_pipe(rest);
    let named = version.starts_with(b"2") && memchr(b'=', field).is_none() && field.len() <= DELIMITER_MAX;
    let (delimiter, attributes) =
        if named && (field.is_empty() || !after.is_empty()) { (code(field), after) } else { (None, rest) };
    let delimiter = delimiter.unwrap_or(b'\t');
    if memchr(delimiter, attributes).is_none() && delimiter == b'\t' && memchr(b'^', attributes).is_some() {
        return (b'^', attributes);
    }
    (delimiter, attributes)
}

/// `0x0009`
const DELIMITER_MAX: usize = 6;

fn code(field: &[u8]) -> Option<u8> {
    match field {
        [] => None,
        [one] => Some(*one),
        [b'\\', b't'] => Some(b'\t'),
        _ => {
            let digits = field.strip_prefix(b"0").unwrap_or(field);
            let digits = digits.strip_prefix(b"x").or(digits.strip_prefix(b"X"))?;
            u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delimiters() {
        for (name, version, rest, expected) in [
            ("1.0", "1.0", "src=1\tdst=2", (b'\t', "src=1\tdst=2")),
            ("caret", "2.0", "^|src=1^dst=2", (b'^', "src=1^dst=2")),
            ("hexadecimal", "2.0", "0x5e|src=1^dst=2", (b'^', "src=1^dst=2")),
            ("short hexadecimal", "2.0", "x7C|src=1", (b'|', "src=1")),
            ("empty", "2.0", "|src=1\tdst=2", (b'\t', "src=1\tdst=2")),
            ("missing", "2.0", "src=1\tdst=2", (b'\t', "src=1\tdst=2")),
            ("unsaid caret", "1.0", "src=1^dst=2", (b'^', "src=1^dst=2")),
        ] {
            let (byte, attributes) = delimiter(version.as_bytes(), rest.as_bytes());
            assert_eq!((byte, attributes), (expected.0, expected.1.as_bytes()), "{name}");
        }
    }
}
