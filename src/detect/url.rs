//! URLs: where they end in running text, and their normal form.
//!
//! Rules and messages share [`normal`]. It undoes what logs and analysts do to URLs (JSON and CEF
//! escapes, percent-encoding of the whole, defanged dots and schemes), folds the host, drops user
//! information, default port and fragment, and keeps path and query.

use super::host;
use super::lexis::{closing, dot, escape, hex_byte, is_label};
use std::net::Ipv6Addr;

/// Longest URL that is compared: what browsers and proxies take.
pub(super) const MAX_URL: usize = 8 * 1024;
/// Enough for user information, 253 bytes of host, and a port.
const MAX_AUTHORITY: usize = 512;
/// Longest scheme; real ones are far shorter.
const MAX_SCHEME: usize = 16;
/// Punctuation behind a URL that is tried with and without.
const MAX_TRIMS: usize = 8;
/// Commas and semicolons behind which a field seems to begin, tried as ends.
const MAX_SOFT_ENDS: usize = 4;

/// What stands between scheme and authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delimiter {
    pub start: usize,
    pub end: usize,
    /// The URL is percent-encoded as a whole: `http%3A%2F%2F`.
    pub encoded: bool,
}

/// The delimiter whose colon (`:` or `%3A`) is at `at`: `://`, `:\/\/`, `[:]//`, `[://]`, `%3A%2F%2F`.
pub(super) fn delimiter(bytes: &[u8], at: usize) -> Option<Delimiter> {
    let open = at > 0 && bytes.get(at - 1) == Some(&b'[');
    match bytes.get(at..)? {
        [b':', b'/', b'/', b']', ..] if open => {
            Some(Delimiter { start: at - 1, end: at + 4, encoded: false })
        }
        [b':', b'/', b'/', ..] => Some(Delimiter { start: at, end: at + 3, encoded: false }),
        [b':', b'\\', b'/', b'\\', b'/', ..] => Some(Delimiter { start: at, end: at + 5, encoded: false }),
        [b':', b']', b'/', b'/', ..] if open => {
            Some(Delimiter { start: at - 1, end: at + 4, encoded: false })
        }
        [b':', b']', b'\\', b'/', b'\\', b'/', ..] if open => {
            Some(Delimiter { start: at - 1, end: at + 6, encoded: false })
        }
        [b'%', b'3', b'a' | b'A', b'/', b'/', ..] => {
            Some(Delimiter { start: at, end: at + 5, encoded: true })
        }
        [b'%', b'3', b'a' | b'A', b'%', b'2', b'f' | b'F', b'%', b'2', b'f' | b'F', ..] => {
            Some(Delimiter { start: at, end: at + 9, encoded: true })
        }
        _ => None,
    }
}

/// Where the scheme before a delimiter begins: letters and digits, a letter first.
pub(super) fn scheme_start(bytes: &[u8], delimiter: usize) -> Option<usize> {
    let head = bytes.get(..delimiter)?;
    let length =
        head.iter().rev().take(MAX_SCHEME + 5).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let mut start = delimiter - length;
    if let Some(found) = escape(bytes, start).filter(|found| found.skip < length) {
        start += found.skip;
    }
    while bytes.get(start).is_some_and(u8::is_ascii_digit) {
        start += 1;
    }
    (1..=MAX_SCHEME).contains(&(delimiter - start)).then_some(start)
}

