//! HAProxy's logs of HTTP and TCP connections.

use super::access::decode_request;
use super::vocabulary::{Names, address, host_and_port};
use crate::decode::{FieldId, Fields};
use memchr::{memchr, memrchr};

/// Decodes `client:port [stamp] frontend backend/server timers status bytes … "request"`.
pub(super) fn decode<'a>(app: &[u8], text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    if app != b"haproxy" {
        return false;
    }
    if let Some(rest) = text.strip_prefix(b"Connect from ") {
        let mut words = rest.split(|byte| *byte == b' ');
        names.source(out, words.next().unwrap_or_default());
        if words.next() == Some(b"to".as_slice()) {
            names.destination(out, words.next().unwrap_or_default());
        }
        return true;
    }
    let Some(space) = memchr(b' ', text) else { return false };
    let (client, rest) = text.split_at(space);
    let Some(inside) = rest.strip_prefix(b" [") else { return false };
    let Some(close) = memchr(b']', inside) else { return false };
    if address(host_and_port(client).0).is_some() {
        names.source(out, client);
    }
    names.word_stamp(out, &inside[..close]);
    let rest = inside.get(close + 1..).unwrap_or_default();
    // Frontend, backend/server and timers; then, of HTTP, status and bytes.
    let mut words =
        rest.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).skip_while(|word| !is_timers(word));
    words.next();
    if let Some(request) = request(rest) {
        if let (Some(status), Some(bytes)) = (words.next(), words.next()) {
            names.count(out, FieldId::HttpResponseStatusCode, status);
            names.count(out, FieldId::HttpResponseBytes, bytes);
        }
        decode_request(request, names, out);
    }
    true
}

/// `0/0/1/0/2`; `-1` where a phase was not reached, `+` before an unfinished total.
fn is_timers(word: &[u8]) -> bool {
    word.contains(&b'/') && word.iter().all(|byte| byte.is_ascii_digit() || b"/-+".contains(byte))
}

/// The text between the last quotes.
fn request(text: &[u8]) -> Option<&[u8]> {
    let close = memrchr(b'"', text)?;
    let open = memrchr(b'"', &text[..close])?;
    text.get(open + 1..close)
}
