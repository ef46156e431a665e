//! Takes one constituent's addresses, and text that contains them, out of another's alert.
//!
//! [`addresses`] finds addresses in text as people and devices write them; [`mask`] walks an event
//! and blanks those that a predicate names. Blanking too much is harmless, too little is not: so
//! defanged, dashed (`ip-192-0-2-5`) and reverse (`5.2.0.192.in-addr.arpa`) forms count too.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// What stands in place of what was taken out.
pub const MASKED: &str = "[masked]";

/// How addresses in text are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Dotted or defanged, not part of a longer dotted number.
    Strict,
    /// Anything that may be an address to a reader.
    Loose,
}

/// Depth of an event beyond which values are dropped rather than walked: decoders nest five deep.
const MAX_DEPTH: usize = 16;

/// Takes out of `event` every address that `hidden` names, and every occurrence of `names`.
///
/// A field that is nothing but an address is removed, since a mapping of type `ip` would refuse
/// any other text; in text, and in names of fields, [`MASKED`] takes its place. Returns whether
/// anything was taken out.
pub fn mask(event: &mut Map<String, Value>, hidden: &dyn Fn(IpAddr) -> bool, names: &[String]) -> bool {
    let mut changed = false;
    for side in ["source", "destination"] {
        changed |= mask_side(event, side, hidden);
    }
    mask_base64(event, hidden, names, &mut changed);
    mask_object(event, &Mask { hidden, names }, 0, &mut changed);
    changed
}

/// Text without the addresses that `hidden` names and without `names`.
pub fn mask_text<'a>(text: &'a str, hidden: &dyn Fn(IpAddr) -> bool, names: &[String]) -> Cow<'a, str> {
    match mask_bytes(text.as_bytes(), hidden, names) {
        // Borders of what is taken out are ASCII, so what is left is UTF-8 still.
        Some(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        None => Cow::Borrowed(text),
    }
}

struct Mask<'a> {
    hidden: &'a dyn Fn(IpAddr) -> bool,
    names: &'a [String],
}

/// An endpoint whose address is hidden keeps only what says nothing of who it is.
fn mask_side(event: &mut Map<String, Value>, side: &str, hidden: &dyn Fn(IpAddr) -> bool) -> bool {
    let Some(Value::Object(endpoint)) = event.get_mut(side) else { return false };
    let address = |value: Option<&Value>| value?.as_str()?.parse::<IpAddr>().ok();
    let translated = endpoint.get("nat").and_then(|nat| address(nat.get("ip")));
    if !address(endpoint.get("ip")).into_iter().chain(translated).any(hidden) {
        return false;
    }
    endpoint.retain(|key, _| matches!(key.as_str(), "port" | "bytes" | "packets"));
    true
}

fn mask_base64(
    event: &mut Map<String, Value>,
    hidden: &dyn Fn(IpAddr) -> bool,
    names: &[String],
    changed: &mut bool,
) {
    let Some(Value::Object(roje)) = event.get_mut("roje") else { return };
    let Some(encoded) = roje.get("original_base64").and_then(Value::as_str) else { return };
    match STANDARD.decode(encoded) {
        Ok(bytes) => {
            if let Some(bytes) = mask_bytes(&bytes, hidden, names) {
                roje.insert("original_base64".to_owned(), Value::from(STANDARD.encode(bytes)));
                *changed = true;
            }
        }
        Err(_) => {
            roje.remove("original_base64");
            *changed = true;
        }
    }
}

fn mask_object(object: &mut Map<String, Value>, mask: &Mask<'_>, depth: usize, changed: &mut bool) {
    let renamed = object.keys().any(|key| mask_bytes(key.as_bytes(), mask.hidden, mask.names).is_some());
    if renamed {
        let old = std::mem::take(object);
        for (key, value) in old {
            object.insert(mask_text(&key, mask.hidden, mask.names).into_owned(), value);
        }
        *changed = true;
    }
    object.retain(|key, value| key == "original_base64" || keep(value, mask, depth, changed));
}

