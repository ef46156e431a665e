//! Bodies of key=value pairs, in the quotings that are in use.
//!
//! The first pairs tell the dialect ([`Dialect`]): what stands between key and value (`=`, or `:`
//! with Cisco FTD, Check Point and Symantec) and what stands between pairs (blanks, or a separator
//! that lets keys and values hold blanks). Words that belong to no pair stay in `message`.

use super::PAIRS_MAX;
use super::vocabulary::{Form, Names, Text};
use crate::decode::{FieldId, Fields, Group};
use memchr::{memchr, memchr2};
use std::borrow::Cow;

/// How the pairs of a body are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// `key=value key="a value"`
    Blanks,
    /// `key=value, other key=a value` with this byte between the pairs.
    Separated(u8),
    /// `key: value, key: value`, `[key:"value"; key:"value"]` with this byte between the pairs.
    Colons(u8),
    /// `-Key=value-OtherKey=value; a sentence`, as H3C and Huawei write lists.
    Dashes,
    /// `KEY:[5] 'value' OTHER KEY:[3] 'abc'`, as Oracle's audit does.
    Counted,
}

/// Whether the text begins with a key and has so many pairs at least.
pub(super) fn begins(text: &[u8], least: usize) -> bool {
    key_at(text).is_some() && (least <= 1 || next_key(text, key_at(text).unwrap_or(0) + 1).is_some())
}

/// Decodes the pairs of a text, if it has two or more, or begins with one.
pub(super) fn decode<'a>(text: &'a [u8], names: &mut Names<'a>, out: &mut Fields) -> bool {
    let Some(dialect) = dialect(text) else { return false };
    let mut budget = PAIRS_MAX;
    match dialect {
        Dialect::Blanks => blanks(text, &mut |key, value| pair(names, out, &mut budget, key, &value)),
        Dialect::Separated(separator) => {
            separated(text, separator, b'=', &mut |key, value| pair(names, out, &mut budget, key, &value));
        }
        Dialect::Colons(separator) => {
            let bare =
                text.strip_prefix(b"[").map(|text| text.strip_suffix(b"]").unwrap_or(text)).unwrap_or(text);
            separated(bare, separator, b':', &mut |key, value| pair(names, out, &mut budget, key, &value));
        }
        Dialect::Dashes => dashes(text, &mut |key, value| pair(names, out, &mut budget, key, &value)),
        Dialect::Counted => counted(text, &mut |key, value| {
            // `(ADDRESS=(PROTOCOL=tcp)(HOST=10.0.0.1)(PORT=51234))`
            if let (b"CLIENT ADDRESS", Cow::Borrowed(value)) = (key, &value) {
                let inside = |name: &[u8]| {
                    let rest = value.get(memchr::memmem::find(value, name)? + name.len()..)?;
                    rest.get(..memchr(b')', rest)?)
                };
                if let Some(host) = inside(b"(HOST=") {
                    names.source(out, host);
                }
                if let Some(port) = inside(b"(PORT=") {
                    let key = Cow::Borrowed(b"".as_slice());
                    names.put(out, None, FieldId::SourcePort, Form::Port, &key, &Cow::Borrowed(port));
                }
            }
            pair(names, out, &mut budget, key, &value);
        }),
    }
    budget < PAIRS_MAX
}

fn pair<'a>(names: &mut Names<'a>, out: &mut Fields, budget: &mut usize, key: &'a [u8], value: &Text<'a>) {
    if *budget == 0 {
        return;
    }
    *budget -= 1;
    // auditd wraps what user space said: `msg='op=login acct="root" addr=10.0.0.1 res=failed'`.
    if key == b"msg"
        && let Cow::Borrowed(inner) = *value
        && begins(inner, 2)
    {
        blanks(inner, &mut |key, value| {
            if *budget > 0 {
                *budget -= 1;
                names.pair(out, Group::Kv, &Cow::Borrowed(key), &value);
            }
        });
        return;
    }
    // `msg=audit(1492752520.441:8832):` has the time and the serial number.
    if let Some(stamp) = value.strip_prefix(b"audit(") {
        let end = memchr(b':', stamp).unwrap_or(stamp.len());
        let stamp = Cow::Owned(stamp[..end].to_vec());
        names.put(out, None, FieldId::Timestamp, Form::Stamp, &Cow::Borrowed(key), &stamp);
        names.keep(out, Group::Kv, &Cow::Borrowed(key), value);
        return;
    }
    names.pair(out, Group::Kv, &Cow::Borrowed(key), value);
}

