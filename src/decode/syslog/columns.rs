//! Lines whose values have no names: their place tells what they are.
//!
//! Layouts that are known by heart (Palo Alto, pf, Microsoft's DHCP server, Snort, the W3C fields of
//! IIS) name their columns, and the vocabulary does the rest. Of a line in no known layout, a column
//! that is a transport and two addresses beside each other are a connection.

use super::stamp::stamp;
use super::vocabulary::{Names, Text, address, number};
use crate::decode::{FieldId, Fields, Group, Value};
use memchr::{memchr, memmem};
use std::borrow::Cow;

/// Whether a message that has no header is one of Palo Alto or of Microsoft's DHCP server.
pub(super) fn sniff(text: &[u8]) -> bool {
    is_panos(text) || is_dhcp(text)
}

/// `1,2021/10/25 20:25:39,`
fn is_panos(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(b"1,") else { return false };
    matches!(rest, [b'2', b'0', _, _, b'/', _, _, b'/', _, _, b' ', ..]) && rest.get(19) == Some(&b',')
}

/// `30,09/20/21,09:16:15,`
fn is_dhcp(text: &[u8]) -> bool {
    let digits = text.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    let Some(rest) = text.get(digits..).filter(|_| digits > 0) else { return false };
    matches!(rest, [b',', _, _, b'/', _, _, b'/', _, _, b',', _, _, b':', _, _, b':', _, _, b',', ..])
}

/// The lines of IIS and HTTP.sys begin with date and time, which are the stamp; gives what follows it.
pub(super) fn sniff_w3c(text: &[u8]) -> Option<&[u8]> {
    if !matches!(text, [b'2', b'0', _, _, b'-', _, _, b'-', _, _, b' ', _, _, b':', ..]) {
        return None;
    }
    let rest = text.get(W3C_STAMP..).filter(|rest| rest.first() == Some(&b' '))?;
    stamp(text.get(..W3C_STAMP)?).ok()?;
    (w3c_access(rest).is_some() || w3c_error(rest).is_some()).then_some(rest)
}

/// `2018-12-31 12:02:53`
const W3C_STAMP: usize = 19;

/// Decodes a line in a known layout.
pub(super) fn decode<'a>(app: &[u8], text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    if is_panos(text) {
        return panos(text, names, out);
    }
    if is_dhcp(text) {
        return dhcp(text, names, out);
    }
    if app == b"filterlog" {
        return filterlog(text, names, out);
    }
    w3c(text, names, out)
        || snort(text, names, out)
        || barracuda(text, names, out)
        || pulse(text, names, out)
        || proxy(text, names, out)
}

/// The columns of a line with commas; quotes hold commas and doubled quotes.
fn csv(text: &[u8]) -> Vec<Text<'_>> {
    let mut columns = Vec::new();
    let mut rest = text;
    while columns.len() < COLUMNS_MAX {
        if let Some(inside) = rest.strip_prefix(b"\"") {
            let mut plain: Text<'_> = Cow::Borrowed(b"");
            let mut from = 0;
            let mut at = 0;
            let after = loop {
                let Some(offset) = memchr(b'"', inside.get(at..).unwrap_or_default()) else {
                    break None;
                };
                at += offset;
                if inside.get(at + 1) == Some(&b'"') {
                    plain.to_mut().extend_from_slice(&inside[from..=at]);
                    at += 2;
                    from = at;
                } else {
                    break Some(at);
                }
            };
            // A quote that nothing closes was none.
            if let Some(end) = after {
                match &mut plain {
                    Cow::Owned(plain) => plain.extend_from_slice(&inside[from..end]),
                    borrowed => *borrowed = Cow::Borrowed(&inside[..end]),
                }
                columns.push(plain);
                let tail = &inside[end + 1..];
                match memchr(b',', tail) {
                    Some(comma) => rest = &tail[comma + 1..],
                    None => return columns,
                }
                continue;
            }
        }
        match memchr(b',', rest) {
            Some(comma) => {
                columns.push(Cow::Borrowed(&rest[..comma]));
                rest = &rest[comma + 1..];
            }
            None => {
                columns.push(Cow::Borrowed(rest));
                break;
            }
        }
    }
    columns
}

