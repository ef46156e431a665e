//! Free text that names indicators: reports, mails, lists with headings, defanged or not.
//!
//! [`values`] finds what has the shape of an indicator among the words of a line: addresses, prefixes,
//! digests, e-mail addresses, URLs, and names under a public suffix. Text between them is nobody's
//! mistake. A word that ends like a file (`run.sh`) is a name only if it is defanged or has more labels.

use super::native::meant;
use crate::detect::indicator::{Kind, Normal, normalise};
use std::ops::Range;

/// Suffixes of the DNS that are, in a report, those of files.
const FILES: &[&str] = &[
    "app", "bat", "bz", "cc", "com", "id", "ini", "md", "mov", "pl", "ps", "py", "rs", "run", "sh", "so",
    "zip",
];

/// A word that has the shape of an indicator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<'a> {
    /// Its kind.
    pub kind: Kind,
    /// As it is written, without what stands around it.
    pub text: &'a str,
    /// The port behind an address.
    pub port: Option<u16>,
    /// Bytes of the line.
    pub span: Range<usize>,
}

/// Calls `each` for every indicator of a line.
pub fn values<'a>(line: &'a str, each: &mut impl FnMut(Found<'a>)) {
    let separates =
        |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '|' | '"' | '\'' | '`' | '<' | '>' | '=');
    let mut at = 0;
    for word in line.split(separates) {
        let start = at;
        at += word.len()
            + line.get(at + word.len()..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        if let Some(found) = shape(word, start) {
            each(found);
        }
    }
}

/// The indicator that a text is as a whole.
pub fn whole(text: &str) -> Option<Found<'_>> {
    shape(text, 0)
}

/// The indicator that a word is.
fn shape(word: &str, start: usize) -> Option<Found<'_>> {
    // The shortest are such as `a.al`.
    if word.len() < 4 || word.len() > 4096 {
        return None;
    }
    let text = trimmed(word);
    let offset = start + (text.as_ptr() as usize - word.as_ptr() as usize);
    let span = offset..offset + text.len();
    if let Some((address, port)) = with_port(text) {
        let span = offset..offset + address.len();
        return Some(Found { kind: Kind::Ip, text: address, port: Some(port), span });
    }
    let kind = if is_url(text) { Kind::Url } else { meant(text)? };
    let usable = match kind {
        Kind::Domain => is_name(text),
        Kind::Ip => text.contains('.') || text.matches(':').count() > 1,
        _ => true,
    };
    usable.then_some(Found { kind, text, port: None, span })
}

/// Without the punctuation of sentences; brackets stay where they close what they open.
fn trimmed(word: &str) -> &str {
    let mut text = word.trim_start_matches(['(', '*', '-', '\u{2022}', '\u{201c}', '\u{2018}', '{']);
    text = text.trim_end_matches(['.', ':', '!', '?', '*', '}', '\u{201d}', '\u{2019}']);
    if let Some(rest) = text.strip_suffix(')')
        && !rest.contains('(')
    {
        text = rest.trim_end_matches(['.', ':']);
    }
    if let Some(inside) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'))
        && !inside.contains(['[', ']'])
    {
        text = inside;
    }
    text
}

fn is_url(text: &str) -> bool {
    let scheme = text.find(":/").or_else(|| text.find("[:]/")).or_else(|| text.find("[://]")).unwrap_or(0);
    let has_scheme = (3..=8).contains(&scheme);
    let path = text.find('/').is_some_and(|slash| {
        // A date, a fraction and a path of files have slashes too.
        let host = text.get(..slash).unwrap_or_default();
        meant(host).is_some_and(|kind| match kind {
            Kind::Domain => is_name(host),
            Kind::Ip => text.get(slash + 1..).is_some_and(|rest| rest.parse::<u8>().is_err()),
            _ => false,
        })
    });
    (has_scheme || path) && normalise(Kind::Url, text, true).is_ok()
}

fn with_port(text: &str) -> Option<(&str, u16)> {
    let (address, port) = text.rsplit_once(':')?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
    let bare = !address.contains(':') || address.ends_with(']');
    matches!(normalise(Kind::Ip, address.trim_end_matches("[:]"), true), Ok(Normal::Ip(_)))
        .then_some((address, port))
        .filter(|_| bare)
}

/// Is it a name that somebody can own?
fn is_name(text: &str) -> bool {
    let Ok(Normal::Domain(name)) = normalise(Kind::Domain, text, true) else { return false };
    let Some(suffix) = psl::suffix(name.as_bytes()).filter(|suffix| suffix.is_known()) else { return false };
    let labels = name.split('.').count();
    let last = name.rsplit('.').next().unwrap_or_default();
    let defanged = text.contains(['[', '(', '{', '\\']);
    suffix.as_bytes().len() < name.len()
        && (defanged || labels > 2 || last == "com" || !FILES.contains(&last))
        && name.split('.').next_back().is_some_and(|label| !label.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(line: &str) -> Vec<String> {
        let mut all = Vec::new();
        values(line, &mut |one| {
            assert_eq!(line.get(one.span.clone()), Some(one.text));
            let port = one.port.map(|port| format!(" {port}")).unwrap_or_default();
            all.push(format!("{} {}{port}", one.kind.name(), one.text));
        });
        all
    }

    #[test]
    fn reports() {
        for (line, expected) in [
            (
                "The dropper fetched hxxps[:]//evil[.]example/a.zip (198.51.100[.]7).",
                &["url hxxps[:]//evil[.]example/a.zip", "ip 198.51.100[.]7"][..],
            ),
            ("Mail from x@evil.com, then update.exe and run.sh e.g. 1.2", &["email x@evil.com"]),
            ("front[.]evil(dot)com; run[.]sh", &["domain front[.]evil(dot)com", "domain run[.]sh"]),
            (
                "C2: 203.0.113.9:8443, 2001:db8::1 198.51.100.0/24",
                &["ip 203.0.113.9 8443", "ip 2001:db8::1", "ip 198.51.100.0/24"],
            ),
            (
                "d41d8cd98f00b204e9800998ecf84271  C:\\Users\\Public\\18482.xoq",
                &["md5 d41d8cd98f00b204e9800998ecf84271"],
            ),
            ("evil.com/gate.php 03/04/2021 and/or", &["url evil.com/gate.php"]),
            ("\"a.evil.com\"|b.evil.com", &["domain a.evil.com", "domain b.evil.com"]),
            ("dëshirë.al пример.бг", &["domain dëshirë.al", "domain пример.бг"]),
            ("Nothing of it, really: version 10.4.", &[]),
        ] {
            assert_eq!(found(line), expected, "{line}");
        }
    }
}
