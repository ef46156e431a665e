//! Queries that name servers log: BIND, Unbound, dnsmasq, PowerDNS, CoreDNS and Windows.

use super::vocabulary::{Names, address, number};
use crate::decode::{FieldId, Fields};
use memchr::{memchr, memmem};

/// Decodes a message of a daemon that is a name server.
pub(super) fn daemon<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    bind(text, names, out) || dnsmasq(text, names, out) || unbound(text, names, out)
}

/// Decodes a message that tells by itself that a name server wrote it.
pub(super) fn decode<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    coredns(text, names, out) || windows(text, names, out)
}

/// `client @0x7f 10.0.0.1#61568 (abc.com): query: abc.com IN A + (10.0.0.2)`,
/// `client 10.0.0.1#5: query (cache) 'abc.com/A/IN' denied`,
/// `client 10.0.0.1#5 (abc.com): rpz QNAME NXDOMAIN rewrite abc.com/A/IN via …`
fn bind<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let rest = [b"query: ".as_slice(), b"query failed"].into_iter().find_map(|word| {
        memmem::find(text, word)
            .and_then(|at| text.get(at + word.len()..))
            .map(|rest| (rest, word == b"query: "))
    });
    let slashed = || {
        text.split(|byte| matches!(byte, b' ' | b'\''))
            .find(|word| word.ends_with(b"/IN") && word.iter().filter(|byte| **byte == b'/').count() == 2)
    };
    match (rest, slashed()) {
        (Some((rest, true)), _) => {
            let mut words = rest.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
            names.word(out, FieldId::DnsQuestionName, words.next().unwrap_or_default());
            if let Some(kind) = words.nth(1) {
                names.word(out, FieldId::DnsQuestionType, kind);
            }
        }
        (_, Some(word)) => {
            let mut parts = word.split(|byte| *byte == b'/');
            names.word(out, FieldId::DnsQuestionName, parts.next().unwrap_or_default());
            names.word(out, FieldId::DnsQuestionType, parts.next().unwrap_or_default());
        }
        _ => return false,
    }
    // The names that are asked for may have the sign, too; who asks is the first word behind `client`.
    let asks = memmem::find(text, b"client ").and_then(|at| text.get(at + 7..));
    if let Some(client) =
        asks.and_then(|asks| asks.split(|byte| *byte == b' ').find(|word| !word.starts_with(b"@")))
        && memchr(b'#', client).is_some()
    {
        let client = client.strip_suffix(b":").unwrap_or(client);
        names.source(out, client);
    }
    true
}

/// `query[A] abc.com from 10.0.0.1`, `reply abc.com is 192.0.2.1`
fn dnsmasq<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    // With `log-queries=extra` a serial number and the client stand in front.
    let text = match text.split(|byte| *byte == b' ').next() {
        Some(serial) if number(serial).is_some() => {
            let rest = text[serial.len()..].trim_ascii_start();
            let end = memchr(b' ', rest).unwrap_or(rest.len());
            let client = rest[..end].split(|byte| *byte == b'/').next().unwrap_or_default();
            if address(client).is_some() {
                names.source(out, client);
                rest[end..].trim_ascii_start()
            } else {
                text
            }
        }
        _ => text,
    };
    if let Some(rest) = text.strip_prefix(b"query[")
        && let Some(close) = memmem::find(rest, b"] ")
    {
        names.word(out, FieldId::DnsQuestionType, &rest[..close]);
        let rest = &rest[close + 2..];
        // A name may have any bytes, but an address has none of these.
        let (name, client) = match memmem::rfind(rest, b" from ") {
            Some(at) => (&rest[..at], Some(&rest[at + 6..])),
            None => (rest, None),
        };
        names.word(out, FieldId::DnsQuestionName, name);
        if let Some(client) = client {
            names.source(out, client);
        }
        return true;
    }
    let mut words = text.split(|byte| *byte == b' ');
    if let (Some(b"reply" | b"cached" | b"forwarded" | b"config"), Some(name), Some(b"is" | b"to")) =
        (words.next(), words.next(), words.next())
    {
        names.word(out, FieldId::DnsQuestionName, name);
        return true;
    }
    false
}

