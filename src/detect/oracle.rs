//! The plain, slow tokeniser: what extraction must equal.
//!
//! It works on a list of characters, tries every place and every reading, and knows no masks, no
//! windows and no skipping. Property tests and a fuzz target hold [`super::extract`] equal to it.

use super::indicator::{Kind, Meta, Mode, SetBuilder, SetInfo, normalise};
use super::lexis::{self, border_after, border_before};
use super::sieve::Sieve;
use super::token::{extract_for, extract_portable};
use super::{Observable, RuleSet, extract, host, normal, url};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// Kind, start, end, normal form, whole.
type Token = (Kind, usize, usize, String, bool);

/// A character of a name: the byte or letter it stands for, and its place.
#[derive(Clone, Copy, Debug)]
struct Unit {
    character: char,
    start: usize,
    end: usize,
}

fn tokens(bytes: &[u8]) -> BTreeSet<Token> {
    let mut out = BTreeSet::new();
    for segment in segments(bytes) {
        names(bytes, &segment, &mut out);
    }
    schemes(bytes, &mut out);
    long_addresses(bytes, &mut out);
    hashes(bytes, &mut out);
    out
}

// Names ----------------------------------------------------------------------------------------

const DOTS: [&str; 9] = ["[.]", "(.)", "{.}", "[dot]", "(dot)", "{dot}", "%2e", "\\.", "."];

fn dot_at(bytes: &[u8], at: usize) -> Option<usize> {
    DOTS.iter().map(|dot| dot.len()).zip(DOTS).find_map(|(length, dot)| {
        bytes.get(at..at + length).filter(|text| text.eq_ignore_ascii_case(dot.as_bytes())).map(|_| length)
    })
}

fn letter_at(bytes: &[u8], at: usize) -> Option<Unit> {
    let byte = *bytes.get(at)?;
    if byte.is_ascii() {
        let label = byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        return label.then_some(Unit { character: byte.into(), start: at, end: at + 1 });
    }
    let character =
        (2..=4).find_map(|length| std::str::from_utf8(bytes.get(at..at + length)?).ok()?.chars().next())?;
    lexis::is_letter(character).then_some(Unit { character, start: at, end: at + character.len_utf8() })
}

/// Maximal rows of letters with single dots between them.
fn segments(bytes: &[u8]) -> Vec<Vec<Unit>> {
    let mut all = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let mut segment = Vec::new();
        while let Some(unit) = letter_at(bytes, at) {
            segment.push(unit);
            at = unit.end;
            if let Some(length) = dot_at(bytes, at)
                && letter_at(bytes, at + length).is_some()
            {
                segment.push(Unit { character: '.', start: at, end: at + length });
                at += length;
            }
        }
        match segment.is_empty() {
            true => at += 1,
            false => all.push(segment),
        }
    }
    all
}

fn names(bytes: &[u8], segment: &[Unit], out: &mut BTreeSet<Token>) {
    if segment.iter().all(|unit| unit.character.is_ascii()) {
        return name(bytes, segment, true, true, true, out);
    }
    international(bytes, segment, out);
    let is_ascii = |at: usize| segment[at].character.is_ascii();
    let mut start = 0;
    while start < segment.len() {
        let end = (start..segment.len()).find(|at| is_ascii(*at) != is_ascii(start)).unwrap_or(segment.len());
        if is_ascii(start) {
            let part = &segment[start..end];
            let dotted_left = start > 0 && part[0].character == '.';
            let clean_left = start == 0 || (!dotted_left && !lexis::joins(segment[start - 1].character));
            let right = end == segment.len()
                || (part[part.len() - 1].character != '.' && !lexis::joins(segment[end].character));
            name(bytes, part, clean_left, clean_left || dotted_left, right, out);
        }
        start = end;
    }
}

fn text(units: &[Unit]) -> String {
    units.iter().map(|unit| unit.character.to_ascii_lowercase()).collect()
}

/// Without hyphens and dots at its edges.
fn trim(mut units: &[Unit]) -> &[Unit] {
    while let [Unit { character: '-' | '.', .. }, rest @ ..] = units {
        units = rest;
    }
    while let [rest @ .., Unit { character: '-' | '.', .. }] = units {
        units = rest;
    }
    units
}