/// Tells the dialect from the first pairs.
fn dialect(text: &[u8]) -> Option<Dialect> {
    let by_colons =
        || [b';', b','].into_iter().find(|separator| colons(text, *separator)).map(Dialect::Colons);
    if let [b'-', rest @ ..] = text
        && key_at(rest).is_some()
        && next_dash(text, 1).is_some()
    {
        return Some(Dialect::Dashes);
    }
    if counted_at(text).is_some_and(|(_, _, end)| counted_at(text.get(end..).unwrap_or_default()).is_some()) {
        return Some(Dialect::Counted);
    }
    // Values in quotes may hold `name=x`; which sign comes first is the sender's.
    if memchr2(b'=', b':', text).is_some_and(|at| text.get(at) == Some(&b':'))
        && let Some(dialect) = by_colons()
    {
        return Some(dialect);
    }
    // The export of journald has a line for each.
    let lines =
        || text.split(|byte| *byte == b'\n').take(COLON_PARTS).filter(|line| key_at(line).is_some()).count();
    if memchr(b'\n', text).is_some() && lines() >= 2 {
        return Some(Dialect::Separated(b'\n'));
    }
    if let Some(separator) = [b',', b';'].into_iter().find(|separator| spaced(text, *separator)) {
        return Some(Dialect::Separated(separator));
    }
    if let Some(first) = next_key(text, 0) {
        let Some(second) = next_key(text, first.1 + 1) else {
            return (first.0 == 0).then_some(Dialect::Blanks);
        };
        let between = text.get(first.1 + 1..second.0)?.trim_ascii_end();
        // The key before which a separator stands may have blanks of its own: `Device IP Address=`.
        let separators = |byte: &u8| matches!(byte, b',' | b';' | b'|' | b'\t' | b'^');
        let quoted = matches!(between.first(), Some(b'"' | b'\''));
        return Some(match between.last() {
            Some(last) if separators(last) => Dialect::Separated(*last),
            _ if text.get(first.1 + 1..second.0)?.contains(&b'\t') => Dialect::Separated(b'\t'),
            _ if !quoted => match between.iter().rev().find(|byte| separators(byte)) {
                Some(b',') if between.windows(2).any(|two| two == b", ") => Dialect::Separated(b','),
                _ => Dialect::Blanks,
            },
            _ => Dialect::Blanks,
        });
    }
    by_colons()
}

/// Whether at least two of the first four parts are `key:value`.
fn colons(text: &[u8], separator: u8) -> bool {
    let mut parts = 0;
    let mut pairs = 0;
    for part in text.split(|byte| *byte == separator).take(COLON_PARTS) {
        parts += 1;
        let part = part.trim_ascii().strip_prefix(b"[").unwrap_or(part.trim_ascii());
        let Some(colon) = memchr(b':', part) else { continue };
        let (key, value) = part.split_at(colon);
        let spaced = matches!(value, [b':'] | [b':', b' ' | b'"' | b':', ..]);
        pairs += usize::from(spaced && is_phrase(key));
    }
    pairs >= 2 && pairs * 2 >= parts
}

/// Whether at least two of the first parts are `key = value`.
fn spaced(text: &[u8], separator: u8) -> bool {
    let pair = |part: &&[u8]| {
        memchr::memmem::find(part, b" = ").is_some_and(|at| is_phrase(part[..at].trim_ascii()))
            || part.strip_suffix(b" =").is_some_and(|key| is_phrase(key.trim_ascii()))
    };
    memchr::memmem::find(text, b" = ").is_some()
        && text.split(|byte| *byte == separator).take(COLON_PARTS).filter(pair).count() >= 2
}

