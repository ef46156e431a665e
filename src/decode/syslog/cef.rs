//! ArcSight's Common Event Format: seven header fields behind pipes, then extensions.

use super::PAIRS_MAX;
use super::vocabulary::{Form, Names, Text, known, number};
use crate::decode::{FieldId, Fields, Group, Value};
use memchr::{memchr, memchr2};
use nom::bytes::complete::{tag, take_while};
use nom::{IResult, Parser};
use std::borrow::Cow;

type Parsed<'a, T> = IResult<&'a [u8], T>;

/// Decodes a body that begins with `CEF:`.
pub(super) fn decode<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let Ok((rest, version)) = version(text) else { return false };
    let mut fields: [Text<'a>; HEADER.len()] = Default::default();
    let mut rest = rest;
    for field in &mut fields {
        // A header cut short has no extensions; what there is counts.
        (rest, *field) = header_field(rest);
    }
    names.keep(out, Group::Cef, &Cow::Borrowed(b"version"), &Cow::Borrowed(version));
    for ((field, name), text) in HEADER.iter().zip(&fields) {
        match field {
            Some(FieldId::EventSeverity) => match number(text) {
                Some(level) => out.push(FieldId::EventSeverity, Value::Unsigned(level)),
                None => names.keep(out, Group::Cef, &Cow::Borrowed(name), text),
            },
            Some(field) if names.put(out, None, *field, Form::Word, &Cow::Borrowed(b""), text) => {}
            _ => names.keep(out, Group::Cef, &Cow::Borrowed(name), text),
        }
    }
    let [.., title, _] = &fields;
    if !title.is_empty() {
        names.say(out, title);
    }
    let mut budget = PAIRS_MAX;
    extensions(rest, &mut |key, value| {
        if budget > 0 {
            budget -= 1;
            extension(key, &value, names, out);
        }
    });
    true
}

/// Where the header fields go, and under which name they are kept otherwise.
const HEADER: [(Option<FieldId>, &[u8]); 6] = [
    (Some(FieldId::ObserverVendor), b"device.vendor"),
    (Some(FieldId::ObserverProduct), b"device.product"),
    (Some(FieldId::ObserverVersion), b"device.version"),
    (Some(FieldId::EventCode), b"device.event_class_id"),
    (None, b"name"),
    (Some(FieldId::EventSeverity), b"severity"),
];

fn version(text: &[u8]) -> Parsed<'_, &[u8]> {
    let (rest, _) = tag("CEF:").parse(text)?;
    let (rest, _) = take_while(|byte| byte == b' ').parse(rest)?;
    let (rest, version) = take_while(|byte: u8| byte.is_ascii_digit() || byte == b'.').parse(rest)?;
    let (rest, _) = tag("|").parse(rest)?;
    Ok((rest, version))
}

/// Text up to a pipe; `\|` and `\\` stand for the second character.
fn header_field(text: &[u8]) -> (&[u8], Text<'_>) {
    let mut at = 0;
    while let Some(offset) = memchr2(b'|', b'\\', text.get(at..).unwrap_or_default()) {
        at += offset;
        if text.get(at) == Some(&b'|') {
            let (field, rest) = text.split_at(at);
            return (&rest[1..], plain(field.trim_ascii(), b"|\\"));
        }
        at += 2;
    }
    (&[], plain(text.trim_ascii(), b"|\\"))
}

/// A backslash before one of `escaped` stands for it.
fn plain<'a>(text: &'a [u8], escaped: &[u8]) -> Text<'a> {
    if memchr(b'\\', text).is_none() {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek().copied()) {
            (b'\\', Some(next)) if escaped.contains(&next) => {
                plain.push(match next {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    other => other,
                });
                bytes.next();
            }
            _ => plain.push(byte),
        }
    }
    Cow::Owned(plain)
}

/// Walks `key=value key=value`: a value ends where blanks, a key and an unescaped `=` follow.
fn extensions<'a>(text: &'a [u8], each: &mut impl FnMut(&'a [u8], Text<'a>)) {
    let mut rest = text.trim_ascii_start();
    let Some((start, mut equals)) = next_key(rest, 0) else { return };
    let mut key = &rest[start..equals];
    loop {
        let from = equals + 1;
        match next_key(rest, from) {
            Some((start, next)) => {
                each(key, value(key, rest.get(from..start).unwrap_or_default()));
                key = rest.get(start..next).unwrap_or_default();
                rest = rest.get(start..).unwrap_or_default();
                equals = next - start;
            }
            None => {
                each(key, value(key, rest.get(from..).unwrap_or_default()));
                return;
            }
        }
    }
}

/// The next key, as (start, position of its `=`).
fn next_key(text: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    loop {
        let equals = at + memchr(b'=', text.get(at..)?)?;
        let before = text.get(from..equals)?;
        // `\=` belongs to the value.
        if before.last() != Some(&b'\\') {
            let start =
                before.iter().rposition(|byte| !is_key_byte(*byte)).map_or(from, |place| from + place + 1);
            let bordered = start == 0 || matches!(text.get(start - 1), Some(b' ' | b'\t' | b'\n' | b'|'));
            if bordered && start < equals && (start > from || from == 0) {
                return Some((start, equals));
            }
        }
        at = equals + 1;
    }
}