/// Calls `each` with every place where the URL in running text may end.
///
/// A URL that stands in quotes or brackets ends with them. Punctuation behind it is tried with and
/// without, and so is a comma or semicolon behind which a field begins. Returns the bytes looked
/// at.
pub(super) fn ends(
    bytes: &[u8],
    start: usize,
    authority: usize,
    encoded: bool,
    each: &mut impl FnMut(usize),
) -> usize {
    let opener = start.checked_sub(1).and_then(|before| bytes.get(before)).copied().unwrap_or(0);
    let limit = bytes.len().min(authority.saturating_add(3 * MAX_URL));
    let mut at = authority;
    let mut depth = 0usize;
    let mut soft = 0;
    // Defanged dots are looked for in the authority only.
    let in_authority = |at: usize| {
        let text = bytes.get(authority..at).unwrap_or_default();
        text.len() <= MAX_AUTHORITY && memchr::memchr2(b'/', b'?', text).is_none()
    };
    while at < limit {
        let byte = bytes[at];
        if PLAIN[usize::from(byte)] {
            at += 1;
            continue;
        }
        let mut length = 1;
        match byte {
            0..=b' ' | 0x7f | b'"' | b'<' | b'>' | b'`' | b'|' | b'#' => break,
            b'{' | b'}' if !in_authority(at) || dot(bytes, at) == 0 => break,
            b'{' => length = dot(bytes, at),
            b'\'' if opener == b'\'' => break,
            b'&' if encoded => break,
            b'(' | b'[' if byte == opener => depth += 1,
            b')' | b']' if byte == closing(opener) => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => break,
            },
            b'\\' => match step(bytes, at, encoded) {
                Some((decoded, taken)) if !terminates(decoded) => length = taken,
                _ if in_authority(at) && dot(bytes, at) > 0 => length = dot(bytes, at),
                _ => break,
            },
            b'%' if encoded => match step(bytes, at, encoded) {
                Some((decoded, _)) if terminates(decoded) => break,
                Some((_, taken)) => length = taken,
                None => {}
            },
            b',' | b';' if soft < MAX_SOFT_ENDS && field_follows(bytes, at + 1) => {
                soft += 1;
                each(at);
            }
            _ => {}
        }
        at += length;
    }
    let looked_at = at - authority;
    if looked_at > 2 * MAX_URL {
        return looked_at;
    }
    let mut end = at.min(bytes.len());
    each(end);
    for _ in 0..MAX_TRIMS {
        let trims = end > authority
            && matches!(
                bytes.get(end - 1),
                Some(b'.' | b',' | b';' | b':' | b'!' | b'?' | b')' | b']' | b'\'' | b'*')
            );
        if !trims {
            break;
        }
        end -= 1;
        each(end);
    }
    looked_at
}

/// Bytes that a URL simply goes on with: in the search for its end, and in its path.
static PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut at = 0x21;
    while at < 0x7f {
        table[at] = !matches!(
            at as u8,
            b'"' | b'<'
                | b'>'
                | b'`'
                | b'|'
                | b'#'
                | b'{'
                | b'}'
                | b'\''
                | b'&'
                | b'('
                | b'['
                | b')'
                | b']'
                | b'\\'
                | b'%'
                | b','
                | b';'
        );
        at += 1;
    }
    table
};

/// A decoded byte that no URL has.
fn terminates(byte: u8) -> bool {
    matches!(byte, 0..=b' ' | 0x7f | b'"' | b'<' | b'>' | b'`' | b'#')
}

/// What follows a comma or semicolon looks like a field (`key=`), another URL, or a quoted value.
fn field_follows(bytes: &[u8], at: usize) -> bool {
    let tail = bytes.get(at..).unwrap_or_default();
    match tail.first() {
        None | Some(b'"' | b'\'') => return true,
        Some(byte) if !(byte.is_ascii_alphabetic() || *byte == b'_') => return false,
        Some(_) => {}
    }
    /// Longest key that is looked at.
    const MAX_KEY: usize = 32;
    let key = tail
        .iter()
        .take(MAX_KEY)
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
        .count();
    tail.get(key) == Some(&b'=') || tail.get(key..).is_some_and(|rest| rest.starts_with(b"://"))
}