/// Masks a value in place; false when it has to go.
fn keep(value: &mut Value, mask: &Mask<'_>, depth: usize, changed: &mut bool) -> bool {
    if depth >= MAX_DEPTH {
        *changed = true;
        return false;
    }
    match value {
        Value::String(text) => {
            if text.parse::<IpAddr>().is_ok_and(mask.hidden) {
                *changed = true;
                return false;
            }
            if let Cow::Owned(masked) = mask_text(text, mask.hidden, mask.names) {
                *text = masked;
                *changed = true;
            }
        }
        Value::Array(items) => items.retain_mut(|item| keep(item, mask, depth + 1, changed)),
        Value::Object(object) => mask_object(object, mask, depth + 1, changed),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
    true
}

/// None when there is nothing to take out.
fn mask_bytes(text: &[u8], hidden: &dyn Fn(IpAddr) -> bool, names: &[String]) -> Option<Vec<u8>> {
    let mut spans: Vec<Range<usize>> = Vec::new();
    addresses(text, Reading::Loose, &mut |span, address| {
        if hidden(address) {
            spans.push(span);
        }
    });
    for name in names.iter().filter(|name| !name.is_empty()) {
        spans.extend(memchr::memmem::find_iter(text, name).map(|at| at..at + name.len()));
    }
    if spans.is_empty() {
        return None;
    }
    spans.sort_unstable_by_key(|span| span.start);
    let mut out = Vec::with_capacity(text.len());
    let mut done = 0;
    for span in spans {
        if span.start >= done {
            out.extend_from_slice(text.get(done..span.start).unwrap_or_default());
            out.extend_from_slice(MASKED.as_bytes());
        }
        done = done.max(span.end);
    }
    out.extend_from_slice(text.get(done..).unwrap_or_default());
    Some(out)
}

/// Calls `each` with every address that stands in the text, and where.
pub fn addresses(text: &[u8], reading: Reading, each: &mut dyn FnMut(Range<usize>, IpAddr)) {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        if !(byte.is_ascii_hexdigit() || *byte == b':') {
            at += 1;
            continue;
        }
        let end = run_end(text, at);
        let run = text.get(at..end).unwrap_or_default();
        if memchr::memchr_iter(b':', run).nth(1).is_some()
            && let Some((span, address)) = ipv6(run)
        {
            each(at + span.start..at + span.end, IpAddr::V6(address));
            at += span.end;
            continue;
        }
        // Inside the run, or reaching out of it over `-` and `[.]`.
        at = ipv4_in_run(text, at..end, reading, each);
    }
}

/// The end of a run of characters that IPv6 addresses consist of.
fn run_end(text: &[u8], start: usize) -> usize {
    let rest = text.get(start..).unwrap_or_default();
    let length = rest.iter().take_while(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
    start + length.count()
}

/// Groups that may stand before or behind an address in one run: a port, a line number.
const MAX_TRIMS: usize = 4;
/// No run longer than this is an address with a few groups around it.
const MAX_RUN: usize = 128;

/// The address in a run, with up to [`MAX_TRIMS`] foreign groups on either side.
fn ipv6(run: &[u8]) -> Option<(Range<usize>, Ipv6Addr)> {
    let run = std::str::from_utf8(run.get(..run.len().min(MAX_RUN))?).ok()?;
    let mut start = 0;
    for _ in 0..=MAX_TRIMS {
        let mut end = run.len();
        for _ in 0..=MAX_TRIMS {
            let candidate = run.get(start..end)?;
            if let Ok(address) = candidate.parse::<Ipv6Addr>() {
                return Some((start..end, address));
            }
            match candidate.rfind([':', '.']) {
                Some(border) if border > 0 => end = start + border,
                _ => break,
            }
        }
        start += run.get(start..)?.find([':', '.'])? + 1;
    }
    None
}

/// Reports the dotted addresses that begin inside `run`; returns where to read on.
fn ipv4_in_run(
    text: &[u8],
    run: Range<usize>,
    reading: Reading,
    each: &mut dyn FnMut(Range<usize>, IpAddr),
) -> usize {
    let mut at = run.start;
    while at < run.end {
        let fresh = at == 0 || !text.get(at - 1).is_some_and(u8::is_ascii_digit);
        match fresh.then(|| ipv4(text, at, reading)).flatten() {
            Some((end, address)) => {
                each(at..end, IpAddr::V4(address));
                at = end;
            }
            None => at += 1,
        }
    }
    at.max(run.end)
}

/// The dotted address that begins at `start`, and its end.
fn ipv4(text: &[u8], start: usize, reading: Reading) -> Option<(usize, Ipv4Addr)> {
    let mut octets = [0u8; 4];
    let (mut at, first) = octet(text, start)?;
    octets[0] = first;
    let separator = separator(text.get(at..)?, reading)?;
    for slot in &mut octets[1..] {
        let rest = text.get(at..)?;
        if !rest.starts_with(separator) {
            return None;
        }
        (at, *slot) = octet(text, at + separator.len())?;
    }
    let longer =
        |one: Option<&u8>, two: Option<&u8>| one == Some(&b'.') && two.is_some_and(u8::is_ascii_digit);
    let before = |back: usize| start.checked_sub(back).and_then(|at| text.get(at));
    if reading == Reading::Strict && (longer(text.get(at), text.get(at + 1)) || longer(before(1), before(2)))
    {
        return None;
    }
    const REVERSE: &[u8] = b".in-addr.arpa";
    let behind = text.get(at..).unwrap_or_default();
    if behind.get(..REVERSE.len()).is_some_and(|name| name.eq_ignore_ascii_case(REVERSE)) {
        octets.reverse();
        at += REVERSE.len();
    }
    Some((at, Ipv4Addr::from(octets)))
}

fn separator(text: &[u8], reading: Reading) -> Option<&'static [u8]> {
    let known: &[&[u8]] = match reading {
        Reading::Strict => &[b".", b"[.]"],
        Reading::Loose => &[b".", b"[.]", b"(.)", b"-", b"_", b"%2E", b"%2e"],
    };
    known.iter().find(|separator| text.starts_with(separator)).copied()
}

