//! A plain search for indicators: every place where the text of one stands, then its borders.
//!
//! It shares nothing with the matcher. Messages and values are folded; a message is also read with
//! its defanging and its escapes undone. What it finds in one reading or another, it finds.

use aho_corasick::{AhoCorasick, MatchKind};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Indicators, by kind and normal form, and how to search for them.
pub struct Plain {
    values: Vec<(String, String)>,
    addresses: BTreeMap<IpAddr, usize>,
    needles: AhoCorasick,
    /// The value of each needle.
    owners: Vec<usize>,
}

impl Plain {
    /// `values`: kinds as rule files name them, and normal forms.
    pub fn new(values: Vec<(String, String)>) -> Plain {
        let (mut needles, mut owners, mut addresses) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (index, (kind, value)) in values.iter().enumerate() {
            if kind == "ip" {
                addresses.insert(value.parse().expect("an address"), index);
                continue;
            }
            let folded = value.to_ascii_lowercase();
            let mut spellings = BTreeSet::from([folded.clone()]);
            match kind.as_str() {
                "url" => {
                    let rest = folded.split_once("://").expect("a scheme").1;
                    spellings = BTreeSet::from([rest.to_string()]);
                    // The path of a host alone need not be written.
                    spellings.extend(
                        rest.strip_suffix('/').filter(|host| !host.contains('/')).map(str::to_string),
                    );
                }
                "text" => spellings
                    .extend([folded.replace('\\', r"\\"), folded.replace('\\', r"\\").replace('"', "\\\"")]),
                _ => {}
            }
            for spelling in spellings {
                needles.push(spelling);
                owners.push(index);
            }
        }
        let needles =
            AhoCorasick::builder().match_kind(MatchKind::Standard).build(&needles).expect("an automaton");
        Plain { values, addresses, needles, owners }
    }

    /// The indices of the values that stand in a message.
    pub fn find(&self, message: &[u8]) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let blanked = blank(message);
        for at in self.needles.find_overlapping_iter(&message.to_ascii_lowercase()) {
            let index = self.owners[at.pattern().as_usize()];
            let (kind, value) = &self.values[index];
            // An escape is a border; `\n` may also be a path.
            let stands = |bytes: &[u8]| text(value, bytes, at.start(), at.end());
            if kind == "text" && (stands(message) || stands(&blanked)) {
                found.insert(index);
            }
        }
        for (number, reading) in readings(message).iter().enumerate() {
            for at in self.needles.find_overlapping_iter(&reading.to_ascii_lowercase()) {
                let index = self.owners[at.pattern().as_usize()];
                let (kind, value) = &self.values[index];
                // A URL stands as it was written, or the message holds another.
                let other = kind == "text" || (number == 3 && kind == "url");
                if !other && stands(kind, value, reading, at.start(), at.end()) {
                    found.insert(index);
                }
            }
            found.extend(addresses(reading).iter().filter_map(|address| self.addresses.get(address)));
        }
        found
    }
}

/// Defanged forms, and what they stand for.
const DEFANGED: [(&str, &str); 9] = [
    ("[.]", "."),
    ("(.)", "."),
    ("{.}", "."),
    ("[dot]", "."),
    ("(dot)", "."),
    ("[@]", "@"),
    ("[at]", "@"),
    ("[:]", ":"),
    ("hxxp", "http"),
];

/// What JSON and syslog daemons write for other characters.
const ESCAPES: [(&str, &str); 9] = [
    ("\\=", "="),
    ("\\/", "/"),
    ("\\.", "."),
    ("\\n", " "),
    ("\\r", " "),
    ("\\t", " "),
    ("\\\"", "\""),
    ("#011", " "),
    ("#012", " "),
];