/// One character of a URL in a log, decoded, and its length there.
fn step(bytes: &[u8], at: usize, encoded: bool) -> Option<(u8, usize)> {
    match bytes.get(at..)? {
        [b'%', digits @ ..] if encoded => Some(hex_byte(digits).map_or((b'%', 1), |byte| (byte, 3))),
        [b'\\', sign @ (b'/' | b'=' | b'|' | b'&'), ..] => Some((*sign, 2)),
        [b'\\', b'u', b'0', b'0', digits @ ..] => hex_byte(digits).map(|byte| (byte, 6)),
        [b'\\', ..] => None,
        [byte, ..] => Some((*byte, 1)),
        [] => None,
    }
}

/// A URL in normal form: `host[:port]/path[?query]` lies in the buffer, the scheme stands apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    scheme: [u8; MAX_SCHEME],
    scheme_length: usize,
    /// Length in the buffer.
    pub length: usize,
    /// Where the host ends in the buffer.
    pub host: usize,
    /// Where the port ends in the buffer: the host's end if there is none.
    port: usize,
}

impl Form {
    /// The scheme, folded; empty if none was written.
    pub fn scheme(&self) -> &[u8] {
        self.scheme.get(..self.scheme_length).unwrap_or_default()
    }

    /// Without scheme, the default port of one implies it: drops the port and sets the scheme.
    pub fn imply_scheme(mut self, buffer: &mut [u8]) -> Option<Form> {
        if self.scheme_length > 0 {
            return None;
        }
        let scheme: &[u8] = match buffer.get(self.host..self.port)? {
            b":80" => b"http",
            b":443" => b"https",
            _ => return None,
        };
        buffer.get_mut(..self.length)?.copy_within(self.port.., self.host);
        self.length -= self.port - self.host;
        self.port = self.host;
        self.set_scheme(scheme);
        Some(self)
    }

    fn set_scheme(&mut self, scheme: &[u8]) {
        self.scheme_length = scheme.len().min(MAX_SCHEME);
        for (slot, byte) in self.scheme.iter_mut().zip(scheme) {
            *slot = byte.to_ascii_lowercase();
        }
        let known: &[u8] = match self.scheme() {
            b"hxxp" | b"hxtp" | b"htxp" | b"meow" => b"http",
            b"hxxps" | b"hxtps" | b"htxps" => b"https",
            b"fxp" => b"ftp",
            b"fxps" => b"ftps",
            _ => return,
        };
        self.scheme_length = known.len();
        self.scheme[..known.len()].copy_from_slice(known);
    }
}

/// Why a text is not a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The buffer is too small for it.
    Overflow,
    /// What is wrong with it.
    Malformed(&'static str),
}

/// Brings a whole URL, with or without scheme, into normal form.
pub(super) fn normal(url: &[u8], buffer: &mut [u8]) -> Result<Form, Refusal> {
    let mut form = Form { scheme: [0; MAX_SCHEME], scheme_length: 0, length: 0, host: 0, port: 0 };
    let mut reader = Reader { bytes: url, at: 0, encoded: false };
    let letters = url.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let colon = letters + usize::from(url.get(letters) == Some(&b'['));
    if let Some(found) = delimiter(url, colon).filter(|found| found.start == letters && letters > 0) {
        if letters > MAX_SCHEME || !url[0].is_ascii_alphabetic() {
            return Err(Refusal::Malformed("not a scheme"));
        }
        form.set_scheme(&url[..letters]);
        reader = Reader { bytes: url, at: found.end, encoded: found.encoded };
    }
    let mut writer = Writer { buffer, length: 0 };
    let first = authority(&mut reader, &mut form, &mut writer)?;
    path(&mut reader, first, &mut writer)?;
    form.length = writer.length;
    Ok(form)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    encoded: bool,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<u8> {
        // A backslash that escapes nothing is itself.
        let raw = *self.bytes.get(self.at)?;
        let (byte, length) = step(self.bytes, self.at, self.encoded).unwrap_or((raw, 1));
        self.at += length;
        Some(byte)
    }
}