/// `first`: the first label is whole; `border`: so is the name.
fn name(bytes: &[u8], units: &[Unit], border: bool, first: bool, right: bool, out: &mut BTreeSet<Token>) {
    let end = trim(units).last().map_or(0, |unit| unit.end);
    let escape = lexis::escape(bytes, units[0].start)
        .filter(|found| border && found.skip < units.len() && units[found.skip].start < end);
    let mut readings = Vec::new();
    if !escape.is_some_and(|found| found.only) {
        readings.push((trim(units), false));
    }
    if let Some(found) = escape {
        readings.push((trim(&units[found.skip..]), true));
    }
    for (reading, escaped) in readings {
        if reading.is_empty() {
            continue;
        }
        let code = escape.filter(|_| escaped).map(|found| found.stands_for);
        let quad = quads(reading, border, right, out);
        let named = right && domains(bytes, reading, border, first, out);
        // A backslash before a name is a path, so the reading without the escape begins no URL.
        let plain_end = reading.last().map(|unit| unit.end) == units.last().map(|unit| unit.end);
        if border && right && plain_end && (named || quad) {
            bare_url(bytes, reading[0].start, end, quad, code, out);
        }
    }
}

/// Quads between hyphens; true if one fills the reading.
fn quads(units: &[Unit], left: bool, right: bool, out: &mut BTreeSet<Token>) -> bool {
    let mut fills = false;
    for start in 0..units.len() {
        for end in (start + 7..=units.len()).take(9) {
            let Ok(address) = text(&units[start..end]).parse::<Ipv4Addr>() else { continue };
            let before = if start == 0 { left } else { units[start - 1].character == '-' };
            let tail: String = text(&units[end..]);
            let piece = tail.split('-').next().unwrap_or_default();
            let port = piece
                .strip_prefix('.')
                .and_then(|digits| digits.parse::<u16>().ok())
                .is_some_and(|port| port > 255);
            let stops = right || tail.contains('-');
            if before && stops && (piece.is_empty() || piece == "." || port) {
                let place = (units[start].start, units[end - 1].end);
                out.insert((Kind::Ip, place.0, place.1, address.to_string(), true));
                fills |= end - start == units.len();
            }
        }
    }
    fills
}

fn domains(bytes: &[u8], units: &[Unit], border: bool, first: bool, out: &mut BTreeSet<Token>) -> bool {
    let end = units.last().unwrap().end;
    let labels: Vec<&[Unit]> = units.split(|unit| unit.character == '.').collect();
    if labels.len() < 2 || labels.last().unwrap().iter().all(|unit| unit.character.is_ascii_digit()) {
        return false;
    }
    for from in (0..labels.len()).rev() {
        if labels[from].len() > 63 {
            break;
        }
        let suffix = labels[from..].iter().map(|label| text(label)).collect::<Vec<_>>().join(".");
        if suffix.len() <= 253 && (from > 0 || first) {
            out.insert((
                Kind::Domain,
                labels[from].first().map_or(end, |unit| unit.start),
                end,
                suffix,
                from == 0 && border,
            ));
        }
    }
    let host = text(units);
    if border && host.len() <= 253 {
        emails(bytes, units[0].start, end, &host, out);
    }
    true
}

fn international(bytes: &[u8], segment: &[Unit], out: &mut BTreeSet<Token>) {
    let units = trim(segment);
    let written = |units: &[Unit]| units.iter().map(|unit| unit.character).collect::<String>();
    if !units.iter().any(|unit| unit.character == '.') {
        return;
    }
    let end = units.last().unwrap().end;
    let starts = (0..units.len()).filter(|at| *at == 0 || units[at - 1].character == '.');
    for start in starts.take(8) {
        let Some(ascii) = host::to_ascii(written(&units[start..]).as_bytes()) else { continue };
        out.insert((Kind::Domain, units[start].start, end, ascii.clone(), start == 0));
        if start == 0 {
            emails(bytes, units[0].start, end, &ascii, out);
            if segment.last().unwrap().end == end {
                bare_url(bytes, units[0].start, end, false, None, out);
            }
        }
    }
}

// E-mail ---------------------------------------------------------------------------------------

