//! Error logs of Apache and nginx, whose stamp the header has taken.

use super::access::decode_request;
use super::vocabulary::Names;
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
    if let Some(client) = after(rest, b", client: ") {
        names.source(out, client.split(|byte| *byte == b',').next().unwrap_or(client));
    }
    if let Some(host) = after(rest, b", host: \"") {
        let host = host.split(|byte| *byte == b'"').next().unwrap_or(host);
        names.also(out, b"http_host", &Cow::Borrowed(host));
    }
    if let Some(request) = after(rest, b", request: \"") {
        decode_request(request.split(|byte| *byte == b'"').next().unwrap_or(request), names, out);
    }
}

fn after<'a>(text: &'a [u8], marker: &[u8]) -> Option<&'a [u8]> {
    memmem::find(text, marker).and_then(|at| text.get(at + marker.len()..))
}