/// `info: 10.0.0.1 abc.com. A IN`
fn unbound<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let text = match memmem::find(text, b"info: ") {
        // `[1523:0] info: …`
        Some(at) if at < THREAD_MAX => &text[at + 6..],
        _ => text,
    };
    let mut words = text.split(|byte| *byte == b' ');
    let (Some(client), Some(name), Some(kind), Some(b"IN")) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    // Local zones: `abc.com. always_nxdomain 10.0.0.1@4711 abc.com. A IN`.
    if address(client).is_none() {
        return false;
    }
    names.source(out, client);
    names.word(out, FieldId::DnsQuestionName, name.strip_suffix(b".").unwrap_or(name));
    names.word(out, FieldId::DnsQuestionType, kind);
    true
}

/// `[1523:0] `
const THREAD_MAX: usize = 24;

/// `[INFO] 10.0.0.1:36413 - 21583 "A IN abc.com. udp 43 false 512" NXDOMAIN qr,rd,ra 136 0.0001s`
fn coredns<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let Some(dash) = memmem::find(text, b" - ") else { return false };
    let client = text[..dash].rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    let Some(open) = memchr(b'"', &text[dash..]) else { return false };
    let inside = &text[dash + open + 1..];
    let mut words = inside.split(|byte| *byte == b' ');
    let (Some(kind), Some(b"IN"), Some(name), Some(transport @ (b"udp" | b"tcp"))) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return false;
    };
    names.source(out, client);
    names.word(out, FieldId::DnsQuestionType, kind);
    names.word(
        out,
        FieldId::DnsQuestionName,
        name.strip_suffix(b".").filter(|name| !name.is_empty()).unwrap_or(name),
    );
    names.transport(out, transport);
    true
}

/// The debug log of Windows: `0E70 PACKET 00000000033397A0 UDP Rcv 10.0.0.1 5b47 Q [0001 D NOERROR] A (3)abc(3)com(0)`
fn windows<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let Some(packet) = memmem::find(text, b"PACKET ") else { return false };
    let mut words = text[packet..].split(|byte| *byte == b' ').filter(|word| !word.is_empty()).skip(2);
    let (Some(transport @ (b"UDP" | b"TCP")), Some(way @ (b"Rcv" | b"Snd")), Some(peer)) =
        (words.next(), words.next(), words.next())
    else {
        return false;
    };
    if address(peer).is_none() {
        return false;
    }
    names.transport(out, transport);
    // Whom an answer is sent to is who asked.
    let response = words.clone().take(2).any(|word| word == b"R");
    if (way == b"Rcv") != response {
        names.source(out, peer);
    } else {
        names.destination(out, peer);
    }
    let Some(close) = memchr(b']', &text[packet..]) else { return true };
    let mut words = text[packet + close + 1..].split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    if let Some(kind) = words.next() {
        names.word(out, FieldId::DnsQuestionType, kind);
    }
    if let Some(labels) = words.next() {
        let name = dotted(labels);
        if !name.is_empty() {
            let name = out.text(&name);
            out.push(FieldId::DnsQuestionName, name);
        }
    }
    true
}

/// `(3)abc(3)com(0)` is `abc.com`.
fn dotted(labels: &[u8]) -> Vec<u8> {
    let mut name = Vec::with_capacity(labels.len());
    for label in labels.split(|byte| *byte == b'(').skip(1) {
        let Some(close) = memchr(b')', label) else { break };
        let label = &label[close + 1..];
        if !label.is_empty() {
            if !name.is_empty() {
                name.push(b'.');
            }
            name.extend_from_slice(label);
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_become_a_name() {
        for (labels, name) in [
            ("(4)wpad(6)domain(3)com(0)", "wpad.domain.com"),
            ("(0)", ""),
            ("(3)com", "com"),
            ("(3", ""),
            ("plain", ""),
        ] {
            assert_eq!(dotted(labels.as_bytes()), name.as_bytes(), "{labels}");
        }
    }
}