fn emails(bytes: &[u8], start: usize, end: usize, host: &str, out: &mut BTreeSet<Token>) {
    let sign = lexis::at_sign(bytes, start);
    let to = start - sign;
    let core = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+~".contains(&byte);
    let separator = |byte: u8| b"!#$%&'*/=?^`{|}".contains(&byte);
    if sign == 0 || to == 0 || !core(bytes[to - 1]) {
        return;
    }
    for from in to.saturating_sub(64)..to {
        let local = &bytes[from..to];
        let allowed = local.iter().all(|byte| core(*byte) || separator(*byte));
        let border = from == 0 || (!core(bytes[from - 1]));
        // Between two separators nothing begins.
        if !allowed || !border {
            continue;
        }
        if from > 0 && bytes[from - 1] >= 0x80 && lexis::char_before(bytes, from).is_some_and(lexis::joins) {
            continue;
        }
        let escape = lexis::escape(bytes, from).filter(|found| found.skip < to - from);
        let mut starts = Vec::new();
        if !escape.is_some_and(|found| found.only) {
            starts.push(from);
        }
        starts.extend(escape.map(|found| from + found.skip));
        for mut from in starts {
            while from < to && bytes[from] == b'.' {
                from += 1;
            }
            if from < to {
                let local = String::from_utf8_lossy(&bytes[from..to]).to_ascii_lowercase();
                out.insert((Kind::Email, from, end, format!("{local}@{host}"), false));
            }
        }
    }
}

// URLs -----------------------------------------------------------------------------------------

fn schemes(bytes: &[u8], out: &mut BTreeSet<Token>) {
    for at in 0..bytes.len() {
        if let Some(found) = url::delimiter(bytes, at)
            && let Some(start) = url::scheme_start(bytes, found.start)
        {
            urls(bytes, start, found.end, found.encoded, out);
        }
    }
}

fn urls(bytes: &[u8], start: usize, authority: usize, encoded: bool, out: &mut BTreeSet<Token>) {
    url::ends(bytes, start, authority, encoded, &mut |end| {
        let mut buffer = vec![0; url::MAX_URL];
        let Ok(form) = url::normal(&bytes[start..end], &mut buffer) else { return };
        let show = |form: &url::Form, buffer: &[u8]| {
            let text = String::from_utf8_lossy(&buffer[..form.length]).into_owned();
            match form.scheme() {
                [] => text,
                scheme => format!("{}://{text}", String::from_utf8_lossy(scheme)),
            }
        };
        out.insert((Kind::Url, start, end, show(&form, &buffer), false));
        if let Some(implied) = form.imply_scheme(&mut buffer) {
            out.insert((Kind::Url, start, end, show(&implied, &buffer), false));
        }
    });
}

fn bare_url(
    bytes: &[u8],
    start: usize,
    end: usize,
    quad: bool,
    code: Option<u32>,
    out: &mut BTreeSet<Token>,
) {
    let before = String::from_utf8_lossy(&bytes[start.saturating_sub(3)..start]).into_owned();
    let may = match code {
        Some(code) => code != 0x2f && code != 0x40,
        None if before.ends_with("//") => {
            let outer = before.chars().rev().nth(2);
            outer.is_none_or(|outer| " \t\n\r\x0c\"'(=<[,".contains(outer)) && (start == 2 || outer.is_some())
        }
        None => !before.ends_with(['@', '\\', '/']) && lexis::at_sign(bytes, start) == 0,
    };
    let tail = String::from_utf8_lossy(&bytes[end..]).into_owned();
    let tail = tail.strip_prefix('.').unwrap_or(&tail);
    let tail = match tail.strip_prefix(':') {
        Some(port) => {
            let digits = port.chars().take(6).take_while(char::is_ascii_digit).count();
            &port[digits..]
        }
        None => tail,
    };
    let path = tail.strip_prefix('/').or_else(|| tail.strip_prefix("\\/"));
    if !may || (path.is_none() && !tail.starts_with('?')) {
        return;
    }
    if let Some(path) = path.filter(|_| quad) {
        let digits = path.chars().take(6).take_while(char::is_ascii_digit).count();
        let goes_on =
            path[digits..].starts_with(|c: char| c.is_ascii_alphanumeric() || "_/.?%-=&#~+".contains(c));
        if (1..=5).contains(&digits) && !goes_on {
            return;
        }
    }
    urls(bytes, start, start, false, out);
}

// IPv6 and hashes --------------------------------------------------------------------------------

/// Maximal rows of bytes of a class, with the ways to read where they begin.
fn runs(bytes: &[u8], inside: impl Fn(u8) -> bool) -> Vec<(usize, usize, bool)> {
    let mut all = Vec::new();
    for start in 0..bytes.len() {
        if !inside(bytes[start]) || (start > 0 && inside(bytes[start - 1])) {
            continue;
        }
        let end = (start..bytes.len()).find(|at| !inside(bytes[*at])).unwrap_or(bytes.len());
        let found = lexis::escape(bytes, start);
        if !found.is_some_and(|found| found.only) {
            all.push((start, end, border_before(bytes, start)));
        }
        all.extend(found.map(|found| (start + found.skip, end, true)));
        if start > 0 && found.is_none() && matches!(bytes[start - 1], b'u' | b'x') {
            all.extend(lexis::escape(bytes, start - 1).map(|found| (start - 1 + found.skip, end, true)));
        }
    }
    all
}