/// The longest layouts have a hundred and some.
const COLUMNS_MAX: usize = 160;

/// Gives every column to the field that its name means; `""` is left out.
fn feed<'a>(layout: &[&'static str], columns: &[Text<'a>], names: &mut Names<'a>, out: &mut Fields) {
    for (name, column) in layout.iter().zip(columns) {
        let trimmed = column.trim_ascii();
        let untold = trimmed.is_empty() || (name.starts_with("nat") && matches!(trimmed, b"0.0.0.0" | b"0"));
        if !name.is_empty() && !untold {
            names.pair(out, Group::Kv, &Cow::Borrowed(name.as_bytes()), column);
        }
    }
}

/// PAN-OS: the fourth column tells the type, whose columns the vendor documents.
fn panos<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let columns = csv(text);
    let column = |at: usize| columns.get(at).map_or(&[][..], |text| text.trim_ascii());
    let kind = column(3).to_ascii_uppercase();
    out.push(FieldId::ObserverVendor, Value::Static("Palo Alto Networks"));
    out.push(FieldId::ObserverProduct, Value::Static("PAN-OS"));
    feed(&["", "generated_time", "serial_number", "type", "subtype"], &columns, names, out);
    let Some(rest) = columns.get(7..) else { return true };
    let session = || SESSION.iter().copied();
    let layout: Vec<&'static str> = match &*kind {
        b"TRAFFIC" => session().chain(TRAFFIC.iter().copied()).collect(),
        b"THREAT" | b"URL" | b"DATA" | b"WILDFIRE" => {
            let misc = if column(4) == b"url" { "url" } else { "file_name" };
            session().chain([misc]).chain(THREAT.iter().copied()).collect()
        }
        b"DECRYPTION" | b"GTP" | b"SCTP" | b"TUNNEL" | b"START" | b"END" | b"DROP" | b"DENY" => {
            session().collect()
        }
        b"SYSTEM" => vec!["vsys", "event_id", "object", "", "", "module", "level", "message"],
        b"CONFIG" => vec!["host", "vsys", "action", "administrator", "client", "result", "path"],
        b"USERID" => vec!["vsys", "src", "user", "data_source", "event_id"],
        b"HIPMATCH" | b"HIP-MATCH" => vec!["src_user", "vsys", "machine_name", "os", "src", "hip"],
        b"AUTHENTICATION" => {
            vec!["vsys", "src", "user", "normalized_user", "object", "policy", "repeat_count"]
        }
        b"GLOBALPROTECT" => vec![
            "vsys",
            "event_id",
            "stage",
            "auth_method",
            "tunnel_type",
            "src_user",
            "src_region",
            "machine_name",
            "public_ip",
            "public_ipv6",
            "private_ip",
            "private_ipv6",
        ],
        _ => Vec::new(),
    };
    feed(&layout, rest, names, out);
    true
}

/// What every log of sessions has behind the seven common columns.
const SESSION: [&str; 24] = [
    "src",
    "dst",
    "nat_src",
    "nat_dst",
    "rule_name",
    "src_user",
    "dst_user",
    "app",
    "vsys",
    "from_zone",
    "to_zone",
    "inbound_interface",
    "outbound_interface",
    "log_set",
    "",
    "session_id",
    "repeat_count",
    "src_port",
    "dst_port",
    "nat_src_port",
    "nat_dst_port",
    "flags",
    "proto",
    "action",
];

const TRAFFIC: [&str; 17] = [
    "bytes",
    "bytes_sent",
    "bytes_received",
    "packets",
    "start",
    "elapsed",
    "category",
    "",
    "sequence_number",
    "action_flags",
    "src_location",
    "dst_location",
    "",
    "packets_sent",
    "packets_received",
    "session_end_reason",
    "",
];