/// Enough to be sure, few enough to be cheap.
const COLON_PARTS: usize = 6;

/// A key that may have blanks: `Device IP Address`.
fn is_phrase(key: &[u8]) -> bool {
    key.first().is_some_and(u8::is_ascii_alphabetic)
        && key.len() <= KEY_MAX
        && key.iter().all(|byte| is_key_byte(*byte) || *byte == b' ')
}

/// Keys of real devices stay under this; what is longer is an encoded blob that ends in `=`.
const KEY_MAX: usize = 64;

fn is_key_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.#@/()[]%".contains(&byte)
}

/// The length of the key that begins here, if `=` follows it.
fn key_at(text: &[u8]) -> Option<usize> {
    let window = text.get(..KEY_MAX.min(text.len()))?;
    let end = window.iter().position(|byte| !is_key_byte(*byte))?;
    let good = window.first().is_some_and(|byte| byte.is_ascii_alphabetic() || b"_@".contains(byte));
    (good && end > 0 && window[end] == b'=' && text.get(end + 1) != Some(&b'=')).then_some(end)
}

/// The next key at or behind `from` that a border precedes, as (start, position of `=`). Quoted text
/// is not looked into.
fn next_key(text: &[u8], from: usize) -> Option<(usize, usize)> {
    let mut at = from;
    if at > 0 && matches!(text.get(at), Some(b'"')) {
        at = quoted_end(text, at)?;
    }
    // A quote that nothing closes would be looked for again and again.
    let mut unclosed = false;
    loop {
        let equals = at + memchr(b'=', text.get(at..)?)?;
        let before = text.get(at..equals)?;
        let start = before.iter().rposition(|byte| !is_key_byte(*byte)).map_or(at, |place| at + place + 1);
        let bordered = start == 0
            || start == from
            || matches!(
                text.get(start.wrapping_sub(1)),
                Some(b' ' | b'\t' | b',' | b';' | b'|' | b'^' | b'\n' | b']' | b'{' | b'\'')
            );
        // `[zone]IN=eth0`: a log prefix in brackets touches the first key.
        let word = text.get(start..equals)?;
        let inner = word.iter().rposition(|byte| matches!(byte, b']' | b')' | b'[' | b'('));
        let start = match inner {
            Some(place)
                if word.get(place + 1).is_some_and(u8::is_ascii_alphabetic)
                    && memchr(b'[', word) == Some(0) =>
            {
                start + place + 1
            }
            _ => start,
        };
        if bordered && key_at(text.get(start..)?) == Some(equals - start) {
            return Some((start, equals));
        }
        at = equals + 1;
        if matches!(text.get(at), Some(b'"')) && !unclosed {
            match quoted_end(text, at) {
                Some(end) => at = end,
                None => unclosed = true,
            }
        }
    }
}

/// The position behind the quote that closes the one at `open`.
fn quoted_end(text: &[u8], open: usize) -> Option<usize> {
    let quote = *text.get(open)?;
    let mut at = open + 1;
    loop {
        let offset = memchr2(quote, b'\\', text.get(at..)?)?;
        at += offset;
        if text.get(at) == Some(&b'\\') {
            // A path that ends in a backslash, `dir="C:\" next=`: the quote closes after all.
            let closes =
                text.get(at + 1) == Some(&quote) && closes_pair(text.get(at + 2..).unwrap_or_default());
            if closes {
                return Some(at + 2);
            }
            at += 2;
        } else {
            return Some(at + 1);
        }
    }
}

/// Whether the rest goes on like the end of a pair: a key follows.
fn closes_pair(rest: &[u8]) -> bool {
    let after = rest.trim_ascii_start();
    after.len() != rest.len() && key_at(after).is_some()
}

/// Pairs with blanks between them.
fn blanks<'a>(text: &'a [u8], each: &mut impl FnMut(&'a [u8], Text<'a>)) {
    let mut from = 0;
    for _ in 0..PAIRS_MAX {
        let Some((start, equals)) = next_key(text, from) else { return };
        let Some(key) = text.get(start..equals) else { return };
        let (value, end) = value_at(text, equals + 1);
        each(key, value);
        from = end;
    }
}