fn long_addresses(bytes: &[u8], out: &mut BTreeSet<Token>) {
    for (mut start, mut end, mut border) in runs(bytes, |byte| byte.is_ascii_hexdigit() || byte == b':') {
        let Some(run) = bytes.get(start..end) else { continue };
        if run.starts_with(b":::") || (run.starts_with(b":") && !run.starts_with(b"::")) {
            start += 1;
            border = true;
        }
        if run.ends_with(b":::") || (run.ends_with(b":") && !run.ends_with(b"::")) {
            end -= 1;
        }
        if start >= end || !border {
            continue;
        }
        let ends = |end: usize| {
            border_after(bytes, end)
                && !(bytes.get(end) == Some(&b'.')
                    && bytes.get(end + 1).is_some_and(|byte| lexis::is_word(*byte)))
        };
        let parse = |end: usize| std::str::from_utf8(&bytes[start..end]).ok()?.parse::<Ipv6Addr>().ok();
        let dotted = (end + 1..=bytes.len().min(end + 16)).find(|end| parse(*end).is_some() && ends(*end));
        let digits =
            bytes.get(end + 1..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count();
        let read = if bytes.get(end) != Some(&b'.') {
            border_after(bytes, end).then_some(end)
        } else if let Some(longer) = dotted {
            Some(longer)
        } else {
            ends(end + 1 + digits).then_some(end)
        };
        let Some(mut end) = read else { continue };
        if parse(end).is_none() {
            let Some(colon) = bytes[start..end].iter().rposition(|byte| *byte == b':') else { continue };
            let port = bytes[start + colon + 1..end].iter().all(u8::is_ascii_digit);
            let full = bytes[start..end].iter().filter(|byte| **byte == b':').count() == 8;
            if !port || !full {
                continue;
            }
            end = start + colon;
        }
        if let Some(address) = parse(end) {
            out.insert((Kind::Ip, start, end, IpAddr::from(address).to_canonical().to_string(), true));
        }
    }
}

fn hashes(bytes: &[u8], out: &mut BTreeSet<Token>) {
    for (start, end, border) in runs(bytes, |byte| byte.is_ascii_hexdigit()) {
        let kind = match end.saturating_sub(start) {
            32 => Kind::Md5,
            40 => Kind::Sha1,
            64 => Kind::Sha256,
            128 => Kind::Sha512,
            _ => continue,
        };
        if border && border_after(bytes, end) {
            let text = String::from_utf8_lossy(&bytes[start..end]).to_ascii_lowercase();
            out.insert((kind, start, end, text, false));
        }
    }
}

// Comparison -------------------------------------------------------------------------------------

fn extracted(bytes: &[u8], portable: bool) -> BTreeSet<Token> {
    let mut out = BTreeSet::new();
    let mut emit = |observable: Observable| {
        let span = observable.span;
        out.insert((
            observable.kind,
            span.start as usize,
            span.end as usize,
            normal(bytes, &observable),
            observable.whole,
        ));
    };
    match portable {
        true => extract_portable(bytes, &mut emit),
        false => extract(bytes, &mut emit),
    }
    out
}

/// Panics unless extraction finds what this module does, with vectors and byte by byte, and whoever
/// knows but one of the values finds it too.
#[track_caller]
pub fn hold(bytes: &[u8]) {
    compare(bytes);
    each_value_alone(bytes);
}

#[track_caller]
fn compare(bytes: &[u8]) {
    let (fast, slow) = (extracted(bytes, false), tokens(bytes));
    assert_eq!(fast, extracted(bytes, true), "portable {:?}", String::from_utf8_lossy(bytes));
    let missing: Vec<_> = slow.difference(&fast).collect();
    let excess: Vec<_> = fast.difference(&slow).collect();
    assert!(
        missing.is_empty() && excess.is_empty(),
        "{:?}\nmissing {missing:#?}\nexcess {excess:#?}",
        String::from_utf8_lossy(bytes)
    );
}

/// Whoever knows one of the values of a line finds it in the same places as in all observables.
#[track_caller]
fn each_value_alone(bytes: &[u8]) {
    for (kind, _, _, written, _) in extracted(bytes, false) {
        // What looks defanged is written otherwise in rules.
        let Ok(value) = normalise(kind, &written, true) else { continue };
        if value.to_string() != written {
            continue;
        }
        let info = SetInfo {
            name: String::new(),
            producer: None,
            feed: None,
            reference: None,
            mode: Mode::Indicators,
            path: String::new().into(),
            digest: String::new(),
        };
        let mut set = SetBuilder::new(info);
        let meta = set.meta(&Meta::default());
        set.add(&value, meta, None);
        let rules = RuleSet::new(vec![Arc::new(set.build())]);
        let places = |interested: bool| {
            let mut places = BTreeSet::new();
            let mut emit = |observable: Observable| {
                rules.lookup(bytes, &observable, &mut |_| {
                    places.insert((observable.span.start, observable.span.end, observable.whole));
                });
                // The host of a URL whose path may stand elsewhere.
                if rules.is_url_host(&observable) {
                    places.insert((observable.span.start, observable.span.end, true));
                }
            };
            match interested {
                true => extract_for(bytes, &rules, &mut emit),
                false => extract(bytes, &mut emit),
            }
            places
        };
        assert_eq!(places(true), places(false), "{value} in {:?}", String::from_utf8_lossy(bytes));
        assert!(!places(true).is_empty(), "{value} in {:?}", String::from_utf8_lossy(bytes));
        let group = [bytes, b"nothing", bytes];
        let suspects = Sieve::default().sift(&rules, group.into_iter());
        assert_eq!(suspects & 0b101, 0b101, "{value} in {:?}", String::from_utf8_lossy(bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pieces that real and hostile lines are made of.
    fn piece() -> impl Strategy<Value = Vec<u8>> {
        let fixed: Vec<&'static [u8]> = vec![
            b".",
            b"-",
            b"_",
            b" ",
            b":",
            b"::",
            b"/",
            b"//",
            b"@",
            b"=",
            b",",
            b";",
            b"?",
            b"#",
            b"%",
            b"\\",
            b"\"",
            b"'",
            b"(",
            b")",
            b"[",
            b"]",
            b"{",
            b"}",
            b"|",
            b"<",
            b">",
            b"\n",
            b"[.]",
            b"(.)",
            b"[dot]",
            b"{DOT}",
            b"%2E",
            b"%2e",
            b"\\.",
            b"[:]//",
            b"://",
            b":\\/\\/",
            b"%3A%2F%2F",
            b"[@]",
            b"(at)",
            b"%40",
            b"%20",
            b"%3D",
            b"%E2%80%9C",
            b"\\n",
            b"\\t",
            b"\\\\n",
            b"\\u003d",
            b"\\u0026",
            b"\\x3d",
            b"#011",
            b"\\/",
            b"\\=",
            b"http",
            b"hxxps",
            b"ftp",
            b"evil",
            b"Evil",
            b"example",
            b"com",
            b"t.co",
            b"a",
            b"de",
            b"1",
            b"12",
            b"123",
            b"255",
            b"256",
            b"0",
            b"01",
            b"443",
            b"65535",
            b"10.1.2.3",
            b"1.2.3",
            b"ffff",
            b"fe80",
            b"2001:db8",
            b"::ffff:",
            b"d41d8cd98f00b204e9800998ecf8427e",
            b"da39a3ee5e6b4b0d3255bfef95601890afd80709",
            b"\xc3\xa9",
            b"\xe8\xae\xbf",
            b"\xe2\x80\x9c",
            b"\xff",
            b"\xd0\xb4",
            b"xn--bcher-kva",
            b"www",
            b"user",
            b"0123456789abcdef",
            b"4f",
            b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ];
        prop_oneof![
            12 => prop::sample::select(fixed).prop_map(<[u8]>::to_vec),
            1 => prop::collection::vec(any::<u8>(), 1..4),
            1 => "[a-z0-9]{1,9}(\\.[a-z0-9-]{1,9}){1,4}".prop_map(String::into_bytes),
            1 => "[0-9a-fA-F]{15,33}".prop_map(String::into_bytes),
            1 => "([0-9a-f]{1,4}:){6,8}[0-9a-f]{1,4}".prop_map(String::into_bytes),
            1 => "([0-9a-f]{1,2}:){5,7}1\\.2\\.3\\.4".prop_map(String::into_bytes),
            1 => "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}".prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn structured_lines(pieces in prop::collection::vec(piece(), 0..40)) {
            compare(&pieces.concat());
        }

        #[test]
        fn values_alone(pieces in prop::collection::vec(piece(), 0..12)) {
            each_value_alone(&pieces.concat());
        }

        #[test]
        fn few_pieces_at_every_offset(offset in 0usize..140, pieces in prop::collection::vec(piece(), 1..7), tail in 0usize..70) {
            let mut line = vec![b' '; offset];
            line.extend(pieces.concat());
            line.extend(vec![b' '; tail]);
            compare(&line);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            compare(&bytes);
        }

        #[test]
        fn random_text(text in "[a-f0-9.:/@%\\[\\]() \\\\x-]{0,200}") {
            compare(text.as_bytes());
        }

        #[test]
        fn long_names(labels in prop::collection::vec("[a-z]{1,70}", 1..30), dot in prop::sample::select(vec![".", "[.]"])) {
            compare(labels.join(dot).as_bytes());
        }
    }

    /// Each form at every offset in a block, and with the end of the line at every distance.
    #[test]
    fn every_form_everywhere() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
        let forms = [
            "t.co",
            "1.2.3.4",
            "255.255.255.255:65535",
            "[1.2.3.4]:80",
            "10.0.0.1.443",
            "::",
            "::1",
            "[fe80::1%eth0]:80",
            "2001:db8::8a2e:370:7334",
            "2001:0DB8:0000:0000:0000:8A2E:0370:7334",
            "2001:db8:1:2:3:4:5:6:443",
            "::ffff:192.0.2.1",
            "64:ff9b::192.0.2.33",
            "1:2:3:4:5:6:7::",
            "Evil.Example",
            "\"evil.example\"",
            "'www.evil.example'",
            "evil[.]example",
            "www.evil[dot]example",
            "evil%2Eexample",
            "hxxp://evil[.]example/a",
            "hxxps[:]//evil.example",
            "http%3A%2F%2Fevil.example%2Fa%3Fb",
            "https://user:pw@evil.example:8443/a?b=c#d",
            "http://[2001:db8::1]:80/a",
            r#"{\"url\":\"http://evil.example/a\"}"#,
            r#"{"url":"http:\/\/evil.example\/a","ip":"10.1.2.3"}"#,
            r"request=http://evil.example/a\=b|dst\=1.2.3.4",
            r"a\nevil.example\tb",
            r"\u003devil.example",
            "#011evil.example#011",
            "b\u{fc}cher.example",
            "\u{8bbf}evil.example\u{65f6}",
            "someone@evil.example",
            "some.one(at)evil[.]example",
            "d41d8cd98f00b204e9800998ecf8427e",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            &longest,
        ];
        for form in forms {
            for before in 0..66 {
                for after in [0, 1, 62, 63, 64, 65] {
                    compare(format!("{}{form}{}", " ".repeat(before), " ".repeat(after)).as_bytes());
                }
                compare(format!("{}{form}", "x ".repeat(before)).as_bytes());
                compare(format!("{form}{}", "x".repeat(before)).as_bytes());
            }
            each_value_alone(form.as_bytes());
        }
        let longest_url = format!("http://evil.example/{}", "a".repeat(url::MAX_URL - 13));
        for length in longest_url.len() - 3..=longest_url.len() {
            hold(format!("GET {} HTTP/1.1", &longest_url[..length]).as_bytes());
        }
    }

    /// Every line of the captured logs.
    #[cfg(feature = "real-data")]
    #[test]
    fn real_lines() {
        /// The oracle is slow; longer lines are cut, and of a large file the beginning is read.
        const MAX_LINE: usize = 2_000;
        const MAX_FILE: usize = 300_000;
        let root = std::env::var("ROJE_DATA").expect("ROJE_DATA names the folder of captured data");
        let mut folders = vec![std::path::PathBuf::from(root).join("syslog")];
        let mut lines = 0;
        let mut found = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let bytes = std::fs::read(&path).unwrap();
                for line in bytes[..bytes.len().min(MAX_FILE)].split(|byte| *byte == b'\n') {
                    let line = &line[..line.len().min(MAX_LINE)];
                    compare(line);
                    lines += 1;
                    each_value_alone(line);
                    found += extracted(line, false).len();
                }
            }
        }
        assert!(lines > 10_000 && found > lines / 4, "{found} in {lines} lines");
    }
}
