//! Cisco ASA, FTD and IOS: messages behind a mnemonic, with addresses in their sentences.

use super::kv;
use super::stamp::stamp;
use super::vocabulary::{Form, Names, address, host_and_port, number};
use crate::decode::{FieldId, Fields, Value};
use memchr::memchr;
use std::borrow::Cow;

/// Decodes a message that stands behind a mnemonic such as `ASA-4-106023` or `SYS-5-CONFIG_I`.
pub(super) fn decode<'a>(
    mnemonic: &'a [u8],
    text: &'a [u8],
    names: &mut Names<'a>,
    out: &mut Fields,
) -> bool {
    let Some((level, code)) = parts(mnemonic) else { return false };
    out.push(FieldId::EventSeverity, Value::Unsigned(u64::from(level)));
    names.word(out, FieldId::EventCode, code);
    // Firepower's events 430001 to 430005 are pairs; so are some of IOS.
    if code.starts_with(b"43000") {
        return kv::decode(text, names, out);
    }
    sentence(text, names, out);
    true
}

/// ISE and ACS write the number and the parts of the message, then its stamp:
/// `0000081797 1 0 2022-03-03 06:43:59.935 +00:00 …`
pub(super) fn segment_stamp<'a>(app: &[u8], text: &'a [u8]) -> Option<&'a [u8]> {
    if !app.starts_with(b"CISE_") && !app.starts_with(b"CSCOacs_") {
        return None;
    }
    let mut rest = text;
    for _ in 0..3 {
        let space = memchr(b' ', rest)?;
        number(&rest[..space])?;
        rest = &rest[space + 1..];
    }
    let (after, _) = stamp(rest).ok()?;
    rest.get(..rest.len() - after.len())
}

/// `ASA-session-4-106023` is level 4 and code 106023.
fn parts(mnemonic: &[u8]) -> Option<(u8, &[u8])> {
    let place = mnemonic
        .windows(3)
        .position(|window| matches!(window, [b'-', b'0'..=b'9', b'-'] | [b'/', b'0'..=b'9', b'/']))?;
    let level = mnemonic.get(place + 1)? - b'0';
    Some((level, mnemonic.get(place + 3..)?))
}

/// Which side the next endpoint is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Source,
    Destination,
}

/// Finds the endpoints by the words before them: `src`, `from`, `for`, `dst`, `to`, `->`.
fn sentence<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) {
    // `Built outbound … for outside:A to inside:B`: the connection goes from B to A.
    let built_outbound = text.starts_with(b"Built outbound");
    let built_inbound = text.starts_with(b"Built inbound");
    let mut foreign = false;
    let mut user = false;
    let mut side = None;
    for word in text.split(|byte| matches!(byte, b' ' | b',' | b'[' | b']')).take(WORDS_MAX) {
        let bare = word.strip_suffix(b":").unwrap_or(word);
        if user && bare != b"=" && !bare.is_empty() {
            user = false;
            let name = bare.trim_ascii();
            let name = name.strip_prefix(b"'").unwrap_or(name).strip_prefix(b"<").unwrap_or(name);
            let end = name.iter().position(|byte| matches!(byte, b'\'' | b'>' | b'"')).unwrap_or(name.len());
            let name = &name[..end];
            if !NO_NAMES.contains(&name) {
                names.put(
                    out,
                    None,
                    FieldId::UserName,
                    Form::User(FieldId::UserDomain),
                    &EMPTY,
                    &Cow::Borrowed(name),
                );
            }
            continue;
        }
        match bare {
            b"" | b"=" | b"by" | b"on" | b"at" | b"interface" => continue,
            b"user" | b"User" | b"Username" | b"username" | b"uname" => {
                user = true;
                continue;
            }
            b"IP" | b"ip" if side.is_none() => {
                side = Some(Side::Source);
                continue;
            }
            b"faddr" => {
                side = Some(if built_inbound { Side::Source } else { Side::Destination });
                foreign = true;
                continue;
            }
            b"laddr" => {
                side = Some(if built_inbound { Side::Destination } else { Side::Source });
                foreign = true;
                continue;
            }
            // The translated address; the local one follows.
            b"gaddr" => {
                side = None;
                continue;
            }
            b"src" | b"from" | b"for" | b"Source" | b"source" => {
                side = Some(Side::Source);
                continue;
            }
            b"dst" | b"to" | b"->" | b"destination" => {
                side = Some(Side::Destination);
                continue;
            }
            b"tcp" | b"udp" | b"icmp" | b"TCP" | b"UDP" | b"ICMP" | b"GRE" | b"ESP" | b"gre" | b"esp" => {
                names.put(out, None, FieldId::NetworkTransport, Form::Protocol, &EMPTY, &Cow::Borrowed(bare));
                // `permitted tcp 10.0.0.1(1) -> 10.0.0.2(2)` has no word before the source.
                side = side.or(Some(Side::Source));
                continue;
            }
            b"Deny" | b"Denied" | b"denied" => {
                names.word(out, FieldId::EventAction, b"deny");
                continue;
            }
            b"permitted" | b"Permitted" | b"est-allowed" => {
                names.word(out, FieldId::EventAction, b"allow");
                continue;
            }
            _ => {}
        }
        let bare = bare.strip_prefix(b"<").and_then(|bare| bare.strip_suffix(b">")).unwrap_or(bare);
        let Some((host, port, interface)) = endpoint(bare) else { continue };
        let turned = match side {
            Some(Side::Source) if built_outbound && !foreign => Side::Destination,
            Some(Side::Destination) if built_outbound && !foreign => Side::Source,
            Some(side) => side,
            // `(10.0.0.1/80)` behind an endpoint is its translation; one without a word is neither.
            None => continue,
        };
        let (port_field, interface_field) = match turned {
            Side::Source => (FieldId::SourcePort, FieldId::ObserverIngressInterface),
            Side::Destination => (FieldId::DestinationPort, FieldId::ObserverEgressInterface),
        };
        let written = match turned {
            Side::Source => names.source(out, host),
            Side::Destination => names.destination(out, host),
        };
        if written && out.find(port_field).is_none() {
            if let Some(port) = port {
                out.push(port_field, Value::Unsigned(u64::from(port)));
            }
            if let Some(interface) = interface {
                names.word(out, interface_field, interface);
            }
        }
        side = None;
    }
}