/// The value that begins at `at`, and where it ends.
fn value_at(text: &[u8], at: usize) -> (Text<'_>, usize) {
    let rest = text.get(at..).unwrap_or_default();
    match rest {
        [b'"' | b'\'', ..] => {
            if let Some(end) = quoted_end(text, at) {
                let inside = text.get(at + 1..end.saturating_sub(1)).unwrap_or_default();
                return (unescaped(inside), end);
            }
        }
        // Typographic quotes, both written as the closing one by Symantec DLP.
        [0xe2, 0x80, 0x9c | 0x9d, inside @ ..] => {
            if let Some(close) = memchr::memmem::find(inside, b"\xe2\x80\x9d") {
                return (Cow::Borrowed(&inside[..close]), at + 3 + close + 3);
            }
        }
        _ => {}
    }
    let end = rest.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\n')).unwrap_or(rest.len());
    let mut value = &rest[..end];
    // A comma or semicolon that ends a word is punctuation.
    while let [head @ .., b',' | b';'] = value {
        value = head;
    }
    // The bracket that closes a group of pairs: `[Originator@6876 opID=x user=root]`.
    if let [head @ .., b']'] = value
        && memchr(b'[', head).is_none()
    {
        value = head;
    }
    (Cow::Borrowed(value), at + end)
}

/// Where the next `-Key=` begins, at or behind `from`.
fn next_dash(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr(b'-', text.get(at..)?)?;
        let rest = text.get(at + 1..)?;
        let name = rest.iter().take(KEY_MAX).take_while(|byte| byte.is_ascii_alphanumeric()).count();
        if rest.first().is_some_and(u8::is_ascii_uppercase) && rest.get(name) == Some(&b'=') {
            return Some(at);
        }
        at += 1;
    }
}

/// Pairs with a dash before each; a semicolon ends the list.
fn dashes<'a>(text: &'a [u8], each: &mut impl FnMut(&'a [u8], Text<'a>)) {
    let text = text.get(..memchr(b';', text).unwrap_or(text.len())).unwrap_or_default();
    let mut at = Some(0);
    for _ in 0..PAIRS_MAX {
        let Some(start) = at else { return };
        at = next_dash(text, start + 1);
        let pair = text.get(start + 1..at.unwrap_or(text.len())).unwrap_or_default();
        if let Some(equals) = memchr(b'=', pair) {
            each(&pair[..equals], Cow::Borrowed(pair[equals + 1..].trim_ascii()));
        }
    }
}

/// The next `KEY:[5] 'value'`: its key, its value, and where it ends.
fn counted_at(text: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let colon = memchr::memmem::find(text, b":[")?;
    let key = text.get(..colon)?.trim_ascii();
    // What stands before the first: `LENGTH : '160' ACTION`.
    let key = key.rsplit(|byte| *byte == b'\'').next().unwrap_or(key).trim_ascii();
    let rest = text.get(colon + 2..)?;
    let digits = rest.iter().take(COUNT_DIGITS).take_while(|byte| byte.is_ascii_digit()).count();
    let open = rest.get(digits..)?.strip_prefix(b"]")?.trim_ascii_start();
    let inside = open.strip_prefix(b"'").filter(|_| digits > 0 && is_phrase(key))?;
    let length = rest[..digits].iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0'));
    // The count may be of characters, or of what a relay cut off.
    let end = match inside.get(length) {
        Some(b'\'') => length,
        _ => memchr(b'\'', inside)?,
    };
    Some((key, inside.get(..end)?, text.len() - inside.len() + end + 1))
}

/// A statement of SQL is shorter.
const COUNT_DIGITS: usize = 6;

/// Pairs whose values have their length before them.
fn counted<'a>(text: &'a [u8], each: &mut impl FnMut(&'a [u8], Text<'a>)) {
    let mut rest = text;
    for _ in 0..PAIRS_MAX {
        let Some((key, value, end)) = counted_at(rest) else { return };
        each(key, Cow::Borrowed(value));
        rest = rest.get(end..).unwrap_or_default();
    }
}

