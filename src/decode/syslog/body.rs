//! What stands behind the header: tells the bodies apart and hands them to their decoders.

use super::vocabulary::Names;
use super::{
    Bodies, Header, Shape, access, cef, cisco, columns, dns, haproxy, journal, json, kv, leef, linux,
    sentence, squid, text_of, weberror, windows, xml,
};
use crate::decode::{FieldId, Fields};
use memchr::memmem;

/// Whether a body that names itself begins here, so that no tag and no host can stand here.
pub(super) fn begins(input: &[u8]) -> bool {
    match input.first() {
        Some(b'{') => true,
        Some(b'C') => is_cef(input),
        Some(b'L') => is_leef(input),
        _ => false,
    }
}

pub(super) fn is_json(input: &[u8]) -> bool {
    let Some(inside) = input.strip_prefix(b"{") else { return false };
    matches!(inside.trim_ascii_start().first(), Some(b'"' | b'}'))
}

pub(super) fn is_cef(input: &[u8]) -> bool {
    input
        .strip_prefix(b"CEF:")
        .is_some_and(|rest| rest.trim_ascii_start().first().is_some_and(u8::is_ascii_digit))
}

pub(super) fn is_leef(input: &[u8]) -> bool {
    input
        .strip_prefix(b"LEEF:")
        .is_some_and(|rest| rest.trim_ascii_start().first().is_some_and(u8::is_ascii_digit))
}

/// Recognises the body of a message that has no header; gives where it begins. With a priority in
/// front, one key=value pair is enough.
pub(super) fn sniff(input: &[u8], has_priority: bool) -> Option<(Shape, &[u8])> {
    if is_json(input) {
        return Some((Shape::Json, input));
    }
    if is_cef(input) {
        return Some((Shape::Cef, input));
    }
    if is_leef(input) {
        return Some((Shape::Leef, input));
    }
    if kv::begins(input, if has_priority { 1 } else { 2 }) {
        return Some((Shape::KeyValue, input));
    }
    if has_priority {
        return None;
    }
    // A header of somebody's own making in front of CEF or LEEF.
    let window = input.get(..PREAMBLE_MAX.min(input.len()))?;
    for (shape, marker) in [(Shape::Cef, b"CEF:".as_slice()), (Shape::Leef, b"LEEF:")] {
        if let Some(at) = memmem::find(window, marker)
            && let Some(text) = input.get(at..)
            && (is_cef(text) || is_leef(text))
        {
            return Some((shape, text));
        }
    }
    None
}

/// A stamp, a name of 253 bytes and a tag.
const PREAMBLE_MAX: usize = 320;

/// Decodes the message part: the first decoder that knows it writes its values.
pub(super) fn decode<'a>(message: &'a [u8], header: &Header, names: &mut Names<'a>, out: &mut Fields) {
    let Some(text) = text_of(message, header.message) else { return };
    let text = text.trim_ascii();
    let app = header.app.and_then(|app| text_of(message, app)).unwrap_or_default();
    let mnemonic = header.msgid.and_then(|msgid| text_of(message, msgid)).unwrap_or_default();
    if journal::decode(text, names, out) || json::decode(text, names, out) {
        return;
    }
    if names.bodies == Bodies::All {
        if cisco::decode(mnemonic, text, names, out) {
            return;
        }
        // Apache's TLS request log: the client stands where a host would, `[stamp] client TLSv1.2 cipher "GET …"`.
        if (text.starts_with(b"TLSv") || text.starts_with(b"SSLv"))
            && let Some(client) = header.host.and_then(|host| text_of(message, host))
        {
            names.source(out, client);
        }
    }
    any(app, text, names, out);
}

/// Decodes a text that a body carried; what it says in words stays where it stands. JSON is not looked
/// for again inside what JSON carried.
pub(super) fn nested<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) {
    let said = out.find(FieldId::Message);
    // Who said it may stand beside it, as with journald.
    let app =
        out.find(FieldId::ProcessName).map(|app| out.bytes(names.message, app).to_vec()).unwrap_or_default();
    any(&app, text.trim_ascii(), names, out);
    if let Some(said) = said {
        out.set(FieldId::Message, said);
    }
}

fn any<'a>(app: &[u8], text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) {
    if xml::decode(text, names, out) || named(text, names, out) {
        return;
    }
    let known = names.bodies == Bodies::All && {
        if let Some(stamp) = cisco::segment_stamp(app, text) {
            names.word_stamp(out, stamp);
        }
        weberror::decode(text, names, out)
            || haproxy::decode(app, text, names, out)
            || access::decode(text, names, out)
            || squid::decode(text, names, out)
            || columns::decode(app, text, names, out)
            || linux::decode(app, text, names, out)
            || dns::decode(text, names, out)
            || windows::decode(app, text, names, out)
    };
    if !known {
        generic(text, names, out);
    }
}

/// CEF and LEEF.
fn named<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    match embedded(text) {
        Some((Shape::Cef, body)) => cef::decode(body, names, out),
        Some((_, body)) => leef::decode(body, names, out),
        None => false,
    }
}

/// What no decoder knows: pairs, and where they tell no endpoint, columns or sentences.
fn generic<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) {
    kv::decode(text, names, out);
    if !names.has_endpoint(out) {
        let _ = columns::connection(text, names, out) || sentence::decode(text, names, out);
    } else if out.find(FieldId::UrlOriginal).is_none() {
        sentence::request(text, names, out);
    }
}

fn embedded(text: &[u8]) -> Option<(Shape, &[u8])> {
    let window = text.get(..PREAMBLE_MAX.min(text.len()))?;
    let cef = memmem::find(window, b"CEF:").and_then(|at| text.get(at..)).filter(|text| is_cef(text));
    let leef = memmem::find(window, b"LEEF:").and_then(|at| text.get(at..)).filter(|text| is_leef(text));
    cef.map(|body| (Shape::Cef, body)).or(leef.map(|body| (Shape::Leef, body)))
}