const THREAT: [&str; 20] = [
    "threat_name",
    "category",
    "severity",
    "direction",
    "sequence_number",
    "action_flags",
    "src_location",
    "dst_location",
    "",
    "content_type",
    "pcap_id",
    "file_hash",
    "cloud",
    "url_index",
    "user_agent",
    "file_type",
    "x_forwarded_for",
    "referer",
    "sender",
    "subject",
];

/// `30,09/20/21,09:16:15,DNS Update Request,172.28.43.169,a.example,0A0B0C0D0E0F,user,…`
fn dhcp<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let columns = csv(text);
    feed(
        &["event_id", "date", "time", "message", "", "computer_name", "src_mac", "user"],
        &columns,
        names,
        out,
    );
    if let Some(client) = columns.get(4).map(|client| client.trim_ascii()).and_then(address) {
        // The client is whom the lease is about; it reports nothing itself.
        out.push(FieldId::HostIp, Value::Ip(client));
        out.push(FieldId::SourceIp, Value::Ip(client));
    }
    true
}

/// pf's binary log as OPNsense and pfSense write it: the columns behind the IP version depend on it.
fn filterlog<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let columns = csv(text);
    let at = |at: usize| columns.get(at).map_or(&[][..], |text| text.trim_ascii());
    feed(
        &["rule_number", "sub_rule", "anchor", "rule_id", "interface", "reason", "action", "direction"],
        &columns,
        names,
        out,
    );
    names.put(
        out,
        None,
        FieldId::ObserverIngressInterface,
        super::vocabulary::Form::Interface,
        &Cow::Borrowed(b""),
        &columns.get(4).cloned().unwrap_or_default(),
    );
    let (layout, from): (&[&str], usize) = match at(8) {
        b"4" => (
            &["tos", "ecn", "ttl", "id", "offset", "flags", "protocol_id", "proto", "length", "src", "dst"],
            9,
        ),
        b"6" => (&["class", "flow_label", "hop_limit", "proto", "protocol_id", "length", "src", "dst"], 9),
        _ => return false,
    };
    out.push(FieldId::NetworkType, Value::Static(if at(8) == b"4" { "ipv4" } else { "ipv6" }));
    let Some(rest) = columns.get(from..) else { return true };
    feed(layout, rest, names, out);
    let Some(rest) = rest.get(layout.len()..) else { return true };
    let transport = out.find(FieldId::NetworkTransport);
    if matches!(transport, Some(Value::Static("tcp" | "udp" | "sctp"))) {
        feed(
            &["src_port", "dst_port", "data_length", "tcp_flags", "sequence", "acknowledgement", "window"],
            rest,
            names,
            out,
        );
    }
    true
}

/// The columns of IIS that stand around the method; those in front and behind vary with what is logged.
struct Access<'a> {
    server: Option<&'a [u8]>,
    site: Option<&'a [u8]>,
    /// What follows the site and the server, the method first.
    rest: &'a [u8],
}

/// The columns of IIS; empty ones are written as `-`.
fn w3c_words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b' ').filter(|word| !word.is_empty())
}

/// `[s-sitename] [s-computername] s-ip cs-method cs-uri-stem cs-uri-query s-port cs-username c-ip …`
fn w3c_access(text: &[u8]) -> Option<Access<'_>> {
    let method = w3c_words(text).take(4).position(is_method)?;
    let mut words = w3c_words(text);
    let (mut server, mut site) = (None, None);
    for word in words.by_ref().take(method) {
        if address(word).is_some() {
            server = server.or(Some(word));
        } else if !word.starts_with(b"W3SVC") {
            site = site.or(Some(word));
        }
    }
    let first = words.next()?;
    let from = (first.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let port = words.nth(2)?;
    let client = words.nth(1)?;
    if number(port).is_none() || (address(client).is_none() && client != b"-") {
        return None;
    }
    Some(Access { server, site, rest: text.get(from..)? })
}