/// Pairs with a separator between them; a quoted value may hold it.
fn separated<'a>(text: &'a [u8], separator: u8, equals: u8, each: &mut impl FnMut(&'a [u8], Text<'a>)) {
    let mut rest = text;
    let mut is_first = true;
    for _ in 0..PAIRS_MAX {
        if rest.is_empty() {
            return;
        }
        let (part, after) = next_part(rest, separator, equals);
        rest = after;
        // `conn log: Users: joe, Source IP: …`: the pair stands behind the last colon with a blank.
        let part = match memchr::memmem::rfind(part, b": ") {
            Some(at) if equals == b':' && is_first => match memchr::memmem::rfind(&part[..at], b": ") {
                Some(before) if is_phrase(part[before + 2..at].trim_ascii()) => &part[before + 2..],
                _ => part,
            },
            _ => part,
        };
        is_first = false;
        let Some(at) = memchr(equals, part) else {
            // Symantec writes the transport and the direction without a key.
            match part.trim_ascii().to_ascii_lowercase().as_slice() {
                b"tcp" | b"udp" | b"icmp" => each(b"proto", Cow::Borrowed(part.trim_ascii())),
                b"inbound" | b"outbound" => each(b"direction", Cow::Borrowed(part.trim_ascii())),
                _ => {}
            }
            continue;
        };
        let (key, value) = part.split_at(at);
        let mut value = &value[1..];
        // Check Point has values that begin with the sign: `sys_message::"…"`.
        while equals == b':' && value.first() == Some(&b':') {
            value = &value[1..];
        }
        // `TTY=pts/0` behind `vagrant : `, `Foo` behind `text: `: the key is what follows the last colon.
        let key = match key.iter().rposition(|byte| *byte == b':') {
            Some(colon) => &key[colon + 1..],
            None => key,
        };
        let key = unquoted(key.trim_ascii());
        if key.is_empty() || key.len() > KEY_MAX {
            continue;
        }
        let value = value.trim_ascii();
        let inside = unquoted(value);
        each(key, if inside.len() == value.len() { Cow::Borrowed(value) } else { unescaped(inside) });
    }
}

/// One part and the rest behind its separator. Quotes count only where a value begins with one, so
/// that an apostrophe in a sentence does not swallow what follows.
fn next_part(text: &[u8], separator: u8, equals: u8) -> (&[u8], &[u8]) {
    let sign = memchr2(separator, equals, text).filter(|at| text.get(*at) == Some(&equals));
    let mut at = 0;
    if let Some(sign) = sign {
        let value = sign + 1 + text[sign + 1..].iter().take_while(|byte| matches!(byte, b' ' | b':')).count();
        if text.get(value) == Some(&b'"') {
            at = quoted_end(text, value).unwrap_or(value + 1);
        }
    }
    loop {
        let Some(offset) = memchr(separator, text.get(at..).unwrap_or_default()) else { return (text, &[]) };
        let end = at + offset;
        // `\,` is a comma of the value with Cisco ISE.
        if separator == b',' && end > 0 && text.get(end - 1) == Some(&b'\\') {
            at = end + 1;
            continue;
        }
        return (&text[..end], text.get(end + 1..).unwrap_or_default());
    }
}

fn unquoted(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inside @ .., b'"'] | [b'\'', inside @ .., b'\''] => inside,
        _ => text,
    }
}

