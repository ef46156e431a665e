//! Error logs of Apache and nginx, whose stamp the header has taken.

use super::access::decode_request;
use super::vocabulary::{Names, address, host_and_port};
use crate::decode::{FieldId, Fields};
use memchr::{memchr, memmem};
use std::borrow::Cow;

/// Decodes a line that begins with a level in brackets.
pub(super) fn decode<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let Some((module, rest)) = bracketed(text) else { return false };
    // `core:error` of Apache 2.4, `error` before and of nginx.
    let level = module.rsplit(|byte| *byte == b':').next().unwrap_or(module);
    if !LEVELS.contains(&level) {
        return false;
    }
    names.word(out, FieldId::LogLevel, level);
    if rest.first().is_some_and(u8::is_ascii_digit) {
        nginx(rest, names, out);
    } else {
        apache(rest, names, out);
    }
    true
}

const LEVELS: [&[u8]; 16] = [
    b"emerg", b"alert", b"crit", b"error", b"warn", b"notice", b"info", b"debug", b"trace1", b"trace2",
    b"trace3", b"trace4", b"trace5", b"trace6", b"trace7", b"trace8",
];

fn bracketed(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = text.strip_prefix(b"[")?;
    let close = memchr(b']', inside)?;
    Some((&inside[..close], inside.get(close + 1..)?.trim_ascii_start()))
}

/// `[pid 35708:tid 4328636416] [client 192.0.2.1:1234] File does not exist: …`
fn apache<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) {
    let mut rest = text;
    while let Some((inside, after)) = bracketed(rest) {
        if let Some(pid) = inside.strip_prefix(b"pid ") {
            names.count(out, FieldId::ProcessPid, pid.split(|byte| *byte == b':').next().unwrap_or(pid));
        } else if let Some(client) = inside.strip_prefix(b"client ") {
            names.source(out, client);
        } else {
            break;
        }
        rest = after;
    }
    names.say(out, &Cow::Borrowed(rest));
}

/// `54053#0: *1 open() … failed, client: 192.0.2.1, server: a, request: "GET / HTTP/1.1", host: "b"`
fn nginx<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    names.count(out, FieldId::ProcessPid, &text[..digits]);
    let mut rest = text;
    if let Some(at) = memmem::find(text, b": ") {
        rest = &text[at + 2..];
    }
    if let Some(connection) = rest.strip_prefix(b"*")
        && let Some(space) = memchr(b' ', connection)
    {
        rest = &connection[space + 1..];
    }
    names.say(out, &Cow::Borrowed(rest));
    if let Some(client) = client(rest) {
        names.source(out, client);
    }
    if let Some(host) = after(rest, b", host: \"") {
        let host = host.split(|byte| *byte == b'"').next().unwrap_or(host);
        names.also(out, b"http_host", &Cow::Borrowed(host));
    }
    if let Some(request) = after(rest, b", request: \"") {
        decode_request(request.split(|byte| *byte == b'"').next().unwrap_or(request), names, out);
    }
}

/// Who asked. What he asked for stands before it as a path and behind it as a request, in quotes that are
/// not escaped; where these texts tell another address, nobody's word is taken.
fn client(text: &[u8]) -> Option<&[u8]> {
    let odd = |text: &[u8]| text.iter().filter(|byte| **byte == b'"').count() % 2 == 1;
    // A quote too many: what is inside and what outside cannot be told.
    let is_torn = odd(text);
    let (mut from, mut is_quoted) = (0, false);
    let mut told = memmem::find_iter(text, b", client: ").filter_map(|at| {
        (from, is_quoted) = (at, is_quoted ^ odd(&text[from..at]));
        let client = text[at + 10..].split(|byte| *byte == b',').next()?;
        ((!is_quoted || is_torn) && address(host_and_port(client).0).is_some()).then_some(client)
    });
    let first = told.next()?;
    told.all(|other| other == first).then_some(first)
}

fn after<'a>(text: &'a [u8], marker: &[u8]) -> Option<&'a [u8]> {
    memmem::find(text, marker).and_then(|at| text.get(at + marker.len()..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_not_who_the_request_says() {
        for (text, expected) in [
            ("closed, client: 10.0.0.1, server: s, request: \"GET / HTTP/1.1\"", Some("10.0.0.1")),
            ("open() \"/a, client: 6.6.6.6, b\" failed, client: 10.0.0.1, server: s", Some("10.0.0.1")),
            (
                "closed, client: 10.0.0.1, server: s, request: \"GET /, client: 6.6.6.6, HTTP/1.1\"",
                Some("10.0.0.1"),
            ),
            ("open() \"/a\", client: 6.6.6.6, b\" failed, client: 10.0.0.1, server: s", None),
            ("open() \"/a\", client: 6.6.6.6, \"b\" failed, client: 10.0.0.1, server: s", None),
            ("closed while waiting", None),
        ] {
            assert_eq!(client(text.as_bytes()), expected.map(str::as_bytes), "{text}");
        }
    }
}