/// `c-ip c-port s-ip s-port cs-version cs-method cs-uri sc-status …` of HTTP.sys.
fn w3c_error(text: &[u8]) -> Option<[&[u8]; 8]> {
    let mut words = text.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let mut found = [&[][..]; 8];
    for cell in &mut found {
        *cell = words.next()?;
    }
    let [client, client_port, server, server_port, version, ..] = found;
    let port = |word: &[u8]| number(word).is_some();
    (address(client).is_some()
        && port(client_port)
        && address(server).is_some()
        && port(server_port)
        && (version.starts_with(b"HTTP/") || version == b"-"))
        .then_some(found)
}

/// All columns of the extended format, and what a proxy may add.
const W3C_WORDS: usize = 32;

pub(super) fn is_method(word: &[u8]) -> bool {
    const METHODS: [&[u8]; 18] = [
        b"GET",
        b"POST",
        b"HEAD",
        b"PUT",
        b"DELETE",
        b"OPTIONS",
        b"CONNECT",
        b"PATCH",
        b"TRACE",
        b"PROPFIND",
        b"REPORT",
        b"RPC_IN_DATA",
        b"RPC_OUT_DATA",
        b"DEBUG",
        b"SEARCH",
        b"MKCOL",
        b"MOVE",
        b"LOCK",
    ];
    METHODS.contains(&word)
}

fn w3c<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    if let Some([client, client_port, server, server_port, version, method, target, status]) = w3c_error(text)
    {
        let layout = ["src", "src_port", "dst", "dst_port", "", "http_method", "url", "http_status"];
        let values = [client, client_port, server, server_port, version, method, target, status];
        feed(&layout, &values.map(Cow::Borrowed), names, out);
        if let Some(version) = version.strip_prefix(b"HTTP/") {
            names.word(out, FieldId::HttpVersion, version);
        }
        return true;
    }
    let Some(Access { server, site, rest }) = w3c_access(text) else { return false };
    let words: Vec<&[u8]> = w3c_words(rest).take(W3C_WORDS).collect();
    if let Some(server) = server {
        names.destination(out, server);
    }
    if let Some(site) = site {
        names.word(out, FieldId::HostName, site);
    }
    let rest: Vec<Text<'a>> = words.iter().map(|word| Cow::Borrowed(*word)).collect();
    feed(&["http_method", "url", "url_query", "dst_port", "user", "src"], &rest, names, out);
    let mut behind = words.get(6..).unwrap_or_default();
    if let [version, after @ ..] = behind
        && let Some(version) = version.strip_prefix(b"HTTP/")
    {
        names.word(out, FieldId::HttpVersion, version);
        behind = after;
    }
    if let [agent, after @ ..] = behind {
        // IIS writes a blank as `+`.
        let plain: Vec<u8> = agent.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
        if *agent != b"-" {
            let plain = out.text(&plain);
            out.push(FieldId::UserAgentOriginal, plain);
        }
        behind = after;
    }
    // Status, substatus and the code of Windows are the first three numbers in a row.
    let is_number = |word: &&[u8]| number(word).is_some();
    let Some(status) = behind.windows(2).position(|pair| pair.iter().all(&is_number)) else {
        return true;
    };
    names.count(out, FieldId::HttpResponseStatusCode, behind[status]);
    for word in &behind[..status] {
        if memmem::find(word, b"://").is_some() {
            names.word(out, FieldId::HttpRequestReferrer, word);
        } else if word.contains(&b'.') && !word.contains(&b'=') {
            names.also(out, b"http_host", &Cow::Borrowed(word));
        }
    }
    if let [_, _, _, sent, received, _, ..] = &behind[status..] {
        names.count(out, FieldId::HttpResponseBytes, sent);
        names.count(out, FieldId::SourceBytes, received);
    }
    true
}

