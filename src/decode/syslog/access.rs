//! Access logs of web servers: common and combined format, with or without the virtual host.

use super::vocabulary::{Form, Names, number};
use crate::decode::{FieldId, Fields, Value};
use memchr::{memchr, memchr_iter, memmem};
use std::borrow::Cow;

/// Whether the line has the bracketed stamp of an access log near its beginning.
pub(super) fn sniff(text: &[u8]) -> bool {
    stamp(text).is_some_and(|(before, ..)| clients(before).is_some())
}

/// Splits at `[26/Dec/2016:16:16:29 +0200]`: what precedes, the stamp, what follows. Of several brackets it
/// is the one that a request follows: a user may call himself anything.
fn stamp(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let window = text.get(..BEFORE_MAX.min(text.len()))?;
    memchr_iter(b'[', window).take(BRACKETS_MAX).find_map(|open| {
        let (before, rest) = text.split_at(open);
        let inside = &rest[1..];
        let [b'0'..=b'9', _, b'/', _, _, _, b'/', ..] = inside else { return None };
        let close = memchr(b']', inside.get(..STAMP_MAX.min(inside.len()))?)?;
        let after = &inside[close + 1..];
        after.starts_with(b" \"").then_some((before, &inside[..close], after))
    })
}

/// Brackets in front of the stamp, in a name.
const BRACKETS_MAX: usize = 8;

/// A host, a list of proxies and a user.
const BEFORE_MAX: usize = 400;

/// `26/Dec/2016:16:16:29.123456 +0200`
const STAMP_MAX: usize = 40;

/// Virtual host, client and user.
type Clients<'a> = (Option<&'a [u8]>, &'a [u8], &'a [u8]);

/// `[vhost] client[, client…] ident user`: virtual host, client and user.
///
/// Nearly nobody asks for the identity, so that the first `-` behind a word is it; the user is what stands
/// between it and the stamp, blanks and all. Else both are the last two words.
fn clients(before: &[u8]) -> Option<Clients<'_>> {
    let before = before.trim_ascii_start();
    let mut dash = memmem::find(before, b" - ").or_else(|| before.ends_with(b" -").then(|| before.len() - 2));
    // `vhost - - -`: who asks is not told, nobody calls himself `- -`.
    if let Some(at) = dash
        && before[at + 2..].starts_with(b" - ")
        && before.get(at + 5..).is_some_and(|rest| !rest.trim_ascii().is_empty())
    {
        dash = Some(at + 2);
    }
    let (told, user) = match dash.map(|at| (&before[..at], before[at + 2..].trim_ascii())) {
        Some((told, user)) if !user.is_empty() => (told, user),
        _ => {
            let mut words = before.rsplitn(4, |byte| *byte == b' ').filter(|word| !word.is_empty());
            let user = words.next()?;
            let ident = words.next()?;
            let end = (ident.as_ptr() as usize).checked_sub(before.as_ptr() as usize)?;
            (before.get(..end)?, user)
        }
    };
    let mut words = told.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let mut first = words.next()?;
    // Behind proxies the first of the list is the client; `vhost client` has no comma.
    let mut vhost = None;
    if let Some(second) = words.next()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stands_before_the_stamp() {
        for (before, expected) in [
            ("10.0.0.1 - - ", Some((None, "10.0.0.1", "-"))),
            ("10.0.0.1 - joe ", Some((None, "10.0.0.1", "joe"))),
            ("10.0.0.1 - joe doe ", Some((None, "10.0.0.1", "joe doe"))),
            ("10.0.0.1 - 6.6.6.6 - x ", Some((None, "10.0.0.1", "6.6.6.6 - x"))),
            ("10.0.0.1 ident joe ", Some((None, "10.0.0.1", "joe"))),
            ("v.example 10.0.0.1 - joe ", Some((Some("v.example"), "10.0.0.1", "joe"))),
            ("v.example - - - ", Some((Some("v.example"), "-", "-"))),
            ("10.0.0.1, 10.0.0.2, 10.0.0.3 - - ", Some((None, "10.0.0.1", "-"))),
            ("- - - ", Some((None, "-", "-"))),
            ("10.0.0.1 ", None),
            ("", None),
        ] {
            let text = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
            let found = clients(before.as_bytes())
                .map(|(vhost, client, user)| (vhost.map(text), text(client), text(user)));
            let expected = expected.map(|(vhost, client, user): (Option<&str>, &str, &str)| {
                (vhost.map(str::to_owned), client.to_owned(), user.to_owned())
            });
            assert_eq!(found, expected, "{before}");
        }
    }

    #[test]
    fn a_user_with_a_stamp_of_his_own() {
        let line = b"10.0.0.1 - [01/Jan/2000:00:00:00 +0000] x [26/Dec/2016:16:16:29 +0200] \"GET / HTTP/1.1\" 200 1";
        let (before, stamp, _) = stamp(line).unwrap();
        assert_eq!(before, b"10.0.0.1 - [01/Jan/2000:00:00:00 +0000] x ");
        assert_eq!(stamp, b"26/Dec/2016:16:16:29 +0200");
    }
}
