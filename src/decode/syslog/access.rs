//! Access logs of web servers: common and combined format, with or without the virtual host.

use super::vocabulary::{Form, Names, number};
use crate::decode::{FieldId, Fields, Value};
use memchr::memchr;
use std::borrow::Cow;

/// Whether the line has the bracketed stamp of an access log near its beginning.
pub(super) fn sniff(text: &[u8]) -> bool {
    stamp(text).is_some_and(|(before, _, after)| clients(before).is_some() && after.starts_with(b" \""))
}

/// Splits at `[26/Dec/2016:16:16:29 +0200]`: what precedes, the stamp, what follows.
fn stamp(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let window = text.get(..BEFORE_MAX.min(text.len()))?;
    let open = memchr(b'[', window)?;
    let (before, rest) = text.split_at(open);
    let inside = &rest[1..];
    let [day, _, b'/', _, _, _, b'/', ..] = inside else { return None };
    let close = memchr(b']', inside.get(..STAMP_MAX.min(inside.len()))?)?;
    day.is_ascii_digit().then_some((before, &inside[..close], &inside[close + 1..]))
}

/// A host, a list of proxies and a user.
const BEFORE_MAX: usize = 400;

/// `26/Dec/2016:16:16:29.123456 +0200`
const STAMP_MAX: usize = 40;

/// Virtual host, client and user.
type Clients<'a> = (Option<&'a [u8]>, &'a [u8], &'a [u8]);

/// `[vhost] client[, client…] ident user`: virtual host, client and user.
fn clients(before: &[u8]) -> Option<Clients<'_>> {
    let mut words = before.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let mut first = words.next()?;
    let mut rest: Vec<&[u8]> = words.take(WORDS_MAX).collect();
    let user = rest.pop()?;
    rest.pop()?;
    // Behind proxies the first of the list is the client; `vhost client` has no comma.
    let mut vhost = None;
    if let Some(second) = rest.first()
        && first.last() != Some(&b',')
    {
        vhost = Some(first);
        first = second;
    }
    while let [head @ .., b','] = first {
        first = head;
    }
    Some((vhost, first, user))
}

/// Proxies that one request may have passed.
const WORDS_MAX: usize = 24;

/// Decodes one line.
pub(super) fn decode<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let Some((before, stamp, after)) = stamp(text) else { return false };
    let Some((vhost, client, user)) = clients(before) else { return false };
    let Some(rest) = after.strip_prefix(b" \"") else { return false };
    names.source(out, client);
    names.word(out, FieldId::UserName, user);
    if let Some(vhost) = vhost {
        put(names, out, FieldId::UrlDomain, Form::Site, vhost);
    }
    if !names.is_timed() {
        put(names, out, FieldId::Timestamp, Form::Stamp, stamp);
    }
    let Some((request, rest)) = quoted(rest) else { return true };
    decode_request(request, names, out);
    let mut rest = rest.trim_ascii_start();
    for field in [FieldId::HttpResponseStatusCode, FieldId::HttpResponseBytes] {
        let end = memchr(b' ', rest).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if let Some(number) = number(word) {
            out.push(field, Value::Unsigned(number));
        }
        rest = after.trim_ascii_start();
    }
    for field in [FieldId::HttpRequestReferrer, FieldId::UserAgentOriginal] {
        let Some((text, after)) = rest.strip_prefix(b"\"").and_then(quoted) else { break };
        names.word(out, field, text);
        rest = after.trim_ascii_start();
    }
    true
}

/// `GET /path?query HTTP/1.1`
pub(super) fn decode_request<'a>(request: &'a [u8], names: &mut Names<'a>, out: &mut Fields) {
    let mut words = request.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return };
    if !method.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_') {
        return;
    }
    names.word(out, FieldId::HttpRequestMethod, method);
    put(names, out, FieldId::UrlOriginal, Form::Target, target);
    if let Some(version) = words.next_back().and_then(|word| word.strip_prefix(b"HTTP/")) {
        names.word(out, FieldId::HttpVersion, version);
    }
}

fn put<'a>(names: &mut Names<'a>, out: &mut Fields, field: FieldId, form: Form, text: &'a [u8]) {
    names.put(out, None, field, form, &Cow::Borrowed(b""), &Cow::Borrowed(text));
}

/// Text up to the closing quote, the opening one being past; `\"` does not close.
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        at += memchr(b'"', text.get(at..)?)?;
        let escaped = text[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
        if !escaped {
            return Some((&text[..at], &text[at + 1..]));
        }
        at += 1;
    }
}