/// Snort's CSV, and the one line of Snort and Suricata:
/// `[1:2100498:7] GPL … [Classification: …] [Priority: 2] {TCP} 10.0.0.1:80 -> 10.0.0.2:1234`.
fn snort<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let bare = text.trim_ascii_start();
    if let Some(rest) = bare.strip_prefix(b",") {
        let columns = csv(rest);
        let is_transport = columns.get(4).is_some_and(|column| transport(column.trim_ascii()));
        if !is_transport || columns.len() < 9 {
            return false;
        }
        let layout = [
            "generator",
            "signature_id",
            "revision",
            "message",
            "proto",
            "src",
            "src_port",
            "dst",
            "dst_port",
            "src_mac",
            "dst_mac",
        ];
        feed(&layout, &columns, names, out);
        if let Some(id) = columns.get(1).cloned() {
            names.put(out, None, FieldId::RuleId, super::vocabulary::Form::Word, &Cow::Borrowed(b""), &id);
        }
        return true;
    }
    let bare = bare.strip_prefix(b"[**] ").unwrap_or(bare);
    let Some(inside) = bare.strip_prefix(b"[") else { return false };
    let Some(close) = memchr(b']', inside.get(..SIGNATURE_MAX.min(inside.len())).unwrap_or_default()) else {
        return false;
    };
    let mut parts = inside[..close].split(|byte| *byte == b':');
    let (Some(generator), Some(signature), Some(revision)) = (parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    if [generator, signature, revision].into_iter().any(|part| number(part).is_none()) {
        return false;
    }
    names.word(out, FieldId::RuleId, signature);
    let rest = inside[close + 1..].trim_ascii_start();
    let end = memmem::find(rest, b" [").or_else(|| memmem::find(rest, b" {")).unwrap_or(rest.len());
    let title = rest[..end].trim_ascii();
    names.word(
        out,
        FieldId::RuleName,
        title.strip_prefix(b"\"").and_then(|title| title.strip_suffix(b"\"")).unwrap_or(title),
    );
    if let Some(arrow) = memmem::find(rest, b" -> ").filter(|_| memchr(b'\n', rest).is_some()) {
        return full(rest, arrow, names, out);
    }
    let Some(open) = memchr(b'{', rest) else { return true };
    let flow = &rest[open + 1..];
    let Some(close) = memchr(b'}', flow) else { return true };
    names.transport(out, &flow[..close]);
    let mut words = flow[close + 1..].split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    if let (Some(from), Some(b"->"), Some(to)) = (words.next(), words.next(), words.next()) {
        names.source(out, from);
        names.destination(out, to);
    }
    true
}

/// The alert of several lines: stamp and endpoints in one, the transport at the start of the next.
fn full<'a>(text: &'a [u8], arrow: usize, names: &mut Names<'a>, out: &mut Fields) -> bool {
    let line = memchr::memrchr(b'\n', &text[..arrow]).map_or(0, |at| at + 1);
    let head = &text[line..arrow];
    let from = head.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    let behind = &text[arrow + 4..];
    let end = behind.iter().position(|byte| matches!(byte, b' ' | b'\n')).unwrap_or(behind.len());
    if !names.is_timed() {
        names.word_stamp(out, head.get(..head.len() - from.len()).unwrap_or_default().trim_ascii());
    }
    names.source(out, from);
    names.destination(out, &behind[..end]);
    if let Some(next) = memchr(b'\n', behind).and_then(|at| behind.get(at + 1..)) {
        let end = memchr(b' ', next).unwrap_or(next.len());
        if transport(&next[..end]) {
            names.transport(out, &next[..end]);
        }
    }
    true
}

/// `1:2100498:7`
const SIGNATURE_MAX: usize = 40;

/// Words parted by blanks; those in quotes or brackets hold some.
fn words(text: &[u8]) -> Vec<Text<'_>> {
    let mut found = Vec::new();
    let mut rest = text.trim_ascii_start();
    while !rest.is_empty() && found.len() < COLUMNS_MAX {
        let close = match rest.first() {
            Some(b'"') => Some(b'"'),
            Some(b'[') => Some(b']'),
            _ => None,
        };
        if let Some(at) = close.and_then(|close| memchr(close, &rest[1..])) {
            found.push(Cow::Borrowed(&rest[1..=at]));
            rest = rest[at + 2..].trim_ascii_start();
            continue;
        }
        let end = memchr(b' ', rest).unwrap_or(rest.len());
        found.push(Cow::Borrowed(&rest[..end]));
        rest = rest[end..].trim_ascii_start();
    }
    found
}