/// `\"` and `\\` stand for the second character; other backslashes are paths.
fn unescaped(text: &[u8]) -> Text<'_> {
    if memchr::memmem::find(text, b"\\\"").is_none() && memchr::memmem::find(text, b"\\\\").is_none() {
        return Cow::Borrowed(text);
    }
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match (byte, bytes.peek().copied()) {
            (b'\\', Some(next @ (b'"' | b'\\'))) => {
                plain.push(next);
                bytes.next();
            }
            _ => plain.push(byte),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut each = |key: &[u8], value: Text<'_>| {
            found.push((
                String::from_utf8_lossy(key).into_owned(),
                String::from_utf8_lossy(&value).into_owned(),
            ));
        };
        let text = text.as_bytes();
        match dialect(text) {
            Some(Dialect::Blanks) => blanks(text, &mut each),
            Some(Dialect::Separated(separator)) => separated(text, separator, b'=', &mut each),
            Some(Dialect::Colons(separator)) => {
                let bare = text.strip_prefix(b"[").and_then(|text| text.strip_suffix(b"]")).unwrap_or(text);
                separated(bare, separator, b':', &mut each);
            }
            Some(Dialect::Dashes) => dashes(text, &mut each),
            Some(Dialect::Counted) => counted(text, &mut each),
            None => {}
        }
        found
    }

    #[test]
    fn dialects() {
        for (name, text, expected) in [
            (
                "quoted",
                r#"a=1 b="two words" c='three words' d="#,
                vec![("a", "1"), ("b", "two words"), ("c", "three words"), ("d", "")],
            ),
            ("escaped quote", r#"a="say \"hi\"" b=2"#, vec![("a", r#"say "hi""#), ("b", "2")]),
            ("path before the quote", r#"dir="C:\" b=2"#, vec![("dir", "C:\\"), ("b", "2")]),
            (
                "iptables",
                "[wan-D]IN=eth0 OUT= SRC=10.0.0.1 DF PROTO=TCP",
                vec![("IN", "eth0"), ("OUT", ""), ("SRC", "10.0.0.1"), ("PROTO", "TCP")],
            ),
            (
                "sentence in front",
                "authentication failure; logname= uid=0 rhost=10.0.0.9 ",
                vec![("logname", ""), ("uid", "0"), ("rhost", "10.0.0.9")],
            ),
            (
                "commas",
                r#"date=2023-01-30,time=16:09,to="a,b",src=10.0.0.1"#,
                vec![("date", "2023-01-30"), ("time", "16:09"), ("to", "a,b"), ("src", "10.0.0.1")],
            ),
            (
                "keys with blanks",
                "ConfigVersionId=1598, Device IP Address=81.2.69.193, UserName=a b, Step=1",
                vec![
                    ("ConfigVersionId", "1598"),
                    ("Device IP Address", "81.2.69.193"),
                    ("UserName", "a b"),
                    ("Step", "1"),
                ],
            ),
            (
                "tabs",
                "kind=Tunnel Samples\tuser=a b\tsourceip=10.0.0.1",
                vec![("kind", "Tunnel Samples"), ("user", "a b"), ("sourceip", "10.0.0.1")],
            ),
            (
                "check point",
                r#"[flags:"1"; ifdir:"inbound"; note::"a; b"; src:"10.0.0.1"]"#,
                vec![("flags", "1"), ("ifdir", "inbound"), ("note", "a; b"), ("src", "10.0.0.1")],
            ),
            (
                "ftd",
                "Priority: Low, SrcIP: 10.0.1.20, DstIP: 10.0.100.30",
                vec![("Priority", "Low"), ("SrcIP", "10.0.1.20"), ("DstIP", "10.0.100.30")],
            ),
            (
                "dashes",
                "-AAAType=AUTHOR-Domain=a-b-UserName=admin@system; AAA succeeded.",
                vec![("AAAType", "AUTHOR"), ("Domain", "a-b"), ("UserName", "admin@system")],
            ),
            (
                "counted",
                "LENGTH : '160' ACTION :[9] 'a'b:[1] '' DATABASE USER:[5] 'SCOTT' CLIENT USER:[9] 'bob' X",
                vec![("ACTION", "a'b:[1] '"), ("DATABASE USER", "SCOTT"), ("CLIENT USER", "bob")],
            ),
            ("equals in the value", "url=http://a/?b=c d=1", vec![("url", "http://a/?b=c"), ("d", "1")]),
            ("typographic", "A=\u{201d}N/A\u{201d} B=\u{201c}x y\u{201d}", vec![("A", "N/A"), ("B", "x y")]),
            ("sentence", "nothing here: just words, and more words", vec![]),
        ] {
            let found = pairs(text);
            let found: Vec<_> = found.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            assert_eq!(found, expected, "{name}");
        }
    }
}