/// The message as it is, refanged, with escapes undone, and with percent-encoding undone.
fn readings(message: &[u8]) -> Vec<Vec<u8>> {
    let plain = code_points(message);
    let refanged = replace(&plain, &DEFANGED);
    let (unescaped, decoded) = (replace(&refanged, &ESCAPES), percent(&refanged));
    vec![plain, refanged, unescaped, decoded]
}

/// Undoes `\uXXXX`, which cannot be read otherwise.
fn code_points(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at..at + 6).filter(|text| text.starts_with(b"\\u"));
        let code = code.and_then(|code| u32::from_str_radix(std::str::from_utf8(&code[2..]).ok()?, 16).ok());
        let row = bytes[..at].iter().rev().take_while(|byte| **byte == b'\\').count();
        match code.and_then(char::from_u32).filter(|_| row % 2 == 0) {
            Some(character) => {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                at += 6;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

fn replace(bytes: &[u8], pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    'bytes: while at < bytes.len() {
        for (from, to) in pairs {
            if bytes.get(at..at + from.len()).is_some_and(|text| text.eq_ignore_ascii_case(from.as_bytes())) {
                out.extend_from_slice(to.as_bytes());
                at += from.len();
                continue 'bytes;
            }
        }
        out.push(bytes[at]);
        at += 1;
    }
    out
}

fn percent(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match code.and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok()) {
            Some(byte) if byte < 0x80 => {
                out.push(byte);
                at += 3;
            }
            _ => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}

/// Whether what stands at a place is the value, not a part of something longer.
fn stands(kind: &str, value: &str, bytes: &[u8], start: usize, end: usize) -> bool {
    let before = char_before(&bytes[..start]);
    let after = char_after(&bytes[end..]);
    let word = |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let label = |character: Option<char>| word(character) || character == Some('-');
    let digits = |count: usize, radix: u32| {
        let digits = bytes.get(start..start + count).unwrap_or_default();
        digits.len() == count && digits.iter().all(|digit| char::from(*digit).is_digit(radix))
    };
    if kind != "url" && (before == Some('%') && digits(2, 16) || before == Some('#') && digits(3, 8)) {
        return false;
    }
    match kind {
        "domain" => {
            let next = bytes.get(end + 1).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
            let mut from = start;
            while from > 0 && (bytes[from - 1] == b'-') {
                from -= 1;
            }
            let left =
                before == Some('.') || !label(before) || (from < start && !word(char_before(&bytes[..from])));
            let mut to = end;
            while to < bytes.len() && bytes[to] == b'-' {
                to += 1;
            }
            let right = !(label(after) || after == Some('.') && next)
                || (to > end && !word(char_after(&bytes[to..])));
            left && right
        }
        "email" => {
            let next = bytes.get(end + 1).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
            let local = before.is_some_and(|c| c.is_alphanumeric() || "._-+~".contains(c));
            !(local || label(after) || after == Some('.') && next)
        }
        "url" => url(value, bytes, start, end),
        _ => !word(before) && !word(after),
    }
}

/// A text indicator needs a border where its own edge is of a word.
fn text(value: &str, bytes: &[u8], start: usize, end: usize) -> bool {
    let word = |character: Option<char>| character.is_some_and(|c| c.is_alphanumeric() || c == '_');
    (!word(value.chars().next()) || !word(char_before(&bytes[..start])))
        && (!word(value.chars().last()) || !word(char_after(&bytes[end..])))
}

/// The message with spaces for its escapes.
fn blank(message: &[u8]) -> Vec<u8> {
    let mut out = message.to_vec();
    for at in 0..message.len() {
        let digits = |from: usize, count: usize, radix: u32| {
            let digits = message.get(at + from..at + from + count).unwrap_or_default();
            digits.len() == count && digits.iter().all(|digit| char::from(*digit).is_digit(radix))
        };
        let odd = message[..=at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
        let length = match (message[at], message.get(at + 1)) {
            (b'%', _) if digits(1, 2, 16) => 3,
            (b'#', Some(b'0')) if digits(1, 3, 8) => 4,
            (b'\\', Some(b'u')) if odd && digits(2, 4, 16) => 6,
            (b'\\', Some(b'x')) if odd && digits(2, 2, 16) => 4,
            (b'\\', Some(b'n' | b'r' | b't')) if odd => 2,
            _ => 0,
        };
        out[at..at + length].fill(b' ');
    }
    out
}

/// What follows the scheme of a URL stands at a place; the host was folded, path and query were not.
fn url(value: &str, bytes: &[u8], start: usize, end: usize) -> bool {
    let (scheme, rest) = value.split_once("://").expect("a scheme");
    let path = rest.find('/').unwrap_or(rest.len());
    let (path, given) = (&rest.as_bytes()[path..], &bytes[(start + path).min(end)..end]);
    let head = bytes[..start].to_ascii_lowercase();
    // A host without a path is a URL behind a scheme only.
    if given != path && !(path == b"/" && given.is_empty() && head.ends_with(b"://")) {
        return false;
    }
    let left = match head.strip_suffix(b"://") {
        Some(head) => {
            let from = head.iter().rposition(|byte| !byte.is_ascii_alphanumeric()).map_or(0, |at| at + 1);
            head[from..] == *scheme.as_bytes()
        }
        None => !char_before(&head).is_some_and(|c| c.is_alphanumeric() || "_-./@\\".contains(c)),
    };
    let tail = &bytes[end..];
    let length = tail
        .iter()
        .position(|byte| byte.is_ascii_whitespace() || b"\"<>'`|".contains(byte) || *byte < 0x20)
        .unwrap_or(tail.len());
    let tail = &tail[..length];
    let closes = tail.iter().all(|byte| b".,;:!?)]}'\\*".contains(byte));
    // A comma or semicolon behind which a field begins.
    let field = tail.strip_prefix(b",").or(tail.strip_prefix(b";")).is_some_and(|tail| {
        let name =
            tail.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(byte)).count();
        name > 0 && tail.get(name) == Some(&b'=')
    });
    let ends = tail.first().is_some_and(|byte| b"#\\{}".contains(byte)) && !tail.starts_with(b"\\=");
    left && (closes || field || ends)
}

fn char_before(bytes: &[u8]) -> Option<char> {
    let tail = &bytes[bytes.len().saturating_sub(4)..];
    (0..tail.len()).find_map(|at| std::str::from_utf8(&tail[at..]).ok()).and_then(|text| text.chars().last())
}

fn char_after(bytes: &[u8]) -> Option<char> {
    let head = &bytes[..bytes.len().min(4)];
    (1..=head.len())
        .rev()
        .find_map(|to| std::str::from_utf8(&head[..to]).ok())
        .and_then(|text| text.chars().next())
}

/// Every address: whatever stands between borders and parses as one.
fn addresses(bytes: &[u8]) -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    let text = String::from_utf8_lossy(bytes);
    for word in text.split(|c: char| !(c.is_alphanumeric() || "_.-".contains(c))) {
        for part in word.split('-') {
            let part = part.trim_end_matches('.');
            let port = part.rsplit_once('.').filter(|(quad, port)| {
                quad.matches('.').count() == 3 && port.parse::<u16>().is_ok_and(|port| port > 255)
            });
            found.extend(port.map_or(part, |(quad, _)| quad).parse::<Ipv4Addr>().ok().map(IpAddr::V4));
        }
    }
    for word in text.split(|c: char| !(c.is_alphanumeric() || "_:.".contains(c))) {
        let word = word.trim_end_matches('.');
        let single = |word: &str| word.ends_with(':') && !word.ends_with("::");
        let word = if single(word) { &word[..word.len() - 1] } else { word };
        let word = if word.starts_with(':') && !word.starts_with("::") { &word[1..] } else { word };
        found.extend(word.parse::<Ipv6Addr>().ok().map(|address| IpAddr::V6(address).to_canonical()));
    }
    found
}