/// The access, web and network firewall logs of Barracuda's gateways.
fn barracuda<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let kind = text.get(..3).unwrap_or_default();
    if !matches!(kind, b"TR " | b"WF " | b"NF ") {
        return false;
    }
    let columns = words(text);
    let at = |at: usize| columns.get(at).map_or(&[][..], |column| column.as_ref());
    match kind {
        b"TR " if address(at(1)).is_some() && address(at(3)).is_some() => {
            let layout = [
                "",
                "dst",
                "dst_port",
                "src",
                "src_port",
                "user",
                "certificate_user",
                "http_method",
                "tls",
                "http_host",
                "http_version",
                "http_status",
                "bytes_sent",
                "bytes_received",
                "cache_hit",
                "time_taken",
                "server",
                "server_port",
            ];
            feed(&layout, &columns, names, out);
            // How many columns stand between is a matter of the version; path, query and referrer follow.
            if let Some(path) =
                columns.iter().skip(layout.len()).position(|column| column.first() == Some(&b'/'))
            {
                let rest = columns.get(layout.len() + path..).unwrap_or_default();
                feed(&["url", "url_query", "referer", "cookie", "user_agent"], rest, names, out);
            }
            true
        }
        b"WF " if address(at(3)).is_some() => {
            let layout = ["", "level", "attack_name", "src", "src_port", "rule_name", "rule_type"];
            // Newer ones have the address and port of the service, too.
            if address(at(5)).is_some() {
                let layout = [
                    "",
                    "level",
                    "attack_name",
                    "src",
                    "src_port",
                    "dst",
                    "dst_port",
                    "rule_name",
                    "rule_type",
                ];
                feed(&layout, &columns, names, out);
            } else {
                feed(&layout, &columns, names, out);
            }
            if let Some(method) = columns.iter().position(|column| is_method(column)) {
                feed(&["http_method", "url"], columns.get(method..).unwrap_or_default(), names, out);
            }
            true
        }
        b"NF " if address(at(3)).is_some() => {
            feed(
                &["", "level", "proto", "src", "src_port", "dst", "dst_port", "action", "rule_name"],
                &columns,
                names,
                out,
            );
            true
        }
        _ => false,
    }
}

/// `2021-10-19 10:20:40 - node - [10.0.0.1] user(realm)[roles] - text` of Pulse Connect Secure.
fn pulse<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let Some(open) = memmem::find(text.get(..PULSE_MAX.min(text.len())).unwrap_or_default(), b" - [") else {
        return false;
    };
    let inside = &text[open + 4..];
    let Some(close) = memchr(b']', inside) else { return false };
    let rest = inside[close + 1..].trim_ascii_start();
    let (Some(realm), Some(said)) = (memchr(b'(', rest), memmem::find(rest, b" - ")) else { return false };
    if address(&inside[..close]).is_none() || realm > said {
        return false;
    }
    names.source(out, &inside[..close]);
    names.user(out, FieldId::UserName, &rest[..realm]);
    names.say(out, &Cow::Borrowed(&rest[said + 3..]));
    true
}

/// A stamp and the name of a node.
const PULSE_MAX: usize = 96;