struct Writer<'a> {
    buffer: &'a mut [u8],
    length: usize,
}

impl Writer<'_> {
    fn push(&mut self, byte: u8) -> Result<(), Refusal> {
        *self.buffer.get_mut(self.length).ok_or(Refusal::Overflow)? = byte;
        self.length += 1;
        Ok(())
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let end = self.length + bytes.len();
        self.buffer.get_mut(self.length..end).ok_or(Refusal::Overflow)?.copy_from_slice(bytes);
        self.length = end;
        Ok(())
    }

    fn percent(&mut self, byte: u8) -> Result<(), Refusal> {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        self.extend(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
    }
}

/// Reads the authority and writes host and port; returns the character that ended it.
fn authority(reader: &mut Reader<'_>, form: &mut Form, out: &mut Writer<'_>) -> Result<Option<u8>, Refusal> {
    // Most often it is a plain host.
    let rest = reader.bytes.get(reader.at..).unwrap_or_default();
    let plain = rest.iter().position(|byte| !is_label(*byte) && *byte != b'.').unwrap_or(rest.len());
    if let ended @ (None | Some(b'/' | b'?' | b'#')) = rest.get(plain).copied() {
        reader.at += plain + usize::from(ended.is_some());
        name_or_quad(&rest[..plain], out)?;
        form.host = out.length;
        form.port = out.length;
        return Ok(ended);
    }
    let mut text = [0u8; MAX_AUTHORITY];
    let mut length = 0;
    let ended = loop {
        let usual = |byte: &u8| is_label(*byte) || matches!(byte, b'.' | b':');
        if let Some(byte) = reader.bytes.get(reader.at).copied().filter(usual) {
            *text.get_mut(length).ok_or(Refusal::Malformed("authority too long"))? = byte;
            reader.at += 1;
            length += 1;
            continue;
        }
        let defanged = dot(reader.bytes, reader.at);
        let byte = match defanged {
            0 => reader.next(),
            _ => {
                reader.at += defanged;
                Some(b'.')
            }
        };
        match byte {
            None | Some(b'/' | b'?' | b'#') => break byte,
            Some(byte) => *text.get_mut(length).ok_or(Refusal::Malformed("authority too long"))? = byte,
        }
        length += 1;
    };
    let whole = text.get(..length).unwrap_or_default();
    let host_and_port = whole.rsplit(|byte| *byte == b'@').next().unwrap_or_default();
    let (name, port) = match host_and_port {
        [b'[', rest @ ..] => bracketed_address(rest, out)?,
        _ => name_or_quad(host_and_port, out)?,
    };
    debug_assert!(name == out.length);
    form.host = out.length;
    write_port(port, form.scheme(), out)?;
    form.port = out.length;
    Ok(ended)
}

/// Writes `addr]` canonically; returns the length written and what follows the bracket.
fn bracketed_address<'a>(rest: &'a [u8], out: &mut Writer<'_>) -> Result<(usize, &'a [u8]), Refusal> {
    const NOT: Refusal = Refusal::Malformed("not an address in brackets");
    let close = rest.iter().position(|byte| *byte == b']').ok_or(NOT)?;
    let (inside, behind) = rest.split_at(close);
    let address = inside.split(|byte| *byte == b'%').next().unwrap_or_default();
    let address: Ipv6Addr =
        std::str::from_utf8(address).ok().and_then(|text| text.parse().ok()).ok_or(NOT)?;
    match address.to_ipv4_mapped() {
        Some(mapped) => display(out, format_args!("{mapped}"))?,
        None => display(out, format_args!("[{address}]"))?,
    }
    Ok((out.length, behind.get(1..).unwrap_or_default()))
}