/// Words that follow `user` in sentences and are no name.
const NO_NAMES: [&[u8]; 16] = [
    b"",
    b"entry",
    b"ACL",
    b"session",
    b"profile",
    b"from",
    b"has",
    b"is",
    b"was",
    b"authentication",
    b"login",
    b"accounting",
    b"logged",
    b"priv",
    b"name",
    b"Requested",
];

const EMPTY: Cow<'static, [u8]> = Cow::Borrowed(b"");

/// The longest messages name both endpoints within their first sentence.
const WORDS_MAX: usize = 64;

/// Address or name, port, interface.
type Endpoint<'a> = (&'a [u8], Option<u16>, Option<&'a [u8]>);

/// `dmz:10.1.2.30/63016`, `outside/10.0.0.1(23)`, `10.0.0.1/80`, `10.0.0.1`: address, port and
/// interface.
fn endpoint(word: &[u8]) -> Option<Endpoint<'_>> {
    if word.first() == Some(&b'(') {
        return None;
    }
    let plain = |text| {
        let (host, port) = host_and_port(text);
        address(host).map(|_| (host, port))
    };
    if let Some((host, port)) = plain(word) {
        return Some((host, port, None));
    }
    // `10.1.2.3(user)` and `10.1.2.3/53(LOCAL\user)`
    if let Some(open) = memchr(b'(', word)
        && let Some((host, port)) = plain(&word[..open])
    {
        return Some((host, port, None));
    }
    let at = word.iter().position(|byte| matches!(byte, b':' | b'/'))?;
    let (interface, rest) = word.split_at(at);
    let rest = &rest[1..];
    let end = match memchr(b'(', rest) {
        Some(open)
            if rest
                .get(open + 1..)
                .and_then(|inside| inside.strip_suffix(b")"))
                .and_then(number)
                .is_none() =>
        {
            open
        }
        _ => rest.len(),
    };
    // Where the firewall resolves names: `outside:ns10/53`.
    let named = || {
        let (name, port) = host_and_port(&rest[..end]);
        let lettered = name.first().is_some_and(u8::is_ascii_alphabetic) && word.get(at) == Some(&b':');
        port.filter(|_| lettered).map(|port| (name, Some(port)))
    };
    let (host, port) = plain(&rest[..end]).or_else(named)?;
    (!interface.is_empty()).then_some((host, port, Some(interface)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for (word, expected) in [
            ("dmz:10.1.2.30/63016", Some(("10.1.2.30", Some(63016), Some("dmz")))),
            ("outside/10.0.0.1(23)", Some(("10.0.0.1", Some(23), Some("outside")))),
            ("10.0.0.1/80", Some(("10.0.0.1", Some(80), None))),
            ("192.168.20.252(55244)", Some(("192.168.20.252", Some(55244), None))),
            ("10.0.0.1", Some(("10.0.0.1", None, None))),
            (
                "Outside:10.123.123.123/53723(LOCAL\\Elastic)",
                Some(("10.123.123.123", Some(53723), Some("Outside"))),
            ),
            ("inside:2001:db8::1/443", Some(("2001:db8::1", Some(443), Some("inside")))),
            ("outside:ns10/53", Some(("ns10", Some(53), Some("outside")))),
            ("(10.0.0.1/80)", None),
            ("connection", None),
        ] {
            let found = endpoint(word.as_bytes());
            let expected = expected.map(|(host, port, interface): (&str, Option<u16>, Option<&str>)| {
                (host.as_bytes(), port, interface.map(str::as_bytes))
            });
            assert_eq!(found, expected, "{word}");
        }
    }
}