/// A number up to 255 that no digit follows, and its end.
fn octet(text: &[u8], start: usize) -> Option<(usize, u8)> {
    let digits = text.get(start..)?.iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=3).contains(&digits) {
        return None;
    }
    let value = std::str::from_utf8(text.get(start..start + digits)?).ok()?.parse().ok()?;
    Some((start + digits, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(text: &str, reading: Reading) -> Vec<String> {
        let mut all = Vec::new();
        addresses(text.as_bytes(), reading, &mut |span, address| {
            assert!(text.get(span).is_some());
            all.push(address.to_string());
        });
        all
    }

    #[test]
    fn addresses_are_found_as_they_are_written() {
        for (name, text, strict, loose) in [
            ("plain", "from 192.0.2.5 to", vec!["192.0.2.5"], vec!["192.0.2.5"]),
            ("port", "192.0.2.5:53#1", vec!["192.0.2.5"], vec!["192.0.2.5"]),
            ("defanged", "192[.]0[.]2[.]5", vec!["192.0.2.5"], vec!["192.0.2.5"]),
            ("after hex letters", "cafe192.0.2.5", vec!["192.0.2.5"], vec!["192.0.2.5"]),
            ("dashed", "ip-192-0-2-5.x", vec![], vec!["192.0.2.5"]),
            ("object id", "1.3.6.1.4.1", vec![], vec!["1.3.6.1"]),
            ("reverse", "5.2.0.192.in-addr.arpa.", vec!["192.0.2.5"], vec!["192.0.2.5"]),
            ("too large", "256.0.2.5", vec![], vec![]),
            ("IPv6", "from 2001:db8::1, x", vec!["2001:db8::1"], vec!["2001:db8::1"]),
            ("IPv6 in brackets", "[2001:db8::1]:443", vec!["2001:db8::1"], vec!["2001:db8::1"]),
            ("IPv6 behind a colon", "client:2001:db8::1.", vec!["2001:db8::1"], vec!["2001:db8::1"]),
            ("mapped", "::ffff:192.0.2.5", vec!["::ffff:192.0.2.5"], vec!["::ffff:192.0.2.5"]),
            ("time of day", "22:14:15 x", vec![], vec![]),
            ("time before address", "22:14:15:192.0.2.5", vec!["192.0.2.5"], vec!["192.0.2.5"]),
            ("end of sentence", "to 192.0.2.5.", vec!["192.0.2.5"], vec!["192.0.2.5"]),
        ] {
            assert_eq!(found(text, Reading::Strict), strict, "{name}, strict");
            assert_eq!(found(text, Reading::Loose), loose, "{name}, loose");
        }
    }

    #[test]
    fn a_hostile_run_is_cheap() {
        let text = ":1".repeat(40_000) + &"1.".repeat(40_000) + &":".repeat(60_000);
        let mut count = 0;
        addresses(text.as_bytes(), Reading::Loose, &mut |_, _| count += 1);
        assert!(count > 0);
    }

    #[test]
    fn an_event_is_masked_everywhere() {
        let hidden = |address: IpAddr| address.to_canonical().to_string().starts_with("192.0.2.");
        let mut event = json!({
            "source": {"ip": "192.0.2.5", "port": 5, "mac": "00-00", "user": {"name": "x"}},
            "destination": {"ip": "198.51.100.7", "port": 443},
            "host": {"ip": ["192.0.2.9", "10.0.0.1"], "name": "fw1.bank.example"},
            "message": "deny 192.0.2.5 -> 198.51.100.7 by fw1.bank.example (::ffff:192.0.2.8)",
            "event": {"original": "a 192-0-2-5 b"},
            "kv": {"peer 192.0.2.77": "1"},
            "roje": {"original_base64": STANDARD.encode(b"\xff 192.0.2.5 \xfe")},
        });
        let Value::Object(event) = &mut event else { unreachable!() };
        assert!(mask(event, &hidden, &["fw1.bank.example".to_owned()]));
        let base64 = STANDARD.decode(event["roje"]["original_base64"].as_str().unwrap()).unwrap();
        assert_eq!(base64, b"\xff [masked] \xfe");
        event.remove("roje");
        assert_eq!(
            Value::Object(event.clone()),
            json!({
                "source": {"port": 5},
                "destination": {"ip": "198.51.100.7", "port": 443},
                "host": {"ip": ["10.0.0.1"], "name": "[masked]"},
                "message": "deny [masked] -> 198.51.100.7 by [masked] ([masked])",
                "event": {"original": "a [masked] b"},
                "kv": {"peer [masked]": "1"},
            })
        );
    }

    #[test]
    fn nothing_to_hide_changes_nothing() {
        let Value::Object(mut event) = json!({"message": "192.0.2.5", "source": {"ip": "192.0.2.5"}}) else {
            unreachable!()
        };
        let before = event.clone();
        assert!(!mask(&mut event, &|_| false, &[]));
        assert_eq!(event, before);
    }
}