/// The standard says letters and digits; `ad.field[0]`, `ad.Error_,Code` and `$x` occur.
fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_.,-[]$#@:".contains(&byte)
}

/// Texts may have several lines, written as `\n` and `\r`; elsewhere these are the beginning of a folder's or
/// a file's name whose backslash nobody doubled: `C:\new`.
fn value<'a>(key: &[u8], text: &'a [u8]) -> Text<'a> {
    let is_text = [b"msg".as_slice(), b"message", b"reason", b"rawEvent"].contains(&key);
    let text = plain(text.trim_ascii(), if is_text { b"=\\nr" } else { b"=\\" });
    match &text {
        // CyberArk quotes what needs no quotes.
        Cow::Borrowed([b'"', inside @ .., b'"']) => Cow::Borrowed(inside),
        _ => text,
    }
}

fn extension<'a>(key: &'a [u8], value: &Text<'a>, names: &mut Names<'a>, out: &mut Fields) {
    let own = match key {
        b"in" | b"bytesIn" => Some((FieldId::SourceBytes, Form::Count)),
        b"out" | b"bytesOut" => Some((FieldId::DestinationBytes, Form::Count)),
        b"app" | b"applicationProtocol" => Some((FieldId::NetworkProtocol, Form::Name)),
        b"rt" | b"deviceReceiptTime" => Some((FieldId::Timestamp, Form::Stamp)),
        b"dvc" | b"deviceAddress" => Some((FieldId::ObserverIp, Form::Address)),
        b"dvchost" | b"deviceHostName" => Some((FieldId::ObserverHostname, Form::Word)),
        b"deviceProcessName" => Some((FieldId::ProcessName, Form::Word)),
        b"dvcpid" => Some((FieldId::ProcessPid, Form::Count)),
        // These say what the event class says already, of the connector, not of the event.
        b"eventId" | b"art" | b"mrt" | b"agt" | b"ahost" | b"deviceSeverity" | b"severity" | b"outcome2" => {
            None
        }
        b"sourceServiceName" | b"destinationServiceName" => None,
        _ => known(key),
    };
    match own {
        Some((field, form)) if names.put(out, Some(Group::Cef), field, form, &Cow::Borrowed(key), value) => {}
        // The standard says it is a URL, whatever it looks like.
        _ if key == b"request"
            && names.put(out, None, FieldId::UrlOriginal, Form::Word, &Cow::Borrowed(key), value) => {}
        _ => names.keep(out, Group::Cef, &Cow::Borrowed(key), value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        extensions(text.as_bytes(), &mut |key, value| {
            found.push((
                String::from_utf8_lossy(key).into_owned(),
                String::from_utf8_lossy(&value).into_owned(),
            ));
        });
        found
    }

    #[test]
    fn extension_syntax() {
        for (name, text, expected) in [
            ("plain", "src=10.0.0.1 dst=2.1.2.2", vec![("src", "10.0.0.1"), ("dst", "2.1.2.2")]),
            (
                "blanks in the value",
                "dproc=Internet Explorer  x spt=1",
                vec![("dproc", "Internet Explorer  x"), ("spt", "1")],
            ),
            ("several blanks", " src=1  dst=2", vec![("src", "1"), ("dst", "2")]),
            ("escaped equals", r"msg=a \= b act=x", vec![("msg", "a = b"), ("act", "x")]),
            ("equals without a key", "moo=this =has = equals\\=", vec![("moo", "this =has = equals=")]),
            (
                "equals in a URL",
                "request=https://foo.com?id=foo&a=bar dst=2.2.2.2",
                vec![("request", "https://foo.com?id=foo&a=bar"), ("dst", "2.2.2.2")],
            ),
            ("newline", r"msg=one\ntwo", vec![("msg", "one\ntwo")]),
            ("empty", "shost= src=1", vec![("shost", ""), ("src", "1")]),
            (
                "odd keys",
                "ad.field[0]=a ad.Error_,Code=b",
                vec![("ad.field[0]", "a"), ("ad.Error_,Code", "b")],
            ),
            (
                "path",
                r"filePath=C:\\Users\\x.exe act=Delete",
                vec![("filePath", r"C:\Users\x.exe"), ("act", "Delete")],
            ),
            (
                "path whose backslashes are single",
                r"filePath=C:\new\readme.txt act=x",
                vec![("filePath", r"C:\new\readme.txt"), ("act", "x")],
            ),
            ("nothing", "", vec![]),
        ] {
            let found = parsed(text);
            let found: Vec<_> = found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn header_syntax() {
        let (rest, field) = header_field(br"security\\\||x");
        assert_eq!((rest, field.as_ref()), (b"x".as_slice(), br"security\|".as_slice()));
        let (rest, field) = header_field(b"the last");
        assert_eq!((rest, field.as_ref()), (b"".as_slice(), b"the last".as_slice()));
    }
}