/// Writes without allocating.
fn display(out: &mut Writer<'_>, text: std::fmt::Arguments<'_>) -> Result<(), Refusal> {
    struct Sink<'a, 'b>(&'a mut Writer<'b>);
    impl std::fmt::Write for Sink<'_, '_> {
        fn write_str(&mut self, text: &str) -> std::fmt::Result {
            self.0.extend(text.as_bytes()).map_err(|_| std::fmt::Error)
        }
    }
    std::fmt::write(&mut Sink(out), text).map_err(|_| Refusal::Overflow)
}

fn name_or_quad<'a>(text: &'a [u8], out: &mut Writer<'_>) -> Result<(usize, &'a [u8]), Refusal> {
    let colon = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
    let (name, port) = text.split_at(colon);
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.is_empty() {
        return Err(Refusal::Malformed("no host"));
    }
    let start = out.length;
    if name.is_ascii() {
        out.extend(name)?;
        out.buffer[start..out.length].make_ascii_lowercase();
    } else {
        out.extend(host::to_ascii(name).ok_or(Refusal::Malformed("not a host name"))?.as_bytes())?;
    }
    let written = &out.buffer[start..out.length];
    let digit = written.last().is_some_and(u8::is_ascii_digit);
    if !(digit && host::quad(written).is_some_and(|(_, length)| length == written.len())) {
        host::check(written).map_err(Refusal::Malformed)?;
    }
    Ok((out.length, port))
}

/// Writes `:port` unless it is empty or the default of the scheme.
fn write_port(port: &[u8], scheme: &[u8], out: &mut Writer<'_>) -> Result<(), Refusal> {
    const NOT: Refusal = Refusal::Malformed("not a port");
    let digits = match port {
        [] | [b':'] => return Ok(()),
        [b':', digits @ ..] => digits,
        _ => return Err(NOT),
    };
    if digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(NOT);
    }
    let number = digits.iter().fold(0u32, |sum, digit| sum * 10 + u32::from(digit - b'0'));
    let number = u16::try_from(number).map_err(|_| NOT)?;
    let default = match scheme {
        b"http" | b"ws" => 80,
        b"https" | b"wss" => 443,
        b"ftp" => 21,
        _ => 0,
    };
    if number == default {
        return Ok(());
    }
    display(out, format_args!(":{number}"))
}