/// The access logs of ProxySG: the method, perhaps the type of the content, then scheme, host, port and
/// path apart.
fn proxy<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let columns = words(text);
    let Some(method) = columns.iter().position(|column| is_method(column)) else { return false };
    let scheme = |at: usize| {
        columns.get(at).is_some_and(|word| {
            matches!(word.as_ref(), b"http" | b"https" | b"tcp" | b"ssl" | b"ftp" | b"rtsp")
        })
    };
    let Some(scheme) = (method + 1..method + 3).find(|at| scheme(*at)) else { return false };
    if columns.get(scheme + 2).is_none_or(|port| number(port).is_none()) {
        return false;
    }
    let Some(client) = columns[..method].iter().position(|column| address(column).is_some()) else {
        return false;
    };
    feed(&["src", "user"], columns.get(client..).unwrap_or_default(), names, out);
    feed(&["http_method"], columns.get(method..).unwrap_or_default(), names, out);
    let layout = ["", "http_host", "dst_port", "url", "url_query", "extension", "user_agent"];
    feed(&layout, columns.get(scheme..).unwrap_or_default(), names, out);
    let referrer = |word: &&Text<'a>| memmem::find(word, b"://").is_some();
    if let Some(referrer) = columns[..method].iter().find(referrer) {
        feed(&["referer"], std::slice::from_ref(referrer), names, out);
    }
    true
}

fn transport(word: &[u8]) -> bool {
    [
        b"tcp".as_slice(),
        b"udp",
        b"icmp",
        b"icmp6",
        b"icmpv6",
        b"ipv6-icmp",
        b"igmp",
        b"gre",
        b"esp",
        b"sctp",
        b"pim",
        b"ospf",
    ]
    .iter()
    .any(|known| word.eq_ignore_ascii_case(known))
}

/// Of a line in no known layout: a transport, and two addresses beside each other or beside their
/// ports, are a connection, the source first.
pub(super) fn connection<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let separator = [b',', b'\t', b'|', b';'].into_iter().find(|separator| {
        text.iter().filter(|byte| *byte == separator).take(SEPARATORS_MIN).count() >= SEPARATORS_MIN
    });
    let columns: Vec<&[u8]> = text
        .split(|byte| *byte == separator.unwrap_or(b' '))
        .filter(|column| separator.is_some() || !column.is_empty())
        .take(COLUMNS_MAX)
        .map(|column| {
            let column = column.trim_ascii();
            column.strip_prefix(b"\"").and_then(|inner| inner.strip_suffix(b"\"")).unwrap_or(column)
        })
        .collect();
    let Some(protocol) = columns.iter().copied().find(|column| transport(column)) else { return false };
    let at = |at: usize| columns.get(at).copied().unwrap_or_default();
    let port = |text: &[u8]| number(text).is_some_and(|port| port <= 0xffff);
    let with_ports = !protocol.eq_ignore_ascii_case(b"icmp");
    for first in 0..columns.len() {
        if address(at(first)).is_none() {
            continue;
        }
        let (second, ports) = if address(at(first + 1)).is_some() {
            let ports = (port(at(first + 2)) && port(at(first + 3))).then(|| (at(first + 2), at(first + 3)));
            (first + 1, ports)
        } else if port(at(first + 1)) && address(at(first + 2)).is_some() {
            let ports = port(at(first + 3)).then(|| (at(first + 1), at(first + 3)));
            (first + 2, ports)
        } else {
            continue;
        };
        names.source(out, at(first));
        names.destination(out, at(second));
        names.transport(out, protocol);
        if let Some((from, to)) = ports.filter(|_| with_ports) {
            names.count(out, FieldId::SourcePort, from);
            names.count(out, FieldId::DestinationPort, to);
        }
        return true;
    }
    false
}

/// A sentence has a comma or two.
const SEPARATORS_MIN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_columns() {
        for (name, text, expected) in [
            ("plain", "a,b,,c", vec!["a", "b", "", "c"]),
            ("quoted", r#""a,b",c"#, vec!["a,b", "c"]),
            ("doubled quotes", r#"x,"say ""hi""",y"#, vec!["x", r#"say "hi""#, "y"]),
            ("never closed", r#""a,b"#, vec!["\"a", "b"]),
            ("text behind the quote", r#""a" ,b"#, vec!["a", "b"]),
            ("empty", "", vec![""]),
        ] {
            let found = csv(text.as_bytes());
            let found: Vec<_> = found.iter().map(|text| std::str::from_utf8(text).unwrap()).collect();
            assert_eq!(found, expected, "{name}");
        }
    }
}
