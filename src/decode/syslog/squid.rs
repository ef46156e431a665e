//! Squid's native access log, which Cisco's web appliances write, too.

use super::stamp::stamp;
use super::vocabulary::{Form, Names, number};
use crate::decode::{FieldId, Fields, Value};
use std::borrow::Cow;

/// Whether the line is one of Squid's: an epoch with a fraction, a duration, an address, and
/// `CODE/status`; gives what follows the epoch.
pub(super) fn sniff(text: &[u8]) -> Option<&[u8]> {
    let [b'0'..=b'9', ..] = text else { return None };
    let end = text.get(..EPOCH_MAX.min(text.len()))?.iter().position(|byte| *byte == b' ')?;
    let (head, rest) = text.split_at(end);
    if !head.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') || head.len() < 10 {
        return None;
    }
    stamp(head).ok()?;
    entry(rest).is_some().then_some(rest)
}

/// `1157689312.049123456`
const EPOCH_MAX: usize = 24;

struct Entry<'a> {
    client: &'a [u8],
    status: &'a [u8],
    bytes: &'a [u8],
    method: &'a [u8],
    url: &'a [u8],
    user: &'a [u8],
    peer: &'a [u8],
}

fn entry(text: &[u8]) -> Option<Entry<'_>> {
    let mut words = text.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    number(words.next()?)?;
    let client = words.next()?;
    let code = words.next()?;
    let slash = code.iter().position(|byte| *byte == b'/')?;
    let (cache, status) = (&code[..slash], &code[slash + 1..]);
    number(status)?;
    if !cache.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_') {
        return None;
    }
    let (bytes, method, url, user, peer) =
        (words.next()?, words.next()?, words.next()?, words.next()?, words.next().unwrap_or_default());
    let peer = peer
        .iter()
        .position(|byte| *byte == b'/')
        .and_then(|slash| peer.get(slash + 1..))
        .unwrap_or_default();
    Some(Entry { client, status, bytes, method, url, user, peer })
}

/// Decodes one line, with its epoch or without.
pub(super) fn decode<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let (epoch, rest) = match sniff(text) {
        Some(rest) => (text.get(..text.len() - rest.len()), rest),
        None => (None, text),
    };
    let Some(entry) = entry(rest) else { return false };
    let mut put = |field, form, text| {
        names.put(out, None, field, form, &Cow::Borrowed(b""), &Cow::Borrowed(text));
    };
    if let Some(epoch) = epoch {
        put(FieldId::Timestamp, Form::Stamp, epoch);
    }
    put(FieldId::HttpRequestMethod, Form::Name, entry.method);
    put(FieldId::UrlOriginal, Form::Target, entry.url);
    put(FieldId::UserName, Form::Word, entry.user);
    put(FieldId::HttpResponseBytes, Form::Count, entry.bytes);
    names.source(out, entry.client);
    names.destination(out, entry.peer);
    if let Some(status) = number(entry.status).filter(|status| *status > 0) {
        out.push(FieldId::HttpResponseStatusCode, Value::Unsigned(status));
    }
    true
}