/// Writes path and query; what no URL holds unencoded is percent-encoded, escapes in upper case.
fn path(reader: &mut Reader<'_>, first: Option<u8>, out: &mut Writer<'_>) -> Result<(), Refusal> {
    let start = out.length;
    out.push(b'/')?;
    match first {
        None | Some(b'#') => return Ok(()),
        Some(b'/') => {}
        Some(other) => out.push(other)?,
    }
    loop {
        let rest = reader.bytes.get(reader.at..).unwrap_or_default();
        let plain = rest.iter().position(|byte| !PLAIN[usize::from(*byte)]).unwrap_or(rest.len());
        out.extend(&rest[..plain])?;
        reader.at += plain;
        let Some(byte) = reader.next() else { break };
        match byte {
            b'#' => break,
            0..=b' ' | 0x7f.. | b'"' | b'<' | b'>' | b'`' | b'{' | b'}' | b'|' | b'\\' => {
                out.percent(byte)?;
            }
            _ => out.push(byte)?,
        }
    }
    let mut text = &mut out.buffer[start..out.length];
    while let Some(percent) = memchr::memchr(b'%', text) {
        let rest = &mut text[percent + 1..];
        if hex_byte(rest).is_some() {
            rest[..2].make_ascii_uppercase();
        }
        text = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(url: &str) -> String {
        let mut buffer = [0; MAX_URL];
        match normal(url.as_bytes(), &mut buffer) {
            Ok(form) => {
                let text = std::str::from_utf8(&buffer[..form.length]).unwrap();
                match std::str::from_utf8(form.scheme()).unwrap() {
                    "" => text.to_string(),
                    scheme => format!("{scheme}://{text}"),
                }
            }
            Err(Refusal::Malformed(reason)) => format!("refused: {reason}"),
            Err(Refusal::Overflow) => "refused: overflow".to_string(),
        }
    }

    #[test]
    fn normal_forms() {
        for (written, expected) in [
            ("http://Evil.Example", "http://evil.example/"),
            ("HTTP://evil.example:80/A?B#c", "http://evil.example/A?B"),
            ("https://evil.example:80/", "https://evil.example:80/"),
            ("http://evil.example?x", "http://evil.example/?x"),
            ("http://evil.example./a", "http://evil.example/a"),
            ("hxxps[:]//evil[.]example(.)org/a[.]b", "https://evil.example.org/a[.]b"),
            ("hxxp[://]evil[dot]example/a", "http://evil.example/a"),
            (r"http:\/\/evil.example\/a?b=c\u0026d\=e", "http://evil.example/a?b=c&d=e"),
            ("http%3A%2F%2Fevil%2Eexample%2Fa%3Fb%3D%2520", "http://evil.example/a?b=%20"),
            ("http%3A//evil.example/a%2fb", "http://evil.example/a/b"),
            ("http://evil.example/%c3%ab/ë", "http://evil.example/%C3%AB/%C3%AB"),
            ("http://user:pw@evil.example/a", "http://evil.example/a"),
            ("http://[2001:DB8:0::1]:8080/a", "http://[2001:db8::1]:8080/a"),
            ("http://[::ffff:1.2.3.4]/", "http://1.2.3.4/"),
            ("http://1.2.3.4:080/", "http://1.2.3.4/"),
            ("http://Bücher.example/", "http://xn--bcher-kva.example/"),
            ("evil.example/a", "evil.example/a"),
            ("http://intranet/a", "http://intranet/a"),
            ("http://evil.example:99999/", "refused: not a port"),
            ("http:///a", "refused: no host"),
            ("http://evil,example/", "refused: character that no host name has"),
            ("http://1.2.3/", "refused: the last label is a number"),
        ] {
            assert_eq!(show(written), expected, "{written}");
        }
    }

    #[test]
    fn implied_scheme() {
        let mut buffer = [0; 64];
        let form = normal(b"evil.example:443/a", &mut buffer).unwrap();
        let implied = form.imply_scheme(&mut buffer).unwrap();
        assert_eq!((implied.scheme(), &buffer[..implied.length]), (&b"https"[..], &b"evil.example/a"[..]));
    }

    #[test]
    fn ends_in_text() {
        for (name, text, expected) in [
            ("sentence", "http://e.x/a. Then", vec!["http://e.x/a.", "http://e.x/a"]),
            ("brackets", "(http://e.x/a(b)) c", vec!["http://e.x/a(b)", "http://e.x/a(b"]),
            ("quotes", "'http://e.x/a'b", vec!["http://e.x/a"]),
            ("json", r#""http:\/\/e.x\/a","#, vec![r"http:\/\/e.x\/a"]),
            ("field", "http://e.x/a,src=1 ", vec!["http://e.x/a", "http://e.x/a,src=1"]),
            ("encoded", "http%3A%2F%2Fe.x%2Fa%22&b", vec!["http%3A%2F%2Fe.x%2Fa"]),
            ("fragment", "http://e.x/a#b", vec!["http://e.x/a"]),
            ("pipe", "http://e.x/a|b", vec!["http://e.x/a"]),
            ("unicode escape", r"http://e.x/a\u003e", vec!["http://e.x/a"]),
        ] {
            let bytes = text.as_bytes();
            let start = text.find('h').unwrap();
            let colon = bytes.iter().position(|byte| matches!(byte, b':' | b'%')).unwrap();
            let found = delimiter(bytes, colon).unwrap();
            assert_eq!(scheme_start(bytes, found.start), Some(start));
            let mut seen = Vec::new();
            ends(bytes, start, found.end, found.encoded, &mut |end| seen.push(&text[start..end]));
            assert_eq!(seen, expected, "{name}");
        }
    }
}
